// SPDX-License-Identifier: GPL-2.0

//! Words with one writer.

use core::cell::UnsafeCell;
use kernel::{
    prelude::kunit_tests,
    sync::atomic::{
        Atomic,
        AtomicType, //
    }, //
};

/// A type of at most eight bytes that is loaded and stored by one instruction.
///
/// # Safety
///
/// The type must be as long as a machine word or shorter, aligned to its size, and any value that was stored must be good
/// for anybody who reads it.
pub unsafe trait Word: Copy {}

// SAFETY: A byte; both values are good.
unsafe impl Word for bool {}

// SAFETY: A word of four bytes.
unsafe impl Word for u32 {}

// SAFETY: A word of eight bytes.
unsafe impl Word for u64 {}

// SAFETY: An address; to follow it is for the reader to justify.
unsafe impl<T> Word for *mut T {}

/// A word that one task writes at a time, such as the holder of a lock, and that any may read: `READ_ONCE()` and
/// `WRITE_ONCE()` of C, without the call that an [`Atomic`](kernel::sync::atomic::Atomic) costs.
///
/// Nothing is ordered by it. If there were two writers, one would undo what the other has done, and nothing worse.
pub struct Single<T: Word>(UnsafeCell<T>);

// SAFETY: A word is good for any task that reads it, by the requirements of `Word`.
unsafe impl<T: Word> Send for Single<T> {}

// SAFETY: As above; it is only ever loaded and stored as a whole, by volatile accesses of its own size.
unsafe impl<T: Word> Sync for Single<T> {}

impl<T: Word> Single<T> {
    /// Makes a word with this value.
    pub const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// Loads it, once.
    #[inline]
    pub fn get(&self) -> T {
        // SAFETY: The pointer is valid and aligned; others may store at the same time, a whole word each.
        unsafe { self.0.get().read_volatile() }
    }

    /// Stores it, once.
    #[inline]
    pub fn set(&self, value: T) {
        // SAFETY: As in `get`.
        unsafe { self.0.get().write_volatile(value) };
    }
}

/// Loads an atomic as `load(Relaxed)` does, without its call.
#[inline]
pub fn load_once<T: AtomicType>(atomic: &Atomic<T>) -> T {
    // SAFETY: The pointer is valid and aligned. Atomics are stored as a whole.
    unsafe { atomic.as_ptr().read_volatile() }
}

#[kunit_tests(rlis_hv_single)]
mod tests {
    use super::*;

    #[test]
    fn what_was_set_is_got() {
        let word = Single::new(1u64);
        assert_eq!(word.get(), 1);
        word.set(u64::MAX);
        assert_eq!(word.get(), u64::MAX);
        let address: Single<*mut u8> = Single::new(core::ptr::null_mut());
        assert!(address.get().is_null());
    }
}
