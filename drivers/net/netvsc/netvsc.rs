// SPDX-License-Identifier: GPL-2.0

//! Hyper-V network cards.
//!
//! - `settings`: module parameters, sizes and time limits
//! - `device`: a card from probe to remove, suspend and resume
//! - `interface`: what the network stack asks of it
//! - `nic`: the card, whose connection to the host comes and goes
//! - `connection`: coming to terms with the host, and leaving
//! - `channels`, `queue`: the channels while they are open, and what arrives in each
//! - `session`: what the channels share
//! - `control`: requests of the driver itself and their answers
//! - `receive`, `completions`: frames from the host, and giving back where they lay
//! - `transmit`, `tag`, `sections`: frames to the host, what is noted of them, and where they are copied to
//! - `encapsulate`, `header`: what goes beside them, and in front
//! - `xdp`: programs that are shown what is received
//! - `rss`: which channel the host puts a flow on
//! - `link`: what is left to a thread, and the state of the cable
//! - `function`, `path`, `news`: a virtual function beside the card, which way frames go, and what the host says of it
//! - `port`, `counters`: what all parts need, and what was counted

use kernel::prelude::*;
use rlis_vmbus::{
    class,
    Registration, //
};

mod channels;
mod completions;
mod connection;
mod control;
mod counters;
mod device;
mod encapsulate;
mod function;
mod header;
mod interface;
mod link;
mod news;
mod nic;
mod path;
mod port;
mod queue;
mod receive;
mod rss;
mod sections;
mod session;
mod settings;
mod tag;
mod transmit;
mod xdp;

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
