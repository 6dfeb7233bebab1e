// SPDX-License-Identifier: GPL-2.0

//! Two 16550 ports. COM1 is the guest's console and goes to standard output. COM2 is the control line: the
//! guest writes one command a line, as on the control socket, and reads one answer line.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use vm_superio::serial::NoEvents;
use vm_superio::{Serial, Trigger};
use vmm_sys_util::eventfd::{EventFd, EFD_NONBLOCK};

/// First port of COM1.
pub const COM1: u16 = 0x3F8;
/// First port of COM2.
pub const COM2: u16 = 0x2F8;
/// Ports of one 16550.
pub const PORTS: u16 = 8;
/// Interrupt line of COM1.
pub const COM1_IRQ: u32 = 4;
/// Interrupt line of COM2.
pub const COM2_IRQ: u32 = 3;
/// Register offsets and bits of the 16550.
const IDENTIFICATION: u8 = 2;
const LINE_STATUS: u8 = 5;
const DATA_READY: u8 = 1;
const NO_INTERRUPT: u8 = 1;
const RECEIVE_INTERRUPT: u8 = 4;
const RECEIVE_ENABLED: u8 = 1;
const FIFO_BITS: u8 = 0xC0;
/// Longest command line that the control port takes; a longer one is answered with an error.
const MAX_LINE: usize = 16 * 1024;

/// An interrupt line as vm-superio wants it.
pub struct IrqLine(EventFd);

impl IrqLine {
    /// A new line; KVM listens on the event.
    pub fn new() -> Result<Self> {
        EventFd::new(EFD_NONBLOCK)
            .map(Self)
            .context("cannot make an event for an interrupt line")
    }

    /// The event that KVM turns into an interrupt.
    pub fn event(&self) -> &EventFd {
        &self.0
    }
}

impl Trigger for IrqLine {
    type E = io::Error;

    fn trigger(&self) -> io::Result<()> {
        self.0.write(1)
    }
}

/// Collects what the guest writes to COM2 into lines and hands each to `command`, on a thread of its own:
/// the vCPU must not wait for a command that waits for the guest.
pub struct LineSink {
    line: Vec<u8>,
    lines: std::sync::mpsc::Sender<String>,
}

impl LineSink {
    /// A sink that sends every finished line to `lines`.
    pub fn new(lines: std::sync::mpsc::Sender<String>) -> Self {
        Self {
            line: Vec::new(),
            lines,
        }
    }
}

