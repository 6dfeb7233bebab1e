// SPDX-License-Identifier: GPL-2.0

//! A value that one task uses at a time, without waiting.

use core::{
    cell::UnsafeCell,
    ops::{
        Deref,
        DerefMut, //
    }, //
};
use kernel::sync::atomic::{
    Acquire,
    Atomic,
    Release, //
};

/// A value for what has one user at a time by other rules, such as the holder of a queue's lock: whoever comes while
/// somebody uses it is turned away.
pub struct Exclusive<T> {
    busy: Atomic<bool>,
    value: UnsafeCell<T>,
}

// SAFETY: The value goes along with this.
unsafe impl<T: Send> Send for Exclusive<T> {}

// SAFETY: `busy` lets one task at a time have the value, by way of a guard.
unsafe impl<T: Send> Sync for Exclusive<T> {}

impl<T> Exclusive<T> {
    /// Puts a value in.
    pub const fn new(value: T) -> Self {
        Self {
            busy: Atomic::new(false),
            value: UnsafeCell::new(value),
        }
    }

    /// Returns access to the value, unless somebody has it, also the caller. Any context.
    #[inline]
    pub fn try_lock(&self) -> Option<ExclusiveGuard<'_, T>> {
        if self.busy.xchg(true, Acquire) {
            return None;
        }
        // INVARIANT: `busy` was false, and this has set it.
        Some(ExclusiveGuard(self))
    }
}

/// Access to the value of an [`Exclusive`], until it is dropped.
///
/// # Invariants
///
/// `busy` is set, and there is no other guard.
pub struct ExclusiveGuard<'a, T>(&'a Exclusive<T>);

impl<T> Deref for ExclusiveGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: By the type invariant.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> DerefMut for ExclusiveGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: By the type invariant, and this is borrowed for as long.
        unsafe { &mut *self.0.value.get() }
    }
}

impl<T> Drop for ExclusiveGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.0.busy.store(false, Release);
    }
}

use kernel::prelude::kunit_tests;

#[kunit_tests(rlis_net_exclusive)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time() {
        let value = Exclusive::new(1);
        let guard = value.try_lock();
        assert!(value.try_lock().is_none());
        if let Some(mut guard) = guard {
            *guard += 1;
            assert_eq!(*guard, 2);
        }
        assert!(value.try_lock().is_some_and(|guard| *guard == 2));
        assert!(value.try_lock().is_some());
    }
}
