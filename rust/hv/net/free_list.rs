// SPDX-License-Identifier: GPL-2.0

//! Numbers that are taken in one context and given back in another, without a lock.

use kernel::{
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Relaxed,
        Release, //
    }, //
};

/// The numbers below a limit that are free: a ring with one taker and one giver at a time.
///
/// The taker is who holds a transmit queue's lock, the giver the queue's NAPI. Should there be several at a time after
/// all, a number may be lost, or be taken twice; so whoever takes one checks that what it names is really free.
///
/// A number can be kept that was never given: the ring always has room for all.
pub struct FreeList {
    ring: KVec<Atomic<u32>>,
    /// How many were taken, modulo 2^32. Written by the taker.
    taken: Atomic<u32>,
    /// How many were given, modulo 2^32. Written by the giver.
    given: Atomic<u32>,
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
            ring.push(Atomic::new(number), GFP_KERNEL)?;
        }
        Ok(Self {
            ring,
            taken: Atomic::new(0),
            given: Atomic::new(count),
        })
    }

    #[inline]
    fn entry(&self, at: u32) -> Option<&Atomic<u32>> {
        let at = usize::try_from(at).ok()?;
        self.ring.get(at & self.ring.len().wrapping_sub(1))
    }

    /// Takes a number, if there is one.
    #[inline]
    pub fn take(&self) -> Option<u32> {
        let taken = self.taken.load(Relaxed);
        if self.given.load(Acquire) == taken {
            return None;
        }
        let number = self.entry(taken)?.load(Relaxed);
        self.taken.store(taken.wrapping_add(1), Release);
        Some(number)
    }

    /// Returns the number that [`Self::take`] would return.
    #[inline]
    pub fn peek(&self) -> Option<u32> {
        let taken = self.taken.load(Relaxed);
        if self.given.load(Acquire) == taken {
            return None;
        }
        Some(self.entry(taken)?.load(Relaxed))
    }

    /// Undoes the last [`Self::take`], by the taker.
    #[inline]
    pub fn untake(&self) {
        // The place of a number is used again only when all others, and that one, were given.
        self.taken
            .store(self.taken.load(Relaxed).wrapping_sub(1), Release);
    }

    /// Gives a number back.
    #[inline]
    pub fn give(&self, number: u32) {
        let given = self.given.load(Relaxed);
        if let Some(entry) = self.entry(given) {
            entry.store(number, Relaxed);
            self.given.store(given.wrapping_add(1), Release);
        }
    }

    /// Returns how many numbers there are to take. Out of date at once, unless the caller is the taker: then there are
    /// at least so many.
    #[inline]
    pub fn available(&self) -> u32 {
        self.given
            .load(Acquire)
            .wrapping_sub(self.taken.load(Relaxed))
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
        list.give(1);
        list.give(0);
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
