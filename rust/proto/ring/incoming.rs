// SPDX-License-Identifier: GPL-2.0

//! The reader's side of a ring.

use super::packet::{
    self, Descriptor, PacketType, TransferPageHeader, TransferPageRanges, DESCRIPTOR_SIZE,
};
use super::{advance, bytes_to_read, bytes_to_write, checked_size, valid_index};
use super::{
    HeaderField, RingError, RingHeader, RingMem, Signal, FEATURE_PENDING_SEND_SZ, VMBUS_PKT_TRAILER,
};
use crate::error::ProtoError;
use crate::vmbus::gpa::GpaRanges;
use core::fmt;
use zerocopy::IntoBytes;

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
    /// The descriptor as it was loaded.
    words: [u64; 2],
}

impl PacketHeader {
    /// Type, offset8, len8 and flags.
    #[inline]
    const fn fields(&self) -> [u16; 4] {
        let [t0, t1, o0, o1, l0, l1, f0, f1] = self.words[0].to_ne_bytes();
        [
            u16::from_le_bytes([t0, t1]),
            u16::from_le_bytes([o0, o1]),
            u16::from_le_bytes([l0, l1]),
            u16::from_le_bytes([f0, f1]),
        ]
    }

    /// The descriptor.
    #[inline]
    pub const fn descriptor(&self) -> Descriptor {
        let [type_, offset8, len8, flags] = self.fields();
        Descriptor {
            type_,
            offset8,
            len8,
            flags,
            trans_id: self.trans_id(),
        }
    }

    /// What kind of packet it is.
    #[inline]
    pub const fn packet_type(&self) -> PacketType {
        let [type_, ..] = self.fields();
        PacketType(type_)
    }

    /// The transaction id.
    #[inline]
    pub const fn trans_id(&self) -> u64 {
        u64::from_le(self.words[1])
    }

    /// Whether the sender wants a completion.
    #[inline]
    pub const fn completion_requested(&self) -> bool {
        let [.., flags] = self.fields();
        flags & packet::VMBUS_DATA_PACKET_FLAG_COMPLETION_REQUESTED != 0
    }

    /// Bytes of descriptor, extension and payload with its padding.
    #[inline]
    pub fn len(&self) -> usize {
        let [_, _, len8, _] = self.fields();
        usize::from(len8) * 8
    }

    /// Never: a packet has at least a descriptor.
    #[inline]
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Where the payload starts.
    #[inline]
    pub fn offset(&self) -> usize {
        let [_, offset8, ..] = self.fields();
        usize::from(offset8) * 8
    }

    /// Bytes of payload with its padding.
    #[inline]
    pub fn payload_len(&self) -> usize {
        self.len().saturating_sub(self.offset())
    }

