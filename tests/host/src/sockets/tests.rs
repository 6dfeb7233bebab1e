// SPDX-License-Identifier: GPL-2.0

//! Connections with a guest that has no virtual machine.

use std::ops::Range;

use rlis_proto::vmbus::message::{
    ChannelMessageHeader, MessageType, OfferChannel, RescindOffer, TlConnectRequest,
};
use rlis_proto::vmbus::VMBUS_CHANNEL_TLNPI_PROVIDER_OFFER;
use zerocopy::FromBytes;

use super::*;
use crate::faults::Fault;
use crate::vmbus::guest::{Guest, GuestChannel};
use crate::vmbus::ring::{Packet, DATA_INBAND};
use crate::vmbus::tl_connect::TlConnectResult;

const LIMIT: Duration = Duration::from_secs(10);
/// Rings of the first connection of a test.
const RINGS: Range<u64> = 16..28;

struct Bench {
    guest: Guest,
    sockets: Arc<Sockets>,
}

fn packet(data: &[u8]) -> Packet {
    Packet {
        type_: DATA_INBAND,
        flags: 0,
        transaction: 0,
        header: Vec::new(),
        payload: wire::payload(data).unwrap(),
    }
}

fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !so() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(1));
    }
}

impl Bench {
    fn new() -> Self {
        let mut guest = Guest::new();
        let sockets = Sockets::new(&guest.server);
        assert_eq!(guest.connect(), [0; 0]);
        Self { guest, sockets }
    }

    fn request(&self, endpoint: u32, service: u32) {
        self.guest.post(&TlConnectRequest {
            header: ChannelMessageHeader::of::<TlConnectRequest>(),
            guest_endpoint_id: wire::service_of(endpoint),
            host_service_id: wire::service_of(service),
        });
    }

    /// Connects a port of the guest to one of the host. Returns the relid and the channel.
    fn connect(&self, endpoint: u32, service: u32) -> (u32, GuestChannel) {
        self.request(endpoint, service);
        let offer: OfferChannel = self.guest.expect();
        let (class, instance) = ({ offer.offer.if_type }, { offer.offer.if_instance });
        assert_eq!(
            (class, instance),
            (wire::service_of(service), wire::service_of(endpoint))
        );
        assert_ne!(
            { offer.offer.chn_flags } & VMBUS_CHANNEL_TLNPI_PROVIDER_OFFER,
            0
        );
        assert_eq!({ offer.offer.u }[4], 0, "the guest connects");
        let relid = offer.child_relid;
        (relid, self.guest.open(relid, 0x10, RINGS))
    }

    fn send(&self, channel: &mut GuestChannel, data: &[u8]) {
        self.guest.send(channel, &packet(data));
    }

    /// Takes packets until the host sends no more.
    fn rest(&self, channel: &mut GuestChannel) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            let packet = self.guest.receive(channel);
            assert_eq!((packet.type_, packet.flags), (DATA_INBAND, 0));
            match wire::data(&packet).unwrap() {
                [] => return bytes,
                data => bytes.extend(data),
            }
        }
    }

    fn rescinded(&self, relid: u32) {
        let rescind: RescindOffer = self.guest.expect();
        assert_eq!({ rescind.child_relid }, relid);
    }

    /// Does what a guest does after a rescind, and sees that nothing is left.
    fn release(&self, relid: u32, channel: &GuestChannel) {
        self.guest.close(channel);
        self.guest.teardown(relid, 0x10);
        self.guest.release(relid);
        assert_eq!(self.guest.server.list(), [""; 0]);
        eventually("the connection is forgotten", || {
            self.sockets.list()[0].ends_with(" live=0")
        });
    }

    fn violation(&self) -> String {
        let mut found = Vec::new();
        eventually("a violation is recorded", || {
            found = self.guest.violations();
            !found.is_empty()
        });
        found.remove(0)
    }
}

