// SPDX-License-Identifier: GPL-2.0

//! Dynamic memory: the device by which a host takes memory from its guest, gives it back, and adds more, and the commands
//! that have it do so.
//!
//! [`device`] speaks the protocol (rust/proto/balloon), [`ledger`] knows which pages are whose, [`region`] has the
//! memory that can be added, [`discard`] takes hints of free memory, [`wrong`] is what such a host can do wrong.

mod device;
mod discard;
mod ledger;
mod region;
mod spec;
#[cfg(test)]
mod tests;
mod wrong;

use std::time::Duration;

use anyhow::{ensure, Context, Result};
use clap::Subcommand;
use rlis_proto::balloon::Version;

use crate::size::parse_size;
use spec::{parse_hex, parse_offset, parse_pages, parse_version, Message, Named};

pub use device::MemoryDevice;
pub use discard::Hints;
pub use region::Region;

/// Whether the machine has the device.
#[derive(Clone, Debug, clap::Args)]
#[group(id = "dynmem")]
pub struct Options {
    /// Offer dynamic memory; the device is called memory.
    #[arg(long)]
    pub memory_device: bool,
    /// The newest version of its protocol that the host takes: 0.3, 1.0 or 2.0.
    #[arg(long, default_value = "2.0", value_parser = parse_version, requires = "memory_device")]
    pub memory_version: Version,
    /// How much can be added to the guest's memory while it runs.
    #[arg(long, value_parser = parse_size, requires = "memory_device")]
    pub hot_add: Option<u64>,
    /// Take hints that memory is free, and empty it: cold discard, by an extended hypercall.
    #[arg(long, requires = "memory_device")]
    pub cold_discard: bool,
}

/// What a host does with a guest's memory. Sizes are made of pages of 4 KiB.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Dynamic memory: what was agreed with the guest, its last report, pages that the host has, that were added, and that were
    /// hinted to be free.
    Memory,
    /// Take memory from the guest; tells how many pages it gave, and in how many messages.
    Balloon {
        /// How much.
        #[arg(value_parser = parse_pages)]
        pages: u32,
        /// Give up after this many seconds.
        #[arg(long, default_value_t = 100)]
        seconds: u64,
    },
    /// Give memory back to the guest.
    Unballoon {
        /// How much; all if left out.
        #[arg(value_parser = parse_pages)]
        pages: Option<u32>,
        /// Most ranges in a message.
        #[arg(long, default_value_t = 510, value_parser = clap::value_parser!(u16).range(1..=510))]
        ranges: u16,
        /// Give up after this many seconds.
        #[arg(long, default_value_t = 100)]
        seconds: u64,
    },
    /// Add memory; tells how many pages the guest has added, and the result that it sent.
    HotAdd {
        /// How much.
        #[arg(value_parser = parse_pages)]
        pages: u32,
        /// Where it begins in the region; behind what was added last if left out.
        #[arg(long, value_parser = parse_offset)]
        at: Option<u64>,
        /// What to say of the region.
        #[arg(long, value_enum, default_value_t)]
        region: Named,
        /// Give up after this many seconds.
        #[arg(long, default_value_t = 100)]
        seconds: u64,
    },
    /// Send any message on the channel of dynamic memory.
    MemorySend {
        /// Its bytes, in hexadecimal digits.
        #[arg(value_parser = parse_hex)]
        message: Message,
    },
}

/// How long a command waits for the guest's driver.
const DRIVER_WAIT: Duration = Duration::from_secs(10);

/// Carries out a command on `device`. Returns the lines of the answer.
pub fn execute(device: Option<&MemoryDevice>, command: Command) -> Result<Vec<String>> {
    let device = device.context("the host was started without --memory-device")?;
    if matches!(command, Command::Memory) {
        return Ok(vec![device.describe()]);
    }
    device.wait_ready(DRIVER_WAIT)?;
    let limit = |seconds| {
        ensure!(seconds > 0, "no time to wait for an answer");
        Ok(Duration::from_secs(seconds))
    };
    Ok(match command {
        Command::Memory => Vec::new(),
        Command::Balloon { pages, seconds } => vec![device.balloon(pages, limit(seconds)?)?],
        Command::Unballoon {
            pages,
            ranges,
            seconds,
        } => vec![device.unballoon(pages, ranges.into(), limit(seconds)?)?],
        Command::HotAdd {
            pages,
            at,
            region,
            seconds,
        } => vec![device.hot_add(pages, at, region, limit(seconds)?)?],
        Command::MemorySend { message } => {
            device.send_raw(&message.0)?;
            Vec::new()
        }
    })
}
