// SPDX-License-Identifier: GPL-2.0

//! What a network host sends in its channel: completions, transfer-page packets, and messages nobody asked for.

use crate::input::Input;
use rlis_proto::nvsp::{
    completion_status, granted, incoming, init_answer, received, Incoming, ProtocolVersion,
    ReceiveSections, SendSections,
};

/// Bytes of the buffers.
const BUFFER: u32 = 16 << 20;

/// The input: version (four bytes), number of channels, then packets, each with its kind (one byte) and one slice, or
/// two for ranges and message of a transfer-page packet.
pub fn fuzz(data: &[u8]) {
    let mut input = Input(data);
    let version = ProtocolVersion(input.u32());
    let channels = u32::from(input.u8());
    let mut sections = None;
    while !input.is_empty() {
        match input.u8() % 7 {
            0 => drop(init_answer(input.slice())),
            1 => {
                if let Ok(cut) = ReceiveSections::parse(input.slice(), BUFFER, 1514) {
                    assert!(cut.size() >= 1558 && cut.count() >= 10 && cut.bytes() <= BUFFER);
                    sections = Some(cut);
                }
            }
            2 => {
                if let Ok(Some(cut)) = SendSections::parse(input.slice(), BUFFER) {
                    assert!(cut.count() > 0 && cut.size() > 0);
                    assert!(u64::from(cut.count()) * u64::from(cut.size()) <= u64::from(BUFFER));
                }
            }
            3 => {
                if let Ok(n) = granted(input.slice(), channels) {
                    assert!(n <= channels);
                }
            }
            4 => {
                let (extension, payload) = (input.slice(), input.slice());
                let Some(cut) = sections else { continue };
                let Ok(packet) = received(extension, payload, &cut) else {
                    continue;
                };
                let count = packet.count;
                let mut seen = 0;
                for range in packet {
                    seen += 1;
                    if let Ok(range) = range {
                        let (len, offset) = (range.byte_count, range.byte_offset);
                        assert!(len <= cut.size());
                        assert!(offset
                            .checked_add(len)
                            .is_some_and(|end| end <= cut.bytes()));
                    }
                }
                assert_eq!(seen, count);
            }
            5 => {
                if let Ok(Incoming::SendTable(table)) = incoming(input.slice(), version, channels) {
                    for hash in 0..16 {
                        assert!(table.channel(hash) < channels);
                    }
                }
            }
            _ => drop(completion_status(input.slice())),
        }
    }
}
