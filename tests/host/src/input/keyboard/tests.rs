// SPDX-License-Identifier: GPL-2.0

//! A keyboard and its guest, on a channel.

use super::*;
use crate::hyperv::hypercall::Receiver;
use crate::vmbus::guest::{Guest, GuestChannel};
use crate::vmbus::ring::{COMPLETION, FLAG_COMPLETION_REQUESTED};

struct Bench {
    guest: Guest,
    channel: GuestChannel,
    relid: u32,
    keyboard: Arc<Keyboard>,
}

impl Bench {
    /// A keyboard whose channel is open.
    fn open() -> Self {
        let mut guest = Guest::new();
        let keyboard = Keyboard::new();
        let (relid, channel) = guest.open_device(keyboard.offer());
        Self {
            guest,
            channel,
            relid,
            keyboard,
        }
    }

    /// One whose guest has agreed to the protocol.
    fn agreed() -> Self {
        let mut bench = Self::open();
        assert_eq!(bench.ask(wire::VERSION), wire::PROTOCOL_ACCEPTED);
        bench.keyboard.wait_ready(Duration::from_secs(10)).unwrap();
        bench
    }

    /// Sends a packet that wants no completion.
    fn tell(&mut self, words: &[u32]) {
        self.send(words, 0);
    }

    fn send(&mut self, words: &[u32], flags: u16) {
        let packet = Packet {
            type_: DATA_INBAND,
            flags,
            transaction: 0x77,
            header: Vec::new(),
            payload: words.iter().flat_map(|w| w.to_le_bytes()).collect(),
        };
        self.guest.send(&mut self.channel, &packet);
    }

    /// The words of the host's next packet.
    fn told(&mut self) -> Vec<u32> {
        let packet = self.guest.receive(&mut self.channel);
        assert_eq!((packet.type_, packet.transaction), (DATA_INBAND, 0));
        let words = packet.payload.chunks_exact(4);
        words
            .map(|c| u32::from_le_bytes(c.try_into().unwrap()))
            .collect()
    }

    /// Asks for a version as Linux does, with a completion. Returns the status of the response.
    fn ask(&mut self, version: u32) -> u32 {
        self.send(
            &[wire::PROTOCOL_REQUEST, version],
            FLAG_COMPLETION_REQUESTED,
        );
        let response = self.told();
        assert_eq!((response.len(), response[0]), (2, wire::PROTOCOL_RESPONSE));
        let completion = self.guest.receive(&mut self.channel);
        assert_eq!(
            (completion.type_, completion.transaction),
            (COMPLETION, 0x77)
        );
        response[1]
    }

    fn press(&self, keys: &str) -> Result<()> {
        let keys = keys.split(' ').map(|k| parse_key(k).unwrap());
        self.keyboard.send(keys.map(|k| k.stroke(Action::Make)))
    }

    /// Waits until the host has taken what was sent, and returns the violations.
    fn violations(&mut self) -> Vec<String> {
        self.send(&[wire::LED_INDICATORS, 0], FLAG_COMPLETION_REQUESTED);
        while self.guest.receive(&mut self.channel).type_ != COMPLETION {}
        self.guest.violations()
    }
}

#[test]
fn the_version_is_agreed_on_and_keys_follow() {
    let mut bench = Bench::open();
    assert!(bench.press("0x1e").is_err(), "nobody listens yet");
    assert!(bench.keyboard.describe().contains("protocol=none"));
    assert_eq!(bench.ask(wire::VERSION), wire::PROTOCOL_ACCEPTED);
    bench.press("0x1e 0xe048 0xe11d").unwrap();
    assert_eq!(bench.told()[..3], [wire::EVENT, 0x1E, 0]);
    assert_eq!(bench.told()[..3], [wire::EVENT, 0x48, wire::IS_E0]);
    assert_eq!(bench.told()[..3], [wire::EVENT, 0x1D, wire::IS_E1]);
    let key = parse_key("0xe048").unwrap();
    let stroke = key.stroke(Action::Break);
    bench.keyboard.send([stroke].into_iter()).unwrap();
    assert_eq!(bench.told()[2], wire::IS_E0 | wire::IS_BREAK);
    assert_eq!(
        bench.keyboard.describe(),
        "keyboard protocol=1.0 leds=untold strokes=4"
    );
    assert_eq!(bench.violations(), [""; 0]);
}

#[test]
fn a_version_that_there_is_not_is_refused_and_another_taken() {
    let mut bench = Bench::open();
    assert_eq!(bench.ask(0x2_0000), 0);
    assert!(bench.press("0x1e").is_err());
    let faults = bench.guest.shared.faults.clone();
    faults.arm(NAME, Fault::InitStatus, 1, None);
    assert_eq!(bench.ask(wire::VERSION), 0, "the host may refuse any");
    assert_eq!(bench.ask(wire::VERSION), wire::PROTOCOL_ACCEPTED);
    assert_eq!(bench.violations(), [""; 0]);
}

