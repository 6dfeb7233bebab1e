// SPDX-License-Identifier: GPL-2.0

//! A mouse and its guest, on a channel.

use zerocopy::IntoBytes;

use super::*;
use crate::vmbus::guest::{Guest, GuestChannel};
use crate::vmbus::ring::{COMPLETION, FLAG_COMPLETION_REQUESTED};

struct Bench {
    guest: Guest,
    channel: GuestChannel,
    mouse: Arc<Mouse>,
}

impl Bench {
    /// A mouse whose channel is open.
    fn open() -> Self {
        let mut guest = Guest::new();
        let mouse = Mouse::new();
        let (_, channel) = guest.open_device(mouse.offer());
        Self {
            guest,
            channel,
            mouse,
        }
    }

    /// One whose guest knows what it is.
    fn ready() -> Self {
        let mut bench = Self::open();
        assert!(bench.ask(wire::VERSION));
        bench.told(wire::INITIAL_DEVICE_INFO, 108);
        bench.acknowledge();
        bench.mouse.wait_ready(Duration::from_secs(10)).unwrap();
        bench
    }

    /// Sends a payload and waits for its completion.
    fn send(&mut self, payload: Vec<u8>) {
        self.send_only(payload);
        self.completion();
    }

    fn send_only(&mut self, payload: Vec<u8>) {
        let packet = Packet {
            type_: DATA_INBAND,
            flags: FLAG_COMPLETION_REQUESTED,
            transaction: 0x77,
            header: Vec::new(),
            payload,
        };
        self.guest.send(&mut self.channel, &packet);
    }

    fn completion(&mut self) {
        let packet = self.guest.receive(&mut self.channel);
        assert_eq!((packet.type_, packet.transaction), (COMPLETION, 0x77));
    }

    /// The body of the host's next packet, a message of this type and length.
    fn told(&mut self, type_: u32, len: usize) -> Vec<u8> {
        let packet = self.guest.receive(&mut self.channel);
        assert_eq!((packet.type_, packet.transaction), (DATA_INBAND, 0));
        let (got, body) = unpack(&packet.payload).unwrap();
        assert_eq!((got, body.len()), (type_, len));
        body.to_vec()
    }

    /// Asks for a version. Returns whether the host takes it.
    fn ask(&mut self, version: u32) -> bool {
        self.send_only(wire::message(wire::PROTOCOL_REQUEST, &version));
        let response = self.told(wire::PROTOCOL_RESPONSE, 5);
        assert_eq!(response[..4], version.to_le_bytes());
        if response[4] == 0 {
            self.completion();
        }
        response[4] == 1
    }

    fn acknowledge(&mut self) {
        self.completion();
        self.send(wire::message(wire::INITIAL_DEVICE_INFO_ACK, &0u8));
    }

    /// The position, buttons and wheel of the next report.
    fn reported(&mut self) -> (u16, u16, u8, i16) {
        let body = self.told(wire::INPUT_REPORT, 7);
        let report = Report::read_from_bytes(&body).unwrap();
        (report.x, report.y, report.buttons, report.wheel)
    }
}

#[test]
fn the_mouse_is_described_acknowledged_and_moved() {
    let mut bench = Bench::open();
    let at = Position { x: 5, y: MAX };
    assert!(bench.mouse.report(at, 0, 0).is_err(), "nobody listens yet");
    assert!(bench.ask(wire::VERSION));
    let info = bench.told(wire::INITIAL_DEVICE_INFO, 108);
    assert_eq!(info[..10], [32, 0, 0, 0, 0x5E, 4, 0x21, 6, 1, 0]);
    assert_eq!(info[32..41], [9, 0x21, 1, 1, 0, 1, 0x22, 67, 0]);
    assert_eq!(info[41..], wire::REPORT_DESCRIPTOR);
    assert!(
        bench.mouse.report(at, 0, 0).is_err(),
        "the guest has not acknowledged"
    );
    assert!(bench.mouse.describe().contains("protocol=2.0 info=sent "));
    bench.acknowledge();
    bench.mouse.report(at, 0x15, -1).unwrap();
    assert_eq!(bench.reported(), (5, MAX, 0x15, -1));
    assert_eq!(
        bench.mouse.describe(),
        "mouse protocol=2.0 info=acknowledged reports=1"
    );
    assert_eq!(bench.guest.violations(), [""; 0]);
}

