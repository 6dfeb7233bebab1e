// SPDX-License-Identifier: GPL-2.0

//! Waiting for what nobody announces.

use rlis_sys as bindings;

/// How often it is looked at, in milliseconds.
const STEP_MS: u32 = 10;

/// Waits until `happened` says so; false if it has not after `ms` milliseconds. Sleeps.
///
/// By the clock: how long a sleep takes depends on the kernel's timer.
pub(crate) fn until(ms: u32, happened: impl Fn() -> bool) -> bool {
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
