// SPDX-License-Identifier: GPL-2.0

//! The commands that a device is working on.

use crate::{
    command::{
        host_of,
        place, //
    },
    Command,
    InFlight, //
};
use core::ptr::NonNull;
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{Acquire, Atomic, Relaxed},
        Mutex,
        MutexGuard, //
    }, //
};
use rlis_hv::{
    load_once,
    ordered::{
        compare_exchange,
        store_release, //
    }, //
};
use rlis_sys::{
    scsi_cmnd,
    Scsi_Host, //
};

/// Bits of a request id that name the slot; those above count how often the slot was used.
const SLOT_BITS: u32 = 32;

/// Bits of the slot's number that name the tag; those above name the queue.
const TAG_BITS: u32 = 16;

/// The use count has 31 bits, so that no id comes near the reserved ones at the upper end.
const USES: u64 = 0x7fff_ffff;

/// Bits of a slot's pointer: the data are mapped; the time of the command has run out since it was stored.
const MAPPED: usize = 1;
const OVERDUE: usize = 2;

const _: () = assert!(align_of::<scsi_cmnd>() > (MAPPED | OVERDUE));

/// A place for the command that has a certain tag of a certain queue.
///
/// # Invariants
///
/// If the lower half of `id` is not 0, `command` is what `Command::into_raw` returned, with [`MAPPED`] for `mapped` and
/// possibly [`OVERDUE`], and whoever sets the lower half to 0 by a compare-and-exchange gets that command.
struct Slot {
    id: Atomic<u64>,
    command: Atomic<*mut scsi_cmnd>,
}

/// An id for each tag of each hardware queue, under a lock.
type Ids = Pin<KBox<Mutex<KVec<KVVec<u64>>>>>;

/// The commands that a device is working on, and the ids under which it knows them.
///
/// An id names a queue, a tag, and how often that tag has been used. It is never 0, is in use for one command
/// only, and is worth nothing once the command has been taken out: a device that completes a command twice, too
/// late or without having been given it finds nothing, even if the tag is in use again.
///
/// Any function but [`Self::outstanding`] may be called in any context. There is no lock on the way of a command, and
/// each queue has memory of its own.
///
/// They belong to one host adapter for good, which is what [`HostOps::tags`](crate::HostOps::tags) makes them do: only there
/// a queue and a tag name one command.
pub struct Tags {
    /// The host, null before there is one.
    host: Atomic<*mut Scsi_Host>,
    queues: KVec<KVVec<Slot>>,
    /// Room to write down the ids of all slots.
    ids: Ids,
}

/// The commands that were in flight at some time, as far as they still are.
pub struct Outstanding<'a> {
    tags: &'a Tags,
    ids: MutexGuard<'a, KVec<KVVec<u64>>>,
}

impl Outstanding<'_> {
    /// Returns how many of them are still in flight, and for how many of those [`Tags::mark_overdue`] was called. Looks
    /// at all slots.
    pub fn in_flight(&self) -> (usize, usize) {
        let slots = self.tags.queues.iter().flatten();
        let mut counts = (0, 0);
        for (slot, id) in slots.zip(self.ids.iter().flatten()) {
            if in_use(*id) && slot.id.load(Relaxed) == *id {
                counts.0 += 1;
                counts.1 += usize::from(slot.command.load(Relaxed).addr() & OVERDUE != 0);
            }
        }
        counts
    }
}

/// The id that a slot has in its next use.
#[inline]
fn next_id(before: u64, queue: u32, tag: u32) -> u64 {
    let uses = ((before >> SLOT_BITS) + 1) & USES;
    // 0 would be the id of a slot that was never used.
    uses << SLOT_BITS | u64::from(queue) << TAG_BITS | u64::from(tag) + 1
}

/// The same id, not in use.
#[inline]
fn idle(id: u64) -> u64 {
    id >> SLOT_BITS << SLOT_BITS
}

/// The pointer of a slot without its bits.
#[inline]
fn untagged(command: *mut scsi_cmnd) -> *mut scsi_cmnd {
    command.map_addr(|address| address & !(MAPPED | OVERDUE))
}

#[inline]
fn in_use(id: u64) -> bool {
    id != idle(id)
}

impl Tags {
    /// Makes room for `depth` commands, at most 65535, in each of `queues` hardware queues.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, and `EINVAL` for sizes that do not fit into an id.
    pub fn new(queues: u32, depth: u32) -> Result<Self> {
        Ok(Self {
            host: Atomic::new(core::ptr::null_mut()),
            queues: Self::slots(queues, depth)?,
            ids: Self::room(queues, depth)?,
        })
    }

