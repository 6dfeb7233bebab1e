// SPDX-License-Identifier: GPL-2.0

//! The request ids of a channel, `struct vmbus_requestor`: memory and lock. What they are:
//! [`rlis_proto::vmbus::request_ids`].

use crate::{
    channel::{
        Channel,
        Owned, //
    },
    lock::SpinGuard,
    ring::{
        NO_REQUESTOR,
        REQUEST_ERROR, //
    }, //
};
use core::{
    ptr,
    slice, //
};
use kernel::prelude::*;
use rlis_proto::vmbus::request_ids::{
    bitmap_words,
    RequestIds, //
};
use rlis_sys as bindings;

/// `VMBUS_RQST_ADDR_ANY`.
const ANY_ADDRESS: u64 = u64::MAX;

fn requestor(channel: &Channel) -> *mut bindings::vmbus_requestor {
    // SAFETY: Only the address is taken.
    unsafe { &raw mut (*channel.raw()).requestor }
}

/// Makes the slots, if the driver wants any (`rqstor_size`). Sleeps. Not while the channel is open.
///
/// # Errors
///
/// `ENOMEM`.
pub fn alloc(channel: &Owned<'_>) -> Result {
    // SAFETY: The driver sets it before it opens the channel.
    let size = unsafe { (*channel.raw()).rqstor_size };
    if size == 0 {
        return Ok(());
    }
    let r = requestor(channel);
    // SAFETY: The channel is not open, so nobody uses the requestor. Both arrays are zeroed, and as large as `ids` takes them
    // to be.
    unsafe {
        let slots = bindings::vmbus_vzalloc(size as usize * size_of::<u64>()).cast::<u64>();
        let words = bitmap_words(size);
        let bitmap = bindings::vmbus_vzalloc(words * size_of::<usize>()).cast::<usize>();
        if slots.is_null() || bitmap.is_null() {
            bindings::vmbus_vfree(slots.cast());
            bindings::vmbus_vfree(bitmap.cast());
            return Err(ENOMEM);
        }
        (*r).req_arr = slots;
        (*r).req_bitmap = bitmap;
        (*r).size = size;
        bindings::req_lock_init(&raw mut (*r).req_lock);
        ids(channel).clear();
    }
    Ok(())
}

/// Frees the slots. Not while the channel is open.
pub fn free(channel: &Owned<'_>) {
    let r = requestor(channel);
    // SAFETY: The channel is closed, so nobody uses the requestor.
    unsafe {
        bindings::vmbus_vfree((*r).req_arr.cast());
        bindings::vmbus_vfree((*r).req_bitmap.cast());
        (*r).req_arr = ptr::null_mut();
        (*r).req_bitmap = ptr::null_mut();
        (*r).size = 0;
    }
}

#[inline]
fn has_requestor(channel: &Channel) -> bool {
    // SAFETY: A plain read; the slots exist while the channel is open, which the driver sees to.
    unsafe { !(*requestor(channel)).req_arr.is_null() }
}

/// The ids of a channel.
///
/// # Safety
///
/// The channel has a requestor, and the caller its lock, or the channel is not open.
#[inline]
unsafe fn ids(channel: &Channel) -> RequestIds<'_> {
    // SAFETY: By `alloc` the arrays have these sizes and are initialised; nobody else uses them.
    unsafe {
        let r = requestor(channel);
        RequestIds {
            slots: slice::from_raw_parts_mut((*r).req_arr, (*r).size as usize),
            in_use: slice::from_raw_parts_mut((*r).req_bitmap, bitmap_words((*r).size)),
            next: &mut (*r).next_request_id,
        }
    }
}

/// Calls `f` with the ids, under their lock; [`NO_REQUESTOR`] if the channel has none, [`REQUEST_ERROR`] for `None`.
#[inline]
fn with_ids(channel: &Channel, f: impl FnOnce(RequestIds<'_>) -> Option<u64>) -> u64 {
    if !has_requestor(channel) {
        return NO_REQUESTOR;
    }
    // SAFETY: There is a requestor, whose lock is initialised with it; the guard holds it.
    unsafe {
        let _guard = SpinGuard::lock(&raw mut (*requestor(channel)).req_lock);
        f(ids(channel)).unwrap_or(REQUEST_ERROR)
    }
}

/// Whether an address that is stored is the one that is asked for.
fn is(address: u64) -> impl FnOnce(u64) -> bool {
    move |stored| address == ANY_ADDRESS || address == stored
}

/// Stores an address and returns the id for it, [`NO_REQUESTOR`] if the channel has none, or [`REQUEST_ERROR`]
/// if all slots are in use. Any context.
pub(crate) fn next_id(channel: &Channel, address: u64) -> u64 {
    with_ids(channel, |mut ids| ids.store(address))
}

/// The address that is stored under an id, which becomes free if the address is `address` or that is
/// [`ANY_ADDRESS`]. [`REQUEST_ERROR`] if the id is not in use.
///
/// # Safety
///
/// The caller holds the requestor's lock, if the channel has a requestor.
pub(crate) unsafe fn take_locked(channel: &Channel, id: u64, address: u64) -> u64 {
    if !has_requestor(channel) {
        return NO_REQUESTOR;
    }
    // SAFETY: There is a requestor, whose lock the caller holds.
    let taken = unsafe { ids(channel) }.take(id, is(address));
    taken.unwrap_or(REQUEST_ERROR)
}

/// [`take_locked`], with the lock taken here. Any context.
pub(crate) fn take(channel: &Channel, id: u64, address: u64) -> u64 {
    with_ids(channel, |mut ids| ids.take(id, is(address)))
}

/// [`take`] whatever address is stored.
pub(crate) fn take_any(channel: &Channel, id: u64) -> u64 {
    take(channel, id, ANY_ADDRESS)
}
