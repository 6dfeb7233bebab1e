// SPDX-License-Identifier: GPL-2.0

//! An interface of another driver below one of ours: a virtual function of a physical card, through which the frames of a
//! synthetic card can go.
//!
//! Users see and configure the upper interface. What the lower one receives becomes the upper one's, and what the upper one
//! has to send goes through the lower one while [`NetDevice::set_forwarding`] says so.
//!
//! C header: [`include/linux/netdevice.h`](srctree/include/linux/netdevice.h)

use crate::{
    context::Rtnl,
    device::{
        is_running,
        name_of,
        MacAddress,
        Name,
        NetDevice, //
    },
    tx::{
        Sent,
        TxPacket, //
    }, //
};
use core::{
    marker::PhantomData,
    mem::MaybeUninit,
    ptr::NonNull, //
};
use kernel::{
    error::to_result,
    prelude::*,
    sync::rcu, //
};
use rlis_sys_net::{
    net_device,
    netdev_features_t,
    rx_handler_result_t,
    sk_buff, //
};

/// What the host and the driver know a virtual function by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Function {
    /// Its serial number: the name of its PCI slot.
    pub serial: u32,
    /// Its address from the beginning; zero before its interface is registered.
    pub permanent: MacAddress,
    /// Its address now.
    pub address: MacAddress,
}

/// An interface of another driver, while the RTNL is held.
///
/// # Invariants
///
/// The interface is known to the system, or about to be, and is not freed while the RTNL is held.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Lower<'a>(NonNull<net_device>, PhantomData<&'a Rtnl<'a>>);

impl<'a> Lower<'a> {
    /// Takes an interface of a callback.
    ///
    /// # Safety
    ///
    /// As the type invariant says, as long as `_rtnl` lives.
    pub(crate) unsafe fn new(raw: NonNull<net_device>, _rtnl: &'a Rtnl<'_>) -> Self {
        // INVARIANT: As required of the caller.
        Self(raw, PhantomData)
    }

    pub(crate) fn as_raw(&self) -> *mut net_device {
        self.0.as_ptr()
    }

    /// Returns its name.
    pub fn name(&self) -> Name {
        // SAFETY: By the type invariant.
        unsafe { name_of(self.as_raw()) }
    }

    /// Returns what a virtual function is known by; `None` if the interface is none.
    pub fn function(&self) -> Option<Function> {
        let mut raw = MaybeUninit::<rlis_sys_net::rlis_net_function>::zeroed();
        // SAFETY: By the type invariant; the helper fills the structure in if it returns `true`.
        unsafe {
            if !rlis_sys_net::net_is_function(self.as_raw(), raw.as_mut_ptr()) {
                return None;
            }
        }
        // SAFETY: All of its bytes were zero or have been filled in.
        let raw = unsafe { raw.assume_init() };
        Some(Function {
            serial: raw.serial,
            permanent: MacAddress(raw.permanent),
            address: MacAddress(raw.address),
        })
    }

    /// Says that the interface will be below another one, before anybody brings it up: it shall have no addresses of its own.
    pub fn mark(&self) {
        // SAFETY: By the type invariant, with the RTNL held.
        unsafe { rlis_sys_net::net_mark_lower(self.as_raw()) };
    }

    /// Returns whether the interface is up, or just being brought up.
    pub fn is_running(&self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { is_running(self.as_raw()) }
    }

    /// Returns the longest frame that it takes to be cut into segments, in bytes.
    pub fn large_send(&self) -> u32 {
        // SAFETY: By the type invariant; others may write the field, so it is read once.
        unsafe { (&raw const (*self.as_raw()).tso_max_size).read_volatile() }
    }

    /// Returns whether it is in the namespace of `upper`.
    pub fn is_in_namespace_of(&self, upper: &NetDevice) -> bool {
        // SAFETY: By the type invariants, with the RTNL held, which protects the namespaces of interfaces.
        unsafe { rlis_sys_net::net_same_namespace(self.as_raw(), upper.as_raw()) }
    }

    /// Moves it to the namespace of `upper`. It seems to be unregistered and registered meanwhile. Sleeps; not for a callback
    /// of [`Watch`].
    ///
    /// # Errors
    ///
    /// What the network stack or one who listens finds wrong.
    pub fn move_to_namespace_of(self, upper: &NetDevice) -> Result {
        // SAFETY: By the type invariants, with the RTNL held.
        to_result(unsafe { rlis_sys_net::net_move_to_namespace_of(self.as_raw(), upper.as_raw()) })
    }

