// SPDX-License-Identifier: GPL-2.0

//! A channel whose driver may be called.

use crate::{
    channel::{
        EventFunction,
        Fields, //
    },
    ring::Reader, //
};
use kernel::ffi::c_void;

/// A channel that has a callback, which is not taken away for `'a`.
///
/// # Invariants
///
/// For `'a` [`crate::channel::Channel::reset_callback`] does not return, so that the driver keeps what its callback is called with, and the
/// rings stay mapped: whoever has this has `sched_lock`, or is the channel's tasklet.
pub(crate) struct Active<'a> {
    channel: &'a Fields,
    function: EventFunction,
    context: *mut c_void,
}

impl Fields {
    /// The channel with its callback, if it has one.
    ///
    /// # Safety
    ///
    /// The caller has `sched_lock`, or is the channel's tasklet, as long as the value is used.
    #[inline]
    pub(crate) unsafe fn active(&self) -> Option<Active<'_>> {
        // INVARIANT: As the caller promises.
        Some(Active {
            channel: self,
            function: self.onchannel_callback().get()?,
            context: self.channel_callback_context().get(),
        })
    }

    /// Has the tasklet run in `ms` milliseconds, unless it is called for before. From the tasklet.
    pub(crate) fn look_again(&self, ms: u32) {
        // A channel that has a callback is not freed, and it loses it before the timer.
        self.look_again_timer().set(ms);
    }
}

impl<'a> Active<'a> {
    /// Calls the driver's callback.
    #[inline]
    pub(crate) fn call(&self) {
        // SAFETY: By the invariants.
        unsafe { (self.function)(self.context) };
    }

    /// Masks the host's signals for the inbound ring (`hv_begin_read`).
    #[inline]
    pub(crate) fn mask_interrupts(&self) {
        // SAFETY: By the invariants the ring stays mapped. A reader is not disturbed by this.
        if let Some(reader) = unsafe { Reader::of(self.channel) } {
            reader.mask_interrupts();
        }
    }

    /// The reading side of the channel. In the tasklet: the driver reads in its callback only.
    #[inline]
    pub(crate) fn reader(&self) -> Option<Reader<'a>> {
        // SAFETY: By the invariants the ring stays mapped, and nobody else reads.
        unsafe { Reader::of(self.channel) }
    }
}