#[test]
fn lines_are_straight_and_end_where_they_should() {
    let mut bench = Bench::ready();
    let line = |x, y, n| bench.mouse.line(Position { x, y }, n);
    line(100, MAX, 1).unwrap();
    line(0, 7, 4).unwrap();
    assert_eq!(bench.reported(), (100, MAX, 0, 0));
    assert_eq!(bench.reported(), (75, 24577, 0, 0));
    assert_eq!(bench.reported(), (50, 16387, 0, 0));
    assert_eq!(bench.reported(), (25, 8197, 0, 0));
    assert_eq!(bench.reported(), (0, 7, 0, 0));
}

#[test]
fn a_version_that_there_is_not_is_refused_and_another_taken() {
    let mut bench = Bench::open();
    assert!(!bench.ask(0x1_0000));
    let faults = bench.guest.shared.faults.clone();
    faults.arm(NAME, Fault::InitStatus, 1, None);
    assert!(!bench.ask(wire::VERSION), "the host may refuse any");
    assert!(bench.ask(wire::VERSION));
    assert_eq!(bench.guest.violations(), [""; 0]);
}

#[test]
fn a_silent_host_completes_and_does_not_answer() {
    let mut bench = Bench::open();
    let faults = bench.guest.shared.faults.clone();
    faults.arm(NAME, Fault::NoReply, 1, None);
    bench.send(wire::message(wire::PROTOCOL_REQUEST, &wire::VERSION));
    assert!(bench.mouse.describe().contains("info=unsent"));
}

#[test]
fn what_a_guest_may_not_send_is_recorded() {
    let ack = || wire::message(wire::INITIAL_DEVICE_INFO_ACK, &0u8);
    // A good message with one 32-bit word of its headers changed.
    let with = |at: usize, value: u32| {
        let mut bytes = wire::message(wire::PROTOCOL_REQUEST, &wire::VERSION);
        bytes[4 * at..4 * at + 4].copy_from_slice(value.as_bytes());
        bytes
    };
    let wrong = [
        (ack(), "type 3 at step Ready"),
        (
            wire::message(wire::PROTOCOL_REQUEST, &wire::VERSION),
            "type 0 at step Ready",
        ),
        (with(0, 2), "pipe message of type 2"),
        (with(1, 17), "17 bytes where 16 are"),
        (with(1, u32::MAX), "bytes where 16 are"),
        (with(1, 8), "8 bytes where 16 are"),
        (with(1, 11), "3 bytes instead of 4"),
        (with(3, 5), "4 bytes instead of 5"),
        (with(2, 9), "type 9"),
        (
            wire::message(wire::PROTOCOL_REQUEST, &[0u32; 2]),
            "8 bytes instead of 4",
        ),
        (
            wire::message(wire::INITIAL_DEVICE_INFO_ACK, &0u32),
            "4 bytes instead of 1",
        ),
        (vec![0; 4], "pipe message of type 0"),
        (vec![1, 0, 0, 0, 0, 0, 0, 0], "8 bytes"),
        (vec![1, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0], "16 bytes"),
        (vec![], "0 bytes"),
    ];
    let mut bench = Bench::ready();
    for (payload, part) in wrong {
        bench.send(payload.clone());
        let found = bench.guest.violations();
        assert_eq!(found.len(), 1, "{payload:?}: {found:?}");
        assert!(
            found[0].starts_with("mouse: ") && found[0].contains(part),
            "{part}: {found:?}"
        );
    }
    let at = Position::default();
    assert!(bench.mouse.report(at, 0, 0).is_ok(), "the mouse goes on");
    let mut bench = Bench::open();
    bench.send(ack());
    assert!(bench.guest.violations()[0].contains("at step Asking"));
}

#[test]
fn buttons_have_names() {
    assert_eq!(parse_buttons("none"), Ok(0));
    assert_eq!(parse_buttons("left"), Ok(1));
    assert_eq!(parse_buttons("extra+right"), Ok(0x12));
    for bad in ["", "left+", "Left", "left,right", "none+left"] {
        assert!(parse_buttons(bad).is_err(), "{bad}");
    }
}
