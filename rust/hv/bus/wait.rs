// SPDX-License-Identifier: GPL-2.0

//! Waiting: for completions, and for what nobody announces.

use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use rlis_sys as bindings;

/// How often it is looked at, in milliseconds.
const STEP_MS: u32 = 10;

/// Waits until `happened` says so; false if it has not after `ms` milliseconds. Sleeps.
///
/// By the clock: how long a sleep takes depends on the kernel's timer.
pub fn until(ms: u32, happened: impl Fn() -> bool) -> bool {
    // SAFETY: No requirements.
    let now = || unsafe { bindings::ktime_get() };
    let end = now().saturating_add(i64::from(ms) * 1_000_000);
    loop {
        if happened() {
            return true;
        }
        if now() >= end {
            return false;
        }
        // SAFETY: Process context.
        unsafe { bindings::msleep(STEP_MS) };
    }
}

/// Waits a little, 10 to 20 ms. Sleeps.
pub fn pause() {
    // SAFETY: Process context.
    unsafe { bindings::usleep_range(10_000, 20_000) };
}

/// A completion in a C structure.
///
/// # Invariants
///
/// It is initialised and valid for `'a`.
#[derive(Clone, Copy)]
pub struct CompletionRef<'a>(NonNull<bindings::completion>, PhantomData<&'a ()>);

impl CompletionRef<'_> {
    /// # Safety
    ///
    /// `completion` is initialised and valid for the life of the value.
    pub(crate) unsafe fn from_raw(completion: *mut bindings::completion) -> Self {
        // INVARIANT: As the caller promises.
        // SAFETY: A valid pointer is not null.
        Self(unsafe { NonNull::new_unchecked(completion) }, PhantomData)
    }

    /// Lets one that waits go on, or the next that will. Any context.
    pub fn complete(self) {
        // SAFETY: By the invariants.
        unsafe { bindings::complete(self.0.as_ptr()) };
    }

    /// Lets all that wait go on, and those that will. Any context.
    pub fn complete_all(self) {
        // SAFETY: By the invariants.
        unsafe { bindings::complete_all(self.0.as_ptr()) };
    }

    /// Makes it not have happened.
    pub fn reinit(self) {
        // SAFETY: By the invariants.
        unsafe { bindings::reinit_completion(self.0.as_ptr()) };
    }

    /// Whether it has happened and nobody has taken it. Any context.
    pub fn is_done(self) -> bool {
        // SAFETY: By the invariants.
        unsafe { bindings::completion_done(self.0.as_ptr()) }
    }

    /// Waits; false after `ms` milliseconds. Sleeps.
    pub fn wait(self, ms: u32) -> bool {
        // SAFETY: By the invariants; process context.
        unsafe { bindings::wait_for_completion_ms(self.0.as_ptr(), ms) }
    }
}
