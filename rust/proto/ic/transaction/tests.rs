// SPDX-License-Identifier: GPL-2.0

use super::*;
use crate::ic::{fcopy, kvp, vss};
use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

extern crate std;

const FREEZE: u32 = 5;
const THAW: u32 = 6;

fn list(out: Outputs) -> Vec<Output> {
    out.into_iter().collect()
}

fn queued(out: Outputs) -> Option<ToDaemon> {
    out.into_iter().find_map(|o| match o {
        Output::Queue(m) => Some(m),
        _ => None,
    })
}

fn armed(out: Outputs) -> Option<(u32, u32)> {
    out.into_iter().find_map(|o| match o {
        Output::ArmTimer { id, seconds } => Some((id, seconds)),
        _ => None,
    })
}

fn replies(out: Outputs) -> Vec<Output> {
    out.into_iter()
        .filter(|o| matches!(o, Output::Reply(_) | Output::ReplyFromDaemon))
        .collect()
}

fn ready(profile: &'static Profile, code: u32) -> Transaction {
    let mut t = Transaction::new(profile);
    t.daemon_open().unwrap();
    t.daemon_register(code).unwrap();
    t.daemon_read();
    assert!(t.has_daemon());
    t
}

#[test]
fn a_request_goes_to_the_daemon_and_back() {
    let mut t = ready(&kvp::PROFILE, 100);
    assert!(t.wants_packet());
    let out = t.host_request(3);
    assert_eq!(
        list(out),
        [
            Output::ArmTimer { id: 1, seconds: 30 },
            Output::Queue(ToDaemon::Request)
        ]
    );
    assert!(!t.wants_packet());
    assert_eq!(t.host_operation(), Some(3));
    t.daemon_read();
    assert_eq!(
        list(t.daemon_answer(true).unwrap()),
        [Output::ReplyFromDaemon, Output::CancelTimer, Output::Poll]
    );
    assert!(t.wants_packet());
    assert_eq!(t.daemon_answer(true), Err(DaemonError::Unexpected));
    assert_eq!(list(t.timeout(1)), []);
}

#[test]
fn an_answer_before_the_question_is_read_is_refused() {
    let mut t = ready(&kvp::PROFILE, 100);
    t.host_request(3);
    assert_eq!(t.daemon_answer(true), Err(DaemonError::Unexpected));
    assert_eq!(t.host_operation(), Some(3));
}

#[test]
fn handshakes() {
    for (profile, code, answered, legacy) in [
        (&kvp::PROFILE, 100, true, false),
        (&kvp::PROFILE, 4, true, true),
        (&vss::PROFILE, 129, true, false),
        (&vss::PROFILE, 128, false, true),
        (&fcopy::PROFILE, 1, true, false),
        (&fcopy::PROFILE, 0, false, true),
    ] {
        let mut t = Transaction::new(profile);
        assert_eq!(t.daemon_register(code), Err(DaemonError::Gone));
        t.daemon_open().unwrap();
        assert_eq!(t.daemon_open(), Err(DaemonError::Busy));
        assert!(t.expects_registration());
        assert_eq!(t.daemon_register(77), Err(DaemonError::Unexpected));
        let out = t.daemon_register(code).unwrap();
        assert_eq!(queued(out), answered.then_some(ToDaemon::Handshake(code)));
        assert_eq!(t.has_daemon(), !answered);
        assert_eq!(t.is_legacy(), legacy);
        if answered {
            assert!(list(t.daemon_read()).contains(&Output::Poll));
        }
        assert!(t.has_daemon() && !t.expects_registration());
        t.daemon_close();
        assert!(!t.has_daemon());
        assert!(t.daemon_open().is_ok());
    }
}

