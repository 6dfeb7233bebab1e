// SPDX-License-Identifier: GPL-2.0

//! Timers that lie in C structures.

use crate::view::View;
use kernel::{
    time::msecs_to_jiffies,
    types::Opaque, //
};
use rlis_sys as bindings;

/// A C timer.
///
/// # Invariants
///
/// It is initialised, and its function may be called as long as it is valid.
#[repr(transparent)]
pub struct Timer(Opaque<bindings::timer_list>);

// SAFETY: The functions of a timer may be called on any thread.
unsafe impl Sync for Timer {}

// SAFETY: Transparent over the type, of which C code uses an initialised one as below.
unsafe impl View for Timer {
    type Raw = bindings::timer_list;
}

impl Timer {
    /// Has it expire in `ms` milliseconds; a time set before is forgotten. Any context.
    pub fn set(&self, ms: u32) {
        // SAFETY: By the invariants. Whoever frees a structure with a timer ends that first.
        unsafe {
            let now = (&raw const bindings::jiffies).read_volatile();
            bindings::mod_timer(self.0.get(), now.wrapping_add(msecs_to_jiffies(ms)));
        }
    }

    /// Forgets the time that was set, and waits until its function does not run. Sleeps.
    pub fn end(&self) {
        // SAFETY: By the invariants.
        unsafe { bindings::timer_delete_sync(self.0.get()) };
    }
}
