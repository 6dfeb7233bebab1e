// SPDX-License-Identifier: GPL-2.0

//! The layer on an interface of its own: registered, brought up, polled, sent through.

use kernel::prelude::kunit_tests;

/// A frame of so many bytes, each of this value.
#[cfg(CONFIG_KUNIT = "y")]
pub(crate) fn packet(len: u32, byte: u8) -> kernel::error::Result<super::TxPacket> {
    // SAFETY: No requirements.
    let skb = unsafe { rlis_sys_net::__alloc_skb(len, rlis_sys::GFP_KERNEL, 0, -1) };
    let skb = core::ptr::NonNull::new(skb).ok_or(kernel::error::code::ENOMEM)?;
    // SAFETY: The packet is new and has that room, which is filled; it is ours.
    unsafe {
        let bytes = rlis_sys_net::skb_put(skb.as_ptr(), len).cast::<u8>();
        bytes.write_bytes(byte, len as usize);
        Ok(super::TxPacket::from_raw(skb))
    }
}

#[kunit_tests(rlis_net_interface)]
mod cases {
    use super::{
        super::*,
        packet, //
    };
    use kernel::{
        error::to_result,
        prelude::*,
        sync::{
            atomic::{
                Atomic,
                Relaxed, //
            },
            Arc, //
        }, //
    };
    use rlis_hv::{
        Completion,
        NoSoftirq,
        SharedMemory, //
    };

    /// Counts what it is asked.
    struct Dummy {
        opened: Atomic<u32>,
        stopped: Atomic<u32>,
        mtu: Atomic<u32>,
        /// Of the last frame: whether another follows, whether the device is to be told, and again whether another follows.
        announced: [Atomic<u32>; 3],
    }

    /// Bytes of a frame that stops the queue.
    const STOPS: u32 = 61;

    impl Dummy {
        fn new() -> Self {
            Self {
                opened: Atomic::new(0),
                stopped: Atomic::new(0),
                mtu: Atomic::new(0),
                announced: [const { Atomic::new(0) }; 3],
            }
        }
    }

    impl Driver for Dummy {
        const STATISTICS: &'static [&'static str] = &["one"];

        fn open(&self, dev: &NetDevice, _rtnl: &Rtnl<'_>) -> Result {
            assert!(dev.is_running());
            self.opened.fetch_add(1u32, Relaxed);
            Ok(())
        }

        fn stop(&self, _dev: &NetDevice, _rtnl: &Rtnl<'_>) {
            self.stopped.fetch_add(1u32, Relaxed);
        }

        fn transmit(&self, _dev: &NetDevice, queue: &TxQueue<'_>, packet: TxPacket) -> Sent {
            let stopped = packet.len() == STOPS && queue.stop_unless(|| false).is_err();
            assert_eq!(stopped, packet.len() == STOPS);
            let found = [queue.more(), queue.sent(packet.len()), queue.more()];
            for (to, from) in self.announced.iter().zip(found) {
                to.store(u32::from(from), Relaxed);
            }
            packet.discard()
        }

        fn stats(&self) -> Stats {
            Stats::default()
        }

        fn change_mtu(&self, dev: &NetDevice, rtnl: &Rtnl<'_>, mtu: u32) -> Result {
            if mtu == 1001 {
                return Err(EIO);
            }
            self.mtu.store(mtu, Relaxed);
            dev.set_mtu(rtnl, mtu);
            Ok(())
        }

        fn change_address(&self, _: &NetDevice, _: &Rtnl<'_>, _: MacAddress) -> Result {
            Err(EOPNOTSUPP)
        }

        fn rx_mode(&self) {}

        fn link(&self) -> LinkSettings {
            LinkSettings {
                speed: Some(10),
                duplex: Duplex::Half,
            }
        }

        fn table_len(&self) -> u32 {
            TABLE.len() as u32
        }

