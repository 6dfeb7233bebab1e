// SPDX-License-Identifier: GPL-2.0

//! The pages of the rings and their mapping.

use super::{
    pages::PageArray,
    Mapped,
    PageList,
    RingInfo,
    RingMutex, //
};
use crate::channel::{
    Channel,
    Owned, //
};
use core::ptr;
use kernel::{
    page::PAGE_SIZE,
    prelude::*, //
};
use rlis_proto::{
    ring::OutgoingRing,
    vmbus::{
        gpadl::MAX_GPADL_PAGES,
        life::Rings,
        HV_HYP_PAGE_SIZE, //
    },
};
use rlis_sys as bindings;

/// `VMBUS_DEFAULT_MAX_PKT_SIZE`.
const DEFAULT_MAX_PKT_SIZE: u32 = 4096;

/// Allocates the memory of both rings on the channel's NUMA node, in pages that lie anywhere, or in one piece for a
/// driver that maps it by its physical address. Sleeps.
///
/// # Errors
///
/// `EINVAL` for a size of less than two pages or one that is no multiple of the page size, for more than a GPADL can
/// name, and if the channel is open; `ENOMEM`.
pub(crate) fn alloc(
    channel: &Owned<'_>,
    send_size: u32,
    recv_size: u32,
    in_one_piece: bool,
) -> Result {
    let total = send_size.checked_add(recv_size).ok_or(EINVAL)? as usize;
    let bad = |size: u32| (size as usize) < 2 * PAGE_SIZE || size as usize % PAGE_SIZE != 0;
    if bad(send_size) || bad(recv_size) || channel.life().rings != Rings::Closed {
        return Err(EINVAL);
    }
    if (total / HV_HYP_PAGE_SIZE) as u64 > MAX_GPADL_PAGES {
        pr_err!(
            "the rings of relid {} cannot have {} KiB: a GPADL names {} at most\n",
            channel.relid(),
            total / 1024,
            MAX_GPADL_PAGES * 4
        );
        return Err(EINVAL);
    }
    let pages = total / PAGE_SIZE;
    let fits =
        |list: &PageList| list.bytes() == total && (!in_one_piece || list.contiguous() == pages);
    // Rings that the channel had before are as good as new ones, and there may be no memory for those: at a resume, and
    // at the reset of the disk that is to be swapped to.
    let list = match take_kept(channel).filter(|list| fits(list)) {
        Some(list) => {
            list.clear();
            list
        }
        None => KBox::new(new_list(channel, pages, in_one_piece)?, GFP_KERNEL)?,
    };
    // What a driver has left behind from before.
    free(channel);
    let c = channel.raw();
    // SAFETY: Process context. The driver that opens the channel is the only one to touch these fields. What C code
    // finds by way of the first page is memory of the rings, even if that has more pieces.
    unsafe {
        (*c).ringbuffer_page = list.pages().first().copied().unwrap_or(ptr::null_mut());
        (*c).ringbuffer_pagecount = list.contiguous() as u32;
        (*c).ringbuffer_send_offset = send_size / PAGE_SIZE as u32;
        // Of this memory the host knows nothing, whatever became of that before.
        (*c).ringbuffer_gpadlhandle.decrypted = false;
        (*channel.ext()).ring_memory = KBox::into_raw(list).cast();
        (*channel.ext()).ring_in_one_piece = in_one_piece;
    }
    Ok(())
}

fn new_list(channel: &Channel, pages: usize, in_one_piece: bool) -> Result<PageList> {
    let node = crate::cpu::node(channel.target_cpu());
    if !in_one_piece {
        return PageList::alloc(node, pages);
    }
    PageList::alloc_contiguous(node, pages).inspect_err(|_| {
        pr_err!(
            "no {} KiB of memory in one piece for the rings of relid {}, whose driver maps them as such\n",
            pages * PAGE_SIZE / 1024,
            channel.relid()
        );
    })
}

/// Unmaps the rings and frees their memory, unless the host may still use it. Sleeps.
pub fn free(channel: &Owned<'_>) {
    unmap(channel);
    let c = channel.raw();
    // SAFETY: The channel is closed, so that only its driver, our caller, uses these fields. The pointer is that of a
    // box from `alloc`, and given up here.
    unsafe {
        let memory = ptr::replace(&raw mut (*channel.ext()).ring_memory, ptr::null_mut());
        if !memory.is_null() {
            let list = KBox::from_raw(memory.cast::<PageList>());
            if (*c).ringbuffer_gpadlhandle.decrypted {
                KBox::into_inner(list).leak();
            }
        }
        (*c).ringbuffer_page = ptr::null_mut();
        (*channel.ext()).ring_in_one_piece = false;
    }
}

/// Unmaps the rings of a closed primary channel and keeps their memory for the next [`alloc`], or for [`release_kept`].
/// Sleeps.
///
/// Those of a sub-channel are freed: the host offers new ones when the driver asks again.
pub(crate) fn keep(channel: &Owned<'_>) {
    let ext = channel.ext();
    // SAFETY: The channel is closed, so that only its driver, our caller, uses these fields.
    unsafe {
        if (*channel.raw()).ringbuffer_gpadlhandle.decrypted || channel.primary().is_some() {
            return free(channel);
        }
        unmap(channel);
        drop(take_kept(channel));
        (*ext).ring_kept = ptr::replace(&raw mut (*ext).ring_memory, ptr::null_mut());
        (*ext).ring_in_one_piece = false;
        (*channel.raw()).ringbuffer_page = ptr::null_mut();
    }
}

