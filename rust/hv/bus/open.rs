// SPDX-License-Identifier: GPL-2.0

//! Opening and closing channels.

use crate::{
    channel::{
        self,
        Additions,
        Channel,
        ChannelRef,
        INVALID_RELID, //
    },
    connection,
    cpu,
    device_class,
    gpadl,
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
use core::sync::atomic::{
    AtomicU32,
    Ordering, //
};
use kernel::{
    ffi::c_void,
    page::PAGE_SIZE,
    prelude::*,
    types::ScopeGuard, //
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
    HV_HYP_PAGE_SIZE, MAX_USER_DEFINED_BYTES,
};

/// A driver's channel callback.
pub(crate) type Callback = Option<unsafe extern "C" fn(context: *mut c_void)>;

/// `VMBUS_DEFAULT_MAX_PKT_SIZE`.
const DEFAULT_MAX_PKT_SIZE: u32 = 4096;

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
pub(crate) fn connect(
    channel: &Channel,
    userdata: &[u8],
    callback: Callback,
    context: *mut c_void,
) -> Result {
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

    let c = channel.raw();
    // SAFETY: The driver that opens the channel is the only one to touch these fields, and keeps the rings.
    let (list, send) = unsafe { (ring::page_list(channel), (*c).ringbuffer_send_offset) };
    let list = list.ok_or(EINVAL)?;
    let (outbound, inbound) = (list.pages())
        .split_at_checked(send as usize)
        .ok_or(EINVAL)?;
    let memory = gpadl::Memory::Pages(list);
    if message.child_relid == INVALID_RELID {
        return Err(ENODEV);
    }
    {
        // A CPU that goes offline takes the channel's interrupts elsewhere before this, or is refused. A move that the
        // host has not answered yet does not count for this opening.
        let list = channel::lock();
        if channel.on(Event::OpenBegun).is_none() {
            return Err(EINVAL);
        }
        let mut route = channel.route(&list);
        route.open();
        channel.set_route(&route, &list);
        message.target_vp = cpu::vp_number(route.cpu);
    }
    let undo_state = ScopeGuard::new(|| _ = channel.on(Event::OpenFailed));

    requestor::alloc(channel)?;
    let undo_requestor = ScopeGuard::new(|| requestor::free(channel));

    // SAFETY: As above. The rings' memory stays allocated until `ring::free`, which looks at `decrypted`.
    let ring_gpadl = unsafe {
        // Set while there is no GPADL: the last one was not confirmed to have ended.
        if (*c).ringbuffer_gpadlhandle.decrypted {
            return Err(EIO);
        }
        if (*c).max_pkt_size == 0 {
            (*c).max_pkt_size = DEFAULT_MAX_PKT_SIZE;
        }
        (*c).ringbuffer_gpadlhandle.gpadl_handle = 0;
        gpadl::establish(
            channel,
            gpadl::Kind::Ring,
            memory,
            &mut (*c).ringbuffer_gpadlhandle,
        )?;
        &raw mut (*c).ringbuffer_gpadlhandle
    };
    let undo_gpadl = ScopeGuard::new(|| {
        ring::unmap(channel);
        // An error has marked the memory as lost.
        // SAFETY: As above.
        let _ = gpadl::teardown(channel, memory, unsafe { &mut *ring_gpadl });
    });

    // SAFETY: The channel is being opened; the pages are those of its rings.
    unsafe {
        let confidential = rlis_sys::channel_co_ring_buffer(c);
        ring::init(&raw mut (*c).outbound, outbound, 0, confidential)?;
        ring::init(
            &raw mut (*c).inbound,
            inbound,
            (*c).max_pkt_size,
            confidential,
        )?;
        // Only now: the callback, and whoever schedules it, uses the rings.
        (*c).channel_callback_context = context;
        core::sync::atomic::fence(Ordering::Release);
        (*c).onchannel_callback = callback;
        message.ringbuffer_gpadlhandle = (*ring_gpadl).gpadl_handle;
    }
    let undo_callback = ScopeGuard::new(|| channel.reset_callback());

    message.downstream_ringbuffer_pageoffset = send * (PAGE_SIZE / HV_HYP_PAGE_SIZE) as u32;
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
    // Not if it was rescinded meanwhile.
    channel.on(Event::Opened).ok_or(ENODEV)?;
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
fn close(channel: &Channel) -> Result {
    channel.reset_callback();
    // A probe that failed leaves a channel that is not open to the driver's remove.
    if channel.on(Event::CloseBegun).is_none() {
        return Err(EINVAL);
    }
    // The host needs no message about a channel that it has withdrawn, nor after the connection's end.
    let posted = match post_close(channel) {
        Err(e) if !channel.is_rescinded() && e != ENODEV => Err(e),
        _ => Ok(()),
    };
    // SAFETY: The driver that closes the channel is the only one to touch this field.
    let ring_gpadl = unsafe { &mut (*channel.raw()).ringbuffer_gpadlhandle };
    // SAFETY: As above; an open channel keeps its rings.
    let list = unsafe { ring::page_list(channel) };
    let result = match (posted, list) {
        (Err(e), _) => {
            ring_gpadl.decrypted = true;
            Err(e)
        }
        (Ok(()), Some(list)) if ring_gpadl.gpadl_handle != 0 => {
            // The host ends it when it is through with all requests that came on the channel.
            let timeout_ms = if device_class::is_storage(channel.class()) {
                STORAGE_CLOSE_TIMEOUT_MS
            } else {
                CHANNEL_TIMEOUT_MS
            };
            gpadl::teardown_within(channel, gpadl::Memory::Pages(list), ring_gpadl, timeout_ms)
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
pub(crate) fn free_ring(channel: &Channel) {
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
pub(crate) fn disconnect(channel: &Channel) -> Result {
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
        if sub.is_rescinded() && !sub.wait_rescind(HOST_RESPONSE_TIMEOUT_MS) {
            pr_err!("the rescind of sub-channel {} does not end\n", sub.relid());
        }
        // What the host may still use stays allocated.
        if close(&sub) != Err(EINVAL) {
            ring::free(&sub);
        }
        if sub.is_rescinded() {
            sub.remove();
        }
    }
    close(channel)
}
