// SPDX-License-Identifier: GPL-2.0

//! What `ethtool` shows, `struct ethtool_ops`.
//!
//! C header: [`include/linux/ethtool.h`](srctree/include/linux/ethtool.h)

use crate::{
    context::Rtnl,
    device::{
        driver,
        NetDevice, //
    },
    ops::{
        settings::{
            LinkSettings,
            QueueStatistics,
            TableChange, //
        },
        Driver,
        HashPorts, //
    }, //
};
use core::{
    fmt::Write,
    mem::ManuallyDrop,
    ptr::NonNull, //
};
use kernel::{
    error::{
        from_result,
        to_result, //
    },
    prelude::*, //
};
use rlis_sys_net::{
    ethtool_channels,
    ethtool_drvinfo,
    ethtool_link_ksettings,
    ethtool_ops,
    ethtool_regs,
    ethtool_ringparam,
    ethtool_rxfh_param,
    ethtool_stats,
    kernel_ethtool_ringparam,
    net_device,
    netlink_ext_ack, //
};

/// Bytes of a statistic's name, `ETH_GSTRING_LEN`.
const NAME_LEN: usize = 32;

/// Returns the functions of the C API for a driver.
pub(crate) fn vtable<T: Driver>() -> &'static ethtool_ops {
    &Vtable::<T>::OPS
}

struct Vtable<T>(T);

impl<T: Driver> Vtable<T> {
    const OPS: ethtool_ops = ethtool_ops {
        get_drvinfo: Some(Self::get_drvinfo),
        get_regs_len: Some(Self::get_regs_len),
        get_regs: Some(Self::get_regs),
        get_msglevel: Some(Self::get_msglevel),
        set_msglevel: Some(Self::set_msglevel),
        get_link: Some(rlis_sys_net::ethtool_op_get_link),
        get_ts_info: Some(rlis_sys_net::ethtool_op_get_ts_info),
        get_link_ksettings: Some(Self::get_link_ksettings),
        set_link_ksettings: Some(Self::set_link_ksettings),
        get_sset_count: Some(Self::get_sset_count),
        get_strings: Some(Self::get_strings),
        get_ethtool_stats: Some(Self::get_ethtool_stats),
        get_channels: Some(Self::get_channels),
        set_channels: Some(Self::set_channels),
        get_ringparam: Some(Self::get_ringparam),
        set_ringparam: Some(Self::set_ringparam),
        #[cfg(RLIS_HAVE_RX_RING_COUNT)]
        get_rx_ring_count: Some(Self::get_rx_ring_count),
        #[cfg(RLIS_HAVE_RXFH_FIELDS)]
        get_rxfh_fields: Some(Self::get_rxfh_fields),
        #[cfg(RLIS_HAVE_RXFH_FIELDS)]
        set_rxfh_fields: Some(Self::set_rxfh_fields),
        #[cfg(not(RLIS_HAVE_RX_RING_COUNT))]
        get_rxnfc: Some(Self::get_rxnfc),
        #[cfg(not(RLIS_HAVE_RXFH_FIELDS))]
        set_rxnfc: Some(Self::set_rxnfc),
        get_rxfh_key_size: Some(Self::get_rxfh_key_size),
        get_rxfh_indir_size: Some(Self::get_rxfh_indir_size),
        get_rxfh: Some(Self::get_rxfh),
        set_rxfh: Some(Self::set_rxfh),
        ..pin_init::zeroed()
    };

