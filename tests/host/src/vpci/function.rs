// SPDX-License-Identifier: GPL-2.0

//! The function of a bus: configuration space, and what is behind its BARs.

use anyhow::{Context, Result};

use super::config::{Bars, Config};
use super::protocol::Description;
use super::serial::{self, Serial};
use super::spec::Kind;
use super::vmxnet3::{self, Card};
use crate::hyperv::remap::Message;
use crate::memory::Memory;
use crate::netvsp::vf::Frames;

/// What is behind the BARs.
enum Device {
    Serial(Serial),
    Card(Box<Card>),
}

/// The function. It is the only one of its bus.
pub struct Function {
    description: Description,
    bars: Bars,
    config: Config,
    device: Device,
}

impl Function {
    /// A function as it is after a reset.
    pub fn new(kind: &Kind) -> Result<Self> {
        let (description, bars, device) = match kind {
            Kind::Serial => (
                serial::DESCRIPTION,
                serial::BARS,
                Device::Serial(Serial::new()?),
            ),
            Kind::Vmxnet3 { serial, mac } => {
                let mac = mac.context("a network card without an address")?;
                let card = Box::new(Card::new(mac));
                (
                    vmxnet3::description(*serial),
                    vmxnet3::BARS,
                    Device::Card(card),
                )
            }
        };
        Ok(Self {
            config: Config::new(&description, bars),
            description,
            bars,
            device,
        })
    }

    /// The same function as it is after a reset. What is plugged into it stays so.
    pub fn reset(&mut self) -> Result<()> {
        self.config = Config::new(&self.description, self.bars);
        match &mut self.device {
            Device::Serial(serial) => *serial = Serial::new()?,
            Device::Card(card) => card.reset(),
        }
        Ok(())
    }

    /// What the guest is told of it.
    pub fn description(&self) -> Description {
        self.description
    }

    /// What its BARs read after all ones were written.
    pub fn bars(&self) -> Bars {
        self.bars
    }

    /// Answers a read of configuration space at `offset`.
    pub fn read_config(&self, offset: usize, data: &mut [u8]) {
        self.config.read(offset, data);
    }

    /// Takes a write. What cannot be changed stays; the error says what a guest does not do.
    pub fn write_config(&mut self, offset: usize, data: &[u8]) -> Result<()> {
        self.config.write(offset, data)
    }

    /// The ranges that the function answers in now: number of the BAR, address and size.
    pub fn ranges(&self) -> Vec<(usize, u64, u64)> {
        self.config.ranges()
    }

    /// Whether the guest has switched MSI on.
    pub fn msi_enabled(&self) -> bool {
        self.config.msi_enabled()
    }

    /// The message that the function writes now, if it wants to interrupt and may. To be asked after everything that
    /// may have changed that.
    pub fn interrupt(&mut self) -> Option<Message> {
        let wanted = match &mut self.device {
            Device::Serial(serial) => serial.take_interrupt(),
            Device::Card(card) => card.take_interrupt(),
        };
        self.config.interrupt(wanted)
    }

    /// Answers a read of what a BAR maps.
    pub fn read(&mut self, bar: usize, offset: u64, data: &mut [u8]) -> Result<()> {
        match &mut self.device {
            Device::Serial(serial) => {
                serial.read(bar, offset, data);
                Ok(())
            }
            Device::Card(card) => card.read(bar, offset, data),
        }
    }

    /// Takes a write to what a BAR maps; `sent` gets the frames that the function puts on the wire because of it. The error
    /// says what a guest does not do.
    pub fn write(
        &mut self,
        bar: usize,
        offset: u64,
        data: &[u8],
        memory: &Memory,
        sent: &mut Frames,
    ) -> Result<()> {
        let memory = self.config.is_master().then_some(memory);
        match &mut self.device {
            Device::Serial(serial) => {
                serial.write(bar, offset, data);
                Ok(())
            }
            Device::Card(card) => card.write(bar, offset, data, memory, sent),
        }
    }

    /// The serial port, if it is one.
    pub fn serial(&mut self) -> Result<&mut Serial> {
        match &mut self.device {
            Device::Serial(serial) => Ok(serial),
            Device::Card(_) => anyhow::bail!("the function is no serial port"),
        }
    }

    /// The network card, if it is one.
    pub fn card(&mut self) -> Result<&mut Card> {
        match &mut self.device {
            Device::Card(card) => Ok(card),
            Device::Serial(_) => anyhow::bail!("the function is no network card"),
        }
    }

    /// What comes for the card from the wire. Returns how many frames were lost; the error says what a guest does not do.
    pub fn receive(&mut self, frames: &[Vec<u8>], memory: &Memory) -> Result<usize> {
        let memory = self.config.is_master().then_some(memory);
        match &mut self.device {
            Device::Card(card) => card.receive(frames, memory),
            Device::Serial(_) => Ok(frames.len()),
        }
    }

    /// What there is to say of it, for the line about its bus.
    pub fn describe(&self) -> String {
        match &self.device {
            Device::Serial(serial) => {
                format!("function=serial received={}", serial.received().len())
            }
            Device::Card(card) => format!(
                "function=vmxnet3 serial={} {}",
                { self.description.serial },
                card.describe()
            ),
        }
    }
}
