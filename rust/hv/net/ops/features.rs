// SPDX-License-Identifier: GPL-2.0

//! The functions of `struct net_device_ops` that switch features.

use super::{
    Driver,
    Vtable, //
};
use crate::{
    device::driver,
    features::Features, //
};
use kernel::{
    error::from_result,
    prelude::*, //
};
use rlis_sys_net::{
    net_device,
    netdev_features_t, //
};

/// The ndo_fix_features function of the C API.
///
/// # Safety
///
/// Only for the network stack to call, with what the C API prescribes, of an interface that is registered with a `T`.
pub(super) unsafe extern "C" fn fix_features<T: Driver>(
    dev: *mut net_device,
    features: netdev_features_t,
) -> netdev_features_t {
    let known = Features::from_bits(features);
    // SAFETY: The interface is registered with this driver.
    let fixed = unsafe { driver::<T>(dev) }.fix_features(known);
    features & !known.bits() | fixed.bits() & known.bits()
}

/// The ndo_set_features function of the C API.
///
/// # Safety
///
/// As of `fix_features`.
pub(super) unsafe extern "C" fn set_features<T: Driver>(
    dev: *mut net_device,
    features: netdev_features_t,
) -> c_int {
    from_result(|| {
        // SAFETY: The interface is registered with this driver, and the RTNL is held.
        unsafe {
            Vtable::<T>::locked(dev, |this, dev, rtnl| -> Result {
                this.set_features(dev, rtnl, Features::from_bits(features))?;
                if let Some(lower) = dev.lower(rtnl) {
                    lower.want_features(features);
                }
                Ok(())
            })
        }?;
        Ok(0)
    })
}
