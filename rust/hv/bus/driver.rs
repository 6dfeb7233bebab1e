// SPDX-License-Identifier: GPL-2.0

//! Drivers: what stands between the driver core and `struct hv_driver`.
//!
//! The callbacks of the driver core are in [`crate::bus_type`].

use crate::{
    channel::{
        Channel,
        Owned, //
    },
    ops,
    ratelimit, //
};
use core::mem::offset_of;
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
use rlis_hv::{
    c_struct,
    contains,
    hooks,
    list::{
        Link,
        Links,
        List,
        Locked, //
    },
    lock::{
        SpinGuard,
        SpinLock, //
    },
    table::FromKernel,
    view::Callback,
    Field,
    Hook, //
};
use rlis_proto::{
    vmbus::probe,
    Guid, //
};
use rlis_sys as bindings;
use rlis_sys::hv_vmbus_device_id;

fn guid_of(guid: &bindings::guid_t) -> Guid {
    Guid::from_bytes(guid.b)
}

/// What frees a device.
pub(crate) type Release = Callback<*mut bindings::device>;

c_struct! {
    /// A device of this bus, as the driver core hands it over. It has a channel.
    // SAFETY: A device is made of zeroes.
    unsafe pub struct Device(bindings::hv_device) {
        fn channel_field -> Field<*mut bindings::vmbus_channel> = channel;
        fn class_field -> [Field<u8>; 16] = dev_type.b;
        fn instance_field -> [Field<u8>; 16] = dev_instance.b;
        fn vendor_id -> Field<u16> = vendor_id;
        fn release -> Field<Option<Release>> = device.release;
        fn driver_field -> Field<*mut bindings::device_driver> = device.driver;
        fn device_id -> Field<u16> = device_id;
        /// The folder of its channels in sysfs, or null.
        pub(crate) fn channels_kset -> Field<*mut bindings::kset> = channels_kset;
    }
}

impl Device {
    /// Makes the device of a channel, to be registered.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(channel: &Channel, vendor: u16, release: Release) -> Result<KBox<Self>> {
        let device = KBox::new(Self(Opaque::zeroed()), GFP_KERNEL)?;
        device.release().set(Some(release));
        device.init(channel, vendor);
        Ok(device)
    }

    /// The C object.
    pub(crate) fn c(&self) -> *mut bindings::hv_device {
        self.raw()
    }

    /// The driver that it is bound to, or about to be. In callbacks of the driver core.
    pub(crate) fn driver(&self) -> Option<&Driver> {
        let driver = self.driver_field().get();
        // SAFETY: The driver core holds the device's lock, or is the only one left, so that the driver stays; it is one of
        // this bus.
        (!driver.is_null()).then(|| unsafe { FromKernel::from_kernel(driver) })
    }

    fn init(&self, channel: &Channel, vendor: u16) {
        let offer = channel.offer();
        self.channel_field().set(channel.c());
        for (to, from) in self.class_field().iter().zip({ offer.offer.if_type }.b) {
            to.set(from);
        }
        for (to, from) in self
            .instance_field()
            .iter()
            .zip({ offer.offer.if_instance }.b)
        {
            to.set(from);
        }
        self.vendor_id().set(vendor);
        self.device_id().set(channel.class());
    }

    /// Its primary channel.
    pub(crate) fn channel(&self) -> &Channel {
        // SAFETY: By the invariants; the channel goes with the device.
        unsafe { &*self.channel_field().get().cast::<Channel>() }
    }

    /// Its class.
    pub(crate) fn class(&self) -> Guid {
        Guid::from_bytes(self.class_field().each_ref().map(Field::get))
    }

    /// Vendor and device id.
    pub(crate) fn ids(&self) -> (u16, u16) {
        (self.vendor_id().get(), self.device_id().get())
    }

    /// Its name, as long as it is registered.
    pub(crate) fn name(&self) -> &CStr {
        // SAFETY: By the invariants; the name of a registered device stays.
        unsafe { CStr::from_char_ptr(bindings::dev_name(&raw const (*self.raw()).device)) }
    }
}

