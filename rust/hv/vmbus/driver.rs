// SPDX-License-Identifier: GPL-2.0

//! Drivers on the bus, `struct hv_driver`.

use crate::{
    device::{
        Bound,
        Device, //
    },
    lease,
    registry, //
};
use core::marker::PhantomData;
use kernel::{
    error::{
        from_result,
        to_result, //
    },
    prelude::*,
    types::{
        ForeignOwnable,
        Opaque, //
    }, //
};
use rlis_proto::Guid;
use rlis_sys::{
    hv_device,
    hv_driver,
    hv_vmbus_device_id, //
};

/// When devices are probed, `enum probe_type`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum ProbeType {
    /// As the kernel sees fit; at present synchronously.
    Default,
    /// Each in its own thread: for devices that take long, such as disk controllers.
    PreferAsynchronous,
    /// One after the other: for devices whose order decides their names, such as network interfaces.
    ForceSynchronous,
}

/// A driver of devices on VMBus.
///
/// All functions run in process context and may sleep. The bus calls them for one device one at a time, and
/// for different devices at the same time.
pub trait Driver: Sized + 'static {
    /// What an entry of the device table says about a class.
    type IdInfo: Sync + 'static;

    /// What belongs to a device from [`probe`](Self::probe) to [`remove`](Self::remove):
    /// usually `Pin<KBox<T>>` or `Arc<T>`.
    type Data: ForeignOwnable + Send;

    /// Name of the driver in `/sys/bus/vmbus/drivers`.
    const NAME: &'static CStr;

    /// When devices are probed.
    const PROBE_TYPE: ProbeType = ProbeType::Default;

    /// Returns the device table, declared with [`vmbus_device_table!`](crate::vmbus_device_table).
    fn device_table() -> TableRef<Self::IdInfo>;

    /// Takes charge of a device.
    ///
    /// `info` is the entry of the device table with the device's class, and `None` if the device is here only
    /// because someone wrote `new_id` or `driver_override` in sysfs.
    ///
    /// # Errors
    ///
    /// Any; the device then stays without a driver.
    fn probe(dev: &Device<Bound>, info: Option<&'static Self::IdInfo>) -> Result<Self::Data>;

    /// Gives up a device: it was withdrawn by the host, the driver was unbound or is unloading.
    ///
    /// Dropping `data` must end everything that was started for the device; channels close by that themselves.
    fn remove(dev: &Device<Bound>, data: Self::Data) {
        let _ = dev;
        drop(data);
    }

    /// The system is going down or restarts, with the device still in use.
    fn shutdown(dev: &Device<Bound>, data: <Self::Data as ForeignOwnable>::Borrowed<'_>) {
        let _ = (dev, data);
    }

    /// The system is about to be hibernated: close the channel.
    ///
    /// # Errors
    ///
    /// Any; hibernation is then called off. The default is `EOPNOTSUPP`.
    fn suspend(dev: &Device<Bound>, data: <Self::Data as ForeignOwnable>::Borrowed<'_>) -> Result {
        let _ = (dev, data);
        Err(EOPNOTSUPP)
    }

    /// The system has been restored, or hibernation was called off: open the channel again.
    ///
    /// # Errors
    ///
    /// Any; the device is then out of use. The default is `EOPNOTSUPP`.
    fn resume(dev: &Device<Bound>, data: <Self::Data as ForeignOwnable>::Borrowed<'_>) -> Result {
        let _ = (dev, data);
        Err(EOPNOTSUPP)
    }
}

/// A driver's device table: class GUIDs with what the driver wants to know of each.
///
/// Made by [`vmbus_device_table!`](crate::vmbus_device_table).
///
/// # Invariants
///
/// `ids` followed by `end` is the array that `struct hv_driver` expects: terminated by an all-zero entry.
#[repr(C)]
pub struct DeviceTable<I: 'static, const N: usize> {
    ids: [hv_vmbus_device_id; N],
    end: hv_vmbus_device_id,
    entries: [(Guid, I); N],
}

