// SPDX-License-Identifier: GPL-2.0

//! Where channels are found: the table by relid, and the lists of primary channels and of their sub-channels.

use super::{
    Channel,
    ChannelRef, //
};
use crate::{
    connection::{
        self,
        State, //
    },
    request::{
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
use kernel::{
    prelude::*,
    sync::aref::AlwaysRefCounted, //
};
use rlis_proto::vmbus::{
    life::Event,
    message::{
        ChannelMessageHeader,
        OfferChannel,
        RelidReleased, //
    },
    MAX_CHANNEL_RELIDS, //
};
use rlis_sys as bindings;

/// The table of channels, by relid; null before and after the connection.
pub(crate) fn table() -> &'static AtomicPtr<*mut bindings::vmbus_channel> {
    // SAFETY: The object lives forever, and the field is only accessed atomically once it is set.
    unsafe { AtomicPtr::from_ptr(&raw mut (*connection::raw()).channels) }
}

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

/// Gives a relid back to the host.
pub(crate) fn release_relid(relid: u32) {
    if connection::state() != State::Connected {
        return;
    }
    let message = RelidReleased {
        header: ChannelMessageHeader::of::<RelidReleased>(),
        child_relid: relid,
    };
    if let Err(e) = connection::post(&message) {
        pr_err!("releasing relid {} failed: {}\n", relid, e.to_errno());
    }
}

/// `vmbus_connection.channel_mutex`, which protects the lists of channels, the table and target CPUs.
///
/// # Invariants
///
/// The mutex is held by the current task.
pub(crate) struct ChannelLock(PhantomData<*mut ()>);

/// Takes the lock. Sleeps.
pub(crate) fn lock() -> ChannelLock {
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
pub(crate) struct Iter<'a> {
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
    pub(crate) fn primaries(&self) -> Iter<'_> {
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
    pub(crate) fn sub_channels<'a>(&'a self, primary: &'a Channel) -> Iter<'a> {
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
    pub(crate) fn all(&self) -> impl Iterator<Item = &Channel> {
        self.primaries().flat_map(|primary| {
            Iterator::chain(core::iter::once(primary), self.sub_channels(primary))
        })
    }

    /// The primary channel of the device that an offer is about, unless it is being removed.
    pub(crate) fn find_device(&self, offer: &OfferChannel) -> Option<ChannelRef> {
        self.primaries()
            .find(|c| c.life().has_place() && c.same_device(offer))
            .map(ChannelRef::from)
    }

    /// Puts a primary channel on the list, which takes over one reference.
    pub(crate) fn insert_primary(&mut self, channel: &Channel) {
        channel.on(Event::Listed);
        come(channel);
        // SAFETY: The lock is held; the channel is on no list.
        unsafe {
            list_add_tail(
                &raw mut (*channel.raw()).listentry,
                &raw mut (*connection::raw()).chn_list,
            )
        };
    }

    /// Puts a sub-channel on the list of its primary, which takes over one reference; the sub-channel takes
    /// another to its primary.
    pub(crate) fn insert_sub_channel(&mut self, primary: &Channel, channel: &Channel) {
        primary.inc_ref();
        channel.on(Event::Listed);
        // SAFETY: The lock is held; the channel is on no list and not in use yet.
        unsafe {
            (*channel.raw()).primary_channel = primary.raw();
            list_add_tail(
                &raw mut (*channel.raw()).sc_list,
                &raw mut (*primary.raw()).sc_list,
            );
        }
        come(channel);
    }

    /// Takes a channel off its list, after [`Event::Removed`].
    pub(super) fn unlink(&mut self, channel: &Channel) {
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
    }

    /// Lets interrupts and rescinds find the channel.
    pub(crate) fn map_relid(&mut self, channel: &Channel) {
        let relid = channel.relid();
        // SAFETY: The field is only written here, under the lock, and read atomically.
        let hiwater = unsafe { AtomicU32::from_ptr(&raw mut bindings::rlis_relid_hiwater) };
        if relid > hiwater.load(Ordering::Relaxed) {
            hiwater.store(relid, Ordering::Relaxed);
        }
        self.set_entry(relid, channel.raw());
    }

    /// Lets nobody find the channel with this relid any more.
    pub(crate) fn unmap_relid(&mut self, relid: u32) {
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
    pub(crate) fn has(&self, channel: &Channel) -> bool {
        channel.life().listed
    }

    /// Whether another channel of the same device is still there, which then must go first.
    pub(crate) fn is_blocked(&self, channel: &Channel) -> bool {
        let offer = channel.offer();
        self.primaries()
            .take_while(|c| !ptr::eq(*c, channel))
            .any(|c| c.same_device(&offer) && c.life().blocks())
    }

    /// The channel that waits until `gone` has gone, and need not wait any more.
    pub(super) fn take_waiting(&mut self, gone: &Channel) -> Option<ChannelRef> {
        if gone.primary().is_some() {
            return None;
        }
        let offer = gone.offer();
        self.primaries()
            .find(|c| c.same_device(&offer) && c.on(Event::Unblocked).is_some())
            .map(ChannelRef::from)
    }
}

/// The channels whose end a suspend waits for.
fn count() -> &'static AtomicI32 {
    // SAFETY: `atomic_t` holds an integer that is only accessed atomically; the object lives forever.
    unsafe { AtomicI32::from_ptr((&raw mut (*connection::raw()).nr_chan_close_on_suspend).cast()) }
}

/// How many channels there are whose end a suspend waits for.
pub(crate) fn awaited() -> i32 {
    count().load(Ordering::Acquire)
}

/// Counts a new channel that a suspend has to wait for.
fn come(channel: &Channel) {
    if channel.life().awaited {
        count().fetch_add(1, Ordering::Relaxed);
    }
}

/// Counts the end of such a channel, once, and wakes the suspend when it was the last.
pub(crate) fn gone(channel: &Channel) {
    if channel.on(Event::Gone).is_some() && count().fetch_sub(1, Ordering::AcqRel) == 1 {
        // SAFETY: The completion is initialised statically.
        unsafe { bindings::complete(&raw mut (*connection::raw()).ready_for_suspend_event) };
    }
}

/// Removes all channels after the connection has ended. Drivers are gone.
pub(crate) fn free_all() {
    loop {
        let list = lock();
        // Sub-channels first: they refer to their primary.
        let next = list
            .primaries()
            .next()
            .map(|p| ChannelRef::from(list.sub_channels(p).next().unwrap_or(p)));
        drop(list);
        let Some(channel) = next else { return };
        crate::request::end(&channel, Event::Ended);
        // Its release removes the channel. Someone who holds the device open must not keep us here.
        crate::device::unregister(&channel);
        channel.remove();
    }
}
