// SPDX-License-Identifier: GPL-2.0

//! On which CPU a performance-critical channel gets its interrupts, and how many each CPU serves.

use kernel::prelude::*;
use rlis_bus::{
    channel::{
        Channel,
        ChannelLock, //
    },
    cpu,
    hotplug::{
        self,
        MAX_CPUS, //
    }, //
};
use rlis_proto::vmbus::{
    placement::Counts,
    retarget::Route, //
};

/// The performance-critical channels of each CPU, of those that are on a list. Under the lock of channels.
static COUNTS: Counts<MAX_CPUS> = Counts::new();

/// Places a new channel, which was just put on its list; see [`Counts::choose`]. One that is not performance-critical goes to
/// the CPU that gets the host's messages.
pub(crate) fn place(list: &ChannelLock, channel: &Channel) {
    let chosen = if channel.is_perf() {
        choose(list, channel)
    } else {
        None
    };
    let cpu = chosen.unwrap_or(cpu::CONNECT_CPU);
    channel.set_target_cpu(cpu, list);
    if is_counted(list, channel) {
        COUNTS.come(cpu);
    }
}

fn choose(list: &ChannelLock, channel: &Channel) -> Option<u32> {
    let nodes = cpu::online().filter_map(node).max().map_or(0, |n| n + 1);
    let mut nodes = KVec::from_elem(0, nodes, GFP_KERNEL).ok()?;
    let mut scratch = KVec::from_elem(0, cpu::count() as usize, GFP_KERNEL).ok()?;
    let primary = channel.primary().unwrap_or(channel);
    let own = Iterator::chain(core::iter::once(primary), list.sub_channels(primary))
        .filter(|other| other.is_perf() && !core::ptr::eq(*other, channel))
        .map(Channel::target_cpu);
    let candidates = cpu::online().filter(|&cpu| hotplug::may_serve(cpu));
    COUNTS.choose(candidates, own, node, &mut scratch, &mut nodes)
}

/// The CPU's node, unless it has none.
fn node(cpu: u32) -> Option<usize> {
    usize::try_from(cpu::node(cpu)).ok()
}

fn is_counted(list: &ChannelLock, channel: &Channel) -> bool {
    channel.is_perf() && list.has(channel)
}

/// Moves a channel that is not open to another CPU.
pub(crate) fn set_target_cpu(channel: &Channel, cpu: u32, list: &ChannelLock) {
    moved(channel, cpu, list);
    channel.set_target_cpu(cpu, list);
}

/// Stores what is known of the CPU of a channel, which may be another one than before.
pub(crate) fn set_route(channel: &Channel, route: &Route, list: &ChannelLock) {
    moved(channel, route.cpu, list);
    channel.set_route(route, list);
}

fn moved(channel: &Channel, to: u32, list: &ChannelLock) {
    if is_counted(list, channel) {
        COUNTS.go(channel.target_cpu());
        COUNTS.come(to);
    }
}

/// The channel was just taken off its list.
pub(crate) fn removed(channel: &Channel, _list: &ChannelLock) {
    if channel.is_perf() {
        COUNTS.go(channel.target_cpu());
    }
}
