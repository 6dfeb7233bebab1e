// SPDX-License-Identifier: GPL-2.0

//! Configuration space of a function: its header, base addresses, and a message-signalled interrupt.
//!
//! Registers are those of the PCI Local Bus Specification 3.0, chapters 6.1 (header), 6.2.5 (base addresses) and 6.8.1
//! (MSI).

use anyhow::{bail, Result};

use super::protocol::Description;
use crate::hyperv::remap::Message;

/// Bytes of configuration space that mean something; the rest of its page reads as zeros.
const CONFIG: usize = 256;
const COMMAND: usize = 0x04;
const STATUS: usize = 0x06;
const BARS: usize = 0x10;
const BARS_END: usize = 0x28;
const SUBSYSTEM: usize = 0x2C;
const CAPABILITIES: usize = 0x34;
/// Bits of the command register: memory space, bus master, no INTx.
const COMMAND_MEMORY: u8 = 1 << 1;
const COMMAND_MASTER: u8 = 1 << 2;
const COMMAND_WRITABLE: u16 = (1 << 1) | (1 << 2) | (1 << 10);
/// Status register: there is a list of capabilities.
const STATUS_CAPABILITIES: u8 = 1 << 4;

/// Where the MSI capability is, and its registers: one message, an address of 64 bits, a mask.
const MSI: usize = 0x50;
const MSI_ID: u8 = 0x05;
const MSI_CONTROL: usize = MSI + 2;
const MSI_ADDRESS: usize = MSI + 4;
const MSI_DATA: usize = MSI + 12;
const MSI_MASK: usize = MSI + 16;
const MSI_PENDING: usize = MSI + 20;
const MSI_ENABLE: u8 = 1;
/// Message control: address of 64 bits, mask for each vector.
const MSI_ABILITIES: u16 = (1 << 7) | (1 << 8);

/// What each BAR reads after all ones were written; zero for one that is not there.
pub type Bars = [u32; 6];

/// Configuration space.
pub struct Config {
    bytes: [u8; CONFIG],
    /// Which bits the guest can change.
    writable: [u8; CONFIG],
    bars: Bars,
    /// The function wants to interrupt and may not yet.
    pending: bool,
}

fn put(space: &mut [u8; CONFIG], at: usize, bytes: &[u8]) {
    space
        .iter_mut()
        .skip(at)
        .zip(bytes)
        .for_each(|(to, from)| *to = *from);
}

impl Config {
    /// Configuration space as it is after a reset.
    pub fn new(ids: &Description, bars: Bars) -> Self {
        let (mut bytes, mut writable) = ([0; CONFIG], [0; CONFIG]);
        put(&mut bytes, 0, &ids.vendor.to_le_bytes());
        put(&mut bytes, 2, &ids.device.to_le_bytes());
        put(&mut bytes, 8, &ids.class);
        put(&mut bytes, SUBSYSTEM, &ids.subsystem.to_le_bytes());
        put(&mut bytes, STATUS, &[STATUS_CAPABILITIES]);
        put(&mut bytes, CAPABILITIES, &[MSI as u8]);
        put(&mut writable, COMMAND, &COMMAND_WRITABLE.to_le_bytes());
        for (bar, probed) in bars.into_iter().enumerate() {
            let at = BARS + bar * 4;
            // The lower four bits of an address say what it is; the upper half of an address is all address.
            let upper = bar > 0 && bars.get(bar - 1).is_some_and(|b| b & 4 != 0);
            let kind = if upper { 0 } else { probed & 0xF };
            put(&mut bytes, at, &kind.to_le_bytes());
            put(&mut writable, at, &(probed & !kind).to_le_bytes());
        }
        put(&mut bytes, MSI, &[MSI_ID]);
        put(&mut bytes, MSI_CONTROL, &MSI_ABILITIES.to_le_bytes());
        put(&mut writable, MSI_CONTROL, &[MSI_ENABLE]);
        put(&mut writable, MSI_ADDRESS, &(!3u64).to_le_bytes());
        put(&mut writable, MSI_DATA, &u16::MAX.to_le_bytes());
        put(&mut writable, MSI_MASK, &[1]);
        Self {
            bytes,
            writable,
            bars,
            pending: false,
        }
    }

    /// Answers a read at `offset`.
    pub fn read(&self, offset: usize, data: &mut [u8]) {
        data.fill(0);
        let there = self.bytes.iter().skip(offset);
        data.iter_mut()
            .zip(there)
            .for_each(|(to, from)| *to = *from);
    }

    /// Takes a write. What cannot be changed stays; the error says what a guest does not do.
    pub fn write(&mut self, offset: usize, data: &[u8]) -> Result<()> {
        let end = offset.saturating_add(data.len());
        // Hyper-V, too, ignores this (prepopulate_bars in pci-hyperv.c).
        if self.decodes() && offset < BARS_END && end > BARS {
            bail!("a base address is written while the function answers in memory space");
        }
        let places = self.bytes.iter_mut().zip(&self.writable);
        for ((to, mask), from) in places.skip(offset).zip(data) {
            *to = (*to & !mask) | (from & mask);
        }
        Ok(())
    }

    fn decodes(&self) -> bool {
        self.byte(COMMAND) & COMMAND_MEMORY != 0
    }

