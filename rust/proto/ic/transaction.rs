// SPDX-License-Identifier: GPL-2.0

//! The state machine between host, driver and daemon that KVP, VSS and file copy share.
//!
//! The host has one request in flight at a time; the driver hands it to a daemon through a character device
//! and sends the daemon's answer, or an error after a time-out, back. The machine decides; the driver holds
//! the messages. One request is answered exactly once, whatever daemon, host and timer do in which order.
//!
//! The driver serialises all calls with a lock, carries the [`Output`]s out in order, and
//! * reads a packet from the ring only while [`Transaction::wants_packet`], keeping it until the reply,
//! * keeps at most one message for the daemon, which [`Output::Queue`] replaces.

use super::Status;
use crate::error::{put_bytes, ProtoError};

mod output;

pub use self::output::{Output, Outputs, ToDaemon};

/// Seconds that a daemon has for an answer (`HV_UTIL_TIMEOUT`).
pub const HV_UTIL_TIMEOUT: u32 = 30;

/// How a service differs from the others.
#[derive(Clone, Copy, Debug)]
pub struct Profile {
    /// Registration codes of the daemon, and what each means.
    pub handshake: fn(u32) -> Option<Registration>,
    /// Seconds the daemon has for an operation.
    pub timeout: fn(u32) -> u32,
    /// Packets are left in the ring until the first daemon is there: the host's negotiation, too, so that it asks
    /// nothing before.
    pub waits_for_daemon: bool,
    /// Operations that stop (first) and restart (second) the file systems.
    pub freeze_thaw: Option<(u32, u32)>,
}

/// What a daemon's registration demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Daemons from before the current handshake: passes errors another way.
    pub legacy: bool,
    /// The daemon waits for an answer, and is ready when it has read it.
    pub answered: bool,
}

