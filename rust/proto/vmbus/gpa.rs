// SPDX-License-Identifier: GPL-2.0

//! Lists of guest-physical ranges, as GPADLs and GPA-direct packets carry them: each range is a
//! [`GpaRange`] followed by one 64-bit page number per 4 KiB page that it touches.

use super::message::GpaRange;
use super::HV_HYP_PAGE_SIZE;
use crate::error::{read_prefix, ProtoError};

const PAGE: u64 = HV_HYP_PAGE_SIZE as u64;

/// Number of 4 KiB pages that `byte_count` bytes starting `byte_offset` bytes into the first page touch.
pub const fn pages_spanned(byte_offset: u32, byte_count: u32) -> u64 {
    #[allow(clippy::cast_lossless)] // `From` is not const.
    let end = byte_offset as u64 + byte_count as u64;
    end.div_ceil(PAGE)
}

/// One range, borrowed from a validated list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GpaRangeRef<'a> {
    /// Bytes in the range; not 0.
    pub byte_count: u32,
    /// Offset of the first byte in the first page; below 4096.
    pub byte_offset: u32,
    pfns: &'a [u8],
}

impl<'a> GpaRangeRef<'a> {
    /// The page numbers (units of 4 KiB), as many as [`pages_spanned`] says.
    pub fn pfns(&self) -> impl ExactSizeIterator<Item = u64> + Clone + 'a {
        self.pfns.chunks_exact(8).map(le_u64)
    }

    /// The range cut into pieces that lie in one page each: `(guest-physical address, length)`.
    pub fn segments(&self) -> impl Iterator<Item = (u64, u32)> + Clone + 'a {
        let (mut offset, mut left) = (u64::from(self.byte_offset), u64::from(self.byte_count));
        self.pfns().map_while(move |pfn| {
            let len = left.min(PAGE.saturating_sub(offset));
            let start = pfn.checked_mul(PAGE)?.checked_add(offset)?;
            offset = 0;
            left = left.saturating_sub(len);
            u32::try_from(len)
                .ok()
                .filter(|&l| l != 0)
                .map(|l| (start, l))
        })
    }
}

fn le_u64(chunk: &[u8]) -> u64 {
    let mut b = [0u8; 8];
    for (d, s) in b.iter_mut().zip(chunk) {
        *d = *s;
    }
    u64::from_le_bytes(b)
}

/// Iterates over `count` ranges in `bytes`, validating each. Stops after the first error.
#[derive(Clone, Debug)]
pub struct GpaRanges<'a> {
    bytes: &'a [u8],
    left: u32,
}

impl<'a> GpaRanges<'a> {
    /// The `count` ranges at the front of `bytes`.
    pub const fn new(bytes: &'a [u8], count: u32) -> Self {
        Self { bytes, left: count }
    }

    /// What follows the ranges iterated so far.
    pub const fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    fn parse_one(&mut self) -> Result<GpaRangeRef<'a>, ProtoError> {
        let (range, rest) = read_prefix::<GpaRange>(self.bytes, "gpa_range")?;
        let (byte_count, byte_offset) = (range.byte_count, range.byte_offset);
        if byte_count == 0 {
            return Err(ProtoError::Invalid {
                what: "gpa_range.byte_count",
                value: 0,
            });
        }
        if u64::from(byte_offset) >= PAGE {
            return Err(ProtoError::Invalid {
                what: "gpa_range.byte_offset",
                value: u64::from(byte_offset),
            });
        }
        let need = usize::try_from(pages_spanned(byte_offset, byte_count))
            .ok()
            .and_then(|n| n.checked_mul(8))
            .unwrap_or(usize::MAX);
        let Some((pfns, rest)) = rest.split_at_checked(need) else {
            return Err(ProtoError::Short {
                what: "gpa_range page numbers",
                need,
                got: rest.len(),
            });
        };
        self.bytes = rest;
        Ok(GpaRangeRef {
            byte_count,
            byte_offset,
            pfns,
        })
    }
}

impl<'a> Iterator for GpaRanges<'a> {
    type Item = Result<GpaRangeRef<'a>, ProtoError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let r = self.parse_one();
        if r.is_err() {
            self.left = 0;
        }
        Some(r)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    extern crate std;
    use std::vec::Vec;

    #[test]
    fn spans() {
        assert_eq!(pages_spanned(0, 4096), 1);
        assert_eq!(pages_spanned(1, 4096), 2);
        assert_eq!(pages_spanned(4095, 1), 1);
        assert_eq!(pages_spanned(4095, u32::MAX), 0x10_0001);
    }

    proptest! {
        #[test]
        fn segments_cover_the_range(off in 0u32..4096, count in 1u32..100_000, first in 0u64..1 << 40) {
            let n = pages_spanned(off, count);
            let mut bytes = Vec::new();
            bytes.extend(count.to_le_bytes());
            bytes.extend(off.to_le_bytes());
            for i in 0..n {
                bytes.extend((first + i).to_le_bytes());
            }
            bytes.push(7);
            let mut it = GpaRanges::new(&bytes, 1);
            let r = it.next().unwrap().unwrap();
            prop_assert_eq!(it.rest(), &[7u8][..]);
            prop_assert!(it.next().is_none());
            prop_assert_eq!(r.pfns().len() as u64, n);
            let mut at = first * 4096 + u64::from(off);
            let mut total = 0;
            for (gpa, len) in r.segments() {
                prop_assert_eq!(gpa, at);
                prop_assert!(gpa / 4096 == (gpa + u64::from(len) - 1) / 4096);
                at += u64::from(len);
                total += len;
            }
            prop_assert_eq!(total, count);
            // One byte less is refused.
            prop_assert!(GpaRanges::new(&bytes[..bytes.len() - 2], 1).next().unwrap().is_err());
        }

        #[test]
        fn any_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100), count: u32) {
            for r in GpaRanges::new(&bytes, count).flatten() {
                r.segments().for_each(drop);
            }
        }
    }
}
