// SPDX-License-Identifier: GPL-2.0

//! Channels: rings, opening and closing, GPADLs, request ids.

use super::{
    channel_of,
    slice,
    to_int, //
};
use crate::{
    channel::{
        Callback,
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
    vmbus_channel,
    vmbus_gpadl, //
};

/// A channel that its driver opens or closes.
///
/// # Safety
///
/// The driver's promise.
unsafe fn owned<'a>(raw: *mut vmbus_channel) -> Owned<'a> {
    // SAFETY: The driver's promise.
    unsafe { Owned::new(channel_of(raw)) }
}

/// A driver's channel callback.
type Function = Option<unsafe extern "C" fn(context: *mut c_void)>;

#[no_mangle]
unsafe extern "C" fn vmbus_setevent(raw: *mut vmbus_channel) {
    // SAFETY: The driver's promise.
    signal::signal(unsafe { channel_of(raw) });
}

#[no_mangle]
unsafe extern "C" fn vmbus_set_event(raw: *mut vmbus_channel) {
    // SAFETY: The driver's promise.
    signal::signal_event(unsafe { channel_of(raw) });
}

#[no_mangle]
unsafe extern "C" fn vmbus_alloc_ring(
    raw: *mut vmbus_channel,
    send_size: u32,
    recv_size: u32,
) -> c_int {
    // SAFETY: The driver's promise.
    let channel = unsafe { owned(raw) };
    // Only uio_hv_generic calls this, and maps the rings by the physical address of the first page.
    to_int(ring::alloc(&channel, send_size, recv_size, true))
}

#[no_mangle]
unsafe extern "C" fn vmbus_free_ring(raw: *mut vmbus_channel) {
    // SAFETY: The driver's promise.
    let channel = unsafe { owned(raw) };
    if let Ok(ops) = ops() {
        ops.free_ring(&channel);
    }
}

#[no_mangle]
unsafe extern "C" fn vmbus_connect_ring(
    raw: *mut vmbus_channel,
    function: Function,
    context: *mut c_void,
) -> c_int {
    // SAFETY: The driver's promise.
    let channel = unsafe { owned(raw) };
    let callback = Callback { function, context };
    to_int(ops().and_then(|ops| ops.connect(&channel, &[], callback)))
}

#[no_mangle]
unsafe extern "C" fn vmbus_open(
    raw: *mut vmbus_channel,
    send_size: u32,
    recv_size: u32,
    userdata: *mut c_void,
    userdata_len: u32,
    function: Function,
    context: *mut c_void,
) -> c_int {
    // SAFETY: The driver's promise.
    let (channel, userdata) = unsafe {
        (
            owned(raw),
            slice(userdata.cast::<u8>().cast_const(), userdata_len as usize),
        )
    };
    let in_one_piece = channel.primary().is_some_and(ring::is_in_one_piece);
    let callback = Callback { function, context };
    let opened = ring::alloc(&channel, send_size, recv_size, in_one_piece).and_then(|()| {
        ops()?
            .connect(&channel, userdata, callback)
            .inspect_err(|_| ring::keep(&channel))
    });
    to_int(opened)
}

#[no_mangle]
unsafe extern "C" fn vmbus_disconnect_ring(raw: *mut vmbus_channel) -> c_int {
    // SAFETY: The driver's promise.
    let channel = unsafe { owned(raw) };
    to_int(ops().and_then(|ops| ops.disconnect(&channel)))
}

#[no_mangle]
unsafe extern "C" fn vmbus_close(raw: *mut vmbus_channel) {
    // SAFETY: The driver's promise.
    let channel = unsafe { owned(raw) };
    match ops().and_then(|ops| ops.disconnect(&channel)) {
        Ok(()) => ring::keep(&channel),
        // It was not open, and what it has, if anything, is another's.
        Err(e) if e == EINVAL => {}
        // The pages are lost, but nothing else.
        Err(_) => ring::free(&channel),
    }
}

#[no_mangle]
unsafe extern "C" fn vmbus_send_modifychannel(raw: *mut vmbus_channel, target_vp: u32) -> c_int {
    // SAFETY: The driver's promise.
    let channel = unsafe { channel_of(raw) };
    to_int(ops().and_then(|ops| ops.modify_channel(channel, target_vp)))
}

/// Makes a GPADL of a buffer.
///
/// # Safety
///
/// The driver's promise.
unsafe fn establish(
    raw: *mut vmbus_channel,
    kind: Kind,
    buffer: *mut c_void,
    size: u32,
    gpadl: *mut vmbus_gpadl,
) -> c_int {
    // SAFETY: The driver's promise.
    let (channel, gpadl) = unsafe {
        (
            channel_of(raw),
            Gpadl::new(gpadl, Memory::Buffer(buffer, size)),
        )
    };
    to_int(ops().and_then(|ops| ops.establish_gpadl(channel, kind, gpadl)))
}

#[no_mangle]
unsafe extern "C" fn vmbus_establish_gpadl(
    raw: *mut vmbus_channel,
    buffer: *mut c_void,
    size: u32,
    gpadl: *mut vmbus_gpadl,
) -> c_int {
    // SAFETY: The driver's promise.
    unsafe { establish(raw, Kind::Buffer, buffer, size, gpadl) }
}

#[no_mangle]
unsafe extern "C" fn vmbus_establish_gpadl_caller_decrypted(
    raw: *mut vmbus_channel,
    buffer: *mut c_void,
    size: u32,
    gpadl: *mut vmbus_gpadl,
) -> c_int {
    // SAFETY: The driver's promise.
    unsafe { establish(raw, Kind::DecryptedBuffer, buffer, size, gpadl) }
}

#[no_mangle]
unsafe extern "C" fn vmbus_teardown_gpadl(
    raw: *mut vmbus_channel,
    gpadl: *mut vmbus_gpadl,
) -> c_int {
    // SAFETY: The driver's promise.
    let (channel, gpadl) = unsafe {
        let memory = Memory::Buffer((*gpadl).buffer, (*gpadl).size);
        (channel_of(raw), Gpadl::new(gpadl, memory))
    };
    to_int(ops().and_then(|ops| ops.teardown_gpadl(channel, gpadl)))
}

#[no_mangle]
unsafe extern "C" fn vmbus_alloc_buffer(
    raw: *mut vmbus_channel,
    size: u32,
    chunks: *mut *mut *mut page,
    chunk_cnt: *mut u32,
) -> *mut c_void {
    // SAFETY: The driver's promise. No chunks: the buffer is one piece.
    unsafe {
        *chunks = ptr::null_mut();
        *chunk_cnt = 0;
        gpadl::alloc_buffer(channel_of(raw), size)
    }
}

#[no_mangle]
unsafe extern "C" fn vmbus_free_buffer(
    buffer: *mut c_void,
    _chunks: *mut *mut page,
    _chunk_cnt: u32,
) {
    // SAFETY: The driver's promise: the buffer is of `vmbus_alloc_buffer`, which never returns chunks.
    unsafe { gpadl::free_buffer(buffer) };
}

#[no_mangle]
unsafe extern "C" fn vmbus_set_sc_create_callback(
    raw: *mut vmbus_channel,
    callback: Option<unsafe extern "C" fn(*mut vmbus_channel)>,
) {
    // SAFETY: The driver's promise.
    unsafe { (*raw).sc_creation_callback = callback };
}

#[no_mangle]
unsafe extern "C" fn vmbus_set_chn_rescind_callback(
    raw: *mut vmbus_channel,
    callback: Option<unsafe extern "C" fn(*mut vmbus_channel)>,
) {
    // SAFETY: The driver's promise.
    unsafe { (*raw).chn_rescind_callback = callback };
}

#[no_mangle]
unsafe extern "C" fn vmbus_next_request_id(raw: *mut vmbus_channel, address: u64) -> u64 {
    // SAFETY: The driver's promise.
    requestor::next_id(unsafe { channel_of(raw) }, address)
}

#[no_mangle]
unsafe extern "C" fn __vmbus_request_addr_match(
    raw: *mut vmbus_channel,
    id: u64,
    address: u64,
) -> u64 {
    // SAFETY: The driver's promise, which here includes the requestor's lock.
    unsafe { requestor::take_locked(channel_of(raw), id, address) }
}

#[no_mangle]
unsafe extern "C" fn vmbus_request_addr_match(
    raw: *mut vmbus_channel,
    id: u64,
    address: u64,
) -> u64 {
    // SAFETY: The driver's promise.
    requestor::take(unsafe { channel_of(raw) }, id, address)
}

#[no_mangle]
unsafe extern "C" fn vmbus_request_addr(raw: *mut vmbus_channel, id: u64) -> u64 {
    // SAFETY: The driver's promise.
    requestor::take_any(unsafe { channel_of(raw) }, id)
}