/// Why a call from the daemon's side is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DaemonError {
    /// Another daemon has the device open (EBUSY).
    Busy,
    /// Nothing was asked, or the registration is unknown (EINVAL).
    Unexpected,
    /// The device is going away or not open (EBADF).
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Daemon {
    /// The device is not open.
    Absent,
    /// Open, not registered.
    Open,
    /// Registered, has not read the answer.
    Registering { legacy: bool },
    /// At work.
    Ready { legacy: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct InFlight {
    op: u32,
    /// The host waits for the answer.
    from_host: bool,
    /// The daemon has read the message.
    read: bool,
}

/// What the host believes of the file systems.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    /// It has not asked for a freeze, or has ended it, or was told that it failed.
    None,
    /// They are frozen.
    Held,
    /// They are frozen; but they were, or are to be, thawed without it.
    Lapsed,
}

/// Writes the answer to a registration of a VSS or file copy daemon, its code in four bytes, into `out`; returns
/// its length.
///
/// # Errors
///
/// `NoRoom` if `out` is too small.
pub fn handshake_answer(code: u32, out: &mut [u8]) -> Result<usize, ProtoError> {
    put_bytes(out, &code.to_le_bytes(), "registration answer")
}

/// The machine.
#[derive(Clone, Debug)]
pub struct Transaction {
    profile: &'static Profile,
    daemon: Daemon,
    in_flight: Option<InFlight>,
    /// The operation that the daemon is still at work on although its time is over.
    late: Option<u32>,
    /// File systems are, or may be, frozen on our behalf.
    frozen: bool,
    /// A thaw that is to be sent as soon as that is possible.
    thaw_owed: bool,
    /// A thaw that nobody waits for any more is still in the daemon's queue.
    lingering: bool,
    hold: Hold,
    /// Seconds that the host may hold file systems frozen; 0 for as long as it likes.
    freeze_limit: u32,
    watchdog_armed: bool,
    /// A daemon was ready once.
    served: bool,
    suspended: bool,
    timer: u32,
    timer_armed: bool,
}

impl Transaction {
    /// A machine for a channel that has just been opened, without a daemon.
    pub const fn new(profile: &'static Profile) -> Self {
        Self {
            profile,
            daemon: Daemon::Absent,
            in_flight: None,
            late: None,
            frozen: false,
            thaw_owed: false,
            lingering: false,
            hold: Hold::None,
            freeze_limit: 0,
            watchdog_armed: false,
            served: false,
            suspended: false,
            timer: 0,
            timer_armed: false,
        }
    }

    /// Whether the driver may take a packet from the ring. If not, it leaves it there; [`Output::Poll`] tells
    /// when to look again.
    pub fn wants_packet(&self) -> bool {
        self.in_flight.is_none()
            && !self.suspended
            && (self.served || !self.profile.waits_for_daemon)
    }

    /// Whether a registered daemon is there.
    pub const fn has_daemon(&self) -> bool {
        matches!(self.daemon, Daemon::Ready { .. })
    }

    /// Whether the daemon uses the old way of passing errors.
    pub const fn is_legacy(&self) -> bool {
        matches!(
            self.daemon,
            Daemon::Ready { legacy: true } | Daemon::Registering { legacy: true }
        )
    }

    /// The operation in flight, if the host waits for it.
    pub fn host_operation(&self) -> Option<u32> {
        self.in_flight.filter(|f| f.from_host).map(|f| f.op)
    }

    /// Whether file systems are frozen on our behalf.
    pub const fn is_frozen(&self) -> bool {
        self.frozen
    }

    /// Limits the time for which the host may hold file systems frozen, from the next freeze on. 0 is no limit, as at
    /// the beginning.
    pub fn set_freeze_limit(&mut self, seconds: u32) {
        self.freeze_limit = seconds;
    }

    /// A request `op` of the host was taken from the ring, is well formed and needs the daemon.
    ///
    /// Without a daemon, or out of turn, it is answered with `HV_E_FAIL` at once.
    pub fn host_request(&mut self, op: u32) -> Outputs {
        let mut out = Outputs::default();
        if !self.has_daemon() || self.in_flight.is_some() || self.suspended {
            out.push(Output::Reply(Status::HV_E_FAIL));
            return out;
        }
        if self.is_freeze(op) {
            self.hold = Hold::None;
        }
        self.send(op, true, &mut out);
        out
    }

    /// The request that was just queued cannot be converted for the daemon after all.
    pub fn request_failed(&mut self, status: Status) -> Outputs {
        let mut out = Outputs::default();
        if self.host_operation().is_some() {
            out.push(Output::Unqueue);
            self.finish_with(Output::Reply(status), &mut out);
        }
        out
    }

    /// The daemon opens the device.
    ///
    /// # Errors
    ///
    /// `Busy` if it is open already.
    pub fn daemon_open(&mut self) -> Result<Outputs, DaemonError> {
        if self.daemon != Daemon::Absent {
            return Err(DaemonError::Busy);
        }
        self.daemon = Daemon::Open;
        Ok(Outputs::default())
    }

    /// The daemon closed the device, or died.
    pub fn daemon_close(&mut self) -> Outputs {
        let mut out = Outputs::default();
        self.daemon = Daemon::Absent;
        self.late = None;
        self.lingering = false;
        out.push(Output::Unqueue);
        if let Some(f) = self.in_flight.take() {
            self.cancel(&mut out);
            if f.from_host {
                out.push(Output::Reply(Status::HV_E_FAIL));
            }
            // It may have died with the file systems frozen, or half of them.
            if f.read {
                self.after_failure(f.op);
            }
        }
        // Nobody is waited for any more.
        self.poll(&mut out);
        // Frozen with nobody to thaw: the next daemon does it first of all.
        self.thaw_owed |= self.frozen;
        out
    }

    /// The daemon wrote registration code `code`.
    ///
    /// # Errors
    ///
    /// `Unexpected` for an unknown code or while a message is in flight, `Gone` if the device is not open.
    pub fn daemon_register(&mut self, code: u32) -> Result<Outputs, DaemonError> {
        if self.daemon == Daemon::Absent {
            return Err(DaemonError::Gone);
        }
        let registration = (self.profile.handshake)(code).ok_or(DaemonError::Unexpected)?;
        if self.in_flight.is_some() {
            return Err(DaemonError::Unexpected);
        }
        let mut out = Outputs::default();
        self.late = None;
        self.thaw_owed |= self.lingering;
        self.lingering = false;
        let legacy = registration.legacy;
        if registration.answered {
            self.daemon = Daemon::Registering { legacy };
            out.push(Output::Queue(ToDaemon::Handshake(code)));
        } else {
            self.daemon = Daemon::Ready { legacy };
            self.became_ready(&mut out);
        }
        Ok(out)
    }

    /// Whether a write of the daemon is a registration (and not an answer) now.
    pub const fn expects_registration(&self) -> bool {
        matches!(self.daemon, Daemon::Open | Daemon::Registering { .. })
    }

    /// The daemon has read the message that was queued.
    pub fn daemon_read(&mut self) -> Outputs {
        let mut out = Outputs::default();
        match (self.daemon, self.in_flight.as_mut()) {
            (Daemon::Registering { legacy }, _) => {
                self.daemon = Daemon::Ready { legacy };
                self.became_ready(&mut out);
            }
            (_, Some(f)) => {
                f.read = true;
                // It came back to read, so it will not answer the earlier message any more.
                self.late = None;
            }
            (_, None) if self.lingering => {
                if let Some((_, thaw)) = self.profile.freeze_thaw {
                    self.lingering = false;
                    self.late = None;
                    self.thaw_owed = false;
                    self.in_flight = Some(InFlight {
                        op: thaw,
                        from_host: false,
                        read: true,
                    });
                    self.arm((self.profile.timeout)(thaw), &mut out);
                }
            }
            _ => {}
        }
        out
    }

    /// The daemon wrote an answer; `succeeded` is whether it reports success.
    ///
    /// # Errors
    ///
    /// `Unexpected` if nothing was asked.
    pub fn daemon_answer(&mut self, succeeded: bool) -> Result<Outputs, DaemonError> {
        let mut out = Outputs::default();
        match self.in_flight {
            Some(f) if f.read => {
                if succeeded {
                    self.after_success(f.op, &mut out);
                }
                let mut reply = Output::ReplyFromDaemon;
                if f.from_host && succeeded {
                    reply = self.reply_after_success(f.op, &mut out);
                }
                if !succeeded && f.from_host {
                    self.after_failure(f.op);
                } else if !f.from_host {
                    // One attempt: with a daemon that fails to thaw, repeating would not end.
                    self.thaw_owed = false;
                }
                if f.from_host {
                    self.finish_with(reply, &mut out);
                } else {
                    self.finish(&mut out);
                }
                Ok(out)
            }
            // The answer to a message that was given up.
            _ => match self.late.take() {
                Some(op) => {
                    // A thaw that is owed stays owed after a freeze that came late.
                    if succeeded && !self.is_freeze(op) {
                        self.after_success(op, &mut out);
                    }
                    if self.in_flight.is_none() {
                        self.send_owed(&mut out);
                    }
                    Ok(out)
                }
                None => Err(DaemonError::Unexpected),
            },
        }
    }

    /// The timer with this id fired. One that was cancelled or replaced meanwhile is ignored.
    pub fn timeout(&mut self, id: u32) -> Outputs {
        let mut out = Outputs::default();
        if !self.timer_armed || id != self.timer {
            return out;
        }
        self.timer_armed = false;
        if let Some(f) = self.in_flight.take() {
            if f.read {
                self.late = Some(f.op);
                if f.from_host {
                    self.after_failure(f.op);
                }
            } else if f.from_host {
                // Never read: the daemon did nothing, and shall not do it later.
                out.push(Output::Unqueue);
            } else {
                self.lingering = true;
            }
            if f.from_host {
                out.push(Output::Reply(Status::HV_E_FAIL));
                self.next(&mut out);
            } else {
                // The daemon hangs. The thaw stays owed until it shows life, but does not hold the host up.
                self.thaw_owed = self.frozen;
                self.poll(&mut out);
            }
        }
        out
    }

    /// The second timer fired: the host holds the file systems frozen for too long, and has probably forgotten them.
    /// They are thawed without it, and it is told so when it asks for the thaw: what it did last was not done to
    /// frozen file systems.
    pub fn freeze_expired(&mut self) -> Outputs {
        let mut out = Outputs::default();
        if self.watchdog_armed {
            self.watchdog_armed = false;
            self.thaw_owed |= self.frozen;
            if self.in_flight.is_none() {
                self.send_owed(&mut out);
            }
        }
        out
    }

    /// The channel is about to be closed for suspend, or the device was rescinded: no reply can be sent any
    /// more, and what is frozen is thawed.
    pub fn suspend(&mut self) -> Outputs {
        let mut out = Outputs::default();
        self.suspended = true;
        if let Some(f) = self.in_flight.take() {
            self.cancel(&mut out);
            if f.read {
                self.late = Some(f.op);
                self.after_failure(f.op);
            } else {
                out.push(Output::Unqueue);
            }
        }
        self.cancel_watchdog(&mut out);
        self.thaw_owed |= self.frozen;
        self.send_owed(&mut out);
        out
    }

    /// The channel is open again.
    pub fn resume(&mut self) -> Outputs {
        let mut out = Outputs::default();
        self.suspended = false;
        out.push(Output::Poll);
        out
    }

    fn is_freeze(&self, op: u32) -> bool {
        self.profile
            .freeze_thaw
            .is_some_and(|(freeze, _)| op == freeze)
    }

    fn is_thaw(&self, op: u32) -> bool {
        self.profile.freeze_thaw.is_some_and(|(_, thaw)| op == thaw)
    }

    fn after_success(&mut self, op: u32, out: &mut Outputs) {
        if self.is_freeze(op) {
            self.frozen = true;
        } else if self.is_thaw(op) {
            self.frozen = false;
            self.thaw_owed = false;
            self.cancel_watchdog(out);
        }
    }

    /// How the host is told that the daemon has done `op` for it.
    fn reply_after_success(&mut self, op: u32, out: &mut Outputs) -> Output {
        if self.is_freeze(op) {
            self.hold = Hold::Held;
            if self.freeze_limit > 0 {
                self.watchdog_armed = true;
                out.push(Output::ArmWatchdog {
                    seconds: self.freeze_limit,
                });
            }
        } else if self.is_thaw(op) {
            let lapsed = self.hold == Hold::Lapsed;
            self.hold = Hold::None;
            if lapsed {
                return Output::Reply(Status::HV_E_FAIL);
            }
        }
        Output::ReplyFromDaemon
    }

    /// After a freeze that failed or whose outcome is unknown a thaw has to follow.
    fn after_failure(&mut self, op: u32) {
        if self.is_freeze(op) {
            self.frozen = true;
            self.thaw_owed = true;
        }
    }

    fn became_ready(&mut self, out: &mut Outputs) {
        self.served = true;
        self.next(out);
    }

    fn send(&mut self, op: u32, from_host: bool, out: &mut Outputs) {
        // What is in the queue is replaced.
        self.lingering = false;
        self.in_flight = Some(InFlight {
            op,
            from_host,
            read: false,
        });
        let seconds = (self.profile.timeout)(op);
        self.arm(seconds, out);
        out.push(Output::Queue(if from_host {
            ToDaemon::Request
        } else {
            ToDaemon::Internal(op)
        }));
    }

    fn send_owed(&mut self, out: &mut Outputs) {
        if let (true, true, Some((_, thaw))) =
            (self.thaw_owed, self.has_daemon(), self.profile.freeze_thaw)
        {
            self.thaw_owed = false;
            if self.hold == Hold::Held {
                self.hold = Hold::Lapsed;
            }
            self.send(thaw, false, out);
        }
    }

    /// Ends what is in flight with an answer to the host.
    fn finish_with(&mut self, reply: Output, out: &mut Outputs) {
        out.push(reply);
        self.finish(out);
    }

    /// Ends what is in flight.
    fn finish(&mut self, out: &mut Outputs) {
        self.in_flight = None;
        self.cancel(out);
        self.next(out);
    }

    /// Nothing is in flight: what is owed comes first, else the ring.
    fn next(&mut self, out: &mut Outputs) {
        self.send_owed(out);
        self.poll(out);
    }

    fn poll(&mut self, out: &mut Outputs) {
        if self.in_flight.is_none() && !self.suspended {
            out.push(Output::Poll);
        }
    }

    fn arm(&mut self, seconds: u32, out: &mut Outputs) {
        self.timer = self.timer.wrapping_add(1);
        self.timer_armed = true;
        out.push(Output::ArmTimer {
            id: self.timer,
            seconds,
        });
    }

    fn cancel_watchdog(&mut self, out: &mut Outputs) {
        if core::mem::take(&mut self.watchdog_armed) {
            out.push(Output::CancelWatchdog);
        }
    }

    fn cancel(&mut self, out: &mut Outputs) {
        self.timer_armed = false;
        out.push(Output::CancelTimer);
    }
}

#[cfg(test)]
mod tests;
