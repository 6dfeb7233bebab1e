// SPDX-License-Identifier: GPL-2.0

//! Drivers: what stands between the driver core and `struct hv_driver`.
//!
//! The callbacks of the driver core are in [`crate::bus_type`].

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
    table::{
        Contains,
        FromKernel,
        Table, //
    }, //
};
use core::{
    mem::offset_of,
    ptr, //
};
use kernel::{
    error::to_result,
    ffi::c_int,
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
pub struct Device(Opaque<bindings::hv_device>);

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

    /// The C object.
    pub(crate) fn raw(&self) -> *mut bindings::hv_device {
        self.0.get()
    }

    /// The driver that it is bound to, or about to be. In callbacks of the driver core.
    pub(crate) fn driver(&self) -> Option<&Driver> {
        // SAFETY: The driver core holds the device's lock, or is the only one left, so that the driver stays; it is one of
        // this bus.
        unsafe {
            let driver = (*self.0.get()).device.driver;
            (!driver.is_null()).then(|| FromKernel::from_kernel(driver))
        }
    }

    /// Its name.
    pub(crate) fn name(&self) -> &CStr {
        // SAFETY: By the invariants; the name of a registered device stays.
        unsafe { CStr::from_char_ptr(bindings::dev_name(&raw const (*self.0.get()).device)) }
    }
}

// SAFETY: The driver core, and sysfs, have only devices that `crate::device` has registered with this bus.
unsafe impl Contains<bindings::device> for Device {
    const OFFSET: usize = offset_of!(bindings::hv_device, device);
}

// SAFETY: As above; files of devices are those of their kobject.
unsafe impl Contains<bindings::kobject> for Device {
    const OFFSET: usize =
        offset_of!(bindings::hv_device, device) + offset_of!(bindings::device, kobj);
}

// SAFETY: The driver core, and sysfs, have only drivers that `crate::bus_type` has registered with this bus.
unsafe impl Contains<bindings::device_driver> for Driver {
    const OFFSET: usize = offset_of!(bindings::hv_driver, driver);
}

/// What a driver is called for, besides its probe.
enum Call {
    Remove,
    Shutdown,
    Suspend,
    Resume,
}

/// A driver of devices of this bus.
///
/// # Invariants
///
/// It stays valid from its registration to its unregistration, in which time its list of ids is initialised; its functions are
/// called with devices of this bus.
#[repr(transparent)]
pub(crate) struct Driver(Opaque<bindings::hv_driver>);

/// A dynamic id of a driver. The layout is ours: the C struct is private to the C driver.
#[repr(C)]
struct DynId {
    links: bindings::list_head,
    id: bindings::hv_vmbus_device_id,
}

impl Driver {
    /// The C object.
    pub(crate) fn raw(&self) -> *mut bindings::hv_driver {
        self.0.get()
    }

    /// Its name.
    pub(crate) fn name(&self) -> &CStr {
        // SAFETY: By the invariants; a name that stays.
        unsafe { CStr::from_char_ptr((*self.0.get()).name) }
    }

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
    pub(crate) fn add_dynid(&self, class: &Guid) -> Result {
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
    pub(crate) fn remove_dynid(&self, class: &Guid) -> Result {
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
    pub(crate) fn free_dynids(&self) {
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

    /// Whether user space has chosen it for a device, or another one; `None` if it has chosen none.
    fn is_chosen_for(&self, dev: &Device) -> Option<bool> {
        // SAFETY: A registered driver, and a device of this bus.
        let chosen = unsafe {
            bindings::match_driver_override(
                &raw mut (*dev.0.get()).device,
                &raw const (*self.0.get()).driver,
            )
        };
        (chosen >= 0).then_some(chosen != 0)
    }

    /// Whether it is for Hyper-V sockets.
    fn takes_sockets(&self) -> bool {
        // SAFETY: By the invariants.
        unsafe { (*self.0.get()).hvsock }
    }

    /// Calls a function of the driver, and returns what it does; `None` if there is no such function.
    fn call(&self, dev: &Device, call: Call) -> Option<c_int> {
        let (drv, dev) = (self.0.get(), dev.0.get());
        // SAFETY: By the invariants; a function of the driver is called as declared with a device that it is for.
        unsafe {
            match call {
                Call::Remove => (*drv).remove.map(|f| {
                    f(dev);
                    0
                }),
                Call::Shutdown => (*drv).shutdown.map(|f| {
                    f(dev);
                    0
                }),
                Call::Suspend => (*drv).suspend.map(|f| f(dev)),
                Call::Resume => (*drv).resume.map(|f| f(dev)),
            }
        }
    }
}

/// What a driver that is bound by name only gets as its id.
static NO_ID: Table<bindings::hv_vmbus_device_id> = Table::new(pin_init::zeroed());

/// Whether the driver is for this device.
pub(crate) fn matches(dev: &Device, drv: &Driver) -> bool {
    if dev.channel().is_hvsock() {
        return drv.takes_sockets();
    }
    drv.is_chosen_for(dev).unwrap_or_else(|| {
        let class = dev.class();
        drv.has_dynid(&class) || !drv.find_static(&class).is_null()
    })
}

/// Calls the driver's probe.
pub(crate) fn probe(dev: &Device, drv: &Driver) -> c_int {
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
    let id = if id.is_null() && drv.is_chosen_for(dev) == Some(true) {
        NO_ID.get().cast_const()
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
pub(crate) fn remove(dev: &Device, drv: &Driver) {
    let channel = dev.channel();
    // A rescind from here on waits for the end of this instead of calling a driver that is letting go.
    if !channel.is_hvsock() {
        channel.clear_rescind_callback();
    }
    drv.call(dev, Call::Remove);
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
pub(crate) fn shutdown(dev: &Device, drv: &Driver) {
    drv.call(dev, Call::Shutdown);
}

/// Calls the driver's suspend.
pub(crate) fn suspend(dev: &Device, drv: &Driver) -> c_int {
    drv.call(dev, Call::Suspend)
        .unwrap_or(EOPNOTSUPP.to_errno())
}

/// Calls the driver's resume.
pub(crate) fn resume(dev: &Device, drv: &Driver) -> c_int {
    drv.call(dev, Call::Resume).unwrap_or(EOPNOTSUPP.to_errno())
}
