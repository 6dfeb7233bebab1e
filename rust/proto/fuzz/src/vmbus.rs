// SPDX-License-Identifier: GPL-2.0

//! Channel messages, in the slots in which the hypervisor delivers them.

use crate::input::Input;
use rlis_proto::vmbus::gpadl::GpadlAssembler;
use rlis_proto::vmbus::offer::OfferPolicy;
use rlis_proto::vmbus::parse::{parse, parse_from, Direction, Message};
use rlis_proto::vmbus::{synic, Version};
use zerocopy::FromBytes;

/// The input: one byte whose lowest bit says whether a slot follows (256 bytes), or messages with their lengths.
pub fn fuzz(data: &[u8]) {
    let mut input = Input(data);
    if input.u8() & 1 != 0 {
        let slot: [u8; 256] = input.array();
        let slot = synic::Message::read_from_bytes(&slot).expect("size");
        match (slot.payload_bytes(), slot.channel_message()) {
            (Ok(payload), Ok(Some(message))) => {
                let again = parse_from(Direction::HostToGuest, payload);
                assert_eq!(again, Ok(message));
            }
            (Err(_), message) => assert!(!matches!(message, Ok(Some(_)))),
            _ => {}
        }
        return;
    }
    let mut gpadl = None;
    while !input.is_empty() {
        let bytes = input.slice();
        let both = [Direction::HostToGuest, Direction::GuestToHost]
            .map(|direction| parse_from(direction, bytes).is_ok());
        let parsed = parse(bytes);
        assert!(parsed.is_ok() || both == [false; 2]);
        assert_ne!(both, [true; 2]);
        match parsed {
            // The test host's part: a GPADL from its messages.
            Ok(Message::GpadlHeader(header, rest)) => {
                gpadl = GpadlAssembler::new(&header).ok().and_then(|mut gpadl| {
                    let mut store = vec![0; gpadl.store_len()];
                    push(&mut gpadl, rest, &mut store).then_some((gpadl, store))
                });
            }
            Ok(Message::GpadlBody(_, rest)) => {
                gpadl = gpadl.and_then(|(mut gpadl, mut store)| {
                    push(&mut gpadl, rest, &mut store).then_some((gpadl, store))
                });
            }
            Ok(Message::Offer(offer)) => {
                for isolated in [false, true] {
                    let policy = OfferPolicy {
                        version: Version::V5_3,
                        isolated,
                        confidential: false,
                    };
                    if policy.check(&offer).is_ok() {
                        assert!(synic::event_flag(offer.child_relid).is_some());
                    }
                }
            }
            _ => {}
        }
    }
}

/// Adds to a GPADL; returns whether it wants more.
fn push(gpadl: &mut GpadlAssembler, bytes: &[u8], store: &mut [u8]) -> bool {
    match gpadl.push(bytes, store) {
        Ok(false) => true,
        Ok(true) => {
            let ranges: Vec<_> = gpadl.ranges(store).collect();
            assert_eq!(ranges.len(), usize::from(gpadl.range_count()));
            for range in ranges {
                let range = range.expect("checked when it was complete");
                // Fewer bytes if a page number is beyond all addresses.
                let bytes: u64 = range.segments().map(|(_, len)| u64::from(len)).sum();
                assert!(bytes <= u64::from(range.byte_count));
                assert!(range
                    .segments()
                    .all(|(at, len)| at % 4096 + u64::from(len) <= 4096));
            }
            false
        }
        Err(_) => false,
    }
}
