// SPDX-License-Identifier: GPL-2.0

//! Packets.

use super::{
    channel_of,
    slice,
    to_int, //
};
use crate::ring;
use core::slice::from_raw_parts_mut;
use kernel::{
    ffi::{
        c_int,
        c_void, //
    },
    prelude::*, //
};
use rlis_proto::ring::{
    packet::{
        DESCRIPTOR_SIZE,
        VMBUS_DATA_PACKET_FLAG_COMPLETION_REQUESTED, //
    },
    PacketType, //
};
use rlis_sys as bindings;
use rlis_sys::{
    hv_ring_buffer_info,
    vmbus_channel,
    vmpacket_descriptor, //
};

/// Sends a packet of any kind.
///
/// # Safety
///
/// The driver's promise.
#[inline]
unsafe fn send(
    raw: *mut vmbus_channel,
    payload: *mut c_void,
    payload_len: u32,
    request_id: u64,
    packet_type: bindings::vmbus_packet_type,
    flags: u32,
) -> Result<u64> {
    let (Ok(packet_type), Ok(flags)) = (u16::try_from(packet_type), u16::try_from(flags)) else {
        return Err(EINVAL);
    };
    // SAFETY: The driver's promise.
    let (channel, payload) = unsafe {
        (
            channel_of(raw),
            slice(payload.cast::<u8>().cast_const(), payload_len as usize),
        )
    };
    ring::send(
        channel,
        &ring::Packet {
            packet_type: PacketType(packet_type),
            flags,
            extension: &[],
            payload,
            request_id,
        },
    )
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
    match unsafe { send(raw, buffer, buffer_len, request_id, packet_type, flags) } {
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
    unsafe { to_int(send(raw, buffer, buffer_len, request_id, packet_type, flags).map(|_| ())) }
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
    // SAFETY: The driver's promise: `desc` is the descriptor with its page numbers, in `desc_size` bytes. What
    // the ring's descriptor consists of is written there; of the rest only `reserved` is the bus's.
    let (channel, extension, payload) = unsafe {
        (*desc).reserved = 0;
        let Some(extension_len) = desc_size.checked_sub(DESCRIPTOR_SIZE) else {
            return EINVAL.to_errno();
        };
        (
            channel_of(raw),
            slice(
                desc.cast::<u8>().cast_const().add(DESCRIPTOR_SIZE as usize),
                extension_len as usize,
            ),
            slice(buffer.cast::<u8>().cast_const(), buffer_len as usize),
        )
    };
    let packet = ring::Packet {
        packet_type: PacketType::VM_PKT_DATA_USING_GPA_DIRECT,
        flags: VMBUS_DATA_PACKET_FLAG_COMPLETION_REQUESTED,
        extension,
        payload,
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
        let buffer = from_raw_parts_mut(buffer.cast::<u8>(), buffer_len as usize);
        let (received, result) = ring::receive(channel_of(raw), buffer, raw_packet);
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
    unsafe { ring::first(channel_of(raw)) }
}

#[no_mangle]
unsafe extern "C" fn __hv_pkt_iter_next(
    raw: *mut vmbus_channel,
    packet: *const vmpacket_descriptor,
) -> *mut vmpacket_descriptor {
    // SAFETY: The driver's promise.
    unsafe { ring::next(channel_of(raw), packet) }
}

#[no_mangle]
unsafe extern "C" fn hv_pkt_iter_close(raw: *mut vmbus_channel) {
    // SAFETY: The driver's promise.
    unsafe { ring::close(channel_of(raw)) };
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
