// SPDX-License-Identifier: GPL-2.0

//! Memory that the host may access, `struct vmbus_gpadl`.
//!
//! While a GPADL exists, or may exist because the host has not confirmed its end, the memory must not be used for anything
//! else: it is [`Lent`], which can be taken back, or is leaked. `decrypted` in the C structure tells drivers to leak the
//! memory instead of freeing it, besides what its name says; only this file knows. For drivers that free it all the same,
//! the pages of a vmalloc buffer get a reference that is never given up.

use crate::{
    channel::{
        Channel,
        Owned, //
    },
    machine,
    ring::PageList, //
};
use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ptr::NonNull, //
};
use kernel::{
    error::to_result,
    ffi::{
        c_int,
        c_void, //
    },
    page::PAGE_SIZE,
    prelude::*, //
};
use rlis_proto::vmbus::HV_HYP_PAGE_SIZE;
use rlis_sys as bindings;

/// What a GPADL is for, which decides about its encryption.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A buffer of the driver.
    Buffer,
    /// A buffer that the driver has decrypted itself.
    DecryptedBuffer,
    /// The two rings of a channel.
    Ring,
}

/// What a GPADL is made of.
///
/// # Invariants
///
/// The memory is what the variant says as long as the value is used.
#[derive(Clone, Copy)]
pub(crate) enum Memory<'a> {
    /// So many bytes at an address of the page allocator, `kmalloc` or `vmalloc`, page-aligned.
    Buffer(*mut c_void, u32),
    /// Pages that lie anywhere.
    Pages(&'a PageList),
}

impl Memory<'_> {
    fn bytes(self) -> usize {
        match self {
            Memory::Buffer(_, size) => size as usize,
            Memory::Pages(list) => list.bytes(),
        }
    }

    /// Where it begins, as `struct vmbus_gpadl` has it; null for pages.
    fn address(self) -> *mut c_void {
        match self {
            Memory::Buffer(address, _) => address,
            Memory::Pages(_) => core::ptr::null_mut(),
        }
    }

    /// The number of a page that the host counts; 0 behind the end.
    fn pfn(self, page: usize) -> u64 {
        match self {
            Memory::Buffer(_, size) if page * HV_HYP_PAGE_SIZE >= size as usize => 0,
            // SAFETY: Within the memory, by the invariants.
            Memory::Buffer(address, _) => unsafe {
                bindings::virt_to_hvpfn(address.byte_add(page * HV_HYP_PAGE_SIZE)) as u64
            },
            Memory::Pages(list) => {
                // More than one where the guest's pages are larger than the host's.
                let ratio = PAGE_SIZE / HV_HYP_PAGE_SIZE;
                let Some(&of_guest) = list.pages().get(page / ratio) else {
                    return 0;
                };
                // SAFETY: The list's pages are valid.
                unsafe { (bindings::vmbus_page_to_hvpfn(of_guest) + page % ratio) as u64 }
            }
        }
    }

    /// Calls `f` with each piece of the memory that is contiguous in the kernel's address space, until one call returns
    /// something else than 0, and returns that.
    fn each_piece(self, f: unsafe extern "C" fn(*mut c_void, usize) -> c_int) -> c_int {
        let call = |address, bytes| {
            // SAFETY: The functions that are passed change how the host may access memory that its owner has set apart
            // for the host.
            unsafe { f(address, bytes) }
        };
        match self {
            Memory::Buffer(address, size) => call(address, size as usize),
            Memory::Pages(list) => {
                for run in list.runs() {
                    let Some(&first) = run.first() else { continue };
                    // SAFETY: The list's pages are valid.
                    let address = unsafe { bindings::vmbus_page_address(first) };
                    let error = call(address, run.len() * PAGE_SIZE);
                    if error != 0 {
                        return error;
                    }
                }
                0
            }
        }
    }
}

/// Whether memory of this kind must be made accessible to the host first.
fn needs_decryption(channel: &Channel, kind: Kind) -> bool {
    // SAFETY: Written with the offer.
    let (co_ring, co_memory) = unsafe {
        let c = channel.raw();
        (
            bindings::channel_co_ring_buffer(c),
            bindings::channel_co_external_memory(c),
        )
    };
    match kind {
        Kind::Buffer => !co_memory,
        Kind::DecryptedBuffer => false,
        Kind::Ring => !co_ring,
    }
}

/// A `struct vmbus_gpadl` of a driver, and the memory that it is about or shall be.
///
/// # Invariants
///
/// `raw` is valid, and nobody else uses it. The memory's owner does not free it while it is lent, nor if the structure
/// says that it is lost.
pub struct Gpadl<'a> {
    raw: NonNull<bindings::vmbus_gpadl>,
    memory: Memory<'a>,
    _raw: PhantomData<&'a mut bindings::vmbus_gpadl>,
}

impl<'a> Gpadl<'a> {
    /// # Safety
    ///
    /// As the invariants of the type say, and those of [`Memory`].
    pub(crate) unsafe fn new(raw: *mut bindings::vmbus_gpadl, memory: Memory<'a>) -> Self {
        Self {
            // SAFETY: The caller promises a valid pointer.
            raw: unsafe { NonNull::new_unchecked(raw) },
            memory,
            _raw: PhantomData,
        }
    }

