// SPDX-License-Identifier: GPL-2.0

//! One channel of a card: what arrives in it is polled, and what is sent goes through it.

use crate::{
    completions::Completions,
    control::Completed as Control,
    counters,
    receive::{
        Context,
        Receive, //
    },
    session::Session,
    settings::WANTED_ROOM,
    transmit::{
        self,
        Transmit, //
    }, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};
use rlis_hv::{
    NoSoftirq,
    OnceArc, //
};
use rlis_net::{
    Completed,
    Frames,
    Napi,
    NapiHandler,
    PollContext,
    Polled,
    Sent,
    TxPacket,
    TxQueue, //
};
use rlis_vmbus::{
    Channel,
    Packet,
    PacketType,
    PinnedChannel, //
};

/// Packets of a poll that are no frames: so many, and others have a turn.
const PACKETS: u32 = 4096;

/// As what is counted.
fn as_count(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// A channel, which may not be open yet.
pub(crate) struct Queue {
    number: u16,
    session: Arc<Session>,
    napi: Arc<Napi<Self>>,
    channel: OnceArc<Channel>,
    /// From the time that frames may be sent.
    transmit: OnceArc<Transmit>,
    completions: Completions,
}

/// What is at hand during a poll, from when it is first needed.
struct Poll<'a> {
    receive: Option<&'a Receive>,
    transmit: Option<&'a Transmit>,
    sent: &'a counters::Sent,
    /// Frames that the host has completed.
    sum: Completed,
}

impl Queue {
    pub(crate) fn new(
        number: u16,
        session: Arc<Session>,
        napi: Arc<Napi<Self>>,
    ) -> Result<Arc<Self>> {
        let queue = Self {
            number,
            session,
            napi,
            channel: OnceArc::new(),
            transmit: OnceArc::new(),
            completions: Completions::new()?,
        };
        Ok(Arc::new(queue, GFP_KERNEL)?)
    }

    /// The channel has been opened. Returns whether it is the first one with this number.
    pub(crate) fn opened(&self, channel: &Arc<Channel>) -> bool {
        let first = self.channel.populate(channel.clone());
        // What came before was left where it was.
        self.schedule();
        first
    }

    #[inline]
    pub(crate) fn channel(&self) -> Option<&Channel> {
        self.channel.get()
    }

    /// Frames may be sent.
    pub(crate) fn set_transmit(&self, transmit: Arc<Transmit>) {
        self.transmit.populate(transmit);
    }

    /// Returns whether frames are under way.
    pub(crate) fn is_busy(&self) -> bool {
        self.transmit
            .get()
            .is_some_and(|transmit| !transmit.is_idle())
    }

    /// Has the channel polled.
    pub(crate) fn schedule(&self) {
        self.napi.schedule(|| self.mask());
    }

    /// The host has signalled.
    #[inline]
    pub(crate) fn interrupt(&self, channel: &PinnedChannel<'_>) {
        self.napi.schedule(|| {
            // Before the queue knows its channel, a poll would not unmask it; it is polled as soon as it does.
            if self.channel.get().is_some() {
                channel.mask_interrupt();
            }
        });
    }

    /// Has the host interrupt when there is room in the ring: the poll wakes the queue then.
    #[cold]
    fn want_room(&self) {
        if let Some(channel) = self.channel.get() {
            // It fails for a channel that is closed, where nobody waits.
            let _ = channel.set_pending_send_size(WANTED_ROOM);
        }
        // There may be room since before the host knew.
        self.schedule();
    }

    fn counters(&self) -> Option<&counters::Channel> {
        self.session.port.counters.channel(self.number)
    }

