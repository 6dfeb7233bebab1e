// SPDX-License-Identifier: GPL-2.0

//! The reader's side of a ring.

use super::packet::{
    self, Descriptor, PacketType, TransferPageHeader, TransferPageRanges, DESCRIPTOR_SIZE,
};
use super::{advance, bytes_to_read, bytes_to_write, check_size, valid_index};
use super::{HeaderField, RingError, RingMem, Signal, FEATURE_PENDING_SEND_SZ, VMBUS_PKT_TRAILER};
use crate::error::ProtoError;
use crate::vmbus::gpa::GpaRanges;
use core::fmt;
use zerocopy::{FromZeros, IntoBytes};

/// Why no packet was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// The buffer is too small. The packet stays in the ring; [`IncomingRing::skip`] drops it.
    TooLong {
        /// Bytes of the packet.
        need: usize,
        /// Bytes of the buffer.
        got: usize,
    },
    /// The writer broke the rules. After [`RingError::Length`], [`RingError::Offset`] and
    /// [`RingError::Available`] the offending bytes have been dropped and reading can go on; with an invalid
    /// index it cannot.
    Corrupt(RingError),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { need, got } => write!(f, "packet of {need} bytes, buffer of {got}"),
            Self::Corrupt(e) => e.fmt(f),
        }
    }
}

impl core::error::Error for ReadError {}

impl From<RingError> for ReadError {
    #[inline]
    fn from(e: RingError) -> Self {
        Self::Corrupt(e)
    }
}

/// Descriptor of the next packet, validated: `2 <= offset8 <= len8`, and the packet lies in the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketHeader {
    descriptor: Descriptor,
}

impl PacketHeader {
    /// The descriptor.
    #[inline]
    pub const fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// What kind of packet it is.
    #[inline]
    pub const fn packet_type(&self) -> PacketType {
        PacketType(self.descriptor.type_)
    }

    /// The transaction id.
    #[inline]
    pub const fn trans_id(&self) -> u64 {
        self.descriptor.trans_id
    }

    /// Whether the sender wants a completion.
    #[inline]
    pub const fn completion_requested(&self) -> bool {
        self.descriptor.flags & packet::VMBUS_DATA_PACKET_FLAG_COMPLETION_REQUESTED != 0
    }

    /// Bytes of descriptor, extension and payload with its padding.
    #[inline]
    pub fn len(&self) -> usize {
        usize::from(self.descriptor.len8) * 8
    }

    /// Never: a packet has at least a descriptor.
    #[inline]
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Where the payload starts.
    #[inline]
    pub fn offset(&self) -> usize {
        usize::from(self.descriptor.offset8) * 8
    }

    /// Bytes of payload with its padding.
    #[inline]
    pub fn payload_len(&self) -> usize {
        self.len().saturating_sub(self.offset())
    }

    #[inline]
    fn ring_len(&self) -> u32 {
        u32::from(self.descriptor.len8) * 8
    }
}

/// A packet in a private buffer. What its descriptor says has been validated; its content has not.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'b> {
    header: PacketHeader,
    bytes: &'b [u8],
}

impl<'b> Packet<'b> {
    /// Its descriptor.
    #[inline]
    pub const fn header(&self) -> &PacketHeader {
        &self.header
    }

    /// Everything, descriptor included.
    #[inline]
    pub const fn bytes(&self) -> &'b [u8] {
        self.bytes
    }

    /// The payload with its padding to a multiple of 8.
    #[inline]
    pub fn payload(&self) -> &'b [u8] {
        self.bytes.get(self.header.offset()..).unwrap_or_default()
    }

    /// What is between descriptor and payload.
    #[inline]
    pub fn extension(&self) -> &'b [u8] {
        self.bytes.get(16..self.header.offset()).unwrap_or_default()
    }

    /// The ranges of a GPA-direct packet.
    ///
    /// # Errors
    ///
    /// `Unexpected` for a packet of another type, else as [`packet::gpa_direct`].
    pub fn gpa_ranges(&self) -> Result<GpaRanges<'b>, ProtoError> {
        if self.header.packet_type() != PacketType::VM_PKT_DATA_USING_GPA_DIRECT {
            return Err(ProtoError::Unexpected {
                what: "packet type",
            });
        }
        packet::gpa_direct(self.extension())
    }

    /// The ranges of a transfer-page packet, see [`packet::transfer_pages`].
    ///
    /// # Errors
    ///
    /// `Unexpected` for a packet of another type, else as [`packet::transfer_pages`].
    pub fn transfer_pages(
        &self,
        buffer_len: u32,
    ) -> Result<(TransferPageHeader, TransferPageRanges<'b>), ProtoError> {
        if self.header.packet_type() != PacketType::VM_PKT_DATA_USING_XFER_PAGES {
            return Err(ProtoError::Unexpected {
                what: "packet type",
            });
        }
        packet::transfer_pages(self.extension(), buffer_len)
    }
}

