// SPDX-License-Identifier: GPL-2.0

//! Request ids: what goes over the wire instead of the address of a driver's request.
//!
//! Id `n` is slot `n - 1` of an array; 0 is for packets of the host that nobody asked for. A free slot holds
//! the number of the next free one. A bitmap tells which slots are in use, so that an id that the host makes
//! up, or sends twice, finds nothing. The fields are those of `struct vmbus_requestor`.

const WORD: u64 = usize::BITS as u64;

/// Words of the bitmap for so many slots.
pub const fn bitmap_words(slots: u32) -> usize {
    (slots as u64).div_ceil(WORD) as usize
}

/// The ids of a channel, for the one who has the lock.
pub struct RequestIds<'a> {
    /// The first free slot.
    pub next: &'a mut u64,
    /// The slots.
    pub slots: &'a mut [u64],
    /// Which of them are in use: [`bitmap_words`].
    pub in_use: &'a mut [usize],
}

impl RequestIds<'_> {
    /// Makes all slots free.
    pub fn clear(&mut self) {
        for (slot, next) in self.slots.iter_mut().zip(1..) {
            *slot = next;
        }
        self.in_use.fill(0);
        *self.next = 0;
    }

    fn bit(&mut self, slot: u64) -> Option<(&mut usize, usize)> {
        let word = self.in_use.get_mut(usize::try_from(slot / WORD).ok()?)?;
        Some((word, 1 << (slot % WORD)))
    }

    /// Stores an address and returns the id for it; `None` if all slots are in use.
    #[inline]
    pub fn store(&mut self, address: u64) -> Option<u64> {
        let slot = *self.next;
        let entry = self.slots.get_mut(usize::try_from(slot).ok()?)?;
        let next = core::mem::replace(entry, address);
        let (word, bit) = self.bit(slot)?;
        *word |= bit;
        *self.next = next;
        Some(slot + 1)
    }

    /// The address that is stored under an id, which becomes free if `frees` says so of the address. `None` if the id is not
    /// in use.
    #[inline]
    pub fn take(&mut self, id: u64, frees: impl FnOnce(u64) -> bool) -> Option<u64> {
        // Id 0 becomes the largest slot number, which no channel has.
        let slot = id.wrapping_sub(1);
        let next = *self.next;
        let (word, bit) = self.bit(slot)?;
        if *word & bit == 0 {
            return None;
        }
        let word_without = *word & !bit;
        let entry = self.slots.get_mut(usize::try_from(slot).ok()?)?;
        let stored = *entry;
        if frees(stored) {
            *entry = next;
            *self.next = slot;
            *self.bit(slot)?.0 = word_without;
        }
        Some(stored)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use proptest::prelude::*;
    use std::{collections::HashMap, vec, vec::Vec};

    struct Memory {
        next: u64,
        slots: Vec<u64>,
        in_use: Vec<usize>,
    }

    impl Memory {
        fn new(size: u32) -> Self {
            let mut memory = Self {
                next: 7,
                slots: vec![9; size as usize],
                in_use: vec![!0; bitmap_words(size)],
            };
            memory.ids().clear();
            memory
        }

        fn ids(&mut self) -> RequestIds<'_> {
            RequestIds {
                next: &mut self.next,
                slots: &mut self.slots,
                in_use: &mut self.in_use,
            }
        }
    }

    proptest! {
        #[test]
        fn an_id_finds_what_was_stored_once(size in 1u32..140, ops in proptest::collection::vec((0u8..4, 0u64..200), 0..400)) {
            let mut memory = Memory::new(size);
            let mut model = HashMap::new();
            for (op, n) in ops {
                match op {
                    0 | 1 => match memory.ids().store(n + 1000) {
                        Some(id) => {
                            prop_assert!(id >= 1 && id <= u64::from(size));
                            prop_assert!(model.insert(id, n + 1000).is_none());
                        }
                        None => prop_assert_eq!(model.len(), size as usize),
                    },
                    2 => prop_assert_eq!(memory.ids().take(n, |_| true), model.remove(&n)),
                    // Another address than the one that is stored: the id stays.
                    _ => prop_assert_eq!(memory.ids().take(n, |stored| stored == 1), model.get(&n).copied()),
                }
            }
            prop_assert_eq!(memory.ids().take(0, |_| true), None);
            prop_assert_eq!(memory.ids().take(u64::MAX, |_| true), None);
        }
    }
}
