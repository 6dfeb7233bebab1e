// SPDX-License-Identifier: GPL-2.0

//! Ring buffers: how packets are laid out in memory that two distrusting sides share, when each side may touch
//! which index, and when it has to signal the other.
//!
//! A channel has two rings, one per direction. Each is a 4 KiB header page ([`packet::RingBufferHeader`])
//! followed by data. Indices are byte offsets into the data and multiples of 8. The writer owns `write_index`
//! and `pending_send_sz`, the reader `read_index` and `interrupt_mask`. Equal indices mean empty, so a ring
//! never gets completely full.
//!
//! **Trust.** The other side can write to the whole ring at any time. Each side therefore keeps its own index
//! privately and only ever publishes it, range-checks the peer's index every time it loads it, and copies a
//! packet out before it is looked at. Nothing that the peer does can cause an access outside of the data area
//! or a panic.
//!
//! **Signalling** (drivers/hv/ring_buffer.c explains the same rules):
//! * After publishing a packet the writer signals only if the ring was empty before and the reader has not
//!   masked interrupts. A reader must therefore look at the ring again after it has published its last
//!   `read_index` and cleared the mask: [`IncomingRing::finish`].
//! * A writer of several packets may signal once, when it has published the last: if the reader has not masked interrupts and
//!   stands in front of one of them, be it the first or, since it was still reading, another: [`OutgoingRing::signal_for`].
//! * A writer that finds no room may store the size it needs in `pending_send_sz` and look again:
//!   [`OutgoingRing::wait_for_space`]. A reader signals when its progress takes the free space from "at most"
//!   to "more than" that size: [`IncomingRing::commit`].
//!
//! Both are Dekker patterns (store, full barrier, load the other's word) and rely on the barriers of
//! [`RingHeader`]. `tests/loom_ring.rs` runs this code under a model of the C11 memory model.

mod incoming;
mod outgoing;
pub mod packet;
mod size;

pub use incoming::{mask_interrupts, Finish, IncomingRing, Packet, PacketHeader, ReadError};
pub use outgoing::{Filled, OutgoingRing, Reservation, Space, WriteError};
pub use packet::PacketType;
pub use size::{MaxPacket, RingSize};

use core::fmt;
use zerocopy::IntoBytes;

/// Bytes of the header page in front of the data of a ring.
pub const RING_HEADER_SIZE: usize = 4096;
/// Bytes of the trailer behind each packet (`VMBUS_PKT_TRAILER`): the offset at which it started.
pub const VMBUS_PKT_TRAILER: u32 = 8;
/// Bit of the feature word: the side that owns the word uses `pending_send_sz`.
pub const FEATURE_PENDING_SEND_SZ: u32 = 1;

/// A 32-bit word in the header page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderField {
    /// Where the writer will write next. Owned by the writer.
    WriteIndex,
    /// Where the reader will read next. Owned by the reader.
    ReadIndex,
    /// Not 0: the writer shall not signal. Owned by the reader.
    InterruptMask,
    /// Not 0: the writer waits for more than this many free bytes. Owned by the writer.
    PendingSendSz,
    /// [`FEATURE_PENDING_SEND_SZ`]. Owned by the writer.
    FeatureBits,
}

impl HeaderField {
    /// Byte offset in the header page.
    #[inline]
    pub const fn offset(self) -> usize {
        match self {
            Self::WriteIndex => core::mem::offset_of!(packet::RingBufferHeader, write_index),
            Self::ReadIndex => core::mem::offset_of!(packet::RingBufferHeader, read_index),
            Self::InterruptMask => core::mem::offset_of!(packet::RingBufferHeader, interrupt_mask),
            Self::PendingSendSz => core::mem::offset_of!(packet::RingBufferHeader, pending_send_sz),
            Self::FeatureBits => core::mem::offset_of!(packet::RingBufferHeader, feature_bits),
        }
    }
}

/// Access to the header page of a ring. Every load and store is one 32-bit access that neither tears nor is
/// repeated by the compiler (`READ_ONCE`/`WRITE_ONCE` or an atomic).
pub trait RingHeader {
    /// Loads without ordering.
    fn load(&self, field: HeaderField) -> u32;
    /// Loads; no later access of this side is done before.
    fn load_acquire(&self, field: HeaderField) -> u32;
    /// Stores without ordering.
    fn store(&self, field: HeaderField, value: u32);
    /// Stores; every earlier access of this side, to the data as well, is done before.
    fn store_release(&self, field: HeaderField, value: u32);
    /// A full barrier, in particular between a store and a later load. It has to order against another
    /// virtual processor or the host even in a kernel built for one processor (`virt_mb`).
    fn full_barrier(&self);
    /// [`Self::store_release`] with [`Self::full_barrier`] behind it, for who can do both in one.
    #[inline]
    fn publish(&self, field: HeaderField, value: u32) {
        self.store_release(field, value);
        self.full_barrier();
    }
}

