// SPDX-License-Identifier: GPL-2.0

//! The machine among a driver, a host and a daemon, which do anything in any order.

use super::*;
use proptest::prelude::*;
use std::vec;

/// Seconds that a freeze may last.
const LIMIT: u32 = 77;

/// A driver, a host and a daemon around the machine.
struct World {
    t: Transaction,
    /// The host waits for an answer.
    asked: bool,
    /// What the driver has for the daemon.
    queue: Option<ToDaemon>,
    /// What the daemon works on.
    working: Option<u32>,
    op: u32,
    timer: Option<u32>,
    open: bool,
    /// A daemon was there once.
    served: bool,
    suspended: bool,
    /// What the file systems really are.
    frozen: bool,
    /// A thaw failed, which is reported but not repeated.
    thaw_failed: bool,
    /// What the daemon said last.
    answered_well: bool,
    watchdog: bool,
    /// A thaw was in the daemon's queue since the last freeze.
    tried: bool,
    /// The host was told that its freeze succeeded, and has asked for no thaw since.
    held: bool,
    /// They were thawed while it was so.
    lapsed: bool,
}

impl World {
    fn run(&mut self, out: Outputs) {
        for o in out {
            match o {
                Output::Queue(m) => {
                    match m {
                        ToDaemon::Request if self.op == FREEZE => self.tried = false,
                        ToDaemon::Internal(_) => self.tried = true,
                        _ => {}
                    }
                    self.queue = Some(m);
                }
                Output::Unqueue => self.queue = None,
                Output::Reply(_) | Output::ReplyFromDaemon => {
                    assert!(self.asked, "answer without a question");
                    assert!(!self.suspended, "answer to a closed channel");
                    self.asked = false;
                    let success = o == Output::ReplyFromDaemon && self.answered_well;
                    if self.op == FREEZE {
                        (self.held, self.lapsed) = (success, false);
                    } else if self.op == THAW {
                        assert!(
                            !success || !self.lapsed,
                            "the host takes its freeze for one that lasted"
                        );
                        (self.held, self.lapsed) = (false, false);
                    }
                }
                Output::ArmTimer { id, seconds } => {
                    assert!(seconds > 0);
                    self.timer = Some(id);
                }
                Output::CancelTimer => self.timer = None,
                Output::ArmWatchdog { seconds } => {
                    assert_eq!((seconds, self.op), (LIMIT, FREEZE));
                    self.watchdog = true;
                }
                Output::CancelWatchdog => self.watchdog = false,
                Output::Poll => assert!(!self.suspended || !self.open),
            }
        }
    }

    fn check(&mut self) {
        self.served |= self.t.has_daemon();
        if self.asked {
            // Somebody will answer: the daemon in time, or the timer.
            assert!(self.t.host_operation().is_some() && self.timer.is_some());
            assert!(!self.t.wants_packet());
        }
        if self.served
            && !self.suspended
            && self.t.host_operation().is_none()
            && !self.t.has_daemon()
        {
            assert!(
                self.t.wants_packet(),
                "the host waits for a daemon that has gone"
            );
        }
        if self.held && self.frozen && !self.suspended && self.t.has_daemon() {
            // The host thaws, somebody does it for it, or will; unless the one attempt has failed.
            let under_way = self.t.in_flight.is_some();
            assert!(
                self.watchdog || under_way || self.tried || self.thaw_failed,
                "frozen for ever"
            );
        }
        if self.timer.is_none() && !self.suspended && self.t.has_daemon() {
            assert!(self.t.wants_packet(), "stuck");
        }
    }

    fn read(&mut self) {
        if !self.open || self.working.is_some() {
            return;
        }
        if let Some(m) = self.queue.take() {
            match m {
                ToDaemon::Handshake(_) => {}
                ToDaemon::Request => self.working = Some(self.op),
                ToDaemon::Internal(op) => self.working = Some(op),
            }
            let out = self.t.daemon_read();
            self.run(out);
        }
    }

