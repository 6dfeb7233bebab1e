// SPDX-License-Identifier: GPL-2.0

//! Interfaces, `struct net_device`.

use crate::{
    context::Rtnl,
    ops::{
        vtable,
        Driver, //
    }, //
};
use core::{
    marker::PhantomData,
    mem::size_of,
    ptr::NonNull, //
};
use kernel::{
    error::to_result,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Release, //
        },
        rcu,
        Arc, //
    }, //
};
use rlis_sys_net::net_device;

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// Returns whether an interface can have the address: it names one station, and is not zero
    /// (`is_valid_ether_addr`).
    pub fn is_valid(self) -> bool {
        let [first, ..] = self.0;
        first & 1 == 0 && self.0 != [0; 6]
    }
}

/// What an interface can do, as the `NETIF_F_*` bits of the same names.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Features {
    /// Frames may lie in several pieces (`NETIF_F_SG`).
    pub scatter_gather: bool,
    /// The pieces may lie anywhere in memory (`NETIF_F_HIGHDMA`).
    pub high_dma: bool,
}

impl Features {
    fn bits(self) -> u64 {
        let bit = |on: bool, bit: u32| u64::from(on) << bit;
        bit(self.scatter_gather, rlis_sys_net::NETIF_F_SG_BIT)
            | bit(self.high_dma, rlis_sys_net::NETIF_F_HIGHDMA_BIT)
    }
}

/// Properties of an interface.
#[derive(Clone, Copy)]
pub struct InterfaceParams {
    /// How many queues it has in each direction, from 1 on.
    pub queues: u16,
    /// Its address.
    pub address: MacAddress,
    /// Bytes of the longest packet without the Ethernet header, to begin with.
    pub mtu: u32,
    /// The least that the MTU may be set to.
    pub min_mtu: u32,
    /// The most that the MTU may be set to.
    pub max_mtu: u32,
    /// What it can do.
    pub features: Features,
}

/// What lies behind a `struct net_device`, in memory that is freed with it.
///
/// # Invariants
///
/// `driver` is null, or a driver of the type that the interface was made for, and valid as long as it is registered.
struct Private {
    driver: *const c_void,
    /// The interface is being taken away: nothing may refer to it any more.
    gone: Atomic<bool>,
}

/// Returns the driver of an interface.
///
/// # Safety
///
/// `dev` must have been made by [`Unregistered::new`] with this `T`, and be registered, or about to be, until `'a` ends.
#[inline]
pub(crate) unsafe fn driver<'a, T>(dev: *mut net_device) -> &'a T {
    // SAFETY: As required of the caller; `Unregistered::register` has set the pointer.
    unsafe {
        &*(*rlis_sys_net::net_priv(dev).cast::<Private>())
            .driver
            .cast::<T>()
    }
}

/// An interface, which may be registered or not.
///
/// # Invariants
///
/// References from outside of this crate are to an interface that was made by [`Unregistered::new`]. It is freed with the
/// last `Arc`, none of which is dropped while it is registered.
#[repr(transparent)]
pub struct NetDevice(NonNull<net_device>);

// SAFETY: An interface may be used and freed from any thread.
unsafe impl Send for NetDevice {}

// SAFETY: The functions do their own locking, or ask for the RTNL.
unsafe impl Sync for NetDevice {}

impl NetDevice {
    /// Borrows an interface for a callback.
    ///
    /// # Safety
    ///
    /// `raw` must be an interface of this crate. The value must not be dropped.
    pub(crate) unsafe fn borrowed(raw: NonNull<net_device>) -> core::mem::ManuallyDrop<Self> {
        // INVARIANT: As required of the caller.
        core::mem::ManuallyDrop::new(Self(raw))
    }

    pub(crate) fn as_raw(&self) -> *mut net_device {
        self.0.as_ptr()
    }

    fn private(&self) -> &Private {
        // SAFETY: By the type invariant, the memory behind the interface holds this, and as long as the interface.
        unsafe { &*rlis_sys_net::net_priv(self.as_raw()).cast::<Private>() }
    }

    /// Returns whether the system knows the interface. Out of date at once, unless the RTNL is held.
    pub(crate) fn is_registered(&self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { rlis_sys_net::net_is_registered(self.as_raw()) }
    }

    /// Calls `f` unless the interface is being taken away, which is put off meanwhile. `f` must not sleep.
    ///
    /// What the stack remembers about an interface has a reference to it. Taking it away waits for these; but afterwards
    /// it would be freed in spite of them.
    fn unless_gone(&self, f: impl FnOnce(*mut net_device)) {
        let _guard = rcu::read_lock();
        if !self.private().gone.load(Acquire) {
            f(self.as_raw());
        }
    }

