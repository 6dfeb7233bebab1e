// SPDX-License-Identifier: GPL-2.0

//! The host's ends of a channel's two rings (struct hv_ring_buffer and struct vmpacket_descriptor of
//! include/linux/hyperv.h). Written apart from the driver's ring code on purpose: what both sides share, both
//! sides can have wrong.

use std::sync::atomic::{fence, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{ensure, Context, Result};

use super::gpadl::GuestPages;

/// Where the data starts: one page of header.
const DATA: usize = 4096;
const WRITE_INDEX: usize = 0;
const READ_INDEX: usize = 4;
const INTERRUPT_MASK: usize = 8;
const PENDING_SEND_SIZE: usize = 12;
const FEATURE_BITS: usize = 64;
/// feature_bits bit 0: the side that reads looks at pending_send_sz.
const FEATURE_PENDING_SEND_SIZE: u32 = 1;

/// Bytes of struct vmpacket_descriptor.
pub const DESCRIPTOR: usize = 16;
/// Bytes of the trailer that follows each packet: the indices before it was written.
const TRAILER: usize = 8;

/// VM_PKT_DATA_INBAND.
pub const DATA_INBAND: u16 = 6;
/// VM_PKT_DATA_USING_XFER_PAGES.
pub const DATA_USING_XFER_PAGES: u16 = 7;
/// VM_PKT_DATA_USING_GPA_DIRECT.
pub const DATA_USING_GPA_DIRECT: u16 = 9;
/// VM_PKT_COMP.
pub const COMPLETION: u16 = 11;
/// VMBUS_DATA_PACKET_FLAG_COMPLETION_REQUESTED.
pub const FLAG_COMPLETION_REQUESTED: u16 = 1;

/// A packet, as taken out of the ring or to be put into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Packet type (VM_PKT_*).
    pub type_: u16,
    /// VMBUS_DATA_PACKET_FLAG_* bits.
    pub flags: u16,
    /// Transaction id, which a completion repeats.
    pub transaction: u64,
    /// What lies between the 16-byte descriptor and the payload: the ranges of a GPA-direct or transfer-page packet.
    pub header: Vec<u8>,
    /// The payload; padded to a multiple of 8 bytes if it comes from a ring.
    pub payload: Vec<u8>,
}

fn word(bytes: &[u8], at: usize) -> u16 {
    bytes
        .get(at..at + 2)
        .and_then(|b| b.try_into().ok())
        .map_or(0, u16::from_le_bytes)
}

fn index(pages: &GuestPages, at: usize, size: usize, what: &str) -> Result<usize> {
    let value = pages.load(at, Ordering::Acquire)? as usize;
    ensure!(
        value < size && value % 8 == 0,
        "{what} {value:#x} in a ring of {size:#x} bytes"
    );
    Ok(value)
}

/// The ring that the guest writes and the host reads.
pub struct Incoming {
    pages: GuestPages,
    size: usize,
    read: usize,
}

impl Incoming {
    /// Takes over a fresh ring; both indices must be 0.
    pub fn new(pages: GuestPages) -> Result<Self> {
        let size = pages
            .len()
            .checked_sub(DATA)
            .filter(|s| *s > 0)
            .context("a ring without data pages")?;
        let read = index(&pages, READ_INDEX, size, "read index")?;
        Ok(Self { pages, size, read })
    }

    fn copy_out(&self, from: usize, out: &mut [u8]) -> Result<()> {
        let first = out.len().min(self.size - from);
        let (a, b) = out.split_at_mut(first);
        self.pages.read(DATA + from, a)?;
        self.pages.read(DATA, b)
    }

    /// Takes the next packet. `Ok(None)` means the ring is empty; an error, that the guest broke the ring.
    /// The second value tells whether the guest waits for room and must be signalled.
    pub fn pop(&mut self) -> Result<Option<(Packet, bool)>> {
        let Some((packet, len)) = self.copy()? else {
            return Ok(None);
        };
        Ok(Some((packet, self.release(len)?)))
    }

