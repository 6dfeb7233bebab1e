// SPDX-License-Identifier: GPL-2.0

//! The API of `<linux/hyperv.h>`, as C code calls it. drivers/hv/vmbus/exports_*.c makes the symbols known to
//! other modules.
//!
//! All of it is called by drivers of this bus, which promise what the header says: channels and devices come
//! from callbacks of the bus and are used only while the driver has them; buffers have the lengths given; a
//! channel is read in one place at a time, and closed by the one who opened it. The comments below call that
//! *the driver's promise*.

use crate::{
    channel::Channel,
    connection,
    device,
    gpadl,
    hypercall,
    ic,
    interrupt,
    mmio,
    open,
    power,
    requestor,
    retarget,
    ring,
    root,
    HOST_RESPONSE_TIMEOUT_MS, //
};
use core::{
    ffi::CStr,
    ptr,
    slice, //
};
use kernel::{
    ffi::{
        c_char,
        c_int,
        c_void, //
    },
    prelude::*, //
};
use rlis_proto::{
    vmbus::message::{
        ChannelMessageHeader,
        TlConnectRequest, //
    },
    Guid,
};
use rlis_sys as bindings;
use rlis_sys::{
    guid_t,
    hv_device,
    hv_driver,
    hv_ring_buffer_info,
    page,
    vmbus_channel,
    vmbus_gpadl,
    vmpacket_descriptor, //
};
use zerocopy::IntoBytes;

/// `VMBUS_DATA_PACKET_FLAG_COMPLETION_REQUESTED`.
const COMPLETION_REQUESTED: u32 = 1;
/// `VM_PKT_DATA_USING_GPA_DIRECT`.
const GPA_DIRECT: u16 = 9;

fn to_int(result: Result) -> c_int {
    result.map_or_else(|e| e.to_errno(), |()| 0)
}

/// # Safety
///
/// The driver's promise.
unsafe fn channel<'a>(raw: *mut vmbus_channel) -> &'a Channel {
    // SAFETY: The driver's promise.
    unsafe { Channel::from_raw(raw) }
}

/// A slice, empty for a length of 0 whatever the pointer.
///
/// # Safety
///
/// `data` points to `len` elements that are not written during `'a`, or `len` is 0.
unsafe fn slice<'a, T>(data: *const T, len: usize) -> &'a [T] {
    if len == 0 {
        &[]
    } else {
        // SAFETY: As the caller promises.
        unsafe { slice::from_raw_parts(data, len) }
    }
}

// ---- the bus, its devices and drivers ----

#[no_mangle]
extern "C" fn vmbus_is_confidential() -> bool {
    // The module does not load where VMBus is confidential.
    false
}

#[no_mangle]
extern "C" fn vmbus_set_skip_unload(skip: bool) {
    power::set_skip_unload(skip);
}

#[no_mangle]
extern "C" fn hv_get_vmbus_root_device() -> *mut bindings::device {
    root::device()
}

#[no_mangle]
extern "C" fn hv_vmbus_exists() -> bool {
    !root::device().is_null()
}

#[no_mangle]
unsafe extern "C" fn __vmbus_driver_register(
    drv: *mut hv_driver,
    owner: *mut bindings::module,
    mod_name: *const c_char,
) -> c_int {
    // SAFETY: The driver's promise.
    to_int(unsafe { device::register_driver(drv, owner, mod_name) })
}

#[no_mangle]
unsafe extern "C" fn vmbus_driver_unregister(drv: *mut hv_driver) {
    if hv_vmbus_exists() {
        // SAFETY: The driver's promise.
        unsafe { device::unregister_driver(drv) };
    }
}

#[no_mangle]
unsafe extern "C" fn vmbus_device_unregister(dev: *mut hv_device) {
    // SAFETY: The driver's promise: only hv_sock calls this, for its own devices.
    let channel = unsafe { channel((*dev).channel) };
    if channel.set_registered(false) {
        device::unregister(dev);
    }
}

/// hv_sock has closed a connection: its device goes once the host has rescinded it, which it always does.
#[no_mangle]
unsafe extern "C" fn vmbus_hvsock_device_unregister(raw: *mut vmbus_channel) {
    // SAFETY: The driver's promise.
    let channel = unsafe { channel(raw) };
    let mut waited = 0;
    while !(channel.is_probe_done() && channel.is_rescinded()) {
        if waited >= HOST_RESPONSE_TIMEOUT_MS {
            // The device stays until the host rescinds it after all, or the bus goes.
            pr_err!(
                "socket of relid {} was closed but not rescinded\n",
                channel.relid()
            );
            return;
        }
        // SAFETY: Process context.
        unsafe { bindings::msleep(1) };
        waited += 1;
    }
    if channel.set_registered(false) {
        device::unregister(channel.device());
    }
}

