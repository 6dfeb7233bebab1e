// SPDX-License-Identifier: GPL-2.0

//! Channels: the C structure that drivers see. Its life: [`life`]; the lists and the table it is on: [`list`]; how
//! sub-channels are handed out: [`additions`].

mod additions;
mod life;
mod list;
mod owned;

pub use self::{
    additions::Additions,
    list::{
        awaited,
        gone,
        lock,
        ChannelLock,
        Unlinked, //
    },
    owned::{
        Callback,
        Owned, //
    }, //
};
pub(crate) use self::{
    additions::Files,
    list::lookup, //
};

use crate::{
    device_class,
    lock::{
        RcuGuard,
        SpinGuard, //
    },
    wait::CompletionRef, //
};
use core::{
    mem::offset_of,
    ptr::{
        self,
        NonNull, //
    },
    sync::atomic::{
        AtomicU32,
        Ordering, //
    }, //
};
use kernel::{
    prelude::*,
    sync::aref::{
        ARef,
        AlwaysRefCounted, //
    },
    types::Opaque, //
};
use rlis_proto::{
    vmbus::{
        message::OfferChannel,
        retarget::Route, //
    },
    Guid, //
};
use rlis_sys as bindings;

/// Relid of a channel that waits for its offer after a resume (`INVALID_RELID`).
pub const INVALID_RELID: u32 = u32::MAX;

/// A driver's function that is called with a channel.
pub(crate) type ChannelFunction = Option<unsafe extern "C" fn(*mut bindings::vmbus_channel)>;

/// A driver's function that is told of a rescind.
pub struct RescindCallback<'a>(
    &'a Channel,
    unsafe extern "C" fn(*mut bindings::vmbus_channel),
);

impl RescindCallback<'_> {
    /// Calls it. Sleeps.
    pub fn call(self) {
        // SAFETY: The driver's function, called as declared.
        unsafe { (self.1)(self.0.raw()) };
    }
}

const _: () = assert!(
    size_of::<OfferChannel>() == size_of::<bindings::vmbus_channel_offer_channel>(),
    "the parsed offer is stored as the C one"
);

/// A channel.
///
/// # Invariants
///
/// The object was allocated by [`Channel::new`] and its kobject's reference count is not zero.
#[repr(transparent)]
pub struct Channel(Opaque<bindings::rlis_channel>);

/// A counted reference to a channel. The channel may be rescinded, and may be off all lists, but its memory is
/// valid.
pub type ChannelRef = ARef<Channel>;

// SAFETY: Fields are accessed atomically, under the locks named at each method, or belong to the driver that
// has the channel, as in C.
unsafe impl Send for Channel {}
// SAFETY: As above.
unsafe impl Sync for Channel {}

// SAFETY: The kobject's count keeps the object alive; it is freed by the kobject's release function.
unsafe impl AlwaysRefCounted for Channel {
    fn inc_ref(&self) {
        // SAFETY: By the invariants the count is not zero.
        unsafe { bindings::kobject_get(&raw mut (*self.raw()).kobj) };
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: The caller gives up a reference.
        unsafe { bindings::kobject_put(&raw mut (*obj.as_ref().raw()).kobj) };
    }
}

impl Channel {
    /// A new channel for an offer, on no list yet. The reference returned is the only one. Sleeps.
    pub fn new(offer: &OfferChannel) -> Option<ChannelRef> {
        // SAFETY: No requirements; process context.
        let channel = NonNull::new(unsafe { bindings::channel_alloc() })?;
        // INVARIANT: The helper returns an initialised object with a count of one.
        // SAFETY: `Channel` is transparent over `rlis_channel`, whose first field this is.
        let channel = unsafe { ChannelRef::from_raw(channel.cast::<Self>()) };
        channel.be_born(offer);
        channel.set_offer(offer);
        Some(channel)
    }

    /// The channel that C code calls `channel`.
    ///
    /// # Safety
    ///
    /// `channel` is a channel of this bus and stays so for `'a`: it was handed to the caller by a callback or
    /// through its device.
    pub(crate) unsafe fn from_raw<'a>(channel: *mut bindings::vmbus_channel) -> &'a Self {
        // SAFETY: The caller promises a channel, all of which are made by `new`.
        unsafe { &*channel.cast() }
    }

