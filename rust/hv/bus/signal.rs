// SPDX-License-Identifier: GPL-2.0

//! Signals to the host.

use crate::{
    channel::Channel,
    connection::{
        set_interrupt_bit,
        MonitorPage, //
    },
    hypercall, //
};
use core::sync::atomic::Ordering;
use rlis_proto::vmbus::monitor::monitor_trigger;

/// Signals the host through the monitor page if the channel has a monitor, else with a hypercall.
pub(crate) fn signal(channel: &Channel) {
    let c = channel.raw();
    // SAFETY: The offer does not change while a channel is open; the flag is one that drivers may set.
    let (monitor, low_latency) = unsafe { (channel.monitor_id(), (*c).low_latency) };
    match monitor.filter(|_| !low_latency).and_then(monitor_trigger) {
        Some((offset, bit)) => {
            set_interrupt_bit(channel.relid());
            if let Some(word) = MonitorPage::Client.word(offset) {
                word.fetch_or(bit, Ordering::SeqCst);
            }
        }
        None => signal_event(channel),
    }
}

/// Signals the host with a hypercall.
pub(crate) fn signal_event(channel: &Channel) {
    let c = channel.raw();
    // SAFETY: Written with the offer; the count is a statistic.
    let (dedicated, event) = unsafe {
        (*c).sig_events += 1;
        ((*c).is_dedicated_interrupt, (*c).sig_event)
    };
    if !dedicated {
        set_interrupt_bit(channel.relid());
    }
    hypercall::signal_event(event);
}
