// SPDX-License-Identifier: GPL-2.0

//! What keeps the work item and the timer of a worker from being queued while they are disabled.
//!
//! The kernel does that by itself since Linux 6.10: [`Native`]. For older ones it is done here: [`Counted`].

use kernel::prelude::*;
#[cfg(any(not(RLIS_HAVE_DISABLE_WORK), CONFIG_KUNIT = "y"))]
use kernel::sync::SpinLockIrq;
use rlis_sys::{
    delayed_work,
    work_struct, //
};

/// The gate for this kernel.
#[cfg(RLIS_HAVE_DISABLE_WORK)]
pub(super) type Gate = Native;
/// The gate for this kernel.
#[cfg(not(RLIS_HAVE_DISABLE_WORK))]
pub(super) type Gate = Counted;

/// The kernel refuses to queue what is disabled.
#[cfg(RLIS_HAVE_DISABLE_WORK)]
pub(super) struct Native;

#[cfg(RLIS_HAVE_DISABLE_WORK)]
impl Native {
    /// An open gate.
    pub(super) fn new() -> impl PinInit<Self> {
        Self
    }

    /// Has `queue` put work on a queue, or set a timer. Any context.
    #[inline]
    pub(super) fn pass(&self, queue: impl FnOnce()) {
        queue();
    }

    /// Waits until neither item runs, and keeps both from being queued until [`Self::reopen`], which has to be called as
    /// often. Sleeps.
    ///
    /// # Safety
    ///
    /// Both are initialised.
    pub(super) unsafe fn close(&self, work: *mut work_struct, timer: *mut delayed_work) {
        // SAFETY: As required of the caller.
        unsafe { rlis_sys::disable_work_sync(work) };
        // SAFETY: As required of the caller.
        unsafe { rlis_sys::disable_delayed_work_sync(timer) };
    }

    /// Takes a [`Self::close`] back.
    ///
    /// # Safety
    ///
    /// Both are initialised, and were closed.
    pub(super) unsafe fn reopen(&self, work: *mut work_struct, timer: *mut delayed_work) {
        // SAFETY: As required of the caller.
        unsafe { rlis_sys::enable_delayed_work(timer) };
        // SAFETY: As required of the caller.
        unsafe { rlis_sys::enable_work(work) };
    }
}

/// A count of how often the gate was closed. What is queued is queued with its lock held, so that nothing is on its way to the
/// queue any more when the gate has been closed, and cancelling finds all there is.
#[cfg(any(not(RLIS_HAVE_DISABLE_WORK), CONFIG_KUNIT = "y"))]
#[pin_data]
pub(super) struct Counted {
    #[pin]
    closed: SpinLockIrq<u32>,
}

/// One name for one class of locks, see `TARGET_LOCK`.
#[cfg(any(not(RLIS_HAVE_DISABLE_WORK), CONFIG_KUNIT = "y"))]
static GATE_LOCK: &CStr = c"rlis_hv::work::Counted";

#[cfg(any(not(RLIS_HAVE_DISABLE_WORK), CONFIG_KUNIT = "y"))]
impl Counted {
    /// An open gate.
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            closed <- SpinLockIrq::new(0, GATE_LOCK, kernel::static_lock_class!()),
        })
    }

    /// Has `queue` put work on a queue, or set a timer, unless the gate is closed. Any context. Must not sleep.
    pub(super) fn pass(&self, queue: impl FnOnce()) {
        let closed = self.closed.lock();
        if *closed == 0 {
            queue();
        }
    }

    fn shut(&self) {
        let mut closed = self.closed.lock();
        *closed = closed.saturating_add(1);
    }

    fn unlock(&self) {
        let mut closed = self.closed.lock();
        *closed = closed.saturating_sub(1);
    }

    /// Waits until neither item runs, and keeps both from being queued until [`Self::reopen`], which has to be called as
    /// often. Sleeps.
    ///
    /// # Safety
    ///
    /// Both are initialised, and queued by [`Self::pass`] only.
    #[cfg(not(RLIS_HAVE_DISABLE_WORK))]
    pub(super) unsafe fn close(&self, work: *mut work_struct, timer: *mut delayed_work) {
        self.shut();
        // What they queue while they run does not pass either, each other included.
        // SAFETY: As required of the caller.
        unsafe { rlis_sys::cancel_work_sync(work) };
        // SAFETY: As required of the caller.
        unsafe { rlis_sys::cancel_delayed_work_sync(timer) };
    }

    /// Takes a [`Self::close`] back.
    ///
    /// # Safety
    ///
    /// As for [`Self::close`]; the gate was closed.
    #[cfg(not(RLIS_HAVE_DISABLE_WORK))]
    pub(super) unsafe fn reopen(&self, _work: *mut work_struct, _timer: *mut delayed_work) {
        self.unlock();
    }
}

#[kunit_tests(rlis_hv_work_gate)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_opens_as_often_as_it_was_closed() -> Result {
        let gate = KBox::pin_init(Counted::new(), GFP_KERNEL)?;
        let passes = || {
            let mut passed = false;
            gate.pass(|| passed = true);
            passed
        };
        assert!(passes());
        gate.shut();
        gate.shut();
        assert!(!passes());
        gate.unlock();
        assert!(!passes());
        gate.unlock();
        assert!(passes());
        Ok(())
    }
}
