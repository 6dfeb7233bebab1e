// SPDX-License-Identifier: GPL-2.0

//! The answer to one request at a time, from whoever reads the ring to whoever waits for it.

use crate::Completion;
use kernel::{
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Full,
        Relaxed, //
    },
    time::Msecs, //
};

/// In `AnswerSlot::waiting`, instead of an id: no answer will come.
const SPOILED: u64 = 1;

/// How long to wait for an answer that is being copied, in milliseconds.
const ARRIVING_MS: Msecs = 10_000;

/// The place where an answer of at most `WORDS` times eight bytes arrives.
///
/// Who makes requests sees to it that there is one at a time, each with an id of its own, neither 0 nor 1, so that an answer
/// that comes after the time-out is not taken for the answer to the next request.
#[pin_data]
pub struct AnswerSlot<const WORDS: usize> {
    /// The id of the request that has no answer yet, or 0.
    waiting: Atomic<u64>,
    /// The answer. Written by whoever sets `waiting` to 0, before `done`, and read after that.
    words: [Atomic<u64>; WORDS],
    /// Bytes of the answer, as `words`.
    len: Atomic<usize>,
    #[pin]
    done: Completion,
    given_up: Atomic<u32>,
}

impl<const WORDS: usize> AnswerSlot<WORDS> {
    /// Nothing is waited for.
    pub fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            waiting: Atomic::new(0),
            words: [const { Atomic::new(0) }; WORDS],
            len: Atomic::new(0),
            done <- Completion::new(),
            given_up: Atomic::new(0),
        })
    }

    /// From now on the answer with this id is waited for; to be called before the request is sent.
    ///
    /// # Errors
    ///
    /// `ENODEV` after [`Self::give_up`].
    pub fn expect(&self, id: u64) -> Result {
        self.done.reinit();
        self.waiting.xchg(id, Full);
        // `give_up` sets this before it completes `done`, so that a completion undone by `reinit` is not missed.
        if self.given_up.load(Acquire) != 0 {
            self.waiting.xchg(0, Full);
            return Err(ENODEV);
        }
        Ok(())
    }

    /// Waits for the answer, for `timeout` milliseconds at most. Sleeps.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT`.
    pub fn wait(&self, timeout: Msecs) -> Result {
        self.done.wait_timeout(timeout)
    }

    /// Ends the wait for the answer with this id, of which `waited` tells how it went, and copies the answer to `out`, as
    /// far as there is room. Returns how many bytes it has, at most those of `WORDS`, or `None` if it was spoiled. A later
    /// answer is ignored.
    ///
    /// # Errors
    ///
    /// If there is no answer, that of `waited`, or `ENODEV` after [`Self::give_up`].
    pub fn take(&self, id: u64, waited: Result, out: &mut [u8]) -> Result<Option<usize>> {
        if self.waiting.cmpxchg(id, 0, Full).is_ok() {
            waited?;
            return Err(ENODEV);
        }
        if self.waiting.cmpxchg(SPOILED, 0, Full).is_ok() {
            return Ok(None);
        }
        // The answer is there, or just being copied.
        self.done.wait_timeout(ARRIVING_MS)?;
        for (to, from) in out.chunks_mut(8).zip(&self.words) {
            for (to, from) in to.iter_mut().zip(from.load(Relaxed).to_ne_bytes()) {
                *to = from;
            }
        }
        Ok(Some(self.len.load(Relaxed)))
    }

    /// Delivers an answer; what is beyond `WORDS` is cut off. Returns whether it was waited for. Any context.
    pub fn deliver(&self, id: u64, bytes: &[u8]) -> bool {
        if id <= SPOILED || self.waiting.cmpxchg(id, 0, Full).is_err() {
            return false;
        }
        let bytes = bytes.get(..WORDS * 8).unwrap_or(bytes);
        for (to, from) in self.words.iter().zip(bytes.chunks(8)) {
            let mut word = [0; 8];
            for (to, from) in word.iter_mut().zip(from) {
                *to = *from;
            }
            to.store(u64::from_ne_bytes(word), Relaxed);
        }
        self.len.store(bytes.len(), Relaxed);
        self.done.complete_all();
        true
    }

    /// Notes that the answer with this id will never come or cannot be read. Returns whether it was waited for. Any context.
    pub fn spoil(&self, id: u64) -> bool {
        if id <= SPOILED || self.waiting.cmpxchg(id, SPOILED, Full).is_err() {
            return false;
        }
        self.done.complete_all();
        true
    }

    /// Ends the wait that is under way, and all that come: nobody will answer any more. Any context.
    pub fn give_up(&self) {
        self.given_up.xchg(1, Full);
        self.done.complete_all();
    }
}

#[kunit_tests(rlis_hv_answer)]
mod tests {
    use super::*;

    #[test]
    fn the_one_that_is_waited_for() -> Result {
        let answer = KBox::pin_init(AnswerSlot::<2>::new(), GFP_KERNEL)?;
        let mut out = [0xff; 16];
        answer.expect(5)?;
        assert!(!answer.deliver(4, &[1]));
        assert!(answer.deliver(5, &[1, 2, 3]));
        assert!(!answer.deliver(5, &[4]));
        assert_eq!(answer.take(5, answer.wait(1000), &mut out)?, Some(3));
        assert_eq!(out[..8], [1, 2, 3, 0, 0, 0, 0, 0]);
        // Longer than there is room for.
        answer.expect(6)?;
        assert!(answer.deliver(6, &[7; 17]));
        assert_eq!(answer.take(6, answer.wait(1000), &mut out)?, Some(16));
        assert_eq!(out, [7; 16]);
        Ok(())
    }

    #[test]
    fn late_spoiled_and_given_up() -> Result {
        let answer = KBox::pin_init(AnswerSlot::<1>::new(), GFP_KERNEL)?;
        let mut out = [0; 8];
        answer.expect(5)?;
        assert_eq!(answer.take(5, answer.wait(10), &mut out), Err(ETIMEDOUT));
        assert!(!answer.deliver(5, &[1]));
        assert!(!answer.deliver(0, &[1]));
        answer.expect(6)?;
        assert!(!answer.spoil(5));
        assert!(answer.spoil(6));
        assert!(!answer.deliver(1, &[1]));
        assert_eq!(answer.take(6, answer.wait(1000), &mut out)?, None);
        answer.expect(7)?;
        answer.give_up();
        assert_eq!(answer.take(7, answer.wait(1000), &mut out), Err(ENODEV));
        assert_eq!(answer.expect(8), Err(ENODEV));
        Ok(())
    }
}
