// SPDX-License-Identifier: GPL-2.0

//! Pages that the host or the hypervisor shares with us, and their places in C structures.

use crate::{
    view::View,
    GracePeriod, //
};
use core::{
    marker::PhantomData,
    ptr::{
        self,
        NonNull, //
    },
    sync::atomic::{
        AtomicPtr,
        Ordering, //
    }, //
};
use kernel::{
    ffi::c_void,
    page::PAGE_SIZE,
    prelude::*,
    sync::rcu, //
};
use rlis_sys as bindings;
use zerocopy::FromBytes;

/// A page of the kernel, zeroed at first. Dropping it frees it, unless it cannot be encrypted again: then it is lost.
///
/// # Invariants
///
/// The page is ours and the other side's, which is told of it; who drops this knows that nobody else uses it any more.
pub struct HostPage {
    start: NonNull<c_void>,
    decrypted: bool,
}

impl HostPage {
    /// Allocates one that is encrypted if memory is.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new() -> Result<Self> {
        // INVARIANT: Just allocated.
        Ok(Self {
            start: NonNull::new(bindings::zeroed_page()).ok_or(ENOMEM)?,
            decrypted: false,
        })
    }

    /// Allocates one that the other side can read and write.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; also if it cannot be decrypted.
    pub fn decrypted() -> Result<Self> {
        let mut page = Self::new()?;
        page.decrypted = true;
        // SAFETY: The page is ours.
        if unsafe { bindings::set_memory_decrypted(page.address(), 1) } != 0 {
            // Its encryption is unknown: it must not go back to the allocator.
            core::mem::forget(page);
            return Err(ENOMEM);
        }
        // SAFETY: It is ours, and has that size. Decryption may have changed its content.
        unsafe { ptr::write_bytes(page.start.as_ptr().cast::<u8>(), 0, PAGE_SIZE) };
        Ok(page)
    }

    /// Where it is.
    pub fn start(&self) -> *mut c_void {
        self.start.as_ptr()
    }

    fn address(&self) -> usize {
        self.start.as_ptr().expose_provenance()
    }
}

impl Drop for HostPage {
    fn drop(&mut self) {
        let start = self.address();
        // SAFETY: By the invariants nobody uses the page any more.
        unsafe {
            if !self.decrypted || bindings::set_memory_encrypted(start, 1) == 0 {
                bindings::free_pages(start, 0);
            }
        }
    }
}

/// A pointer of a C structure to a page, or null. `C` are the atomics that it consists of, as the other side may write to it at any
/// time; `P` is what it points to in C.
#[repr(transparent)]
pub struct PageSlot<C, P = c_void>(AtomicPtr<P>, PhantomData<C>);

// SAFETY: An atomic pointer has the layout of a pointer. C code reads it only.
unsafe impl<C: FromBytes + Sync, P> View for PageSlot<C, P> {
    type Raw = *mut P;
}

impl<C: FromBytes + Sync, P> PageSlot<C, P> {
    /// Puts a page there, where none is.
    pub fn put(&self, page: HostPage) {
        const { assert!(size_of::<C>() <= PAGE_SIZE) };
        let page = core::mem::ManuallyDrop::new(page);
        self.0.store(page.start.as_ptr().cast(), Ordering::Release);
    }

    /// Takes the page out that was put there, decrypted or not.
    pub fn take(&self, decrypted: bool) -> Option<Retired> {
        let start = NonNull::new(self.0.swap(ptr::null_mut(), Ordering::AcqRel).cast())?;
        Some(Retired {
            // INVARIANT: That of `put`.
            _page: HostPage { start, decrypted },
            grace_period: GracePeriod::start(),
        })
    }

    /// Whether there is one.
    pub fn is_empty(&self) -> bool {
        self.0.load(Ordering::Acquire).is_null()
    }

    /// The page's address as the hypervisor counts; that of the null pointer if there is none.
    pub fn physical(&self) -> u64 {
        bindings::virt_to_phys(self.0.load(Ordering::Acquire).cast())
    }

    /// What is in the page.
    #[inline]
    pub fn get<'a>(&self, _rcu: &'a rcu::Guard) -> Option<&'a C> {
        // SAFETY: A page that is taken out is not freed before the RCU section has ended: `Retired`.
        unsafe { self.0.load(Ordering::Acquire).cast::<C>().as_ref() }
    }

    /// What is in the page.
    ///
    /// # Safety
    ///
    /// Nobody takes the page out for `'a`.
    #[inline]
    pub unsafe fn get_kept<'a>(&self) -> Option<&'a C> {
        // SAFETY: As the caller promises.
        unsafe { self.0.load(Ordering::Acquire).cast::<C>().as_ref() }
    }
}

/// A page that was taken out. Dropping it sleeps until nobody looks at it any more; of several, the first that is dropped
/// does so for all.
pub struct Retired {
    _page: HostPage,
    grace_period: GracePeriod,
}

impl Retired {
    /// Leaves the page to the other side, which may still use it.
    pub fn lose(self) {
        core::mem::forget(self);
    }
}

impl Drop for Retired {
    fn drop(&mut self) {
        self.grace_period.wait();
    }
}
