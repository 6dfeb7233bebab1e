// SPDX-License-Identifier: GPL-2.0

//! Frames to the host: small ones are copied to a section of the send buffer, others are sent by their pages.

use crate::{
    counters::Counters,
    nic::Nic,
    session::Session,
    settings::{
        FRAMES_IN_FLIGHT,
        RING_ENOUGH,
        RING_LOW,
        VLAN_TAG, //
    }, //
};
use kernel::{
    prelude::*,
    sync::rcu, //
};
use rlis_hv::SharedMemory;
use rlis_net::{
    FreeList,
    PollContext,
    Sent,
    Slots,
    StoppedQueue,
    TxPacket,
    TxQueue, //
};
use rlis_proto::{
    nvsp::{
        self,
        ChannelType,
        RndisPacket,
        SendSections,
        Status, //
    },
    rndis::{
        self,
        Ppis,
        MAX_HEADER_SIZE, //
    }, //
};
use rlis_vmbus::{
    Channel,
    GrantedMemory,
    MpbDescriptor,
    PacketType,
    PinnedChannel, //
};

/// Bytes for the header in front of a frame that is sent by its pages; a divisor of the page size.
const HEADER: usize = 256;

const _: () = assert!(MAX_HEADER_SIZE as usize <= HEADER && PAGE % HEADER == 0);

/// Bytes of a page.
const PAGE: usize = 4096;

/// Pieces that a frame can be sent in, with its header; a frame with more is put together first.
const MAX_RANGES: usize = 19;

/// Words of the longest descriptor: the fixed part; for each piece its description and the page that it begins in; the
/// further pages of 64 KiB and of the headers.
const MAX_WORDS: usize = 3 + 2 * MAX_RANGES + 18;

/// The tag of a frame that is in no section; other tags are the section's number and 1.
const NO_SECTION: u32 = 0;

/// What is needed to send.
pub(crate) struct Transmit {
    slots: Slots,
    headers: SharedMemory,
    header_pages: KVec<u64>,
    sections: Option<Sections>,
    /// Bytes of the longest frame.
    frame: u32,
}

/// The send buffer, as the host has cut it.
pub(crate) struct Sections {
    buffer: GrantedMemory,
    cut: SendSections,
    free: FreeList,
}

impl Sections {
    pub(crate) fn new(buffer: GrantedMemory, cut: SendSections) -> Result<Self> {
        Ok(Self {
            buffer,
            cut,
            free: FreeList::new(cut.count().min(FRAMES_IN_FLIGHT))?,
        })
    }

    /// Takes a section for `len` bytes. Returns its number, and where in the buffer it begins.
    #[inline]
    fn take(&self, len: u32, counters: &Counters) -> Option<(u32, usize)> {
        if len > self.cut.size() {
            return None;
        }
        let Some(number) = self.free.take() else {
            counters.tx.send_full.add(1);
            return None;
        };
        let start = number.checked_mul(self.cut.size());
        Some((number, usize::try_from(start?).ok()?))
    }
}

/// Where a frame goes: see [`Transmit::room`].
#[derive(Clone, Copy)]
enum Enough {
    ForOne,
    ForMany,
}

impl Transmit {
    pub(crate) fn new(sections: Option<Sections>, frame: u32) -> Result<Self> {
        let count = usize::try_from(FRAMES_IN_FLIGHT)?;
        let headers = SharedMemory::new(count * HEADER)?;
        Ok(Self {
            slots: Slots::new(FRAMES_IN_FLIGHT)?,
            header_pages: headers.page_numbers()?,
            headers,
            sections,
            frame,
        })
    }