    /// Sends a frame.
    #[inline]
    pub(crate) fn transmit(&self, queue: &TxQueue<'_>, packet: TxPacket) -> Sent {
        let Some(counters) = self.counters() else {
            return packet.discard();
        };
        let (Some(transmit), Some(channel)) = (
            self.transmit.get(),
            self.channel.get().and_then(|channel| channel.pin(queue)),
        ) else {
            counters.tx.dropped.add(1);
            return packet.discard();
        };
        let context = transmit::Context {
            counters: &counters.tx,
            queue,
            channel,
            want_room: &|| self.want_room(),
        };
        transmit.transmit(&context, packet)
    }

    /// Sends frames of XDP that others have redirected, as far as there is room.
    pub(crate) fn transmit_frames(&self, queue: &TxQueue<'_>, frames: &mut Frames<'_>) {
        if let (Some(counters), Some(channel)) = (
            self.counters(),
            self.channel.get().and_then(|channel| channel.pin(queue)),
        ) {
            self.send_frames(queue, frames, &channel, counters);
            counters.tx.xdp_xmit.add(as_count(frames.taken()));
        }
    }

    fn send_frames(
        &self,
        queue: &TxQueue<'_>,
        frames: &mut Frames<'_>,
        channel: &PinnedChannel<'_>,
        counters: &counters::Channel,
    ) {
        if let Some(transmit) = self.transmit.get() {
            let context = transmit::Context {
                counters: &counters.tx,
                queue,
                channel: *channel,
                want_room: &|| self.want_room(),
            };
            transmit.send_frames(&context, frames);
        }
    }

    /// Sends the frames that a program has sent back. Those that there is no room for are lost, as there is nobody to wait.
    #[cold]
    fn send_kept(
        &self,
        channel: &PinnedChannel<'_>,
        counters: &counters::Channel,
        cx: &mut PollContext<'_>,
    ) {
        let _ = cx.send_kept(|cx, frames| {
            cx.with_tx_queue(|queue| {
                // Whoever takes the interface down waits for what is sent, but only for what was sent before.
                if cx.device().is_running() {
                    self.send_frames(queue, frames, channel, counters);
                }
                counters.tx.dropped.add(as_count(frames.left()));
            });
        });
    }

    /// Sends the frames that are held back until others follow: these go another way.
    #[cold]
    pub(crate) fn flush(&self, queue: &TxQueue<'_>) {
        if let (Some(counters), Some(transmit), Some(channel)) = (
            self.counters(),
            self.transmit.get(),
            self.channel.get().and_then(|channel| channel.pin(queue)),
        ) {
            transmit.send_all(&transmit::Context {
                counters: &counters.tx,
                queue,
                channel,
                want_room: &|| self.want_room(),
            });
        }
    }