#[test]
fn a_silent_host_completes_and_does_not_answer() {
    let mut bench = Bench::open();
    let faults = bench.guest.shared.faults.clone();
    faults.arm(NAME, Fault::NoReply, 1, None);
    bench.send(
        &[wire::PROTOCOL_REQUEST, wire::VERSION],
        FLAG_COMPLETION_REQUESTED,
    );
    let packet = bench.guest.receive(&mut bench.channel);
    assert_eq!(packet.type_, COMPLETION);
    assert!(bench.press("0x1e").is_err());
}

#[test]
fn lights_are_told() {
    let mut bench = Bench::agreed();
    for (flags, wanted) in [
        (4, "leds=caps "),
        (7, "leds=scroll+num+caps "),
        (0x8002, "leds=num+0x8000 "),
        (0, "leds=none "),
    ] {
        bench.send(&[wire::LED_INDICATORS, flags], FLAG_COMPLETION_REQUESTED);
        assert_eq!(bench.guest.receive(&mut bench.channel).type_, COMPLETION);
        let line = bench.keyboard.describe();
        assert!(line.contains(wanted), "{line}");
    }
    assert_eq!(bench.guest.violations(), [""; 0]);
}

#[test]
fn what_a_guest_may_not_send_is_recorded() {
    // A first word, further words, and what is found.
    let wrong: [(&[u32], &str); 6] = [
        (
            &[wire::PROTOCOL_REQUEST, wire::VERSION],
            "after version 1.0",
        ),
        (&[wire::PROTOCOL_REQUEST, 0, 0, 0], "16 bytes instead of 8"),
        (&[wire::PROTOCOL_RESPONSE, 1], "type 2"),
        (&[wire::LED_INDICATORS, 0x1_0000], "padding 0x1"),
        (&[wire::LED_INDICATORS, 0, 0, 0], "16 bytes instead of 8"),
        (&[], "0 bytes"),
    ];
    let mut bench = Bench::agreed();
    for (words, part) in wrong {
        bench.tell(words);
        let found = bench.violations();
        assert_eq!(found.len(), 1, "{words:?}: {found:?}");
        assert!(
            found[0].starts_with("keyboard: ") && found[0].contains(part),
            "{found:?}"
        );
    }
    assert!(bench.press("0x1e").is_ok(), "the keyboard goes on");
    let mut bench = Bench::open();
    bench.tell(&[wire::LED_INDICATORS, 0]);
    assert_eq!(bench.violations().len(), 2, "that and the one that waits");
    let packet = Packet {
        type_: COMPLETION,
        flags: 0,
        transaction: 0,
        header: Vec::new(),
        payload: vec![0; 8],
    };
    bench.guest.send(&mut bench.channel, &packet);
    assert!(bench.violations()[0].contains("packet type 11"));
}

#[test]
fn a_keyboard_that_was_withdrawn_comes_back() {
    let mut bench = Bench::agreed();
    bench.guest.server.rescind(NAME).unwrap();
    let _: rlis_proto::vmbus::message::RescindOffer = bench.guest.expect();
    bench.guest.close(&bench.channel);
    bench.guest.teardown(bench.relid, 0x10);
    bench.guest.release(bench.relid);
    assert!(bench.press("0x1e").is_err());
    assert!(bench.keyboard.wait_ready(Duration::from_millis(1)).is_err());
    bench.guest.server.offer(bench.keyboard.offer()).unwrap();
    let offer: rlis_proto::vmbus::message::OfferChannel = bench.guest.expect();
    bench.relid = offer.child_relid;
    bench.channel = bench.guest.open(bench.relid, 0x11, 16..24);
    assert_eq!(bench.ask(wire::VERSION), wire::PROTOCOL_ACCEPTED);
    bench.press("0x1e").unwrap();
    assert_eq!(bench.told()[1], 0x1E);
    assert_eq!(bench.violations(), [""; 0]);
}

#[test]
fn more_keys_than_the_ring_holds_arrive_in_order() {
    let mut bench = Bench::agreed();
    // Three pages of ring hold about 300 packets.
    let key = |code| parse_key(&format!("{}", code % 0x7F + 1)).unwrap();
    let strokes = (0..2000).map(|code| key(code).stroke(Action::Make));
    bench.keyboard.send(strokes).unwrap();
    for code in 0..2000 {
        let got = bench.told();
        assert_eq!(got[1], u32::from(key(code).make_code), "{code}");
        if code % 100 == 0 {
            // The guest signals that it has made room.
            bench.guest.server.event(0, 0x1_0000 + bench.relid, 0);
        }
    }
    assert_eq!(bench.guest.violations(), [""; 0]);
}
