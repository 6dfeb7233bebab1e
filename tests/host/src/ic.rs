// SPDX-License-Identifier: GPL-2.0

//! Integration components, the host's side: framing, version negotiation, and requests with their replies
//! (struct vmbuspipe_hdr, icmsg_hdr and icmsg_negotiate of include/linux/hyperv.h).

pub mod fcopy;
pub mod heartbeat;
pub mod kvp;
pub mod shutdown;
pub mod timesync;
pub mod vss;

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use rlis_proto::Guid;
use zerocopy::{FromBytes, IntoBytes};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::faults::Fault;
use crate::vmbus::channel::Channel;
use crate::vmbus::ring::{Packet, DATA_INBAND};
use crate::vmbus::{Device, Offer};

/// ICMSGTYPE_NEGOTIATE.
const TYPE_NEGOTIATE: u16 = 0;
/// ICMSGHDRFLAG_TRANSACTION | ICMSGHDRFLAG_REQUEST.
const FLAGS_REQUEST: u8 = 1 | 2;
/// ICMSGHDRFLAG_TRANSACTION | ICMSGHDRFLAG_RESPONSE.
const FLAGS_RESPONSE: u8 = 1 | 4;
/// Bytes of the pipe header and the message header.
const HEADERS: usize = 28;
/// Framework versions that the host offers, as Hyper-V does: 1.0 and 3.0.
const FRAMEWORK: [Version; 2] = [Version::new(1, 0), Version::new(3, 0)];

/// How often a program that has not answered to the negotiation is interrupted again, once a second.
const NUDGES: u32 = 30;

/// `struct ic_version`, 4 bytes.
#[derive(
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(C, packed)]
pub struct Version {
    major: u16,
    minor: u16,
}

impl Version {
    /// Version `major.minor`.
    pub const fn new(major: u16, minor: u16) -> Self {
        Self { major, minor }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", { self.major }, { self.minor })
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Pipe header and message header, 28 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C, packed)]
struct Header {
    pipe_flags: u32,
    pipe_msgsize: u32,
    framework: Version,
    type_: u16,
    message: Version,
    size: u16,
    status: u32,
    transaction: u8,
    flags: u8,
    reserved: [u8; 2],
}

/// What kind of component it is.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// Name of the device in commands.
    pub name: &'static str,
    /// Device class.
    pub class: Guid,
    /// Device instance: the one that every Hyper-V host has, since programs look for it.
    pub instance: Guid,
    /// Whether replies carry the transaction id of the request in their packet header too. The daemon that works
    /// on the ring itself does not care for it.
    pub echoes_transaction: bool,
    /// Message type of its requests (ICMSGTYPE_*).
    pub type_: u16,
    /// Message versions that the host offers, ascending.
    pub versions: &'static [Version],
}

