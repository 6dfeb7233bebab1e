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
    driver::Device as HvDevice,
    ops,
    sysfs, //
};
use core::ptr;
use kernel::prelude::*;
use rlis_hv::callbacks;
use rlis_proto::vmbus::life::{
    Device,
    Event, //
};
use rlis_sys as bindings;

/// `PCI_VENDOR_ID_MICROSOFT`, the vendor of every device.
const VENDOR_ID: u16 = 0x1414;

impl Channel {
    /// The device of a primary channel.
    fn device(&self) -> Option<&HvDevice> {
        // SAFETY: Null, or a device, which is freed after the last reference to it is gone: nobody looks at a channel's device
        // but the channel's addition, before the device is unregistered, and who unregisters it.
        unsafe { self.device_obj().get().cast::<HvDevice>().as_ref() }
    }

    fn set_device(&self, device: Option<&HvDevice>) {
        self.device_obj()
            .set(device.map_or(ptr::null_mut(), HvDevice::c));
    }
}

/// Makes a device of a primary channel and registers it, which runs the driver's probe. Sleeps.
///
/// # Errors
///
/// `EINVAL` if the channel has one; `ENOMEM`; those of registering. If a device was made ([`Event::DeviceMade`]), it and the
/// channel go with its last reference.
pub fn register(channel: &Channel) -> Result {
    let device = HvDevice::new(channel, VENDOR_ID, release)?;
    if channel.on(Event::DeviceMade).is_none() {
        return Err(EINVAL);
    }
    channel.set_device(Some(&device));
    bus_type::register_device(device)?;
    channel.on(Event::Registered);
    Ok(())
}

/// Makes the folder `channels` of a device that was just registered. Sleeps.
///
/// # Errors
///
/// `EINVAL` if there is no device; `ENOMEM`.
pub fn make_folder(channel: &Channel) -> Result {
    let device = channel.device().ok_or(EINVAL)?;
    if channel.life().device != Device::Registered {
        return Err(EINVAL);
    }
    // SAFETY: The device is registered, and only the work that added it unregisters it before it has this folder.
    let kset = unsafe {
        bindings::kset_create_and_add(
            c"channels".as_char_ptr(),
            ptr::null(),
            &raw mut (*device.c()).device.kobj,
        )
    };
    if kset.is_null() {
        return Err(ENOMEM);
    }
    let _list = channel::lock();
    // Only here, once, under the lock; a driver that looks at it while it is probed finds none, as with the C bus.
    device.channels_kset().set(kset);
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
    let device = primary.device().ok_or(ENODEV)?;
    let _files = Files::of(channel);
    {
        let list = channel::lock();
        if device.channels_kset().get().is_null()
            || !list.has(channel)
            || channel.on(Event::FilesBegun).is_none()
        {
            return Ok(());
        }
    }
    // SAFETY: The device is registered and has its kset; the channel was not added before.
    unsafe { sysfs::channel::add(channel, device.channels_kset().get()) }.inspect_err(|_| {
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
    let Some(device) = channel.device() else {
        return false;
    };
    let kset = device.channels_kset().get();
    // SAFETY: The device is registered, has its folder or none, and the event is accepted once.
    unsafe {
        if !kset.is_null() {
            bindings::kset_unregister(kset);
        }
        bindings::device_unregister(&raw mut (*device.c()).device);
    }
    true
}

callbacks! {
    /// The last reference to a device is gone.
    fn release(device: *mut bindings::device => &HvDevice) {
        // The channel lives until it is removed, which happens here.
        let channel = ChannelRef::from(device.channel());
        // SAFETY: No driver has the channel any more. The device was allocated by `register`, and nobody has a reference to it.
        unsafe {
            if let Ok(ops) = ops() {
                ops.device_released(&Owned::new(&channel));
            }
            channel.set_device(None);
            bindings::hv_device_free(device.c());
        }
    }
}
