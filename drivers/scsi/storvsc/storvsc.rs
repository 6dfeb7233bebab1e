// SPDX-License-Identifier: GPL-2.0

//! Hyper-V storage: SCSI controllers, accelerated IDE disks and synthetic Fibre Channel adapters.
//!
//! - `settings`: module parameters and the settings derived from them
//! - `device`: probe, remove, suspend and resume
//! - `controller`: commands and completions; opening, closing and reopening the channel; resets
//! - `channels`: which CPU sends through which channel
//! - `batch`: commands that the host is told of together
//! - `control`: the driver's own requests and their answers
//! - `events`: work for process context: scans, LUNs that appear and disappear
//! - `identity`: whether a LUN is still the same disk
//! - `recovery`: commands that the host does not complete

use kernel::prelude::*;
use rlis_proto::storvsc::StorageKind;
use rlis_vmbus::{
    class,
    Registration, //
};

mod batch;
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

/// The loaded module. Fields are dropped in this order: unregistering the driver removes all devices first.
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
            // First, because registering the driver probes devices.
            _transport: rlis_scsi::fc::Attached::new()?,
            _driver <- Registration::new(module),
        })
    }
}
