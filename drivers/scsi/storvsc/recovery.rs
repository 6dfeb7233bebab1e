// SPDX-License-Identifier: GPL-2.0

//! What is done when commands do not come back, by a thread that waits for no command of its own.

use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        },
        Arc,
        Mutex, //
    }, //
};
use rlis_hv::work::{
    Task,
    Worker, //
};

/// Bits of `Recovery::flags`.
const RESET: u32 = 1;
const WITHDRAWN: u32 = 2;

/// What has happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Trouble {
    /// Commands do not come back.
    Late,
    /// The host has withdrawn a sub-channel.
    Withdrawn,
}

/// Who knows what to do.
pub(crate) trait Recover: Send + Sync + 'static {
    /// Commands do not come back. Sleeps.
    fn late(&self);

    /// The host has withdrawn a sub-channel, or is about to withdraw the device. Sleeps.
    fn withdrawn(&self);
}

/// The troubles of one adapter, and who acts on them.
///
/// Apart from the other events of the adapter: acting on those means sending commands, and these may be the ones that do
/// not come back.
#[pin_data]
pub(crate) struct Recovery<T: Recover> {
    flags: Atomic<u32>,
    #[pin]
    target: Mutex<Option<Arc<T>>>,
}

impl<T: Recover> Recovery<T> {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            flags: Atomic::new(0),
            target <- new_mutex!(None),
        })
    }

    /// Changes who acts.
    pub(crate) fn retarget(&self, target: Option<Arc<T>>) {
        let before = core::mem::replace(&mut *self.target.lock(), target);
        drop(before);
    }
}

/// Has something done soon. Any context.
pub(crate) fn report<T: Recover>(worker: &Worker<Recovery<T>>, trouble: Trouble) {
    let flag = match trouble {
        Trouble::Late => RESET,
        Trouble::Withdrawn => WITHDRAWN,
    };
    let mut now = worker.flags.load(Relaxed);
    while let Err(other) = worker.flags.cmpxchg(now, now | flag, Full) {
        now = other;
    }
    worker.queue();
}

impl<T: Recover> Task for Recovery<T> {
    fn run(this: &Worker<Self>) {
        let Some(target) = this.target.lock().clone() else {
            return;
        };
        let flags = this.flags.xchg(0, Full);
        if flags & WITHDRAWN != 0 {
            target.withdrawn();
        }
        if flags & RESET != 0 {
            target.late();
        }
    }
}
