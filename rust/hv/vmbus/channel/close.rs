// SPDX-License-Identifier: GPL-2.0

//! Closing channels in a way that tells whether the host is through with them, and opening them again.

use super::{
    open::reset,
    ChannelHandler,
    OpenChannel,
    OpenParams, //
};
use crate::device::Device;
use core::ptr::NonNull;
use kernel::{
    prelude::*,
    sync::{
        aref::ARef,
        rcu,
        Arc, //
    }, //
};
use rlis_sys::vmbus_channel;

/// A device whose channel was closed and can be opened again.
///
/// Drop it when the driver gives the device up.
pub struct Closed<H: ChannelHandler> {
    device: ARef<Device>,
    handler: Arc<H>,
}

impl<H: ChannelHandler> Closed<H> {
    /// Opens the channel again, with the handler that it had. Sleeps until the host has answered.
    ///
    /// # Errors
    ///
    /// As [`OpenChannel::open`].
    pub fn open(&self, params: &OpenParams<'_>) -> Result<OpenChannel<H>> {
        OpenChannel::on(&self.device, params, self.handler.clone())
    }
}

/// A channel that its bus may take away when it has closed it, with a reference to its memory.
struct Kept(NonNull<vmbus_channel>);

impl Kept {
    /// Keeps a sub-channel.
    ///
    /// # Safety
    ///
    /// `raw` must be a valid sub-channel that was given to a driver: it has its kobject by then.
    unsafe fn new(raw: NonNull<vmbus_channel>) -> Self {
        // SAFETY: As required of the caller.
        unsafe { rlis_sys::kobject_get(&raw mut (*raw.as_ptr()).kobj) };
        Self(raw)
    }

    fn is_confirmed(&self) -> bool {
        // SAFETY: The reference keeps the channel.
        unsafe { is_confirmed(self.0.as_ptr()) }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // SAFETY: The reference was taken in `new`.
        unsafe { rlis_sys::kobject_put(&raw mut (*self.0.as_ptr()).kobj) };
    }
}

/// Returns whether the host is through with a channel, after `vmbus_close`: it has confirmed the end of the GPADL of its
/// rings, or has withdrawn it.
///
/// # Safety
///
/// `raw` must be valid, and opened and closed by the caller.
unsafe fn is_confirmed(raw: *mut vmbus_channel) -> bool {
    // SAFETY: As required of the caller. The bus sets the flag with a plain store, so read it once.
    unsafe {
        (*raw).ringbuffer_gpadlhandle.gpadl_handle == 0
            || (&raw const (*raw).rescind).read_volatile()
    }
}

impl<H: ChannelHandler> OpenChannel<H> {
    /// Closes the channel together with its sub-channels, as dropping it does. Sleeps.
    ///
    /// On success the host has confirmed the end of each of them, or withdrawn it: it touches no memory any more that it
    /// was given in a packet.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT` if the host has not confirmed that. What it was given still belongs to it.
    pub fn close(mut self) -> Result<Closed<H>> {
        if !self.close_once() {
            return Err(ETIMEDOUT);
        }
        Ok(Closed {
            device: self.channel().device().into(),
            handler: self.handler().clone(),
        })
    }

    /// Closes the channel, the first time. Returns whether the host has confirmed that.
    pub(super) fn close_once(&mut self) -> bool {
        if core::mem::replace(&mut self.closed, true) {
            return true;
        }
        // No callbacks without context start from here on, and the mutex waits for one that opens a sub-channel.
        self.inner.retire();
        let subs = {
            let mut subs = self.inner.context.subs.lock();
            subs.closing = true;
            core::mem::take(&mut subs.open)
        };
        let mut kept = KVec::new();
        let mut all_kept = true;
        for sub in &subs {
            sub.retire();
            // SAFETY: The bus keeps an open sub-channel until it closes it together with its primary, below.
            let channel = unsafe { Kept::new(sub.context.channel.raw) };
            all_kept &= kept.push(channel, GFP_KERNEL).is_ok();
        }
        // Now nobody starts to use the channels any more; wait for those that do.
        rcu::synchronize_rcu();
        let raw = self.channel().raw.as_ptr();
        // SAFETY: The channel is valid and claimed.
        unsafe { reset(raw) };
        // SAFETY: The channel was opened by us and is closed once, here, and its sub-channels with it.
        unsafe { rlis_sys::vmbus_close(raw) };
        // The bus has ended its calls; only now may the contexts go.
        drop(subs);
        // SAFETY: The channel lives as long as the device, to which `Channel` has a reference.
        all_kept && kept.iter().all(Kept::is_confirmed) && unsafe { is_confirmed(raw) }
    }
}
