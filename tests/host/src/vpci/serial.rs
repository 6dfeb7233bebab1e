// SPDX-License-Identifier: GPL-2.0

//! A serial port as a PCI function: a 16550 in BAR 0 and some memory in BAR 2. Its ids are those of a NetMos 9900 with
//! one serial port, which Linux's 8250_pci drives with MSI (`pci_use_msi` in drivers/tty/serial/8250/8250_pci.c); the
//! memory is there so that a guest has to find room above 4 GiB, too.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;

use super::config::Bars;
use super::protocol::Description;
use crate::vm::serial::{self, IrqLine, Port};

/// What the guest is told of it.
pub const DESCRIPTION: Description = Description {
    vendor: 0x9710,
    device: 0x9900,
    // Revision 0, a serial port compatible to the 16550.
    class: [0, 2, 0, 7],
    subsystem: 0x1000_A000,
    slot: 0,
    serial: 0x7266,
};

/// 4 KiB below 4 GiB, and 64 KiB of prefetchable memory anywhere.
pub const BARS: Bars = [0xFFFF_F000, 0, 0xFFFF_000C, 0xFFFF_FFFF, 0, 0];
/// The BAR of the serial port.
pub const UART_BAR: usize = 0;
/// The BAR of the memory.
pub const MEMORY_BAR: usize = 2;
const MEMORY: usize = 0x1_0000;

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

/// The serial port.
pub struct Serial {
    uart: Port<Sink>,
    sink: Sink,
    memory: Vec<u8>,
}

impl Serial {
    /// A serial port as it is after a reset.
    pub fn new() -> Result<Self> {
        let sink = Sink::default();
        Ok(Self {
            uart: Port::new(IrqLine::new()?, sink.clone()),
            sink,
            memory: vec![0; MEMORY],
        })
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

    /// Whether it wants to interrupt for a new reason. The serial port raises its line on each cause anew, so that every
    /// rise is a message.
    pub fn take_interrupt(&mut self) -> bool {
        self.uart.event().read().is_ok()
    }
}

fn uart_register(offset: u64) -> Option<u8> {
    let register = u8::try_from(offset).ok()?;
    (u16::from(register) < serial::PORTS).then_some(register)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_keeps_what_is_written() {
        let mut s = Serial::new().unwrap();
        s.write(MEMORY_BAR, 0xFFFC, &[1, 2, 3, 4]);
        let mut data = [0; 4];
        s.read(MEMORY_BAR, 0xFFFE, &mut data);
        assert_eq!(data, [3, 4, 0xFF, 0xFF]);
        s.write(MEMORY_BAR, u64::MAX, &[1]);
    }

    #[test]
    fn bytes_and_interrupts() {
        let mut s = Serial::new().unwrap();
        s.write(UART_BAR, 0, b"x");
        s.write(UART_BAR, 8, b"y");
        s.write(UART_BAR, 0, b"zz");
        assert_eq!(s.received(), b"x");
        s.forget_received();
        assert!(s.received().is_empty());
        // Received data interrupts.
        s.write(UART_BAR, 1, &[1]);
        s.take_interrupt();
        s.send(b"a");
        assert!(s.take_interrupt());
        assert!(!s.take_interrupt(), "once");
        let mut byte = [0];
        s.read(UART_BAR, 0, &mut byte);
        assert_eq!(&byte, b"a");
    }
}
