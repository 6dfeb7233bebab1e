// SPDX-License-Identifier: GPL-2.0

//! Opening and closing channels.

use core::sync::atomic::{
    AtomicU32,
    Ordering, //
};
use kernel::{
    page::PAGE_SIZE,
    prelude::*,
    types::ScopeGuard, //
};
use rlis_bus::{
    channel::{
        self,
        Additions,
        Callback,
        Channel,
        ChannelRef,
        Owned,
        INVALID_RELID, //
    },
    connection,
    cpu,
    device_class,
    gpadl::Kind,
    ratelimit,
    request::{
        self,
        Key, //
    },
    requestor,
    ring,
    CHANNEL_TIMEOUT_MS,
    HOST_RESPONSE_TIMEOUT_MS,
    STORAGE_CLOSE_TIMEOUT_MS, //
};
use rlis_proto::vmbus::{
    life::{
        Event,
        Rings, //
    },
    message::{
        ChannelMessageHeader,
        CloseChannel,
        OpenChannel, //
    },
    HV_HYP_PAGE_SIZE,
    MAX_USER_DEFINED_BYTES, //
};

use crate::{
    gpadl,
    placement,
    removal, //
};

/// Distinguishes open requests, so that a late answer to one that was given up is not taken for another's.
static NEXT_OPENID: AtomicU32 = AtomicU32::new(1);

/// Opens a channel whose rings are allocated. Sleeps.
///
/// # Errors
///
/// `EINVAL` if the channel is open already, has no rings or `userdata` is longer than 120 bytes; `EAGAIN` if
/// the host refuses; `ENODEV` if the channel is or gets rescinded, or did not come back after a resume;
/// `ETIMEDOUT` if the host does not answer; `EIO` if it may still use the rings as they were opened before;
/// `ENOMEM`; those of [`gpadl::establish`].
pub(crate) fn connect(channel: &Owned<'_>, userdata: &[u8], callback: Callback) -> Result {
    let mut message = OpenChannel {
        header: ChannelMessageHeader::of::<OpenChannel>(),
        child_relid: channel.relid(),
        openid: NEXT_OPENID.fetch_add(1, Ordering::Relaxed),
        ringbuffer_gpadlhandle: 0,
        target_vp: 0,
        downstream_ringbuffer_pageoffset: 0,
        userdata: [0; MAX_USER_DEFINED_BYTES],
    };
    message
        .userdata
        .get_mut(..userdata.len())
        .ok_or(EINVAL)?
        .copy_from_slice(userdata);
    let (send, gpadl) = channel.rings().ok_or(EINVAL)?;
    message.downstream_ringbuffer_pageoffset = send * (PAGE_SIZE / HV_HYP_PAGE_SIZE) as u32;
    if message.child_relid == INVALID_RELID {
        return Err(ENODEV);
    }
    {
        // A CPU that goes offline takes the channel's interrupts elsewhere before this, or is refused. A move that the
        // host has not answered yet does not count for this opening.
        let list = channel::lock();
        channel.on(Event::OpenBegun).ok_or(EINVAL)?;
        let mut route = channel.route(&list);
        route.open();
        placement::set_route(channel, &route, &list);
        message.target_vp = cpu::vp_number(route.cpu);
    }
    let undo_state = ScopeGuard::new(|| _ = channel.on(Event::OpenFailed));

    requestor::alloc(channel)?;
    let undo_requestor = ScopeGuard::new(|| requestor::free(channel));

    if gpadl.is_lost() {
        return Err(EIO);
    }
    gpadl::establish(channel, Kind::Ring, gpadl)?;
    let undo_gpadl = ScopeGuard::new(|| {
        ring::unmap(channel);
        if let Some((_, gpadl)) = channel.rings() {
            // What it does not give back is lost, which `ring::free` finds.
            let _ = gpadl::teardown(channel, gpadl, CHANNEL_TIMEOUT_MS);
        }
    });
    let (_, gpadl) = channel.rings().ok_or(EINVAL)?;
    message.ringbuffer_gpadlhandle = gpadl.handle();

    ring::map(channel)?;
    channel.set_callback(callback);
    let undo_callback = ScopeGuard::new(|| channel.reset_callback());

    let key = Key::Open {
        relid: message.child_relid,
        openid: message.openid,
    };
    match request::status(key, channel, || connection::post(&message)) {
        Ok(0) => {}
        Ok(_) => return Err(EAGAIN),
        Err(e) => {
            if e == ETIMEDOUT {
                ratelimit::rarely(|| {
                    pr_err!(
                        "opening relid {}: no answer from the host\n",
                        channel.relid()
                    );
                });
                // It may have opened the channel all the same.
                let _ = post_close(channel);
            }
            return Err(e);
        }
    }
    if channel.on(Event::Opened).is_none() {
        // It was rescinded since the host answered, for whom it is open until this.
        let _ = post_close(channel);
        return Err(ENODEV);
    }
    undo_callback.dismiss();
    undo_gpadl.dismiss();
    undo_requestor.dismiss();
    undo_state.dismiss();
    Ok(())
}

