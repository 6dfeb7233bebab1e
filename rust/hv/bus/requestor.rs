// SPDX-License-Identifier: GPL-2.0

//! Request ids: what goes over the wire instead of the address of a driver's request.
//!
//! Id `n` is slot `n - 1` of an array; 0 is for packets of the host that nobody asked for. A free slot holds
//! the number of the next free one. A bitmap tells which slots are in use, so that an id that the host makes
//! up, or sends twice, finds nothing.

use crate::{
    channel::Owned,
    ring::{
        NO_REQUESTOR,
        REQUEST_ERROR, //
    }, //
};
use core::{
    mem::ManuallyDrop,
    ptr, //
};
use kernel::prelude::*;
use rlis_hv::{
    c_struct,
    lock::SpinLock,
    Field,
    KvSlice, //
};
use rlis_sys as bindings;

/// `VMBUS_RQST_ADDR_ANY`.
const ANY_ADDRESS: u64 = u64::MAX;

const WORD: u64 = usize::BITS as u64;

c_struct! {
    /// `struct vmbus_requestor` of a channel. C code takes its lock, and nothing else.
    // SAFETY: Zero at first, with the lock initialised. The fields are used under the lock.
    unsafe pub(crate) struct Requestor(bindings::vmbus_requestor) {
        fn req_lock -> SpinLock = req_lock;
        fn req_arr -> Field<*mut u64> = req_arr;
        fn req_bitmap -> Field<*mut usize> = req_bitmap;
        fn size -> Field<u32> = size;
        fn next_request_id -> Field<u64> = next_request_id;
    }
}

/// The slots of a requestor.
struct Slots {
    /// A free slot holds the number of the next free one.
    addresses: KvSlice<u64>,
    /// A bit for each slot that is in use.
    used: KvSlice<usize>,
}

/// Makes the slots, if the driver wants any (`rqstor_size`). Sleeps. Not while the channel is open.
///
/// # Errors
///
/// `ENOMEM`.
pub fn alloc(channel: &Owned<'_>) -> Result {
    let size = channel.rqstor_size().get();
    if size == 0 {
        return Ok(());
    }
    let mut slots = Slots {
        addresses: KvSlice::zeroed(size as usize)?,
        used: KvSlice::zeroed(u64::from(size).div_ceil(WORD) as usize)?,
    };
    for (next, slot) in (1..).zip(slots.addresses.iter_mut()) {
        *slot = next;
    }
    if let Some(last) = slots.addresses.last_mut() {
        // Nothing comes after the last.
        *last = u64::MAX;
    }
    drop(channel.requestor().put(Some(slots)));
    Ok(())
}

/// Frees the slots. Not while the channel is open.
pub fn free(channel: &Owned<'_>) {
    drop(channel.requestor().put(None));
}

impl Requestor {
    /// Sets the slots, and returns those there were. Not while the channel is open.
    fn put(&self, new: Option<Slots>) -> Option<Slots> {
        let _guard = self.req_lock().lock();
        // SAFETY: The lock is held, and the pointers are replaced below.
        let old = unsafe { self.slots() }.map(ManuallyDrop::into_inner);
        let (addresses, used, size) = match new {
            None => (ptr::null_mut(), ptr::null_mut(), 0),
            Some(slots) => {
                let size = slots.addresses.len() as u32;
                (slots.addresses.into_raw(), slots.used.into_raw(), size)
            }
        };
        self.req_arr().set(addresses);
        self.req_bitmap().set(used);
        self.size().set(size);
        self.next_request_id().set(0);
        old
    }

    /// The slots, which stay the requestor's.
    ///
    /// # Safety
    ///
    /// The caller has the lock as long as it uses them.
    #[inline]
    unsafe fn slots(&self) -> Option<ManuallyDrop<Slots>> {
        let size = self.size().get();
        let words = u64::from(size).div_ceil(WORD) as usize;
        // SAFETY: `put` stored them with this size, and nobody else uses them while the lock is held.
        let (addresses, used) = unsafe {
            (
                KvSlice::from_raw(self.req_arr().get(), size as usize)?,
                KvSlice::from_raw(self.req_bitmap().get(), words)?,
            )
        };
        Some(ManuallyDrop::new(Slots { addresses, used }))
    }

