// SPDX-License-Identifier: GPL-2.0

//! Hints for the hypervisor that what is in free pages is of no use to the guest (cold discard): it may take the memory behind
//! them away until they are touched again.
//!
//! A hint is a hypercall with a header and up to [`MAX_HINTED`] ranges, which the hypervisor may carry out in several goes. What
//! is here makes the message, says how it goes on after each go, and what an error means.

use super::range::Span;

/// `HvExtCallQueryCapabilities`: the call that tells which of the others there are, as a word of 64 bits.
pub const QUERY_CAPABILITIES: u16 = 0x8001;
/// `HvExtCallMemoryHeatHint`.
pub const MEMORY_HEAT_HINT: u16 = 0x8003;
/// Of the capabilities: the hypervisor takes hints of the kind `HV_EXTMEM_HEAT_HINT_COLD_DISCARD`.
pub const CAPABILITY_COLD_DISCARD: u64 = 1 << 8;
/// The header of such a hint.
pub const HINT_HEADER: u64 = 2;
/// Most ranges that fit into the hypercall's input, a page, behind the header.
pub const MAX_HINTED: usize = 4096 / 8 - 1;
/// Ranges of a [`Hint`]: as many as Linux reports at once.
pub const HINTED_AT_ONCE: usize = 32;

/// Pages of 2 MiB.
const LARGE: u64 = 512;
/// Most pages, small or large, of one range: 11 bits say how many follow the first.
const MOST: u64 = 1 << 11;
/// The range is made of large pages.
const LARGE_FLAG: u64 = 1 << 11;
/// With [`LARGE_FLAG`]: of pages of 1 GiB, which are not used here.
const HUGE_FLAG: u64 = 1 << 12;

open_enum! {
    /// The hypervisor's status, `HV_STATUS_*`, as far as it matters here.
    pub struct HvStatus(u16) {
        /// All is well.
        SUCCESS = 0x0,
        /// The hypervisor does not like the message.
        INVALID_PARAMETER = 0x5,
        /// It lacks memory.
        INSUFFICIENT_MEMORY = 0xB,
        /// It lacks buffers.
        INSUFFICIENT_BUFFERS = 0x13,
        /// It lacks something else.
        NO_RESOURCES = 0x1D,
        /// It took too long.
        TIME_OUT = 0x78,
    }
}

/// Cuts `pages` into ranges as they go over the wire (`union hv_gpa_page_range`): large ones where they can be.
pub fn hinted_ranges(pages: Span) -> impl Iterator<Item = u64> {
    let mut rest = pages;
    core::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (start, len) = (rest.start, rest.len());
        let into = start % LARGE;
        let (count, unit, flag) = if into == 0 && len >= LARGE {
            ((len / LARGE).min(MOST), LARGE, LARGE_FLAG)
        } else {
            // Up to where a large page may begin.
            (len.min(LARGE - into), 1, 0)
        };
        rest.start = start.saturating_add(count * unit);
        Some((start << 12) | flag | (count - 1))
    })
}

/// The pages of a range; `None` if it is not written in one of the two ways that are used here, or goes beyond all memory.
pub fn hinted_pages(word: u64) -> Option<Span> {
    let (unit, shift) = if word & LARGE_FLAG == 0 {
        (1, 12)
    } else if word & HUGE_FLAG == 0 && (word >> 13) & 0xFF == 0 {
        (LARGE, 21)
    } else {
        return None;
    };
    let start = (word >> shift) * unit;
    let end = start + ((word & (MOST - 1)) + 1) * unit;
    (end <= 1 << 52).then_some(Span::new(start, end))
}

/// A hint that is being made: the header and ranges.
#[derive(Clone, Debug)]
pub struct Hint {
    words: [u64; 1 + HINTED_AT_ONCE],
    count: u16,
}

/// How a [`Hint`] goes on after a go of the hypervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// All is done.
    Done,
    /// So many ranges are done, and the call is to be made again for the rest.
    From(u16),
    /// It has failed; the ranges count as not hinted.
    Failed(u64),
}

impl Hint {
    /// One without ranges.
    #[allow(clippy::new_without_default)] // Nobody wants an empty hint by default.
    pub const fn new() -> Self {
        let mut words = [0; 1 + HINTED_AT_ONCE];
        words[0] = HINT_HEADER;
        Self { words, count: 0 }
    }

