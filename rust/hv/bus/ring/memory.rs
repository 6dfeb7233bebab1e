// SPDX-License-Identifier: GPL-2.0

//! The pages of the rings and their mapping.

use super::{
    Mapped,
    RingMutex, //
};
use crate::channel::Channel;
use core::ptr;
use kernel::{
    ffi::c_void,
    page::PAGE_SIZE,
    prelude::*, //
};
use rlis_proto::ring::OutgoingRing;
use rlis_sys as bindings;

/// Allocates the memory of both rings on the channel's NUMA node. Sleeps.
///
/// # Errors
///
/// `EINVAL` for a size of zero or one that is no multiple of the page size; `ENOMEM`.
pub(crate) fn alloc(channel: &Channel, send_size: u32, recv_size: u32) -> Result {
    let total = send_size.checked_add(recv_size).ok_or(EINVAL)?;
    let bad = |size: u32| (size as usize) < 2 * PAGE_SIZE || size as usize % PAGE_SIZE != 0;
    if bad(send_size) || bad(recv_size) {
        return Err(EINVAL);
    }
    let c = channel.raw();
    let node = crate::cpu::node(channel.target_cpu());
    // SAFETY: Process context. The driver that opens the channel is the only one to touch these fields.
    unsafe {
        let page = bindings::alloc_ring_pages(node, total as usize);
        if page.is_null() {
            return Err(ENOMEM);
        }
        (*c).ringbuffer_page = page;
        // Of this memory the host knows nothing, whatever became of that before.
        (*c).ringbuffer_gpadlhandle.decrypted = false;
        (*c).ringbuffer_pagecount = total / PAGE_SIZE as u32;
        (*c).ringbuffer_send_offset = send_size / PAGE_SIZE as u32;
    }
    Ok(())
}

/// Unmaps the rings and frees their memory, unless the host may still use it. Sleeps.
pub(crate) fn free(channel: &Channel) {
    unmap(channel);
    let c = channel.raw();
    // SAFETY: The channel is closed, so that only its driver, our caller, uses these fields.
    unsafe {
        let page = (*c).ringbuffer_page;
        if !page.is_null() && !(*c).ringbuffer_gpadlhandle.decrypted {
            let size = (*c).ringbuffer_pagecount as usize * PAGE_SIZE;
            bindings::free_ring_pages(page, size);
        }
        (*c).ringbuffer_page = ptr::null_mut();
    }
}

/// Unmaps the rings. Sleeps.
pub(crate) fn unmap(channel: &Channel) {
    let c = channel.raw();
    // SAFETY: The channel is closed; the mutex keeps sysfs out.
    unsafe {
        for info in [&raw mut (*c).outbound, &raw mut (*c).inbound] {
            let guard = RingMutex::lock(info);
            let mapping = (*info).ring_buffer;
            (*info).ring_buffer = ptr::null_mut();
            drop(guard);
            if !mapping.is_null() {
                bindings::vmbus_vunmap(mapping.cast());
            }
            bindings::kfree((*info).pkt_buffer);
            (*info).pkt_buffer = ptr::null_mut();
            (*info).pkt_buffer_size = 0;
        }
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
/// `info` is a ring of a channel that is being opened; `pages` points to `count` consecutive pages of its
/// memory.
pub(crate) unsafe fn init(
    info: *mut bindings::hv_ring_buffer_info,
    pages: *mut bindings::page,
    count: u32,
    max_pkt_size: u32,
    confidential: bool,
) -> Result {
    let data = count.checked_sub(1).filter(|&n| n > 0).ok_or(EINVAL)? as usize;
    let mut list = KVec::with_capacity(1 + 2 * data, GFP_KERNEL)?;
    list.push(pages, GFP_KERNEL)?;
    for i in 0..2 * data {
        list.push(pages.wrapping_add(1 + i % data), GFP_KERNEL)?;
    }
    // SAFETY: The list holds that many pages. The ring is not in use; the mutex keeps sysfs out.
    unsafe {
        let mapping = bindings::vmap_ring(list.as_mut_ptr(), list.len() as u32, confidential);
        if mapping.is_null() {
            return Err(ENOMEM);
        }
        ptr::write_bytes(mapping.cast::<u8>(), 0, PAGE_SIZE);
        let size = count * PAGE_SIZE as u32;
        let guard = RingMutex::lock(info);
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
        if let Some(ring) = Mapped::of(info) {
            OutgoingRing::new(ring)
                .map_err(|_| EINVAL)?
                .enable_pending_send_sz();
        }
        if max_pkt_size > 0 {
            let old = ptr::replace(
                &raw mut (*info).pkt_buffer,
                bindings::vmbus_kzalloc(max_pkt_size as usize),
            );
            bindings::kfree(old);
            if (*info).pkt_buffer.is_null() {
                return Err(ENOMEM);
            }
            (*info).pkt_buffer_size = max_pkt_size;
        }
    }
    Ok(())
}

/// The address of the rings' memory as the host sees it, and its size.
pub(crate) fn memory(channel: &Channel) -> (*mut c_void, u32) {
    // SAFETY: The driver that opens the channel is the only one to touch these fields.
    unsafe {
        let c = channel.raw();
        (
            bindings::vmbus_page_address((*c).ringbuffer_page),
            (*c).ringbuffer_pagecount * PAGE_SIZE as u32,
        )
    }
}
