// SPDX-License-Identifier: GPL-2.0

//! Work items that lie in C objects and keep them.

use crate::{
    view::View,
    work::OwnedQueue, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    sync::aref::{
        ARef,
        AlwaysRefCounted, //
    },
    types::Opaque, //
};
use rlis_sys::work_struct;

/// A work item that lies `OFFSET` bytes from the beginning of a C object which counts references to itself, and that is queued
/// with such a reference.
///
/// # Invariants
///
/// It lies in a `T` at that offset, is initialised with a function that passes it to [`Self::take`], and is only queued here.
#[repr(transparent)]
pub struct RefWork<T, const OFFSET: usize>(Opaque<work_struct>, PhantomData<T>);

// SAFETY: The functions of a work item may be called on any thread.
unsafe impl<T: Send + Sync, const OFFSET: usize> Sync for RefWork<T, OFFSET> {}

// SAFETY: Transparent over the type. Who declares the field says where it lies.
unsafe impl<T, const OFFSET: usize> View for RefWork<T, OFFSET> {
    type Raw = work_struct;
}

impl<T: AlwaysRefCounted, const OFFSET: usize> RefWork<T, OFFSET> {
    fn object(&self) -> NonNull<T> {
        let work = NonNull::from(self).as_ptr();
        // SAFETY: By the invariants there is an object that far before.
        unsafe { NonNull::new_unchecked(work.byte_sub(OFFSET).cast()) }
    }

    /// Queues it with a reference to its object, unless it is queued already. Any context.
    pub fn queue(&self, queue: &OwnedQueue) {
        // SAFETY: By the invariants it is part of a valid object.
        let kept = ARef::from(unsafe { self.object().as_ref() });
        // SAFETY: The work is initialised, and kept by the reference.
        if unsafe { queue.queue(self.0.get()) } {
            // The work's now.
            let _ = ARef::into_raw(kept);
        }
    }

    /// Returns the reference that it was queued with. For the work's function, once a run.
    ///
    /// # Safety
    ///
    /// As said.
    pub unsafe fn take(&self) -> ARef<T> {
        // SAFETY: The work runs, so it was queued with a reference, which is ours.
        unsafe { ARef::from_raw(self.object()) }
    }

    /// Waits for its end, and says whether it had to. Sleeps.
    pub fn flush(&self) -> bool {
        // SAFETY: By the invariants.
        unsafe { rlis_sys::flush_work(self.0.get()) }
    }
}
