// SPDX-License-Identifier: GPL-2.0

//! Hyper-V network cards.
//!
//! - `settings`: module parameters, sizes and time limits
//! - `device`: a card from probe to remove, suspend and resume
//! - `nic`: what the network stack asks of it
//! - `connection`: coming to terms with the host, and leaving
//! - `session`: what arrives in the channel while it is open
//! - `control`: requests of the driver itself and their answers
//! - `transmit`, `receive`: frames
//! - `link`: what is left to a thread: cable, filter, news for the neighbours
//! - `counters`: what was counted

use kernel::prelude::*;
use rlis_vmbus::{
    class,
    Registration, //
};

mod connection;
mod control;
mod counters;
mod device;
mod link;
mod nic;
mod receive;
mod session;
mod settings;
mod transmit;

module! {
    type: Netvsc,
    name: "hv_netvsc",
    authors: ["rlis developers"],
    description: "Hyper-V network card",
    license: "GPL",
}

rlis_vmbus::vmbus_device_table! {
    /// The class of network cards.
    static DEVICES: [(); 1] = [(class::HV_NIC_GUID, ())];
}

/// The loaded module. Dropped, the driver gives up all devices.
#[pin_data]
struct Netvsc {
    #[pin]
    _driver: Registration<device::NetvscDriver>,
}

impl kernel::InPlaceModule for Netvsc {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _driver <- Registration::new(module),
        })
    }
}