#[no_mangle]
unsafe extern "C" fn hv_create_ring_sysfs(
    raw: *mut vmbus_channel,
    prepare: Option<unsafe extern "C" fn(*mut vmbus_channel, *mut bindings::vm_area_desc) -> c_int>,
) -> c_int {
    // SAFETY: The driver's promise.
    unsafe {
        (*raw).mmap_prepare_ring_buffer = prepare;
        (*raw).ring_sysfs_visible = true;
        bindings::channel_update_sysfs(raw)
    }
}

#[no_mangle]
unsafe extern "C" fn hv_remove_ring_sysfs(raw: *mut vmbus_channel) -> c_int {
    // SAFETY: The driver's promise. The file is gone before its function.
    unsafe {
        (*raw).ring_sysfs_visible = false;
        let ret = bindings::channel_update_sysfs(raw);
        (*raw).mmap_prepare_ring_buffer = None;
        ret
    }
}

#[no_mangle]
unsafe extern "C" fn vmbus_allocate_mmio(
    new: *mut *mut bindings::resource,
    dev: *mut hv_device,
    min: bindings::resource_size_t,
    max: bindings::resource_size_t,
    size: bindings::resource_size_t,
    align: bindings::resource_size_t,
    fb_overlap_ok: bool,
) -> c_int {
    // SAFETY: The driver's promise; a registered device has a name that lives as long as it does, which is
    // longer than the driver keeps the piece.
    let name = unsafe { CStr::from_char_ptr(bindings::hv_dev_name(&raw const (*dev).device)) };
    match mmio::allocate(name, min, max, size, align, fb_overlap_ok) {
        Ok(resource) => {
            // SAFETY: The driver's promise.
            unsafe { *new = resource };
            0
        }
        Err(e) => e.to_errno(),
    }
}

#[no_mangle]
extern "C" fn vmbus_free_mmio(start: bindings::resource_size_t, size: bindings::resource_size_t) {
    mmio::free(start, size);
}

// ---- the connection ----

#[no_mangle]
extern "C" fn vmbus_initiate_unload(crash: bool) {
    connection::unload(crash);
}

#[no_mangle]
unsafe extern "C" fn hv_post_message(
    connection_id: bindings::hv_connection_id,
    message_type: bindings::hv_message_type,
    payload: *mut c_void,
    size: usize,
) -> c_int {
    // SAFETY: The caller's promise; any bits are valid for the number in the union.
    let (id, payload) = unsafe {
        (
            *connection_id.asu32.as_ref(),
            slice(payload.cast::<u8>().cast_const(), size),
        )
    };
    match hypercall::post_once(id, message_type, payload) {
        Ok(status) => c_int::from(status.0),
        Err(e) => e.to_errno(),
    }
}

#[no_mangle]
unsafe extern "C" fn vmbus_send_tl_connect_request(
    guest_endpoint: *const guid_t,
    host_service: *const guid_t,
) -> c_int {
    // SAFETY: The driver's promise.
    let (guest, host) = unsafe { ((*guest_endpoint).b, (*host_service).b) };
    let message = TlConnectRequest {
        header: ChannelMessageHeader::of::<TlConnectRequest>(),
        guest_endpoint_id: Guid::from_bytes(guest),
        host_service_id: Guid::from_bytes(host),
    };
    to_int(connection::post_bytes(message.as_bytes()))
}

// ---- channels ----

#[no_mangle]
unsafe extern "C" fn vmbus_setevent(raw: *mut vmbus_channel) {
    // SAFETY: The driver's promise.
    interrupt::signal(unsafe { channel(raw) });
}

#[no_mangle]
unsafe extern "C" fn vmbus_set_event(raw: *mut vmbus_channel) {
    // SAFETY: The driver's promise.
    interrupt::signal_event(unsafe { channel(raw) });
}

#[no_mangle]
unsafe extern "C" fn vmbus_alloc_ring(
    raw: *mut vmbus_channel,
    send_size: u32,
    recv_size: u32,
) -> c_int {
    // SAFETY: The driver's promise.
    to_int(ring::alloc(unsafe { channel(raw) }, send_size, recv_size))
}

