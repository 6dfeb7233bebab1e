// SPDX-License-Identifier: GPL-2.0

//! Waiting for what nobody announces.

use rlis_hv::time;
use rlis_sys as bindings;

/// How often it is looked at, in milliseconds.
const STEP_MS: u32 = 10;

/// Waits until `happened` says so; false if it has not after `ms` milliseconds. Sleeps.
///
/// By the clock: how long a sleep takes depends on the kernel's timer.
pub fn until(ms: u32, happened: impl Fn() -> bool) -> bool {
    let end = time::uptime_ms().saturating_add(u64::from(ms));
    loop {
        if happened() {
            return true;
        }
        if time::uptime_ms() >= end {
            return false;
        }
        time::sleep_ms(STEP_MS);
    }
}

/// Waits a little, 10 to 20 ms. Sleeps.
pub fn pause() {
    bindings::usleep_range(10_000, 20_000);
}
