// SPDX-License-Identifier: GPL-2.0

//! CPUs, as the host and its interrupts know them.

pub use rlis_hv::cpu::{
    count,
    node,
    online, //
};
pub(crate) use rlis_hv::cpu::{
    current,
    possible,
    present, //
};
use rlis_sys as bindings;

/// The CPU that gets the host's messages. It never goes offline while there is a connection: the host cannot
/// be told of another.
pub const CONNECT_CPU: u32 = 0;

/// Whether the CPU takes interrupts that the kernel may place.
pub(crate) fn is_housekeeping(cpu: u32) -> bool {
    bindings::cpu_housekeeping(cpu)
}

/// The hypervisor's number of a CPU.
pub fn vp_number(cpu: u32) -> u32 {
    bindings::hv_cpu_number_to_vp_number(cpu)
}