#[no_mangle]
unsafe extern "C" fn vmbus_free_ring(raw: *mut vmbus_channel) {
    // SAFETY: The driver's promise.
    ring::free(unsafe { channel(raw) });
}

#[no_mangle]
unsafe extern "C" fn vmbus_connect_ring(
    raw: *mut vmbus_channel,
    callback: open::Callback,
    context: *mut c_void,
) -> c_int {
    // SAFETY: The driver's promise.
    let channel = unsafe { channel(raw) };
    to_int(open::connect(channel, &[], callback, context))
}

#[no_mangle]
unsafe extern "C" fn vmbus_open(
    raw: *mut vmbus_channel,
    send_size: u32,
    recv_size: u32,
    userdata: *mut c_void,
    userdata_len: u32,
    callback: open::Callback,
    context: *mut c_void,
) -> c_int {
    // SAFETY: The driver's promise.
    let (channel, userdata) = unsafe {
        (
            channel(raw),
            slice(userdata.cast::<u8>().cast_const(), userdata_len as usize),
        )
    };
    let opened = ring::alloc(channel, send_size, recv_size).and_then(|()| {
        open::connect(channel, userdata, callback, context).inspect_err(|_| ring::free(channel))
    });
    to_int(opened)
}

#[no_mangle]
unsafe extern "C" fn vmbus_disconnect_ring(raw: *mut vmbus_channel) -> c_int {
    // SAFETY: The driver's promise.
    to_int(open::disconnect(unsafe { channel(raw) }))
}

#[no_mangle]
unsafe extern "C" fn vmbus_close(raw: *mut vmbus_channel) {
    // SAFETY: The driver's promise.
    let channel = unsafe { channel(raw) };
    if open::disconnect(channel).is_ok() {
        ring::free(channel);
    }
}

#[no_mangle]
unsafe extern "C" fn vmbus_send_modifychannel(raw: *mut vmbus_channel, target_vp: u32) -> c_int {
    // SAFETY: The driver's promise.
    to_int(retarget::modify(unsafe { channel(raw) }, target_vp))
}

#[no_mangle]
unsafe extern "C" fn vmbus_establish_gpadl(
    raw: *mut vmbus_channel,
    buffer: *mut c_void,
    size: u32,
    gpadl: *mut vmbus_gpadl,
) -> c_int {
    // SAFETY: The driver's promise.
    to_int(unsafe {
        gpadl::establish(channel(raw), gpadl::Kind::Buffer, buffer, size, &mut *gpadl)
    })
}

#[no_mangle]
unsafe extern "C" fn vmbus_establish_gpadl_caller_decrypted(
    raw: *mut vmbus_channel,
    buffer: *mut c_void,
    size: u32,
    gpadl: *mut vmbus_gpadl,
) -> c_int {
    // SAFETY: The driver's promise.
    to_int(unsafe {
        let kind = gpadl::Kind::DecryptedBuffer;
        gpadl::establish(channel(raw), kind, buffer, size, &mut *gpadl)
    })
}

#[no_mangle]
unsafe extern "C" fn vmbus_teardown_gpadl(
    raw: *mut vmbus_channel,
    gpadl: *mut vmbus_gpadl,
) -> c_int {
    // SAFETY: The driver's promise.
    to_int(unsafe { gpadl::teardown(channel(raw), &mut *gpadl) })
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
        gpadl::alloc_buffer(channel(raw), size)
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

// ---- packets ----

static PADDING: [u8; 8] = [0; 8];

/// The bytes that make a packet of `len` bytes a multiple of 8.
fn padding(len: usize) -> &'static [u8] {
    PADDING
        .get(..len.next_multiple_of(8) - len)
        .unwrap_or_default()
}

/// Length of a packet in units of 8 bytes, as the descriptor has it.
fn len8(len: usize) -> Option<u16> {
    u16::try_from(len.div_ceil(8)).ok()
}

