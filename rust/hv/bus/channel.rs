// SPDX-License-Identifier: GPL-2.0

//! Channels: the C structure that drivers see, its life and the lists and tables it is on.

use crate::{
    connection::{
        self,
        State, //
    },
    control, device_class,
    lock::{
        RcuGuard,
        SpinGuard, //
    },
    request::{
        list_add_tail,
        list_del, //
    },
};
use core::{
    marker::PhantomData,
    mem::offset_of,
    ptr::{
        self,
        NonNull, //
    },
    sync::atomic::{
        AtomicBool,
        AtomicPtr,
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
        message::{
            ChannelMessageHeader,
            OfferChannel,
            RelidReleased, //
        },
        MAX_CHANNEL_RELIDS,
    },
    Guid,
};
use rlis_sys as bindings;

/// Relid of a channel that waits for its offer after a resume (`INVALID_RELID`).
pub(crate) const INVALID_RELID: u32 = u32::MAX;

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
pub(crate) type ChannelRef = ARef<Channel>;

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

/// `enum vmbus_channel_state`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChannelState {
    /// Not yet handed to a driver.
    Offer,
    /// A driver's open is under way.
    Opening,
    /// Can be opened. (The C name for this is `CHANNEL_OPEN_STATE`.)
    Open,
    /// Opened by a driver.
    Opened,
}

impl ChannelState {
    fn to_c(self) -> u32 {
        match self {
            Self::Offer => bindings::vmbus_channel_state_CHANNEL_OFFER_STATE,
            Self::Opening => bindings::vmbus_channel_state_CHANNEL_OPENING_STATE,
            Self::Open => bindings::vmbus_channel_state_CHANNEL_OPEN_STATE,
            Self::Opened => bindings::vmbus_channel_state_CHANNEL_OPENED_STATE,
        }
    }
}

