// SPDX-License-Identifier: GPL-2.0

//! The rings: descriptors of 16 bytes, whose generation bit says whether they are the card's.

use anyhow::{bail, ensure, Context, Result};
use rlis_proto::rndis::{LargeSend, Ppis, RxChecksum, Vlan};
use smoltcp::wire::{IpProtocol, TcpPacket};

use super::dma::Dma;
use crate::netvsp::offload::{self, Enabled, Layers};

const DESCRIPTOR: u64 = 16;
/// VMXNET3_RC_RING_MAX_SIZE, the longest that there is; VMXNET3_RING_SIZE_ALIGN; VMXNET3_RING_BA_ALIGN.
const MAX_SIZE: u32 = 8192;
const SIZE_ALIGN: u32 = 32;
const BASE_ALIGN: u64 = 512;
/// Most descriptors of one packet (VMXNET3_MAX_TSO_TXD_PER_PKT), with some to spare.
const MAX_PIECES: usize = 64;
/// Bytes of the longest large send.
const MOST: u32 = 262_144;

/// struct Vmxnet3_TxDesc, its words 2 and 3.
const TX_LEN: u32 = 0x3FFF;
const TX_GEN: u32 = 1 << 14;
const TX_VALUE_SHIFT: u32 = 18;
const TX_HEADER: u32 = 0x3FF;
const TX_MODE_SHIFT: u32 = 10;
const TX_END: u32 = 1 << 12;
const TX_COMPLETE: u32 = 1 << 13;
const TX_TAG: u32 = 1 << 15;
/// VMXNET3_OM_*.
const MODE_NONE: u32 = 0;
const MODE_CHECKSUM: u32 = 2;
const MODE_LARGE: u32 = 3;

/// struct Vmxnet3_RxDesc, its word 2.
const RX_LEN: u32 = 0x3FFF;
const RX_BODY: u32 = 1 << 14;
const GEN: u32 = 1 << 31;

/// struct Vmxnet3_RxCompDesc.
const DONE_END: u32 = 1 << 14;
const DONE_START: u32 = 1 << 15;
const DONE_RING_SHIFT: u32 = 16;
const DONE_NOT_CALCULATED: u32 = 1 << 30;
const DONE_TAG: u32 = 1 << 15;
const DONE_TYPE: u32 = 3 << 24;
const DONE_FCS: u32 = 1 << 23;
const DONE_V4: u32 = 1 << 21;
const DONE_V6: u32 = 1 << 20;
const DONE_IP_RIGHT: u32 = 1 << 19;
const DONE_TCP: u32 = 1 << 18;
const DONE_UDP: u32 = 1 << 17;
const DONE_RIGHT: u32 = 1 << 16;

/// A ring, and where the card stands in it.
#[derive(Clone, Copy, Debug)]
pub struct Ring {
    base: u64,
    size: u32,
    next: u32,
    /// What the generation bit of the card's descriptors is.
    generation: bool,
}

impl Ring {
    /// A ring of `size` descriptors at `base`.
    pub fn new(base: u64, size: u32) -> Result<Self> {
        ensure!(
            (SIZE_ALIGN..=MAX_SIZE).contains(&size)
                && size % SIZE_ALIGN == 0
                && base % BASE_ALIGN == 0,
            "a ring of {size} descriptors at {base:#x}"
        );
        Ok(Self {
            base,
            size,
            next: 0,
            generation: true,
        })
    }

    fn at(&self) -> u64 {
        self.base + u64::from(self.next) * DESCRIPTOR
    }

    fn advance(&mut self) {
        self.next += 1;
        if self.next == self.size {
            self.next = 0;
            self.generation = !self.generation;
        }
    }

    /// Writes a completion and goes on.
    fn complete(&mut self, dma: Dma<'_>, words: [u32; 3], last: u32) -> Result<()> {
        let at = self.at();
        for (n, word) in (0..).zip(words) {
            dma.put_u32(at + n * 4, word)?;
        }
        let generation = if self.generation { GEN } else { 0 };
        dma.give(at + 12, last | generation)?;
        self.advance();
        Ok(())
    }
}

/// A transmit queue.
pub struct Tx {
    ring: Ring,
    done: Ring,
    stopped: bool,
}

