// SPDX-License-Identifier: GPL-2.0

//! The memory that can be added: a part of the guest's address space which is there for the host from the start, and for
//! the guest as it is plugged in.

use anyhow::{ensure, Result};
use rlis_proto::balloon::{Span, SpanSet};

use super::spec::PAGE;
use crate::memory::Plug;

/// A region, and what of it the guest has.
pub struct Region {
    span: Span,
    plugged: SpanSet<1024>,
    plug: Box<dyn Plug>,
    /// Behind what was plugged in last.
    next: u64,
}

impl Region {
    /// `len` bytes from `start` on, both made of pages.
    pub fn new(start: u64, len: u64, plug: Box<dyn Plug>) -> Self {
        let start = start / PAGE;
        Self {
            span: Span::new(start, start + len / PAGE),
            plugged: SpanSet::new(),
            plug,
            next: start,
        }
    }

    /// All of it.
    pub fn span(&self) -> Span {
        self.span
    }

    /// Pages that the guest has.
    pub fn plugged(&self) -> u64 {
        self.plugged.pages()
    }

    /// Whether the guest has this page.
    pub fn has(&self, page: u64) -> bool {
        self.plugged.contains(page)
    }

    /// Where `count` pages lie: from page `at` of the region on, or behind those that were plugged in last.
    pub fn place(&self, at: Option<u64>, count: u32) -> Result<Span> {
        let start = at.map_or(self.next, |at| self.span.start.saturating_add(at));
        let pages = Span::new(start, start.saturating_add(count.into()));
        ensure!(
            self.span.covers(pages) && !pages.is_empty(),
            "{count} pages do not fit into the region, which has {}, behind {}",
            self.span.len(),
            start.saturating_sub(self.span.start)
        );
        Ok(pages)
    }

    /// Gives the guest these pages of the region, as far as it has not got them yet.
    pub fn plug_in(&mut self, pages: Span) -> Result<()> {
        ensure!(self.span.covers(pages), "pages outside of the region");
        let mut rest = pages;
        while !rest.is_empty() {
            let (run, there) = self.plugged.run(rest);
            if !there {
                self.plug.plug(run.start * PAGE, run.len() * PAGE)?;
                self.plugged.insert(run)?;
            }
            rest.start = run.end;
        }
        self.next = pages.end;
        Ok(())
    }
}
