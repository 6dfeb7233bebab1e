// SPDX-License-Identifier: GPL-2.0

//! Receiving packets. All functions are for the one reader of the channel.
//!
//! A packet whose length or offset cannot be costs a line in the log, as does one that is too long for `max_pkt_size`.
//! Iterators get what is left of it, at least its descriptor: somebody may wait for it, and it does not come a second
//! time. [`Reader::receive`] drops it. The next packet is looked at then; only where the next one begins is unknown after a bad
//! length, so that all that is in the ring goes with it.

use crate::{
    channel::Fields,
    ratelimit,
    signal::signal, //
};
use core::{
    mem::size_of,
    ptr,
    slice, //
};
use kernel::prelude::*;
use rlis_hv::{
    time::uptime_ms,
    MappedRing, //
};
use rlis_proto::ring::{
    packet::DESCRIPTOR_SIZE,
    HeaderField,
    IncomingRing,
    ReadError,
    RingError,
    RingHeader,
    RingMem, //
};
use rlis_sys as bindings;

/// How often the log is told of an index that stays wrong, in milliseconds.
const TELL_INDEX_MS: usize = 60_000;

const _: () = assert!(size_of::<bindings::vmpacket_descriptor>() == DESCRIPTOR_SIZE as usize);

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
    /// From whether there is data.
    #[inline]
    fn of(has_data: Result<bool, RingError>) -> Self {
        match has_data {
            Ok(true) => Self::Packets,
            Ok(false) => Self::Nothing,
            // The read before has reported it.
            Err(_) => Self::Unknown,
        }
    }
}

/// The reading side of an open channel.
///
/// # Invariants
///
/// The value is with the channel's only reader, and the channel stays open while the value is used.
pub(crate) struct Reader<'a> {
    channel: &'a Fields,
    ring: MappedRing,
}

impl<'a> Reader<'a> {
    /// `None` if the ring is not mapped: the channel is not open.
    ///
    /// # Safety
    ///
    /// The caller is the only reader of the channel, and it stays open as the invariants say.
    #[inline]
    pub(crate) unsafe fn of(channel: &'a Fields) -> Option<Self> {
        // SAFETY: A channel that is open keeps its ring.
        let ring = unsafe { channel.inbound().mapped() }?;
        // INVARIANT: As the caller promises.
        Some(Self { channel, ring })
    }

    /// The index up to which packets were read.
    #[inline]
    fn read_index(&self) -> u32 {
        self.channel.inbound().priv_read_index().get()
    }

    #[inline]
    fn set_read_index(&self, index: u32) {
        self.channel.inbound().priv_read_index().set(index);
    }

    /// Masks the host's signals.
    #[inline]
    pub(crate) fn mask_interrupts(&self) {
        rlis_proto::ring::mask_interrupts(&self.ring);
    }

