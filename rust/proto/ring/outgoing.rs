// SPDX-License-Identifier: GPL-2.0

//! The writer's side of a ring.

use super::packet::{Descriptor, PacketType, DESCRIPTOR_SIZE};
use super::{advance, bytes_to_read, bytes_to_write, checked_size, valid_index};
use super::{
    HeaderField, RingError, RingMem, Signal, Words, FEATURE_PENDING_SEND_SZ, VMBUS_PKT_TRAILER,
};
use core::fmt;
use zerocopy::IntoBytes;

/// Why a packet was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteError {
    /// No room now. `need` is what to give [`OutgoingRing::wait_for_space`].
    Full {
        /// Bytes the packet takes in the ring.
        need: u32,
        /// Bytes that are free.
        free: u32,
    },
    /// The packet does not fit into the ring even when it is empty, or into the 16-bit length field.
    TooBig {
        /// Bytes of the packet, as far as they can be counted.
        need: usize,
    },
    /// Header length no multiple of 8, or the slices are not what was reserved. The ring is untouched.
    Mismatch,
    /// The reader's index is invalid.
    Corrupt(RingError),
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { need, free } => write!(f, "ring full: {need} bytes needed, {free} free"),
            Self::TooBig { need } => write!(f, "packet of {need} bytes does not fit into the ring"),
            Self::Mismatch => f.write_str("packet differs from its reservation"),
            Self::Corrupt(e) => e.fmt(f),
        }
    }
}

impl core::error::Error for WriteError {}

impl From<RingError> for WriteError {
    #[inline]
    fn from(e: RingError) -> Self {
        Self::Corrupt(e)
    }
}

/// Answer of [`OutgoingRing::wait_for_space`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// There is room by now; write.
    Available,
    /// The reader will signal as soon as there is.
    WillSignal,
}

/// The writer's side of a ring. Has a private write index; the published one is never read back.
#[derive(Debug)]
pub struct OutgoingRing<M> {
    mem: M,
    size: u32,
    write: u32,
}

/// Length of a packet in the ring: header (descriptor and extension) plus padded payload, without trailer.
#[inline]
fn packet_len(header_len: usize, payload_len: usize) -> Result<u32, WriteError> {
    if header_len % 8 != 0 || header_len < 16 {
        return Err(WriteError::Mismatch);
    }
    let need = header_len.saturating_add(payload_len).saturating_add(7) & !7;
    match u32::try_from(need) {
        Ok(len) if len / 8 <= u32::from(u16::MAX) => Ok(len),
        _ => Err(WriteError::TooBig { need }),
    }
}

impl<M: RingMem> OutgoingRing<M> {
    /// A writer that continues at the index in the header, which for a new ring is 0.
    ///
    /// # Errors
    ///
    /// `Size` for an unusable data area, `WriteIndex` if the index in the header is invalid.
    #[inline]
    pub fn new(mem: M) -> Result<Self, RingError> {
        let write = mem.load(HeaderField::WriteIndex);
        Self::with_write_index(mem, write)
    }

    /// A writer that continues at `write`, for a caller that keeps the private index elsewhere.
    ///
    /// # Errors
    ///
    /// `Size` and `WriteIndex` as for [`Self::new`].
    #[inline]
    pub fn with_write_index(mem: M, write: u32) -> Result<Self, RingError> {
        let size = checked_size(&mem)?;
        if !valid_index(write, size) {
            return Err(RingError::WriteIndex(write));
        }
        Ok(Self { mem, size, write })
    }

    /// Tells the reader that this side uses `pending_send_sz`. To be done before the channel is opened.
    pub fn enable_pending_send_sz(&self) {
        self.mem
            .store(HeaderField::FeatureBits, FEATURE_PENDING_SEND_SZ);
    }

    /// The private write index.
    #[inline]
    pub const fn write_index(&self) -> u32 {
        self.write
    }

    /// The memory.
    #[inline]
    pub const fn mem(&self) -> &M {
        &self.mem
    }

    #[inline]
    fn read_index(&self) -> Result<u32, RingError> {
        // Acquire: the bytes that the reader has freed are not overwritten before it is done with them.
        let read = self.mem.load_acquire(HeaderField::ReadIndex);
        if valid_index(read, self.size) {
            Ok(read)
        } else {
            Err(RingError::ReadIndex(read))
        }
    }

    /// Free bytes. A packet fits if what it takes, trailer included, is less.
    ///
    /// # Errors
    ///
    /// `ReadIndex` if the reader's index is invalid.
    #[inline]
    pub fn free(&self) -> Result<u32, RingError> {
        Ok(bytes_to_write(self.read_index()?, self.write, self.size))
    }

    /// Bytes that the reader has not read yet.
    ///
    /// # Errors
    ///
    /// `ReadIndex` if the reader's index is invalid.
    #[inline]
    pub fn used(&self) -> Result<u32, RingError> {
        Ok(self.size - self.free()?)
    }

