// SPDX-License-Identifier: GPL-2.0

//! What is left to a thread: the state of the cable, the packet filter, news for the neighbours.

use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        },
        Arc, //
    }, //
};
use rlis_hv::work::{
    Target,
    Task,
    Worker, //
};
use rlis_proto::rndis::{
    link_speed,
    Indication, //
};

/// What is known of the cable. The last news counts: nothing is queued.
pub(crate) struct LinkState {
    /// 0: not plugged in.
    connected: Atomic<u32>,
    /// Not 0: it was plugged into another network since the worker has looked.
    moved: Atomic<u32>,
    /// Megabits in a second, or 0.
    speed: Atomic<u32>,
}

impl LinkState {
    /// The cable is not plugged in, as far as is known.
    pub(crate) const fn new() -> Self {
        Self {
            connected: Atomic::new(0),
            moved: Atomic::new(0),
            speed: Atomic::new(0),
        }
    }

    /// Notes news of the host. Returns whether the worker has something to do. Any context.
    pub(crate) fn note(&self, news: Indication) -> bool {
        match news {
            Indication::Connect => {
                self.connected.xchg(1, Full);
                true
            }
            Indication::Disconnect => {
                self.connected.xchg(0, Full);
                true
            }
            Indication::NetworkChange => {
                self.moved.xchg(1, Full);
                true
            }
            Indication::LinkSpeed(units) => {
                self.speed.store(link_speed(units), Relaxed);
                false
            }
            Indication::Other(_) => false,
        }
    }

    /// Returns whether the cable is plugged in.
    pub(crate) fn is_connected(&self) -> bool {
        self.connected.load(Relaxed) != 0
    }

    /// Returns the speed in megabits in a second.
    pub(crate) fn speed(&self) -> Option<u32> {
        Some(self.speed.load(Relaxed)).filter(|speed| *speed != 0)
    }

    /// Returns whether it was plugged into another network since this was asked last.
    pub(crate) fn take_moved(&self) -> bool {
        self.moved.xchg(0, Full) != 0
    }
}

/// What a card leaves to a thread.
pub(crate) trait Owner: Send + Sync {
    /// There is something to do.
    fn work(self: Arc<Self>);

    /// The time of the worker's timer has passed.
    fn time(self: Arc<Self>);
}

/// The worker's task.
#[pin_data]
pub(crate) struct Chores {
    /// The card, from the time that it is registered.
    #[pin]
    pub(crate) owner: Target<Arc<dyn Owner>>,
}

impl Chores {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            owner <- Target::new(),
        })
    }
}

impl Task for Chores {
    fn run(this: &Worker<Self>) {
        if let Some(owner) = this.owner.get() {
            owner.work();
        }
    }

    fn expired(this: &Worker<Self>) {
        if let Some(owner) = this.owner.get() {
            owner.time();
        }
    }
}

#[kunit_tests(hv_netvsc_link)]
mod tests {
    use super::*;
    use rlis_proto::rndis::Status;

    #[test]
    fn the_last_news_counts() {
        let link = LinkState::new();
        assert!(!link.is_connected());
        assert!(link.note(Indication::Connect));
        assert!(link.note(Indication::Disconnect));
        assert!(!link.is_connected());
        assert!(link.note(Indication::Connect));
        assert!(link.is_connected());
        assert!(link.note(Indication::NetworkChange));
        assert!(link.is_connected());
        assert!(link.take_moved());
        assert!(!link.take_moved());
        assert_eq!(link.speed(), None);
        assert!(!link.note(Indication::LinkSpeed(100_000_000)));
        assert_eq!(link.speed(), Some(10_000));
        assert!(!link.note(Indication::Other(Status(1))));
    }
}
