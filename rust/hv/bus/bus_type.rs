// SPDX-License-Identifier: GPL-2.0

//! The bus type: what the driver core calls, and what it is told of devices and drivers.

use crate::{
    driver::{
        self,
        Device,
        Driver, //
    },
    root,
    sysfs, //
};
use kernel::{
    error::to_result,
    ffi::{
        c_char,
        c_int, //
    },
    prelude::*, //
};
use rlis_hv::{
    callbacks,
    table::{
        noirq,
        Table, //
    }, //
};
use rlis_sys as bindings;

#[cfg(RLIS_HAVE_MATCH_CONST)]
type AnyDriver = *const bindings::device_driver;
#[cfg(not(RLIS_HAVE_MATCH_CONST))]
type AnyDriver = *mut bindings::device_driver;

#[cfg(RLIS_HAVE_UEVENT_CONST)]
type AnyDevice = *const bindings::device;
#[cfg(not(RLIS_HAVE_UEVENT_CONST))]
type AnyDevice = *mut bindings::device;

callbacks! {
    fn matches(
        device: *mut bindings::device => &Device,
        driver: AnyDriver => &Driver,
    ) -> c_int {
        c_int::from(driver::matches(device, driver))
    }

    fn probe(device: *mut bindings::device => &Device) -> c_int {
        device.driver().map_or(0, |driver| driver::probe(device, driver))
    }

    fn remove(device: *mut bindings::device => &Device) {
        if let Some(driver) = device.driver() {
            driver::remove(device, driver);
        }
    }

    fn shutdown(device: *mut bindings::device => &Device) {
        if let Some(driver) = device.driver() {
            driver::shutdown(device, driver);
        }
    }

    fn suspend(device: *mut bindings::device => &Device) -> c_int {
        device.driver().map_or(0, |driver| driver::suspend(device, driver))
    }

    fn resume(device: *mut bindings::device => &Device) -> c_int {
        device.driver().map_or(0, |driver| driver::resume(device, driver))
    }

    /// The alias is the class GUID as it lies in memory, which is what file2alias writes into modules.
    fn uevent(
        device: AnyDevice => &Device,
        environment: *mut bindings::kobj_uevent_env,
    ) -> c_int {
        let class = device.class().b;
        let format = c"MODALIAS=vmbus:%*phN".as_char_ptr();
        // SAFETY: `%*ph` takes a length and so many bytes.
        unsafe { bindings::add_uevent_var(environment, format, class.len() as c_int, class.as_ptr()) }
    }

    fn dma_configure(device: *mut bindings::device) -> c_int {
        // SAFETY: A device of this bus; the host's DMA is coherent.
        unsafe { bindings::hv_setup_dma_ops(device, true) };
        0
    }
}

/// What devices do for hibernation, and for nothing else: suspend to idle must leave the bus working, or nothing could wake a
/// generation 2 VM. "noirq", since pass-through PCI devices are suspended and resumed in that phase and need their bus.
static PM: Table<bindings::dev_pm_ops> = Table::new(noirq(suspend, resume));

#[allow(clippy::disallowed_methods)] // `as_char_ptr` is not const.
static BUS: Table<bindings::bus_type> = Table::new({
    let mut bus: bindings::bus_type = pin_init::zeroed();
    bus.name = c"vmbus".to_bytes_with_nul().as_ptr();
    #[cfg(RLIS_HAVE_MATCH_DRIVER_OVERRIDE)]
    {
        bus.driver_override = true;
    }
    bus.match_ = Some(matches);
    bus.probe = Some(probe);
    bus.remove = Some(remove);
    bus.shutdown = Some(shutdown);
    bus.uevent = Some(uevent);
    bus.dma_configure = Some(dma_configure);
    bus.dev_groups = sysfs::device::GROUPS.get().cast();
    bus.drv_groups = sysfs::bus::DRIVER_GROUPS.get().cast();
    bus.bus_groups = sysfs::bus::BUS_GROUPS.get().cast();
    bus.pm = PM.get();
    bus
});

/// The registration of the bus type.
pub struct BusType(());

impl BusType {
    /// Registers it.
    ///
    /// # Errors
    ///
    /// Those of `bus_register`.
    pub fn register() -> Result<Self> {
        // SAFETY: The table is static.
        to_result(unsafe { bindings::bus_register(BUS.get()) })?;
        Ok(Self(()))
    }
}

impl Drop for BusType {
    fn drop(&mut self) {
        // SAFETY: Registered by `register`; devices and drivers are gone.
        unsafe { bindings::bus_unregister(BUS.get()) };
    }
}

/// Registers a device, which is named by its instance. It is freed by its release function, with the last reference to it. Sleeps.
///
/// # Errors
///
/// Those of the driver core; the device is on its way to its release function then.
pub(crate) fn register_device(device: KBox<Device>) -> Result {
    const MASK: u64 = u64::MAX;
    let device = KBox::leak(device).c();
    // SAFETY: The object is new, says which device it is, and has a release function, which the last reference calls; its parent
    // exists as long as the bus does. `%pUl` takes the address of a GUID.
    unsafe {
        let dev = &raw mut (*device).device;
        bindings::device_initialize(dev);
        (*dev).bus = BUS.get();
        (*dev).parent = root::device();
        (*dev).dma_parms = &raw mut (*device).dma_parms;
        (*dev).dma_mask = &raw mut (*device).dma_mask;
        let instance = &raw const (*device).dev_instance;
        let named = to_result(bindings::dev_set_name(dev, c"%pUl".as_char_ptr(), instance));
        let added = named.and_then(|()| {
            // A mask of 64 bits is never refused.
            let _ = bindings::dma_set_mask(dev, MASK);
            let _ = bindings::dma_set_coherent_mask(dev, MASK);
            to_result(bindings::device_add(dev))
        });
        added.inspect_err(|_| bindings::put_device(dev))
    }
}

/// Registers a driver, for the module `owner`, which is named `mod_name` or has null there.
///
/// # Errors
///
/// `ENODEV` if there is no bus; those of the driver core.
pub(crate) fn register_driver(
    driver: &Driver,
    owner: *mut bindings::module,
    mod_name: *const c_char,
) -> Result {
    if root::device().is_null() {
        return Err(ENODEV);
    }
    pr_info!("registering driver {}\n", driver.name());
    let drv = driver.c();
    // SAFETY: The driver is not registered yet, so that only its module has it, which calls this about itself.
    unsafe {
        let driver = &raw mut (*drv).driver;
        (*driver).name = (*drv).name;
        (*driver).owner = owner;
        (*driver).mod_name = mod_name;
        (*driver).bus = BUS.get();
        bindings::dynids_init(drv);
        to_result(bindings::driver_register(driver))
    }
}

/// Unregisters a driver; its devices are removed from it.
pub(crate) fn unregister_driver(driver: &Driver) {
    pr_info!("unregistering driver {}\n", driver.name());
    // SAFETY: A registered driver, which its module unregisters once.
    unsafe { bindings::driver_unregister(&raw mut (*driver.c()).driver) };
    driver.free_dynids();
}
