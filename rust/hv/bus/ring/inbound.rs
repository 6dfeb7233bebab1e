// SPDX-License-Identifier: GPL-2.0

//! Receiving packets. All functions are for the one reader of the channel.
//!
//! A packet whose length or offset cannot be costs a line in the log, as does one that is too long for `max_pkt_size`.
//! Iterators get what is left of it, at least its descriptor: somebody may wait for it, and it does not come a second
//! time. [`receive`] drops it. The next packet is looked at then; only where the next one begins is unknown after a bad
//! length, so that all that is in the ring goes with it.

use super::Mapped;
use crate::{
    channel::Channel,
    ratelimit,
    signal::signal, //
};
use core::{
    mem::size_of,
    ptr,
    slice, //
};
use kernel::prelude::*;
use rlis_proto::ring::{
    packet::DESCRIPTOR_SIZE,
    HeaderField,
    IncomingRing,
    ReadError,
    RingError,
    RingHeader, //
};
use rlis_sys as bindings;
use rlis_sys::hv_ring_buffer_info;

const _: () = assert!(size_of::<bindings::vmpacket_descriptor>() == DESCRIPTOR_SIZE as usize);

/// Bad packets that one call drops: as many as the ring can hold at once. What the host has written since the first was
/// dropped, it has to signal; and it shall not keep us here forever.
fn most_dropped(channel: &Channel) -> u32 {
    // SAFETY: The caller is the reader of the channel, which is open.
    unsafe { (*inbound(channel)).ring_datasize / DESCRIPTOR_SIZE }
}

/// Masks the host's signals for the ring (`hv_begin_read`).
///
/// # Safety
///
/// `info` is the inbound ring of an open channel.
#[inline]
pub(crate) unsafe fn mask_interrupts(info: *const hv_ring_buffer_info) {
    // SAFETY: The caller vouches for the ring.
    if let Some(ring) = unsafe { Mapped::of(info) } {
        rlis_proto::ring::mask_interrupts(&ring);
    }
}

/// What the inbound ring holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contents {
    /// Nothing.
    Nothing,
    /// Something to read.
    Packets,
    /// Nobody knows: the host's index is not in the ring. When it is again, the host takes what it has written
    /// meanwhile for signalled.
    Unknown,
}

impl Contents {
    /// From whether there is data, in a ring that may not be mapped.
    #[inline]
    fn of(has_data: Option<Result<bool, RingError>>) -> Self {
        match has_data {
            Some(Ok(true)) => Self::Packets,
            Some(Ok(false)) | None => Self::Nothing,
            // The read before has reported it.
            Some(Err(_)) => Self::Unknown,
        }
    }
}

/// Lets the host signal again, and tells whether there is something that it has not signalled (`hv_end_read`).
///
/// # Safety
///
/// `info` is the inbound ring of an open channel, and the caller its only reader.
#[inline]
pub(crate) unsafe fn unmask_interrupts(info: *const hv_ring_buffer_info) -> Contents {
    // SAFETY: The caller vouches for the ring.
    Contents::of(unsafe { reader(info) }.map(|mut ring| ring.unmask_interrupts()))
}

/// What the ring holds, for who has not masked the host's signals.
///
/// # Safety
///
/// As for [`unmask_interrupts`].
#[inline]
pub(crate) unsafe fn contents(info: *const hv_ring_buffer_info) -> Contents {
    // SAFETY: The caller vouches for the ring.
    Contents::of(unsafe { reader(info) }.map(|mut ring| ring.has_data()))
}

/// The ring from the private index on, for who does not commit what is read.
///
/// # Safety
///
/// The caller is the only reader of the open channel with this ring.
#[inline]
unsafe fn reader(info: *const hv_ring_buffer_info) -> Option<IncomingRing<Mapped>> {
    // SAFETY: The caller vouches for the ring and for its private index: `init` had the size checked, and set the index
    // to 0; later ones are what a reader has said.
    unsafe {
        Some(IncomingRing::resume(
            Mapped::of(info)?,
            (*info).priv_read_index,
        ))
    }
}

