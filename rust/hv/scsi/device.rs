// SPDX-License-Identifier: GPL-2.0

//! Devices on a SCSI host, `struct scsi_device`.

use core::ptr::NonNull;
use kernel::prelude::*;
use rlis_sys::scsi_device;

/// A device that has been found and is being set up, in [`HostOps::configure`](crate::HostOps::configure).
///
/// # Invariants
///
/// The device is valid, and only the caller of the function uses it.
pub struct DeviceSetup<'a>(&'a mut scsi_device);

impl<'a> DeviceSetup<'a> {
    /// Borrows a device.
    ///
    /// # Safety
    ///
    /// `raw` must be a valid device that nobody else uses for `'a`.
    pub(crate) unsafe fn from_raw(raw: *mut scsi_device) -> Self {
        // SAFETY: As required of the caller.
        // INVARIANT: As required of the caller.
        Self(unsafe { &mut *raw })
    }

    /// Returns whether the device's vendor, from its INQUIRY data, starts with `prefix`.
    pub fn vendor_starts_with(&self, prefix: &[u8]) -> bool {
        // SAFETY: By the type invariant the device is valid; `prefix` is as long as said.
        unsafe { rlis_sys::scsi_vendor_starts_with(self.0, prefix.as_ptr(), prefix.len()) }
    }

    /// Sets the time after which a request counts as late, in seconds.
    pub fn set_timeout(&mut self, seconds: u32) {
        let jiffies = kernel::time::msecs_to_jiffies(seconds.saturating_mul(1000));
        // SAFETY: The device has a request queue from the time it is set up until it is released.
        unsafe {
            rlis_sys::blk_queue_rq_timeout(
                self.0.request_queue,
                u32::try_from(jiffies).unwrap_or(u32::MAX),
            );
        }
    }

    /// Says that the device does not know REPORT SUPPORTED OPERATION CODES.
    pub fn set_no_report_opcodes(&mut self) {
        self.0.set_no_report_opcodes(1);
    }

    /// Says whether the device must not be sent WRITE SAME.
    pub fn set_no_write_same(&mut self, no: bool) {
        self.0.set_no_write_same(no.into());
    }

    /// Takes the device for one that conforms to SPC-3, whatever it says.
    pub fn set_spc3(&mut self) {
        // The constant is 6.
        self.0.scsi_level = rlis_sys::SCSI_SPC_3 as c_char;
    }
}

/// A reference to a device, and to the module that it needs.
///
/// # Invariants
///
/// The reference is ours, taken by `scsi_device_get`.
pub struct DeviceRef(NonNull<scsi_device>);

impl DeviceRef {
    /// Takes over a reference, `None` for a null pointer.
    ///
    /// # Safety
    ///
    /// `raw` must be null or come with a reference that the caller gives up.
    pub(crate) unsafe fn from_raw(raw: *mut scsi_device) -> Option<Self> {
        // INVARIANT: As required of the caller.
        NonNull::new(raw).map(Self)
    }

    /// Reads the device's properties anew, such as its capacity. Sleeps.
    pub fn rescan(&self) {
        // SAFETY: By the type invariant. A device that cannot be rescanned now is being removed, or suspended and
        // rescanned when that ends.
        unsafe { rlis_sys::scsi_rescan_device(self.0.as_ptr()) };
    }

    /// Removes the device from the system. Sleeps.
    pub fn remove(&self) {
        // SAFETY: By the type invariant.
        unsafe { rlis_sys::scsi_remove_device(self.0.as_ptr()) };
    }
}

impl Drop for DeviceRef {
    fn drop(&mut self) {
        // SAFETY: By the type invariant.
        unsafe { rlis_sys::scsi_device_put(self.0.as_ptr()) };
    }
}
