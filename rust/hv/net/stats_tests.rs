// SPDX-License-Identifier: GPL-2.0

//! Statistics of queues and CPUs, as the stack asks for them.

use kernel::prelude::kunit_tests;

#[cfg(CONFIG_KUNIT = "y")]
mod counts {
    use super::super::*;
    use kernel::prelude::*;

    /// Each queue counts something else.
    pub(super) struct Counts;

    impl Driver for Counts {
        const QUEUE_STATS: bool = true;
        const STATISTICS: &'static [&'static str] = &["one"];
        const QUEUE_STATISTICS: &'static [QueueStatistics] = &[QueueStatistics("q", "_frames")];
        const CPU_STATISTICS: &'static [QueueStatistics] = &[
            QueueStatistics("cpu", "_frames"),
            QueueStatistics("cpu", "_bytes"),
        ];

        fn open(&self, _dev: &NetDevice, _rtnl: &Rtnl<'_>) -> Result {
            Ok(())
        }

        fn stop(&self, _dev: &NetDevice, _rtnl: &Rtnl<'_>) {}

        fn transmit(&self, _dev: &NetDevice, _queue: &TxQueue<'_>, packet: TxPacket) -> Sent {
            packet.discard()
        }

        fn stats(&self) -> Stats {
            Stats::default()
        }

        fn change_mtu(&self, _: &NetDevice, _: &Rtnl<'_>, _: u32) -> Result {
            Err(EOPNOTSUPP)
        }

        fn change_address(&self, _: &NetDevice, _: &Rtnl<'_>, _: MacAddress) -> Result {
            Err(EOPNOTSUPP)
        }

        fn rx_mode(&self) {}

        fn link(&self) -> LinkSettings {
            LinkSettings::default()
        }

        fn statistics(&self, into: &mut [u64]) {
            into.fill(1);
        }

        fn queue_statistics(&self, queue: u16, into: &mut [u64]) {
            into.fill(10 + u64::from(queue));
        }

        fn cpu_statistics(&self, cpu: u32, into: &mut [u64]) {
            into.fill(100 + u64::from(cpu));
        }

        fn rx_queue_stats(&self, queue: u16) -> RxQueueStats {
            let times = u64::from(queue) + 1;
            RxQueueStats {
                packets: times,
                bytes: 10 * times,
                alloc_fail: 100 * times,
            }
        }

        fn tx_queue_stats(&self, queue: u16) -> TxQueueStats {
            let times = u64::from(queue) + 1;
            TxQueueStats {
                packets: 2 * times,
                bytes: 20 * times,
                hw_drops: 3 * times,
                stop: 4 * times,
                wake: 5 * times,
            }
        }
    }

    pub(super) fn params() -> InterfaceParams {
        InterfaceParams {
            queues: 4,
            address: MacAddress([2, 0, 0, 0, 0, 1]),
            mtu: 1500,
            min_mtu: 68,
            max_mtu: 1500,
            features: Features::default(),
        }
    }
}

#[kunit_tests(rlis_net_cpu_statistics)]
mod of_cpus {
    use super::{
        super::*,
        counts::{
            params,
            Counts, //
        }, //
    };
    use kernel::{
        prelude::*,
        sync::Arc, //
    };

    /// The memory for names and numbers is as long as was said: what is more would lie behind it.
    #[test]
    fn come_last() -> Result {
        let interface = Unregistered::<Counts>::new(None, &params())?;
        let registration = interface.register(Arc::new(Counts, GFP_KERNEL)?)?;
        let raw = registration.device().as_raw();
        let set = rlis_sys_net::ethtool_stringset_ETH_SS_STATS;
        // SAFETY: The interface is registered, and the RTNL held.
        let (ops, count) = Rtnl::with(|_| unsafe {
            let ops = (*raw).ethtool_ops.as_ref().ok_or(ENXIO)?;
            Ok::<_, Error>((ops, ops.get_sset_count.ok_or(ENXIO)?(raw, set as c_int)))
        })?;
        let count = usize::try_from(count)?;
        let cpus: KVec<u32> = {
            let mut cpus = KVec::new();
            for cpu in registration.device().private().cpus() {
                cpus.push(cpu, GFP_KERNEL)?;
            }
            cpus
        };
        assert_eq!(count, 1 + 4 + 2 * cpus.len());
        assert!(!cpus.is_empty());
        assert!(cpus.is_sorted());
        let mut names = KVec::from_elem(7u8, (count + 1) * 32, GFP_KERNEL)?;
        let mut values = KVec::from_elem(7u64, count + 1, GFP_KERNEL)?;
        // SAFETY: As above; there is memory for one more than was said.
        Rtnl::with(|_| unsafe {
            ops.get_strings.ok_or(ENXIO)?(raw, set, names.as_mut_ptr());
            ops.get_ethtool_stats.ok_or(ENXIO)?(raw, core::ptr::null_mut(), values.as_mut_ptr());
            Ok::<_, Error>(())
        })?;
        let name = |at: usize| {
            let place = names.get(32 * at..32 * at + 32).unwrap_or_default();
            let name = place.split(|byte| *byte == 0).next().unwrap_or_default();
            core::str::from_utf8(name).unwrap_or_default()
        };
        assert_eq!(
            (name(0), name(1), name(4)),
            ("one", "q0_frames", "q3_frames")
        );
        let first = u64::from(cpus[0]);
        if first == 0 {
            assert_eq!((name(5), name(6)), ("cpu0_frames", "cpu0_bytes"));
        }
        assert_eq!(values[..7], [1, 10, 11, 12, 13, 100 + first, 100 + first]);
        let last = u64::from(cpus[cpus.len() - 1]);
        assert_eq!(values[count - 1..], [100 + last, 7]);
        assert!(names[count * 32..].iter().all(|byte| *byte == 7));
        Ok(())
    }
}