/// The same for who commits.
///
/// # Safety
///
/// As for [`reader`].
#[inline]
unsafe fn committer(info: *const hv_ring_buffer_info) -> Option<IncomingRing<Mapped>> {
    // SAFETY: The caller vouches for the ring and for its private index.
    unsafe {
        let ring = Mapped::of(info)?;
        let committed = ring.load(HeaderField::ReadIndex);
        IncomingRing::with_indices(ring, (*info).priv_read_index, committed).ok()
    }
}

#[inline]
fn inbound(channel: &Channel) -> *mut hv_ring_buffer_info {
    // SAFETY: Only the address is taken.
    unsafe { &raw mut (*channel.raw()).inbound }
}

#[inline]
fn commit(channel: &Channel, ring: &mut IncomingRing<Mapped>) {
    if ring.commit().needed() {
        // SAFETY: A statistic.
        unsafe { (*channel.raw()).intr_in_full += 1 };
        signal(channel);
    }
}

/// A copy of the packet at the private read index, or null if there is none.
///
/// The copy is in `pkt_buffer`, which the next call overwrites. Its lengths are consistent, whatever the host
/// wrote.
///
/// # Safety
///
/// The channel is open, and the caller is its only reader.
#[inline]
pub(crate) unsafe fn first(channel: &Channel) -> *mut bindings::vmpacket_descriptor {
    // SAFETY: As the caller promises.
    match unsafe { reader(inbound(channel)) } {
        // SAFETY: As the caller promises.
        Some(ring) => unsafe { copy_packet(channel, ring) },
        None => ptr::null_mut(),
    }
}

/// Goes on to the packet after `packet`; see [`first`].
///
/// # Safety
///
/// As for [`first`]; `packet` is what it returned last.
#[inline]
pub(crate) unsafe fn next(
    channel: &Channel,
    packet: *const bindings::vmpacket_descriptor,
) -> *mut bindings::vmpacket_descriptor {
    let info = inbound(channel);
    // SAFETY: The caller is the only one to use the read side; `packet` is a private copy.
    unsafe {
        let Some(mut ring) = reader(info) else {
            return ptr::null_mut();
        };
        if ring.advance_past((*packet).len8).is_err() {
            return ptr::null_mut();
        }
        (*info).priv_read_index = ring.read_index();
        copy_packet(channel, ring)
    }
}

/// See [`first`].
///
/// # Safety
///
/// As for [`first`].
#[inline(always)]
unsafe fn copy_packet(
    channel: &Channel,
    mut ring: IncomingRing<Mapped>,
) -> *mut bindings::vmpacket_descriptor {
    // SAFETY: As the caller promises.
    let Some(buffer) = (unsafe { packet_buffer(channel) }) else {
        return ptr::null_mut();
    };
    let start = buffer.as_mut_ptr();
    match ring.copy(buffer) {
        Ok(Some(_)) => start.cast(),
        Ok(None) => ptr::null_mut(),
        // SAFETY: As the caller promises.
        Err(_) => unsafe { copy_after_bad(channel) },
    }
}

/// `pkt_buffer`.
///
/// # Safety
///
/// As for [`first`].
#[inline]
unsafe fn packet_buffer(channel: &Channel) -> Option<&mut [u8]> {
    let info = inbound(channel);
    // SAFETY: The caller is the only one to use the read side. The buffer has that size and was zeroed when it was
    // allocated.
    unsafe {
        let start = (*info).pkt_buffer.cast::<u8>();
        (!start.is_null())
            .then(|| slice::from_raw_parts_mut(start, (*info).pkt_buffer_size as usize))
    }
}

