// SPDX-License-Identifier: GPL-2.0

//! The work queues, and the work items of channels.

use crate::{
    channel::{
        Channel,
        ChannelRef, //
    },
    connection,
    ops, //
};
use core::{
    ptr::{
        self,
        NonNull, //
    },
    sync::atomic::{
        AtomicPtr,
        Ordering, //
    }, //
};
use kernel::{
    prelude::*,
    sync::aref::AlwaysRefCounted, //
};
use rlis_sys as bindings;

/// A work queue.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Queue {
    /// Messages of the host, on the CPU that gets them.
    Control,
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

/// Those whose names depend on the order in which they are added; the C structure has no place for these.
static ORDERED: [AtomicPtr<bindings::workqueue_struct>; 2] =
    [const { AtomicPtr::new(ptr::null_mut()) }; 2];

/// Says that a queue is not unbound, in kernels that want to be told.
#[cfg(RLIS_HAVE_WQ_PERCPU)]
const PER_CPU: u32 = bindings::wq_flags_WQ_PERCPU;
#[cfg(not(RLIS_HAVE_WQ_PERCPU))]
const PER_CPU: u32 = 0;

impl Queue {
    /// In the order in which they are destroyed: work on one may queue work on a later one.
    const ALL: [Self; 6] = [
        Self::Control,
        Self::Removal,
        Self::Device,
        Self::SubChannel,
        Self::Nic,
        Self::Pci,
    ];

    fn cell(self) -> &'static AtomicPtr<bindings::workqueue_struct> {
        let c = connection::raw();
        // SAFETY: The object lives forever; its pointers to queues are accessed here only, but for the control work's,
        // which `inbox` queues while there is a connection.
        unsafe {
            match self {
                Self::Control => AtomicPtr::from_ptr(&raw mut (*c).work_queue),
                Self::Removal => AtomicPtr::from_ptr(&raw mut (*c).rescind_work_queue),
                Self::Device => AtomicPtr::from_ptr(&raw mut (*c).handle_primary_chan_wq),
                Self::SubChannel => AtomicPtr::from_ptr(&raw mut (*c).handle_sub_chan_wq),
                Self::Nic => &ORDERED[0],
                Self::Pci => &ORDERED[1],
            }
        }
    }

    fn alloc(self) -> *mut bindings::workqueue_struct {
        let name = match self {
            Self::Control => c"hv_vmbus_con",
            Self::Removal => c"hv_vmbus_rescind",
            Self::Device => c"hv_pri_chan",
            Self::SubChannel => c"hv_sub_chan",
            Self::Nic => c"hv_nic_chan",
            Self::Pci => c"hv_pci_chan",
        }
        .as_char_ptr();
        // Drivers wait there for work of all kinds, as they do on the C bus's queues; the legacy flag, which
        // create_workqueue() sets, says that this is known. A rescuer is needed: what is written back to a controller that the
        // host has taken away ends only when it is removed, and a removal waits for the addition.
        let of_devices = bindings::wq_flags___WQ_LEGACY | bindings::wq_flags_WQ_MEM_RECLAIM;
        let (flags, max_active) = match self {
            Self::Control => (bindings::wq_flags_WQ_MEM_RECLAIM | PER_CPU, 1),
            Self::Removal | Self::Device | Self::SubChannel => {
                (of_devices | bindings::wq_flags_WQ_UNBOUND, 0)
            }
            Self::Nic | Self::Pci => (
                of_devices | bindings::wq_flags_WQ_UNBOUND | bindings::wq_flags___WQ_ORDERED,
                1,
            ),
        };
        // SAFETY: The name is a C string, which the function copies.
        unsafe { bindings::vmbus_alloc_workqueue(name, flags, max_active) }
    }

    /// Waits for the work that is on the queue now. Sleeps.
    pub fn flush(self) {
        let queue = self.cell().load(Ordering::Acquire);
        if !queue.is_null() {
            // SAFETY: A queue exists as long as the connection, which outlives its users: `Queues::drop`.
            unsafe { bindings::flush_workqueue(queue) };
        }
    }

    /// Queues a work item of a channel, which gets a reference to it.
    fn queue(self, channel: &Channel, work: *mut bindings::work_struct) {
        let queue = self.cell().load(Ordering::Acquire);
        if queue.is_null() {
            return;
        }
        channel.inc_ref();
        // SAFETY: As for `flush`; the work is one of the channel's, which now has a reference for it.
        if !unsafe { bindings::queue_work(queue, work) } {
            // SAFETY: It was queued already, with a reference of its own.
            unsafe { Channel::dec_ref(NonNull::from(channel)) };
        }
    }
}

/// Has [`crate::BusOps::add`] called for a channel. Nothing after the connection has ended.
pub fn queue_addition(channel: &Channel, queue: Queue) {
    queue.queue(channel, channel.add_work());
}

/// Has [`crate::BusOps::remove_withdrawn`] called for a channel.
pub fn queue_removal(channel: &Channel) {
    Queue::Removal.queue(channel, channel.rescind_work());
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
        let queues = Self(());
        for queue in Queue::ALL {
            let raw = queue.alloc();
            if raw.is_null() {
                return Err(ENOMEM);
            }
            queue.cell().store(raw, Ordering::Release);
        }
        Ok(queues)
    }
}

impl Drop for Queues {
    fn drop(&mut self) {
        for queue in Queue::ALL {
            let raw = queue.cell().load(Ordering::Acquire);
            if !raw.is_null() {
                // SAFETY: The connection has ended, the inbox is closed, and devices are gone: work is queued by work on
                // this queue only, or on one that is destroyed already. The pointer stays until all of it is done.
                unsafe { bindings::destroy_workqueue(raw) };
                queue.cell().store(ptr::null_mut(), Ordering::Release);
            }
        }
    }
}

/// The work that adds a channel.
#[no_mangle]
unsafe extern "C" fn rlis_bus_add_channel_work(work: *mut bindings::work_struct) {
    // SAFETY: `queue_addition` queued the work of a channel and gave it a reference.
    let channel: ChannelRef = unsafe { Channel::from_add_work(work) };
    if let Ok(ops) = ops() {
        ops.add(&channel);
    }
}

/// The work that removes a channel which the host has withdrawn.
#[no_mangle]
unsafe extern "C" fn rlis_bus_rescind_channel_work(work: *mut bindings::work_struct) {
    // SAFETY: `queue_removal` queued the work of a channel and gave it a reference.
    let channel: ChannelRef = unsafe { Channel::from_rescind_work(work) };
    // The addition never waits for this work.
    channel.finish_addition();
    if let Ok(ops) = ops() {
        ops.remove_withdrawn(&channel);
    }
}
