// SPDX-License-Identifier: GPL-2.0

//! GPADLs: the guest cuts a list of pages into one GPADL_HEADER and as many GPADL_BODY messages as it takes;
//! the host puts them together again.

use super::gpa::{pages_spanned, GpaRanges};
use super::message::{ChannelMessageHeader, GpaRange, GpadlBody, GpadlHeader};
use super::{HV_HYP_PAGE_SIZE, MAX_SIZE_CHANNEL_MESSAGE};
use crate::error::{put_bytes, ProtoError};
use core::mem::size_of;
use zerocopy::IntoBytes;

/// Page numbers that fit into a GPADL_HEADER with one range.
pub const PFNS_IN_HEADER: usize =
    (MAX_SIZE_CHANNEL_MESSAGE - size_of::<GpadlHeader>() - size_of::<GpaRange>()) / 8;
/// Page numbers that fit into a GPADL_BODY.
pub const PFNS_IN_BODY: usize = (MAX_SIZE_CHANNEL_MESSAGE - size_of::<GpadlBody>()) / 8;
/// Most pages of a GPADL with one range: `range_buflen` has 16 bits.
pub const MAX_GPADL_PAGES: u64 = (u16::MAX as u64 - size_of::<GpaRange>() as u64) / 8;

/// A message buffer of the greatest length.
pub type MessageBuffer = [u8; MAX_SIZE_CHANNEL_MESSAGE];

/// Cuts one range into GPADL messages.
#[derive(Debug)]
pub struct GpadlSplitter<I> {
    child_relid: u32,
    gpadl: u32,
    range: GpaRange,
    range_buflen: u16,
    pfns: I,
    left: u64,
    header_done: bool,
}

impl<I: Iterator<Item = u64>> GpadlSplitter<I> {
    /// A splitter for the range of `byte_count` bytes that starts `byte_offset` bytes into its first page.
    /// `pfns` yields the 4 KiB page numbers.
    ///
    /// # Errors
    ///
    /// `Invalid` if the range is empty, its offset is not within the first page, or it needs more than
    /// [`MAX_GPADL_PAGES`] pages.
    pub fn new(
        child_relid: u32,
        gpadl: u32,
        byte_offset: u32,
        byte_count: u32,
        pfns: I,
    ) -> Result<Self, ProtoError> {
        let invalid = |what, value| Err(ProtoError::Invalid { what, value });
        if byte_count == 0 {
            return invalid("GPADL byte count", 0);
        }
        if usize::try_from(byte_offset).map_or(true, |o| o >= HV_HYP_PAGE_SIZE) {
            return invalid("GPADL byte offset", u64::from(byte_offset));
        }
        let left = pages_spanned(byte_offset, byte_count);
        let buflen = left
            .checked_mul(8)
            .and_then(|b| b.checked_add(size_of::<GpaRange>() as u64));
        match buflen.and_then(|b| u16::try_from(b).ok()) {
            Some(range_buflen) => Ok(Self {
                child_relid,
                gpadl,
                range: GpaRange {
                    byte_count,
                    byte_offset,
                },
                range_buflen,
                pfns,
                left,
                header_done: false,
            }),
            None => invalid("GPADL page count", left),
        }
    }

    /// Number of messages that are still to come.
    pub fn messages_left(&self) -> u64 {
        if self.header_done {
            self.left.div_ceil(PFNS_IN_BODY as u64)
        } else {
            1 + self
                .left
                .saturating_sub(PFNS_IN_HEADER as u64)
                .div_ceil(PFNS_IN_BODY as u64)
        }
    }

