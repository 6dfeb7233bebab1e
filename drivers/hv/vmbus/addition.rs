// SPDX-License-Identifier: GPL-2.0

//! How a channel becomes a device, or a sub-channel its driver's.

use kernel::prelude::*;
use rlis_bus::{
    channel::{
        self,
        Additions,
        Channel,
        ChannelRef, //
    },
    device,
    ratelimit, //
};
use rlis_proto::vmbus::life::{
    Device,
    Event,
    Step, //
};

use crate::removal;

/// Turns a new channel into a device, or hands a sub-channel to the driver of its device. Runs the driver's probe.
pub(crate) fn add(channel: &Channel) {
    let step = {
        let list = channel::lock();
        // Names and sysfs entries of a device must be gone before they can exist again.
        let blocked = channel.primary().is_none() && list.is_blocked(channel);
        channel.on(Event::AdditionBegun { blocked })
    };
    let added = match (step, channel.primary()) {
        (Some(Step::Add), Some(primary)) => add_sub_channel(primary, channel),
        (Some(Step::Add), None) => add_device(channel),
        (Some(Step::Skip), _) => Err(ENODEV),
        _ => return,
    };
    let failed = added.is_err();
    let step = channel.on(Event::AdditionEnded { failed });
    if let Err(e) = added {
        if e != ENODEV {
            ratelimit::rarely(|| {
                pr_err!(
                    "adding relid {} failed: {}\n",
                    channel.relid(),
                    e.to_errno()
                );
            });
        }
    }
    if step == Some(Step::Remove) {
        removal::remove(channel);
    }
}

fn add_sub_channel(primary: &Channel, channel: &Channel) -> Result {
    // Drivers do not expect two at a time. Those of other devices need not wait for this driver and its host.
    let _one_at_a_time = Additions::of(primary);
    let life = primary.life();
    if life.is_over() || matches!(life.device, Device::None | Device::Waiting) {
        return Err(ENODEV);
    }
    device::add_files(channel)?;
    primary.hand_out(channel);
    Ok(())
}

/// A channel of the device that has no files yet.
fn without_files(primary: &Channel) -> Option<ChannelRef> {
    let list = channel::lock();
    let mut all = Iterator::chain(list.sub_channels(primary), core::iter::once(primary));
    all.find(|c| list.has(c) && !c.life().files)
        .map(ChannelRef::from)
}

/// Registers the device of a primary channel, which runs the driver's probe. On failure the device is gone, and with it the
/// channel, or there never was one.
fn add_device(channel: &Channel) -> Result {
    let added = device::register(channel)
        .and_then(|()| device::make_folder(channel))
        .and_then(|()| {
            // Its own, and those of sub-channels that came while the driver was probed.
            while let Some(next) = without_files(channel) {
                device::add_files(&next)?;
            }
            Ok(())
        });
    if added.is_err() && channel.life().device == Device::Registered {
        removal::unregister(channel);
    }
    added
}