    /// Returns driver and interface.
    ///
    /// # Safety
    ///
    /// `dev` must be registered with this driver.
    unsafe fn of<'a>(dev: *mut net_device) -> (&'a T, ManuallyDrop<NetDevice>) {
        // SAFETY: As required of the caller; the stack never passes a null pointer.
        unsafe {
            (
                driver::<T>(dev),
                NetDevice::borrowed(NonNull::new_unchecked(dev)),
            )
        }
    }

    /// The get_drvinfo function of the C API.
    ///
    /// # Safety
    ///
    /// As of `get_link_ksettings`.
    unsafe extern "C" fn get_drvinfo(_dev: *mut net_device, info: *mut ethtool_drvinfo) {
        // SAFETY: The stack passes a struct in which it has filled in the rest.
        let version = unsafe { &mut (*info).fw_version };
        // There is no firmware.
        for (to, from) in version.iter_mut().zip(*b"N/A\0") {
            *to = from;
        }
    }

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
        base.duplex = link.duplex as u8;
        base.port = rlis_sys_net::PORT_OTHER as u8;
        0
    }

    /// The set_link_ksettings function of the C API.
    ///
    /// # Safety
    ///
    /// As of `get_link_ksettings`.
    unsafe extern "C" fn set_link_ksettings(
        dev: *mut net_device,
        want: *const ethtool_link_ksettings,
    ) -> c_int {
        let (mut speed, mut duplex) = (0, 0);
        from_result(|| {
            // SAFETY: The stack passes an interface and a struct that was filled in; the function refuses what is no speed, or
            // something else than speed and duplex.
            to_result(unsafe {
                rlis_sys_net::ethtool_virtdev_set_link_ksettings(dev, want, &mut speed, &mut duplex)
            })?;
            let link = LinkSettings {
                speed: Some(speed).filter(|speed| *speed != u32::MAX),
                duplex: duplex.into(),
            };
            // SAFETY: The interface is registered with this driver.
            unsafe { driver::<T>(dev) }.set_link(link).map(|()| 0)
        })
    }

    /// The get_regs_len function of the C API.
    ///
    /// # Safety
    ///
    /// As of `get_link_ksettings`.
    unsafe extern "C" fn get_regs_len(_dev: *mut net_device) -> c_int {
        c_int::from(T::REGISTERS.words) * 4
    }

    /// The get_regs function of the C API.
    ///
    /// # Safety
    ///
    /// As of `get_link_ksettings`.
    unsafe extern "C" fn get_regs(
        dev: *mut net_device,
        regs: *mut ethtool_regs,
        into: *mut c_void,
    ) {
        // SAFETY: The stack passes a struct to be filled in, and as many bytes, zeroed and aligned to a page, as `get_regs_len`
        // told.
        let into = unsafe {
            (*regs).version = T::REGISTERS.version;
            slice_mut(into.cast::<u32>(), T::REGISTERS.words.into())
        };
        if let Some(into) = into {
            // SAFETY: The interface is registered with this driver.
            unsafe { driver::<T>(dev) }.registers(into);
        }
    }

    /// The get_msglevel function of the C API.
    ///
    /// # Safety
    ///
    /// As of `get_link_ksettings`.
    unsafe extern "C" fn get_msglevel(dev: *mut net_device) -> u32 {
        // SAFETY: The interface is registered with this driver.
        unsafe { driver::<T>(dev) }.message_level()
    }

    /// The set_msglevel function of the C API.
    ///
    /// # Safety
    ///
    /// As of `get_link_ksettings`.
    unsafe extern "C" fn set_msglevel(dev: *mut net_device, level: u32) {
        // SAFETY: The interface is registered with this driver.
        unsafe { driver::<T>(dev) }.set_message_level(level);
    }

    /// Returns how many statistics there are.
    fn count(dev: &NetDevice) -> usize {
        T::STATISTICS.len() + T::QUEUE_STATISTICS.len() * usize::from(dev.queues())
    }

    /// The get_sset_count function of the C API.
    ///
    /// # Safety
    ///
    /// As of `get_link_ksettings`.
    unsafe extern "C" fn get_sset_count(dev: *mut net_device, set: c_int) -> c_int {
        // SAFETY: The interface is registered with this driver.
        let (_, dev) = unsafe { Self::of(dev) };
        if u32::try_from(set) == Ok(rlis_sys_net::ethtool_stringset_ETH_SS_STATS) {
            c_int::try_from(Self::count(&dev)).unwrap_or(0)
        } else {
            EOPNOTSUPP.to_errno()
        }
    }

    /// The get_strings function of the C API.
    ///
    /// # Safety
    ///
    /// As of `get_link_ksettings`.
    unsafe extern "C" fn get_strings(dev: *mut net_device, set: u32, into: *mut u8) {
        if set != rlis_sys_net::ethtool_stringset_ETH_SS_STATS {
            return;
        }
        // SAFETY: The interface is registered with this driver.
        let (_, dev) = unsafe { Self::of(dev) };
        // SAFETY: The stack passes memory for as many names as `get_sset_count` told with the RTNL held, as it still is.
        let into = unsafe { core::slice::from_raw_parts_mut(into, Self::count(&dev) * NAME_LEN) };
        let mut places = into.chunks_exact_mut(NAME_LEN);
        let mut put = |prefix: &str, number: Option<u16>, suffix: &str| {
            if let Some(place) = places.next() {
                place.fill(0);
                let mut name = Name { place, at: 0 };
                // What has no room is cut off.
                let _ = name.write_str(prefix);
                if let Some(number) = number {
                    let _ = write!(name, "{number}");
                }
                let _ = name.write_str(suffix);
            }
        };
        for name in T::STATISTICS {
            put(name, None, "");
        }
        for queue in 0..dev.queues() {
            for QueueStatistics(prefix, suffix) in T::QUEUE_STATISTICS {
                put(prefix, Some(queue), suffix);
            }
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
        // SAFETY: The interface is registered with this driver.
        let (this, dev) = unsafe { Self::of(dev) };
        // SAFETY: The stack passes memory for as many numbers as `get_sset_count` told with the RTNL held, as it still is.
        let into = unsafe { core::slice::from_raw_parts_mut(into, Self::count(&dev)) };
        let (own, queues) = into.split_at_mut(T::STATISTICS.len());
        this.statistics(own);
        if !T::QUEUE_STATISTICS.is_empty() {
            for (queue, into) in (0..).zip(queues.chunks_exact_mut(T::QUEUE_STATISTICS.len())) {
                this.queue_statistics(queue, into);
            }
        }
    }

    /// The get_channels function of the C API.
    ///
    /// # Safety
    ///
    /// As of `get_link_ksettings`.
    unsafe extern "C" fn get_channels(dev: *mut net_device, into: *mut ethtool_channels) {
        // SAFETY: The interface is registered with this driver.
        let (this, dev) = unsafe { Self::of(dev) };
        // SAFETY: The stack passes a struct to be filled in, zeroed.
        let into = unsafe { &mut *into };
        into.max_combined = this.max_channels().into();
        into.combined_count = dev.queues().into();
    }

    /// The set_channels function of the C API.
    ///
    /// # Safety
    ///
    /// As of `get_link_ksettings`.
    unsafe extern "C" fn set_channels(dev: *mut net_device, want: *mut ethtool_channels) -> c_int {
        // SAFETY: The interface is registered with this driver, and the RTNL is held.
        let ((this, dev), rtnl) = unsafe { (Self::of(dev), Rtnl::assume()) };
        // SAFETY: The stack passes a struct that was filled in.
        let want = unsafe { &*want };
        from_result(|| {
            if want.rx_count != 0 || want.tx_count != 0 || want.other_count != 0 {
                return Err(EINVAL);
            }
            let count = u16::try_from(want.combined_count).map_err(|_| EINVAL)?;
            if count == 0 || count > this.max_channels() {
                return Err(EINVAL);
            }
            this.set_channels(&dev, &rtnl, count).map(|()| 0)
        })
    }

    /// The get_ringparam function of the C API.
    ///
    /// # Safety
    ///
    /// As of `get_link_ksettings`.
    unsafe extern "C" fn get_ringparam(
        dev: *mut net_device,
        into: *mut ethtool_ringparam,
        _kernel: *mut kernel_ethtool_ringparam,
        _extack: *mut netlink_ext_ack,
    ) {
        // SAFETY: The interface is registered with this driver.
        let (this, _) = unsafe { Self::of(dev) };
        // SAFETY: The stack passes a struct to be filled in, zeroed.
        let into = unsafe { &mut *into };
        if let Some(rings) = this.rings() {
            into.rx_pending = rings.rx;
            into.tx_pending = rings.tx;
            into.rx_max_pending = rings.max_rx;
            into.tx_max_pending = rings.max_tx;
        }
    }

    /// The set_ringparam function of the C API.
    ///
    /// # Safety
    ///
    /// As of `get_link_ksettings`.
    unsafe extern "C" fn set_ringparam(
        dev: *mut net_device,
        want: *mut ethtool_ringparam,
        _kernel: *mut kernel_ethtool_ringparam,
        _extack: *mut netlink_ext_ack,
    ) -> c_int {
        // SAFETY: The interface is registered with this driver, and the RTNL is held.
        let ((this, dev), rtnl) = unsafe { (Self::of(dev), Rtnl::assume()) };
        // SAFETY: The stack passes a struct that was filled in.
        let (rx, tx) = unsafe { ((*want).rx_pending, (*want).tx_pending) };
        from_result(|| this.set_rings(&dev, &rtnl, rx, tx).map(|()| 0))
    }

    /// The get_rx_ring_count function of the C API.
    ///
    /// # Safety
    ///
    /// As of `get_link_ksettings`.
    #[cfg(RLIS_HAVE_RX_RING_COUNT)]
    unsafe extern "C" fn get_rx_ring_count(dev: *mut net_device) -> u32 {
        // SAFETY: The interface is registered with this driver.
        unsafe { Self::of(dev) }.1.queues().into()
    }

    /// The get_rxnfc function of the C API.
    ///
    /// # Safety
    ///
    /// As of `get_link_ksettings`.
    #[cfg(not(RLIS_HAVE_RX_RING_COUNT))]
    unsafe extern "C" fn get_rxnfc(
        dev: *mut net_device,
        info: *mut rlis_sys_net::ethtool_rxnfc,
        _rules: *mut u32,
    ) -> c_int {
        // SAFETY: The stack passes a struct with the question in it.
        let info = unsafe { &mut *info };
        info.data = match info.cmd {
            // SAFETY: The interface is registered with this driver.
            rlis_sys_net::ETHTOOL_GRXRINGS => unsafe { Self::of(dev) }.1.queues().into(),
            #[cfg(not(RLIS_HAVE_RXFH_FIELDS))]
            rlis_sys_net::ETHTOOL_GRXFH => {
                // SAFETY: As above.
                let ports: HashPorts = unsafe { driver::<T>(dev) }.hash_ports();
                ports.fields(info.flow_type).into()
            }
            _ => return EOPNOTSUPP.to_errno(),
        };
        0
    }

    /// The set_rxnfc function of the C API.
    ///
    /// # Safety
    ///
    /// As of `get_link_ksettings`.
    #[cfg(not(RLIS_HAVE_RXFH_FIELDS))]
    unsafe extern "C" fn set_rxnfc(
        dev: *mut net_device,
        info: *mut rlis_sys_net::ethtool_rxnfc,
    ) -> c_int {
        // SAFETY: The stack passes a struct that was filled in.
        let info = unsafe { &*info };
        if info.cmd != rlis_sys_net::ETHTOOL_SRXFH {
            return EOPNOTSUPP.to_errno();
        }
        // SAFETY: The interface is registered with this driver.
        unsafe { Self::set_fields(dev, info.flow_type, info.data) }
    }

    /// The get_rxfh_fields function of the C API.
    ///
    /// # Safety
    ///
    /// As of `get_link_ksettings`.
    #[cfg(RLIS_HAVE_RXFH_FIELDS)]
    unsafe extern "C" fn get_rxfh_fields(
        dev: *mut net_device,
        info: *mut rlis_sys_net::ethtool_rxfh_fields,
    ) -> c_int {
        // SAFETY: The stack passes a struct with the question in it.
        let info = unsafe { &mut *info };
        // SAFETY: The interface is registered with this driver.
        let ports: HashPorts = unsafe { driver::<T>(dev) }.hash_ports();
        info.data = ports.fields(info.flow_type);
        0
    }

    /// The set_rxfh_fields function of the C API.
    ///
    /// # Safety
    ///
    /// As of `get_link_ksettings`.
    #[cfg(RLIS_HAVE_RXFH_FIELDS)]
    unsafe extern "C" fn set_rxfh_fields(
        dev: *mut net_device,
        info: *const rlis_sys_net::ethtool_rxfh_fields,
        _extack: *mut netlink_ext_ack,
    ) -> c_int {
        // SAFETY: The stack passes a struct that was filled in.
        let info = unsafe { &*info };
        // SAFETY: The interface is registered with this driver.
        unsafe { Self::set_fields(dev, info.flow_type, info.data.into()) }
    }

    /// Has these fields hashed of a flow type.
    ///
    /// # Safety
    ///
    /// `dev` must be registered with this driver.
    unsafe fn set_fields(dev: *mut net_device, kind: u32, fields: u64) -> c_int {
        // SAFETY: As required of the caller.
        let this = unsafe { driver::<T>(dev) };
        from_result(|| {
            let ports: HashPorts = this.hash_ports().with(kind, fields)?;
            this.set_hash_ports(ports).map(|()| 0)
        })
    }

    /// The get_rxfh_key_size function of the C API.
    ///
    /// # Safety
    ///
    /// As of `get_link_ksettings`.
    unsafe extern "C" fn get_rxfh_key_size(_dev: *mut net_device) -> u32 {
        crate::HASH_KEY_SIZE as u32
    }

    /// The get_rxfh_indir_size function of the C API.
    ///
    /// # Safety
    ///
    /// As of `get_link_ksettings`.
    unsafe extern "C" fn get_rxfh_indir_size(dev: *mut net_device) -> u32 {
        // SAFETY: The interface is registered with this driver.
        unsafe { Self::of(dev) }.0.table_len()
    }

    /// The get_rxfh function of the C API.
    ///
    /// # Safety
    ///
    /// As of `get_link_ksettings`.
    unsafe extern "C" fn get_rxfh(dev: *mut net_device, into: *mut ethtool_rxfh_param) -> c_int {
        // SAFETY: The interface is registered with this driver.
        let (this, _) = unsafe { Self::of(dev) };
        // SAFETY: The stack passes a struct of its own.
        let into = unsafe { &mut *into };
        into.hfunc = HASH_TOEPLITZ;
        // The struct's own sizes are no guide: when the stack looks for the highest queue in use, it leaves them 0.
        // SAFETY: The stack passes memory for table and key, each of which may be missing, in the sizes that it was told.
        let table = unsafe { slice_mut(into.indir, this.table_len()) };
        // SAFETY: As above.
        let key = unsafe { slice_mut(into.key, crate::HASH_KEY_SIZE as u32) };
        this.table(table, key);
        0
    }

    /// The set_rxfh function of the C API.
    ///
    /// # Safety
    ///
    /// As of `get_link_ksettings`.
    unsafe extern "C" fn set_rxfh(
        dev: *mut net_device,
        want: *mut ethtool_rxfh_param,
        _extack: *mut netlink_ext_ack,
    ) -> c_int {
        // SAFETY: The interface is registered with this driver, and the RTNL is held.
        let ((this, dev), rtnl) = unsafe { (Self::of(dev), Rtnl::assume()) };
        // SAFETY: The stack passes a struct with table and key, each of which may be missing.
        let want = unsafe { &*want };
        from_result(|| {
            if want.rss_context != 0
                || want.rss_delete != 0
                || want.input_xfrm > 0 && want.input_xfrm != u8::MAX
            {
                return Err(EOPNOTSUPP);
            }
            if want.hfunc != 0 && want.hfunc != HASH_TOEPLITZ {
                return Err(EOPNOTSUPP);
            }
            // SAFETY: As above.
            let table = unsafe { slice_mut(want.indir, want.indir_size) };
            // SAFETY: As above.
            let key = unsafe { slice_mut(want.key, want.key_size) };
            let change = TableChange {
                table: table.as_deref(),
                key: match &key {
                    Some(key) => Some((&**key).try_into().map_err(|_| EINVAL)?),
                    None => None,
                },
            };
            let entries = change.table.unwrap_or_default();
            if entries.iter().any(|entry| *entry >= dev.queues().into()) {
                return Err(EINVAL);
            }
            this.set_table(&dev, &rtnl, &change).map(|()| 0)
        })
    }
}

/// Bit of the hash function in `hfunc`, `ETH_RSS_HASH_TOP`.
const HASH_TOEPLITZ: u8 = 1;

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

/// The place of a name, of which the last byte stays 0.
struct Name<'a> {
    place: &'a mut [u8],
    at: usize,
}

impl Write for Name<'_> {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let last = self.place.len().saturating_sub(1);
        let room = self.place.get_mut(self.at..last).unwrap_or_default();
        for (to, from) in room.iter_mut().zip(text.bytes()) {
            *to = from;
            self.at += 1;
        }
        Ok(())
    }
}
