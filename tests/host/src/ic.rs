// SPDX-License-Identifier: GPL-2.0

//! Integration components, the host's side: framing, version negotiation, and requests with their replies
//! (struct vmbuspipe_hdr, icmsg_hdr and icmsg_negotiate of include/linux/hyperv.h).

pub mod fcopy;
pub mod heartbeat;
pub mod kvp;
pub mod shutdown;
pub mod timesync;
pub mod vss;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use rlis_proto::ic::{
    body_mut, build_negotiate, build_request, parse_negotiate_reply, parse_reply, IcMessageHeader,
    IcNegotiate, MessageType, Negotiated, VmbusPipeHeader, ICMSGHDRFLAG_RESPONSE,
    ICMSGHDRFLAG_TRANSACTION, ICMSG_HDR,
};
use rlis_proto::Guid;
use zerocopy::FromBytes;

pub use rlis_proto::ic::IcVersion as Version;

use crate::faults::Fault;
use crate::vmbus::channel::Channel;
use crate::vmbus::ring::{Packet, DATA_INBAND};
use crate::vmbus::{Device, Offer};

/// Framework versions that the host offers, as Hyper-V does: 1.0 and 3.0.
const FRAMEWORK: [Version; 2] = [Version::new(1, 0), Version::new(3, 0)];

/// What headers say before the negotiation.
const NOTHING_AGREED: Negotiated = Negotiated {
    framework: Version::new(0, 0),
    message: Version::new(0, 0),
};

/// Time until a program that has not taken a packet is interrupted again.
const NUDGE_INTERVAL: Duration = Duration::from_secs(1);
/// How often, if it has not answered to the negotiation.
const NUDGES: u32 = 30;

/// What kind of component it is.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// Name of the device in commands.
    pub name: &'static str,
    /// Device class.
    pub class: Guid,
    /// Device instance: the one that every Hyper-V host has, since programs look for it.
    pub instance: Guid,
    /// Whether the guest may be a program that works on the ring itself (through uio_hv_generic). Such a one does not
    /// repeat the transaction id in its packets' headers. And it misses the interrupt of a packet that comes before it
    /// has unmasked interrupts: for the negotiation that is when it starts, and later when the host reads its reply
    /// before it has said so. So it is interrupted again, see [`Channel::nudge`].
    pub on_the_ring: bool,
    /// Message type of its requests.
    pub type_: MessageType,
    /// Message versions that the host offers, ascending.
    pub versions: &'static [Version],
}

/// A GUID from its text, for constants.
pub const fn instance(text: &str) -> Guid {
    match Guid::parse(text) {
        Some(guid) => guid,
        None => panic!("malformed GUID"),
    }
}

/// A guest's answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status of the message header: 0 or an HRESULT.
    pub status: u32,
    /// What follows the headers.
    pub body: Vec<u8>,
}

#[derive(Default)]
struct State {
    channel: Option<Arc<Channel>>,
    /// Framework and message version, once negotiated.
    versions: Option<Negotiated>,
    /// Grows with every negotiation, so that a service notices a new one.
    generation: u64,
    transaction: u8,
    /// Transaction of the request that waits, and its answer.
    waiting: Option<u8>,
    reply: Option<Reply>,
    /// Requests whose reply came too late; their replies are no violation.
    given_up: Vec<u8>,
}

/// One integration component.
pub struct Component {
    kind: Kind,
    state: Mutex<State>,
    changed: Condvar,
    /// Held during a request: a component has one transaction at a time.
    busy: Mutex<()>,
}

impl Component {
    /// A component that nobody has opened.
    pub fn new(kind: Kind) -> Arc<Self> {
        Arc::new(Self {
            kind,
            state: Mutex::default(),
            changed: Condvar::new(),
            busy: Mutex::new(()),
        })
    }