    /// The channel whose `add_channel_work` is `work`, with the reference that the work owns.
    ///
    /// # Safety
    ///
    /// `work` is the field of a channel and has been given a reference, which the caller takes over.
    pub(crate) unsafe fn from_add_work(work: *mut bindings::work_struct) -> ChannelRef {
        let offset = offset_of!(bindings::vmbus_channel, add_channel_work);
        // SAFETY: The caller promises that `work` is that field, and hands the reference over.
        unsafe { ChannelRef::from_raw(NonNull::new_unchecked(work.byte_sub(offset).cast())) }
    }

    /// The channel whose `rescind_work` is `work`, with the reference that the work owns.
    ///
    /// # Safety
    ///
    /// `work` is the field of a channel and has been given a reference, which the caller takes over.
    pub(crate) unsafe fn from_rescind_work(work: *mut bindings::work_struct) -> ChannelRef {
        let offset = offset_of!(bindings::rlis_channel, rescind_work);
        // SAFETY: The caller promises that `work` is that field, and hands the reference over.
        unsafe { ChannelRef::from_raw(NonNull::new_unchecked(work.byte_sub(offset).cast())) }
    }

    /// The C object.
    pub(crate) fn raw(&self) -> *mut bindings::vmbus_channel {
        self.0.get().cast()
    }

    /// The C object with the state that is ours.
    pub(crate) fn ext(&self) -> *mut bindings::rlis_channel {
        self.0.get()
    }

    /// The work of [`Self::from_add_work`].
    pub(crate) fn add_work(&self) -> *mut bindings::work_struct {
        // SAFETY: Only the address is taken.
        unsafe { &raw mut (*self.raw()).add_channel_work }
    }

    /// The work of [`Self::from_rescind_work`].
    pub(crate) fn rescind_work(&self) -> *mut bindings::work_struct {
        // SAFETY: Only the address is taken.
        unsafe { &raw mut (*self.ext()).rescind_work }
    }

    /// The channel with this relid.
    pub fn find(relid: u32) -> Option<ChannelRef> {
        let _rcu = RcuGuard::new();
        let channel = lookup(relid)?;
        // SAFETY: Memory of a channel that is in the table is freed only after a grace period. Its count may
        // have dropped to zero already.
        unsafe {
            if bindings::kobject_get_unless_zero(&raw mut (*channel.as_ptr()).kobj).is_null() {
                return None;
            }
            Some(ChannelRef::from_raw(channel.cast()))
        }
    }

    /// A copy of the offer.
    pub fn offer(&self) -> OfferChannel {
        // SAFETY: The types have the same size, and any bytes make an offer. The field changes only before the
        // channel is in use and while the guest resumes.
        unsafe { ptr::read_unaligned((&raw const (*self.raw()).offermsg).cast()) }
    }

    /// Stores an offer and what follows from it. Not while the channel is in use.
    pub fn set_offer(&self, offer: &OfferChannel) {
        let c = self.raw();
        // SAFETY: The channel is not in use; sizes are equal.
        unsafe {
            ptr::write_unaligned((&raw mut (*c).offermsg).cast(), *offer);
            (*c).sig_event = u64::from(offer.connection_id);
            (*c).is_dedicated_interrupt = offer.has_dedicated_interrupt();
            (*c).monitor_grp = offer.monitor_group();
            (*c).monitor_bit = offer.monitor_bit();
            (*c).device_id = device_class::of_offer(offer);
        }
    }

    /// The relid, or [`INVALID_RELID`].
    pub fn relid(&self) -> u32 {
        // SAFETY: An aligned or unaligned read by value; the field changes only over a suspend.
        unsafe { (*self.raw()).offermsg.child_relid }
    }

    /// The channel's monitor, if it has one.
    pub(crate) fn monitor_id(&self) -> Option<u8> {
        // SAFETY: Two bytes of the offer, see `offer`; without copying all of it, as this is on the way of
        // every packet.
        unsafe {
            let offer = (&raw const (*self.raw()).offermsg).cast::<u8>();
            let allocated = offer
                .add(offset_of!(OfferChannel, monitor_allocated))
                .read();
            (allocated & 1 != 0).then(|| offer.add(offset_of!(OfferChannel, monitorid)).read())
        }
    }