    /// Writes the next message into `buf` and returns its length, or `None` after the last.
    ///
    /// # Errors
    ///
    /// `Unexpected` if the iterator of page numbers ends too early.
    pub fn next_message(&mut self, buf: &mut MessageBuffer) -> Result<Option<usize>, ProtoError> {
        let what = "GPADL message";
        let mut at = 0;
        let room = if self.header_done {
            if self.left == 0 {
                return Ok(None);
            }
            let body = GpadlBody {
                header: ChannelMessageHeader::of::<GpadlBody>(),
                msgnumber: 0,
                gpadl: self.gpadl,
            };
            at += put_bytes(buf, body.as_bytes(), what)?;
            PFNS_IN_BODY
        } else {
            self.header_done = true;
            let header = GpadlHeader {
                header: ChannelMessageHeader::of::<GpadlHeader>(),
                child_relid: self.child_relid,
                gpadl: self.gpadl,
                range_buflen: self.range_buflen,
                rangecount: 1,
            };
            at += put_bytes(buf, header.as_bytes(), what)?;
            at += put_bytes(
                buf.get_mut(at..).unwrap_or_default(),
                self.range.as_bytes(),
                what,
            )?;
            PFNS_IN_HEADER
        };
        for _ in 0..room {
            if self.left == 0 {
                break;
            }
            let pfn = self.pfns.next().ok_or(ProtoError::Unexpected {
                what: "end of GPADL page numbers",
            })?;
            at += put_bytes(
                buf.get_mut(at..).unwrap_or_default(),
                &pfn.to_le_bytes(),
                what,
            )?;
            self.left -= 1;
        }
        Ok(Some(at))
    }
}

/// The host's side: collects the messages of one GPADL into a buffer of the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpadlAssembler {
    /// Channel the GPADL belongs to.
    pub child_relid: u32,
    /// Its handle.
    pub gpadl: u32,
    rangecount: u16,
    total: usize,
    filled: usize,
}

impl GpadlAssembler {
    /// Starts from a header. The caller then provides a store of [`Self::store_len`] bytes and passes the
    /// bytes that came with the header to [`Self::push`].
    ///
    /// # Errors
    ///
    /// `Invalid` for no ranges, or fewer bytes announced than that many ranges can have.
    pub fn new(header: &GpadlHeader) -> Result<Self, ProtoError> {
        let (rangecount, buflen) = (header.rangecount, header.range_buflen);
        let least = usize::from(rangecount) * (size_of::<GpaRange>() + 8);
        if rangecount == 0 || usize::from(buflen) < least || buflen % 8 != 0 {
            return Err(ProtoError::Invalid {
                what: "GPADL range_buflen",
                value: u64::from(buflen),
            });
        }
        Ok(Self {
            child_relid: header.child_relid,
            gpadl: header.gpadl,
            rangecount,
            total: usize::from(buflen),
            filled: 0,
        })
    }

    /// Bytes that the store must have.
    pub const fn store_len(&self) -> usize {
        self.total
    }

    /// Number of ranges announced.
    pub const fn range_count(&self) -> u16 {
        self.rangecount
    }

    /// Adds the bytes that came with the header or with a body; returns whether the GPADL is complete.
    ///
    /// # Errors
    ///
    /// `Invalid` if there are more bytes than announced (nothing is stored then), none at all, or no multiple
    /// of eight; `NoRoom` if the store is too small. When complete, the ranges are checked too.
    pub fn push(&mut self, bytes: &[u8], store: &mut [u8]) -> Result<bool, ProtoError> {
        let end = self.filled.saturating_add(bytes.len());
        if end > self.total || bytes.len() % 8 != 0 || bytes.is_empty() {
            return Err(ProtoError::Invalid {
                what: "GPADL message length",
                value: bytes.len() as u64,
            });
        }
        put_bytes(
            store.get_mut(self.filled..).unwrap_or_default(),
            bytes,
            "GPADL store",
        )?;
        self.filled = end;
        if self.filled < self.total {
            return Ok(false);
        }
        let mut ranges = self.ranges(store);
        for range in &mut ranges {
            range?;
        }
        if !ranges.rest().is_empty() {
            return Err(ProtoError::Invalid {
                what: "GPADL range_buflen",
                value: self.total as u64,
            });
        }
        Ok(true)
    }

