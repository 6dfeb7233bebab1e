// SPDX-License-Identifier: GPL-2.0

//! A card on a channel, from the first message of the protocol to the last.

use rlis_proto::ring::packet::{transfer_pages, TransferPageHeader};
use rlis_proto::rndis::{encode_packet, encode_rss, header, packet, Ppis};
use vm_memory::{Bytes, GuestAddress};
use zerocopy::IntoBytes;

use super::*;
use crate::netvsp::spec::parse_nic;
use crate::vmbus::guest::{Guest, GuestChannel};
use crate::vmbus::ring::{COMPLETION, DATA_INBAND, DATA_USING_GPA_DIRECT, DATA_USING_XFER_PAGES};

/// The protocol in numbers of its own, so that a mistake in the shared definitions is seen.
pub(super) mod nvsp {
    pub const INIT: u32 = 1;
    pub const INIT_COMPLETE: u32 = 2;
    pub const SEND_NDIS_VERSION: u32 = 100;
    pub const SEND_RECEIVE_BUFFER: u32 = 101;
    pub const SEND_RECEIVE_BUFFER_COMPLETE: u32 = 102;
    pub const REVOKE_RECEIVE_BUFFER: u32 = 103;
    pub const SEND_SEND_BUFFER: u32 = 104;
    pub const SEND_SEND_BUFFER_COMPLETE: u32 = 105;
    pub const REVOKE_SEND_BUFFER: u32 = 106;
    pub const SEND_RNDIS_PACKET: u32 = 107;
    pub const SEND_RNDIS_PACKET_COMPLETE: u32 = 108;
    pub const SEND_NDIS_CONFIG: u32 = 125;
    pub const SUB_CHANNEL: u32 = 133;
    pub const SUCCESS: u32 = 1;
    pub const FAIL: u32 = 2;
    pub const INVALID_RNDIS_PACKET: u32 = 5;
    pub const CHANNEL_DATA: u32 = 0;
    pub const CHANNEL_CONTROL: u32 = 1;
    pub const NO_SECTION: u32 = u32::MAX;

    pub fn message(type_: u32, words: &[u32]) -> Vec<u8> {
        let mut bytes = super::words(&[type_]);
        bytes.extend(super::words(words));
        bytes.resize(bytes.len().max(40), 0);
        bytes
    }
}

pub(super) mod rndis {
    pub const INITIALIZE: u32 = 2;
    pub const HALT: u32 = 3;
    pub const SET: u32 = 5;
    pub const INDICATE: u32 = 7;
    pub const MEDIA_CONNECT: u32 = 0x4001_000B;
    pub const MEDIA_DISCONNECT: u32 = 0x4001_000C;
    pub const OID_PACKET_FILTER: u32 = 0x0001_010E;
    pub const OID_RSS: u32 = 0x0001_0204;

    pub fn message(type_: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = super::words(&[type_, 8 + body.len() as u32]);
        bytes.extend(body);
        bytes
    }

    /// A message with a frame, padded to a multiple of eight bytes.
    pub fn packet(frame: &[u8]) -> Vec<u8> {
        let pad = frame.len().wrapping_neg().wrapping_sub(44) % 8;
        let mut bytes = super::words(&[1, (44 + frame.len() + pad) as u32, 36]);
        bytes.extend(super::words(&[frame.len() as u32, 0, 0, 0, 0, 0, 0, 0]));
        bytes.extend(frame);
        bytes.resize(bytes.len() + pad, 0);
        bytes
    }
}

/// Words as they lie in memory.
fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_le_bytes()).collect()
}

/// The frame in a message of the host, and what came with it.
fn frame_of(message: &[u8]) -> (&[u8], Ppis) {
    let found = packet(message, &header(message, message.len() as u32).unwrap()).unwrap();
    let (at, len) = (found.offset as usize, found.len as usize);
    (&message[at..at + len], found.info)
}

/// Page numbers of the buffers: 30 and 6 sections.
const RECEIVE: std::ops::Range<u64> = 64..77;
pub(super) const SEND: std::ops::Range<u64> = 128..137;
const RECEIVE_HANDLE: u32 = 0x20;
const SEND_HANDLE: u32 = 0x21;

pub(super) struct Bench {
    pub(super) guest: Guest,
    pub(super) channel: GuestChannel,
    pub(super) relid: u32,
    pub(super) nic: Arc<Nic>,
}

