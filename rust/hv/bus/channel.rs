// SPDX-License-Identifier: GPL-2.0

//! Channels: the C structure that drivers see. Its life: [`life`]; the lists and the table it is on: [`list`]; how
//! sub-channels are handed out: [`additions`].

mod additions;
mod fields;
mod life;
mod links;
mod list;
mod owned;
pub mod table;
mod trace;

pub use self::{
    additions::Additions,
    fields::Fields,
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
    fields::{
        AddWork,
        ChannelFunction,
        EventFunction,
        RescindWork, //
    }, //
};

use crate::device_class;
use core::{
    mem::offset_of,
    ops::Deref,
    ptr::{
        self,
        NonNull, //
    },
    sync::atomic::Ordering, //
};
use kernel::{
    sync::{
        aref::{
            ARef,
            AlwaysRefCounted, //
        },
        rcu, //
    }, //
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

/// A driver's function that is told of a rescind.
pub struct RescindCallback<'a>(&'a Channel, ChannelFunction);

impl RescindCallback<'_> {
    /// Calls it. Sleeps.
    pub fn call(self) {
        (self.1)(self.0);
    }
}

/// A channel.
///
/// # Invariants
///
/// The object was allocated by [`Channel::new`] and its kobject's reference count is not zero.
#[repr(transparent)]
pub struct Channel(Fields);

impl Deref for Channel {
    type Target = Fields;

    #[inline]
    fn deref(&self) -> &Fields {
        &self.0
    }
}

/// A counted reference to a channel. The channel may be rescinded, and may be off all lists, but its memory is
/// valid.
pub type ChannelRef = ARef<Channel>;

// SAFETY: The kobject's count keeps the object alive; it is freed by the kobject's release function.
unsafe impl AlwaysRefCounted for Channel {
    fn inc_ref(&self) {
        // SAFETY: By the invariants the count is not zero.
        unsafe { bindings::kobject_get(&raw mut (*self.c()).kobj) };
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: The caller gives up a reference.
        unsafe { bindings::kobject_put(&raw mut (*obj.as_ref().c()).kobj) };
    }
}

impl Channel {
    /// A new channel for an offer, on no list yet. The reference returned is the only one. Sleeps.
    pub fn new(offer: &OfferChannel) -> Option<ChannelRef> {
        let channel = NonNull::new(bindings::channel_alloc())?;
        // INVARIANT: The helper returns an initialised object with a count of one.
        // SAFETY: `Channel` is transparent over `rlis_channel`, whose first field this is.
        let channel = unsafe { ChannelRef::from_raw(channel.cast::<Self>()) };
        channel.be_born(offer);
        channel.set_offer(offer);
        Some(channel)
    }

    /// The channel with this relid.
    pub fn find(relid: u32) -> Option<ChannelRef> {
        let rcu = rcu::read_lock();
        table::get(&rcu)?.find(relid, &rcu)?.keep()
    }

    /// A copy of the offer.
    pub fn offer(&self) -> OfferChannel {
        self.offermsg().get()
    }

    /// Stores an offer and what follows from it. Not while the channel is in use.
    pub fn set_offer(&self, offer: &OfferChannel) {
        self.offermsg().set(offer);
        self.sig_event().set(u64::from(offer.connection_id));
        self.is_dedicated_interrupt()
            .set(offer.has_dedicated_interrupt());
        self.monitor_grp().set(offer.monitor_group());
        self.monitor_bit().set(offer.monitor_bit());
        self.device_id().set(device_class::of_offer(offer));
    }

    /// Whether the rings lie in memory that the host cannot read. Never in kernels whose structure has no room for that, where
    /// the bus does not load in a confidential guest.
    pub(crate) fn has_confidential_ring(&self) -> bool {
        #[cfg(RLIS_HAVE_CONFIDENTIAL_CHANNELS)]
        return self.co_ring_buffer().get();
        #[cfg(not(RLIS_HAVE_CONFIDENTIAL_CHANNELS))]
        false
    }

    /// The same of all other memory.
    pub(crate) fn has_confidential_memory(&self) -> bool {
        #[cfg(RLIS_HAVE_CONFIDENTIAL_CHANNELS)]
        return self.co_external_memory().get();
        #[cfg(not(RLIS_HAVE_CONFIDENTIAL_CHANNELS))]
        false
    }

    /// Whether this is a Hyper-V socket.
    pub fn is_hvsock(&self) -> bool {
        let offer = self.offer();
        offer.offer.is_hvsock()
    }

    /// The channel's class, an index into `vmbus_devs`.
    pub fn class(&self) -> u16 {
        self.device_id().get()
    }

    /// Whether its interrupts should be spread over CPUs.
    pub fn is_perf(&self) -> bool {
        device_class::is_perf(self.class())
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
        Route {
            cpu: self.target_cpu(),
            opens: self.opens().get(),
            unsure: self.target_unsure().get(),
            moving: self.target_moving().get(),
            unanswered: self.target_unanswered().get(),
        }
    }

