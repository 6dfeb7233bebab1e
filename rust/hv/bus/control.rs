// SPDX-License-Identifier: GPL-2.0

//! Messages that the host sends of its own accord: offers and rescinds.
//!
//! The tasklet that takes messages from the SynIC page copies them into a queue of fixed size, so that it
//! never has to allocate. When the queue is full it leaves the message in its slot, where the hypervisor
//! keeps all further ones back, and the consumer starts the tasklet again once there is room.
//!
//! The consumer is one work item on the CPU that gets the messages. It handles offers and rescinds in the
//! order in which they were sent, and must not wait for an answer of the host: that answer might be behind a
//! full queue.

mod offers;

pub(crate) use self::offers::Offers;

use crate::{
    channel::{
        self,
        Channel,
        ChannelRef, //
    },
    connection::{
        self,
        State, //
    },
    cpu, device,
    device_class::{
        self,
        NamedInOrder, //
    },
    lock::SpinGuard,
    policy, synic,
};
use core::{
    cell::UnsafeCell,
    ptr::{
        self,
        NonNull, //
    },
    sync::atomic::{
        AtomicBool,
        Ordering, //
    }, //
};
use kernel::{
    prelude::*,
    sync::aref::AlwaysRefCounted, //
};
use rlis_proto::vmbus::{
    life::{
        Event,
        Step, //
    },
    message::{
        OfferChannel,
        RescindOffer, //
    },
    MAX_CHANNEL_RELIDS,
};
use rlis_sys as bindings;

/// Messages that the queue holds. Only bursts need more than a few.
const QUEUE_LEN: usize = 128;

/// A message for the control work.
#[derive(Clone, Copy)]
#[allow(clippy::large_enum_variant)] // Most messages are offers.
pub(crate) enum Message {
    /// A channel is offered.
    Offer(OfferChannel),
    /// An offer is withdrawn.
    Rescind(RescindOffer),
}

/// The queue between the tasklet and the work.
struct Queue {
    slots: KVec<Message>,
    /// Index of the oldest message.
    first: usize,
    len: usize,
    /// The tasklet has left a message in its slot.
    stalled: bool,
}

/// The queue and its lock.
struct Shared {
    lock: UnsafeCell<bindings::spinlock_t>,
    queue: UnsafeCell<Option<Queue>>,
}

// SAFETY: `queue` is only accessed under `lock`.
unsafe impl Sync for Shared {}

static SHARED: Shared = Shared {
    lock: UnsafeCell::new(pin_init::zeroed()),
    queue: UnsafeCell::new(None),
};

/// Whether `lock` is initialised and there is a queue.
static IS_SET_UP: AtomicBool = AtomicBool::new(false);

/// NICs are added in the order of their offers, which their names depend on, and so are pass-through PCI devices. Other
/// devices do not wait for each other.
struct OrderedQueues(UnsafeCell<[*mut bindings::workqueue_struct; 2]>);

// SAFETY: Written only by `setup` and `teardown`, when nothing uses it.
unsafe impl Sync for OrderedQueues {}

static ORDERED: OrderedQueues = OrderedQueues(UnsafeCell::new([ptr::null_mut(); 2]));

fn ordered() -> [*mut bindings::workqueue_struct; 2] {
    // SAFETY: Not written while there is a connection.
    unsafe { *ORDERED.0.get() }
}

fn with_queue<R>(f: impl FnOnce(&mut Queue) -> R) -> Option<R> {
    if !IS_SET_UP.load(Ordering::Acquire) {
        return None;
    }
    // SAFETY: The lock is initialised by `setup`, before any message can arrive, and lives forever.
    let _guard = unsafe { SpinGuard::lock(SHARED.lock.get()) };
    // SAFETY: The lock is held.
    unsafe { (*SHARED.queue.get()).as_mut() }.map(f)
}

/// Makes the queues. Called before the first message can arrive.
pub(crate) fn setup() -> Result {
    let slots = KVec::with_capacity(QUEUE_LEN, GFP_KERNEL)?;
    // SAFETY: Nobody uses the statics yet.
    unsafe {
        bindings::ring_lock_init(SHARED.lock.get());
        for (wq, name) in (*ORDERED.0.get())
            .iter_mut()
            .zip([c"hv_nic_chan", c"hv_pci_chan"])
        {
            *wq = bindings::workqueue_ordered(name.as_char_ptr());
            if wq.is_null() {
                return Err(ENOMEM);
            }
        }
        *SHARED.queue.get() = Some(Queue {
            slots,
            first: 0,
            len: 0,
            stalled: false,
        });
    }
    offers::setup();
    IS_SET_UP.store(true, Ordering::Release);
    Ok(())
}