    /// Checks that there is room for a packet with `header_len` bytes of descriptor and extension (a multiple
    /// of 8, at least 16) and `payload_len` bytes of payload. The ring is not touched before the reservation
    /// is written, so that a request id can be allocated in between.
    ///
    /// # Errors
    ///
    /// See [`WriteError`].
    #[inline]
    pub fn reserve(
        &mut self,
        header_len: usize,
        payload_len: usize,
    ) -> Result<Reservation<'_, M>, WriteError> {
        let len = packet_len(header_len, payload_len)?;
        let need = len + VMBUS_PKT_TRAILER;
        if need >= self.size {
            return Err(WriteError::TooBig {
                need: header_len.saturating_add(payload_len),
            });
        }
        let free = self.free()?;
        // Equal would make the ring look empty.
        if need >= free {
            return Err(WriteError::Full { need, free });
        }
        Ok(Reservation {
            ring: self,
            header_len,
            payload_len,
            len,
        })
    }

    /// Writes a packet of whole words, as many as are known where this is called, and publishes it as
    /// [`Filled::publish_quietly`]. Returns how many bytes it takes in the ring, trailer included.
    ///
    /// # Errors
    ///
    /// `Full`, `TooBig` and `Corrupt` as for [`Self::reserve`].
    #[inline(always)]
    pub fn write_words<const E: usize, const P: usize>(
        &mut self,
        ty: PacketType,
        flags: u16,
        trans_id: u64,
        extension: [u64; E],
        payload: &[u64; P],
    ) -> Result<u32, WriteError> {
        let need = Words::<E, P>::SIZE;
        let free = self.free()?;
        // Equal would make the ring look empty.
        if need >= free {
            return Err(if need < self.size {
                WriteError::Full { need, free }
            } else {
                WriteError::TooBig {
                    need: need as usize,
                }
            });
        }
        let descriptor = Descriptor {
            type_: ty.0,
            offset8: const { 2 + E as u16 },
            len8: const { (2 + E + P) as u16 },
            flags,
            trans_id,
        };
        let start = self.write;
        let packet = Words {
            descriptor: zerocopy::transmute!(descriptor),
            extension,
            payload,
            trailer: u64::from(start) << 32,
        };
        self.mem.write_words(start, &packet);
        self.write = advance(start, need, self.size);
        // As in `put_descriptor`.
        self.mem.publish(HeaderField::WriteIndex, self.write);
        Ok(need)
    }

    /// Whether the reader has to be signalled, for whoever has written packets with [`Filled::publish_quietly`]: the last
    /// `bytes` in the ring, trailers included, are packets of which the reader was not told. More than there are will do.
    ///
    /// It has to be if it does not read by itself and stands in front of one of them. If it stands in front of an earlier one, it
    /// was signalled for that, and finds the others behind it.
    ///
    /// Between the publication of the packets and this there has to be a full barrier. Each publication ends with one; who asks for
    /// packets that another thread has written makes one first.
    #[inline]
    pub fn signal_for(&self, bytes: u32) -> Signal {
        if self.mem.load_acquire(HeaderField::InterruptMask) != 0 {
            return Signal::NotNeeded;
        }
        let read = self.mem.load(HeaderField::ReadIndex);
        if !valid_index(read, self.size) {
            // Rather once too often than never.
            return Signal::Needed;
        }
        match bytes_to_read(read, self.write, self.size) {
            unread if (1..=bytes).contains(&unread) => Signal::Needed,
            _ => Signal::NotNeeded,
        }
    }

    /// Writes a packet whose payload is given in slices, without descriptor extension.
    ///
    /// # Errors
    ///
    /// See [`WriteError`].
    #[inline]
    pub fn write_inband(
        &mut self,
        ty: PacketType,
        flags: u16,
        trans_id: u64,
        payload: &[&[u8]],
    ) -> Result<Signal, WriteError> {
        let payload_len = total_len(payload);
        self.reserve(16, payload_len)?
            .write(ty, flags, trans_id, &[], payload)
    }

    /// After [`WriteError::Full`]: asks the reader to signal when more than `need` bytes are free, and looks
    /// once more.
    ///
    /// # Errors
    ///
    /// `ReadIndex` if the reader's index is invalid.
    pub fn wait_for_space(&mut self, need: u32) -> Result<Space, RingError> {
        self.mem.store(HeaderField::PendingSendSz, need);
        // Either the reader sees the request after it has made progress, or this side sees the progress.
        self.mem.full_barrier();
        if self.free()? > need {
            self.cancel_wait();
            return Ok(Space::Available);
        }
        Ok(Space::WillSignal)
    }

    /// Takes back a request made with [`Self::wait_for_space`]. To be called once the packet is written or
    /// given up.
    #[inline]
    pub fn cancel_wait(&mut self) {
        self.mem.store(HeaderField::PendingSendSz, 0);
    }
}

/// Bytes in all slices together.
#[inline]
fn total_len(slices: &[&[u8]]) -> usize {
    slices
        .iter()
        .fold(0usize, |sum, s| sum.saturating_add(s.len()))
}

/// Writes one piece of a packet and returns where the next one goes. All pieces together are smaller than the ring.
#[inline]
fn put(mem: &impl RingMem, at: u32, piece: &[u8], size: u32) -> u32 {
    match u32::try_from(piece.len()) {
        Ok(n) if n != 0 && n < size => {
            mem.write_at(at, piece);
            advance(at, n, size)
        }
        _ => at,
    }
}

