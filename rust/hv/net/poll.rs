// SPDX-License-Identifier: GPL-2.0

//! What a poll function has at hand.

use crate::{
    device::NetDevice,
    frames::Outgoing, //
};
use core::ptr::NonNull;
use kernel::{
    prelude::*,
    types::NotThreadSafe, //
};
use rlis_hv::NoSoftirq;
use rlis_sys_net::{
    napi_struct,
    page_pool,
    xdp_rxq_info, //
};

/// A poll that is under way.
///
/// # Invariants
///
/// `napi` is being polled, and `pool` and `rxq` are its own; `queue` is one of the interface's.
pub struct PollContext<'a> {
    napi: *mut napi_struct,
    pool: NonNull<page_pool>,
    rxq: *mut xdp_rxq_info,
    budget: c_int,
    done: c_int,
    queue: u16,
    device: &'a NetDevice,
    /// Frames were redirected, which whoever gets them is to be told before the poll ends.
    redirected: bool,
    /// Frames that a program wants sent.
    outgoing: Outgoing,
    _not_send: NotThreadSafe,
}

impl<'a> PollContext<'a> {
    /// Makes the value for a call of the poll function.
    ///
    /// # Safety
    ///
    /// `napi` must be being polled with this budget, by this task, and `pool` and `rxq`, which is registered with that, be its own;
    /// `queue` must be one that `device` has.
    #[inline]
    pub(crate) unsafe fn new(
        napi: *mut napi_struct,
        pool: NonNull<page_pool>,
        rxq: *mut xdp_rxq_info,
        budget: c_int,
        queue: u16,
        device: &'a NetDevice,
    ) -> Self {
        // INVARIANT: As required of the caller.
        Self {
            napi,
            pool,
            rxq,
            budget,
            done: 0,
            queue,
            device,
            redirected: false,
            outgoing: Outgoing::new(),
            _not_send: NotThreadSafe,
        }
    }

    /// The poll ends. Returns how many packets were received.
    #[inline]
    pub(crate) fn finish(&mut self) -> c_int {
        if core::mem::take(&mut self.redirected) {
            // SAFETY: This is the poll in which frames were redirected.
            unsafe { rlis_sys_net::xdp_do_flush() };
        }
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

    /// Returns what says that softirqs are disabled, as they are in a poll.
    #[inline]
    pub fn no_softirq(&self) -> &'a NoSoftirq {
        // SAFETY: By the type invariant, a poll is under way, and `'a` ends with it at the latest.
        unsafe { NoSoftirq::assume() }
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

    #[inline]
    pub(crate) fn rxq(&self) -> *mut xdp_rxq_info {
        self.rxq
    }

    #[inline]
    pub(crate) fn set_redirected(&mut self) {
        self.redirected = true;
    }

    #[inline]
    pub(crate) fn outgoing(&mut self) -> &mut Outgoing {
        &mut self.outgoing
    }

    /// Counts a packet that was looked at and thrown away: work, too.
    #[inline]
    pub fn count(&mut self) {
        self.done = self.done.saturating_add(1);
    }
}
