// SPDX-License-Identifier: GPL-2.0

//! What `ethtool` shows, `struct ethtool_ops`.
//!
//! C header: [`include/linux/ethtool.h`](srctree/include/linux/ethtool.h)

use crate::{
    device::driver,
    ops::Driver, //
};
use kernel::prelude::*;
use rlis_sys_net::{
    ethtool_link_ksettings,
    ethtool_ops,
    ethtool_stats,
    net_device, //
};

/// What is known of a link.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct LinkSettings {
    /// Megabits in a second; `None` if that is not known.
    pub speed: Option<u32>,
}

/// Bytes of a statistic's name, `ETH_GSTRING_LEN`.
const NAME_LEN: usize = 32;

/// Returns the functions of the C API for a driver.
pub(crate) fn vtable<T: Driver>() -> &'static ethtool_ops {
    &Vtable::<T>::OPS
}

struct Vtable<T>(T);

impl<T: Driver> Vtable<T> {
    const OPS: ethtool_ops = ethtool_ops {
        get_link: Some(rlis_sys_net::ethtool_op_get_link),
        get_ts_info: Some(rlis_sys_net::ethtool_op_get_ts_info),
        get_link_ksettings: Some(Self::get_link_ksettings),
        get_sset_count: Some(Self::get_sset_count),
        get_strings: Some(Self::get_strings),
        get_ethtool_stats: Some(Self::get_ethtool_stats),
        ..pin_init::zeroed()
    };

    /// The get_link_ksettings function of the C API.
    ///
    /// # Safety
    ///
    /// Only for the network stack to call, with what the C API prescribes.
    unsafe extern "C" fn get_link_ksettings(
        dev: *mut net_device,
        into: *mut ethtool_link_ksettings,
    ) -> c_int {
        // SAFETY: The interface is registered with this driver.
        let link = unsafe { driver::<T>(dev) }.link();
        // SAFETY: The stack passes a struct to be filled in, zeroed.
        let base = unsafe { &mut (*into).base };
        // `SPEED_UNKNOWN` is -1.
        base.speed = link.speed.unwrap_or(u32::MAX);
        base.duplex = rlis_sys_net::DUPLEX_FULL as u8;
        base.port = rlis_sys_net::PORT_OTHER as u8;
        0
    }

    /// The get_sset_count function of the C API.
    ///
    /// # Safety
    ///
    /// As of `get_link_ksettings`.
    unsafe extern "C" fn get_sset_count(_dev: *mut net_device, set: c_int) -> c_int {
        if u32::try_from(set) == Ok(rlis_sys_net::ethtool_stringset_ETH_SS_STATS) {
            c_int::try_from(T::STATISTICS.len()).unwrap_or(0)
        } else {
            EOPNOTSUPP.to_errno()
        }
    }

    /// The get_strings function of the C API.
    ///
    /// # Safety
    ///
    /// As of `get_link_ksettings`.
    unsafe extern "C" fn get_strings(_dev: *mut net_device, set: u32, into: *mut u8) {
        if set != rlis_sys_net::ethtool_stringset_ETH_SS_STATS {
            return;
        }
        for (index, name) in T::STATISTICS.iter().enumerate() {
            let len = name.len().min(NAME_LEN - 1);
            // SAFETY: The stack passes memory for as many names as `get_sset_count` told, zeroed.
            unsafe {
                into.add(index * NAME_LEN)
                    .copy_from_nonoverlapping(name.as_ptr(), len)
            };
        }
    }

    /// The get_ethtool_stats function of the C API.
    ///
    /// # Safety
    ///
    /// As of `get_link_ksettings`.
    unsafe extern "C" fn get_ethtool_stats(
        dev: *mut net_device,
        _stats: *mut ethtool_stats,
        into: *mut u64,
    ) {
        // SAFETY: The stack passes memory for as many numbers as `get_sset_count` told, zeroed.
        let into = unsafe { core::slice::from_raw_parts_mut(into, T::STATISTICS.len()) };
        // SAFETY: The interface is registered with this driver.
        unsafe { driver::<T>(dev) }.statistics(into);
    }
}
