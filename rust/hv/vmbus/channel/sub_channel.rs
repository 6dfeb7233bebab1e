// SPDX-License-Identifier: GPL-2.0

//! Sub-channels: further channels of a device that the host offers on request.

use super::{
    Channel,
    OpenParams, //
};
use core::ptr::NonNull;
use kernel::{
    prelude::*,
    sync::Arc, //
};
use rlis_sys::vmbus_channel;

/// Who opens the sub-channels of a primary channel.
pub(super) trait Opener {
    /// Opens one. Sleeps until the host has answered.
    ///
    /// # Safety
    ///
    /// `raw` must be a valid sub-channel of that primary channel, on which the bus is just making the creation callback.
    unsafe fn open(
        &mut self,
        raw: NonNull<vmbus_channel>,
        params: &OpenParams<'_>,
    ) -> Result<Arc<Channel>>;
}

/// The host's offer of a sub-channel.
///
/// Dropped without being opened, the sub-channel stays closed for good.
///
/// # Invariants
///
/// `raw` is a valid sub-channel of `primary`, on which the bus is just making the creation callback. `opener` is for the
/// sub-channels of `primary`.
pub struct SubChannelOffer<'a> {
    raw: NonNull<vmbus_channel>,
    primary: &'a Arc<Channel>,
    opener: &'a mut dyn Opener,
}

impl<'a> SubChannelOffer<'a> {
    /// # Safety
    ///
    /// As the type invariants say.
    pub(super) unsafe fn new(
        raw: NonNull<vmbus_channel>,
        primary: &'a Arc<Channel>,
        opener: &'a mut dyn Opener,
    ) -> Self {
        // INVARIANT: As required of the caller.
        Self {
            raw,
            primary,
            opener,
        }
    }

    /// Returns the primary channel.
    pub fn primary(&self) -> &Arc<Channel> {
        self.primary
    }

    /// Returns the number of the sub-channel, from 1 on.
    pub fn index(&self) -> u16 {
        let offer = &raw const self.raw_offer().sub_channel_index;
        // SAFETY: By the type invariant the channel is valid, and its offer does not change.
        unsafe { offer.read_unaligned() }
    }

    /// Returns the CPU that the host will interrupt for the sub-channel.
    pub fn target_cpu(&self) -> u32 {
        // SAFETY: By the type invariant the channel is valid; it is not open, so nobody changes the field.
        unsafe { (*self.raw.as_ptr()).target_cpu }
    }

    fn raw_offer(&self) -> &rlis_sys::vmbus_channel_offer {
        // SAFETY: By the type invariant the channel is valid, and its offer does not change.
        unsafe { &(*self.raw.as_ptr()).offermsg.offer }
    }

    /// Opens the sub-channel with the handler of the primary channel. Sleeps until the host has answered.
    ///
    /// The bus closes it together with the primary channel.
    ///
    /// # Errors
    ///
    /// As [`OpenChannel::open`](crate::OpenChannel::open).
    pub fn open(self, params: &OpenParams<'_>) -> Result<Arc<Channel>> {
        // SAFETY: By the type invariants.
        unsafe { self.opener.open(self.raw, params) }
    }
}
