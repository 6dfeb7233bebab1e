// SPDX-License-Identifier: GPL-2.0

//! Memory that is added while the guest runs. The host adds pages, the kernel adds blocks (of 128 MiB or more): a block is
//! added as soon as one page of it is there, and pages that are not yet there must not be used. They may come later.

use super::incoming::HotAddRequest;
use super::message::HotAddResponse;
use super::range::{Span, PFN_LIMIT};
use super::span_set::SpanSet;
use crate::error::ProtoError;

/// What to do with the first of the pages that are to be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HotAddStep {
    /// These pages are there now.
    pub pages: Span,
    /// They are the first ones in this block, which is to be added to the kernel; `None` if it has the block.
    pub block: Option<Span>,
}

/// Why not all pages of a request were added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortfall {
    /// It may work later: there was no memory to manage the new one, say.
    Transient,
    /// It never will: the address cannot be mapped, or adding is switched off.
    Permanent,
}

/// The answer to a hot-add request of which `pages` pages were added.
///
/// With a result of 1 and no pages the host gives up for good; with a result of 0 it tries again later. Where some pages
/// were added the result is 1.
pub fn answer_hot_add(pages: u64, shortfall: Option<Shortfall>, trans_id: u32) -> HotAddResponse {
    let success = pages != 0 || shortfall == Some(Shortfall::Permanent);
    // A request has fewer than 2^24 pages.
    HotAddResponse::new(u32::try_from(pages).unwrap_or(u32::MAX), success, trans_id)
}

/// What the kernel does with a piece of its memory (`enum memory_block_state`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryEvent {
    /// It begins to bring it online, or to take it offline: until it says how that ended, it may be either.
    Changing,
    /// It is online now, or is so still: the kernel uses the pages that are backed.
    Online,
    /// It is offline now, or is so still.
    Offline,
}

/// What was added. It has room for `N` pieces of memory that do not follow one another, so that a host cannot make it
/// grow.
#[derive(Clone, Debug)]
pub struct HotMemory<const N: usize> {
    /// Pages of a block.
    block: u64,
    /// Addresses where the kernel can have memory.
    pluggable: Span,
    /// Pages that the host has given.
    backed: SpanSet<N>,
    /// Blocks that the kernel has got.
    blocks: SpanSet<N>,
    /// Those of them that are online.
    online: SpanSet<N>,
    /// What the kernel is bringing online or taking offline; it does one after the other.
    changing: Span,
}

impl<const N: usize> HotMemory<N> {
    /// Nothing, for a kernel with blocks of `block` pages, a power of two, that can have memory in `pluggable`
    /// (`mhp_get_pluggable_range()`).
    ///
    /// # Errors
    ///
    /// `Invalid` if `block` is no power of two.
    pub fn new(block: u64, pluggable: Span) -> Result<Self, ProtoError> {
        if !block.is_power_of_two() || block > PFN_LIMIT {
            return Err(ProtoError::Invalid {
                what: "pages of a memory block",
                value: block,
            });
        }
        Ok(Self {
            block,
            pluggable,
            backed: SpanSet::new(),
            blocks: SpanSet::new(),
            online: SpanSet::new(),
            changing: Span::new(0, 0),
        })
    }

    /// The blocks in which the pages of `span` lie.
    fn blocks_of(&self, span: Span) -> Span {
        let mask = self.block.wrapping_sub(1);
        Span {
            start: span.start & !mask,
            end: span.end.saturating_add(mask) & !mask,
        }
    }

    /// Whether a request can be met, and with which pages.
    ///
    /// # Errors
    ///
    /// `Invalid` if pages are there already; if a block would reach out of what the kernel can map, or out of the region.
    pub fn check(&self, request: &HotAddRequest) -> Result<Span, ProtoError> {
        let pages = request.range.span();
        let invalid = |what| ProtoError::Invalid {
            what,
            value: request.range.to_word(),
        };
        if self.backed.touches(pages) {
            return Err(invalid("hot-add of pages that are there"));
        }
        let blocks = self.blocks_of(pages);
        if !self.pluggable.covers(blocks) {
            return Err(invalid("hot-add of pages that cannot be mapped"));
        }
        if let Some(region) = request.region {
            // Blocks that the kernel has got already lie where an earlier request wanted them.
            let mut rest = blocks;
            while !rest.is_empty() {
                let (run, there) = self.blocks.run(rest);
                if !there && !region.span().covers(run) {
                    return Err(invalid("hot-add region that is not made of blocks"));
                }
                rest.start = run.end;
            }
        }
        Ok(pages)
    }

