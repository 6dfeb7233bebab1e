// SPDX-License-Identifier: GPL-2.0

//! The functions of `struct ethtool_ops` that belong to receive-side scaling: hashed fields, table and key.

use super::{
    settings::TableChange,
    Driver, //
};
use crate::{
    context::Rtnl,
    device::{
        driver,
        driver_and_device, //
    }, //
};
use kernel::{
    error::from_result,
    prelude::*, //
};
use rlis_sys_net::net_device;
#[cfg(RLIS_HAVE_RXFH_PARAM)]
use rlis_sys_net::{
    ethtool_rxfh_param,
    netlink_ext_ack, //
};

/// Bit of the hash function in `hfunc`, `ETH_RSS_HASH_TOP`.
const HASH_TOEPLITZ: u8 = 1;

/// The get_rx_ring_count function of the C API.
///
/// # Safety
///
/// Only for the network stack to call, with what the C API prescribes.
#[cfg(RLIS_HAVE_RX_RING_COUNT)]
pub(super) unsafe extern "C" fn get_rx_ring_count<T: Driver>(dev: *mut net_device) -> u32 {
    // SAFETY: The interface is registered with this driver.
    unsafe { driver_and_device::<T>(dev) }.1.queues().into()
}

/// The get_rxnfc function of the C API.
///
/// # Safety
///
/// As of `get_rx_ring_count`.
#[cfg(not(RLIS_HAVE_RX_RING_COUNT))]
pub(super) unsafe extern "C" fn get_rxnfc<T: Driver>(
    dev: *mut net_device,
    info: *mut rlis_sys_net::ethtool_rxnfc,
    _rules: *mut u32,
) -> c_int {
    // SAFETY: The stack passes a struct with the question in it.
    let info = unsafe { &mut *info };
    info.data = match info.cmd {
        // SAFETY: The interface is registered with this driver.
        rlis_sys_net::ETHTOOL_GRXRINGS => unsafe { driver_and_device::<T>(dev) }.1.queues().into(),
        #[cfg(not(RLIS_HAVE_RXFH_FIELDS))]
        // SAFETY: As above.
        rlis_sys_net::ETHTOOL_GRXFH => unsafe { fields::<T>(dev, info.flow_type) }.into(),
        _ => return EOPNOTSUPP.to_errno(),
    };
    0
}

/// The set_rxnfc function of the C API.
///
/// # Safety
///
/// As of `get_rx_ring_count`.
#[cfg(not(RLIS_HAVE_RXFH_FIELDS))]
pub(super) unsafe extern "C" fn set_rxnfc<T: Driver>(
    dev: *mut net_device,
    info: *mut rlis_sys_net::ethtool_rxnfc,
) -> c_int {
    // SAFETY: The stack passes a struct that was filled in.
    let info = unsafe { &*info };
    if info.cmd != rlis_sys_net::ETHTOOL_SRXFH {
        return EOPNOTSUPP.to_errno();
    }
    // SAFETY: The interface is registered with this driver.
    unsafe { set_fields::<T>(dev, info.flow_type, info.data) }
}

/// The get_rxfh_fields function of the C API.
///
/// # Safety
///
/// As of `get_rx_ring_count`.
#[cfg(RLIS_HAVE_RXFH_FIELDS)]
pub(super) unsafe extern "C" fn get_rxfh_fields<T: Driver>(
    dev: *mut net_device,
    info: *mut rlis_sys_net::ethtool_rxfh_fields,
) -> c_int {
    // SAFETY: The stack passes a struct with the question in it.
    let info = unsafe { &mut *info };
    // SAFETY: The interface is registered with this driver.
    info.data = unsafe { fields::<T>(dev, info.flow_type) };
    0
}