    /// Whether there are slots, which there are while the channel is open, if its driver wants any.
    #[inline]
    fn has_slots(&self) -> bool {
        !self.req_arr().get().is_null()
    }

    /// Calls `f` with the slots and the number of the next free one, and returns what it returns; [`NO_REQUESTOR`] if there are
    /// none. Any context.
    #[inline]
    fn locked(&self, f: impl FnOnce(&mut Slots, &Field<u64>) -> u64) -> u64 {
        if !self.has_slots() {
            return NO_REQUESTOR;
        }
        let _guard = self.req_lock().lock();
        // SAFETY: The lock is held.
        let slots = unsafe { self.slots() };
        slots.map_or(NO_REQUESTOR, |mut s| f(&mut s, self.next_request_id()))
    }

    /// Stores an address and returns the id for it, [`NO_REQUESTOR`] if the channel has none, or [`REQUEST_ERROR`]
    /// if all slots are in use. Any context.
    pub(crate) fn next_id(&self, address: u64) -> u64 {
        self.locked(|slots, next| slots.next_id(next, address))
    }

    /// The address that is stored under an id, which becomes free if the address is `address` or that is
    /// [`ANY_ADDRESS`]. [`REQUEST_ERROR`] if the id is not in use.
    ///
    /// # Safety
    ///
    /// The caller holds the requestor's lock, if the channel has a requestor.
    pub(crate) unsafe fn take_locked(&self, id: u64, address: u64) -> u64 {
        // SAFETY: As the caller promises.
        let slots = unsafe { self.slots() };
        slots.map_or(NO_REQUESTOR, |mut s| {
            s.take(self.next_request_id(), id, address)
        })
    }

    /// [`Self::take_locked`], with the lock taken here. Any context.
    pub(crate) fn take(&self, id: u64, address: u64) -> u64 {
        self.locked(|slots, next| slots.take(next, id, address))
    }

    /// [`Self::take`] whatever address is stored.
    pub(crate) fn take_any(&self, id: u64) -> u64 {
        self.take(id, ANY_ADDRESS)
    }
}

impl Slots {
    /// Occupies the next free slot, and returns its id.
    #[inline]
    fn next_id(&mut self, next: &Field<u64>, address: u64) -> u64 {
        let slot = next.get();
        match self.occupy(slot, address) {
            Some(free) => {
                next.set(free);
                slot + 1
            }
            None => REQUEST_ERROR,
        }
    }

    /// The address under an id, whose slot becomes the next free one if the address is the right one.
    #[inline]
    fn take(&mut self, next: &Field<u64>, id: u64, address: u64) -> u64 {
        // Id 0 becomes the largest slot number, which no requestor has.
        let slot = id.wrapping_sub(1);
        match self.release(slot, address, next.get()) {
            None => REQUEST_ERROR,
            Some((stored, freed)) => {
                if freed {
                    next.set(slot);
                }
                stored
            }
        }
    }

    /// Word and bit of a slot.
    #[inline]
    fn bit(slot: u64) -> (usize, usize) {
        ((slot / WORD) as usize, 1 << (slot % WORD))
    }

    /// Stores an address in a free slot, and returns the next free one; `None` if there is no such slot.
    #[inline]
    fn occupy(&mut self, slot: u64, address: u64) -> Option<u64> {
        let (word, bit) = Self::bit(slot);
        let entry = self.addresses.get_mut(usize::try_from(slot).ok()?)?;
        *self.used.get_mut(word)? |= bit;
        Some(core::mem::replace(entry, address))
    }

    /// The address in a slot that is in use, and whether it is free now, and `next` the next free one: if the address is
    /// `address`, or that [`ANY_ADDRESS`].
    #[inline]
    fn release(&mut self, slot: u64, address: u64, next: u64) -> Option<(u64, bool)> {
        let (word, bit) = Self::bit(slot);
        let entry = self.addresses.get_mut(usize::try_from(slot).ok()?)?;
        let word = self.used.get_mut(word)?;
        if *word & bit == 0 {
            return None;
        }
        let stored = *entry;
        let freed = address == ANY_ADDRESS || address == stored;
        if freed {
            *entry = next;
            *word ^= bit;
        }
        Some((stored, freed))
    }
}