    /// What to do first about `pages`, which [`check`](Self::check) has given, or what is left of those; `None` if
    /// nothing is left.
    pub fn next_step(&self, pages: Span) -> Option<HotAddStep> {
        if pages.is_empty() {
            return None;
        }
        let first = Span::new(pages.start, pages.start.saturating_add(1));
        let block = self.blocks_of(first);
        let (run, there) = self.blocks.run(pages);
        Some(if there {
            HotAddStep {
                pages: run,
                block: None,
            }
        } else {
            HotAddStep {
                pages: pages.common(block),
                block: Some(block),
            }
        })
    }

    /// Whether the kernel is about to change blocks in which these pages lie. Pages that are given in such a block now might be
    /// passed by: so one waits.
    pub fn is_changing(&self, pages: Span) -> bool {
        !self.blocks_of(pages).common(self.changing).is_empty()
    }

    /// Takes note of what the kernel does with `span`. What was not added here does not count.
    ///
    /// # Errors
    ///
    /// `NoRoom` if there are more than `N` pieces that are online. What is new then counts as offline.
    pub fn note(&mut self, event: MemoryEvent, span: Span) -> Result<(), ProtoError> {
        if event == MemoryEvent::Changing {
            self.changing = span;
            return Ok(());
        }
        self.changing = Span::new(0, 0);
        if event == MemoryEvent::Offline {
            return self.online.remove(span);
        }
        let mut rest = span;
        while !rest.is_empty() {
            let (run, ours) = self.blocks.run(rest);
            if ours {
                self.online.insert(run)?;
            }
            rest.start = run.end;
        }
        Ok(())
    }

    /// The pages of `span` in runs: those in blocks that are online, and the others.
    pub fn online_runs(&self, span: Span) -> Runs<'_, N> {
        Runs {
            set: &self.online,
            rest: span,
        }
    }

    /// How many pages that the host has given are in use.
    pub fn onlined(&self) -> u64 {
        let pages = |span: &Span| self.backed.pages_in(*span);
        self.online
            .spans()
            .iter()
            .map(pages)
            .fold(0, u64::saturating_add)
    }

    /// How many pages the host has given.
    pub fn added(&self) -> u64 {
        self.backed.pages()
    }

    /// The first block from `page` on that is offline and has pages that the host has not given. Whoever brings it online has
    /// to know which these are.
    pub fn incomplete_from(&self, page: u64) -> Option<Span> {
        let mut rest = self.blocks_of(Span::new(page, PFN_LIMIT));
        while !rest.is_empty() {
            let (run, ours) = self.blocks.run(rest);
            if !ours {
                rest.start = run.end;
                continue;
            }
            let block = Span::new(run.start, run.start.saturating_add(self.block));
            if !self.online.touches(block) && self.backed.pages_in(block) != block.len() {
                return Some(block);
            }
            rest.start = block.end;
        }
        None
    }

    /// The kernel has given up a block.
    ///
    /// # Errors
    ///
    /// `NoRoom` if that makes more than `N` pieces. Nothing is changed then.
    pub fn forget(&mut self, block: Span) -> Result<(), ProtoError> {
        let mut backed = self.backed.clone();
        backed.remove(block)?;
        self.blocks.remove(block)?;
        self.backed = backed;
        Ok(())
    }

    /// Takes note of a step before it is done: from now on [`is_backed`](Self::is_backed) says what will be.
    ///
    /// # Errors
    ///
    /// `NoRoom` if there are more than `N` pieces. Nothing is changed then.
    pub fn begin(&mut self, step: &HotAddStep) -> Result<(), ProtoError> {
        let mut backed = self.backed.clone();
        backed.insert(step.pages)?;
        if let Some(block) = step.block {
            self.blocks.insert(block)?;
        }
        self.backed = backed;
        Ok(())
    }

    /// Takes a step back that could not be done, the last one that was begun.
    ///
    /// # Errors
    ///
    /// None, if it is the last one.
    pub fn undo(&mut self, step: &HotAddStep) -> Result<(), ProtoError> {
        self.backed.remove(step.pages)?;
        match step.block {
            Some(block) => self.blocks.remove(block),
            None => Ok(()),
        }
    }

    /// Whether the host has given this page.
    pub fn is_backed(&self, page: u64) -> bool {
        self.backed.contains(page)
    }

    /// Whether the page is in a block that was added here.
    pub fn is_ours(&self, page: u64) -> bool {
        self.blocks.contains(page)
    }

    /// How many pages of `span` the host has given.
    pub fn backed_in(&self, span: Span) -> u64 {
        self.backed.pages_in(span)
    }

    /// The pages of `span` in runs: those that the host has given, to be used, and those that it has not.
    pub fn runs(&self, span: Span) -> Runs<'_, N> {
        Runs {
            set: &self.backed,
            rest: span,
        }
    }
}

