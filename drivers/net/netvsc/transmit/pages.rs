// SPDX-License-Identifier: GPL-2.0

//! Frames of the stack that are sent by their pages.

use super::{
    Context,
    Held,
    Transmit,
    SLOTS, //
};
use crate::{
    header::Header,
    settings::RING_LOW,
    tag::Tag, //
};
use kernel::prelude::*;
use rlis_net::{
    Sent,
    TxPacket, //
};
use rlis_proto::{
    nvsp::{
        ChannelType,
        RndisPacket, //
    },
    rndis::MAX_HEADER_SIZE, //
};
use rlis_vmbus::{
    Contiguous,
    MpbBuilder,
    MpbDescriptor, //
};

/// Bytes for the header in front of a frame that is sent by its pages; a divisor of the page size.
pub(super) const HEADER: usize = 256;

const _: () = assert!(MAX_HEADER_SIZE as usize <= HEADER && PAGE % HEADER == 0);

/// Bytes of a page.
const PAGE: usize = 4096;

/// Pieces that a frame can be sent in, with its header; a frame with more is put together first.
const MAX_RANGES: usize = TxPacket::MAX_PIECES + 1;

/// Words of the longest descriptor: the fixed part; for each piece its description, the page that it begins in and the one
/// that it ends in; the whole pages of 64 KiB, and a few bytes of headers, between.
pub(super) const MAX_WORDS: usize = 3 + 3 * MAX_RANGES + 17;

impl Transmit {
    /// Sends a frame by its pages.
    pub(super) fn by_pages(
        &self,
        held: &mut Held,
        cx: &Context<'_>,
        header: &Header,
        packet: TxPacket,
    ) -> Sent {
        let mut tag = Tag::new(None, 1, packet.len());
        if !self.is_alone(cx) {
            // Before the host can complete it.
            cx.queue.sent(packet.len());
            tag = tag.counted();
        }
        match self.send_pages(held, cx, header, packet, tag) {
            Ok(sent) => sent,
            Err((error, packet)) => self.not_sent(held, cx, header, error, packet, tag),
        }
    }

    /// A frame was not sent: if it lies in too many pieces, it is put together first.
    #[cold]
    fn not_sent(
        &self,
        held: &mut Held,
        cx: &Context<'_>,
        header: &Header,
        mut error: Error,
        mut packet: TxPacket,
        tag: Tag,
    ) -> Sent {
        if error == E2BIG {
            cx.counters.scattered.add(1);
            if packet.linearize().is_ok() {
                (error, packet) = match self.send_pages(held, cx, header, packet, tag) {
                    Ok(sent) => return sent,
                    Err(again) => again,
                };
            } else {
                cx.counters.no_memory.add(1);
            }
        }
        self.lose_count(tag);
        self.full(cx, error, packet)
    }

    /// A frame was not sent. If there is no room in the ring, and nothing is under way whose completion would tell of room,
    /// the host is asked to.
    #[cold]
    fn full(&self, cx: &Context<'_>, error: Error, packet: TxPacket) -> Sent {
        (cx.want_room)();
        // Otherwise it is not for want of room.
        if error == EAGAIN || error == ENOSPC {
            let room = || {
                !self.stuck.get()
                    && self.slots.room() >= SLOTS
                    && cx.channel.percent_to_write() > RING_LOW
            };
            if let Err(stopped) = cx.queue.stop_unless(room) {
                return self.busy(cx, packet, stopped);
            }
            // There is room by now: one frame of many is lost, where trying again might go on for ever.
        }
        Self::drop_frame(cx, packet)
    }

    #[inline]
    fn send_pages(
        &self,
        held: &mut Held,
        cx: &Context<'_>,
        header: &Header,
        packet: TxPacket,
        tag: Tag,
    ) -> core::result::Result<Sent, (Error, TxPacket)> {
        if self.stuck.get() {
            return Err((EAGAIN, packet));
        }
        let Some(slot) = self.slots.reserve(cx.queue) else {
            return Err((ENOSPC, packet));
        };
        let front = match self.front(slot.number(), header) {
            Ok(front) => front,
            Err(error) => return Err((error, packet)),
        };
        let frame = |pages: &mut MpbBuilder<'_>| {
            pages.extend(|words| {
                let described = packet.describe_pages(words)?;
                Some((described.words, described.ranges))
            })
        };
        let mut pages = match Self::describe(&mut held.words, front, frame) {
            Ok(pages) => pages,
            Err(error) => return Err((error, packet)),
        };
        let message = RndisPacket::in_pages(ChannelType::RMC_DATA);
        packet.stamp();
        slot.launch(packet, tag.0, |id| {
            cx.channel.send_mpb(&mut pages, &message, id)
        })
    }

    /// Says where header and frame lie; `frame` describes the latter.
    #[inline(always)]
    pub(super) fn describe<'a>(
        words: &'a mut [u64; MAX_WORDS],
        front: Contiguous,
        frame: impl FnOnce(&mut MpbBuilder<'_>) -> Result,
    ) -> Result<MpbDescriptor<'a>> {
        let mut builder = MpbBuilder::new(words);
        builder.push(front)?;
        frame(&mut builder)?;
        builder.finish()
    }

    /// Writes the header to the place that belongs to a slot, and says where that is.
    #[inline]
    pub(super) fn front(&self, slot: u32, header: &Header) -> Result<Contiguous> {
        let start = usize::try_from(slot)?.checked_mul(HEADER).ok_or(EINVAL)?;
        header.write(&self.headers, start)?;
        let page = self.header_pages.get(start / PAGE).ok_or(EINVAL)?;
        Ok(Contiguous {
            pfn: *page,
            offset: u32::try_from(start % PAGE)?,
            len: header.len(),
        })
    }
}
