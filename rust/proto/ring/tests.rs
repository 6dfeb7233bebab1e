// SPDX-License-Identifier: GPL-2.0

//! One-threaded tests of both sides of a ring. `tests/loom_ring.rs` has the concurrent ones.

use super::*;
use core::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::vec;
use std::vec::Vec;

extern crate std;

mod properties;

/// A ring in plain memory, mapped once.
struct TestRing {
    header: [Cell<u32>; 17],
    data: RefCell<Vec<u8>>,
}

impl TestRing {
    fn new(size: usize) -> Self {
        Self {
            header: core::array::from_fn(|_| Cell::new(0)),
            data: RefCell::new(vec![0xa5; size]),
        }
    }

    fn set(&self, field: HeaderField, value: u32) {
        self.header[field.offset() / 4].set(value);
    }
}

impl RingHeader for TestRing {
    fn load(&self, field: HeaderField) -> u32 {
        self.header[field.offset() / 4].get()
    }
    fn load_acquire(&self, field: HeaderField) -> u32 {
        self.load(field)
    }
    fn store(&self, field: HeaderField, value: u32) {
        self.set(field, value);
    }
    fn store_release(&self, field: HeaderField, value: u32) {
        self.set(field, value);
    }
    fn full_barrier(&self) {}
}

impl RingMem for TestRing {
    fn size(&self) -> u32 {
        self.data.borrow().len().try_into().unwrap()
    }
    fn read_at(&self, offset: u32, dst: &mut [u8]) {
        // Indexing panics on an access that is out of bounds, which is what these tests look for.
        let first = wrap(offset, dst.len(), self.size());
        let (a, b) = dst.split_at_mut(first);
        let data = self.data.borrow();
        a.copy_from_slice(&data[offset as usize..][..a.len()]);
        b.copy_from_slice(&data[..b.len()]);
    }
    fn write_at(&self, offset: u32, src: &[u8]) {
        let (a, b) = src.split_at(wrap(offset, src.len(), self.size()));
        let mut data = self.data.borrow_mut();
        data[offset as usize..][..a.len()].copy_from_slice(a);
        data[..b.len()].copy_from_slice(b);
    }
}

const INBAND: PacketType = PacketType::VM_PKT_DATA_INBAND;

fn set_start(ring: &TestRing, at: u32) {
    ring.set(HeaderField::WriteIndex, at);
    ring.set(HeaderField::ReadIndex, at);
}

