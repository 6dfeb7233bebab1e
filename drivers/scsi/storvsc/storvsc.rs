// SPDX-License-Identifier: GPL-2.0

//! Hyper-V storage: SCSI controllers, accelerated IDE disks and synthetic Fibre Channel adapters.
//!
//! - `settings`: module parameters and what follows from them
//! - `device`: a device from probe to remove, suspend and resume
//! - `controller`: commands out, completions in; the channel opened, closed and opened again; resets
//! - `channels`: which CPU sends through which channel
//! - `control`: requests of the driver itself and their answers
//! - `events`: what is left to a thread: scans, LUNs that come and go
//! - `identity`: whether a LUN is still the same disk
//! - `recovery`: what is left to another one: commands that do not come back

use kernel::prelude::*;
use rlis_proto::storvsc::StorageKind;
use rlis_vmbus::{
    class,
    Registration, //
};

mod channels;
mod control;
mod controller;
mod device;
mod events;
mod identity;
mod recovery;
mod settings;

module! {
    type: Storvsc,
    name: "hv_storvsc",
    authors: ["rlis developers"],
    description: "Hyper-V virtual storage",
    license: "GPL",
}

rlis_vmbus::vmbus_device_table! {
    /// The classes of storage devices.
    static DEVICES: [StorageKind; 3] = [
        (class::HV_SCSI_GUID, StorageKind::Scsi),
        (class::HV_IDE_GUID, StorageKind::Ide),
        (class::HV_SYNTHFC_GUID, StorageKind::FibreChannel),
    ];
}

/// The loaded module. Its fields are dropped in this order: first the driver gives up all devices.
#[pin_data]
struct Storvsc {
    #[pin]
    _driver: Registration<device::StorvscDriver>,
    _transport: rlis_scsi::fc::Attached,
}

impl kernel::InPlaceModule for Storvsc {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        settings::report();
        try_pin_init!(Self {
            // First, since devices may be probed while the driver is registered.
            _transport: rlis_scsi::fc::Attached::new()?,
            _driver <- Registration::new(module),
        })
    }
}
