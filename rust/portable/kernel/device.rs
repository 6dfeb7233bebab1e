// SPDX-License-Identifier: GPL-2.0

//! `struct device` for the portable tree: a reference-counted device that the `dev_*!` macros print with.
//!
//! The kernel crate's device also carries the driver model's state, which stands on C structs that differ from
//! kernel to kernel.
//!
//! C header: `include/linux/device.h`

use crate::{
    bindings,
    fmt,
    print::line::Line,
    str::CStrExt as _,
    sync::aref::AlwaysRefCounted,
    types::Opaque, //
};

use core::ptr::NonNull;

/// A C `struct device`.
///
/// # Invariants
///
/// Has a reference count above zero as long as there is a Rust reference to it.
#[repr(transparent)]
pub struct Device(Opaque<bindings::device>);

// SAFETY: A device may be released by any thread.
unsafe impl Send for Device {}
// SAFETY: What the methods do is allowed for any number of threads at once.
unsafe impl Sync for Device {}

impl Device {
    /// # Safety
    ///
    /// `ptr` points to a valid device, whose reference count stays above zero for `'a`.
    pub unsafe fn from_raw<'a>(ptr: *mut bindings::device) -> &'a Self {
        // SAFETY: By the safety requirement; `Device` is transparent over it.
        unsafe { &*ptr.cast() }
    }

    /// The C struct.
    pub fn as_raw(&self) -> *mut bindings::device {
        self.0.get()
    }

    /// Its name, as in sysfs.
    pub fn name(&self) -> &crate::str::CStr {
        // SAFETY: By the type invariant the device is valid, and its name stays while it is.
        unsafe { crate::str::CStr::from_char_ptr(bindings::dev_name(self.as_raw())) }
    }

    /// Prints a line of a level, one of the `KERN_*` strings, prefixed with driver and device.
    #[doc(hidden)]
    pub fn print(&self, level: &[u8; 3], args: fmt::Arguments<'_>) {
        let line = Line::new(args);
        // SAFETY: Level, format and line are C strings, and the device is valid by the type invariant.
        unsafe {
            bindings::_dev_printk(
                level.as_ptr().cast(),
                self.as_raw(),
                c"%s".as_char_ptr(),
                line.as_ptr(),
            )
        };
    }
}

impl AsRef<Device> for Device {
    fn as_ref(&self) -> &Device {
        self
    }
}

// SAFETY: The device's own reference count.
unsafe impl AlwaysRefCounted for Device {
    fn inc_ref(&self) {
        // SAFETY: By the type invariant the device is valid.
        unsafe { bindings::get_device(self.as_raw()) };
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: The caller gives up a reference.
        unsafe { bindings::put_device(obj.as_ref().as_raw()) };
    }
}

/// Prints a line of the level `KERN_…`, prefixed with driver and device.
#[doc(hidden)]
#[macro_export]
macro_rules! dev_print_level {
    ($level:ident, $dev:expr, $($f:tt)*) => {{
        let dev: &$crate::device::Device = $dev.as_ref();
        dev.print($crate::bindings::$level, $crate::prelude::fmt!($($f)*))
    }};
}

/// Prints an emergency line (level 0) about a device.
#[macro_export]
macro_rules! dev_emerg { ($($f:tt)*) => { $crate::dev_print_level!(KERN_EMERG, $($f)*) } }

/// Prints an alert (level 1) about a device.
#[macro_export]
macro_rules! dev_alert { ($($f:tt)*) => { $crate::dev_print_level!(KERN_ALERT, $($f)*) } }

/// Prints a critical line (level 2) about a device.
#[macro_export]
macro_rules! dev_crit { ($($f:tt)*) => { $crate::dev_print_level!(KERN_CRIT, $($f)*) } }

/// Prints an error (level 3) about a device.
#[macro_export]
macro_rules! dev_err { ($($f:tt)*) => { $crate::dev_print_level!(KERN_ERR, $($f)*) } }

/// Prints a warning (level 4) about a device.
#[macro_export]
macro_rules! dev_warn { ($($f:tt)*) => { $crate::dev_print_level!(KERN_WARNING, $($f)*) } }

/// Prints a notice (level 5) about a device.
#[macro_export]
macro_rules! dev_notice { ($($f:tt)*) => { $crate::dev_print_level!(KERN_NOTICE, $($f)*) } }

/// Prints an informational line (level 6) about a device.
#[macro_export]
macro_rules! dev_info { ($($f:tt)*) => { $crate::dev_print_level!(KERN_INFO, $($f)*) } }

/// Prints a debug line (level 7) about a device, with debug assertions only.
#[macro_export]
macro_rules! dev_dbg {
    ($($f:tt)*) => {
        if cfg!(debug_assertions) {
            $crate::dev_print_level!(KERN_DEBUG, $($f)*)
        }
    };
}