#[test]
fn the_guest_connects_and_both_sides_shut_down() {
    let bench = Bench::new();
    let (relid, mut channel) = bench.connect(5000, 7);
    bench.send(&mut channel, b"hello");
    let answer = bench.guest.receive(&mut channel);
    assert_eq!(wire::data(&answer).unwrap(), b"hello");
    let line = bench.sockets.list().remove(1);
    assert!(
        line.starts_with("hvsock1 from=guest ") && line.contains(" open received=5 sent=5 "),
        "{line}"
    );
    bench.send(&mut channel, &[1; 4096 - 8]);
    bench.send(&mut channel, b"");
    assert_eq!(bench.rest(&mut channel).len(), 4088);
    bench.rescinded(relid);
    bench.release(relid, &channel);
    assert_eq!(bench.guest.violations(), [""; 0]);
}

#[test]
fn nothing_is_lost_where_rings_are_full() {
    let bench = Bench::new();
    let (relid, mut channel) = bench.connect(5000, 7);
    // The ring holds five of these; as many again are on their way or in the other ring.
    let mut sent: Vec<u8> = Vec::new();
    let mut written = 0u8;
    let mut write = |channel: &mut GuestChannel, sent: &mut Vec<u8>| {
        let ok = bench.guest.try_send(channel, &packet(&[written; 3600]));
        if ok {
            sent.extend([written; 3600]);
            written = written.wrapping_add(1);
        }
        ok
    };
    let mut full = Instant::now();
    while full.elapsed() < Duration::from_millis(200) {
        if write(&mut channel, &mut sent) {
            full = Instant::now();
        }
        assert!(
            sent.len() < 30 * 3600,
            "the host does not hold the guest up"
        );
    }
    // Both are full. Reading sets all in motion again.
    let mut got = Vec::new();
    for _ in 0..200 {
        let packet = bench.guest.receive(&mut channel);
        got.extend(wire::data(&packet).unwrap());
        write(&mut channel, &mut sent);
    }
    let end = packet(b"");
    eventually("there is room for the end", || {
        let packet = bench.guest.try_receive(&mut channel);
        got.extend(packet.iter().flat_map(|p| wire::data(p).unwrap()));
        bench.guest.try_send(&mut channel, &end)
    });
    got.extend(bench.rest(&mut channel));
    assert!(got == sent, "{} bytes of {}", got.len(), sent.len());
    bench.rescinded(relid);
    bench.release(relid, &channel);
    assert_eq!(bench.guest.violations(), [""; 0]);
}

#[test]
fn one_direction_may_end_long_before_the_other() {
    let bench = Bench::new();
    // The guest's direction first: what it asked for comes all the same, in packets of the largest size.
    let (relid, mut channel) = bench.connect(5000, 19);
    bench.send(&mut channel, b"100000\n");
    bench.send(&mut channel, b"");
    let bytes = bench.rest(&mut channel);
    assert_eq!((bytes.len(), bytes[250], bytes[251]), (100_000, 250, 0));
    bench.rescinded(relid);
    bench.release(relid, &channel);
    // The host's first: it still takes what comes.
    let (relid, mut channel) = bench.connect(5000, 19);
    bench.send(&mut channel, b"3\n");
    assert_eq!(bench.rest(&mut channel), [0, 1, 2]);
    bench.send(&mut channel, &[0; 2000]);
    eventually("it arrives", || {
        bench.sockets.list()[1].contains(" received=2002 ")
    });
    bench.send(&mut channel, b"");
    bench.rescinded(relid);
    bench.release(relid, &channel);
    assert_eq!(bench.guest.violations(), [""; 0]);
}

