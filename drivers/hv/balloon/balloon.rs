// SPDX-License-Identifier: GPL-2.0

//! Dynamic memory: the host takes memory from this guest, gives it back, and adds more.
//!
//! - [`device`]: the device from probe to remove, suspend and resume
//! - [`service`]: the channel, opened, agreed upon and closed
//! - [`session`]: what comes through it, and what is told by it
//! - [`pages`]: pages for the host, and from it
//! - [`hot_add`]: memory that is added
//! - [`hints`]: hints that free memory is of no use
//! - [`counters`]: numbers for the host and for debugfs
//! - [`settings`]: module parameters
//!
//! Messages and all decisions are in `rlis_proto::balloon`.

use kernel::prelude::*;
use rlis_mem::Attached;
use rlis_vmbus::Registration;

mod counters;
mod device;
mod hints;
mod hot_add;
mod pages;
mod service;
mod session;
mod settings;

module! {
    type: DynamicMemory,
    name: "hv_balloon",
    authors: ["rlis developers"],
    description: "Hyper-V Balloon",
    license: "GPL",
}

/// The part of the module that adds memory. Dropping it, after the last device, leaves no block behind that must not come online.
struct Adding(Option<Attached>);

impl Adding {
    fn begin() -> Self {
        Self(match Attached::new() {
            Ok(attached) => Some(attached),
            Err(error) => {
                pr_info!("Memory hot add is not possible here: {:?}\n", error);
                None
            }
        })
    }
}

impl Drop for Adding {
    fn drop(&mut self) {
        if let Some(attached) = &self.0 {
            attached.plug().remove_incomplete(|block, error| {
                pr_warn!(
                    "Added memory from page {:#x} on stays offline and must not come online: {:?}\n",
                    block.start,
                    error
                );
            });
        }
    }
}

/// The loaded module.
#[pin_data]
struct DynamicMemory {
    // Dropped in this order.
    #[pin]
    _driver: Registration<device::BalloonDriver>,
    _adding: Adding,
}

impl kernel::InPlaceModule for DynamicMemory {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _adding: Adding::begin(),
            _driver <- Registration::new(module),
        })
    }
}
