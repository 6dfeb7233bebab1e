// SPDX-License-Identifier: GPL-2.0

//! The table of channels by relid, in which interrupts and rescinds find them.

use super::{
    Channel,
    ChannelRef,
    Fields, //
};
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
    sync::{
        rcu,
        Arc, //
    }, //
};
use pin_init::Zeroable;
use rlis_hv::{
    KvSlice,
    RcuArc, //
};
use rlis_proto::vmbus::MAX_CHANNEL_RELIDS;
use rlis_sys as bindings;

/// A channel, or null.
#[repr(transparent)]
struct Entry(AtomicPtr<Channel>);

// SAFETY: Zero is the null pointer.
unsafe impl Zeroable for Entry {}

/// The table.
///
/// # Invariants
///
/// What entries point to are channels whose memory is freed a grace period after the entry was cleared.
pub(crate) struct Table {
    /// No relid beyond this has been in the table.
    hiwater: AtomicU32,
    entries: KvSlice<Entry>,
}

static TABLE: RcuArc<Table> = RcuArc::new();

/// The table, if there is a connection.
#[inline]
pub(crate) fn get(rcu: &rcu::Guard) -> Option<&Table> {
    TABLE.get(rcu)
}

/// Puts a channel in the table, or takes it out. Under the lock of channels.
pub(super) fn set(relid: u32, channel: Option<&Channel>) {
    let rcu = rcu::read_lock();
    let Some(table) = get(&rcu) else { return };
    let Some(entry) = table.entries.get(relid as usize) else {
        return;
    };
    table.hiwater.fetch_max(relid, Ordering::Relaxed);
    let channel = channel.map_or(ptr::null_mut(), |c| ptr::from_ref(c).cast_mut());
    // INVARIANT: A channel is taken out of the table before its last reference goes, and freed by `kfree_rcu`.
    // A full barrier: the host may send interrupts as soon as the channel is opened.
    entry.0.store(channel, Ordering::SeqCst);
}

impl Table {
    /// No relid beyond this is in the table.
    #[inline]
    pub(crate) fn hiwater(&self) -> u32 {
        self.hiwater.load(Ordering::Relaxed)
    }

    /// The channel with a relid.
    #[inline]
    pub(crate) fn find<'a>(&self, relid: u32, _rcu: &'a rcu::Guard) -> Option<Found<'a>> {
        let channel = self.entries.get(relid as usize)?.0.load(Ordering::Acquire);
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
        let table = Table {
            hiwater: AtomicU32::new(0),
            entries: KvSlice::zeroed(MAX_CHANNEL_RELIDS as usize)?,
        };
        drop(TABLE.replace(Some(Arc::new(table, GFP_KERNEL)?)));
        Ok(Self(()))
    }
}

impl Drop for Relids {
    fn drop(&mut self) {
        drop(TABLE.replace(None));
    }
}