    /// Makes these the tags of a host.
    ///
    /// # Errors
    ///
    /// `EBUSY` if they are another one's.
    pub(crate) fn belong_to(&self, host: NonNull<Scsi_Host>) -> Result {
        let unowned = core::ptr::null_mut();
        match self.host.cmpxchg(unowned, host.as_ptr(), Relaxed) {
            Ok(_) => Ok(()),
            Err(_) => Err(EBUSY),
        }
    }

    /// Whether a host is that of these tags.
    #[inline]
    fn is_own(&self, host: NonNull<Scsi_Host>) -> bool {
        load_once(&self.host) == host.as_ptr()
    }

    // Not inlined into other crates: lockdep wants one name for the lock's class, at one address.
    #[inline(never)]
    fn room(queues: u32, depth: u32) -> Result<Ids> {
        let mut all = KVec::new();
        for _ in 0..queues {
            all.push(
                KVVec::from_elem(0, usize::try_from(depth)?, GFP_KERNEL)?,
                GFP_KERNEL,
            )?;
        }
        KBox::pin_init(new_mutex!(all), GFP_KERNEL)
    }

    fn slots(queues: u32, depth: u32) -> Result<KVec<KVVec<Slot>>> {
        if queues > u32::from(u16::MAX) || depth >= u32::from(u16::MAX) {
            return Err(EINVAL);
        }
        let mut all = KVec::new();
        for _ in 0..queues {
            let mut slots = KVVec::with_capacity(usize::try_from(depth)?, GFP_KERNEL)?;
            for _ in 0..depth {
                // INVARIANT: The lower half of `id` is 0.
                let slot = Slot {
                    id: Atomic::new(0),
                    command: Atomic::new(core::ptr::null_mut()),
                };
                slots.push(slot, GFP_KERNEL)?;
            }
            all.push(slots, GFP_KERNEL)?;
        }
        Ok(all)
    }

    #[inline]
    fn slot(&self, queue: u32, tag: u32) -> Option<&Slot> {
        self.queues
            .get(usize::try_from(queue).ok()?)?
            .get(usize::try_from(tag).ok()?)
    }

    /// The slot that an id names, whether it is in use or not.
    #[inline]
    fn slot_of(&self, id: u64) -> Option<&Slot> {
        let number = id & ((1 << SLOT_BITS) - 1);
        let number = u32::try_from(number).ok()?.checked_sub(1)?;
        self.slot(number >> TAG_BITS, number & ((1 << TAG_BITS) - 1))
    }

    /// Stores a command and returns the id by which [`Self::claim`] finds it: now it may be given to the device.
    ///
    /// # Errors
    ///
    /// The command, if its queue or tag is beyond what [`Self::new`] made room for, and if it is one of another host.
    #[inline]
    pub fn launch(&self, command: Command) -> core::result::Result<u64, Command> {
        let (queue, tag) = command.queue_and_tag();
        let Some(slot) = self
            .slot(queue, tag)
            .filter(|_| self.is_own(command.host()))
        else {
            return Err(command);
        };
        let before = load_once(&slot.id);
        if in_use(before) {
            // Two commands with one tag at a time: the mid-layer never does that.
            return Err(command);
        }
        let (raw, mapped) = command.into_raw();
        let tagged = raw
            .as_ptr()
            .map_addr(|address| address | if mapped { MAPPED } else { 0 });
        store_release(&slot.command, tagged);
        let id = next_id(before, queue, tag);
        // INVARIANT: The command was stored before. Nobody else writes to the slot: it is not in use, and all commands
        // that come here are of one host, which gives a tag to one at a time.
        store_release(&slot.id, id);
        Ok(id)
    }

    /// Takes a command out, if there is one with this id.
    #[inline]
    pub fn claim(&self, id: u64) -> Option<Command> {
        Self::take(self.slot_of(id)?, id)
    }

    #[inline]
    fn take(slot: &Slot, id: u64) -> Option<Command> {
        if !in_use(id) {
            return None;
        }
        if !compare_exchange(&slot.id, id, idle(id)) {
            return None;
        }
        let tagged = load_once(&slot.command);
        let raw = NonNull::new(untagged(tagged))?;
        // SAFETY: By the type invariant of `Slot`, this is what `into_raw` returned, and it is ours alone.
        Some(unsafe { Command::from_raw(raw, tagged.addr() & MAPPED != 0) })
    }

