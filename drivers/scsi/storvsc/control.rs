// SPDX-License-Identifier: GPL-2.0

//! Requests of the driver itself, and the host's answers.

use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full,
            Relaxed, //
        },
        Mutex, //
    },
    time::Msecs, //
};
use rlis_hv::Completion;
use rlis_proto::storvsc::VstorPacket;
use rlis_vmbus::{
    Channel,
    PacketType, //
};
use zerocopy::IntoBytes;

/// Bit of a transaction id that tells these requests from commands.
const CONTROL: u64 = 1 << 63;

/// In the place of the id that is waited for: its answer cannot be read. No request has it.
const SPOILED: u64 = 1;

/// How long to wait for an answer that has begun to arrive, in milliseconds.
const ARRIVING_MS: Msecs = 10_000;

/// How long to wait for a signal before the ring is looked at all the same, in milliseconds.
const LOOK_MS: Msecs = 1_000;

/// How often in a row the host's index may turn out to be a wrong one until the answer counts as one that cannot be read:
/// the index is right again with the answer to the next request.
const UNREADABLE_LOOKS: u32 = 2;

/// One request at a time, and the answer to it.
///
/// Each request has an id of its own, so that an answer that comes after the time-out is not taken for the answer to
/// the next one.
#[pin_data]
pub(crate) struct Control {
    /// The number of the last request. Whoever holds the lock may make the next one.
    #[pin]
    turn: Mutex<u64>,
    /// The id whose answer is waited for, or 0.
    waiting: Atomic<u64>,
    /// The answer. Written by who sets `waiting` to 0, before `done`; read after that.
    answer: [Atomic<u64>; VstorPacket::SIZE / 8],
    #[pin]
    done: Completion,
    given_up: Atomic<u32>,
}

impl Control {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            turn <- new_mutex!(0),
            waiting: Atomic::new(0),
            answer: [const { Atomic::new(0) }; VstorPacket::SIZE / 8],
            done <- Completion::new(),
            given_up: Atomic::new(0),
        })
    }

    /// Whether a transaction id is one of these requests'.
    #[inline]
    pub(crate) fn is_control(id: u64) -> bool {
        id & CONTROL != 0
    }

    /// Sends a request and returns the answer. Sleeps, for `timeout` milliseconds at most.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT`, `ENODEV` if the host has withdrawn the device, `EPROTO` if the answer cannot be read or the ring
    /// that it should come in, and as [`Channel::send`].
    pub(crate) fn exchange(
        &self,
        channel: &Channel,
        packet: &VstorPacket,
        timeout: Msecs,
    ) -> Result<VstorPacket> {
        let mut turn = self.turn.lock();
        *turn = turn.wrapping_add(1);
        let id = CONTROL | (*turn & u64::from(u32::MAX));
        self.done.reinit();
        self.waiting.xchg(id, Full);
        // Set before `done` is completed for good, and looked at after that was undone.
        if self.given_up.load(Acquire) != 0 {
            return Err(ENODEV);
        }
        let sent = channel.send(PacketType::DATA_INBAND, packet.as_bytes(), id, true);
        let waited = sent.and_then(|()| self.wait(channel, timeout));
        if self.waiting.cmpxchg(id, 0, Full).is_ok() {
            // There was no answer, and there will be none that counts.
            waited?;
            return Err(ENODEV);
        }
        if self.waiting.cmpxchg(SPOILED, 0, Full).is_ok() {
            return Err(EPROTO);
        }
        // The answer is here, or just being written down.
        self.done.wait_timeout(ARRIVING_MS)?;
        let mut answer = [0u64; VstorPacket::SIZE / 8];
        for (to, from) in answer.iter_mut().zip(&self.answer) {
            *to = from.load(Relaxed);
        }
        VstorPacket::parse(answer.as_bytes()).map_err(|_| EIO)
    }

    /// Waits for an answer. From time to time the ring is looked at without a signal of the host: if it was ruined for a
    /// while, the host may not know that there is something to signal.
    fn wait(&self, channel: &Channel, timeout: Msecs) -> Result {
        let mut left = timeout;
        let mut unreadable = 0;
        loop {
            let step = left.min(LOOK_MS);
            left -= step;
            match self.done.wait_timeout(step) {
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

    /// Takes an answer from the host. Returns whether it was waited for. Any context.
    pub(crate) fn answered(&self, id: u64, packet: &VstorPacket) -> bool {
        if id == 0 || self.waiting.cmpxchg(id, 0, Full).is_err() {
            return false;
        }
        for (to, from) in self.answer.iter().zip(packet.as_bytes().chunks_exact(8)) {
            let mut word = [0; 8];
            word.copy_from_slice(from);
            to.store(u64::from_ne_bytes(word), Relaxed);
        }
        self.done.complete_all();
        true
    }

    /// Notes that the answer with this id cannot be read: there will be no other. Returns whether it was waited for. Any
    /// context.
    pub(crate) fn spoiled(&self, id: u64) -> bool {
        if !Self::is_control(id) || self.waiting.cmpxchg(id, SPOILED, Full).is_err() {
            return false;
        }
        self.done.complete_all();
        true
    }

    /// Ends the wait that is under way, and all that come: no answer will. Any context.
    pub(crate) fn give_up(&self) {
        self.given_up.xchg(1, Full);
        self.done.complete_all();
    }
}
