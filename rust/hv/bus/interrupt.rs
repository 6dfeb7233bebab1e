// SPDX-License-Identifier: GPL-2.0

//! From the hypervisor's interrupt to a driver's callback.

use crate::{
    channel::{
        self,
        Channel, //
    },
    lock::RcuGuard,
    ring,
    synic, //
};
use core::{
    ptr,
    sync::atomic::{
        AtomicU32,
        Ordering, //
    }, //
};
use rlis_sys as bindings;

/// How long a ring is left alone whose index the host has written makes no sense, in milliseconds.
const LOOK_AGAIN_MS: u32 = 500;

/// The interrupt handler, called with interrupts off on the CPU that got the interrupt.
#[no_mangle]
pub(crate) unsafe extern "C" fn vmbus_isr() {
    // SAFETY: The function below is what it expects.
    unsafe { bindings::isr_annotated(Some(isr)) };
}

unsafe extern "C" fn isr() {
    // SAFETY: Interrupts are off, so that this stays on its CPU; the handler is set after the contexts exist.
    let context = unsafe { bindings::hv_this_cpu_context() };
    schedule_channels(context);
    // Behind a timer's message the next comes with an interrupt of its own.
    if !synic::take_timer_message(context) && synic::has_message(context) {
        // SAFETY: The tasklet is initialised with the context.
        unsafe { bindings::tasklet_schedule(&raw mut (*context).msg_dpc) };
    }
    if cfg!(RLIS_HAVE_STIMER_MESSAGES) {
        // SAFETY: In the interrupt handler.
        unsafe { bindings::vmbus_interrupt_randomness() };
    }
}

/// Schedules the callback of each channel whose event flag is set.
fn schedule_channels(context: *mut bindings::hv_per_cpu_context) {
    let Some(flags) = synic::event_flags(context) else {
        return;
    };
    // SAFETY: Written atomically before a channel can have interrupts.
    let last = unsafe { AtomicU32::from_ptr(&raw mut bindings::rlis_relid_hiwater) }
        .load(Ordering::Relaxed)
        / 64;
    let rcu = RcuGuard::new();
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
            schedule_channel(n * 64 + bit, &rcu);
        }
    }
}

fn schedule_channel(relid: u32, _rcu: &RcuGuard) {
    let Some(channel) = channel::lookup(relid) else {
        return;
    };
    let c = channel.as_ptr();
    // SAFETY: The memory stays valid for the RCU section. The ring stays while there is a callback, which is
    // reset under `sched_lock` before the ring is freed.
    unsafe {
        if ptr::read_volatile(&raw const (*c).rescind) {
            return;
        }
        bindings::spin_lock(&raw mut (*c).sched_lock);
        if let Some(callback) = (*c).onchannel_callback {
            (*c).interrupts += 1;
            match (*c).callback_mode {
                bindings::vmbus_channel_hv_callback_mode_HV_CALL_ISR => {
                    callback((*c).channel_callback_context);
                }
                mode => {
                    if mode == bindings::vmbus_channel_hv_callback_mode_HV_CALL_BATCHED {
                        ring::mask_interrupts(&raw const (*c).inbound);
                    }
                    bindings::tasklet_schedule(&raw mut (*c).callback_event);
                }
            }
        }
        bindings::spin_unlock(&raw mut (*c).sched_lock);
    }
}

/// The tasklet of a channel: calls the driver's callback.
///
/// For a batched channel the host's interrupts are masked meanwhile. When the callback has read everything it
/// is unmasked; if something came in between, the tasklet runs again. If the host's index makes no sense, it runs
/// again after a while: of what the host writes until then, no signal may come.
#[no_mangle]
unsafe extern "C" fn rlis_bus_on_event(channel: usize) {
    let c = ptr::with_exposed_provenance_mut::<bindings::vmbus_channel>(channel);
    // SAFETY: The tasklet is killed before its channel is freed, and disabled before its ring is.
    unsafe {
        let Some(callback) = ptr::read_volatile(&raw const (*c).onchannel_callback) else {
            return;
        };
        callback((*c).channel_callback_context);
        let batched =
            (*c).callback_mode == bindings::vmbus_channel_hv_callback_mode_HV_CALL_BATCHED;
        let Some(reader) = ring::Reader::of(Channel::from_raw(c)) else {
            return;
        };
        let contents = if batched {
            reader.unmask_interrupts()
        } else {
            reader.contents()
        };
        match contents {
            ring::Contents::Packets if batched => {
                ring::mask_interrupts(&raw const (*c).inbound);
                bindings::tasklet_schedule(&raw mut (*c).callback_event);
            }
            ring::Contents::Unknown => bindings::channel_look_again(c, LOOK_AGAIN_MS),
            // Without batches, a driver that has not read everything waits for the next signal.
            ring::Contents::Nothing | ring::Contents::Packets => {}
        }
    }
}

/// The interrupt handler. Dropping it removes the handler; no interrupt comes any more by then.
pub struct Handler(());

impl Handler {
    /// Sets it. There are [`synic::Pages`].
    pub fn set() -> Self {
        // SAFETY: The handler may be called from here on, and finds the pages.
        unsafe { bindings::hv_setup_vmbus_handler(Some(vmbus_isr)) };
        Self(())
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        // SAFETY: Set by `set`. The SynIC is off on all CPUs.
        unsafe { bindings::hv_remove_vmbus_handler() };
    }
}