    /// Adds a range. Returns whether there was room for it.
    #[must_use]
    pub fn push(&mut self, range: u64) -> bool {
        let Some(word) = self.words.get_mut(1 + usize::from(self.count)) else {
            return false;
        };
        *word = range;
        self.count += 1;
        true
    }

    /// How many ranges there are.
    pub const fn count(&self) -> u16 {
        self.count
    }

    /// The call's input.
    pub fn words(&self) -> &[u64] {
        let len = 1 + usize::from(self.count);
        self.words.get(..len).unwrap_or(&self.words)
    }

    /// The call's control word: its code, how many ranges there are, and how many of them are done.
    pub fn control(&self, done: u16) -> u64 {
        u64::from(MEMORY_HEAT_HINT) | (u64::from(self.count) << 32) | (u64::from(done) << 48)
    }

    /// What follows from the `result` of a call that was made when `done` ranges were done. A hypervisor that says it succeeded and
    /// has done nothing more would be called for ever, so that counts as a failure.
    pub fn after(&self, done: u16, result: u64) -> Progress {
        let all = (result >> 32) as u16 & 0xFFF;
        if status(result) != HvStatus::SUCCESS {
            Progress::Failed(result)
        } else if all >= self.count {
            Progress::Done
        } else if all > done {
            Progress::From(all)
        } else {
            Progress::Failed(result)
        }
    }
}

/// The status in the result of a hypercall.
const fn status(result: u64) -> HvStatus {
    HvStatus(result as u16)
}

/// What becomes of hints after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterFailure {
    /// They go on: the pages are tried again with others.
    GoOn,
    /// They go on, but with blocks of 2 MiB or more only: the host takes no smaller ones.
    LargeOnly,
    /// There are no more.
    End,
}

/// Failures in a row, of which the first is told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Failures {
    in_a_row: u32,
}

impl Failures {
    /// Refusals in a row after which there are no more hints, as with the C driver.
    pub const REFUSALS: u32 = 2;
    /// The same, if the hypervisor lacks something: that may pass.
    pub const SHORTAGES: u32 = 10;

    /// A hint has failed with `result`; `order` is that of the smallest blocks that are reported. Returns what follows, and
    /// whether it is to be said that it has failed.
    pub fn failed(&mut self, result: u64, order: u32) -> (AfterFailure, bool) {
        self.in_a_row = self.in_a_row.saturating_add(1);
        let status = status(result);
        let most = match status {
            HvStatus::INSUFFICIENT_MEMORY
            | HvStatus::INSUFFICIENT_BUFFERS
            | HvStatus::NO_RESOURCES
            | HvStatus::TIME_OUT => Self::SHORTAGES,
            _ => Self::REFUSALS,
        };
        let next = if self.in_a_row >= most {
            AfterFailure::End
        } else if status == HvStatus::INVALID_PARAMETER && 1u64 << order.min(63) < LARGE {
            AfterFailure::LargeOnly
        } else {
            AfterFailure::GoOn
        };
        (next, self.in_a_row == 1)
    }

