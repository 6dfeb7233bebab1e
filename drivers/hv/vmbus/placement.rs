// SPDX-License-Identifier: GPL-2.0

//! On which CPU a performance-critical channel gets its interrupts.

use kernel::prelude::*;
use rlis_bus::{
    channel::{
        Channel,
        ChannelLock, //
    },
    cpu,
    hotplug, //
};

/// Chooses the CPU of a new channel: one that no channel of the same device uses, if there is any; among those the one with
/// the fewest channels. Where that leaves a choice, the NUMA node with the fewest channels, so that nodes fill up
/// evenly. A channel that is not performance-critical goes to the CPU that gets the host's messages.
pub(crate) fn place(list: &ChannelLock, channel: &Channel) {
    let chosen = if channel.is_perf() {
        least_used(list, channel)
    } else {
        None
    };
    channel.set_target_cpu(chosen.unwrap_or(cpu::CONNECT_CPU), list);
}

fn least_used(list: &ChannelLock, channel: &Channel) -> Option<u32> {
    let census = Census::of(list, channel).ok()?;
    cpu::online()
        .filter(|&cpu| hotplug::may_serve(cpu))
        .min_by_key(|&cpu| {
            let (users, own) = census.cpu(cpu);
            (own, users, census.node(cpu), cpu)
        })
}

/// How many performance-critical channels each CPU and each node serves.
struct Census {
    /// By CPU: channels, and how many of them are of the device in question.
    cpus: KVec<(u32, u32)>,
    /// By node.
    nodes: KVec<u32>,
}

impl Census {
    /// Counts all channels but this one, for whose device it is.
    fn of(list: &ChannelLock, channel: &Channel) -> Result<Self> {
        let highest = cpu::online().filter_map(node_index).max();
        let mut census = Self {
            cpus: KVec::from_elem((0, 0), cpu::count() as usize, GFP_KERNEL)?,
            nodes: KVec::from_elem(0, highest.map_or(0, |n| n + 1), GFP_KERNEL)?,
        };
        let primary = channel.primary().unwrap_or(channel);
        for other in list.all() {
            if !other.is_perf() || core::ptr::eq(other, channel) {
                continue;
            }
            let at = other.target_cpu();
            if let Some((users, own)) = census.cpus.get_mut(at as usize) {
                *users += 1;
                *own += u32::from(core::ptr::eq(other.primary().unwrap_or(other), primary));
            }
            if let Some(users) = node_index(at).and_then(|n| census.nodes.get_mut(n)) {
                *users += 1;
            }
        }
        Ok(census)
    }

    /// The channels of a CPU, and how many of them are of the device in question.
    fn cpu(&self, cpu: u32) -> (u32, u32) {
        self.cpus.get(cpu as usize).copied().unwrap_or_default()
    }

    /// The channels of a CPU's node.
    fn node(&self, cpu: u32) -> u32 {
        node_index(cpu)
            .and_then(|n| self.nodes.get(n).copied())
            .unwrap_or_default()
    }
}

/// The CPU's node, unless it has none.
fn node_index(cpu: u32) -> Option<usize> {
    usize::try_from(cpu::node(cpu)).ok()
}
