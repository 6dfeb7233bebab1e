// SPDX-License-Identifier: GPL-2.0

//! Recovery of commands that the host does not complete, by work that never waits for a command itself.

use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full, //
        },
        Arc, //
    },
    time::Msecs, //
};
use rlis_hv::{
    load_once,
    work::{
        Flags,
        Target,
        Task,
        Worker, //
    }, //
};

/// For how long the host may not know of a command, in milliseconds, if the mid-layer does not say that a batch has ended: for
/// example because it ended the last command itself, of a device that is being removed.
const UNTOLD_MS: Msecs = 20;

/// Bits of `Recovery::flags`.
const RESET: u32 = 1;
const WITHDRAWN: u32 = 2;

/// What went wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Trouble {
    /// Commands are overdue.
    Late,
    /// The host has rescinded a sub-channel.
    Withdrawn,
}

/// What recovers an adapter.
pub(crate) trait Recover: Send + Sync + 'static {
    /// Commands are overdue. Sleeps.
    fn late(&self);

    /// The host has rescinded a sub-channel, or is about to rescind the device. Sleeps.
    fn withdrawn(&self);

    /// There may be commands that the host was not told of in time.
    fn untold(&self);
}

/// The pending troubles of one adapter.
///
/// Separate from [`Events`](crate::events::Events), whose work sends commands and waits for them: these may be the very
/// commands that need to be recovered.
#[pin_data]
pub(crate) struct Recovery<T: Recover> {
    flags: Flags,
    /// Not 0 from the time of a command that the host is to be told of later until [`Recover::untold`].
    watching: Atomic<u32>,
    /// What recovers the adapter, from probe to remove.
    #[pin]
    pub(crate) target: Target<Arc<T>>,
}

impl<T: Recover> Recovery<T> {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            flags: Flags::new(),
            watching: Atomic::new(0),
            target <- Target::new(),
        })
    }
}

/// Records a trouble and queues the work. Any context.
pub(crate) fn report<T: Recover>(worker: &Worker<Recovery<T>>, trouble: Trouble) {
    worker.flags.set(match trouble {
        Trouble::Late => RESET,
        Trouble::Withdrawn => WITHDRAWN,
    });
    worker.queue();
}

/// Has the host told of a command a little later, whatever happens; to be called when it lies in the ring. Any context.
#[inline]
pub(crate) fn watch<T: Recover>(worker: &Worker<Recovery<T>>) {
    if load_once(&worker.watching) == 0 {
        start_to_watch(worker);
    }
}

#[cold]
fn start_to_watch<T: Recover>(worker: &Worker<Recovery<T>>) {
    if worker.watching.xchg(1, Full) == 0 {
        worker.set_timer(UNTOLD_MS);
    }
}

/// Recovery is possible again after it was disabled, when a timer may have been lost.
pub(crate) fn enable<T: Recover>(worker: &Worker<Recovery<T>>) {
    worker.enable();
    worker.watching.xchg(0, Full);
}

impl<T: Recover> Task for Recovery<T> {
    fn expired(this: &Worker<Self>) {
        // Who sends a command and still finds it set has that told here.
        this.watching.xchg(0, Full);
        if let Some(target) = this.target.get() {
            target.untold();
        }
    }

    fn run(this: &Worker<Self>) {
        let Some(target) = this.target.get() else {
            return;
        };
        let flags = this.flags.take();
        if flags & WITHDRAWN != 0 {
            target.withdrawn();
        }
        if flags & RESET != 0 {
            target.late();
        }
    }
}
