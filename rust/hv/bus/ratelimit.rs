// SPDX-License-Identifier: GPL-2.0

//! A limit for log lines that the host can provoke at will.

use rlis_sys as bindings;

/// Calls `log`, unless too many such lines were written in the last seconds. Any context.
pub(crate) fn warn(log: impl FnOnce()) {
    // SAFETY: No requirements.
    if unsafe { bindings::vmbus_ratelimit() } {
        log();
    }
}