/// Room for one packet. Dropping it leaves the ring as it was.
#[derive(Debug)]
pub struct Reservation<'a, M> {
    ring: &'a mut OutgoingRing<M>,
    header_len: usize,
    payload_len: usize,
    len: u32,
}

impl<'a, M: RingMem> Reservation<'a, M> {
    /// Bytes the packet takes in the ring, trailer included.
    #[inline]
    pub const fn ring_bytes(&self) -> u32 {
        self.len + VMBUS_PKT_TRAILER
    }

    /// Writes the packet and publishes it: [`Self::fill`] and [`Filled::publish`] in one.
    ///
    /// # Errors
    ///
    /// Those of [`Self::fill`].
    #[inline]
    pub fn write(
        self,
        ty: PacketType,
        flags: u16,
        trans_id: u64,
        extension: &[&[u8]],
        payload: &[&[u8]],
    ) -> Result<Signal, WriteError> {
        Ok(self.fill(extension, payload)?.publish(ty, flags, trans_id))
    }

    /// Copies what the packet consists of, but for its descriptor, into the ring. `extension` are the bytes between
    /// descriptor and payload. The reader sees nothing of it yet.
    ///
    /// # Errors
    ///
    /// `Mismatch` if the slices do not have the lengths that were reserved.
    #[inline]
    pub fn fill(self, extension: &[&[u8]], payload: &[&[u8]]) -> Result<Filled<'a, M>, WriteError> {
        let Self {
            ring,
            header_len,
            payload_len,
            len,
        } = self;
        if total_len(extension) != header_len - 16 || total_len(payload) != payload_len {
            return Err(WriteError::Mismatch);
        }
        let (Ok(offset8), Ok(len8)) = (u16::try_from(header_len / 8), u16::try_from(len / 8))
        else {
            return Err(WriteError::Mismatch);
        };
        let start = ring.write;
        let size = ring.size;
        let mut at = advance(start, DESCRIPTOR_SIZE, size);
        // One loop for each: callers have one slice of a kind, so that the compiler makes no loop of it.
        for s in extension {
            at = put(&ring.mem, at, s, size);
        }
        for s in payload {
            at = put(&ring.mem, at, s, size);
        }
        // Less than eight bytes: what is missing to the next multiple of eight.
        let padding = payload_len.wrapping_neg() % 8;
        at = put(
            &ring.mem,
            at,
            [0u8; 8].get(..padding).unwrap_or_default(),
            size,
        );
        let trailer = u64::from(start) << 32;
        ring.mem.write_at(at, trailer.as_bytes());
        Ok(Filled {
            end: advance(at, VMBUS_PKT_TRAILER, size),
            ring,
            offset8,
            len8,
        })
    }
}

/// A packet that lies in the ring and lacks only its descriptor. Dropping it leaves the ring as it was.
///
/// Whoever sends may take the transaction id only now: as soon as there is one, a completion from the reader, asked for or
/// not, finds what the id stands for, and the sender must be through with it by then.
#[derive(Debug)]
pub struct Filled<'a, M> {
    ring: &'a mut OutgoingRing<M>,
    end: u32,
    offset8: u16,
    len8: u16,
}

impl<'a, M: RingMem> Filled<'a, M> {
    /// Writes the descriptor and publishes the packet.
    #[inline]
    pub fn publish(self, ty: PacketType, flags: u16, trans_id: u64) -> Signal {
        let (ring, start) = self.put_descriptor(ty, flags, trans_id);
        if ring.mem.load_acquire(HeaderField::InterruptMask) != 0 {
            return Signal::NotNeeded;
        }
        // If the reader has not come up to this packet it is still busy with an earlier one and will find it.
        if ring.mem.load(HeaderField::ReadIndex) == start {
            Signal::Needed
        } else {
            Signal::NotNeeded
        }
    }

    /// As [`Self::publish`], but leaves it to a later [`OutgoingRing::signal_for`] whether to signal. Until then the reader may
    /// not find the packet.
    #[inline]
    pub fn publish_quietly(self, ty: PacketType, flags: u16, trans_id: u64) {
        self.put_descriptor(ty, flags, trans_id);
    }

    /// Returns where the packet begins.
    #[inline]
    fn put_descriptor(
        self,
        ty: PacketType,
        flags: u16,
        trans_id: u64,
    ) -> (&'a mut OutgoingRing<M>, u32) {
        let Self {
            ring,
            end,
            offset8,
            len8,
        } = self;
        let descriptor = Descriptor {
            type_: ty.0,
            offset8,
            len8,
            flags,
            trans_id,
        };
        let start = ring.write;
        ring.mem.write_at(start, descriptor.as_bytes());
        ring.write = end;
        // The reader clears its mask (or publishes its index) and then looks for data; this side publishes
        // data and then looks at mask and index. With a full barrier on both sides one sees the other.
        ring.mem.publish(HeaderField::WriteIndex, end);
        (ring, start)
    }
}
