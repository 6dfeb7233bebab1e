// SPDX-License-Identifier: GPL-2.0

//! A limit for log lines that the host can provoke at will.

use rlis_sys as bindings;

/// Calls `log`, unless too many such lines were written in the last seconds. Any context.
pub fn warn(log: impl FnOnce()) {
    if bindings::vmbus_ratelimit() {
        log();
    }
}

/// Calls `log`, unless too many such lines were written in the last minute: for what a host that offers and withdraws
/// devices without end would repeat without end. Any context.
pub fn rarely(log: impl FnOnce()) {
    if bindings::vmbus_ratelimit_minute() {
        log();
    }
}
