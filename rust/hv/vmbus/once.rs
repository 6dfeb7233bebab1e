// SPDX-License-Identifier: GPL-2.0

//! What statics need: to be made once, by whoever comes first, and to give memory back, since they are never dropped.

use kernel::{
    prelude::*,
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

/// Gives the memory of a static list back once it is empty: nobody else does when the module goes.
pub(crate) fn free_if_empty<T>(list: &mut KVec<T>) {
    if list.is_empty() {
        *list = KVec::new();
    }
}

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