    /// Whether this is a Hyper-V socket.
    pub fn is_hvsock(&self) -> bool {
        let offer = self.offer();
        offer.offer.is_hvsock()
    }

    /// The channel's class, an index into `vmbus_devs`.
    pub fn class(&self) -> u16 {
        // SAFETY: Written with the offer.
        unsafe { (*self.raw()).device_id }
    }

    /// Whether its interrupts should be spread over CPUs.
    pub fn is_perf(&self) -> bool {
        device_class::is_perf(self.class())
    }

    fn target_cpu_cell(&self) -> &AtomicU32 {
        // SAFETY: The field lives as long as `self`; C code reads it only.
        unsafe { AtomicU32::from_ptr(&raw mut (*self.raw()).target_cpu) }
    }

    /// The CPU that gets the channel's interrupts.
    pub fn target_cpu(&self) -> u32 {
        self.target_cpu_cell().load(Ordering::Relaxed)
    }

    /// Sets that CPU. Needs the lock of channels.
    pub fn set_target_cpu(&self, cpu: u32, _lock: &ChannelLock) {
        self.target_cpu_cell().store(cpu, Ordering::Relaxed);
    }

    /// What is known of that CPU. Needs the lock of channels.
    pub fn route(&self, _lock: &ChannelLock) -> Route {
        // SAFETY: The fields are written by `set_route` only, under the lock.
        unsafe {
            let ext = self.ext();
            Route {
                cpu: self.target_cpu(),
                opens: (*ext).opens,
                unsure: (*ext).target_unsure,
                moving: (*ext).target_moving,
                unanswered: (*ext).target_unanswered,
            }
        }
    }

    /// Stores it. Needs the lock of channels.
    pub fn set_route(&self, route: &Route, lock: &ChannelLock) {
        self.set_target_cpu(route.cpu, lock);
        // SAFETY: As above.
        unsafe {
            let ext = self.ext();
            (*ext).opens = route.opens;
            (*ext).target_unsure = route.unsure;
            (*ext).target_moving = route.moving;
            (*ext).target_unanswered = route.unanswered;
        }
    }

    /// The primary channel of a sub-channel.
    pub fn primary(&self) -> Option<&Channel> {
        // SAFETY: Set before the sub-channel is in use, and the sub-channel owns a reference.
        unsafe { (*self.raw()).primary_channel.cast::<Channel>().as_ref() }
    }

    /// The device of a primary channel.
    pub(crate) fn device(&self) -> *mut bindings::hv_device {
        // SAFETY: Written before the device is registered.
        unsafe { (*self.raw()).device_obj }
    }

    /// Sets the device.
    pub(crate) fn set_device(&self, device: *mut bindings::hv_device) {
        // SAFETY: Only the work that adds the channel calls this.
        unsafe { (*self.raw()).device_obj = device };
    }

    /// Waits for a running callback and lets no further one begin. Sleeps.
    pub fn reset_callback(&self) {
        let c = self.raw();
        // SAFETY: The fields belong to a valid channel. `onchannel_callback` is written under `sched_lock`,
        // which interrupts take to read it.
        unsafe {
            bindings::tasklet_disable(&raw mut (*c).callback_event);
            {
                let _guard = SpinGuard::lock(&raw mut (*c).sched_lock);
                (*c).onchannel_callback = None;
            }
            self.clear_sc_creation_callback();
            bindings::tasklet_enable(&raw mut (*c).callback_event);
            // The tasklet sets the timer only if there is a callback.
            bindings::channel_no_more_looks(c);
        }
    }

    /// Sets the driver's function that is handed sub-channels.
    pub(crate) fn set_sc_creation_callback(&self, callback: ChannelFunction) {
        // SAFETY: A field of a valid channel, which additions read as a whole.
        unsafe { ptr::write_volatile(&raw mut (*self.raw()).sc_creation_callback, callback) };
    }

    /// Takes the driver's function away that is handed sub-channels: no addition that begins from here on calls it.
    pub fn clear_sc_creation_callback(&self) {
        self.set_sc_creation_callback(None);
    }

