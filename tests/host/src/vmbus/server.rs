// SPDX-License-Identifier: GPL-2.0

//! The bus: takes the guest's messages, keeps offers, GPADLs and channels, and answers.

use std::collections::btree_map::{BTreeMap, Entry};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;

use anyhow::{bail, ensure, Context as _, Result};
use rlis_proto::vmbus::message::{
    ChannelMessage, ChannelMessageHeader, ChannelOffer, CloseChannel, GpadlBody, GpadlCreated,
    GpadlHeader, GpadlTeardown, GpadlTorndown, InitiateContact, MessageType, ModifyChannel,
    ModifyChannelResponse, OfferChannel, OpenChannel, OpenResult, RelidReleased, RescindOffer,
    TargetInfo, VersionResponse,
};
use rlis_proto::vmbus::negotiate::host_accepts;
use rlis_proto::vmbus::parse::{parse_from, Direction, Message};
use rlis_proto::vmbus::version::Version;
use rlis_proto::vmbus::{
    MAX_CHANNEL_RELIDS, VMBUS_CHANNEL_CONFIDENTIAL_EXTERNAL_MEMORY,
    VMBUS_CHANNEL_ENUMERATE_DEVICE_INTERFACE, VMBUS_MESSAGE_CONNECTION_ID,
    VMBUS_MESSAGE_CONNECTION_ID_4, VMBUS_MESSAGE_CONNECTION_ID_REDIRECT, VMBUS_MESSAGE_SINT,
    VMBUS_MESSAGE_TYPE,
};
use zerocopy::{FromZeros, Immutable, IntoBytes};

use super::channel::{Channel, Shared};
use super::gpadl::Gpadl;
use super::Offer;
use crate::faults::Fault;
use crate::hyperv::hypercall::{self, Receiver};

/// Name of the bus itself in the fault table.
pub const BUS: &str = "vmbus";
/// Connection id that the host tells a guest of version 5.0 or newer to use for its messages.
const MESSAGE_CONNECTION: u32 = 0x0002_0001;
/// Event connection ids are this plus the relid.
const EVENT_CONNECTION: u32 = 0x0001_0000;
/// NTSTATUS STATUS_UNSUCCESSFUL: what a refused request is answered with.
const STATUS_UNSUCCESSFUL: u32 = 0xC000_0001;
/// Most offers of a storm, and most GPADLs of a guest.
const MAX_GPADLS: usize = 4096;

/// The connection as negotiated.
#[derive(Clone, Copy, Debug)]
struct Connection {
    version: Version,
    /// Virtual processor that takes messages.
    vp: u32,
    /// Connection id on which the guest's further messages come.
    message_connection: u32,
    /// REQUESTOFFERS has come, so that offers may be sent.
    offers_requested: bool,
}

/// One channel that the guest may know: an offer in some state.
struct Slot {
    offer: Offer,
    sub_index: u16,
    /// The OFFERCHANNEL message was sent on this connection.
    sent: bool,
    /// RESCIND was sent; RELID_RELEASED must follow.
    rescinded: bool,
    open: Option<(Arc<Channel>, JoinHandle<()>)>,
    open_gpadl: u32,
}

#[derive(Default)]
struct State {
    connection: Option<Connection>,
    /// Connection id of a guest that has unloaded; releases of its devices may still come on it.
    unloaded: Option<u32>,
    slots: BTreeMap<u32, Slot>,
    gpadls: HashMap<u32, Gpadl>,
    next_relid: u32,
}

/// Channels taken out of the state, whose threads must be waited for without the state's lock.
type Stopping = Vec<(Arc<Channel>, JoinHandle<()>)>;

/// The bus.
pub struct Server {
    shared: Shared,
    max_version: Version,
    state: Mutex<State>,
    this: Weak<Server>,
}

fn message<M: ChannelMessage>(
    fill: impl FnOnce(&mut M),
    header: impl FnOnce(&mut M, ChannelMessageHeader),
) -> M {
    let mut message = M::new_zeroed();
    header(&mut message, ChannelMessageHeader::of::<M>());
    fill(&mut message);
    message
}

/// A message with its header set and the fields that the closure fills.
macro_rules! build {
    ($type:ident, |$m:ident| $fill:block) => {
        message::<$type>(|$m| $fill, |m, header| m.header = header)
    };
}