/// The set_rxfh_fields function of the C API.
///
/// # Safety
///
/// As of `get_rx_ring_count`.
#[cfg(RLIS_HAVE_RXFH_FIELDS)]
pub(super) unsafe extern "C" fn set_rxfh_fields<T: Driver>(
    dev: *mut net_device,
    info: *const rlis_sys_net::ethtool_rxfh_fields,
    _extack: *mut netlink_ext_ack,
) -> c_int {
    // SAFETY: The stack passes a struct that was filled in.
    let info = unsafe { &*info };
    // SAFETY: The interface is registered with this driver.
    unsafe { set_fields::<T>(dev, info.flow_type, info.data.into()) }
}

/// Returns which fields are hashed of a flow type.
///
/// # Safety
///
/// `dev` must be registered with this driver.
unsafe fn fields<T: Driver>(dev: *mut net_device, kind: u32) -> u32 {
    // SAFETY: As required of the caller.
    unsafe { driver::<T>(dev) }.hash_ports().fields(kind)
}

/// Has these fields hashed of a flow type.
///
/// # Safety
///
/// `dev` must be registered with this driver.
unsafe fn set_fields<T: Driver>(dev: *mut net_device, kind: u32, fields: u64) -> c_int {
    // SAFETY: As required of the caller.
    let this = unsafe { driver::<T>(dev) };
    from_result(|| {
        let ports = this.hash_ports().with(kind, fields)?;
        this.set_hash_ports(ports).map(|()| 0)
    })
}

/// The get_rxfh_key_size function of the C API.
///
/// # Safety
///
/// As of `get_rx_ring_count`.
pub(super) unsafe extern "C" fn get_rxfh_key_size(_dev: *mut net_device) -> u32 {
    crate::HASH_KEY_SIZE as u32
}

/// The get_rxfh_indir_size function of the C API.
///
/// # Safety
///
/// As of `get_rx_ring_count`.
pub(super) unsafe extern "C" fn get_rxfh_indir_size<T: Driver>(dev: *mut net_device) -> u32 {
    // SAFETY: The interface is registered with this driver.
    unsafe { driver_and_device::<T>(dev) }.0.table_len()
}

/// The get_rxfh function of the C API.
///
/// # Safety
///
/// As of `get_rx_ring_count`.
#[cfg(RLIS_HAVE_RXFH_PARAM)]
pub(super) unsafe extern "C" fn get_rxfh<T: Driver>(
    dev: *mut net_device,
    into: *mut ethtool_rxfh_param,
) -> c_int {
    // SAFETY: The stack passes a struct of its own.
    let into = unsafe { &mut *into };
    into.hfunc = HASH_TOEPLITZ;
    // The struct's own sizes are no guide: when the stack looks for the highest queue in use, it leaves them 0.
    // SAFETY: The stack passes memory for table and key, each of which may be missing, in the sizes that it was told.
    unsafe { tell::<T>(dev, into.indir, into.key) };
    0
}

/// The get_rxfh function of the C API, as older kernels have it.
///
/// # Safety
///
/// As of `get_rx_ring_count`.
#[cfg(not(RLIS_HAVE_RXFH_PARAM))]
pub(super) unsafe extern "C" fn get_rxfh<T: Driver>(
    dev: *mut net_device,
    indir: *mut u32,
    key: *mut u8,
    hfunc: *mut u8,
) -> c_int {
    if !hfunc.is_null() {
        // SAFETY: The stack passes memory of its own, or null.
        unsafe { *hfunc = HASH_TOEPLITZ };
    }
    // SAFETY: The stack passes memory for table and key, each of which may be missing, in the sizes that it was told.
    unsafe { tell::<T>(dev, indir, key) };
    0
}

/// Tells table and key.
///
/// # Safety
///
/// `dev` must be registered with this driver. `table` and `key` must be null, or valid for as much as the driver says of them.
unsafe fn tell<T: Driver>(dev: *mut net_device, table: *mut u32, key: *mut u8) {
    // SAFETY: As required of the caller.
    let (this, _) = unsafe { driver_and_device::<T>(dev) };
    // SAFETY: As required of the caller.
    let table = unsafe { slice_mut(table, this.table_len()) };
    // SAFETY: As required of the caller.
    let key = unsafe { slice_mut(key, crate::HASH_KEY_SIZE as u32) };
    this.table(table, key);
}

