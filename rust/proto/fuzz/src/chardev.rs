// SPDX-License-Identifier: GPL-2.0

//! A character device between a host and a daemon that both do as they please, in whatever order: what the driver
//! does with channel and device, without a kernel.
//!
//! Checked is what Documentation/char-devices.md promises: one answer for each request and none without, messages of
//! the right length with whole texts in them, and that nothing gets stuck.

use crate::input::{padded, Input};
use crate::{fcopy as check_fcopy, kvp as check_kvp};
use rlis_proto::ic::transaction::{
    handshake_answer, Output, Outputs, Profile, ToDaemon, Transaction,
};
use rlis_proto::ic::{self, fcopy, kvp, vss, Action, Guest, Service, Status, ICMSG_HDR};

/// One of the three services: what the driver's modules of the same names say about each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Key-value pairs.
    Kvp,
    /// Snapshots.
    Vss,
    /// File copy.
    Fcopy,
}

/// What becomes of a request: operation and length of the message for the daemon, or a status.
type Converted = Result<(u32, usize), Status>;

impl Kind {
    const fn service(self) -> (&'static Service, &'static Profile) {
        match self {
            Self::Kvp => (&kvp::SERVICE, &kvp::PROFILE),
            Self::Vss => (&vss::SERVICE, &vss::PROFILE),
            Self::Fcopy => (&fcopy::SERVICE, &fcopy::PROFILE),
        }
    }

    /// Bytes of the longest message in either direction.
    const fn longest(self) -> usize {
        match self {
            Self::Kvp => kvp::KVP_MESSAGE_SIZE,
            Self::Vss => vss::VSS_MESSAGE_SIZE,
            Self::Fcopy => fcopy::FCOPY_MAX_MESSAGE,
        }
    }

    /// Bytes of what a daemon writes.
    const fn written_len(self) -> usize {
        match self {
            Self::Fcopy => 4,
            _ => self.longest(),
        }
    }

    fn request(self, body: &mut [u8], legacy: bool, out: &mut [u8]) -> Converted {
        match self {
            Self::Kvp => {
                let op = kvp::to_daemon(body, legacy, out).map_err(check_kvp::refused)?;
                check_kvp::check_message(op, legacy, out);
                Ok((u32::from(op.0), kvp::KVP_MESSAGE_SIZE))
            }
            Self::Vss => match vss::handle(body).map_err(|_| Status::HV_E_FAIL)? {
                vss::VssRequest::Daemon(op) => {
                    let len = vss::to_daemon(op, out).expect("room");
                    Ok((u32::from(op.0), len))
                }
                vss::VssRequest::Answered(status) => Err(status),
            },
            Self::Fcopy => {
                let (op, len) = fcopy::to_daemon(body, out).map_err(|refused| refused.0)?;
                check_fcopy::check_message(op, &out[..len], body);
                Ok((op.0, len))
            }
        }
    }

    fn handshake(self, code: u32, out: &mut [u8]) -> usize {
        match self {
            Self::Kvp => kvp::handshake_answer(code, out),
            _ => handshake_answer(code, out),
        }
        .expect("room")
    }

    /// A registration (`Err`) or an answer (`Ok`); `None` if the daemon gets `EINVAL`.
    fn written(self, bytes: &[u8], registering: bool, legacy: bool) -> Option<Result<Status, u32>> {
        match self {
            Self::Kvp => match kvp::from_daemon(bytes, registering, legacy).ok()? {
                kvp::KvpFromDaemon::Register(code) => Some(Err(code)),
                kvp::KvpFromDaemon::Answer(status) => Some(Ok(status)),
            },
            Self::Vss => match vss::from_daemon(bytes, registering).ok()? {
                vss::VssFromDaemon::Register(code) => Some(Err(code)),
                vss::VssFromDaemon::Answer(status) => Some(Ok(status)),
            },
            Self::Fcopy => {
                let value = fcopy::from_daemon(bytes).ok()?;
                Some(if registering {
                    Err(value)
                } else {
                    Ok(Status(value))
                })
            }
        }
    }

    fn complete(self, body: &mut [u8], op: u32, status: Status, answer: &[u8]) -> Status {
        let byte = u8::try_from(op).expect("operations of all services are small");
        match self {
            Self::Kvp => {
                let status = kvp::complete(body, kvp::KvpOp(byte), status, answer);
                if status == Status::HV_S_OK {
                    check_kvp::check_reply(kvp::KvpOp(byte), body);
                }
                status
            }
            Self::Vss => {
                vss::complete(body, vss::VssOp(byte), status);
                status
            }
            Self::Fcopy => status,
        }
    }
}