/// Copies what is left of a packet that is none, or the packet that comes after what is dropped.
///
/// # Safety
///
/// As for [`first`].
#[cold]
unsafe fn copy_after_bad(channel: &Channel) -> *mut bindings::vmpacket_descriptor {
    for _ in 0..most_dropped(channel) {
        // SAFETY: As the caller promises.
        let (Some(mut ring), Some(buffer)) =
            (unsafe { (committer(inbound(channel)), packet_buffer(channel)) })
        else {
            break;
        };
        let start = buffer.as_mut_ptr();
        let from = ring.read_index();
        let error = match ring.copy(buffer) {
            // The host has changed it meanwhile, or it comes after one that was dropped.
            Ok(Some(_)) => return start.cast(),
            Ok(None) => break,
            Err(error) => error,
        };
        let dropped = drop_packet(channel, &mut ring, error);
        let cut = matches!(error, ReadError::TooLong { .. });
        let left = dropped && ring.salvage(from, cut, buffer).is_some();
        // SAFETY: The caller has the read side.
        unsafe { (*inbound(channel)).priv_read_index = ring.read_index() };
        if left {
            return start.cast();
        }
        // The caller's caller will not learn of what was dropped, so it is given back to the host here.
        commit(channel, &mut ring);
        if !dropped {
            break;
        }
    }
    ptr::null_mut()
}

/// Moves the reader past a packet that cannot be read; false if that holds for all.
#[cold]
fn drop_packet(channel: &Channel, ring: &mut IncomingRing<Mapped>, e: ReadError) -> bool {
    let index = matches!(e, ReadError::Corrupt(RingError::WriteIndex(_)));
    // An index that stays wrong is looked at again and again.
    // SAFETY: The caller is the only reader of the channel, and nobody else calls this.
    if !index || unsafe { bindings::channel_may_tell_index(channel.raw()) } {
        ratelimit::warn(|| {
            pr_err!(
                "inbound ring of relid {}: {}\n",
                channel.relid(),
                core::format_args!("{e}")
            );
        });
    }
    match e {
        ReadError::TooLong { .. } => ring.skip().is_ok(),
        ReadError::Corrupt(_) => !index,
    }
}

/// Gives the packets that were read back to the host, and signals it if it waits for room.
///
/// # Safety
///
/// As for [`first`].
#[inline]
pub(crate) unsafe fn close(channel: &Channel) {
    // SAFETY: As the caller promises.
    if let Some(mut ring) = unsafe { committer(inbound(channel)) } {
        commit(channel, &mut ring);
    }
}

/// What [`receive`] has read.
pub(crate) struct Received {
    /// Bytes of the packet; may be more than there was room for.
    pub(crate) len: u32,
    /// Its transaction id.
    pub(crate) trans_id: u64,
}

/// Reads one packet into `buffer`: its payload or, if `raw`, all of it. `None` if there is none.
///
/// # Errors
///
/// `ENOBUFS` with the length needed if the buffer is too small; the packet stays in the ring.
///
/// # Safety
///
/// As for [`first`].
pub(crate) unsafe fn receive(
    channel: &Channel,
    buffer: &mut [u8],
    raw: bool,
) -> (Option<Received>, Result) {
    let info = inbound(channel);
    // SAFETY: As the caller promises.
    let Some(mut ring) = (unsafe { committer(info) }) else {
        return (None, Ok(()));
    };
    for _ in 0..most_dropped(channel) {
        let read = if raw {
            ring.read(buffer).map(|p| p.map(|p| *p.header()))
        } else {
            ring.read_payload(buffer)
        };
        match read {
            Ok(None) => break,
            Ok(Some(header)) => {
                let len = if raw {
                    header.len()
                } else {
                    header.payload_len()
                };
                // SAFETY: The caller is the only one to use the read side.
                unsafe { (*info).priv_read_index = ring.read_index() };
                commit(channel, &mut ring);
                let received = Received {
                    len: u32::try_from(len).unwrap_or(u32::MAX),
                    trans_id: header.trans_id(),
                };
                return (Some(received), Ok(()));
            }
            Err(ReadError::TooLong { need, .. }) => {
                let received = Received {
                    len: u32::try_from(need).unwrap_or(u32::MAX),
                    // It is still the header that was just found to be valid, unless the host changes it.
                    trans_id: ring.peek().ok().flatten().map_or(0, |h| h.trans_id()),
                };
                return (Some(received), Err(ENOBUFS));
            }
            Err(e) => {
                let dropped = drop_packet(channel, &mut ring, e);
                // SAFETY: The caller is the only one to use the read side.
                unsafe { (*info).priv_read_index = ring.read_index() };
                commit(channel, &mut ring);
                if !dropped {
                    break;
                }
            }
        }
    }
    (None, Ok(()))
}
