// SPDX-License-Identifier: GPL-2.0

//! What the calling thread keeps from happening for a while.
//!
//! C headers: [`include/linux/sched/mm.h`](srctree/include/linux/sched/mm.h),
//! [`include/linux/bottom_half.h`](srctree/include/linux/bottom_half.h)

use core::ptr::NonNull;
use kernel::types::NotThreadSafe;

/// While this exists, no allocation of the calling thread starts I/O or waits for it (`memalloc_noio_save`): for work
/// that disks need to go on.
///
/// Drop several of them in the reverse order.
///
/// # Invariants
///
/// `before` is what the thread was set to before.
pub struct NoIo {
    before: u32,
    _not_send: NotThreadSafe,
}

impl NoIo {
    /// Begins.
    #[must_use]
    pub fn begin() -> Self {
        // SAFETY: The function changes a flag of the calling thread, and returns what it was.
        let before = unsafe { rlis_sys::memalloc_noio_save() };
        // INVARIANT: See above.
        Self {
            before,
            _not_send: NotThreadSafe,
        }
    }
}

impl Drop for NoIo {
    fn drop(&mut self) {
        // SAFETY: By the type invariant. The value cannot leave its thread.
        unsafe { rlis_sys::memalloc_noio_restore(self.before) };
    }
}

/// While this exists, no softirq runs on the CPU, which the calling thread does not leave (`local_bh_disable`): so code
/// that is written for a tasklet finds what it finds there. Process context; nothing may sleep meanwhile.
pub struct NoSoftirq(NotThreadSafe);

impl NoSoftirq {
    /// Begins.
    #[must_use]
    pub fn begin() -> Self {
        // SAFETY: The destructor undoes it, on this thread.
        unsafe { rlis_sys::local_bh_disable() };
        Self(NotThreadSafe)
    }

    /// Somebody else has begun, and ends it.
    ///
    /// # Safety
    ///
    /// Softirqs have to be disabled for the calling thread as long as `'a`, by running in one or by `local_bh_disable()`.
    #[inline]
    #[must_use]
    pub unsafe fn assume<'a>() -> &'a Self {
        // SAFETY: The type has no bytes, so that any pointer with its alignment is valid.
        unsafe { NonNull::dangling().as_ref() }
    }
}

impl Drop for NoSoftirq {
    fn drop(&mut self) {
        let _ = self.0;
        // SAFETY: `begin` did the opposite, on this thread.
        unsafe { rlis_sys::local_bh_enable() };
    }
}