/// A packet of the guest.
#[derive(Default)]
pub struct Packet {
    bytes: Vec<u8>,
    /// What the first descriptor asks for.
    mode: u32,
    header: usize,
    value: usize,
    tag: Option<u16>,
    /// The guest has been told that it was taken.
    pub completed: bool,
}

impl Tx {
    /// An empty queue.
    pub fn new(ring: Ring, done: Ring) -> Self {
        Self {
            ring,
            done,
            stopped: false,
        }
    }

    /// Whether something in it was wrong: nothing of it is sent any more.
    pub fn stopped(&self) -> bool {
        self.stopped
    }

    /// Takes the next packet.
    pub fn next(&mut self, dma: Dma<'_>) -> Result<Option<Packet>> {
        if self.stopped {
            return Ok(None);
        }
        let packet = self.gather(dma);
        self.stopped = packet.is_err();
        packet
    }

    fn gather(&mut self, dma: Dma<'_>) -> Result<Option<Packet>> {
        let mut packet = Packet::default();
        for n in 0..MAX_PIECES {
            let at = self.ring.at();
            let word = dma.owner(at + 8)?;
            if (word & TX_GEN != 0) != self.ring.generation {
                // The first descriptor of a packet is given away last.
                ensure!(n == 0, "a packet without an end");
                return Ok(None);
            }
            let (address, last) = (dma.u64(at)?, dma.u32(at + 12)?);
            let len = match word & TX_LEN {
                0 => 1 << 14,
                len => len as usize,
            };
            let bytes = dma.bytes(address, len).context("a packet's bytes")?;
            packet.bytes.extend(bytes);
            if n == 0 {
                packet.mode = (last >> TX_MODE_SHIFT) & 3;
                packet.header = (last & TX_HEADER) as usize;
                packet.value = (word >> TX_VALUE_SHIFT) as usize;
                packet.tag = (last & TX_TAG != 0).then_some((last >> 16) as u16);
            }
            let index = self.ring.next;
            self.ring.advance();
            if last & TX_END != 0 {
                if last & TX_COMPLETE != 0 {
                    self.done.complete(dma, [index, 0, 0], 0)?;
                    packet.completed = true;
                }
                return Ok(Some(packet));
            }
        }
        bail!("a packet of more than {MAX_PIECES} pieces")
    }
}

impl Packet {
    /// The frames that it becomes.
    pub fn finish(mut self) -> Result<Vec<Vec<u8>>> {
        let mut info = Ppis {
            vlan: self.tag.map(|tci| Vlan::from_tci(tci).0),
            ..Ppis::default()
        };
        match self.mode {
            MODE_NONE => {}
            MODE_CHECKSUM => checksum(&mut self.bytes, self.header, self.value)?,
            MODE_LARGE => {
                let layers = Layers::of(&self.bytes).context("a large send that is not IP")?;
                let tcp = layers.transport.filter(|t| t.1 == IpProtocol::Tcp);
                let (at, _) = tcp.context("a large send that is not TCP")?;
                let rest = self.bytes.get(at..).unwrap_or_default();
                let len = TcpPacket::new_checked(rest)?.header_len();
                ensure!(
                    self.header == at + usize::from(len),
                    "a large send with headers of {} bytes, which are others",
                    self.header
                );
                let send =
                    LargeSend::new(u32::try_from(self.value)?, u32::try_from(at)?, layers.v6);
                info.large_send = Some(send.context("a large send")?.0);
            }
            other => bail!("offload mode {other}"),
        }
        let enabled = Enabled {
            lso: [true; 2],
            ..Enabled::default()
        };
        offload::finish(self.bytes, &info, &enabled, MOST)
    }
}

