// SPDX-License-Identifier: GPL-2.0

//! Recovery of commands that the host does not complete, by work that never waits for a command itself.

use kernel::{
    prelude::*,
    sync::Arc, //
};
use rlis_hv::work::{
    Flags,
    Target,
    Task,
    Worker, //
};

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
}

/// The pending troubles of one adapter.
///
/// Separate from [`Events`](crate::events::Events), whose work sends commands and waits for them: these may be the very
/// commands that need to be recovered.
#[pin_data]
pub(crate) struct Recovery<T: Recover> {
    flags: Flags,
    /// What recovers the adapter, from probe to remove.
    #[pin]
    pub(crate) target: Target<Arc<T>>,
}

impl<T: Recover> Recovery<T> {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            flags: Flags::new(),
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

impl<T: Recover> Task for Recovery<T> {
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
