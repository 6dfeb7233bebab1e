// SPDX-License-Identifier: GPL-2.0

//! Commands that the host is told of together.
//!
//! The mid-layer says of each command whether it is the last one of a batch. Those before are written to the ring without a
//! signal, and the last one signals for all. Most often a batch goes through one channel, and this has nothing to do but to
//! remember which; but the task may be moved to another CPU on the way, or a ring have no room, or the channels change. So each
//! hardware queue notes which channels it has written to, and whoever ends a batch of that queue tells the host of them all.

use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Full, //
    }, //
};
use rlis_hv::{
    load_once,
    ordered::compare_exchange, //
};
use rlis_vmbus::Channel;

/// Some channels of a controller: a bit for each, and the last one for all those beyond.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Set(u64);

/// The channels beyond, of which one is not told from the other.
const BEYOND: u64 = 1 << (u64::BITS - 1);

impl Set {
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const ALL: Self = Self(u64::MAX);

    /// Those of which the channel with this number is one.
    #[inline]
    fn with(number: u16) -> Self {
        Self(1u64.checked_shl(number.into()).unwrap_or(BEYOND))
    }

    /// Those of which this is one.
    #[inline]
    pub(crate) fn of(channel: &Channel) -> Self {
        Self::with(channel.sub_channel_index())
    }

    /// No others than this channel.
    #[inline]
    pub(crate) fn told(channel: &Channel) -> Self {
        Self::of(channel).without(Self(BEYOND))
    }

    #[inline]
    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    #[inline]
    pub(crate) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    #[inline]
    pub(crate) fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// The channels that a hardware queue has written to and not told the host of.
#[repr(align(64))]
struct Queue(Atomic<u64>);

/// For each hardware queue, the channels that it has written to and not told the host of.
pub(crate) struct Batches(KVVec<Queue>);

impl Batches {
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(queues: u32) -> Result<Self> {
        let mut all = KVVec::with_capacity(usize::try_from(queues)?, GFP_KERNEL)?;
        for _ in 0..queues {
            all.push(Queue(Atomic::new(0)), GFP_KERNEL)?;
        }
        Ok(Self(all))
    }

    fn queue(&self, number: u32) -> Option<&Atomic<u64>> {
        let queue = self.0.get(usize::try_from(number).ok()?)?;
        Some(&queue.0)
    }

    /// A command of a queue was written to a channel, and the host not told of it. Returns false for a queue that there is
    /// not, which cannot note it.
    ///
    /// To be called when it was written: who takes the note finds it in the ring.
    #[inline]
    pub(crate) fn note(&self, queue: u32, channel: Set) -> bool {
        let Some(word) = self.queue(queue) else {
            return false;
        };
        // If it is noted already, whoever takes the note after this has the ring's lock after the writer had it.
        loop {
            let noted = load_once(word);
            if noted & channel.0 == channel.0 || compare_exchange(word, noted, noted | channel.0) {
                return true;
            }
        }
    }

    /// A batch of the queue ends: returns what is to be told, which is forgotten.
    #[inline]
    pub(crate) fn take(&self, queue: u32) -> Set {
        match self.queue(queue) {
            Some(word) if load_once(word) != 0 => Set(word.xchg(0, Full)),
            _ => Set::NONE,
        }
    }
}

#[kunit_tests(hv_storvsc_batch)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_told_apart() {
        for number in 0..63 {
            assert!(!Set::with(number).meets(Set::with(number + 1)));
            assert!(Set::ALL.meets(Set::with(number)));
        }
        assert_eq!(Set::with(63), Set::with(u16::MAX));
    }

    #[test]
    fn what_was_noted_is_taken_once() -> Result {
        let batches = Batches::new(2)?;
        assert!(batches.take(0).is_empty());
        assert!(batches.note(0, Set::with(3)));
        assert!(batches.note(0, Set::with(3)));
        assert!(batches.note(0, Set::with(63)));
        assert!(batches.note(1, Set::with(0)));
        let taken = batches.take(0);
        assert_eq!(taken.without(Set::with(63)), Set::with(3));
        assert!(batches.take(0).is_empty());
        assert_eq!(batches.take(1), Set::with(0));
        Ok(())
    }

    #[test]
    fn a_queue_that_there_is_not_notes_nothing() -> Result {
        let batches = Batches::new(1)?;
        assert!(!batches.note(1, Set::with(0)));
        assert!(batches.take(1).is_empty());
        Ok(())
    }
}
