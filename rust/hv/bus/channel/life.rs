// SPDX-License-Identifier: GPL-2.0

//! Where a channel is in its life: the word of [`rlis_proto::vmbus::life`], and the fields that C code reads, which follow
//! from it and are written here only.

use super::{
    Channel,
    INVALID_RELID, //
};
use core::sync::atomic::{
    AtomicBool,
    AtomicU32,
    Ordering, //
};
use rlis_proto::vmbus::{
    life::{
        advance,
        Event,
        Kind,
        Life,
        Relid,
        Rings,
        Step, //
    },
    message::OfferChannel, //
};
use rlis_sys as bindings;

/// `enum vmbus_channel_state`. A channel that can be opened is in the state that C calls `CHANNEL_OPEN_STATE`.
fn c_state(life: Life) -> u32 {
    match life.rings {
        Rings::New => bindings::vmbus_channel_state_CHANNEL_OFFER_STATE,
        Rings::Closed => bindings::vmbus_channel_state_CHANNEL_OPEN_STATE,
        Rings::Opening | Rings::Closing => bindings::vmbus_channel_state_CHANNEL_OPENING_STATE,
        Rings::Opened => bindings::vmbus_channel_state_CHANNEL_OPENED_STATE,
    }
}

/// The fields of the C structure that follow from the life.
struct Mirrors<'a> {
    state: &'a AtomicU32,
    rescind: &'a AtomicBool,
    probe_done: &'a AtomicBool,
}

impl Channel {
    fn word(&self) -> &AtomicU32 {
        // SAFETY: The field lives as long as `self` and is accessed here only.
        unsafe { AtomicU32::from_ptr(&raw mut (*self.ext()).life) }
    }

    fn mirrors(&self) -> Mirrors<'_> {
        let c = self.raw();
        // SAFETY: The fields live as long as `self`; an enum of C is a `u32`; C code only reads them.
        unsafe {
            Mirrors {
                state: AtomicU32::from_ptr((&raw mut (*c).state).cast()),
                rescind: AtomicBool::from_ptr(&raw mut (*c).rescind),
                probe_done: AtomicBool::from_ptr(&raw mut (*c).probe_done),
            }
        }
    }

    /// Begins the life. The channel is new.
    pub(super) fn be_born(&self, offer: &OfferChannel) {
        let kind = if offer.offer.is_sub_channel() {
            Kind::Sub
        } else if offer.offer.is_hvsock() {
            Kind::Socket
        } else {
            Kind::Primary
        };
        let life = Life::new(kind);
        self.word().store(life.to_bits(), Ordering::Relaxed);
        self.mirrors().state.store(c_state(life), Ordering::Relaxed);
    }

    /// Where the channel is in its life.
    #[inline]
    pub fn life(&self) -> Life {
        Life::from_bits(self.word().load(Ordering::Acquire))
    }

    /// Has an event happen to the channel, and says what the caller has to do then, and nobody else does. `None` if the
    /// event does not happen, as it has before or the channel is not in a state for it.
    ///
    /// [`Event::Listed`], [`Event::AdditionBegun`], [`Event::Unblocked`], [`Event::Unregistered`], [`Event::Removed`],
    /// [`Event::Suspended`] and [`Event::Resumed`] need the lock of channels, which protects what they are about.
    pub fn on(&self, event: Event) -> Option<Step> {
        let mirrors = self.mirrors();
        // Until one of these has happened the rings are the caller's, and so is the field: whoever opens the channel next
        // writes it later.
        let ends = matches!(event, Event::Opened | Event::OpenFailed | Event::Closed);
        let (old, new, step) = advance(self.word(), event, |new| {
            if ends {
                mirrors.state.store(c_state(new), Ordering::Release);
            }
        })?;
        if !ends && old.rings != new.rings {
            mirrors.state.store(c_state(new), Ordering::Release);
        }
        if new.is_over() {
            mirrors.rescind.store(true, Ordering::Release);
        }
        if new.added {
            mirrors.probe_done.store(true, Ordering::Release);
        }
        // Off the list, the number is left to the log.
        if old.relid == Relid::Held && new.relid != Relid::Held && new.listed {
            // SAFETY: The lock of channels is held, as the event needs it, and the channel is closed.
            unsafe { (*self.raw()).offermsg.child_relid = INVALID_RELID };
        }
        Some(step)
    }

    /// Whether the host has withdrawn the offer, or the bus is done with it.
    #[inline]
    pub fn is_rescinded(&self) -> bool {
        self.life().is_over()
    }

    /// The state as the C API numbers it.
    pub(crate) fn state_number(&self) -> u32 {
        c_state(self.life())
    }
}
