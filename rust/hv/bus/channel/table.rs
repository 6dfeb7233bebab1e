// SPDX-License-Identifier: GPL-2.0

//! The table of channels by relid, in which interrupts and rescinds find them.

use super::{
    Channel,
    ChannelRef,
    Fields, //
};
use crate::connection;
use core::{
    ptr::{
        self,
        NonNull, //
    },
    sync::atomic::{
        AtomicPtr,
        AtomicU32,
        Ordering, //
    }, //
};
use kernel::{
    prelude::*,
    sync::rcu, //
};
use rlis_hv::KvSlice;
use rlis_proto::vmbus::MAX_CHANNEL_RELIDS;
use rlis_sys as bindings;

/// The table, `vmbus_connection.channels`: a channel or null for each relid.
///
/// # Invariants
///
/// What entries point to are channels whose memory is freed a grace period after the entry was cleared.
#[repr(transparent)]
pub(crate) struct Table([AtomicPtr<Channel>; RELIDS]);

const RELIDS: usize = MAX_CHANNEL_RELIDS as usize;

/// No relid beyond this has been in the table.
static HIWATER: AtomicU32 = AtomicU32::new(0);

/// The table, if there is a connection.
#[inline]
pub(crate) fn get(_rcu: &rcu::Guard) -> Option<&Table> {
    let table = connection::c().channels().load(Ordering::Acquire);
    // SAFETY: Null, or a table of that size, which is freed a grace period after it was taken away: `Relids`.
    unsafe { table.cast::<Table>().as_ref() }
}

/// Puts a channel in the table, or takes it out. Under the lock of channels.
pub(super) fn set(relid: u32, channel: Option<&Channel>) {
    let rcu = rcu::read_lock();
    let Some(table) = get(&rcu) else { return };
    let Some(entry) = table.0.get(relid as usize) else {
        return;
    };
    HIWATER.fetch_max(relid, Ordering::Relaxed);
    let channel = channel.map_or(ptr::null_mut(), |c| ptr::from_ref(c).cast_mut());
    // INVARIANT: A channel is taken out of the table before its last reference goes, and freed by `kfree_rcu`.
    // A full barrier: the host may send interrupts as soon as the channel is opened.
    entry.store(channel, Ordering::SeqCst);
}

impl Table {
    /// No relid beyond this is in the table.
    #[inline]
    pub(crate) fn hiwater(&self) -> u32 {
        HIWATER.load(Ordering::Relaxed)
    }

    /// The channel with a relid.
    #[inline]
    pub(crate) fn find<'a>(&self, relid: u32, _rcu: &'a rcu::Guard) -> Option<Found<'a>> {
        let channel = self.0.get(relid as usize)?.load(Ordering::Acquire);
        // SAFETY: Null, or by the invariants valid as long as the RCU section.
        // INVARIANT: As above.
        unsafe { channel.as_ref() }.map(Found)
    }
}

/// A channel that was found in the table.
///
/// # Invariants
///
/// Its memory stays valid for `'a`, the RCU section that it was found in. Its reference count may be zero.
pub(crate) struct Found<'a>(&'a Channel);

impl<'a> Found<'a> {
    /// A reference to it, if there is one left.
    pub(super) fn keep(&self) -> Option<ChannelRef> {
        // SAFETY: By the invariants; the object of a channel is a valid one. What is returned is the reference just taken.
        unsafe {
            let kept = bindings::kobject_get_unless_zero(&raw mut (*self.0.c()).kobj);
            (!kept.is_null()).then(|| ChannelRef::from_raw(NonNull::from(self.0)))
        }
    }

    /// The channel's fields.
    #[inline]
    pub(crate) fn fields(&self) -> &'a Fields {
        self.0
    }
}

/// The table, for the one who has the connection. Dropping it ends it; channels must be out of it by then. Sleeps.
pub struct Relids(());

impl Relids {
    /// Makes an empty table.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new() -> Result<Self> {
        let table = KvSlice::<AtomicPtr<Channel>>::zeroed(RELIDS)?;
        let channels = connection::c().channels();
        channels.store(table.into_raw().cast(), Ordering::Release);
        Ok(Self(()))
    }
}

impl Drop for Relids {
    fn drop(&mut self) {
        let channels = connection::c().channels();
        let table = channels.swap(ptr::null_mut(), Ordering::AcqRel);
        rcu::synchronize_rcu();
        // SAFETY: The table of `new`, at which nobody looks any more.
        drop(unsafe { KvSlice::<AtomicPtr<Channel>>::from_raw(table.cast(), RELIDS) });
    }
}