    /// Sets its MTU in bytes. Sleeps.
    ///
    /// # Errors
    ///
    /// `EINVAL` if its driver cannot do it, and what that finds wrong.
    pub fn set_mtu(&self, mtu: u32) -> Result {
        let mtu = c_int::try_from(mtu)?;
        // SAFETY: By the type invariant, with the RTNL held.
        to_result(unsafe { rlis_sys_net::dev_set_mtu(self.as_raw(), mtu) })
    }

    /// Sets its address. Sleeps.
    ///
    /// # Errors
    ///
    /// What its driver finds wrong.
    pub fn set_address(&self, address: MacAddress) -> Result {
        // SAFETY: By the type invariant, with the RTNL held. The helper copies six bytes.
        to_result(unsafe { rlis_sys_net::net_lower_address(self.as_raw(), address.0.as_ptr()) })
    }

    /// Brings it up. Sleeps.
    ///
    /// # Errors
    ///
    /// What its driver finds wrong.
    pub fn open(&self) -> Result {
        // SAFETY: By the type invariant, with the RTNL held.
        to_result(unsafe { rlis_sys_net::dev_open(self.as_raw(), core::ptr::null_mut()) })
    }

    /// Takes it down. Sleeps.
    pub fn close(&self) {
        // SAFETY: By the type invariant, with the RTNL held.
        unsafe { rlis_sys_net::dev_close(self.as_raw()) };
    }

    /// Has it do what `upper` does, as far as it can. Sleeps; not for a callback of [`Watch`].
    pub fn take_features(&self, upper: &NetDevice) {
        // SAFETY: By the type invariant; others may write the field, so it is read once.
        self.want_features(unsafe { (&raw const (*upper.as_raw()).features).read_volatile() });
    }

    pub(crate) fn want_features(&self, wanted: netdev_features_t) {
        // SAFETY: By the type invariant, with the RTNL held; the helper takes the interface's own lock if it has one.
        unsafe { rlis_sys_net::net_lower_features(self.as_raw(), wanted) };
    }

    /// Gives it the flags of `upper`, brings it up or takes it down with it, and has it receive what that wants. Sleeps; not
    /// for a callback of [`Watch`].
    ///
    /// # Errors
    ///
    /// What its driver finds wrong.
    pub fn take_flags(&self, upper: &NetDevice) -> Result {
        // SAFETY: By the type invariants, with the RTNL held.
        unsafe {
            let flags = (*upper.as_raw()).flags | rlis_sys_net::net_device_flags_IFF_SLAVE;
            to_result(rlis_sys_net::dev_change_flags(
                self.as_raw(),
                flags,
                core::ptr::null_mut(),
            ))?;
            rlis_sys_net::net_sync_addresses(self.as_raw(), upper.as_raw(), true);
        }
        Ok(())
    }

    /// The upper interface has begun to want all frames, or all to groups, or no longer does.
    pub(crate) fn change_flags(&self, promiscuous: Option<bool>, all_multicast: Option<bool>) {
        let step = |on| if on { 1 } else { -1 };
        // SAFETY: By the type invariant, with the RTNL held.
        unsafe {
            if let Some(on) = promiscuous {
                rlis_sys_net::dev_set_promiscuity(self.as_raw(), step(on));
            }
            if let Some(on) = all_multicast {
                rlis_sys_net::dev_set_allmulti(self.as_raw(), step(on));
            }
        }
    }
}

/// What was counted of frames that went through a lower interface.
#[derive(Clone, Copy, Default, Debug)]
pub struct LowerStats {
    /// Frames received there.
    pub rx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Frames sent.
    pub tx_packets: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Frames that it did not take.
    pub tx_dropped: u64,
}

impl NetDevice {
    /// Returns the interface below this one.
    pub fn lower<'a>(&self, rtnl: &'a Rtnl<'_>) -> Option<Lower<'a>> {
        let lower = NonNull::new(self.private().lower())?;
        // SAFETY: `join` has taken a reference, which `leave` gives back, for which the RTNL has to be held; it leaves before
        // it is unregistered.
        Some(unsafe { Lower::new(lower, rtnl) })
    }

    /// Returns the name of the interface below this one. Any context.
    pub fn lower_name(&self) -> Option<Name> {
        let _guard = rcu::read_lock();
        let lower = self.private().lower();
        // SAFETY: A pointer that is not null stays valid until a grace period has passed, see `leave`.
        (!lower.is_null()).then(|| unsafe { name_of(lower) })
    }