    /// Sets the driver's function that is told of a rescind.
    pub(crate) fn set_rescind_callback(&self, callback: ChannelFunction) {
        // SAFETY: A field of a valid channel, which the rescind's work reads as a whole.
        unsafe { ptr::write_volatile(&raw mut (*self.raw()).chn_rescind_callback, callback) };
    }

    /// Takes the driver's function away that is told of a rescind.
    pub fn clear_rescind_callback(&self) {
        self.set_rescind_callback(None);
    }

    /// The driver's function that is told of a rescind, if it wants to be.
    pub fn rescind_callback(&self) -> Option<RescindCallback<'_>> {
        // SAFETY: As above.
        let callback = unsafe { ptr::read_volatile(&raw const (*self.raw()).chn_rescind_callback) };
        callback.map(|callback| RescindCallback(self, callback))
    }

    /// Takes away what a driver has put into the channel, after it has let go of the device: the next driver finds the
    /// channel as a new one. Needs the lock of channels, under which some of it is used. The channel is closed.
    pub fn forget_driver(&self, _lock: &ChannelLock) {
        let c = self.raw();
        self.clear_sc_creation_callback();
        self.clear_rescind_callback();
        // SAFETY: No driver has the channel, and it is closed: nobody else uses these fields, except for those that
        // are used under the lock.
        unsafe {
            (*c).change_target_cpu_callback = None;
            (*c).next_request_id_callback = None;
            (*c).request_addr_callback = None;
            (*c).rqstor_size = 0;
            (*c).max_pkt_size = 0;
            (*c).callback_mode = bindings::vmbus_channel_hv_callback_mode_HV_CALL_BATCHED;
            (*c).low_latency = false;
            (*c).per_channel_state = ptr::null_mut();
            (*c).channel_callback_context = ptr::null_mut();
        }
    }

    /// Happens when the rescind of a sub-channel was handled, or the channel removed.
    pub fn rescind_event(&self) -> CompletionRef<'_> {
        // SAFETY: Initialised with the channel.
        unsafe { CompletionRef::from_raw(&raw mut (*self.raw()).rescind_event) }
    }

    /// Counts a signal to a host that waited for room.
    #[inline]
    pub(crate) fn count_in_full(&self) {
        // SAFETY: A statistic, which the one reader of the channel writes.
        unsafe { (*self.raw()).intr_in_full += 1 };
    }

    /// Waits until the tasklet does not run, for a channel that nobody schedules it for any more. Sleeps.
    pub fn kill_tasklet(&self) {
        // SAFETY: Initialised with the channel.
        unsafe { bindings::tasklet_kill(&raw mut (*self.raw()).callback_event) };
    }

    /// Waits for the end of the channel's addition, and says whether it had to. Sleeps; not from the addition.
    pub fn finish_addition(&self) -> bool {
        // SAFETY: Initialised with the channel, which is kept.
        unsafe { bindings::flush_work(self.add_work()) }
    }

    /// Hands a sub-channel to the driver, if it wants any.
    ///
    /// A driver sets and clears the callback while it has the device; it must cope with a call that crosses its removal, as
    /// with the C bus.
    pub fn hand_out(&self, sub: &Channel) {
        // SAFETY: A field of a valid channel.
        let callback = unsafe { ptr::read_volatile(&raw const (*self.raw()).sc_creation_callback) };
        if let Some(callback) = callback {
            // SAFETY: The driver's function, called as declared.
            unsafe { callback(sub.raw()) };
        }
    }

    /// Tells the driver that the interrupts of an open channel go to another CPU. Under the lock, as with the C bus.
    pub fn tell_target_cpu(&self, from: u32, to: u32, _lock: &ChannelLock) {
        // SAFETY: The driver's function, set while the channel is open, called as declared.
        unsafe {
            let c = self.raw();
            if let Some(callback) = (*c).change_target_cpu_callback {
                callback(c, from, to);
            }
        }
    }

    fn same_device(&self, offer: &OfferChannel) -> bool {
        let own = self.offer();
        let guids = |o: &OfferChannel| -> (Guid, Guid) { (o.offer.if_type, o.offer.if_instance) };
        guids(&own) == guids(offer)
    }
}
