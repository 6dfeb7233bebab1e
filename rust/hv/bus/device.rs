// SPDX-License-Identifier: GPL-2.0

//! Devices and drivers: what stands between the driver core and `struct hv_driver`.
//!
//! The tables of callbacks are in rust/sys/helpers_bus_driver.c and helpers_bus_sysfs.c.

use crate::{
    channel::{
        self,
        Channel,
        ChannelLock,
        ChannelRef,
        ChannelState, //
    },
    lock::SpinGuard,
    request::{
        list_add_tail,
        list_del, //
    },
    root,
};
use core::{
    ptr,
    slice, //
};
use kernel::{
    error::to_result,
    ffi::{
        c_char,
        c_int, //
    },
    prelude::*,
    str::CStr, //
};
use rlis_proto::Guid;
use rlis_sys as bindings;

/// `PCI_VENDOR_ID_MICROSOFT`, the vendor of every device.
const VENDOR_ID: u16 = 0x1414;

/// Turns a new channel into a device, or hands a sub-channel to the driver of its device. Process context;
/// runs the driver's probe.
pub(crate) fn add_channel(channel: &Channel) {
    {
        let mut list = channel::lock();
        if !list.has(channel) {
            return;
        }
        // Names and sysfs entries of a device must be gone before they can exist again.
        if channel.primary().is_none() && list.defer(channel) {
            return;
        }
    }
    let added = if channel.is_rescinded() {
        Err(ENODEV)
    } else {
        channel.set_state(ChannelState::Open);
        match channel.primary() {
            Some(primary) => add_sub_channel(primary, channel),
            None => add_device(channel),
        }
    };
    channel.set_probe_done();
    if let Err(e) = added {
        if e != ENODEV {
            pr_err!(
                "adding relid {} failed: {}\n",
                channel.relid(),
                e.to_errno()
            );
        }
        if channel.device().is_null() {
            channel.remove();
        }
    }
}

fn add_sub_channel(primary: &Channel, channel: &Channel) -> Result {
    // Drivers do not expect two at a time. Those of other devices need not wait for this driver and its host.
    let _one_at_a_time = Additions::of(primary);
    let device = primary.device();
    if device.is_null() || primary.is_rescinded() {
        return Err(ENODEV);
    }
    add_sysfs(device, channel, &channel::lock())?;
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

/// The right to hand a sub-channel of this primary channel to the driver.
struct Additions<'a>(&'a Channel);

impl<'a> Additions<'a> {
    /// Sleeps until the one before has been added.
    fn of(primary: &'a Channel) -> Self {
        // SAFETY: Initialised with the channel; drop unlocks it.
        unsafe { bindings::channel_lock_additions(primary.raw()) };
        Self(primary)
    }
}

impl Drop for Additions<'_> {
    fn drop(&mut self) {
        // SAFETY: Locked by `of`.
        unsafe { bindings::channel_unlock_additions(self.0.raw()) };
    }
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
fn add_sysfs(device: *mut bindings::hv_device, channel: &Channel, list: &ChannelLock) -> Result {
    // SAFETY: The device exists; the field is written under the lock.
    if unsafe { (*device).channels_kset.is_null() }
        || !list.has(channel)
        || channel.set_in_sysfs(true)
    {
        return Ok(());
    }
    // SAFETY: The device is registered and has its kset; the channel was not added before.
    to_result(unsafe { bindings::channel_add_sysfs(device, channel.raw()) }).inspect_err(|_| {
        channel.set_in_sysfs(false);
    })
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

    // SAFETY: The object is ready to be registered, and the root device exists as long as the bus does.
    let registered = to_result(unsafe { bindings::hv_device_register(device, root::device()) })
        .and_then(|()| {
            channel.set_registered(true);
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
            let list = channel::lock();
            // SAFETY: Only this work writes the field, under the lock; a driver that looks at it while it is probed
            // finds none, as with the C bus.
            unsafe { (*device).channels_kset = kset };
            // Sub-channels that came while the driver was probed.
            for sub in list.sub_channels(channel) {
                add_sysfs(device, sub, &list)?;
            }
            add_sysfs(device, channel, &list)
        });
    if registered.is_err() {
        if channel.set_registered(false) {
            unregister(device);
        } else {
            // SAFETY: `hv_device_register` initialised the reference count. The last one releases the device,
            // and with it the channel.
            unsafe { bindings::put_device(&raw mut (*device).device) };
        }
    }
    registered
}

