// SPDX-License-Identifier: GPL-2.0

//! Division by a number that does not change.
//!
//! C header: [`include/linux/reciprocal_div.h`](srctree/include/linux/reciprocal_div.h)

use rlis_sys as bindings;

/// Returns what C code divides by `divisor` with; for 0, by 1.
pub fn reciprocal(divisor: u32) -> bindings::reciprocal_value {
    // SAFETY: No requirements but that it is not 0.
    unsafe { bindings::reciprocal_value(divisor.max(1)) }
}