/// Access to the data area of a ring. The area is a circle: an access that starts at `offset` and is longer
/// than what is left continues at 0. With the area mapped twice in a row that is one `memcpy`; others use
/// [`wrap`].
///
/// Callers keep `offset < size()` and the length at most `size()`. An implementation stays in bounds whatever
/// it is given.
pub trait RingMem: RingHeader {
    /// Whether [`Self::size`] is known to be one that a ring can have, so that nobody needs to look.
    const IS_SIZED: bool = false;
    /// Bytes in the data area.
    fn size(&self) -> u32;
    /// Copies out of the ring.
    fn read_at(&self, offset: u32, dst: &mut [u8]);
    /// Copies into the ring.
    fn write_at(&self, offset: u32, src: &[u8]);
    /// Loads the 16 bytes of a descriptor, each once. `offset` is a multiple of 8.
    #[inline]
    fn load_descriptor(&self, offset: u32) -> [u64; 2] {
        let mut words = [0; 2];
        self.read_at(offset, words.as_mut_bytes());
        words
    }
    /// Copies a packet into the ring whose length is known where this is called. `offset` is a multiple of 8.
    #[inline]
    fn write_words<const E: usize, const P: usize>(&self, offset: u32, packet: &Words<'_, E, P>) {
        let Words {
            descriptor,
            extension,
            payload,
            trailer,
        } = packet;
        let pieces = [
            descriptor.as_bytes(),
            extension.as_bytes(),
            payload.as_bytes(),
            trailer.as_bytes(),
        ];
        let mut at = offset;
        for piece in pieces {
            self.write_at(at, piece);
            at = advance(at, u32::try_from(piece.len()).unwrap_or(0), self.size());
        }
    }
}

/// A packet of whole words, as it lies in the ring.
#[derive(Debug)]
pub struct Words<'a, const E: usize, const P: usize> {
    /// [`packet::Descriptor`].
    pub descriptor: [u64; 2],
    /// What is between descriptor and payload.
    pub extension: [u64; E],
    /// The payload.
    pub payload: &'a [u64; P],
    /// Behind it.
    pub trailer: u64,
}

impl<const E: usize, const P: usize> Words<'_, E, P> {
    /// Bytes of the packet, with the trailer.
    pub const SIZE: u32 = {
        assert!(E < 64 && P < 64);
        #[allow(clippy::cast_possible_truncation)]
        let words = (2 + E + P + 1) as u32;
        words * 8
    };
}

impl<T: RingHeader + ?Sized> RingHeader for &T {
    #[inline]
    fn load(&self, field: HeaderField) -> u32 {
        T::load(self, field)
    }
    #[inline]
    fn load_acquire(&self, field: HeaderField) -> u32 {
        T::load_acquire(self, field)
    }
    #[inline]
    fn store(&self, field: HeaderField, value: u32) {
        T::store(self, field, value);
    }
    #[inline]
    fn store_release(&self, field: HeaderField, value: u32) {
        T::store_release(self, field, value);
    }
    #[inline]
    fn full_barrier(&self) {
        T::full_barrier(self);
    }
    #[inline]
    fn publish(&self, field: HeaderField, value: u32) {
        T::publish(self, field, value);
    }
}

impl<T: RingMem + ?Sized> RingMem for &T {
    const IS_SIZED: bool = T::IS_SIZED;
    #[inline]
    fn size(&self) -> u32 {
        T::size(self)
    }
    #[inline]
    fn read_at(&self, offset: u32, dst: &mut [u8]) {
        T::read_at(self, offset, dst);
    }
    #[inline]
    fn write_at(&self, offset: u32, src: &[u8]) {
        T::write_at(self, offset, src);
    }
    #[inline]
    fn load_descriptor(&self, offset: u32) -> [u64; 2] {
        T::load_descriptor(self, offset)
    }
    #[inline]
    fn write_words<const E: usize, const P: usize>(&self, offset: u32, packet: &Words<'_, E, P>) {
        T::write_words(self, offset, packet);
    }
}