    /// Returns whether nothing is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.slots.is_idle()
    }

    /// Whether the next frame is likely to find room. If nothing is under way, it has to be tried: no completion will
    /// tell that there is room.
    #[inline]
    fn room(&self, channel: &PinnedChannel<'_>, enough: Enough) -> bool {
        let percent = match enough {
            Enough::ForOne => RING_LOW,
            Enough::ForMany => RING_ENOUGH,
        };
        self.slots.has_room() && (channel.percent_to_write() > percent || self.slots.is_idle())
    }

    /// Sends a frame.
    #[inline]
    pub(crate) fn transmit(
        session: &Session,
        queue: &TxQueue<'_>,
        packet: TxPacket,
        guard: &rcu::Guard,
    ) -> Sent {
        let counters = &session.nic.counters;
        let (Some(this), Some(channel)) = (
            session.transmit(),
            session.channel().and_then(|channel| channel.pin(guard)),
        ) else {
            counters.tx.dropped.add(1);
            return packet.discard();
        };
        if packet.len() > this.frame.saturating_add(VLAN_TAG) {
            counters.tx.too_big.add(1);
            counters.tx.dropped.add(1);
            return packet.discard();
        }
        if let Err(stopped) = queue.stop_unless(|| this.room(&channel, Enough::ForOne)) {
            return this.busy(counters, packet, stopped);
        }
        match this.send(counters, queue, packet, &channel) {
            Ok(sent) => {
                // So that the next one need not come back.
                if queue
                    .stop_unless(|| this.room(&channel, Enough::ForOne))
                    .is_err()
                {
                    counters.tx.stop_queue.add(1);
                }
                sent
            }
            Err((error, packet)) if error == EAGAIN || error == ENOSPC => {
                this.full(session, queue, packet, &channel)
            }
            Err((_, packet)) => {
                counters.tx.dropped.add(1);
                packet.discard()
            }
        }
    }

    #[cold]
    fn busy(&self, counters: &Counters, packet: TxPacket, stopped: StoppedQueue<'_>) -> Sent {
        counters.tx.busy.add(1);
        counters.tx.stop_queue.add(1);
        packet.busy(stopped)
    }

    /// There was no room in the ring. If nothing is under way whose completion would tell of room, the host is asked to.
    #[cold]
    fn full(
        &self,
        session: &Session,
        queue: &TxQueue<'_>,
        packet: TxPacket,
        channel: &PinnedChannel<'_>,
    ) -> Sent {
        session.want_room();
        let room = || self.slots.has_room() && channel.percent_to_write() > RING_LOW;
        match queue.stop_unless(room) {
            Err(stopped) => self.busy(&session.nic.counters, packet, stopped),
            Ok(()) => {
                // There is room by now: one frame of many is lost, where trying again might go on for ever.
                session.nic.counters.tx.dropped.add(1);
                packet.discard()
            }
        }
    }

    #[inline]
    fn send(
        &self,
        counters: &Counters,
        queue: &TxQueue<'_>,
        packet: TxPacket,
        channel: &PinnedChannel<'_>,
    ) -> core::result::Result<Sent, (Error, TxPacket)> {
        let Some(slot) = self.slots.reserve(queue) else {
            return Err((ENOSPC, packet));
        };
        let len = packet.len();
        let mut header = [0; HEADER];
        let front = rndis::encode_packet(&mut header, &Ppis::default(), len, 0).unwrap_or(0);
        let Some(header) = usize::try_from(front)
            .ok()
            .and_then(|front| header.get(..front))
        else {
            return Err((EINVAL, packet));
        };
        let total = front.saturating_add(len);
        let section = self
            .sections
            .as_ref()
            .and_then(|sections| Some((sections, sections.take(total, counters)?)));
        if let Some((sections, (number, start))) = section {
            let memory = sections.buffer.memory();
            let copied = memory
                .copy_from(start, header)
                .and_then(|()| packet.copy_to(memory, start + header.len()));
            if let Err(error) = copied {
                sections.free.untake();
                return Err((error, packet));
            }
            let message = RndisPacket::in_section(ChannelType::RMC_DATA, number, total);
            packet.stamp();
            return slot
                .launch(packet, number + 1, |id| {
                    channel.send(PacketType::DATA_INBAND, &message, id, true)
                })
                .inspect_err(|_| sections.free.untake());
        }
        let mut ranges = [(0, 0, 0); MAX_RANGES];
        let mut packet = packet;
        if packet.pieces() >= MAX_RANGES {
            counters.tx.scattered.add(1);
            if packet.linearize().is_err() {
                counters.tx.no_memory.add(1);
                return Err((ENOMEM, packet));
            }
        }
        let count = match self.ranges(&mut ranges, slot.number(), header, &packet) {
            Ok(count) => count,
            Err(error) => return Err((error, packet)),
        };
        let mut words = [0; MAX_WORDS];
        let ranges = ranges.iter().take(count).copied();
        let mut pages = match MpbDescriptor::from_contiguous(&mut words, ranges) {
            Ok(pages) => pages,
            // Not for want of room in the ring.
            Err(_) => return Err((EINVAL, packet)),
        };
        let message = RndisPacket::in_pages(ChannelType::RMC_DATA);
        packet.stamp();
        slot.launch(packet, NO_SECTION, |id| {
            channel.send_mpb(&mut pages, &message, id)
        })
    }

    /// Writes the header to its place, and says where it and the pieces of the frame are.
    fn ranges(
        &self,
        ranges: &mut [(u64, u32, u32); MAX_RANGES],
        slot: u32,
        header: &[u8],
        packet: &TxPacket,
    ) -> Result<usize> {
        let start = usize::try_from(slot)?.checked_mul(HEADER).ok_or(EINVAL)?;
        self.headers.copy_from(start, header)?;
        let page = self.header_pages.get(start / PAGE).ok_or(EINVAL)?;
        let offset = u32::try_from(start % PAGE)?;
        let mut places = ranges.iter_mut();
        let mut count = 0;
        let mut put = |range| {
            *places.next().ok_or(EINVAL)? = range;
            count += 1;
            Ok(())
        };
        put((*page, offset, u32::try_from(header.len())?))?;
        packet.ranges(|range| put((range.pfn, range.offset, range.len)))?;
        Ok(count)
    }

    /// Takes the completion of a frame. Returns whether it was under way.
    #[inline]
    pub(crate) fn completed(
        &self,
        nic: &Nic,
        id: u64,
        payload: &[u8],
        cx: &PollContext<'_>,
    ) -> bool {
        let Some(frame) = self.slots.claim(id) else {
            return false;
        };
        if let (Some(sections), Some(number)) = (&self.sections, frame.tag().checked_sub(1)) {
            sections.free.give(number);
        }
        let counters = &nic.counters.sent;
        match nvsp::completion_status(payload) {
            Ok(Status::NVSP_STAT_SUCCESS) => {
                counters.packets.add(1);
                counters.bytes.add(u64::from(frame.len()));
            }
            other => {
                counters.errors.add(1);
                nic.complain("the host did not send a frame", &other);
            }
        }
        frame.consume(cx);
        true
    }

    /// Wakes the queue if it is stopped and there is room by now.
    #[inline]
    pub(crate) fn wake(&self, counters: &Counters, channel: &Channel, cx: &PollContext<'_>) {
        let guard = rcu::read_lock();
        if let Some(pinned) = channel.pin(&guard) {
            let room = || self.room(&pinned, Enough::ForMany);
            if cx.device().wake_queue(cx.queue(), room) {
                counters.sent.wake_queue.add(1);
                // Nobody waits for the host to tell of room any more; it fails for a channel that is closed.
                let _ = channel.set_pending_send_size(0);
            }
        }
    }
}
