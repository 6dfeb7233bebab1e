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
    str::CStr,
    types::Opaque, //
};
use rlis_proto::{
    vmbus::probe,
    Guid, //
};
use rlis_sys as bindings;

fn guid_of(guid: &bindings::guid_t) -> Guid {
    Guid::from_bytes(guid.b)
}

/// A device of this bus, as the driver core hands it over.
///
/// # Invariants
///
/// It is valid, and has a channel.
#[repr(transparent)]
pub(crate) struct Device(Opaque<bindings::hv_device>);

impl Device {
    /// Its primary channel.
    pub(crate) fn channel(&self) -> &Channel {
        // SAFETY: By the invariants.
        unsafe { Channel::from_raw((*self.0.get()).channel) }
    }

    /// Its class.
    pub(crate) fn class(&self) -> Guid {
        // SAFETY: By the invariants; written before the device is registered.
        guid_of(unsafe { &(*self.0.get()).dev_type })
    }

    /// Vendor and device id.
    pub(crate) fn ids(&self) -> (u16, u16) {
        // SAFETY: By the invariants; written before the device is registered.
        unsafe { ((*self.0.get()).vendor_id, (*self.0.get()).device_id) }
    }

    fn name(&self) -> &CStr {
        // SAFETY: By the invariants; the name of a registered device stays.
        unsafe { CStr::from_char_ptr(bindings::hv_dev_name(&raw const (*self.0.get()).device)) }
    }
}

/// What a driver does with its devices.
type DeviceFunction = Option<unsafe extern "C" fn(*mut bindings::hv_device) -> c_int>;

/// A driver that is registered with this bus.
///
/// # Invariants
///
/// It is valid, and its lists of ids are initialised.
#[repr(transparent)]
pub(crate) struct Driver(Opaque<bindings::hv_driver>);

/// A dynamic id of a driver. The layout is ours: the C struct is private to the C driver.
#[repr(C)]
struct DynId {
    links: bindings::list_head,
    id: bindings::hv_vmbus_device_id,
}

impl Driver {
    /// The entry of the driver's static table for this class, or null.
    fn find_static(&self, class: &Guid) -> *const bindings::hv_vmbus_device_id {
        // SAFETY: By the invariants; the table is terminated by an entry with a null GUID.
        unsafe {
            let mut id = (*self.0.get()).id_table;
            while !id.is_null() && !guid_of(&(*id).guid).is_null() {
                if guid_of(&(*id).guid) == *class {
                    return id;
                }
                id = id.add(1);
            }
        }
        ptr::null()
    }

    /// Takes the lock of the dynamic ids.
    fn lock_dynids(&self) -> SpinGuard<'_> {
        // SAFETY: By the invariants; nothing here takes it twice.
        unsafe { SpinGuard::lock(&raw mut (*self.0.get()).dynids.lock) }
    }

    /// The driver's dynamic id of this class. Under the lock of the list.
    fn find_dynid(&self, class: &Guid, _guard: &SpinGuard<'_>) -> Option<*mut DynId> {
        // SAFETY: By the invariants; everything on the list is a `DynId`, whose first field is the link, and stays while the
        // lock is held.
        unsafe {
            let head = &raw mut (*self.0.get()).dynids.list;
            let mut at = (*head).next;
            while at != head {
                let id = at.cast::<DynId>();
                at = (*at).next;
                if guid_of(&(*id).id.guid) == *class {
                    return Some(id);
                }
            }
        }
        None
    }

    /// Whether it has a dynamic id of this class.
    fn has_dynid(&self, class: &Guid) -> bool {
        self.find_dynid(class, &self.lock_dynids()).is_some()
    }

    /// A copy of its dynamic id of this class, as `remove_id` may free it.
    fn dynid(&self, class: &Guid) -> Option<bindings::hv_vmbus_device_id> {
        let guard = self.lock_dynids();
        let id = self.find_dynid(class, &guard)?;
        // SAFETY: The lock is held.
        Some(unsafe { ptr::read(&raw const (*id).id) })
    }

    /// Adds a dynamic id, and binds the driver to devices that wait for one. Sleeps.
    fn add_dynid(&self, class: &Guid) -> Result {
        if self.has_dynid(class) {
            return Err(EEXIST);
        }
        // SAFETY: No requirements; process context.
        let id = unsafe { bindings::vmbus_kzalloc(size_of::<DynId>()) }.cast::<DynId>();
        if id.is_null() {
            return Err(ENOMEM);
        }
        let guard = self.lock_dynids();
        // SAFETY: The object is new, and zeroed, which is valid for it; the list's lock is held.
        unsafe {
            (*id).id.guid.b = class.b;
            list_add_tail(&raw mut (*id).links, &raw mut (*self.0.get()).dynids.list);
        }
        drop(guard);
        // SAFETY: By the invariants; process context.
        to_result(unsafe { bindings::driver_attach(&raw const (*self.0.get()).driver) })
    }

    /// Removes a dynamic id.
    fn remove_dynid(&self, class: &Guid) -> Result {
        let guard = self.lock_dynids();
        let id = self.find_dynid(class, &guard).ok_or(ENODEV)?;
        // SAFETY: On the list, whose lock is held; nobody keeps a pointer to it: see `dynid`.
        unsafe { list_del(&raw mut (*id).links) };
        drop(guard);
        // SAFETY: Allocated by `add_dynid`, and off the list.
        unsafe { bindings::kfree(id.cast()) };
        Ok(())
    }

    /// Frees all dynamic ids: nobody looks at them any more.
    fn free_dynids(&self) {
        // SAFETY: By the invariants; the driver is unregistered, so that there is nobody but the caller.
        unsafe {
            let head = &raw mut (*self.0.get()).dynids.list;
            let mut at = (*head).next;
            while at != head {
                let id = at.cast::<DynId>();
                at = (*at).next;
                bindings::kfree(id.cast());
            }
            bindings::dynids_init(self.0.get());
        }
    }

    /// Whether it is for Hyper-V sockets.
    fn takes_sockets(&self) -> bool {
        // SAFETY: By the invariants.
        unsafe { (*self.0.get()).hvsock }
    }

    /// Calls a function of the driver that takes nothing but the device; `None` if there is no such function.
    fn call(&self, dev: &Device, function: DeviceFunction) -> Option<c_int> {
        // SAFETY: A function of the driver, called as declared with a device that it is for.
        function.map(|function| unsafe { function(dev.0.get()) })
    }
}

