// SPDX-License-Identifier: GPL-2.0

//! Words with one writer.

use crate::Field;
use kernel::{
    prelude::kunit_tests,
    sync::atomic::{
        Atomic,
        AtomicType, //
    }, //
};

/// A word that one task writes at a time, such as the holder of a lock, and that any may read: `READ_ONCE()` and
/// `WRITE_ONCE()` of C, without the call that an [`Atomic`](kernel::sync::atomic::Atomic) costs.
///
/// Nothing is ordered by it. If there were two writers, one would undo what the other has done, and nothing worse.
pub type Single<T> = Field<T>;

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