/// Sums a frame from `from` on and writes the checksum at `to`, where the sum of the pseudo-header is.
fn checksum(frame: &mut [u8], from: usize, to: usize) -> Result<()> {
    let rest = frame.get(from..).context("a checksum of nothing")?;
    let mut sum: u32 = rest
        .chunks(2)
        .map(|c| match c {
            [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
            [high] => u32::from(*high) << 8,
            _ => 0,
        })
        .sum();
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    // Zero would say that there is none.
    let sum = match !(sum as u16) {
        0 => 0xFFFF,
        sum => sum,
    };
    let place = frame.get_mut(to..to + 2).filter(|_| to > from);
    place
        .context("a checksum outside of what it is of")?
        .copy_from_slice(&sum.to_be_bytes());
    Ok(())
}

/// The receive queue: two rings of buffers, of which the second has no heads, and one of completions.
pub struct Rx {
    rings: [Ring; 2],
    done: Ring,
}

/// A buffer that a frame goes into.
struct Buffer {
    ring: u32,
    index: u32,
    address: u64,
    len: usize,
}

/// The card's next descriptor of a ring: its address and its word 2.
fn offered(dma: Dma<'_>, ring: &Ring) -> Result<Option<(u64, u32)>> {
    let at = ring.at();
    let word = dma.owner(at + 8)?;
    let is_ours = (word & GEN != 0) == ring.generation;
    Ok(is_ours.then_some((at, word)))
}

impl Rx {
    /// An empty queue.
    pub fn new(rings: [Ring; 2], done: Ring) -> Self {
        Self { rings, done }
    }

    /// The next buffer of `rings`, for the head of a frame or for what follows it.
    fn buffer(dma: Dma<'_>, rings: &mut [Ring; 2], head: bool) -> Result<Option<Buffer>> {
        for (number, ring) in (0..).zip(rings) {
            while let Some((at, word)) = offered(dma, ring)? {
                let is_head = word & RX_BODY == 0;
                if is_head != head {
                    // A head passes over what is left of the buffers of the frame before.
                    if !head {
                        break;
                    }
                    ring.advance();
                    continue;
                }
                let buffer = Buffer {
                    ring: number,
                    index: ring.next,
                    address: dma.u64(at)?,
                    len: (word & RX_LEN) as usize,
                };
                ensure!(buffer.len > 0, "an empty buffer");
                ring.advance();
                return Ok(Some(buffer));
            }
            if head {
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// Puts a frame into buffers and completes them; `Ok(false)` if there are too few, none of which is used then.
    pub fn put(
        &mut self,
        dma: Dma<'_>,
        frame: &[u8],
        tag: Option<u16>,
        sums: RxChecksum,
        v6: bool,
    ) -> Result<bool> {
        let mut rings = self.rings;
        let mut buffers = Vec::new();
        let mut room = 0;
        while room < frame.len() {
            let Some(buffer) = Self::buffer(dma, &mut rings, buffers.is_empty())? else {
                return Ok(false);
            };
            room += buffer.len;
            buffers.push(buffer);
        }
        let mut rest = frame;
        let count = buffers.len();
        for (n, buffer) in buffers.into_iter().enumerate() {
            let (now, later) = rest.split_at(rest.len().min(buffer.len));
            rest = later;
            dma.put(buffer.address, now)?;
            let start = if n == 0 { DONE_START } else { 0 };
            let end = if n + 1 == count { DONE_END } else { 0 };
            let (known, flags) = told(sums, v6);
            let first = buffer.index | start | end | (buffer.ring << DONE_RING_SHIFT) | known;
            let len = u32::try_from(now.len())?;
            let tag = tag.map_or(0, |tci| DONE_TAG | (u32::from(tci) << 16));
            self.done
                .complete(dma, [first, 0, len | tag], DONE_TYPE | DONE_FCS | flags)?;
        }
        self.rings = rings;
        Ok(true)
    }
}

/// What a completion says of a frame's checksums, in its first and in its last word. Just of what is right; a guest looks
/// at the rest itself.
fn told(sums: RxChecksum, v6: bool) -> (u32, u32) {
    let transport = if sums.has(RxChecksum::TCP_SUCCEEDED) {
        DONE_TCP
    } else if sums.has(RxChecksum::UDP_SUCCEEDED) {
        DONE_UDP
    } else {
        0
    };
    let ip = match v6 {
        true => DONE_V6,
        false if sums.has(RxChecksum::IP_SUCCEEDED) => DONE_V4 | DONE_IP_RIGHT,
        false => 0,
    };
    if transport == 0 || ip == 0 {
        return (DONE_NOT_CALCULATED, 0);
    }
    (0, transport | ip | DONE_RIGHT)
}
