// SPDX-License-Identifier: GPL-2.0

//! The lists of primary channels and of their sub-channels.

use super::{
    links::{
        Primaries,
        SubChannels, //
    },
    table,
    Channel,
    ChannelRef, //
};
use crate::connection::{
    self,
    ready_for_suspend, //
};
use core::{
    ptr::{
        self,
        NonNull, //
    },
    sync::atomic::{
        AtomicI32,
        Ordering, //
    }, //
};
use kernel::sync::aref::AlwaysRefCounted;
use rlis_hv::{
    list::{
        Iter,
        Link,
        List,
        Locked, //
    },
    lock::MutexGuard,
    view::view, //
};
use rlis_proto::vmbus::{
    life::{
        Event,
        Step, //
    },
    message::OfferChannel, //
};
use rlis_sys as bindings;

/// The list of primary channels.
fn chn_list() -> &'static List<Primaries> {
    // SAFETY: Initialised statically, and lives forever.
    unsafe { view(&raw mut bindings::vmbus_connection.chn_list) }
}

/// `vmbus_connection.channel_mutex`, which protects the lists of channels, the table and target CPUs.
///
/// # Invariants
///
/// The mutex is held by the current task.
pub struct ChannelLock(#[allow(dead_code)] MutexGuard<'static>);

/// Takes the lock. Sleeps.
pub fn lock() -> ChannelLock {
    // INVARIANT: Just taken.
    ChannelLock(connection::c().channel_mutex().lock())
}

impl ChannelLock {
    fn list<'a, L: Link>(&'a self, list: &'a List<L>) -> Locked<'a, L> {
        // SAFETY: The mutex protects all lists of channels, by the invariants for as long as `self`.
        unsafe { list.locked(()) }
    }

    /// All primary channels.
    pub fn primaries(&self) -> Iter<'_, Primaries> {
        self.list(chn_list()).items()
    }

    /// The sub-channels of `primary`.
    pub fn sub_channels<'a>(&'a self, primary: &'a Channel) -> Iter<'a, SubChannels> {
        self.list(primary.sc_list()).items()
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
        // It was on no list, as the event was accepted.
        let _ = self.list(chn_list()).push(channel);
    }

    /// Puts a new sub-channel on the list of its primary, which takes over the reference; the sub-channel takes one to its
    /// primary.
    pub fn insert_sub_channel(&mut self, primary: &Channel, channel: ChannelRef) {
        if channel.on(Event::Listed).is_none() {
            return;
        }
        primary.inc_ref();
        channel.primary_channel().set(primary.c());
        come(&channel);
        let _ = self.list(primary.sc_list()).push(channel);
    }

    /// Takes a channel off its list by [`Event::Removed`]; `None` if it is on none.
    pub fn unlink(&mut self, channel: &Channel) -> Option<Unlinked> {
        let step = channel.on(Event::Removed)?;
        let primary = channel.primary();
        let channel = match primary {
            None => self.list(chn_list()).remove(channel),
            Some(primary) => self.list(primary.sc_list()).remove(channel),
        };
        let primary = primary.map(|primary| {
            // SAFETY: The event was accepted, so that the sub-channel's reference to its primary channel is ours.
            unsafe { ChannelRef::from_raw(NonNull::from(primary)) }
        });
        Some(Unlinked {
            step,
            _primary: primary,
            _channel: channel,
        })
    }

    /// Lets interrupts and rescinds find the channel.
    pub fn map_relid(&mut self, channel: &Channel) {
        table::set(channel.relid(), Some(channel));
    }

    /// Lets nobody find the channel with this relid any more.
    pub fn unmap_relid(&mut self, relid: u32) {
        table::set(relid, None);
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
    _channel: Option<ChannelRef>,
}

/// The channels whose end a suspend waits for.
fn count() -> &'static AtomicI32 {
    connection::c().nr_chan_close_on_suspend()
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
