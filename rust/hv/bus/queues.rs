// SPDX-License-Identifier: GPL-2.0

//! The work queues, and the work items of channels.

use crate::{
    channel::{
        AddWork,
        Channel,
        RescindWork, //
    },
    ops, //
};
use kernel::{
    prelude::*,
    sync::{
        rcu,
        Arc, //
    }, //
};
use rlis_hv::{
    work::OwnedQueue,
    RcuArc,
    RefWork, //
};

/// A work queue.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Queue {
    /// Channels that the host has withdrawn.
    Removal,
    /// Devices, independent of each other.
    Device,
    /// Sub-channels.
    SubChannel,
    /// Network cards, one after the other.
    Nic,
    /// Pass-through PCI devices, one after the other.
    Pci,
}

impl Queue {
    /// All, in the order in which they are drained: work on one may queue work on a later one.
    pub const ALL: [Self; 5] = [
        Self::Removal,
        Self::Device,
        Self::SubChannel,
        Self::Nic,
        Self::Pci,
    ];
}

/// The queues.
struct Set {
    removal: OwnedQueue,
    device: OwnedQueue,
    sub_channel: OwnedQueue,
    nic: OwnedQueue,
    pci: OwnedQueue,
}

impl Set {
    fn get(&self, queue: Queue) -> &OwnedQueue {
        match queue {
            Queue::Removal => &self.removal,
            Queue::Device => &self.device,
            Queue::SubChannel => &self.sub_channel,
            Queue::Nic => &self.nic,
            Queue::Pci => &self.pci,
        }
    }
}

/// The queues while there is a connection.
static SET: RcuArc<Set> = RcuArc::new();

impl Queue {
    /// Waits for the work that is on the queue now. Sleeps; not from work on a queue.
    pub fn flush(self) {
        if let Some(set) = SET.keep() {
            set.get(self).flush();
        }
    }
}

/// Has work of a channel done. Nothing after the connection has ended.
fn queue<const OFFSET: usize>(work: &RefWork<Channel, OFFSET>, queue: Queue) {
    let rcu = rcu::read_lock();
    if let Some(set) = SET.get(&rcu) {
        work.queue(set.get(queue));
    }
}

/// Has [`crate::BusOps::add`] called for a channel. Nothing after the connection has ended.
pub fn queue_addition(channel: &Channel, on: Queue) {
    queue(channel.add_work(), on);
}

/// Has [`crate::BusOps::remove_withdrawn`] called for a channel.
pub fn queue_removal(channel: &Channel) {
    queue(channel.rescind_work(), Queue::Removal);
}

/// The queues. Dropping it waits for all work on them.
pub struct Queues(());

impl Queues {
    /// Makes them.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new() -> Result<Self> {
        let set = Set {
            removal: OwnedQueue::for_devices(c"hv_vmbus_rescind", false)?,
            device: OwnedQueue::for_devices(c"hv_pri_chan", false)?,
            sub_channel: OwnedQueue::for_devices(c"hv_sub_chan", false)?,
            nic: OwnedQueue::for_devices(c"hv_nic_chan", true)?,
            pci: OwnedQueue::for_devices(c"hv_pci_chan", true)?,
        };
        drop(SET.replace(Some(Arc::new(set, GFP_KERNEL)?)));
        Ok(Self(()))
    }
}

impl Drop for Queues {
    fn drop(&mut self) {
        // The connection has ended, the inbox is closed, and devices are gone: work is queued by work on the same queue only,
        // or on one that is empty already.
        if let Some(set) = SET.keep() {
            for queue in Queue::ALL {
                set.get(queue).drain();
            }
        }
        drop(SET.replace(None));
    }
}

/// The work that adds a channel.
#[no_mangle]
extern "C" fn rlis_bus_add_channel_work(work: &AddWork) {
    // SAFETY: This is the work's function, and takes it once.
    let channel = unsafe { work.take() };
    if let Ok(ops) = ops() {
        ops.add(&channel);
    }
}

/// The work that removes a channel which the host has withdrawn.
#[no_mangle]
extern "C" fn rlis_bus_rescind_channel_work(work: &RescindWork) {
    // SAFETY: This is the work's function, and takes it once.
    let channel = unsafe { work.take() };
    // The addition never waits for this work.
    channel.finish_addition();
    if let Ok(ops) = ops() {
        ops.remove_withdrawn(&channel);
    }
}
