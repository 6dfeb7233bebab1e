// SPDX-License-Identifier: GPL-2.0

use super::*;
use crate::ic::{fcopy, kvp, vss};
use std::vec::Vec;

extern crate std;

mod world;

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
fn kvp_waits_for_a_first_daemon() {
    // Everything stays in the ring, however long it takes; what comes for the device but never registers is no daemon.
    let mut t = Transaction::new(&kvp::PROFILE);
    assert!(!t.wants_packet());
    t.daemon_open().unwrap();
    t.daemon_close();
    t.daemon_open().unwrap();
    t.daemon_register(100).unwrap();
    t.daemon_close();
    assert!(!t.wants_packet());
    t.suspend();
    t.resume();
    assert!(!t.wants_packet());
    t.daemon_open().unwrap();
    t.daemon_register(100).unwrap();
    assert_eq!(list(t.daemon_read()), [Output::Poll]);
    assert!(t.wants_packet());
    assert_eq!(queued(t.host_request(3)), Some(ToDaemon::Request));
    // VSS and file copy answer at once.
    for profile in [&vss::PROFILE, &fcopy::PROFILE] {
        let mut t = Transaction::new(profile);
        assert!(t.wants_packet());
        assert_eq!(
            list(t.host_request(FREEZE)),
            [Output::Reply(Status::HV_E_FAIL)]
        );
    }
}

#[test]
fn a_kvp_daemon_that_has_gone_is_not_waited_for() {
    let mut t = ready(&kvp::PROFILE, 100);
    // The ring is looked at: what the host asked meanwhile is answered, too.
    assert!(list(t.daemon_close()).contains(&Output::Poll));
    assert!(t.wants_packet());
    assert_eq!(list(t.host_request(3)), [Output::Reply(Status::HV_E_FAIL)]);
    // Nor while the next one is just coming.
    t.daemon_open().unwrap();
    assert!(t.wants_packet());
    t.daemon_register(100).unwrap();
    assert_eq!(list(t.host_request(3)), [Output::Reply(Status::HV_E_FAIL)]);
    t.daemon_read();
    assert_eq!(queued(t.host_request(3)), Some(ToDaemon::Request));
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

fn watchdog(out: Outputs) -> Option<Output> {
    out.into_iter()
        .find(|o| matches!(o, Output::ArmWatchdog { .. } | Output::CancelWatchdog))
}

/// A machine whose host was told that the freeze has succeeded.
fn frozen(limit: u32) -> (Transaction, Outputs) {
    let mut t = ready(&vss::PROFILE, 129);
    t.set_freeze_limit(limit);
    t.host_request(FREEZE);
    t.daemon_read();
    let out = t.daemon_answer(true).unwrap();
    (t, out)
}

#[test]
fn a_freeze_that_the_host_forgets_is_thawed() {
    let (mut t, out) = frozen(900);
    assert_eq!(watchdog(out), Some(Output::ArmWatchdog { seconds: 900 }));
    // Whatever else is asked meanwhile does not matter.
    assert_eq!(watchdog(t.host_request(2)), None);
    t.daemon_read();
    assert_eq!(watchdog(t.daemon_answer(true).unwrap()), None);
    let out = t.freeze_expired();
    assert_eq!(queued(out), Some(ToDaemon::Internal(THAW)));
    assert_eq!(replies(out), []);
    t.daemon_read();
    assert_eq!(replies(t.daemon_answer(true).unwrap()), []);
    assert!(!t.is_frozen() && t.wants_packet());
    // A host that comes back learns that it did not hold them frozen all the time; its next freeze is a new one.
    for (op, reply) in [
        (THAW, Output::Reply(Status::HV_E_FAIL)),
        (FREEZE, Output::ReplyFromDaemon),
        (THAW, Output::ReplyFromDaemon),
    ] {
        t.host_request(op);
        t.daemon_read();
        assert_eq!(replies(t.daemon_answer(true).unwrap()), [reply]);
    }
}

#[test]
fn a_freeze_that_the_host_ends_is_not_watched_any_more() {
    let (mut t, _) = frozen(900);
    t.host_request(THAW);
    t.daemon_read();
    assert_eq!(
        list(t.daemon_answer(true).unwrap()),
        [
            Output::CancelWatchdog,
            Output::ReplyFromDaemon,
            Output::CancelTimer,
            Output::Poll
        ]
    );
    assert_eq!(list(t.freeze_expired()), []);
    // Without a limit nobody watches, as for a freeze that failed: that is thawed at once.
    let (mut t, out) = frozen(0);
    assert_eq!(watchdog(out), None);
    assert_eq!(list(t.freeze_expired()), []);
    let mut t = ready(&vss::PROFILE, 129);
    t.set_freeze_limit(900);
    t.host_request(FREEZE);
    t.daemon_read();
    assert_eq!(watchdog(t.daemon_answer(false).unwrap()), None);
}

#[test]
fn a_thaw_under_way_when_the_limit_passes() {
    for success in [true, false] {
        let (mut t, _) = frozen(900);
        t.host_request(THAW);
        t.daemon_read();
        assert_eq!(list(t.freeze_expired()), []);
        let out = t.daemon_answer(success).unwrap();
        assert_eq!(replies(out), [Output::ReplyFromDaemon]);
        // One more attempt if the daemon could not.
        assert_eq!(queued(out), (!success).then_some(ToDaemon::Internal(THAW)));
    }
}

#[test]
fn a_host_learns_of_a_daemon_that_died_frozen() {
    let (mut t, _) = frozen(0);
    t.daemon_close();
    t.daemon_open().unwrap();
    t.daemon_register(129).unwrap();
    t.daemon_read();
    t.daemon_read();
    t.daemon_answer(true).unwrap();
    t.host_request(THAW);
    t.daemon_read();
    assert_eq!(
        replies(t.daemon_answer(true).unwrap()),
        [Output::Reply(Status::HV_E_FAIL)]
    );
    // And the limit passes for one that nobody has followed yet: the next one thaws.
    let (mut t, _) = frozen(900);
    t.daemon_close();
    assert_eq!(list(t.freeze_expired()), []);
    t.daemon_open().unwrap();
    t.daemon_register(129).unwrap();
    assert_eq!(queued(t.daemon_read()), Some(ToDaemon::Internal(THAW)));
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
