// SPDX-License-Identifier: GPL-2.0

//! What a driver does, and `struct net_device_ops` that calls it.

use crate::{
    context::Rtnl,
    device::{
        driver,
        MacAddress,
        NetDevice, //
    },
    features::Features,
    frames::Frames,
    lower::Lower,
    queue::TxQueue,
    stats::{
        RxQueueStats,
        Stats,
        TxQueueStats, //
    },
    tx::{
        Sent,
        TxPacket, //
    }, //
};
use core::ptr::NonNull;
use kernel::{
    error::from_result,
    prelude::*, //
};
use rlis_sys_net::{
    net_device,
    net_device_ops,
    netdev_tx_t,
    rtnl_link_stats64,
    sk_buff, //
};

pub(crate) mod ethtool;
mod features;
mod hash;
#[cfg(RLIS_HAVE_NETDEV_STAT_OPS)]
pub(crate) mod queue_stats;
mod rss;
mod settings;
pub(crate) mod xdp;

pub use hash::HashPorts;
pub use settings::{
    Duplex,
    LinkSettings,
    QueueStatistics,
    Registers,
    Rings,
    RxMode,
    TableChange, //
};

/// What the driver of an interface does.
///
/// Except for [`Self::transmit`], [`Self::rx_mode`] and [`Self::stats`], the functions are called with the RTNL held:
/// they may sleep, but all configuration of the network waits for them.
pub trait Driver: Sized + Send + Sync + 'static {
    /// Names of the statistics that `ethtool -S` shows, in the order of [`Self::statistics`].
    const STATISTICS: &'static [&'static str] = &[];

    /// Statistics that each queue has, too; `ethtool -S` shows them behind the others, queue by queue.
    const QUEUE_STATISTICS: &'static [QueueStatistics] = &[];

    /// Statistics that each CPU has, too, named alike; they come last.
    const CPU_STATISTICS: &'static [QueueStatistics] = &[];

    /// Statistics of queues can be had by netlink, where the kernel has that: [`Self::rx_queue_stats`] and
    /// [`Self::tx_queue_stats`].
    const QUEUE_STATS: bool = false;

    /// What `ethtool -d` dumps: [`Self::registers`] fills it in.
    const REGISTERS: Registers = Registers {
        version: 0,
        words: 0,
    };

    /// Frames that are received are shown to programs of XDP, by [`PollContext::run_program`](crate::PollContext::run_program), and
    /// sent for others by [`Self::transmit_frames`].
    const XDP: bool = false;

    /// Returns whether a program of XDP can be attached; if not, why, for the user to read.
    ///
    /// # Errors
    ///
    /// The reason.
    fn allows_program(
        &self,
        dev: &NetDevice,
        rtnl: &Rtnl<'_>,
    ) -> core::result::Result<(), &'static CStr> {
        let _ = (dev, rtnl);
        Ok(())
    }

    /// Sends frames that others redirect, as many as there is room for.
    ///
    /// With softirqs disabled.
    fn transmit_frames(&self, dev: &NetDevice, queue: &TxQueue<'_>, frames: &mut Frames<'_>) {
        let _ = (dev, queue, frames);
    }

    /// The interface goes up.
    ///
    /// # Errors
    ///
    /// Any; it stays down then.
    fn open(&self, dev: &NetDevice, rtnl: &Rtnl<'_>) -> Result;

    /// The interface goes down. No frames are sent any more.
    fn stop(&self, dev: &NetDevice, rtnl: &Rtnl<'_>);

    /// Sends a frame.
    ///
    /// Must not sleep, and may be called with interrupts disabled (netconsole). Called for one queue one at a time.
    fn transmit(&self, dev: &NetDevice, queue: &TxQueue<'_>, packet: TxPacket) -> Sent;

    /// Chooses one of the `queues` in use for a frame with this hash; the remainder counts. Must not sleep.
    fn select_queue(&self, hash: u32, queues: u16) -> u16 {
        let _ = queues;
        // The lower half.
        #[allow(clippy::cast_possible_truncation)]
        let hash = hash as u16;
        hash
    }

    /// Returns which of these features, which are asked for, can be had at the moment.
    fn fix_features(&self, features: Features) -> Features {
        features
    }

    /// Switches features.
    ///
    /// # Errors
    ///
    /// Any; all are as before then.
    fn set_features(&self, dev: &NetDevice, rtnl: &Rtnl<'_>, features: Features) -> Result {
        let _ = (dev, rtnl, features);
        Ok(())
    }

    /// Returns the totals. Must not sleep; at any time, also several times at once.
    fn stats(&self) -> Stats;

    /// Changes the MTU, which lies within the limits of the interface; [`NetDevice::set_mtu`] notes it.
    ///
    /// # Errors
    ///
    /// Any; the MTU is as before then.
    fn change_mtu(&self, dev: &NetDevice, rtnl: &Rtnl<'_>, mtu: u32) -> Result;

    /// Changes the address to one that is valid; [`NetDevice::set_address`] notes it.
    ///
    /// # Errors
    ///
    /// Any; the address is as before then.
    fn change_address(&self, dev: &NetDevice, rtnl: &Rtnl<'_>, address: MacAddress) -> Result;

    /// [`NetDevice::rx_mode`] has changed. Must not sleep.
    fn rx_mode(&self);

    /// The interface below, which does what is asked of this one, has not done it.
    fn lower_refused(&self, lower: &Lower<'_>, error: &Error) {
        let _ = (lower, error);
    }

    /// Returns what `ethtool` shows of the link.
    fn link(&self) -> LinkSettings;

    /// A user has said what link there is (`ethtool -s`), which changes nothing but what is shown of it.
    ///
    /// # Errors
    ///
    /// Any; it is shown as before then.
    fn set_link(&self, link: LinkSettings) -> Result {
        let _ = link;
        Err(EOPNOTSUPP)
    }

    /// Returns of what there are lines in the log, `NETIF_MSG_*` (`ethtool -s DEVICE msglvl`).
    fn message_level(&self) -> u32 {
        0
    }

    /// Changes that.
    fn set_message_level(&self, level: u32) {
        let _ = level;
    }

    /// Fills in [`Self::REGISTERS`], so many words.
    fn registers(&self, into: &mut [u32]) {
        let _ = into;
    }

    /// Returns for which flows a queue to send on is chosen by the ports, too (`ethtool -n`).
    fn hash_ports(&self) -> HashPorts {
        HashPorts::ALL
    }

    /// Changes for which (`ethtool -N`).
    ///
    /// # Errors
    ///
    /// Any; it is as before then.
    fn set_hash_ports(&self, ports: HashPorts) -> Result {
        let _ = ports;
        Err(EOPNOTSUPP)
    }

    /// Fills in the statistics, one for each name.
    fn statistics(&self, into: &mut [u64]) {
        let _ = into;
    }

    /// Fills in those of a queue.
    fn queue_statistics(&self, queue: u16, into: &mut [u64]) {
        let _ = (queue, into);
    }

    /// Fills in those of a CPU.
    fn cpu_statistics(&self, cpu: u32, into: &mut [u64]) {
        let _ = (cpu, into);
    }

    /// Returns what a queue has counted on its receiving side, if [`Self::QUEUE_STATS`].
    fn rx_queue_stats(&self, queue: u16) -> RxQueueStats {
        let _ = queue;
        RxQueueStats::default()
    }

    /// Returns what a queue has counted of frames to be sent, if [`Self::QUEUE_STATS`].
    fn tx_queue_stats(&self, queue: u16) -> TxQueueStats {
        let _ = queue;
        TxQueueStats::default()
    }

    /// Returns how many channels there can be; as many as are in use are [`NetDevice::queues`].
    fn max_channels(&self) -> u16 {
        1
    }

    /// Changes how many channels are in use, from 1 to [`Self::max_channels`].
    ///
    /// # Errors
    ///
    /// Any; there are as many as before then.
    fn set_channels(&self, dev: &NetDevice, rtnl: &Rtnl<'_>, channels: u16) -> Result {
        let _ = (dev, rtnl, channels);
        Err(EOPNOTSUPP)
    }

    /// Returns how long the queues of buffers are, and how long they can be: `None` if that is nothing to be changed.
    fn rings(&self) -> Option<Rings> {
        None
    }

    /// Changes how long they are, within the limits.
    ///
    /// # Errors
    ///
    /// Any; they are as before then.
    fn set_rings(&self, dev: &NetDevice, rtnl: &Rtnl<'_>, rx: u32, tx: u32) -> Result {
        let _ = (dev, rtnl, rx, tx);
        Err(EOPNOTSUPP)
    }

    /// Returns how many entries the table of receive-side scaling has; 0 if there is none.
    fn table_len(&self) -> u32 {
        0
    }

    /// Fills in table, up to its length, and key.
    fn table(&self, table: Option<&mut [u32]>, key: Option<&mut [u8]>) {
        let _ = (table, key);
    }

    /// Changes table or key.
    ///
    /// # Errors
    ///
    /// Any; they are as before then.
    fn set_table(&self, dev: &NetDevice, rtnl: &Rtnl<'_>, change: &TableChange<'_>) -> Result {
        let _ = (dev, rtnl, change);
        Err(EOPNOTSUPP)
    }
}

/// Returns the functions of the C API for a driver.
pub(crate) fn vtable<T: Driver>() -> &'static net_device_ops {
    &Vtable::<T>::OPS
}

struct Vtable<T>(T);

impl<T: Driver> Vtable<T> {
    const OPS: net_device_ops = net_device_ops {
        ndo_open: Some(Self::open),
        ndo_stop: Some(Self::stop),
        ndo_start_xmit: Some(Self::start_xmit),
        ndo_get_stats64: Some(Self::get_stats64),
        ndo_change_mtu: Some(Self::change_mtu),
        ndo_set_mac_address: Some(Self::set_mac_address),
        ndo_validate_addr: Some(rlis_sys_net::eth_validate_addr),
        ndo_set_rx_mode: Some(Self::set_rx_mode),
        ndo_change_rx_flags: Some(Self::change_rx_flags),
        ndo_select_queue: Some(Self::select_queue),
        ndo_features_check: Some(rlis_sys_net::net_features_check),
        ndo_fix_features: Some(features::fix_features::<T>),
        ndo_set_features: Some(features::set_features::<T>),
        ndo_bpf: if T::XDP { Some(xdp::bpf::<T>) } else { None },
        ndo_xdp_xmit: if T::XDP {
            Some(xdp::xdp_xmit::<T>)
        } else {
            None
        },
        ..pin_init::zeroed()
    };

    /// Calls `f` with the driver, the interface and the RTNL.
    ///
    /// # Safety
    ///
    /// `dev` must be registered, or about to be, with this driver, and the RTNL held.
    unsafe fn locked<R>(dev: *mut net_device, f: impl FnOnce(&T, &NetDevice, &Rtnl<'_>) -> R) -> R {
        // SAFETY: As required of the caller; the stack never passes a null pointer.
        let device = unsafe { NetDevice::borrowed(NonNull::new_unchecked(dev)) };
        // SAFETY: As required of the caller.
        let rtnl = unsafe { Rtnl::assume() };
        // SAFETY: As required of the caller.
        f(unsafe { driver::<T>(dev) }, &device, &rtnl)
    }

    /// Brings the interface up, and the one below with it. It is used without that if need be.
    fn open_both(this: &T, dev: &NetDevice, rtnl: &Rtnl<'_>) -> Result {
        this.open(dev, rtnl)?;
        if let Some(lower) = dev.lower(rtnl) {
            if let Err(error) = lower.open() {
                this.lower_refused(&lower, &error);
            }
        }
        Ok(())
    }

    /// Has the interface below changed first by `change`, and then this one by `own`. If that fails, the former is undone by
    /// `back`.
    fn change_both(
        this: &T,
        dev: &NetDevice,
        rtnl: &Rtnl<'_>,
        change: impl FnOnce(&Lower<'_>) -> Result,
        own: impl FnOnce() -> Result,
        back: impl FnOnce(&Lower<'_>) -> Result,
    ) -> Result {
        let lower = dev.lower(rtnl);
        lower.as_ref().map_or(Ok(()), change)?;
        own().inspect_err(|_| {
            if let Some(lower) = lower {
                if let Err(error) = back(&lower) {
                    this.lower_refused(&lower, &error);
                }
            }
        })
    }

    /// The ndo_open function of the C API.
    ///
    /// # Safety
    ///
    /// Only for the network stack to call, with what the C API prescribes.
    unsafe extern "C" fn open(dev: *mut net_device) -> c_int {
        // SAFETY: The interface is registered with this driver, and the RTNL is held.
        from_result(|| unsafe { Self::locked(dev, Self::open_both) }.map(|()| 0))
    }

    /// The ndo_stop function of the C API.
    ///
    /// # Safety
    ///
    /// As of `open`.
    unsafe extern "C" fn stop(dev: *mut net_device) -> c_int {
        // SAFETY: As in `open`.
        unsafe {
            Self::locked(dev, |this, dev, rtnl| {
                this.stop(dev, rtnl);
                if let Some(lower) = dev.lower(rtnl) {
                    lower.close();
                }
            });
        }
        0
    }

    /// The ndo_start_xmit function of the C API.
    ///
    /// # Safety
    ///
    /// As of `open`.
    unsafe extern "C" fn start_xmit(skb: *mut sk_buff, dev: *mut net_device) -> netdev_tx_t {
        // SAFETY: The stack passes a packet that belongs to us now, and never a null pointer.
        let (index, packet) = unsafe {
            let index = (*skb).queue_mapping;
            (index, TxPacket::from_raw(NonNull::new_unchecked(skb)))
        };
        // SAFETY: As above; the stack has chosen one of the interface's queues, and holds its lock.
        let (device, queue) = unsafe {
            let device = NetDevice::borrowed(NonNull::new_unchecked(dev));
            let queue = TxQueue::new(device.tx_queue(index), index);
            (device, queue)
        };
        // SAFETY: The interface is registered with this driver.
        unsafe { driver::<T>(dev) }
            .transmit(&device, &queue, packet)
            .into_raw()
    }

    /// The ndo_get_stats64 function of the C API.
    ///
    /// # Safety
    ///
    /// As of `open`.
    unsafe extern "C" fn get_stats64(dev: *mut net_device, into: *mut rtnl_link_stats64) {
        // SAFETY: The interface is registered with this driver.
        let stats = unsafe { driver::<T>(dev) }.stats();
        // SAFETY: The stack never passes a null pointer.
        let lower = unsafe { NetDevice::borrowed(NonNull::new_unchecked(dev)) }.lower_stats();
        // SAFETY: The stack passes a struct to be filled in.
        let into = unsafe { &mut *into };
        into.rx_packets = stats.rx_packets.wrapping_add(lower.rx_packets);
        into.rx_bytes = stats.rx_bytes.wrapping_add(lower.rx_bytes);
        into.rx_errors = stats.rx_errors;
        into.rx_dropped = stats.rx_dropped;
        into.multicast = stats.multicast;
        into.tx_packets = stats.tx_packets.wrapping_add(lower.tx_packets);
        into.tx_bytes = stats.tx_bytes.wrapping_add(lower.tx_bytes);
        into.tx_errors = stats.tx_errors;
        into.tx_dropped = stats.tx_dropped.wrapping_add(lower.tx_dropped);
    }

    /// The ndo_change_mtu function of the C API.
    ///
    /// # Safety
    ///
    /// As of `open`.
    unsafe extern "C" fn change_mtu(dev: *mut net_device, mtu: c_int) -> c_int {
        from_result(|| {
            let mtu = u32::try_from(mtu)?;
            // SAFETY: As in `open`.
            unsafe {
                Self::locked(dev, |this, dev, rtnl| {
                    let before = dev.mtu();
                    Self::change_both(
                        this,
                        dev,
                        rtnl,
                        |lower| lower.set_mtu(mtu),
                        || this.change_mtu(dev, rtnl, mtu),
                        |lower| lower.set_mtu(before),
                    )
                })
            }?;
            Ok(0)
        })
    }

    /// The ndo_set_mac_address function of the C API.
    ///
    /// # Safety
    ///
    /// As of `open`.
    unsafe extern "C" fn set_mac_address(dev: *mut net_device, address: *mut c_void) -> c_int {
        // SAFETY: The stack passes a `struct sockaddr`, whose bytes begin behind the family, of 16 bits.
        let bytes = unsafe { address.cast::<u8>().add(2).cast::<[u8; 6]>().read() };
        from_result(|| {
            let address = MacAddress(bytes);
            if !address.is_valid() {
                return Err(EADDRNOTAVAIL);
            }
            // SAFETY: As in `open`.
            unsafe {
                Self::locked(dev, |this, dev, rtnl| {
                    let before = dev.address(rtnl);
                    Self::change_both(
                        this,
                        dev,
                        rtnl,
                        |lower| lower.set_address(address),
                        || this.change_address(dev, rtnl, address),
                        |lower| lower.set_address(before),
                    )
                })
            }?;
            Ok(0)
        })
    }

    /// The ndo_set_rx_mode function of the C API.
    ///
    /// # Safety
    ///
    /// As of `open`.
    unsafe extern "C" fn set_rx_mode(dev: *mut net_device) {
        // SAFETY: The interface is registered with this driver; the stack never passes a null pointer.
        unsafe {
            NetDevice::borrowed(NonNull::new_unchecked(dev)).sync_lower_addresses();
            driver::<T>(dev).rx_mode();
        }
    }

    /// The ndo_change_rx_flags function of the C API.
    ///
    /// # Safety
    ///
    /// As of `open`.
    unsafe extern "C" fn change_rx_flags(dev: *mut net_device, changed: c_int) {
        // SAFETY: As in `open`; the flags are written with the RTNL held.
        unsafe {
            let flags = (*dev).flags;
            Self::locked(dev, |_, dev, rtnl| {
                if let Some(lower) = dev.lower(rtnl) {
                    let state =
                        |flag: u32| (changed as u32 & flag != 0).then_some(flags & flag != 0);
                    lower.change_flags(
                        state(rlis_sys_net::net_device_flags_IFF_PROMISC),
                        state(rlis_sys_net::net_device_flags_IFF_ALLMULTI),
                    );
                }
            });
        }
    }

    /// The ndo_select_queue function of the C API.
    ///
    /// # Safety
    ///
    /// As of `open`.
    unsafe extern "C" fn select_queue(
        dev: *mut net_device,
        skb: *mut sk_buff,
        below: *mut net_device,
    ) -> u16 {
        // SAFETY: The stack passes a frame that is about to be sent, and an interface that is registered, never a null pointer.
        let lower =
            unsafe { NetDevice::borrowed(NonNull::new_unchecked(dev)).select_lower(skb, below) };
        // SAFETY: The stack passes an interface that is registered; the field is read once.
        let queues = unsafe { (&raw const (*dev).real_num_tx_queues).read_volatile() };
        if queues <= 1 {
            return 0;
        }
        let queues = u16::try_from(queues).unwrap_or(u16::MAX);
        if let Some(queue) = lower {
            return queue % queues;
        }
        // SAFETY: The interface is registered with this driver.
        let this = unsafe { driver::<T>(dev) };
        let ports = this.hash_ports();
        // SAFETY: The stack passes a frame that is about to be sent, which nobody else changes.
        let hash = unsafe {
            if ports == HashPorts::ALL {
                rlis_sys_net::net_flow_hash(skb)
            } else {
                rlis_sys_net::net_flow_hash_of(skb, ports.bits())
            }
        };
        this.select_queue(hash, queues) % queues
    }
}
