// SPDX-License-Identifier: GPL-2.0

//! The frames that a device is sending.

use crate::{
    free_list::FreeList,
    ordered::store_release,
    owned::Owner,
    poll::PollContext,
    queue::TxQueue,
    tx::{
        Sent,
        TxPacket, //
    }, //
};
use core::ptr::NonNull;
use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Full,
        Relaxed, //
    }, //
};
use rlis_hv::{
    load_once,
    Single, //
};
use rlis_sys_net::sk_buff;

/// Bits of a request id that name the slot; those above count how often the slot was used.
const SLOT_BITS: u32 = 32;

/// The use count has 30 bits, so that the two uppermost bits of an id are free for other kinds of requests.
const USES: u64 = 0x3fff_ffff;

/// A place for a frame.
///
/// # Invariants
///
/// If the lower half of `id` is not 0, `skb` is what `TxPacket::into_raw` returned, and whoever sets the lower half to 0
/// by a compare-and-exchange gets that packet.
struct Slot {
    id: Atomic<u64>,
    skb: Single<*mut sk_buff>,
    tag: Single<u64>,
}

impl Slot {
    #[inline]
    fn take(&self, id: u64) -> Option<InFlight> {
        if id == idle(id) {
            return None;
        }
        self.id.cmpxchg(id, idle(id), Full).ok()?;
        let skb = NonNull::new(self.skb.get())?;
        let tag = self.tag.get();
        // SAFETY: By the type invariant, this is what `into_raw` returned, and it is ours alone.
        let packet = unsafe { TxPacket::from_raw(skb) };
        Some(InFlight { packet, tag })
    }
}

/// The frames that a device is sending for one queue, and the ids under which it knows them.
///
/// An id names a slot, and how often that was used; its two uppermost bits are 0, and it is never 0. It is in use for
/// one frame only, and worth nothing once that was taken out: a device that completes a frame twice, too late or without
/// having been given it finds nothing, even if the slot is in use again. There are no locks.
pub struct Slots {
    slots: KVec<Slot>,
    free: FreeList,
    /// The queue whose lock whoever stores a frame holds.
    owner: Owner,
}

/// A slot that is free, chosen under the lock of its queue: nobody else takes it.
pub struct Reserved<'q> {
    slots: &'q Slots,
    slot: &'q Slot,
    number: u32,
    id: u64,
}

impl Reserved<'_> {
    /// Returns the number of the slot, below what the slots were made for.
    #[inline]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Stores the frame, with `tag`, and returns the id by which [`Slots::claim`] finds it. It stays there if the device is
    /// never given it.
    #[inline]
    pub fn store(self, packet: TxPacket, tag: u64) -> u64 {
        let Self {
            slots, slot, id, ..
        } = self;
        slots.free.advance();
        slot.skb.set(packet.into_raw().as_ptr());
        slot.tag.set(tag);
        // INVARIANT: The packet was stored before. The lock of the one queue that the slots belong to is held, so nobody else
        // stores into the slot.
        store_release(&slot.id, id);
        id
    }

    /// Stores the frame, with `tag`, and calls `send` with the id by which [`Slots::claim`] finds it. The frame may be
    /// completed before `send` returns; if that fails, it must not have given the frame away.
    ///
    /// # Errors
    ///
    /// That of `send`, with the frame.
    #[inline]
    pub fn launch(
        self,
        packet: TxPacket,
        tag: u64,
        send: impl FnOnce(u64) -> Result,
    ) -> core::result::Result<Sent, (Error, TxPacket)> {
        let (slots, slot) = (self.slots, self.slot);
        let id = self.store(packet, tag);
        match send(id) {
            Ok(()) => Ok(Sent::taken()),
            Err(error) => match slot.take(id) {
                Some(in_flight) => {
                    slots.free.untake();
                    Err((error, in_flight.packet))
                }
                // The device has made up the id, and completed what it was not given.
                None => Ok(Sent::taken()),
            },
        }
    }
}

/// A frame that the device has sent.
pub struct InFlight {
    packet: TxPacket,
    tag: u64,
}

impl InFlight {
    /// Returns what the frame was launched with.
    #[inline]
    pub fn tag(&self) -> u64 {
        self.tag
    }

    /// Returns the length of the frame in bytes.
    #[inline]
    #[allow(clippy::len_without_is_empty)] // As of `TxPacket`.
    pub fn len(&self) -> u32 {
        self.packet.len()
    }

