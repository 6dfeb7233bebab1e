// SPDX-License-Identifier: GPL-2.0

//! The locks that lie in C structures, as guards.

use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use rlis_sys as bindings;

/// A C spinlock that is held with interrupts of this CPU off.
///
/// # Invariants
///
/// `lock` points to a valid spinlock that this guard holds; `flags` is what taking it returned.
pub(crate) struct SpinGuard<'a> {
    lock: NonNull<bindings::spinlock_t>,
    flags: usize,
    _lock: PhantomData<(&'a (), *mut ())>,
}

impl SpinGuard<'_> {
    /// Takes the lock.
    ///
    /// # Safety
    ///
    /// `lock` points to an initialised spinlock that stays valid for the life of the guard, and the caller
    /// does not hold it.
    pub(crate) unsafe fn lock(lock: *mut bindings::spinlock_t) -> Self {
        // SAFETY: The caller promises a valid lock.
        let flags = unsafe { bindings::spin_lock_irqsave(lock) };
        // INVARIANT: The lock has just been taken.
        Self {
            // SAFETY: A valid pointer is not null.
            lock: unsafe { NonNull::new_unchecked(lock) },
            flags,
            _lock: PhantomData,
        }
    }
}

impl Drop for SpinGuard<'_> {
    fn drop(&mut self) {
        // SAFETY: By the invariants the guard holds this lock, taken with these flags.
        unsafe { bindings::spin_unlock_irqrestore(self.lock.as_ptr(), self.flags) };
    }
}

/// An RCU read-side critical section. Must not be held while sleeping.
pub(crate) struct RcuGuard(PhantomData<*mut ()>);

impl RcuGuard {
    /// Begins the section.
    pub(crate) fn new() -> Self {
        // SAFETY: There are no requirements; drop ends the section.
        unsafe { bindings::rcu_read_lock() };
        Self(PhantomData)
    }
}

impl Drop for RcuGuard {
    fn drop(&mut self) {
        // SAFETY: `new` began the section, on this CPU or task, as guards are not `Send`.
        unsafe { bindings::rcu_read_unlock() };
    }
}

/// Keeps CPUs from going offline, and channels from being moved by anyone else.
///
/// A CPU that goes offline moves its channels, for which it needs no such guard: it waits until there is none.
///
/// # Invariants
///
/// The current task has the kernel's lock of CPUs for reading, and the lock of retargeting.
pub struct Retargeting(PhantomData<*mut ()>);

impl Retargeting {
    /// Sleeps. Not where CPUs are kept from going offline already.
    pub fn begin() -> Self {
        // SAFETY: Process context, with neither lock held; drop gives them up.
        unsafe { bindings::vmbus_retarget_begin() };
        // INVARIANT: Just taken.
        Self(PhantomData)
    }
}

impl Drop for Retargeting {
    fn drop(&mut self) {
        // SAFETY: Held by the invariants.
        unsafe { bindings::vmbus_retarget_end() };
    }
}
