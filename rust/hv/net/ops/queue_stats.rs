// SPDX-License-Identifier: GPL-2.0

//! Statistics of queues, as netlink tells them (`qstats-get`), `struct netdev_stat_ops`.
//!
//! C header: [`include/net/netdev_queues.h`](srctree/include/net/netdev_queues.h)

use super::Driver;
use crate::{
    device::driver_and_device,
    stats::{
        RxQueueStats,
        TxQueueStats, //
    }, //
};
use kernel::prelude::*;
use rlis_sys_net::{
    net_device,
    netdev_queue_stats_rx,
    netdev_queue_stats_tx,
    netdev_stat_ops, //
};

/// Returns the functions of the C API for a driver.
pub(crate) fn vtable<T: Driver>() -> &'static netdev_stat_ops {
    &Vtable::<T>::OPS
}

struct Vtable<T>(T);

impl RxQueueStats {
    /// Fills in what is counted. The rest has to stay as it is: the stack knows by that that it is not.
    fn fill(self, into: &mut netdev_queue_stats_rx) {
        into.packets = self.packets;
        into.bytes = self.bytes;
        into.alloc_fail = self.alloc_fail;
    }
}

impl TxQueueStats {
    /// As [`RxQueueStats::fill`].
    fn fill(self, into: &mut netdev_queue_stats_tx) {
        into.packets = self.packets;
        into.bytes = self.bytes;
        into.hw_drops = self.hw_drops;
        into.stop = self.stop;
        into.wake = self.wake;
    }
}

impl<T: Driver> Vtable<T> {
    const OPS: netdev_stat_ops = netdev_stat_ops {
        get_queue_stats_rx: Some(Self::rx),
        get_queue_stats_tx: Some(Self::tx),
        get_base_stats: Some(Self::base),
    };

    /// The get_queue_stats_rx function of the C API.
    ///
    /// # Safety
    ///
    /// Only for the network stack to call, with what the C API prescribes, of an interface that is registered with a `T`.
    unsafe extern "C" fn rx(dev: *mut net_device, index: c_int, into: *mut netdev_queue_stats_rx) {
        // SAFETY: The interface is registered with this driver.
        let (this, _) = unsafe { driver_and_device::<T>(dev) };
        // The stack asks of queues that are in use.
        let stats = this.rx_queue_stats(u16::try_from(index).unwrap_or(u16::MAX));
        // SAFETY: The stack passes a struct to be filled in, all bits of which are set.
        stats.fill(unsafe { &mut *into });
    }

    /// The get_queue_stats_tx function of the C API.
    ///
    /// # Safety
    ///
    /// As of `rx`.
    unsafe extern "C" fn tx(dev: *mut net_device, index: c_int, into: *mut netdev_queue_stats_tx) {
        // SAFETY: The interface is registered with this driver.
        let (this, _) = unsafe { driver_and_device::<T>(dev) };
        // The stack asks of queues that are in use.
        let stats = this.tx_queue_stats(u16::try_from(index).unwrap_or(u16::MAX));
        // SAFETY: The stack passes a struct to be filled in, all bits of which are set.
        stats.fill(unsafe { &mut *into });
    }

    /// The get_base_stats function of the C API: what no queue in use has counted, that is the other queues, and what went through
    /// interfaces below, which the interface's own statistics have, too.
    ///
    /// # Safety
    ///
    /// As of `rx`.
    unsafe extern "C" fn base(
        dev: *mut net_device,
        rx: *mut netdev_queue_stats_rx,
        tx: *mut netdev_queue_stats_tx,
    ) {
        // SAFETY: The interface is registered with this driver.
        let (this, dev) = unsafe { driver_and_device::<T>(dev) };
        let lower = dev.lower_stats();
        let mut rx_sum = RxQueueStats {
            packets: lower.rx_packets,
            bytes: lower.rx_bytes,
            ..RxQueueStats::default()
        };
        let mut tx_sum = TxQueueStats {
            packets: lower.tx_packets,
            bytes: lower.tx_bytes,
            ..TxQueueStats::default()
        };
        for queue in dev.queues()..dev.max_queues() {
            rx_sum = rx_sum.plus(this.rx_queue_stats(queue));
            tx_sum = tx_sum.plus(this.tx_queue_stats(queue));
        }
        // SAFETY: The stack passes structs to be filled in, all bits of which are set.
        unsafe {
            rx_sum.fill(&mut *rx);
            tx_sum.fill(&mut *tx);
        }
    }
}
