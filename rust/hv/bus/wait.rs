// SPDX-License-Identifier: GPL-2.0

//! Waiting for what nobody announces.

use kernel::time::{
    delay::fsleep,
    Delta, //
};
use rlis_hv::time;

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

/// Waits a little, some 10 ms. Sleeps.
pub fn pause() {
    fsleep(Delta::from_millis(10));
}