impl Server {
    /// A bus that speaks versions up to `max_version`.
    pub fn new(shared: Shared, max_version: Version) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            shared,
            max_version,
            state: Mutex::new(State {
                next_relid: 1,
                ..State::default()
            }),
            this: this.clone(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A poisoned lock means that a thread died half-way; going on beats a hanging guest in a test tool.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn violation(&self, what: impl Into<String>) {
        self.shared.violations.record(what);
    }

    fn fault(&self, fault: Fault) -> bool {
        self.shared.faults.hit(BUS, fault)
    }

    /// What all channels share.
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// The version negotiated, if there is a connection.
    pub fn version(&self) -> Option<Version> {
        self.state().connection.map(|c| c.version)
    }

    fn post<M: IntoBytes + Immutable + ?Sized>(&self, vp: u32, message: &M) {
        let mut bytes = message.as_bytes();
        if self.fault(Fault::BusUnknownMessage) {
            let mut odd = [0u8; 16];
            odd[..4].copy_from_slice(&0x7Fu32.to_le_bytes());
            let _ = self.shared.synic.post_message(vp, &odd);
        }
        if let Some(len) = self.shared.faults.take(BUS, Fault::BusShortMessage, 8) {
            bytes = bytes
                .get(..usize::try_from(len).unwrap_or(usize::MAX))
                .unwrap_or(bytes);
        }
        if let Err(error) = self.shared.synic.post_message(vp, bytes) {
            self.violation(format!("a message cannot be delivered: {error:#}"));
        }
    }

    fn send<M: IntoBytes + Immutable>(&self, state: &State, message: &M) {
        if let Some(connection) = state.connection {
            self.post(connection.vp, message);
        }
    }

    // ---- offers

    /// Adds a device. The guest hears of it now if it has asked for offers, or when it does.
    pub fn offer(&self, offer: Offer) -> Result<u32> {
        let mut state = self.state();
        ensure!(
            !state
                .slots
                .values()
                .any(|s| s.offer.name == offer.name && !s.rescinded),
            "there is a device {} already",
            offer.name
        );
        let relid = state.add(offer, 0)?;
        self.announce(&mut state, relid);
        Ok(relid)
    }

    /// Offers `count` sub-channels of the open device `name`. Returns how many were offered.
    pub fn offer_sub_channels(&self, name: &str, count: u16) -> Result<u16> {
        let mut state = self.state();
        let offer = state
            .slots
            .values()
            .find(|s| s.offer.name == name && s.sub_index == 0 && !s.rescinded)
            .with_context(|| format!("there is no device {name}"))?
            .offer
            .clone();
        let taken: Vec<u16> = state
            .slots
            .values()
            .filter(|s| s.offer.name == name)
            .map(|s| s.sub_index)
            .collect();
        for index in (1..=u16::MAX)
            .filter(|i| !taken.contains(i))
            .take(count.into())
        {
            let relid = state.add(offer.clone(), index)?;
            self.announce(&mut state, relid);
        }
        Ok(count)
    }

    /// Withdraws the device `name` with all its sub-channels; the guest closes and releases them.
    pub fn rescind(&self, name: &str) -> Result<()> {
        let mut state = self.state();
        let relids: Vec<u32> = state
            .slots
            .iter()
            .filter(|(_, s)| s.offer.name == name && !s.rescinded)
            .map(|(r, _)| *r)
            .collect();
        ensure!(!relids.is_empty(), "there is no device {name}");
        // Sub-channels first, as Hyper-V does.
        for relid in relids.into_iter().rev() {
            self.rescind_relid(&mut state, relid);
        }
        Ok(())
    }

    fn rescind_relid(&self, state: &mut State, relid: u32) {
        let Some(slot) = state.slots.get_mut(&relid) else {
            return;
        };
        if slot.sent {
            slot.rescinded = true;
            let message = build!(RescindOffer, |m| {
                m.child_relid = relid;
            });
            self.send(state, &message);
        } else {
            state.slots.remove(&relid);
        }
    }

    fn announce(&self, state: &mut State, relid: u32) {
        if !state.connection.is_some_and(|c| c.offers_requested) {
            return;
        }
        let Some(slot) = state.slots.get_mut(&relid) else {
            return;
        };
        slot.sent = true;
        let (offer, sub_index) = (slot.offer.clone(), slot.sub_index);
        let mut flags = offer.flags | VMBUS_CHANNEL_ENUMERATE_DEVICE_INTERFACE;
        if self.shared.faults.hit(&offer.name, Fault::BusBadOfferFlags) {
            flags |= VMBUS_CHANNEL_CONFIDENTIAL_EXTERNAL_MEMORY;
        }
        let bad = self
            .shared
            .faults
            .take(&offer.name, Fault::BusBadRelid, 0xFFFF);
        let told = bad.and_then(|v| u32::try_from(v).ok()).unwrap_or(relid);
        let make = |told: u32| {
            build!(OfferChannel, |m| {
                m.offer = ChannelOffer::new_zeroed();
                m.offer.if_type = offer.class;
                m.offer.if_instance = offer.instance;
                m.offer.chn_flags = flags;
                m.offer.u = offer.user_data;
                m.offer.sub_channel_index = sub_index;
                m.child_relid = told;
                m.monitorid = if offer.monitored {
                    (told % 128) as u8
                } else {
                    0
                };
                m.monitor_allocated = offer.monitored.into();
                m.is_dedicated_interrupt = 1;
                m.connection_id = EVENT_CONNECTION + told;
            })
        };
        let duplicate = self
            .shared
            .faults
            .hit(&offer.name, Fault::BusDuplicateOffer);
        self.send(state, &make(told));
        if duplicate {
            if let Ok(second) = state.add(offer.clone(), sub_index) {
                if let Some(slot) = state.slots.get_mut(&second) {
                    slot.sent = true;
                }
                self.send(state, &make(second));
            }
        }
    }

    /// The devices as lines of `name relid.sub state`.
    pub fn list(&self) -> Vec<String> {
        self.state()
            .slots
            .iter()
            .map(|(relid, slot)| {
                let status = match (&slot.open, slot.rescinded, slot.sent) {
                    (_, true, _) => "rescinded",
                    (Some(_), ..) => "open",
                    (None, _, true) => "offered",
                    (None, _, false) => "not-offered",
                };
                format!(
                    "{} relid={relid} sub={} instance={} {status}",
                    slot.offer.name, slot.sub_index, slot.offer.instance
                )
            })
            .collect()
    }

    /// The open channels of device `name` (all devices if `None`).
    pub fn channels(&self, name: Option<&str>) -> Vec<Arc<Channel>> {
        let wanted = |slot: &&Slot| name.is_none_or(|n| slot.offer.name == n);
        self.state()
            .slots
            .values()
            .filter(wanted)
            .filter_map(|s| s.open.as_ref().map(|(c, _)| c.clone()))
            .collect()
    }

    // ---- messages

    fn handle(&self, connection: u32, payload: &[u8]) -> (u16, Stopping) {
        let mut stopping = Vec::new();
        let parsed = match parse_from(Direction::GuestToHost, payload) {
            Ok(parsed) => parsed,
            Err(error) => {
                self.violation(format!("message from the guest: {error}"));
                return (hypercall::SUCCESS, stopping);
            }
        };
        let mut state = self.state();
        let status = match self.right_connection(&state, connection, &parsed) {
            Ok(()) => {
                if let Err(error) = self.dispatch(&mut state, connection, parsed, &mut stopping) {
                    self.violation(format!("{error:#}"));
                }
                hypercall::SUCCESS
            }
            // The guest tries the redirected connection first and must be told that it does not exist.
            Err(_) if connection == VMBUS_MESSAGE_CONNECTION_ID_REDIRECT => {
                hypercall::INVALID_CONNECTION_ID
            }
            Err(error) => {
                self.violation(format!("{error:#}"));
                hypercall::INVALID_CONNECTION_ID
            }
        };
        (status, stopping)
    }

    /// Checks that a message came on the connection id that its time and version call for.
    fn right_connection(
        &self,
        state: &State,
        connection: u32,
        message: &Message<'_>,
    ) -> Result<()> {
        let expected = match message {
            Message::InitiateContact(m) if { m.vmbus_version_requested } >= Version::V5_0 => {
                VMBUS_MESSAGE_CONNECTION_ID_4
            }
            Message::InitiateContact(_) => VMBUS_MESSAGE_CONNECTION_ID,
            _ => state
                .connection
                .map(|c| c.message_connection)
                .or(state.unloaded)
                .context("a message came before INITIATE_CONTACT")?,
        };
        ensure!(
            connection == expected,
            "a message came on connection {connection:#x}, not {expected:#x}"
        );
        Ok(())
    }

    fn dispatch(
        &self,
        state: &mut State,
        connection: u32,
        message: Message<'_>,
        stopping: &mut Stopping,
    ) -> Result<()> {
        match message {
            Message::InitiateContact(m) => self.initiate_contact(state, connection, m, stopping),
            Message::RequestOffers => self.request_offers(state),
            Message::GpadlHeader(m, bytes) => self.gpadl_header(state, m, bytes),
            Message::GpadlBody(m, bytes) => self.gpadl_body(state, m, bytes),
            Message::GpadlTeardown(m) => self.gpadl_teardown(state, m),
            Message::Open(m) => self.open(state, m),
            Message::Close(m) => self.close(state, m, stopping),
            Message::ModifyChannel(m) => self.modify(state, m),
            Message::RelidReleased(m) => self.relid_released(state, m, stopping),
            Message::Unload => {
                self.unload(state, stopping);
                Ok(())
            }
            Message::TlConnectRequest(_) => {
                bail!("TL_CONNECT_REQUEST, but the host offers no sockets")
            }
            other => bail!("unexpected message {other:?}"),
        }
    }

    fn initiate_contact(
        &self,
        state: &mut State,
        connection: u32,
        m: InitiateContact,
        stopping: &mut Stopping,
    ) -> Result<()> {
        let (version, vp) = ({ m.vmbus_version_requested }, { m.target_vcpu });
        if state.slots.values().any(|s| s.open.is_some()) {
            self.violation("INITIATE_CONTACT while channels are open");
        }
        self.reset(state, stopping);
        ensure!(
            vp < self.shared.synic.count(),
            "INITIATE_CONTACT names virtual processor {vp}, which is not there"
        );
        if version >= Version::V5_0 {
            let target = TargetInfo::from_u64(m.interrupt_page);
            ensure!(
                target.msg_sint == VMBUS_MESSAGE_SINT && target.msg_vtl == 0,
                "INITIATE_CONTACT asks for SINT {} of VTL {}",
                target.msg_sint,
                target.msg_vtl
            );
        }
        if self.fault(Fault::BusNoVersionResponse) {
            return Ok(());
        }
        let refuse = self.fault(Fault::BusRefuseVersion);
        let accepted = host_accepts(version, self.max_version) && !refuse;
        let failed = accepted && self.fault(Fault::BusConnectionState);
        let message_connection = if version >= Version::V5_0 {
            MESSAGE_CONNECTION
        } else {
            connection
        };
        let response = build!(VersionResponse, |r| {
            r.version_supported = accepted.into();
            r.connection_state = failed.into();
            r.msg_conn_id = if accepted { message_connection } else { 0 };
        });
        if accepted && !failed {
            state.connection = Some(Connection {
                version,
                vp,
                message_connection,
                offers_requested: false,
            });
        }
        self.post(vp, &response);
        Ok(())
    }

    fn request_offers(&self, state: &mut State) -> Result<()> {
        let connection = state
            .connection
            .as_mut()
            .context("REQUESTOFFERS without a connection")?;
        ensure!(!connection.offers_requested, "REQUESTOFFERS came twice");
        connection.offers_requested = true;
        let relids: Vec<u32> = state.slots.keys().copied().collect();
        for relid in relids {
            self.announce(state, relid);
        }
        if !self.fault(Fault::BusNoAllOffersDelivered) {
            self.send(
                state,
                &ChannelMessageHeader::new(MessageType::CHANNELMSG_ALLOFFERS_DELIVERED),
            );
        }
        Ok(())
    }

    fn gpadl_header(&self, state: &mut State, m: GpadlHeader, bytes: &[u8]) -> Result<()> {
        let (relid, handle) = ({ m.child_relid }, { m.gpadl });
        ensure!(
            state.slots.get(&relid).is_some_and(|s| s.sent),
            "GPADL_HEADER for relid {relid}, which was not offered"
        );
        ensure!(
            !state.gpadls.contains_key(&handle),
            "GPADL {handle:#x} exists already"
        );
        ensure!(
            state.gpadls.len() < MAX_GPADLS,
            "more than {MAX_GPADLS} GPADLs"
        );
        match Gpadl::new(&self.shared.memory, &m, bytes) {
            Ok(gpadl) => {
                state.gpadls.insert(handle, gpadl);
                self.gpadl_done(state, handle);
                Ok(())
            }
            Err(error) => {
                self.gpadl_created(state, relid, handle, STATUS_UNSUCCESSFUL);
                Err(error.context(format!("GPADL {handle:#x}")))
            }
        }
    }

    fn gpadl_body(&self, state: &mut State, m: GpadlBody, bytes: &[u8]) -> Result<()> {
        let handle = { m.gpadl };
        let gpadl = state
            .gpadls
            .get_mut(&handle)
            .with_context(|| format!("GPADL_BODY for unknown GPADL {handle:#x}"))?;
        if let Err(error) = gpadl.push(&self.shared.memory, bytes) {
            let relid = gpadl.relid;
            state.gpadls.remove(&handle);
            self.gpadl_created(state, relid, handle, STATUS_UNSUCCESSFUL);
            return Err(error.context(format!("GPADL {handle:#x}")));
        }
        self.gpadl_done(state, handle);
        Ok(())
    }

    /// Answers a GPADL whose last message has come.
    fn gpadl_done(&self, state: &mut State, handle: u32) {
        let Some(gpadl) = state.gpadls.get(&handle).filter(|g| g.pages.is_some()) else {
            return;
        };
        let relid = gpadl.relid;
        if self.fault(Fault::BusNoGpadlCreated) {
            return;
        }
        if self.fault(Fault::BusRefuseGpadl) {
            state.gpadls.remove(&handle);
            self.gpadl_created(state, relid, handle, STATUS_UNSUCCESSFUL);
        } else {
            self.gpadl_created(state, relid, handle, 0);
        }
    }

    fn gpadl_created(&self, state: &State, relid: u32, handle: u32, status: u32) {
        let message = build!(GpadlCreated, |r| {
            r.child_relid = relid;
            r.gpadl = handle;
            r.creation_status = status;
        });
        self.send(state, &message);
    }

    fn gpadl_teardown(&self, state: &mut State, m: GpadlTeardown) -> Result<()> {
        let (relid, handle) = ({ m.child_relid }, { m.gpadl });
        let gpadl = state
            .gpadls
            .get(&handle)
            .with_context(|| format!("teardown of unknown GPADL {handle:#x}"))?;
        ensure!(
            gpadl.relid == relid,
            "teardown of GPADL {handle:#x} names relid {relid}, not {}",
            gpadl.relid
        );
        let in_use = state
            .slots
            .get(&relid)
            .is_some_and(|s| s.open.is_some() && s.open_gpadl == handle);
        if in_use {
            self.violation(format!(
                "GPADL {handle:#x} torn down while it holds the rings of an open channel"
            ));
        }
        state.gpadls.remove(&handle);
        if !self.fault(Fault::BusNoGpadlTorndown) {
            let message = build!(GpadlTorndown, |r| {
                r.gpadl = handle;
            });
            self.send(state, &message);
        }
        Ok(())
    }

    fn open(&self, state: &mut State, m: OpenChannel) -> Result<()> {
        let (relid, openid) = ({ m.child_relid }, { m.openid });
        let result = |status: u32, openid: u32| {
            build!(OpenResult, |r| {
                r.child_relid = relid;
                r.openid = openid;
                r.status = status;
            })
        };
        let name = match state.slots.get(&relid) {
            Some(slot) if slot.sent => slot.offer.name.clone(),
            _ => {
                self.send(state, &result(STATUS_UNSUCCESSFUL, openid));
                bail!("OPENCHANNEL of relid {relid}, which was not offered");
            }
        };
        let faults = &self.shared.faults;
        if faults.hit(&name, Fault::BusNoOpenResult) {
            return Ok(());
        }
        if faults.hit(&name, Fault::BusRescindDuringOpen) {
            self.rescind_relid(state, relid);
            return Ok(());
        }
        if faults.hit(&name, Fault::BusRefuseOpen) {
            self.send(state, &result(STATUS_UNSUCCESSFUL, openid));
            return Ok(());
        }
        if faults.hit(&name, Fault::BusWrongOpenId) {
            self.send(state, &result(STATUS_UNSUCCESSFUL, openid.wrapping_add(1)));
        }
        match self.open_channel(state, &m) {
            Ok(channel) => {
                self.send(state, &result(0, openid));
                channel.start();
                Ok(())
            }
            Err(error) => {
                self.send(state, &result(STATUS_UNSUCCESSFUL, openid));
                // A guest that opens what was rescinded under its hands does nothing wrong.
                if state.slots.get(&relid).is_some_and(|s| s.rescinded) {
                    return Ok(());
                }
                Err(error.context(format!("OPENCHANNEL of {name} (relid {relid})")))
            }
        }
    }

    fn open_channel(&self, state: &mut State, m: &OpenChannel) -> Result<Arc<Channel>> {
        let (relid, handle, vp) = ({ m.child_relid }, { m.ringbuffer_gpadlhandle }, {
            m.target_vp
        });
        ensure!(
            vp < self.shared.synic.count(),
            "virtual processor {vp} is not there"
        );
        let gpadl = state
            .gpadls
            .get(&handle)
            .with_context(|| format!("GPADL {handle:#x} is unknown"))?;
        ensure!(
            gpadl.relid == relid,
            "GPADL {handle:#x} belongs to relid {}",
            gpadl.relid
        );
        let pages = gpadl
            .pages
            .clone()
            .with_context(|| format!("GPADL {handle:#x} is not complete"))?;
        let slot = state.slots.get_mut(&relid).context("the offer is gone")?;
        ensure!(!slot.rescinded, "the offer was rescinded");
        ensure!(slot.open.is_none(), "it is open already");
        let downstream = usize::try_from(m.downstream_ringbuffer_pageoffset)?;
        let (channel, thread) = Channel::open(
            slot.offer.name.clone(),
            relid,
            slot.sub_index,
            vp,
            &pages,
            downstream,
            slot.offer.device.clone(),
            self.shared.clone(),
            self.this.clone(),
        )?;
        slot.open = Some((channel.clone(), thread));
        slot.open_gpadl = handle;
        Ok(channel)
    }

    fn close(&self, state: &mut State, m: CloseChannel, stopping: &mut Stopping) -> Result<()> {
        let relid = { m.child_relid };
        let slot = state
            .slots
            .get_mut(&relid)
            .with_context(|| format!("CLOSECHANNEL of unknown relid {relid}"))?;
        let (channel, thread) = slot.open.take().with_context(|| {
            format!(
                "CLOSECHANNEL of {} (relid {relid}), not open",
                slot.offer.name
            )
        })?;
        channel.stop();
        stopping.push((channel, thread));
        Ok(())
    }

    fn modify(&self, state: &mut State, m: ModifyChannel) -> Result<()> {
        let (relid, vp) = ({ m.child_relid }, { m.target_vp });
        let connection = state.connection.context("no connection")?;
        ensure!(
            connection.version.has_modify_channel(),
            "MODIFYCHANNEL at version {:?}",
            connection.version
        );
        let refused = self.fault(Fault::BusRefuseModify);
        let result = (|| {
            let slot = state
                .slots
                .get(&relid)
                .with_context(|| format!("MODIFYCHANNEL of unknown relid {relid}"))?;
            let (channel, _) = slot
                .open
                .as_ref()
                .with_context(|| format!("MODIFYCHANNEL of relid {relid}, not open"))?;
            ensure!(
                vp < self.shared.synic.count(),
                "MODIFYCHANNEL to virtual processor {vp}, which is not there"
            );
            if !refused {
                channel.set_target(vp);
            }
            Ok(())
        })();
        if connection.version.has_modify_channel_response()
            && !self.fault(Fault::BusNoModifyResponse)
        {
            let message = build!(ModifyChannelResponse, |r| {
                r.child_relid = relid;
                r.status = if result.is_err() || refused {
                    STATUS_UNSUCCESSFUL
                } else {
                    0
                };
            });
            self.send(state, &message);
        }
        result
    }

    fn relid_released(
        &self,
        state: &mut State,
        m: RelidReleased,
        stopping: &mut Stopping,
    ) -> Result<()> {
        let relid = { m.child_relid };
        if state.connection.is_none() {
            // Linux unloads first and lets go of its devices afterwards.
            return Ok(());
        }
        let slot = state
            .slots
            .get_mut(&relid)
            .with_context(|| format!("RELID_RELEASED of unknown relid {relid}"))?;
        ensure!(
            slot.sent,
            "RELID_RELEASED of relid {relid}, which was not offered"
        );
        let was_open = slot.open.take();
        let name = slot.offer.name.clone();
        if slot.rescinded || slot.sub_index != 0 {
            state.slots.remove(&relid);
        } else {
            // The driver let go of a device that is still there; it is offered again on the next connection.
            slot.sent = false;
        }
        state.gpadls.retain(|_, g| g.relid != relid);
        if let Some((channel, thread)) = was_open {
            channel.stop();
            stopping.push((channel, thread));
            bail!("RELID_RELEASED of {name} (relid {relid}), which is open");
        }
        Ok(())
    }

    fn unload(&self, state: &mut State, stopping: &mut Stopping) {
        let connection = state.connection;
        // Linux unloads with open channels when it crashes or executes another kernel, so that is no misdeed.
        self.reset(state, stopping);
        if let Some(connection) = connection {
            if !self.fault(Fault::BusNoUnloadResponse) {
                self.post(
                    connection.vp,
                    &ChannelMessageHeader::new(MessageType::CHANNELMSG_UNLOAD_RESPONSE),
                );
            }
        }
    }

    /// Forgets the connection and everything that the guest made on it.
    fn reset(&self, state: &mut State, stopping: &mut Stopping) {
        for slot in state.slots.values_mut() {
            slot.sent = false;
            if let Some((channel, thread)) = slot.open.take() {
                channel.stop();
                stopping.push((channel, thread));
            }
        }
        state.slots.retain(|_, s| s.sub_index == 0 && !s.rescinded);
        state.gpadls.clear();
        if let Some(connection) = state.connection.take() {
            state.unloaded = Some(connection.message_connection);
            self.shared.synic.drop_queued();
        }
    }
}

impl State {
    fn add(&mut self, offer: Offer, sub_index: u16) -> Result<u32> {
        for _ in 0..MAX_CHANNEL_RELIDS {
            let relid = self.next_relid;
            self.next_relid = if relid + 1 < MAX_CHANNEL_RELIDS {
                relid + 1
            } else {
                1
            };
            if let Entry::Vacant(free) = self.slots.entry(relid) {
                free.insert(Slot {
                    offer,
                    sub_index,
                    sent: false,
                    rescinded: false,
                    open: None,
                    open_gpadl: 0,
                });
                return Ok(relid);
            }
        }
        bail!("all {MAX_CHANNEL_RELIDS} relids are in use")
    }
}

impl Receiver for Server {
    fn message(&self, vp: u32, connection: u32, type_: u32, payload: &[u8]) -> u16 {
        if type_ != VMBUS_MESSAGE_TYPE {
            self.violation(format!("vCPU {vp} posted a message of type {type_}"));
            return hypercall::INVALID_PARAMETER;
        }
        let (status, stopping) = self.handle(connection, payload);
        for (channel, thread) in stopping {
            // The guest may reuse the rings as soon as the hypercall returns, so wait for the device here.
            if thread.join().is_err() {
                eprintln!("rlis-host: the thread of {} died", channel.name);
            }
        }
        status
    }

    fn event(&self, vp: u32, connection: u32, flag: u16) -> u16 {
        let Some(relid) = connection
            .checked_sub(EVENT_CONNECTION)
            .filter(|r| *r < MAX_CHANNEL_RELIDS)
        else {
            self.violation(format!(
                "vCPU {vp} signalled connection {connection:#x}, which does not exist"
            ));
            return hypercall::INVALID_CONNECTION_ID;
        };
        if flag != 0 {
            self.violation(format!(
                "vCPU {vp} signalled relid {relid} with flag {flag}"
            ));
            return hypercall::INVALID_PARAMETER;
        }
        let channel = self
            .state()
            .slots
            .get(&relid)
            .and_then(|s| s.open.as_ref().map(|(c, _)| c.clone()));
        match channel {
            Some(channel) => {
                channel.signalled();
                hypercall::SUCCESS
            }
            // A signal may cross a close or a rescind.
            None => hypercall::INVALID_CONNECTION_ID,
        }
    }
}
