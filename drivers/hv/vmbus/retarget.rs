// SPDX-License-Identifier: GPL-2.0

//! Moving the interrupts of an open channel to another CPU.

use kernel::prelude::*;
use rlis_bus::{
    channel::{
        self,
        Channel,
        ChannelLock, //
    },
    connection,
    cpu,
    hotplug,
    lock::Retargeting,
    request::{
        self,
        Key, //
    }, //
};
use rlis_proto::vmbus::{
    life::Rings,
    message::{
        ChannelMessageHeader,
        ModifyChannel, //
    },
    retarget::{
        Answer,
        Move,
        Outcome, //
    },
    Version, //
};

use crate::placement;

/// Asks the host to send the channel's interrupts to virtual processor `target_vp`, and from protocol 5.3 on
/// waits until it does. Sleeps.
///
/// # Errors
///
/// `EAGAIN` if the host refuses; those of [`request::status`].
pub(crate) fn modify(channel: &Channel, target_vp: u32) -> Result {
    let message = ModifyChannel {
        header: ChannelMessageHeader::of::<ModifyChannel>(),
        child_relid: channel.relid(),
        target_vp,
    };
    if !connection::version().has_modify_channel_response() {
        return connection::post(&message);
    }
    let key = Key::Modify {
        relid: channel.relid(),
    };
    match request::status(key, channel, || connection::post(&message))? {
        0 => Ok(()),
        _ => Err(EAGAIN),
    }
}

/// Moves an open channel to `target`, which cannot go offline meanwhile. Sleeps.
///
/// Before 5.3 the host does not say when it has changed over. Interrupts may come to the old CPU for a while,
/// which does no harm as long as it is online.
///
/// # Errors
///
/// `EIO` if the channel is not open, or was opened again meanwhile, the protocol is older than 4.1 or the host does not do
/// it; `EINVAL` if the CPU may not serve channels.
pub(crate) fn set_cpu(channel: &Channel, target: u32) -> Result {
    if !connection::version().has_modify_channel() {
        return Err(EIO);
    }
    let _guard = Retargeting::begin();
    if !hotplug::may_serve(target) {
        return Err(EINVAL);
    }
    let request = {
        let list = channel::lock();
        let mut route = channel.route(&list);
        if channel.life().rings != Rings::Opened {
            return Err(EIO);
        }
        if route.cpu == target && !route.unsure {
            return Ok(());
        }
        let request = route.begin(target);
        placement::set_route(channel, &route, &list);
        request
    };
    match change_over(channel, request, target) {
        Outcome::Moved => Ok(()),
        Outcome::Stays | Outcome::Unsure => Err(EIO),
    }
}

/// Asks the host to change over, and records what is known then.
///
/// The lock of channels is not held while the host thinks: a rescind needs it. The driver may close the channel and open
/// it again meanwhile.
fn change_over(channel: &Channel, request: Move, to: u32) -> Outcome {
    let answer = match modify(channel, cpu::vp_number(to)) {
        Ok(()) => Answer::Done,
        Err(e) if e == ETIMEDOUT || e == ENODEV => Answer::Unknown,
        // Refused, or not posted.
        Err(_) => Answer::Refused,
    };
    let list = channel::lock();
    let mut route = channel.route(&list);
    let from = route.cpu;
    let outcome = route.end(request, answer);
    placement::set_route(channel, &route, &list);
    if outcome == Outcome::Moved && from != to && channel.life().rings == Rings::Opened {
        channel.tell_target_cpu(from, to, &list);
    }
    outcome
}

/// Whether `cpu` cannot go offline because of this channel.
pub(crate) fn may_use(channel: &Channel, cpu: u32, list: &ChannelLock) -> bool {
    match channel.life().rings {
        // The host does not know of a CPU; the next open shall not name this one.
        Rings::New | Rings::Closed => channel.target_cpu() == cpu,
        Rings::Opening | Rings::Opened | Rings::Closing => channel.route(list).may_use(cpu),
    }
}

/// Moves a channel away from a CPU that is going offline, which no channel is placed on any more, or finds that it was
/// closed or opened again meanwhile, so that it has to be looked at once more. Sleeps.
///
/// # Errors
///
/// `EBUSY` if that cannot be done safely: the host would have to confirm that no interrupt is on its way to
/// the old CPU, which it does from 5.3 on.
pub(crate) fn leave_cpu(channel: &Channel, leaving: u32) -> Result {
    let others = || {
        cpu::online().filter(move |&cpu| {
            cpu != leaving && cpu != cpu::CONNECT_CPU && hotplug::may_serve(cpu)
        })
    };
    // Spread what leaves over the others.
    let count = others().count();
    let start = if count == 0 {
        0
    } else {
        channel.relid() as usize % count
    };
    let other = others().nth(start).unwrap_or(cpu::CONNECT_CPU);

    let (request, target) = {
        let list = channel::lock();
        let mut route = channel.route(&list);
        match channel.life().rings {
            Rings::New | Rings::Closed => {
                placement::set_target_cpu(channel, other, &list);
                return Ok(());
            }
            Rings::Opening | Rings::Closing => return Err(EBUSY),
            // No more interrupts.
            Rings::Opened if channel.is_rescinded() => {
                route.cpu = other;
                route.unsure = false;
                placement::set_route(channel, &route, &list);
                return Ok(());
            }
            Rings::Opened => {}
        }
        if connection::version() < Version::V5_3 {
            return Err(EBUSY);
        }
        let target = route.away_from(leaving, other);
        let request = route.begin(target);
        placement::set_route(channel, &route, &list);
        (request, target)
    };
    if change_over(channel, request, target) == Outcome::Moved {
        return Ok(());
    }
    let list = channel::lock();
    if channel.is_rescinded()
        || channel.life().rings != Rings::Opened
        || request.is_outdated(&channel.route(&list))
    {
        Ok(())
    } else {
        Err(EBUSY)
    }
}
