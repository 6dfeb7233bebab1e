// SPDX-License-Identifier: GPL-2.0

//! A network card as a PCI function: a vmxnet3 of the first revision, with any number of transmit queues that Linux makes,
//! one receive queue and one message. It computes checksums, cuts large sends, and puts in and takes out VLAN tags.
//!
//! What Linux takes for a virtual function is a network interface whose parent is a PCI device (`get_netvsc_byslot` in
//! netvsc_drv.c): one of virtio's is not, and of the drivers in Debian's kernel for clouds this is the one whose
//! device is least. Registers and structures are those of drivers/net/vmxnet3/vmxnet3_defs.h.

mod dma;
mod rings;
mod shared;
#[cfg(test)]
pub(super) mod tests;

use anyhow::{bail, ensure, Context, Result};
use smoltcp::wire::EthernetAddress;

use super::config::Bars;
use super::protocol::Description;
use crate::memory::Memory;
use crate::netvsp::vf::Frames;
use dma::Dma;
use shared::{Active, ECR, MAX_TX_QUEUES, STATS, STATS_BYTES};

/// What the guest is told of it.
pub fn description(serial: u32) -> Description {
    Description {
        vendor: 0x15AD,
        device: 0x07B0,
        // Revision 1, an Ethernet controller.
        class: [1, 0, 0, 2],
        subsystem: 0x07B0_15AD,
        slot: 0,
        serial,
    }
}

/// Two of 4 KiB below 4 GiB.
pub const BARS: Bars = [0xFFFF_F000, 0xFFFF_F000, 0, 0, 0, 0];

/// Registers of BAR 0: the mask of the interrupt, and where the producers of the queues are, which are 8 bytes apart.
const BAR0: usize = 0;
const IMR: u64 = 0;
const TXPROD: u64 = 0x600;
const RXPROD: u64 = 0x800;
const RXPROD_END: u64 = 0xC00;
/// Registers of BAR 1.
const VRRS: u64 = 0x00;
const UVRS: u64 = 0x08;
const DSAL: u64 = 0x10;
const DSAH: u64 = 0x18;
const CMD: u64 = 0x20;
const MACL: u64 = 0x28;
const MACH: u64 = 0x30;
const ICR: u64 = 0x38;
const ECR_REGISTER: u64 = 0x40;

/// VMXNET3_CMD_*.
const ACTIVATE_DEV: u32 = 0xCAFE_0000;
const QUIESCE_DEV: u32 = 0xCAFE_0001;
const RESET_DEV: u32 = 0xCAFE_0002;
const UPDATE_RX_MODE: u32 = 0xCAFE_0003;
const UPDATE_MAC_FILTERS: u32 = 0xCAFE_0004;
const UPDATE_VLAN_FILTERS: u32 = 0xCAFE_0005;
const UPDATE_PMCFG: u32 = 0xCAFE_0008;
const UPDATE_FEATURE: u32 = 0xCAFE_0009;
const GET_QUEUE_STATUS: u32 = 0xF00D_0000;
const GET_STATS: u32 = 0xF00D_0001;
const GET_LINK: u32 = 0xF00D_0002;
const GET_PERM_MAC_LO: u32 = 0xF00D_0003;
const GET_PERM_MAC_HI: u32 = 0xF00D_0004;
const GET_CONF_INTR: u32 = 0xF00D_0008;

/// Answer to GET_CONF_INTR: MSI, whose mask the card sets when it interrupts (VMXNET3_IT_MSI, VMXNET3_IMM_AUTO).
const CONF_INTR: u32 = 2;
/// Answers to GET_LINK: up with 10 Gbit/s, or down.
const LINK_UP: u32 = (10_000 << 16) | 1;
/// VMXNET3_ECR_LINK: the link is another.
const EVENT_LINK: u32 = 1 << 2;

/// Indexes into the statistics of a queue (struct UPT1_TxStats, struct UPT1_RxStats): packets, followed by bytes.
const UCAST: usize = 2;
const MCAST: usize = 4;
const BCAST: usize = 6;
const RX_NO_BUFFER: usize = 8;

/// Counters since the start of the host.
#[derive(Debug, Default)]
struct Counts {
    sent: u64,
    received: u64,
    lost: u64,
    unwanted: u64,
    too_long: u64,
    activations: u64,
}

/// Counts a frame in the statistics of a queue.
fn count(stats: &mut [u64; STATS], frame: &[u8]) {
    let to = frame.get(..6).map(EthernetAddress::from_bytes);
    let first = match to {
        Some(to) if to.is_broadcast() => BCAST,
        Some(to) if to.is_multicast() => MCAST,
        _ => UCAST,
    };
    if let Some([packets, bytes]) = stats.get_mut(first..first + 2) {
        *packets += 1;
        *bytes += frame.len() as u64;
    }
}

