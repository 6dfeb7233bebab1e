// SPDX-License-Identifier: GPL-2.0

//! CPUs and memory nodes, as far as queues are spread over them.

/// Returns the CPU that this runs on; another one the next moment, unless preemption is off.
#[inline]
pub fn current_cpu() -> u32 {
    // SAFETY: No requirements.
    unsafe { rlis_sys::scsi_current_cpu() }
}

/// Returns one more than the highest CPU number there can be.
pub fn cpu_ids() -> u32 {
    // SAFETY: Set during boot and never changed.
    unsafe { rlis_sys::nr_cpu_ids }
}

/// Returns how many CPUs are online.
pub fn online_cpus() -> u32 {
    // SAFETY: No requirements.
    unsafe { rlis_sys::scsi_online_cpus() }
}

/// Returns how many CPUs are present.
pub fn present_cpus() -> u32 {
    // SAFETY: No requirements.
    unsafe { rlis_sys::scsi_present_cpus() }
}

/// Returns the memory node of a CPU below [`cpu_ids`], and of any other -1.
pub fn node_of(cpu: u32) -> i32 {
    // SAFETY: The function checks the number.
    unsafe { rlis_sys::scsi_node_of_cpu(cpu) }
}
