// SPDX-License-Identifier: GPL-2.0

//! Completions that can be waited for with a time-out and used again.
//!
//! The kernel crate's `Completion` can only be waited for without end, and be completed once.
//!
//! C header: [`include/linux/completion.h`](srctree/include/linux/completion.h)

use crate::view::View;
use kernel::{
    prelude::*,
    time::{
        msecs_to_jiffies,
        Msecs, //
    },
    types::Opaque, //
};

/// Lets tasks wait until something has happened.
///
/// # Invariants
///
/// `inner` is an initialised `struct completion`.
#[pin_data]
#[repr(transparent)]
pub struct Completion {
    #[pin]
    inner: Opaque<rlis_sys::completion>,
}

// SAFETY: A `struct completion` may be used from any thread.
unsafe impl Send for Completion {}

// SAFETY: The functions on a `struct completion` do their own locking.
unsafe impl Sync for Completion {}

// SAFETY: Transparent over the type, of which C code uses an initialised one as below.
unsafe impl View for Completion {
    type Raw = rlis_sys::completion;
}

impl Completion {
    /// Makes a completion that has not happened.
    pub fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            // INVARIANT: Initialised here.
            inner <- Opaque::ffi_init(|slot: *mut rlis_sys::completion| {
                // SAFETY: `slot` is valid for writes.
                unsafe { rlis_sys::init_completion(slot) };
            }),
        })
    }

    /// Wakes up one task that waits, or the next one that will. Any context.
    pub fn complete(&self) {
        // SAFETY: By the type invariant.
        unsafe { rlis_sys::complete(self.inner.get()) };
    }

    /// Wakes up all tasks that wait, and lets all pass from now on, until [`Self::reinit`]. Any context.
    pub fn complete_all(&self) {
        // SAFETY: By the type invariant.
        unsafe { rlis_sys::complete_all(self.inner.get()) };
    }

    /// Makes it not have happened, before it is used again.
    ///
    /// Nobody should be waiting: such a task would go on waiting.
    pub fn reinit(&self) {
        // SAFETY: By the type invariant. It is a store of a word to the counter, which the other functions on a completion
        // expect.
        unsafe { (&raw mut (*self.inner.get()).done).write_volatile(0) };
    }

    /// Waits at most `timeout` milliseconds; signals do not end the wait. Sleeps.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT` if it has not happened by then.
    pub fn wait_timeout(&self, timeout: Msecs) -> Result {
        // SAFETY: By the type invariant.
        let left = unsafe {
            rlis_sys::wait_for_completion_timeout(self.inner.get(), msecs_to_jiffies(timeout))
        };
        if left == 0 {
            Err(ETIMEDOUT)
        } else {
            Ok(())
        }
    }

    /// Whether it has happened and nobody has taken it. Any context.
    pub fn is_done(&self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { rlis_sys::completion_done(self.inner.get()) }
    }

    /// Takes one completion without waiting. Any context.
    pub fn try_wait(&self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { rlis_sys::try_wait_for_completion(self.inner.get()) }
    }
}

#[kunit_tests(rlis_hv_completion)]
mod tests {
    use super::*;

    #[test]
    fn times_out_and_completes() -> Result {
        let done = KBox::pin_init(Completion::new(), GFP_KERNEL)?;
        assert!(done.wait_timeout(20).is_err());
        assert!(!done.is_done());
        done.complete();
        assert!(done.is_done());
        assert!(done.wait_timeout(1000).is_ok());
        assert!(!done.try_wait());
        done.complete_all();
        assert!(done.wait_timeout(1000).is_ok());
        assert!(done.try_wait());
        done.reinit();
        assert!(!done.try_wait());
        Ok(())
    }
}