/// The card.
pub struct Card {
    permanent: EthernetAddress,
    mac: EthernetAddress,
    /// Where the guest's structure is.
    shared: u64,
    /// What the command register reads.
    answer: u32,
    active: Option<Active>,
    /// The interrupt.
    masked: bool,
    pending: bool,
    up: bool,
    tx_stats: [[u64; STATS]; MAX_TX_QUEUES],
    rx_stats: [u64; STATS],
    counts: Counts,
}

/// The two registers that hold an address.
fn halves(mac: EthernetAddress) -> (u32, u32) {
    let [a, b, c, d, e, f] = mac.0;
    (
        u32::from_le_bytes([a, b, c, d]),
        u32::from_le_bytes([e, f, 0, 0]),
    )
}

impl Card {
    /// A card that nobody drives, with its cable plugged in.
    pub fn new(mac: EthernetAddress) -> Self {
        Self {
            permanent: mac,
            mac,
            shared: 0,
            answer: 0,
            active: None,
            masked: true,
            pending: false,
            up: true,
            tx_stats: Default::default(),
            rx_stats: [0; STATS],
            counts: Counts::default(),
        }
    }

    /// The card is as it was at first, but for its cable and what it has counted.
    pub fn reset(&mut self) {
        let counts = std::mem::take(&mut self.counts);
        *self = Self {
            up: self.up,
            counts,
            ..Self::new(self.permanent)
        };
    }

    /// Answers a read of a register. The error says what a guest does not do.
    pub fn read(&mut self, bar: usize, offset: u64, data: &mut [u8]) -> Result<()> {
        data.fill(0);
        let low = u32::from(self.masked);
        let (macl, mach) = halves(self.mac);
        let value = match (bar, offset) {
            (BAR0, IMR) => low,
            (BAR0, _) => 0,
            // There is one revision.
            (_, VRRS | UVRS) => 1,
            (_, CMD) => self.answer,
            (_, MACL) => macl,
            (_, MACH) => mach,
            (_, ICR) => self.pending.into(),
            _ => 0,
        };
        let len = data.len();
        ensure!(len == 4, "{len} bytes are read at {offset:#x} of BAR {bar}");
        data.copy_from_slice(&value.to_le_bytes());
        Ok(())
    }

    /// Takes a write to a register. `memory` is the guest's if the function is a bus master; `sent` gets the frames that
    /// are sent because of it. The error says what a guest does not do.
    pub fn write(
        &mut self,
        bar: usize,
        offset: u64,
        data: &[u8],
        memory: Option<&Memory>,
        sent: &mut Frames,
    ) -> Result<()> {
        let value = data.try_into().ok().map(u32::from_le_bytes);
        let value = value.with_context(|| {
            format!(
                "{} bytes are written at {offset:#x} of BAR {bar}",
                data.len()
            )
        })?;
        let dma = || {
            let memory = memory
                .context("the guest's memory is wanted of a function that is no bus master")?;
            Ok::<_, anyhow::Error>(Dma(memory))
        };
        if bar == BAR0 {
            return match offset {
                IMR => {
                    self.masked = value & 1 != 0;
                    Ok(())
                }
                TXPROD..RXPROD => {
                    let queue = usize::try_from((offset - TXPROD) / 8)?;
                    self.transmit(dma()?, queue, sent)
                }
                // Which buffers there are the descriptors say.
                RXPROD..RXPROD_END => Ok(()),
                // Masks of interrupts that there are not.
                _ => Ok(()),
            };
        }
        match offset {
            VRRS | UVRS => ensure!(value == 1, "revision mask {value:#x}"),
            DSAL => self.shared = (self.shared & !0xFFFF_FFFF) | u64::from(value),
            DSAH => self.shared = (self.shared & 0xFFFF_FFFF) | (u64::from(value) << 32),
            CMD => {
                self.answer = 0;
                return self
                    .command(value, dma)
                    .with_context(|| format!("command {value:#x}"));
            }
            MACL | MACH => {
                let [a, b, c, d] = value.to_le_bytes();
                let old = self.mac.0;
                self.mac.0 = match offset {
                    MACL => [a, b, c, d, old[4], old[5]],
                    _ => [old[0], old[1], old[2], old[3], a, b],
                };
            }
            ECR_REGISTER => {
                let (dma, at) = (dma()?, self.shared + ECR);
                dma.put_u32(at, dma.u32(at)? & !value)?;
            }
            _ => bail!("{value:#x} is written at {offset:#x} of BAR 1"),
        }
        Ok(())
    }