    fn c(&mut self) -> &mut bindings::vmbus_gpadl {
        // SAFETY: By the invariants.
        unsafe { self.raw.as_mut() }
    }

    /// The handle that the host knows; 0 if there is none.
    pub fn handle(&self) -> u32 {
        // SAFETY: By the invariants.
        unsafe { self.raw.as_ref() }.gpadl_handle
    }

    /// Whether the host may still use memory that was lent before, of a structure that is not in use.
    pub fn is_lost(&self) -> bool {
        // SAFETY: By the invariants.
        unsafe { self.raw.as_ref() }.decrypted
    }

    /// The size of the memory in bytes.
    pub fn bytes(&self) -> usize {
        self.memory.bytes()
    }

    /// The pages that the host counts, by number.
    pub fn pfns(&self) -> impl ExactSizeIterator<Item = u64> + 'a {
        let memory = self.memory;
        (0..memory.bytes() / HV_HYP_PAGE_SIZE).map(move |page| memory.pfn(page))
    }

    /// Lends the memory to the host: makes it accessible, if it has to be. Sleeps.
    ///
    /// # Errors
    ///
    /// Those of changing the encryption; the memory is lost then.
    pub fn lend(mut self, channel: &Channel, kind: Kind) -> Result<Lent<'a>> {
        let (memory, decrypt) = (self.memory, needs_decryption(channel, kind));
        let c = self.c();
        c.decrypted = decrypt;
        c.gpadl_handle = 0;
        c.buffer = memory.address();
        c.size = memory.bytes() as u32;
        let lent = Lent(self);
        if decrypt {
            to_result(memory.each_piece(bindings::set_memory_decrypted))?;
        }
        Ok(lent)
    }

    /// The memory as it was left by [`Lent::hand_over`].
    pub fn lent(self) -> Lent<'a> {
        Lent(self)
    }
}

impl Owned<'_> {
    /// The rings, if they have memory: how many pages are the outbound one's, and the GPADL of both.
    pub fn rings(&self) -> Option<(u32, Gpadl<'_>)> {
        let list = self.page_list()?;
        let c = self.raw();
        // SAFETY: By the invariants nobody else uses these fields, nor frees the rings; `ring::free` looks whether they are
        // lost.
        unsafe {
            let send = (*c).ringbuffer_send_offset;
            let gpadl = Gpadl::new(&raw mut (*c).ringbuffer_gpadlhandle, Memory::Pages(list));
            ((send as usize) < list.pages().len()).then_some((send, gpadl))
        }
    }
}

/// Memory that the host may use. Dropped, it is lost: its owner must not free it any more.
pub struct Lent<'a>(Gpadl<'a>);

impl<'a> Lent<'a> {
    /// Its pages and its size.
    pub fn gpadl(&self) -> &Gpadl<'a> {
        &self.0
    }

    /// Leaves the memory to the host as the GPADL `handle`, until [`Gpadl::lent`].
    pub fn hand_over(self, handle: u32) {
        ManuallyDrop::new(self).0.c().gpadl_handle = handle;
    }

    /// The host does not use the memory, or not any more: its owner may. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if it could not be encrypted again; the memory is lost then.
    pub fn take_back(mut self) -> Result {
        let memory = self.0.memory;
        let c = self.0.c();
        c.gpadl_handle = 0;
        if c.decrypted && memory.each_piece(bindings::set_memory_encrypted) != 0 {
            pr_warn!("taking a GPADL back from the host failed\n");
            return Err(ENOMEM);
        }
        c.decrypted = false;
        let _ = ManuallyDrop::new(self);
        Ok(())
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let memory = self.0.memory;
        self.0.c().decrypted = true;
        // Not every driver looks at that before it frees a buffer. Then at least its pages stay what they are.
        // SAFETY: The memory is its owner's, of that size, and not freed yet. Of pages, the address is null.
        unsafe { bindings::vmbus_keep_vmalloc_pages(memory.address(), memory.bytes()) };
    }
}

/// A zeroed buffer of `size` bytes for a GPADL of the kind [`Kind::DecryptedBuffer`], or null.
///
/// Ordinary guests get plain memory. In an isolated guest each page would have to be decrypted on its own,
/// which this bus does not support; it does not load there when the kind of isolation needs it, so that only
/// guests whose memory is accessible to the host as it is get here.
pub(crate) fn alloc_buffer(channel: &Channel, size: u32) -> *mut c_void {
    if size == 0 {
        return core::ptr::null_mut();
    }
    if machine::is_isolated() && needs_decryption(channel, Kind::Buffer) {
        pr_err!("buffers for the host are not supported in an isolated guest\n");
        return core::ptr::null_mut();
    }
    let size = (size as usize).next_multiple_of(HV_HYP_PAGE_SIZE);
    // SAFETY: Process context.
    unsafe { bindings::vmbus_vzalloc(size) }
}

/// Frees a buffer of [`alloc_buffer`].
///
/// # Safety
///
/// `buffer` is null or of [`alloc_buffer`] and nobody uses it.
pub(crate) unsafe fn free_buffer(buffer: *mut c_void) {
    // SAFETY: The caller gives the buffer up.
    unsafe { bindings::vmbus_vfree(buffer) };
}
