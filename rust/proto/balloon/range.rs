// SPDX-License-Identifier: GPL-2.0

//! Ranges of pages: as they go over the wire, and as a guest reckons with them.

use crate::error::ProtoError;

/// One more than the highest page number: 40 bits, the limit of the architecture.
pub const PFN_LIMIT: u64 = 1 << 40;
/// Most pages in one [`PageRange`]: 24 bits.
pub const MAX_COUNT: u32 = (1 << 24) - 1;

/// `union dm_mem_page_range`: at least one page, all of them below [`PFN_LIMIT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRange {
    start: u64,
    count: u32,
}

impl PageRange {
    /// `count` pages from `start` on; `None` if that is none, or more than the wire format can say.
    pub fn new(start: u64, count: u32) -> Option<Self> {
        let end = start.checked_add(u64::from(count))?;
        let fits = count != 0 && count <= MAX_COUNT && end <= PFN_LIMIT;
        fits.then_some(Self { start, count })
    }

    /// Reads a range: the number of the first page in the lower 40 bits, how many there are in the upper 24.
    ///
    /// # Errors
    ///
    /// `Invalid` if it is empty, or goes beyond [`PFN_LIMIT`].
    pub fn from_word(word: u64) -> Result<Self, ProtoError> {
        let count = (word >> 40) as u32;
        Self::new(word & (PFN_LIMIT - 1), count).ok_or(ProtoError::Invalid {
            what: "range of pages",
            value: word,
        })
    }

    /// The range as it goes over the wire.
    pub fn to_word(self) -> u64 {
        self.start | (u64::from(self.count) << 40)
    }

    /// Number of the first page.
    pub const fn start(self) -> u64 {
        self.start
    }

    /// How many pages.
    pub const fn count(self) -> u32 {
        self.count
    }

    /// The same pages.
    pub fn span(self) -> Span {
        Span {
            start: self.start,
            end: self.start.saturating_add(u64::from(self.count)),
        }
    }

    /// Both ranges as one, if one follows the other and the wire format can say how many pages that are.
    pub fn join(self, other: Self) -> Option<Self> {
        let count = self.count.checked_add(other.count)?;
        if self.span().end == other.start {
            Self::new(self.start, count)
        } else if other.span().end == self.start {
            Self::new(other.start, count)
        } else {
            None
        }
    }
}

/// Pages from `start` on, without `end`; none if `end` is not above `start`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Number of the first page.
    pub start: u64,
    /// Number of the page behind the last.
    pub end: u64,
}

impl Span {
    /// From `start` on, without `end`.
    pub const fn new(start: u64, end: u64) -> Self {
        Self { start, end }
    }

    /// How many pages.
    pub const fn len(self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether there are none.
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Whether `page` is one of them.
    pub const fn contains(self, page: u64) -> bool {
        self.start <= page && page < self.end
    }

    /// Whether all pages of `other` are among them. No pages are among any.
    pub const fn covers(self, other: Self) -> bool {
        other.is_empty() || self.start <= other.start && other.end <= self.end
    }

    /// What both have.
    pub fn common(self, other: Self) -> Self {
        Self {
            start: self.start.max(other.start),
            end: self.end.min(other.end),
        }
    }
}

/// A range that a test knows to be one.
#[cfg(test)]
pub(super) fn range(start: u64, count: u32) -> PageRange {
    PageRange::new(start, count).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    extern crate std;

    #[test]
    fn what_a_range_may_be() {
        let max = u64::from(MAX_COUNT);
        for (start, count) in [
            (0, 1),
            (0, MAX_COUNT),
            (PFN_LIMIT - 1, 1),
            (PFN_LIMIT - max, MAX_COUNT),
        ] {
            let range = PageRange::new(start, count).unwrap();
            assert_eq!(PageRange::from_word(range.to_word()), Ok(range));
        }
        for (start, count) in [
            (0, 0),
            (7, 0),
            (PFN_LIMIT - 1, 2),
            (PFN_LIMIT, 1),
            (PFN_LIMIT - max + 1, MAX_COUNT),
            (0, MAX_COUNT + 1),
            (u64::MAX, 1),
            (u64::MAX, u32::MAX),
        ] {
            assert_eq!(PageRange::new(start, count), None, "{start:#x} {count:#x}");
        }
        assert_eq!(
            PageRange::new(0x12_3456_789a, 0xab_cdef).unwrap().to_word(),
            0xabcd_ef12_3456_789a
        );
        assert!(PageRange::from_word(u64::MAX).is_err());
        assert!(PageRange::from_word(0).is_err());
    }

    #[test]
    fn ranges_join_at_either_end() {
        assert_eq!(range(8, 2).join(range(10, 3)), Some(range(8, 5)));
        assert_eq!(range(10, 3).join(range(8, 2)), Some(range(8, 5)));
        assert_eq!(range(8, 2).join(range(11, 1)), None);
        assert_eq!(range(8, 2).join(range(9, 1)), None);
        assert_eq!(range(0, MAX_COUNT).join(range(MAX_COUNT.into(), 1)), None);
    }

    proptest! {
        #[test]
        fn any_word_is_read_or_refused(word: u64) {
            if let Ok(range) = PageRange::from_word(word) {
                prop_assert_eq!(range.to_word(), word);
                prop_assert!(range.span().end <= PFN_LIMIT && !range.span().is_empty());
            }
        }
    }
}