/// See [`HotMemory::runs`] and [`HotMemory::online_runs`]: pages, and whether they are such ones.
#[derive(Clone, Debug)]
pub struct Runs<'a, const N: usize> {
    set: &'a SpanSet<N>,
    rest: Span,
}

impl<const N: usize> Iterator for Runs<'_, N> {
    type Item = (Span, bool);

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let (run, inside) = self.set.run(self.rest);
        self.rest.start = run.end;
        Some((run, inside))
    }
}

#[cfg(test)]
mod tests {
    use super::super::range::PageRange;
    use super::*;
    use proptest::prelude::*;
    extern crate std;
    use std::collections::BTreeSet;
    use std::vec::Vec;

    /// 128 MiB.
    const BLOCK: u64 = 0x8000;
    const PLUGGABLE: Span = Span::new(0, 0x400_0000);

    fn request(start: u64, count: u32, region: Option<(u64, u32)>) -> HotAddRequest {
        HotAddRequest {
            range: PageRange::new(start, count).unwrap(),
            region: region.map(|(start, count)| PageRange::new(start, count).unwrap()),
        }
    }

    /// Adds what can be added; the block `fails` cannot. Returns how much, and the blocks.
    fn add(
        memory: &mut HotMemory<8>,
        request: &HotAddRequest,
        fails: Option<u64>,
    ) -> Result<(u64, Vec<Span>), ProtoError> {
        let mut rest = memory.check(request)?;
        let (mut pages, mut blocks) = (0, Vec::new());
        while let Some(step) = memory.next_step(rest) {
            memory.begin(&step)?;
            if step.block.is_some_and(|block| Some(block.start) == fails) {
                memory.undo(&step)?;
                break;
            }
            blocks.extend(step.block);
            pages += step.pages.len();
            rest.start = step.pages.end;
        }
        Ok((pages, blocks))
    }

    fn none() -> HotMemory<8> {
        HotMemory::new(BLOCK, PLUGGABLE).unwrap()
    }

    #[test]
    fn whole_blocks() {
        let mut memory = none();
        let two = request(0x10_0000, 0x1_0000, Some((0x10_0000, 0x4_0000)));
        let (pages, blocks) = add(&mut memory, &two, None).unwrap();
        assert_eq!(pages, 0x1_0000);
        assert_eq!(
            blocks,
            [
                Span::new(0x10_0000, 0x10_8000),
                Span::new(0x10_8000, 0x11_0000)
            ]
        );
        // The same again, or a part of it.
        assert!(add(&mut memory, &two, None).is_err());
        assert!(memory
            .check(&request(0x10_ffff, 0x8000, None))
            .is_err_and(|e| matches!(e, ProtoError::Invalid { .. })));
    }

    #[test]
    fn pages_of_a_block_come_piece_by_piece() {
        let mut memory = none();
        // Begins and ends within blocks, without a region: the last block is needed as much as the first.
        let (pages, blocks) = add(&mut memory, &request(0x10_0100, 0x8000, None), None).unwrap();
        assert_eq!((pages, blocks.len()), (0x8000, 2));
        let block = Span::new(0x10_8000, 0x11_0000);
        let runs: Vec<_> = memory.runs(block).collect();
        assert_eq!(
            runs,
            [
                (Span::new(0x10_8000, 0x10_8100), true),
                (Span::new(0x10_8100, 0x11_0000), false)
            ]
        );
        assert_eq!(memory.backed_in(block), 0x100);
        assert!(!memory.is_backed(0x10_00ff) && memory.is_ours(0x10_00ff));
        // The rest of the second block, a gap, and a third block.
        let (pages, blocks) = add(&mut memory, &request(0x10_9000, 0x7800, None), None).unwrap();
        assert_eq!(
            (pages, blocks),
            (0x7800, [Span::new(0x11_0000, 0x11_8000)].to_vec())
        );
        // What was left out before.
        let (pages, blocks) = add(&mut memory, &request(0x10_0000, 0x100, None), None).unwrap();
        assert_eq!((pages, blocks.len()), (0x100, 0));
        let (pages, blocks) = add(&mut memory, &request(0x10_8100, 0xf00, None), None).unwrap();
        assert_eq!((pages, blocks.len()), (0xf00, 0));
        assert_eq!(memory.backed.spans().len(), 1);
    }

