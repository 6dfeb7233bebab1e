// SPDX-License-Identifier: GPL-2.0

//! Sub-channels: further channels of a device that the host offers on request.

use super::{
    open::{
        Context,
        OpenRaw,
        SubChannels, //
    },
    Channel,
    ChannelHandler,
    OpenParams, //
};
use crate::registry;
use core::ptr::NonNull;
use kernel::{
    prelude::*,
    sync::Arc, //
};
use rlis_sys::vmbus_channel;

/// The host's offer of a sub-channel.
///
/// Dropped without being opened, the sub-channel stays closed for good.
///
/// # Invariants
///
/// `raw` is a valid sub-channel of `primary`, on which the bus is just making the creation callback.
pub struct SubChannelOffer<'a, H: ChannelHandler> {
    raw: NonNull<vmbus_channel>,
    primary: &'a Context<H>,
    subs: &'a mut SubChannels<H>,
}

impl<H: ChannelHandler> SubChannelOffer<'_, H> {
    /// Returns the primary channel.
    pub fn primary(&self) -> &Arc<Channel> {
        &self.primary.channel
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
    /// As [`OpenChannel::open`](super::OpenChannel::open).
    pub fn open(self, params: &OpenParams<'_>) -> Result<Arc<Channel>> {
        // So that nothing can fail once the channel is open.
        self.subs.open.reserve(1, GFP_KERNEL)?;
        let device = self.primary.channel.device();
        // SAFETY: The channel is valid by the type invariant. The bus keeps an open sub-channel until it closes it
        // together with its primary, after which `OpenChannel` drops what is in the list.
        let open =
            unsafe { OpenRaw::open(self.raw, device, params, self.primary.handler.clone())? };
        let channel = open.context.channel.clone();
        // There is room, see above.
        self.subs.open.push(open, GFP_KERNEL)?;
        Ok(channel)
    }
}

/// The sub-channel creation callback of the C API.
///
/// # Safety
///
/// Only for the bus to call, with what the C API prescribes.
pub(super) unsafe extern "C" fn created<H: ChannelHandler>(raw: *mut vmbus_channel) {
    let Some(raw) = NonNull::new(raw) else { return };
    // SAFETY: The bus passes a sub-channel that is valid during the call; its primary outlives it.
    let primary = unsafe { (*raw.as_ptr()).primary_channel };
    let Some(context) = registry::find::<Context<H>>(primary) else {
        return;
    };
    let mut subs = context.subs.lock();
    if subs.closing {
        return;
    }
    // INVARIANT: The bus is making the callback.
    context.handler.on_sub_channel(SubChannelOffer {
        raw,
        primary: &context,
        subs: &mut subs,
    });
}
