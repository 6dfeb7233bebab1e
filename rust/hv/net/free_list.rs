// SPDX-License-Identifier: GPL-2.0

//! Numbers that are taken in one context and given back in another, without a lock.

use kernel::{
    prelude::*,
    sync::atomic::Atomic, //
};
use rlis_hv::{
    ordered::{
        load_acquire,
        store_release, //
    },
    Single, //
};

/// The numbers below a limit that are free: a ring with one taker and one giver at a time.
///
/// The taker is who holds a transmit queue's lock, the giver the queue's NAPI. Should there be several at a time after
/// all, a number may be lost, or be taken twice; so whoever takes one checks that what it names is really free.
///
/// A number can be kept that was never given: the ring always has room for all.
pub struct FreeList {
    ring: KVec<Single<u32>>,
    /// How many were taken, modulo 2^32. Written by the taker.
    taken: Single<u32>,
    /// What the taker last saw of `given`: as long as there are such numbers, it need not look again.
    seen: Single<u32>,
    /// How many were given, modulo 2^32. Written by the giver, who has the same in `own`.
    given: Atomic<u32>,
    own: Single<u32>,
}

impl FreeList {
    /// Makes a list of the numbers below `count`, rounded up to a power of two inside.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, and `EINVAL` for more than 2^16.
    pub fn new(count: u32) -> Result<Self> {
        if count > 1 << 16 {
            return Err(EINVAL);
        }
        let size = count.next_power_of_two();
        let mut ring = KVec::with_capacity(usize::try_from(size)?, GFP_KERNEL)?;
        for number in 0..size {
            ring.push(Single::new(number), GFP_KERNEL)?;
        }
        Ok(Self {
            ring,
            taken: Single::new(0),
            seen: Single::new(count),
            given: Atomic::new(count),
            own: Single::new(count),
        })
    }

    #[inline]
    fn entry(&self, at: u32) -> Option<&Single<u32>> {
        let at = usize::try_from(at).ok()?;
        self.ring.get(at & self.ring.len().wrapping_sub(1))
    }

    /// Takes a number, if there is one.
    #[inline]
    pub fn take(&self) -> Option<u32> {
        let number = self.peek()?;
        self.advance();
        Some(number)
    }

    /// Takes the number that [`Self::peek`] has returned.
    #[inline]
    pub fn advance(&self) {
        self.taken.set(self.taken.get().wrapping_add(1));
    }

    /// Returns the number that [`Self::take`] would return, to the taker.
    #[inline]
    pub fn peek(&self) -> Option<u32> {
        if !self.has(1) {
            return None;
        }
        Some(self.entry(self.taken.get())?.get())
    }

    /// Undoes the last [`Self::take`], by the taker.
    #[inline]
    pub fn untake(&self) {
        // The place of a number is used again only when all others, and that one, were given.
        self.taken.set(self.taken.get().wrapping_sub(1));
    }

    /// Gives a number back.
    #[inline]
    pub fn give(&self, number: u32) {
        let given = self.own.get();
        if let Some(entry) = self.entry(given) {
            entry.set(number);
            self.own.set(given.wrapping_add(1));
            store_release(&self.given, given.wrapping_add(1));
        }
    }

    /// Returns whether there are at least so many numbers to take, to the taker.
    #[inline]
    pub fn has(&self, count: u32) -> bool {
        let taken = self.taken.get();
        if self.seen.get().wrapping_sub(taken) >= count {
            return true;
        }
        let given = load_acquire(&self.given);
        self.seen.set(given);
        given.wrapping_sub(taken) >= count
    }

    /// Returns how many numbers there are to take. Out of date at once.
    #[inline]
    pub fn available(&self) -> u32 {
        load_acquire(&self.given).wrapping_sub(self.taken.get())
    }
}

#[kunit_tests(rlis_net_free_list)]
mod tests {
    use super::*;

    #[test]
    fn takes_each_once_and_again_when_given() -> Result {
        let list = FreeList::new(3)?;
        assert_eq!(list.available(), 3);
        for number in 0..3 {
            assert_eq!(list.take(), Some(number));
        }
        assert_eq!(list.take(), None);
        assert!(!list.has(1));
        list.give(1);
        list.give(0);
        assert!(list.has(2) && !list.has(3));
        assert_eq!(list.available(), 2);
        assert_eq!(list.take(), Some(1));
        assert_eq!(list.take(), Some(0));
        assert_eq!(list.take(), None);
        for round in 0..1000 {
            list.give(round % 3);
            assert_eq!(list.peek(), Some(round % 3));
            assert_eq!(list.take(), Some(round % 3));
            list.untake();
            assert_eq!(list.take(), Some(round % 3));
            assert_eq!(list.peek(), None);
        }
        Ok(())
    }

    #[test]
    fn nothing_to_take() -> Result {
        let list = FreeList::new(0)?;
        assert_eq!(list.take(), None);
        assert!(FreeList::new(1 << 17).is_err());
        Ok(())
    }
}
