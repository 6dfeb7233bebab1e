// SPDX-License-Identifier: GPL-2.0

//! From the hypervisor's interrupt to a driver's callback.

use crate::{
    channel::{
        table::{
            self,
            Found,
            Table, //
        },
        Channel, //
    },
    ring,
    synic::{
        self,
        Context, //
    }, //
};
use core::sync::atomic::Ordering;
use kernel::{
    ffi::c_ulong,
    prelude::*,
    sync::{
        rcu,
        Arc, //
    }, //
};
use rlis_hv::{
    callbacks,
    contains,
    cpu_threads::{
        CpuThreads,
        CpuWork, //
    },
    hyperv,
    table::TaskletData,
    RcuArc, //
};
use rlis_sys as bindings;

/// How long a ring is left alone whose index the host has written makes no sense, in milliseconds.
const LOOK_AGAIN_MS: u32 = 500;

/// The interrupt handler, called in hard interrupt context on the CPU that got the interrupt.
///
/// All of it is [`rlis_bus_isr`], but under `PREEMPT_RT`, where that takes locks that sleep: only what has to be done at once is
/// done here then.
#[no_mangle]
pub(crate) extern "C" fn vmbus_isr() {
    if cfg!(CONFIG_PREEMPT_RT) {
        expire_timer_and_wake();
    } else {
        bindings::isr_run();
    }
    if cfg!(RLIS_HAVE_STIMER_MESSAGES) {
        hyperv::interrupt_randomness();
    }
}

/// Tells the clock event device if its timer has expired, and leaves what else there is to this CPU's thread, which need not
/// wake up for each tick of a clock.
fn expire_timer_and_wake() {
    let context = synic::this_context();
    let rcu = rcu::read_lock();
    synic::take_timer_message(context, &rcu);
    if synic::has_message(context, &rcu) || synic::has_events_of(context, &rcu) {
        if let Some(threads) = THREADS.get(&rcu) {
            threads.wake();
        }
    }
}

/// The threads that do the work of the handler under `PREEMPT_RT`, where that takes locks that sleep, and calls drivers that do:
/// the vector itself is never threaded.
static THREADS: RcuArc<CpuThreads<Isr>> = RcuArc::new();

struct Isr;

impl CpuWork for Isr {
    const NAME: &'static CStr = c"vmbus_irq/%u";

    fn threads() -> &'static RcuArc<CpuThreads<Self>> {
        &THREADS
    }

    fn run() {
        rlis_bus_isr();
    }
}

/// What the interrupt handler does for channels and messages. With interrupts off, or, under `PREEMPT_RT`, in a thread of the
/// CPU with softirqs disabled.
#[no_mangle]
extern "C" fn rlis_bus_isr() {
    let context = synic::this_context();
    let rcu = rcu::read_lock();
    // In a thread it is for the interrupt that a timer's message comes with.
    if !cfg!(CONFIG_PREEMPT_RT) {
        synic::take_timer_message(context, &rcu);
    }
    schedule_channels(context, &rcu);
    if synic::has_message(context, &rcu) {
        context.msg_dpc().schedule();
    }
}

/// Schedules the callback of each channel whose event flag is set.
fn schedule_channels(context: &Context, rcu: &rcu::Guard) {
    let (Some(flags), Some(table)) = (context.event_flags(rcu), table::get(rcu)) else {
        return;
    };
    let last = table.hiwater() / 64;
    for (n, word) in (0u32..).zip(flags.iter()).take(last as usize + 1) {
        if word.load(Ordering::Relaxed) == 0 {
            continue;
        }
        // One exchange for 64 channels. It orders the handling of the events after the clearing of their
        // flags, so that an event that comes later sets its flag again.
        let mut pending = word.swap(0, Ordering::SeqCst);
        if n == 0 {
            // Flag 0 announces messages, which are looked at in any case.
            pending &= !1;
        }
        while pending != 0 {
            let bit = pending.trailing_zeros();
            pending &= pending - 1;
            schedule_channel(table, n * 64 + bit, rcu);
        }
    }
}

