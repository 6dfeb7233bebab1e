// SPDX-License-Identifier: GPL-2.0

//! Where channels are found: the table by relid, and the lists of primary channels and of their sub-channels.

use super::{
    Channel,
    ChannelRef, //
};
use crate::{
    connection::{
        self,
        ready_for_suspend,
        table, //
    },
    list::{
        list_add_tail,
        list_del, //
    }, //
};
use core::{
    marker::PhantomData,
    mem::offset_of,
    ptr::{
        self,
        NonNull, //
    },
    sync::atomic::{
        AtomicI32,
        AtomicPtr,
        AtomicU32,
        Ordering, //
    }, //
};
use kernel::sync::aref::AlwaysRefCounted;
use rlis_proto::vmbus::{
    life::{
        Event,
        Step, //
    },
    message::OfferChannel,
    MAX_CHANNEL_RELIDS, //
};
use rlis_sys as bindings;

/// The channel in the table, whose memory stays valid for the RCU section that the caller is in.
pub(crate) fn lookup(relid: u32) -> Option<NonNull<bindings::vmbus_channel>> {
    if relid >= MAX_CHANNEL_RELIDS {
        return None;
    }
    let table = table().load(Ordering::Acquire);
    if table.is_null() {
        return None;
    }
    // SAFETY: In bounds, see above; entries are accessed atomically. The table is freed after a grace period.
    let entry = unsafe { AtomicPtr::from_ptr(table.add(relid as usize)) };
    NonNull::new(entry.load(Ordering::Acquire))
}

/// `vmbus_connection.channel_mutex`, which protects the lists of channels, the table and target CPUs.
///
/// # Invariants
///
/// The mutex is held by the current task.
pub struct ChannelLock(PhantomData<*mut ()>);

/// Takes the lock. Sleeps.
pub fn lock() -> ChannelLock {
    // SAFETY: The mutex is initialised statically; drop unlocks it.
    unsafe { bindings::mutex_lock(&raw mut (*connection::raw()).channel_mutex) };
    // INVARIANT: Just taken.
    ChannelLock(PhantomData)
}

impl Drop for ChannelLock {
    fn drop(&mut self) {
        // SAFETY: Held by the invariants.
        unsafe { bindings::mutex_unlock(&raw mut (*connection::raw()).channel_mutex) };
    }
}

/// Iterates over a list of channels, which does not change meanwhile as the lock is held.
pub struct Iter<'a> {
    head: *mut bindings::list_head,
    at: *mut bindings::list_head,
    offset: usize,
    _lock: PhantomData<&'a ChannelLock>,
}

impl<'a> Iterator for Iter<'a> {
    type Item = &'a Channel;

    fn next(&mut self) -> Option<&'a Channel> {
        if self.at == self.head {
            return None;
        }
        // SAFETY: Entries of the list are fields at this offset in channels; the list owns references.
        unsafe {
            let channel = Channel::from_raw(self.at.byte_sub(self.offset).cast());
            self.at = (*self.at).next;
            Some(channel)
        }
    }
}