    /// The ranges in a complete store.
    pub fn ranges<'a>(&self, store: &'a [u8]) -> GpaRanges<'a> {
        GpaRanges::new(
            store.get(..self.total).unwrap_or_default(),
            u32::from(self.rangecount),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vmbus::parse::{parse, Message};
    use proptest::prelude::*;
    extern crate std;
    use std::vec;
    use std::vec::Vec;

    fn round_trip(off: u32, count: u32, pfn: impl Fn(u64) -> u64) -> Result<(), ProtoError> {
        let pages = pages_spanned(off, count);
        let mut split = GpadlSplitter::new(7, 0xE1E10, off, count, (0..).map(&pfn))?;
        let mut assembler: Option<(GpadlAssembler, Vec<u8>)> = None;
        let mut buf = [0; MAX_SIZE_CHANNEL_MESSAGE];
        let mut done = false;
        let mut expected = split.messages_left();
        while let Some(len) = split.next_message(&mut buf)? {
            assert!(!done);
            expected -= 1;
            assert_eq!(split.messages_left(), expected);
            match parse(&buf[..len])? {
                Message::GpadlHeader(h, bytes) => {
                    assert!(assembler.is_none());
                    let mut a = GpadlAssembler::new(&h)?;
                    assert_eq!((a.child_relid, a.gpadl, a.range_count()), (7, 0xE1E10, 1));
                    let mut store = vec![0; a.store_len()];
                    done = a.push(bytes, &mut store)?;
                    assembler = Some((a, store));
                }
                Message::GpadlBody(b, bytes) => {
                    let (a, store) = assembler.as_mut().unwrap();
                    assert_eq!({ b.gpadl }, a.gpadl);
                    done = a.push(bytes, store)?;
                }
                m => panic!("{m:?}"),
            }
        }
        assert!(done && expected == 0);
        let (a, store) = assembler.unwrap();
        let ranges: Vec<_> = a.ranges(&store).collect::<Result<_, _>>()?;
        assert_eq!(ranges.len(), 1);
        assert_eq!((ranges[0].byte_offset, ranges[0].byte_count), (off, count));
        assert!(ranges[0].pfns().eq((0..pages).map(pfn)));
        Ok(())
    }

    #[test]
    fn every_page_count_near_the_message_limits() {
        for pages in (1..140).chain([4096, 7936, 8189, 8190]) {
            round_trip(0, pages * 4096, |i| i * 3 + 1).unwrap();
        }
        assert!(round_trip(0, 8191 * 4096, |i| i).is_err());
        assert_eq!(MAX_GPADL_PAGES, 8190);
    }

    #[test]
    fn bad_ranges_are_refused() {
        assert!(GpadlSplitter::new(1, 1, 0, 0, 0..).is_err());
        assert!(GpadlSplitter::new(1, 1, 4096, 1, 0..).is_err());
        let mut s = GpadlSplitter::new(1, 1, 0, 3 * 4096, 0..2).unwrap();
        assert!(s.next_message(&mut [0; MAX_SIZE_CHANNEL_MESSAGE]).is_err());
    }

    #[test]
    fn assembler_refuses_excess_and_inconsistency() {
        let header = |range_buflen, rangecount| GpadlHeader {
            header: ChannelMessageHeader::of::<GpadlHeader>(),
            child_relid: 1,
            gpadl: 2,
            range_buflen,
            rangecount,
        };
        assert!(GpadlAssembler::new(&header(0, 0)).is_err());
        assert!(GpadlAssembler::new(&header(8, 1)).is_err());
        assert!(GpadlAssembler::new(&header(31, 1)).is_err());
        let mut store = vec![0; 24];
        let mut a = GpadlAssembler::new(&header(24, 1)).unwrap();
        assert!(a.push(&[0; 32], &mut store).is_err());
        assert!(a.push(&[], &mut store).is_err());
        // Two pages announced in bytes, one in the range.
        let mut bytes = vec![];
        bytes.extend(4096u32.to_le_bytes());
        bytes.extend(0u32.to_le_bytes());
        bytes.extend([0; 16]);
        assert!(a.push(&bytes, &mut store).is_err());
    }

    proptest! {
        #[test]
        fn any_range(off in 0u32..4096, count in 1u32..8_000_000, mul: u32) {
            prop_assert_eq!(round_trip(off, count, |i| i.wrapping_mul(u64::from(mul))), Ok(()));
        }

        #[test]
        fn any_messages_never_panic(
            range_buflen: u16,
            rangecount: u16,
            parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..240), 0..20),
        ) {
            let h = GpadlHeader {
                header: ChannelMessageHeader::of::<GpadlHeader>(), child_relid: 0, gpadl: 0, range_buflen, rangecount,
            };
            if let Ok(mut a) = GpadlAssembler::new(&h) {
                let mut store = vec![0; a.store_len()];
                for p in &parts {
                    let _ = a.push(p, &mut store);
                }
            }
        }
    }
}
