// SPDX-License-Identifier: GPL-2.0

//! Drivers: what stands between the driver core and `struct hv_driver`.
//!
//! The tables of callbacks are in rust/sys/helpers_bus_driver.c and helpers_bus_sysfs.c.

use crate::{
    channel::{
        Channel,
        Owned, //
    },
    list::{
        list_add_tail,
        list_del, //
    },
    lock::SpinGuard,
    ops,
    ratelimit,
    root, //
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
use rlis_proto::{
    vmbus::probe,
    Guid, //
};
use rlis_sys as bindings;

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
            if probe::is_failure(ret) {
                ratelimit::rarely(|| pr_err!("probe failed for device {} ({})\n", name, ret));
            }
            driver_gone(dev);
        }
        ret
    }
}

/// Calls the driver's remove.
#[no_mangle]
unsafe extern "C" fn rlis_bus_remove(dev: *mut bindings::hv_device, drv: *mut bindings::hv_driver) {
    // SAFETY: The driver core hands over a device and its driver.
    unsafe {
        let channel = Channel::from_raw((*dev).channel);
        // A rescind from here on waits for the end of this instead of calling a driver that is letting go.
        if !channel.is_hvsock() {
            channel.clear_rescind_callback();
        }
        if let Some(remove) = (*drv).remove {
            remove(dev);
        }
        driver_gone(dev);
    }
}

/// A driver has let go of a device.
///
/// # Safety
///
/// `dev` is a device of this bus whose driver is not called any more, and does not call.
unsafe fn driver_gone(dev: *mut bindings::hv_device) {
    // SAFETY: The device's channel; the driver has given it up.
    let channel = unsafe { Owned::new(Channel::from_raw((*dev).channel)) };
    if let Ok(ops) = ops() {
        ops.driver_gone(&channel);
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
