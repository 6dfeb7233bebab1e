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
    connection,
    cpu::CONNECT_CPU,
    ops, //
};
use kernel::{
    prelude::*,
    sync::{
        new_spinlock_irq,
        rcu,
        Arc,
        SpinLockIrq, //
    }, //
};
use rlis_hv::{
    work::{
        OwnedQueue,
        Task,
        Worker, //
    },
    RcuArc, //
};
use rlis_proto::vmbus::message::{
    OfferChannel,
    RescindOffer, //
};

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

impl Queue {
    /// Puts a message at the end; false if there is no room.
    fn put(&mut self, message: Message) -> bool {
        if self.len == QUEUE_LEN {
            self.stalled = true;
            return false;
        }
        let at = (self.first + self.len) % QUEUE_LEN;
        match self.slots.get_mut(at) {
            Some(slot) => *slot = message,
            // The first time around the ring; within the capacity, so that nothing is allocated.
            None => {
                if self.slots.push_within_capacity(message).is_err() {
                    return false;
                }
            }
        }
        self.len += 1;
        true
    }

    /// The oldest message, if there is one, and whether the tasklet has left another one in its slot.
    fn take(&mut self) -> (Option<Message>, bool) {
        let message = if self.len == 0 {
            None
        } else {
            let message = self.slots.get(self.first).copied();
            self.first = (self.first + 1) % QUEUE_LEN;
            self.len -= 1;
            message
        };
        (message, core::mem::take(&mut self.stalled))
    }
}

/// The control work, and what it works on.
#[pin_data]
struct Control {
    #[pin]
    queue: SpinLockIrq<Queue>,
}

impl Task for Control {
    fn run(_this: &Worker<Self>) {
        if let Ok(ops) = ops() {
            ops.control();
        }
    }
}

/// The inbox while there is a connection. The work itself never takes a reference: it would wait for itself.
static CONTROL: RcuArc<Worker<Control>> = RcuArc::new();

/// The inbox. Dropping it ends the handling of messages: those that are queued, and all that come from here on, are
/// dropped, and the control work has ended.
pub struct Inbox {
    _kept: kept::Place,
}

impl Inbox {
    /// Makes it, before the first message can arrive, and after the queues.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new() -> Result<Self> {
        let kept = kept::Place::new()?;
        let queue = OwnedQueue::per_cpu(c"hv_vmbus_con")?;
        let slots = KVec::with_capacity(QUEUE_LEN, GFP_KERNEL)?;
        let control = Arc::pin_init(
            Worker::new(
                Arc::new(queue, GFP_KERNEL)?,
                pin_init!(Control {
                    queue <- new_spinlock_irq!(Queue {
                        slots,
                        first: 0,
                        len: 0,
                        stalled: false,
                    }),
                }),
            ),
            GFP_KERNEL,
        )?;
        drop(CONTROL.replace(Some(control)));
        Ok(Self { _kept: kept })
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        drop(CONTROL.replace(None));
    }
}

/// Queues a message; false if there is no room, in which case the caller leaves the message where it is and
/// will be called again. Any context.
pub fn put(message: Message) -> bool {
    let rcu = rcu::read_lock();
    // Without an inbox there is no connection, and nothing to do with the message.
    CONTROL.get(&rcu).is_none_or(|control| {
        let queued = control.queue.lock().put(message);
        // On the CPU that gets the host's messages: the work may have to start that CPU's tasklet again.
        control.queue_on(CONNECT_CPU);
        queued
    })
}

/// Says what becomes of offers from now on. Those that were kept are handled accordingly, before others.
pub fn set_offers(mode: Offers) {
    kept::set(mode);
    // Nobody but us looks at that, in a dump.
    let ignore = mode != Offers::Taken;
    connection::c().ignore_any_offer_msg().set(ignore);
    let rcu = rcu::read_lock();
    if let Some(control) = CONTROL.get(&rcu) {
        control.queue_on(CONNECT_CPU);
    }
}

/// Waits until all messages that have arrived are handled. Sleeps; not from the control work.
pub fn flush() {
    if let Some(control) = CONTROL.keep() {
        control.flush();
    }
}

/// The oldest message, if there is one, and whether the tasklet has left another one in its slot. `None` when the inbox is
/// closed.
pub fn take() -> Option<(Option<Message>, bool)> {
    let rcu = rcu::read_lock();
    let control = CONTROL.get(&rcu)?;
    let taken = control.queue.lock().take();
    Some(taken)
}