/// Unregisters a device. Its driver is removed; its channel goes with the last reference to the device.
pub(crate) fn unregister(device: *mut bindings::hv_device) {
    // SAFETY: The caller knows that the device is registered, and unregisters it once.
    unsafe {
        let kset = (*device).channels_kset;
        if !kset.is_null() {
            bindings::kset_unregister(kset);
        }
        bindings::device_unregister(&raw mut (*device).device);
    }
}

/// Removes a channel that was rescinded, after its addition has ended.
pub(crate) fn remove_rescinded(channel: &Channel) {
    if channel.primary().is_some() {
        if matches!(
            channel.state(),
            ChannelState::Opened | ChannelState::Opening
        ) {
            // The driver closes it with its primary channel, and whoever closes a rescinded channel removes
            // it: the flag was set before the state was read here.
            channel.complete_rescind();
        } else {
            channel.remove();
        }
        return;
    }
    let device = channel.device();
    if device.is_null() {
        channel.remove();
        return;
    }
    // SAFETY: Set by the driver before its probe ends.
    if let Some(callback) = unsafe { (*channel.raw()).chn_rescind_callback } {
        // SAFETY: The driver's function, called as declared. The driver unregisters the device itself.
        unsafe { callback(channel.raw()) };
        crate::power::channel_removed(channel);
        return;
    }
    // Sub-channels that are being added use the device; those that come later see the flag.
    finish_additions(channel);
    if channel.set_registered(false) {
        unregister(device);
    }
}

/// The last reference to a device is gone.
#[no_mangle]
unsafe extern "C" fn rlis_bus_release_device(device: *mut bindings::hv_device) {
    // SAFETY: The channel lives until it is removed, which happens here.
    let channel = unsafe { Channel::from_raw((*device).channel) };
    // For removal after a driver's own `vmbus_device_unregister`, and after a failed registration.
    channel.set_rescind();
    channel.remove();
    // SAFETY: Allocated by `add_device`; nobody has a reference any more.
    unsafe { bindings::kfree(device.cast()) };
}

fn guid_of(guid: &bindings::guid_t) -> Guid {
    Guid::from_bytes(guid.b)
}

/// The entry of the driver's static table for this class, or null.
///
/// # Safety
///
/// `drv` is a registered driver.
unsafe fn find_static(
    drv: *const bindings::hv_driver,
    class: &Guid,
) -> *const bindings::hv_vmbus_device_id {
    // SAFETY: The table is terminated by an entry with a null GUID.
    unsafe {
        let mut id = (*drv).id_table;
        while !id.is_null() && !guid_of(&(*id).guid).is_null() {
            if guid_of(&(*id).guid) == *class {
                return id;
            }
            id = id.add(1);
        }
    }
    ptr::null()
}

/// A dynamic id of a driver. The layout is ours: the C struct is private to the C driver.
#[repr(C)]
struct DynId {
    links: bindings::list_head,
    id: bindings::hv_vmbus_device_id,
}

/// Calls `f` for the driver's dynamic id of this class, under the lock of the list.
///
/// # Safety
///
/// `drv` is a registered driver.
unsafe fn find_dynid<R>(
    drv: *mut bindings::hv_driver,
    class: &Guid,
    f: impl FnOnce(*mut DynId) -> R,
) -> Option<R> {
    // SAFETY: Initialised with the registration; everything on the list is a `DynId`, whose first field is the
    // link.
    unsafe {
        let _guard = SpinGuard::lock(&raw mut (*drv).dynids.lock);
        let head = &raw mut (*drv).dynids.list;
        let mut at = (*head).next;
        while at != head {
            let id = at.cast::<DynId>();
            at = (*at).next;
            if guid_of(&(*id).id.guid) == *class {
                return Some(f(id));
            }
        }
    }
    None
}

/// Parses what is written to `new_id` and `remove_id`: a GUID, with or without braces, and a line end.
///
/// # Safety
///
/// `buf` points to `count` bytes.
unsafe fn parse_guid(buf: *const c_char, count: usize) -> Result<Guid> {
    // SAFETY: The caller vouches for the buffer.
    let text = unsafe { slice::from_raw_parts(buf.cast::<u8>(), count) };
    let text = core::str::from_utf8(text).map_err(|_| EINVAL)?;
    Guid::parse(text.trim()).ok_or(EINVAL)
}

