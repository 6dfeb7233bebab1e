// SPDX-License-Identifier: GPL-2.0

//! Integration components without a guest, and with one that has no virtual machine.

use super::*;
use crate::vmbus::guest::Guest;

fn component() -> Arc<Component> {
    Component::new(heartbeat::KIND)
}

/// A negotiation and the answer that chooses `framework` and `message`.
fn reply(framework: Version, message: Version) -> Vec<u8> {
    let mut packet = vec![0; 64];
    let len = build_negotiate(&mut packet, &[framework], &[message], 1).unwrap();
    packet.truncate(len);
    rlis_proto::ic::finish(&mut packet, rlis_proto::ic::Status::HV_S_OK).unwrap();
    packet
}

#[test]
fn a_choice_must_have_been_offered() {
    let c = component();
    let v = Version::new;
    let agreed = c.negotiated_versions(&reply(v(3, 0), v(3, 0))).unwrap();
    assert_eq!(
        agreed.map(|a| (a.framework, a.message)),
        Some((v(3, 0), v(3, 0)))
    );
    assert!(c.negotiated_versions(&reply(v(2, 0), v(3, 0))).is_err());
    assert!(c.negotiated_versions(&reply(v(3, 0), v(9, 0))).is_err());
    let mut none = reply(v(3, 0), v(3, 0));
    body_mut(&mut none)[..4].fill(0);
    assert_eq!(c.negotiated_versions(&none).unwrap(), None);
    none.truncate(ICMSG_HDR + 9);
    body_mut(&mut none)[..4].copy_from_slice(&[1, 0, 1, 0]);
    assert!(c.negotiated_versions(&none).is_err());
}

#[test]
fn a_request_without_a_guest_fails_at_once() {
    assert!(component().request(&[], Duration::from_secs(60)).is_err());
    assert!(component().wait_ready(Duration::from_millis(1)).is_err());
}

/// Packets of the guest with the answers to the host's.
fn answer(packet: &Packet) -> Packet {
    let mut answer = packet.clone();
    rlis_proto::ic::finish(&mut answer.payload, rlis_proto::ic::Status::HV_S_OK).unwrap();
    // One of each kind: the first two of the list, which begins with frameworks 1.0 and 3.0.
    body_mut(&mut answer.payload)[..4].copy_from_slice(&[1, 0, 1, 0]);
    answer
}

#[test]
fn a_negotiation_may_begin_anew() {
    let mut guest = Guest::new();
    let component = component();
    let faults = guest.shared.faults.clone();
    faults.arm("heartbeat", Fault::IcNegotiateAgain, 3, None);
    let (_, mut channel) = guest.open_device(component.offer());
    for round in 0..4 {
        assert_eq!(component.negotiated(), None, "round {round}");
        assert!(component.request(&[], Duration::from_secs(60)).is_err());
        let asked = guest.receive(&mut channel);
        guest.send(&mut channel, &answer(&asked));
    }
    let v = Version::new;
    assert_eq!(
        component.wait_ready(Duration::from_secs(10)).unwrap(),
        v(3, 0)
    );
    assert_eq!(guest.violations(), [""; 0]);
}
