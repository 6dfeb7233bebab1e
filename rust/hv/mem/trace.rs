// SPDX-License-Identifier: GPL-2.0

//! The tracepoint `hyperv:balloon_status`. What is in it: rust/sys/trace_mem.h.

use rlis_hv::tracepoint_is_on;
use rlis_proto::balloon::{
    MemoryState,
    Pressure, //
};

/// The host is about to be told of the memory. Any context.
#[inline(always)]
pub fn trace_status(memory: &MemoryState, pressure: &Pressure) {
    #[cold]
    fn tell(memory: &MemoryState, pressure: &Pressure) {
        rlis_sys::trace_balloon_status(
            // As the kernel reckons it, which may be below zero.
            memory.available as u64,
            pressure.committed,
            memory.committed as usize,
            memory.ballooned as usize,
            memory.added as usize,
            memory.onlined as usize,
        );
    }
    if tracepoint_is_on!(::rlis_sys::__tracepoint_balloon_status) {
        tell(memory, pressure);
    }
}
