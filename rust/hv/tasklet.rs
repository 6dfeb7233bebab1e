// SPDX-License-Identifier: GPL-2.0

//! Tasklets that lie in C structures.

use crate::view::View;
use core::marker::PhantomData;
use kernel::types::Opaque;
use rlis_sys as bindings;

/// A C tasklet.
///
/// # Invariants
///
/// It is initialised, and its function may be called as long as it is valid.
#[repr(transparent)]
pub struct Tasklet(Opaque<bindings::tasklet_struct>);

// SAFETY: The functions of a tasklet may be called on any thread.
unsafe impl Sync for Tasklet {}

// SAFETY: Transparent over the type, of which C code uses an initialised one as below.
unsafe impl View for Tasklet {
    type Raw = bindings::tasklet_struct;
}

impl Tasklet {
    /// Has it run on this CPU, once. Any context.
    #[inline]
    pub fn schedule(&self) {
        // SAFETY: By the invariants. Whoever frees a structure with a tasklet kills that first.
        unsafe { bindings::tasklet_schedule(self.0.get()) };
    }

    /// Waits until it does not run, and keeps it from running as long as what is returned. Sleeps.
    pub fn disable(&self) -> Disabled<'_> {
        // SAFETY: By the invariants; drop undoes it.
        unsafe { bindings::tasklet_disable(self.0.get()) };
        Disabled(self, PhantomData)
    }

    /// Waits until it does not run, if nobody schedules it any more. Sleeps.
    pub fn kill(&self) {
        // SAFETY: By the invariants.
        unsafe { bindings::tasklet_kill(self.0.get()) };
    }
}

/// A tasklet that does not run.
///
/// # Invariants
///
/// It is disabled once for this value.
pub struct Disabled<'a>(&'a Tasklet, PhantomData<*mut ()>);

impl Drop for Disabled<'_> {
    fn drop(&mut self) {
        // SAFETY: By the invariants.
        unsafe { bindings::tasklet_enable(self.0 .0.get()) };
    }
}