    /// A copy of the next packet, and how many bytes it takes up.
    fn copy(&self) -> Result<Option<(Packet, usize)>> {
        let write = index(&self.pages, WRITE_INDEX, self.size, "write index")?;
        let available = (write + self.size - self.read) % self.size;
        if available == 0 {
            return Ok(None);
        }
        ensure!(
            available >= DESCRIPTOR + TRAILER,
            "{available} bytes in the ring are no packet"
        );
        let mut descriptor = [0; DESCRIPTOR];
        self.copy_out(self.read, &mut descriptor)?;
        let header_len = usize::from(word(&descriptor, 2)) * 8;
        let len = usize::from(word(&descriptor, 4)) * 8;
        ensure!(
            len + TRAILER <= available,
            "a packet of {len} bytes where {available} are in the ring"
        );
        ensure!(
            (DESCRIPTOR..=len).contains(&header_len),
            "data offset {header_len} in a packet of {len} bytes"
        );
        let mut bytes = vec![0; len + TRAILER];
        self.copy_out(self.read, &mut bytes)?;
        let trailer = bytes.split_off(len);
        let before = trailer
            .get(4..8)
            .and_then(|b| b.try_into().ok())
            .map_or(0, u32::from_le_bytes);
        ensure!(
            before as usize == self.read,
            "trailer says {before:#x} for a packet at {:#x}",
            self.read
        );
        let payload = bytes.split_off(header_len);
        let transaction = bytes
            .get(8..16)
            .and_then(|b| b.try_into().ok())
            .map_or(0, u64::from_le_bytes);
        let packet = Packet {
            type_: word(&bytes, 0),
            flags: word(&bytes, 6),
            transaction,
            header: bytes.split_off(DESCRIPTOR),
            payload,
        };
        Ok(Some((packet, len + TRAILER)))
    }

    /// Gives the room of the next packet, `len` bytes, back. Returns whether the guest must be signalled.
    fn release(&mut self, len: usize) -> Result<bool> {
        self.read = (self.read + len) % self.size;
        self.pages
            .store(READ_INDEX, u32::try_from(self.read)?, Ordering::SeqCst)?;
        fence(Ordering::SeqCst);
        let wanted = self.pages.load(PENDING_SEND_SIZE, Ordering::SeqCst)? as usize;
        // Only now: the guest may have filled the ring, and begun to wait, since the packet was looked at.
        let write = index(&self.pages, WRITE_INDEX, self.size, "write index")?;
        let free = self.size - (write + self.size - self.read) % self.size;
        // Signal once, when the room that the guest waits for comes to be.
        Ok(wanted != 0 && free > wanted && free.saturating_sub(len) <= wanted)
    }

    /// Shows the guest a read index outside of the ring for a while, for faults.
    pub fn show_wrong_read_index(&self, time: Duration) -> Result<()> {
        let wrong = u32::try_from(self.size)? + 64;
        self.pages.store(READ_INDEX, wrong, Ordering::SeqCst)?;
        thread::sleep(time);
        self.pages
            .store(READ_INDEX, u32::try_from(self.read)?, Ordering::SeqCst)
    }

    /// Asks the guest not to signal while the host reads anyway.
    pub fn mask(&self, masked: bool) -> Result<()> {
        self.pages
            .store(INTERRUPT_MASK, masked.into(), Ordering::SeqCst)?;
        fence(Ordering::SeqCst);
        Ok(())
    }

    /// Whether packets wait.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(index(&self.pages, WRITE_INDEX, self.size, "write index")? == self.read)
    }
}

/// Ways to write a packet wrongly, for faults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Distortion {
    /// As it should be.
    #[default]
    None,
    /// `len8` says more than is in the ring.
    LengthTooLong,
    /// `len8` is smaller than the descriptor.
    LengthTooShort,
    /// `offset8` lies behind the packet's end.
    OffsetBeyondEnd,
    /// `offset8` lies within the descriptor.
    OffsetTooSmall,
    /// The write index is outside of the ring.
    WriteIndexOutside,
}

/// The ring that the host writes and the guest reads.
pub struct Outgoing {
    pages: GuestPages,
    size: usize,
    write: usize,
}

/// What became of an attempt to write a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// Written; signal the guest.
    Signal,
    /// Written; the guest reads anyway.
    Quiet,
    /// No room. The guest signals when there is.
    Full,
}

impl Outgoing {
    /// Takes over a fresh ring.
    pub fn new(pages: GuestPages) -> Result<Self> {
        let size = pages
            .len()
            .checked_sub(DATA)
            .filter(|s| *s > 0)
            .context("a ring without data pages")?;
        let write = index(&pages, WRITE_INDEX, size, "write index")?;
        Ok(Self { pages, size, write })
    }

    /// The most bytes of payload that fit into the ring, behind a descriptor without further headers.
    pub fn largest_payload(&self) -> usize {
        // The ring's size is a multiple of 8, and at least one byte stays free.
        self.size.saturating_sub(DESCRIPTOR + TRAILER + 8)
    }

