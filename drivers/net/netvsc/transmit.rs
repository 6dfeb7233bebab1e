// SPDX-License-Identifier: GPL-2.0

//! Frames to the host: small ones are copied to a section of the send buffer, several to one if they come at the same
//! time; others are sent by their pages.

use crate::{
    counters,
    encapsulate::{
        encapsulate,
        Offloads, //
    },
    header::Header,
    port::Port,
    sections::Share,
    settings::{
        FEW_IN_FLIGHT,
        FRAMES_IN_FLIGHT,
        RING_ENOUGH,
        RING_LOW,
        VLAN_TAG, //
    },
    tag::Tag, //
};
use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Full,
        Release, //
    }, //
};
use pages::{
    HEADER,
    MAX_WORDS, //
};
use rlis_hv::{
    load_once,
    SharedMemory,
    Single, //
};
use rlis_net::{
    Completed,
    HeldPacket,
    Load,
    PollContext,
    QueueOwned,
    Sent,
    Slots,
    StoppedQueue,
    TxPacket,
    TxQueue, //
};
use rlis_proto::nvsp::{
    self,
    ChannelType,
    RndisPacket,
    Status, //
};
use rlis_vmbus::{
    PacketType,
    PinnedChannel, //
};

mod frames;
mod pages;

/// Slots that a call of the transmit function may need: for the frames that are held, and for its own.
const SLOTS: u32 = 2;

/// Frames in a section that the host has not been told of: others may follow at once.
struct Pending {
    packet: HeldPacket,
    section: u32,
    /// Where in the send buffer the section is.
    base: usize,
    /// Where in the section the last message begins, and where it ends.
    last: u32,
    end: u32,
    frames: u16,
    bytes: u32,
}

/// A section that is to be sent as soon as the ring has room; its frames are in a slot.
struct Unsent {
    id: u64,
    section: u32,
    end: u32,
}

impl Unsent {
    /// Returns whether the host has got it.
    #[inline(always)]
    fn send(&self, channel: &PinnedChannel<'_>) -> bool {
        let message = RndisPacket::in_section(ChannelType::RMC_DATA, self.section, self.end);
        let sent = channel.send(PacketType::DATA_INBAND, &message, self.id, true);
        // On a channel that is closed nothing will be sent any more; what lies in the slots goes with them.
        !sent.is_err_and(|error| error != ENODEV)
    }
}

/// What is on its way to the ring: one or the other, or nothing.
struct Held {
    pending: Option<Pending>,
    unsent: Option<Unsent>,
    /// Where the descriptor of a frame that is sent by its pages is put together.
    words: [u64; MAX_WORDS],
}

/// What is needed to send on one channel.
pub(crate) struct Transmit {
    slots: Slots,
    headers: SharedMemory,
    header_pages: KVec<u64>,
    sections: Option<Share>,
    held: QueueOwned<Held>,
    /// There is something that was not sent for want of room in the ring. Written by who has `held`.
    stuck: Single<bool>,
    /// Bytes that were counted as sent and that the host was not given.
    lost: Atomic<u32>,
    offloads: Offloads,
    /// Bytes of the longest frame that is no large send.
    frame: u32,
}

/// What belongs to one call of the transmit function.
pub(crate) struct Context<'a> {
    pub(crate) counters: &'a counters::Transmitted,
    pub(crate) queue: &'a TxQueue<'a>,
    pub(crate) channel: PinnedChannel<'a>,
    /// Has the channel polled when there is room in the ring.
    pub(crate) want_room: &'a dyn Fn(),
}

impl Transmit {
    pub(crate) fn new(sections: Option<Share>, frame: u32, offloads: Offloads) -> Result<Self> {
        let count = usize::try_from(FRAMES_IN_FLIGHT)?;
        let headers = SharedMemory::new(count * HEADER)?;
        Ok(Self {
            slots: Slots::new(FRAMES_IN_FLIGHT)?,
            header_pages: headers.page_numbers()?,
            headers,
            sections,
            held: QueueOwned::new(Held {
                pending: None,
                unsent: None,
                words: [0; MAX_WORDS],
            }),
            stuck: Single::new(false),
            lost: Atomic::new(0),
            offloads,
            frame,
        })
    }

