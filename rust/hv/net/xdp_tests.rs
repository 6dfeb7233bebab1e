// SPDX-License-Identifier: GPL-2.0

//! Programs on an interface of its own: attached, shown what is received, and frames that are sent.

use kernel::prelude::kunit_tests;

#[kunit_tests(rlis_net_xdp)]
mod cases {
    use crate::*;
    use core::ptr::NonNull;
    use kernel::{
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
    use rlis_sys_net::{
        bpf_prog,
        xdp_frame, //
    };

    /// Takes programs, or not, and some of the frames that are to be sent.
    struct Dummy {
        refuses: Atomic<bool>,
        takes: Atomic<u32>,
    }

    impl Driver for Dummy {
        const XDP: bool = true;

        fn open(&self, _: &NetDevice, _: &Rtnl<'_>) -> Result {
            Ok(())
        }

        fn stop(&self, _: &NetDevice, _: &Rtnl<'_>) {}

        fn transmit(&self, _: &NetDevice, _: &TxQueue<'_>, packet: TxPacket) -> Sent {
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

        fn allows_program(
            &self,
            _: &NetDevice,
            _: &Rtnl<'_>,
        ) -> core::result::Result<(), &'static CStr> {
            if self.refuses.load(Relaxed) {
                return Err(c"not today");
            }
            Ok(())
        }

        /// The first is copied, the second taken, looked at and put back if that is all, and taken for good if not.
        fn transmit_frames(&self, _: &NetDevice, queue: &TxQueue<'_>, frames: &mut Frames<'_>) {
            assert!(queue.index() < 2);
            for number in 0..self.takes.load(Relaxed) {
                assert_eq!(frames.peek(XdpFrame::len), Some(60));
                if number == 0 {
                    frames.copied();
                } else {
                    drop(frames.take());
                }
            }
            if let Some(frame) = frames.take() {
                assert_eq!(frame.range().len, 60);
                frames.put_back(frame);
            }
        }
    }

    fn interface() -> Result<Registration<Dummy>> {
        let params = InterfaceParams {
            queues: 2,
            address: MacAddress([2, 0, 0, 0, 0, 1]),
            mtu: 1500,
            min_mtu: 68,
            max_mtu: 9000,
            features: Features::default(),
        };
        let dummy = Dummy {
            refuses: Atomic::new(false),
            takes: Atomic::new(0),
        };
        Unregistered::<Dummy>::new(None, &params)?.register(Arc::new(dummy, GFP_KERNEL)?)
    }

    /// A program that returns an action. Dropped, it has to have no references but its own.
    struct Made(NonNull<bpf_prog>);

    impl Made {
        fn new(action: u32) -> Result<Self> {
            // SAFETY: No requirements.
            let raw = unsafe { rlis_sys_net::net_test_program(action) };
            Ok(Self(NonNull::new(raw).ok_or(ENOMEM)?))
        }

        fn references(&self) -> u64 {
            // SAFETY: The program is valid until this is dropped.
            unsafe { rlis_sys_net::net_test_program_references(self.0.as_ptr()) }
        }
    }

    impl Drop for Made {
        fn drop(&mut self) {
            assert_eq!(self.references(), 1);
            // SAFETY: There are no more references.
            unsafe { rlis_sys_net::net_test_program_free(self.0.as_ptr()) };
        }
    }

    /// As a user does. Returns the error, and whether there was a reason.
    fn attach(dev: &NetDevice, program: Option<&Made>) -> (c_int, bool) {
        let raw = program.map_or(core::ptr::null_mut(), |made| made.0.as_ptr());
        let mut text = core::ptr::null();
        let error = Rtnl::with(|_| {
            // SAFETY: The interface is registered, and the RTNL held; the program has a reference to be taken of.
            unsafe { rlis_sys_net::net_test_bpf(dev.as_raw(), raw, &mut text) }
        });
        (error, !text.is_null())
    }

    /// No reference to a program is lost or given back twice, whatever becomes of it.
    #[test]
    fn references() -> Result {
        let (one, other) = (Made::new(1)?, Made::new(2)?);
        let registration = interface()?;
        let dev = registration.device();
        assert!(!dev.has_program());
        assert_eq!(attach(dev, Some(&one)), (0, false));
        assert!(dev.has_program());
        assert_eq!(one.references(), 2);
        // Shown to somebody else.
        let copy = Rtnl::with(|rtnl| dev.program(rtnl));
        assert_eq!(one.references(), 3);
        drop(copy);
        // A refusal leaves what was.
        registration.driver().refuses.store(true, Relaxed);
        assert_eq!(attach(dev, Some(&other)), (EOPNOTSUPP.to_errno(), true));
        assert_eq!((one.references(), other.references()), (2, 1));
        registration.driver().refuses.store(false, Relaxed);
        assert_eq!(attach(dev, Some(&other)), (0, false));
        assert_eq!((one.references(), other.references()), (1, 2));
        assert_eq!(attach(dev, None), (0, false));
        assert_eq!(attach(dev, None), (0, false));
        assert_eq!(other.references(), 1);
        // One that is attached still, which the stack does not know of here.
        assert_eq!(attach(dev, Some(&one)), (0, false));
        drop(registration);
        assert_eq!(one.references(), 1);
        Ok(())
    }

    /// Those that are not taken remain the caller's, and those that are taken do not.
    #[test]
    fn frames_are_sent_once() -> Result {
        const COUNT: usize = 5;
        let registration = interface()?;
        let dev = registration.device();
        let send = |takes: u32| -> Result<c_int> {
            registration.driver().takes.store(takes, Relaxed);
            let mut list = [core::ptr::null_mut::<xdp_frame>(); COUNT];
            for place in &mut list {
                // SAFETY: No requirements.
                *place = unsafe { rlis_sys_net::net_test_frame(60, 7) };
                if place.is_null() {
                    return Err(ENOMEM);
                }
            }
            // SAFETY: There are so many frames, and the interface is registered.
            let sent = unsafe {
                rlis_sys_net::net_test_xdp_xmit(dev.as_raw(), list.as_mut_ptr(), COUNT as c_int)
            };
            for frame in list.iter().skip(usize::try_from(sent)?) {
                // SAFETY: These were not taken.
                unsafe { rlis_sys_net::xdp_return_frame(*frame) };
            }
            Ok(sent)
        };
        // Down, it sends nothing.
        assert_eq!(send(3)?, 0);
        // SAFETY: The interface is registered, and the RTNL held.
        Rtnl::with(|_| unsafe {
            assert_eq!(
                rlis_sys_net::dev_open(dev.as_raw(), core::ptr::null_mut()),
                0
            )
        });
        for takes in [0, 1, 3, 5] {
            assert_eq!(send(takes)?, takes as c_int);
        }
        Ok(())
    }

    /// What came of showing a frame to a program.
    #[pin_data]
    struct Poller {
        memory: SharedMemory,
        /// How often each verdict was given, in the order of `NAMES`; and then how often there was none.
        verdicts: [Atomic<u32>; 7],
        /// Frames that were sent, and that were not.
        sent: Atomic<u32>,
        left: Atomic<u32>,
        #[pin]
        done: Completion,
    }

    const PASS: usize = 0;
    const TRANSMIT: usize = 1;
    const DROPPED: usize = 3;
    const ABORTED: usize = 4;
    const NONE: usize = 6;

    /// Frames that each poll shows.
    const FRAMES: u32 = 40;

    impl Poller {
        fn count(&self, verdict: usize) {
            if let Some(count) = self.verdicts.get(verdict) {
                count.fetch_add(1u32, Relaxed);
            }
        }

        fn taken(&self) -> [u32; 7] {
            core::array::from_fn(|at| {
                self.verdicts
                    .get(at)
                    .map_or(0, |count| count.xchg(0, kernel::sync::atomic::Full))
            })
        }

        fn send(&self, cx: &mut PollContext<'_>) {
            let left = cx.send_kept(|cx, frames| {
                cx.with_tx_queue(|queue| assert_eq!(queue.index(), cx.queue()));
                // All but one.
                while frames.left() > 1 {
                    frames.copied();
                    self.sent.fetch_add(1u32, Relaxed);
                }
            });
            self.left.fetch_add(left as u32, Relaxed);
        }
    }

    impl NapiHandler for Poller {
        fn poll(&self, cx: &mut PollContext<'_>) -> Polled {
            for len in [13, XDP_ROOM as usize + 1, 4096] {
                assert!(cx.run_program(&self.memory, 0, len).is_none());
            }
            for number in 0..FRAMES {
                let len = [14, 60, 1514, XDP_ROOM as usize][number as usize % 4];
                match cx.run_program(&self.memory, 0, len) {
                    None => self.count(NONE),
                    Some(Verdict::Pass(packet)) => {
                        assert_eq!(packet.len() as usize, len);
                        assert!(packet.is_multicast());
                        cx.receive(packet);
                        self.count(PASS);
                    }
                    Some(Verdict::Transmit(frame)) => {
                        assert_eq!(frame.len() as usize, len);
                        self.count(TRANSMIT);
                        if let Err(frame) = cx.keep(frame) {
                            self.send(cx);
                            assert!(cx.keep(frame).is_ok());
                        }
                    }
                    Some(Verdict::Redirected) => assert!(false),
                    Some(Verdict::Dropped) => self.count(DROPPED),
                    Some(Verdict::Aborted) => self.count(ABORTED),
                    Some(Verdict::NoMemory) => assert!(false),
                }
            }
            // The last ones are left to be freed.
            self.done.complete();
            Polled::Done
        }

        fn mask(&self) {}

        fn unmask(&self, _context: &NoSoftirq) -> bool {
            false
        }
    }

    #[test]
    fn verdicts() -> Result {
        let registration = interface()?;
        let dev = registration.device().clone();
        let memory = SharedMemory::new(8192)?;
        memory.copy_from(0, &[0xff; 12])?;
        let poller = Arc::pin_init(
            pin_init!(Poller {
                memory,
                verdicts: [const { Atomic::new(0) }; 7],
                sent: Atomic::new(0),
                left: Atomic::new(0),
                done <- Completion::new(),
            }),
            GFP_KERNEL,
        )?;
        let napi = Napi::<Poller>::new(dev.clone(), 1)?;
        let enabled = napi.clone().enable(poller.clone())?;
        let mut expected = [0; 7];
        let mut poll = |program: Option<&Made>, verdict: usize| {
            assert_eq!(attach(&dev, program).0, 0);
            napi.schedule(|| {});
            assert!(poller.done.wait_timeout(5000).is_ok());
            expected = [0; 7];
            if let Some(count) = expected.get_mut(verdict) {
                *count = FRAMES;
            }
            assert_eq!(poller.taken(), expected);
        };
        poll(None, NONE);
        // `XDP_ABORTED` and so on, and one that there is not.
        for (action, verdict) in [
            (0, ABORTED),
            (1, DROPPED),
            (2, PASS),
            (3, TRANSMIT),
            (77, ABORTED),
        ] {
            let made = Made::new(action)?;
            poll(Some(&made), verdict);
            assert_eq!(attach(&dev, None).0, 0);
        }
        poll(None, NONE);
        // Sixteen are kept at a time, of which one is left; the last eight go with the poll.
        assert_eq!(poller.sent.load(Relaxed), 30);
        assert_eq!(poller.left.load(Relaxed), 2);
        drop(enabled);
        drop(registration);
        drop(napi);
        Ok(())
    }
}
