// SPDX-License-Identifier: GPL-2.0

//! The PCI function: a 16550 in BAR 0, some memory in BAR 2, and a message-signalled interrupt. Its ids are those of a
//! NetMos 9900 with one serial port, which Linux's 8250_pci drives with MSI (`pci_use_msi` in
//! drivers/tty/serial/8250/8250_pci.c); the memory is there so that a guest has to find room above 4 GiB, too.
//!
//! Registers are those of the PCI Local Bus Specification 3.0, chapters 6.1 (header), 6.2.5 (base addresses) and 6.8.1
//! (MSI).

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{bail, Result};

use super::protocol::Description;
use crate::hyperv::remap::Message;
use crate::vm::serial::{self, IrqLine, Port};

/// What the guest is told of the function: it is the only one of its bus.
pub const DESCRIPTION: Description = Description {
    vendor: 0x9710,
    device: 0x9900,
    // Revision 0, a serial port compatible to the 16550.
    class: [0, 2, 0, 7],
    subsystem: 0x1000_A000,
    slot: 0,
    serial: 0x7266,
};

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

/// What each BAR reads after all ones were written: 4 KiB below 4 GiB, and 64 KiB of prefetchable memory anywhere.
pub const PROBED_BARS: [u32; 6] = [0xFFFF_F000, 0, 0xFFFF_000C, 0xFFFF_FFFF, 0, 0];
/// The BARs, with their sizes.
pub const SIZES: [(usize, u64); 2] = [(UART_BAR, 0x1000), (MEMORY_BAR, 0x1_0000)];
/// The BAR of the serial port.
pub const UART_BAR: usize = 0;
/// The BAR of the memory.
pub const MEMORY_BAR: usize = 2;

/// Most bytes from the guest that are kept.
const MAX_KEPT: usize = 1 << 20;