    /// A hint was taken.
    pub fn succeeded(&mut self) {
        self.in_a_row = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    extern crate std;
    use std::vec::Vec;

    fn ranges(start: u64, end: u64) -> Vec<u64> {
        hinted_ranges(Span::new(start, end)).collect()
    }

    #[test]
    fn blocks_of_the_kernel_are_one_range_each() {
        // One page, 1 MiB, 2 MiB, 4 MiB.
        assert_eq!(ranges(0x1234, 0x1235), [0x123_4000]);
        assert_eq!(ranges(0x100, 0x200), [0x10_00FF]);
        assert_eq!(ranges(0x200, 0x400), [0x20_0800]);
        assert_eq!(ranges(0x400, 0x800), [0x40_0801]);
        assert_eq!(ranges(7, 7), []);
        assert_eq!(ranges(8, 7), []);
    }

    #[test]
    fn other_spans_are_cut() {
        // Small pages to the first large one, large ones, and what is left.
        assert_eq!(ranges(0x1FF, 0x403), [0x1F_F000, 0x20_0800, 0x40_0002]);
        // Just below the size of a large page.
        assert_eq!(ranges(0x100, 0x2FF), [0x10_00FF, 0x20_00FE]);
        // 4 GiB and 2 MiB: 2049 large pages.
        assert_eq!(ranges(0, 2049 * 512), [0xFFF, ((2048 * 512) << 12) | 0x800]);
    }

    #[test]
    fn what_a_range_says() {
        assert_eq!(hinted_pages(0x123_4000), Some(Span::new(0x1234, 0x1235)));
        assert_eq!(hinted_pages(0x40_0801), Some(Span::new(0x400, 0x800)));
        // Pages of 1 GiB; bits that are reserved; beyond all memory.
        for bad in [0x4000_1800, 0x40_2801, u64::MAX, u64::MAX & !0xFFF | 1] {
            assert_eq!(hinted_pages(bad), None, "{bad:#x}");
        }
    }

    #[test]
    fn a_hint_is_header_and_ranges() {
        let mut hint = Hint::new();
        assert_eq!(hint.words(), [2]);
        for range in 0..32 {
            assert!(hint.push(range << 12));
        }
        assert!(!hint.push(7));
        assert_eq!((hint.count(), hint.words().len()), (32, 33));
        assert_eq!(hint.words()[..3], [2, 0, 0x1000]);
        assert_eq!(hint.control(0), 0x20_0000_8003);
        assert_eq!(hint.control(5), 0x5_0020_0000_8003);
    }

    #[test]
    fn a_hint_goes_on_where_the_hypervisor_stopped() {
        let mut hint = Hint::new();
        for range in 0..4 {
            assert!(hint.push(range << 12));
        }
        let reps = |n: u64| n << 32;
        assert_eq!(hint.after(0, reps(4)), Progress::Done);
        assert_eq!(hint.after(0, reps(3)), Progress::From(3));
        assert_eq!(hint.after(3, reps(4)), Progress::Done);
        assert_eq!(hint.after(3, reps(9)), Progress::Done);
        for (done, result) in [(0, 0), (3, reps(3)), (3, reps(2)), (0, reps(4) | 5)] {
            assert_eq!(hint.after(done, result), Progress::Failed(result));
        }
    }

    #[test]
    fn hints_end_when_they_are_refused() {
        let mut failures = Failures::default();
        assert_eq!(failures.failed(5, 9), (AfterFailure::GoOn, true));
        assert_eq!(failures.failed(5, 9), (AfterFailure::End, false));
        // What failed once has nothing to do with what fails later.
        failures.succeeded();
        assert_eq!(failures.failed(2, 9), (AfterFailure::GoOn, true));
        failures.succeeded();
        // Small blocks may be what the host does not like, once.
        assert_eq!(failures.failed(5, 0), (AfterFailure::LargeOnly, true));
        assert_eq!(failures.failed(5, 9), (AfterFailure::End, false));
        assert_eq!(failures.failed(5, 9), (AfterFailure::End, false));
    }

    #[test]
    fn hints_outlive_a_shortage() {
        let mut failures = Failures::default();
        assert_eq!(failures.failed(0xB, 0), (AfterFailure::GoOn, true));
        for _ in 2..Failures::SHORTAGES {
            assert_eq!(failures.failed(0x78, 3), (AfterFailure::GoOn, false));
        }
        assert_eq!(failures.failed(0x1D, 3), (AfterFailure::End, false));
    }

    proptest! {
        #[test]
        fn ranges_are_all_the_pages_once(start in 0u64..1 << 40, len in 0u64..1 << 24) {
            let mut at = start;
            for word in hinted_ranges(Span::new(start, start + len)) {
                let pages = hinted_pages(word).unwrap();
                prop_assert_eq!(pages.start, at);
                prop_assert!(!pages.is_empty());
                at = pages.end;
            }
            prop_assert_eq!(at, start + len);
        }

        #[test]
        fn any_result_ends_or_goes_on(done in 0u16..32, result: u64) {
            let mut hint = Hint::new();
            while hint.push(0) {}
            if let Progress::From(next) = hint.after(done, result) {
                prop_assert!(next > done && next < 32);
            }
        }

        #[test]
        fn any_word_is_read_or_refused(word: u64) {
            if let Some(pages) = hinted_pages(word) {
                prop_assert!(!pages.is_empty() && pages.end <= 1 << 52);
            }
        }
    }
}
