// SPDX-License-Identifier: GPL-2.0

//! Signals to the host.

use crate::{
    channel::Fields,
    connection::{
        set_interrupt_bit,
        MonitorPage, //
    },
    hypercall, //
};
use core::sync::atomic::Ordering;
use rlis_proto::vmbus::monitor::monitor_trigger;

/// Signals the host through the monitor page if the channel has a monitor, else with a hypercall.
pub(crate) fn signal(channel: &Fields) {
    channel.trace_signal();
    let low_latency = channel.low_latency().get();
    let monitor = channel.monitor_id().filter(|_| !low_latency);
    match monitor.and_then(monitor_trigger) {
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
pub(crate) fn signal_event(channel: &Fields) {
    channel.sig_events().count();
    if !channel.is_dedicated_interrupt().get() {
        set_interrupt_bit(channel.relid());
    }
    hypercall::signal_event(channel.sig_event().get());
}