fn to_ssize(result: Result, count: usize) -> isize {
    match result {
        Ok(()) => isize::try_from(count).unwrap_or(isize::MAX),
        Err(e) => e.to_errno() as isize,
    }
}

/// `new_id`: another class that the driver shall be bound to.
#[no_mangle]
unsafe extern "C" fn rlis_bus_new_id(
    drv: *mut bindings::hv_driver,
    buf: *const c_char,
    count: usize,
) -> isize {
    // SAFETY: sysfs hands over a registered driver and a buffer of that size.
    to_ssize(unsafe { new_id(drv, buf, count) }, count)
}

/// See [`rlis_bus_new_id`].
///
/// # Safety
///
/// `drv` is a registered driver and `buf` points to `count` bytes.
unsafe fn new_id(drv: *mut bindings::hv_driver, buf: *const c_char, count: usize) -> Result {
    // SAFETY: The caller vouches for both.
    unsafe {
        let class = parse_guid(buf, count)?;
        if find_dynid(drv, &class, |_| ()).is_some() {
            return Err(EEXIST);
        }
        let id = bindings::vmbus_kzalloc(size_of::<DynId>()).cast::<DynId>();
        if id.is_null() {
            return Err(ENOMEM);
        }
        (*id).id.guid.b = class.b;
        {
            let _guard = SpinGuard::lock(&raw mut (*drv).dynids.lock);
            list_add_tail(&raw mut (*id).links, &raw mut (*drv).dynids.list);
        }
        to_result(bindings::driver_attach(&raw const (*drv).driver))
    }
}

/// `remove_id`: undoes `new_id`.
#[no_mangle]
unsafe extern "C" fn rlis_bus_remove_id(
    drv: *mut bindings::hv_driver,
    buf: *const c_char,
    count: usize,
) -> isize {
    // SAFETY: sysfs hands over a registered driver and a buffer of that size. The id is unlinked under the
    // lock, and nobody keeps a pointer to it: see `rlis_bus_probe`.
    let result = unsafe {
        parse_guid(buf, count).and_then(|class| {
            let id = find_dynid(drv, &class, |id| {
                list_del(&raw mut (*id).links);
                id
            })
            .ok_or(ENODEV)?;
            bindings::kfree(id.cast());
            Ok(())
        })
    };
    to_ssize(result, count)
}

/// What a driver that is bound by name only gets as its id.
struct NoId(bindings::hv_vmbus_device_id);

// SAFETY: Never written.
unsafe impl Sync for NoId {}

static NO_ID: NoId = NoId(pin_init::zeroed());

/// Whether the driver is for this device. `overridden` is 1 if the device may only be bound to this driver,
/// 0 if only to another one, negative if nothing is said.
#[no_mangle]
unsafe extern "C" fn rlis_bus_match(
    dev: *mut bindings::hv_device,
    drv: *const bindings::hv_driver,
    overridden: c_int,
) -> c_int {
    // SAFETY: The driver core hands over a device and a driver of this bus.
    let matches = unsafe {
        if Channel::from_raw((*dev).channel).is_hvsock() {
            (*drv).hvsock
        } else {
            match overridden {
                0 => false,
                1.. => true,
                _ => {
                    let class = guid_of(&(*dev).dev_type);
                    find_dynid(drv.cast_mut(), &class, |_| ()).is_some()
                        || !find_static(drv, &class).is_null()
                }
            }
        }
    };
    c_int::from(matches)
}

