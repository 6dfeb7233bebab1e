// SPDX-License-Identifier: GPL-2.0

//! RNDIS messages: what lies in the ranges of a packet of the host, and what a guest asks.

use std::cell::Cell;

use crate::input::Input;
use rlis_proto::nvsp::ProtocolVersion;
use rlis_proto::rndis::{
    answer, friendly_name, header, indication, mac_from_parameter, packet, request, toeplitz,
    Answer, Capabilities, MessageType, OffloadParams, Piece, Request, Rsc, Rss, RssCapabilities,
    Words, MAX_RSS_TABLE, NVSP_RSC_MAX,
};

/// Most words that a parser may read of one message: more than all information that fits into it, but no loop without
/// end.
const MOST_READS: u32 = 20_000;

/// Memory that changes whenever it is read.
struct Changing<'a> {
    bytes: &'a [u8],
    reads: Cell<u32>,
}

impl Words for Changing<'_> {
    fn words<const N: usize>(&self, offset: u32) -> Option<[u32; N]> {
        let words: [u32; N] = self.bytes.words(offset)?;
        Some(words.map(|value| {
            let reads = self.reads.get();
            assert!(reads < MOST_READS, "a pass without end");
            self.reads.set(reads + 1);
            // What was read once is something else the next time.
            if reads % 7 == 6 {
                value.rotate_left(reads)
            } else {
                value
            }
        }))
    }
}

fn frame(bytes: &[u8], rsc: &mut Rsc, is_last: bool) {
    let len = u32::try_from(bytes.len()).expect("a slice has two bytes of length");
    let Ok(head) = header(bytes, len) else {
        return;
    };
    assert!((8..=len).contains(&head.len));
    if let Ok(found) = packet(bytes, &head) {
        let is_data = found.info.piece().is_some_and(|piece| piece.is_data());
        assert!(found.offset >= 44 && found.len >= if is_data { 1 } else { 14 });
        assert!(u64::from(found.offset) + u64::from(found.len) <= u64::from(head.len));
        let before = (rsc.pieces(), rsc.bytes());
        match rsc.piece(found.info.piece(), found.len, is_last) {
            Ok(Piece::First) => assert_eq!((rsc.pieces(), rsc.bytes()), (1, found.len)),
            Ok(Piece::Middle) => {
                assert_eq!(
                    (rsc.pieces(), rsc.bytes()),
                    (before.0 + 1, before.1 + found.len)
                );
            }
            _ => assert_eq!(rsc.pieces(), 0),
        }
        assert!(rsc.pieces() <= NVSP_RSC_MAX && rsc.bytes() <= 65_549);
    } else if head.kind == MessageType::RNDIS_MSG_PACKET {
        rsc.give_up();
    }
    let changing = Changing {
        bytes,
        reads: Cell::new(0),
    };
    if let Ok(head) = header(&changing, len) {
        if let Ok(found) = packet(&changing, &head) {
            assert!(u64::from(found.offset) + u64::from(found.len) <= u64::from(len));
        }
        let _ = indication(&changing, &head, len);
    }
}

/// The input: the ranges of a packet, each a slice.
pub fn fuzz(data: &[u8]) {
    let mut input = Input(data);
    let mut rsc = Rsc::default();
    while !input.is_empty() {
        let bytes = input.slice();
        frame(bytes, &mut rsc, input.is_empty());
        match answer(bytes) {
            Ok(Answer::Initialize(complete)) => {
                let (frames, align) = complete.batch();
                assert!(frames >= 1 && align.is_power_of_two() && align <= 4096);
            }
            Ok(Answer::Query { value, .. }) => {
                if let Ok(can) = Capabilities::parse(value) {
                    assert!(can.lso4.is_none_or(|most| can.tcp4 && most >= 2920));
                }
                if let Ok((queues, table)) = RssCapabilities::parse(value) {
                    assert!(queues >= 1 && table as usize <= MAX_RSS_TABLE);
                }
                assert!(friendly_name(value).count() <= value.len() / 2);
            }
            _ => {}
        }
        if let Ok(Request::Set { value, .. }) = request(bytes) {
            let _ = mac_from_parameter(value);
            if let Ok(mut params) = OffloadParams::parse(value) {
                assert!(params.for_version(ProtocolVersion::V1) < 28);
            }
            if let Ok(rss) = Rss::parse(value) {
                assert!(rss.table().len() <= MAX_RSS_TABLE);
                toeplitz(&rss.key, bytes.iter().copied());
            }
        }
    }
    rsc.end();
    assert_eq!((rsc.pieces(), rsc.bytes()), (0, 0));
}
