// SPDX-License-Identifier: GPL-2.0

//! WARN for the portable tree.
//!
//! The kernel crate emits the bug table's entry itself, from an assembler template that only kernels since 6.13
//! have. Here a C helper warns: the reported line is the helper's, the backtrace names the caller.

/// Warns with a backtrace if the condition holds, and returns the condition.
#[macro_export]
macro_rules! warn_on {
    ($cond:expr) => {{
        let cond: bool = $cond;
        if cond {
            // SAFETY: WARN_ON() may be called in any context.
            unsafe { $crate::bindings::WARN_ON(true) };
        }
        cond
    }};
}