/// Ends the handling of messages: those that are queued, and all that come from here on, are dropped. After
/// that the control work is not queued any more.
pub(crate) fn stop() {
    if IS_SET_UP.swap(false, Ordering::AcqRel) {
        let queue = {
            // SAFETY: The lock is initialised by `setup`.
            let _guard = unsafe { SpinGuard::lock(SHARED.lock.get()) };
            // SAFETY: The lock is held.
            unsafe { (*SHARED.queue.get()).take() }
        };
        drop(queue);
    }
}

/// Releases what [`setup`] made.
///
/// # Safety
///
/// [`stop`] was called and all other queues are destroyed, so that nobody queues an addition.
pub(crate) unsafe fn teardown() {
    // SAFETY: Nobody uses the queue any more.
    unsafe {
        for wq in &mut *ORDERED.0.get() {
            if !wq.is_null() {
                bindings::destroy_workqueue(*wq);
                *wq = ptr::null_mut();
            }
        }
    }
}

/// Queues a message; false if there is no room, in which case the caller leaves the message where it is and
/// will be called again. Any context.
pub(crate) fn enqueue(message: Message) -> bool {
    let queued = with_queue(|q| {
        // Under the lock, so that `stop` has the last word.
        // SAFETY: The work queue exists as long as this queue does.
        unsafe { bindings::queue_control_work() };
        if q.len == QUEUE_LEN {
            q.stalled = true;
            return false;
        }
        let at = (q.first + q.len) % QUEUE_LEN;
        match q.slots.get_mut(at) {
            Some(slot) => *slot = message,
            // The first time around the ring; within the capacity, so that nothing is allocated.
            None => {
                if q.slots.push_within_capacity(message).is_err() {
                    return false;
                }
            }
        }
        q.len += 1;
        true
    });
    // Without a queue there is no connection, and nothing to do with the message.
    queued.unwrap_or(true)
}

/// Says what becomes of offers from now on. Those that were kept are handled accordingly, before others.
pub(crate) fn set_offers(mode: Offers) {
    offers::set(mode);
    // SAFETY: The object lives forever. Only this function writes the field, which nobody but us reads.
    unsafe { (*connection::raw()).ignore_any_offer_msg = mode != Offers::Taken };
    with_queue(|_| {
        // SAFETY: The work queue exists as long as this queue does.
        unsafe { bindings::queue_control_work() };
    });
}

/// Waits until all messages that have arrived are handled.
pub(crate) fn flush() {
    // SAFETY: Process context; the work item is static.
    unsafe { bindings::flush_control_work() };
}

/// Waits until the devices whose order matters are added.
pub(crate) fn flush_ordered() {
    for wq in ordered() {
        // SAFETY: The queue exists as long as there is a connection; process context.
        unsafe { bindings::flush_workqueue(wq) };
    }
}

/// Queues the work that makes a device or sub-channel of `channel`, unless the connection has ended.
pub(crate) fn queue_add(channel: &Channel) {
    let [nics, pci] = ordered();
    // SAFETY: The queues change only when the connection begins and ends.
    let wq = unsafe {
        if channel.primary().is_some() {
            (*connection::raw()).handle_sub_chan_wq
        } else {
            match device_class::names_depend_on_order(channel.class()) {
                Some(NamedInOrder::Nic) => nics,
                Some(NamedInOrder::Pci) => pci,
                None => (*connection::raw()).handle_primary_chan_wq,
            }
        }
    };
    if wq.is_null() {
        return;
    }
    // The work owns a reference.
    channel.inc_ref();
    // SAFETY: The queue exists as long as there is a connection.
    let queued = unsafe { bindings::queue_work(wq, &raw mut (*channel.raw()).add_channel_work) };
    if !queued {
        // SAFETY: It was queued already, with a reference of its own.
        unsafe { Channel::dec_ref(NonNull::from(channel)) };
    }
}

/// The control work.
#[no_mangle]
extern "C" fn rlis_bus_control_work(_work: *mut bindings::work_struct) {
    while let Some((message, stalled)) = with_queue(|q| {
        let message = if q.len == 0 {
            None
        } else {
            let message = q.slots.get(q.first).copied();
            q.first = (q.first + 1) % QUEUE_LEN;
            q.len -= 1;
            message
        };
        (message, core::mem::take(&mut q.stalled))
    }) {
        if stalled {
            synic::restart_message_tasklet();
        }
        // What arrived before the connection ended is of no use any more.
        let connected = connection::state() == State::Connected;
        while let Some(kept) = offers::next_kept() {
            if connected {
                on_offer(&kept);
            }
        }
        match message {
            None => return,
            Some(_) if !connected => {}
            Some(Message::Offer(offer)) => match offers::mode() {
                Offers::Taken => on_offer(&offer),
                Offers::Kept => keep_offer(&offer),
                Offers::Dropped => {}
            },
            Some(Message::Rescind(rescind)) => on_rescind(rescind.child_relid),
        }
    }
}

