// SPDX-License-Identifier: GPL-2.0

//! Sending packets.

use crate::{
    channel::Channel,
    ratelimit,
    signal::signal, //
};
use kernel::prelude::*;
use rlis_proto::ring::{
    packet::{
        DESCRIPTOR_SIZE,
        VMBUS_DATA_PACKET_FLAG_COMPLETION_REQUESTED, //
    },
    OutgoingRing,
    PacketType,
    RingError,
    WriteError, //
};

/// `VMBUS_NO_RQSTOR`: the channel's ids are the driver's own.
pub(crate) const NO_REQUESTOR: u64 = u64::MAX;
/// `VMBUS_RQST_ERROR`: no id.
pub(crate) const REQUEST_ERROR: u64 = u64::MAX - 1;

/// A packet to be sent.
pub(crate) struct Packet<'a> {
    /// What kind of packet it is.
    pub(crate) packet_type: PacketType,
    /// `VMBUS_DATA_PACKET_FLAG_*`.
    pub(crate) flags: u16,
    /// What comes between descriptor and payload, a multiple of 8 bytes.
    pub(crate) extension: &'a [u8],
    /// The payload, padded on the way.
    pub(crate) payload: &'a [u8],
    /// What the channel's request id callback turns into a transaction id, or the id itself.
    pub(crate) request_id: u64,
}

/// Writes a packet to the ring and signals the host if it has to be. Any context.
///
/// Returns the transaction id under which the host will complete it.
///
/// # Errors
///
/// `EAGAIN` if the ring is full or there is no request id left; `ENODEV` if the channel is rescinded, also if
/// that happens meanwhile; `EIO` if the host has ruined the ring; `EINVAL` if the channel is not open or the ring
/// cannot hold such a packet even when it is empty.
#[inline]
pub(crate) fn send(channel: &Channel, packet: &Packet<'_>) -> Result<u64> {
    if channel.is_rescinded() {
        return Err(ENODEV);
    }
    let info = channel.outbound();
    // SAFETY: The driver keeps the channel open during the call.
    let ring = unsafe { info.mapped() }.ok_or(EINVAL)?;

    let guard = info.ring_lock().lock();
    let mut ring = match OutgoingRing::new(ring) {
        Ok(ring) => ring,
        Err(e) => {
            drop(guard);
            return Err(ruined(channel, e));
        }
    };
    let header_len = DESCRIPTOR_SIZE as usize + packet.extension.len();
    let room = match ring.reserve(header_len, packet.payload.len()) {
        Ok(room) => room,
        Err(WriteError::Full { .. }) => {
            channel.out_full_total().count();
            if !channel.out_full_flag().replace(true) {
                channel.out_full_first().count();
            }
            return Err(EAGAIN);
        }
        Err(WriteError::Corrupt(e)) => {
            drop(guard);
            return Err(ruined(channel, e));
        }
        Err(WriteError::TooBig { .. } | WriteError::Mismatch) => return Err(EINVAL),
    };
    channel.out_full_flag().set(false);

    let filled = room
        .fill(&[packet.extension], &[packet.payload])
        .map_err(|_| EINVAL)?;
    // From here on a completion can find what the id stands for, and the driver can free it: the payload, too.
    let mut allocated = None;
    if packet.flags == VMBUS_DATA_PACKET_FLAG_COMPLETION_REQUESTED {
        match channel.next_request_id(packet.request_id) {
            None | Some(NO_REQUESTOR) => {}
            Some(REQUEST_ERROR) => return Err(EAGAIN),
            id => allocated = id,
        }
    }
    let trans_id = allocated.unwrap_or(packet.request_id);
    let must_signal = filled.publish(packet.packet_type, packet.flags, trans_id);
    drop(guard);

    if must_signal.needed() {
        channel.intr_out_empty().count();
        signal(channel);
    }
    if !channel.is_rescinded() {
        return Ok(trans_id);
    }
    // The id would never be completed.
    if let Some(id) = allocated {
        channel.drop_request_id(id);
    }
    Err(ENODEV)
}

/// Tells of it, without the ring's lock: the line may have to go through this very ring (netconsole).
#[cold]
fn ruined(channel: &Channel, e: RingError) -> Error {
    ratelimit::warn(|| {
        pr_err!(
            "outbound ring of relid {}: {}\n",
            channel.relid(),
            core::format_args!("{e}")
        );
    });
    EIO
}