hooks! {
    // SAFETY: A reference has the ABI of a pointer.
    unsafe {
        /// A driver's function that is called with a device.
        Tell = fn(&Device), [*mut bindings::hv_device];
        /// A driver's function that is called with a device and may fail.
        Ask = fn(&Device) -> c_int, [*mut bindings::hv_device];
        /// A driver's probe.
        Probe = fn(&Device, &hv_vmbus_device_id) -> c_int,
            [*mut bindings::hv_device, *const hv_vmbus_device_id];
    }
}

c_struct! {
    /// A driver of this bus. Its static table of ids is null, or ends with a null GUID.
    // SAFETY: `Driver::register` initialises what the driver has not, before anybody else looks.
    unsafe pub(crate) struct Driver(bindings::hv_driver) {
        fn name_field -> Field<*const c_char> = name;
        fn id_table -> Field<*const hv_vmbus_device_id> = id_table;
        fn hvsock -> Field<bool> = hvsock;
        fn dynids_lock -> SpinLock = dynids.lock;
        fn dynids_list -> List<DynIds> = dynids.list;
        fn probe -> Hook<Probe> = probe;
        #[cfg(RLIS_HAVE_REMOVE_VOID)]
        fn remove -> Hook<Tell> = remove;
        // What it returns means nothing.
        #[cfg(not(RLIS_HAVE_REMOVE_VOID))]
        fn remove -> Hook<Ask> = remove;
        fn shutdown -> Hook<Tell> = shutdown;
        fn suspend -> Hook<Ask> = suspend;
        fn resume -> Hook<Ask> = resume;
    }
}

/// A dynamic id of a driver. The layout is ours: the C struct is private to the C driver.
#[repr(C)]
struct DynId {
    links: Links,
    id: hv_vmbus_device_id,
}

/// How dynamic ids are linked.
struct DynIds;

// SAFETY: The offset is that of the links.
unsafe impl Link for DynIds {
    type Item = DynId;
    type Owner = KBox<DynId>;
    const OFFSET: usize = offset_of!(DynId, links);
}

impl DynId {
    fn is_for(&self, class: &Guid) -> bool {
        guid_of(&self.id.guid) == *class
    }
}

impl Driver {
    /// The C object.
    pub(crate) fn c(&self) -> *mut bindings::hv_driver {
        self.raw()
    }

    /// Its name.
    pub(crate) fn name(&self) -> &CStr {
        // SAFETY: Drivers have names, which are C strings.
        unsafe { CStr::from_char_ptr(self.name_field().get()) }
    }

    /// The entry of the driver's static table for this class.
    fn find_static(&self, class: &Guid) -> Option<&hv_vmbus_device_id> {
        let mut at = self.id_table().get();
        core::iter::from_fn(|| {
            // SAFETY: By the invariants, null or an entry of the table, of which the last is not gone beyond.
            let id = unsafe { at.as_ref() }.filter(|id| !guid_of(&id.guid).is_null())?;
            at = at.wrapping_add(1);
            Some(id)
        })
        .find(|id| guid_of(&id.guid) == *class)
    }

    /// The dynamic ids, with their lock.
    fn dynids(&self) -> Locked<'_, DynIds, SpinGuard<'_>> {
        let guard = self.dynids_lock().lock();
        // SAFETY: The lock is that of the list; an id is on the list of its driver only.
        unsafe { self.dynids_list().locked(guard) }
    }

    /// Whether it has a dynamic id of this class.
    fn has_dynid(&self, class: &Guid) -> bool {
        self.dynids().iter().any(|id| id.is_for(class))
    }

    /// A copy of its dynamic id of this class, as `remove_id` may free it.
    fn dynid(&self, class: &Guid) -> Option<hv_vmbus_device_id> {
        let ids = self.dynids();
        let id = &ids.iter().find(|id| id.is_for(class))?.id;
        Some(hv_vmbus_device_id {
            guid: bindings::guid_t { b: id.guid.b },
            driver_data: id.driver_data,
        })
    }