#[cfg(RLIS_HAVE_NETDEV_STAT_OPS)]
#[kunit_tests(rlis_net_queue_stats)]
mod of_queues {
    use super::{
        super::*,
        counts::{
            params,
            Counts, //
        }, //
    };
    use kernel::{
        prelude::*,
        sync::Arc, //
    };
    use rlis_sys_net::{
        netdev_queue_stats_rx,
        netdev_queue_stats_tx, //
    };

    /// What the stack has where nothing was filled in.
    const NOT_COUNTED: u64 = u64::MAX;

    fn nothing<T>() -> T {
        // SAFETY: Both structures that this is used for have nothing but numbers of 64 bits.
        unsafe {
            let mut value = core::mem::MaybeUninit::<T>::uninit();
            value.as_mut_ptr().write_bytes(0xff, 1);
            value.assume_init()
        }
    }

    #[test]
    fn queues_and_what_no_queue_has() -> Result {
        let interface = Unregistered::<Counts>::new(None, &params())?;
        let registration = interface.register(Arc::new(Counts, GFP_KERNEL)?)?;
        let dev = registration.device().clone();
        let mut rx: netdev_queue_stats_rx = nothing();
        let mut tx: netdev_queue_stats_tx = nothing();
        Rtnl::with(|rtnl| -> Result {
            dev.set_queues(rtnl, 2)?;
            // SAFETY: The interface is registered, the RTNL held, and the structures are there meanwhile.
            unsafe {
                let ops = (*dev.as_raw()).stat_ops.as_ref().ok_or(ENXIO)?;
                ops.get_queue_stats_rx.ok_or(ENXIO)?(dev.as_raw(), 1, &raw mut rx);
                ops.get_queue_stats_tx.ok_or(ENXIO)?(dev.as_raw(), 1, &raw mut tx);
            }
            Ok(())
        })?;
        assert_eq!((rx.packets, rx.bytes, rx.alloc_fail), (2, 20, 200));
        assert_eq!((rx.hw_drops, rx.csum_none), (NOT_COUNTED, NOT_COUNTED));
        assert_eq!((tx.packets, tx.bytes, tx.hw_drops), (4, 40, 6));
        assert_eq!((tx.stop, tx.wake), (8, 10));
        assert_eq!(
            (tx.hw_drop_errors, tx.needs_csum),
            (NOT_COUNTED, NOT_COUNTED)
        );
        let (mut rx, mut tx) = (nothing(), nothing());
        // SAFETY: As above.
        Rtnl::with(|_| unsafe {
            let ops = (*dev.as_raw()).stat_ops.as_ref().ok_or(ENXIO)?;
            ops.get_base_stats.ok_or(ENXIO)?(dev.as_raw(), &raw mut rx, &raw mut tx);
            Ok::<_, Error>(())
        })?;
        // Those of the two queues that are not in use: 3 and 4 times.
        assert_eq!((rx.packets, rx.bytes, rx.alloc_fail), (7, 70, 700));
        assert_eq!(rx.csum_unnecessary, NOT_COUNTED);
        assert_eq!((tx.packets, tx.bytes, tx.hw_drops), (14, 140, 21));
        assert_eq!((tx.stop, tx.wake, tx.hw_gso_packets), (28, 35, NOT_COUNTED));
        Ok(())
    }
}
