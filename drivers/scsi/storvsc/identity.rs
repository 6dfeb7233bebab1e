// SPDX-License-Identifier: GPL-2.0

//! Whether a unit is still the one that was found at its address. A host may put another disk in its place, and says of
//! that no more than that something has changed.

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

/// Removes the devices that have become others, so that a scan finds them, and reads those anew that cannot be told apart.
/// Sleeps.
pub(crate) fn check(host: &HostRef) {
    for device in host.devices() {
        match compare(&device) {
            Comparison::Same => {}
            Comparison::Other => remove(&device),
            Comparison::Unknown => device.rescan(),
        }
    }
}

/// Reads a device anew, of which the host says that it has changed; if it is another one, it is removed and the other found.
/// Sleeps.
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
    // What is still to be written was meant for the former one, and must not reach this one.
    device.set_offline();
    pr_warn!(
        "the unit {channel}:{target}:{lun} is another one now: removed, and looked for anew\n"
    );
    device.remove();
}

/// Compares what the mid-layer knows with what the device says.
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
    // A disk depends on it: once more.
    device.read_identification(&mut now)?;
    Ok(compare_identity(known, &now))
}