/// Keeps an offer for later. One that cannot be kept is released.
fn keep_offer(offer: &OfferChannel) {
    if let Err(reason) = offers::keep(offer) {
        refuse(offer.child_relid, reason);
    }
}

/// Handles an offer. A refused one is released at once, so that the host can reuse the relid.
fn on_offer(offer: &OfferChannel) {
    if let Err(reason) = try_offer(offer) {
        refuse(offer.child_relid, reason);
    }
}

fn refuse(relid: u32, reason: &str) {
    crate::ratelimit::warn(|| pr_err!("offer of relid {} refused: {}\n", relid, reason));
    // The relid of another channel stays what it is.
    if Channel::find(relid).is_none() && relid != 0 && relid < MAX_CHANNEL_RELIDS {
        channel::release_relid(relid);
    }
}

fn try_offer(offer: &OfferChannel) -> Result<(), &'static str> {
    let relid = offer.child_relid;
    // Relid 0 is the flag of messages; the rest has no event flag.
    if relid == 0 || relid >= MAX_CHANNEL_RELIDS {
        return Err("no such relid");
    }
    if Channel::find(relid).is_some() {
        return Err("the relid is in use");
    }
    if let Some(policy) = policy::get() {
        policy.accept(offer, connection::version(), synic::is_isolated())?;
    }
    let new = Channel::new(offer).ok_or("out of memory")?;

    let mut list = channel::lock();
    let same = list.find_device(offer);
    match (same, offer.offer.is_sub_channel()) {
        // After a resume: the relid is new, all else is as it was.
        (Some(old), false) if old.on(Event::Resumed).is_some() => {
            old.set_offer(offer);
            list.map_relid(&old);
            return Ok(());
        }
        (Some(_), false) => return Err("the device has a channel already"),
        (Some(primary), true) => list.insert_sub_channel(&primary, &new),
        (None, true) => return Err("a sub-channel without a primary channel"),
        (None, false) => list.insert_primary(&new),
    }
    cpu::place(&list, &new);
    list.map_relid(&new);
    drop(list);
    queue_add(&new);
    // The list owns the first reference; `Channel::remove` gives it up.
    core::mem::forget(new);
    Ok(())
}

/// Handles a rescind: wakes who waits for the host and leaves the rest to the channel's own work.
pub(crate) fn on_rescind(relid: u32) {
    match Channel::find(relid) {
        Some(channel) => rescind(channel),
        None if offers::forget(relid) => channel::release_relid(relid),
        // Its offer was refused, and released then.
        None => pr_debug!("rescind of unknown relid {}\n", relid),
    }
}

/// Begins the removal of a channel.
pub(crate) fn rescind(channel: ChannelRef) {
    // No callback may run once a driver can see the flag: it may give up the memory that the callback uses.
    channel.reset_callback();
    if crate::request::end(&channel, Event::Withdrawn) != Some(Step::QueueRemoval) {
        return;
    }
    // The work owns the reference.
    let channel = ChannelRef::into_raw(channel);
    // SAFETY: The queue exists as long as there is a connection; the pointer is valid.
    unsafe {
        bindings::queue_work(
            (*connection::raw()).rescind_work_queue,
            channel.as_ref().rescind_work(),
        )
    };
}

/// The work that turns a channel into a device, or hands a sub-channel to its driver.
#[no_mangle]
unsafe extern "C" fn rlis_bus_add_channel_work(work: *mut bindings::work_struct) {
    // SAFETY: `queue_add` queued the work of a channel and gave it a reference.
    let channel = unsafe { Channel::from_add_work(work) };
    device::add_channel(&channel);
}

/// The work that removes a rescinded channel.
#[no_mangle]
unsafe extern "C" fn rlis_bus_rescind_channel_work(work: *mut bindings::work_struct) {
    // SAFETY: `rescind` queued the work of a channel and gave it a reference.
    let channel = unsafe { Channel::from_rescind_work(work) };
    // SAFETY: The addition never waits for this work.
    unsafe { bindings::flush_work(&raw mut (*channel.raw()).add_channel_work) };
    device::remove_rescinded(&channel);
}
