// SPDX-License-Identifier: GPL-2.0

//! What the guest sends once the beginning is over: pages for the host, and what the host reads of it.

use super::caps::Caps;
use super::incoming::{message, Ranges};
use super::message::{
    BalloonResponse, Capabilities, HotAddResponse, MessageType, Status, UnballoonResponse, Version,
    VersionRequest, MESSAGE_SIZE,
};
use super::policy::Pressure;
use super::range::PageRange;
use crate::error::{put_bytes, read_prefix, ProtoError};
use core::mem::size_of;
use zerocopy::{FromZeros, IntoBytes};

/// Most ranges in one BALLOON_RESPONSE.
pub const MAX_RANGES: usize = (MESSAGE_SIZE - HEAD) / size_of::<u64>();
/// Bytes before the ranges.
const HEAD: usize = size_of::<BalloonResponse>();

/// What became of pages that were to go into an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Push {
    /// They are in it.
    Taken,
    /// They are not: it is full. To be sent, with another one to follow.
    Full,
}

/// A BALLOON_RESPONSE that is being filled, in memory of the caller.
#[derive(Debug)]
pub struct BalloonAnswer<'a> {
    buffer: &'a mut [u8],
    ranges: usize,
    last: Option<PageRange>,
    pages: u64,
}

impl<'a> BalloonAnswer<'a> {
    /// An answer without pages. Of `buffer` no more than [`MESSAGE_SIZE`] bytes are used.
    ///
    /// # Errors
    ///
    /// `NoRoom` if `buffer` has less than 16 bytes.
    pub fn new(buffer: &'a mut [u8]) -> Result<Self, ProtoError> {
        let got = buffer.len();
        let short = ProtoError::NoRoom {
            what: "BALLOON_RESPONSE",
            need: HEAD,
            got,
        };
        let buffer = buffer.get_mut(..got.min(MESSAGE_SIZE)).ok_or(short)?;
        if buffer.len() < HEAD {
            return Err(short);
        }
        Ok(Self {
            buffer,
            ranges: 0,
            last: None,
            pages: 0,
        })
    }

    /// Adds pages. Those that follow the last range, or come right before it, make it longer.
    pub fn push(&mut self, range: PageRange) -> Push {
        let (joined, at) = match self.last.and_then(|last| last.join(range)) {
            Some(joined) => (joined, self.ranges.saturating_sub(1)),
            None => (range, self.ranges),
        };
        let offset = HEAD.saturating_add(at.saturating_mul(size_of::<u64>()));
        let slot = self.buffer.get_mut(offset..).unwrap_or_default();
        if put_bytes(slot, joined.to_word().as_bytes(), "range").is_err() {
            return Push::Full;
        }
        self.ranges = at.saturating_add(1);
        self.last = Some(joined);
        self.pages = self.pages.saturating_add(range.count().into());
        Push::Taken
    }

    /// Pages in it so far.
    pub const fn pages(&self) -> u64 {
        self.pages
    }

    /// The message. `more`: another one follows.
    pub fn finish(self, more: bool, trans_id: u32) -> &'a [u8] {
        let size = HEAD.saturating_add(self.ranges.saturating_mul(size_of::<u64>()));
        let mut head = BalloonResponse::new_zeroed();
        head.hdr.type_ = MessageType::DM_BALLOON_RESPONSE.0;
        // At most MESSAGE_SIZE, and at most MAX_RANGES.
        head.hdr.size = size as u16;
        head.hdr.trans_id = trans_id;
        head.more_and_count = u32::from(more) | ((self.ranges as u32) << 1);
        let front = self.buffer.iter_mut().zip(head.as_bytes());
        front.for_each(|(to, from)| *to = *from);
        self.buffer.get(..size).unwrap_or_default()
    }
}