    /// Whether the guest has taken everything.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(index(&self.pages, READ_INDEX, self.size, "read index")? == self.write)
    }

    fn copy_in(&self, to: usize, bytes: &[u8]) -> Result<()> {
        let (a, b) = bytes.split_at(bytes.len().min(self.size - to));
        self.pages.write(DATA + to, a)?;
        self.pages.write(DATA, b)
    }

    /// Writes a packet. Behind its descriptor come its `header`, a multiple of 8 bytes, and the payload, which is
    /// padded to one.
    pub fn push(&mut self, packet: &Packet, distortion: Distortion) -> Result<Pushed> {
        let Packet {
            type_,
            flags,
            transaction,
            ref header,
            ref payload,
        } = *packet;
        let offset = DESCRIPTOR + header.len();
        ensure!(offset % 8 == 0, "a packet header of {} bytes", header.len());
        let len = (offset + payload.len()).next_multiple_of(8);
        ensure!(
            len + TRAILER < self.size,
            "a packet of {len} bytes can never fit into the ring"
        );
        let read = index(&self.pages, READ_INDEX, self.size, "read index")?;
        let used = (self.write + self.size - read) % self.size;
        let free = self.size - used;
        // A full ring would look like an empty one, so one byte always stays free.
        if free <= len + TRAILER {
            if self.pages.load(FEATURE_BITS, Ordering::Acquire)? & FEATURE_PENDING_SEND_SIZE != 0 {
                self.pages.store(
                    PENDING_SEND_SIZE,
                    u32::try_from(len + TRAILER)?,
                    Ordering::SeqCst,
                )?;
                fence(Ordering::SeqCst);
                let read = index(&self.pages, READ_INDEX, self.size, "read index")?;
                let used = (self.write + self.size - read) % self.size;
                if self.size - used <= len + TRAILER {
                    return Ok(Pushed::Full);
                }
            } else {
                return Ok(Pushed::Full);
            }
        }
        self.pages.store(PENDING_SEND_SIZE, 0, Ordering::SeqCst)?;

        let (offset, units) = (u16::try_from(offset / 8)?, u16::try_from(len / 8)?);
        let (offset8, len8) = match distortion {
            Distortion::LengthTooLong => (offset, u16::MAX),
            Distortion::LengthTooShort => (offset, 1),
            Distortion::OffsetBeyondEnd => (units.saturating_add(8), units),
            Distortion::OffsetTooSmall => (0, units),
            Distortion::None | Distortion::WriteIndexOutside => (offset, units),
        };
        let mut bytes = Vec::with_capacity(len + TRAILER);
        for value in [type_, offset8, len8, flags] {
            bytes.extend(value.to_le_bytes());
        }
        bytes.extend(transaction.to_le_bytes());
        bytes.extend(header);
        bytes.extend(payload);
        bytes.resize(len, 0);
        bytes.extend((u64::try_from(self.write)? << 32).to_le_bytes());
        self.copy_in(self.write, &bytes)?;

        let before = self.write;
        self.write = (self.write + bytes.len()) % self.size;
        let published = match distortion {
            Distortion::WriteIndexOutside => u32::try_from(self.size)? + 64,
            _ => u32::try_from(self.write)?,
        };
        self.pages.store(WRITE_INDEX, published, Ordering::SeqCst)?;
        fence(Ordering::SeqCst);
        if self.pages.load(INTERRUPT_MASK, Ordering::SeqCst)? != 0 {
            return Ok(Pushed::Quiet);
        }
        // Signal only when the ring was empty: a guest that is still reading looks again by itself.
        let read = index(&self.pages, READ_INDEX, self.size, "read index")?;
        Ok(if read == before {
            Pushed::Signal
        } else {
            Pushed::Quiet
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn packet(transaction: u64, payload: &[u8]) -> Packet {
        Packet {
            type_: COMPLETION,
            flags: 0,
            transaction,
            header: Vec::new(),
            payload: payload.to_vec(),
        }
    }

    fn rings(data_pages: u64) -> (Outgoing, Incoming, GuestPages) {
        let memory = Arc::new(crate::memory::allocate(1 << 20).unwrap());
        let pages = GuestPages::new(memory, 1..2 + data_pages).unwrap();
        pages
            .store(FEATURE_BITS, FEATURE_PENDING_SEND_SIZE, Ordering::SeqCst)
            .unwrap();
        (
            Outgoing::new(pages.clone()).unwrap(),
            Incoming::new(pages.clone()).unwrap(),
            pages,
        )
    }

    proptest! {
        #[test]
        fn packets_come_out_as_they_went_in(lens in proptest::collection::vec(0usize..600, 1..200)) {
            let (mut out, mut inc, _) = rings(1);
            let mut sent = std::collections::VecDeque::new();
            for (id, len) in lens.into_iter().enumerate() {
                let payload: Vec<u8> = (0..len).map(|i| (i + id) as u8).collect();
                while out.push(&packet(id as u64, &payload), Distortion::None).unwrap() == Pushed::Full {
                    let (packet, _) = inc.pop().unwrap().unwrap();
                    let (want_id, want): (u64, Vec<u8>) = sent.pop_front().unwrap();
                    prop_assert_eq!(packet.transaction, want_id);
                    prop_assert_eq!(&packet.payload[..want.len()], &want[..]);
                }
                sent.push_back((id as u64, payload));
            }
            while let Some((packet, _)) = inc.pop().unwrap() {
                let (want_id, want) = sent.pop_front().unwrap();
                prop_assert_eq!(packet.transaction, want_id);
                prop_assert_eq!(&packet.payload[..want.len()], &want[..]);
            }
            prop_assert!(sent.is_empty());
        }
    }

    #[test]
    fn signal_only_when_the_ring_was_empty_and_unmasked() {
        let (mut out, mut inc, _) = rings(1);
        assert_eq!(
            out.push(&packet(1, &[1]), Distortion::None).unwrap(),
            Pushed::Signal
        );
        assert_eq!(
            out.push(&packet(2, &[1]), Distortion::None).unwrap(),
            Pushed::Quiet
        );
        while inc.pop().unwrap().is_some() {}
        inc.mask(true).unwrap();
        assert_eq!(
            out.push(&packet(3, &[1]), Distortion::None).unwrap(),
            Pushed::Quiet
        );
        inc.pop().unwrap();
        inc.mask(false).unwrap();
        assert_eq!(
            out.push(&packet(4, &[1]), Distortion::None).unwrap(),
            Pushed::Signal
        );
    }

    #[test]
    fn a_header_comes_out_apart_from_the_payload() {
        let (mut out, mut inc, _) = rings(1);
        let mut sent = packet(5, &[7; 8]);
        sent.type_ = DATA_USING_XFER_PAGES;
        sent.header = vec![3; 16];
        out.push(&sent, Distortion::None).unwrap();
        assert_eq!(inc.pop().unwrap().unwrap().0, sent);
        sent.header.pop();
        assert!(out.push(&sent, Distortion::None).is_err());
    }

    #[test]
    fn a_writer_that_fills_the_ring_while_a_packet_is_taken_is_woken() {
        let (mut out, mut inc, _) = rings(1);
        let big = packet(1, &[0; 1000]);
        while out.push(&big, Distortion::None).unwrap() != Pushed::Full {}
        assert!(inc.pop().unwrap().unwrap().1, "there is room for one more");
        let (_, len) = inc.copy().unwrap().unwrap();
        assert_ne!(out.push(&big, Distortion::None).unwrap(), Pushed::Full);
        assert_eq!(
            out.push(&big, Distortion::None).unwrap(),
            Pushed::Full,
            "it waits from here on"
        );
        assert!(inc.release(len).unwrap());
    }

    #[test]
    fn the_reader_wakes_a_writer_that_waits_for_room() {
        let (mut out, mut inc, pages) = rings(1);
        while out.push(&packet(1, &[0; 1000]), Distortion::None).unwrap() != Pushed::Full {}
        assert_ne!(pages.load(PENDING_SEND_SIZE, Ordering::SeqCst).unwrap(), 0);
        assert!(inc.pop().unwrap().unwrap().1, "room came to be");
        assert!(!inc.pop().unwrap().unwrap().1, "and is told only once");
        assert_ne!(
            out.push(&packet(1, &[0; 1000]), Distortion::None).unwrap(),
            Pushed::Full
        );
        assert_eq!(pages.load(PENDING_SEND_SIZE, Ordering::SeqCst).unwrap(), 0);
    }

    #[test]
    fn a_broken_ring_is_an_error() {
        for (at, value) in [
            (WRITE_INDEX, 4096),
            (WRITE_INDEX, 4),
            (WRITE_INDEX, u32::MAX),
            (WRITE_INDEX, 16),
        ] {
            let (_, mut inc, pages) = rings(1);
            pages.store(at, value, Ordering::SeqCst).unwrap();
            assert!(inc.pop().is_err(), "{at} = {value:#x}");
        }
        for distortion in [
            Distortion::LengthTooLong,
            Distortion::LengthTooShort,
            Distortion::OffsetBeyondEnd,
            Distortion::OffsetTooSmall,
            Distortion::WriteIndexOutside,
        ] {
            let (mut out, mut inc, _) = rings(1);
            out.push(&packet(1, &[0; 64]), distortion).unwrap();
            assert!(inc.pop().is_err(), "{distortion:?}");
        }
    }
}
