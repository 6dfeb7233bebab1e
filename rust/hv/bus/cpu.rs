// SPDX-License-Identifier: GPL-2.0

//! CPUs.

use kernel::ffi::{
    c_int,
    c_uint, //
};
use rlis_sys as bindings;

/// The CPU that gets the host's messages. It never goes offline while there is a connection: the host cannot
/// be told of another.
pub const CONNECT_CPU: u32 = 0;

/// The number of CPUs that there can be.
pub fn count() -> u32 {
    bindings::vmbus_nr_cpu_ids()
}

/// The CPU that this runs on, as long as it stays there.
pub(crate) fn this() -> u32 {
    bindings::vmbus_smp_processor_id()
}

/// Whether the CPU takes interrupts that the kernel may place.
pub(crate) fn is_housekeeping(cpu: u32) -> bool {
    bindings::cpu_housekeeping(cpu)
}

fn iterate(next: extern "C" fn(c_int) -> c_uint) -> impl Iterator<Item = u32> {
    let mut at: c_int = -1;
    core::iter::from_fn(move || {
        let cpu = next(at);
        at = c_int::try_from(cpu).unwrap_or(c_int::MAX);
        (cpu < count()).then_some(cpu)
    })
}

/// All CPUs that are present.
pub fn present() -> impl Iterator<Item = u32> {
    iterate(bindings::next_present_cpu)
}

/// All CPUs that are online.
pub fn online() -> impl Iterator<Item = u32> {
    iterate(bindings::next_online_cpu)
}

/// The hypervisor's number of a CPU.
pub fn vp_number(cpu: u32) -> u32 {
    bindings::hv_cpu_number_to_vp_number(cpu)
}

/// The NUMA node of a CPU.
pub fn node(cpu: u32) -> i32 {
    bindings::cpu_to_node(cpu)
}
