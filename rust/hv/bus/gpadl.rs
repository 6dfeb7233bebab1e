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
use core::mem::ManuallyDrop;
use kernel::{
    error::to_result,
    ffi::{
        c_int,
        c_void, //
    },
    page::PAGE_SIZE,
    prelude::*, //
};
use rlis_hv::{
    c_struct,
    Field, //
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
            Memory::Pages(list) => list.pfn(page).unwrap_or(0),
        }
    }

    /// Changes whether the host can read and write the memory.
    fn set_encrypted(self, encrypted: bool) -> Result {
        let set = |address: *mut c_void, bytes: usize| {
            let (address, pages) = (
                address.expose_provenance(),
                bytes.div_ceil(PAGE_SIZE) as c_int,
            );
            // SAFETY: By the invariants the memory is what the variant says; its owner has set it apart for the host.
            unsafe {
                if encrypted {
                    bindings::set_memory_encrypted(address, pages)
                } else {
                    bindings::set_memory_decrypted(address, pages)
                }
            }
        };
        to_result(match self {
            Memory::Buffer(address, size) => set(address, size as usize),
            Memory::Pages(list) => list.each_piece(set),
        })
    }
}

/// Whether memory of this kind must be made accessible to the host first.
fn needs_decryption(channel: &Channel, kind: Kind) -> bool {
    match kind {
        Kind::Buffer => !channel.has_confidential_memory(),
        Kind::DecryptedBuffer => false,
        Kind::Ring => !channel.has_confidential_ring(),
    }
}

c_struct! {
    /// `struct vmbus_gpadl`, which drivers make, and then read only.
    // SAFETY: Initialised, with zeroes at first.
    unsafe pub struct State(bindings::vmbus_gpadl) {
        fn gpadl_handle -> Field<u32> = gpadl_handle;
        pub(crate) fn size -> Field<u32> = size;
        pub(crate) fn buffer -> Field<*mut c_void> = buffer;
        /// The host can read and write the memory; of a structure that is not in use, that it may still do so.
        pub(crate) fn decrypted -> Field<bool> = decrypted;
    }
}

/// A `struct vmbus_gpadl` of a driver, and the memory that it is about or shall be.
///
/// # Invariants
///
/// Nobody else uses the structure. The memory's owner does not free it while it is lent, nor if the structure says that it is
/// lost.
pub struct Gpadl<'a> {
    state: &'a State,
    memory: Memory<'a>,
}

impl<'a> Gpadl<'a> {
    /// # Safety
    ///
    /// As the invariants of the type say, and those of [`Memory`].
    pub(crate) unsafe fn new(state: &'a State, memory: Memory<'a>) -> Self {
        // INVARIANT: As the caller promises.
        Self { state, memory }
    }

    /// The handle that the host knows; 0 if there is none.
    pub fn handle(&self) -> u32 {
        self.state.gpadl_handle().get()
    }

    /// Whether the host may still use memory that was lent before, of a structure that is not in use.
    pub fn is_lost(&self) -> bool {
        self.state.decrypted().get()
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
    pub fn lend(self, channel: &Channel, kind: Kind) -> Result<Lent<'a>> {
        let decrypt = needs_decryption(channel, kind);
        let (state, memory) = (self.state, self.memory);
        state.decrypted().set(decrypt);
        state.gpadl_handle().set(0);
        state.buffer().set(memory.address());
        state.size().set(memory.bytes() as u32);
        let lent = Lent(self);
        if decrypt {
            memory.set_encrypted(false)?;
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
        let send = self.ringbuffer_send_offset().get();
        // SAFETY: By the invariants nobody else uses the structure, nor frees the rings; `ring::free` looks whether they are
        // lost.
        let gpadl = unsafe { Gpadl::new(self.ring_gpadl(), Memory::Pages(list)) };
        ((send as usize) < list.pages().len()).then_some((send, gpadl))
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
        ManuallyDrop::new(self).0.state.gpadl_handle().set(handle);
    }

    /// The host does not use the memory, or not any more: its owner may. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if it could not be encrypted again; the memory is lost then.
    pub fn take_back(self) -> Result {
        let (state, memory) = (self.0.state, self.0.memory);
        state.gpadl_handle().set(0);
        if state.decrypted().get() && memory.set_encrypted(true).is_err() {
            pr_warn!("taking a GPADL back from the host failed\n");
            return Err(ENOMEM);
        }
        state.decrypted().set(false);
        let _ = ManuallyDrop::new(self);
        Ok(())
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let memory = self.0.memory;
        self.0.state.decrypted().set(true);
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
    bindings::vzalloc_bytes(size)
}
