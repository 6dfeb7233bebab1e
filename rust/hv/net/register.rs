// SPDX-License-Identifier: GPL-2.0

//! Making interfaces, and showing them to the system.

#[cfg(RLIS_HAVE_NETDEV_STAT_OPS)]
use crate::ops::queue_stats;
#[cfg(RLIS_HAVE_XDP_FEATURES)]
use crate::ops::xdp;
use crate::{
    device::{
        behind,
        MacAddress,
        NetDevice,
        Private, //
    },
    features::Features,
    ops::{
        ethtool,
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
    sync::Arc, //
};

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
            behind(dev).write(Private::new());
        }
        // SAFETY: The interface is new, with what was just written behind it.
        let device = Arc::new(unsafe { NetDevice::from_raw(raw) }, GFP_KERNEL)?;
        // SAFETY: The interface is ours alone until it is registered. The tables are static; the parent outlives the
        // registration, which its driver drops before it gives the parent up.
        unsafe {
            if let Some(parent) = parent {
                rlis_sys_net::net_set_parent(dev, core::ptr::from_ref(parent).cast_mut().cast());
            }
            rlis_sys_net::net_set_address(dev, params.address.0.as_ptr());
            rlis_sys_net::net_count_lower(dev);
            rlis_sys_net::netif_carrier_off(dev);
            (*dev).netdev_ops = vtable::<T>();
            (*dev).ethtool_ops = ethtool::vtable::<T>();
            (*dev).mtu = params.mtu;
            (*dev).min_mtu = params.min_mtu;
            (*dev).max_mtu = params.max_mtu;
            #[cfg(RLIS_HAVE_NETDEV_STAT_OPS)]
            if T::QUEUE_STATS {
                (*dev).stat_ops = queue_stats::vtable::<T>();
            }
            #[cfg(RLIS_HAVE_XDP_FEATURES)]
            if T::XDP {
                (*dev).xdp_features = xdp::FEATURES;
            }
        }
        let mut this = Self {
            device,
            _driver: PhantomData,
        };
        this.set_features(params.features, Features::default());
        Ok(this)
    }

    /// Sets what the interface does: `fixed` always, `changeable` at first, and users may switch it.
    pub fn set_features(&mut self, fixed: Features, changeable: Features) {
        let (fixed, changeable) = (fixed.bits(), changeable.bits());
        let dev = self.device.as_raw();
        // SAFETY: The interface is not registered, so nobody else uses the fields.
        unsafe {
            (*dev).hw_features = changeable;
            (*dev).features = fixed | changeable;
            (*dev).vlan_features = (fixed | changeable) & Features::VLAN_INNER;
        }
    }

    /// Sets how many queues are in use in each direction to begin with.
    ///
    /// # Errors
    ///
    /// `EINVAL` for none or more than there are.
    pub fn set_queues(&mut self, count: u16) -> Result {
        // SAFETY: The interface is not registered: then no lock is needed.
        to_result(unsafe {
            rlis_sys_net::netif_set_real_num_queues(
                self.device.as_raw(),
                count.into(),
                count.into(),
            )
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
        // SAFETY: The `Arc` is kept until the interface has been unregistered, or this fails; `T` is the type that the
        // interface was made for. It is not registered.
        unsafe { self.device.set_driver(Arc::as_ptr(&driver).cast()) };
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
        self.device.set_gone();
        // SAFETY: By the type invariant.
        unsafe { rlis_sys_net::unregister_netdev(self.device.as_raw()) };
    }
}