fn post_close(channel: &Channel) -> Result {
    if channel.relid() == INVALID_RELID {
        // A socket that was in use at a suspend: the host has forgotten it, and another channel may have its relid.
        return Ok(());
    }
    connection::post(&CloseChannel {
        header: ChannelMessageHeader::of::<CloseChannel>(),
        child_relid: channel.relid(),
    })
}

/// Closes one channel and ends its rings' GPADL; the memory stays allocated. Sleeps.
///
/// The channel counts as open until that is done: a rescind meanwhile leaves its removal to the caller.
///
/// # Errors
///
/// `EINVAL` if the channel is not open, in which case only its callback is reset; those of
/// [`gpadl::teardown`] and of posting. The rings' memory is lost then.
fn close(channel: &Owned<'_>) -> Result {
    channel.reset_callback();
    // A probe that failed leaves a channel that is not open to the driver's remove.
    channel.on(Event::CloseBegun).ok_or(EINVAL)?;
    // The host needs no message about a channel that it has withdrawn, nor after the connection's end.
    let posted = match post_close(channel) {
        Err(e) if !channel.is_rescinded() && e != ENODEV => Err(e),
        _ => Ok(()),
    };
    let result = match (posted, channel.rings()) {
        (Err(e), rings) => {
            // The host goes on using them.
            drop(rings.map(|(_, gpadl)| gpadl.lent()));
            Err(e)
        }
        (Ok(()), Some((_, gpadl))) if gpadl.handle() != 0 => {
            // The host ends it when it is through with all requests that came on the channel.
            let timeout_ms = if device_class::is_storage(channel.class()) {
                STORAGE_CLOSE_TIMEOUT_MS
            } else {
                CHANNEL_TIMEOUT_MS
            };
            gpadl::teardown(channel, gpadl, timeout_ms)
        }
        (Ok(()), _) => Ok(()),
    };
    // From here on a rescind removes the channel itself.
    channel.on(Event::Closed);
    match result {
        Ok(()) => requestor::free(channel),
        Err(e) => ratelimit::rarely(|| {
            pr_err!(
                "closing relid {} failed: {}\n",
                channel.relid(),
                e.to_errno()
            );
        }),
    }
    result
}

/// Frees a channel's rings. uio_hv_generic does so with an open channel, if a program still has its file open when the
/// device is taken away from it; the host must not use them any more by then. Sleeps.
pub(crate) fn free_ring(channel: &Owned<'_>) {
    if channel.life().rings == Rings::Opened && channel.primary().is_none() {
        pr_warn!(
            "relid {} was left open by its driver, closing it\n",
            channel.relid()
        );
        // An error has marked the memory as lost.
        let _ = disconnect(channel);
    }
    ring::free(channel);
}

/// Closes a primary channel and its sub-channels; the primary's rings stay allocated. Sleeps.
///
/// # Errors
///
/// `EINVAL` for a sub-channel; what closing the primary channel returns.
pub(crate) fn disconnect(channel: &Owned<'_>) -> Result {
    if channel.primary().is_some() {
        return Err(EINVAL);
    }
    // The driver frees after this what it uses when it is handed a sub-channel, and closes none that comes later.
    channel.clear_sc_creation_callback();
    drop(Additions::of(channel));
    loop {
        let list = channel::lock();
        // Each round closes one or takes one off the list. A closed one stays on it until the host rescinds it.
        let next = list
            .sub_channels(channel)
            .find(|sub| sub.is_rescinded() || sub.life().rings == Rings::Opened)
            .map(ChannelRef::from);
        drop(list);
        let Some(sub) = next else { break };
        let Some(sub) = channel.sub_channel(&sub) else {
            break;
        };
        if sub.is_rescinded()
            && sub
                .rescind_event()
                .wait_timeout(HOST_RESPONSE_TIMEOUT_MS)
                .is_err()
        {
            pr_err!("the rescind of sub-channel {} does not end\n", sub.relid());
        }
        // What the host may still use stays allocated.
        if close(&sub) != Err(EINVAL) {
            ring::free(&sub);
        }
        if sub.is_rescinded() {
            removal::remove(&sub);
        }
    }
    close(channel)
}

/// Leaves nothing of a driver in the channels of a device that it has let go of, or could not take.
///
/// A socket is used once, and its driver may still be called when the host withdraws it.
pub(crate) fn forget_driver(channel: &Owned<'_>) {
    if channel.is_hvsock() {
        return;
    }
    if channel.life().rings == Rings::Opened {
        free_ring(channel);
    }
    ring::release_kept(channel);
    let list = channel::lock();
    for c in Iterator::chain(core::iter::once(&**channel), list.sub_channels(channel)) {
        c.forget_driver(&list);
    }
}
