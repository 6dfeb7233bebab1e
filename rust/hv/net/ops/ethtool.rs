// SPDX-License-Identifier: GPL-2.0

//! What `ethtool` shows, `struct ethtool_ops`.
//!
//! C header: [`include/linux/ethtool.h`](srctree/include/linux/ethtool.h)

use crate::{
    context::Rtnl,
    device::{
        driver,
        driver_and_device,
        NetDevice, //
    },
    ops::{
        rss,
        settings::{
            LinkSettings,
            QueueStatistics, //
        },
        Driver, //
    }, //
};
use core::fmt::Write;
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
        get_rx_ring_count: Some(rss::get_rx_ring_count::<T>),
        #[cfg(RLIS_HAVE_RXFH_FIELDS)]
        get_rxfh_fields: Some(rss::get_rxfh_fields::<T>),
        #[cfg(RLIS_HAVE_RXFH_FIELDS)]
        set_rxfh_fields: Some(rss::set_rxfh_fields::<T>),
        #[cfg(not(RLIS_HAVE_RX_RING_COUNT))]
        get_rxnfc: Some(rss::get_rxnfc::<T>),
        #[cfg(not(RLIS_HAVE_RXFH_FIELDS))]
        set_rxnfc: Some(rss::set_rxnfc::<T>),
        get_rxfh_key_size: Some(rss::get_rxfh_key_size),
        get_rxfh_indir_size: Some(rss::get_rxfh_indir_size::<T>),
        get_rxfh: Some(rss::get_rxfh::<T>),
        set_rxfh: Some(rss::set_rxfh::<T>),
        ..pin_init::zeroed()
    };

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
        // SAFETY: The stack passes a struct to be filled in.
        unsafe { (*regs).version = T::REGISTERS.version };
        let words = usize::from(T::REGISTERS.words);
        if words == 0 {
            // There is no memory then.
            return;
        }
        // SAFETY: The stack passes as many bytes, zeroed and aligned to a page, as `get_regs_len` told.
        let into = unsafe { core::slice::from_raw_parts_mut(into.cast::<u32>(), words) };
        // SAFETY: The interface is registered with this driver.
        unsafe { driver::<T>(dev) }.registers(into);
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

    /// Returns how many statistics there are. It stays the same while the RTNL is held.
    fn count(dev: &NetDevice) -> usize {
        T::STATISTICS.len()
            + T::QUEUE_STATISTICS.len() * usize::from(dev.queues())
            + T::CPU_STATISTICS.len() * dev.private().cpu_count()
    }

    /// The get_sset_count function of the C API.
    ///
    /// # Safety
    ///
    /// As of `get_link_ksettings`.
    unsafe extern "C" fn get_sset_count(dev: *mut net_device, set: c_int) -> c_int {
        // SAFETY: The interface is registered with this driver.
        let (_, dev) = unsafe { driver_and_device::<T>(dev) };
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
        let (_, dev) = unsafe { driver_and_device::<T>(dev) };
        // SAFETY: The stack passes memory for as many names as `get_sset_count` told with the RTNL held, as it still is.
        let into = unsafe { core::slice::from_raw_parts_mut(into, Self::count(&dev) * NAME_LEN) };
        let mut places = into.chunks_exact_mut(NAME_LEN);
        let mut put = |prefix: &str, number: Option<u32>, suffix: &str| {
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
                put(prefix, Some(queue.into()), suffix);
            }
        }
        for cpu in dev.private().cpus() {
            for QueueStatistics(prefix, suffix) in T::CPU_STATISTICS {
                put(prefix, Some(cpu), suffix);
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
        let (this, dev) = unsafe { driver_and_device::<T>(dev) };
        // SAFETY: The stack passes memory for as many numbers as `get_sset_count` told with the RTNL held, as it still is.
        let into = unsafe { core::slice::from_raw_parts_mut(into, Self::count(&dev)) };
        let (own, rest) = into.split_at_mut(T::STATISTICS.len());
        let of_queues = T::QUEUE_STATISTICS.len() * usize::from(dev.queues());
        let (queues, cpus) = rest.split_at_mut(of_queues);
        this.statistics(own);
        if !T::QUEUE_STATISTICS.is_empty() {
            for (queue, into) in (0..).zip(queues.chunks_exact_mut(T::QUEUE_STATISTICS.len())) {
                this.queue_statistics(queue, into);
            }
        }
        if !T::CPU_STATISTICS.is_empty() {
            let places = cpus.chunks_exact_mut(T::CPU_STATISTICS.len());
            for (cpu, into) in dev.private().cpus().zip(places) {
                this.cpu_statistics(cpu, into);
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
        let (this, dev) = unsafe { driver_and_device::<T>(dev) };
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
        let ((this, dev), rtnl) = unsafe { (driver_and_device::<T>(dev), Rtnl::assume()) };
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
        let (this, _) = unsafe { driver_and_device::<T>(dev) };
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
        let ((this, dev), rtnl) = unsafe { (driver_and_device::<T>(dev), Rtnl::assume()) };
        // SAFETY: The stack passes a struct that was filled in.
        let (rx, tx) = unsafe { ((*want).rx_pending, (*want).tx_pending) };
        from_result(|| this.set_rings(&dev, &rtnl, rx, tx).map(|()| 0))
    }
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
