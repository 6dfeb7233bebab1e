// SPDX-License-Identifier: GPL-2.0

//! Hibernation, kexec, crash and panic: where the kernel tells of them.

use crate::{
    cpu,
    hotplug,
    ops,
    synic, //
};
use kernel::ffi::{
    c_int,
    c_void, //
};
use rlis_hv::{
    callbacks,
    table::Table, //
};
use rlis_sys as bindings;

callbacks! {
    /// The kernel panics.
    fn on_panic(
        _block: *mut bindings::notifier_block,
        _reason: usize,
        _data: *mut c_void,
    ) -> c_int {
        panic();
        bindings::NOTIFY_DONE as c_int
    }
}

fn panic() {
    if let Ok(ops) = ops() {
        ops.panic();
    }
}

/// Nearly last: others still want to say something over the bus.
static PANIC: Table<bindings::notifier_block> = Table::new({
    let mut block: bindings::notifier_block = pin_init::zeroed();
    block.notifier_call = Some(on_panic);
    block.priority = c_int::MIN + 1;
    block
});

callbacks! {
    fn kexec() {
        if let Ok(ops) = ops() {
            ops.unload(false);
        }
        hotplug::disable_all();
    }

    /// A crash kernel is about to be started. Only this CPU can be cleaned up, which is enough for it.
    fn crash(_regs: *mut bindings::pt_regs) {
        panic();
        // SAFETY: Interrupts are off.
        unsafe { bindings::hv_stimer_cleanup(cpu::current()) };
        synic::disable_pages();
    }
}

// The SynIC of CPU 0, around the making and the loading of the image: all other CPUs are offline then.
callbacks! {
    #[cfg(RLIS_HAVE_SYSCORE_OBJECT)]
    fn suspend_synic(_data: *mut c_void) -> c_int {
        synic::disable_pages();
        0
    }

    #[cfg(RLIS_HAVE_SYSCORE_OBJECT)]
    fn resume_synic(_data: *mut c_void) {
        synic::enable(cpu::CONNECT_CPU);
    }

    #[cfg(not(RLIS_HAVE_SYSCORE_OBJECT))]
    fn suspend_synic() -> c_int {
        synic::disable_pages();
        0
    }

    #[cfg(not(RLIS_HAVE_SYSCORE_OBJECT))]
    fn resume_synic() {
        synic::enable(cpu::CONNECT_CPU);
    }
}

static SYNIC: Table<bindings::syscore_ops> = Table::new({
    let mut synic: bindings::syscore_ops = pin_init::zeroed();
    synic.suspend = Some(suspend_synic);
    synic.resume = Some(resume_synic);
    synic
});

#[cfg(RLIS_HAVE_SYSCORE_OBJECT)]
static SYSCORE: Table<bindings::syscore> = Table::new({
    let mut syscore: bindings::syscore = pin_init::zeroed();
    syscore.ops = SYNIC.get();
    syscore
});

/// The handlers for panic, kexec, crash and the suspend of CPU 0.
pub struct Handlers(());

impl Handlers {
    /// Sets them. The connection is established.
    pub fn set() -> Self {
        // SAFETY: The functions are what is expected; drop takes them back.
        unsafe {
            let list = &raw mut bindings::panic_notifier_list;
            // Of a list of this kind it never fails.
            let _ = bindings::atomic_notifier_chain_register(list, PANIC.get());
            bindings::hv_setup_kexec_handler(Some(kexec));
            bindings::hv_setup_crash_handler(Some(crash));
            #[cfg(RLIS_HAVE_SYSCORE_OBJECT)]
            bindings::register_syscore(SYSCORE.get());
            #[cfg(not(RLIS_HAVE_SYSCORE_OBJECT))]
            bindings::register_syscore_ops(SYNIC.get());
        }
        Self(())
    }
}

impl Drop for Handlers {
    fn drop(&mut self) {
        // SAFETY: Set by `set`.
        unsafe {
            #[cfg(RLIS_HAVE_SYSCORE_OBJECT)]
            bindings::unregister_syscore(SYSCORE.get());
            #[cfg(not(RLIS_HAVE_SYSCORE_OBJECT))]
            bindings::unregister_syscore_ops(SYNIC.get());
            bindings::hv_remove_kexec_handler();
            bindings::hv_remove_crash_handler();
            let list = &raw mut bindings::panic_notifier_list;
            bindings::atomic_notifier_chain_unregister(list, PANIC.get());
        }
    }
}