    /// Returns whether the interface is up, or just being brought up.
    pub fn is_running(&self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { rlis_sys_net::net_is_running(self.as_raw()) }
    }

    /// Returns the MTU in bytes.
    pub fn mtu(&self) -> u32 {
        // SAFETY: By the type invariant; others may write the field, so it is read once.
        unsafe { (&raw const (*self.as_raw()).mtu).read_volatile() }
    }

    /// Notes the MTU that holds from now on, in bytes.
    pub fn set_mtu(&self, _rtnl: &Rtnl<'_>, mtu: u32) {
        // SAFETY: By the type invariant. Writers hold the RTNL; readers may not.
        unsafe { (&raw mut (*self.as_raw()).mtu).write_volatile(mtu) };
    }

    /// Notes the address that holds from now on.
    pub fn set_address(&self, _rtnl: &Rtnl<'_>, address: MacAddress) {
        // SAFETY: By the type invariant, with the RTNL held, which protects the address. The function copies six bytes.
        unsafe { rlis_sys_net::net_set_address(self.as_raw(), address.0.as_ptr()) };
    }

    /// Gives the interface the name that `ip link` shows as its alias: up to 255 bytes, without NUL. Sleeps.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it is longer, `ENOMEM`.
    pub fn set_alias(&self, alias: &[u8]) -> Result {
        // SAFETY: By the type invariant. The function copies the bytes.
        let result = unsafe {
            rlis_sys_net::dev_set_alias(self.as_raw(), alias.as_ptr().cast(), alias.len())
        };
        to_result(result.min(0))
    }

    /// Returns whether the cable is plugged in, as far as was said. Any context.
    pub fn has_carrier(&self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { rlis_sys_net::net_has_carrier(self.as_raw()) }
    }

    /// The cable is plugged in. Any context.
    pub fn carrier_on(&self) {
        // SAFETY: By the type invariant. Before the interface is registered, only a bit is changed.
        self.unless_gone(|dev| unsafe { rlis_sys_net::netif_carrier_on(dev) });
    }

    /// The cable is not plugged in. Any context.
    pub fn carrier_off(&self) {
        // SAFETY: As in `carrier_on`.
        self.unless_gone(|dev| unsafe { rlis_sys_net::netif_carrier_off(dev) });
    }

    /// Takes the interface out of use, as if it were unplugged: all functions but [`Driver::stop`] and those that only
    /// look are kept away.
    pub fn detach(&self, _rtnl: &Rtnl<'_>) {
        // SAFETY: By the type invariant.
        unsafe { rlis_sys_net::netif_device_detach(self.as_raw()) };
    }

    /// Puts a detached interface back into use, and wakes its queues if it is up.
    pub fn attach(&self, _rtnl: &Rtnl<'_>) {
        // SAFETY: By the type invariant.
        unsafe { rlis_sys_net::netif_device_attach(self.as_raw()) };
    }

    /// Stops all transmit queues. When this returns, [`Driver::transmit`] does not run, and it is called no more until
    /// [`Self::wake_queues`].
    pub fn stop_queues(&self, _rtnl: &Rtnl<'_>) {
        // SAFETY: By the type invariant.
        unsafe { rlis_sys_net::net_tx_disable(self.as_raw()) };
    }

    /// Wakes all transmit queues, if the interface is registered.
    pub fn wake_queues(&self, _rtnl: &Rtnl<'_>) {
        if self.is_registered() {
            // SAFETY: By the type invariant; the queues of a registered interface have a discipline.
            unsafe { rlis_sys_net::net_tx_wake_all(self.as_raw()) };
        }
    }

    /// Tells the neighbours where the interface is, after it may have moved. Takes the RTNL. Does nothing if the interface
    /// is not registered.
    pub fn notify_peers(&self) {
        Rtnl::with(|_| {
            if self.is_registered() {
                // SAFETY: By the type invariant. It is registered, and as long as the RTNL is held.
                unsafe { rlis_sys_net::__netdev_notify_peers(self.as_raw()) };
            }
        });
    }
}

impl Drop for NetDevice {
    fn drop(&mut self) {
        // SAFETY: By the type invariant, it is not registered, and this is the last reference.
        unsafe { rlis_sys_net::free_netdev(self.as_raw()) };
    }
}

/// An interface that is not registered yet.
pub struct Unregistered<T: Driver> {
    device: Arc<NetDevice>,
    _driver: PhantomData<T>,
}

