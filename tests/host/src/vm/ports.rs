// SPDX-License-Identifier: GPL-2.0

//! The port I/O space: serial ports, ACPI registers, and all-ones everywhere else.

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use super::pm::Pm;
use super::serial::{self, LineSink, SharedPort};
use super::Outcome;

/// The keyboard controller's command port; 0xFE pulses the reset line.
const I8042_COMMAND: u16 = 0x64;
const I8042_RESET: u8 = 0xFE;

/// Everything that answers to port I/O.
pub struct Ports {
    /// The guest's console.
    pub com1: SharedPort<Box<dyn Write + Send>>,
    /// The control line.
    pub com2: SharedPort<LineSink>,
    /// Power management registers.
    pub pm: Mutex<Pm>,
}

/// Offset of `port` within the device whose ports start at `base`.
fn within(port: u16, base: u16) -> Option<u8> {
    port.checked_sub(base)
        .filter(|o| *o < serial::PORTS)
        .and_then(|o| u8::try_from(o).ok())
}

impl Ports {
    /// Answers a read of `data.len()` bytes (1, 2 or 4).
    pub fn read(&self, port: u16, data: &mut [u8]) {
        data.fill(0xFF);
        if let Some(offset) = within(port, serial::COM1) {
            if let [byte, ..] = data {
                *byte = serial::lock(&self.com1).read(offset);
            }
        } else if let Some(offset) = within(port, serial::COM2) {
            if let [byte, ..] = data {
                *byte = serial::lock(&self.com2).read(offset);
            }
        } else if Pm::owns(port) {
            let value = self
                .pm
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .read(port);
            data.iter_mut()
                .zip(value.to_le_bytes())
                .for_each(|(d, v)| *d = v);
        } else if port == I8042_COMMAND {
            // Status: input buffer empty, so that a reset command is sent without waiting.
            data.fill(0);
        }
    }

    /// Takes a write of `data.len()` bytes. Returns how the run ends if the write asks for it.
    pub fn write(&self, port: u16, data: &[u8]) -> Option<Outcome> {
        let first = *data.first()?;
        if let Some(offset) = within(port, serial::COM1) {
            serial::lock(&self.com1).write(offset, first);
        } else if let Some(offset) = within(port, serial::COM2) {
            serial::lock(&self.com2).write(offset, first);
        } else if Pm::owns(port) {
            let mut value = [0u8; 4];
            value.iter_mut().zip(data).for_each(|(v, d)| *v = *d);
            return self
                .pm
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .write(port, u32::from_le_bytes(value));
        } else if port == I8042_COMMAND && first == I8042_RESET {
            return Some(Outcome::Reset);
        }
        None
    }
}
