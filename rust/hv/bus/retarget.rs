// SPDX-License-Identifier: GPL-2.0

//! Moving the interrupts of an open channel to another CPU.

use crate::{
    channel::{
        self,
        Channel,
        ChannelState, //
    },
    connection,
    cpu,
    request::{
        self,
        Key, //
    }, //
};
use kernel::prelude::*;
use rlis_proto::vmbus::{
    message::{
        ChannelMessageHeader,
        ModifyChannel, //
    },
    Version,
};
use rlis_sys as bindings;

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
/// `EIO` if the channel is not open, the protocol is older than 4.1 or the host does not do it; `EINVAL` if
/// the CPU may not serve channels.
pub(crate) fn set_cpu(channel: &Channel, target: u32) -> Result {
    if !connection::version().has_modify_channel() {
        return Err(EIO);
    }
    let _guard = Retargeting::begin();
    if !cpu::may_serve(target) {
        return Err(EINVAL);
    }
    if channel.state() != ChannelState::Opened {
        return Err(EIO);
    }
    let from = channel.target_cpu();
    if target == from {
        return Ok(());
    }
    // The lock of channels is not held while the host thinks: a rescind needs it. A close meanwhile makes the
    // host ignore the message, and costs a time-out at worst.
    modify(channel, cpu::vp_number(target)).map_err(|_| EIO)?;
    moved(channel, from, target);
    Ok(())
}

/// Keeps CPUs from going offline, and channels from being moved by anyone else.
///
/// A CPU that goes offline moves its channels, for which it needs no such guard: it waits until there is none.
///
/// # Invariants
///
/// The current task has the kernel's lock of CPUs for reading, and the lock of retargeting.
struct Retargeting(core::marker::PhantomData<*mut ()>);

impl Retargeting {
    /// Sleeps.
    fn begin() -> Self {
        // SAFETY: Process context, with neither lock held; drop gives them up.
        unsafe { bindings::vmbus_retarget_begin() };
        // INVARIANT: Just taken.
        Self(core::marker::PhantomData)
    }
}

impl Drop for Retargeting {
    fn drop(&mut self) {
        // SAFETY: Held by the invariants.
        unsafe { bindings::vmbus_retarget_end() };
    }
}

/// Records that the host has moved the channel, to a CPU that has not left meanwhile.
fn moved(channel: &Channel, from: u32, to: u32) {
    let lock = channel::lock();
    channel.set_target_cpu(to, &lock);
    // SAFETY: The driver's function, set while the channel is open, called as declared; under the lock, as
    // with the C bus.
    unsafe {
        let c = channel.raw();
        if let Some(callback) = (*c).change_target_cpu_callback {
            callback(c, from, to);
        }
    }
}

/// Moves a channel away from a CPU that is going offline, which no channel is placed on any more. Sleeps.
///
/// # Errors
///
/// `EBUSY` if that cannot be done safely: the host would have to confirm that no interrupt is on its way to
/// the old CPU, which it does from 5.3 on.
pub(crate) fn leave_cpu(channel: &Channel, leaving: u32) -> Result {
    let others = || {
        cpu::online()
            .filter(move |&cpu| cpu != leaving && cpu != cpu::CONNECT_CPU && cpu::may_serve(cpu))
    };
    // Spread what leaves over the others.
    let count = others().count();
    let start = if count == 0 {
        0
    } else {
        channel.relid() as usize % count
    };
    let target = others().nth(start).unwrap_or(cpu::CONNECT_CPU);

    {
        let lock = channel::lock();
        match channel.state() {
            // The host does not know of a CPU yet.
            ChannelState::Open | ChannelState::Offer => {
                channel.set_target_cpu(target, &lock);
                return Ok(());
            }
            ChannelState::Opening => return Err(EBUSY),
            ChannelState::Opened => {}
        }
    }
    if connection::version() < Version::V5_3 {
        return Err(EBUSY);
    }
    match modify(channel, cpu::vp_number(target)) {
        Ok(()) => {
            moved(channel, leaving, target);
            Ok(())
        }
        // Closed or rescinded meanwhile: no more interrupts.
        Err(_) if channel.is_rescinded() || channel.state() != ChannelState::Opened => {
            channel.set_target_cpu(target, &channel::lock());
            Ok(())
        }
        Err(_) => Err(EBUSY),
    }
}