impl<T: Driver> Unregistered<T> {
    /// Makes an interface below `parent`, or one that belongs to no device. It has no carrier yet.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, and `EINVAL` for no queues.
    pub fn new(parent: Option<&kernel::device::Device>, params: &InterfaceParams) -> Result<Self> {
        if params.queues == 0 {
            return Err(EINVAL);
        }
        let private = c_int::try_from(size_of::<Private>())?;
        // SAFETY: No requirements.
        let raw = unsafe {
            rlis_sys_net::alloc_etherdev_mqs(private, params.queues.into(), params.queues.into())
        };
        let raw = NonNull::new(raw).ok_or(ENOMEM)?;
        let dev = raw.as_ptr();
        // SAFETY: The memory behind the interface has that size, and is not used yet.
        unsafe {
            rlis_sys_net::net_priv(dev)
                .cast::<Private>()
                .write(Private {
                    driver: core::ptr::null(),
                    gone: Atomic::new(false),
                });
        }
        // INVARIANT: The interface is new and not registered.
        let device = Arc::new(NetDevice(raw), GFP_KERNEL)?;
        let features = params.features.bits();
        // SAFETY: The interface is ours alone until it is registered. The tables are static; the parent outlives the
        // registration, which its driver drops before it gives the parent up.
        unsafe {
            if let Some(parent) = parent {
                rlis_sys_net::net_set_parent(dev, core::ptr::from_ref(parent).cast_mut().cast());
            }
            rlis_sys_net::net_set_address(dev, params.address.0.as_ptr());
            rlis_sys_net::netif_carrier_off(dev);
            (*dev).netdev_ops = vtable::<T>();
            (*dev).ethtool_ops = crate::ops::ethtool::vtable::<T>();
            (*dev).mtu = params.mtu;
            (*dev).min_mtu = params.min_mtu;
            (*dev).max_mtu = params.max_mtu;
            (*dev).hw_features = features;
            (*dev).features = features;
            (*dev).vlan_features = features;
        }
        Ok(Self {
            device,
            _driver: PhantomData,
        })
    }

    /// Returns the interface.
    pub fn device(&self) -> &Arc<NetDevice> {
        &self.device
    }

    /// Sets the address that the interface has to begin with.
    pub fn set_address(&mut self, address: MacAddress) {
        // SAFETY: The interface is not registered, so nobody else sets its address. The function copies six bytes.
        unsafe { rlis_sys_net::net_set_address(self.device.as_raw(), address.0.as_ptr()) };
    }

    /// Sets the MTU to begin with, in bytes.
    pub fn set_mtu(&mut self, mtu: u32) {
        // SAFETY: The interface is not registered, so nobody else uses the field.
        unsafe { (*self.device.as_raw()).mtu = mtu };
    }

    /// Sets the most that the MTU may be set to, in bytes.
    pub fn set_max_mtu(&mut self, max_mtu: u32) {
        // SAFETY: The interface is not registered, so nobody else uses the field.
        unsafe { (*self.device.as_raw()).max_mtu = max_mtu };
    }

    /// Shows the interface to the system. From here on the functions of `driver` are called. Takes the RTNL.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, and what the network stack or one who listens for new interfaces finds wrong.
    pub fn register(self, driver: Arc<T>) -> Result<Registration<T>> {
        let dev = self.device.as_raw();
        // SAFETY: The interface is not registered, so nobody else uses the pointer.
        // INVARIANT: The `Arc` is kept until the interface has been unregistered, or this fails; `T` is the type that the
        // interface was made for.
        unsafe {
            (*rlis_sys_net::net_priv(dev).cast::<Private>()).driver = Arc::as_ptr(&driver).cast();
        }
        // SAFETY: The interface is set up. The RTNL is not held: there is no proof of it here, and none may be.
        to_result(unsafe { rlis_sys_net::register_netdev(dev) })?;
        // INVARIANT: The interface is registered.
        Ok(Registration {
            device: self.device,
            driver,
        })
    }
}

/// An interface that the system knows.
///
/// Dropping it takes the interface away: it goes down, and when that has returned, no function of the driver is called
/// any more. Takes the RTNL, so it must not be held.
///
/// # Invariants
///
/// `device` is registered, and `driver` is the one in the memory behind it.
pub struct Registration<T: Driver> {
    device: Arc<NetDevice>,
    driver: Arc<T>,
}

impl<T: Driver> Registration<T> {
    /// Returns the interface.
    pub fn device(&self) -> &Arc<NetDevice> {
        &self.device
    }

    /// Returns the driver.
    pub fn driver(&self) -> &Arc<T> {
        &self.driver
    }
}

impl<T: Driver> Drop for Registration<T> {
    fn drop(&mut self) {
        // What follows waits for a grace period, and then for all references: so for those that were taken by who had not
        // seen this yet.
        self.device.private().gone.store(true, Release);
        // SAFETY: By the type invariant.
        unsafe { rlis_sys_net::unregister_netdev(self.device.as_raw()) };
    }
}
