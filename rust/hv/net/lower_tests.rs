// SPDX-License-Identifier: GPL-2.0

//! One interface below another: joined, sent and received through, set alike, and taken away.

use kernel::prelude::kunit_tests;

#[kunit_tests(rlis_net_lower)]
mod cases {
    use super::super::{
        tests::packet,
        *, //
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
        },
        time::{
            delay::fsleep,
            Delta, //
        }, //
    };

    /// An interface that counts what it is given, or forwards it.
    struct Counting {
        sent: Atomic<u32>,
        forwarded: Atomic<u32>,
        refused: Atomic<u32>,
    }

    impl Counting {
        fn new() -> Self {
            Self {
                sent: Atomic::new(0),
                forwarded: Atomic::new(0),
                refused: Atomic::new(0),
            }
        }
    }

    impl Driver for Counting {
        fn open(&self, _dev: &NetDevice, _rtnl: &Rtnl<'_>) -> Result {
            Ok(())
        }

        fn stop(&self, _dev: &NetDevice, _rtnl: &Rtnl<'_>) {}

        fn transmit(&self, dev: &NetDevice, _queue: &TxQueue<'_>, packet: TxPacket) -> Sent {
            match dev.forward(packet) {
                Ok(sent) => {
                    self.forwarded.fetch_add(1u32, Relaxed);
                    sent
                }
                Err(packet) => {
                    self.sent.fetch_add(1u32, Relaxed);
                    packet.discard()
                }
            }
        }

        fn stats(&self) -> Stats {
            Stats::default()
        }

        fn change_mtu(&self, dev: &NetDevice, rtnl: &Rtnl<'_>, mtu: u32) -> Result {
            if mtu == 1001 {
                return Err(EIO);
            }
            dev.set_mtu(rtnl, mtu);
            Ok(())
        }

        fn change_address(&self, dev: &NetDevice, rtnl: &Rtnl<'_>, address: MacAddress) -> Result {
            dev.set_address(rtnl, address);
            Ok(())
        }

        fn rx_mode(&self) {}

        fn lower_refused(&self, _lower: &Lower<'_>, _error: &Error) {
            self.refused.fetch_add(1u32, Relaxed);
        }

        fn link(&self) -> LinkSettings {
            LinkSettings {
                speed: None,
                duplex: Duplex::Unknown,
            }
        }
    }

    /// Joins the interface with the address 02:…:02.
    struct Joiner {
        upper: Arc<NetDevice>,
        joined: Atomic<u32>,
        left: Atomic<u32>,
    }

    const UPPER: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
    const LOWER: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);

    impl Watcher for Joiner {
        fn event(&self, rtnl: &Rtnl<'_>, event: LowerEvent, lower: &Lower<'_>) {
            // Not of a PCI device.
            assert!(lower.function().is_none());
            let own = self.upper.lower(rtnl).is_some_and(|own| own == *lower);
            match event {
                LowerEvent::Registered if lower.name().as_str() == "lower0" => {
                    lower.mark();
                    assert!(self.upper.join(rtnl, lower).is_ok());
                    assert_eq!(self.upper.join(rtnl, lower), Err(EBUSY));
                    self.joined.fetch_add(1u32, Relaxed);
                }
                LowerEvent::Unregistered if own => {
                    self.upper.leave(rtnl);
                    self.left.fetch_add(1u32, Relaxed);
                }
                _ => {}
            }
        }

        fn moved(&self) {}
    }

    fn interface(address: MacAddress, name: &[u8]) -> Result<Registration<Counting>> {
        let params = InterfaceParams {
            queues: 1,
            address,
            mtu: 1500,
            min_mtu: 68,
            max_mtu: 9000,
            features: Features::default(),
        };
        let interface = Unregistered::<Counting>::new(None, &params)?;
        // SAFETY: The interface is not registered, so nobody else uses the name, which is shorter than the field.
        unsafe {
            let to = (&raw mut (*interface.device().as_raw()).name).cast::<u8>();
            core::ptr::copy_nonoverlapping(name.as_ptr(), to, name.len());
            to.add(name.len()).write(0);
        }
        interface.register(Arc::new(Counting::new(), GFP_KERNEL)?)
    }

    /// A frame for the upper interface.
    fn frame() -> Result<TxPacket> {
        packet(60, 2)
    }

    /// Receives a frame on an interface.
    fn receive(dev: &NetDevice) -> Result {
        let skb = frame()?.into_raw().as_ptr();
        // SAFETY: The packet is ours, with an Ethernet header; the stack takes it.
        unsafe { rlis_sys_net::net_receive(skb, dev.as_raw()) };
        Ok(())
    }

    fn up(dev: &NetDevice) -> Result {
        // SAFETY: The interface is registered, and the RTNL held.
        Rtnl::with(|_| unsafe {
            to_result(rlis_sys_net::dev_open(dev.as_raw(), core::ptr::null_mut()))
        })
    }

    fn set_mtu(dev: &NetDevice, mtu: c_int) -> Result {
        // SAFETY: The interface is registered, and the RTNL held.
        Rtnl::with(|_| unsafe { to_result(rlis_sys_net::dev_set_mtu(dev.as_raw(), mtu)) })
    }

    #[test]
    fn joined_used_and_left() -> Result {
        let upper = interface(UPPER, b"upper0")?;
        let lower = interface(LOWER, b"lower0")?;
        let (above, below) = (upper.device().clone(), lower.device().clone());
        let joiner = Arc::new(
            Joiner {
                upper: above.clone(),
                joined: Atomic::new(0),
                left: Atomic::new(0),
            },
            GFP_KERNEL,
        )?;
        let watch = KBox::pin_init(Watch::new(above.clone(), joiner.clone()), GFP_KERNEL)?;
        assert_eq!(joiner.joined.load(Relaxed), 1);
        assert_eq!(above.name().as_str(), "upper0");
        assert!(above
            .lower_name()
            .is_some_and(|name| name.as_str() == "lower0"));
        // The lower one goes up with the upper one, and is set as that is.
        up(&above)?;
        assert!(below.is_running());
        set_mtu(&above, 1200)?;
        assert_eq!((above.mtu(), below.mtu()), (1200, 1200));
        // Where one of them cannot, both stay as they are.
        assert!(set_mtu(&above, 1001).is_err());
        assert_eq!((above.mtu(), below.mtu()), (1200, 1200));
        // Only if frames go there, and there is a cable.
        assert!(above.forward(frame()?).is_err());
        above.set_forwarding(true);
        assert!(above.forward(frame()?).is_err());
        below.carrier_on();
        // A worker of the stack puts the queue into use, and until then it takes frames and throws them away.
        let mut forwarded = 0;
        while lower.driver().sent.load(Relaxed) == 0 && forwarded < 500 {
            assert!(above.forward(frame()?).is_ok());
            forwarded += 1;
            fsleep(Delta::from_millis(10));
        }
        assert_eq!(lower.driver().sent.load(Relaxed), 1);
        let stats = above.lower_stats();
        assert_eq!(
            (stats.tx_packets, stats.tx_bytes),
            (forwarded, 60 * forwarded)
        );
        receive(&below)?;
        assert_eq!(above.lower_stats().rx_packets, 1);
        // It goes away: at once nothing is sent there any more.
        drop(lower);
        assert_eq!(joiner.left.load(Relaxed), 1);
        assert!(above.forward(frame()?).is_err());
        assert!(Rtnl::with(|rtnl| above.lower(rtnl).is_none()));
        // Another one comes, and the watch ends.
        let lower = interface(LOWER, b"lower0")?;
        assert_eq!(joiner.joined.load(Relaxed), 2);
        drop(watch);
        assert_eq!(joiner.left.load(Relaxed), 2);
        receive(lower.device())?;
        assert_eq!(above.lower_stats().rx_packets, 1);
        assert_eq!(upper.driver().refused.load(Relaxed), 0);
        Ok(())
    }
}
