// SPDX-License-Identifier: GPL-2.0

//! A pointer that is read without a lock and may be replaced at any time.

use crate::ReadSide;
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
    pub fn get<'a>(&'a self, _side: &'a impl ReadSide) -> Option<&'a T> {
        // SAFETY: The pointer to the word is valid. What is reached through the loaded address depends on it, as with
        // `rcu_dereference()` in C.
        let pointer = unsafe { self.pointer.as_ptr().read_volatile() };
        // SAFETY: By the type invariant, the object stays until a grace period after the pointer was replaced, so as
        // long as the section.
        unsafe { pointer.as_ref() }
    }

    /// Returns a reference to the object, which keeps it.
    pub fn keep(&self) -> Option<Arc<T>> {
        let guard = rcu::read_lock();
        let object: *const T = self.get(&guard)?;
        // SAFETY: The object is that of an `Arc`, of which this or a [`Replaced`] has a reference as long as the guard.
        let object = core::mem::ManuallyDrop::new(unsafe { Arc::from_raw(object) });
        Some((*object).clone())
    }

    /// Refers to `new` from now on. What was there before stays alive in what is returned, until no reader is left.
    pub fn replace(&self, new: Option<Arc<T>>) -> Replaced<T> {
        let pointer = new.map_or(core::ptr::null(), Arc::into_raw);
        let pointer = self.pointer.xchg(pointer, Full);
        let grace_period = GracePeriod::start();
        // INVARIANT: The pointer is that of `self`, which gave it up before the grace period was asked for.
        Replaced {
            pointer,
            grace_period,
        }
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

/// A time after which no reader is left that was one when it began.
pub struct GracePeriod(usize);

impl GracePeriod {
    /// Begins now. Any context.
    pub fn start() -> Self {
        // SAFETY: No requirements, in any context.
        Self(unsafe { rlis_sys::start_poll_synchronize_rcu() })
    }

    /// Whether it is over. Any context.
    pub fn is_over(&self) -> bool {
        // SAFETY: No requirements, in any context; the cookie is one of `start_poll_synchronize_rcu()`.
        unsafe { rlis_sys::poll_state_synchronize_rcu(self.0) }
    }

    /// Waits for its end. Sleeps, unless it is over.
    pub fn wait(&self) {
        if !self.is_over() {
            rcu::synchronize_rcu();
        }
    }
}

/// A reference that a [`RcuArc`] held, and that readers may still use.
///
/// Dropping it sleeps until a grace period has passed since it was replaced. It has for all that were replaced before
/// another one that was waited for, so that any number dropped together wait for one grace period.
///
/// # Invariants
///
/// The pointer is null, or came from `Arc::into_raw`, and that reference is ours. No reader that starts after the grace
/// period named by `grace_period`, which was asked for after the pointer was replaced, finds it.
#[must_use]
pub struct Replaced<T> {
    pointer: *const T,
    grace_period: GracePeriod,
}

// SAFETY: This owns a reference, which may be given up on any thread.
unsafe impl<T: Send + Sync> Send for Replaced<T> {}

impl<T> Replaced<T> {
    /// Returns whether no reader is left, so that dropping this does not sleep.
    pub fn is_unused(&self) -> bool {
        self.pointer.is_null() || self.grace_period.is_over()
    }
}

impl<T> Drop for Replaced<T> {
    fn drop(&mut self) {
        if self.pointer.is_null() {
            return;
        }
        self.grace_period.wait();
        // SAFETY: By the type invariant. A grace period has passed since the pointer was replaced, so nobody reads it.
        drop(unsafe { Arc::from_raw(self.pointer) });
    }
}

#[kunit_tests(rlis_hv_rcu_arc)]
mod tests {
    use super::*;

    /// How far the count of grace periods goes on while `f` runs.
    fn passed(f: impl FnOnce()) -> usize {
        // SAFETY: No requirements, in any context.
        let count = || unsafe { rlis_sys::get_state_synchronize_rcu() };
        let before = count();
        f();
        count().wrapping_sub(before)
    }

    #[test]
    fn replaces() -> Result {
        let cell = RcuArc::new();
        let first = Arc::new(1, GFP_KERNEL)?;
        assert!(cell.get(&rcu::read_lock()).is_none());
        drop(cell.replace(Some(first.clone())));
        assert_eq!(cell.get(&rcu::read_lock()), Some(&1));
        drop(cell.replace(Some(Arc::new(2, GFP_KERNEL)?)));
        assert_eq!(cell.get(&rcu::read_lock()), Some(&2));
        let kept = cell.keep();
        drop(cell.replace(None));
        assert!(cell.keep().is_none());
        assert_eq!(kept.as_deref(), Some(&2));
        // The cell has given up its reference, so this one is the last.
        assert!(Arc::into_unique_or_drop(first).is_some());
        Ok(())
    }

    #[test]
    fn all_wait_together() -> Result {
        const COUNT: usize = 256;
        let cell = RcuArc::new();
        let last = Arc::new(0, GFP_KERNEL)?;
        let mut replaced = KVec::with_capacity(COUNT, GFP_KERNEL)?;
        for _ in 0..COUNT {
            replaced.push(cell.replace(Some(last.clone())), GFP_KERNEL)?;
        }
        let one = passed(rcu::synchronize_rcu);
        let all = passed(|| replaced.clear());
        // One by one it would be as many grace periods; some may pass for others meanwhile.
        assert!(one > 0 && all < 32 * one);
        assert!(replaced.is_empty());
        drop(cell.replace(None));
        assert!(Arc::into_unique_or_drop(last).is_some());
        Ok(())
    }

    #[test]
    fn is_unused_after_a_grace_period() -> Result {
        let cell = RcuArc::new();
        assert!(cell.replace(Some(Arc::new(1, GFP_KERNEL)?)).is_unused());
        let guard = rcu::read_lock();
        let one = cell.get(&guard);
        let replaced = cell.replace(None);
        assert!(!replaced.is_unused());
        assert_eq!(one, Some(&1));
        drop(guard);
        rcu::synchronize_rcu();
        assert!(replaced.is_unused());
        Ok(())
    }
}
