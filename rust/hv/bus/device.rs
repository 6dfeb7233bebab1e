// SPDX-License-Identifier: GPL-2.0

//! Devices: how a channel becomes one, and how it goes. What stands between them and their drivers: [`crate::driver`].

use crate::{
    channel::{
        self,
        Additions,
        Channel,
        ChannelRef,
        Files, //
    },
    ratelimit,
    ring,
    root, //
};
use core::ptr;
use kernel::{
    error::to_result,
    prelude::*, //
};
use rlis_proto::vmbus::life::{
    Device,
    Event,
    Step, //
};
use rlis_sys as bindings;

/// `PCI_VENDOR_ID_MICROSOFT`, the vendor of every device.
const VENDOR_ID: u16 = 0x1414;

/// Turns a new channel into a device, or hands a sub-channel to the driver of its device. Process context;
/// runs the driver's probe.
pub(crate) fn add_channel(channel: &Channel) {
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
        channel.remove();
    }
}

fn add_sub_channel(primary: &Channel, channel: &Channel) -> Result {
    // Drivers do not expect two at a time. Those of other devices need not wait for this driver and its host.
    let _one_at_a_time = Additions::of(primary);
    let device = primary.device();
    if device.is_null() || primary.is_rescinded() {
        return Err(ENODEV);
    }
    add_sysfs(device, channel)?;
    // A driver sets and clears the callback while it has the device; it must cope with a call that crosses its
    // removal, as with the C bus.
    // SAFETY: A field of a valid channel.
    let callback = unsafe { ptr::read_volatile(&raw const (*primary.raw()).sc_creation_callback) };
    if let Some(callback) = callback {
        // SAFETY: The driver's function, called as declared.
        unsafe { callback(channel.raw()) };
    }
    Ok(())
}

/// Waits until none of the device's sub-channels is being added. For a rescinded primary channel, which gets no more of
/// them. Sleeps; not from an addition.
pub(crate) fn finish_additions(primary: &Channel) {
    let mut at = 0;
    loop {
        let list = channel::lock();
        let next = list.sub_channels(primary).nth(at).map(ChannelRef::from);
        drop(list);
        let Some(sub) = next else { return };
        // SAFETY: Initialised with the channel, which is kept.
        let waited = unsafe { bindings::flush_work(&raw mut (*sub.raw()).add_channel_work) };
        // The list may be a different one after a wait.
        at = if waited { 0 } else { at + 1 };
    }
}

/// Makes the channel's files, unless it has them or its device has no folder for them yet, which then makes them itself.
/// Sleeps.
fn add_sysfs(device: *mut bindings::hv_device, channel: &Channel) -> Result {
    let _files = Files::of(channel);
    {
        let list = channel::lock();
        // SAFETY: The device exists; the field is written under the lock.
        if unsafe { (*device).channels_kset.is_null() }
            || !list.has(channel)
            || channel.on(Event::FilesBegun).is_none()
        {
            return Ok(());
        }
    }
    // SAFETY: The device is registered and has its kset; the channel was not added before.
    to_result(unsafe { bindings::channel_add_sysfs(device, channel.raw()) }).inspect_err(|_| {
        channel.on(Event::FilesGone);
    })
}

/// A channel of the device that has no files yet.
fn without_files(primary: &Channel) -> Option<ChannelRef> {
    let list = channel::lock();
    let mut all = Iterator::chain(list.sub_channels(primary), core::iter::once(primary));
    all.find(|c| list.has(c) && !c.life().files)
        .map(ChannelRef::from)
}

