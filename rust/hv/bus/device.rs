// SPDX-License-Identifier: GPL-2.0

//! Devices: `struct hv_device` and the files of its channels. What stands between them and their drivers:
//! [`crate::driver`].

use crate::{
    bus_type,
    channel::{
        self,
        Channel,
        ChannelRef,
        Files,
        Owned, //
    },
    driver,
    ops,
    root,
    sysfs,
    table::callbacks, //
};
use core::ptr;
use kernel::prelude::*;
use rlis_proto::vmbus::life::{
    Device,
    Event, //
};
use rlis_sys as bindings;

/// `PCI_VENDOR_ID_MICROSOFT`, the vendor of every device.
const VENDOR_ID: u16 = 0x1414;

/// Makes a device of a primary channel and registers it, which runs the driver's probe. Sleeps.
///
/// # Errors
///
/// `EINVAL` if the channel has one; `ENOMEM`; those of registering. If a device was made ([`Event::DeviceMade`]), it and the
/// channel go with its last reference.
pub fn register(channel: &Channel) -> Result {
    // SAFETY: No requirements; process context.
    let device = unsafe { bindings::vmbus_kzalloc(size_of::<bindings::hv_device>()) }
        .cast::<bindings::hv_device>();
    if device.is_null() {
        return Err(ENOMEM);
    }
    if channel.on(Event::DeviceMade).is_none() {
        // SAFETY: Just allocated, and not used.
        unsafe { bindings::kfree(device.cast()) };
        return Err(EINVAL);
    }
    let offer = channel.offer();
    // SAFETY: The object is new and zeroed, which is valid for all its fields.
    unsafe {
        (*device).channel = channel.raw();
        (*device).dev_type.b = { offer.offer.if_type }.b;
        (*device).dev_instance.b = { offer.offer.if_instance }.b;
        (*device).vendor_id = VENDOR_ID;
        (*device).device_id = channel.class();
        (*device).device.release = Some(release);
    }
    channel.set_device(device);
    // SAFETY: The object is ready to be registered, and the root device exists as long as the bus does.
    let registered = unsafe { bus_type::register_device(device, root::device()) };
    match registered {
        Ok(()) => _ = channel.on(Event::Registered),
        // SAFETY: `register_device` initialised the reference count. The last one releases the device, and with it the
        // channel.
        Err(_) => unsafe { bindings::put_device(&raw mut (*device).device) },
    }
    registered
}

/// Makes the folder `channels` of a device that was just registered. Sleeps.
///
/// # Errors
///
/// `EINVAL` if there is no device; `ENOMEM`.
pub fn make_folder(channel: &Channel) -> Result {
    let device = channel.device();
    if channel.life().device != Device::Registered {
        return Err(EINVAL);
    }
    // SAFETY: The device is registered, and only the work that added it unregisters it before it has this folder.
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
    let _list = channel::lock();
    // SAFETY: Only this function writes the field, once, under the lock; a driver that looks at it while it is probed finds
    // none, as with the C bus.
    unsafe { (*device).channels_kset = kset };
    Ok(())
}

/// Makes a channel's files, unless it has them or its device has no folder for them yet, which then makes them itself.
/// Sleeps.
///
/// # Errors
///
/// `ENODEV` if there is no device; those of making them.
pub fn add_files(channel: &Channel) -> Result {
    let primary = channel.primary().unwrap_or(channel);
    let device = primary.device();
    if device.is_null() {
        return Err(ENODEV);
    }
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
    unsafe { sysfs::channel::add(channel, (*device).channels_kset) }.inspect_err(|_| {
        channel.on(Event::FilesGone);
    })
}

/// Unregisters a channel's device, after [`Event::UnregisterBegun`] was accepted: false if it is not. Its driver is removed,
/// and its name is free; the channel goes with the last reference to the device, which may be much later: a mounted file
/// system has one. Sleeps.
pub fn unregister(channel: &Channel) -> bool {
    if channel.on(Event::UnregisterBegun).is_none() {
        return false;
    }
    // SAFETY: The device is registered, and the event is accepted once.
    unsafe {
        let device = channel.device();
        let kset = (*device).channels_kset;
        if !kset.is_null() {
            bindings::kset_unregister(kset);
        }
        bindings::device_unregister(&raw mut (*device).device);
    }
    true
}

callbacks! {
    /// The last reference to a device is gone.
    fn release(device: *mut bindings::device => &driver::Device) {
        // The channel lives until it is removed, which happens here.
        let channel = ChannelRef::from(device.channel());
        // SAFETY: No driver has the channel any more. The device was allocated by `register`, and nobody has a reference to it.
        unsafe {
            if let Ok(ops) = ops() {
                ops.device_released(&Owned::new(&channel));
            }
            bindings::hv_device_free(device.raw());
        }
    }
}