/// What is written to `new_id` and `remove_id`: a GUID, with or without braces, and a line end.
fn parse_guid(buf: *const c_char, count: usize) -> Result<Guid> {
    // SAFETY: sysfs hands over a buffer of that size.
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
extern "C" fn rlis_bus_new_id(drv: &Driver, buf: *const c_char, count: usize) -> isize {
    let result = parse_guid(buf, count).and_then(|class| drv.add_dynid(&class));
    to_ssize(result, count)
}

/// `remove_id`: undoes `new_id`.
#[no_mangle]
extern "C" fn rlis_bus_remove_id(drv: &Driver, buf: *const c_char, count: usize) -> isize {
    let result = parse_guid(buf, count).and_then(|class| drv.remove_dynid(&class));
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
extern "C" fn rlis_bus_match(dev: &Device, drv: &Driver, overridden: c_int) -> c_int {
    let matches = if dev.channel().is_hvsock() {
        drv.takes_sockets()
    } else {
        match overridden {
            0 => false,
            1.. => true,
            _ => {
                let class = dev.class();
                drv.has_dynid(&class) || !drv.find_static(&class).is_null()
            }
        }
    };
    c_int::from(matches)
}

/// Calls the driver's probe.
#[no_mangle]
extern "C" fn rlis_bus_probe(dev: &Device, drv: &Driver, overridden: c_int) -> c_int {
    // SAFETY: A registered driver.
    let Some(probe) = (unsafe { (*drv.0.get()).probe }) else {
        pr_err!("probe not set for driver of {}\n", dev.name());
        return ENODEV.to_errno();
    };
    let class = dev.class();
    let dynamic = drv.dynid(&class);
    let id = match &dynamic {
        Some(id) => ptr::from_ref(id),
        None => drv.find_static(&class),
    };
    let id = if id.is_null() && overridden > 0 {
        &raw const NO_ID.0
    } else {
        id
    };
    // SAFETY: The driver's function, called as declared with a device that it is for.
    let ret = unsafe { probe(dev.0.get(), id) };
    if ret != 0 {
        if probe::is_failure(ret) {
            ratelimit::rarely(|| {
                pr_err!("probe failed for device {} ({})\n", dev.name(), ret);
            });
        }
        driver_gone(dev);
    }
    ret
}

/// Calls the driver's remove.
#[no_mangle]
extern "C" fn rlis_bus_remove(dev: &Device, drv: &Driver) {
    let channel = dev.channel();
    // A rescind from here on waits for the end of this instead of calling a driver that is letting go.
    if !channel.is_hvsock() {
        channel.clear_rescind_callback();
    }
    // SAFETY: A registered driver, whose function is called as declared with its device.
    unsafe {
        if let Some(remove) = (*drv.0.get()).remove {
            remove(dev.0.get());
        }
    }
    driver_gone(dev);
}

/// A driver has let go of a device.
fn driver_gone(dev: &Device) {
    // SAFETY: The driver core has called the driver's remove, or its probe has failed: it does not use the channel any more.
    let channel = unsafe { Owned::new(dev.channel()) };
    if let Ok(ops) = ops() {
        ops.driver_gone(&channel);
    }
}

/// Calls the driver's shutdown.
#[no_mangle]
extern "C" fn rlis_bus_shutdown(dev: &Device, drv: &Driver) {
    // SAFETY: A registered driver, whose function is called as declared with its device.
    unsafe {
        if let Some(shutdown) = (*drv.0.get()).shutdown {
            shutdown(dev.0.get());
        }
    }
}

/// Calls the driver's suspend.
#[no_mangle]
extern "C" fn rlis_bus_suspend_device(dev: &Device, drv: &Driver) -> c_int {
    // SAFETY: A registered driver.
    let suspend = unsafe { (*drv.0.get()).suspend };
    drv.call(dev, suspend).unwrap_or(EOPNOTSUPP.to_errno())
}

/// Calls the driver's resume.
#[no_mangle]
extern "C" fn rlis_bus_resume_device(dev: &Device, drv: &Driver) -> c_int {
    // SAFETY: A registered driver.
    let resume = unsafe { (*drv.0.get()).resume };
    drv.call(dev, resume).unwrap_or(EOPNOTSUPP.to_errno())
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
    // SAFETY: The caller vouches for the driver.
    let driver = unsafe {
        pr_info!(
            "unregistering driver {}\n",
            CStr::from_char_ptr((*drv).name)
        );
        bindings::driver_unregister(&raw mut (*drv).driver);
        &*drv.cast::<Driver>()
    };
    driver.free_dynids();
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
