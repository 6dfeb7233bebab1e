// SPDX-License-Identifier: GPL-2.0

//! Operations of atomics that order others, for what is done for every packet: without the call that an [`Atomic`] costs.

use crate::load_once;
use core::sync::atomic::{
    compiler_fence,
    AtomicBool,
    AtomicU64,
    Ordering, //
};
use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        AtomicType, //
    }, //
};

// The processor does not move loads before others, nor stores behind others, and orders all by a locked instruction: it is the
// compiler that must not move them.
const _: () = assert!(cfg!(target_arch = "x86_64"));

/// `smp_load_acquire()`: what follows is done after the load.
#[inline(always)]
pub fn load_acquire<T: AtomicType>(from: &Atomic<T>) -> T {
    let value = load_once(from);
    compiler_fence(Ordering::Acquire);
    value
}

/// `smp_store_release()`: what comes before it was done before the store.
#[inline(always)]
pub fn store_release<T: AtomicType>(to: &Atomic<T>, value: T) {
    compiler_fence(Ordering::Release);
    // SAFETY: The pointer is valid and aligned. Atomics are stored as a whole.
    unsafe { to.as_ptr().write_volatile(value) };
}

/// `cmpxchg()`: stores `new` if there is `old`, and returns whether there was. A full barrier if so.
#[inline(always)]
pub fn compare_exchange(word: &Atomic<u64>, old: u64, new: u64) -> bool {
    // SAFETY: The pointer is valid and aligned as long as the reference. All others load and store the word as a whole, by
    // instructions of the processor as this one.
    let word = unsafe { AtomicU64::from_ptr(word.as_ptr()) };
    word.compare_exchange(old, new, Ordering::SeqCst, Ordering::Relaxed)
        .is_ok()
}

/// `xchg()`: sets it, and returns whether it was set. A full barrier.
#[inline(always)]
pub fn test_and_set(flag: &Atomic<bool>) -> bool {
    // SAFETY: As in `compare_exchange`.
    let flag = unsafe { AtomicBool::from_ptr(flag.as_ptr()) };
    flag.swap(true, Ordering::SeqCst)
}

#[kunit_tests(rlis_hv_ordered)]
mod tests {
    use super::*;

    #[test]
    fn what_was_stored_is_loaded() {
        let word = Atomic::new(1u32);
        store_release(&word, u32::MAX);
        assert_eq!(load_acquire(&word), u32::MAX);
        let long = Atomic::new(0u64);
        store_release(&long, 1 << 40);
        assert_eq!(load_acquire(&long), 1 << 40);
    }

    #[test]
    fn exchanges_what_is_expected_only() {
        let word = Atomic::new(1u64 << 40);
        assert!(!compare_exchange(&word, 1, 2));
        assert_eq!(load_acquire(&word), 1 << 40);
        assert!(compare_exchange(&word, 1 << 40, 2));
        assert!(!compare_exchange(&word, 1 << 40, 3));
        assert_eq!(load_acquire(&word), 2);
    }

    #[test]
    fn sets_once() {
        let flag = Atomic::new(false);
        assert!(!test_and_set(&flag));
        assert!(test_and_set(&flag));
        store_release(&flag, false);
        assert!(!load_acquire(&flag) && !test_and_set(&flag));
    }
}
