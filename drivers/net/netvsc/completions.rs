// SPDX-License-Identifier: GPL-2.0

//! Completions of the host's packets, which it gets as soon as the ring has room.

use crate::{
    counters::Received,
    settings::WANTED_ROOM, //
};
use kernel::prelude::*;
use rlis_hv::Single;
use rlis_proto::nvsp::{
    RndisPacketComplete,
    Status, //
};
use rlis_vmbus::{
    PacketType,
    PinnedChannel, //
};

/// Completions that the host waits for, and that had no room in the ring.
///
/// Written and read by the poll function alone, which takes no packets while there is no room here.
pub(crate) struct Completions {
    ring: KVVec<Pending>,
    first: Single<u32>,
    count: Single<u32>,
}

struct Pending {
    id: Single<u64>,
    /// 0 for a completion without a payload.
    status: Single<u32>,
}

/// How many completions can wait; a power of two.
const PENDING: usize = 1 << 12;

impl Completions {
    pub(crate) fn new() -> Result<Self> {
        let mut ring = KVVec::with_capacity(PENDING, GFP_KERNEL)?;
        for _ in 0..PENDING {
            let pending = Pending {
                id: Single::new(0),
                status: Single::new(0),
            };
            ring.push(pending, GFP_KERNEL)?;
        }
        Ok(Self {
            ring,
            first: Single::new(0),
            count: Single::new(0),
        })
    }

    /// Returns whether another completion could wait.
    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        usize::try_from(self.count.get()).is_ok_and(|count| count < PENDING)
    }

    /// Completes a packet of the host, now or when there is room.
    #[inline]
    pub(crate) fn answer(
        &self,
        channel: &PinnedChannel<'_>,
        counters: &Received,
        id: u64,
        status: Option<Status>,
    ) {
        if self.count.get() == 0 && Self::send(channel, id, status) != Err(EAGAIN) {
            // Sent, or the host has withdrawn the card.
            return;
        }
        counters.completions_late.add(1);
        let (first, count) = (self.first.get(), self.count.get());
        let Some(place) = self.place(first.wrapping_add(count)) else {
            return;
        };
        if usize::try_from(count).is_ok_and(|count| count < PENDING) {
            place.id.set(id);
            place.status.set(status.map_or(0, |status| status.0));
            self.count.set(count + 1);
        }
    }

    fn place(&self, at: u32) -> Option<&Pending> {
        self.ring.get(usize::try_from(at).ok()? % PENDING)
    }

    fn send(channel: &PinnedChannel<'_>, id: u64, status: Option<Status>) -> Result {
        match status {
            Some(status) => {
                let message = RndisPacketComplete::message(status);
                channel.send(PacketType::COMPLETION, &message, id, false)
            }
            None => channel.send(PacketType::COMPLETION, &[], id, false),
        }
    }

    /// Sends what waits, as far as there is room. If that is not all, the host signals when there is more.
    #[inline]
    pub(crate) fn flush(&self, channel: &PinnedChannel<'_>) {
        if self.count.get() != 0 {
            self.send_late(channel);
        }
    }

    #[cold]
    fn send_late(&self, channel: &PinnedChannel<'_>) {
        if self.send_all(channel) {
            return;
        }
        channel.set_pending_send_size(WANTED_ROOM);
        // There may be room since before the host knew.
        self.send_all(channel);
    }

    fn send_all(&self, channel: &PinnedChannel<'_>) -> bool {
        loop {
            let count = self.count.get();
            if count == 0 {
                return true;
            }
            let first = self.first.get();
            let Some(place) = self.place(first) else {
                return true;
            };
            let status = place.status.get();
            let status = (status != 0).then_some(Status(status));
            if Self::send(channel, place.id.get(), status) == Err(EAGAIN) {
                return false;
            }
            self.first.set(first.wrapping_add(1));
            self.count.set(count - 1);
        }
    }
}