    /// Puts an interface below this one, which must have none. It must be in the same namespace. It receives for this one from
    /// now on. For a callback of [`Watch`].
    ///
    /// # Errors
    ///
    /// `EBUSY` if one of the two is taken already, and what the network stack finds wrong.
    pub fn join(&self, rtnl: &Rtnl<'_>, lower: &Lower<'_>) -> Result {
        if self.lower(rtnl).is_some() {
            return Err(EBUSY);
        }
        let (upper, raw) = (self.as_raw(), lower.as_raw());
        // SAFETY: Both are valid, and the RTNL is held. The handler treats its data as an interface of this crate, which is
        // there until `leave`, at the latest when the last `Watch` of it is dropped.
        to_result(unsafe {
            rlis_sys_net::netdev_rx_handler_register(raw, Some(received), upper.cast())
        })?;
        // SAFETY: As above.
        let linked = to_result(unsafe {
            rlis_sys_net::netdev_master_upper_dev_link(
                raw,
                upper,
                core::ptr::null_mut(),
                core::ptr::null_mut(),
                core::ptr::null_mut(),
            )
        });
        if let Err(error) = linked {
            // SAFETY: Registered above.
            unsafe { rlis_sys_net::netdev_rx_handler_unregister(raw) };
            return Err(error);
        }
        // SAFETY: As above; both are valid.
        unsafe {
            rlis_sys_net::net_hold(raw);
            (*upper).needed_headroom = (*upper).needed_headroom.max((*raw).needed_headroom);
        }
        self.private().set_lower(raw);
        // SAFETY: As above.
        unsafe {
            rlis_sys_net::call_netdevice_notifiers(
                rlis_sys_net::netdev_cmd_NETDEV_JOIN as c_ulong,
                raw,
            )
        };
        Ok(())
    }

    /// Takes the interface below this one away, if there is one. Waits for a grace period.
    pub fn leave(&self, rtnl: &Rtnl<'_>) {
        let Some(lower) = self.lower(rtnl) else {
            return;
        };
        self.set_forwarding(false);
        self.private().set_lower(core::ptr::null_mut());
        let (upper, raw) = (self.as_raw(), lower.as_raw());
        // SAFETY: `join` has done these, with the RTNL held as it is now. The first waits for a grace period, after which nobody
        // uses the pointer that was just taken away.
        unsafe {
            rlis_sys_net::netdev_rx_handler_unregister(raw);
            rlis_sys_net::netdev_upper_dev_unlink(raw, upper);
            rlis_sys_net::net_put(raw);
        }
    }

    /// From now on frames go through the interface below this one, or not. Any context.
    pub fn set_forwarding(&self, on: bool) {
        self.private().set_forwarding(on);
    }

    /// Sends a frame through the interface below, if frames go there and it is in use.
    ///
    /// # Errors
    ///
    /// Gives the frame back if it has to be sent otherwise.
    #[inline]
    pub fn forward(&self, packet: TxPacket) -> core::result::Result<Sent, TxPacket> {
        if self.private().is_forwarding() {
            self.forward_now(packet)
        } else {
            Err(packet)
        }
    }

    #[cold]
    fn forward_now(&self, packet: TxPacket) -> core::result::Result<Sent, TxPacket> {
        let _guard = rcu::read_lock();
        let lower = self.private().lower();
        // SAFETY: A pointer that is not null stays valid until a grace period has passed, see `leave`.
        if lower.is_null() || !unsafe { rlis_sys_net::net_can_forward(self.as_raw(), lower) } {
            return Err(packet);
        }
        // SAFETY: As above; the frame is given away.
        let taken =
            unsafe { rlis_sys_net::net_forward(packet.into_raw().as_ptr(), self.as_raw(), lower) };
        if !taken {
            self.private().count_lower_drop();
        }
        Ok(Sent::taken())
    }

    /// Returns what was counted of frames that went through lower interfaces.
    pub fn lower_stats(&self) -> LowerStats {
        let mut sum: rlis_sys_net::rtnl_link_stats64 = pin_init::zeroed();
        let guard = rcu::read_lock();
        if self.is_registered() {
            // SAFETY: By the type invariant. The counters of a registered interface are there, and are freed when it has been
            // unregistered and a grace period has passed.
            unsafe { rlis_sys_net::net_fetch_lower(self.as_raw(), &raw mut sum) };
        }
        drop(guard);
        LowerStats {
            rx_packets: sum.rx_packets,
            rx_bytes: sum.rx_bytes,
            tx_packets: sum.tx_packets,
            tx_bytes: sum.tx_bytes,
            tx_dropped: self.private().lower_drops(),
        }
    }

