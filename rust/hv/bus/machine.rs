// SPDX-License-Identifier: GPL-2.0

//! What the hypervisor and the kernel say about this machine.

use rlis_hv::hyperv::info;
pub use rlis_hv::hyperv::is_isolated;
use rlis_proto::vmbus::machine::Machine;
use rlis_sys as bindings;

/// The bit that marks a guest-physical address as shared, or 0.
pub(crate) fn shared_gpa_boundary() -> u64 {
    info().shared_gpa_boundary
}

/// This guest's virtual trust level.
#[cfg(RLIS_HAVE_VTL)]
pub fn vtl() -> u8 {
    info().vtl
}
/// This guest's virtual trust level: the lowest, in which alone an older kernel runs.
#[cfg(not(RLIS_HAVE_VTL))]
pub fn vtl() -> u8 {
    0
}

/// What the hypervisor and the kernel say about this machine.
pub fn machine() -> Machine {
    // SAFETY: No requirements; the variables are set at boot.
    unsafe {
        #[cfg(RLIS_HAVE_ROOT_PARTITION_FUNCTION)]
        let root_partition =
            bindings::hv_curr_partition_type == bindings::hv_partition_type_HV_PARTITION_TYPE_ROOT;
        #[cfg(not(RLIS_HAVE_ROOT_PARTITION_FUNCTION))]
        let root_partition = bindings::hv_root_partition;
        Machine {
            hyperv: bindings::hv_is_hyperv_initialized(),
            root_partition,
            nested: bindings::hv_is_nested(),
            paravisor: bindings::hv_paravisor_present(),
            snp: bindings::hv_isolation_type_snp(),
            tdx: bindings::hv_isolation_type_tdx(),
        }
    }
}
