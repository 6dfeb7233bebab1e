// SPDX-License-Identifier: GPL-2.0

//! Log lines that somebody else can provoke, such as the host: so many in a while, and no more.

use kernel::sync::atomic::{
    Atomic,
    Full,
    Relaxed, //
};

/// Length of a period, in milliseconds; as the kernel's own `printk_ratelimited`.
const PERIOD_MS: u64 = 5000;

/// Lines in a period.
const BURST: u32 = 10;

/// Allows ten lines in five seconds, or in another period.
///
/// Without locks, so fit for any context. With several CPUs at once, a few lines more may get through.
///
/// # Examples
///
/// ```ignore
/// static LIMIT: RateLimit = RateLimit::new();
///
/// LIMIT.run(|dropped| dev_warn!(dev, "malformed packet ({dropped} like this not shown)\n"));
/// ```
pub struct RateLimit {
    /// When the period began, in milliseconds since boot; 0 before the first line.
    began: Atomic<u64>,
    /// Lines since then.
    lines: Atomic<u32>,
    period_ms: u64,
}

impl RateLimit {
    /// Makes a limit that has allowed nothing yet.
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Self::every(PERIOD_MS)
    }

    /// Makes a limit that allows as many lines in a period of so many milliseconds.
    pub const fn every(period_ms: u64) -> Self {
        Self {
            began: Atomic::new(0),
            lines: Atomic::new(0),
            period_ms,
        }
    }

    /// Calls `print` unless there were too many lines. It gets the number of lines that were held back in the last
    /// period, not 0 only in the first line of a period.
    pub fn run(&self, print: impl FnOnce(u32)) {
        if let Some(dropped) = self.pass(crate::time::uptime_ms().max(1)) {
            print(dropped);
        }
    }

    /// Decides on a line at a time in milliseconds.
    fn pass(&self, now: u64) -> Option<u32> {
        let began = self.began.load(Relaxed);
        if (began == 0 || now.wrapping_sub(began) >= self.period_ms)
            && self.began.cmpxchg(began, now, Full).is_ok()
        {
            let lines = self.lines.xchg(1, Full);
            return Some(lines.saturating_sub(BURST));
        }
        (self.lines.fetch_add(1u32, Relaxed) < BURST).then_some(0)
    }
}

#[kernel::prelude::kunit_tests(rlis_hv_ratelimit)]
mod tests {
    use super::*;

    #[test]
    fn allows_ten_and_counts_the_rest() {
        let limit = RateLimit::new();
        for _ in 0..10 {
            assert_eq!(limit.pass(100), Some(0));
        }
        for _ in 0..7 {
            assert_eq!(limit.pass(101), None);
        }
        assert_eq!(limit.pass(100 + PERIOD_MS), Some(7));
        assert_eq!(limit.pass(101 + PERIOD_MS), Some(0));
    }
}