    /// Whether the function may reach the guest's memory.
    pub fn is_master(&self) -> bool {
        self.byte(COMMAND) & COMMAND_MASTER != 0
    }

    fn byte(&self, at: usize) -> u8 {
        self.bytes.get(at).copied().unwrap_or(0)
    }

    fn number(&self, at: usize, bytes: usize) -> u64 {
        (0..bytes)
            .rev()
            .fold(0, |value, i| (value << 8) | u64::from(self.byte(at + i)))
    }

    /// The ranges that the function answers in now: number of the BAR, address and size.
    pub fn ranges(&self) -> Vec<(usize, u64, u64)> {
        let mut ranges = Vec::new();
        let mut upper = false;
        for (bar, probed) in self.bars.into_iter().enumerate() {
            let wide = !upper && probed & 4 != 0;
            let there = !upper && probed != 0 && self.decodes();
            upper = wide;
            if there {
                let (bytes, mask) = match (wide, self.bars.get(bar + 1)) {
                    (true, Some(high)) => (8, (u64::from(*high) << 32) | u64::from(probed & !0xF)),
                    _ => (4, (u64::from(u32::MAX) << 32) | u64::from(probed & !0xF)),
                };
                let address = self.number(BARS + bar * 4, bytes) & !0xF;
                ranges.push((bar, address, (!mask).wrapping_add(1)));
            }
        }
        ranges
    }

    /// Whether the guest has switched MSI on.
    pub fn msi_enabled(&self) -> bool {
        self.byte(MSI_CONTROL) & MSI_ENABLE != 0
    }

    /// The message that the function writes now, if it wants to interrupt, for a new reason or one from before, and may.
    pub fn interrupt(&mut self, wanted: bool) -> Option<Message> {
        // There is no line on this bus that it could raise instead.
        self.pending = (self.pending || wanted) && self.msi_enabled();
        let masked = self.byte(MSI_MASK) & 1 != 0;
        let message = (self.pending && !masked).then(|| Message {
            address: self.number(MSI_ADDRESS, 8),
            data: self.number(MSI_DATA, 2).try_into().unwrap_or(0),
        });
        self.pending &= message.is_none();
        put(&mut self.bytes, MSI_PENDING, &[self.pending.into()]);
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vpci::serial::{BARS as PROBED, DESCRIPTION};

    fn word(c: &Config, at: usize) -> u32 {
        let mut data = [0; 4];
        c.read(at, &mut data);
        u32::from_le_bytes(data)
    }

    fn set(c: &mut Config, at: usize, value: u32) {
        c.write(at, &value.to_le_bytes()).unwrap();
    }

    #[test]
    fn the_header_tells_who_it_is() {
        let c = Config::new(&DESCRIPTION, PROBED);
        assert_eq!(word(&c, 0), 0x9900_9710);
        assert_eq!(word(&c, 8), 0x0700_0200);
        assert_eq!(word(&c, 0x2C), 0x1000_A000);
        assert_eq!(word(&c, 0x34), 0x50);
        assert_eq!(word(&c, 0x50) & 0xFFFF, 5, "MSI, and the last capability");
        assert_eq!(word(&c, 0x1000), 0);
    }

    #[test]
    fn bars_are_sized_and_set() {
        let mut c = Config::new(&DESCRIPTION, PROBED);
        for (bar, probed) in PROBED.into_iter().enumerate() {
            set(&mut c, 0x10 + bar * 4, u32::MAX);
            assert_eq!(word(&c, 0x10 + bar * 4), probed, "BAR {bar}");
        }
        set(&mut c, 0x10, 0xF800_2000);
        set(&mut c, 0x18, 0x0001_0000);
        set(&mut c, 0x1C, 0x10);
        assert!(c.ranges().is_empty(), "memory space is off");
        set(&mut c, 4, 2);
        assert!(!c.is_master());
        let expected = [(0, 0xF800_2000, 0x1000), (2, 0x10_0001_0000, 0x1_0000)];
        assert_eq!(c.ranges(), expected);
        assert!(c.write(0x1C, &[0; 4]).is_err());
        assert_eq!(c.ranges(), expected);
        set(&mut c, 0, 0);
        assert_eq!(word(&c, 0), 0x9900_9710, "ids cannot be changed");
        set(&mut c, 4, 6);
        assert!(c.is_master());
    }

    #[test]
    fn messages_wait_while_they_are_masked() {
        let mut c = Config::new(&DESCRIPTION, PROBED);
        assert_eq!(c.interrupt(true), None, "MSI is off");
        set(&mut c, MSI_ADDRESS, 0xFEE0_0000);
        set(&mut c, MSI_DATA, 0x123);
        set(&mut c, MSI_MASK, 1);
        c.write(MSI_CONTROL, &[1, 0]).unwrap();
        assert_eq!(c.interrupt(false), None, "what was lost stays lost");
        assert_eq!(c.interrupt(true), None, "masked");
        assert_eq!(word(&c, MSI_PENDING), 1);
        set(&mut c, MSI_MASK, 0);
        let message = Message {
            address: 0xFEE0_0000,
            data: 0x123,
        };
        assert_eq!(c.interrupt(false), Some(message));
        assert_eq!(c.interrupt(false), None, "once");
        assert_eq!(word(&c, MSI_PENDING), 0);
    }
}
