// SPDX-License-Identifier: GPL-2.0

//! The frames that a device is sending.

use crate::{
    frames::XdpFrame,
    free_list::FreeList,
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
        Relaxed, //
    }, //
};
use rlis_hv::{
    load_once,
    ordered::{
        compare_exchange,
        store_release, //
    },
    Single, //
};

/// Bits of a request id that name the slot; those above count how often the slot was used.
const SLOT_BITS: u32 = 32;

/// The use count has 30 bits, so that the two uppermost bits of an id are free for other kinds of requests.
const USES: u64 = 0x3fff_ffff;

/// What a slot keeps until the device has sent it.
pub enum Load {
    /// A frame of the stack.
    Packet(TxPacket),
    /// A frame of XDP.
    Frame(XdpFrame),
    /// Nothing: what the device sends was copied to where it takes it from.
    Copied,
}

/// Set in a pointer to a frame of XDP, which is aligned to more than that.
const FRAME: usize = 1;

impl Load {
    /// Gives what it is to the caller, as a pointer that says of which kind.
    #[inline]
    fn into_raw(self) -> *mut c_void {
        match self {
            Self::Packet(packet) => packet.into_raw().as_ptr().cast(),
            Self::Frame(frame) => {
                let raw: *mut c_void = frame.into_raw().as_ptr().cast();
                raw.map_addr(|address| address | FRAME)
            }
            Self::Copied => core::ptr::null_mut(),
        }
    }

    /// Undoes [`Self::into_raw`].
    ///
    /// # Safety
    ///
    /// `raw` must be what that returned, and the caller be the only one who makes something of it.
    #[inline]
    unsafe fn from_raw(raw: *mut c_void) -> Self {
        let Some(some) = NonNull::new(raw) else {
            return Self::Copied;
        };
        if raw.addr() & FRAME == 0 {
            // SAFETY: As required of the caller, it is a packet.
            return Self::Packet(unsafe { TxPacket::from_raw(some.cast()) });
        }
        let frame = raw.map_addr(|address| address & !FRAME);
        // SAFETY: As required of the caller, it is a frame, whose address is not 0.
        Self::Frame(unsafe { XdpFrame::from_raw(NonNull::new_unchecked(frame).cast()) })
    }
}

/// What can be launched: a [`TxPacket`] or an [`XdpFrame`].
pub trait Launch: Sized {
    /// As what a slot keeps.
    fn into_load(self) -> Load;

    /// Back from that. `None` if it is of another kind.
    fn from_load(load: Load) -> Option<Self>;
}

impl Launch for TxPacket {
    #[inline]
    fn into_load(self) -> Load {
        Load::Packet(self)
    }

    #[inline]
    fn from_load(load: Load) -> Option<Self> {
        match load {
            Load::Packet(packet) => Some(packet),
            _ => None,
        }
    }
}

impl Launch for XdpFrame {
    #[inline]
    fn into_load(self) -> Load {
        Load::Frame(self)
    }

    #[inline]
    fn from_load(load: Load) -> Option<Self> {
        match load {
            Load::Frame(frame) => Some(frame),
            _ => None,
        }
    }
}

/// A place for a frame.
///
/// # Invariants
///
/// If the lower half of `id` is not 0, `load` is what `Load::into_raw` returned, and whoever sets the lower half to 0
/// by a compare-and-exchange gets that.
struct Slot {
    id: Atomic<u64>,
    load: Single<*mut c_void>,
    tag: Single<u64>,
}

impl Slot {
    #[inline]
    fn take(&self, id: u64) -> Option<InFlight> {
        if id == idle(id) {
            return None;
        }
        if !compare_exchange(&self.id, id, idle(id)) {
            return None;
        }
        let tag = self.tag.get();
        // INVARIANT: By the type invariant, this is what `into_raw` returned, and it is ours alone.
        Some(InFlight {
            raw: self.load.get(),
            tag,
        })
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

    /// Stores what is sent, with `tag`, and returns the id by which [`Slots::claim`] finds it. It stays there if the device is
    /// never given it.
    #[inline]
    pub fn store(self, load: Load, tag: u64) -> u64 {
        let Self {
            slots, slot, id, ..
        } = self;
        slots.free.advance();
        slot.load.set(load.into_raw());
        slot.tag.set(tag);
        // INVARIANT: The load was stored before. The lock of the one queue that the slots belong to is held, so nobody else
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
    pub fn launch<P: Launch>(
        self,
        packet: P,
        tag: u64,
        send: impl FnOnce(u64) -> Result,
    ) -> core::result::Result<Sent, (Error, P)> {
        let (slots, slot) = (self.slots, self.slot);
        let id = self.store(packet.into_load(), tag);
        match send(id) {
            Ok(()) => Ok(Sent::taken()),
            Err(error) => match slot
                .take(id)
                .and_then(|sent| P::from_load(sent.into_load()))
            {
                Some(packet) => {
                    slots.free.untake();
                    Err((error, packet))
                }
                // The device has made up the id, and completed what it was not given.
                None => Ok(Sent::taken()),
            },
        }
    }
}

/// What the device has sent.
///
/// # Invariants
///
/// `raw` is what `Load::into_raw` returned, and belongs to this.
pub struct InFlight {
    raw: *mut c_void,
    tag: u64,
}

impl InFlight {
    /// Returns what it was launched with.
    #[inline]
    pub fn tag(&self) -> u64 {
        self.tag
    }

    /// Returns what was kept.
    #[inline]
    pub fn into_load(self) -> Load {
        // SAFETY: By the type invariant; this is not dropped.
        unsafe { Load::from_raw(core::mem::ManuallyDrop::new(self).raw) }
    }

    /// Frees it, in a poll.
    #[inline]
    pub fn consume(self, cx: &PollContext<'_>) {
        match self.into_load() {
            Load::Packet(packet) => packet.consume(cx),
            Load::Frame(frame) => drop(frame),
            Load::Copied => {}
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        // SAFETY: By the type invariant.
        drop(unsafe { Load::from_raw(self.raw) });
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
                load: Single::new(core::ptr::null_mut()),
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