    /// Stores it. Needs the lock of channels.
    pub fn set_route(&self, route: &Route, lock: &ChannelLock) {
        self.set_target_cpu(route.cpu, lock);
        self.opens().set(route.opens);
        self.target_unsure().set(route.unsure);
        self.target_moving().set(route.moving);
        self.target_unanswered().set(route.unanswered);
    }

    /// The primary channel of a sub-channel.
    #[inline]
    pub fn primary(&self) -> Option<&Channel> {
        // SAFETY: Null, or set before the sub-channel is in use, and the sub-channel owns a reference.
        unsafe { self.primary_channel().get().cast::<Channel>().as_ref() }
    }

    /// Waits for a running callback and lets no further one begin. Sleeps.
    pub fn reset_callback(&self) {
        let disabled = self.callback_event().disable();
        {
            // Interrupts take it to look at the function and call it.
            let _guard = self.sched_lock().lock();
            self.onchannel_callback().set(None);
        }
        self.clear_sc_creation_callback();
        drop(disabled);
        // The tasklet sets it only if there is a callback.
        self.look_again_timer().end();
    }

    /// Sets the driver's function that is handed sub-channels.
    pub(crate) fn set_sc_creation_callback(&self, callback: Option<ChannelFunction>) {
        self.sc_creation_callback().set(callback);
    }

    /// Takes the driver's function away that is handed sub-channels: no addition that begins from here on calls it.
    pub fn clear_sc_creation_callback(&self) {
        self.set_sc_creation_callback(None);
    }

    /// Sets the driver's function that is told of a rescind.
    pub(crate) fn set_rescind_callback(&self, callback: Option<ChannelFunction>) {
        self.chn_rescind_callback().set(callback);
    }

    /// Takes the driver's function away that is told of a rescind.
    pub fn clear_rescind_callback(&self) {
        self.set_rescind_callback(None);
    }

    /// The driver's function that is told of a rescind, if it wants to be.
    pub fn rescind_callback(&self) -> Option<RescindCallback<'_>> {
        let callback = self.chn_rescind_callback().get()?;
        Some(RescindCallback(self, callback))
    }

    /// The id that the driver wants for a request, or that of the requestor; `None` if the driver has no function for that.
    #[inline]
    pub(crate) fn next_request_id(&self, address: u64) -> Option<u64> {
        let callback = self.next_request_id_callback().get()?;
        Some(callback(self, address))
    }

    /// Tells the driver of an id that nobody will complete.
    pub(crate) fn drop_request_id(&self, id: u64) {
        if let Some(callback) = self.request_addr_callback().get() {
            callback(self, id);
        }
    }

    /// Takes away what a driver has put into the channel, after it has let go of the device: the next driver finds the
    /// channel as a new one. Needs the lock of channels, under which some of it is used. The channel is closed.
    pub fn forget_driver(&self, _lock: &ChannelLock) {
        self.clear_sc_creation_callback();
        self.clear_rescind_callback();
        self.change_target_cpu_callback().set(None);
        self.next_request_id_callback().set(None);
        self.request_addr_callback().set(None);
        self.rqstor_size().set(0);
        self.max_pkt_size().set(0);
        self.callback_mode()
            .set(bindings::vmbus_channel_hv_callback_mode_HV_CALL_BATCHED);
        self.low_latency().set(false);
        self.per_channel_state().set(ptr::null_mut());
        self.channel_callback_context().set(ptr::null_mut());
    }

    /// Waits until the tasklet does not run, for a channel that nobody schedules it for any more. Sleeps.
    pub fn kill_tasklet(&self) {
        self.callback_event().kill();
    }

    /// Waits for the end of the channel's addition, and says whether it had to. Sleeps; not from the addition.
    pub fn finish_addition(&self) -> bool {
        self.add_work().flush()
    }

    /// Hands a sub-channel to the driver, if it wants any.
    ///
    /// A driver sets and clears the callback while it has the device; it must cope with a call that crosses its removal, as
    /// with the C bus.
    pub fn hand_out(&self, sub: &Channel) {
        if let Some(callback) = self.sc_creation_callback().get() {
            callback(sub);
        }
    }

    /// Tells the driver that the interrupts of an open channel go to another CPU. Under the lock, as with the C bus.
    pub fn tell_target_cpu(&self, from: u32, to: u32, _lock: &ChannelLock) {
        if let Some(callback) = self.change_target_cpu_callback().get() {
            callback(self, from, to);
        }
    }

    fn same_device(&self, offer: &OfferChannel) -> bool {
        let own = self.offer();
        let guids = |o: &OfferChannel| -> (Guid, Guid) { (o.offer.if_type, o.offer.if_instance) };
        guids(&own) == guids(offer)
    }
}

impl Fields {
    /// The relid, or [`INVALID_RELID`].
    pub fn relid(&self) -> u32 {
        self.child_relid().get()
    }

    /// The channel's monitor, if it has one.
    #[inline]
    pub(crate) fn monitor_id(&self) -> Option<u8> {
        let offer = self.offermsg();
        let allocated = offer.byte::<{ offset_of!(OfferChannel, monitor_allocated) }>();
        (allocated & 1 != 0).then(|| offer.byte::<{ offset_of!(OfferChannel, monitorid) }>())
    }
}