#[test]
fn grace_period_of_kvp() {
    let mut t = Transaction::new(&kvp::PROFILE);
    assert!(!t.wants_packet());
    let (id, seconds) = armed(t.packet_pending()).unwrap();
    assert_eq!(seconds, 55);
    assert_eq!(list(t.packet_pending()), []);
    assert_eq!(list(t.timeout(id)), [Output::Poll]);
    // Nobody came: requests are answered with an error.
    assert!(t.wants_packet());
    assert_eq!(list(t.host_request(3)), [Output::Reply(Status::HV_E_FAIL)]);

    // A daemon that comes in time gets the packet.
    let mut t = Transaction::new(&kvp::PROFILE);
    let (id, _) = armed(t.packet_pending()).unwrap();
    t.daemon_open().unwrap();
    t.daemon_register(100).unwrap();
    assert_eq!(list(t.daemon_read()), [Output::CancelTimer, Output::Poll]);
    assert_eq!(list(t.timeout(id)), []);
    assert_eq!(queued(t.host_request(3)), Some(ToDaemon::Request));
    // VSS answers at once.
    let mut t = Transaction::new(&vss::PROFILE);
    assert!(t.wants_packet());
    assert_eq!(
        list(t.host_request(FREEZE)),
        [Output::Reply(Status::HV_E_FAIL)]
    );
}

#[test]
fn a_silent_daemon_times_out_and_its_late_answer_is_dropped() {
    let mut t = ready(&kvp::PROFILE, 100);
    let (first, _) = armed(t.host_request(0)).unwrap();
    t.daemon_read();
    assert_eq!(
        list(t.timeout(first)),
        [Output::Reply(Status::HV_E_FAIL), Output::Poll]
    );
    let (second, _) = armed(t.host_request(1)).unwrap();
    assert_ne!(first, second);
    // Its answer to the first is not taken for one to the second.
    assert_eq!(list(t.daemon_answer(true).unwrap()), []);
    assert_eq!(list(t.timeout(first)), []);
    t.daemon_read();
    assert_eq!(
        replies(t.daemon_answer(true).unwrap()),
        [Output::ReplyFromDaemon]
    );
    // Not read at all: it is taken back.
    let (third, _) = armed(t.host_request(2)).unwrap();
    assert_eq!(
        list(t.timeout(third)),
        [
            Output::Unqueue,
            Output::Reply(Status::HV_E_FAIL),
            Output::Poll
        ]
    );
    assert_eq!(t.daemon_answer(true), Err(DaemonError::Unexpected));
}

#[test]
fn a_daemon_that_dies_leaves_no_request_open() {
    for read in [false, true] {
        let mut t = ready(&fcopy::PROFILE, 1);
        t.host_request(0);
        if read {
            t.daemon_read();
        }
        assert_eq!(
            replies(t.daemon_close()),
            [Output::Reply(Status::HV_E_FAIL)]
        );
        assert_eq!(t.host_operation(), None);
        assert!(t.wants_packet());
    }
}

#[test]
fn freeze_and_thaw() {
    let mut t = ready(&vss::PROFILE, 129);
    assert_eq!(armed(t.host_request(FREEZE)).unwrap().1, 900);
    t.daemon_read();
    assert_eq!(queued(t.daemon_answer(true).unwrap()), None);
    assert!(t.is_frozen());
    assert_eq!(armed(t.host_request(THAW)).unwrap().1, 30);
    t.daemon_read();
    t.daemon_answer(true).unwrap();
    assert!(!t.is_frozen());
}

#[test]
fn a_failed_freeze_is_thawed() {
    let mut t = ready(&vss::PROFILE, 129);
    t.host_request(FREEZE);
    t.daemon_read();
    let out = t.daemon_answer(false).unwrap();
    assert_eq!(replies(out), [Output::ReplyFromDaemon]);
    assert_eq!(queued(out), Some(ToDaemon::Internal(THAW)));
    assert!(!t.wants_packet());
    t.daemon_read();
    // Not an answer for the host.
    assert_eq!(
        list(t.daemon_answer(true).unwrap()),
        [Output::CancelTimer, Output::Poll]
    );
    assert!(!t.is_frozen());
}

#[test]
fn a_freeze_that_times_out_is_thawed_however_late_the_daemon_is() {
    let mut t = ready(&vss::PROFILE, 129);
    let (freeze, _) = armed(t.host_request(FREEZE)).unwrap();
    t.daemon_read();
    let out = t.timeout(freeze);
    assert_eq!(replies(out), [Output::Reply(Status::HV_E_FAIL)]);
    assert_eq!(queued(out), Some(ToDaemon::Internal(THAW)));
    let (thaw, _) = armed(out).unwrap();
    // It hangs in the freeze for another half minute; the host is served meanwhile.
    assert_eq!(list(t.timeout(thaw)), [Output::Poll]);
    assert!(t.wants_packet());
    // Then it comes back, the freeze done.
    let out = t.daemon_answer(true).unwrap();
    assert_eq!(queued(out), Some(ToDaemon::Internal(THAW)));
    t.daemon_read();
    t.daemon_answer(true).unwrap();
    assert!(!t.is_frozen());
}

