// SPDX-License-Identifier: GPL-2.0

//! The bus's own device, which ACPI describes.

use crate::ops;
use core::{
    iter,
    mem::offset_of,
    ptr,
    sync::atomic::{
        AtomicPtr,
        Ordering, //
    }, //
};
use kernel::{
    error::to_result,
    ffi::c_int,
    prelude::*, //
};
use rlis_hv::{
    callbacks,
    table::{
        noirq,
        Table, //
    }, //
};
use rlis_sys as bindings;

/// The device in ACPI's tree; null while there is no bus.
static DEVICE: AtomicPtr<bindings::acpi_device> = AtomicPtr::new(ptr::null_mut());

/// The root device, parent of all devices; null while there is no bus.
pub(crate) fn device() -> *mut bindings::device {
    let device = DEVICE.load(Ordering::Acquire);
    if device.is_null() {
        return ptr::null_mut();
    }
    device
        .wrapping_byte_add(offset_of!(bindings::acpi_device, dev))
        .cast()
}

/// The root device in ACPI's tree and what it lies in, from the inside to the outside; nothing while there is no bus.
pub(crate) fn with_ancestors() -> impl Iterator<Item = bindings::acpi_handle> {
    let mut at = DEVICE.load(Ordering::Acquire);
    iter::from_fn(move || {
        if at.is_null() {
            return None;
        }
        // SAFETY: A device in ACPI's tree stays with those that it holds, which the root device of the bus is the innermost
        // of. The parent of a device there is one, too.
        unsafe {
            let handle = (*at).handle;
            let parent = (*at).dev.parent;
            at = if parent.is_null() {
                ptr::null_mut()
            } else {
                parent
                    .byte_sub(offset_of!(bindings::acpi_device, dev))
                    .cast()
            };
            // `ACPI_ROOT_OBJECT`, which describes nothing.
            (handle.addr() != usize::MAX).then_some(handle)
        }
    })
}

/// The module parameter `max_version`: the newest version to negotiate.
pub fn max_version() -> u32 {
    // SAFETY: Set when the module is loaded, and read-only afterwards.
    unsafe { bindings::rlis_vmbus_max_version }
}

callbacks! {
    fn probe(device: *mut bindings::platform_device) -> c_int {
        // SAFETY: The platform bus has called this with a device. Its companion shall have itself for one, as with the C bus:
        // drivers look for it there.
        unsafe {
            let companion = bindings::acpi_companion(&raw mut (*device).dev);
            if companion.is_null() {
                return ENODEV.to_errno();
            }
            bindings::acpi_companion_set(&raw mut (*companion).dev, companion);
            DEVICE.store(companion, Ordering::Release);
        }
        0
    }

    /// Suspends the bus; devices are suspended already.
    fn suspend(_device: *mut bindings::device) -> c_int {
        to_int(ops().and_then(|ops| ops.suspend()))
    }

    /// Resumes the bus, before its devices.
    fn resume(_device: *mut bindings::device) -> c_int {
        to_int(ops().and_then(|ops| ops.resume()))
    }
}

fn to_int(result: Result) -> c_int {
    result.map_or_else(|e| e.to_errno(), |()| 0)
}

static PM: Table<bindings::dev_pm_ops> = Table::new(noirq(suspend, resume));

const fn named(name: &[u8; 5]) -> bindings::acpi_device_id {
    let mut id: bindings::acpi_device_id = pin_init::zeroed();
    let mut at = 0;
    while at < name.len() {
        id.id[at] = name[at];
        at += 1;
    }
    id
}

/// The names that firmware gives the device, and the null that ends them. module_info.c has them for the loading of the module.
static NAMES: Table<[bindings::acpi_device_id; 3]> =
    Table::new([named(b"VMBUS"), named(b"VMBus"), pin_init::zeroed()]);

#[allow(clippy::disallowed_methods)] // `as_char_ptr` is not const.
static DRIVER: Table<bindings::platform_driver> = Table::new({
    let mut driver: bindings::platform_driver = pin_init::zeroed();
    driver.probe = Some(probe);
    driver.driver.name = c"vmbus".to_bytes_with_nul().as_ptr();
    driver.driver.acpi_match_table = NAMES.get().cast();
    driver.driver.pm = PM.get();
    driver.driver.probe_type = bindings::probe_type_PROBE_FORCE_SYNCHRONOUS;
    driver
});

/// The binding to the ACPI device.
pub struct RootDevice(());

impl RootDevice {
    /// Binds to the device `VMBUS` of the firmware, if there is one.
    ///
    /// # Errors
    ///
    /// `ENODEV` if there is none; those of registering a platform driver.
    pub fn bind() -> Result<Self> {
        // SAFETY: The driver is static.
        to_result(unsafe { bindings::vmbus_platform_driver_register(DRIVER.get()) })?;
        // Dropped, it unregisters the driver.
        let root = Self(());
        // Probing is synchronous.
        if device().is_null() {
            return Err(ENODEV);
        }
        Ok(root)
    }
}

impl Drop for RootDevice {
    fn drop(&mut self) {
        DEVICE.store(ptr::null_mut(), Ordering::Release);
        // SAFETY: Registered by `bind`.
        unsafe { bindings::platform_driver_unregister(DRIVER.get()) };
    }
}