#[no_mangle]
unsafe extern "C" fn vmbus_sendpacket_getid(
    raw: *mut vmbus_channel,
    buffer: *mut c_void,
    buffer_len: u32,
    request_id: u64,
    trans_id: *mut u64,
    packet_type: bindings::vmbus_packet_type,
    flags: u32,
) -> c_int {
    // SAFETY: The driver's promise.
    let (channel, payload) = unsafe {
        (
            channel(raw),
            slice(buffer.cast::<u8>().cast_const(), buffer_len as usize),
        )
    };
    let header = size_of::<vmpacket_descriptor>();
    let len = header + payload.len();
    let Some(len8) = len8(len) else {
        return EINVAL.to_errno();
    };
    // type, offset8, len8, flags, trans_id: `struct vmpacket_descriptor`. The id is filled in later.
    let mut descriptor = [0; 16];
    for (to, value) in descriptor.chunks_exact_mut(2).zip([
        packet_type as u16,
        (header / 8) as u16,
        len8,
        flags as u16,
    ]) {
        to.copy_from_slice(&value.to_le_bytes());
    }
    let packet = ring::Packet {
        parts: [&descriptor, payload, padding(len)],
        wants_completion: flags == COMPLETION_REQUESTED,
        request_id,
    };
    match ring::send(channel, &packet) {
        Ok(id) => {
            if !trans_id.is_null() {
                // SAFETY: The driver's promise.
                unsafe { *trans_id = id };
            }
            0
        }
        Err(e) => e.to_errno(),
    }
}

#[no_mangle]
unsafe extern "C" fn vmbus_sendpacket(
    raw: *mut vmbus_channel,
    buffer: *mut c_void,
    buffer_len: u32,
    request_id: u64,
    packet_type: bindings::vmbus_packet_type,
    flags: u32,
) -> c_int {
    // SAFETY: The driver's promise.
    unsafe {
        vmbus_sendpacket_getid(
            raw,
            buffer,
            buffer_len,
            request_id,
            ptr::null_mut(),
            packet_type,
            flags,
        )
    }
}

#[no_mangle]
unsafe extern "C" fn vmbus_sendpacket_mpb_desc(
    raw: *mut vmbus_channel,
    desc: *mut bindings::vmbus_packet_mpb_array,
    desc_size: u32,
    buffer: *mut c_void,
    buffer_len: u32,
    request_id: u64,
) -> c_int {
    let len = desc_size as usize + buffer_len as usize;
    let (Some(len8), Ok(offset8)) = (len8(len), u16::try_from(desc_size / 8)) else {
        return EINVAL.to_errno();
    };
    // SAFETY: The driver's promise: `desc` is the descriptor with its page numbers, in `desc_size` bytes.
    let (channel, descriptor, payload) = unsafe {
        (*desc).type_ = GPA_DIRECT;
        (*desc).flags = COMPLETION_REQUESTED as u16;
        (*desc).dataoffset8 = offset8;
        (*desc).length8 = len8;
        (*desc).transactionid = ring::REQUEST_ERROR;
        (*desc).reserved = 0;
        (
            channel(raw),
            slice(desc.cast::<u8>().cast_const(), desc_size as usize),
            slice(buffer.cast::<u8>().cast_const(), buffer_len as usize),
        )
    };
    let packet = ring::Packet {
        parts: [descriptor, payload, padding(len)],
        wants_completion: true,
        request_id,
    };
    to_int(ring::send(channel, &packet).map(|_| ()))
}

/// # Safety
///
/// The driver's promise.
unsafe fn receive(
    raw: *mut vmbus_channel,
    buffer: *mut c_void,
    buffer_len: u32,
    actual_len: *mut u32,
    request_id: *mut u64,
    raw_packet: bool,
) -> c_int {
    if buffer_len == 0 {
        return EINVAL.to_errno();
    }
    // SAFETY: The driver's promise.
    unsafe {
        let buffer = slice::from_raw_parts_mut(buffer.cast::<u8>(), buffer_len as usize);
        let (received, result) = ring::receive(channel(raw), buffer, raw_packet);
        let (len, id) = received.map_or((0, 0), |r| (r.len, r.trans_id));
        *actual_len = len;
        *request_id = id;
        to_int(result)
    }
}

#[no_mangle]
unsafe extern "C" fn vmbus_recvpacket(
    raw: *mut vmbus_channel,
    buffer: *mut c_void,
    buffer_len: u32,
    actual_len: *mut u32,
    request_id: *mut u64,
) -> c_int {
    // SAFETY: The driver's promise.
    unsafe { receive(raw, buffer, buffer_len, actual_len, request_id, false) }
}

#[no_mangle]
unsafe extern "C" fn vmbus_recvpacket_raw(
    raw: *mut vmbus_channel,
    buffer: *mut c_void,
    buffer_len: u32,
    actual_len: *mut u32,
    request_id: *mut u64,
) -> c_int {
    // SAFETY: The driver's promise.
    unsafe { receive(raw, buffer, buffer_len, actual_len, request_id, true) }
}

