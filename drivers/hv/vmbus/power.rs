// SPDX-License-Identifier: GPL-2.0

//! Hibernation and panic.
//!
//! Over a hibernation the host's side is new: relids change, sub-channels and sockets are gone. Drivers have
//! closed their channels when the bus is suspended, and open them again after it is resumed.

use core::sync::atomic::{
    AtomicBool,
    Ordering, //
};
use kernel::prelude::*;
use rlis_bus::{
    channel::{
        self,
        ChannelRef, //
    },
    connection::ready_for_suspend,
    inbox::{
        self,
        Offers, //
    },
    queues::Queue, //
};
use rlis_proto::vmbus::life::{
    Event,
    Kind,
    Relid, //
};

use crate::{
    connection,
    removal, //
};

/// How long sub-channels and sockets may take to go away before a suspend, in milliseconds.
const CLOSE_TIMEOUT_MS: u32 = 60_000;

/// A framebuffer driver wants to unload the bus itself, after it has flushed the screen.
static SKIP_UNLOAD: AtomicBool = AtomicBool::new(false);

/// Sets whether a crash leaves the unload to another driver.
pub(crate) fn set_skip_unload(skip: bool) {
    SKIP_UNLOAD.store(skip, Ordering::Relaxed);
}

/// The kernel panics. Any context.
pub(crate) fn panic() {
    if !SKIP_UNLOAD.load(Ordering::Relaxed) {
        connection::unload(true);
    }
}

/// Suspends the bus; devices are suspended already.
///
/// # Errors
///
/// `EBUSY` if sub-channels or sockets do not go.
pub(crate) fn suspend() -> Result {
    try_suspend().inspect_err(|_| inbox::set_offers(Offers::Taken))
}

fn try_suspend() -> Result {
    // Offers from here on come again after the resume, if there is one. Those before are handled, with what they entail.
    inbox::set_offers(Offers::Kept);
    inbox::flush();
    ready_for_suspend().reinit();
    for queue in Queue::ALL {
        queue.flush();
    }

    // No socket survives: as if the host had rescinded it.
    loop {
        let list = channel::lock();
        let next = list
            .primaries()
            .find(|p| p.is_hvsock() && !p.is_rescinded())
            .map(ChannelRef::from);
        drop(list);
        let Some(socket) = next else { break };
        removal::withdraw(&socket);
    }
    if channel::awaited() > 0
        && ready_for_suspend().wait_timeout(CLOSE_TIMEOUT_MS).is_err()
        && channel::awaited() > 0
    {
        pr_err!("sub-channels or sockets did not close, not suspending\n");
        return Err(EBUSY);
    }

    let mut list = channel::lock();
    let mut relids = 0;
    while let Some(channel) = list
        .primaries()
        .find(|p| p.life().relid == Relid::Held)
        .map(ChannelRef::from)
    {
        list.unmap_relid(channel.relid());
        channel.on(Event::Suspended);
        relids += 1;
    }
    drop(list);
    pr_debug!("suspended with {} channels\n", relids);
    connection::unload(false);
    inbox::set_offers(Offers::Dropped);
    inbox::flush();
    Ok(())
}

/// Resumes the bus, before its devices.
///
/// # Errors
///
/// Those of connecting and of asking for offers.
pub(crate) fn resume() -> Result {
    try_resume().inspect_err(|e| pr_err!("resuming the bus failed: {}\n", e.to_errno()))
}

fn try_resume() -> Result {
    inbox::set_offers(Offers::Taken);
    connection::reestablish()?;
    connection::request_offers()?;
    let list = channel::lock();
    for channel in list.primaries() {
        let life = channel.life();
        if life.relid == Relid::Forgotten && life.kind == Kind::Primary && !life.is_over() {
            let offer = channel.offer();
            pr_err!(
                "channel {}/{} not present after resume.\n",
                core::format_args!("{}", { offer.offer.if_type }),
                core::format_args!("{}", { offer.offer.if_instance })
            );
        }
    }
    Ok(())
}
