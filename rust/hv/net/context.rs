// SPDX-License-Identifier: GPL-2.0

//! The RTNL, the mutex of all configuration of the network.

use core::marker::PhantomData;
use kernel::types::NotThreadSafe;

/// Proof that the RTNL is held by this task, which may therefore sleep, but should not for long: everybody else who
/// configures a network interface, or only looks at one, waits meanwhile.
pub struct Rtnl<'a>(PhantomData<&'a ()>, NotThreadSafe);

impl Rtnl<'_> {
    /// Makes the proof.
    ///
    /// # Safety
    ///
    /// The caller must hold the RTNL for as long as the value lives.
    pub(crate) unsafe fn assume() -> Self {
        Self(PhantomData, NotThreadSafe)
    }

    /// Calls `f` with the RTNL held. Sleeps until it is free, so whoever holds it must not wait for the caller.
    pub fn with<R>(f: impl FnOnce(&Rtnl<'_>) -> R) -> R {
        // SAFETY: No requirements beyond the context, in which sleeping is the caller's promise to everybody.
        unsafe { rlis_sys_net::rtnl_lock() };
        // SAFETY: It was just taken, and is given back below.
        let rtnl = unsafe { Rtnl::assume() };
        let result = f(&rtnl);
        // SAFETY: Taken above, by this task: the proof cannot leave it.
        unsafe { rlis_sys_net::rtnl_unlock() };
        result
    }
}
