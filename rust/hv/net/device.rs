// SPDX-License-Identifier: GPL-2.0

//! Interfaces, `struct net_device`.

use crate::{
    context::Rtnl,
    features::Features,
    program::ProgramSlot, //
};
use core::{
    mem::ManuallyDrop,
    ptr::NonNull,
    sync::atomic::{
        AtomicPtr,
        Ordering, //
    }, //
};
use kernel::{
    error::to_result,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        rcu, //
    }, //
};
use rlis_hv::{
    cpu,
    load_once, //
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

/// Bytes of the name of an interface, with the NUL at its end.
const IFNAMSIZ: usize = 16;

/// The name of an interface.
#[derive(Clone, Copy)]
pub struct Name([u8; IFNAMSIZ]);

impl Name {
    /// The name as text; `?` if it is none.
    pub fn as_str(&self) -> &str {
        let name = self.0.split(|byte| *byte == 0).next().unwrap_or_default();
        core::str::from_utf8(name).unwrap_or("?")
    }
}

/// Returns the name of an interface, as it is at the moment.
///
/// # Safety
///
/// The interface must be valid.
pub(crate) unsafe fn name_of(dev: *mut net_device) -> Name {
    // SAFETY: As required of the caller; whatever is written there meanwhile, it is bytes.
    Name(unsafe {
        (&raw const (*dev).name)
            .cast::<[u8; IFNAMSIZ]>()
            .read_volatile()
    })
}

/// Returns whether an interface is up, or just being brought up: `netif_running()`.
///
/// # Safety
///
/// The interface must be valid.
#[inline]
pub(crate) unsafe fn is_running(dev: *mut net_device) -> bool {
    // SAFETY: As required of the caller; others write single bits of the field, so it is read once.
    let state = unsafe { (&raw const (*dev).state).read_volatile() };
    state & 1 << rlis_sys_net::netdev_state_t___LINK_STATE_START != 0
}

/// What lies behind a `struct net_device`, in memory that is freed with it.
///
/// # Invariants
///
/// `driver` is null, or a driver of the type that the interface was made for, and valid as long as it is registered.
pub(crate) struct Private {
    driver: *const c_void,
    /// The interface is being taken away: nothing may refer to it any more.
    gone: Atomic<bool>,
    /// Frames go through the interface below.
    forwarding: Atomic<bool>,
    /// The interface below, which this has a reference to, or null. Written with the RTNL held, read in RCU read sides, too.
    lower: AtomicPtr<net_device>,
    /// Frames that it did not take.
    lower_drops: Atomic<u64>,
    /// What frames that are received are shown to.
    pub(crate) program: ProgramSlot,
    /// CPUs that were present when the interface was made.
    cpus: u32,
}

impl Private {
    /// Of an interface that is not registered.
    pub(crate) fn new() -> Self {
        // INVARIANT: There is no driver.
        Self {
            driver: core::ptr::null(),
            gone: Atomic::new(false),
            forwarding: Atomic::new(false),
            lower: AtomicPtr::new(core::ptr::null_mut()),
            lower_drops: Atomic::new(0),
            program: ProgramSlot::new(),
            cpus: cpu::present_count(),
        }
    }

    /// How many CPUs have statistics.
    pub(crate) fn cpu_count(&self) -> usize {
        usize::try_from(self.cpus).unwrap_or(0)
    }

    /// Their numbers, always as many, since there is memory for that many. Should a CPU be gone meanwhile, a number that none
    /// has comes at the end.
    pub(crate) fn cpus(&self) -> impl Iterator<Item = u32> {
        let gone = core::iter::repeat(cpu::count());
        Iterator::chain(cpu::present(), gone).take(self.cpu_count())
    }

    /// The interface below, or null: valid while the RTNL is held, or in an RCU read side.
    #[inline]
    pub(crate) fn lower(&self) -> *mut net_device {
        self.lower.load(Ordering::Acquire)
    }

    /// To be called with the RTNL held.
    pub(crate) fn set_lower(&self, lower: *mut net_device) {
        self.lower.store(lower, Ordering::Release);
    }

    #[inline]
    pub(crate) fn is_forwarding(&self) -> bool {
        load_once(&self.forwarding)
    }

    pub(crate) fn set_forwarding(&self, on: bool) {
        self.forwarding.store(on, Relaxed);
    }

    pub(crate) fn count_lower_drop(&self) {
        self.lower_drops.fetch_add(1u64, Relaxed);
    }

    pub(crate) fn lower_drops(&self) -> u64 {
        self.lower_drops.load(Relaxed)
    }
}

/// Returns what lies behind an interface: `netdev_priv()`.
///
/// # Safety
///
/// `dev` must be valid.
#[cfg(RLIS_HAVE_NETDEV_PRIV)]
#[inline]
pub(crate) unsafe fn behind(dev: *mut net_device) -> *mut Private {
    // SAFETY: As required of the caller.
    unsafe { (&raw mut (*dev).priv_).cast() }
}

/// Returns what lies behind an interface: `netdev_priv()` of older kernels, whose struct has no field for it.
///
/// # Safety
///
/// `dev` must be valid.
#[cfg(not(RLIS_HAVE_NETDEV_PRIV))]
#[inline]
pub(crate) unsafe fn behind(dev: *mut net_device) -> *mut Private {
    // Where the C function finds it.
    const AT: usize = size_of::<net_device>().next_multiple_of(rlis_sys_net::NETDEV_ALIGN as usize);
    // SAFETY: The caller's interface was allocated with the struct and what lies behind it, so that this is inside.
    unsafe { dev.byte_add(AT).cast() }
}

/// Returns the driver of an interface.
///
/// # Safety
///
/// `dev` must have been made by `Unregistered::new` with this `T`, and be registered, or about to be, until `'a` ends.
#[inline]
pub(crate) unsafe fn driver<'a, T>(dev: *mut net_device) -> &'a T {
    // SAFETY: As required of the caller; `Unregistered::register` has set the pointer.
    unsafe { &*(*behind(dev)).driver.cast::<T>() }
}

/// Returns the driver of an interface, and the interface, for a callback.
///
/// # Safety
///
/// As [`driver`]; `dev` must not be null.
pub(crate) unsafe fn driver_and_device<'a, T>(
    dev: *mut net_device,
) -> (&'a T, ManuallyDrop<NetDevice>) {
    // SAFETY: As required of the caller.
    unsafe {
        (
            driver::<T>(dev),
            NetDevice::borrowed(NonNull::new_unchecked(dev)),
        )
    }
}

