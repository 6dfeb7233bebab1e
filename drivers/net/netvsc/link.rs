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
use rlis_net::{
    Duplex,
    LinkSettings, //
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
    /// Megabits in a second, or 0. The host's or the user's, whoever said it last.
    speed: Atomic<u32>,
    /// `Duplex`, which only users say something of.
    duplex: Atomic<u32>,
}

impl LinkState {
    /// The cable is not plugged in, as far as is known.
    pub(crate) const fn new() -> Self {
        Self {
            connected: Atomic::new(0),
            moved: Atomic::new(0),
            speed: Atomic::new(0),
            duplex: Atomic::new(Duplex::Full as u32),
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

    /// What is shown of the link. Its speed is that of the host, until a user says another.
    pub(crate) fn settings(&self) -> LinkSettings {
        let duplex = u8::try_from(self.duplex.load(Relaxed)).unwrap_or(u8::MAX);
        LinkSettings {
            speed: Some(self.speed.load(Relaxed)).filter(|speed| *speed != 0),
            duplex: duplex.into(),
        }
    }

    /// A user has said what link there is.
    pub(crate) fn set(&self, link: LinkSettings) {
        self.speed.store(link.speed.unwrap_or(0), Relaxed);
        self.duplex.store(link.duplex as u32, Relaxed);
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
        let shown = |speed, duplex| LinkSettings { speed, duplex };
        assert_eq!(link.settings(), shown(None, Duplex::Full));
        assert!(!link.note(Indication::LinkSpeed(100_000_000)));
        assert_eq!(link.settings(), shown(Some(10_000), Duplex::Full));
        link.set(shown(Some(40), Duplex::Half));
        assert_eq!(link.settings(), shown(Some(40), Duplex::Half));
        assert!(!link.note(Indication::LinkSpeed(50_000_000)));
        assert_eq!(link.settings(), shown(Some(5_000), Duplex::Half));
        link.set(shown(None, Duplex::Unknown));
        assert_eq!(link.settings(), shown(None, Duplex::Unknown));
        assert!(!link.note(Indication::Other(Status(1))));
    }
}
