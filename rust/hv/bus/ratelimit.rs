// SPDX-License-Identifier: GPL-2.0

//! Limits for log lines that the host can provoke at will.

use kernel::prelude::*;
use rlis_hv::RateLimit;

static WARN: RateLimit = RateLimit::new();
static RARELY: RateLimit = RateLimit::every(60_000);

fn limited(limit: &RateLimit, log: impl FnOnce()) {
    limit.run(|dropped| {
        if dropped > 0 {
            pr_warn!("{} lines were left out, as there were too many\n", dropped);
        }
        log();
    });
}

/// Calls `log`, unless too many such lines were written in the last seconds. Any context.
pub fn warn(log: impl FnOnce()) {
    limited(&WARN, log);
}

/// Calls `log`, unless too many such lines were written in the last minute: for what a host that offers and withdraws
/// devices without end would repeat without end. Any context.
pub fn rarely(log: impl FnOnce()) {
    limited(&RARELY, log);
}