/// Frees what [`keep`] has kept, when the driver has given the device up.
pub fn release_kept(channel: &Owned<'_>) {
    drop(take_kept(channel));
}

fn take_kept(channel: &Owned<'_>) -> Option<KBox<PageList>> {
    // SAFETY: Only the channel's driver opens and closes it, and gives it up. The pointer is null or that of a box from
    // `alloc`, and given up here.
    unsafe {
        let kept = ptr::replace(&raw mut (*channel.ext()).ring_kept, ptr::null_mut());
        (!kept.is_null()).then(|| KBox::from_raw(kept.cast()))
    }
}

impl Owned<'_> {
    /// The memory of both rings, if there is any.
    pub(crate) fn page_list(&self) -> Option<&PageList> {
        // SAFETY: The pointer is null or that of a box from `alloc`; by the invariants nobody else frees it.
        unsafe { (*self.ext()).ring_memory.cast::<PageList>().as_ref() }
    }
}

/// Whether the driver of a channel asked for rings in one piece, and got them.
pub(crate) fn is_in_one_piece(channel: &Channel) -> bool {
    // SAFETY: Only the channel's driver changes the field, and asks, for a sub-channel that it opens.
    unsafe { (*channel.ext()).ring_in_one_piece }
}

/// Unmaps the rings. Sleeps.
pub fn unmap(channel: &Owned<'_>) {
    for ring in [channel.outbound(), channel.inbound()] {
        let info = ring.0.get();
        // SAFETY: By the invariants of `Owned` nobody else maps or unmaps them; the mutex keeps sysfs out. The channel is
        // closed, so that nobody uses the mapping.
        unsafe {
            let guard = RingMutex::lock(ring);
            let mapping = (*info).ring_buffer;
            (*info).ring_buffer = ptr::null_mut();
            drop(guard);
            if !mapping.is_null() {
                bindings::vmbus_vunmap(mapping.cast());
            }
            bindings::vmbus_kvfree((*info).pkt_buffer);
            (*info).pkt_buffer = ptr::null_mut();
            (*info).pkt_buffer_size = 0;
        }
    }
}

/// Maps both rings and sets them up as empty. Sleeps.
///
/// # Errors
///
/// `EINVAL` without memory for them; `ENOMEM`, after which one may be mapped.
pub fn map(channel: &Owned<'_>) -> Result {
    let list = channel.page_list().ok_or(EINVAL)?;
    let c = channel.raw();
    // SAFETY: Nobody else opens or closes the channel, which is being opened; the pages are those of its rings, and each
    // ring gets its own.
    unsafe {
        let (outbound, inbound) = (list.pages())
            .split_at_checked((*c).ringbuffer_send_offset as usize)
            .ok_or(EINVAL)?;
        if (*c).max_pkt_size == 0 {
            (*c).max_pkt_size = DEFAULT_MAX_PKT_SIZE;
        }
        let confidential = bindings::channel_co_ring_buffer(c);
        init(channel.outbound(), outbound, 0, confidential)?;
        init(channel.inbound(), inbound, (*c).max_pkt_size, confidential)
    }
}

/// Maps one ring, instead of what was mapped there, and sets it up as empty. Sleeps.
///
/// # Errors
///
/// `ENOMEM`.
///
/// # Safety
///
/// The channel of `ring` is being opened; `pages` are those of its memory.
unsafe fn init(
    ring: &RingInfo,
    pages: &[*mut bindings::page],
    max_pkt_size: u32,
    confidential: bool,
) -> Result {
    let info = ring.0.get();
    let (header, data) = pages.split_first().ok_or(EINVAL)?;
    if data.is_empty() {
        return Err(EINVAL);
    }
    let mut list = PageArray::new(1 + 2 * data.len())?;
    list.push(*header)?;
    for _ in 0..2 {
        for page in data {
            list.push(*page)?;
        }
    }
    // SAFETY: The list holds that many pages. The ring is not in use; the mutex keeps sysfs out.
    unsafe {
        let mapping = bindings::vmap_ring(
            list.as_slice().as_ptr().cast_mut(),
            list.as_slice().len() as u32,
            confidential,
        );
        if mapping.is_null() {
            return Err(ENOMEM);
        }
        ptr::write_bytes(mapping.cast::<u8>(), 0, PAGE_SIZE);
        let size = (pages.len() * PAGE_SIZE) as u32;
        let guard = RingMutex::lock(ring);
        // A driver that opens the same rings again has left them mapped.
        let old = ptr::replace(&raw mut (*info).ring_buffer, mapping.cast());
        (*info).ring_size = size;
        (*info).ring_size_div10_reciprocal = bindings::vmbus_reciprocal_value(size / 10);
        (*info).ring_datasize = size - PAGE_SIZE as u32;
        (*info).priv_read_index = 0;
        drop(guard);
        if !old.is_null() {
            bindings::vmbus_vunmap(old.cast());
        }
        bindings::ring_lock_init(&raw mut (*info).ring_lock);
        // In both rings: the host reads the one of its side before it asks to be told about room.
        if let Some(mapped) = Mapped::of(info) {
            OutgoingRing::new(mapped)
                .map_err(|_| EINVAL)?
                .enable_pending_send_sz();
        }
        if max_pkt_size > 0 {
            let old = ptr::replace(
                &raw mut (*info).pkt_buffer,
                bindings::vmbus_kvzalloc(max_pkt_size as usize),
            );
            bindings::vmbus_kvfree(old);
            if (*info).pkt_buffer.is_null() {
                return Err(ENOMEM);
            }
            (*info).pkt_buffer_size = max_pkt_size;
        }
    }
    Ok(())
}