/// For memory that is mapped once: how many of `len` bytes at `offset` come before the end of a data area of
/// `size` bytes. The rest continues at 0.
#[inline]
pub fn wrap(offset: u32, len: usize, size: u32) -> usize {
    usize::try_from(size.saturating_sub(offset)).map_or(len, |to_end| len.min(to_end))
}

/// The other side broke the rules of the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingError {
    /// The data area is too small, too large or no multiple of 8. Our own doing, not the peer's.
    Size(u32),
    /// `write_index` is out of range or not a multiple of 8.
    WriteIndex(u32),
    /// `read_index` is out of range or not a multiple of 8.
    ReadIndex(u32),
    /// Less data than the smallest packet.
    Available(u32),
    /// `len8` is less than a descriptor or more than there is. What was in the ring is dropped.
    Length {
        /// The value.
        len8: u16,
        /// Bytes that were in the ring.
        available: u32,
    },
    /// `offset8` is less than a descriptor or more than `len8`. This packet is dropped.
    Offset {
        /// The value.
        offset8: u16,
        /// The length it exceeds.
        len8: u16,
    },
}

impl fmt::Display for RingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Size(v) => write!(f, "ring of {v} bytes"),
            Self::WriteIndex(v) => write!(f, "ring write_index {v:#x} is invalid"),
            Self::ReadIndex(v) => write!(f, "ring read_index {v:#x} is invalid"),
            Self::Available(v) => write!(f, "{v} bytes in the ring are no packet"),
            Self::Length { len8, available } => {
                write!(
                    f,
                    "packet length {len8}*8 with {available} bytes in the ring"
                )
            }
            Self::Offset { offset8, len8 } => {
                write!(f, "packet data offset {offset8}*8 with length {len8}*8")
            }
        }
    }
}

impl core::error::Error for RingError {}

/// Whether the other side has to be signalled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "not signalling when needed hangs the channel"]
pub enum Signal {
    /// Signal now.
    Needed,
    /// Do not: hosts throttle guests that signal without need.
    NotNeeded,
}

impl Signal {
    /// Whether to signal.
    #[inline]
    pub const fn needed(self) -> bool {
        matches!(self, Self::Needed)
    }

    /// Needed if one of both is.
    #[inline]
    pub const fn or(self, other: Self) -> Self {
        match self {
            Self::Needed => Self::Needed,
            Self::NotNeeded => other,
        }
    }
}

/// Largest data area: indices and sums of two of them stay within 32 bits.
const MAX_RING_SIZE: u32 = 1 << 30;

/// Whether a data area can have this size.
#[inline]
pub const fn valid_size(size: u32) -> bool {
    size % 8 == 0 && size >= 64 && size <= MAX_RING_SIZE
}

/// Checks the size of a data area.
#[inline]
fn checked_size<M: RingMem>(mem: &M) -> Result<u32, RingError> {
    let size = mem.size();
    if !M::IS_SIZED && !valid_size(size) {
        return Err(RingError::Size(size));
    }
    Ok(size)
}

/// Whether `index`, in bytes, is one that a ring with a data area of `size` bytes can have: within it, and a multiple of
/// eight.
///
/// # Examples
///
/// ```
/// assert!(rlis_proto::ring::valid_index(4088, 4096));
/// assert!(!rlis_proto::ring::valid_index(4096, 4096));
/// assert!(!rlis_proto::ring::valid_index(4, 4096));
/// ```
#[inline]
pub const fn valid_index(index: u32, size: u32) -> bool {
    index < size && index % 8 == 0
}

/// Bytes between `read` and `write`; both are valid indices.
#[inline]
const fn bytes_to_read(read: u32, write: u32, size: u32) -> u32 {
    if write >= read {
        write - read
    } else {
        size.wrapping_sub(read).wrapping_add(write)
    }
}

/// Free bytes, of which eight are never used; both are valid indices.
#[inline]
const fn bytes_to_write(read: u32, write: u32, size: u32) -> u32 {
    size.wrapping_sub(bytes_to_read(read, write, size))
}

/// `index + by` on the circle; `index < size` and `by <= size`.
#[inline]
const fn advance(index: u32, by: u32, size: u32) -> u32 {
    let sum = index.wrapping_add(by);
    if sum >= size {
        sum - size
    } else {
        sum
    }
}

#[cfg(test)]
mod tests;