    /// Notes that the time of a command has run out, for [`Outstanding::in_flight`].
    pub fn mark_overdue(&self, command: &InFlight<'_>) {
        let Some(slot) = place(command.raw()).and_then(|(queue, tag)| self.slot(queue, tag)) else {
            return;
        };
        let now = slot.command.load(Relaxed);
        if untagged(now) == command.raw().as_ptr() {
            // Should another command be stored in this moment, nothing is noted.
            // INVARIANT: It is the same pointer.
            let overdue = now.map_addr(|address| address | OVERDUE);
            let _ = slot.command.cmpxchg(now, overdue, Relaxed);
        }
    }

    /// Returns whether a command is in flight, for now. Unlike the others, this may be a command without a tag, such as
    /// a reset that user space asks for comes with. Looks at all slots.
    pub fn holds(&self, command: &InFlight<'_>) -> bool {
        let mut slots = self.queues.iter().flatten();
        slots.any(|slot| {
            in_use(slot.id.load(Acquire))
                && untagged(slot.command.load(Relaxed)) == command.raw().as_ptr()
        })
    }

    /// Takes the command out whose time has run out. `None` if it is just being completed, or one of another host.
    pub fn claim_in_flight(&self, command: &InFlight<'_>) -> Option<Command> {
        if !self.is_own(host_of(command.raw())) {
            return None;
        }
        let (queue, tag) = place(command.raw())?;
        let slot = self.slot(queue, tag)?;
        Self::take(slot, slot.id.load(Relaxed))
    }

    /// Takes out, one by one, all commands that were stored before the call, and gives them to `f`.
    pub fn claim_each(&self, mut f: impl FnMut(Command)) {
        for slot in self.queues.iter().flatten() {
            if let Some(command) = Self::take(slot, slot.id.load(Relaxed)) {
                f(command);
            }
        }
    }

    /// Returns whether there is a command with this id, for now.
    pub fn is_in_flight(&self, id: u64) -> bool {
        in_use(id)
            && self
                .slot_of(id)
                .is_some_and(|slot| slot.id.load(Relaxed) == id)
    }

    /// Writes down which commands are in flight, and returns them. Sleeps while somebody else has such a list.
    pub fn outstanding(&self) -> Outstanding<'_> {
        let mut ids = self.ids.lock();
        let slots = self.queues.iter().flatten();
        for (slot, id) in slots.zip(ids.iter_mut().flatten()) {
            *id = slot.id.load(Relaxed);
        }
        Outstanding { tags: self, ids }
    }

    /// Returns how many commands there are. Looks at all slots.
    pub fn in_flight(&self) -> usize {
        self.queues
            .iter()
            .flatten()
            .filter(|slot| in_use(slot.id.load(Relaxed)))
            .count()
    }
}

#[kunit_tests(rlis_scsi_tags)]
mod tests {
    use super::*;

    #[test]
    fn ids() {
        let first = next_id(0, 0, 0);
        assert_eq!(first, 1 << 32 | 1);
        assert!(in_use(first));
        assert!(!in_use(idle(first)));
        let second = next_id(idle(first), 0, 0);
        assert_eq!(second, 2 << 32 | 1);
        assert_eq!(next_id(0, 3, 7), 1 << 32 | 3 << 16 | 8);
        // After the last use the count starts again.
        assert_eq!(next_id(USES << 32, 0, 0), 1);
    }

    #[test]
    fn unknown_ids_find_nothing() -> Result {
        let tags = Tags::new(2, 4)?;
        for id in [
            0,
            1,
            2,
            1 << 32 | 1,
            5,
            1 << 16 | 1,
            2 << 16 | 1,
            u64::MAX,
            u64::MAX - 2,
            1 << 32,
        ] {
            assert!(tags.claim(id).is_none());
            assert!(!tags.is_in_flight(id));
        }
        assert_eq!(tags.in_flight(), 0);
        let outstanding = tags.outstanding();
        assert_eq!(outstanding.in_flight(), (0, 0));
        drop(outstanding);
        tags.claim_each(|_| assert!(false));
        Ok(())
    }

    #[test]
    fn belong_to_one_host() -> Result {
        let tags = Tags::new(1, 1)?;
        // Nobody looks at what is there.
        let places = [0u8; 2];
        let [one, other] = places
            .each_ref()
            .map(|place| NonNull::from(place).cast::<Scsi_Host>());
        assert!(!tags.is_own(one));
        tags.belong_to(one)?;
        assert_eq!(tags.belong_to(other), Err(EBUSY));
        assert_eq!(tags.belong_to(one), Err(EBUSY));
        assert!(tags.is_own(one) && !tags.is_own(other));
        Ok(())
    }

    #[test]
    fn sizes_are_checked() {
        assert!(Tags::new(1, 65535).is_err());
        assert!(Tags::new(65536, 1).is_err());
    }
}
