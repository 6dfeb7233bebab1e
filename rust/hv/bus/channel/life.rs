// SPDX-License-Identifier: GPL-2.0

//! Where a channel is in its life: the word of [`rlis_proto::vmbus::life`], and the fields that C code reads, which follow
//! from it and are written here only.

use super::{
    Channel,
    Fields,
    INVALID_RELID, //
};
use core::sync::atomic::Ordering;
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

impl Channel {
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
        self.state().store(c_state(life), Ordering::Relaxed);
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
        // Until one of these has happened the rings are the caller's, and so is the field: whoever opens the channel next
        // writes it later.
        let ends = matches!(event, Event::Opened | Event::OpenFailed | Event::Closed);
        let (old, new, step) = advance(self.word(), event, |new| {
            if ends {
                self.state().store(c_state(new), Ordering::Release);
            }
        })?;
        if !ends && old.rings != new.rings {
            self.state().store(c_state(new), Ordering::Release);
        }
        if new.is_over() {
            self.rescind().store(true, Ordering::Release);
        }
        if new.added {
            self.probe_done().store(true, Ordering::Release);
        }
        // Off the list, the number is left to the log.
        if old.relid == Relid::Held && new.relid != Relid::Held && new.listed {
            self.child_relid().set(INVALID_RELID);
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

impl Fields {
    /// The mirror of [`Channel::is_rescinded`], for interrupts.
    #[inline]
    pub(crate) fn is_withdrawn(&self) -> bool {
        self.rescind().load(Ordering::Relaxed)
    }
}
