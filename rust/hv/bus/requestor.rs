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
    ptr,
    slice, //
};
use kernel::prelude::*;
use rlis_hv::{
    c_struct,
    kv::Bits,
    lock::SpinLock,
    Field,
    KvSlice, //
};
use rlis_sys as bindings;

/// `VMBUS_RQST_ADDR_ANY`.
const ANY_ADDRESS: u64 = u64::MAX;

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

/// The slots of a requestor, for who has its lock.
struct Slots<'a> {
    /// A free slot holds the number of the next free one.
    addresses: &'a mut [u64],
    /// Which slots are in use.
    used: Bits<'a>,
    /// The next free slot.
    next: &'a Field<u64>,
}

/// The memory of slots.
struct Memory {
    addresses: KvSlice<u64>,
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
    let mut memory = Memory {
        addresses: KvSlice::zeroed(size as usize)?,
        used: KvSlice::zeroed(Bits::words(size as usize))?,
    };
    for (next, slot) in (1..).zip(memory.addresses.iter_mut()) {
        *slot = next;
    }
    if let Some(last) = memory.addresses.last_mut() {
        // Nothing comes after the last.
        *last = u64::MAX;
    }
    drop(channel.requestor().put(Some(memory)));
    Ok(())
}

/// Frees the slots. Not while the channel is open.
pub fn free(channel: &Owned<'_>) {
    drop(channel.requestor().put(None));
}

impl Requestor {
    /// Sets the memory of slots, and returns what there was. Not while the channel is open.
    fn put(&self, new: Option<Memory>) -> Option<Memory> {
        let _guard = self.req_lock().lock();
        let size = self.size().get() as usize;
        let (addresses, used, len) = match new {
            None => (ptr::null_mut(), ptr::null_mut(), 0),
            Some(memory) => {
                let len = memory.addresses.len() as u32;
                (memory.addresses.into_raw(), memory.used.into_raw(), len)
            }
        };
        let old = (
            self.req_arr().replace(addresses),
            self.req_bitmap().replace(used),
        );
        self.size().set(len);
        self.next_request_id().set(0);
        // SAFETY: Only this function writes the fields, and what was there is given up to the caller.
        let (addresses, used) = unsafe {
            (
                KvSlice::from_raw(old.0, size)?,
                KvSlice::from_raw(old.1, Bits::words(size))?,
            )
        };
        Some(Memory { addresses, used })
    }

    /// Whether there are slots, which there are while the channel is open, if its driver wants any.
    #[inline]
    fn has_slots(&self) -> bool {
        !self.req_arr().get().is_null()
    }

    /// The slots, of which there are some.
    ///
    /// # Safety
    ///
    /// [`Self::has_slots`], and the caller has the lock as long as it uses them.
    #[inline]
    unsafe fn slots(&self) -> Slots<'_> {
        let size = self.size().get() as usize;
        // SAFETY: `put` stored both with this size, and nobody else uses them while the lock is held.
        let (addresses, used) = unsafe {
            (
                slice::from_raw_parts_mut(self.req_arr().get(), size),
                Bits::from_raw(self.req_bitmap().get(), size),
            )
        };
        Slots {
            addresses,
            used,
            next: self.next_request_id(),
        }
    }

    /// Calls `f` with the slots, and returns what it returns; [`NO_REQUESTOR`] if there are none. Any context.
    #[inline]
    fn locked(&self, f: impl FnOnce(Slots<'_>) -> u64) -> u64 {
        if !self.has_slots() {
            return NO_REQUESTOR;
        }
        let _guard = self.req_lock().lock();
        // SAFETY: The lock is held. There were slots, and they stay as long as the channel is open, which is when ids are asked for:
        // `put` is for an `Owned` channel that is closed.
        f(unsafe { self.slots() })
    }

    /// Stores an address and returns the id for it, [`NO_REQUESTOR`] if the channel has none, or [`REQUEST_ERROR`]
    /// if all slots are in use. Any context.
    pub(crate) fn next_id(&self, address: u64) -> u64 {
        self.locked(|slots| slots.next_id(address))
    }

    /// The address that is stored under an id, which becomes free if the address is `address` or that is
    /// [`ANY_ADDRESS`]. [`REQUEST_ERROR`] if the id is not in use.
    ///
    /// # Safety
    ///
    /// The caller holds the requestor's lock, if the channel has a requestor.
    pub(crate) unsafe fn take_locked(&self, id: u64, address: u64) -> u64 {
        if !self.has_slots() {
            return NO_REQUESTOR;
        }
        // SAFETY: As the caller promises.
        unsafe { self.slots() }.take(id, address)
    }

    /// [`Self::take_locked`], with the lock taken here. Any context.
    pub(crate) fn take(&self, id: u64, address: u64) -> u64 {
        self.locked(|slots| slots.take(id, address))
    }

    /// [`Self::take`] whatever address is stored.
    pub(crate) fn take_any(&self, id: u64) -> u64 {
        self.take(id, ANY_ADDRESS)
    }
}

impl Slots<'_> {
    /// Occupies the next free slot, and returns its id; [`REQUEST_ERROR`] if there is none.
    #[inline]
    fn next_id(mut self, address: u64) -> u64 {
        let slot = self.next.get();
        let Some(entry) = self.addresses.get_mut(slot as usize) else {
            return REQUEST_ERROR;
        };
        self.next.set(*entry);
        *entry = address;
        self.used.set(slot as usize);
        slot + 1
    }

    /// The address under an id, whose slot becomes the next free one if the address is `address`, or that [`ANY_ADDRESS`];
    /// [`REQUEST_ERROR`] if it is not in use.
    #[inline]
    fn take(mut self, id: u64, address: u64) -> u64 {
        // Id 0 becomes the largest slot number, which no requestor has.
        let slot = id.wrapping_sub(1);
        let Some(entry) = self.addresses.get_mut(slot as usize) else {
            return REQUEST_ERROR;
        };
        if !self.used.get(slot as usize) {
            return REQUEST_ERROR;
        }
        let stored = *entry;
        if address == ANY_ADDRESS || address == stored {
            *entry = self.next.get();
            self.next.set(slot);
            self.used.flip(slot as usize);
        }
        stored
    }
}