#[test]
fn what_nobody_offers_is_refused() {
    let bench = Bench::new();
    bench.request(5000, 8);
    let bytes = bench.guest.next();
    let result = TlConnectResult::read_from_bytes(&bytes).unwrap();
    let expected = TlConnectResult::refused(wire::service_of(5000), wire::service_of(8));
    assert_eq!(format!("{result:?}"), format!("{expected:?}"));
    assert_eq!(
        bytes[..4],
        MessageType::CHANNELMSG_TL_CONNECT_RESULT.0.to_le_bytes()
    );
    assert!(bench.sockets.list()[0].contains(" refused=1 "));
    // Nor is anything offered by a host without sockets.
    let mut guest = Guest::new();
    guest.connect();
    let bare = Bench {
        guest,
        sockets: bench.sockets.clone(),
    };
    bare.request(5000, 7);
    assert_eq!(bare.guest.next().len(), 44);
    assert_eq!(bare.guest.violations(), [""; 0]);
}

#[test]
fn the_same_ends_meet_again_when_the_guest_has_let_go() {
    let bench = Bench::new();
    let (relid, mut channel) = bench.connect(5000, 7);
    bench.send(&mut channel, b"");
    assert_eq!(bench.rest(&mut channel), b"");
    bench.rescinded(relid);
    bench.request(5000, 7);
    thread::sleep(5 * RELEASE_POLL);
    assert_eq!(bench.guest.server.list().len(), 1, "not offered yet");
    bench.guest.close(&channel);
    bench.guest.teardown(relid, 0x10);
    bench.guest.release(relid);
    let offer: OfferChannel = bench.guest.expect();
    assert_ne!({ offer.child_relid }, relid);
    assert_eq!(bench.guest.violations(), [""; 0]);
}

#[test]
fn the_host_connects() {
    let bench = Bench::new();
    let sockets = bench.sockets.clone();
    let command = thread::spawn(move || sockets.connect(1234, b"hello".to_vec(), LIMIT));
    let offer: OfferChannel = bench.guest.expect();
    let class = offer.offer.if_type;
    assert_eq!(class, wire::service_of(1234));
    assert_eq!({ offer.offer.u }[4], 1, "the host connects");
    let relid = offer.child_relid;
    let mut channel = bench.guest.open(relid, 0x10, RINGS);
    assert_eq!(bench.rest(&mut channel), b"hello");
    bench.send(&mut channel, b"hel");
    bench.send(&mut channel, b"lo");
    bench.send(&mut channel, b"");
    let answer = command.join().unwrap().unwrap();
    assert_eq!(answer, ["sent=5 received=5 ended=yes same=yes text=hello"]);
    bench.rescinded(relid);
    bench.release(relid, &channel);
    assert_eq!(bench.guest.violations(), [""; 0]);
}

#[test]
fn a_guest_that_says_nothing_is_left() {
    let bench = Bench::new();
    let sockets = bench.sockets.clone();
    let limit = Duration::from_millis(50);
    let command = thread::spawn(move || sockets.connect(1234, Vec::new(), limit));
    let relid = bench.guest.expect::<OfferChannel>().child_relid;
    bench.rescinded(relid);
    bench.guest.release(relid);
    let error = command.join().unwrap().unwrap_err().to_string();
    assert!(error.contains("TimedOut"), "{error}");
    assert_eq!(bench.guest.server.list(), [""; 0]);
}

#[test]
fn a_guest_may_close_of_its_own_accord() {
    let bench = Bench::new();
    let (relid, channel) = bench.connect(5000, 7);
    bench.guest.close(&channel);
    bench.rescinded(relid);
    bench.guest.teardown(relid, 0x10);
    bench.guest.release(relid);
    assert_eq!(bench.guest.server.list(), [""; 0]);
    assert_eq!(bench.guest.violations(), [""; 0]);
}

