// SPDX-License-Identifier: GPL-2.0

//! Devices on a SCSI host, `struct scsi_device`.

use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    error::to_result,
    prelude::*, //
};
use rlis_sys::scsi_device;

/// A device that has been found and is being set up, in [`HostOps::configure`](crate::HostOps::configure).
///
/// The mid-layer has it on its lists already, so others may read it; hence a pointer, and no reference to the whole. What is
/// set here nobody looks at before it is set up, or writes besides.
///
/// # Invariants
///
/// The device is valid for `'a`, and its function `sdev_configure` is being called.
pub struct DeviceSetup<'a> {
    raw: NonNull<scsi_device>,
    _device: PhantomData<&'a scsi_device>,
}

impl DeviceSetup<'_> {
    /// Borrows a device.
    ///
    /// # Safety
    ///
    /// `raw` must be valid for `'a`, and its function `sdev_configure` be called by this thread all the time.
    pub(crate) unsafe fn from_raw(raw: NonNull<scsi_device>) -> Self {
        // INVARIANT: As required of the caller.
        Self {
            raw,
            _device: PhantomData,
        }
    }

    /// Returns whether the device's vendor, from its INQUIRY data, starts with `prefix`.
    pub fn vendor_starts_with(&self, prefix: &[u8]) -> bool {
        // SAFETY: By the type invariant the device is valid; `prefix` is as long as said.
        unsafe {
            rlis_sys::scsi_vendor_starts_with(self.raw.as_ptr(), prefix.as_ptr(), prefix.len())
        }
    }

    /// Sets the time after which a request counts as late, in seconds.
    pub fn set_timeout(&mut self, seconds: u32) {
        let jiffies = kernel::time::msecs_to_jiffies(seconds.saturating_mul(1000));
        // SAFETY: By the type invariant the device is valid. It has a request queue from the time it is set up until it
        // is released.
        unsafe {
            rlis_sys::blk_queue_rq_timeout(
                (*self.raw.as_ptr()).request_queue,
                u32::try_from(jiffies).unwrap_or(u32::MAX),
            );
        }
    }

    /// Says that the device does not know REPORT SUPPORTED OPERATION CODES.
    pub fn set_no_report_opcodes(&mut self) {
        // SAFETY: By the type invariant.
        unsafe { rlis_sys::scsi_set_no_report_opcodes(self.raw.as_ptr()) };
    }

    /// Says whether the device must not be sent WRITE SAME.
    pub fn set_no_write_same(&mut self, no: bool) {
        // SAFETY: By the type invariant.
        unsafe { rlis_sys::scsi_set_no_write_same(self.raw.as_ptr(), no) };
    }

    /// Takes the device for one that conforms to SPC-3, whatever it says.
    pub fn set_spc3(&mut self) {
        // SAFETY: By the type invariant the device is valid, and being set up, when nobody else writes the level. The
        // constant is 6.
        unsafe { (*self.raw.as_ptr()).scsi_level = rlis_sys::SCSI_SPC_3 as c_char };
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

    /// Returns channel, target and LUN.
    pub fn address(&self) -> (u32, u32, u64) {
        // SAFETY: By the type invariant. The address does not change.
        unsafe {
            let raw = self.0.as_ptr();
            ((*raw).channel, (*raw).id, (*raw).lun)
        }
    }

    /// Copies VPD page 83h, as the mid-layer has it from when it found the device or read it anew, to the beginning of
    /// `page`, and returns its length. Nothing is sent.
    ///
    /// # Errors
    ///
    /// `ENODATA` if it has none.
    pub fn known_identification(&self, page: &mut [u8]) -> Result<usize> {
        // SAFETY: By the type invariant; the buffer is as long as said.
        let len = unsafe {
            rlis_sys::scsi_known_vpd_pg83(self.0.as_ptr(), page.as_mut_ptr(), page.len())
        };
        if len == 0 {
            return Err(ENODATA);
        }
        Ok(len)
    }

    /// Asks the device for VPD page 83h, and puts it to the beginning of `page`; what lies behind it there is 0. Sleeps.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the device does not give it.
    pub fn read_identification(&self, page: &mut KVec<u8>) -> Result {
        let len = c_int::try_from(page.len())?;
        // SAFETY: By the type invariant. The buffer is as long as said, and as an allocation of its own fit for DMA.
        to_result(unsafe {
            rlis_sys::scsi_get_vpd_page(self.0.as_ptr(), 0x83, page.as_mut_ptr(), len)
        })
    }

    /// From now on all that is to be sent to the device fails (`SDEV_OFFLINE`), what removing it would send as well. Sleeps.
    pub fn set_offline(&self) {
        // SAFETY: By the type invariant. A device that cannot be set offline is being removed, or is offline.
        unsafe { rlis_sys::scsi_set_offline(self.0.as_ptr()) };
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