#[no_mangle]
unsafe extern "C" fn hv_pkt_iter_first(raw: *mut vmbus_channel) -> *mut vmpacket_descriptor {
    // SAFETY: The driver's promise.
    unsafe { ring::first(channel(raw)) }
}

#[no_mangle]
unsafe extern "C" fn __hv_pkt_iter_next(
    raw: *mut vmbus_channel,
    packet: *const vmpacket_descriptor,
) -> *mut vmpacket_descriptor {
    // SAFETY: The driver's promise.
    unsafe { ring::next(channel(raw), packet) }
}

#[no_mangle]
unsafe extern "C" fn hv_pkt_iter_close(raw: *mut vmbus_channel) {
    // SAFETY: The driver's promise.
    unsafe { ring::close(channel(raw)) };
}

#[no_mangle]
unsafe extern "C" fn hv_ringbuffer_get_debuginfo(
    info: *mut hv_ring_buffer_info,
    debug: *mut bindings::hv_ring_buffer_debug_info,
) -> c_int {
    // SAFETY: The driver's promise.
    match unsafe { ring::debug_info(info) } {
        Ok(d) => {
            // SAFETY: The driver's promise.
            unsafe {
                *debug = bindings::hv_ring_buffer_debug_info {
                    current_interrupt_mask: d.interrupt_mask,
                    current_read_index: d.read_index,
                    current_write_index: d.write_index,
                    bytes_avail_toread: d.to_read,
                    bytes_avail_towrite: d.to_write,
                }
            };
            0
        }
        Err(e) => e.to_errno(),
    }
}

#[no_mangle]
unsafe extern "C" fn hv_ringbuffer_spinlock_busy(raw: *mut vmbus_channel) -> bool {
    // SAFETY: The driver's promise.
    unsafe { bindings::spin_is_locked(&raw mut (*raw).outbound.ring_lock) }
}

// ---- request ids ----

#[no_mangle]
unsafe extern "C" fn vmbus_next_request_id(raw: *mut vmbus_channel, address: u64) -> u64 {
    // SAFETY: The driver's promise.
    requestor::next_id(unsafe { channel(raw) }, address)
}

#[no_mangle]
unsafe extern "C" fn __vmbus_request_addr_match(
    raw: *mut vmbus_channel,
    id: u64,
    address: u64,
) -> u64 {
    // SAFETY: The driver's promise, which here includes the requestor's lock.
    unsafe { requestor::take_locked(channel(raw), id, address) }
}

#[no_mangle]
unsafe extern "C" fn vmbus_request_addr_match(
    raw: *mut vmbus_channel,
    id: u64,
    address: u64,
) -> u64 {
    // SAFETY: The driver's promise.
    requestor::take(unsafe { channel(raw) }, id, address)
}

#[no_mangle]
unsafe extern "C" fn vmbus_request_addr(raw: *mut vmbus_channel, id: u64) -> u64 {
    // SAFETY: The driver's promise.
    requestor::take_any(unsafe { channel(raw) }, id)
}

// ---- integration components ----

#[no_mangle]
unsafe extern "C" fn vmbus_prep_negotiate_resp(
    header: *mut bindings::icmsg_hdr,
    buf: *mut u8,
    buf_len: u32,
    fw_version: *const c_int,
    fw_count: c_int,
    srv_version: *const c_int,
    srv_count: c_int,
    nego_fw_version: *mut c_int,
    nego_srv_version: *mut c_int,
) -> bool {
    let count = |n: c_int| usize::try_from(n).unwrap_or(0);
    // SAFETY: The driver's promise: `buf` has that many bytes, and `header` points into it, which is why it is
    // written before the slice is made.
    unsafe {
        if (buf_len as usize) < ic::MIN_LEN {
            ic::too_short();
            return false;
        }
        (*header).icmsgsize = ic::RESPONSE_SIZE;
        let result = ic::negotiate(
            slice::from_raw_parts_mut(buf, buf_len as usize),
            slice(fw_version, count(fw_count)),
            slice(srv_version, count(srv_count)),
        );
        let Some(result) = result else { return false };
        if !nego_fw_version.is_null() {
            *nego_fw_version = result.framework;
        }
        if !nego_srv_version.is_null() {
            *nego_srv_version = result.message;
        }
        result.found
    }
}
