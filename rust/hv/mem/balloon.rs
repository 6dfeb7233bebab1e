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
///   returned it until it goes to `mem_balloon_give_back` or `mem_balloon_give_back_block`.
/// - `pages` is the number of bits that are set.
/// - `uncounted` names a page that was taken, and how many of its zone the kernel has not been told of. It has been told of the
///   others.
pub struct Balloon {
    chunks: KVVec<Option<KBox<Chunk>>>,
    pages: u64,
    uncounted: Option<(u64, u64)>,
}

/// Which pages of a chunk are with the host.
///
/// # Invariants
///
/// If `whole` is set all bits are, and the pages are one block as `mem_balloon_take` has returned it. If not, each page with a bit
/// is a block of its own.
struct Chunk {
    bits: [u64; WORDS],
    whole: bool,
}

/// The chunk, the word in it and the bit in that which stand for a page.
fn place(page: u64) -> Option<(usize, usize, u64)> {
    let chunk = usize::try_from(page / CHUNK).ok()?;
    let word = usize::try_from(page % CHUNK / WORD).ok()?;
    Some((chunk, word, 1 << (page % WORD)))
}

/// Gives a block back to the kernel.
///
/// # Safety
///
/// It must be one of that size which `mem_balloon_take` has returned, and that was neither split nor given back since.
unsafe fn give_back_block(first: u64, size: BlockSize) {
    // SAFETY: As required of the caller.
    unsafe { rlis_sys::mem_balloon_give_back_block(first as usize, size.order()) };
}

impl Chunk {
    const fn new() -> Self {
        // INVARIANT: There are no pages.
        Self {
            bits: [0; WORDS],
            whole: false,
        }
    }

    /// Whether there are no pages.
    fn is_empty(&self) -> bool {
        self.bits.iter().all(|word| *word == 0)
    }

    /// Gives back the pages of `span` that are here, of the chunk that begins with the page `first`.
    fn give_back(&mut self, first: u64, span: Span) -> u64 {
        if self.whole {
            // INVARIANT: In either case the block is one no more.
            self.whole = false;
            if span.len() == CHUNK {
                self.bits = [0; WORDS];
                // SAFETY: By the type invariant. The bits are gone.
                unsafe { give_back_block(first, BlockSize::Large) };
                return CHUNK;
            }
            // SAFETY: By the type invariant.
            unsafe { rlis_sys::mem_balloon_split(first as usize, BlockSize::Large.order()) };
        }
        let mut count = 0;
        let mut at = span.start;
        while at < span.end {
            let run = self.take_run(at, span.end);
            if run != 0 {
                // SAFETY: By the type invariant, since the bits were set, and are not any more; the block is split.
                unsafe { rlis_sys::mem_balloon_give_back(at as usize, run as usize) };
            }
            count += run;
            // The page behind the run is not here.
            at = at.saturating_add(run).saturating_add(1);
        }
        count
    }

    /// Clears the bits from that of the page `start` on that are set, up to that of `end`, and returns how many these were.
    fn take_run(&mut self, start: u64, end: u64) -> u64 {
        let mut run = 0;
        for page in start..end {
            let Some((_, word, bit)) = place(page) else {
                break;
            };
            match self.bits.get_mut(word) {
                Some(word) if *word & bit != 0 => *word &= !bit,
                _ => break,
            }
            run += 1;
        }
        run
    }
}

impl Balloon {
    /// Makes one without pages.
    pub const fn new() -> Self {
        // INVARIANT: There are no pages.
        Self {
            chunks: KVVec::new(),
            pages: 0,
            uncounted: None,
        }
    }

    /// Returns how many pages there are.
    pub const fn pages(&self) -> u64 {
        self.pages
    }

    /// Returns the chunk of a page, and makes it if there is none.
    fn chunk(&mut self, chunk: usize) -> Result<&mut Chunk> {
        while self.chunks.len() <= chunk {
            self.chunks.push(None, GFP_KERNEL)?;
        }
        let slot = self.chunks.get_mut(chunk).ok_or(ENOMEM)?;
        match slot {
            Some(chunk) => Ok(chunk),
            None => Ok(slot.insert(KBox::new(Chunk::new(), GFP_KERNEL)?)),
        }
    }

