// SPDX-License-Identifier: GPL-2.0

//! Buffers for requests in the making.

use core::{
    cell::UnsafeCell,
    ops::{
        Deref,
        DerefMut, //
    }, //
};
use kernel::{
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Relaxed,
        Release, //
    }, //
};

/// One buffer for each CPU, so that making a request needs neither an allocation nor a lock.
///
/// That is each CPU which is there when the buffers are made. Firmware lists many more (240 for any Generation 2 VM of
/// Hyper-V); should one of them come, it shares.
pub struct Scratch {
    buffers: KVVec<Buffer>,
}

/// # Invariants
///
/// Only who has set `busy` uses `words`.
#[repr(align(64))]
struct Buffer {
    busy: Atomic<u32>,
    words: UnsafeCell<KVVec<u64>>,
}

// SAFETY: By the type invariant, `words` is used by one thread at a time.
unsafe impl Sync for Buffer {}

/// A buffer that is in use, until this is dropped.
///
/// # Invariants
///
/// This value's owner has set `busy`.
pub struct Borrowed<'a>(&'a Buffer);

impl Scratch {
    /// Makes buffers of `words` 64-bit words, one for each CPU that is present.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(words: usize) -> Result<Self> {
        let cpus = rlis_hv::cpu::present_count().max(1);
        let mut buffers = KVVec::with_capacity(usize::try_from(cpus)?, GFP_KERNEL)?;
        for _ in 0..cpus {
            let buffer = Buffer {
                busy: Atomic::new(0),
                words: UnsafeCell::new(KVVec::from_elem(0, words, GFP_KERNEL)?),
            };
            buffers.push(buffer, GFP_KERNEL)?;
        }
        Ok(Self { buffers })
    }

    /// Returns a buffer, that of `cpu` if it is free. `None` if all are in use, which takes tasks that were preempted
    /// while using one, as many as there are buffers.
    #[inline]
    pub fn borrow(&self, cpu: u32) -> Option<Borrowed<'_>> {
        let first = usize::try_from(cpu).ok()?.checked_rem(self.buffers.len())?;
        if let Some(buffer) = self.buffers.get(first) {
            if let Some(borrowed) = Self::try_borrow(buffer) {
                return Some(borrowed);
            }
        }
        self.buffers.iter().find_map(Self::try_borrow)
    }

    #[inline]
    fn try_borrow(buffer: &Buffer) -> Option<Borrowed<'_>> {
        if buffer.busy.load(Relaxed) != 0 || buffer.busy.xchg(1, Acquire) != 0 {
            return None;
        }
        // INVARIANT: It was not set before, and now it is.
        Some(Borrowed(buffer))
    }
}

impl Deref for Borrowed<'_> {
    type Target = [u64];

    #[inline]
    fn deref(&self) -> &[u64] {
        // SAFETY: By the type invariants, nobody else uses the words.
        unsafe { &*self.0.words.get() }
    }
}

impl DerefMut for Borrowed<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u64] {
        // SAFETY: By the type invariants, nobody else uses the words.
        unsafe { &mut *self.0.words.get() }
    }
}

impl Drop for Borrowed<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.busy.store(0, Release);
    }
}

#[kunit_tests(rlis_scsi_scratch)]
mod tests {
    use super::*;

    #[test]
    fn each_is_lent_once() -> Result {
        let scratch = Scratch::new(8)?;
        let cpus = scratch.buffers.len();
        let mut lent = KVec::new();
        for _ in 0..cpus {
            let mut buffer = scratch.borrow(0).ok_or(EBUSY)?;
            assert_eq!(buffer.len(), 8);
            buffer.fill(7);
            lent.push(buffer, GFP_KERNEL)?;
        }
        assert!(scratch.borrow(0).is_none());
        drop(lent);
        assert!(scratch.borrow(0).is_some());
        // A CPU that does not exist gets another's.
        assert!(scratch.borrow(u32::MAX).is_some());
        Ok(())
    }
}