/// A GUID from its text, for constants.
const fn instance(text: &str) -> Guid {
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
    versions: Option<(Version, Version)>,
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
            .map(|(_, message)| (message, state.generation))
    }

    /// Waits until the guest's driver has negotiated.
    pub fn wait_ready(&self, timeout: Duration) -> Result<Version> {
        let deadline = Instant::now() + timeout;
        let mut state = self.state();
        loop {
            if let Some((_, message)) = state.versions {
                return Ok(message);
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

    fn send(&self, state: &mut State, type_: u16, body: &[u8]) -> Result<u8> {
        let channel = state
            .channel
            .clone()
            .with_context(|| format!("{} is not open", self.kind.name))?;
        state.transaction = state.transaction.wrapping_add(1);
        let transaction = state.transaction;
        let (framework, message) = state.versions.unwrap_or_default();
        let faults = &channel.context.faults;
        if faults.hit(self.kind.name, Fault::IcUnknownType) {
            let odd = Header {
                type_: 0x7F,
                flags: FLAGS_REQUEST,
                pipe_flags: 1,
                pipe_msgsize: 20,
                ..Default::default()
            };
            state.given_up.push(0);
            channel.send(0, odd.as_bytes());
        }
        let size = match faults.take(self.kind.name, Fault::IcSize, 0xFFFF) {
            Some(value) => u16::try_from(value).unwrap_or(u16::MAX),
            None => u16::try_from(body.len())?,
        };
        let header = Header {
            pipe_flags: 1,
            pipe_msgsize: u32::try_from(HEADERS - 8 + body.len())?,
            framework,
            type_,
            message,
            size,
            status: 0,
            transaction,
            flags: FLAGS_REQUEST,
            reserved: [0; 2],
        };
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend(body);
        state.waiting = Some(transaction);
        state.reply = None;
        channel.send(transaction.into(), &bytes);
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
        let transaction = self.send(&mut state, self.kind.type_, body)?;
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
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn negotiate(&self, state: &mut State) -> Result<()> {
        let channel = state.channel.clone().context("not open")?;
        let faults = &channel.context.faults;
        let count = |n: usize| -> Result<u16> {
            Ok(
                match faults.take(self.kind.name, Fault::IcVersionCount, 0xFFFF) {
                    Some(value) => u16::try_from(value).unwrap_or(u16::MAX),
                    None => u16::try_from(n)?,
                },
            )
        };
        // struct icmsg_negotiate: two counts, a reserved word, then the versions.
        let mut body = Vec::new();
        body.extend(count(FRAMEWORK.len())?.to_le_bytes());
        body.extend(count(self.kind.versions.len())?.to_le_bytes());
        body.extend([0; 4]);
        body.extend(FRAMEWORK.as_bytes());
        body.extend(self.kind.versions.as_bytes());
        self.send(state, TYPE_NEGOTIATE, &body).map(drop)
    }

    /// Checks the guest's answer to the negotiation. Returns framework and message version, `None` if the guest
    /// supports none of those offered.
    fn negotiated_versions(&self, body: &[u8]) -> Result<Option<(Version, Version)>> {
        let (counts, rest) = <[u16; 4]>::read_from_prefix(body)
            .ok()
            .context("the negotiation reply is too short")?;
        if counts[0] == 0 && counts[1] == 0 {
            return Ok(None);
        }
        ensure!(
            counts[0] == 1 && counts[1] == 1,
            "the guest chose {} framework and {} message versions",
            counts[0],
            counts[1]
        );
        let (versions, _) = <[Version; 2]>::read_from_prefix(rest)
            .ok()
            .context("the negotiation reply is too short")?;
        let [framework, message] = versions;
        ensure!(
            FRAMEWORK.contains(&framework),
            "the guest chose framework version {framework}, which was not offered"
        );
        ensure!(
            self.kind.versions.contains(&message),
            "the guest chose version {message}, which was not offered"
        );
        Ok(Some((framework, message)))
    }

    fn receive(&self, packet: &Packet) -> Result<()> {
        ensure!(packet.type_ == DATA_INBAND, "packet type {}", packet.type_);
        let (header, body) = Header::read_from_prefix(&packet.payload)
            .ok()
            .context("a packet shorter than its headers")?;
        ensure!(
            header.flags == FLAGS_RESPONSE,
            "message flags {:#x} are not those of a response",
            header.flags
        );
        let mut state = self.state();
        if let Some(at) = state.given_up.iter().position(|t| *t == header.transaction) {
            state.given_up.swap_remove(at);
            return Ok(());
        }
        ensure!(
            state.waiting == Some(header.transaction)
                && (!self.kind.echoes_transaction
                    || packet.transaction == u64::from(header.transaction)),
            "a reply for transaction {} ({}), where {:?} waits",
            header.transaction,
            packet.transaction,
            state.waiting
        );
        state.waiting = None;
        match header.type_ {
            TYPE_NEGOTIATE => {
                state.generation += 1;
                self.changed.notify_all();
                match self.negotiated_versions(body)? {
                    Some((framework, message)) => {
                        state.versions = Some((framework, message));
                        let name = self.kind.name;
                        eprintln!("rlis-host: {name}: version {message}, framework {framework}");
                    }
                    // A guest may say so, in particular after a negotiation that was made unreadable on purpose.
                    None => eprintln!("rlis-host: {}: no version in common", self.kind.name),
                }
            }
            type_ => {
                let waiting = self.kind.type_;
                ensure!(
                    type_ == waiting,
                    "a reply of type {type_} to a request of type {waiting}"
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
fn pipe_message_mode() -> [u8; rlis_proto::vmbus::MAX_USER_DEFINED_BYTES] {
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
        // A program that works on the ring misses a packet that comes before it has unmasked interrupts.
        if !self.kind.echoes_transaction {
            let channel = channel.clone();
            thread::spawn(move || {
                for _ in 0..NUDGES {
                    thread::sleep(Duration::from_secs(1));
                    if channel.is_stopped() || channel.stats.received.load(Ordering::Relaxed) > 0 {
                        return;
                    }
                    channel.nudge();
                }
            });
        }
    }

    fn packet(&self, channel: &Arc<Channel>, packet: Packet) {
        if let Err(error) = self.receive(&packet) {
            channel
                .context
                .violations
                .record(format!("{}: {error:#}", self.kind.name));
        }
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
mod tests {
    use super::*;

    fn component() -> Arc<Component> {
        Component::new(heartbeat::KIND)
    }

    fn reply(counts: [u16; 2], versions: [Version; 2]) -> Vec<u8> {
        let mut body = [counts[0], counts[1], 0, 0].as_bytes().to_vec();
        body.extend(versions.as_bytes());
        body
    }

    #[test]
    fn header_has_the_size_of_the_c_structs() {
        assert_eq!(size_of::<Header>(), HEADERS);
    }

    #[test]
    fn a_choice_must_have_been_offered() {
        let c = component();
        let v = Version::new;
        assert_eq!(
            c.negotiated_versions(&reply([1, 1], [v(3, 0), v(3, 0)]))
                .unwrap(),
            Some((v(3, 0), v(3, 0)))
        );
        assert!(c
            .negotiated_versions(&reply([1, 1], [v(2, 0), v(3, 0)]))
            .is_err());
        assert!(c
            .negotiated_versions(&reply([1, 1], [v(3, 0), v(9, 0)]))
            .is_err());
        assert_eq!(
            c.negotiated_versions(&reply([0, 0], [v(3, 0), v(3, 0)]))
                .unwrap(),
            None
        );
        assert!(c.negotiated_versions(&[1, 0, 1, 0, 0, 0, 0, 0, 3]).is_err());
    }

    #[test]
    fn a_request_without_a_guest_fails_at_once() {
        assert!(component().request(&[], Duration::from_secs(60)).is_err());
        assert!(component().wait_ready(Duration::from_millis(1)).is_err());
    }
}