    /// Takes a block of pages from the kernel, without making it try hard. The kernel's own count of its memory lags behind by up
    /// to 2 MiB, until [`settle`](Self::settle). May sleep.
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
        self.note(first, u64::from(size.pages()));
        // A block lies at a multiple of its size, so in one chunk.
        let found = PageRange::new(first, size.pages()).zip(place(first));
        let place = match found {
            Some((range, (chunk, word, bit))) => {
                self.chunk(chunk).map(|chunk| (range, chunk, word, bit))
            }
            None => Err(ENOMEM),
        };
        match place {
            Ok((range, chunk, word, bit)) => {
                // INVARIANT: The pages were returned just now, so that no other bit of a large block was set.
                match size {
                    BlockSize::Large => {
                        *chunk = Chunk {
                            bits: [u64::MAX; WORDS],
                            whole: true,
                        }
                    }
                    BlockSize::Page => {
                        if let Some(word) = chunk.bits.get_mut(word) {
                            *word |= bit;
                        }
                    }
                }
                self.pages = self.pages.saturating_add(u64::from(size.pages()));
                Ok(range)
            }
            Err(error) => {
                self.settle();
                // SAFETY: The block was returned just now.
                unsafe { give_back_block(first, size) };
                Err(error)
            }
        }
    }

    /// Notes that pages were taken just now, which lie in one zone and begin with `first`.
    fn note(&mut self, first: u64, pages: u64) {
        let known = self.uncounted.filter(|(page, _)| {
            // SAFETY: Both are pages that `mem_balloon_take` has returned.
            unsafe { rlis_sys::mem_same_zone(*page as usize, first as usize) }
        });
        if known.is_none() {
            self.settle();
        }
        let (page, count) = known.unwrap_or((first, 0));
        // INVARIANT: They are of the same zone, and the kernel does not know of them.
        self.uncounted = Some((page, count.saturating_add(pages)));
        if count.saturating_add(pages) >= CHUNK {
            self.settle();
        }
    }

    /// Tells the kernel of all pages that were taken.
    pub fn settle(&mut self) {
        // INVARIANT: It is told now.
        if let Some((page, count)) = self.uncounted.take() {
            // SAFETY: By the type invariant it is a page of the kernel's, with the others in its zone.
            unsafe { rlis_sys::mem_balloon_taken(page as usize, count as usize) };
        }
    }

    /// Gives those pages of `span` back to the kernel that are here, and returns how many that were. May sleep.
    pub fn give_back(&mut self, span: Span) -> u64 {
        let mut all: u64 = 0;
        let mut at = span.start;
        // What comes back is counted as it does.
        self.settle();
        while at < span.end {
            let Some((chunk, _, _)) = place(at) else {
                break;
            };
            if chunk >= self.chunks.len() {
                break;
            }
            let first = at / CHUNK * CHUNK;
            let next = first.saturating_add(CHUNK);
            if let Some(slot) = self.chunks.get_mut(chunk) {
                if let Some(chunk) = slot {
                    let part = Span::new(at, span.end.min(next));
                    all = all.saturating_add(chunk.give_back(first, part));
                }
                if slot.as_ref().is_some_and(|chunk| chunk.is_empty()) {
                    *slot = None;
                }
            }
            at = next;
            pause();
        }
        self.pages = self.pages.saturating_sub(all);
        all
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
        // One that is dropped with its pages.
        balloon.take(BlockSize::Large)?;
        balloon.take(BlockSize::Page)?;
        Ok(())
    }

    #[test]
    fn block_comes_back_whole_or_in_parts() -> Result {
        let mut balloon = Balloon::new();
        let block = balloon.take(BlockSize::Large)?.span();
        // The neighbours of the block are not here.
        let more = Span::new(block.start.saturating_sub(1000), block.end + 1000);
        assert_eq!(balloon.give_back(more), 512);
        assert_eq!((balloon.give_back(more), balloon.pages()), (0, 0));
        // Every second page, then the rest.
        let block = balloon.take(BlockSize::Large)?.span();
        let mut back = 0;
        for page in (block.start..block.end).step_by(2) {
            back += balloon.give_back(Span::new(page, page + 1));
        }
        assert_eq!((back, balloon.pages()), (256, 256));
        assert_eq!(balloon.give_back(block), 256);
        assert_eq!(balloon.pages(), 0);
        Ok(())
    }
}