    /// Returns what one CPU has counted of them; frames that a lower interface did not take are counted for all CPUs together.
    pub fn lower_stats_of_cpu(&self, cpu: u32) -> LowerStats {
        let mut stats: rlis_sys_net::rtnl_link_stats64 = pin_init::zeroed();
        let _guard = rcu::read_lock();
        if self.is_registered() {
            // SAFETY: As in `lower_stats`.
            unsafe {
                rlis_sys_net::net_fetch_lower_of_cpu(self.as_raw(), cpu, &raw mut stats);
            }
        }
        LowerStats {
            rx_packets: stats.rx_packets,
            rx_bytes: stats.rx_bytes,
            tx_packets: stats.tx_packets,
            tx_bytes: stats.tx_bytes,
            tx_dropped: 0,
        }
    }

    /// Has the interface below receive what this one wants; called with the lock of its addresses held.
    pub(crate) fn sync_lower_addresses(&self) {
        let _guard = rcu::read_lock();
        let lower = self.private().lower();
        if !lower.is_null() {
            // SAFETY: As in `forward_now`; the caller holds the lock of this interface's addresses.
            unsafe { rlis_sys_net::net_sync_addresses(lower, self.as_raw(), false) };
        }
    }

    /// Has the interface below choose a queue for a frame, if frames go there.
    ///
    /// # Safety
    ///
    /// `skb` must be a frame that is about to be sent, and `below` what the stack has passed.
    #[inline]
    pub(crate) unsafe fn select_lower(
        &self,
        skb: *mut sk_buff,
        below: *mut net_device,
    ) -> Option<u16> {
        if !self.private().is_forwarding() {
            return None;
        }
        let _guard = rcu::read_lock();
        let lower = self.private().lower();
        // SAFETY: As in `forward_now`, and as required of the caller.
        (!lower.is_null()).then(|| unsafe { rlis_sys_net::net_select_lower(skb, lower, below) })
    }
}

/// What a lower interface receives becomes the upper one's.
///
/// # Safety
///
/// Only for the network stack to call, on interfaces that [`NetDevice::join`] has registered it with.
unsafe extern "C" fn received(frame: *mut *mut sk_buff) -> rx_handler_result_t {
    // SAFETY: The stack passes a frame, and is in an RCU read side; the data of the handler are the upper interface, which
    // stays until a grace period after it was unregistered.
    unsafe {
        let upper = rlis_sys_net::net_rx_upper(*frame);
        let skb = rlis_sys_net::net_to_upper(*frame, upper);
        if skb.is_null() {
            return rlis_sys_net::rx_handler_result_RX_HANDLER_CONSUMED;
        }
        *frame = skb;
    }
    rlis_sys_net::rx_handler_result_RX_HANDLER_ANOTHER
}

/// What happens to interfaces of other drivers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LowerEvent {
    /// One is about to be registered, and cannot have been brought up yet.
    Begins,
    /// It is registered; also for those that are there when the watch begins.
    Registered,
    /// It is up, or its cable or another property has changed.
    Changed,
    /// It is about to go down.
    GoesDown,
    /// It is down.
    Down,
    /// It is taken away; also for those that are there when the watch ends.
    Unregistered,
}

/// Who wants to know of interfaces of other drivers.
pub trait Watcher: Send + Sync + 'static {
    /// Something happens to an interface. Must not wait for long, since all configuration of the network does.
    fn event(&self, rtnl: &Rtnl<'_>, event: LowerEvent, lower: &Lower<'_>);

    /// The watcher's own interface was moved to another namespace.
    fn moved(&self);
}

/// Has a [`Watcher`] told of what happens to interfaces of other drivers, in all namespaces.
///
/// # Invariants
///
/// `block` is registered, and `upper` and `watcher` stay as they are meanwhile.
#[pin_data(PinnedDrop)]
pub struct Watch<T: Watcher> {
    #[pin]
    block: kernel::types::Opaque<rlis_sys_net::notifier_block>,
    upper: kernel::sync::Arc<NetDevice>,
    watcher: kernel::sync::Arc<T>,
}

// SAFETY: The block is only used by the stack; the others may go anywhere.
unsafe impl<T: Watcher> Send for Watch<T> {}