        fn table(&self, table: Option<&mut [u32]>, key: Option<&mut [u8]>) {
            table.into_iter().for_each(|to| to.copy_from_slice(&TABLE));
            key.into_iter().for_each(|to| to.fill(7));
        }
    }

    /// The table of receive-side scaling.
    const TABLE: [u32; 4] = [0, 1, 1, 0];

    fn params() -> InterfaceParams {
        InterfaceParams {
            queues: 2,
            address: MacAddress([2, 0, 0, 0, 0, 1]),
            mtu: 1500,
            min_mtu: 68,
            max_mtu: 9000,
            features: Features {
                scatter_gather: true,
                high_dma: true,
                ..Features::default()
            },
        }
    }

    #[test]
    fn goes_up_and_down() -> Result {
        let interface = Unregistered::<Dummy>::new(None, &params())?;
        let dummy = Arc::new(Dummy::new(), GFP_KERNEL)?;
        let registration = interface.register(dummy.clone())?;
        let dev = registration.device().clone();
        assert!(!dev.is_running());
        assert!(!dev.has_carrier());
        let (opened, good, bad, long) = Rtnl::with(|_| {
            // SAFETY: The interface is registered, and the RTNL held.
            unsafe {
                (
                    to_result(rlis_sys_net::dev_open(dev.as_raw(), core::ptr::null_mut())),
                    to_result(rlis_sys_net::dev_set_mtu(dev.as_raw(), 1000)),
                    to_result(rlis_sys_net::dev_set_mtu(dev.as_raw(), 1001)),
                    to_result(rlis_sys_net::dev_set_mtu(dev.as_raw(), 9001)),
                )
            }
        });
        assert!(opened.is_ok());
        assert!(good.is_ok());
        assert!(bad.is_err());
        assert!(long.is_err());
        assert_eq!(dev.mtu(), 1000);
        assert_eq!(dummy.mtu.load(Relaxed), 1000);
        assert!(dev.is_running());
        dev.carrier_on();
        assert!(dev.has_carrier());
        dev.set_alias(b"a card")?;
        assert!(dev.set_alias(&[b'a'; 256]).is_err());
        drop(registration);
        assert_eq!(dummy.opened.load(Relaxed), 1);
        assert_eq!(dummy.stopped.load(Relaxed), 1);
        // What is left of it answers, and the driver has no other owner. The stack must not remember the interface any
        // more, which is freed at the end.
        assert!(!dev.is_running());
        dev.carrier_off();
        dev.carrier_on();
        dev.notify_peers();
        Rtnl::with(|rtnl| dev.wake_queues(rtnl));
        assert!(Arc::into_unique_or_drop(dummy).is_some());
        Ok(())
    }

    /// Which queues a table names is what the stack goes by when it takes queues away; it asks without a size.
    #[test]
    fn table_is_told_without_sizes() -> Result {
        let interface = Unregistered::<Dummy>::new(None, &params())?;
        let registration = interface.register(Arc::new(Dummy::new(), GFP_KERNEL)?)?;
        let (mut table, mut key) = ([9; TABLE.len()], [9; HASH_KEY_SIZE]);
        let told = |table, key| {
            let mut told = rlis_sys_net::ethtool_rxfh_param {
                indir: table,
                key,
                ..pin_init::zeroed()
            };
            let dev = registration.device().as_raw();
            // SAFETY: The interface is registered, and the memory as long as it is told to be.
            Rtnl::with(|_| unsafe {
                let get = (*(*dev).ethtool_ops).get_rxfh.ok_or(ENXIO)?;
                to_result(get(dev, &raw mut told))
            })
        };
        told(table.as_mut_ptr(), core::ptr::null_mut())?;
        assert_eq!(table, TABLE);
        told(core::ptr::null_mut(), key.as_mut_ptr())?;
        assert_eq!(key, [7; HASH_KEY_SIZE]);
        Ok(())
    }

    /// Receives one frame of each length.
    #[pin_data]
    struct Poller {
        memory: SharedMemory,
        polls: Atomic<u32>,
        received: Atomic<u32>,
        refused: Atomic<u32>,
        masked: Atomic<u32>,
        unmasked: Atomic<u32>,
        #[pin]
        done: Completion,
    }

    const LENGTHS: [usize; 7] = [14, 15, 60, 1514, 3500, 9014, 65_550];

    impl NapiHandler for Poller {
        fn poll(&self, cx: &mut PollContext<'_>) -> Polled {
            if self.polls.fetch_add(1u32, Relaxed) == 0 {
                return Polled::More;
            }
            for len in [0, 13, 70_000, usize::MAX] {
                if cx.copy_frame(&self.memory, 0, len).is_none() {
                    self.refused.fetch_add(1u32, Relaxed);
                }
            }
            // Beyond the end of the memory.
            if cx
                .copy_frame(&self.memory, self.memory.len() - 20, 21)
                .is_none()
            {
                self.refused.fetch_add(1u32, Relaxed);
            }
            for len in LENGTHS {
                if let Some(mut frame) = cx.copy_frame(&self.memory, 3, len) {
                    assert!(frame.is_multicast());
                    frame.set_checksum_good();
                    frame.set_hash(17, true);
                    frame.set_vlan(5);
                    cx.receive(frame);
                    self.received.fetch_add(1u32, Relaxed);
                }
                // In pieces, of which none ends where a page does.
                let pieces = cx.begin_pieces(&self.memory, 3, 14).and_then(|mut pieces| {
                    let mut at = 14;
                    while at < len {
                        let part = (len - at).min(1001);
                        cx.add_piece(&mut pieces, &self.memory, 3 + at, part)?;
                        at += part;
                    }
                    Some(pieces.finish())
                });
                if let Some(mut frame) = pieces {
                    frame.fix_ip_checksum();
                    cx.receive(frame);
                    self.received.fetch_add(1u32, Relaxed);
                }
                // One that is thrown away.
                drop(cx.copy_frame(&self.memory, 0, len));
            }
            Polled::Done
        }

        fn mask(&self) {
            self.masked.fetch_add(1u32, Relaxed);
        }

        fn unmask(&self, _context: &NoSoftirq) -> bool {
            // Counted before anybody is told: who waits for `done` reads it.
            let before = self.unmasked.fetch_add(1u32, Relaxed);
            self.done.complete();
            // The first time there is more to do.
            before == 0
        }
    }

    #[test]
    fn polls_and_receives() -> Result {
        let interface = Unregistered::<Dummy>::new(None, &params())?;
        let dev = interface.device().clone();
        let registration = interface.register(Arc::new(Dummy::new(), GFP_KERNEL)?)?;
        let memory = SharedMemory::new(80_000)?;
        memory.copy_from(3, &[0xff; 12])?;
        let poller = Arc::pin_init(
            pin_init!(Poller {
                memory,
                polls: Atomic::new(0),
                received: Atomic::new(0),
                refused: Atomic::new(0),
                masked: Atomic::new(0),
                unmasked: Atomic::new(0),
                done <- Completion::new(),
            }),
            GFP_KERNEL,
        )?;
        let napi = Napi::<Poller>::new(dev, 1)?;
        // While it is disabled, this does nothing but have it polled once more after it was enabled.
        napi.schedule(|| assert!(false));
        let enabled = napi.clone().enable(poller.clone())?;
        assert!(napi.clone().enable(poller.clone()).is_err());
        napi.schedule(|| poller.mask());
        assert!(poller.done.wait_timeout(5000).is_ok());
        assert!(poller.done.wait_timeout(5000).is_ok());
        drop(enabled);
        // The first poll of all, one for more, and one that the first unmask asked for; and perhaps the one from above.
        let polls = poller.polls.load(Relaxed);
        assert!(polls == 3 || polls == 4);
        assert_eq!(poller.received.load(Relaxed), (polls - 1) * 14);
        assert_eq!(poller.refused.load(Relaxed), (polls - 1) * 5);
        assert_eq!(poller.masked.load(Relaxed), 2);
        assert_eq!(poller.unmasked.load(Relaxed), 2);
        napi.schedule(|| assert!(false));
        // It can be enabled again.
        drop(napi.clone().enable(poller.clone())?);
        drop(registration);
        drop(napi);
        assert!(Arc::into_unique_or_drop(poller).is_some());
        Ok(())
    }

    #[test]
    fn frames_are_completed_once() -> Result {
        let interface = Unregistered::<Dummy>::new(None, &params())?;
        let dev = interface.device();
        // SAFETY: The interface is not registered, so nobody else uses the queue: that is as good as its lock.
        let queue = unsafe { TxQueue::new(dev.tx_queue(1), 1) };
        let slots = Slots::new(2)?;
        let mut ids = [0; 2];
        for (index, id) in ids.iter_mut().enumerate() {
            let frame = packet(100, 7)?;
            let slot = slots.reserve(&queue).ok_or(ENOSPC)?;
            let sent = slot.launch(frame, 5 + index as u64, |given| {
                *id = given;
                Ok(())
            });
            assert!(sent.is_ok());
            assert!(!slots.is_idle());
        }
        assert_eq!(slots.room(), 0);
        assert!(slots.reserve(&queue).is_none());
        // Those of another queue cannot be had.
        let of_another = Slots::new(2)?;
        assert!(of_another.reserve(&queue).is_some());
        // SAFETY: As above.
        let other = unsafe { TxQueue::new(dev.tx_queue(0), 0) };
        assert!(of_another.reserve(&other).is_none());
        let [first, second] = ids;
        let len = |sent: InFlight| match sent.into_load() {
            Load::Packet(packet) => packet.len(),
            _ => 0,
        };
        let tag = slots.claim(second).map(|sent| (sent.tag(), len(sent)));
        assert_eq!(tag, Some((6, 100)));
        assert!(slots.claim(second).is_none());
        // What cannot be sent comes back, and its slot is free again.
        let frame = packet(60, 7)?;
        let slot = slots.reserve(&queue).ok_or(ENOSPC)?;
        let failed = slot.launch(frame, 0, |_| Err(EAGAIN));
        assert!(failed.is_err_and(|(error, frame)| error == EAGAIN && frame.len() == 60));
        assert!(slots.room() > 0);
        // A device that completes what it was not given.
        let frame = packet(60, 7)?;
        let slot = slots.reserve(&queue).ok_or(ENOSPC)?;
        let guessed = slot.launch(frame, 0, |id| {
            drop(slots.claim(id));
            Err(EAGAIN)
        });
        assert!(guessed.is_ok());
        assert!(slots.claim(first).is_some());
        assert!(slots.is_idle());
        slots.drain(|_| assert!(false));
        Ok(())
    }

    #[test]
    fn frames_are_copied_and_described() -> Result {
        let frame = packet(5000, 7)?;
        let memory = SharedMemory::new(8192)?;
        frame.copy_to(&memory, 3000)?;
        assert_eq!(memory.word(3000), Some(0x0707_0707));
        assert_eq!(memory.word(2999), Some(0x0707_0700));
        assert!(frame.copy_to(&memory, 4000).is_err());
        let mut words = [u64::MAX; 6];
        let room = 3 + 5000 / 4096;
        assert!(frame.describe_pages(&mut words[..room - 1]).is_none());
        assert_eq!(words, [u64::MAX; 6]);
        let described = frame.describe_pages(&mut words).ok_or(EINVAL)?;
        let (offset, len) = (words[0] >> 32, words[0] & 0xffff_ffff);
        assert!(offset < 4096 && len == 5000);
        // The head of a packet lies in one piece, of two or three pages.
        let pages = (offset + len).div_ceil(4096);
        assert_eq!(described.ranges, 1);
        assert_eq!(u64::try_from(described.words), Ok(1 + pages));
        for at in 2..described.words {
            assert_eq!(words[at], words[at - 1] + 1);
        }
        assert_eq!(words[described.words], u64::MAX);
        let info = frame.describe();
        assert!(!info.wants_checksum && info.transport.is_none() && info.segment.is_none());
        assert_eq!((info.vlan, info.hash), (None, 0));
        Ok(())
    }

    #[test]
    fn stops_and_wakes() -> Result {
        let interface = Unregistered::<Dummy>::new(None, &params())?;
        let dev = interface.device().clone();
        assert!(!dev.wake_queue(1, || true));
        let registration = interface.register(Arc::new(Dummy::new(), GFP_KERNEL)?)?;
        // SAFETY: The interface is down, so nobody else uses the queue: that is as good as its lock.
        let queue = unsafe { TxQueue::new(dev.tx_queue(1), 1) };
        assert!(queue.stop_unless(|| true).is_ok());
        assert!(!dev.wake_queue(1, || true));
        assert!(queue.stop_unless(|| false).is_err());
        assert!(!dev.wake_queue(0, || true));
        assert!(!dev.wake_queue(2, || true));
        assert!(!dev.wake_queue(1, || false));
        assert!(dev.wake_queue(1, || true));
        assert!(!dev.wake_queue(1, || true));
        // Room that comes while the queue is being stopped is seen.
        let asked = Atomic::new(0u32);
        assert!(queue
            .stop_unless(|| asked.fetch_add(1u32, Relaxed) > 0)
            .is_ok());
        assert!(!dev.wake_queue(1, || true));
        assert!(queue.stop_unless(|| false).is_err());
        drop(registration);
        assert!(!dev.wake_queue(1, || true));
        Ok(())
    }

    /// What belongs to a queue is had by who holds its lock, once, and by nobody with another.
    #[test]
    fn owned_by_a_queue() -> Result {
        let interface = Unregistered::<Dummy>::new(None, &params())?;
        let dev = interface.device();
        // SAFETY: The interface is not registered, so nobody else uses the queues: that is as good as their locks.
        let (one, other) = unsafe {
            (
                TxQueue::new(dev.tx_queue(1), 1),
                TxQueue::new(dev.tx_queue(0), 0),
            )
        };
        let value = QueueOwned::new(1);
        let guard = value.get(&one);
        assert!(value.get(&one).is_none());
        if let Some(mut guard) = guard {
            *guard += 1;
            assert_eq!(*guard, 2);
        }
        assert!(value.get(&one).is_some_and(|guard| *guard == 2));
        assert!(value.get(&other).is_none());
        assert!(value.get(&one).is_some());
        Ok(())
    }

    /// The device is told of a frame at once, unless another follows and the queue goes on.
    #[test]
    fn frames_are_announced() -> Result {
        let interface = Unregistered::<Dummy>::new(None, &params())?;
        let dev = interface.device().clone();
        let dummy = Arc::new(Dummy::new(), GFP_KERNEL)?;
        let registration = interface.register(dummy.clone())?;
        for (len, more, seen) in [
            (60, false, [false, true, false]),
            (60, true, [true, false, true]),
            (STOPS, true, [true, true, true]),
        ] {
            let frame = packet(len, 7)?.into_raw();
            // SAFETY: The frame is ours to give away, and the interface has that queue.
            unsafe { rlis_sys_net::net_test_xmit(frame.as_ptr(), dev.as_raw(), 1, more) };
            for (found, seen) in dummy.announced.iter().zip(seen) {
                assert_eq!(found.load(Relaxed), u32::from(seen));
            }
            dev.forget_sent(1);
        }
        drop(registration);
        Ok(())
    }

    #[test]
    fn addresses() {
        assert!(MacAddress([0, 0x15, 0x5d, 0, 0, 1]).is_valid());
        assert!(!MacAddress([0; 6]).is_valid());
        assert!(!MacAddress([1, 0, 0, 0, 0, 1]).is_valid());
        assert!(!MacAddress([0xff; 6]).is_valid());
    }
}
