// SPDX-License-Identifier: GPL-2.0

//! What a poll function has at hand.

use crate::device::NetDevice;
use core::ptr::NonNull;
use kernel::{
    prelude::*,
    types::NotThreadSafe, //
};
use rlis_sys_net::{
    napi_struct,
    page_pool, //
};

/// A poll that is under way.
///
/// # Invariants
///
/// `napi` is being polled, and `pool` is its own; `queue` is one of the interface's.
pub struct PollContext<'a> {
    napi: *mut napi_struct,
    pool: NonNull<page_pool>,
    budget: c_int,
    done: c_int,
    queue: u16,
    device: &'a NetDevice,
    _not_send: NotThreadSafe,
}

impl<'a> PollContext<'a> {
    /// Makes the value for a call of the poll function.
    ///
    /// # Safety
    ///
    /// `napi` must be being polled with this budget, by this task, and `pool` be its own; `queue` must be one that `device`
    /// has.
    pub(crate) unsafe fn new(
        napi: *mut napi_struct,
        pool: NonNull<page_pool>,
        budget: c_int,
        queue: u16,
        device: &'a NetDevice,
    ) -> Self {
        // INVARIANT: As required of the caller.
        Self {
            napi,
            pool,
            budget,
            done: 0,
            queue,
            device,
            _not_send: NotThreadSafe,
        }
    }

    /// Returns how many packets were received.
    pub(crate) fn done(&self) -> c_int {
        self.done
    }

    /// Returns whether so many packets were received that others should have a turn.
    #[inline]
    pub fn exhausted(&self) -> bool {
        self.done >= self.budget
    }

    /// Returns the interface.
    #[inline]
    pub fn device(&self) -> &NetDevice {
        self.device
    }

    /// Returns the number of the queue.
    #[inline]
    pub fn queue(&self) -> u16 {
        self.queue
    }

    #[inline]
    pub(crate) fn budget(&self) -> c_int {
        self.budget
    }

    #[inline]
    pub(crate) fn pool(&self) -> *mut page_pool {
        self.pool.as_ptr()
    }

    #[inline]
    pub(crate) fn raw_napi(&self) -> *mut napi_struct {
        self.napi
    }

    /// Counts a packet that was looked at and thrown away: work, too.
    #[inline]
    pub fn count(&mut self) {
        self.done = self.done.saturating_add(1);
    }
}
