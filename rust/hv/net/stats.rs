// SPDX-License-Identifier: GPL-2.0

//! Counters.

use rlis_hv::Single;

/// A counter with one writer at a time, such as the holder of a queue's lock or a NAPI instance, and any number of
/// readers.
///
/// Adding is a load and a store, without a locked instruction. If there were two writers, counts would be lost, and
/// nothing worse.
pub struct Counter(Single<u64>);

impl Counter {
    /// Makes a counter that stands at 0.
    pub const fn new() -> Self {
        Self(Single::new(0))
    }

    /// Adds `n`.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.set(self.0.get().wrapping_add(n));
    }

    /// Returns the count.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

impl Default for Counter {
    fn default() -> Self {
        Self::new()
    }
}

/// The totals of an interface, as the fields of the same names in `struct rtnl_link_stats64`.
#[derive(Clone, Copy, Default)]
pub struct Stats {
    /// Frames received.
    pub rx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Frames that were received damaged.
    pub rx_errors: u64,
    /// Frames received for which there was no memory.
    pub rx_dropped: u64,
    /// Multicast and broadcast frames received.
    pub multicast: u64,
    /// Frames sent.
    pub tx_packets: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Frames that the host could not send.
    pub tx_errors: u64,
    /// Frames that were not given to the host.
    pub tx_dropped: u64,
}

/// What a queue has counted of what it received, as the fields of the same names in `struct netdev_queue_stats_rx`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct RxQueueStats {
    /// Frames received.
    pub packets: u64,
    /// Bytes received.
    pub bytes: u64,
    /// Frames for which there was no memory.
    pub alloc_fail: u64,
}

/// What a queue has counted of what is to be sent, as the fields of the same names in `struct netdev_queue_stats_tx`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct TxQueueStats {
    /// Frames sent.
    pub packets: u64,
    /// Bytes sent.
    pub bytes: u64,
    /// Frames that the device has got, and did not send.
    pub hw_drops: u64,
    /// How often the queue was stopped, since it was full.
    pub stop: u64,
    /// How often it was woken.
    pub wake: u64,
}

#[cfg(RLIS_HAVE_NETDEV_STAT_OPS)]
impl RxQueueStats {
    /// What both have counted.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            packets: self.packets.wrapping_add(other.packets),
            bytes: self.bytes.wrapping_add(other.bytes),
            alloc_fail: self.alloc_fail.wrapping_add(other.alloc_fail),
        }
    }
}

#[cfg(RLIS_HAVE_NETDEV_STAT_OPS)]
impl TxQueueStats {
    /// What both have counted.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            packets: self.packets.wrapping_add(other.packets),
            bytes: self.bytes.wrapping_add(other.bytes),
            hw_drops: self.hw_drops.wrapping_add(other.hw_drops),
            stop: self.stop.wrapping_add(other.stop),
            wake: self.wake.wrapping_add(other.wake),
        }
    }
}
