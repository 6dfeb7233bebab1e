// SPDX-License-Identifier: GPL-2.0

//! Packets.

use super::{
    to_int,
    Given, //
};
use crate::{
    channel::Channel,
    ring::{
        self,
        Reader,
        Received,
        RingInfo, //
    }, //
};
use core::{
    mem::offset_of,
    ptr, //
};
use kernel::{
    ffi::c_int,
    prelude::*, //
};
use rlis_hv::outbound::Content;
use rlis_proto::ring::{
    packet::{
        DESCRIPTOR_SIZE,
        VMBUS_DATA_PACKET_FLAG_COMPLETION_REQUESTED, //
    },
    PacketType, //
};
use rlis_sys as bindings;
use rlis_sys::vmpacket_descriptor;

/// Sends a packet of any kind.
#[inline]
fn send(
    channel: &Channel,
    payload: &[u8],
    request_id: u64,
    packet_type: bindings::vmbus_packet_type,
    flags: u32,
) -> Result<u64> {
    let (Ok(packet_type), Ok(flags)) = (u16::try_from(packet_type), u16::try_from(flags)) else {
        return Err(EINVAL);
    };
    ring::send(
        channel,
        &Content {
            packet_type: PacketType(packet_type),
            flags,
            extension: &[],
            payload,
        },
        request_id,
    )
}

#[no_mangle]
extern "C" fn vmbus_sendpacket_getid(
    channel: &Channel,
    buffer: Given<u8>,
    buffer_len: u32,
    request_id: u64,
    trans_id: Option<&mut u64>,
    packet_type: bindings::vmbus_packet_type,
    flags: u32,
) -> c_int {
    let payload = buffer.slice(buffer_len as usize);
    match send(channel, payload, request_id, packet_type, flags) {
        Ok(id) => {
            if let Some(trans_id) = trans_id {
                *trans_id = id;
            }
            0
        }
        Err(e) => e.to_errno(),
    }
}

#[no_mangle]
extern "C" fn vmbus_sendpacket(
    channel: &Channel,
    buffer: Given<u8>,
    buffer_len: u32,
    request_id: u64,
    packet_type: bindings::vmbus_packet_type,
    flags: u32,
) -> c_int {
    let payload = buffer.slice(buffer_len as usize);
    to_int(send(channel, payload, request_id, packet_type, flags).map(|_| ()))
}

#[no_mangle]
extern "C" fn vmbus_sendpacket_mpb_desc(
    channel: &Channel,
    mut desc: Given<u8>,
    desc_size: u32,
    buffer: Given<u8>,
    buffer_len: u32,
    request_id: u64,
) -> c_int {
    // `desc` is a `struct vmbus_packet_mpb_array`, the page numbers included. What the ring's descriptor consists of is written
    // there; of the rest only `reserved` is the bus's.
    const RESERVED: usize = offset_of!(bindings::vmbus_packet_mpb_array, reserved);
    let desc = desc.slice_mut(desc_size as usize);
    if let Some(reserved) = desc.get_mut(RESERVED..RESERVED + size_of::<u32>()) {
        reserved.fill(0);
    }
    let Some(extension) = desc.get(DESCRIPTOR_SIZE as usize..) else {
        return EINVAL.to_errno();
    };
    let packet = Content {
        packet_type: PacketType::VM_PKT_DATA_USING_GPA_DIRECT,
        flags: VMBUS_DATA_PACKET_FLAG_COMPLETION_REQUESTED,
        extension,
        payload: buffer.slice(buffer_len as usize),
    };
    to_int(ring::send(channel, &packet, request_id).map(|_| ()))
}

/// The reading side of a channel.
#[inline]
fn reader(channel: &Channel) -> Option<Reader<'_>> {
    // SAFETY: The driver's promise: it reads an open channel, in one place at a time.
    unsafe { Reader::of(channel) }
}

fn receive(
    channel: &Channel,
    mut buffer: Given<u8>,
    buffer_len: u32,
    actual_len: &mut u32,
    request_id: &mut u64,
    raw_packet: bool,
) -> c_int {
    if buffer_len == 0 {
        return EINVAL.to_errno();
    }
    let buffer = buffer.slice_mut(buffer_len as usize);
    let received = reader(channel).map_or(Received::Nothing, |r| r.receive(buffer, raw_packet));
    let (len, id, result) = match received {
        Received::Nothing => (0, 0, 0),
        Received::Packet { len, trans_id } => (len, trans_id, 0),
        Received::TooLong { need, trans_id } => (need, trans_id, ENOBUFS.to_errno()),
    };
    (*actual_len, *request_id) = (len, id);
    result
}

#[no_mangle]
extern "C" fn vmbus_recvpacket(
    channel: &Channel,
    buffer: Given<u8>,
    buffer_len: u32,
    actual_len: &mut u32,
    request_id: &mut u64,
) -> c_int {
    receive(channel, buffer, buffer_len, actual_len, request_id, false)
}

#[no_mangle]
extern "C" fn vmbus_recvpacket_raw(
    channel: &Channel,
    buffer: Given<u8>,
    buffer_len: u32,
    actual_len: &mut u32,
    request_id: &mut u64,
) -> c_int {
    receive(channel, buffer, buffer_len, actual_len, request_id, true)
}

#[no_mangle]
extern "C" fn hv_pkt_iter_first(channel: &Channel) -> *mut vmpacket_descriptor {
    reader(channel).map_or(ptr::null_mut(), |r| r.first())
}

#[no_mangle]
extern "C" fn __hv_pkt_iter_next(
    channel: &Channel,
    packet: &vmpacket_descriptor,
) -> *mut vmpacket_descriptor {
    // What the last call returned, a private copy.
    let len8 = packet.len8;
    reader(channel).map_or(ptr::null_mut(), |r| r.next(len8))
}

#[no_mangle]
extern "C" fn hv_pkt_iter_close(channel: &Channel) {
    if let Some(reader) = reader(channel) {
        reader.close();
    }
}

#[no_mangle]
extern "C" fn hv_ringbuffer_get_debuginfo(
    info: &RingInfo,
    debug: &mut bindings::hv_ring_buffer_debug_info,
) -> c_int {
    match info.debug_info() {
        Ok(d) => {
            *debug = bindings::hv_ring_buffer_debug_info {
                current_interrupt_mask: d.interrupt_mask,
                current_read_index: d.read_index,
                current_write_index: d.write_index,
                bytes_avail_toread: d.to_read,
                bytes_avail_towrite: d.to_write,
            };
            0
        }
        Err(e) => e.to_errno(),
    }
}

#[no_mangle]
extern "C" fn hv_ringbuffer_spinlock_busy(channel: &Channel) -> bool {
    channel.outbound().is_busy()
}
