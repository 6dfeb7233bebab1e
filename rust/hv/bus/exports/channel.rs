// SPDX-License-Identifier: GPL-2.0

//! Channels: rings, opening and closing, GPADLs, request ids.

use super::{
    to_int,
    Given, //
};
use crate::{
    channel::{
        Callback,
        Channel,
        ChannelFunction,
        Owned, //
    },
    gpadl::{
        self,
        Gpadl,
        Kind,
        Memory, //
    },
    ops,
    requestor,
    ring,
    signal, //
};
use core::ptr;
use kernel::{
    error::code::EINVAL,
    ffi::{
        c_int,
        c_void, //
    }, //
};
use rlis_sys::{
    page,
    vmbus_gpadl, //
};

/// A driver's channel callback.
type Function = Option<unsafe extern "C" fn(context: *mut c_void)>;

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
extern "C" fn vmbus_free_ring(channel: Owned<'_>) {
    if let Ok(ops) = ops() {
        ops.free_ring(&channel);
    }
}

#[no_mangle]
extern "C" fn vmbus_connect_ring(
    channel: Owned<'_>,
    function: Function,
    context: *mut c_void,
) -> c_int {
    let callback = Callback { function, context };
    to_int(ops().and_then(|ops| ops.connect(&channel, &[], callback)))
}

#[no_mangle]
extern "C" fn vmbus_open(
    channel: Owned<'_>,
    send_size: u32,
    recv_size: u32,
    userdata: Given<u8>,
    userdata_len: u32,
    function: Function,
    context: *mut c_void,
) -> c_int {
    let in_one_piece = channel.primary().is_some_and(ring::is_in_one_piece);
    let callback = Callback { function, context };
    let opened = ring::alloc(&channel, send_size, recv_size, in_one_piece).and_then(|()| {
        ops()?
            .connect(&channel, userdata.slice(userdata_len as usize), callback)
            .inspect_err(|_| ring::keep(&channel))
    });
    to_int(opened)
}

#[no_mangle]
extern "C" fn vmbus_disconnect_ring(channel: Owned<'_>) -> c_int {
    to_int(ops().and_then(|ops| ops.disconnect(&channel)))
}

#[no_mangle]
extern "C" fn vmbus_close(channel: Owned<'_>) {
    match ops().and_then(|ops| ops.disconnect(&channel)) {
        Ok(()) => ring::keep(&channel),
        // It was not open, and what it has, if anything, is another's.
        Err(e) if e == EINVAL => {}
        // The pages are lost, but nothing else.
        Err(_) => ring::free(&channel),
    }
}

#[no_mangle]
extern "C" fn vmbus_send_modifychannel(channel: &Channel, target_vp: u32) -> c_int {
    to_int(ops().and_then(|ops| ops.modify_channel(channel, target_vp)))
}

/// Makes a GPADL of a buffer, which the driver does not free while the host may use it.
fn establish(
    channel: &Channel,
    kind: Kind,
    buffer: *mut c_void,
    size: u32,
    gpadl: &mut vmbus_gpadl,
) -> c_int {
    // SAFETY: The driver's promise.
    let gpadl = unsafe { Gpadl::new(gpadl, Memory::Buffer(buffer, size)) };
    to_int(ops().and_then(|ops| ops.establish_gpadl(channel, kind, gpadl)))
}

#[no_mangle]
extern "C" fn vmbus_establish_gpadl(
    channel: &Channel,
    buffer: *mut c_void,
    size: u32,
    gpadl: &mut vmbus_gpadl,
) -> c_int {
    establish(channel, Kind::Buffer, buffer, size, gpadl)
}

#[no_mangle]
extern "C" fn vmbus_establish_gpadl_caller_decrypted(
    channel: &Channel,
    buffer: *mut c_void,
    size: u32,
    gpadl: &mut vmbus_gpadl,
) -> c_int {
    establish(channel, Kind::DecryptedBuffer, buffer, size, gpadl)
}

#[no_mangle]
extern "C" fn vmbus_teardown_gpadl(channel: &Channel, gpadl: &mut vmbus_gpadl) -> c_int {
    let memory = Memory::Buffer(gpadl.buffer, gpadl.size);
    // SAFETY: The driver's promise.
    let gpadl = unsafe { Gpadl::new(gpadl, memory) };
    to_int(ops().and_then(|ops| ops.teardown_gpadl(channel, gpadl)))
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
    // SAFETY: The driver's promise: the buffer is of `vmbus_alloc_buffer`, which never returns chunks.
    unsafe { gpadl::free_buffer(buffer) };
}

#[no_mangle]
extern "C" fn vmbus_set_sc_create_callback(channel: &Channel, callback: ChannelFunction) {
    channel.set_sc_creation_callback(callback);
}

#[no_mangle]
extern "C" fn vmbus_set_chn_rescind_callback(channel: &Channel, callback: ChannelFunction) {
    channel.set_rescind_callback(callback);
}

#[no_mangle]
extern "C" fn vmbus_next_request_id(channel: &Channel, address: u64) -> u64 {
    requestor::next_id(channel, address)
}

#[no_mangle]
extern "C" fn __vmbus_request_addr_match(channel: &Channel, id: u64, address: u64) -> u64 {
    // SAFETY: The driver's promise, which here includes the requestor's lock.
    unsafe { requestor::take_locked(channel, id, address) }
}

#[no_mangle]
extern "C" fn vmbus_request_addr_match(channel: &Channel, id: u64, address: u64) -> u64 {
    requestor::take(channel, id, address)
}

#[no_mangle]
extern "C" fn vmbus_request_addr(channel: &Channel, id: u64) -> u64 {
    requestor::take_any(channel, id)
}