/// The set_rxfh function of the C API.
///
/// # Safety
///
/// As of `get_rx_ring_count`.
#[cfg(RLIS_HAVE_RXFH_PARAM)]
pub(super) unsafe extern "C" fn set_rxfh<T: Driver>(
    dev: *mut net_device,
    want: *mut ethtool_rxfh_param,
    _extack: *mut netlink_ext_ack,
) -> c_int {
    // SAFETY: The stack passes a struct with table and key, each of which may be missing.
    let want = unsafe { &*want };
    from_result(|| {
        if want.rss_context != 0
            || want.rss_delete != 0
            || want.input_xfrm > 0 && want.input_xfrm != u8::MAX
        {
            return Err(EOPNOTSUPP);
        }
        // SAFETY: As above.
        let table = unsafe { slice(want.indir, want.indir_size) };
        // SAFETY: As above.
        let key = unsafe { slice(want.key, want.key_size) };
        // SAFETY: The interface is registered with this driver, and the RTNL is held.
        unsafe { change::<T>(dev, table, key, want.hfunc) }
    })
}

/// The set_rxfh function of the C API, as older kernels have it.
///
/// # Safety
///
/// As of `get_rx_ring_count`.
#[cfg(not(RLIS_HAVE_RXFH_PARAM))]
pub(super) unsafe extern "C" fn set_rxfh<T: Driver>(
    dev: *mut net_device,
    indir: *const u32,
    key: *const u8,
    hfunc: u8,
) -> c_int {
    from_result(|| {
        // SAFETY: The interface is registered with this driver.
        let len = unsafe { driver::<T>(dev) }.table_len();
        // SAFETY: The stack passes table and key, each of which may be missing, in the sizes that it was told.
        let table = unsafe { slice(indir, len) };
        // SAFETY: As above.
        let key = unsafe { slice(key, crate::HASH_KEY_SIZE as u32) };
        // SAFETY: The interface is registered with this driver, and the RTNL is held.
        unsafe { change::<T>(dev, table, key, hfunc) }
    })
}

/// Changes what there is of table and key; `hfunc` is the hash function that is wanted, or 0.
///
/// # Safety
///
/// `dev` must be registered with this driver, and the RTNL held.
unsafe fn change<T: Driver>(
    dev: *mut net_device,
    table: Option<&[u32]>,
    key: Option<&[u8]>,
    hfunc: u8,
) -> Result<c_int> {
    // SAFETY: As required of the caller.
    let ((this, dev), rtnl) = unsafe { (driver_and_device::<T>(dev), Rtnl::assume()) };
    if hfunc != 0 && hfunc != HASH_TOEPLITZ {
        return Err(EOPNOTSUPP);
    }
    let change = TableChange {
        table,
        key: match key {
            Some(key) => Some(key.try_into().map_err(|_| EINVAL)?),
            None => None,
        },
    };
    let entries = change.table.unwrap_or_default();
    if entries.iter().any(|entry| *entry >= dev.queues().into()) {
        return Err(EINVAL);
    }
    this.set_table(&dev, &rtnl, &change).map(|()| 0)
}

/// Returns `len` elements, or `None` if there are none.
///
/// # Safety
///
/// `start` must be null, or valid for that many that nobody changes, as long as `'a`.
unsafe fn slice<'a, E>(start: *const E, len: u32) -> Option<&'a [E]> {
    if start.is_null() || len == 0 {
        return None;
    }
    // SAFETY: As required of the caller. 32 bits fit.
    Some(unsafe { core::slice::from_raw_parts(start, len as usize) })
}

/// Returns `len` elements, or `None` if there are none.
///
/// # Safety
///
/// `start` must be null, or valid for that many and nobody else's, as long as `'a`.
unsafe fn slice_mut<'a, E>(start: *mut E, len: u32) -> Option<&'a mut [E]> {
    if start.is_null() || len == 0 {
        return None;
    }
    // SAFETY: As required of the caller. 32 bits fit.
    Some(unsafe { core::slice::from_raw_parts_mut(start, len as usize) })
}