    fn command<'a>(&mut self, command: u32, dma: impl Fn() -> Result<Dma<'a>>) -> Result<()> {
        match command {
            ACTIVATE_DEV => {
                self.answer = 1;
                ensure!(self.active.is_none(), "the card is active");
                self.active = Some(Active::read(dma()?, self.shared)?);
                (self.masked, self.pending) = (true, false);
                self.counts.activations += 1;
                self.answer = 0;
            }
            QUIESCE_DEV | RESET_DEV => {
                self.active = None;
                (self.masked, self.pending) = (true, false);
            }
            UPDATE_RX_MODE | UPDATE_MAC_FILTERS | UPDATE_VLAN_FILTERS | UPDATE_FEATURE => {
                // What the guest says before it activates the card is read then.
                if let Some(active) = &mut self.active {
                    active.update(dma()?, command == UPDATE_MAC_FILTERS)?;
                }
            }
            // Waking up is the machine's.
            UPDATE_PMCFG => {}
            GET_QUEUE_STATUS => {
                if let Some(active) = &self.active {
                    active.tell_status(dma()?)?;
                }
            }
            GET_STATS => {
                // A card that is not active has told nobody where they belong.
                if let Some(active) = &self.active {
                    let dma = dma()?;
                    let queues = active.statistics();
                    let all = self.tx_stats.iter().take(queues.len().saturating_sub(1));
                    for (at, stats) in queues.iter().zip(all.chain([&self.rx_stats])) {
                        let mut bytes = Vec::with_capacity(STATS_BYTES);
                        stats.iter().for_each(|n| bytes.extend(n.to_le_bytes()));
                        dma.put(*at, &bytes)?;
                    }
                }
            }
            GET_LINK => self.answer = if self.up { LINK_UP } else { 0 },
            GET_PERM_MAC_LO => self.answer = halves(self.permanent).0,
            GET_PERM_MAC_HI => self.answer = halves(self.permanent).1,
            GET_CONF_INTR => self.answer = CONF_INTR,
            _ => bail!("the card does not know it"),
        }
        Ok(())
    }

    /// Sends what is in a queue.
    fn transmit(&mut self, dma: Dma<'_>, queue: usize, sent: &mut Frames) -> Result<()> {
        let Some(active) = &mut self.active else {
            return Ok(());
        };
        let longest = active.longest();
        let queue_of = active.tx.get_mut(queue);
        let tx = queue_of.with_context(|| format!("transmit queue {queue}"))?;
        while let Some(packet) = tx.next(dma)? {
            self.pending |= packet.completed;
            for frame in packet.finish()? {
                // Linux sends what was queued before the MTU was changed.
                if frame.len() > longest {
                    self.counts.too_long += 1;
                    continue;
                }
                if let Some(stats) = self.tx_stats.get_mut(queue) {
                    count(stats, &frame);
                }
                self.counts.sent += 1;
                // Without a cable nothing gets out.
                if self.up {
                    sent.push(frame);
                }
            }
        }
        Ok(())
    }

    /// Takes frames from the wire. Returns how many were lost; the error says what a guest does not do.
    pub fn receive(&mut self, frames: &[Vec<u8>], memory: Option<&Memory>) -> Result<usize> {
        let mut lost = 0;
        for frame in frames {
            let (Some(active), Some(memory), true) = (&mut self.active, memory, self.up) else {
                lost += 1;
                continue;
            };
            if !active.wants(frame, self.mac) {
                self.counts.unwanted += 1;
                continue;
            }
            if active.receive(Dma(memory), frame)? {
                count(&mut self.rx_stats, frame);
                self.counts.received += 1;
                self.pending = true;
            } else {
                if let Some(n) = self.rx_stats.get_mut(RX_NO_BUFFER) {
                    *n += 1;
                }
                lost += 1;
            }
        }
        self.counts.lost += lost as u64;
        Ok(lost)
    }

    /// Plugs the cable in or out. A guest that drives the card is told.
    pub fn set_link(&mut self, up: bool, memory: &Memory) -> Result<()> {
        if self.up != up {
            self.up = up;
            if self.active.is_some() {
                let (dma, at) = (Dma(memory), self.shared + ECR);
                dma.put_u32(at, dma.u32(at)? | EVENT_LINK)?;
                self.pending = true;
            }
        }
        Ok(())
    }

    /// The same while nobody has opened the bus.
    pub fn set_idle_link(&mut self, up: bool) {
        self.up = up;
    }

    /// Whether it interrupts now. The interrupt is masked then, until the guest unmasks it.
    pub fn take_interrupt(&mut self) -> bool {
        let now = self.pending && !self.masked;
        if now {
            (self.pending, self.masked) = (false, true);
        }
        now
    }

    /// What there is to say of it.
    pub fn describe(&self) -> String {
        let counts = &self.counts;
        format!(
            "mac={} link={} active={} mtu={} sent={} received={} frames_lost={} unwanted={} too_long={} activations={}",
            self.mac.to_string().replace('-', ":"),
            if self.up { "up" } else { "down" },
            if self.active.is_some() { "yes" } else { "no" },
            self.active.as_ref().map_or(0, |a| a.mtu),
            counts.sent,
            counts.received,
            counts.lost,
            counts.unwanted,
            counts.too_long,
            counts.activations,
        )
    }
}
