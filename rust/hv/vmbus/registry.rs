// SPDX-License-Identifier: GPL-2.0

//! Which open channel belongs to which handler, for the callbacks of the bus that carry no context.
//!
//! The bus calls back for sub-channels, rescinds and changes of the target CPU with nothing but the channel. All
//! three are rare, so a list under a mutex will do.

use crate::once::{
    free_if_empty,
    Once, //
};
use core::{
    any::TypeId,
    ffi::c_void, //
};
use kernel::{
    prelude::*,
    sync::{
        global_lock,
        Arc,
        ArcBorrow, //
    }, //
};
use rlis_sys::vmbus_channel;

/// An open channel.
struct Entry {
    channel: *mut vmbus_channel,
    /// What `Arc::into_raw` returned, unless null.
    context: *const c_void,
    /// The type behind `context`.
    context_type: TypeId,
}

// SAFETY: `channel` is only compared, and `context` owns a reference to an object that is `Send` and `Sync`.
unsafe impl Send for Entry {}

global_lock! {
    // SAFETY: `init` runs before anything is registered, and does this once.
    unsafe(uninit) static ENTRIES: Mutex<KVec<Entry>> = KVec::new();
}

static INIT: Once = Once::new();

/// Makes the registry usable. May be called more than once.
pub(crate) fn init() {
    INIT.call(|| {
        // SAFETY: `Once` calls this only once.
        unsafe { ENTRIES.init() };
    });
}

/// The right to open a channel: as long as it exists, no other opener can claim the same channel.
///
/// # Invariants
///
/// There is exactly one entry for `channel`. Its `context_type` is that of `T`, and its context, if set, came from an
/// `Arc<T>`.
pub(crate) struct Claim<T: 'static> {
    channel: *mut vmbus_channel,
    _context: core::marker::PhantomData<Arc<T>>,
}

// SAFETY: The pointer is only compared, and `Arc<T>` may be dropped on any thread.
unsafe impl<T: Send + Sync> Send for Claim<T> {}

// SAFETY: All functions take the registry's mutex.
unsafe impl<T: Send + Sync> Sync for Claim<T> {}

impl<T: Send + Sync + 'static> Claim<T> {
    /// Claims a channel.
    ///
    /// # Errors
    ///
    /// `EBUSY` if it is claimed already.
    pub(crate) fn new(channel: *mut vmbus_channel) -> Result<Self> {
        let mut entries = ENTRIES.lock();
        if entries.iter().any(|entry| entry.channel == channel) {
            return Err(EBUSY);
        }
        // INVARIANT: There was no entry for the channel, now there is one.
        entries.push(
            Entry {
                channel,
                context: core::ptr::null(),
                context_type: TypeId::of::<T>(),
            },
            GFP_KERNEL,
        )?;
        Ok(Self {
            channel,
            _context: core::marker::PhantomData,
        })
    }

    /// Sets what [`find`] returns for the channel.
    pub(crate) fn set(&self, context: Arc<T>) {
        drop(self.exchange(Arc::into_raw(context).cast()));
    }
}

impl<T: 'static> Claim<T> {
    /// From now on, [`find`] returns nothing for the channel.
    pub(crate) fn clear(&self) {
        drop(self.exchange(core::ptr::null()));
    }

    /// Sets the context and returns the former one. The lock is no longer held when the caller drops it.
    fn exchange(&self, context: *const c_void) -> Option<Arc<T>> {
        let mut entries = ENTRIES.lock();
        let entry = entries
            .iter_mut()
            .find(|entry| entry.channel == self.channel)?;
        let old = core::mem::replace(&mut entry.context, context);
        drop(entries);
        if old.is_null() {
            return None;
        }
        // SAFETY: By the type invariant, the pointer came from `Arc::<T>::into_raw`; it is in no entry any more.
        Some(unsafe { Arc::from_raw(old.cast()) })
    }
}

impl<T: 'static> Drop for Claim<T> {
    fn drop(&mut self) {
        self.clear();
        let mut entries = ENTRIES.lock();
        entries.retain(|entry| entry.channel != self.channel);
        free_if_empty(&mut entries);
    }
}

/// Returns the context of an open channel, if it is a `T`.
///
/// It may be another: a callback that the bus has begun for one handler may come so late that the channel is open with
/// the next.
pub(crate) fn find<T: Send + Sync + 'static>(channel: *mut vmbus_channel) -> Option<Arc<T>> {
    let entries = ENTRIES.lock();
    let entry = entries.iter().find(|entry| entry.channel == channel)?;
    if entry.context.is_null() || entry.context_type != TypeId::of::<T>() {
        return None;
    }
    // SAFETY: By the invariants of `Claim`, the pointer came from `Arc::<T>::into_raw`, and the entry keeps its
    // reference while the lock is held.
    let context: Arc<T> = unsafe { ArcBorrow::from_raw(entry.context.cast::<T>()) }.into();
    Some(context)
}

#[kernel::prelude::kunit_tests(rlis_vmbus_registry)]
mod tests {
    use super::*;

    /// A channel's address that no channel has: the registry only compares it.
    fn nowhere() -> *mut vmbus_channel {
        core::ptr::without_provenance_mut(8)
    }

    #[test]
    fn contexts_are_found_by_type() {
        init();
        let claim = Claim::<u64>::new(nowhere());
        assert!(claim.is_ok());
        assert_eq!(Claim::<u64>::new(nowhere()).err(), Some(EBUSY));
        let (Ok(claim), Ok(context)) = (claim, Arc::new(7u64, GFP_KERNEL)) else {
            return;
        };
        assert!(find::<u64>(nowhere()).is_none());
        claim.set(context);
        assert_eq!(find::<u64>(nowhere()).map(|context| *context), Some(7));
        // Another type, if of the same size: what a late callback of another handler asks for.
        assert!(find::<i64>(nowhere()).is_none());
        claim.clear();
        assert!(find::<u64>(nowhere()).is_none());
        drop(claim);
        assert!(Claim::<i64>::new(nowhere()).is_ok());
    }
}
