// SPDX-License-Identifier: GPL-2.0

//! CPUs that come and go: their SynIC, and which of them serve channels.
//!
//! A CPU serves channels between `comes_online` and the beginning of `goes_offline`. The flag
//! that says so changes under the lock of channels, so that no channel is placed on a CPU that is leaving.

use crate::{
    channel::{
        self,
        ChannelLock, //
    },
    cpu,
    lock::Retargeting,
    ops,
    synic::{
        self,
        context,
        Context, //
    }, //
};
use core::{
    ptr,
    sync::atomic::{
        AtomicU64,
        Ordering, //
    }, //
};
use kernel::{
    ffi::{
        c_int,
        c_uint,
        c_void, //
    },
    prelude::*, //
};
use rlis_hv::{
    callbacks,
    view::Callback, //
};
use rlis_proto::vmbus::VMBUS_MESSAGE_SINT;
use rlis_sys as bindings;

/// CPUs that there can be: the kernel's own limit for x86.
pub const MAX_CPUS: usize = 8192;

static SERVING: [AtomicU64; MAX_CPUS / 64] = [const { AtomicU64::new(0) }; MAX_CPUS / 64];

fn serving_word(cpu: u32) -> Option<(&'static AtomicU64, u64)> {
    Some((SERVING.get((cpu / 64) as usize)?, 1 << (cpu % 64)))
}

/// Says whether channels may be placed on a CPU. Under the lock of channels, so that none is placed on one that leaves.
pub fn set_serving(cpu: u32, on: bool, _lock: &ChannelLock) {
    if let Some((word, bit)) = serving_word(cpu) {
        if on {
            word.fetch_or(bit, Ordering::Relaxed);
        } else {
            word.fetch_and(!bit, Ordering::Relaxed);
        }
    }
}

/// Whether channels may be placed on the CPU.
fn is_serving(cpu: u32) -> bool {
    serving_word(cpu).is_some_and(|(word, bit)| word.load(Ordering::Relaxed) & bit != 0)
}

/// Whether the CPU takes interrupts that the kernel may place, and serves channels.
pub fn may_serve(cpu: u32) -> bool {
    is_serving(cpu) && cpu::is_housekeeping(cpu)
}

/// The registration of the hotplug callbacks. While it exists, the SynIC is on on all CPUs that are online.
pub struct Hotplug(());

impl Hotplug {
    /// Enables the SynIC on all CPUs that are online, and on others when they come online.
    ///
    /// CPUs do so side by side, with an interrupt each: the registers take the hypervisor a while, and there may be hundreds
    /// of CPUs. Where a CPU's timer hangs on the SynIC, they do so one after the other, as that has to be done in a task.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if a CPU was not present when the pages were allocated; those of `cpuhp_setup_state`.
    pub fn new() -> Result<Self> {
        // No CPU comes or goes from the first step to the last.
        let _cpus = Retargeting::begin();
        let one_by_one = timers_need_bus();
        if !one_by_one {
            if !cpu::online().filter_map(context).all(Context::is_ready) {
                return Err(ENOMEM);
            }
            on_each_cpu(enable_here);
        }
        // SAFETY: The callbacks are those below; the pages exist; the lock of CPUs is held.
        let state = unsafe {
            bindings::__cpuhp_setup_state_cpuslocked(
                bindings::cpuhp_state_CPUHP_AP_ONLINE_DYN,
                c"hyperv/vmbus:online".as_char_ptr(),
                one_by_one,
                Some(comes_online),
                Some(goes_offline),
                false,
            )
        };
        if state < 0 {
            if !one_by_one {
                on_each_cpu(disable_here);
            }
            return Err(Error::from_errno(state));
        }
        if !one_by_one {
            let list = channel::lock();
            cpu::online().for_each(|cpu| set_serving(cpu, true, &list));
        }
        STATE.store(state as u32, Ordering::Relaxed);
        Ok(Self(()))
    }
}

/// Whether the kernel takes its time from timers that expire with messages.
fn timers_need_bus() -> bool {
    bindings::stimer_needs_bus()
}

/// Has a function run on all CPUs that are online, in an interrupt, and waits for that. Sleeps; CPUs neither come nor go.
fn on_each_cpu(function: Callback<*mut c_void>) {
    // SAFETY: The functions are those below, which ignore their argument.
    unsafe {
        let online = &raw const bindings::__cpu_online_mask;
        bindings::on_each_cpu_cond_mask(None, Some(function), ptr::null_mut(), true, online);
    }
}

/// Keeps the module loaded if the kernel takes its time from timers that only this bus can hear.
///
/// The kernel may not find another timer for the boot CPU: its local APIC's serves all CPUs by then, as the broadcast
/// device. A CPU without a timer stands still.
pub fn stay_for_timers() {
    if timers_need_bus() {
        pr_info!("the host's timers expire with messages, so this module cannot be unloaded\n");
        // It is being loaded, and so has a reference that is not given up yet.
        bindings::vmbus_stay_loaded();
    }
}

/// The hotplug state, for kexec.
static STATE: core::sync::atomic::AtomicU32 = core::sync::atomic::AtomicU32::new(0);

/// Disables the SynIC on all CPUs, after the connection has ended.
pub fn disable_all() {
    let state = STATE.swap(0, Ordering::Relaxed);
    if state != 0 {
        // SAFETY: `Hotplug::new` made the state, and it is removed once.
        unsafe { bindings::__cpuhp_remove_state(state as c_int, true) };
    }
}

impl Drop for Hotplug {
    fn drop(&mut self) {
        disable_all();
    }
}

callbacks! {
    /// Enables the SynIC of this CPU, whose pages there are. With interrupts off.
    fn enable_here(_nothing: *mut c_void) {
        synic::enable(cpu::current());
    }

    /// Undoes that.
    fn disable_here(_nothing: *mut c_void) {
        synic::disable();
    }

    /// The CPU has come online. Runs on it.
    fn comes_online(cpu: c_uint) -> c_int {
        if !context(cpu).is_some_and(Context::is_ready) {
            // It was not present when the bus was loaded.
            return ENOMEM.to_errno();
        }
        synic::enable(cpu);
        // SAFETY: The CPU's SynIC is set up, and this runs on it.
        unsafe { bindings::stimer_messages_on(cpu, c_int::from(VMBUS_MESSAGE_SINT)) };
        set_serving(cpu, true, &channel::lock());
        0
    }

    /// The CPU is about to go offline. Runs on it. An error keeps it online.
    fn goes_offline(cpu: c_uint) -> c_int {
        if let Err(e) = ops().and_then(|ops| ops.cpu_leaves(cpu)) {
            set_serving(cpu, true, &channel::lock());
            return e.to_errno();
        }
        set_serving(cpu, false, &channel::lock());
        // SAFETY: This runs on the CPU, whose SynIC is still set up.
        unsafe { bindings::stimer_messages_off(cpu) };
        synic::disable();
        0
    }
}