/// Calls the driver's probe.
#[no_mangle]
unsafe extern "C" fn rlis_bus_probe(
    dev: *mut bindings::hv_device,
    drv: *mut bindings::hv_driver,
    overridden: c_int,
) -> c_int {
    // SAFETY: The driver core hands over a device and a driver of this bus.
    unsafe {
        let name = CStr::from_char_ptr(bindings::hv_dev_name(&raw const (*dev).device));
        let Some(probe) = (*drv).probe else {
            pr_err!("probe not set for driver of {}\n", name);
            return ENODEV.to_errno();
        };
        let class = guid_of(&(*dev).dev_type);
        // A copy, as `remove_id` may free a dynamic id while the driver is probed.
        let dynamic = find_dynid(drv, &class, |id| ptr::read(&raw const (*id).id));
        let id = match &dynamic {
            Some(id) => ptr::from_ref(id),
            None => find_static(drv, &class),
        };
        let ret = if id.is_null() && overridden > 0 {
            probe(dev, &raw const NO_ID.0)
        } else {
            probe(dev, id)
        };
        if ret != 0 {
            pr_err!("probe failed for device {} ({})\n", name, ret);
        }
        ret
    }
}

/// Calls the driver's remove.
#[no_mangle]
unsafe extern "C" fn rlis_bus_remove(dev: *mut bindings::hv_device, drv: *mut bindings::hv_driver) {
    // SAFETY: The driver core hands over a device and its driver.
    unsafe {
        if let Some(remove) = (*drv).remove {
            remove(dev);
        }
    }
}

/// Calls the driver's shutdown.
#[no_mangle]
unsafe extern "C" fn rlis_bus_shutdown(
    dev: *mut bindings::hv_device,
    drv: *mut bindings::hv_driver,
) {
    // SAFETY: The driver core hands over a device and its driver.
    unsafe {
        if let Some(shutdown) = (*drv).shutdown {
            shutdown(dev);
        }
    }
}

/// Calls the driver's suspend.
#[no_mangle]
unsafe extern "C" fn rlis_bus_suspend_device(
    dev: *mut bindings::hv_device,
    drv: *mut bindings::hv_driver,
) -> c_int {
    // SAFETY: The driver core hands over a device and its driver.
    unsafe { (*drv).suspend.map_or(EOPNOTSUPP.to_errno(), |f| f(dev)) }
}

/// Calls the driver's resume.
#[no_mangle]
unsafe extern "C" fn rlis_bus_resume_device(
    dev: *mut bindings::hv_device,
    drv: *mut bindings::hv_driver,
) -> c_int {
    // SAFETY: The driver core hands over a device and its driver.
    unsafe { (*drv).resume.map_or(EOPNOTSUPP.to_errno(), |f| f(dev)) }
}

/// Registers a driver.
///
/// # Safety
///
/// `drv` stays valid until [`unregister_driver`]; its functions may be called with devices of this bus.
pub(crate) unsafe fn register_driver(
    drv: *mut bindings::hv_driver,
    owner: *mut bindings::module,
    mod_name: *const c_char,
) -> Result {
    if root::device().is_null() {
        return Err(ENODEV);
    }
    // SAFETY: The caller vouches for the driver.
    unsafe {
        pr_info!("registering driver {}\n", CStr::from_char_ptr((*drv).name));
        bindings::driver_set_bus(drv, owner, mod_name);
        bindings::dynids_init(drv);
        to_result(bindings::driver_register(&raw mut (*drv).driver))
    }
}

/// Unregisters a driver; its devices are removed from it.
///
/// # Safety
///
/// `drv` is a registered driver.
pub(crate) unsafe fn unregister_driver(drv: *mut bindings::hv_driver) {
    // SAFETY: The caller vouches for the driver. After it is unregistered nobody looks at its dynamic ids.
    unsafe {
        pr_info!(
            "unregistering driver {}\n",
            CStr::from_char_ptr((*drv).name)
        );
        bindings::driver_unregister(&raw mut (*drv).driver);
        let head = &raw mut (*drv).dynids.list;
        let mut at = (*head).next;
        while at != head {
            let id = at.cast::<DynId>();
            at = (*at).next;
            bindings::kfree(id.cast());
        }
        bindings::dynids_init(drv);
    }
}

/// Registers the bus type.
pub struct BusType(());

impl BusType {
    /// Registers it.
    ///
    /// # Errors
    ///
    /// Those of `bus_register`.
    pub fn register() -> Result<Self> {
        // SAFETY: The bus type is static.
        to_result(unsafe { bindings::vmbus_bus_register() })?;
        Ok(Self(()))
    }
}

impl Drop for BusType {
    fn drop(&mut self) {
        // SAFETY: Registered by `register`; devices and drivers are gone.
        unsafe { bindings::vmbus_bus_unregister() };
    }
}