    /// Adds a dynamic id, and binds the driver to devices that wait for one. Sleeps.
    pub(crate) fn add_dynid(&self, class: &Guid) -> Result {
        if self.has_dynid(class) {
            return Err(EEXIST);
        }
        let new = DynId {
            links: Links::new(),
            id: hv_vmbus_device_id {
                guid: bindings::guid_t { b: class.b },
                driver_data: 0,
            },
        };
        let new = KBox::new(new, GFP_KERNEL)?;
        // It is on no list yet.
        let _ = self.dynids().push(new);
        // SAFETY: By the invariants; process context.
        to_result(unsafe { bindings::driver_attach(&raw mut (*self.raw()).driver) })
    }

    /// Removes a dynamic id.
    pub(crate) fn remove_dynid(&self, class: &Guid) -> Result {
        let mut ids = self.dynids();
        let old = ids.remove_first(|id| id.is_for(class));
        drop(ids);
        old.map(drop).ok_or(ENODEV)
    }

    /// Frees all dynamic ids, when the driver is unregistered.
    pub(crate) fn free_dynids(&self) {
        loop {
            let mut ids = self.dynids();
            let first = ids.pop();
            drop(ids);
            if first.is_none() {
                return;
            }
        }
    }

    /// Whether user space has chosen it for a device, or another one; `None` if it has chosen none.
    fn is_chosen_for(&self, dev: &Device) -> Option<bool> {
        // SAFETY: A registered driver, and a device of this bus.
        let chosen = unsafe {
            bindings::match_driver_override(
                &raw mut (*dev.raw()).device,
                &raw const (*self.raw()).driver,
            )
        };
        (chosen >= 0).then_some(chosen != 0)
    }
}

contains! {
    // SAFETY: The driver core, and sysfs, have only devices that `crate::device`, and drivers that `crate::bus_type` has registered
    // with this bus; files of devices are those of their kobject.
    unsafe {
        Device: bindings::device = bindings::hv_device, device;
        Device: bindings::kobject = bindings::hv_device, device.kobj;
        Driver: bindings::device_driver = bindings::hv_driver, driver;
    }
}

/// What a driver gets as its id that is bound by name only, or is that of sockets.
static NO_ID: hv_vmbus_device_id = pin_init::zeroed();

/// Whether the driver is for this device.
pub(crate) fn matches(dev: &Device, drv: &Driver) -> bool {
    if dev.channel().is_hvsock() {
        return drv.hvsock().get();
    }
    drv.is_chosen_for(dev).unwrap_or_else(|| {
        let class = dev.class();
        drv.has_dynid(&class) || drv.find_static(&class).is_some()
    })
}

/// Calls the driver's probe.
pub(crate) fn probe(dev: &Device, drv: &Driver) -> c_int {
    let Some(probe) = drv.probe().get() else {
        pr_err!("probe not set for driver of {}\n", dev.name());
        return ENODEV.to_errno();
    };
    let class = dev.class();
    let dynamic = drv.dynid(&class);
    // Sockets' devices have classes of their own, and a driver for all of them.
    let without = || dev.channel().is_hvsock() || drv.is_chosen_for(dev) == Some(true);
    let id = (dynamic.as_ref()).or_else(|| drv.find_static(&class));
    let Some(id) = id.or_else(|| without().then_some(&NO_ID)) else {
        // The id was taken back since the driver was found to be for the device.
        return ENODEV.to_errno();
    };
    let ret = probe(dev, id);
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
    if let Some(remove) = drv.remove().get() {
        remove(dev);
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
pub(crate) fn shutdown(dev: &Device, drv: &Driver) {
    if let Some(shutdown) = drv.shutdown().get() {
        shutdown(dev);
    }
}

/// Calls the driver's suspend.
pub(crate) fn suspend(dev: &Device, drv: &Driver) -> c_int {
    (drv.suspend().get()).map_or(EOPNOTSUPP.to_errno(), |suspend| suspend(dev))
}

/// Calls the driver's resume.
pub(crate) fn resume(dev: &Device, drv: &Driver) -> c_int {
    (drv.resume().get()).map_or(EOPNOTSUPP.to_errno(), |resume| resume(dev))
}