    #[test]
    fn a_block_that_cannot_be_added() {
        let mut memory = none();
        let three = request(0x10_0000, 0x1_8000, None);
        let (pages, blocks) = add(&mut memory, &three, Some(0x11_0000)).unwrap();
        assert_eq!((pages, blocks.len()), (0x1_0000, 2));
        assert!(!memory.is_backed(0x11_0000) && !memory.is_ours(0x11_0000));
        // The rest may be tried again, alone.
        let (pages, _) = add(&mut memory, &request(0x11_0000, 0x8000, None), None).unwrap();
        assert_eq!(pages, 0x8000);
    }

    #[test]
    fn where_memory_cannot_be() {
        let memory = none();
        let end = PLUGGABLE.end;
        assert!(memory.check(&request(end - BLOCK, 0x8000, None)).is_ok());
        assert!(memory
            .check(&request(end - BLOCK + 1, 0x8000, None))
            .is_err());
        assert!(memory.check(&request(PFN_LIMIT - 1, 1, None)).is_err());
        // A region that does not begin, or does not end, where blocks do.
        for (start, count) in [(0x10_0001, 0x4_0000), (0x10_0000, 0x8001)] {
            let inside = request(0x10_8000, 1, Some((start, count)));
            assert_eq!(
                memory.check(&inside).is_ok(),
                start == 0x10_0001,
                "{start:#x}"
            );
        }
        let cut = request(0x10_0001, 1, Some((0x10_0001, 0x8000)));
        assert!(memory.check(&cut).is_err());
        for block in [0, 3, u64::MAX, PFN_LIMIT << 1] {
            assert!(HotMemory::<1>::new(block, PLUGGABLE).is_err());
        }
    }

    #[test]
    fn a_host_cannot_fill_it() {
        let mut memory = none();
        for n in 0..8 {
            let (pages, _) = add(&mut memory, &request(n * 0x2_0000, 1, None), None).unwrap();
            assert_eq!(pages, 1);
        }
        let before = (memory.backed.clone(), memory.blocks.clone());
        let ninth = request(0x20_0000, 1, None);
        assert!(
            add(&mut memory, &ninth, None).is_err_and(|e| matches!(e, ProtoError::NoRoom { .. }))
        );
        assert_eq!(memory.backed.spans(), before.0.spans());
        assert_eq!(memory.blocks.spans(), before.1.spans());
        // There is room for pages that follow others.
        assert!(add(&mut memory, &request(1, 0x8000, None), None).is_ok());
    }

    #[test]
    fn what_is_online_is_in_use() {
        let mut memory = none();
        let (block, next) = (
            Span::new(0x10_0000, 0x10_8000),
            Span::new(0x10_8000, 0x11_0000),
        );
        add(&mut memory, &request(0x10_0000, 0xc000, None), None).unwrap();
        assert_eq!((memory.added(), memory.onlined()), (0xc000, 0));
        for (event, onlined) in [
            (MemoryEvent::Changing, 0),
            (MemoryEvent::Online, 0x4000),
            (MemoryEvent::Changing, 0x4000),
            (MemoryEvent::Online, 0x4000),
        ] {
            memory.note(event, next).unwrap();
            assert_eq!(memory.onlined(), onlined);
            let changing = event == MemoryEvent::Changing;
            assert_eq!(
                memory.is_changing(Span::new(0x10_ffff, 0x11_0000)),
                changing
            );
            assert!(!memory.is_changing(Span::new(0x10_7fff, 0x10_8000)));
        }
        // What comes later is in use at once where the block is online.
        add(&mut memory, &request(0x10_c000, 0x4000, None), None).unwrap();
        assert_eq!(memory.onlined(), 0x8000);
        let runs: Vec<_> = memory
            .online_runs(Span::new(0x10_0000, 0x11_0000))
            .collect();
        assert_eq!(runs, [(block, false), (next, true)]);
        memory.note(MemoryEvent::Offline, next).unwrap();
        assert_eq!((memory.added(), memory.onlined()), (0x1_0000, 0));
        // Memory that the machine has always had.
        memory
            .note(MemoryEvent::Online, Span::new(0, 0x8000))
            .unwrap();
        assert_eq!(memory.onlined(), 0);
    }

