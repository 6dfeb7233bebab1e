// SPDX-License-Identifier: GPL-2.0

//! Interrupt controls for the portable tree: the token that interrupts are off, without the counted disabling
//! of newer kernels.

use crate::types::NotThreadSafe;

/// Witness that interrupts are off on this CPU while it is borrowed.
pub struct LocalInterruptDisabled(NotThreadSafe);

impl LocalInterruptDisabled {
    /// Makes the witness in a context that has interrupts off by itself, as an interrupt handler.
    ///
    /// # Safety
    ///
    /// Interrupts are off, and stay so for `'a`.
    #[inline]
    pub unsafe fn assume_disabled<'a>() -> &'a Self {
        const WITNESS: &LocalInterruptDisabled = &LocalInterruptDisabled(NotThreadSafe);

        // SAFETY: Only checks, and only with lockdep.
        unsafe { bindings::lockdep_assert_irqs_disabled() };
        WITNESS
    }
}