    /// Returns whether nothing is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.slots.is_idle()
    }

    /// Whether the next frame is likely to find room in the ring. If nothing is under way, it has to be tried: no
    /// completion will tell that there is room.
    #[inline]
    fn ring_has_room(&self, channel: &PinnedChannel<'_>, percent: u32) -> bool {
        !self.stuck.get() && (channel.percent_to_write() > percent || self.slots.is_idle())
    }

    /// Sends a frame.
    #[inline]
    pub(crate) fn transmit(&self, cx: &Context<'_>, packet: TxPacket) -> Sent {
        let Some(mut held) = self.held.get(cx.queue) else {
            // It is that of another queue: there is none such.
            return Self::drop_frame(cx, packet);
        };
        let sent = self.take(&mut held, cx, packet);
        // Whatever became of this frame, those before it go if none follows.
        if held.pending.is_some() && !cx.queue.more() {
            self.send_held(&mut held, cx);
        }
        sent
    }

    /// Sends the frames that are held back.
    pub(crate) fn send_all(&self, cx: &Context<'_>) {
        if let Some(mut held) = self.held.get(cx.queue) {
            self.flush(&mut held, cx);
        }
    }

    /// Whether a frame is sent while nothing is under way, and no other follows: byte queue limits have nothing to hold back
    /// behind it, and nothing to learn, so it is not counted.
    #[inline]
    fn is_alone(&self, cx: &Context<'_>) -> bool {
        self.slots.is_idle() && !cx.queue.more()
    }

    #[cold]
    fn drop_frame(cx: &Context<'_>, packet: TxPacket) -> Sent {
        cx.counters.dropped.add(1);
        packet.discard()
    }

    #[cold]
    fn busy(&self, cx: &Context<'_>, packet: TxPacket, stopped: StoppedQueue<'_>) -> Sent {
        cx.counters.busy.add(1);
        cx.counters.stop_queue.add(1);
        packet.busy(stopped)
    }

    #[inline]
    fn take(&self, held: &mut Held, cx: &Context<'_>, mut packet: TxPacket) -> Sent {
        if held.unsent.is_some() {
            self.retry(held, cx);
        }
        // The call before has left room in the ring, or stopped the queue. Should there be none, the frame waits in its slot.
        let slots = || !self.stuck.get() && self.slots.has_room(cx.queue, SLOTS);
        if let Err(stopped) = cx.queue.stop_unless(slots) {
            self.flush(held, cx);
            return self.busy(cx, packet, stopped);
        }
        let info = packet.describe();
        let most = if info.segment.is_some() {
            self.offloads.large_send()
        } else {
            self.frame.saturating_add(VLAN_TAG)
        };
        if packet.len() > most {
            cx.counters.too_big.add(1);
            return Self::drop_frame(cx, packet);
        }
        let ppis = match encapsulate(&mut packet, &info, &self.offloads) {
            Ok(ppis) => ppis,
            Err(error) => {
                if error == ENOMEM {
                    cx.counters.no_memory.add(1);
                }
                return Self::drop_frame(cx, packet);
            }
        };
        let header = Header::new(ppis, packet.len());
        let sent = match self.put(held, cx, &header, packet) {
            Ok(sent) => sent,
            Err(packet) => {
                // A frame does not overtake those that came before it.
                self.flush(held, cx);
                // With a copy in memory, the one above stays in registers.
                let copy = header;
                self.by_pages(held, cx, &copy, packet)
            }
        };
        // So that the next one need not come back.
        // The ring is looked at when many frames are under way.
        let enough = || {
            self.slots
                .has_room(cx.queue, FRAMES_IN_FLIGHT - FEW_IN_FLIGHT)
                || self.slots.has_room(cx.queue, SLOTS) && self.ring_has_room(&cx.channel, RING_LOW)
        };
        if cx.queue.stop_unless(enough).is_err() {
            cx.counters.stop_queue.add(1);
            self.flush(held, cx);
        }
        sent
    }

    /// Copies a frame to a section: to the one with the last frames if there is room, else to another.
    ///
    /// # Errors
    ///
    /// Gives the frame back if it is too long, or no section is free.
    #[inline]
    fn put(
        &self,
        held: &mut Held,
        cx: &Context<'_>,
        header: &Header,
        packet: TxPacket,
    ) -> core::result::Result<Sent, TxPacket> {
        let len = packet.len();
        let Some(sections) = &self.sections else {
            return Err(packet);
        };
        let Some(total) = header
            .len()
            .checked_add(len)
            .filter(|total| *total <= sections.size())
        else {
            return Err(packet);
        };
        let (most, alignment) = self.offloads.batch();
        let behind = held.pending.as_ref().and_then(|pending| {
            let start = sections.behind(pending.end, alignment, total)?;
            (u32::from(pending.frames) < most).then_some(start)
        });
        let (section, base, start) = match (behind, &held.pending) {
            (Some(start), Some(pending)) => (pending.section, pending.base, start),
            _ => {
                self.flush(held, cx);
                if held.unsent.is_some() {
                    // There is no room in the ring.
                    return Err(packet);
                }
                let Some(section) = sections.take() else {
                    cx.counters.send_full.add(1);
                    return Err(packet);
                };
                (section, sections.position(section), 0)
            }
        };
        if let Some(before) = &mut held.pending {
            // The message in front ends where this one begins.
            sections.stretch(base, before.last, before.end, start);
            before.end = start;
        }
        let copy = |memory: &SharedMemory, at| packet.copy_to(memory, at);
        if sections.write(base, start, header, copy).is_err() {
            // Memory that is there cannot be missing.
            if behind.is_none() {
                sections.untake();
            }
            return Err(packet);
        }
        packet.stamp();
        let (packet, sent) = packet.hold();
        let mut now = Pending {
            packet,
            section,
            base,
            last: start,
            end: start.saturating_add(total),
            frames: 1,
            bytes: len,
        };
        if let Some(before) = held.pending.take() {
            now.frames = now.frames.saturating_add(before.frames);
            now.bytes = now.bytes.saturating_add(before.bytes);
            before.packet.release().copied();
        }
        let counted = behind.is_some() || !self.is_alone(cx);
        if !counted || cx.queue.sent(len) {
            self.send(held, cx, now, counted);
        } else {
            held.pending = Some(now);
        }
        Ok(sent)
    }

    /// Gives the host the frames that are held.
    #[inline]
    fn flush(&self, held: &mut Held, cx: &Context<'_>) {
        if held.pending.is_some() {
            self.send_held(held, cx);
        }
    }

    #[inline(never)]
    fn send_held(&self, held: &mut Held, cx: &Context<'_>) {
        if let Some(pending) = held.pending.take() {
            self.send(held, cx, pending, true);
        }
    }

    /// Sends frames that were `counted` for the byte queue limits, or were not.
    #[inline(always)]
    fn send(&self, held: &mut Held, cx: &Context<'_>, pending: Pending, counted: bool) {
        let tag = Tag::new(Some(pending.section), pending.frames, pending.bytes);
        let tag = if counted { tag.counted() } else { tag };
        let Some(slot) = self.slots.reserve(cx.queue) else {
            // There are two for each call, see `take`.
            return self.lose(pending.packet, tag, cx);
        };
        let id = slot.store(Load::Packet(pending.packet.release()), tag.0);
        let unsent = Unsent {
            id,
            section: pending.section,
            end: pending.end,
        };
        if !unsent.send(&cx.channel) {
            self.postpone(held, cx, unsent);
        }
    }

    /// There is no room in the ring for a section.
    #[cold]
    fn postpone(&self, held: &mut Held, cx: &Context<'_>, unsent: Unsent) {
        held.unsent = Some(unsent);
        self.stuck.set(true);
        (cx.want_room)();
    }

    #[cold]
    fn lose(&self, packet: HeldPacket, tag: Tag, cx: &Context<'_>) {
        drop(packet);
        cx.counters.dropped.add(tag.frames().into());
        self.lose_count(tag);
        if let Some(sections) = &self.sections {
            // It is the one that was taken last.
            sections.untake();
        }
        (cx.want_room)();
    }

    /// Frames with this tag are not sent after all: the next poll tells the byte queue limits.
    fn lose_count(&self, tag: Tag) {
        if tag.is_counted() {
            self.lost.fetch_add(tag.bytes(), Release);
        }
    }

    /// Tries to send what was not sent, and has the channel polled later if there is still no room.
    #[cold]
    fn retry(&self, held: &mut Held, cx: &Context<'_>) {
        if !self.send_unsent(held, &cx.channel) {
            (cx.want_room)();
        }
    }

    /// Returns whether nothing is left that was not sent.
    fn send_unsent(&self, held: &mut Held, channel: &PinnedChannel<'_>) -> bool {
        if let Some(unsent) = &held.unsent {
            if !unsent.send(channel) {
                return false;
            }
            held.unsent = None;
        }
        self.stuck.set(false);
        true
    }

    /// Takes the completion of frames, and adds them to `sum`. Returns whether they were under way.
    #[inline]
    pub(crate) fn completed(
        &self,
        port: &Port,
        counters: &counters::Sent,
        id: u64,
        payload: &[u8],
        cx: &PollContext<'_>,
        sum: &mut Completed,
    ) -> bool {
        let Some(in_flight) = self.slots.claim(id) else {
            return false;
        };
        let tag = Tag(in_flight.tag());
        if let (Some(sections), Some(section)) = (&self.sections, tag.section()) {
            sections.give(section);
        }
        match nvsp::completion_status(payload) {
            Ok(Status::NVSP_STAT_SUCCESS) => {
                counters.packets.add(tag.frames().into());
                counters.bytes.add(tag.bytes().into());
            }
            other => {
                counters.errors.add(tag.frames().into());
                port.complain("the host did not send a frame", &other);
            }
        }
        in_flight.consume(cx);
        if tag.is_counted() {
            sum.frames = sum.frames.saturating_add(tag.frames());
            sum.bytes = sum.bytes.saturating_add(tag.bytes());
        }
        true
    }

    /// Tells the stack what was sent, sends what was stuck, and wakes the queue if it is stopped and there is room by now.
    /// Returns whether it was woken.
    #[inline(always)]
    pub(crate) fn wake(
        &self,
        channel: &PinnedChannel<'_>,
        cx: &PollContext<'_>,
        mut sum: Completed,
    ) -> bool {
        if load_once(&self.lost) != 0 {
            sum.bytes = sum.bytes.saturating_add(self.lost.xchg(0, Full));
        }
        cx.completed(&mut sum);
        if self.stuck.get() {
            self.send_stuck(channel, cx);
        }
        cx.wake_queue(|| self.slots.room() >= SLOTS && self.ring_has_room(channel, RING_ENOUGH))
    }

    #[cold]
    fn send_stuck(&self, channel: &PinnedChannel<'_>, cx: &PollContext<'_>) {
        cx.with_tx_queue(|queue| {
            if let Some(mut held) = self.held.get(queue) {
                self.send_unsent(&mut held, channel);
            }
        });
    }

    /// Returns whether the ring had no room for something that is to be sent.
    #[inline]
    pub(crate) fn is_stuck(&self) -> bool {
        self.stuck.get()
    }
}