    /// The offer for the bus.
    pub fn offer(self: &Arc<Self>) -> Offer {
        Offer {
            name: self.kind.name.to_string(),
            class: self.kind.class,
            instance: self.kind.instance,
            // Integration components are pipes in message mode.
            flags: rlis_proto::vmbus::VMBUS_CHANNEL_NAMED_PIPE_MODE,
            user_data: pipe_message_mode(),
            monitored: false,
            device: self.clone(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change of the state is a few plain assignments.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The negotiated message version, and a number that tells negotiations apart.
    pub fn negotiated(&self) -> Option<(Version, u64)> {
        let state = self.state();
        state
            .versions
            .map(|agreed| (agreed.message, state.generation))
    }

    /// Waits until the guest's driver has negotiated.
    pub fn wait_ready(&self, timeout: Duration) -> Result<Version> {
        let deadline = Instant::now() + timeout;
        let mut state = self.state();
        loop {
            if let Some(agreed) = state.versions {
                return Ok(agreed.message);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            ensure!(
                !left.is_zero(),
                "the guest has no driver for {}",
                self.kind.name
            );
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Sends the packet that `build` makes of the transaction's number, which is returned.
    fn send(
        &self,
        state: &mut State,
        build: impl FnOnce(&Channel, u8) -> Result<Vec<u8>>,
    ) -> Result<u8> {
        let channel = state
            .channel
            .clone()
            .with_context(|| format!("{} is not open", self.kind.name))?;
        state.transaction = state.transaction.wrapping_add(1);
        let transaction = state.transaction;
        let mut packet = build(&channel, transaction)?;
        let faults = &channel.context.faults;
        if faults.hit(self.kind.name, Fault::IcUnknownType) {
            let mut odd = vec![0; ICMSG_HDR];
            build_request(&mut odd, MessageType(0x7F), NOTHING_AGREED, 0, 0)?;
            state.given_up.push(0);
            channel.send(0, &odd);
        }
        if let Some(size) = faults.take(self.kind.name, Fault::IcSize, 0xFFFF) {
            let header = packet
                .get_mut(size_of::<VmbusPipeHeader>()..)
                .and_then(|b| IcMessageHeader::mut_from_prefix(b).ok());
            if let Some((header, _)) = header {
                header.icmsgsize = u16::try_from(size).unwrap_or(u16::MAX);
            }
        }
        state.waiting = Some(transaction);
        state.reply = None;
        channel.send(transaction.into(), &packet);
        Ok(transaction)
    }

    /// Sends a request of the component's own type and waits for the guest's reply.
    pub fn request(&self, body: &[u8], timeout: Duration) -> Result<Reply> {
        let _busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.state();
        ensure!(
            state.versions.is_some(),
            "the guest has no driver for {}",
            self.kind.name
        );
        let versions = state.versions.unwrap_or(NOTHING_AGREED);
        let transaction = self.send(&mut state, |_, transaction| {
            let mut packet = vec![0; ICMSG_HDR + body.len()];
            build_request(
                &mut packet,
                self.kind.type_,
                versions,
                transaction,
                body.len(),
            )?;
            body_mut(&mut packet).copy_from_slice(body);
            Ok(packet)
        })?;
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(reply) = state.reply.take() {
                return Ok(reply);
            }
            ensure!(
                state.channel.is_some(),
                "the guest closed {} instead of replying",
                self.kind.name
            );
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                state.waiting = None;
                state.given_up.push(transaction);
                bail!(
                    "the guest did not reply to {} within {} s",
                    self.kind.name,
                    timeout.as_secs()
                );
            }
            let slice = if self.kind.on_the_ring {
                left.min(NUDGE_INTERVAL)
            } else {
                left
            };
            let (waited, result) = self
                .changed
                .wait_timeout(state, slice)
                .unwrap_or_else(PoisonError::into_inner);
            state = waited;
            if result.timed_out() && self.kind.on_the_ring {
                if let Some(channel) = &state.channel {
                    channel.nudge();
                }
            }
        }
    }

    fn negotiate(&self, state: &mut State) -> Result<()> {
        let sent = self.send(state, |channel, transaction| {
            let versions = FRAMEWORK.len() + self.kind.versions.len();
            let len = ICMSG_HDR + size_of::<IcNegotiate>() + versions * size_of::<Version>();
            let mut packet = vec![0; len];
            build_negotiate(&mut packet, &FRAMEWORK, self.kind.versions, transaction)?;
            let faults = &channel.context.faults;
            if let Some(count) = faults.take(self.kind.name, Fault::IcVersionCount, 0xFFFF) {
                if let Ok((counts, _)) = IcNegotiate::mut_from_prefix(body_mut(&mut packet)) {
                    counts.icframe_vercnt = u16::try_from(count).unwrap_or(u16::MAX);
                    counts.icmsg_vercnt = counts.icframe_vercnt;
                }
            }
            Ok(packet)
        });
        sent.map(drop)
    }

    /// Checks the guest's answer to the negotiation. Returns what it chose, `None` if it supports none of the versions
    /// offered.
    fn negotiated_versions(&self, packet: &[u8]) -> Result<Option<Negotiated>> {
        let Some(agreed) = parse_negotiate_reply(packet)? else {
            return Ok(None);
        };
        ensure!(
            FRAMEWORK.contains(&agreed.framework),
            "the guest chose framework version {}, which was not offered",
            agreed.framework
        );
        ensure!(
            self.kind.versions.contains(&agreed.message),
            "the guest chose version {}, which was not offered",
            agreed.message
        );
        Ok(Some(agreed))
    }

    /// Whether the negotiation that the guest has answered to is followed by another one.
    fn begins_anew(&self, state: &State) -> bool {
        let faults = state.channel.as_ref().map(|c| &c.context.faults);
        faults.is_some_and(|f| f.hit(self.kind.name, Fault::IcNegotiateAgain))
    }

    fn receive(&self, packet: &Packet) -> Result<()> {
        ensure!(packet.type_ == DATA_INBAND, "packet type {}", packet.type_);
        let header = parse_reply(&packet.payload)?;
        ensure!(
            header.icflags == ICMSGHDRFLAG_TRANSACTION | ICMSGHDRFLAG_RESPONSE,
            "message flags {:#x} are not those of a response",
            header.icflags
        );
        let body = rlis_proto::ic::body(&packet.payload);
        let transaction = header.ictransaction_id;
        let mut state = self.state();
        if let Some(at) = state.given_up.iter().position(|t| *t == transaction) {
            state.given_up.swap_remove(at);
            return Ok(());
        }
        ensure!(
            state.waiting == Some(transaction)
                && (self.kind.on_the_ring || packet.transaction == u64::from(transaction)),
            "a reply for transaction {} ({}), where {:?} waits",
            transaction,
            packet.transaction,
            state.waiting
        );
        state.waiting = None;
        match MessageType(header.icmsgtype) {
            MessageType::ICMSGTYPE_NEGOTIATE => {
                state.generation += 1;
                self.changed.notify_all();
                let agreed = self.negotiated_versions(&packet.payload)?;
                if self.begins_anew(&state) {
                    return self.negotiate(&mut state);
                }
                match agreed {
                    Some(agreed) => {
                        state.versions = Some(agreed);
                        eprintln!(
                            "rlis-host: {}: version {}, framework {}",
                            self.kind.name, agreed.message, agreed.framework
                        );
                    }
                    // A guest may say so, in particular after a negotiation that was made unreadable on purpose.
                    None => eprintln!("rlis-host: {}: no version in common", self.kind.name),
                }
            }
            type_ => {
                let waiting = self.kind.type_;
                ensure!(
                    type_ == waiting,
                    "a reply of type {} to a request of type {}",
                    type_.0,
                    waiting.0
                );
                state.reply = Some(Reply {
                    status: header.status,
                    body: body.to_vec(),
                });
                self.changed.notify_all();
            }
        }
        Ok(())
    }
}

/// User data of an offer that is a pipe in message mode (VMBUS_PIPE_TYPE_MESSAGE).
pub fn pipe_message_mode() -> [u8; rlis_proto::vmbus::MAX_USER_DEFINED_BYTES] {
    let mut data = [0; rlis_proto::vmbus::MAX_USER_DEFINED_BYTES];
    let mode = rlis_proto::vmbus::VMBUS_PIPE_TYPE_MESSAGE.to_le_bytes();
    data.iter_mut().zip(mode).for_each(|(d, s)| *d = s);
    data
}

impl Device for Component {
    fn opened(&self, channel: &Arc<Channel>) {
        let mut state = self.state();
        state.channel = Some(channel.clone());
        state.versions = None;
        state.given_up.clear();
        if let Err(error) = self.negotiate(&mut state) {
            eprintln!("rlis-host: {}: {error:#}", self.kind.name);
        }
        drop(state);
        if self.kind.on_the_ring {
            let channel = channel.clone();
            thread::spawn(move || {
                for _ in 0..NUDGES {
                    thread::sleep(NUDGE_INTERVAL);
                    if channel.is_stopped() || channel.stats.received.load(Ordering::Relaxed) > 0 {
                        return;
                    }
                    channel.nudge();
                }
            });
        }
    }

    fn packet(&self, _channel: &Arc<Channel>, packet: Packet) -> Result<()> {
        self.receive(&packet)
    }

    fn closed(&self, _channel: &Arc<Channel>) {
        let mut state = self.state();
        state.channel = None;
        state.versions = None;
        state.waiting = None;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests;
