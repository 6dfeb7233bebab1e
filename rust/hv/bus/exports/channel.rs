// SPDX-License-Identifier: GPL-2.0

//! Channels: signals, memory, callbacks, request ids.

use super::to_int;
use crate::{
    channel::{
        Channel,
        ChannelFunction,
        Owned, //
    },
    gpadl,
    ring,
    signal, //
};
use core::ptr;
use kernel::ffi::{
    c_int,
    c_void, //
};
use rlis_sys::page;

#[no_mangle]
extern "C" fn vmbus_setevent(channel: &Channel) {
    signal::signal(channel);
}

#[no_mangle]
extern "C" fn vmbus_set_event(channel: &Channel) {
    signal::signal_event(channel);
}

#[no_mangle]
extern "C" fn vmbus_alloc_ring(channel: Owned<'_>, send_size: u32, recv_size: u32) -> c_int {
    // Only uio_hv_generic calls this, and maps the rings by the physical address of the first page.
    to_int(ring::alloc(&channel, send_size, recv_size, true))
}

#[no_mangle]
extern "C" fn vmbus_alloc_buffer(
    channel: &Channel,
    size: u32,
    chunks: &mut *mut *mut page,
    chunk_cnt: &mut u32,
) -> *mut c_void {
    // The buffer is one piece.
    *chunks = ptr::null_mut();
    *chunk_cnt = 0;
    gpadl::alloc_buffer(channel, size)
}

#[no_mangle]
extern "C" fn vmbus_free_buffer(buffer: *mut c_void, _chunks: *mut *mut page, _chunk_cnt: u32) {
    // SAFETY: The driver's promise: the buffer is of `vmbus_alloc_buffer`, or null, and nobody uses it any more.
    unsafe { rlis_sys::vfree(buffer) };
}

#[no_mangle]
extern "C" fn vmbus_set_sc_create_callback(channel: &Channel, callback: Option<ChannelFunction>) {
    channel.set_sc_creation_callback(callback);
}

#[no_mangle]
extern "C" fn vmbus_set_chn_rescind_callback(channel: &Channel, callback: Option<ChannelFunction>) {
    channel.set_rescind_callback(callback);
}

#[no_mangle]
extern "C" fn vmbus_next_request_id(channel: &Channel, address: u64) -> u64 {
    channel.requestor().next_id(address)
}

#[no_mangle]
extern "C" fn __vmbus_request_addr_match(channel: &Channel, id: u64, address: u64) -> u64 {
    // SAFETY: The driver's promise, which here includes the requestor's lock.
    unsafe { channel.requestor().take_locked(id, address) }
}

#[no_mangle]
extern "C" fn vmbus_request_addr_match(channel: &Channel, id: u64, address: u64) -> u64 {
    channel.requestor().take(id, address)
}

#[no_mangle]
extern "C" fn vmbus_request_addr(channel: &Channel, id: u64) -> u64 {
    channel.requestor().take_any(id)
}
