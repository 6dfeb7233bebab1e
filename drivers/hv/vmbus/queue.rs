// SPDX-License-Identifier: GPL-2.0

//! On which queue a channel is added.

use rlis_bus::{
    channel::Channel,
    device_class::{
        self,
        NamedInOrder, //
    },
    queues::{
        queue_addition,
        Queue, //
    }, //
};

/// Queues the work that makes a device or sub-channel of `channel`, unless the connection has ended.
///
/// NICs are added in the order of their offers, which their names depend on, and so are pass-through PCI devices. Other
/// devices do not wait for each other.
pub(crate) fn add(channel: &Channel) {
    let queue = if channel.primary().is_some() {
        Queue::SubChannel
    } else {
        match device_class::names_depend_on_order(channel.class()) {
            Some(NamedInOrder::Nic) => Queue::Nic,
            Some(NamedInOrder::Pci) => Queue::Pci,
            None => Queue::Device,
        }
    };
    queue_addition(channel, queue);
}