pub(super) fn in_band(type_: u32, words_: &[u32], completion: bool) -> Packet {
    Packet {
        type_: DATA_INBAND,
        flags: u16::from(completion),
        transaction: 0x1000 + u64::from(type_),
        header: Vec::new(),
        payload: nvsp::message(type_, words_),
    }
}

impl Bench {
    /// A card whose channel is open.
    pub(super) fn open(options: &str) -> Self {
        let mut guest = Guest::new();
        let nic = Nic::new(parse_nic(options).unwrap(), 0, None);
        let (relid, channel) = guest.open_device(nic.offer());
        Self {
            guest,
            channel,
            relid,
            nic,
        }
    }

    pub(super) fn tell(&mut self, type_: u32, words: &[u32]) {
        self.guest
            .send(&mut self.channel, &in_band(type_, words, false));
    }

    /// Sends a message and returns the words of its completion behind the type.
    pub(super) fn ask(&mut self, type_: u32, words: &[u32], answer: u32) -> Vec<u32> {
        let packet = in_band(type_, words, true);
        self.guest.send(&mut self.channel, &packet);
        self.completion(packet.transaction, answer)
    }

    fn completion(&mut self, transaction: u64, type_: u32) -> Vec<u32> {
        let packet = self.guest.receive(&mut self.channel);
        assert_eq!(
            (packet.type_, packet.transaction),
            (COMPLETION, transaction)
        );
        let words: Vec<u32> = packet
            .payload
            .chunks_exact(4)
            .map(|c| u32::from_le_bytes(c.try_into().unwrap()))
            .collect();
        assert_eq!(words[0], type_);
        words[1..].to_vec()
    }

    /// Everything up to the initialisation of RNDIS, with all frames let through.
    pub(super) fn initialised() -> Self {
        Self::initialised_as("net0", 1728)
    }

    /// The same of a card with options, whose sections have `size` bytes.
    fn initialised_as(options: &str, size: u32) -> Self {
        let mut bench = Self::open(options);
        let answer = bench.ask(nvsp::INIT, &[0x60001, 0x60001], nvsp::INIT_COMPLETE);
        assert_eq!(answer[2], nvsp::SUCCESS);
        bench.tell(nvsp::SEND_NDIS_CONFIG, &[1514, 0, 8, 0]);
        bench.tell(nvsp::SEND_NDIS_VERSION, &[6, 30]);
        assert_eq!(bench.guest.gpadl(bench.relid, RECEIVE_HANDLE, RECEIVE), 0);
        assert_eq!(bench.guest.gpadl(bench.relid, SEND_HANDLE, SEND), 0);
        let answer = bench.ask(
            nvsp::SEND_RECEIVE_BUFFER,
            &[RECEIVE_HANDLE, 0xCAFE],
            nvsp::SEND_RECEIVE_BUFFER_COMPLETE,
        );
        let count = 53_248 / size;
        assert_eq!(
            answer[..6],
            [nvsp::SUCCESS, 1, 0, size, count, count * size]
        );
        let answer = bench.ask(
            nvsp::SEND_SEND_BUFFER,
            &[SEND_HANDLE, 0],
            nvsp::SEND_SEND_BUFFER_COMPLETE,
        );
        assert_eq!(answer[..2], [nvsp::SUCCESS, 6144]);
        let init = rndis::message(rndis::INITIALIZE, &words(&[1, 1, 0, 0x4000]));
        bench.by_pages(nvsp::CHANNEL_CONTROL, &init);
        assert_eq!(
            bench.message(nvsp::CHANNEL_CONTROL)[..4],
            words(&[0x8000_0002])
        );
        let filter = words(&[2, rndis::OID_PACKET_FILTER, 4, 20, 0, 0x20]);
        bench.by_section(
            1,
            nvsp::CHANNEL_CONTROL,
            &rndis::message(rndis::SET, &filter),
        );
        let answer = bench.message(nvsp::CHANNEL_CONTROL);
        assert_eq!(answer, words(&[0x8000_0005, 16, 2, 0]));
        assert_eq!(bench.guest.violations(), [""; 0]);
        bench
    }

    fn rndis(&mut self, mut packet: Packet, status: u32) {
        packet.transaction = 0x77;
        self.guest.send(&mut self.channel, &packet);
        let answer = self.completion(0x77, nvsp::SEND_RNDIS_PACKET_COMPLETE);
        assert_eq!(answer[0], status);
    }

