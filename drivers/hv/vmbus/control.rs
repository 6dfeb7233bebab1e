// SPDX-License-Identifier: GPL-2.0

//! Messages of the host.
//!
//! Answers go to who waits for them. Offers and rescinds are handled by one work item, in the order in which the host sent
//! them, which never waits for the host or for a driver. What may wait, such as probing a device or removing it, is a work
//! item of the channel: a rescind wakes everyone who waits for an answer about the channel, then queues the removal, which
//! starts by waiting for the end of the addition.

use kernel::prelude::*;
use rlis_bus::{
    channel::{
        self,
        Channel, //
    },
    connection::{
        self,
        State, //
    },
    inbox::{
        self,
        Offers, //
    },
    machine,
    ratelimit,
    request::{
        self,
        Answer,
        Key, //
    },
    synic,
    trace, //
};
use rlis_proto::vmbus::{
    life::Event,
    message::OfferChannel,
    parse::Message,
    MAX_CHANNEL_RELIDS, //
};

use crate::{
    offers,
    placement,
    queue,
    removal, //
};

/// Handles a message; false if it must stay in its slot for now. In a tasklet.
pub(crate) fn message(message: Message<'_>) -> bool {
    use Message as M;
    trace::answer(&message);
    match message {
        M::Offer(m) => return inbox::put(inbox::Message::Offer(m)),
        M::Rescind(m) => return inbox::put(inbox::Message::Rescind(m)),
        M::AllOffersDelivered => connection::offers_delivered().complete(),
        M::UnloadResponse => connection::unloaded().complete(),
        M::VersionResponse(m, _) => request::answer(Key::Version, Answer::Version(m)),
        M::OpenResult(m) => request::answer(
            Key::Open {
                relid: m.child_relid,
                openid: m.openid,
            },
            Answer::Status(m.status),
        ),
        M::GpadlCreated(m) => request::answer(
            Key::GpadlCreated {
                relid: m.child_relid,
                gpadl: m.gpadl,
            },
            Answer::Status(m.creation_status),
        ),
        M::GpadlTorndown(m) => {
            request::answer(Key::GpadlTorndown { gpadl: m.gpadl }, Answer::Status(0));
        }
        M::ModifyChannelResponse(m) => request::answer(
            Key::Modify {
                relid: m.child_relid,
            },
            Answer::Status(m.status),
        ),
        // TL_CONNECT_RESULT says nothing that the rescind of the offer, or the offer, does not say.
        _ => {}
    }
    true
}

/// Handles what is in the inbox.
pub(crate) fn work() {
    while let Some((message, stalled)) = inbox::take() {
        if stalled {
            synic::restart_message_tasklet();
        }
        // What arrived before the connection ended is of no use any more.
        let connected = connection::state() == State::Connected;
        while let Some(kept) = inbox::next_kept() {
            if connected {
                on_offer(&kept);
            }
        }
        match message {
            None => return,
            Some(_) if !connected => {}
            Some(inbox::Message::Offer(offer)) => {
                trace::offer(&offer);
                match inbox::mode() {
                    Offers::Taken => on_offer(&offer),
                    Offers::Kept => keep_offer(&offer),
                    Offers::Dropped => {}
                }
            }
            Some(inbox::Message::Rescind(rescind)) => {
                trace::rescind(&rescind);
                on_rescind(rescind.child_relid);
            }
        }
    }
}

/// Keeps an offer for later. One that cannot be kept is released.
fn keep_offer(offer: &OfferChannel) {
    if let Err(reason) = inbox::keep(offer) {
        refuse(offer.child_relid, reason);
    }
}

/// Handles an offer. A refused one is released at once, so that the host can reuse the relid.
fn on_offer(offer: &OfferChannel) {
    if let Err(reason) = try_offer(offer) {
        refuse(offer.child_relid, reason);
    }
}

fn refuse(relid: u32, reason: &str) {
    ratelimit::warn(|| pr_err!("offer of relid {} refused: {}\n", relid, reason));
    // The relid of another channel stays what it is.
    if Channel::find(relid).is_none() && relid != 0 && relid < MAX_CHANNEL_RELIDS {
        removal::release_relid(relid);
    }
}

fn try_offer(offer: &OfferChannel) -> Result<(), &'static str> {
    let relid = offer.child_relid;
    // Relid 0 is the flag of messages; the rest has no event flag.
    if relid == 0 || relid >= MAX_CHANNEL_RELIDS {
        return Err("no such relid");
    }
    if Channel::find(relid).is_some() {
        return Err("the relid is in use");
    }
    offers::accept(offer, machine::is_isolated())?;
    let new = Channel::new(offer).ok_or("out of memory")?;

    let mut list = channel::lock();
    let same = list.find_device(offer);
    match (same, offer.offer.is_sub_channel()) {
        // After a resume: the relid is new, all else is as it was.
        (Some(old), false) if old.on(Event::Resumed).is_some() => {
            old.set_offer(offer);
            list.map_relid(&old);
            return Ok(());
        }
        (Some(_), false) => return Err("the device has a channel already"),
        (Some(primary), true) => list.insert_sub_channel(&primary, new.clone()),
        (None, true) => return Err("a sub-channel without a primary channel"),
        (None, false) => list.insert_primary(new.clone()),
    }
    placement::place(&list, &new);
    list.map_relid(&new);
    drop(list);
    queue::add(&new);
    Ok(())
}

/// Handles a rescind: wakes who waits for the host and leaves the rest to the channel's own work.
fn on_rescind(relid: u32) {
    match Channel::find(relid) {
        Some(channel) => removal::withdraw(&channel),
        None if inbox::drop_kept(relid) => removal::release_relid(relid),
        // Its offer was refused, and released then.
        None => pr_debug!("rescind of unknown relid {}\n", relid),
    }
}