    #[inline]
    fn packet<'a>(
        &'a self,
        packet: &Packet<'_>,
        context: &Context<'_>,
        poll: &mut Poll<'a>,
        cx: &mut PollContext<'_>,
    ) {
        match packet.packet_type() {
            PacketType::COMPLETION => self.completion(packet, context, poll, cx),
            PacketType::DATA_USING_XFER_PAGES => {
                poll.receive = poll.receive.or_else(|| self.session.receive());
                Receive::packet(poll.receive, context, packet, cx);
            }
            PacketType::DATA_INBAND => self.in_band(packet, context),
            other => context.malformed("packet", &other),
        }
    }

    #[inline]
    fn completion<'a>(
        &'a self,
        packet: &Packet<'_>,
        context: &Context<'_>,
        poll: &mut Poll<'a>,
        cx: &PollContext<'_>,
    ) {
        let (id, payload) = (packet.transaction_id(), packet.payload());
        let known = match self.session.control.completed(id, payload) {
            Control::Request(known) => known,
            Control::Switch(number) => {
                context.port.path_switched(number);
                true
            }
            Control::Frame => {
                poll.transmit = poll.transmit.or_else(|| self.transmit.get());
                poll.transmit.is_some_and(|transmit| {
                    transmit.completed(context.port, poll.sent, id, payload, cx, &mut poll.sum)
                })
            }
        };
        if !known {
            context.counters.unknown.add(1);
            context
                .port
                .complain("completion of what is not under way", &id);
        }
    }

    /// Takes what the host says unasked. A completion is sent where one is wanted.
    fn in_band(&self, packet: &Packet<'_>, context: &Context<'_>) {
        if let Err(error) = self.session.incoming(packet.payload()) {
            context.malformed("message", &error);
        }
        if packet.wants_completion() {
            let id = packet.transaction_id();
            self.completions
                .answer(context.channel, context.counters, id, None);
        }
    }

    #[inline(always)]
    fn poll_channel(
        &self,
        channel: &Channel,
        counters: &counters::Channel,
        cx: &mut PollContext<'_>,
    ) -> Polled {
        let Some(pinned) = channel.pin(cx.no_softirq()) else {
            // It is closed, and nothing comes any more.
            return Polled::Done;
        };
        let mut poll = Poll {
            receive: None,
            transmit: None,
            sent: &counters.sent,
            sum: Completed::default(),
        };
        let mut polled = Polled::Done;
        let context = Context {
            port: &self.session.port,
            control: &self.session.control,
            completions: &self.completions,
            counters: &counters.rx,
            channel: &pinned,
            has_program: cx.has_program(),
            send_kept: &|cx| self.send_kept(&pinned, counters, cx),
        };
        if let Some(mut reader) = pinned.try_reader() {
            let mut packets = 0;
            // Each may need a completion. Where none has room any more, the host waits.
            while self.completions.has_room() {
                let Some(packet) = reader.next_packet() else {
                    break;
                };
                self.packet(&packet, &context, &mut poll, cx);
                packets += 1;
                if cx.exhausted() || packets == PACKETS {
                    polled = Polled::More;
                    break;
                }
            }
        }
        if cx.has_kept() {
            self.send_kept(&pinned, counters, cx);
        }
        self.wake(&pinned, counters, poll.sum, cx);
        // After that, which may tell the host that nobody waits for room.
        self.completions.flush(&pinned);
        polled
    }

    #[inline]
    fn wake(
        &self,
        channel: &PinnedChannel<'_>,
        counters: &counters::Channel,
        sum: Completed,
        cx: &PollContext<'_>,
    ) {
        let Some(transmit) = self.transmit.get() else {
            return;
        };
        let woken = transmit.wake(channel, cx, sum);
        if woken || transmit.is_stuck() {
            Self::want_or_have_room(transmit, channel, counters, woken, cx);
        }
    }

    /// The queue was woken, or there is no room for something that is to be sent.
    #[cold]
    fn want_or_have_room(
        transmit: &Transmit,
        channel: &PinnedChannel<'_>,
        counters: &counters::Channel,
        mut woken: bool,
        cx: &PollContext<'_>,
    ) {
        if transmit.is_stuck() {
            channel.set_pending_send_size(WANTED_ROOM);
            // There may be room since before the host knew.
            woken = transmit.wake(channel, cx, Completed::default());
        }
        if woken {
            counters.sent.wake_queue.add(1);
            // Nobody waits for the host to tell of room any more.
            channel.set_pending_send_size(0);
        }
    }
}

impl NapiHandler for Queue {
    // Into the one function that calls it.
    #[inline(always)]
    fn poll(&self, cx: &mut PollContext<'_>) -> Polled {
        match (self.channel.get(), self.counters()) {
            (Some(channel), Some(counters)) => self.poll_channel(channel, counters, cx),
            _ => Polled::Done,
        }
    }

    fn mask(&self) {
        if let Some(channel) = self.channel.get() {
            // It fails for a channel that is closed, which does not interrupt.
            let _ = channel.mask_interrupt();
        }
    }

    #[inline]
    fn unmask(&self, context: &NoSoftirq) -> bool {
        let channel = self.channel.get().and_then(|channel| channel.pin(context));
        let more = channel.is_some_and(|channel| channel.unmask_interrupt() != 0);
        // Without room for completions nothing is read, until the host interrupts since there is room.
        more && self.completions.has_room()
    }
}