    /// Sends an RNDIS message from guest pages, from the middle of page 200 on.
    fn by_pages(&mut self, channel_type: u32, message: &[u8]) {
        let at = GuestAddress(200 * 4096 + 2048);
        self.guest.memory.write_slice(message, at).unwrap();
        let len = u32::try_from(message.len()).unwrap();
        let mut packet = in_band(
            nvsp::SEND_RNDIS_PACKET,
            &[channel_type, nvsp::NO_SECTION, 0],
            true,
        );
        packet.type_ = DATA_USING_GPA_DIRECT;
        packet.header = words(&[0, 1, len, 2048]);
        packet.header.extend([200u64].as_bytes());
        self.rndis(packet, nvsp::SUCCESS);
    }

    /// Sends an RNDIS message through a section of the send buffer.
    pub(super) fn by_section(&mut self, section: u32, channel_type: u32, message: &[u8]) {
        let at = SEND.start * 4096 + u64::from(section) * 6144;
        self.guest
            .memory
            .write_slice(message, GuestAddress(at))
            .unwrap();
        let len = u32::try_from(message.len()).unwrap();
        let packet = in_band(nvsp::SEND_RNDIS_PACKET, &[channel_type, section, len], true);
        self.rndis(packet, nvsp::SUCCESS);
    }

    /// Sends an RNDIS message through the first section, which the host completes with this status.
    fn refused(&mut self, channel_type: u32, message: &[u8], status: u32) {
        let at = GuestAddress(SEND.start * 4096);
        self.guest.memory.write_slice(message, at).unwrap();
        let len = u32::try_from(message.len()).unwrap();
        let packet = in_band(nvsp::SEND_RNDIS_PACKET, &[channel_type, 0, len], true);
        self.rndis(packet, status);
    }

    /// Takes the next RNDIS message from the host and completes it.
    pub(super) fn message(&mut self, channel_type: u32) -> Vec<u8> {
        let (transaction, bytes) = self.uncompleted(channel_type);
        self.complete(transaction);
        bytes
    }

    fn uncompleted(&mut self, channel_type: u32) -> (u64, Vec<u8>) {
        let (transaction, mut all) = self.ranges(channel_type);
        assert_eq!(all.len(), 1);
        (transaction, all.remove(0))
    }

    /// Takes the next packet from the host with the bytes of its ranges.
    fn ranges(&mut self, channel_type: u32) -> (u64, Vec<Vec<u8>>) {
        let packet = self.guest.receive(&mut self.channel);
        assert_eq!((packet.type_, packet.flags), (DATA_USING_XFER_PAGES, 1));
        let expected = [nvsp::SEND_RNDIS_PACKET, channel_type, nvsp::NO_SECTION, 0];
        assert_eq!(packet.payload[..16], words(&expected));
        let len = u32::try_from(RECEIVE.end - RECEIVE.start).unwrap() * 4096;
        let (header, ranges) = transfer_pages(&packet.header, len).unwrap();
        let TransferPageHeader {
            xfer_pageset_id, ..
        } = header;
        assert_eq!(xfer_pageset_id, 0xCAFE);
        let all = ranges.map(|range| {
            let range = range.unwrap();
            let mut bytes = vec![0; range.byte_count as usize];
            let at = RECEIVE.start * 4096 + u64::from(range.byte_offset);
            self.guest
                .memory
                .read_slice(&mut bytes, GuestAddress(at))
                .unwrap();
            bytes
        });
        (packet.transaction, all.collect())
    }

    fn complete(&mut self, transaction: u64) {
        let packet = Packet {
            type_: COMPLETION,
            flags: 0,
            transaction,
            header: Vec::new(),
            payload: words(&[nvsp::SEND_RNDIS_PACKET_COMPLETE, nvsp::SUCCESS]),
        };
        self.guest.send(&mut self.channel, &packet);
    }

