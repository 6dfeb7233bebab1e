// SPDX-License-Identifier: GPL-2.0

//! What the guest tells by its memory: struct Vmxnet3_DriverShared, and the descriptions of the queues.

use anyhow::{ensure, Context, Result};
use rlis_proto::rndis::RxChecksum;
use smoltcp::wire::EthernetAddress;

use super::dma::Dma;
use super::rings::{Ring, Rx, Tx};
use crate::netvsp::offload::{untag, verified, Enabled};

/// Most transmit queues (VMXNET3_MAX_TX_QUEUES).
pub const MAX_TX_QUEUES: usize = 8;

/// VMXNET3_REV1_MAGIC.
const MAGIC: u32 = 3_133_079_265;
/// Offsets in struct Vmxnet3_DriverShared, which begins with the magic number and its size.
const FEATURES: u64 = 8 + 16;
const QUEUES: u64 = 8 + 32;
const MTU: u64 = 8 + 48;
const TX_QUEUES: u64 = 8 + 54;
const RX_QUEUES: u64 = 8 + 55;
const AUTO_MASK: u64 = 80;
const RX_MODE: u64 = 120;
const MULTICAST_LEN: u64 = 124;
const MULTICAST: u64 = 128;
const VLANS: u64 = 136;
/// The events that the guest has not seen.
pub const ECR: u64 = 696;

/// Bytes of the description of a queue, transmit and receive, and what is in it.
const QUEUE: u64 = 256;
const CONF: u64 = 16;
const STATUS: u64 = CONF + 64;
const STATISTICS: u64 = STATUS + 8;
/// Numbers in the statistics of a queue, and their bytes.
pub const STATS: usize = 10;
/// Bytes of them.
pub const STATS_BYTES: usize = STATS * 8;

/// UPT1_F_RXCSUM, UPT1_F_RXVLAN.
const F_RXCSUM: u64 = 1;
const F_RXVLAN: u64 = 4;
/// VMXNET3_RXM_*.
const MODE_UCAST: u32 = 1;
const MODE_MCAST: u32 = 2;
const MODE_BCAST: u32 = 4;
const MODE_ALL_MULTI: u32 = 8;
const MODE_PROMISC: u32 = 0x10;
/// VMXNET3_MIN_MTU, VMXNET3_MAX_MTU.
const MTUS: std::ops::RangeInclusive<u32> = 60..=9000;
/// Bytes of a header, and of a tag.
const ETHERNET: usize = 14;
const TAG: usize = 4;

/// What there is while the card is active.
pub struct Active {
    shared: u64,
    queues: u64,
    /// Bytes of the longest frame without its header.
    pub mtu: u32,
    features: u64,
    mode: u32,
    groups: Vec<EthernetAddress>,
    /// A bit for each VLAN; the first is that of frames without a tag.
    vlans: Vec<u8>,
    /// Transmit queues.
    pub tx: Vec<Tx>,
    rx: Rx,
}

impl Active {
    /// Reads what the guest has written at `shared`.
    pub fn read(dma: Dma<'_>, shared: u64) -> Result<Self> {
        ensure!(shared != 0 && shared % 8 == 0, "shared at {shared:#x}");
        let magic = dma.u32(shared)?;
        ensure!(magic == MAGIC, "the magic number is {magic:#x}");
        let byte = |at| {
            dma.bytes(shared + at, 1)
                .map(|b| b.first().copied().unwrap_or(0))
        };
        let (tx_queues, rx_queues) = (byte(TX_QUEUES)?, byte(RX_QUEUES)?);
        ensure!(
            (1..=MAX_TX_QUEUES).contains(&usize::from(tx_queues)) && rx_queues == 1,
            "{tx_queues} transmit and {rx_queues} receive queues"
        );
        ensure!(
            byte(AUTO_MASK)? == 1,
            "the guest masks the interrupt itself"
        );
        let mtu = dma.u32(shared + MTU)?;
        ensure!(MTUS.contains(&mtu), "an MTU of {mtu}");
        let queues = dma.u64(shared + QUEUES)?;
        let conf = |n: u64| queues + n * QUEUE + CONF;
        let tx = (0..u64::from(tx_queues)).map(|n| {
            let at = conf(n);
            let ring = Ring::new(dma.u64(at)?, dma.u32(at + 40)?)?;
            let done = Ring::new(dma.u64(at + 16)?, dma.u32(at + 48)?)?;
            Ok(Tx::new(ring, done))
        });
        let tx = tx.collect::<Result<_>>().context("transmit queues")?;
        let at = conf(tx_queues.into());
        let ring = |base, size| Ring::new(dma.u64(at + base)?, dma.u32(at + size)?);
        let rx = Rx::new([ring(0, 40)?, ring(8, 44)?], ring(16, 48)?);
        let mut active = Self {
            shared,
            queues,
            mtu,
            features: 0,
            mode: 0,
            groups: Vec::new(),
            vlans: Vec::new(),
            tx,
            rx,
        };
        active.update(dma, false)?;
        Ok(active)
    }