#[test]
fn packet_bytes_on_the_wire() {
    let ring = TestRing::new(4096);
    let mut out = OutgoingRing::new(&ring).unwrap();
    let signal = out
        .reserve(24, 5)
        .unwrap()
        .write(
            PacketType::VM_PKT_DATA_USING_GPA_DIRECT,
            1,
            0x1122_3344_5566_7788,
            &[&[1, 2, 3, 4], &[5, 6, 7, 8]],
            &[b"ab", b"", b"cde"],
        )
        .unwrap();
    assert_eq!(signal, Signal::Needed);
    let data = ring.data.borrow();
    assert_eq!(data[..8], [9, 0, 3, 0, 4, 0, 1, 0]);
    assert_eq!(data[8..16], 0x1122_3344_5566_7788u64.to_le_bytes());
    assert_eq!(data[16..24], [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(data[24..32], *b"abcde\0\0\0");
    assert_eq!(data[32..40], [0; 8]);
    assert_eq!(data[40], 0xa5);
    assert_eq!(ring.load(HeaderField::WriteIndex), 40);
}

#[test]
fn trailer_has_the_start_of_the_packet() {
    let ring = TestRing::new(4096);
    set_start(&ring, 0x100);
    let mut out = OutgoingRing::new(&ring).unwrap();
    let _ = out.write_inband(INBAND, 0, 0, &[&[1; 8]]).unwrap();
    assert_eq!(
        ring.data.borrow()[0x118..0x120],
        (0x100u64 << 32).to_le_bytes()
    );
}

#[test]
fn every_wrap_position_and_length() {
    for size in [64usize, 72, 128, 256] {
        for start in (0..size).step_by(8) {
            for len in 0..size {
                let ring = TestRing::new(size);
                set_start(&ring, start.try_into().unwrap());
                let mut out = OutgoingRing::new(&ring).unwrap();
                let mut inc = IncomingRing::new(&ring).unwrap();
                let payload: Vec<u8> = (0..len).map(|i| (i * 7 + start) as u8).collect();
                let fits = 16 + len.next_multiple_of(8) + 8 < size;
                match out.write_inband(INBAND, 0, 42, &[&payload]) {
                    Ok(s) => assert!(fits && s.needed()),
                    Err(e) => {
                        assert!(!fits && matches!(e, WriteError::TooBig { .. }), "{e}");
                        continue;
                    }
                }
                let mut buf = vec![0; size];
                let p = inc.read(&mut buf).unwrap().unwrap();
                assert_eq!(p.header().trans_id(), 42);
                assert_eq!(p.payload()[..len], payload);
                assert!(p.payload()[len..].iter().all(|&b| b == 0));
                assert!(inc.read(&mut buf).unwrap().is_none());
                assert_eq!(inc.read_index(), out.write_index());
            }
        }
    }
}

#[test]
fn full_ring_keeps_one_word_free() {
    let ring = TestRing::new(64);
    let mut out = OutgoingRing::new(&ring).unwrap();
    // 16 + 32 + 8 = 56 of 64 fit, and then nothing.
    assert!(out.write_inband(INBAND, 0, 0, &[&[0; 32]]).is_ok());
    assert_eq!(out.free(), Ok(8));
    assert_eq!(
        out.write_inband(INBAND, 0, 0, &[]),
        Err(WriteError::Full { need: 24, free: 8 })
    );
}

#[test]
fn wrong_slices_leave_the_ring_alone() {
    let ring = TestRing::new(256);
    let mut out = OutgoingRing::new(&ring).unwrap();
    assert_eq!(
        out.reserve(16, 8)
            .unwrap()
            .write(INBAND, 0, 0, &[], &[&[0; 9]]),
        Err(WriteError::Mismatch)
    );
    assert_eq!(
        out.reserve(24, 8)
            .unwrap()
            .write(INBAND, 0, 0, &[&[0; 4]], &[&[0; 8]]),
        Err(WriteError::Mismatch)
    );
    assert_eq!(out.reserve(20, 8).err(), Some(WriteError::Mismatch));
    assert_eq!(out.reserve(8, 8).err(), Some(WriteError::Mismatch));
    assert!(matches!(
        out.reserve(16, usize::MAX),
        Err(WriteError::TooBig { .. })
    ));
    assert_eq!(ring.load(HeaderField::WriteIndex), 0);
    assert!(ring.data.borrow().iter().all(|&b| b == 0xa5));
}

#[test]
fn signal_only_when_the_ring_was_empty_and_unmasked() {
    let ring = TestRing::new(1024);
    let mut out = OutgoingRing::new(&ring).unwrap();
    let mut inc = IncomingRing::new(&ring).unwrap();
    let mut buf = [0; 64];
    let mut send = || out.write_inband(INBAND, 0, 0, &[]).unwrap();
    assert_eq!(send(), Signal::Needed);
    assert_eq!(send(), Signal::NotNeeded);
    inc.mask_interrupts();
    while inc.read(&mut buf).unwrap().is_some() {}
    let _ = inc.commit();
    // Empty but masked.
    assert_eq!(send(), Signal::NotNeeded);
    // The reader is told when it wants to stop.
    assert_eq!(
        inc.finish(true),
        Ok(Finish {
            signal: Signal::NotNeeded,
            more: true
        })
    );
    while inc.read(&mut buf).unwrap().is_some() {}
    assert!(!inc.finish(true).unwrap().more);
    assert_eq!(send(), Signal::Needed);
}

#[test]
fn reader_signals_a_blocked_writer_exactly_once() {
    let ring = TestRing::new(256);
    let mut out = OutgoingRing::new(&ring).unwrap();
    let mut inc = IncomingRing::new(&ring).unwrap();
    out.enable_pending_send_sz();
    let mut buf = [0; 64];
    let need = loop {
        match out.write_inband(INBAND, 0, 0, &[&[0; 8]]) {
            Ok(_) => {}
            Err(WriteError::Full { need, .. }) => break need,
            Err(e) => panic!("{e}"),
        }
    };
    assert_eq!(need, 32);
    // 7 * 32 = 224 used, 32 free, which is not more than 32. Wait for 64 + something.
    assert_eq!(out.wait_for_space(80), Ok(Space::WillSignal));
    let mut signals = vec![];
    for _ in 0..4 {
        inc.read(&mut buf).unwrap().unwrap();
        signals.push(inc.commit().needed());
    }
    assert_eq!(signals, [false, true, false, false]);
    assert_eq!(out.wait_for_space(80), Ok(Space::Available));
    assert_eq!(ring.load(HeaderField::PendingSendSz), 0);
    // Not asked for: no signal.
    inc.read(&mut buf).unwrap().unwrap();
    assert_eq!(inc.commit(), Signal::NotNeeded);
}

#[test]
fn exactly_as_much_as_asked_for_is_too_little() {
    for (pending, expected) in [
        (32, [true, false, false]),
        (56, [true, false, false]),
        (63, [true, false, false]),
        (64, [false, true, false]),
        (88, [false, true, false]),
        (96, [false, false, true]),
    ] {
        let ring = TestRing::new(256);
        let mut out = OutgoingRing::new(&ring).unwrap();
        let mut inc = IncomingRing::new(&ring).unwrap();
        out.enable_pending_send_sz();
        while out.write_inband(INBAND, 0, 0, &[&[0; 8]]).is_ok() {}
        assert_eq!(out.free(), Ok(32));
        assert_eq!(out.wait_for_space(pending), Ok(Space::WillSignal));
        let signals = expected.map(|_| {
            inc.skip().unwrap().unwrap();
            inc.commit().needed()
        });
        assert_eq!(signals, expected, "waiting for more than {pending}");
    }
}

#[test]
fn no_signal_without_the_feature_bit() {
    let ring = TestRing::new(64);
    let mut out = OutgoingRing::new(&ring).unwrap();
    let mut inc = IncomingRing::new(&ring).unwrap();
    let _ = out.write_inband(INBAND, 0, 0, &[&[0; 32]]).unwrap();
    assert_eq!(out.wait_for_space(32), Ok(Space::WillSignal));
    inc.skip().unwrap().unwrap();
    assert_eq!(inc.commit(), Signal::NotNeeded);
}

#[test]
fn a_waiter_for_the_whole_ring_is_signalled() {
    // Some hosts ask for "ring size minus one" to learn when the ring is empty.
    let ring = TestRing::new(128);
    let mut out = OutgoingRing::new(&ring).unwrap();
    let mut inc = IncomingRing::new(&ring).unwrap();
    out.enable_pending_send_sz();
    let _ = out.write_inband(INBAND, 0, 0, &[]).unwrap();
    let _ = out.write_inband(INBAND, 0, 0, &[]).unwrap();
    assert_eq!(out.wait_for_space(127), Ok(Space::WillSignal));
    inc.skip().unwrap().unwrap();
    assert_eq!(inc.commit(), Signal::NotNeeded);
    inc.skip().unwrap().unwrap();
    assert_eq!(inc.commit(), Signal::Needed);
}

#[test]
fn too_small_buffer_keeps_the_packet() {
    let ring = TestRing::new(256);
    let mut out = OutgoingRing::new(&ring).unwrap();
    let mut inc = IncomingRing::new(&ring).unwrap();
    let _ = out.write_inband(INBAND, 0, 7, &[&[3; 40]]).unwrap();
    assert_eq!(
        inc.read(&mut [0; 55]).err(),
        Some(ReadError::TooLong { need: 56, got: 55 })
    );
    assert_eq!(inc.peek().unwrap().unwrap().payload_len(), 40);
    assert_eq!(inc.read(&mut [0; 56]).unwrap().unwrap().payload(), [3; 40]);
}

#[test]
fn a_reader_and_a_writer_can_be_taken_up_again() {
    let ring = TestRing::new(128);
    let (mut write, mut read, mut committed) = (0, 0, 0);
    let mut buf = [0; 64];
    for round in 0..100u64 {
        let mut out = OutgoingRing::with_write_index(&ring, write).unwrap();
        let _ = out.write_inband(INBAND, 0, round, &[&[7; 8]]).unwrap();
        write = out.write_index();
        let mut inc = IncomingRing::with_indices(&ring, read, committed).unwrap();
        let p = inc.read(&mut buf).unwrap().unwrap();
        assert_eq!(p.header().trans_id(), round);
        // Committing every third packet is enough for a ring of this size.
        if round % 3 == 2 {
            let _ = inc.commit();
            assert_eq!(ring.load(HeaderField::ReadIndex), inc.read_index());
        }
        (read, committed) = (inc.read_index(), inc.committed_index());
    }
    assert!(IncomingRing::with_indices(&ring, 4, 0).is_err());
    assert!(IncomingRing::with_indices(&ring, 128, 0).is_err());
    assert!(OutgoingRing::with_write_index(&ring, 128).is_err());
}

/// A reader that keeps only its private index between calls, which is all that `struct hv_ring_buffer_info` has.
#[test]
fn a_reader_without_memory_sees_the_same() {
    let ring = TestRing::new(128);
    set_start(&ring, 96);
    let mut out = OutgoingRing::new(&ring).unwrap();
    for id in [1u8, 2] {
        let _ = out
            .write_inband(INBAND, 0, id.into(), &[&[id; 12]])
            .unwrap();
    }
    let reader =
        |read| IncomingRing::with_indices(&ring, read, ring.load(HeaderField::ReadIndex)).unwrap();
    let (mut read, mut buf) = (96, [0; 128]);
    for id in [1u8, 2] {
        let mut len8 = 0;
        for _ in 0..2 {
            let mut inc = reader(read);
            let p = inc.copy(&mut buf).unwrap().unwrap();
            assert_eq!(p.header().trans_id(), u64::from(id));
            assert_eq!(p.payload()[..12], [id; 12]);
            len8 = p.header().descriptor().len8;
            assert_eq!(inc.read_index(), read, "a copy does not move on");
        }
        let mut inc = reader(read);
        inc.advance_past(len8).unwrap();
        read = inc.read_index();
    }
    let mut inc = reader(read);
    assert!(inc.copy(&mut buf).unwrap().is_none());
    assert_eq!(ring.load(HeaderField::ReadIndex), 96);
    let _ = inc.commit();
    assert_eq!(out.used(), Ok(0));
    // A length that the ring cannot have comes from nowhere, and drops what is there.
    let _ = out.write_inband(INBAND, 0, 3, &[&[0; 8]]).unwrap();
    let mut inc = reader(read);
    inc.advance_past(16).unwrap();
    assert_eq!(inc.read_index(), out.write_index());
}

#[test]
fn a_payload_is_read_at_any_place() {
    for start in (0..128u32).step_by(8) {
        let ring = TestRing::new(128);
        set_start(&ring, start);
        let mut out = OutgoingRing::new(&ring).unwrap();
        let mut inc = IncomingRing::new(&ring).unwrap();
        let _ = out
            .reserve(32, 20)
            .unwrap()
            .write(INBAND, 0, 7, &[&[1; 16]], &[&[2; 20]])
            .unwrap();
        assert_eq!(
            inc.read_payload(&mut [0; 23]),
            Err(ReadError::TooLong { need: 24, got: 23 })
        );
        let mut buf = [9; 26];
        let header = inc.read_payload(&mut buf).unwrap().unwrap();
        assert_eq!((header.trans_id(), header.payload_len()), (7, 24));
        assert_eq!(buf[..20], [2; 20]);
        assert_eq!(buf[20..], [0, 0, 0, 0, 9, 9]);
        assert_eq!(inc.read_payload(&mut buf), Ok(None));
        let _ = inc.commit();
        assert_eq!(out.used(), Ok(0));
    }
}

/// The writer can put anything into the header; the reader's next commit mends its own index.
#[test]
fn a_commit_mends_the_index_in_the_header() {
    let ring = TestRing::new(128);
    let mut out = OutgoingRing::new(&ring).unwrap();
    out.enable_pending_send_sz();
    let _ = out.write_inband(INBAND, 0, 1, &[&[0; 64]]).unwrap();
    assert_eq!(out.wait_for_space(64), Ok(Space::WillSignal));
    let mut buf = [0; 128];
    let mut inc = IncomingRing::new(&ring).unwrap();
    assert!(inc.read(&mut buf).unwrap().is_some());
    let mut inc = IncomingRing::with_indices(&ring, inc.read_index(), 0xdead_beef).unwrap();
    assert_eq!(inc.commit(), Signal::Needed);
    assert_eq!(ring.load(HeaderField::ReadIndex), 88);
}

#[test]
fn corrupt_packets_cost_no_more_than_themselves() {
    let ring = TestRing::new(256);
    let mut out = OutgoingRing::new(&ring).unwrap();
    let mut inc = IncomingRing::new(&ring).unwrap();
    let mut buf = [0; 256];
    for (offset8, len8, expect_second) in [
        (1, 3, true),
        (0, 3, true),
        (4, 3, true),
        (2, 1, false),
        (2, 0, false),
        (2, 9, false),
        (2, u16::MAX, false),
    ] {
        let at = out.write_index();
        let _ = out.write_inband(INBAND, 0, 1, &[&[1; 8]]).unwrap();
        ring.write_at((at + 2) % 256, &u16::to_le_bytes(offset8));
        ring.write_at((at + 4) % 256, &u16::to_le_bytes(len8));
        let _ = out.write_inband(INBAND, 0, 2, &[&[2; 8]]).unwrap();
        let e = inc.read(&mut buf).unwrap_err();
        if expect_second {
            assert_eq!(e, ReadError::Corrupt(RingError::Offset { offset8, len8 }));
            assert_eq!(inc.read(&mut buf).unwrap().unwrap().header().trans_id(), 2);
        } else {
            assert_eq!(
                e,
                ReadError::Corrupt(RingError::Length {
                    len8,
                    available: 64
                })
            );
        }
        assert!(inc.read(&mut buf).unwrap().is_none());
        let _ = inc.commit();
        assert_eq!(out.used(), Ok(0));
    }
}

/// What is left of a packet that cannot be read: whose it was, and never more than was in the ring.
#[test]
fn dropped_packets_are_salvaged() {
    for start in (0..256).step_by(8) {
        for (offset8, len8) in [(1, 3), (4, 3), (2, 1), (2, 0), (2, u16::MAX)] {
            for behind in [false, true] {
                let ring = TestRing::new(256);
                set_start(&ring, start);
                let mut out = OutgoingRing::new(&ring).unwrap();
                let mut inc = IncomingRing::new(&ring).unwrap();
                let at = out.write_index();
                let _ = out.write_inband(INBAND, 1, 7, &[&[9; 8]]).unwrap();
                ring.write_at((at + 2) % 256, &u16::to_le_bytes(offset8));
                ring.write_at((at + 4) % 256, &u16::to_le_bytes(len8));
                if behind {
                    let _ = out.write_inband(INBAND, 0, 8, &[&[8; 8]]).unwrap();
                }
                let mut buf = [0; 24];
                let from = inc.read_index();
                assert!(inc.copy(&mut buf).is_err());
                let after = inc.read_index();
                let packet = inc.salvage(from, false, &mut buf).unwrap();
                let header = *packet.header();
                assert_eq!((header.packet_type(), header.trans_id()), (INBAND, 7));
                // If two packets were dropped, nobody knows what was the payload of the first one.
                let two = behind && len8 != 3;
                assert_eq!(packet.payload(), if two { &[][..] } else { &[9; 8] });
                inc.advance_past(header.descriptor().len8).unwrap();
                assert_eq!(inc.read_index(), after);
                if behind && !two {
                    assert_eq!(inc.read(&mut buf).unwrap().unwrap().header().trans_id(), 8);
                }
                assert!(inc.read(&mut buf).unwrap().is_none());
            }
        }
    }
}

#[test]
fn a_packet_that_is_too_long_is_cut() {
    let ring = TestRing::new(256);
    let mut out = OutgoingRing::new(&ring).unwrap();
    let mut inc = IncomingRing::new(&ring).unwrap();
    let _ = out.write_inband(INBAND, 0, 7, &[&[9; 64]]).unwrap();
    let mut buf = [0; 47];
    assert!(matches!(inc.copy(&mut buf), Err(ReadError::TooLong { .. })));
    let _ = inc.skip().unwrap();
    let after = inc.read_index();
    assert!(inc.salvage(after, true, &mut buf).is_none());
    assert!(inc.salvage(0, true, &mut [0; 15]).is_none());
    let packet = inc.salvage(0, true, &mut buf).unwrap();
    assert_eq!(packet.payload(), [9; 24]);
    let len8 = packet.header().descriptor().len8;
    inc.advance_past(len8).unwrap();
    assert_eq!(inc.read_index(), after);
}

#[test]
fn a_wrong_index_that_passes_costs_no_packet() {
    let ring = TestRing::new(256);
    let mut out = OutgoingRing::new(&ring).unwrap();
    let mut inc = IncomingRing::new(&ring).unwrap();
    let mut buf = [0; 256];
    inc.mask_interrupts();
    let _ = out.write_inband(INBAND, 0, 1, &[]).unwrap();
    let right = ring.load(HeaderField::WriteIndex);
    ring.set(HeaderField::WriteIndex, 256 + 64);
    assert!(inc.read(&mut buf).is_err());
    assert!(inc.unmask_interrupts().is_err());
    assert_eq!(ring.load(HeaderField::InterruptMask), 0);
    ring.set(HeaderField::WriteIndex, right);
    // The first packet was not read, so that the writer takes the reader for busy: who waits for a signal waits for ever.
    assert_eq!(out.write_inband(INBAND, 0, 2, &[]), Ok(Signal::NotNeeded));
    for id in [1, 2] {
        let packet = inc.read(&mut buf).unwrap().unwrap();
        assert_eq!(packet.header().trans_id(), id);
    }
    assert!(inc.read(&mut buf).unwrap().is_none());
}

#[test]
fn invalid_indices_are_errors() {
    let ring = TestRing::new(256);
    let mut out = OutgoingRing::new(&ring).unwrap();
    let mut inc = IncomingRing::new(&ring).unwrap();
    let mut buf = [0; 256];
    for bad in [256, 1, 4, 255, u32::MAX, 1 << 31] {
        ring.set(HeaderField::WriteIndex, bad);
        assert_eq!(
            inc.read(&mut buf).err(),
            Some(ReadError::Corrupt(RingError::WriteIndex(bad)))
        );
        assert_eq!(inc.finish(true), Err(RingError::WriteIndex(bad)));
        ring.set(HeaderField::ReadIndex, bad);
        assert_eq!(
            out.write_inband(INBAND, 0, 0, &[]),
            Err(WriteError::Corrupt(RingError::ReadIndex(bad)))
        );
        assert!(OutgoingRing::new(&ring).is_err());
        assert!(IncomingRing::new(&ring).is_err());
    }
    for size in [0, 8, 56, 65, 100] {
        let bad = TestRing::new(size);
        assert!(OutgoingRing::new(&bad).is_err() && IncomingRing::new(&bad).is_err());
    }
}
