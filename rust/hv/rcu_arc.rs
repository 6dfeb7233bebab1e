// SPDX-License-Identifier: GPL-2.0

//! A pointer that is read without a lock and may be replaced at any time.

use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full, //
        },
        rcu,
        Arc, //
    }, //
};

/// An optional reference to a shared object, read under RCU.
///
/// Reading takes neither a lock nor a reference count, so it costs no cache line that another CPU writes.
///
/// # Invariants
///
/// The pointer is null, or came from `Arc::into_raw`, and that reference is given up only a grace period after the
/// pointer was replaced.
pub struct RcuArc<T> {
    pointer: Atomic<*const T>,
}

// SAFETY: This owns a reference, which may be used from and given up on any thread.
unsafe impl<T: Send + Sync> Send for RcuArc<T> {}

// SAFETY: As above; access to the pointer is atomic.
unsafe impl<T: Send + Sync> Sync for RcuArc<T> {}

impl<T> RcuArc<T> {
    /// Makes one that refers to nothing.
    pub const fn new() -> Self {
        // INVARIANT: The pointer is null.
        Self {
            pointer: Atomic::new(core::ptr::null()),
        }
    }

    /// Returns the object, valid as long as the read-side critical section.
    #[inline]
    pub fn get<'a>(&'a self, _guard: &'a rcu::Guard) -> Option<&'a T> {
        let pointer = self.pointer.load(Acquire);
        // SAFETY: By the type invariant, the object stays until a grace period after the pointer was replaced, so as
        // long as the guard.
        unsafe { pointer.as_ref() }
    }

    /// Refers to `new` from now on. Dropping what is returned waits for a grace period.
    pub fn replace(&self, new: Option<Arc<T>>) -> Replaced<T> {
        let pointer = new.map_or(core::ptr::null(), Arc::into_raw);
        Replaced(self.pointer.xchg(pointer, Full))
    }
}

impl<T> Default for RcuArc<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Drop for RcuArc<T> {
    fn drop(&mut self) {
        let pointer = self.pointer.load(Acquire);
        if !pointer.is_null() {
            // SAFETY: By the type invariant. There is no other reference to `self`, so nobody reads it.
            drop(unsafe { Arc::from_raw(pointer) });
        }
    }
}

/// A reference that a [`RcuArc`] held, and that readers may still use.
///
/// # Invariants
///
/// As that of `RcuArc`.
#[must_use]
pub struct Replaced<T>(*const T);

// SAFETY: This owns a reference, which may be given up on any thread.
unsafe impl<T: Send + Sync> Send for Replaced<T> {}

impl<T> Drop for Replaced<T> {
    fn drop(&mut self) {
        if !self.0.is_null() {
            rcu::synchronize_rcu();
            // SAFETY: By the type invariant; a grace period has passed since the pointer was replaced.
            drop(unsafe { Arc::from_raw(self.0) });
        }
    }
}

#[kunit_tests(rlis_hv_rcu_arc)]
mod tests {
    use super::*;

    #[test]
    fn replaces() -> Result {
        let cell = RcuArc::new();
        let first = Arc::new(1, GFP_KERNEL)?;
        assert!(cell.get(&rcu::read_lock()).is_none());
        drop(cell.replace(Some(first.clone())));
        assert_eq!(cell.get(&rcu::read_lock()), Some(&1));
        drop(cell.replace(Some(Arc::new(2, GFP_KERNEL)?)));
        assert_eq!(cell.get(&rcu::read_lock()), Some(&2));
        // The cell has given up its reference, so this one is the last.
        assert!(Arc::into_unique_or_drop(first).is_some());
        Ok(())
    }
}
