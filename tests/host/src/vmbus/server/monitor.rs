// SPDX-License-Identifier: GPL-2.0

//! Monitor pages (TLFS chapter 11, "monitored notifications"): for a channel with a monitor the guest sets a bit instead
//! of making a hypercall, and the hypervisor, whose place this takes, looks at the bits every so often.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use rlis_proto::vmbus::monitor::{
    monitor_connection_offset, monitor_latency_offset, monitor_trigger, MONITORS_PER_GROUP,
    MONITOR_GROUPS,
};
use vm_memory::{Bytes, GuestAddress, GuestMemory, VolatileMemory};

use super::*;

/// Time between two looks.
const INTERVAL: Duration = Duration::from_millis(1);
/// The same in the units of the page, 100 ns.
const LATENCY: u16 = 10_000;
/// Monitors in a page.
const MONITORS: u8 = (MONITOR_GROUPS * MONITORS_PER_GROUP) as u8;

impl Server {
    /// Looks at the guest's monitor page for the rest of the process.
    pub fn start_monitor(self: &Arc<Self>) -> io::Result<()> {
        let this = Arc::downgrade(self);
        thread::Builder::new()
            .name("monitor".into())
            .spawn(move || {
                while let Some(server) = this.upgrade() {
                    if let Err(error) = server.look_at_monitors() {
                        server.violation(format!("monitor page: {error:#}"));
                    }
                    drop(server);
                    thread::sleep(INTERVAL);
                }
            })?;
        Ok(())
    }

    fn look_at_monitors(&self) -> Result<()> {
        // The guest cannot end the connection, and use the page for something else, while this is locked.
        let state = self.state();
        let Some(page) = state.connection.map(|c| c.monitor_page) else {
            return Ok(());
        };
        let slice = self.shared.memory.get_slice(GuestAddress(page), 4096)?;
        for first in (0..MONITORS).step_by(MONITORS_PER_GROUP) {
            let (offset, _) = monitor_trigger(first).context("no such group")?;
            let pending = slice
                .get_atomic_ref::<AtomicU32>(offset)?
                .swap(0, Ordering::SeqCst);
            for bit in (0..32).filter(|bit| pending & (1 << bit) != 0) {
                let monitor = first + bit;
                let Some(slot) = state.slots.values().find(|s| s.monitor == Some(monitor)) else {
                    self.violation(format!("monitor {monitor} triggered, which no channel has"));
                    continue;
                };
                // A trigger may cross a close.
                if let Some((channel, _)) = &slot.open {
                    channel.triggered();
                }
            }
        }
        Ok(())
    }

    /// Tells the guest, in its page, when a channel's monitor is looked at and what it signals.
    pub(super) fn arm_monitor(&self, state: &State, monitor: u8, relid: u32) -> Result<()> {
        let connection = state.connection.context("there is no connection")?;
        let at = |offset: Option<usize>| -> Result<GuestAddress> {
            let offset = u64::try_from(offset.context("no such monitor")?)?;
            Ok(GuestAddress(connection.monitor_page + offset))
        };
        let memory = &self.shared.memory;
        memory.write_obj(LATENCY, at(monitor_latency_offset(monitor))?)?;
        memory.write_obj(
            EVENT_CONNECTION + relid,
            at(monitor_connection_offset(monitor))?,
        )?;
        Ok(())
    }
}

impl State {
    /// A monitor that no channel has.
    pub(super) fn free_monitor(&self) -> Result<u8> {
        let taken = |monitor: &u8| self.slots.values().any(|s| s.monitor == Some(*monitor));
        (0..MONITORS)
            .find(|monitor| !taken(monitor))
            .context("all monitors are in use")
    }
}