/// An interface, which may be registered or not.
///
/// # Invariants
///
/// References from outside of this crate are to an interface that was made by `Unregistered::new`. It is freed with the
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
    pub(crate) unsafe fn borrowed(raw: NonNull<net_device>) -> ManuallyDrop<Self> {
        // INVARIANT: As required of the caller.
        ManuallyDrop::new(Self(raw))
    }

    /// Takes an interface over.
    ///
    /// # Safety
    ///
    /// `raw` must be new, and have a [`Private`] behind it. Nobody else frees it.
    pub(crate) unsafe fn from_raw(raw: NonNull<net_device>) -> Self {
        // INVARIANT: As required of the caller.
        Self(raw)
    }

    pub(crate) fn as_raw(&self) -> *mut net_device {
        self.0.as_ptr()
    }

    pub(crate) fn private(&self) -> &Private {
        // SAFETY: By the type invariant, the memory behind the interface holds this, and as long as the interface.
        unsafe { &*behind(self.as_raw()) }
    }

    /// Says which driver the interface has.
    ///
    /// # Safety
    ///
    /// The interface must not be registered yet, and have been made for the type of the driver, which has to be valid as
    /// long as it is.
    pub(crate) unsafe fn set_driver(&self, driver: *const c_void) {
        // SAFETY: The interface is not registered, so nobody else uses the pointer.
        // INVARIANT: As required of the caller.
        unsafe { (*behind(self.as_raw())).driver = driver };
    }

    /// From here on nothing refers to the interface any more, see [`Self::unless_gone`].
    pub(crate) fn set_gone(&self) {
        self.private().gone.store(true, Release);
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
    #[inline]
    pub fn is_running(&self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { is_running(self.as_raw()) }
    }

    /// Returns what the interface does at the moment, as far as this crate knows it.
    #[inline]
    pub fn features(&self) -> Features {
        // SAFETY: By the type invariant; others may write the field, so it is read once.
        Features::from_bits(unsafe { (&raw const (*self.as_raw()).features).read_volatile() })
    }

    /// What the interface can do may have changed: asks the driver's `fix_features`, and changes what has to be.
    pub fn update_features(&self, _rtnl: &Rtnl<'_>) {
        if self.is_registered() {
            // SAFETY: By the type invariant; it is registered, and the RTNL is held.
            unsafe { rlis_sys_net::netdev_update_features(self.as_raw()) };
        }
    }

    /// Sets the longest frame that the stack may give to be cut into segments, in bytes.
    pub fn set_large_send(&self, bytes: u32) {
        // SAFETY: By the type invariant; the function writes single fields.
        unsafe { rlis_sys_net::netif_set_tso_max_size(self.as_raw(), bytes) };
    }

    /// Returns how many queues there are in each direction at most.
    pub fn max_queues(&self) -> u16 {
        // SAFETY: By the type invariant; the field does not change.
        u16::try_from(unsafe { (*self.as_raw()).num_tx_queues }).unwrap_or(u16::MAX)
    }

    /// Returns how many queues are in use.
    #[inline]
    pub fn queues(&self) -> u16 {
        // SAFETY: By the type invariant; others may write the field, so it is read once.
        let count = unsafe { (&raw const (*self.as_raw()).real_num_tx_queues).read_volatile() };
        u16::try_from(count).unwrap_or(u16::MAX)
    }

    /// Sets how many queues are in use in each direction.
    ///
    /// # Errors
    ///
    /// `EINVAL` for none or more than there are, `ENOMEM`.
    pub fn set_queues(&self, _rtnl: &Rtnl<'_>, count: u16) -> Result {
        // SAFETY: By the type invariant, with the RTNL held.
        to_result(unsafe {
            rlis_sys_net::netif_set_real_num_queues(self.as_raw(), count.into(), count.into())
        })
    }

    /// Returns whether the user has set the table of receive-side scaling, so that a default must not replace it.
    pub fn has_table_of_user(&self, _rtnl: &Rtnl<'_>) -> bool {
        // SAFETY: By the type invariant, with the RTNL held.
        unsafe { rlis_sys_net::net_rxfh_is_configured(self.as_raw()) }
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

    /// Returns the name. Out of date at once, unless the RTNL is held.
    pub fn name(&self) -> Name {
        // SAFETY: By the type invariant.
        unsafe { name_of(self.as_raw()) }
    }

    /// Returns the address.
    pub fn address(&self, _rtnl: &Rtnl<'_>) -> MacAddress {
        let mut address = [0; 6];
        // SAFETY: By the type invariant, with the RTNL held, which protects the address, of at least six bytes.
        unsafe {
            core::ptr::copy_nonoverlapping((*self.as_raw()).dev_addr, address.as_mut_ptr(), 6);
        }
        MacAddress(address)
    }

    /// Returns the address that the interface had when it was registered.
    pub fn permanent_address(&self) -> MacAddress {
        // SAFETY: By the type invariant; the field does not change once the interface is registered.
        let [a, b, c, d, e, f, ..] = unsafe { (*self.as_raw()).perm_addr };
        MacAddress([a, b, c, d, e, f])
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

    /// Takes the interface out of use, as if it were unplugged: all functions of the driver but `stop` and those that only
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

    /// Stops all transmit queues. When this returns, the driver's `transmit` does not run, and it is called no more until
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
        self.private().program.clear();
        // SAFETY: By the type invariant, it is not registered, and this is the last reference.
        unsafe { rlis_sys_net::free_netdev(self.as_raw()) };
    }
}
