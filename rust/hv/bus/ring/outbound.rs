// SPDX-License-Identifier: GPL-2.0

//! Sending packets.

use crate::{
    channel::Channel,
    ratelimit,
    signal::signal, //
};
use kernel::prelude::*;
use rlis_hv::outbound::Content;
use rlis_proto::ring::{
    packet::VMBUS_DATA_PACKET_FLAG_COMPLETION_REQUESTED,
    OutgoingRing,
    RingError,
    WriteError, //
};

/// `VMBUS_NO_RQSTOR`: the channel's ids are the driver's own.
pub(crate) const NO_REQUESTOR: u64 = u64::MAX;
/// `VMBUS_RQST_ERROR`: no id.
pub(crate) const REQUEST_ERROR: u64 = u64::MAX - 1;

/// Writes a packet to the ring and signals the host if it has to be. Any context.
///
/// `request_id` is what the channel's request id callback turns into a transaction id, or the id itself. Returns the transaction id
/// under which the host will complete it.
///
/// # Errors
///
/// `EAGAIN` if the ring is full or there is no request id left; `ENODEV` if the channel is rescinded, also if
/// that happens meanwhile; `EIO` if the host has ruined the ring; `EINVAL` if the channel is not open or the ring
/// cannot hold such a packet even when it is empty.
#[inline]
pub(crate) fn send(channel: &Channel, packet: &Content<'_>, request_id: u64) -> Result<u64> {
    if channel.is_rescinded() {
        return Err(ENODEV);
    }
    let outbound = channel.writing();
    // SAFETY: The driver keeps the channel open during the call.
    let ring = unsafe { outbound.mapped() }.ok_or(EINVAL)?;

    let guard = outbound.lock().lock();
    let mut ring = match OutgoingRing::new(ring) {
        Ok(ring) => ring,
        Err(e) => {
            drop(guard);
            return Err(ruined(channel, e));
        }
    };
    let filled = match outbound.fill(&mut ring, packet) {
        Ok((filled, _)) => filled,
        Err(WriteError::Full { .. }) => return Err(EAGAIN),
        Err(WriteError::Corrupt(e)) => {
            drop(guard);
            return Err(ruined(channel, e));
        }
        Err(WriteError::TooBig { .. } | WriteError::Mismatch) => return Err(EINVAL),
    };
    // From here on a completion can find what the id stands for, and the driver can free it: the payload, too.
    let mut allocated = None;
    if packet.flags == VMBUS_DATA_PACKET_FLAG_COMPLETION_REQUESTED {
        match channel.next_request_id(request_id) {
            None | Some(NO_REQUESTOR) => {}
            Some(REQUEST_ERROR) => return Err(EAGAIN),
            id => allocated = id,
        }
    }
    let trans_id = allocated.unwrap_or(request_id);
    let must_signal = filled.publish(packet.packet_type, packet.flags, trans_id);
    drop(guard);

    if must_signal.needed() {
        outbound.signals().count();
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