#[test]
fn connections_end_with_the_connection_to_the_bus() {
    let mut bench = Bench::new();
    let (_, _channel) = bench.connect(5000, 7);
    eventually("it is open", || bench.sockets.list()[1].contains(" open "));
    bench
        .guest
        .post(&ChannelMessageHeader::new(MessageType::CHANNELMSG_UNLOAD));
    bench.guest.next();
    bench.guest.forget_connection();
    assert_eq!(bench.guest.connect(), [0; 0], "nothing is offered again");
    eventually("the connection is forgotten", || {
        bench.sockets.list()[0].ends_with(" live=0")
    });
    assert_eq!(bench.guest.violations(), [""; 0]);
}

#[test]
fn what_the_guest_may_not_send_is_recorded() {
    let bench = Bench::new();
    let (_, mut channel) = bench.connect(5000, 9);
    let mut bad = packet(b"12345678");
    bad.payload[4] = 17;
    bench.guest.send(&mut channel, &bad);
    assert!(bench.violation().contains("17 bytes of data"));
    bad.payload.clear();
    bench.guest.send(&mut channel, &bad);
    assert!(bench.violation().contains("0 bytes"));
    bad = packet(b"");
    bad.flags = 1;
    bench.guest.send(&mut channel, &bad);
    assert!(bench.violation().contains("flags 0x1"));
    // Two ends: the host withdraws after the first.
    bench.guest.write(&mut channel, &packet(b""));
    bench.send(&mut channel, b"x");
    assert!(bench.violation().contains("sends no more"));
}

#[test]
fn the_host_reads_while_it_waits_for_room() {
    let bench = Bench::new();
    // Much is on its way to the guest, which reads nothing; the end of its own data is seen all the same.
    let (relid, mut channel) = bench.connect(5000, 19);
    bench.send(&mut channel, b"100000\n");
    bench.send(&mut channel, b"");
    eventually("it arrives", || {
        bench.sockets.list()[1].contains(" guest_done=true host_done=false")
    });
    assert_eq!(bench.rest(&mut channel).len(), 100_000);
    bench.rescinded(relid);
    bench.release(relid, &channel);
    // A guest that reads only when all that it has to send is taken.
    let sockets = bench.sockets.clone();
    let command = thread::spawn(move || sockets.connect(1234, vec![7; 100_000], LIMIT));
    let relid = bench.guest.expect::<OfferChannel>().child_relid;
    let mut channel = bench.guest.open(relid, 0x10, RINGS);
    for _ in 0..25 {
        let part = packet(&[7; 4000]);
        eventually("there is room", || {
            bench.guest.try_send(&mut channel, &part)
        });
    }
    assert_eq!(bench.rest(&mut channel).len(), 100_000);
    bench.send(&mut channel, b"");
    let answer = command.join().unwrap().unwrap();
    assert_eq!(answer, ["sent=100000 received=100000 ended=yes same=yes"]);
    bench.rescinded(relid);
    bench.release(relid, &channel);
    assert_eq!(bench.guest.violations(), [""; 0]);
}

#[test]
fn a_connection_that_is_kept_stays_offered_until_it_is_withdrawn() {
    let bench = Bench::new();
    let faults = &bench.guest.shared.faults;
    faults.arm("all", Fault::BusNoRescind, 1, None);
    let (relid, mut channel) = bench.connect(5000, 7);
    bench.send(&mut channel, b"");
    assert_eq!(bench.rest(&mut channel), [0; 0]);
    eventually("it is over", || bench.sockets.list()[1].contains(" over "));
    assert!(!faults.is_armed("hvsock1", Fault::BusNoRescind));
    // Whatever else happens on it.
    bench.send(&mut channel, b"");
    assert!(bench.violation().contains("sends no more"));
    thread::sleep(Duration::from_millis(50));
    let line = bench.guest.server.list().remove(0);
    assert!(
        line.starts_with("hvsock1 ") && line.ends_with(" open"),
        "{line}"
    );
    bench.guest.server.rescind("hvsock1").unwrap();
    bench.rescinded(relid);
    bench.release(relid, &channel);
    assert_eq!(bench.guest.violations(), [""; 0]);
}