/// Registers the device of a primary channel. On failure the device is gone, and with it the channel, or
/// there never was one and `device()` is null.
fn add_device(channel: &Channel) -> Result {
    // SAFETY: No requirements; process context.
    let device = unsafe { bindings::vmbus_kzalloc(size_of::<bindings::hv_device>()) }
        .cast::<bindings::hv_device>();
    if device.is_null() {
        return Err(ENOMEM);
    }
    let offer = channel.offer();
    // SAFETY: The object is new and zeroed, which is valid for all its fields.
    unsafe {
        (*device).channel = channel.raw();
        (*device).dev_type.b = { offer.offer.if_type }.b;
        (*device).dev_instance.b = { offer.offer.if_instance }.b;
        (*device).vendor_id = VENDOR_ID;
        (*device).device_id = channel.class();
    }
    channel.set_device(device);
    channel.on(Event::DeviceMade);

    // SAFETY: The object is ready to be registered, and the root device exists as long as the bus does.
    let registered = to_result(unsafe { bindings::hv_device_register(device, root::device()) })
        .and_then(|()| {
            channel.on(Event::Registered);
            // SAFETY: The device is registered.
            let kset = unsafe {
                bindings::kset_create_and_add(
                    c"channels".as_char_ptr(),
                    ptr::null(),
                    &raw mut (*device).device.kobj,
                )
            };
            if kset.is_null() {
                return Err(ENOMEM);
            }
            {
                let _list = channel::lock();
                // SAFETY: Only this work writes the field, under the lock; a driver that looks at it while it is
                // probed finds none, as with the C bus.
                unsafe { (*device).channels_kset = kset };
            }
            // Its own, and those of sub-channels that came while the driver was probed.
            while let Some(next) = without_files(channel) {
                add_sysfs(device, &next)?;
            }
            Ok(())
        });
    if registered.is_err() {
        if channel.life().device != Device::Made {
            unregister(channel);
        } else {
            // SAFETY: `hv_device_register` initialised the reference count. The last one releases the device,
            // and with it the channel.
            unsafe { bindings::put_device(&raw mut (*device).device) };
        }
    }
    registered
}

/// Unregisters a channel's device. Its driver is removed, its name is free, and the relid is given back; the channel goes
/// with the last reference to the device. That may be much later: a mounted file system has one. Does nothing if there is no
/// registered device, or somebody else unregisters it. Sleeps.
pub(crate) fn unregister(channel: &Channel) {
    if channel.on(Event::UnregisterBegun).is_none() {
        return;
    }
    let channel = ChannelRef::from(channel);
    // SAFETY: The device is registered, and the event is accepted once.
    unsafe {
        let device = channel.device();
        let kset = (*device).channels_kset;
        if !kset.is_null() {
            bindings::kset_unregister(kset);
        }
        bindings::device_unregister(&raw mut (*device).device);
    }
    channel.vacate();
}

/// Removes a channel that was rescinded, after its addition has ended.
pub(crate) fn remove_rescinded(channel: &Channel) {
    let callback = channel.rescind_callback();
    let told = callback.is_some();
    match (channel.on(Event::RemovalBegun { told }), callback) {
        (Some(Step::Remove), _) => channel.remove(),
        (Some(Step::LeaveToCloser), _) => channel.complete_rescind(),
        (Some(Step::TellDriver), Some(callback)) => {
            // SAFETY: The driver's function, called as declared. The driver unregisters the device itself.
            unsafe { callback(channel.raw()) };
            channel::gone(channel);
        }
        (Some(Step::Unregister), _) => {
            // Sub-channels that are being added use the device; those that come later see that the offer is withdrawn.
            finish_additions(channel);
            unregister(channel);
        }
        _ => {}
    }
}

/// The last reference to a device is gone.
#[no_mangle]
unsafe extern "C" fn rlis_bus_release_device(device: *mut bindings::hv_device) {
    // SAFETY: The channel lives until it is removed, which happens here.
    let channel = unsafe { Channel::from_raw((*device).channel) };
    // For removal after a driver's own `vmbus_device_unregister`, and after a failed registration.
    channel.on(Event::Ended);
    // Of a driver that closed the channel after it had given the device up.
    ring::release_kept(channel);
    channel.remove();
    // SAFETY: Allocated by `add_device`; nobody has a reference any more.
    unsafe { bindings::kfree(device.cast()) };
}
