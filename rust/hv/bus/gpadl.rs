// SPDX-License-Identifier: GPL-2.0

//! GPADLs: memory that the host may access.
//!
//! While a GPADL exists, or may exist because the host has not confirmed its end, the memory must not be used
//! for anything else. `decrypted` in `struct vmbus_gpadl` tells drivers to leak the memory instead of freeing
//! it, so that is what is set in such a case too. For those that free it all the same, the pages of a vmalloc buffer
//! get a reference that is never given up.

use crate::{
    channel::{
        Channel,
        INVALID_RELID, //
    },
    connection,
    ratelimit,
    request::{
        self,
        Key, //
    },
    ring::PageList,
    synic,
    CHANNEL_TIMEOUT_MS, //
};
use core::sync::atomic::{
    AtomicU32,
    Ordering, //
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
use rlis_proto::vmbus::{
    gpadl::{
        GpadlSplitter,
        MessageBuffer, //
    },
    message::{
        ChannelMessageHeader,
        GpadlTeardown, //
    },
    HV_HYP_PAGE_SIZE, MAX_SIZE_CHANNEL_MESSAGE,
};
use rlis_sys as bindings;

/// What a GPADL is for, which decides about its encryption.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A buffer of the driver.
    Buffer,
    /// A buffer that the driver has decrypted itself.
    DecryptedBuffer,
    /// The two rings of a channel.
    Ring,
}

