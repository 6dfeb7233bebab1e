// SPDX-License-Identifier: GPL-2.0

//! Settings that are read for each packet, and changed now and then: a pointer under RCU.

use kernel::{
    prelude::*,
    sync::{
        rcu,
        Arc, //
    }, //
};
use rlis_hv::RcuArc;

// --8<--
/// What packets are measured by.
pub struct Limits {
    /// Bytes of the longest packet.
    pub longest: u32,
}

/// Lets packets pass. Without limits, all do.
pub struct Filter {
    limits: RcuArc<Limits>,
}

impl Filter {
    /// Returns whether a packet passes. Any context; takes neither a lock nor a reference.
    pub fn passes(&self, len: u32) -> bool {
        let guard = rcu::read_lock();
        // Borrows from the guard, so it cannot be kept for longer.
        self.limits
            .get(&guard)
            .is_none_or(|limits| len <= limits.longest)
    }

    /// Changes the limits. Sleeps until nobody uses the old ones any more, when `Replaced` is dropped.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn change(&self, limits: Limits) -> Result {
        let limits = Arc::new(limits, GFP_KERNEL)?;
        drop(self.limits.replace(Some(limits)));
        Ok(())
    }
}
// -->8--
