// SPDX-License-Identifier: GPL-2.0

//! Guest memory that GPA-direct packets point to.

use anyhow::{ensure, Context, Result};
use rlis_proto::ring::packet::gpa_direct;
use vm_memory::{Bytes, GuestAddress};

use super::ring::{Packet, DATA_INBAND, DATA_USING_GPA_DIRECT};
use crate::memory::Memory;

/// Guest memory that a request reads or writes: pieces of `(address, length)`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DataBuffer {
    pieces: Vec<(u64, u32)>,
    first: usize,
}

impl DataBuffer {
    /// The memory that a packet names; none if it is an in-band packet.
    pub fn of(packet: &Packet) -> Result<Self> {
        match packet.type_ {
            DATA_INBAND => {
                ensure!(
                    packet.header.is_empty(),
                    "an in-band packet with an extended descriptor"
                );
                Ok(Self::default())
            }
            DATA_USING_GPA_DIRECT => {
                let mut buffer = Self::default();
                for range in gpa_direct(&packet.header)? {
                    let range = range?;
                    if buffer.pieces.is_empty() {
                        buffer.first = usize::try_from(range.byte_count)?;
                    }
                    buffer.pieces.extend(range.segments());
                }
                Ok(buffer)
            }
            other => anyhow::bail!("packet type {other}"),
        }
    }

    /// Bytes in all.
    pub fn len(&self) -> usize {
        self.pieces.iter().map(|(_, len)| *len as usize).sum()
    }

    /// Bytes of the first range.
    pub fn first_range(&self) -> usize {
        self.first
    }

    /// Copies the first `len` bytes out of the guest.
    pub fn read(&self, memory: &Memory, len: usize) -> Result<Vec<u8>> {
        let mut out = vec![0; len.min(self.len())];
        let mut rest = out.as_mut_slice();
        for &(address, len) in &self.pieces {
            let (piece, after) = rest.split_at_mut((len as usize).min(rest.len()));
            memory
                .read_slice(piece, GuestAddress(address))
                .context("a data buffer is not in memory")?;
            rest = after;
        }
        Ok(out)
    }

    /// Copies `data` into the guest. Returns how much of it fitted.
    pub fn write(&self, memory: &Memory, data: &[u8]) -> Result<usize> {
        let mut rest = data;
        for &(address, len) in &self.pieces {
            let (piece, after) = rest.split_at((len as usize).min(rest.len()));
            memory
                .write_slice(piece, GuestAddress(address))
                .context("a data buffer is not in memory")?;
            rest = after;
        }
        Ok(data.len() - rest.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::IntoBytes;

    fn packet(type_: u16, header: Vec<u8>) -> Packet {
        Packet {
            type_,
            flags: 1,
            transaction: 1,
            header,
            payload: Vec::new(),
        }
    }

    #[test]
    fn data_buffers_are_split_at_pages() {
        // 6000 bytes from offset 100 of page 5 on, continued in page 9.
        let mut header = [0u32, 1, 6000, 100].as_bytes().to_vec();
        header.extend([5u64, 9].as_bytes());
        let buffer = DataBuffer::of(&packet(DATA_USING_GPA_DIRECT, header)).unwrap();
        assert_eq!(buffer.first_range(), 6000);
        assert_eq!(buffer.pieces, [(5 * 4096 + 100, 3996), (9 * 4096, 2004)]);
        let memory = crate::memory::allocate(1 << 20).unwrap();
        let data: Vec<u8> = (0..6000u32).map(|i| i as u8).collect();
        assert_eq!(buffer.write(&memory, &data).unwrap(), 6000);
        assert_eq!(buffer.read(&memory, 6000).unwrap(), data);
        assert_eq!(buffer.write(&memory, &[7; 7000]).unwrap(), 6000);
    }

    #[test]
    fn malformed_packets_are_refused() {
        let short = [0u32, 1, 6000, 100].as_bytes().to_vec();
        for bad in [
            packet(DATA_USING_GPA_DIRECT, vec![0; 4]),
            packet(DATA_USING_GPA_DIRECT, short),
            packet(DATA_INBAND, vec![0; 8]),
            packet(11, vec![]),
        ] {
            assert!(DataBuffer::of(&bad).is_err());
        }
    }
}