/// Channel, device and driver.
struct World {
    kind: Kind,
    machine: Transaction,
    guest: Guest,
    open: bool,
    suspended: bool,
    timer: Option<u32>,
    /// The second timer runs.
    watchdog: bool,
    /// The request that waits for its reply, and its operation.
    pending: Option<(Vec<u8>, u32)>,
    outbox: Option<Vec<u8>>,
    draft: Vec<u8>,
    inbox: (Status, Vec<u8>),
}

/// What a frozen file system waits for: bytes of the messages that the service itself gives.
const THAW: u8 = 6;
/// Seconds for which the host may hold them frozen.
const FREEZE_LIMIT: u32 = 600;

impl World {
    fn reply(&mut self, status: Status) {
        assert!(!self.suspended, "a reply into a closed channel");
        let (mut packet, _) = self.pending.take().expect("a reply without a request");
        ic::finish(&mut packet, status).expect("headers");
        let header = ic::parse_reply(&packet).expect("a reply");
        assert_eq!({ header.status }, status.0);
    }

    fn run(&mut self, outputs: Outputs) {
        for output in outputs {
            match output {
                Output::Queue(ToDaemon::Request) => self.outbox = Some(self.draft.clone()),
                Output::Queue(ToDaemon::Handshake(code)) => {
                    let mut message = vec![0xa5; self.kind.longest()];
                    let len = self.kind.handshake(code, &mut message);
                    message.truncate(len);
                    self.outbox = Some(message);
                }
                Output::Queue(ToDaemon::Internal(op)) => {
                    assert_eq!((self.kind, op), (Kind::Vss, u32::from(THAW)));
                    let mut message = vec![0xa5; vss::VSS_MESSAGE_SIZE];
                    vss::to_daemon(vss::VssOp(THAW), &mut message).expect("room");
                    self.outbox = Some(message);
                }
                Output::Unqueue => self.outbox = None,
                Output::Reply(status) => {
                    assert_ne!(status, Status::HV_S_OK);
                    self.reply(status);
                }
                Output::ReplyFromDaemon => {
                    let (packet, op) = self.pending.as_mut().expect("a reply without a request");
                    let (status, answer) = &self.inbox;
                    let body = ic::body_mut(packet);
                    let status = self.kind.complete(body, *op, *status, answer);
                    self.reply(status);
                }
                Output::ArmTimer { id, seconds } => {
                    assert!((30..=900).contains(&seconds));
                    self.timer = Some(id);
                }
                Output::CancelTimer => self.timer = None,
                Output::ArmWatchdog { seconds } => {
                    assert_eq!((self.kind, seconds), (Kind::Vss, FREEZE_LIMIT));
                    self.watchdog = true;
                }
                Output::CancelWatchdog => self.watchdog = false,
                Output::Poll => {}
            }
        }
    }

    /// The host puts a packet into the ring, and the driver looks at it if it may.
    fn packet(&mut self, mut packet: Vec<u8>) {
        if self.suspended {
            return;
        }
        if !self.machine.wants_packet() {
            return;
        }
        assert!(self.pending.is_none(), "a second request in flight");
        let len = packet.len();
        match self.guest.receive(&mut packet) {
            Ok(Action::Request) => {
                let legacy = self.machine.is_legacy();
                let mut draft = vec![0xa5; self.kind.longest()];
                let body = ic::body_mut(&mut packet);
                let converted = self.kind.request(body, legacy, &mut draft);
                assert_eq!(packet.len(), len);
                self.pending = Some((packet, converted.map_or(0, |(op, _)| op)));
                match converted {
                    Ok((op, len)) => {
                        draft.truncate(len);
                        self.draft = draft;
                        let outputs = self.machine.host_request(op);
                        self.run(outputs);
                    }
                    Err(status) => self.reply(status),
                }
            }
            Ok(_) => {
                ic::parse_reply(&packet).expect("a reply");
            }
            Err(_) => assert!(len < ICMSG_HDR),
        }
    }

    fn open(&mut self) {
        match self.machine.daemon_open() {
            Ok(outputs) => {
                assert!(!self.open, "two daemons");
                self.open = true;
                self.run(outputs);
            }
            Err(_) => assert!(self.open),
        }
    }