    fn answer(&mut self, success: bool) {
        if let Some(op) = self.working.take() {
            if success && (op == FREEZE || op == THAW) {
                self.frozen = op == FREEZE;
            }
            if op == FREEZE || op == THAW {
                self.thaw_failed = op == THAW && !success;
            }
            // A failed freeze may have frozen some; the worst case counts.
            if !success && op == FREEZE {
                self.frozen = true;
            }
            // Who thaws for the host is seen by its question still being open.
            let by_host = self.asked && self.op == THAW;
            self.lapsed |= success && op == THAW && self.held && !by_host;
            self.answered_well = success;
            let out = self.t.daemon_answer(success).unwrap();
            self.run(out);
        }
    }
}

proptest! {
    /// Whatever happens in whatever order: each question has one answer, nothing gets stuck, and when the
    /// host is not in a freeze that it was told of, a working daemon ends up with thawed file systems.
    #[test]
    fn any_order_of_events(
        profile in 0usize..3,
        events in proptest::collection::vec((0u8..12, any::<bool>()), 0..200),
    ) {
        let (profile, code, ops) = [
            (&kvp::PROFILE, 100, vec![0, 1, 3]),
            (&vss::PROFILE, 129, vec![2, FREEZE, THAW]),
            (&fcopy::PROFILE, 1, vec![0, 1, 2]),
        ][profile].clone();
        let mut w = World {
            t: Transaction::new(profile), asked: false, queue: None, working: None, op: 0, timer: None,
            open: false, served: false, suspended: false, frozen: false, thaw_failed: false,
            answered_well: false, watchdog: false, held: false, lapsed: false, tried: false,
        };
        w.t.set_freeze_limit(LIMIT);
        for (n, (event, flag)) in events.into_iter().enumerate() {
            match event {
                0..=2 => {
                    if w.t.wants_packet() {
                        w.asked = true;
                        w.op = ops[n % ops.len()];
                        let out = w.t.host_request(w.op);
                        w.run(out);
                        if flag && w.asked && n % 7 == 0 {
                            let out = w.t.request_failed(Status::HV_INVALIDARG);
                            w.run(out);
                        }
                    }
                }
                3 | 4 => w.read(),
                5 | 6 => w.answer(flag),
                7 => {
                    if let Some(id) = w.timer.take() {
                        let out = w.t.timeout(id);
                        w.run(out);
                    }
                }
                11 if flag && w.watchdog => {
                    w.watchdog = false;
                    let out = w.t.freeze_expired();
                    w.run(out);
                }
                8 if !w.open => {
                    let out = w.t.daemon_open().unwrap();
                    w.run(out);
                    w.open = true;
                    let out = w.t.daemon_register(code).unwrap();
                    w.run(out);
                }
                8 => {
                    prop_assert_eq!(w.t.daemon_open(), Err(DaemonError::Busy));
                }
                9 if w.open && flag => {
                    w.open = false;
                    w.working = None;
                    let out = w.t.daemon_close();
                    w.run(out);
                }
                10 if flag => {
                    if w.suspended {
                        w.suspended = false;
                        let out = w.t.resume();
                        w.run(out);
                    } else {
                        w.asked = false;
                        w.suspended = true;
                        let out = w.t.suspend();
                        w.run(out);
                    }
                }
                _ => {}
            }
            w.check();
        }
        // The end: the channel is closed for good, and a daemon does its work.
        if !w.suspended {
            w.asked = false;
            w.suspended = true;
            let out = w.t.suspend();
            w.run(out);
        }
        if !w.open {
            w.open = true;
            let out = w.t.daemon_open().unwrap();
            w.run(out);
            let out = w.t.daemon_register(code).unwrap();
            w.run(out);
        }
        for _ in 0..6 {
            w.read();
            w.answer(true);
        }
        prop_assert!(!w.frozen || w.thaw_failed, "file systems left frozen");
        prop_assert!(w.queue.is_none());
    }
}
