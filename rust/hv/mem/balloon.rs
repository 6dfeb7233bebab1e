// SPDX-License-Identifier: GPL-2.0

//! Pages that are with the host.

use crate::info::pause;
use kernel::prelude::*;
use rlis_proto::balloon::{
    PageRange,
    Span, //
};

/// Pages in a word of the map.
const WORD: u64 = 64;

/// Words of a chunk.
const WORDS: usize = 8;

/// Pages of a chunk, 2 MiB.
const CHUNK: u64 = WORD * WORDS as u64;

/// How many pages are taken at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BlockSize {
    /// 2 MiB: 512 pages.
    Large,
    /// One page.
    Page,
}

impl BlockSize {
    /// Returns how many pages that are.
    pub const fn pages(self) -> u32 {
        1 << self.order()
    }

    const fn order(self) -> u32 {
        match self {
            Self::Large => 9,
            Self::Page => 0,
        }
    }
}

/// The pages that are with the host. Dropping it gives them all back to the kernel.
///
/// Whichever pages the host says it gives back, only those come back that it has.
///
/// # Invariants
///
/// - A page has its bit set, in the word `page % CHUNK / WORD` of the chunk `page / CHUNK`, from when `mem_balloon_take` has
///   returned it until it goes to `mem_balloon_give_back`.
/// - `pages` is the number of bits that are set.
pub struct Balloon {
    chunks: KVVec<Option<KBox<[u64; WORDS]>>>,
    pages: u64,
}

/// The chunk, the word in it and the bit in that which stand for a page.
fn place(page: u64) -> Option<(usize, usize, u64)> {
    let chunk = usize::try_from(page / CHUNK).ok()?;
    let word = usize::try_from(page % CHUNK / WORD).ok()?;
    Some((chunk, word, 1 << (page % WORD)))
}

/// Gives a page back to the kernel.
///
/// # Safety
///
/// `page` must be one that `mem_balloon_take` has returned, and that was not given back since.
unsafe fn give_back(page: u64) {
    // SAFETY: As required of the caller.
    unsafe { rlis_sys::mem_balloon_give_back(page as usize) };
}

impl Balloon {
    /// Makes one without pages.
    pub const fn new() -> Self {
        // INVARIANT: There are no pages.
        Self {
            chunks: KVVec::new(),
            pages: 0,
        }
    }

    /// Returns how many pages there are.
    pub const fn pages(&self) -> u64 {
        self.pages
    }

    /// Returns the chunk of a page, and makes it if there is none.
    fn chunk(&mut self, chunk: usize) -> Result<&mut [u64; WORDS]> {
        while self.chunks.len() <= chunk {
            self.chunks.push(None, GFP_KERNEL)?;
        }
        let slot = self.chunks.get_mut(chunk).ok_or(ENOMEM)?;
        match slot {
            Some(words) => Ok(words),
            None => Ok(slot.insert(KBox::new([0; WORDS], GFP_KERNEL)?)),
        }
    }

    /// Takes a block of pages from the kernel, without making it try hard. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn take(&mut self, size: BlockSize) -> Result<PageRange> {
        // SAFETY: No requirements. What it returns is ours.
        let first = unsafe { rlis_sys::mem_balloon_take(size.order()) } as u64;
        if first == 0 {
            return Err(ENOMEM);
        }
        // A block lies at a multiple of its size, so in one chunk.
        let found = PageRange::new(first, size.pages()).zip(place(first));
        let bits = match found {
            Some((range, (chunk, word, bit))) => {
                self.chunk(chunk).map(|words| (range, words, word, bit))
            }
            None => Err(ENOMEM),
        };
        match bits {
            Ok((range, words, word, bit)) => {
                // INVARIANT: The pages were returned just now.
                match size {
                    BlockSize::Large => *words = [u64::MAX; WORDS],
                    BlockSize::Page => {
                        if let Some(word) = words.get_mut(word) {
                            *word |= bit;
                        }
                    }
                }
                self.pages = self.pages.saturating_add(u64::from(size.pages()));
                Ok(range)
            }
            Err(error) => {
                for page in first..first.saturating_add(u64::from(size.pages())) {
                    // SAFETY: The pages were returned just now, and none of them was given back.
                    unsafe { give_back(page) };
                }
                Err(error)
            }
        }
    }

    /// Gives those pages of `span` back to the kernel that are here, and returns how many that were. May sleep.
    pub fn give_back(&mut self, span: Span) -> u64 {
        let mut all: u64 = 0;
        let mut at = span.start;
        while at < span.end {
            let Some((chunk, _, _)) = place(at) else {
                break;
            };
            if chunk >= self.chunks.len() {
                break;
            }
            let next = (at / CHUNK).saturating_add(1).saturating_mul(CHUNK);
            let part = Span::new(at, span.end.min(next));
            all = all.saturating_add(self.give_back_of_chunk(chunk, part));
            at = next;
            pause();
        }
        self.pages = self.pages.saturating_sub(all);
        all
    }

    /// Gives back the pages of `span`, which lies in the chunk, that are here.
    fn give_back_of_chunk(&mut self, chunk: usize, span: Span) -> u64 {
        let Some(slot) = self.chunks.get_mut(chunk) else {
            return 0;
        };
        let Some(words) = slot else { return 0 };
        let mut count = 0;
        for page in span.start..span.end {
            let Some((_, word, bit)) = place(page) else {
                continue;
            };
            let Some(word) = words.get_mut(word) else {
                continue;
            };
            if *word & bit == 0 {
                continue;
            }
            // INVARIANT: The bit goes with the page.
            *word &= !bit;
            // SAFETY: By the type invariant, since the bit was set.
            unsafe { give_back(page) };
            count += 1;
        }
        if words.iter().all(|word| *word == 0) {
            *slot = None;
        }
        count
    }

    /// Gives all pages back to the kernel, and returns how many there were. May sleep.
    pub fn give_back_all(&mut self) -> u64 {
        let end = (self.chunks.len() as u64).saturating_mul(CHUNK);
        self.give_back(Span::new(0, end))
    }
}

impl Default for Balloon {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Balloon {
    fn drop(&mut self) {
        self.give_back_all();
    }
}

#[kunit_tests(rlis_mem_balloon)]
mod tests {
    use super::*;

    #[test]
    fn pages_go_and_come_back() -> Result {
        let mut balloon = Balloon::new();
        let large = balloon.take(BlockSize::Large)?;
        assert_eq!(large.count(), 512);
        assert_eq!(large.start() % 512, 0);
        let page = balloon.take(BlockSize::Page)?;
        assert_eq!((page.count(), balloon.pages()), (1, 513));
        // Half of the block, twice.
        let half = Span::new(large.start() + 100, large.start() + 356);
        assert_eq!(balloon.give_back(half), 256);
        assert_eq!(balloon.give_back(half), 0);
        assert_eq!(balloon.pages(), 257);
        // What is not here does not come back.
        assert_eq!(balloon.give_back(Span::new(1 << 39, 1 << 40)), 0);
        assert_eq!(balloon.give_back(Span::new(u64::MAX, 0)), 0);
        assert_eq!(balloon.give_back(page.span()), 1);
        assert_eq!(balloon.give_back_all(), 256);
        assert_eq!((balloon.give_back_all(), balloon.pages()), (0, 0));
        // One that is dropped with its page.
        balloon.take(BlockSize::Page)?;
        Ok(())
    }
}
