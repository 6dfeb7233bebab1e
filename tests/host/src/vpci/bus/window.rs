// SPDX-License-Identifier: GPL-2.0

//! What the guest's processors reach of a bus: the window to configuration space, and the BARs.

use std::sync::Weak;

use anyhow::{ensure, Result};
use vm_device::bus::MmioAddress;
use vm_device::DeviceMmio;

use super::{Bus, Ejection, Frames, State};
use crate::vpci::protocol::CONFIG_PAGE;

/// The window.
pub(super) struct Window(Weak<Bus>);

impl Window {
    pub(super) fn new(bus: Weak<Bus>) -> Self {
        Self(bus)
    }
}

impl State {
    /// Whether the window shows the function.
    fn is_shown(&self) -> bool {
        let slot = self.function.description().slot;
        self.window.is_some() && self.slot == slot && self.ejection != Ejection::Done
    }
}

/// The offset in configuration space of an access to the window; `None` for the page where a function is chosen.
fn config_offset(offset: u64, len: usize) -> Result<Option<usize>> {
    ensure!(
        matches!(len, 1 | 2 | 4) && offset % u64::try_from(len)? == 0,
        "{len} bytes at {offset:#x} of the window"
    );
    Ok(match offset.checked_sub(CONFIG_PAGE) {
        Some(config) => Some(usize::try_from(config)?),
        None => None,
    })
}

impl Bus {
    fn read_window(&self, offset: u64, data: &mut [u8]) -> Result<()> {
        let mut state = self.state();
        let config = config_offset(offset, data.len())?;
        let Some(config) = config else {
            anyhow::bail!("a read of the page where a function is chosen, at {offset:#x}");
        };
        state.counts.config += 1;
        if state.is_shown() {
            state.function.read_config(config, data);
        }
        Ok(())
    }

    fn write_window(&self, offset: u64, data: &[u8]) -> Result<()> {
        let mut state = self.state();
        let Some(config) = config_offset(offset, data.len())? else {
            let slot = data.try_into().ok().map(u32::from_le_bytes);
            ensure!(
                offset == 0 && slot.is_some(),
                "a function is chosen by {} bytes at {offset:#x}",
                data.len()
            );
            state.slot = slot.unwrap_or(0);
            return Ok(());
        };
        state.counts.config += 1;
        if !state.is_shown() {
            return Ok(());
        }
        let result = state.function.write_config(config, data);
        self.map_bars(&mut state);
        self.interrupt(&mut state);
        result
    }
}

impl DeviceMmio for Window {
    fn mmio_read(&self, _base: MmioAddress, offset: u64, data: &mut [u8]) {
        let Some(bus) = self.0.upgrade() else { return };
        if let Err(error) = bus.read_window(offset, data) {
            bus.violation(&error);
        }
    }

    fn mmio_write(&self, _base: MmioAddress, offset: u64, data: &[u8]) {
        let Some(bus) = self.0.upgrade() else { return };
        if let Err(error) = bus.write_window(offset, data) {
            bus.violation(&error);
        }
    }
}

/// What a BAR maps.
pub(super) struct Bar {
    bus: Weak<Bus>,
    number: usize,
}

impl Bar {
    pub(super) fn new(bus: Weak<Bus>, number: usize) -> Self {
        Self { bus, number }
    }
}

impl State {
    /// The function, if its BAR `number` is in memory space at `base`. It may have left it while the access was on its
    /// way.
    fn behind(&mut self, number: usize, base: u64) -> bool {
        self.counts.bar += 1;
        self.decoded.contains(&(number, base)) && self.ejection != Ejection::Done
    }
}

impl Bus {
    fn read_bar(&self, number: usize, base: u64, offset: u64, data: &mut [u8]) -> Result<()> {
        let mut state = self.state();
        if !state.behind(number, base) {
            return Ok(());
        }
        let result = state.function.read(number, offset, data);
        self.interrupt(&mut state);
        result
    }

    fn write_bar(&self, number: usize, base: u64, offset: u64, data: &[u8]) -> Result<()> {
        let mut state = self.state();
        let Some(memory) = state.memory() else {
            return Ok(());
        };
        if !state.behind(number, base) {
            return Ok(());
        }
        let mut sent = Frames::new();
        let function = &mut state.function;
        let result = function.write(number, offset, data, &memory, &mut sent);
        self.interrupt(&mut state);
        // What is at the other end may have frames for this card.
        drop(state);
        if let (false, Some(uplink)) = (sent.is_empty(), self.uplink.get()) {
            uplink(sent);
        }
        result
    }
}

impl DeviceMmio for Bar {
    fn mmio_read(&self, base: MmioAddress, offset: u64, data: &mut [u8]) {
        let Some(bus) = self.bus.upgrade() else {
            return;
        };
        if let Err(error) = bus.read_bar(self.number, base.0, offset, data) {
            bus.violation(&error);
        }
    }

    fn mmio_write(&self, base: MmioAddress, offset: u64, data: &[u8]) {
        let Some(bus) = self.bus.upgrade() else {
            return;
        };
        if let Err(error) = bus.write_bar(self.number, base.0, offset, data) {
            bus.violation(&error);
        }
    }
}