/// Answer of [`IncomingRing::finish`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finish {
    /// Whether to signal the writer, which waits for room.
    pub signal: Signal,
    /// Packets arrived meanwhile for which no signal will come: go on reading.
    pub more: bool,
}

/// The reader's side of a ring. Has a private read index, published by [`Self::commit`].
#[derive(Debug)]
pub struct IncomingRing<M> {
    mem: M,
    size: u32,
    read: u32,
    committed: u32,
    /// The writer's index when last loaded.
    write: u32,
}

impl<M: RingMem> IncomingRing<M> {
    /// A reader that continues at the index in the header, which for a new ring is 0.
    ///
    /// # Errors
    ///
    /// `Size` for an unusable data area, `ReadIndex` if the index in the header is invalid.
    #[inline]
    pub fn new(mem: M) -> Result<Self, RingError> {
        let read = mem.load(HeaderField::ReadIndex);
        Self::with_read_index(mem, read)
    }

    /// A reader that continues at `read`, for a caller that keeps the private index elsewhere, with all up to
    /// there committed.
    ///
    /// # Errors
    ///
    /// `Size` and `ReadIndex` as for [`Self::new`].
    #[inline]
    pub fn with_read_index(mem: M, read: u32) -> Result<Self, RingError> {
        Self::with_indices(mem, read, read)
    }

    /// A reader that continues at `read`, having committed up to `committed` only, for a caller that keeps both
    /// elsewhere (from [`Self::read_index`] and [`Self::committed_index`]).
    ///
    /// # Errors
    ///
    /// `Size` and `ReadIndex` as for [`Self::new`].
    #[inline]
    pub fn with_indices(mem: M, read: u32, committed: u32) -> Result<Self, RingError> {
        let size = check_size(mem.size())?;
        for index in [read, committed] {
            if !valid_index(index, size) {
                return Err(RingError::ReadIndex(index));
            }
        }
        Ok(Self {
            mem,
            size,
            read,
            committed,
            write: read,
        })
    }

    /// The index that was published last.
    #[inline]
    pub const fn committed_index(&self) -> u32 {
        self.committed
    }

    /// The private read index.
    #[inline]
    pub const fn read_index(&self) -> u32 {
        self.read
    }

    /// The memory.
    #[inline]
    pub const fn mem(&self) -> &M {
        &self.mem
    }

    #[inline]
    fn load_write_index(&self) -> Result<u32, RingError> {
        // Acquire: packets are read after the index that says that they are there.
        let write = self.mem.load_acquire(HeaderField::WriteIndex);
        if valid_index(write, self.size) {
            Ok(write)
        } else {
            Err(RingError::WriteIndex(write))
        }
    }

    /// Bytes that are there to read. Loads the writer's index only if all that is known of was read.
    #[inline]
    fn available(&mut self) -> Result<u32, RingError> {
        if self.read == self.write {
            self.write = self.load_write_index()?;
        }
        Ok(bytes_to_read(self.read, self.write, self.size))
    }

    /// Whether there is something to read.
    ///
    /// # Errors
    ///
    /// `WriteIndex` if the writer's index is invalid.
    #[inline]
    pub fn has_data(&mut self) -> Result<bool, RingError> {
        Ok(self.available()? != 0)
    }