    /// Reads again what the guest may change meanwhile. The table of groups is there just while it is told.
    pub fn update(&mut self, dma: Dma<'_>, groups: bool) -> Result<()> {
        self.features = dma.u64(self.shared + FEATURES)?;
        self.mode = dma.u32(self.shared + RX_MODE)?;
        self.vlans = dma.bytes(self.shared + VLANS, 512)?;
        if groups {
            let len = dma.u32(self.shared + MULTICAST_LEN)? & 0xFFFF;
            let table = dma.u64(self.shared + MULTICAST)?;
            let table = match len {
                0 => Vec::new(),
                len => dma.bytes(table, usize::try_from(len)?)?,
            };
            let all = table.chunks_exact(6);
            self.groups = all.map(EthernetAddress::from_bytes).collect();
        }
        Ok(())
    }

    /// Where the statistics of the queues belong, the receive queue's at last.
    pub fn statistics(&self) -> Vec<u64> {
        let all = 0..=self.tx.len() as u64;
        all.map(|n| self.queues + n * QUEUE + STATISTICS).collect()
    }

    /// Tells which queues have stopped.
    pub fn tell_status(&self, dma: Dma<'_>) -> Result<()> {
        for (n, tx) in (0..).zip(&self.tx) {
            let at = self.queues + n * QUEUE + STATUS;
            dma.put_u32(at, tx.stopped().into())?;
        }
        Ok(())
    }

    /// Bytes of the longest frame, with a tag.
    pub fn longest(&self) -> usize {
        self.mtu as usize + ETHERNET + TAG
    }

    /// Whether the guest's filters let a frame through.
    pub fn wants(&self, frame: &[u8], mac: EthernetAddress) -> bool {
        let Some(to) = frame.get(..6).map(EthernetAddress::from_bytes) else {
            return false;
        };
        if self.mode & MODE_PROMISC != 0 {
            return true;
        }
        let tag = match frame.get(12..16) {
            Some([0x81, 0x00, high, low]) => usize::from(u16::from_be_bytes([*high, *low]) & 0xFFF),
            _ => 0,
        };
        let vlan = self
            .vlans
            .get(tag / 8)
            .is_some_and(|b| b & (1 << (tag % 8)) != 0);
        let kind = if to.is_broadcast() {
            MODE_BCAST
        } else if to.is_multicast() {
            let known = self.groups.contains(&to);
            MODE_ALL_MULTI | if known { MODE_MCAST } else { 0 }
        } else if to == mac {
            MODE_UCAST
        } else {
            0
        };
        vlan && self.mode & kind != 0
    }

    /// Puts a frame into the guest's buffers; `Ok(false)` if there are too few.
    pub fn receive(&mut self, dma: Dma<'_>, frame: &[u8]) -> Result<bool> {
        let mut frame = frame.to_vec();
        let strip = self.features & F_RXVLAN != 0;
        let tag = if strip { untag(&mut frame) } else { None };
        // Linux takes a frame of TCP that is longer than its MTU for a coalesced one.
        let plain = strip || frame.get(12..14) != Some(&[0x81, 0x00]);
        let enabled = Enabled {
            rx: [plain && self.features & F_RXCSUM != 0; 4],
            ..Enabled::default()
        };
        let sums = verified(&frame, &enabled).unwrap_or(RxChecksum(0));
        let v6 = frame.get(12..14) == Some(&[0x86, 0xDD]);
        self.rx.put(dma, &frame, tag.map(|t| t.tci()), sums, v6)
    }
}
