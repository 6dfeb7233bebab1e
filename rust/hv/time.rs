// SPDX-License-Identifier: GPL-2.0

//! The wall clock and the host's reference counter.

use kernel::{
    error::to_result,
    prelude::*,
    time::{
        delay::udelay,
        Delta, //
    }, //
};

/// Nanoseconds in a second.
const NSEC_PER_SEC: u64 = 1_000_000_000;

/// Returns the partition's reference time, in units of 100 ns since the virtual machine started (TLFS: Partition
/// Reference Time). It goes on across CPUs and is shared with the host. Any context.
pub fn reference_counter() -> u64 {
    // SAFETY: No requirements; the kernel sets the function up at boot on Hyper-V, and to a counter that stands
    // still elsewhere.
    unsafe { rlis_sys::hv_reference_counter() }
}

/// Returns how long the system has been running, in milliseconds, without the time that it was suspended. Any
/// context.
pub fn uptime_ms() -> u64 {
    // SAFETY: No requirements.
    let ns = unsafe { rlis_sys::ktime_get() };
    u64::try_from(ns / 1_000_000).unwrap_or(0)
}

/// Sleeps for `ms` milliseconds, or a little longer.
pub fn sleep_ms(ms: u32) {
    // SAFETY: No requirements.
    unsafe { rlis_sys::msleep(ms) };
}

/// Waits for `us` microseconds, at most a few thousand, without sleeping. Any context.
pub fn busy_wait_us(us: u32) {
    udelay(Delta::from_micros(us.into()));
}

/// Waits for `ms` milliseconds without sleeping. Any context.
pub fn busy_wait_ms(ms: u32) {
    for _ in 0..ms {
        busy_wait_us(1000);
    }
}

/// Returns the wall clock, in nanoseconds since 1970. Any context.
pub fn real_ns() -> u64 {
    // SAFETY: No requirements.
    u64::try_from(unsafe { rlis_sys::ktime_get_real() }).unwrap_or(0)
}

/// Splits nanoseconds since 1970 into `struct timespec64`.
///
/// # Errors
///
/// `ERANGE` if the fields cannot hold it.
pub fn timespec(ns: u64) -> Result<rlis_sys::timespec64> {
    Ok(rlis_sys::timespec64 {
        tv_sec: (ns / NSEC_PER_SEC).try_into().map_err(|_| ERANGE)?,
        tv_nsec: (ns % NSEC_PER_SEC).try_into().map_err(|_| ERANGE)?,
    })
}

/// Sets the wall clock, in nanoseconds since 1970. May sleep.
///
/// # Errors
///
/// `EINVAL` for a time that the kernel does not take, such as one before the system was started.
pub fn set_real_ns(ns: u64) -> Result {
    let ts = timespec(ns)?;
    // SAFETY: `ts` is valid for reads.
    to_result(unsafe { rlis_sys::do_settimeofday64(&ts) })
}
