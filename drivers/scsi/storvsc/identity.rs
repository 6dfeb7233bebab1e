// SPDX-License-Identifier: GPL-2.0

//! Whether a LUN is still the same disk. A host may replace a disk by another one at the same address, and only announces
//! that something has changed.

use kernel::prelude::*;
use rlis_proto::storvsc::{
    compare_identity,
    Comparison,
    IDENTITY_BYTES, //
};
use rlis_scsi::{
    DeviceRef,
    HostRef, //
};

/// Removes devices that were replaced, so that a scan finds the new ones, and rescans those without an identity. Sleeps.
pub(crate) fn check(host: &HostRef) {
    for device in host.devices() {
        match compare(&device) {
            Comparison::Same => {}
            Comparison::Other => remove(&device),
            Comparison::Unknown => device.rescan(),
        }
    }
}

/// Rescans a device that has changed. If it was replaced, it is removed and the new one is added. Sleeps.
pub(crate) fn look_again(host: &HostRef, device: &DeviceRef) {
    match compare(device) {
        Comparison::Same | Comparison::Unknown => device.rescan(),
        Comparison::Other => {
            remove(device);
            host.scan();
        }
    }
}

fn remove(device: &DeviceRef) {
    let (channel, target, lun) = device.address();
    // Pending writes were meant for the former disk and must not reach the new one.
    device.set_offline();
    pr_warn!(
        "LUN {channel}:{target}:{lun} is another disk now: removing the old one, scanning for the new one\n"
    );
    device.remove();
}

/// Compares VPD page 83h as cached by the mid-layer with what the device answers now.
fn compare(device: &DeviceRef) -> Comparison {
    try_compare(device).unwrap_or(Comparison::Unknown)
}

fn try_compare(device: &DeviceRef) -> Result<Comparison> {
    let mut known = KVec::from_elem(0, IDENTITY_BYTES, GFP_KERNEL)?;
    let len = device.known_identification(&mut known)?;
    let known = known.get(..len).unwrap_or(&[]);
    let mut now = KVec::from_elem(0, IDENTITY_BYTES, GFP_KERNEL)?;
    device.read_identification(&mut now)?;
    let first = compare_identity(known, &now);
    if first != Comparison::Other {
        return Ok(first);
    }
    // Read again before a disk is removed because of it.
    device.read_identification(&mut now)?;
    Ok(compare_identity(known, &now))
}