impl ChannelLock {
    /// All primary channels.
    pub fn primaries(&self) -> Iter<'_> {
        // SAFETY: The list is initialised statically.
        let (head, at) = unsafe {
            let head = &raw mut (*connection::raw()).chn_list;
            (head, (*head).next)
        };
        Iter {
            head,
            at,
            offset: offset_of!(bindings::vmbus_channel, listentry),
            _lock: PhantomData,
        }
    }

    /// The sub-channels of `primary`.
    pub fn sub_channels<'a>(&'a self, primary: &'a Channel) -> Iter<'a> {
        // SAFETY: The list head is initialised with the channel.
        let (head, at) = unsafe {
            let head = &raw mut (*primary.raw()).sc_list;
            (head, (*head).next)
        };
        Iter {
            head,
            at,
            offset: offset_of!(bindings::vmbus_channel, sc_list),
            _lock: PhantomData,
        }
    }

    /// All channels.
    pub fn all(&self) -> impl Iterator<Item = &Channel> {
        self.primaries().flat_map(|primary| {
            Iterator::chain(core::iter::once(primary), self.sub_channels(primary))
        })
    }

    /// The primary channel of the device that an offer is about, unless it is being removed.
    pub fn find_device(&self, offer: &OfferChannel) -> Option<ChannelRef> {
        self.primaries()
            .find(|c| c.life().has_place() && c.same_device(offer))
            .map(ChannelRef::from)
    }

    /// Puts a new primary channel on the list, which takes over the reference.
    pub fn insert_primary(&mut self, channel: ChannelRef) {
        if channel.on(Event::Listed).is_none() {
            return;
        }
        come(&channel);
        // The list's.
        let channel = ChannelRef::into_raw(channel);
        // SAFETY: The lock is held; the channel was on no list, and is kept by the reference.
        unsafe {
            list_add_tail(
                &raw mut (*channel.as_ref().raw()).listentry,
                &raw mut (*connection::raw()).chn_list,
            )
        };
    }

    /// Puts a new sub-channel on the list of its primary, which takes over the reference; the sub-channel takes one to its
    /// primary.
    pub fn insert_sub_channel(&mut self, primary: &Channel, channel: ChannelRef) {
        if channel.on(Event::Listed).is_none() {
            return;
        }
        primary.inc_ref();
        let channel = ChannelRef::into_raw(channel);
        // SAFETY: As above; the channel is not in use yet.
        unsafe {
            let c = channel.as_ref().raw();
            (*c).primary_channel = primary.raw();
            list_add_tail(&raw mut (*c).sc_list, &raw mut (*primary.raw()).sc_list);
            come(channel.as_ref());
        }
    }

    /// Takes a channel off its list by [`Event::Removed`]; `None` if it is on none.
    pub fn unlink(&mut self, channel: &Channel) -> Option<Unlinked> {
        let step = channel.on(Event::Removed)?;
        let c = channel.raw();
        // SAFETY: The lock is held and the channel was linked until now: a sub-channel through `sc_list`, whose other use
        // is as head of a primary channel's list.
        unsafe {
            if (*c).primary_channel.is_null() {
                list_del(&raw mut (*c).listentry);
            } else {
                list_del(&raw mut (*c).sc_list);
            }
        }
        // SAFETY: The event was accepted, so the list's reference to the channel is ours, and that of a sub-channel to its
        // primary channel, which ends with its time on the list.
        unsafe {
            Some(Unlinked {
                step,
                _primary: channel
                    .primary()
                    .map(|p| ChannelRef::from_raw(NonNull::from(p))),
                _channel: ChannelRef::from_raw(NonNull::from(channel)),
            })
        }
    }

    /// Lets interrupts and rescinds find the channel.
    pub fn map_relid(&mut self, channel: &Channel) {
        let relid = channel.relid();
        // SAFETY: The field is only written here, under the lock, and read atomically.
        let hiwater = unsafe { AtomicU32::from_ptr(&raw mut bindings::rlis_relid_hiwater) };
        if relid > hiwater.load(Ordering::Relaxed) {
            hiwater.store(relid, Ordering::Relaxed);
        }
        self.set_entry(relid, channel.raw());
    }

    /// Lets nobody find the channel with this relid any more.
    pub fn unmap_relid(&mut self, relid: u32) {
        self.set_entry(relid, ptr::null_mut());
    }

    fn set_entry(&mut self, relid: u32, channel: *mut bindings::vmbus_channel) {
        let table = table().load(Ordering::Relaxed);
        if relid < MAX_CHANNEL_RELIDS && !table.is_null() {
            // SAFETY: In bounds; accessed atomically; the table stays while there are channels.
            // A full barrier: the host may send interrupts as soon as the channel is opened.
            unsafe { AtomicPtr::from_ptr(table.add(relid as usize)) }
                .store(channel, Ordering::SeqCst);
        }
    }

    /// Whether the channel is on a list.
    pub fn has(&self, channel: &Channel) -> bool {
        channel.life().listed
    }

    /// Whether another channel of the same device is still there, which then must go first.
    pub fn is_blocked(&self, channel: &Channel) -> bool {
        let offer = channel.offer();
        self.primaries()
            .take_while(|c| !ptr::eq(*c, channel))
            .any(|c| c.same_device(&offer) && c.life().blocks())
    }

    /// The channel that waits until `gone` has gone, and need not wait any more.
    pub fn take_waiting(&mut self, gone: &Channel) -> Option<ChannelRef> {
        if gone.primary().is_some() {
            return None;
        }
        let offer = gone.offer();
        self.primaries()
            .find(|c| c.same_device(&offer) && c.on(Event::Unblocked).is_some())
            .map(ChannelRef::from)
    }
}

/// The references that a list had to a channel, and a sub-channel to its primary channel.
pub struct Unlinked {
    /// What follows from [`Event::Removed`].
    pub step: Step,
    _primary: Option<ChannelRef>,
    _channel: ChannelRef,
}

/// The channels whose end a suspend waits for.
fn count() -> &'static AtomicI32 {
    // SAFETY: `atomic_t` holds an integer that is only accessed atomically; the object lives forever.
    unsafe { AtomicI32::from_ptr((&raw mut (*connection::raw()).nr_chan_close_on_suspend).cast()) }
}

/// How many channels there are whose end a suspend waits for.
pub fn awaited() -> i32 {
    count().load(Ordering::Acquire)
}

/// Counts a new channel that a suspend has to wait for.
fn come(channel: &Channel) {
    if channel.life().awaited {
        count().fetch_add(1, Ordering::Relaxed);
    }
}

/// Counts the end of such a channel, once, and wakes the suspend when it was the last.
pub fn gone(channel: &Channel) {
    if channel.on(Event::Gone).is_some() && count().fetch_sub(1, Ordering::AcqRel) == 1 {
        ready_for_suspend().complete();
    }
}