    /// `pkt_buffer`, which packets are copied to.
    #[inline]
    fn buffer(&self) -> Option<&'a mut [u8]> {
        let info = self.channel.inbound();
        let (start, size) = (info.pkt_buffer().get(), info.pkt_buffer_size().get());
        if start.is_null() {
            return None;
        }
        // SAFETY: By the invariants nobody else uses the buffer; each function here takes it once. It has that size and was
        // zeroed when it was allocated.
        Some(unsafe { slice::from_raw_parts_mut(start.cast::<u8>(), size as usize) })
    }

    /// The ring from the private index on, for who does not commit what is read: `init` had the size checked, and set the
    /// index to 0; later ones are what a reader has said.
    #[inline]
    fn resume(&self) -> IncomingRing<MappedRing> {
        IncomingRing::resume(self.ring, self.read_index())
    }

    /// The same for who commits.
    #[inline]
    fn committer(&self) -> Option<IncomingRing<MappedRing>> {
        let committed = self.ring.load(HeaderField::ReadIndex);
        IncomingRing::with_indices(self.ring, self.read_index(), committed).ok()
    }

    /// Bad packets that one call drops: as many as the ring can hold at once. What the host has written since the first was
    /// dropped, it has to signal; and it shall not keep us here forever.
    fn most_dropped(&self) -> u32 {
        self.ring.size() / DESCRIPTOR_SIZE
    }

    /// Lets the host signal again, and tells whether there is something that it has not signalled (`hv_end_read`).
    #[inline]
    pub(crate) fn unmask_interrupts(&self) -> Contents {
        Contents::of(self.resume().unmask_interrupts())
    }

    /// What the ring holds, for who has not masked the host's signals.
    #[inline]
    pub(crate) fn contents(&self) -> Contents {
        Contents::of(self.resume().has_data())
    }

    #[inline]
    fn commit(&self, ring: &mut IncomingRing<MappedRing>) {
        if ring.commit().needed() {
            self.channel.intr_in_full().count();
            signal(self.channel);
        }
    }

    /// A copy of the packet at the private read index, or null if there is none.
    ///
    /// The copy is in `pkt_buffer`, which the next call overwrites. Its lengths are consistent, whatever the host
    /// wrote.
    #[inline]
    pub(crate) fn first(&self) -> *mut bindings::vmpacket_descriptor {
        self.copy_packet(self.resume())
    }

    /// Goes on to the packet after the one that was copied last, whose length is `len8` words; see [`Self::first`].
    #[inline]
    pub(crate) fn next(&self, len8: u16) -> *mut bindings::vmpacket_descriptor {
        let mut ring = self.resume();
        if ring.advance_past(len8).is_err() {
            return ptr::null_mut();
        }
        self.set_read_index(ring.read_index());
        self.copy_packet(ring)
    }

    /// See [`Self::first`].
    #[inline(always)]
    fn copy_packet(
        &self,
        mut ring: IncomingRing<MappedRing>,
    ) -> *mut bindings::vmpacket_descriptor {
        let Some(buffer) = self.buffer() else {
            return ptr::null_mut();
        };
        let start = buffer.as_mut_ptr();
        match ring.copy(buffer) {
            Ok(Some(_)) => start.cast(),
            Ok(None) => ptr::null_mut(),
            Err(_) => self.copy_after_bad(),
        }
    }

    /// Copies what is left of a packet that is none, or the packet that comes after what is dropped.
    #[cold]
    fn copy_after_bad(&self) -> *mut bindings::vmpacket_descriptor {
        for _ in 0..self.most_dropped() {
            let (Some(mut ring), Some(buffer)) = (self.committer(), self.buffer()) else {
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
            let dropped = self.drop_packet(&mut ring, error);
            let cut = matches!(error, ReadError::TooLong { .. });
            let left = dropped && ring.salvage(from, cut, buffer).is_some();
            self.set_read_index(ring.read_index());
            if left {
                return start.cast();
            }
            // The caller's caller will not learn of what was dropped, so it is given back to the host here.
            self.commit(&mut ring);
            if !dropped {
                break;
            }
        }
        ptr::null_mut()
    }

    /// Moves the reader past a packet that cannot be read; false if that holds for all.
    #[cold]
    fn drop_packet(&self, ring: &mut IncomingRing<MappedRing>, e: ReadError) -> bool {
        let index = matches!(e, ReadError::Corrupt(RingError::WriteIndex(_)));
        // An index that stays wrong is looked at again and again.
        if !index || self.may_tell_index() {
            ratelimit::warn(|| {
                pr_err!(
                    "inbound ring of relid {}: {}\n",
                    self.channel.relid(),
                    core::format_args!("{e}")
                );
            });
        }
        match e {
            ReadError::TooLong { .. } => ring.skip().is_ok(),
            ReadError::Corrupt(_) => !index,
        }
    }

    /// Whether the log may be told of an index that cannot be: once a minute.
    fn may_tell_index(&self) -> bool {
        // 0 stands for never.
        let now = (uptime_ms() as usize).max(1);
        let told = self.channel.told_index().get();
        let may = told == 0 || now.wrapping_sub(told) >= TELL_INDEX_MS;
        if may {
            self.channel.told_index().set(now);
        }
        may
    }

    /// Gives the packets that were read back to the host, and signals it if it waits for room.
    #[inline]
    pub(crate) fn close(&self) {
        if let Some(mut ring) = self.committer() {
            self.commit(&mut ring);
        }
    }

    /// Reads one packet into `buffer`: its payload or, if `raw`, all of it.
    pub(crate) fn receive(&self, buffer: &mut [u8], raw: bool) -> Received {
        let Some(mut ring) = self.committer() else {
            return Received::Nothing;
        };
        for _ in 0..self.most_dropped() {
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
                    self.set_read_index(ring.read_index());
                    self.commit(&mut ring);
                    return Received::Packet {
                        len: u32::try_from(len).unwrap_or(u32::MAX),
                        trans_id: header.trans_id(),
                    };
                }
                Err(ReadError::TooLong { need, .. }) => {
                    return Received::TooLong {
                        need: u32::try_from(need).unwrap_or(u32::MAX),
                        // It is still the header that was just found to be valid, unless the host changes it.
                        trans_id: ring.peek().ok().flatten().map_or(0, |h| h.trans_id()),
                    };
                }
                Err(e) => {
                    let dropped = self.drop_packet(&mut ring, e);
                    self.set_read_index(ring.read_index());
                    self.commit(&mut ring);
                    if !dropped {
                        break;
                    }
                }
            }
        }
        Received::Nothing
    }
}

/// What [`Reader::receive`] has read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Received {
    /// There is no packet.
    Nothing,
    /// A packet.
    Packet {
        /// Bytes of it.
        len: u32,
        /// Its transaction id.
        trans_id: u64,
    },
    /// The packet needs a larger buffer, and stays in the ring.
    TooLong {
        /// Bytes of it.
        need: u32,
        /// Its transaction id.
        trans_id: u64,
    },
}