    /// Frees the frame, in a poll.
    #[inline]
    pub fn consume(self, cx: &PollContext<'_>) {
        self.packet.consume(cx);
    }
}

/// The id that a slot has in its next use.
fn next_id(before: u64, slot: u32) -> u64 {
    let uses = ((before >> SLOT_BITS) + 1) & USES;
    // 0 would be the id of a slot that was never used.
    uses << SLOT_BITS | u64::from(slot) + 1
}

/// The same id, not in use.
fn idle(id: u64) -> u64 {
    id >> SLOT_BITS << SLOT_BITS
}

impl Slots {
    /// Makes room for `count` frames.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, and `EINVAL` for more than 65536.
    pub fn new(count: u32) -> Result<Self> {
        let free = FreeList::new(count)?;
        let mut slots = KVec::with_capacity(usize::try_from(count)?, GFP_KERNEL)?;
        for _ in 0..count {
            // INVARIANT: The lower half of `id` is 0.
            let slot = Slot {
                id: Atomic::new(0),
                skb: Single::new(core::ptr::null_mut()),
                tag: Single::new(0),
            };
            slots.push(slot, GFP_KERNEL)?;
        }
        Ok(Self {
            slots,
            free,
            owner: Owner::new(),
        })
    }

    /// Returns how many frames there is room for. Out of date at once.
    #[inline]
    pub fn room(&self) -> u32 {
        self.free.available()
    }

    /// Returns whether there is room for so many frames, to who holds the queue's lock.
    #[inline]
    pub fn has_room(&self, _queue: &TxQueue<'_>, frames: u32) -> bool {
        self.free.has(frames)
    }

    /// Returns whether the device is sending nothing.
    #[inline]
    pub fn is_idle(&self) -> bool {
        usize::try_from(self.free.available()) == Ok(self.slots.len())
    }

    /// Chooses the slot for the next frame. `None` if there is no room, or if these are the slots of another queue.
    #[inline]
    pub fn reserve<'q>(&'q self, queue: &'q TxQueue<'_>) -> Option<Reserved<'q>> {
        if !self.owner.is(queue) {
            return None;
        }
        let number = self.free.peek()?;
        let slot = self.slot(number)?;
        let before = load_once(&slot.id);
        (before == idle(before)).then_some(Reserved {
            slots: self,
            slot,
            number,
            id: next_id(before, number),
        })
    }

    #[inline]
    fn slot(&self, number: u32) -> Option<&Slot> {
        self.slots.get(usize::try_from(number).ok()?)
    }

    /// Takes a frame out, if there is one with this id. To be called by one task at a time.
    #[inline]
    pub fn claim(&self, id: u64) -> Option<InFlight> {
        // The upper half of an id of ours is at most `USES`.
        let number = u32::try_from(id & ((1 << SLOT_BITS) - 1))
            .ok()?
            .checked_sub(1)?;
        let in_flight = self.slot(number)?.take(id)?;
        self.free.give(number);
        Some(in_flight)
    }

    /// Takes out all frames, which the device will not complete any more, and gives them to `f`.
    pub fn drain(&self, mut f: impl FnMut(InFlight)) {
        for slot in &self.slots {
            if let Some(in_flight) = self.claim(slot.id.load(Relaxed)) {
                f(in_flight);
            }
        }
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        self.drain(drop);
    }
}

#[kunit_tests(rlis_net_slots)]
mod tests {
    use super::*;

    #[test]
    fn ids() {
        let first = next_id(0, 0);
        assert_eq!(first, 1 << 32 | 1);
        assert_eq!(next_id(idle(first), 0), 2 << 32 | 1);
        assert_eq!(next_id(0, 7), 1 << 32 | 8);
        // After the last use the count starts again, and the upper bits stay free.
        assert_eq!(next_id(USES << 32, 0), 1);
        assert_eq!(next_id((USES - 1) << 32, u32::MAX - 1) >> 62, 0);
    }

    #[test]
    fn unknown_ids_find_nothing() -> Result {
        let slots = Slots::new(4)?;
        for id in [
            0,
            1,
            2,
            1 << 32 | 1,
            5,
            1 << 32,
            u64::MAX,
            u64::MAX - 1,
            1 << 63 | 1,
        ] {
            assert!(slots.claim(id).is_none());
        }
        assert!(slots.is_idle());
        assert!(slots.room() > 0);
        slots.drain(|_| assert!(false));
        Ok(())
    }
}