// SAFETY: Nothing can be done with a reference.
unsafe impl<T: Watcher> Sync for Watch<T> {}

impl<T: Watcher> Watch<T> {
    /// Begins: the watcher hears of all interfaces that are there. Takes the RTNL, so it must not be held.
    ///
    /// # Errors
    ///
    /// None that the watcher would cause.
    pub fn new(
        upper: kernel::sync::Arc<NetDevice>,
        watcher: kernel::sync::Arc<T>,
    ) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            upper,
            watcher,
            block <- kernel::types::Opaque::try_ffi_init(|slot: *mut rlis_sys_net::notifier_block| {
                // SAFETY: `slot` is valid for writes, and pinned; the fields before it have been initialised, and the block
                // is unregistered before any of them goes away.
                unsafe {
                    slot.write(rlis_sys_net::notifier_block {
                        notifier_call: Some(Self::notified),
                        ..pin_init::zeroed()
                    });
                    to_result(rlis_sys_net::register_netdevice_notifier(slot))
                }
            }),
        })
    }

    /// The function of the notifier.
    ///
    /// # Safety
    ///
    /// Only for the network stack to call, with the RTNL held.
    unsafe extern "C" fn notified(
        block: *mut rlis_sys_net::notifier_block,
        event: c_ulong,
        info: *mut c_void,
    ) -> c_int {
        // SAFETY: The block is the one in a `Watch`, which is registered, so that its other fields are there.
        let this = unsafe {
            &*block
                .wrapping_byte_sub(core::mem::offset_of!(Self, block))
                .cast::<Self>()
        };
        // SAFETY: The stack passes such a structure, whose interface is there at least until the function returns.
        let dev = unsafe { rlis_sys_net::net_notified(info) };
        if let Some(dev) = NonNull::new(dev) {
            // SAFETY: The stack holds the RTNL.
            let rtnl = unsafe { Rtnl::assume() };
            this.dispatch(&rtnl, event, dev);
        }
        rlis_sys_net::NOTIFY_DONE as c_int
    }

    fn dispatch(&self, rtnl: &Rtnl<'_>, event: c_ulong, dev: NonNull<net_device>) {
        use rlis_sys_net as sys;

        let is = |cmd: sys::netdev_cmd| event == cmd as c_ulong;
        if dev.as_ptr() == self.upper.as_raw() {
            if is(sys::netdev_cmd_NETDEV_REGISTER) {
                self.watcher.moved();
            }
            return;
        }
        let event = if is(sys::netdev_cmd_NETDEV_POST_INIT) {
            LowerEvent::Begins
        } else if is(sys::netdev_cmd_NETDEV_REGISTER) {
            LowerEvent::Registered
        } else if is(sys::netdev_cmd_NETDEV_UP) || is(sys::netdev_cmd_NETDEV_CHANGE) {
            LowerEvent::Changed
        } else if is(sys::netdev_cmd_NETDEV_GOING_DOWN) {
            LowerEvent::GoesDown
        } else if is(sys::netdev_cmd_NETDEV_DOWN) {
            LowerEvent::Down
        } else if is(sys::netdev_cmd_NETDEV_UNREGISTER) {
            LowerEvent::Unregistered
        } else {
            return;
        };
        // SAFETY: Whoever is notified may use the interface, with the RTNL held.
        let lower = unsafe { Lower::new(dev, rtnl) };
        self.watcher.event(rtnl, event, &lower);
    }
}

#[pinned_drop]
impl<T: Watcher> PinnedDrop for Watch<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant. The stack tells of all interfaces as if they went away.
        unsafe { rlis_sys_net::unregister_netdevice_notifier(self.block.get()) };
        Rtnl::with(|rtnl| self.upper.leave(rtnl));
    }
}

/// Calls `f` with the interfaces of the first namespace, in which drivers register theirs, until it returns something.
pub fn find_in_first_namespace<'a, R>(
    rtnl: &'a Rtnl<'_>,
    mut f: impl FnMut(Lower<'a>) -> Option<R>,
) -> Option<R> {
    let mut dev = core::ptr::null_mut();
    loop {
        // SAFETY: The RTNL is held, so that no interface comes or goes unless `f` does that, and it returns something then.
        dev = unsafe { rlis_sys_net::net_next_in_first_namespace(dev) };
        // SAFETY: As above.
        let lower = unsafe { Lower::new(NonNull::new(dev)?, rtnl) };
        if let Some(found) = f(lower) {
            return Some(found);
        }
    }
}
