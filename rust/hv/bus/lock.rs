// SPDX-License-Identifier: GPL-2.0

//! The lock of moving channels.

use rlis_hv::{
    cpu::CpusStay,
    lock::{
        Mutex,
        MutexGuard, //
    },
    view::view, //
};
use rlis_sys as bindings;

/// Keeps CPUs from going offline, and channels from being moved by anyone else.
///
/// A CPU that goes offline moves its channels, for which it needs no such guard: it waits until there is none.
///
/// # Invariants
///
/// The current task has the kernel's lock of CPUs for reading, and the lock of retargeting.
pub struct Retargeting {
    // Given back in this order.
    _one_at_a_time: MutexGuard<'static>,
    _cpus: CpusStay,
}

impl Retargeting {
    /// Sleeps. Not where CPUs are kept from going offline already.
    pub fn begin() -> Self {
        let cpus = CpusStay::begin();
        // SAFETY: Initialised statically, and lives forever.
        let mutex: &Mutex = unsafe { view(&raw mut bindings::rlis_retarget_mutex) };
        // INVARIANT: Both just taken.
        Self {
            _one_at_a_time: mutex.lock(),
            _cpus: cpus,
        }
    }
}
