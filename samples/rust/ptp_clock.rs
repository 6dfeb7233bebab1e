// SPDX-License-Identifier: GPL-2.0

//! A PTP hardware clock: `/dev/ptpN`, which `phc_ctl` and chrony read.

use kernel::{
    prelude::*,
    sync::Arc, //
};
use rlis_hv::time;
use rlis_ptp::{
    Clock,
    Registration, //
};

// --8<--
/// Shows the system's wall clock.
pub struct WallClock;

impl Clock for WallClock {
    type Module = crate::Samples;
    const NAME: &'static CStr = c"rlis sample";

    fn now(&self) -> Result<u64> {
        Ok(time::real_ns())
    }

    // It does not know what it showed at another time, so there are no timestamps of both clocks at once.
    fn at(&self, _reference: u64) -> Result<u64> {
        Err(EOPNOTSUPP)
    }
}

/// Adds the clock, until the registration is dropped.
pub fn add() -> impl PinInit<Registration<WallClock>, Error> {
    pin_init::pin_init_scope(|| Ok(Registration::new(Arc::new(WallClock, GFP_KERNEL)?)))
}
// -->8--