impl Channel {
    /// A new channel for an offer, on no list yet. The reference returned is the only one. Sleeps.
    pub(crate) fn new(offer: &OfferChannel) -> Option<ChannelRef> {
        // SAFETY: No requirements; process context.
        let channel = NonNull::new(unsafe { bindings::channel_alloc() })?;
        // INVARIANT: The helper returns an initialised object with a count of one.
        // SAFETY: `Channel` is transparent over `rlis_channel`, whose first field this is.
        let channel = unsafe { ChannelRef::from_raw(channel.cast::<Self>()) };
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

    fn ext(&self) -> *mut bindings::rlis_channel {
        self.0.get()
    }

    /// The work of [`Self::from_rescind_work`].
    pub(crate) fn rescind_work(&self) -> *mut bindings::work_struct {
        // SAFETY: Only the address is taken.
        unsafe { &raw mut (*self.ext()).rescind_work }
    }

    /// The channel with this relid.
    pub(crate) fn find(relid: u32) -> Option<ChannelRef> {
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
    pub(crate) fn offer(&self) -> OfferChannel {
        // SAFETY: The types have the same size, and any bytes make an offer. The field changes only before the
        // channel is in use and while the guest resumes.
        unsafe { ptr::read_unaligned((&raw const (*self.raw()).offermsg).cast()) }
    }

    /// Stores an offer and what follows from it. Not while the channel is in use.
    pub(crate) fn set_offer(&self, offer: &OfferChannel) {
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
    pub(crate) fn relid(&self) -> u32 {
        // SAFETY: An aligned or unaligned read by value; the field changes only over a suspend.
        unsafe { (*self.raw()).offermsg.child_relid }
    }

    /// Takes the relid away, before a suspend. Needs the lock of channels.
    pub(crate) fn invalidate_relid(&self, _lock: &mut ChannelLock) {
        // SAFETY: The channel is closed, and nobody else writes the field.
        unsafe { (*self.raw()).offermsg.child_relid = INVALID_RELID };
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
    pub(crate) fn is_hvsock(&self) -> bool {
        let offer = self.offer();
        offer.offer.is_hvsock()
    }

    /// The channel's class, an index into `vmbus_devs`.
    pub(crate) fn class(&self) -> u16 {
        // SAFETY: Written with the offer.
        unsafe { (*self.raw()).device_id }
    }

    /// Whether its interrupts should be spread over CPUs.
    pub(crate) fn is_perf(&self) -> bool {
        device_class::is_perf(self.class())
    }

    /// Whether devices of the class are added one after the other.
    pub(crate) fn keeps_order(&self) -> bool {
        device_class::keeps_order(self.class())
    }

    fn rescind_flag(&self) -> &AtomicBool {
        // SAFETY: The field lives as long as `self`; C code reads it only.
        unsafe { AtomicBool::from_ptr(&raw mut (*self.raw()).rescind) }
    }

    /// Whether the host has withdrawn the offer.
    pub(crate) fn is_rescinded(&self) -> bool {
        self.rescind_flag().load(Ordering::Acquire)
    }

    /// Marks the offer as withdrawn; see [`crate::request::rescind`].
    pub(crate) fn set_rescind(&self) {
        self.rescind_flag().store(true, Ordering::Release);
    }

    /// Whether the caller is the first to handle the rescind.
    pub(crate) fn take_rescind_ref(&self) -> bool {
        // SAFETY: The field lives as long as `self` and is used here only.
        let flag = unsafe { AtomicBool::from_ptr(&raw mut (*self.raw()).rescind_ref) };
        !flag.swap(true, Ordering::AcqRel)
    }

    fn state_cell(&self) -> &AtomicU32 {
        // SAFETY: An enum of C is a `u32`; the field lives as long as `self`; C code reads it only.
        unsafe { AtomicU32::from_ptr((&raw mut (*self.raw()).state).cast()) }
    }

    /// The state.
    pub(crate) fn state(&self) -> ChannelState {
        match self.state_cell().load(Ordering::Acquire) {
            bindings::vmbus_channel_state_CHANNEL_OPENING_STATE => ChannelState::Opening,
            bindings::vmbus_channel_state_CHANNEL_OPEN_STATE => ChannelState::Open,
            bindings::vmbus_channel_state_CHANNEL_OPENED_STATE => ChannelState::Opened,
            _ => ChannelState::Offer,
        }
    }

    /// The state as the C API numbers it.
    pub(crate) fn state_number(&self) -> u32 {
        self.state().to_c()
    }

    /// Sets the state.
    pub(crate) fn set_state(&self, state: ChannelState) {
        self.state_cell().store(state.to_c(), Ordering::Release);
    }

    /// Goes from one state to another; false if the channel is not in the first.
    pub(crate) fn change_state(&self, from: ChannelState, to: ChannelState) -> bool {
        self.state_cell()
            .compare_exchange(from.to_c(), to.to_c(), Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    fn target_cpu_cell(&self) -> &AtomicU32 {
        // SAFETY: The field lives as long as `self`; C code reads it only.
        unsafe { AtomicU32::from_ptr(&raw mut (*self.raw()).target_cpu) }
    }

    /// The CPU that gets the channel's interrupts.
    pub(crate) fn target_cpu(&self) -> u32 {
        self.target_cpu_cell().load(Ordering::Relaxed)
    }

    /// Sets that CPU. Needs the lock of channels.
    pub(crate) fn set_target_cpu(&self, cpu: u32, _lock: &ChannelLock) {
        self.target_cpu_cell().store(cpu, Ordering::Relaxed);
    }

    /// The primary channel of a sub-channel.
    pub(crate) fn primary(&self) -> Option<&Channel> {
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

    /// Whether the device is registered now.
    pub(crate) fn set_registered(&self, registered: bool) -> bool {
        // SAFETY: The field lives as long as `self` and is used here only.
        let flag = unsafe { AtomicBool::from_ptr(&raw mut (*self.ext()).registered) };
        flag.swap(registered, Ordering::AcqRel)
    }

    /// Says that the driver's probe or callback is over, for hv_sock.
    pub(crate) fn set_probe_done(&self) {
        // SAFETY: The field lives as long as `self`; C code reads it only.
        unsafe { AtomicBool::from_ptr(&raw mut (*self.raw()).probe_done) }
            .store(true, Ordering::Release);
    }

    /// Whether [`Self::set_probe_done`] was called.
    pub(crate) fn is_probe_done(&self) -> bool {
        // SAFETY: As above.
        unsafe { AtomicBool::from_ptr(&raw mut (*self.raw()).probe_done) }.load(Ordering::Acquire)
    }

    /// Whether the channel has sysfs files; returns what it was before.
    pub(crate) fn set_in_sysfs(&self, on: bool) -> bool {
        // SAFETY: The field lives as long as `self` and is used here only.
        unsafe { AtomicBool::from_ptr(&raw mut (*self.ext()).in_sysfs) }.swap(on, Ordering::AcqRel)
    }

    /// Waits for a running callback and lets no further one begin. Sleeps.
    pub(crate) fn reset_callback(&self) {
        let c = self.raw();
        // SAFETY: The fields belong to a valid channel. `onchannel_callback` is written under `sched_lock`,
        // which interrupts take to read it.
        unsafe {
            bindings::tasklet_disable(&raw mut (*c).callback_event);
            {
                let _guard = SpinGuard::lock(&raw mut (*c).sched_lock);
                (*c).onchannel_callback = None;
            }
            (*c).sc_creation_callback = None;
            bindings::tasklet_enable(&raw mut (*c).callback_event);
        }
    }

    /// Wakes who waits for the rescind of this sub-channel.
    pub(crate) fn complete_rescind(&self) {
        // SAFETY: Initialised with the channel.
        unsafe { bindings::complete_all(&raw mut (*self.raw()).rescind_event) };
    }

    /// Waits until [`Self::complete_rescind`] was called, or the channel removed; false after a time-out.
    pub(crate) fn wait_rescind(&self, ms: u32) -> bool {
        // SAFETY: Initialised with the channel; process context.
        unsafe { bindings::wait_for_completion_ms(&raw mut (*self.raw()).rescind_event, ms) }
    }

    /// Takes the channel off its list and off the table, gives the relid back and gives up the reference that
    /// the list had; does nothing if that has happened before. Sleeps.
    pub(crate) fn remove(&self) {
        let mut list = lock();
        if !list.unlink(self) {
            return;
        }
        let relid = self.relid();
        if relid != INVALID_RELID {
            list.unmap_relid(relid);
        }
        let waiting = list.take_deferred(self);
        drop(list);

        self.reset_callback();
        if self.set_in_sysfs(false) {
            // SAFETY: The files were added and are removed once.
            unsafe { bindings::channel_remove_sysfs(self.raw()) };
        }
        // SAFETY: Nobody schedules the tasklet any more.
        unsafe { bindings::tasklet_kill(&raw mut (*self.raw()).callback_event) };
        if relid != INVALID_RELID {
            release_relid(relid);
        }
        self.complete_rescind();
        crate::power::channel_removed(self);
        if let Some(next) = waiting {
            control::queue_add(&next);
        }
        // SAFETY: A sub-channel owns a reference to its primary channel, which ends with its time on the list.
        // `unlink` has succeeded, so the list's reference to this channel is ours to give up.
        unsafe {
            if let Some(primary) = self.primary() {
                Channel::dec_ref(NonNull::from(primary));
            }
            Channel::dec_ref(NonNull::from(self));
        }
    }

    fn listed(&self) -> &AtomicBool {
        // SAFETY: The field lives as long as `self` and is used here only.
        unsafe { AtomicBool::from_ptr(&raw mut (*self.ext()).listed) }
    }

    fn deferred(&self) -> &AtomicBool {
        // SAFETY: As above.
        unsafe { AtomicBool::from_ptr(&raw mut (*self.ext()).deferred) }
    }

    /// Marks the channel as one whose removal a suspend waits for; returns what it was before.
    pub(crate) fn set_closes_on_suspend(&self, on: bool) -> bool {
        // SAFETY: As above.
        unsafe { AtomicBool::from_ptr(&raw mut (*self.ext()).closes_on_suspend) }
            .swap(on, Ordering::AcqRel)
    }

    fn same_device(&self, offer: &OfferChannel) -> bool {
        let own = self.offer();
        let guids = |o: &OfferChannel| -> (Guid, Guid) { (o.offer.if_type, o.offer.if_instance) };
        guids(&own) == guids(offer)
    }
}

/// The table of channels, by relid; null before and after the connection.
pub(crate) fn table() -> &'static AtomicPtr<*mut bindings::vmbus_channel> {
    // SAFETY: The object lives forever, and the field is only accessed atomically once it is set.
    unsafe { AtomicPtr::from_ptr(&raw mut (*connection::raw()).channels) }
}

/// The channel in the table, whose memory stays valid for the RCU section that the caller is in.
pub(crate) fn lookup(relid: u32) -> Option<NonNull<bindings::vmbus_channel>> {
    if relid >= MAX_CHANNEL_RELIDS {
        return None;
    }
    let table = table().load(Ordering::Acquire);
    if table.is_null() {
        return None;
    }
    // SAFETY: In bounds, see above; entries are accessed atomically. The table is freed after a grace period.
    let entry = unsafe { AtomicPtr::from_ptr(table.add(relid as usize)) };
    NonNull::new(entry.load(Ordering::Acquire))
}

/// Gives a relid back to the host.
pub(crate) fn release_relid(relid: u32) {
    if connection::state() != State::Connected {
        return;
    }
    let message = RelidReleased {
        header: ChannelMessageHeader::of::<RelidReleased>(),
        child_relid: relid,
    };
    if let Err(e) = connection::post(&message) {
        pr_err!("releasing relid {} failed: {}\n", relid, e.to_errno());
    }
}

/// `vmbus_connection.channel_mutex`, which protects the lists of channels, the table and target CPUs.
///
/// # Invariants
///
/// The mutex is held by the current task.
pub(crate) struct ChannelLock(PhantomData<*mut ()>);

/// Takes the lock. Sleeps.
pub(crate) fn lock() -> ChannelLock {
    // SAFETY: The mutex is initialised statically; drop unlocks it.
    unsafe { bindings::mutex_lock(&raw mut (*connection::raw()).channel_mutex) };
    // INVARIANT: Just taken.
    ChannelLock(PhantomData)
}

impl Drop for ChannelLock {
    fn drop(&mut self) {
        // SAFETY: Held by the invariants.
        unsafe { bindings::mutex_unlock(&raw mut (*connection::raw()).channel_mutex) };
    }
}

/// Iterates over a list of channels, which does not change meanwhile as the lock is held.
pub(crate) struct Iter<'a> {
    head: *mut bindings::list_head,
    at: *mut bindings::list_head,
    offset: usize,
    _lock: PhantomData<&'a ChannelLock>,
}

impl<'a> Iterator for Iter<'a> {
    type Item = &'a Channel;

    fn next(&mut self) -> Option<&'a Channel> {
        if self.at == self.head {
            return None;
        }
        // SAFETY: Entries of the list are fields at this offset in channels; the list owns references.
        unsafe {
            let channel = Channel::from_raw(self.at.byte_sub(self.offset).cast());
            self.at = (*self.at).next;
            Some(channel)
        }
    }
}

impl ChannelLock {
    /// All primary channels.
    pub(crate) fn primaries(&self) -> Iter<'_> {
        // SAFETY: The list is initialised statically.
        let (head, at) = unsafe {
            let head = &raw mut (*connection::raw()).chn_list;
            (head, (*head).next)
        };
        Iter {
            head,
            at,
            offset: offset_of!(bindings::vmbus_channel, listentry),
            _lock: PhantomData,
        }
    }

    /// The sub-channels of `primary`.
    pub(crate) fn sub_channels<'a>(&'a self, primary: &'a Channel) -> Iter<'a> {
        // SAFETY: The list head is initialised with the channel.
        let (head, at) = unsafe {
            let head = &raw mut (*primary.raw()).sc_list;
            (head, (*head).next)
        };
        Iter {
            head,
            at,
            offset: offset_of!(bindings::vmbus_channel, sc_list),
            _lock: PhantomData,
        }
    }

    /// All channels.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Channel> {
        self.primaries().flat_map(|primary| {
            Iterator::chain(core::iter::once(primary), self.sub_channels(primary))
        })
    }

    /// The primary channel of the device that an offer is about, unless it is being removed.
    pub(crate) fn find_device(&self, offer: &OfferChannel) -> Option<ChannelRef> {
        self.primaries()
            .find(|c| !c.is_rescinded() && c.same_device(offer))
            .map(ChannelRef::from)
    }

    /// Puts a primary channel on the list, which takes over one reference.
    pub(crate) fn insert_primary(&mut self, channel: &Channel) {
        channel.listed().store(true, Ordering::Relaxed);
        crate::power::channel_added(channel);
        // SAFETY: The lock is held; the channel is on no list.
        unsafe {
            list_add_tail(
                &raw mut (*channel.raw()).listentry,
                &raw mut (*connection::raw()).chn_list,
            )
        };
    }

    /// Puts a sub-channel on the list of its primary, which takes over one reference; the sub-channel takes
    /// another to its primary.
    pub(crate) fn insert_sub_channel(&mut self, primary: &Channel, channel: &Channel) {
        primary.inc_ref();
        channel.listed().store(true, Ordering::Relaxed);
        // SAFETY: The lock is held; the channel is on no list and not in use yet.
        unsafe {
            (*channel.raw()).primary_channel = primary.raw();
            list_add_tail(
                &raw mut (*channel.raw()).sc_list,
                &raw mut (*primary.raw()).sc_list,
            );
        }
        crate::power::channel_added(channel);
    }

    /// Takes a channel off its list; false if it is on none.
    fn unlink(&mut self, channel: &Channel) -> bool {
        if !channel.listed().swap(false, Ordering::Relaxed) {
            return false;
        }
        let c = channel.raw();
        // SAFETY: The lock is held and the channel is linked: a sub-channel through `sc_list`, whose other use
        // is as head of a primary channel's list.
        unsafe {
            if (*c).primary_channel.is_null() {
                list_del(&raw mut (*c).listentry);
            } else {
                list_del(&raw mut (*c).sc_list);
            }
        }
        true
    }

    /// Lets interrupts and rescinds find the channel.
    pub(crate) fn map_relid(&mut self, channel: &Channel) {
        let relid = channel.relid();
        // SAFETY: The field is only written here, under the lock, and read atomically.
        let hiwater = unsafe { AtomicU32::from_ptr(&raw mut (*connection::raw()).relid_hiwater) };
        if relid > hiwater.load(Ordering::Relaxed) {
            hiwater.store(relid, Ordering::Relaxed);
        }
        self.set_entry(relid, channel.raw());
    }

    /// Lets nobody find the channel with this relid any more.
    pub(crate) fn unmap_relid(&mut self, relid: u32) {
        self.set_entry(relid, ptr::null_mut());
    }

    fn set_entry(&mut self, relid: u32, channel: *mut bindings::vmbus_channel) {
        let table = table().load(Ordering::Relaxed);
        if relid < MAX_CHANNEL_RELIDS && !table.is_null() {
            // SAFETY: In bounds; accessed atomically; the table stays while there are channels.
            // A full barrier: the host may send interrupts as soon as the channel is opened.
            unsafe { AtomicPtr::from_ptr(table.add(relid as usize)) }
                .store(channel, Ordering::SeqCst);
        }
    }

    /// Whether the channel is on a list.
    pub(crate) fn has(&self, channel: &Channel) -> bool {
        channel.listed().load(Ordering::Relaxed)
    }

    /// Whether another channel of the same device is still there, which then must be removed first: `channel`
    /// is added when that has happened.
    pub(crate) fn defer(&mut self, channel: &Channel) -> bool {
        let offer = channel.offer();
        let blocked = self
            .primaries()
            .take_while(|c| !ptr::eq(*c, channel))
            .any(|c| c.same_device(&offer));
        channel.deferred().store(blocked, Ordering::Relaxed);
        blocked
    }

    /// The channel that waits for the removal of `gone`.
    fn take_deferred(&mut self, gone: &Channel) -> Option<ChannelRef> {
        if gone.primary().is_some() {
            return None;
        }
        let offer = gone.offer();
        self.primaries()
            .find(|c| c.same_device(&offer) && c.deferred().swap(false, Ordering::Relaxed))
            .map(ChannelRef::from)
    }
}

/// Removes all channels after the connection has ended. Drivers are gone.
pub(crate) fn free_all() {
    loop {
        let list = lock();
        // Sub-channels first: they refer to their primary.
        let next = list
            .primaries()
            .next()
            .map(|p| ChannelRef::from(list.sub_channels(p).next().unwrap_or(p)));
        drop(list);
        let Some(channel) = next else { return };
        crate::request::rescind(&channel);
        if channel.set_registered(false) {
            crate::device::unregister(channel.device());
            // Its release removes the channel. Someone who holds the device open must not keep us here.
        }
        channel.remove();
    }
}
