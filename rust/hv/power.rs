// SPDX-License-Identifier: GPL-2.0

//! Powering off and restarting through user space.
//!
//! C header: [`include/linux/reboot.h`](srctree/include/linux/reboot.h)

/// Has init power the system off; the kernel does it itself if that cannot be started. May sleep.
pub fn orderly_poweroff() {
    // SAFETY: No requirements.
    unsafe { rlis_sys::orderly_poweroff(true) };
}

/// Has init restart the system; the kernel does it itself if that cannot be started. May sleep.
pub fn orderly_reboot() {
    // SAFETY: No requirements.
    unsafe { rlis_sys::orderly_reboot() };
}

/// Returns whether the virtual machine may hibernate: the host has turned on its virtual ACPI S4 state. May sleep.
pub fn hibernation_supported() -> bool {
    // SAFETY: No requirements.
    unsafe { rlis_sys::hv_is_hibernation_supported() }
}