/// What a GPADL is made of.
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

    /// The number of a page that the host counts.
    ///
    /// # Safety
    ///
    /// The memory is valid, and has such a page.
    unsafe fn pfn(self, page: usize) -> u64 {
        match self {
            // SAFETY: Within the memory that the caller vouches for.
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

fn next_handle() -> u32 {
    // SAFETY: `atomic_t` holds an integer that is only accessed atomically.
    unsafe {
        AtomicU32::from_ptr((&raw mut (*connection::raw()).next_gpadl_handle).cast())
            .fetch_add(1, Ordering::Relaxed)
    }
}

/// Makes a GPADL of `memory` and fills `gpadl`. Sleeps.
///
/// # Errors
///
/// `EINVAL` for a size that is no multiple of 4 KiB or too large for one GPADL; `EDQUOT` if the host refuses;
/// `ENODEV` if the channel is or gets rescinded, or did not come back after a resume; `ETIMEDOUT` if the host does not answer; what posting
/// returns.
///
/// # Safety
///
/// `memory` is what its kind says. The caller does not free it before [`teardown`] has succeeded, nor if
/// `gpadl.decrypted` is set after an error.
pub(crate) unsafe fn establish(
    channel: &Channel,
    kind: Kind,
    memory: Memory<'_>,
    gpadl: &mut bindings::vmbus_gpadl,
) -> Result {
    let bytes = memory.bytes();
    let size = u32::try_from(bytes).map_err(|_| EINVAL)?;
    gpadl.decrypted = false;
    if bytes == 0 || bytes % HV_HYP_PAGE_SIZE != 0 {
        return Err(EINVAL);
    }
    if channel.relid() == INVALID_RELID {
        return Err(ENODEV);
    }
    let handle = next_handle();
    let pfns = (0..bytes / HV_HYP_PAGE_SIZE).map(|page| {
        // SAFETY: Within the memory that the caller vouches for.
        unsafe { memory.pfn(page) }
    });
    let mut messages =
        GpadlSplitter::new(channel.relid(), handle, 0, size, pfns).map_err(|_| EINVAL)?;

    let decrypt = needs_decryption(channel, kind);
    // Whatever happens from here on, unless it can be undone the memory is lost.
    gpadl.decrypted = decrypt;
    if decrypt {
        to_result(memory.each_piece(bindings::set_memory_decrypted)).inspect_err(|e| {
            pr_warn!(
                "making a GPADL accessible to the host failed: {}\n",
                e.to_errno()
            );
        })?;
    }

    let key = Key::GpadlCreated {
        relid: channel.relid(),
        gpadl: handle,
    };
    let mut posted = false;
    let result = request::status(key, channel, || {
        let mut message: MessageBuffer = [0; MAX_SIZE_CHANNEL_MESSAGE];
        while let Some(len) = messages.next_message(&mut message).map_err(|_| EINVAL)? {
            connection::post_bytes(message.get(..len).unwrap_or_default())?;
            posted = true;
        }
        Ok(())
    })
    .and_then(|status| {
        if status == 0 {
            Ok(())
        } else {
            ratelimit::rarely(|| pr_err!("the host refused a GPADL: status {:#x}\n", status));
            Err(EDQUOT)
        }
    });
    gpadl.buffer = memory.address();
    gpadl.size = size;
    match result {
        Ok(()) => {
            gpadl.gpadl_handle = handle;
            Ok(())
        }
        // The host may have the GPADL: ask it to forget it.
        Err(e) if posted && e != EDQUOT && !channel.is_rescinded() => {
            gpadl.gpadl_handle = handle;
            let _ = teardown(channel, memory, gpadl);
            // There is nothing that the driver could end. What it may not free, `decrypted` says.
            gpadl.gpadl_handle = 0;
            Err(e)
        }
        Err(e) => {
            encrypt_again(gpadl, memory);
            Err(e)
        }
    }
}

/// Takes the memory back from the host's view; on failure it stays marked as lost.
fn encrypt_again(gpadl: &mut bindings::vmbus_gpadl, memory: Memory<'_>) {
    if gpadl.decrypted && memory.each_piece(bindings::set_memory_encrypted) == 0 {
        gpadl.decrypted = false;
    }
}

/// Ends the GPADL of `memory`. Sleeps.
///
/// The channel's rescind ends all its GPADLs, so that there is nothing to wait for then.
///
/// # Errors
///
/// `ETIMEDOUT` if the host does not confirm, or what posting returns; the memory is lost then, and
/// `gpadl.decrypted` set. `ENOMEM` if it could not be encrypted again.
pub(crate) fn teardown(
    channel: &Channel,
    memory: Memory<'_>,
    gpadl: &mut bindings::vmbus_gpadl,
) -> Result {
    teardown_within(channel, memory, gpadl, CHANNEL_TIMEOUT_MS)
}

/// As [`teardown`], but the host may take `timeout_ms` milliseconds.
///
/// # Errors
///
/// As [`teardown`].
pub(crate) fn teardown_within(
    channel: &Channel,
    memory: Memory<'_>,
    gpadl: &mut bindings::vmbus_gpadl,
    timeout_ms: u32,
) -> Result {
    let message = GpadlTeardown {
        header: ChannelMessageHeader::of::<GpadlTeardown>(),
        child_relid: channel.relid(),
        gpadl: gpadl.gpadl_handle,
    };
    let key = Key::GpadlTorndown {
        gpadl: gpadl.gpadl_handle,
    };
    match request::status_within(key, channel, timeout_ms, || connection::post(&message)) {
        Ok(_) => {}
        Err(_) if channel.is_rescinded() => {}
        // After an unload that the host has confirmed there is no host side any more.
        Err(e) if e == ENODEV && connection::is_over() => {}
        Err(e) => {
            ratelimit::rarely(|| {
                pr_err!(
                    "the host did not end GPADL {:#x}: {}\n",
                    gpadl.gpadl_handle,
                    e.to_errno()
                );
            });
            gpadl.decrypted = true;
            // Not every driver looks at that before it frees a buffer. Then at least its pages stay what they are.
            // SAFETY: The memory is its owner's, of that size, and not freed yet. Of pages, the address is null.
            unsafe { bindings::vmbus_keep_vmalloc_pages(memory.address(), memory.bytes()) };
            return Err(e);
        }
    }
    gpadl.gpadl_handle = 0;
    encrypt_again(gpadl, memory);
    if gpadl.decrypted {
        pr_warn!("taking a GPADL back from the host failed\n");
        return Err(ENOMEM);
    }
    Ok(())
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
    if synic::is_isolated() && needs_decryption(channel, Kind::Buffer) {
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
