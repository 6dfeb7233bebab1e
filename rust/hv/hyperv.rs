// SPDX-License-Identifier: GPL-2.0

//! What the hypervisor has told the kernel of this virtual machine.

use rlis_sys as bindings;

/// Returns what the kernel asked the hypervisor for at boot. All zero where there is none.
pub fn info() -> &'static bindings::ms_hyperv_info {
    let info = &raw const bindings::ms_hyperv;
    // SAFETY: A variable of the kernel, which is set at boot, before modules are loaded, and does not change any more.
    unsafe { &*info }
}

/// Returns whether the guest does not trust its host.
pub fn is_isolated() -> bool {
    // SAFETY: No requirements.
    unsafe { bindings::hv_is_isolation_supported() }
}

/// Feeds the kernel's random numbers with the time of an interrupt of the hypervisor, for kernels that do not do so before they
/// call the handler. In hard interrupt context.
#[inline]
pub fn interrupt_randomness() {
    // SAFETY: Any number will do.
    unsafe { bindings::add_interrupt_randomness(bindings::HYPERVISOR_CALLBACK_VECTOR as i32) };
}
