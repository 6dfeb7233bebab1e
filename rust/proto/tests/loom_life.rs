// SPDX-License-Identifier: GPL-2.0

//! The life of a channel under loom: what several CPUs do to it at once, in all interleavings.

use loom::sync::atomic::{AtomicU32, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;
use rlis_proto::vmbus::life::{advance, Device, Event, Kind, Life, Rings, Step, Word};

struct LoomWord(AtomicU32);

impl Word for LoomWord {
    fn load(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }

    fn replace(&self, old: u32, new: u32) -> Result<(), u32> {
        self.0
            .compare_exchange(old, new, Ordering::SeqCst, Ordering::Acquire)
            .map(|_| ())
    }
}

struct Channel {
    life: LoomWord,
    releases: AtomicU32,
    unregistrations: AtomicU32,
}

impl Channel {
    fn new(kind: Kind, change: impl FnOnce(&mut Life)) -> Arc<Self> {
        let mut life = Life::new(kind);
        (life.listed, life.added) = (true, true);
        life.rings = Rings::Closed;
        change(&mut life);
        Arc::new(Self {
            life: LoomWord(AtomicU32::new(life.to_bits())),
            releases: AtomicU32::new(0),
            unregistrations: AtomicU32::new(0),
        })
    }

    fn life(&self) -> Life {
        Life::from_bits(self.life.load())
    }

    fn on(&self, event: Event) -> Option<Step> {
        advance(&self.life, event, |_| ()).map(|(_, _, step)| step)
    }

    fn remove(&self) {
        if self.on(Event::Removed) == Some(Step::ReleaseRelid) {
            self.releases.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn unregister(&self) {
        if self.on(Event::UnregisterBegun).is_some() {
            self.unregistrations.fetch_add(1, Ordering::Relaxed);
            if self.on(Event::Unregistered) == Some(Step::ReleaseRelid) {
                self.releases.fetch_add(1, Ordering::Relaxed);
            }
            self.on(Event::Ended);
            self.remove();
        }
    }

    /// What the host's message and the work that it queues do.
    fn rescind(&self) {
        if self.on(Event::Withdrawn) != Some(Step::QueueRemoval) {
            return;
        }
        match self.on(Event::RemovalBegun { told: false }) {
            Some(Step::Remove) => self.remove(),
            Some(Step::Unregister) => self.unregister(),
            _ => {}
        }
    }
}

/// Either who closes a sub-channel or who withdraws it removes it; never nobody, never both.
#[test]
fn a_sub_channel_is_removed_once() {
    loom::model(|| {
        let channel = Channel::new(Kind::Sub, |life| life.rings = Rings::Opened);
        let host = {
            let channel = channel.clone();
            thread::spawn(move || channel.rescind())
        };
        assert!(channel.on(Event::CloseBegun).is_some());
        assert!(channel.on(Event::Closed).is_some());
        if channel.life().is_over() {
            channel.remove();
        }
        host.join().unwrap();
        assert_eq!(channel.releases.load(Ordering::Relaxed), 1);
        assert!(!channel.life().listed);
    });
}

/// The host withdraws a channel while a driver opens it: it is not open afterwards, or the driver can find that it is over.
#[test]
fn an_open_does_not_miss_a_rescind() {
    loom::model(|| {
        let channel = Channel::new(Kind::Sub, |_| ());
        let host = {
            let channel = channel.clone();
            thread::spawn(move || channel.rescind())
        };
        // A sub-channel that was removed first is still its driver's memory.
        if channel.on(Event::OpenBegun).is_some() && channel.on(Event::Opened).is_none() {
            assert!(channel.life().is_over());
            assert!(channel.on(Event::OpenFailed).is_some());
        }
        if channel.on(Event::CloseBegun).is_some() {
            assert!(channel.on(Event::Closed).is_some());
        }
        host.join().unwrap();
        if channel.life().listed {
            assert!(channel.life().is_over());
            channel.remove();
        }
        assert_eq!(channel.releases.load(Ordering::Relaxed), 1);
    });
}

/// The host and the driver, or the end of the bus, want to unregister the device at the same time.
#[test]
fn a_device_is_unregistered_once() {
    loom::model(|| {
        let channel = Channel::new(Kind::Socket, |life| life.device = Device::Registered);
        let host = {
            let channel = channel.clone();
            thread::spawn(move || channel.rescind())
        };
        channel.on(Event::Ended);
        channel.unregister();
        host.join().unwrap();
        assert_eq!(channel.unregistrations.load(Ordering::Relaxed), 1);
        assert_eq!(channel.releases.load(Ordering::Relaxed), 1);
        assert!(!channel.life().listed);
    });
}

/// The removal waits for the end of the addition, but the rescind does not.
#[test]
fn a_failed_addition_and_a_rescind_remove_once() {
    loom::model(|| {
        let channel = Channel::new(Kind::Primary, |life| life.added = false);
        let host = {
            let channel = channel.clone();
            thread::spawn(move || channel.on(Event::Withdrawn))
        };
        if channel.on(Event::AdditionEnded { failed: true }) == Some(Step::Remove) {
            channel.remove();
        }
        assert_eq!(host.join().unwrap(), Some(Step::QueueRemoval));
        if channel.on(Event::RemovalBegun { told: false }) == Some(Step::Remove) {
            channel.remove();
        }
        assert_eq!(channel.releases.load(Ordering::Relaxed), 1);
    });
}

/// An interrupt calls the callback only while the rings are there: the closer takes it away under the lock that the
/// interrupt takes, and frees the rings when the channel is closed; so does who withdraws it.
#[test]
fn no_callback_after_close() {
    let mut model = loom::model::Builder::new();
    // Three threads: all interleavings take too long.
    model.preemption_bound = Some(2);
    model.check(|| {
        let channel = Channel::new(Kind::Primary, |life| {
            life.rings = Rings::Opened;
            life.device = Device::Registered;
        });
        // Whether there is a callback, and whether its rings are mapped.
        let callback = Arc::new(Mutex::new(true));
        let mapped = Arc::new(AtomicU32::new(1));
        let interrupt = {
            let (callback, mapped) = (callback.clone(), mapped.clone());
            thread::spawn(move || {
                let there = callback.lock().unwrap();
                if *there {
                    assert_eq!(mapped.load(Ordering::Relaxed), 1);
                }
            })
        };
        let host = {
            let (channel, callback) = (channel.clone(), callback.clone());
            thread::spawn(move || {
                *callback.lock().unwrap() = false;
                assert_eq!(channel.on(Event::Withdrawn), Some(Step::QueueRemoval));
            })
        };
        *callback.lock().unwrap() = false;
        assert!(channel.on(Event::CloseBegun).is_some());
        assert!(channel.on(Event::Closed).is_some());
        mapped.store(0, Ordering::Relaxed);
        interrupt.join().unwrap();
        host.join().unwrap();
        assert_eq!(channel.life().rings, Rings::Closed);
    });
}
