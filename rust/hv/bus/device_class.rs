// SPDX-License-Identifier: GPL-2.0

//! The classes of devices that Linux knows, `vmbus_devs` of the C API.

use kernel::prelude::*;
use rlis_proto::{
    guid::class::*,
    vmbus::message::OfferChannel,
    Guid, //
};
use rlis_sys as bindings;

/// Number of entries, [`UNKNOWN`] included.
const CLASSES: usize = bindings::vmbus_device_type_HV_UNKNOWN as usize + 1;

/// The class of everything else, `HV_UNKNOWN`, the last entry.
const UNKNOWN: u16 = bindings::vmbus_device_type_HV_UNKNOWN as u16;

const fn entry(
    dev_type: u32,
    guid: Guid,
    perf_device: bool,
    allowed_in_isolated: bool,
    pref_ring_size: usize,
) -> bindings::vmbus_device {
    bindings::vmbus_device {
        pref_ring_size,
        dev_type: dev_type as u16,
        guid: bindings::guid_t { b: guid.b },
        perf_device,
        allowed_in_isolated,
    }
}

/// Which classes there are; indexed by `enum vmbus_device_type`, which `device_id` of a device holds.
///
/// Ring sizes are for `uio_hv_generic`: 16 KiB for file copy, whose daemon relies on it, 68 KiB for unknown
/// devices, and its own default for the rest.
#[no_mangle]
pub(crate) static vmbus_devs: [bindings::vmbus_device; CLASSES] = [
    entry(
        bindings::vmbus_device_type_HV_IDE,
        HV_IDE_GUID,
        true,
        false,
        0,
    ),
    entry(
        bindings::vmbus_device_type_HV_SCSI,
        HV_SCSI_GUID,
        true,
        true,
        0,
    ),
    entry(
        bindings::vmbus_device_type_HV_FC,
        HV_SYNTHFC_GUID,
        true,
        false,
        0,
    ),
    entry(
        bindings::vmbus_device_type_HV_NIC,
        HV_NIC_GUID,
        true,
        true,
        0,
    ),
    entry(
        bindings::vmbus_device_type_HV_ND,
        HV_ND_GUID,
        true,
        false,
        0,
    ),
    entry(
        bindings::vmbus_device_type_HV_PCIE,
        HV_PCIE_GUID,
        false,
        true,
        0,
    ),
    entry(
        bindings::vmbus_device_type_HV_FB,
        HV_SYNTHVID_GUID,
        false,
        false,
        0,
    ),
    entry(
        bindings::vmbus_device_type_HV_KBD,
        HV_KBD_GUID,
        false,
        false,
        0,
    ),
    entry(
        bindings::vmbus_device_type_HV_MOUSE,
        HV_MOUSE_GUID,
        false,
        false,
        0,
    ),
    entry(
        bindings::vmbus_device_type_HV_KVP,
        HV_KVP_GUID,
        false,
        false,
        0,
    ),
    entry(
        bindings::vmbus_device_type_HV_TS,
        HV_TS_GUID,
        false,
        true,
        0,
    ),
    entry(
        bindings::vmbus_device_type_HV_HB,
        HV_HEART_BEAT_GUID,
        false,
        true,
        0,
    ),
    entry(
        bindings::vmbus_device_type_HV_SHUTDOWN,
        HV_SHUTDOWN_GUID,
        false,
        true,
        0,
    ),
    entry(
        bindings::vmbus_device_type_HV_FCOPY,
        HV_FCOPY_GUID,
        false,
        false,
        0x4000,
    ),
    entry(
        bindings::vmbus_device_type_HV_BACKUP,
        HV_VSS_GUID,
        false,
        false,
        0,
    ),
    entry(
        bindings::vmbus_device_type_HV_DM,
        HV_DM_GUID,
        false,
        false,
        0,
    ),
    entry(
        bindings::vmbus_device_type_HV_UNKNOWN,
        Guid::NULL,
        false,
        false,
        0x11000,
    ),
];

/// The class of an offer; [`UNKNOWN`] for Hyper-V sockets, whose class is a service.
pub(crate) fn of_offer(offer: &OfferChannel) -> u16 {
    let class = { offer.offer.if_type };
    if offer.offer.is_hvsock() {
        return UNKNOWN;
    }
    let known = vmbus_devs
        .iter()
        .take(usize::from(UNKNOWN))
        .find(|d| d.guid.b == class.b);
    match known {
        Some(d) => d.dev_type,
        None => {
            // Devices that only Windows guests use come with every VM.
            if ![HV_AVMA1_GUID, HV_AVMA2_GUID, HV_RDV_GUID, HV_IMC_GUID].contains(&class) {
                crate::ratelimit::warn(|| {
                    pr_info!("Unknown GUID: {}\n", core::format_args!("{class}"));
                });
            }
            UNKNOWN
        }
    }
}

/// Whether a class of devices may be used in a guest that does not trust its host.
pub fn is_allowed_in_isolated(class: Guid) -> bool {
    vmbus_devs
        .iter()
        .any(|d| d.guid.b == class.b && d.allowed_in_isolated)
}

/// Whether channels of this class are spread over CPUs.
pub(crate) fn is_perf(class: u16) -> bool {
    vmbus_devs
        .get(usize::from(class))
        .is_some_and(|d| d.perf_device)
}

/// Whether channels of this class carry requests whose end depends on the host's storage.
pub fn is_storage(class: u16) -> bool {
    matches!(
        u32::from(class),
        bindings::vmbus_device_type_HV_IDE
            | bindings::vmbus_device_type_HV_SCSI
            | bindings::vmbus_device_type_HV_FC
    )
}

/// Devices whose names in user space depend on the order in which they are added.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum NamedInOrder {
    /// Network cards: `eth0`, `eth1`.
    Nic,
    /// Pass-through PCI devices: what their drivers number.
    Pci,
}

/// Whether the class is one of those.
pub fn names_depend_on_order(class: u16) -> Option<NamedInOrder> {
    match u32::from(class) {
        bindings::vmbus_device_type_HV_NIC => Some(NamedInOrder::Nic),
        bindings::vmbus_device_type_HV_PCIE => Some(NamedInOrder::Pci),
        _ => None,
    }
}
