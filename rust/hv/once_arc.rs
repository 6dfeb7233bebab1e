// SPDX-License-Identifier: GPL-2.0

//! A reference that is made once and read often.

use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full, //
        },
        Arc, //
    }, //
};

/// A reference to a shared object, or none yet. Once there is one it stays. Reading it is one load.
///
/// # Invariants
///
/// The pointer is null, or came from `Arc::into_raw`; then it does not change any more, and that reference is ours.
pub struct OnceArc<T> {
    pointer: Atomic<*const T>,
}

// SAFETY: This owns a reference, which may be used from and given up on any thread.
unsafe impl<T: Send + Sync> Send for OnceArc<T> {}

// SAFETY: As above; access to the pointer is atomic.
unsafe impl<T: Send + Sync> Sync for OnceArc<T> {}

impl<T> OnceArc<T> {
    /// Makes one that refers to nothing yet.
    pub const fn new() -> Self {
        // INVARIANT: The pointer is null.
        Self {
            pointer: Atomic::new(core::ptr::null()),
        }
    }

    /// Refers to `object` from now on, if there was nothing yet. Returns whether that was so.
    pub fn populate(&self, object: Arc<T>) -> bool {
        let new = Arc::into_raw(object);
        // INVARIANT: The pointer was null, or it stays as it is.
        let done = self.pointer.cmpxchg(core::ptr::null(), new, Full).is_ok();
        if !done {
            // SAFETY: This is the reference that was taken apart above.
            drop(unsafe { Arc::from_raw(new) });
        }
        done
    }

    /// Returns the object, if there is one.
    #[inline]
    pub fn get(&self) -> Option<&T> {
        // SAFETY: The pointer to the word is valid. What is reached through the loaded address is seen as it was when that was
        // stored, after a full barrier: it depends on it, as with `READ_ONCE()` in C.
        let pointer = unsafe { self.pointer.as_ptr().read_volatile() };
        // SAFETY: By the type invariant, the object stays as long as this, if there is one.
        unsafe { pointer.as_ref() }
    }
}

impl<T> Default for OnceArc<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Drop for OnceArc<T> {
    fn drop(&mut self) {
        let pointer = *self.pointer.get_mut();
        if !pointer.is_null() {
            // SAFETY: By the type invariant; nobody reads it any more.
            drop(unsafe { Arc::from_raw(pointer) });
        }
    }
}

#[kunit_tests(rlis_hv_once_arc)]
mod tests {
    use super::*;

    #[test]
    fn the_first_one_stays() -> Result {
        let once = OnceArc::new();
        assert!(once.get().is_none());
        assert!(once.populate(Arc::new(1, GFP_KERNEL)?));
        assert!(!once.populate(Arc::new(2, GFP_KERNEL)?));
        assert_eq!(once.get(), Some(&1));
        Ok(())
    }
}
