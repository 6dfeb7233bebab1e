// SPDX-License-Identifier: GPL-2.0

//! The callback of a channel, where it is called or taken away by somebody else than the bus.

use rlis_hv::{
    lock::SpinLock,
    view::view,
    Tasklet, //
};
use rlis_sys::vmbus_channel;

/// The tasklet that calls the callback, and the lock that it does not change under.
///
/// # Safety
///
/// `raw` must be valid for `'a`.
unsafe fn guards<'a>(raw: *mut vmbus_channel) -> (&'a Tasklet, &'a SpinLock) {
    // SAFETY: The bus has initialised both of any channel.
    unsafe {
        (
            view(&raw mut (*raw).callback_event),
            view(&raw mut (*raw).sched_lock),
        )
    }
}

/// Ends the calls of a channel's callback where the bus does not: a sub-channel that failed to open. The same steps as in the
/// bus's `vmbus_reset_channel_cb`, which modules cannot call. Sleeps.
///
/// # Safety
///
/// `raw` must be valid and claimed by the caller.
pub(super) unsafe fn clear(raw: *mut vmbus_channel) {
    // SAFETY: As required of the caller.
    let (tasklet, lock) = unsafe { guards(raw) };
    let _disabled = tasklet.disable();
    let _guard = lock.lock();
    // SAFETY: The channel is valid. Under the lock, and without the tasklet, nobody reads the field.
    unsafe { (*raw).onchannel_callback = None };
}

/// What the bus does for a signal of the host, but for the masking: the callback is called here or in the tasklet.
///
/// # Safety
///
/// `raw` must be valid, and open with a callback of the caller's.
pub(super) unsafe fn call(raw: *mut vmbus_channel) {
    // SAFETY: As required of the caller.
    let (tasklet, lock) = unsafe { guards(raw) };
    // SAFETY: The channel is valid; the mode does not change while it is open.
    if unsafe { (*raw).callback_mode } != rlis_sys::vmbus_channel_hv_callback_mode_HV_CALL_ISR {
        tasklet.schedule();
        return;
    }
    let _guard = lock.lock();
    // SAFETY: The channel is valid, and the lock is held, under which the bus calls the callback as well.
    unsafe {
        if let Some(callback) = (*raw).onchannel_callback {
            callback((*raw).channel_callback_context);
        }
    }
}
