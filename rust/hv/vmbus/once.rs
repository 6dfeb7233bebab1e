// SPDX-License-Identifier: GPL-2.0

//! What is done once, by whoever comes first.

use kernel::{
    sync::atomic::{
        Acquire,
        Atomic,
        Full,
        Release, //
    },
    time::{
        delay::fsleep,
        Delta, //
    }, //
};

const BUSY: u32 = 1;
const DONE: u32 = 2;

/// Something that is done once.
pub(crate) struct Once(Atomic<u32>);

impl Once {
    /// It is not done yet.
    pub(crate) const fn new() -> Self {
        Self(Atomic::new(0))
    }

    /// Calls `f`, unless that was done. When this returns, it has been. Sleeps.
    pub(crate) fn call(&self, f: impl FnOnce()) {
        if self.0.cmpxchg(0, BUSY, Full).is_ok() {
            f();
            self.0.store(DONE, Release);
        }
        while self.0.load(Acquire) != DONE {
            fsleep(Delta::from_millis(1));
        }
    }
}
