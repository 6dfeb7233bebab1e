// SPDX-License-Identifier: GPL-2.0

//! Hibernation, kexec, crash and panic: where the kernel tells of them.

use crate::{
    cpu,
    hotplug,
    ops,
    synic, //
};
use kernel::{
    ffi::c_int,
    prelude::*, //
};
use rlis_sys as bindings;

/// Suspends the bus; devices are suspended already.
#[no_mangle]
extern "C" fn rlis_bus_suspend() -> c_int {
    to_int(ops().and_then(|ops| ops.suspend()))
}

/// Resumes the bus, before its devices.
#[no_mangle]
extern "C" fn rlis_bus_resume() -> c_int {
    to_int(ops().and_then(|ops| ops.resume()))
}

fn to_int(result: Result) -> c_int {
    result.map_or_else(|e| e.to_errno(), |()| 0)
}

/// CPU 0's SynIC before the image is made: all other CPUs are offline.
#[no_mangle]
extern "C" fn rlis_bus_synic_suspend() {
    synic::disable_pages();
}

/// CPU 0's SynIC after the image is loaded.
#[no_mangle]
extern "C" fn rlis_bus_synic_resume() {
    synic::enable(cpu::CONNECT_CPU);
}

/// The kernel panics.
#[no_mangle]
extern "C" fn rlis_bus_panic() {
    if let Ok(ops) = ops() {
        ops.panic();
    }
}

unsafe extern "C" fn kexec() {
    if let Ok(ops) = ops() {
        ops.unload(false);
    }
    hotplug::disable_all();
}

/// A crash kernel is about to be started. Only this CPU can be cleaned up, which is enough for it.
unsafe extern "C" fn crash(_regs: *mut bindings::pt_regs) {
    rlis_bus_panic();
    // SAFETY: Interrupts are off.
    unsafe { bindings::stimer_cleanup_cpu(bindings::vmbus_smp_processor_id()) };
    synic::disable_pages();
}

/// The handlers for panic, kexec, crash and the suspend of CPU 0.
pub struct Handlers(());

impl Handlers {
    /// Sets them. The connection is established.
    pub fn set() -> Self {
        // SAFETY: The functions are what is expected; drop takes them back.
        unsafe {
            bindings::vmbus_panic_notifier(true);
            bindings::hv_setup_kexec_handler(Some(kexec));
            bindings::hv_setup_crash_handler(Some(crash));
            bindings::vmbus_syscore(true);
        }
        Self(())
    }
}

impl Drop for Handlers {
    fn drop(&mut self) {
        // SAFETY: Set by `set`.
        unsafe {
            bindings::vmbus_syscore(false);
            bindings::hv_remove_kexec_handler();
            bindings::hv_remove_crash_handler();
            bindings::vmbus_panic_notifier(false);
        }
    }
}
