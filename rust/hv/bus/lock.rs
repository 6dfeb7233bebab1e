// SPDX-License-Identifier: GPL-2.0

//! The lock of moving channels.

use core::marker::PhantomData;
use rlis_sys as bindings;

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
        bindings::vmbus_retarget_begin();
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
