// SPDX-License-Identifier: GPL-2.0

//! Devices on the bus, `struct hv_device`.

use core::{
    marker::PhantomData,
    ops::Deref,
    ptr::NonNull, //
};
use kernel::{
    sync::aref::{
        ARef,
        AlwaysRefCounted, //
    },
    types::Opaque, //
};
use rlis_proto::Guid;

/// Context of a [`Device`] that a reference count keeps alive, and nothing more.
pub struct Normal;

/// Context of a [`Device`] that is bound to the driver at hand for as long as the reference lives.
///
/// The bus hands such references to [`Driver`](crate::Driver)'s functions.
pub struct Bound;

/// A device on VMBus.
///
/// Prints with the `dev_*!` macros: `dev_info!(dev.as_ref(), "…\n")`.
///
/// # Invariants
///
/// References point to a valid `struct hv_device` that the bus has registered. With `Ctx` = [`Bound`] it is
/// bound to a driver of this module.
#[repr(transparent)]
pub struct Device<Ctx = Normal>(Opaque<rlis_sys::hv_device>, PhantomData<Ctx>);

// SAFETY: A `struct hv_device` may be released from any thread.
unsafe impl Send for Device {}

// SAFETY: The functions of `Device` only read fields that do not change while the device is registered.
unsafe impl Sync for Device {}

// SAFETY: The reference count is that of the embedded `struct device`, whose release function frees the whole
// `struct hv_device`.
unsafe impl AlwaysRefCounted for Device {
    fn inc_ref(&self) {
        // SAFETY: By the type invariant, the device is valid.
        unsafe { rlis_sys::get_device(&raw mut (*self.as_raw()).device) };
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        let hv_device = obj.cast::<rlis_sys::hv_device>().as_ptr();
        // SAFETY: The caller gives up a reference, so the device is valid until then.
        unsafe { rlis_sys::put_device(&raw mut (*hv_device).device) };
    }
}

impl<Ctx> Device<Ctx> {
    /// Borrows a device from its C pointer.
    ///
    /// # Safety
    ///
    /// `ptr` must point to a registered `struct hv_device` that stays valid for `'a`, and that is bound to a
    /// driver of this module for `'a` if `Ctx` is [`Bound`].
    pub(crate) unsafe fn from_raw<'a>(ptr: *mut rlis_sys::hv_device) -> &'a Self {
        // SAFETY: `Device` is a transparent wrapper, and the caller vouches for the rest.
        // INVARIANT: As required of the caller.
        unsafe { &*ptr.cast::<Self>() }
    }

    /// Returns the C object.
    pub(crate) fn as_raw(&self) -> *mut rlis_sys::hv_device {
        self.0.get()
    }

    /// Returns the device class, `if_type` of the offer.
    pub fn class_id(&self) -> Guid {
        // SAFETY: The bus sets the field before it registers the device and never changes it.
        Guid::from_bytes(unsafe { (*self.as_raw()).dev_type.b })
    }

    /// Returns the GUID of this instance, which is also the device's name in sysfs.
    pub fn instance_id(&self) -> Guid {
        // SAFETY: As in `class_id`.
        Guid::from_bytes(unsafe { (*self.as_raw()).dev_instance.b })
    }

    /// Returns whether the host has rescinded the device. It may do so at any time, but never takes that back.
    pub fn is_rescinded(&self) -> bool {
        let raw = self.raw_channel();
        // SAFETY: The channel lives as long as the device; the bus sets the flag with a plain store, so read it once.
        unsafe { (&raw const (*raw).rescind).read_volatile() }
    }

    /// Returns the primary channel.
    pub(crate) fn raw_channel(&self) -> *mut rlis_sys::vmbus_channel {
        // SAFETY: The bus sets the field before it registers the device and never changes it; the channel lives
        // as long as the device.
        unsafe { (*self.as_raw()).channel }
    }
}

impl<Ctx> Device<Ctx> {
    /// Sends the uevent `change` with `variables` ("NAME=value") for the device.
    ///
    /// May sleep.
    ///
    /// # Errors
    ///
    /// `E2BIG` for more than four variables, otherwise what `kobject_uevent_env` returns.
    pub fn change_uevent(&self, variables: &[&'static kernel::str::CStr]) -> kernel::error::Result {
        use kernel::{
            error::{
                code::E2BIG,
                to_result, //
            },
            str::CStrExt as _, //
        };

        // The list ends with a null pointer, hence one slot more than variables.
        let mut env = [core::ptr::null_mut(); 5];
        if variables.len() >= env.len() {
            return Err(E2BIG);
        }
        for (slot, variable) in env.iter_mut().zip(variables) {
            *slot = variable.as_char_ptr().cast_mut().cast();
        }
        // SAFETY: The device is valid, and so is its kobject; `env` is a null-terminated array of
        // C strings, which the function only reads.
        to_result(unsafe {
            rlis_sys::kobject_uevent_env(
                &raw mut (*self.as_raw()).device.kobj,
                rlis_sys::kobject_action_KOBJ_CHANGE,
                env.as_mut_ptr(),
            )
        })
    }
}

impl Deref for Device<Bound> {
    type Target = Device;

    fn deref(&self) -> &Device {
        // SAFETY: The context is a marker only, and `Normal` requires less than `Bound`.
        unsafe { Device::from_raw(self.as_raw()) }
    }
}

impl From<&Device<Bound>> for ARef<Device> {
    fn from(dev: &Device<Bound>) -> Self {
        let dev: &Device = dev;
        dev.into()
    }
}

impl<Ctx> AsRef<kernel::device::Device> for Device<Ctx> {
    fn as_ref(&self) -> &kernel::device::Device {
        // SAFETY: By the type invariant, the embedded `struct device` is valid for as long as `self` is.
        unsafe { kernel::device::Device::from_raw(&raw mut (*self.as_raw()).device) }
    }
}