    /// Length and offset as they count in the ring.
    #[inline]
    fn in_ring(&self) -> (u32, u32) {
        let [_, offset8, len8, _] = self.fields();
        (u32::from(len8) * 8, u32::from(offset8) * 8)
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
///
/// What every packet goes through is inlined always: most of it is for the caller to see that it need not be done.
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
    #[inline(always)]
    pub fn with_read_index(mem: M, read: u32) -> Result<Self, RingError> {
        Self::with_indices(mem, read, read)
    }

    /// A reader that continues at `read`, having committed up to `committed` only, for a caller that keeps the
    /// first elsewhere (from [`Self::read_index`]) and may take the second from the header: if the writer has
    /// put nonsense there, the next commit mends it.
    ///
    /// # Errors
    ///
    /// `Size` for an unusable data area, `ReadIndex` if `read` is invalid.
    #[inline(always)]
    pub fn with_indices(mem: M, read: u32, committed: u32) -> Result<Self, RingError> {
        let size = checked_size(&mem)?;
        if !valid_index(read, size) {
            return Err(RingError::ReadIndex(read));
        }
        Ok(Self {
            mem,
            size,
            read,
            committed,
            write: read,
        })
    }

    /// A reader that continues at `read`, for a caller that has had both the data area's size and this index from a
    /// reader before, and so need not have them checked again for each packet. If it has not, what is read makes no
    /// sense, and is still read from the ring.
    #[inline(always)]
    pub fn resume(mem: M, read: u32) -> Self {
        Self {
            size: mem.size(),
            mem,
            read,
            committed: read,
            write: read,
        }
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

    #[inline(always)]
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
    #[inline(always)]
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
    #[inline(always)]
    pub fn peek(&mut self) -> Result<Option<PacketHeader>, RingError> {
        let available = self.available()?;
        if available < DESCRIPTOR_SIZE + VMBUS_PKT_TRAILER {
            if available == 0 {
                return Ok(None);
            }
            self.read = self.write;
            return Err(RingError::Available(available));
        }
        let header = PacketHeader {
            words: self.mem.load_descriptor(self.read),
        };
        let [_, offset8, len8, _] = header.fields();
        if len8 < 2 || u32::from(len8) * 8 > available - VMBUS_PKT_TRAILER {
            self.read = self.write;
            return Err(RingError::Length { len8, available });
        }
        if offset8 < 2 || offset8 > len8 {
            self.advance(&header);
            return Err(RingError::Offset { offset8, len8 });
        }
        Ok(Some(header))
    }

    #[inline]
    fn advance(&mut self, header: &PacketHeader) {
        self.read = advance(self.read, header.in_ring().0 + VMBUS_PKT_TRAILER, self.size);
    }

    /// Moves on past a packet that [`Self::copy`] has returned and whose `len8` was `len8`. If the ring cannot
    /// hold such a packet, the reader moves to where it will find the writer next.
    ///
    /// # Errors
    ///
    /// `WriteIndex` if the writer's index is needed and invalid.
    #[inline(always)]
    pub fn advance_past(&mut self, len8: u16) -> Result<(), RingError> {
        let len = u32::from(len8) * 8 + VMBUS_PKT_TRAILER;
        self.read = if len < self.size {
            advance(self.read, len, self.size)
        } else {
            self.load_write_index()?
        };
        self.write = self.read;
        Ok(())
    }

    /// Copies the next packet into `buf` and moves on; `None` if the ring is empty. The space is not given
    /// back to the writer before [`Self::commit`].
    ///
    /// # Errors
    ///
    /// See [`ReadError`].
    #[inline]
    pub fn read<'b>(&mut self, buf: &'b mut [u8]) -> Result<Option<Packet<'b>>, ReadError> {
        let packet = self.copy(buf)?;
        if let Some(p) = &packet {
            self.advance(&p.header);
        }
        Ok(packet)
    }

    /// Copies the payload of the next packet, with its padding, into `buf` and moves on; `None` if the ring is
    /// empty. The space is not given back to the writer before [`Self::commit`].
    ///
    /// # Errors
    ///
    /// See [`ReadError`]; the lengths of `TooLong` are those of the payload.
    #[inline]
    pub fn read_payload(&mut self, buf: &mut [u8]) -> Result<Option<PacketHeader>, ReadError> {
        let Some(header) = self.peek()? else {
            return Ok(None);
        };
        let need = header.payload_len();
        let got = buf.len();
        let Some(bytes) = buf.get_mut(..need) else {
            return Err(ReadError::TooLong { need, got });
        };
        let (_, offset) = header.in_ring();
        self.mem
            .read_at(advance(self.read, offset, self.size), bytes);
        self.advance(&header);
        Ok(Some(header))
    }