/// A message of the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outgoing<'a> {
    /// Proposes a version.
    Version {
        /// Which.
        version: Version,
        /// There will be no other proposal.
        last: bool,
    },
    /// What it can do.
    Capabilities(Caps),
    /// How it is off.
    Status(Pressure),
    /// Gives pages.
    Balloon {
        /// Which.
        ranges: Ranges<'a>,
        /// Another message with more of them follows.
        more: bool,
    },
    /// Has got its pages.
    Unballoon,
    /// Has added memory.
    HotAdd {
        /// How many pages.
        pages: u32,
        /// The result, as it is.
        result: u32,
    },
    /// Not a message of a guest.
    Unknown(MessageType),
}

/// The host's side: reads a message of the guest.
///
/// # Errors
///
/// If it is shorter than its type asks for, or than it says itself.
pub fn outgoing(payload: &[u8]) -> Result<Outgoing<'_>, ProtoError> {
    let (header, bytes) = message(payload)?;
    Ok(match MessageType(header.type_) {
        MessageType::DM_VERSION_REQUEST => {
            let (request, _) = read_prefix::<VersionRequest>(bytes, "VERSION_REQUEST")?;
            Outgoing::Version {
                version: Version(request.version),
                last: request.is_last_attempt & 1 != 0,
            }
        }
        MessageType::DM_CAPABILITIES_REPORT => {
            let (report, _) = read_prefix::<Capabilities>(bytes, "CAPABILITIES_REPORT")?;
            Outgoing::Capabilities(Caps::from_bits(report.caps))
        }
        MessageType::DM_STATUS_REPORT => {
            let (status, _) = read_prefix::<Status>(bytes, "STATUS_REPORT")?;
            Outgoing::Status(Pressure {
                available: status.num_avail,
                committed: status.num_committed,
            })
        }
        MessageType::DM_BALLOON_RESPONSE => {
            let (head, rest) = read_prefix::<BalloonResponse>(bytes, "BALLOON_RESPONSE")?;
            let count = head.more_and_count >> 1;
            Outgoing::Balloon {
                ranges: Ranges::new(rest, count, "ranges of BALLOON_RESPONSE")?,
                more: head.more_and_count & 1 != 0,
            }
        }
        MessageType::DM_UNBALLOON_RESPONSE => {
            read_prefix::<UnballoonResponse>(bytes, "UNBALLOON_RESPONSE")?;
            Outgoing::Unballoon
        }
        MessageType::DM_MEM_HOT_ADD_RESPONSE => {
            let (response, _) = read_prefix::<HotAddResponse>(bytes, "HOT_ADD_RESPONSE")?;
            Outgoing::HotAdd {
                pages: response.page_count,
                result: response.result,
            }
        }
        other => Outgoing::Unknown(other),
    })
}

#[cfg(test)]
mod tests {
    use super::super::range::{range, MAX_COUNT};
    use super::*;
    use proptest::prelude::*;
    extern crate std;
    use std::vec;
    use std::vec::Vec;

    #[test]
    fn an_answer_is_filled_to_the_last_byte() {
        let mut buffer = [0xff; 8192];
        let mut answer = BalloonAnswer::new(&mut buffer).unwrap();
        // Every other page, so that none joins another.
        let mut pages = 0;
        while answer.push(range(2 * pages, 1)) == Push::Taken {
            pages += 1;
        }
        assert_eq!((pages, answer.pages()), (510, 510));
        // What joins the last one still fits.
        assert_eq!(answer.push(range(2 * 509 + 1, 3)), Push::Taken);
        assert_eq!(answer.push(range(2 * 509 - 1, 1)), Push::Taken);
        assert_eq!(answer.push(range(7, 1)), Push::Full);
        let message = answer.finish(true, 9);
        assert_eq!(message.len(), MESSAGE_SIZE);
        let Ok(Outgoing::Balloon { mut ranges, more }) = outgoing(message) else {
            panic!();
        };
        assert!(more && ranges.len() == MAX_RANGES);
        assert_eq!(ranges.next_back_for_test(), Ok(range(2 * 509 - 1, 5)));
    }