    /// Reads and validates the descriptor of the next packet; `None` if the ring is empty.
    ///
    /// # Errors
    ///
    /// See [`RingError`]. With a bad length everything in the ring is dropped, since the start of the next
    /// packet is unknown; with a bad offset only that packet.
    #[inline]
    pub fn peek(&mut self) -> Result<Option<PacketHeader>, RingError> {
        let available = self.available()?;
        if available == 0 {
            return Ok(None);
        }
        if available < DESCRIPTOR_SIZE + VMBUS_PKT_TRAILER {
            self.read = self.write;
            return Err(RingError::Available(available));
        }
        let mut descriptor = Descriptor::new_zeroed();
        self.mem.read_at(self.read, descriptor.as_mut_bytes());
        let (offset8, len8) = (descriptor.offset8, descriptor.len8);
        if len8 < 2 || u32::from(len8) * 8 > available - VMBUS_PKT_TRAILER {
            self.read = self.write;
            return Err(RingError::Length { len8, available });
        }
        let header = PacketHeader { descriptor };
        if offset8 < 2 || offset8 > len8 {
            self.advance(&header);
            return Err(RingError::Offset { offset8, len8 });
        }
        Ok(Some(header))
    }

    #[inline]
    fn advance(&mut self, header: &PacketHeader) {
        self.read = advance(self.read, header.ring_len() + VMBUS_PKT_TRAILER, self.size);
    }

    /// Copies the next packet into `buf` and moves on; `None` if the ring is empty. The space is not given
    /// back to the writer before [`Self::commit`].
    ///
    /// # Errors
    ///
    /// See [`ReadError`].
    #[inline]
    pub fn read<'b>(&mut self, buf: &'b mut [u8]) -> Result<Option<Packet<'b>>, ReadError> {
        let Some(header) = self.peek()? else {
            return Ok(None);
        };
        let need = header.len();
        let got = buf.len();
        let Some(bytes) = buf.get_mut(..need) else {
            return Err(ReadError::TooLong { need, got });
        };
        self.mem.read_at(self.read, bytes);
        // The writer may have changed the descriptor since it was validated.
        if let Some(d) = bytes.get_mut(..16) {
            d.copy_from_slice(header.descriptor.as_bytes());
        }
        self.advance(&header);
        Ok(Some(Packet { header, bytes }))
    }

    /// Drops the next packet unread; returns its descriptor, or `None` if the ring is empty.
    ///
    /// # Errors
    ///
    /// As [`Self::peek`].
    pub fn skip(&mut self) -> Result<Option<PacketHeader>, RingError> {
        let header = self.peek()?;
        if let Some(h) = &header {
            self.advance(h);
        }
        Ok(header)
    }

    /// Publishes the read index and so gives the space of the packets read so far back to the writer.
    #[inline]
    pub fn commit(&mut self) -> Signal {
        let before = self.committed;
        if before == self.read {
            return Signal::NotNeeded;
        }
        self.mem.store_release(HeaderField::ReadIndex, self.read);
        self.committed = self.read;
        if self.mem.load(HeaderField::FeatureBits) & FEATURE_PENDING_SEND_SZ == 0 {
            // The writer polls.
            return Signal::NotNeeded;
        }
        // Either the writer sees the new index when it looks again, or this side sees that it waits.
        self.mem.full_barrier();
        let pending = self.mem.load_acquire(HeaderField::PendingSendSz);
        if pending == 0 {
            return Signal::NotNeeded;
        }
        let Ok(write) = self.load_write_index() else {
            // The next read reports it.
            return Signal::NotNeeded;
        };
        let free = bytes_to_write(self.read, write, self.size);
        let freed = bytes_to_read(before, self.read, self.size);
        // Only the step from too little to enough: with enough before, the writer was not blocked or has been
        // signalled; with too little still, it would only go back to waiting.
        if free.saturating_sub(freed) <= pending && free > pending {
            Signal::Needed
        } else {
            Signal::NotNeeded
        }
    }

    /// Asks the writer not to signal while this side is reading.
    #[inline]
    pub fn mask_interrupts(&self) {
        self.mem.store(HeaderField::InterruptMask, 1);
        self.mem.full_barrier();
    }

    /// Ends a round of reading: publishes the index, lets the writer signal again if `masked`, and looks once
    /// more. A caller that stops reading without this, or although `more` is set, may wait forever.
    ///
    /// # Errors
    ///
    /// `WriteIndex` if the writer's index is invalid.
    #[inline]
    pub fn finish(&mut self, masked: bool) -> Result<Finish, RingError> {
        let signal = self.commit();
        if masked {
            self.mem.store(HeaderField::InterruptMask, 0);
        }
        self.mem.full_barrier();
        // Not through `available`: after a bad packet `write` may lag behind.
        self.write = self.load_write_index()?;
        Ok(Finish {
            signal,
            more: self.write != self.read,
        })
    }
}
