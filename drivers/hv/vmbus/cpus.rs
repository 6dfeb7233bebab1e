// SPDX-License-Identifier: GPL-2.0

//! CPUs that go offline.

use kernel::prelude::*;
use rlis_bus::{
    channel::{
        self,
        ChannelRef, //
    },
    connection::{
        self,
        State, //
    },
    cpu,
    hotplug,
    synic,
    wait, //
};
use rlis_proto::vmbus::Version;

use crate::retarget;

/// Moves all channels away from `cpu`, and waits until the interrupts that came meanwhile are handled.
///
/// After an unload nobody sends interrupts any more, and any CPU may go.
///
/// # Errors
///
/// `EBUSY` if the CPU gets messages, or channels cannot be moved safely.
pub(crate) fn leave(cpu: u32) -> Result {
    if connection::state() != State::Connected {
        return Ok(());
    }
    if cpu == cpu::CONNECT_CPU {
        return Err(EBUSY);
    }
    hotplug::set_serving(cpu, false, &channel::lock());
    loop {
        let list = channel::lock();
        let next = list
            .all()
            .find(|c| retarget::may_use(c, cpu, &list))
            .map(ChannelRef::from);
        drop(list);
        let Some(channel) = next else { break };
        retarget::leave_cpu(&channel, cpu)?;
    }
    if connection::version() >= Version::V4_1 && !events_drained(cpu) {
        return Err(EBUSY);
    }
    Ok(())
}

/// Waits a little for the event flags of this CPU to be handled, false if some stay.
fn events_drained(cpu: u32) -> bool {
    const TRIES: u32 = 3;
    for _ in 0..TRIES {
        if !synic::has_events(cpu) {
            return true;
        }
        wait::pause();
    }
    !synic::has_events(cpu)
}