#[test]
fn a_daemon_that_dies_frozen_is_succeeded_by_one_that_thaws() {
    for answered in [false, true] {
        let mut t = ready(&vss::PROFILE, 129);
        t.host_request(FREEZE);
        t.daemon_read();
        if answered {
            t.daemon_answer(true).unwrap();
        }
        t.daemon_close();
        t.daemon_open().unwrap();
        t.daemon_register(129).unwrap();
        assert_eq!(queued(t.daemon_read()), Some(ToDaemon::Internal(THAW)));
    }
    // One that never read the freeze has not frozen anything.
    let mut t = ready(&vss::PROFILE, 129);
    t.host_request(FREEZE);
    t.daemon_close();
    t.daemon_open().unwrap();
    t.daemon_register(129).unwrap();
    assert_eq!(queued(t.daemon_read()), None);
}

#[test]
fn suspend_thaws_and_answers_nothing() {
    let mut t = ready(&vss::PROFILE, 129);
    t.host_request(FREEZE);
    t.daemon_read();
    let out = t.suspend();
    assert_eq!(replies(out), []);
    assert_eq!(queued(out), Some(ToDaemon::Internal(THAW)));
    assert!(!t.wants_packet());
    // The answer to the freeze, then the thaw.
    assert_eq!(list(t.daemon_answer(true).unwrap()), []);
    t.daemon_read();
    t.daemon_answer(true).unwrap();
    assert!(!t.is_frozen() && !t.wants_packet());
    assert_eq!(list(t.resume()), [Output::Poll]);
    assert!(t.wants_packet());
}

#[test]
fn a_request_that_cannot_be_converted_is_answered() {
    let mut t = ready(&kvp::PROFILE, 100);
    t.host_request(1);
    assert_eq!(
        list(t.request_failed(Status::HV_INVALIDARG)),
        [
            Output::Unqueue,
            Output::Reply(Status::HV_INVALIDARG),
            Output::CancelTimer,
            Output::Poll
        ]
    );
    assert_eq!(list(t.request_failed(Status::HV_INVALIDARG)), []);
}

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
    suspended: bool,
    /// What the file systems really are.
    frozen: bool,
    /// A thaw failed, which is reported but not repeated.
    thaw_failed: bool,
}

impl World {
    fn run(&mut self, out: Outputs) {
        for o in out {
            match o {
                Output::Queue(m) => self.queue = Some(m),
                Output::Unqueue => self.queue = None,
                Output::Reply(_) | Output::ReplyFromDaemon => {
                    assert!(self.asked, "answer without a question");
                    assert!(!self.suspended, "answer to a closed channel");
                    self.asked = false;
                }
                Output::ArmTimer { id, seconds } => {
                    assert!(seconds > 0);
                    self.timer = Some(id);
                }
                Output::CancelTimer => self.timer = None,
                Output::Poll => assert!(!self.suspended || !self.open),
            }
        }
    }

    fn check(&self) {
        if self.asked {
            // Somebody will answer: the daemon in time, or the timer.
            assert!(self.t.host_operation().is_some() && self.timer.is_some());
            assert!(!self.t.wants_packet());
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
        events in proptest::collection::vec((0u8..11, any::<bool>()), 0..200),
    ) {
        let (profile, code, ops) = [
            (&kvp::PROFILE, 100, vec![0, 1, 3]),
            (&vss::PROFILE, 129, vec![2, FREEZE, THAW]),
            (&fcopy::PROFILE, 1, vec![0, 1, 2]),
        ][profile].clone();
        let mut w = World {
            t: Transaction::new(profile), asked: false, queue: None, working: None, op: 0, timer: None,
            open: false, suspended: false, frozen: false, thaw_failed: false,
        };
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
                    } else if !w.suspended {
                        let out = w.t.packet_pending();
                        w.run(out);
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
