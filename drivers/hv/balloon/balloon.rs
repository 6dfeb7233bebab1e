// SPDX-License-Identifier: GPL-2.0

//! Dynamic memory: the host takes memory from this guest and gives it back.
//!
//! - `device`: the device from probe to remove, suspend and resume
//! - `service`: the channel, and what comes through it
//! - `pages`: pages for the host, and from it
//!
//! Messages and all decisions are in `rlis_proto::balloon`. Memory is not added yet: the host is told so.

use kernel::prelude::*;
use rlis_hv::{
    module_param,
    param::Mode, //
};
use rlis_vmbus::{
    class,
    Registration, //
};

mod device;
mod pages;
mod service;

module! {
    type: DynamicMemory,
    name: "hv_balloon",
    authors: ["rlis developers"],
    description: "Hyper-V Balloon",
    license: "GPL",
}

module_param! {
    /// Seconds after which the host is told for the first time how this guest is off: until then its start would count.
    pub(crate) static PRESSURE_REPORT_DELAY: u32 = 45, "pressure_report_delay", Mode::Writable,
        "Delay in secs in reporting pressure";
}

rlis_vmbus::vmbus_device_table! {
    /// The class of the device.
    static DEVICES: [(); 1] = [(class::HV_DM_GUID, ())];
}

/// The loaded module.
#[pin_data]
struct DynamicMemory {
    #[pin]
    _driver: Registration<device::BalloonDriver>,
}

impl kernel::InPlaceModule for DynamicMemory {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _driver <- Registration::new(module),
        })
    }
}