    #[test]
    fn incomplete_blocks_are_found() {
        let mut memory = none();
        // The first block whole; the second in part and online; the third in part.
        add(&mut memory, &request(0x10_0000, 0xc000, None), None).unwrap();
        add(&mut memory, &request(0x11_0000, 1, None), None).unwrap();
        let third = Span::new(0x11_0000, 0x11_8000);
        let second = Span::new(0x10_8000, 0x11_0000);
        assert_eq!(memory.incomplete_from(0), Some(second));
        memory.note(MemoryEvent::Online, second).unwrap();
        assert_eq!(memory.incomplete_from(0), Some(third));
        assert_eq!(memory.incomplete_from(third.end), None);
        memory.forget(third).unwrap();
        assert_eq!(memory.incomplete_from(0), None);
        assert!(!memory.is_ours(third.start) && !memory.is_backed(third.start));
        assert_eq!(memory.added(), 0xc000);
    }

    #[test]
    fn what_the_host_is_told() {
        let told = |pages, shortfall| {
            let answer = answer_hot_add(pages, shortfall, 1);
            ({ answer.page_count }, { answer.result })
        };
        assert_eq!(told(0x8000, None), (0x8000, 1));
        assert_eq!(told(5, Some(Shortfall::Transient)), (5, 1));
        assert_eq!(told(5, Some(Shortfall::Permanent)), (5, 1));
        assert_eq!(told(0, Some(Shortfall::Transient)), (0, 0));
        assert_eq!(told(0, Some(Shortfall::Permanent)), (0, 1));
        assert_eq!(told(0, None), (0, 0));
    }

    proptest! {
        #[test]
        fn pages_told_are_pages_there(
            requests in proptest::collection::vec((0u64..64, 1u32..20, proptest::option::of(0u64..8)), 1..30),
        ) {
            // Blocks of 8 pages.
            let mut memory = HotMemory::<8>::new(8, Span::new(8, 72)).unwrap();
            let (mut backed, mut blocks) = (BTreeSet::new(), BTreeSet::new());
            for (start, count, fails) in requests {
                let request = request(start, count, None);
                let Ok(mut rest) = memory.check(&request) else { continue };
                while let Some(step) = memory.next_step(rest) {
                    prop_assert!(step.pages.start == rest.start && !step.pages.is_empty() && rest.covers(step.pages));
                    if memory.begin(&step).is_err() {
                        break;
                    }
                    if let Some(block) = step.block {
                        prop_assert!(block.len() == 8 && block.start % 8 == 0 && block.covers(step.pages));
                        prop_assert!(block.start >= 8 && block.end <= 72);
                        if fails == Some(block.start / 8) {
                            memory.undo(&step).unwrap();
                            break;
                        }
                        prop_assert!(blocks.insert(block.start));
                    } else {
                        prop_assert!((step.pages.start..step.pages.end).all(|page| blocks.contains(&(page & !7))));
                    }
                    for page in step.pages.start..step.pages.end {
                        prop_assert!(backed.insert(page));
                    }
                    rest.start = step.pages.end;
                }
            }
            for page in 0..80 {
                prop_assert_eq!(memory.is_backed(page), backed.contains(&page));
                prop_assert_eq!(memory.is_ours(page), blocks.contains(&(page & !7)));
            }
            let runs: Vec<_> = memory.runs(Span::new(0, 80)).collect();
            prop_assert_eq!(runs.iter().map(|(run, _)| run.len()).sum::<u64>(), 80);
            for (run, there) in runs {
                prop_assert!((run.start..run.end).all(|page| backed.contains(&page) == there));
            }
        }
    }
}
