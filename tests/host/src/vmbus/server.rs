// SPDX-License-Identifier: GPL-2.0

//! The bus: takes the guest's messages, keeps offers, GPADLs and channels, and answers.

use std::collections::btree_map::{BTreeMap, Entry};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

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
use super::gpadl::{Gpadl, Loan};
use super::{Bus, Connector, Offer};
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
    /// Physical address of the page with the guest's monitors.
    monitor_page: u64,
    /// REQUESTOFFERS has come, so that offers may be sent.
    offers_requested: bool,
}

/// One channel that the guest may know: an offer in some state.
struct Slot {
    offer: Offer,
    /// 0 for the primary channel.
    sub_index: u16,
    /// The primary channel's relid, of a sub-channel.
    primary: Option<u32>,
    /// The channel's monitor, if it has one.
    monitor: Option<u8>,
    /// The OFFERCHANNEL message was sent on this connection.
    sent: bool,
    /// RESCIND was sent; RELID_RELEASED must follow.
    rescinded: bool,
    /// The host closed it with its primary channel; the guest may not know yet and close it, too.
    closed_by_host: bool,
    /// OPENCHANNEL was carried out, but is not answered yet.
    answer_due: bool,
    /// A rescind waits for that answer: what the host says about one channel stays in order.
    rescind_due: bool,
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
    max_version: Mutex<Version>,
    connector: OnceLock<Arc<dyn Connector>>,
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

mod channels;
mod connection;
mod gpadls;
mod monitor;
mod offers;
mod sockets;
#[cfg(test)]
mod tests;

impl Server {
    /// A bus that speaks versions up to `max_version`.
    pub fn new(shared: Shared, max_version: Version) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            shared,
            max_version: Mutex::new(max_version),
            connector: OnceLock::new(),
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

    /// Accepts versions up to this one from the next connection on.
    pub fn set_max_version(&self, version: Version) {
        *self.newest() = version;
    }

    fn newest(&self) -> MutexGuard<'_, Version> {
        // A plain value.
        self.max_version
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
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

    fn handle(&self, connection: u32, payload: &[u8]) -> (u16, Stopping) {
        let mut stopping = Vec::new();
        let parsed = match parse_from(Direction::GuestToHost, payload) {
            Ok(parsed) => parsed,
            Err(error) => {
                self.violation(format!("message from the guest: {error}"));
                return (hypercall::SUCCESS, stopping);
            }
        };
        if let Message::GpadlTeardown(m) = &parsed {
            self.await_gpadl(m.gpadl);
        }
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
            Message::TlConnectRequest(m) => {
                self.connect_request(state, m.guest_endpoint_id, m.host_service_id);
                Ok(())
            }
            other => bail!("unexpected message {other:?}"),
        }
    }
}

impl Bus for Server {
    fn offer_sub_channels(&self, name: &str, count: u16) -> Result<u16> {
        self.offer_sub_channels(name, count)
    }

    fn rescind(&self, name: &str) -> Result<()> {
        self.rescind(name)
    }

    fn is_withdrawn(&self, relid: u32) -> bool {
        self.is_withdrawn(relid)
    }

    fn lend_gpadl(&self, relid: u32, handle: u32) -> Result<Loan> {
        self.lend_gpadl(relid, handle)
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
