// SPDX-License-Identifier: GPL-2.0

//! Loads and stores that order others, for every frame: without the call that an [`Atomic`] costs.

use core::sync::atomic::{
    compiler_fence,
    Ordering, //
};
use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        AtomicType, //
    }, //
};
use rlis_hv::load_once;

// The processor does not move loads before others, nor stores behind others: it is the compiler that must not.
const _: () = assert!(cfg!(target_arch = "x86_64"));

/// `smp_load_acquire()`: what follows is done after the load.
#[inline(always)]
pub(crate) fn load_acquire<T: AtomicType>(from: &Atomic<T>) -> T {
    let value = load_once(from);
    compiler_fence(Ordering::Acquire);
    value
}

/// `smp_store_release()`: what comes before it was done before the store.
#[inline(always)]
pub(crate) fn store_release<T: AtomicType>(to: &Atomic<T>, value: T) {
    compiler_fence(Ordering::Release);
    // SAFETY: The pointer is valid and aligned. Atomics are stored as a whole.
    unsafe { to.as_ptr().write_volatile(value) };
}

#[kunit_tests(rlis_net_ordered)]
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
}