impl<I: Sync, const N: usize> DeviceTable<I, N> {
    /// Builds a table.
    pub const fn new(entries: [(Guid, I); N]) -> Self {
        const NULL: hv_vmbus_device_id = hv_vmbus_device_id {
            guid: rlis_sys::guid_t { b: [0; 16] },
            driver_data: 0,
        };

        let mut ids = [NULL; N];
        let mut i = 0;
        while i < N {
            ids[i].guid.b = entries[i].0.b;
            i += 1;
        }
        // INVARIANT: `end` is all zeroes and lies behind `ids`, because the layout is that of C.
        Self {
            ids,
            end: NULL,
            entries,
        }
    }

    /// Borrows the table for [`Driver::device_table`].
    pub const fn get(&'static self) -> TableRef<I> {
        let _ = &self.end;
        TableRef {
            ids: core::ptr::from_ref(self).cast(),
            entries: &self.entries,
        }
    }
}

/// A reference to a [`DeviceTable`] of any length.
///
/// # Invariants
///
/// `ids` points to an array of `struct hv_vmbus_device_id` that lives forever and ends with a zero entry.
pub struct TableRef<I: 'static> {
    ids: *const hv_vmbus_device_id,
    entries: &'static [(Guid, I)],
}

impl<I> TableRef<I> {
    /// Returns the entry of a class.
    fn find(&self, class: Guid) -> Option<&'static I> {
        self.entries
            .iter()
            .find(|(guid, _)| *guid == class)
            .map(|(_, info)| info)
    }
}

/// Length of one [`modinfo_alias`] entry, in bytes.
#[doc(hidden)]
pub const MODINFO_ALIAS_LEN: usize = "alias=vmbus:".len() + 32 + 1;

/// Builds the `.modinfo` entry that lets udev find the module: `alias=vmbus:` and the 16 bytes of the class in
/// memory order as 32 lower-case hexadecimal digits, as `scripts/mod/file2alias.c` does from C tables.
#[doc(hidden)]
pub const fn modinfo_alias(class: &Guid) -> [u8; MODINFO_ALIAS_LEN] {
    const PREFIX: &[u8] = b"alias=vmbus:";
    const DIGITS: &[u8; 16] = b"0123456789abcdef";

    let mut text = [0; MODINFO_ALIAS_LEN];
    let mut i = 0;
    while i < PREFIX.len() {
        text[i] = PREFIX[i];
        i += 1;
    }
    i = 0;
    while i < class.b.len() {
        text[PREFIX.len() + 2 * i] = DIGITS[(class.b[i] >> 4) as usize];
        text[PREFIX.len() + 2 * i + 1] = DIGITS[(class.b[i] & 15) as usize];
        i += 1;
    }
    text
}

