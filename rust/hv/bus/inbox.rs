// SPDX-License-Identifier: GPL-2.0

//! The inbox: messages that the host sends of its own accord, offers and rescinds.
//!
//! The tasklet that takes messages from the SynIC page copies them into a queue of fixed size, so that it
//! never has to allocate. When the queue is full it leaves the message in its slot, where the hypervisor
//! keeps all further ones back, and the consumer starts the tasklet again once there is room.
//!
//! The consumer is one work item on the CPU that gets the messages, [`crate::BusOps::control`]. It must not wait for an
//! answer of the host: that answer might be behind a full queue.

mod kept;

pub use self::kept::{
    drop_kept,
    keep,
    mode,
    next_kept,
    Offers, //
};

use crate::{
    lock::SpinGuard,
    ops, //
};
use core::{
    cell::UnsafeCell,
    sync::atomic::{
        AtomicBool,
        Ordering, //
    }, //
};
use kernel::prelude::*;
use rlis_proto::vmbus::message::{
    OfferChannel,
    RescindOffer, //
};
use rlis_sys as bindings;

/// Messages that the queue holds. Only bursts need more than a few.
const QUEUE_LEN: usize = 128;

/// A message in the inbox.
#[derive(Clone, Copy)]
#[allow(clippy::large_enum_variant)] // Most messages are offers.
pub enum Message {
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

fn with_queue<R>(f: impl FnOnce(&mut Queue) -> R) -> Option<R> {
    if !IS_SET_UP.load(Ordering::Acquire) {
        return None;
    }
    // SAFETY: The lock is initialised by `setup`, before any message can arrive, and lives forever.
    let _guard = unsafe { SpinGuard::lock(SHARED.lock.get()) };
    // SAFETY: The lock is held.
    unsafe { (*SHARED.queue.get()).as_mut() }.map(f)
}

/// The inbox. Dropping it ends the handling of messages: those that are queued, and all that come from here on, are
/// dropped, and the control work is not queued any more.
pub struct Inbox(());

impl Inbox {
    /// Makes it, before the first message can arrive, and after the queues.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new() -> Result<Self> {
        let slots = KVec::with_capacity(QUEUE_LEN, GFP_KERNEL)?;
        // SAFETY: Nobody uses the statics yet, as `IS_SET_UP` says.
        unsafe {
            bindings::ring_lock_init(SHARED.lock.get());
            *SHARED.queue.get() = Some(Queue {
                slots,
                first: 0,
                len: 0,
                stalled: false,
            });
        }
        kept::setup();
        IS_SET_UP.store(true, Ordering::Release);
        Ok(Self(()))
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        IS_SET_UP.store(false, Ordering::Release);
        let queue = {
            // SAFETY: The lock is initialised by `new`.
            let _guard = unsafe { SpinGuard::lock(SHARED.lock.get()) };
            // SAFETY: The lock is held.
            unsafe { (*SHARED.queue.get()).take() }
        };
        drop(queue);
    }
}

/// Queues a message; false if there is no room, in which case the caller leaves the message where it is and
/// will be called again. Any context.
pub fn put(message: Message) -> bool {
    let queued = with_queue(|q| {
        // Under the lock, so that the drop of the inbox has the last word.
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
pub fn set_offers(mode: Offers) {
    kept::set(mode);
    // SAFETY: The object lives forever. Only this function writes the field, which nobody but us reads.
    unsafe { (*crate::connection::raw()).ignore_any_offer_msg = mode != Offers::Taken };
    with_queue(|_| {
        // SAFETY: The work queue exists as long as this queue does.
        unsafe { bindings::queue_control_work() };
    });
}

/// Waits until all messages that have arrived are handled. Sleeps.
pub fn flush() {
    // SAFETY: Process context; the work item is static.
    unsafe { bindings::flush_control_work() };
}

/// The oldest message, if there is one, and whether the tasklet has left another one in its slot. `None` when the inbox is
/// closed.
pub fn take() -> Option<(Option<Message>, bool)> {
    with_queue(|q| {
        let message = if q.len == 0 {
            None
        } else {
            let message = q.slots.get(q.first).copied();
            q.first = (q.first + 1) % QUEUE_LEN;
            q.len -= 1;
            message
        };
        (message, core::mem::take(&mut q.stalled))
    })
}

/// The control work.
#[no_mangle]
extern "C" fn rlis_bus_control_work(_work: *mut bindings::work_struct) {
    if let Ok(ops) = ops() {
        ops.control();
    }
}