    impl Ranges<'_> {
        fn next_back_for_test(&mut self) -> Result<PageRange, ProtoError> {
            self.last().unwrap()
        }
    }

    #[test]
    fn an_answer_without_pages() {
        let mut buffer = [0xff; 16];
        let answer = BalloonAnswer::new(&mut buffer).unwrap();
        assert_eq!(
            answer.finish(false, 0x102),
            [7, 0, 16, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        );
        assert!(BalloonAnswer::new(&mut [0; 15]).is_err());
        let mut answer = BalloonAnswer::new(&mut buffer).unwrap();
        assert_eq!(answer.push(range(1, 1)), Push::Full);
        assert_eq!(answer.pages(), 0);
    }

    #[test]
    fn a_range_is_no_longer_than_the_wire_can_say() {
        let mut buffer = [0; 64];
        let mut answer = BalloonAnswer::new(&mut buffer).unwrap();
        for n in 0..3u64 {
            let next = range(n * u64::from(MAX_COUNT), MAX_COUNT);
            assert_eq!(answer.push(next), Push::Taken);
        }
        assert_eq!(answer.finish(false, 1).len(), 16 + 3 * 8);
    }

    #[test]
    fn messages_of_the_guest() {
        let pressure = Pressure {
            available: 5,
            committed: 6,
        };
        let status = Status::new(pressure, 1);
        assert_eq!(status.as_bytes().len(), 48);
        let got = outgoing(status.as_bytes());
        assert_eq!(got, Ok(Outgoing::Status(pressure)));
        assert!(outgoing(&status.as_bytes()[..47]).is_err());
        let response = HotAddResponse::new(0x8000, true, 2);
        let added = Ok(Outgoing::HotAdd {
            pages: 0x8000,
            result: 1,
        });
        assert_eq!(outgoing(response.as_bytes()), added);
        let response = UnballoonResponse::new(3);
        assert_eq!(outgoing(response.as_bytes()), Ok(Outgoing::Unballoon));
        let mut buffer = [0; 24];
        let mut answer = BalloonAnswer::new(&mut buffer).unwrap();
        answer.push(range(1, 1));
        let mut message = answer.finish(false, 1).to_vec();
        message[12] = 4;
        assert!(outgoing(&message).is_err());
    }

    proptest! {
        #[test]
        fn pages_given_are_pages_told(
            pages in proptest::collection::vec((0u64..600, 1u32..5), 0..80), len in 16usize..300,
        ) {
            let mut buffer = vec![0; len];
            let mut told: Vec<u64> = Vec::new();
            let mut given: Vec<u64> = Vec::new();
            let mut queue = pages.into_iter().peekable();
            while queue.peek().is_some() && len >= 24 {
                let mut answer = BalloonAnswer::new(&mut buffer).unwrap();
                let before = given.len();
                while let Some((start, count)) = queue.peek().copied() {
                    if answer.push(range(start, count)) == Push::Full {
                        break;
                    }
                    given.extend(start..start + u64::from(count));
                    queue.next();
                }
                prop_assert_eq!(answer.pages(), (given.len() - before) as u64);
                prop_assert!(answer.pages() > 0);
                let more = queue.peek().is_some();
                let Ok(Outgoing::Balloon { ranges, more: said }) = outgoing(answer.finish(more, 1)) else { panic!() };
                prop_assert_eq!(more, said);
                told.extend(ranges.flat_map(|r| { let s = r.unwrap().span(); s.start..s.end }));
            }
            told.sort_unstable();
            given.sort_unstable();
            prop_assert_eq!(told, given);
        }

        #[test]
        fn any_bytes_are_taken(bytes in proptest::collection::vec(any::<u8>(), 0..80), kind in 0u16..16, size in 0u16..90) {
            let mut bytes = bytes;
            let head = [&kind.to_le_bytes()[..], &size.to_le_bytes()].concat();
            bytes.iter_mut().zip(head).for_each(|(to, from)| *to = from);
            if let Ok(Outgoing::Balloon { ranges, .. }) = outgoing(&bytes) {
                prop_assert!(16 + 8 * ranges.len() <= usize::from(size));
            }
        }
    }
}
