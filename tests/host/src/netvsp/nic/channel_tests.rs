// SPDX-License-Identifier: GPL-2.0

//! A card on a channel, from the first message of the protocol to the last.

use rlis_proto::ring::packet::{transfer_pages, TransferPageHeader};
use vm_memory::{Bytes, GuestAddress};
use zerocopy::IntoBytes;

use super::*;
use crate::netvsp::spec::parse_nic;
use crate::vmbus::guest::{Guest, GuestChannel};
use crate::vmbus::ring::{DATA_USING_GPA_DIRECT, DATA_USING_XFER_PAGES};

/// Page numbers of the buffers: 30 and 6 sections.
const RECEIVE: std::ops::Range<u64> = 64..77;
const SEND: std::ops::Range<u64> = 128..137;
const RECEIVE_HANDLE: u32 = 0x20;
const SEND_HANDLE: u32 = 0x21;

struct Bench {
    guest: Guest,
    channel: GuestChannel,
    relid: u32,
    nic: Arc<Nic>,
}

fn in_band(type_: u32, words_: &[u32], completion: bool) -> Packet {
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
    fn open() -> Self {
        let mut guest = Guest::new();
        let nic = Nic::new(parse_nic("net0").unwrap(), 0);
        let (relid, channel) = guest.open_device(nic.offer());
        Self {
            guest,
            channel,
            relid,
            nic,
        }
    }

    fn tell(&mut self, type_: u32, words: &[u32]) {
        self.guest
            .send(&mut self.channel, &in_band(type_, words, false));
    }

    /// Sends a message and returns the words of its completion behind the type.
    fn ask(&mut self, type_: u32, words: &[u32], answer: u32) -> Vec<u32> {
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
    fn initialised() -> Self {
        let mut bench = Self::open();
        let answer = bench.ask(nvsp::INIT, &[0x60001, 0x60001], nvsp::INIT_COMPLETE);
        assert_eq!((answer[0], answer[2]), (0x60001, nvsp::SUCCESS));
        bench.tell(nvsp::SEND_NDIS_CONFIG, &[1514, 0, 0, 0]);
        bench.tell(nvsp::SEND_NDIS_VERSION, &[6, 30]);
        assert_eq!(bench.guest.gpadl(bench.relid, RECEIVE_HANDLE, RECEIVE), 0);
        assert_eq!(bench.guest.gpadl(bench.relid, SEND_HANDLE, SEND), 0);
        let answer = bench.ask(
            nvsp::SEND_RECEIVE_BUFFER,
            &[RECEIVE_HANDLE, 0xCAFE],
            nvsp::SEND_RECEIVE_BUFFER_COMPLETE,
        );
        assert_eq!(answer[..6], [nvsp::SUCCESS, 1, 0, 1728, 30, 30 * 1728]);
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
    fn by_section(&mut self, section: u32, channel_type: u32, message: &[u8]) {
        let at = SEND.start * 4096 + u64::from(section) * 6144;
        self.guest
            .memory
            .write_slice(message, GuestAddress(at))
            .unwrap();
        let len = u32::try_from(message.len()).unwrap();
        let packet = in_band(nvsp::SEND_RNDIS_PACKET, &[channel_type, section, len], true);
        self.rndis(packet, nvsp::SUCCESS);
    }

    /// Takes the next RNDIS message from the host and completes it.
    fn message(&mut self, channel_type: u32) -> Vec<u8> {
        let (transaction, bytes) = self.uncompleted(channel_type);
        self.complete(transaction);
        bytes
    }

    fn uncompleted(&mut self, channel_type: u32) -> (u64, Vec<u8>) {
        let packet = self.guest.receive(&mut self.channel);
        assert_eq!((packet.type_, packet.flags), (DATA_USING_XFER_PAGES, 1));
        let expected = [nvsp::SEND_RNDIS_PACKET, channel_type, nvsp::NO_SECTION, 0];
        assert_eq!(packet.payload[..16], words(&expected));
        let len = u32::try_from(RECEIVE.end - RECEIVE.start).unwrap() * 4096;
        let (header, mut ranges) = transfer_pages(&packet.header, len).unwrap();
        let TransferPageHeader {
            xfer_pageset_id,
            range_cnt,
            ..
        } = header;
        assert_eq!((xfer_pageset_id, range_cnt), (0xCAFE, 1));
        let range = ranges.next().unwrap().unwrap();
        let mut bytes = vec![0; range.byte_count as usize];
        let at = RECEIVE.start * 4096 + u64::from(range.byte_offset);
        self.guest
            .memory
            .read_slice(&mut bytes, GuestAddress(at))
            .unwrap();
        (packet.transaction, bytes)
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
    fn violation(&self) -> String {
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
fn arp() -> Vec<u8> {
    let mut frame = vec![0xFF; 6];
    frame.extend([0, 0x15, 0x5D, 0, 1, 0, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend([0, 0x15, 0x5D, 0, 1, 0, 10, 0, 0, 2, 0, 0, 0, 0, 0, 0]);
    frame.extend([10, 0, 0, 1]);
    frame
}

fn is_arp_reply(message: &[u8]) -> bool {
    let found = rndis::messages(message).unwrap();
    let frame = rndis::frame(found[0].1).unwrap();
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
    // A frame on the channel for control messages, and too long a frame.
    for (channel, message) in [
        (nvsp::CHANNEL_CONTROL, frame),
        (nvsp::CHANNEL_DATA, rndis::packet(&[0; 1600])),
    ] {
        let at = GuestAddress(SEND.start * 4096);
        bench.guest.memory.write_slice(&message, at).unwrap();
        let len = u32::try_from(message.len()).unwrap();
        let packet = in_band(nvsp::SEND_RNDIS_PACKET, &[channel, 0, len], true);
        bench.rndis(packet, nvsp::INVALID_RNDIS_PACKET);
        bench.violation();
    }
    let answer = bench.ask(nvsp::SUB_CHANNEL, &[1, 3], nvsp::SUB_CHANNEL);
    assert_eq!(answer[0], nvsp::FAIL);
    assert!(bench.violation().contains("sub-channels"));
}

#[test]
fn messages_out_of_turn_are_recorded() {
    let mut bench = Bench::open();
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
