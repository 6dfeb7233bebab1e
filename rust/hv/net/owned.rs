// SPDX-License-Identifier: GPL-2.0

//! What belongs to a transmit queue.

use crate::queue::TxQueue;
use core::{
    cell::UnsafeCell,
    ops::{
        Deref,
        DerefMut, //
    }, //
};
use kernel::sync::atomic::{
    Atomic,
    Full, //
};
use rlis_hv::{
    load_once,
    Single, //
};

/// The queue that something belongs to: the first one that it was used with.
pub(crate) struct Owner(Atomic<usize>);

impl Owner {
    /// Nobody yet.
    pub(crate) const fn new() -> Self {
        Self(Atomic::new(0))
    }

    /// Returns whether it is this queue. While it is, no other task finds that it is, since the queue's lock is held.
    #[inline]
    pub(crate) fn is(&self, queue: &TxQueue<'_>) -> bool {
        load_once(&self.0) == queue.identity() || self.becomes(queue)
    }

    #[cold]
    fn becomes(&self, queue: &TxQueue<'_>) -> bool {
        self.0.cmpxchg(0, queue.identity(), Full).is_ok()
    }
}

/// A value that belongs to a transmit queue: who holds the queue's lock has it, and nobody waits for it.
pub struct QueueOwned<T> {
    owner: Owner,
    /// There is a guard. Read and written under the lock of `owner` only.
    busy: Single<bool>,
    value: UnsafeCell<T>,
}

// SAFETY: The value goes along with this.
unsafe impl<T: Send> Send for QueueOwned<T> {}

// SAFETY: The lock of the one queue that is `owner` lets one task at a time have the value, and `busy` lets it have it once.
unsafe impl<T: Send> Sync for QueueOwned<T> {}

impl<T> QueueOwned<T> {
    /// Puts a value in. It belongs to the first queue that [`Self::get`] is called with.
    pub const fn new(value: T) -> Self {
        Self {
            owner: Owner::new(),
            busy: Single::new(false),
            value: UnsafeCell::new(value),
        }
    }

    /// Returns access to the value. `None` if it belongs to another queue, or if the caller has access already.
    #[inline]
    pub fn get<'a>(&'a self, queue: &'a TxQueue<'_>) -> Option<OwnedGuard<'a, T>> {
        if !self.owner.is(queue) || self.busy.get() {
            return None;
        }
        self.busy.set(true);
        // INVARIANT: `busy` was false, and this has set it.
        Some(OwnedGuard {
            owned: self,
            _queue: queue,
        })
    }
}

/// Access to the value of a [`QueueOwned`], as long as its queue's lock is held.
///
/// # Invariants
///
/// `busy` is set, and there is no other guard. The lock of the owner is held until this is dropped.
pub struct OwnedGuard<'a, T> {
    owned: &'a QueueOwned<T>,
    /// Which keeps this in the task that holds the lock.
    _queue: &'a TxQueue<'a>,
}

impl<T> Deref for OwnedGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: By the type invariant.
        unsafe { &*self.owned.value.get() }
    }
}

impl<T> DerefMut for OwnedGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: By the type invariant, and this is borrowed for as long.
        unsafe { &mut *self.owned.value.get() }
    }
}

impl<T> Drop for OwnedGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.owned.busy.set(false);
    }
}
