// SPDX-License-Identifier: GPL-2.0

//! What the hypervisor and the kernel say about this machine.

use rlis_proto::vmbus::machine::Machine;
use rlis_sys as bindings;

/// Whether the guest does not trust its host.
pub fn is_isolated() -> bool {
    // SAFETY: No requirements.
    unsafe { bindings::hv_is_isolation_supported() }
}

/// The bit that marks a guest-physical address as shared, or 0.
pub(crate) fn shared_gpa_boundary() -> u64 {
    bindings::hv_shared_gpa_boundary()
}

/// This guest's virtual trust level.
pub fn vtl() -> u8 {
    bindings::hv_vtl()
}

/// Whether the host lets the guest hibernate.
pub(crate) fn may_hibernate() -> bool {
    // SAFETY: No requirements.
    unsafe { bindings::hv_is_hibernation_supported() }
}

/// What the hypervisor and the kernel say about this machine.
pub fn machine() -> Machine {
    // SAFETY: No requirements; the variable is set at boot.
    unsafe {
        Machine {
            hyperv: bindings::hv_is_hyperv_initialized(),
            root_partition: bindings::vmbus_root_partition(),
            nested: bindings::hv_nested,
            paravisor: bindings::hv_paravisor_present(),
            snp: bindings::hv_isolation_type_snp(),
            tdx: bindings::hv_isolation_type_tdx(),
        }
    }
}
