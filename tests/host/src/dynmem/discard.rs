// SPDX-License-Identifier: GPL-2.0

//! Hints of the guest that free memory is of no use to it. The host takes what is in these pages away, as a real one does: a guest
//! that still uses one finds zeroes there.

use std::sync::Arc;

use anyhow::{ensure, Context, Result};
use rlis_proto::balloon::{hinted_pages, Span};

use super::ledger::Ledger;
use super::region::Region;
use super::spec::{NAME, PAGE};
use crate::faults::{Fault, Faults};
use crate::hyperv::hypercall::{INVALID_PARAMETER, SUCCESS};
use crate::memory::{Discard, Memory};
use crate::violations::Violations;

/// What the host does with hints.
pub struct Hints {
    memory: Arc<Memory>,
    discard: Box<dyn Discard>,
    violations: Arc<Violations>,
    faults: Arc<Faults>,
    /// Pages that the guest has said are free, each time that it has.
    pages: u64,
}

impl Hints {
    /// Hints about `memory`, whose content `discard` takes.
    pub fn new(
        memory: Arc<Memory>,
        discard: Box<dyn Discard>,
        violations: Arc<Violations>,
        faults: Arc<Faults>,
    ) -> Self {
        let pages = 0;
        Self {
            memory,
            discard,
            violations,
            faults,
            pages,
        }
    }

    /// How many pages there were.
    pub fn pages(&self) -> u64 {
        self.pages
    }

    /// Takes note of a wrong call.
    pub fn wrong(&self, what: &str) {
        self.violations.record(format!("{NAME}: {what}"));
    }

    /// Takes ranges of a guest with these pages. Returns how many, and the status.
    pub fn take(
        &mut self,
        ranges: &[u64],
        ledger: &Ledger,
        region: Option<&Region>,
    ) -> (usize, u16) {
        if let Some(status) =
            self.faults
                .take(NAME, Fault::MemoryRefuseHint, INVALID_PARAMETER.into())
        {
            // A status has 16 bits.
            return (0, status as u16);
        }
        if self.faults.hit(NAME, Fault::MemoryStuckHint) {
            return (0, SUCCESS);
        }
        for (done, &word) in ranges.iter().enumerate() {
            if let Err(error) = self.take_one(word, ledger, region) {
                self.wrong(&format!("{error:#}"));
                return (done, INVALID_PARAMETER);
            }
        }
        (ranges.len(), SUCCESS)
    }

    fn take_one(&mut self, word: u64, ledger: &Ledger, region: Option<&Region>) -> Result<()> {
        let pages = hinted_pages(word).with_context(|| format!("a hint of {word:#x}"))?;
        let Span { start, end } = pages;
        if let Some(page) = ledger.first_of(pages) {
            anyhow::bail!("a hint of page {page:#x}, which the host has");
        }
        if let Some(region) = region {
            let absent = |page| region.span().contains(page) && !region.has(page);
            ensure!(
                !(start..end).any(absent),
                "a hint of pages {start:#x} to {end:#x}, of which some are not there"
            );
        }
        self.discard
            .discard(&self.memory, start * PAGE, pages.len() * PAGE)
            .with_context(|| format!("a hint of pages {start:#x} to {end:#x}"))?;
        self.pages += pages.len();
        Ok(())
    }
}
