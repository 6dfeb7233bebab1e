// SPDX-License-Identifier: GPL-2.0

//! Which pages the guest has given to the host, and whether it has kept its hands off them.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{bail, ensure, Context, Result};
use rlis_proto::balloon::{PageRange, Span, MAX_COUNT};
use vm_memory::{Bytes, GuestAddress};

use super::spec::PAGE;
use crate::memory::Memory;

/// Pages that the host has. Each bears a stamp at both ends, which only the host knows.
pub struct Ledger {
    memory: Arc<Memory>,
    pages: BTreeSet<u64>,
}

/// Where stamps are in a page.
const STAMPED: [u64; 2] = [0, PAGE - 8];

/// The stamp of a page.
fn stamp(page: u64) -> u64 {
    page.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x726C_6973_2D68_6F73
}

impl Ledger {
    /// The host has no page of `memory`.
    pub fn new(memory: Arc<Memory>) -> Self {
        let pages = BTreeSet::new();
        Self { memory, pages }
    }

    /// How many pages the host has.
    pub fn count(&self) -> usize {
        self.pages.len()
    }

    /// The first of `pages` that the host has.
    pub fn first_of(&self, pages: Span) -> Option<u64> {
        self.pages.range(pages.start..pages.end).next().copied()
    }

    /// The guest gives a page.
    pub fn take(&mut self, page: u64) -> Result<()> {
        ensure!(
            self.pages.insert(page),
            "page {page:#x} is given, which the host has already"
        );
        for at in STAMPED {
            let address = GuestAddress(page * PAGE + at);
            if let Err(error) = self.memory.write_obj(stamp(page), address) {
                self.pages.remove(&page);
                return Err(error).with_context(|| format!("page {page:#x} is given"));
            }
        }
        Ok(())
    }

    /// Takes up to `count` pages, the lowest ones, out of the ledger, for the guest. An error is about what the guest has
    /// done to them; they are the guest's all the same.
    pub fn give_back(&mut self, count: usize) -> (Vec<PageRange>, Result<()>) {
        let mut ranges: Vec<PageRange> = Vec::new();
        let mut touched = Vec::new();
        for _ in 0..count {
            let Some(page) = self.pages.pop_first() else {
                break;
            };
            for at in STAMPED {
                let address = GuestAddress(page * PAGE + at);
                if self.memory.read_obj::<u64>(address).ok() != Some(stamp(page)) {
                    touched.push(page);
                    break;
                }
            }
            let Some(single) = PageRange::new(page, 1) else {
                continue;
            };
            match ranges.last_mut() {
                Some(last) if last.count() < MAX_COUNT && last.span().end == page => {
                    *last = last.join(single).unwrap_or(*last);
                }
                _ => ranges.push(single),
            }
        }
        (ranges, Self::complain(&touched))
    }

    fn complain(touched: &[u64]) -> Result<()> {
        if let Some(first) = touched.first() {
            bail!(
                "the guest has written to {} pages that were the host's, the first is {first:#x}",
                touched.len()
            );
        }
        Ok(())
    }

    /// All pages are the guest's again. Returns how many there were.
    pub fn forget(&mut self) -> usize {
        std::mem::take(&mut self.pages).len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_go_and_come_back_in_ranges() {
        let memory = Arc::new(crate::memory::allocate(1 << 20).unwrap());
        let mut ledger = Ledger::new(memory.clone());
        for page in [9, 5, 7, 6, 200] {
            ledger.take(page).unwrap();
        }
        assert!(ledger.take(6).is_err(), "the host has it");
        assert!(ledger.take(256).is_err(), "there is no such page");
        assert!(ledger.take(u64::MAX / PAGE).is_err());
        assert_eq!(ledger.count(), 5);
        assert_eq!(ledger.first_of(Span::new(6, 200)), Some(6));
        assert_eq!(ledger.first_of(Span::new(10, 200)), None);
        let range = |start, count| PageRange::new(start, count).unwrap();
        let (ranges, touched) = ledger.give_back(4);
        assert_eq!(ranges, [range(5, 3), range(9, 1)]);
        assert!(touched.is_ok());
        // The guest writes to the last one, at its end.
        memory.write_obj(1u8, GuestAddress(201 * PAGE - 1)).unwrap();
        let (ranges, touched) = ledger.give_back(4);
        assert_eq!(ranges, [range(200, 1)]);
        assert!(touched.unwrap_err().to_string().contains("0xc8"));
        ledger.take(3).unwrap();
        assert_eq!((ledger.forget(), ledger.count()), (1, 0));
    }
}