/// What the guest sent.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Sink {
    fn bytes(&self) -> std::sync::MutexGuard<'_, Vec<u8>> {
        // Appending leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Sink {
    fn write(&mut self, new: &[u8]) -> io::Result<usize> {
        let mut bytes = self.bytes();
        let room = MAX_KEPT.saturating_sub(bytes.len());
        bytes.extend(new.iter().take(room));
        Ok(new.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The function.
pub struct Function {
    config: [u8; CONFIG],
    /// Which bits of configuration space the guest can change.
    writable: [u8; CONFIG],
    uart: Port<Sink>,
    sink: Sink,
    memory: Vec<u8>,
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

impl Function {
    /// A function as it is after a reset.
    pub fn new() -> Result<Self> {
        let (mut config, mut writable) = ([0; CONFIG], [0; CONFIG]);
        let d = DESCRIPTION;
        put(&mut config, 0, &d.vendor.to_le_bytes());
        put(&mut config, 2, &d.device.to_le_bytes());
        put(&mut config, 8, &d.class);
        put(&mut config, SUBSYSTEM, &d.subsystem.to_le_bytes());
        put(&mut config, STATUS, &[STATUS_CAPABILITIES]);
        put(
            &mut config,
            CAPABILITIES,
            &u32::try_from(MSI)?.to_le_bytes(),
        );
        put(&mut writable, COMMAND, &COMMAND_WRITABLE.to_le_bytes());
        for (bar, probed) in PROBED_BARS.into_iter().enumerate() {
            let at = BARS + bar * 4;
            // The lower four bits of an address say what it is; the upper half of an address is all address.
            let upper = bar > 0 && PROBED_BARS.get(bar - 1).is_some_and(|b| b & 4 != 0);
            let kind = if upper { 0 } else { probed & 0xF };
            put(&mut config, at, &kind.to_le_bytes());
            put(&mut writable, at, &(probed & !kind).to_le_bytes());
        }
        put(&mut config, MSI, &[MSI_ID]);
        put(&mut config, MSI_CONTROL, &MSI_ABILITIES.to_le_bytes());
        put(&mut writable, MSI_CONTROL, &[MSI_ENABLE]);
        put(&mut writable, MSI_ADDRESS, &(!3u64).to_le_bytes());
        put(&mut writable, MSI_DATA, &u16::MAX.to_le_bytes());
        put(&mut writable, MSI_MASK, &[1]);
        let sink = Sink::default();
        Ok(Self {
            config,
            writable,
            uart: Port::new(IrqLine::new()?, sink.clone()),
            sink,
            memory: SIZES
                .iter()
                .find(|s| s.0 == MEMORY_BAR)
                .map_or(Ok(0), |s| usize::try_from(s.1))
                .map(|size| vec![0; size])?,
            pending: false,
        })
    }

    /// Answers a read of configuration space at `offset`.
    pub fn read_config(&self, offset: usize, data: &mut [u8]) {
        data.fill(0);
        let there = self.config.iter().skip(offset);
        data.iter_mut()
            .zip(there)
            .for_each(|(to, from)| *to = *from);
    }

    /// Takes a write. What cannot be changed stays; the error says what a guest does not do.
    pub fn write_config(&mut self, offset: usize, data: &[u8]) -> Result<()> {
        let end = offset.saturating_add(data.len());
        // Hyper-V, too, ignores this (prepopulate_bars in pci-hyperv.c).
        if self.decodes() && offset < BARS_END && end > BARS {
            bail!("a base address is written while the function answers in memory space");
        }
        let places = self.config.iter_mut().zip(&self.writable);
        for ((to, mask), from) in places.skip(offset).zip(data) {
            *to = (*to & !mask) | (from & mask);
        }
        Ok(())
    }

    fn decodes(&self) -> bool {
        self.byte(COMMAND) & COMMAND_MEMORY != 0
    }

    fn byte(&self, at: usize) -> u8 {
        self.config.get(at).copied().unwrap_or(0)
    }

    fn number(&self, at: usize, bytes: usize) -> u64 {
        (0..bytes)
            .rev()
            .fold(0, |value, i| (value << 8) | u64::from(self.byte(at + i)))
    }

    /// The address in a BAR.
    pub fn address(&self, bar: usize) -> u64 {
        let wide = PROBED_BARS.get(bar).is_some_and(|b| b & 4 != 0);
        self.number(BARS + bar * 4, if wide { 8 } else { 4 }) & !0xF
    }

    /// The ranges that the function answers in now: number of the BAR, address and size.
    pub fn ranges(&self) -> Vec<(usize, u64, u64)> {
        let all = SIZES.iter().filter(|_| self.decodes());
        all.map(|(bar, size)| (*bar, self.address(*bar), *size))
            .collect()
    }

    /// Answers a read of what a BAR maps.
    pub fn read(&mut self, bar: usize, offset: u64, data: &mut [u8]) {
        data.fill(0xFF);
        match (bar, data) {
            (UART_BAR, [byte]) => {
                if let Some(register) = uart_register(offset) {
                    *byte = self.uart.read(register);
                }
            }
            (MEMORY_BAR, data) => {
                let at = usize::try_from(offset).unwrap_or(usize::MAX);
                let there = self.memory.iter().skip(at);
                data.iter_mut()
                    .zip(there)
                    .for_each(|(to, from)| *to = *from);
            }
            // The serial port has no register of more than a byte.
            _ => {}
        }
    }

    /// Takes a write to what a BAR maps.
    pub fn write(&mut self, bar: usize, offset: u64, data: &[u8]) {
        match (bar, data) {
            (UART_BAR, [byte]) => {
                if let Some(register) = uart_register(offset) {
                    self.uart.write(register, *byte);
                }
            }
            (MEMORY_BAR, data) => {
                let at = usize::try_from(offset).unwrap_or(usize::MAX);
                let there = self.memory.iter_mut().skip(at);
                there.zip(data).for_each(|(to, from)| *to = *from);
            }
            _ => {}
        }
    }

    /// Bytes for the guest to receive.
    pub fn send(&mut self, bytes: &[u8]) {
        self.uart.send(bytes);
    }

    /// What the guest has sent.
    pub fn received(&self) -> Vec<u8> {
        self.sink.bytes().clone()
    }

    /// Forgets it.
    pub fn forget_received(&self) {
        self.sink.bytes().clear();
    }

    /// Whether the guest has switched MSI on.
    pub fn msi_enabled(&self) -> bool {
        self.byte(MSI_CONTROL) & MSI_ENABLE != 0
    }

    /// The message that the function writes now, if it wants to interrupt and may. To be asked after everything that
    /// may have changed that.
    pub fn interrupt(&mut self) -> Option<Message> {
        // The serial port raises its line on each cause anew, so that every rise is a message.
        self.pending |= self.uart.event().read().is_ok();
        if !self.msi_enabled() {
            // There is no line on this bus that it could raise instead.
            self.pending = false;
        }
        let masked = self.byte(MSI_MASK) & 1 != 0;
        let message = (self.pending && !masked).then(|| Message {
            address: self.number(MSI_ADDRESS, 8),
            data: self.number(MSI_DATA, 2).try_into().unwrap_or(0),
        });
        self.pending &= message.is_none();
        put(&mut self.config, MSI_PENDING, &[self.pending.into()]);
        message
    }
}

fn uart_register(offset: u64) -> Option<u8> {
    let register = u8::try_from(offset).ok()?;
    (u16::from(register) < serial::PORTS).then_some(register)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(f: &Function, at: usize) -> u32 {
        let mut data = [0; 4];
        f.read_config(at, &mut data);
        u32::from_le_bytes(data)
    }

    fn set(f: &mut Function, at: usize, value: u32) {
        f.write_config(at, &value.to_le_bytes()).unwrap();
    }

    #[test]
    fn the_header_tells_who_it_is() {
        let f = Function::new().unwrap();
        assert_eq!(word(&f, 0), 0x9900_9710);
        assert_eq!(word(&f, 8), 0x0700_0200);
        assert_eq!(word(&f, 0x2C), 0x1000_A000);
        assert_eq!(word(&f, 0x34), 0x50);
        assert_eq!(word(&f, 0x50) & 0xFFFF, 5, "MSI, and the last capability");
        assert_eq!(word(&f, 0x1000), 0);
    }

    #[test]
    fn bars_are_sized_and_set() {
        let mut f = Function::new().unwrap();
        for (bar, probed) in PROBED_BARS.into_iter().enumerate() {
            set(&mut f, 0x10 + bar * 4, u32::MAX);
            assert_eq!(word(&f, 0x10 + bar * 4), probed, "BAR {bar}");
        }
        set(&mut f, 0x10, 0xF800_2000);
        set(&mut f, 0x18, 0x0001_0000);
        set(&mut f, 0x1C, 0x10);
        assert!(f.ranges().is_empty(), "memory space is off");
        set(&mut f, 4, 6);
        let expected = [
            (UART_BAR, 0xF800_2000, 0x1000),
            (MEMORY_BAR, 0x10_0001_0000, 0x1_0000),
        ];
        assert_eq!(f.ranges(), expected);
        assert!(f.write_config(0x1C, &[0; 4]).is_err());
        assert_eq!(f.ranges(), expected);
        set(&mut f, 0, 0);
        assert_eq!(word(&f, 0), 0x9900_9710, "ids cannot be changed");
    }

    #[test]
    fn memory_keeps_what_is_written() {
        let mut f = Function::new().unwrap();
        f.write(MEMORY_BAR, 0xFFFC, &[1, 2, 3, 4]);
        let mut data = [0; 4];
        f.read(MEMORY_BAR, 0xFFFE, &mut data);
        assert_eq!(data, [3, 4, 0xFF, 0xFF]);
        f.write(MEMORY_BAR, u64::MAX, &[1]);
    }

    #[test]
    fn bytes_and_interrupts() {
        let mut f = Function::new().unwrap();
        f.write(UART_BAR, 0, b"x");
        f.write(UART_BAR, 8, b"y");
        f.write(UART_BAR, 0, b"zz");
        assert_eq!(f.received(), b"x");
        f.forget_received();
        assert!(f.received().is_empty());
        // Received data interrupts; MSI is off.
        f.write(UART_BAR, 1, &[1]);
        f.send(b"a");
        assert_eq!(f.interrupt(), None);
        set(&mut f, MSI_ADDRESS, 0xFEE0_0000);
        set(&mut f, MSI_DATA, 0x123);
        set(&mut f, MSI_MASK, 1);
        f.write_config(MSI_CONTROL, &[1, 0]).unwrap();
        assert_eq!(f.interrupt(), None, "what was lost stays lost");
        let mut byte = [0];
        f.read(UART_BAR, 0, &mut byte);
        assert_eq!(&byte, b"a");
        f.send(b"b");
        assert_eq!(f.interrupt(), None, "masked");
        assert_eq!(word(&f, MSI_PENDING), 1);
        set(&mut f, MSI_MASK, 0);
        let message = Message {
            address: 0xFEE0_0000,
            data: 0x123,
        };
        assert_eq!(f.interrupt(), Some(message));
        assert_eq!(f.interrupt(), None, "once");
        assert_eq!(word(&f, MSI_PENDING), 0);
    }
}