/// Declares a driver's device table and the module aliases that belong to it.
///
/// # Examples
///
/// ```ignore
/// vmbus_device_table! {
///     /// The device classes of this driver.
///     static DEVICES: [Kind; 2] = [
///         (class::HV_SCSI_GUID, Kind::Scsi),
///         (class::HV_IDE_GUID, Kind::Ide),
///     ];
/// }
/// ```
#[macro_export]
macro_rules! vmbus_device_table {
    ($(#[$meta:meta])* $vis:vis static $name:ident: [$info:ty; $len:expr] = [$($entry:expr),+ $(,)?];) => {
        $(#[$meta])*
        $vis static $name: $crate::DeviceTable<$info, $len> = $crate::DeviceTable::new([$($entry),+]);

        const _: () = {
            const ENTRIES: [($crate::Guid, $info); $len] = [$($entry),+];
            const ALIASES: [[u8; $crate::driver::MODINFO_ALIAS_LEN]; $len] = {
                let mut aliases = [[0; $crate::driver::MODINFO_ALIAS_LEN]; $len];
                let mut i = 0;
                while i < $len {
                    aliases[i] = $crate::driver::modinfo_alias(&ENTRIES[i].0);
                    i += 1;
                }
                aliases
            };

            #[used(compiler)]
            #[link_section = ".modinfo"]
            static MODINFO: [[u8; $crate::driver::MODINFO_ALIAS_LEN]; $len] = ALIASES;
        };
    };
}

/// The registration of a driver with the bus.
///
/// While it exists, devices of the driver's classes are probed. Dropping it removes the driver from all its
/// devices and returns when [`Driver::remove`] has returned for each.
///
/// # Invariants
///
/// `driver` holds a `struct hv_driver` that is registered with the bus.
#[pin_data(PinnedDrop)]
pub struct Registration<D: Driver> {
    #[pin]
    driver: Opaque<hv_driver>,
    _driver: PhantomData<D>,
}

// SAFETY: A driver may be unregistered from another thread than the one that registered it.
unsafe impl<D: Driver> Send for Registration<D> {}

// SAFETY: There are no functions that take a shared reference.
unsafe impl<D: Driver> Sync for Registration<D> {}

impl<D: Driver> Registration<D> {
    /// Registers the driver. Probes the devices that are there already, before it returns unless the driver
    /// prefers asynchronous probing.
    ///
    /// # Errors
    ///
    /// `ENODEV` where there is no VMBus, `EBUSY` or `EEXIST` if a driver of that name is registered.
    pub fn new(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        registry::init();
        lease::init();
        try_pin_init!(Self {
            driver <- Opaque::try_ffi_init(|slot: *mut hv_driver| {
                // SAFETY: The slot is valid for writes, and all fields of the struct may be zero.
                unsafe { slot.write_bytes(0, 1) };
                // SAFETY: The slot is initialised and ours alone until it is registered. All that it points to
                // is static.
                unsafe {
                    (*slot).name = D::NAME.as_char_ptr();
                    (*slot).id_table = D::device_table().ids;
                    (*slot).driver.probe_type = match D::PROBE_TYPE {
                        ProbeType::Default => rlis_sys::probe_type_PROBE_DEFAULT_STRATEGY,
                        ProbeType::PreferAsynchronous => rlis_sys::probe_type_PROBE_PREFER_ASYNCHRONOUS,
                        ProbeType::ForceSynchronous => rlis_sys::probe_type_PROBE_FORCE_SYNCHRONOUS,
                    };
                    (*slot).probe = Some(Self::probe_callback);
                    #[cfg(RLIS_HAVE_REMOVE_VOID)]
                    {
                        (*slot).remove = Some(Self::remove_callback);
                    }
                    #[cfg(not(RLIS_HAVE_REMOVE_VOID))]
                    {
                        (*slot).remove = Some(Self::remove_callback_int);
                    }
                    (*slot).shutdown = Some(Self::shutdown_callback);
                    (*slot).suspend = Some(Self::suspend_callback);
                    (*slot).resume = Some(Self::resume_callback);
                }
                // SAFETY: The driver is initialised, pinned, and unregistered by our destructor before its
                // memory is freed.
                // INVARIANT: If this succeeds, the driver is registered.
                to_result(unsafe {
                    rlis_sys::__vmbus_driver_register(slot, module.as_ptr(), D::NAME.as_char_ptr())
                })
            }),
            _driver: PhantomData,
        })
    }

    /// Probe function of the C API.
    ///
    /// # Safety
    ///
    /// Only for the bus to call, with what the C API prescribes.
    unsafe extern "C" fn probe_callback(
        dev: *mut hv_device,
        _id: *const hv_vmbus_device_id,
    ) -> c_int {
        // SAFETY: The bus passes a registered device, bound to this driver until probe has failed or remove
        // has returned.
        let device = unsafe { Device::<Bound>::from_raw(dev) };
        from_result(|| {
            // The entry that matched may be a dynamic one, which tells nothing, so look up our own.
            let data = D::probe(device, D::device_table().find(device.class_id()))
                .inspect_err(|_| lease::revoke(dev))?;
            // SAFETY: The device is valid. Its driver data belongs to the driver that it is bound to.
            unsafe { (*dev).device.driver_data = data.into_foreign() };
            Ok(0)
        })
    }

    /// Remove function of the C API.
    ///
    /// # Safety
    ///
    /// Only for the bus to call, with what the C API prescribes.
    unsafe extern "C" fn remove_callback(dev: *mut hv_device) {
        // SAFETY: As in `probe_callback`.
        let device = unsafe { Device::<Bound>::from_raw(dev) };
        // SAFETY: The device is valid; the bus calls remove once after a successful probe, which has set the
        // driver data to what `into_foreign` returned.
        let data = unsafe { D::Data::from_foreign((*dev).device.driver_data) };
        D::remove(device, data);
        lease::revoke(dev);
        // SAFETY: The device is valid. Nobody else uses its driver data.
        unsafe { (*dev).device.driver_data = core::ptr::null_mut() };
    }

    /// Remove function of the C API, where it returns a number. Nobody looks at it.
    ///
    /// # Safety
    ///
    /// As for `remove_callback`.
    #[cfg(not(RLIS_HAVE_REMOVE_VOID))]
    unsafe extern "C" fn remove_callback_int(dev: *mut hv_device) -> c_int {
        // SAFETY: As required of the caller.
        unsafe { Self::remove_callback(dev) };
        0
    }

    /// Calls `f` with the device and its data, or returns `None` if it is not probed.
    ///
    /// # Safety
    ///
    /// `dev` must be a device that is bound to this driver for the duration of the call, with neither probe nor
    /// remove running meanwhile.
    unsafe fn with_data<R>(
        dev: *mut hv_device,
        f: impl FnOnce(&Device<Bound>, <D::Data as ForeignOwnable>::Borrowed<'_>) -> R,
    ) -> Option<R> {
        // SAFETY: As required of the caller.
        let device = unsafe { Device::<Bound>::from_raw(dev) };
        // SAFETY: As required of the caller.
        let data = unsafe { (*dev).device.driver_data };
        if data.is_null() {
            return None;
        }
        // SAFETY: Only `probe_callback` sets the driver data, to what `into_foreign` returned, and the caller
        // makes sure that `remove_callback` does not take it back meanwhile.
        Some(f(device, unsafe { D::Data::borrow(data) }))
    }

    /// Calls `f` with the device's lock held. In the phase of hibernation that the bus uses, the driver core does
    /// not take it, so that a rescind could remove the device meanwhile.
    ///
    /// # Safety
    ///
    /// `dev` must be valid, and the caller must not hold its lock.
    unsafe fn locked<R>(dev: *mut hv_device, f: impl FnOnce() -> R) -> R {
        // SAFETY: As required of the caller.
        let device = unsafe { &raw mut (*dev).device };
        // SAFETY: As required of the caller.
        unsafe { rlis_sys::device_lock(device) };
        let result = f();
        // SAFETY: The lock was taken above.
        unsafe { rlis_sys::device_unlock(device) };
        result
    }

    /// Shutdown function of the C API.
    ///
    /// # Safety
    ///
    /// Only for the bus to call, with what the C API prescribes.
    unsafe extern "C" fn shutdown_callback(dev: *mut hv_device) {
        // SAFETY: The driver core holds the device's lock, as in probe and remove.
        unsafe { Self::with_data(dev, D::shutdown) };
    }

    /// Suspend function of the C API.
    ///
    /// # Safety
    ///
    /// Only for the bus to call, with what the C API prescribes.
    unsafe extern "C" fn suspend_callback(dev: *mut hv_device) -> c_int {
        // SAFETY: The lock keeps probe and remove away.
        let result = unsafe { Self::locked(dev, || Self::with_data(dev, D::suspend)) };
        from_result(|| result.unwrap_or(Ok(())).map(|()| 0))
    }

    /// Resume function of the C API.
    ///
    /// # Safety
    ///
    /// Only for the bus to call, with what the C API prescribes.
    unsafe extern "C" fn resume_callback(dev: *mut hv_device) -> c_int {
        // SAFETY: The lock keeps probe and remove away.
        let result = unsafe { Self::locked(dev, || Self::with_data(dev, D::resume)) };
        from_result(|| result.unwrap_or(Ok(())).map(|()| 0))
    }
}

#[pinned_drop]
impl<D: Driver> PinnedDrop for Registration<D> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant, the driver is registered.
        unsafe { rlis_sys::vmbus_driver_unregister(self.driver.get()) };
    }
}