#[inline]
fn schedule_channel(table: &Table, relid: u32, rcu: &rcu::Guard) {
    if let Some(channel) = table.find(relid, rcu) {
        channel.interrupted();
    }
}

impl Found<'_> {
    /// Has the driver's callback called, or calls it. Where the lock of its callback needs no more to keep interrupts out:
    /// with interrupts off, or in the one thread that handles them.
    #[inline]
    fn interrupted(&self) {
        let channel = self.fields();
        if channel.is_withdrawn() {
            return;
        }
        let _guard = channel.sched_lock().lock_irqs_off();
        // SAFETY: The lock is held to the end.
        let Some(active) = (unsafe { channel.active() }) else {
            return;
        };
        channel.trace_scheduled();
        channel.interrupts().count();
        match channel.callback_mode().get() {
            bindings::vmbus_channel_hv_callback_mode_HV_CALL_ISR => active.call(),
            mode => {
                if mode == bindings::vmbus_channel_hv_callback_mode_HV_CALL_BATCHED {
                    active.mask_interrupts();
                }
                channel.callback_event().schedule();
            }
        }
    }
}

/// The tasklet of a channel: calls the driver's callback.
///
/// For a batched channel the host's interrupts are masked meanwhile. When the callback has read everything it
/// is unmasked; if something came in between, the tasklet runs again. If the host's index makes no sense, it runs
/// again after a while: of what the host writes until then, no signal may come.
fn on_event(channel: &Channel) {
    channel.trace_event();
    // SAFETY: This is the tasklet.
    let Some(active) = (unsafe { channel.active() }) else {
        return;
    };
    active.call();
    let batched =
        channel.callback_mode().get() == bindings::vmbus_channel_hv_callback_mode_HV_CALL_BATCHED;
    let Some(reader) = active.reader() else {
        return;
    };
    let contents = if batched {
        reader.unmask_interrupts()
    } else {
        reader.contents()
    };
    match contents {
        ring::Contents::Packets if batched => {
            reader.mask_interrupts();
            channel.callback_event().schedule();
        }
        ring::Contents::Unknown => channel.look_again(LOOK_AGAIN_MS),
        // Without batches, a driver that has not read everything waits for the next signal.
        ring::Contents::Nothing | ring::Contents::Packets => {}
    }
}

// SAFETY: The only tasklets with such a function are those of channels, which have their channel's address.
unsafe impl TaskletData for Channel {}

contains! {
    // SAFETY: The only timers with such a function are those of channels.
    unsafe {
        Channel: bindings::timer_list = bindings::rlis_channel, look_again;
    }
}

callbacks! {
    /// The tasklet of a channel.
    #[no_mangle]
    fn rlis_bus_on_event(channel: c_ulong => &Channel) {
        on_event(channel);
    }

    /// The timer of [`Fields::look_again`](crate::channel::Fields::look_again).
    #[no_mangle]
    fn rlis_bus_look_again(channel: *mut bindings::timer_list => &Channel) {
        channel.callback_event().schedule();
    }
}

/// The interrupt handler, with its threads where it has any. Dropping it removes the handler; no interrupt comes any more by
/// then. Sleeps.
pub struct Handler(());

impl Handler {
    /// Sets it. There are [`synic::Pages`]. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, where threads are needed.
    pub fn set() -> Result<Self> {
        if cfg!(CONFIG_PREEMPT_RT) {
            let threads = Arc::pin_init(CpuThreads::new(), GFP_KERNEL)?;
            drop(THREADS.replace(Some(threads)));
        }
        // SAFETY: There is none yet. The handler may be called from here on, and finds the pages, and its threads: a CPU that
        // comes online gets its own before its SynIC is enabled.
        unsafe { bindings::hv_setup_vmbus_handler(Some(vmbus_isr)) };
        Ok(Self(()))
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        // SAFETY: Set by `set`. The SynIC is off on all CPUs.
        unsafe { bindings::hv_remove_vmbus_handler() };
        if cfg!(CONFIG_PREEMPT_RT) {
            drop(THREADS.replace(None));
        }
    }
}
