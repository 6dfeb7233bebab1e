// SPDX-License-Identifier: GPL-2.0

//! Request ids: what goes over the wire instead of the address of a driver's request.
//!
//! Id `n` is slot `n - 1` of an array; 0 is for packets of the host that nobody asked for. A free slot holds
//! the number of the next free one. A bitmap tells which slots are in use, so that an id that the host makes
//! up, or sends twice, finds nothing.

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
use core::ptr;
use kernel::prelude::*;
use rlis_sys as bindings;

/// `VMBUS_RQST_ADDR_ANY`.
const ANY_ADDRESS: u64 = u64::MAX;

const WORD: u64 = usize::BITS as u64;

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
    // SAFETY: The channel is not open, so nobody uses the requestor. Both arrays have room for what is written.
    unsafe {
        let slots = bindings::vmbus_vzalloc(size as usize * size_of::<u64>()).cast::<u64>();
        let words = u64::from(size).div_ceil(WORD) as usize;
        let bitmap = bindings::vmbus_vzalloc(words * size_of::<usize>()).cast::<usize>();
        if slots.is_null() || bitmap.is_null() {
            bindings::vmbus_vfree(slots.cast());
            bindings::vmbus_vfree(bitmap.cast());
            return Err(ENOMEM);
        }
        for i in 0..size as usize {
            slots.add(i).write(i as u64 + 1);
        }
        // Nothing comes after the last.
        slots.add(size as usize - 1).write(u64::MAX);
        (*r).req_arr = slots;
        (*r).req_bitmap = bitmap;
        (*r).size = size;
        (*r).next_request_id = 0;
        bindings::req_lock_init(&raw mut (*r).req_lock);
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

/// The lock of the requestor.
///
/// # Safety
///
/// The channel was opened with a requestor and the caller does not hold the lock.
unsafe fn lock(channel: &Channel) -> SpinGuard<'_> {
    // SAFETY: Initialised with the requestor.
    unsafe { SpinGuard::lock(&raw mut (*requestor(channel)).req_lock) }
}

#[inline]
fn has_requestor(channel: &Channel) -> bool {
    // SAFETY: A plain read; the slots exist while the channel is open, which the driver sees to.
    unsafe { !(*requestor(channel)).req_arr.is_null() }
}

/// Stores an address and returns the id for it, [`NO_REQUESTOR`] if the channel has none, or [`REQUEST_ERROR`]
/// if all slots are in use. Any context.
pub(crate) fn next_id(channel: &Channel, address: u64) -> u64 {
    if !has_requestor(channel) {
        return NO_REQUESTOR;
    }
    let r = requestor(channel);
    // SAFETY: There is a requestor; its fields are accessed under its lock, and within its size.
    unsafe {
        let _guard = lock(channel);
        let slot = (*r).next_request_id;
        if slot >= u64::from((*r).size) {
            return REQUEST_ERROR;
        }
        let entry = (*r).req_arr.add(slot as usize);
        (*r).next_request_id = entry.read();
        entry.write(address);
        *(*r).req_bitmap.add((slot / WORD) as usize) |= 1 << (slot % WORD);
        slot + 1
    }
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
    unsafe { take_slot(channel, id, address) }
}

/// See [`take_locked`].
///
/// # Safety
///
/// The channel has a requestor, whose lock the caller holds.
#[inline]
unsafe fn take_slot(channel: &Channel, id: u64, address: u64) -> u64 {
    let r = requestor(channel);
    // Id 0 becomes the largest slot number, which no requestor has.
    let slot = id.wrapping_sub(1);
    // SAFETY: There is a requestor, whose lock is held; the slot is within its size.
    unsafe {
        if slot >= u64::from((*r).size) {
            return REQUEST_ERROR;
        }
        let word = (*r).req_bitmap.add((slot / WORD) as usize);
        let bit = 1 << (slot % WORD);
        if *word & bit == 0 {
            return REQUEST_ERROR;
        }
        let entry = (*r).req_arr.add(slot as usize);
        let stored = entry.read();
        if address == ANY_ADDRESS || address == stored {
            entry.write((*r).next_request_id);
            (*r).next_request_id = slot;
            *word ^= bit;
        }
        stored
    }
}

/// [`take_locked`], with the lock taken here. Any context.
pub(crate) fn take(channel: &Channel, id: u64, address: u64) -> u64 {
    if !has_requestor(channel) {
        return NO_REQUESTOR;
    }
    // SAFETY: There is a requestor; the guard holds its lock.
    unsafe {
        let _guard = lock(channel);
        take_slot(channel, id, address)
    }
}

/// [`take`] whatever address is stored.
pub(crate) fn take_any(channel: &Channel, id: u64) -> u64 {
    take(channel, id, ANY_ADDRESS)
}