    fn close(&mut self) {
        if std::mem::take(&mut self.open) {
            let outputs = self.machine.daemon_close();
            self.run(outputs);
            assert!(self.pending.is_none(), "nobody answers any more");
        }
    }

    fn read(&mut self) {
        if !self.open {
            return;
        }
        let Some(message) = self.outbox.take() else {
            return;
        };
        let lengths: &[usize] = match self.kind {
            Kind::Kvp => &[7432],
            Kind::Vss => &[4, 12],
            Kind::Fcopy => &[4, 36, 1088, 6196],
        };
        assert!(lengths.contains(&message.len()));
        let outputs = self.machine.daemon_read();
        self.run(outputs);
    }

    fn write(&mut self, bytes: &[u8]) {
        if !self.open {
            return;
        }
        // As much as the driver copies.
        let bytes = &bytes[..bytes.len().min(self.kind.written_len() + 1)];
        let registering = self.machine.expects_registration();
        let legacy = self.machine.is_legacy();
        let outputs = match self.kind.written(bytes, registering, legacy) {
            Some(Err(code)) => self.machine.daemon_register(code),
            Some(Ok(status)) => {
                self.inbox = (status, bytes.to_vec());
                self.machine.daemon_answer(status == Status::HV_S_OK)
            }
            None => return,
        };
        if let Ok(outputs) = outputs {
            self.run(outputs);
        }
    }

    fn expire(&mut self) {
        if let Some(id) = self.timer.take() {
            let outputs = self.machine.timeout(id);
            self.run(outputs);
        }
    }

    fn expire_watchdog(&mut self) {
        if std::mem::take(&mut self.watchdog) {
            let outputs = self.machine.freeze_expired();
            self.run(outputs);
        }
    }

    fn suspend_or_resume(&mut self) {
        let outputs = if self.suspended {
            self.suspended = false;
            self.machine.resume()
        } else {
            self.suspended = true;
            self.pending = None;
            self.machine.suspend()
        };
        self.run(outputs);
    }

    fn check(&self) {
        if self.pending.is_some() {
            assert!(self.timer.is_some(), "the host may wait for ever");
            assert!(!self.machine.wants_packet());
        }
        if self.timer.is_none() && !self.suspended && self.machine.has_daemon() {
            assert!(self.machine.wants_packet(), "stuck");
        }
    }
}

/// The input: one byte for the service, then events, each with one byte. Its low four bits say which, and its
/// highest fills what follows, if anything does, up with zeros to the longest message.
pub fn fuzz(data: &[u8]) {
    let mut input = Input(data);
    let kind = [Kind::Kvp, Kind::Vss, Kind::Fcopy][usize::from(input.u8()) % 3];
    let (service, profile) = kind.service();
    let mut world = World {
        kind,
        machine: Transaction::new(profile),
        guest: Guest::new(service),
        open: false,
        suspended: false,
        timer: None,
        watchdog: false,
        pending: None,
        outbox: None,
        draft: Vec::new(),
        inbox: (Status::HV_S_OK, Vec::new()),
    };
    world.machine.set_freeze_limit(FREEZE_LIMIT);
    while !input.is_empty() {
        let event = input.u8();
        let full = event & 0x80 != 0;
        match event & 0xf {
            // A packet as it is, or the body of a request of this service.
            0 => world.packet(input.slice().to_vec()),
            1..=3 => {
                let body = padded(input.slice(), if full { kind.longest() } else { 0 });
                let mut packet = vec![0; ICMSG_HDR + body.len()];
                packet[12..14].copy_from_slice(&service.message_type.0.to_le_bytes());
                packet[ICMSG_HDR..].copy_from_slice(&body);
                world.packet(packet);
            }
            4 => world.open(),
            5 => world.close(),
            6 | 7 => world.read(),
            8 => {
                let message = padded(input.slice(), if full { kind.written_len() } else { 0 });
                world.write(&message);
            }
            // A status, and nothing but zeros behind it.
            9 => world.write(&padded(&input.array::<4>(), kind.written_len())),
            // All is well.
            10 | 11 => world.write(&padded(&[], kind.written_len())),
            12 => world.expire(),
            13 => world.suspend_or_resume(),
            // A daemon as it should be.
            14 => {
                world.open();
                let code = [100u8, 129, 1][kind as usize];
                world.write(&padded(&[code], kind.written_len()));
                world.read();
            }
            _ => world.expire_watchdog(),
        }
        world.check();
    }
}
