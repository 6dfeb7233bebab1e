// SPDX-License-Identifier: GPL-2.0

//! The driver's own requests and the host's answers.

use kernel::{
    new_mutex,
    prelude::*,
    sync::Mutex,
    time::Msecs, //
};
use rlis_hv::AnswerSlot;
use rlis_proto::storvsc::VstorPacket;
use rlis_vmbus::{
    Channel,
    PacketType, //
};
use zerocopy::IntoBytes;

/// Set in the transaction ids of these requests, and never in those of commands.
const CONTROL: u64 = 1 << 63;

/// How long to wait for a signal before the ring is polled, in milliseconds.
const LOOK_MS: Msecs = 1_000;

/// After so many polls in a row that find a bad write index, the answer counts as lost: the host corrects the index with
/// its answer to the next request.
const UNREADABLE_LOOKS: u32 = 2;

/// The request in progress, one at a time, and its answer.
///
/// Each request has its own id, so that a late answer is not taken for the answer to the next request.
#[pin_data]
pub(crate) struct Control {
    /// The number of the last request. Whoever holds the lock makes the next one.
    #[pin]
    turn: Mutex<u64>,
    #[pin]
    answer: AnswerSlot<{ VstorPacket::SIZE / 8 }>,
}

impl Control {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            turn <- new_mutex!(0),
            answer <- AnswerSlot::new(),
        })
    }

    /// Returns whether a transaction id belongs to one of these requests.
    #[inline]
    pub(crate) fn is_control(id: u64) -> bool {
        id & CONTROL != 0
    }

    /// Sends a request and returns the answer. Sleeps, for `timeout` milliseconds at most.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT`, `ENODEV` if the host has rescinded the device, `EPROTO` if the answer or the ring cannot be
    /// read, and as [`Channel::send`].
    pub(crate) fn exchange(
        &self,
        channel: &Channel,
        packet: &VstorPacket,
        timeout: Msecs,
    ) -> Result<VstorPacket> {
        let mut turn = self.turn.lock();
        *turn = turn.wrapping_add(1);
        let id = CONTROL | (*turn & u64::from(u32::MAX));
        self.answer.expect(id)?;
        let sent = channel.send(PacketType::DATA_INBAND, packet.as_bytes(), id, true);
        let waited = sent.and_then(|()| self.wait(channel, timeout));
        let mut answer = [0u64; VstorPacket::SIZE / 8];
        let taken = self.answer.take(id, waited, answer.as_mut_bytes())?;
        taken.ok_or(EPROTO)?;
        VstorPacket::parse(answer.as_bytes()).map_err(|_| EIO)
    }

    /// Waits for an answer. Polls the ring from time to time: if it was corrupt for a while, a signal may be missing.
    fn wait(&self, channel: &Channel, timeout: Msecs) -> Result {
        let mut left = timeout;
        let mut unreadable = 0;
        loop {
            let step = left.min(LOOK_MS);
            left -= step;
            match self.answer.wait(step) {
                Err(error) if left == 0 => break Err(error),
                Err(_) if channel.is_readable()? => {
                    unreadable = 0;
                    channel.schedule()?;
                }
                Err(_) if unreadable == UNREADABLE_LOOKS => break Err(EPROTO),
                Err(_) => unreadable += 1,
                Ok(()) => break Ok(()),
            }
        }
    }

    /// Delivers an answer from the host. Returns whether anybody waits for it. Any context.
    pub(crate) fn answered(&self, id: u64, packet: &VstorPacket) -> bool {
        self.answer.deliver(id, packet.as_bytes())
    }

    /// Notes that the answer with this id cannot be read. Returns whether anybody waits for it. Any context.
    pub(crate) fn spoiled(&self, id: u64) -> bool {
        Self::is_control(id) && self.answer.spoil(id)
    }

    /// Ends the current wait and all later ones, because the host will not answer any more. Any context.
    pub(crate) fn give_up(&self) {
        self.answer.give_up();
    }
}