impl Write for LineSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for &byte in bytes {
            match byte {
                b'\n' => {
                    let line = String::from_utf8_lossy(&self.line).trim().to_string();
                    self.line.clear();
                    if !line.is_empty() {
                        // The receiver lives as long as the process.
                        let _ = self.lines.send(line);
                    }
                }
                _ if self.line.len() < MAX_LINE => self.line.push(byte),
                _ => {}
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Bytes of the receive FIFO.
const FIFO: usize = 64;

/// One port: the 16550 and the bytes that wait for room in its receive FIFO.
pub struct Port<W: Write> {
    uart: Serial<IrqLine, NoEvents, W>,
    waiting: VecDeque<u8>,
}

impl<W: Write> Port<W> {
    /// A port that sends to `out`.
    pub fn new(irq: IrqLine, out: W) -> Self {
        Self {
            uart: Serial::new(irq, out),
            waiting: VecDeque::new(),
        }
    }

    /// The interrupt event, to be registered with KVM.
    pub fn event(&self) -> &EventFd {
        self.uart.interrupt_evt().event()
    }

    /// Guest read of register `offset` (0-7).
    pub fn read(&mut self, offset: u8) -> u8 {
        let mut value = self.uart.read(offset);
        // The emulation forgets an interrupt once it was identified, a real UART holds it until its cause is gone;
        // a driver that stops after so many bytes would never come back for the rest.
        let data_waits = self.uart.read(LINE_STATUS) & DATA_READY != 0;
        if offset == IDENTIFICATION && value & NO_INTERRUPT != 0 && data_waits {
            let enabled = self.uart.state().interrupt_enable & RECEIVE_ENABLED != 0;
            if enabled {
                value = (value & FIFO_BITS) | RECEIVE_INTERRUPT;
            }
        }
        self.refill();
        value
    }

    /// Guest write of register `offset` (0-7).
    pub fn write(&mut self, offset: u8, value: u8) {
        // An error here is a full host pipe or a guest in loop-back mode; a real UART loses the byte as well.
        let _ = self.uart.write(offset, value);
    }

    /// Queues bytes for the guest to receive.
    pub fn send(&mut self, bytes: &[u8]) {
        self.waiting.extend(bytes);
        self.refill();
    }

    fn refill(&mut self) {
        // Each filling raises the interrupt, so fill only when all is read.
        if self.uart.fifo_capacity() < FIFO {
            return;
        }
        let part: Vec<u8> = self.waiting.iter().copied().take(FIFO).collect();
        if let Ok(taken) = self.uart.enqueue_raw_bytes(&part) {
            drop(self.waiting.drain(..taken));
        }
    }
}

/// A port shared by the vCPUs and the thread that feeds it.
pub type SharedPort<W> = Arc<Mutex<Port<W>>>;

/// Locks a port. A poisoned lock is taken all the same: a UART has no state that could be half done.
pub fn lock<W: Write>(port: &SharedPort<W>) -> std::sync::MutexGuard<'_, Port<W>> {
    port.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Passes what comes from `input` on to the guest, until its end or an error.
pub fn feed<W: Write>(port: &Mutex<Port<W>>, mut input: impl Read) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = input.read(&mut bytes) {
        port.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .send(bytes.get(..count).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_reaches_the_guest_and_ends() {
        let port = Mutex::new(Port::new(IrqLine::new().unwrap(), io::sink()));
        let typed = b"0123456789".repeat(30);
        feed(&port, typed.as_slice());
        let mut port = port.into_inner().unwrap();
        let mut got = Vec::new();
        while port.read(LINE_STATUS) & DATA_READY != 0 {
            got.push(port.read(0));
        }
        assert_eq!(got, typed);
    }

    #[test]
    fn lines_are_cut_at_newlines() {
        let (tx, rx) = std::sync::mpsc::channel();
        let mut sink = LineSink::new(tx);
        sink.write_all(b"status\r\n\nresize 1").unwrap();
        assert_eq!(rx.try_recv().unwrap(), "status");
        assert!(rx.try_recv().is_err());
        sink.write_all(b" 2\n").unwrap();
        assert_eq!(rx.try_recv().unwrap(), "resize 1 2");
    }

    #[test]
    fn long_answers_pass_through_the_small_fifo() {
        let mut port = Port::new(IrqLine::new().unwrap(), io::sink());
        let answer: Vec<u8> = (0..1000u32).map(|i| b'a' + (i % 26) as u8).collect();
        port.send(&answer);
        let mut got = Vec::new();
        // Line status register bit 0: data ready.
        while port.read(5) & 1 != 0 {
            got.push(port.read(0));
        }
        assert_eq!(got, answer);
    }

    #[test]
    fn the_8250_driver_gets_all_of_a_long_answer() {
        for len in [255, 256, 257, 300, 512, 530, 2000] {
            let mut port = Port::new(IrqLine::new().unwrap(), io::sink());
            // Interrupt enable register: received data.
            port.write(1, 1);
            port.send(&vec![b'x'; len]);
            let mut got = 0;
            // serial8250_interrupt: as long as the identification register says so, at most 256 bytes each time.
            while port.read(2) & 1 == 0 {
                for _ in 0..256 {
                    if port.read(5) & 1 == 0 {
                        break;
                    }
                    port.read(0);
                    got += 1;
                }
            }
            assert_eq!(got, len);
        }
    }

    #[test]
    fn the_interrupt_stays_until_all_is_read() {
        let mut port = Port::new(IrqLine::new().unwrap(), io::sink());
        port.write(1, RECEIVE_ENABLED);
        port.send(b"abc");
        for _ in 0..3 {
            // Twice, since the first look must not use it up.
            assert_eq!(port.read(IDENTIFICATION) & 0xF, RECEIVE_INTERRUPT);
            assert_eq!(port.read(IDENTIFICATION) & 0xF, RECEIVE_INTERRUPT);
            port.read(0);
        }
        assert_eq!(port.read(IDENTIFICATION) & NO_INTERRUPT, NO_INTERRUPT);
    }
}
