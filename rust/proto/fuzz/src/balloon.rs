// SPDX-License-Identifier: GPL-2.0

//! What a host sends for dynamic memory, from the first answer on, and what becomes of the memory that it adds. The host's
//! side, too: what a guest sends.

use crate::input::Input;
use rlis_proto::balloon::{
    incoming, outgoing, to_balloon, BalloonAnswer, Caps, HotMemory, Incoming, MemoryEvent,
    MemoryState, Negotiation, NegotiationStep, Outgoing, PageRange, Push, Span, MESSAGE_SIZE,
    PFN_LIMIT,
};

/// Pages of a memory block.
const BLOCK: u64 = 0x8000;

/// Gives `pages` pages in answers, as a guest does that finds them one by one, and sees that the host gets them all.
fn give(pages: u32, first: u64) {
    let mut buffer = vec![0xff; MESSAGE_SIZE];
    let (mut given, mut told) = (0, 0);
    while given < pages {
        let mut answer = BalloonAnswer::new(&mut buffer).expect("room");
        while given < pages {
            let start = first.wrapping_add(u64::from(given) * 3 / 2) % (PFN_LIMIT - 1);
            let range = PageRange::new(start, 1).expect("below the limit");
            if answer.push(range) == Push::Full {
                break;
            }
            given += 1;
        }
        let message = answer.finish(given < pages, given);
        assert!(message.len() <= MESSAGE_SIZE);
        match outgoing(message) {
            Ok(Outgoing::Balloon { ranges, more }) => {
                assert_eq!(more, given < pages);
                told += ranges
                    .map(|range| range.expect("well formed").count())
                    .sum::<u32>();
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(told, given);
}

/// The input: capabilities (one byte), then messages, each one slice, with a byte in front: 0 to 2 for one of the host, 3
/// for one of a guest, 4 for one of the host whose first memory block cannot be added.
pub fn fuzz(data: &[u8]) {
    let mut input = Input(data);
    let (mut negotiation, step) = Negotiation::new(Caps::from_bits(input.u8().into()), 1);
    assert!(matches!(step, NegotiationStep::Send(_)));
    let mut sent = 1;
    let mut memory = HotMemory::<8>::new(BLOCK, Span::new(0, 1 << 34)).expect("a power of two");
    while !input.is_empty() {
        let kind = input.u8() % 5;
        let payload = input.slice();
        if kind == 3 {
            if let Ok(Outgoing::Balloon { ranges, .. }) = outgoing(payload) {
                assert!(16 + 8 * ranges.len() <= payload.len());
            }
            continue;
        }
        let Ok(message) = incoming(payload) else {
            continue;
        };
        if let NegotiationStep::Send(_) = negotiation.answer(&message, 2) {
            sent += 1;
            assert!(sent <= 4);
        }
        match message {
            Incoming::Balloon { pages } => {
                let state = MemoryState {
                    total: 0x4_0000,
                    available: i64::from(pages % 0x4_0000),
                    ..MemoryState::default()
                };
                let grant = to_balloon(pages, &state);
                assert!(grant.pages <= pages);
                give(grant.pages % 2048, pages.into());
            }
            Incoming::Unballoon { ranges, .. } => {
                assert!(16 + 8 * ranges.len() <= payload.len());
                for range in ranges.flatten() {
                    assert!(range.count() > 0 && range.span().end <= PFN_LIMIT);
                }
            }
            Incoming::HotAdd(Ok(request)) => {
                let Ok(pages) = memory.check(&request) else {
                    continue;
                };
                let (mut rest, mut added) = (pages, 0);
                // A request has fewer than 2^24 pages, in fewer than 514 blocks.
                for round in 0.. {
                    let Some(step) = memory.next_step(rest) else {
                        assert_eq!(added, pages.len());
                        break;
                    };
                    assert!(round < 514 + 8);
                    let before = memory.backed_in(pages);
                    if memory.begin(&step).is_err() {
                        break;
                    }
                    assert_eq!(memory.backed_in(pages), before + step.pages.len());
                    if kind == 4 {
                        memory.undo(&step).expect("it is the last one");
                        assert_eq!(memory.backed_in(pages), before);
                        break;
                    }
                    added += step.pages.len();
                    rest.start = step.pages.end;
                }
                assert_eq!(memory.backed_in(pages), added);
                let event = match kind {
                    0 => MemoryEvent::Online,
                    1 => MemoryEvent::Offline,
                    _ => MemoryEvent::Changing,
                };
                let before = memory.onlined();
                if memory.note(event, pages).is_err() {
                    assert_eq!(event, MemoryEvent::Online);
                }
                match event {
                    MemoryEvent::Changing => assert_eq!(memory.onlined(), before),
                    MemoryEvent::Online => assert!(memory.onlined() <= memory.added()),
                    MemoryEvent::Offline => {
                        assert!(memory.online_runs(pages).all(|(_, online)| !online));
                    }
                }
            }
            _ => {}
        }
    }
}
