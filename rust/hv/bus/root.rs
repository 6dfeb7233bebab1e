// SPDX-License-Identifier: GPL-2.0

//! The bus's own device, which ACPI describes.

use core::sync::atomic::{
    AtomicPtr,
    Ordering, //
};
use kernel::{
    error::to_result,
    prelude::*, //
};
use rlis_sys as bindings;

static DEVICE: AtomicPtr<bindings::device> = AtomicPtr::new(core::ptr::null_mut());

/// The root device, parent of all devices; null while there is no bus.
pub(crate) fn device() -> *mut bindings::device {
    DEVICE.load(Ordering::Acquire)
}

/// The module parameter `max_version`: the newest version to negotiate.
pub fn max_version() -> u32 {
    // SAFETY: Set when the module is loaded, and read-only afterwards.
    unsafe { bindings::vmbus_max_version() }
}

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
        to_result(unsafe { bindings::platform_register() })?;
        let root = Self(());
        // SAFETY: The driver is registered; probing is synchronous.
        let device = unsafe { bindings::platform_device() };
        if device.is_null() {
            return Err(ENODEV);
        }
        DEVICE.store(device, Ordering::Release);
        Ok(root)
    }
}

impl Drop for RootDevice {
    fn drop(&mut self) {
        DEVICE.store(core::ptr::null_mut(), Ordering::Release);
        // SAFETY: Registered by `bind`.
        unsafe { bindings::platform_unregister() };
    }
}
