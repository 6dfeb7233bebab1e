// SPDX-License-Identifier: GPL-2.0

//! A channel in the hands of its driver.

use super::{
    Channel,
    EventFunction, //
};
use core::{
    ops::Deref,
    ptr,
    sync::atomic::{
        fence,
        Ordering, //
    }, //
};
use kernel::ffi::c_void;

/// A driver's channel callback and what it is called with.
#[derive(Clone, Copy)]
pub struct Callback {
    /// The function.
    pub(crate) function: Option<EventFunction>,
    /// Its argument.
    pub(crate) context: *mut c_void,
}

/// A channel for the one who opens and closes it.
///
/// # Invariants
///
/// The value is with the channel's driver, which calls the bus about this channel from one place at a time, or with the
/// bus, after the driver has let go of the device. Nobody else opens or closes the channel, or uses the memory of its
/// rings but through their mapping.
#[repr(transparent)]
pub struct Owned<'a>(&'a Channel);

impl<'a> Owned<'a> {
    /// # Safety
    ///
    /// As the invariants of the type say.
    pub(crate) unsafe fn new(channel: &'a Channel) -> Self {
        // INVARIANT: The caller promises it.
        Self(channel)
    }

    /// A sub-channel of this channel, which is its driver's, too; `None` if it is none.
    pub fn sub_channel<'b>(&'b self, channel: &'b Channel) -> Option<Owned<'b>> {
        // INVARIANT: A sub-channel is opened and closed by the driver of its primary channel, and that is asking.
        ptr::eq(channel.primary()?, self.0).then_some(Owned(channel))
    }

    /// Sets the driver's callback. The rings are mapped: the callback, and whoever schedules it, uses them.
    pub fn set_callback(&self, callback: Callback) {
        self.channel_callback_context().set(callback.context);
        fence(Ordering::Release);
        self.onchannel_callback().set(callback.function);
    }
}

impl Deref for Owned<'_> {
    type Target = Channel;

    fn deref(&self) -> &Channel {
        self.0
    }
}