    /// Waits until the host has recorded a violation.
    pub(super) fn violation(&self) -> String {
        for _ in 0..10_000 {
            if let Some(first) = self.guest.violations().into_iter().next() {
                return first;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        panic!("no violation was recorded");
    }
}

/// Who has 10.0.0.1? Tell 10.0.0.2.
pub(super) fn arp() -> Vec<u8> {
    let mut frame = vec![0xFF; 6];
    frame.extend([0, 0x15, 0x5D, 0, 1, 0, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend([0, 0x15, 0x5D, 0, 1, 0, 10, 0, 0, 2, 0, 0, 0, 0, 0, 0]);
    frame.extend([10, 0, 0, 1]);
    frame
}

pub(super) fn is_arp_reply(message: &[u8]) -> bool {
    let (frame, _) = frame_of(message);
    frame[..6] == [0, 0x15, 0x5D, 0, 1, 0] && frame[20..22] == [0, 2]
}

#[test]
fn frames_go_both_ways_until_the_card_is_closed() {
    let mut bench = Bench::initialised();
    let frame = rndis::packet(&arp());
    bench.by_pages(nvsp::CHANNEL_DATA, &frame);
    assert!(is_arp_reply(&bench.message(nvsp::CHANNEL_DATA)));
    // Two messages in one section.
    bench.by_section(
        5,
        nvsp::CHANNEL_DATA,
        &[frame.clone(), frame.clone()].concat(),
    );
    assert!(is_arp_reply(&bench.message(nvsp::CHANNEL_DATA)));
    assert!(is_arp_reply(&bench.message(nvsp::CHANNEL_DATA)));
    let line = bench.nic.describe();
    assert!(
        line.contains(" sent=3 ") && line.contains(" received=3 "),
        "{line}"
    );
    assert!(line.contains(" by_section=2 by_pages=2 "), "{line}");

    bench.nic.set_link(false);
    bench.nic.set_link(false);
    let told = bench.message(nvsp::CHANNEL_CONTROL);
    assert_eq!(
        told,
        words(&[rndis::INDICATE, 20, rndis::MEDIA_DISCONNECT, 0, 0])
    );
    bench.by_pages(nvsp::CHANNEL_DATA, &frame);
    bench.nic.set_link(true);
    let told = bench.message(nvsp::CHANNEL_CONTROL);
    assert_eq!(
        told[8..12],
        words(&[rndis::MEDIA_CONNECT]),
        "and no ARP reply before it"
    );

    bench.by_pages(nvsp::CHANNEL_CONTROL, &rndis::message(rndis::HALT, &[0; 4]));
    bench.tell(nvsp::REVOKE_RECEIVE_BUFFER, &[0xCAFE]);
    bench.tell(nvsp::REVOKE_SEND_BUFFER, &[0]);
    bench.guest.teardown(bench.relid, RECEIVE_HANDLE);
    bench.guest.teardown(bench.relid, SEND_HANDLE);
    bench.guest.close(&bench.channel);
    assert_eq!(bench.guest.violations(), [""; 0]);
}

#[test]
fn messages_wait_for_a_free_section() {
    let mut bench = Bench::initialised();
    let frame = rndis::packet(&arp());
    let mut held = Vec::new();
    for _ in 0..31 {
        bench.by_pages(nvsp::CHANNEL_DATA, &frame);
        if held.len() < 30 {
            held.push(bench.uncompleted(nvsp::CHANNEL_DATA).0);
        }
    }
    // All sections are the guest's. One is given back, and the last answer comes in it.
    bench.complete(held.remove(7));
    held.push(bench.uncompleted(nvsp::CHANNEL_DATA).0);
    let twice = held[0];
    for transaction in held {
        bench.complete(transaction);
    }
    assert!(is_arp_reply(&{
        bench.by_pages(nvsp::CHANNEL_DATA, &frame);
        bench.message(nvsp::CHANNEL_DATA)
    }));
    assert_eq!(bench.guest.violations(), [""; 0]);
    bench.complete(twice);
    assert!(bench.violation().contains("a completion of transaction"));
}

#[test]
fn packets_out_of_bounds_are_recorded() {
    let mut bench = Bench::initialised();
    let frame = rndis::packet(&arp());
    for (words, what) in [
        ([nvsp::CHANNEL_DATA, 6, 10], "section 6 of 6"),
        ([nvsp::CHANNEL_DATA, 0, 6145], "6145 bytes in a section"),
        ([nvsp::CHANNEL_DATA, 0, 0], "0 bytes in a section"),
        (
            [nvsp::CHANNEL_DATA, nvsp::NO_SECTION, 5],
            "5 bytes of no section",
        ),
        (
            [nvsp::CHANNEL_DATA, nvsp::NO_SECTION, 0],
            "without an RNDIS message",
        ),
    ] {
        let packet = in_band(nvsp::SEND_RNDIS_PACKET, &words, true);
        bench.rndis(packet, nvsp::INVALID_RNDIS_PACKET);
        assert!(bench.violation().contains(what), "{what}");
    }
    // A frame on the channel for control messages.
    bench.refused(nvsp::CHANNEL_CONTROL, &frame, nvsp::INVALID_RNDIS_PACKET);
    bench.violation();
    let answer = bench.ask(nvsp::SUB_CHANNEL, &[1, 3], nvsp::SUB_CHANNEL);
    assert_eq!(answer[0], nvsp::FAIL);
    assert!(bench.violation().contains("sub-channels"));
}

#[test]
fn frames_that_linux_cannot_help_sending_are_dropped() {
    let mut bench = Bench::initialised();
    bench.refused(nvsp::CHANNEL_DATA, &rndis::packet(&[0; 1600]), nvsp::FAIL);
    bench.by_pages(nvsp::CHANNEL_CONTROL, &rndis::message(rndis::HALT, &[0; 4]));
    bench.refused(nvsp::CHANNEL_DATA, &rndis::packet(&arp()), nvsp::FAIL);
    let line = bench.nic.describe();
    assert!(
        line.contains(" sent=0 ") && line.contains(" late=1 too_long=1 "),
        "{line}"
    );
    assert_eq!(bench.guest.violations(), [""; 0]);
}

#[test]
fn messages_out_of_turn_are_recorded() {
    let mut bench = Bench::open("net0");
    let answer = bench.ask(
        nvsp::SEND_RECEIVE_BUFFER,
        &[RECEIVE_HANDLE, 1],
        nvsp::SEND_RECEIVE_BUFFER_COMPLETE,
    );
    assert_eq!(answer[0], nvsp::FAIL);
    assert!(bench.violation().contains("Closed"));
    bench.tell(nvsp::INIT, &[2, 2]);
    assert!(bench.violation().contains("not requested"));
    bench.tell(nvsp::REVOKE_RECEIVE_BUFFER, &[1]);
    bench.violation();
    bench.tell(999, &[0]);
    bench.violation();
}

/// An echo request of 64 bytes to 10.0.0.1, in IPv4 with right checksums.
fn echo() -> Vec<u8> {
    let mut frame = vec![0, 0x15, 0x5D, 0xFF, 0xFF, 0, 0, 0x15, 0x5D, 0, 1, 0, 8, 0];
    frame.extend([
        0x45, 0, 0, 84, 0, 1, 0, 0, 64, 1, 0x66, 0xA6, 10, 0, 0, 2, 10, 0, 0, 1,
    ]);
    frame.extend([8, 0, 0xF7, 0xFD, 0, 1, 0, 1]);
    frame.extend([0; 56]);
    frame
}

#[test]
fn a_section_is_whole_and_a_packet_has_several_frames_as_in_openvmm() {
    let mut bench = Bench::initialised_as("net0,mode=openvmm,batch=4", 1792);
    let frame = rndis::packet(&echo());
    bench.by_section(1, nvsp::CHANNEL_DATA, &frame);
    let (transaction, ranges) = bench.ranges(nvsp::CHANNEL_DATA);
    assert_eq!(ranges[0].len(), 1792);
    assert_eq!(ranges[0][4..12], words(&[1792, 248]));
    let (frame, _) = frame_of(&ranges[0]);
    assert_eq!((frame.len(), frame[34]), (98, 0), "an echo reply");
    bench.complete(transaction);
    // What comes at once goes at once.
    let own = bench.nic.permanent.0;
    let frames = (0..9).map(|n| [&own[..], &[n; 54]].concat()).collect();
    bench.nic.deliver(frames);
    let mut next = 0;
    for count in [4, 4, 1] {
        let (transaction, ranges) = bench.ranges(nvsp::CHANNEL_DATA);
        assert_eq!(ranges.len(), count);
        for range in ranges {
            assert_eq!(frame_of(&range).0[6], next);
            next += 1;
        }
        bench.complete(transaction);
    }
    assert_eq!(bench.guest.violations(), [""; 0]);
    assert!(bench.nic.describe().contains(" batches=2 "));
}

#[test]
fn headers_have_to_lie_in_one_range() {
    let mut bench = Bench::initialised();
    let frame = rndis::packet(&echo());
    let at = GuestAddress(200 * 4096);
    bench.guest.memory.write_slice(&frame, at).unwrap();
    let len = frame.len() as u32;
    let mut packet = in_band(
        nvsp::SEND_RNDIS_PACKET,
        &[nvsp::CHANNEL_DATA, nvsp::NO_SECTION, 0],
        true,
    );
    packet.type_ = DATA_USING_GPA_DIRECT;
    packet.header = words(&[0, 2, 40, 0]);
    packet.header.extend([200u64].as_bytes());
    packet.header.extend(words(&[len - 40, 40]));
    packet.header.extend([200u64].as_bytes());
    bench.rndis(packet, nvsp::INVALID_RNDIS_PACKET);
    assert!(bench.violation().contains("several ranges"));
}

#[test]
fn tags_go_beside_the_frame_in_both_directions() {
    let mut bench = Bench::initialised();
    let info = Ppis {
        vlan: Some(0x420),
        ..Ppis::default()
    };
    let mut message = vec![0; 200];
    let frame = echo();
    let front = encode_packet(&mut message, &info, frame.len() as u32, 2).unwrap() as usize;
    message.truncate(front);
    message.extend(&frame);
    message.extend([0; 2]);
    bench.by_section(0, nvsp::CHANNEL_DATA, &message);
    let answer = bench.message(nvsp::CHANNEL_DATA);
    let (frame, info) = frame_of(&answer);
    assert_eq!(
        (frame[12..14].to_vec(), info.vlan),
        (vec![8, 0], Some(0x420))
    );
    assert_eq!(bench.guest.violations(), [""; 0]);
}

#[test]
fn flows_are_spread_over_sub_channels() {
    let mut bench = Bench::initialised_as("net0,channels=4", 1728);
    let answer = bench.ask(nvsp::SUB_CHANNEL, &[1, 1], nvsp::SUB_CHANNEL);
    assert_eq!(answer[..2], [nvsp::SUCCESS, 1]);
    let offer: rlis_proto::vmbus::message::OfferChannel = bench.guest.expect();
    assert_eq!({ offer.offer.sub_channel_index }, 1);
    let mut sub = bench.guest.open(offer.child_relid, 0x30, 32..40);
    let table = bench.guest.receive(&mut bench.channel);
    assert_eq!(table.payload[..12], words(&[134, 16, 40]));
    let entries: Vec<u32> = (0..16).map(|n| n % 2).collect();
    assert_eq!(table.payload[40..104], words(&entries));
    // All flows to the sub-channel.
    let mut out = [0; 700];
    let len = encode_rss(&mut out, 0, &[1; 128], &[9; 40]).unwrap();
    let mut set = words(&[2, rndis::OID_RSS, len as u32, 20, 0]);
    set.extend(&out[..len]);
    bench.by_section(2, nvsp::CHANNEL_CONTROL, &rndis::message(rndis::SET, &set));
    let answer = bench.message(nvsp::CHANNEL_CONTROL);
    assert_eq!(answer, words(&[0x8000_0005, 16, 2, 0]));
    let frame = rndis::packet(&echo());
    bench.by_section(1, nvsp::CHANNEL_DATA, &frame);
    let packet = bench.guest.receive(&mut sub);
    assert_eq!(packet.type_, DATA_USING_XFER_PAGES);
    assert_eq!(bench.guest.violations(), [""; 0]);
    // Completed on the wrong channel.
    bench.complete(packet.transaction);
    assert!(bench.violation().contains("a completion on channel 0"));
}

#[test]
fn a_fault_comes_before_the_proper_frame() {
    use crate::faults::Fault;
    let mut bench = Bench::initialised();
    let faults = bench.guest.shared.faults.clone();
    faults.arm("net0", Fault::NetInfoSize, 1, Some(0));
    faults.arm("net0", Fault::NetRangeSet, 1, None);
    let frame = rndis::packet(&echo());
    bench.by_section(1, nvsp::CHANNEL_DATA, &frame);
    let wrong = bench.message(nvsp::CHANNEL_DATA);
    assert_eq!(wrong[44..52], words(&[0, 8]));
    let packet = bench.guest.receive(&mut bench.channel);
    assert_eq!(packet.header[..2], [7, 0]);
    bench.complete(packet.transaction);
    assert_eq!(frame_of(&bench.message(nvsp::CHANNEL_DATA)).0[34], 0);
    assert!(faults.list().is_empty());
    for _ in 0..10_000 {
        if bench.nic.describe().contains(" held=0 ") {
            assert_eq!(bench.guest.violations(), [""; 0]);
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    panic!("not all was completed: {}", bench.nic.describe());
}