    /// Copies the next packet into `buf` without moving on ([`Self::advance_past`] does); `None` if the ring is
    /// empty.
    ///
    /// # Errors
    ///
    /// See [`ReadError`].
    #[inline(always)]
    pub fn copy<'b>(&mut self, buf: &'b mut [u8]) -> Result<Option<Packet<'b>>, ReadError> {
        let Some(header) = self.peek()? else {
            return Ok(None);
        };
        let need = header.len();
        let got = buf.len();
        let Some(bytes) = buf.get_mut(..need) else {
            return Err(ReadError::TooLong { need, got });
        };
        // The descriptor that was validated: the writer may have changed the one in the ring since.
        if let Some((first, rest)) = bytes.split_first_chunk_mut::<16>() {
            first.copy_from_slice(header.words.as_bytes());
            self.mem
                .read_at(advance(self.read, DESCRIPTOR_SIZE, self.size), rest);
        }
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

    /// Makes a packet of what was dropped between the index `from` and the reader's place, so that whoever waits for it
    /// learns from its transaction id that it came: a descriptor with a length and an offset that are right, and what
    /// follows it if all of that fits into `buf`. If it does not, there is no payload; with `cut`, as much as fits. The
    /// reader goes back so far that [`Self::advance_past`] leads to where it was.
    ///
    /// `None` if no descriptor was dropped, or `buf` has no room for one. What was dropped must not have been committed.
    pub fn salvage<'b>(&mut self, from: u32, cut: bool, buf: &'b mut [u8]) -> Option<Packet<'b>> {
        const LEAST: usize = DESCRIPTOR_SIZE as usize;
        if !valid_index(from, self.size) {
            return None;
        }
        let dropped = bytes_to_read(from, self.read, self.size);
        let all = usize::try_from(dropped.checked_sub(VMBUS_PKT_TRAILER)?).ok()?;
        let room = buf.len() & !7;
        let len = match (all <= room, cut) {
            (true, _) => all,
            (false, true) => room,
            (false, false) => LEAST,
        };
        // The longest length that a descriptor can say.
        let len = len.min(usize::from(u16::MAX) * 8);
        let bytes = buf.get_mut(..len).filter(|_| len >= LEAST)?;
        // Once only: the writer may change it between two looks.
        let words = self.mem.load_descriptor(from);
        let ([type_, _, _, flags], [_, trans_id]) = (PacketHeader { words }.fields(), words);
        let len8 = u16::try_from(len / 8).ok()?;
        let mut header = [0; 8];
        for (to, field) in header.chunks_exact_mut(2).zip([type_, 2, len8, flags]) {
            to.copy_from_slice(&field.to_le_bytes());
        }
        let header = PacketHeader {
            words: [u64::from_ne_bytes(header), trans_id],
        };
        let (first, rest) = bytes.split_first_chunk_mut::<LEAST>()?;
        first.copy_from_slice(header.words.as_bytes());
        self.mem
            .read_at(advance(from, DESCRIPTOR_SIZE, self.size), rest);
        let back = u32::try_from(len).ok()? + VMBUS_PKT_TRAILER;
        self.read = advance(self.read, self.size.checked_sub(back)?, self.size);
        self.write = self.read;
        Some(Packet { header, bytes })
    }

    /// Publishes the read index and so gives the space of the packets read so far back to the writer.
    #[inline]
    pub fn commit(&mut self) -> Signal {
        let before = self.committed;
        if before == self.read {
            return Signal::NotNeeded;
        }
        // Either the writer sees the new index when it looks again, or this side sees that it waits.
        self.mem.publish(HeaderField::ReadIndex, self.read);
        self.committed = self.read;
        if self.mem.load(HeaderField::FeatureBits) & FEATURE_PENDING_SEND_SZ == 0 {
            // The writer polls.
            return Signal::NotNeeded;
        }
        let pending = self.mem.load_acquire(HeaderField::PendingSendSz);
        if pending == 0 {
            return Signal::NotNeeded;
        }
        let Ok(write) = self.load_write_index() else {
            // The next read reports it.
            return Signal::NotNeeded;
        };
        let free = bytes_to_write(self.read, write, self.size);
        let freed = if valid_index(before, self.size) {
            bytes_to_read(before, self.read, self.size)
        } else {
            self.size
        };
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
        mask_interrupts(&self.mem);
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
        let more = if masked {
            self.unmask_interrupts()?
        } else {
            self.look_again()?
        };
        Ok(Finish { signal, more })
    }

    /// Lets the writer signal again and tells whether there is something to read for which it has not: then
    /// mask again and go on. For a reader that has published its index already.
    ///
    /// # Errors
    ///
    /// `WriteIndex` if the writer's index is invalid.
    #[inline]
    pub fn unmask_interrupts(&mut self) -> Result<bool, RingError> {
        self.mem.store(HeaderField::InterruptMask, 0);
        self.look_again()
    }

    #[inline]
    fn look_again(&mut self) -> Result<bool, RingError> {
        self.mem.full_barrier();
        // Not through `available`: after a bad packet `write` may lag behind.
        self.write = self.load_write_index()?;
        Ok(self.write != self.read)
    }
}

/// [`IncomingRing::mask_interrupts`] for who has nothing to read yet.
#[inline]
pub fn mask_interrupts(mem: &impl RingHeader) {
    mem.publish(HeaderField::InterruptMask, 1);
}
