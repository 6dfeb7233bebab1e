// SPDX-License-Identifier: GPL-2.0

//! Locks that lie in C structures, as guards.
//!
//! For those of Rust's own there are the kernel crate's.

use crate::view::View;
use core::marker::PhantomData;
use kernel::types::Opaque;
use rlis_sys as bindings;

/// A C spinlock.
///
/// # Invariants
///
/// It is initialised.
#[repr(transparent)]
pub struct SpinLock(Opaque<bindings::spinlock_t>);

// SAFETY: The functions of a spinlock may be called on any thread.
unsafe impl Sync for SpinLock {}

// SAFETY: Transparent over the type, of which C code uses an initialised one as below.
unsafe impl View for SpinLock {
    type Raw = bindings::spinlock_t;
}

impl SpinLock {
    /// Takes the lock, with interrupts of this CPU off until it is given back.
    #[inline]
    pub fn lock(&self) -> SpinGuard<'_> {
        // SAFETY: By the invariants.
        let flags = unsafe { bindings::spin_lock_irqsave(self.0.get()) };
        // INVARIANT: Just taken.
        SpinGuard(self, flags, PhantomData)
    }

    /// Takes the lock where interrupts are off already, or, under `PREEMPT_RT`, where no interrupt handler takes it, as none
    /// may that is not a thread.
    #[inline]
    pub fn lock_irqs_off(&self) -> SpinGuardIrqsOff<'_> {
        // SAFETY: By the invariants.
        unsafe { bindings::spin_lock(self.0.get()) };
        // INVARIANT: Just taken.
        SpinGuardIrqsOff(self, PhantomData)
    }

    /// Whether somebody has the lock.
    #[inline]
    pub fn is_locked(&self) -> bool {
        // SAFETY: By the invariants.
        unsafe { bindings::spin_is_locked(self.0.get()) }
    }
}

/// A [`SpinLock`] that is held with interrupts of this CPU off.
///
/// # Invariants
///
/// This guard holds the lock, of which taking it returned the flags.
pub struct SpinGuard<'a>(&'a SpinLock, usize, PhantomData<*mut ()>);

impl Drop for SpinGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the invariants.
        unsafe { bindings::spin_unlock_irqrestore(self.0 .0.get(), self.1) };
    }
}

/// A [`SpinLock`] that is held.
///
/// # Invariants
///
/// This guard holds the lock.
pub struct SpinGuardIrqsOff<'a>(&'a SpinLock, PhantomData<*mut ()>);

impl Drop for SpinGuardIrqsOff<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the invariants.
        unsafe { bindings::spin_unlock(self.0 .0.get()) };
    }
}

/// A C mutex.
///
/// # Invariants
///
/// It is initialised.
#[repr(transparent)]
pub struct Mutex(Opaque<bindings::mutex>);

// SAFETY: The functions of a mutex may be called on any thread.
unsafe impl Sync for Mutex {}

// SAFETY: Transparent over the type, of which C code uses an initialised one as below.
unsafe impl View for Mutex {
    type Raw = bindings::mutex;
}

impl Mutex {
    /// Takes the mutex. Sleeps.
    #[inline]
    pub fn lock(&self) -> MutexGuard<'_> {
        // SAFETY: By the invariants.
        unsafe { bindings::mutex_lock(self.0.get()) };
        // INVARIANT: Just taken.
        MutexGuard(self, PhantomData)
    }
}

/// A [`Mutex`] that is held by the current task.
///
/// # Invariants
///
/// This guard holds the mutex.
pub struct MutexGuard<'a>(&'a Mutex, PhantomData<*mut ()>);

impl Drop for MutexGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the invariants.
        unsafe { bindings::mutex_unlock(self.0 .0.get()) };
    }
}
