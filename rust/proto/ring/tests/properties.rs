// SPDX-License-Identifier: GPL-2.0

//! What holds for any use of a ring, and for anything that the other side may write.

use super::*;
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Op {
    Write { ext: usize, len: usize },
    Read,
    Commit,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        3 => (0usize..4, 0usize..200).prop_map(|(ext, len)| Op::Write { ext, len }),
        3 => Just(Op::Read),
        1 => Just(Op::Commit),
    ];
    proptest::collection::vec(op, 1..300)
}

proptest! {
    /// Whatever is written comes out, complete and in order, at any position in rings of several sizes.
    #[test]
    fn nothing_is_lost_reordered_or_corrupted(
        size in prop_oneof![Just(64usize), Just(128), Just(320), Just(4096)],
        start in 0usize..4096,
        ops in ops(),
        seed: u8,
    ) {
        let ring = TestRing::new(size);
        set_start(&ring, ((start % size) & !7).try_into().unwrap());
        let mut out = OutgoingRing::new(&ring).unwrap();
        let mut inc = IncomingRing::new(&ring).unwrap();
        let mut expected: VecDeque<(u64, Vec<u8>, Vec<u8>)> = VecDeque::new();
        let mut id = u64::from(seed);
        let mut buf = vec![0; size];
        let mut reserved = 0u32;
        for op in ops {
            match op {
                Op::Write { ext, len } => {
                    let ext: Vec<u8> = (0..ext * 8).map(|i| (id as usize + i) as u8).collect();
                    let payload: Vec<u8> = (0..len).map(|i| (id as usize * 3 + i) as u8).collect();
                    let need = 16 + ext.len() + len.next_multiple_of(8) + 8;
                    match out.reserve(16 + ext.len(), len) {
                        Ok(r) => {
                            prop_assert_eq!(r.ring_bytes() as usize, need);
                            let (a, b) = payload.split_at(len / 2);
                            let _ = r.write(INBAND, 0, id, &[&ext], &[a, b]).unwrap();
                            reserved += need as u32;
                            expected.push_back((id, ext, payload));
                            id += 1;
                        }
                        Err(WriteError::TooBig { .. }) => prop_assert!(need >= size),
                        Err(WriteError::Full { .. }) => prop_assert!(need as u32 + reserved >= size as u32),
                        Err(e) => prop_assert!(false, "{}", e),
                    }
                }
                Op::Read => match (inc.read(&mut buf).unwrap(), expected.pop_front()) {
                    (None, None) => {}
                    (Some(p), Some((id, ext, payload))) => {
                        prop_assert_eq!(p.header().trans_id(), id);
                        prop_assert_eq!(p.extension(), &ext[..]);
                        prop_assert_eq!(&p.payload()[..payload.len()], &payload[..]);
                        prop_assert_eq!(p.payload().len(), payload.len().next_multiple_of(8));
                    }
                    (a, b) => prop_assert!(false, "{:?} {:?}", a, b),
                },
                Op::Commit => {
                    let _ = inc.commit();
                    reserved = out.used().unwrap();
                    prop_assert_eq!(
                        reserved as usize,
                        expected.iter().map(|(_, e, p)| 24 + e.len() + p.len().next_multiple_of(8)).sum::<usize>()
                    );
                }
            }
        }
    }

    /// A peer that writes anything anywhere causes errors, never a panic or an access out of bounds
    /// (`TestRing` panics on one), and reading always comes to an end.
    #[test]
    fn hostile_peer(
        data in proptest::collection::vec(prop_oneof![0u8..8, any::<u8>()], 128),
        write in prop_oneof![any::<u32>(), (0u32..17).prop_map(|i| i * 8)],
        read in prop_oneof![any::<u32>(), (0u32..17).prop_map(|i| i * 8)],
        pending: u32,
        features: u32,
        buf_len in 0usize..160,
    ) {
        let ring = TestRing::new(128);
        let mut out = OutgoingRing::new(&ring).unwrap();
        let mut inc = IncomingRing::new(&ring).unwrap();
        ring.write_at(0, &data);
        ring.set(HeaderField::WriteIndex, write);
        ring.set(HeaderField::ReadIndex, read);
        ring.set(HeaderField::PendingSendSz, pending);
        ring.set(HeaderField::FeatureBits, features);
        let mut buf = vec![0; buf_len];
        let mut rounds = 0;
        loop {
            rounds += 1;
            prop_assert!(rounds <= 8);
            match inc.read(&mut buf) {
                Ok(None) | Err(ReadError::Corrupt(RingError::WriteIndex(_))) => break,
                Ok(Some(p)) => {
                    prop_assert!(p.bytes().len() >= 16 && p.payload().len() <= p.bytes().len() - 16);
                    let _ = p.gpa_ranges().map(|r| r.flatten().count());
                    let _ = p.transfer_pages(4096).map(|(_, r)| r.flatten().count());
                }
                Err(ReadError::TooLong { .. }) => { inc.skip().unwrap(); }
                Err(ReadError::Corrupt(_)) => {}
            }
        }
        let _ = inc.commit();
        let _ = inc.finish(true);
        let _ = out.write_inband(INBAND, 0, 0, &[&data]);
        ring.set(HeaderField::ReadIndex, read);
        let _ = out.write_inband(INBAND, 0, 0, &[&data[..16]]);
        let _ = out.wait_for_space(pending);
    }

    /// Ranges of transfer-page packets are inside of the buffer or errors.
    #[test]
    fn transfer_ranges(ext in proptest::collection::vec(any::<u8>(), 0..80), buffer_len: u32) {
        if let Ok((h, ranges)) = packet::transfer_pages(&ext, buffer_len) {
            let mut n = 0u32;
            for r in ranges {
                n += 1;
                if let Ok(r) = r {
                    prop_assert!(u64::from(r.byte_offset) + u64::from(r.byte_count) <= u64::from(buffer_len));
                }
            }
            prop_assert_eq!(n, { h.range_cnt });
        }
    }
}
