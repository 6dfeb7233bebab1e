// SPDX-License-Identifier: GPL-2.0

//! How channels and devices go.

use kernel::prelude::*;
use rlis_bus::{
    channel::{
        self,
        Channel,
        ChannelLock,
        ChannelRef,
        Owned, //
    },
    connection::{
        self,
        State, //
    },
    device,
    queues::queue_removal,
    ratelimit,
    request,
    ring,
    wait,
    HOST_RESPONSE_TIMEOUT_MS, //
};
use rlis_proto::vmbus::{
    life::{
        Event,
        Step, //
    },
    message::{
        ChannelMessageHeader,
        RelidReleased, //
    }, //
};

use crate::{
    placement,
    queue, //
};

/// Begins the removal of a channel: the host has withdrawn it, or it does not outlive a suspend.
pub(crate) fn withdraw(channel: &Channel) {
    // No callback may run once a driver can see that: it may give up the memory that the callback uses.
    channel.reset_callback();
    if request::end(channel, Event::Withdrawn) == Some(Step::QueueRemoval) {
        queue_removal(channel);
    }
}

/// Removes a channel that was withdrawn, after its addition has ended.
pub(crate) fn remove_withdrawn(channel: &Channel) {
    let callback = channel.rescind_callback();
    let told = callback.is_some();
    match (channel.on(Event::RemovalBegun { told }), callback) {
        (Some(Step::Remove), _) => remove(channel),
        (Some(Step::LeaveToCloser), _) => channel.rescind_event().complete_all(),
        // The driver unregisters the device itself.
        (Some(Step::TellDriver), Some(callback)) => {
            callback.call();
            channel::gone(channel);
        }
        (Some(Step::Unregister), _) => unregister_after_additions(channel),
        _ => {}
    }
}

/// Unregisters the device of a withdrawn channel. Sleeps.
///
/// Sub-channels that are being added use the device; those that come later see that the offer is withdrawn.
pub(crate) fn unregister_after_additions(channel: &Channel) {
    let mut at = 0;
    loop {
        let list = channel::lock();
        let next = list.sub_channels(channel).nth(at).map(ChannelRef::from);
        drop(list);
        let Some(sub) = next else { break };
        // The list may be a different one after a wait.
        at = if sub.finish_addition() { 0 } else { at + 1 };
    }
    unregister(channel);
}

/// Unregisters a channel's device, unless somebody else does. Its driver is removed, its name is free, and the relid is given
/// back; the channel goes with the last reference to the device. Sleeps.
pub(crate) fn unregister(channel: &Channel) {
    let channel = ChannelRef::from(channel);
    if device::unregister(&channel) {
        vacate(&channel);
    }
}

/// hv_sock has closed a connection: its device goes once the host has rescinded it, which it always does.
pub(crate) fn unregister_socket(channel: &Channel) {
    let rescinded = wait::until(HOST_RESPONSE_TIMEOUT_MS, || {
        let life = channel.life();
        life.added && life.is_over()
    });
    if rescinded {
        unregister(channel);
        return;
    }
    // The device stays until the host rescinds it after all, or the bus goes. The socket behind the callback is
    // about to be freed; what is called at the rescind has a reference to it.
    channel.reset_callback();
    ratelimit::rarely(|| {
        pr_err!(
            "socket of relid {} was closed but not rescinded\n",
            channel.relid()
        );
    });
}

/// The last reference to a device is gone, also of one that its driver has unregistered, or that could not be registered.
pub(crate) fn device_released(channel: &Owned<'_>) {
    channel.on(Event::Ended);
    // Of a driver that closed the channel after it had given the device up.
    ring::release_kept(channel);
    remove(channel);
}

/// Takes the channel off its list and off the table and gives the relid back; does nothing if that has happened
/// before. Sleeps.
pub(crate) fn remove(channel: &Channel) {
    let mut list = channel::lock();
    let relid = channel.relid();
    let Some(unlinked) = list.unlink(channel) else {
        return;
    };
    placement::removed(channel, &list);
    let waiting = give_place(&mut list, channel, relid, unlinked.step);
    drop(list);

    channel.reset_callback();
    channel.remove_files();
    channel.kill_tasklet();
    if unlinked.step == Step::ReleaseRelid {
        release_relid(relid);
    }
    channel.rescind_event().complete_all();
    channel::gone(channel);
    if let Some(next) = waiting {
        queue::add(&next);
    }
}

/// Makes room for the next channel of the same device: the device was unregistered, and thus the channel closed. Sleeps.
fn vacate(channel: &Channel) {
    let mut list = channel::lock();
    let relid = channel.relid();
    let Some(step) = channel.on(Event::Unregistered) else {
        return;
    };
    if !list.has(channel) {
        return;
    }
    let waiting = give_place(&mut list, channel, relid, step);
    drop(list);
    if step == Step::ReleaseRelid {
        release_relid(relid);
    }
    if let Some(next) = waiting {
        queue::add(&next);
    }
}

/// Takes a channel off the table if it had the relid until now. Returns the channel that was waiting for that.
fn give_place(
    list: &mut ChannelLock,
    channel: &Channel,
    relid: u32,
    step: Step,
) -> Option<ChannelRef> {
    if step == Step::ReleaseRelid {
        list.unmap_relid(relid);
    }
    list.take_waiting(channel)
}

/// Gives a relid back to the host.
pub(crate) fn release_relid(relid: u32) {
    if connection::state() != State::Connected {
        return;
    }
    let message = RelidReleased {
        header: ChannelMessageHeader::of::<RelidReleased>(),
        child_relid: relid,
    };
    if let Err(e) = connection::post(&message) {
        pr_err!("releasing relid {} failed: {}\n", relid, e.to_errno());
    }
}

/// Removes all channels after the connection has ended. Drivers are gone.
pub(crate) fn remove_all() {
    loop {
        let list = channel::lock();
        // Sub-channels first: they refer to their primary.
        let next = list
            .primaries()
            .next()
            .map(|p| ChannelRef::from(list.sub_channels(p).next().unwrap_or(p)));
        drop(list);
        let Some(channel) = next else { return };
        request::end(&channel, Event::Ended);
        // Its release removes the channel. Someone who holds the device open must not keep us here.
        unregister(&channel);
        remove(&channel);
    }
}
