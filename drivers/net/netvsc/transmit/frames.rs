// SPDX-License-Identifier: GPL-2.0

//! Frames of XDP: copied to a section of the send buffer, as many to one as the host takes in one packet; where none is free, or
//! the frame is too long, sent by its page.
//!
//! They are not counted in the byte queue limits, and leave room for the stack's: a packet of theirs needs a slot more than a call
//! of the transmit function, and a ring that the stack's queue is not stopped for.

use super::{
    Context,
    Held,
    Transmit,
    Unsent,
    SLOTS, //
};
use crate::{
    header::Header,
    sections::Share,
    settings::{
        FEW_IN_FLIGHT,
        FRAMES_IN_FLIGHT,
        RING_LOW,
        VLAN_TAG, //
    },
    tag::Tag, //
};
use rlis_net::{
    Frames,
    Load,
    XdpFrame, //
};
use rlis_proto::{
    nvsp::{
        ChannelType,
        RndisPacket, //
    },
    rndis::Ppis, //
};
use rlis_vmbus::{
    Contiguous,
    MpbBuilder, //
};

/// Where the next frame goes in a section.
#[derive(Default)]
struct Filling {
    frames: u16,
    bytes: u32,
    /// Where the last message begins, and where it ends.
    last: u32,
    end: u32,
}

impl Transmit {
    /// Sends frames as far as there is room. What is not sent is left.
    pub(crate) fn send_frames(&self, cx: &Context<'_>, frames: &mut Frames<'_>) {
        let Some(mut held) = self.held.get(cx.queue) else {
            return;
        };
        // A frame does not overtake those that came before it.
        self.flush(&mut held, cx);
        if held.unsent.is_some() {
            self.retry(&mut held, cx);
        }
        while frames.left() != 0 && self.has_room_for_frames(cx) {
            if !self.by_section(&mut held, cx, frames) && !self.by_page(&mut held, cx, frames) {
                break;
            }
        }
    }

    /// Returns whether a packet with frames can be sent without taking the room that the stack counts on.
    fn has_room_for_frames(&self, cx: &Context<'_>) -> bool {
        let few = FRAMES_IN_FLIGHT - FEW_IN_FLIGHT;
        !self.stuck.get()
            && self.slots.has_room(cx.queue, SLOTS + 1)
            && (self.slots.has_room(cx.queue, few) || cx.channel.percent_to_write() > RING_LOW)
    }

    /// Bytes of a frame, if it is not too long to be sent; what is too long is taken, and lost.
    fn next_len(&self, cx: &Context<'_>, frames: &mut Frames<'_>) -> Option<u32> {
        while let Some(len) = frames.peek(XdpFrame::len) {
            if len <= self.frame.saturating_add(VLAN_TAG) {
                return Some(len);
            }
            cx.counters.too_big.add(1);
            cx.counters.dropped.add(1);
            drop(frames.take());
        }
        None
    }

    /// Copies as many frames to a section as fit, and sends it. Returns whether there was any.
    fn by_section(&self, held: &mut Held, cx: &Context<'_>, frames: &mut Frames<'_>) -> bool {
        let Some(sections) = &self.sections else {
            return false;
        };
        let Some(slot) = self.slots.reserve(cx.queue) else {
            return false;
        };
        let Some(section) = sections.take() else {
            cx.counters.send_full.add(1);
            return false;
        };
        let filled = self.fill(sections, sections.position(section), cx, frames);
        if filled.frames == 0 {
            sections.untake();
            return false;
        }
        let tag = Tag::new(Some(section), filled.frames, filled.bytes);
        let unsent = Unsent {
            id: slot.store(Load::Copied, tag.0),
            section,
            end: filled.end,
        };
        if !unsent.send(&cx.channel) {
            self.postpone(held, cx, unsent);
        }
        true
    }

    /// Copies as many frames to the section at `base` as fit.
    #[inline]
    fn fill(
        &self,
        sections: &Share,
        base: usize,
        cx: &Context<'_>,
        frames: &mut Frames<'_>,
    ) -> Filling {
        let (most, alignment) = self.offloads.batch();
        let mut filling = Filling::default();
        while u32::from(filling.frames) < most {
            let Some(len) = self.next_len(cx, frames) else {
                break;
            };
            let header = Header::new(Ppis::default(), len);
            let total = header.len().saturating_add(len);
            let Some(start) = sections.behind(filling.end, alignment, total) else {
                break;
            };
            if filling.frames != 0 {
                // The message in front ends where this one begins.
                sections.stretch(base, filling.last, filling.end, start);
                filling.end = start;
            }
            let written = frames.peek(|frame| {
                sections.write(base, start, &header, |memory, at| frame.copy_to(memory, at))
            });
            // Memory that is there cannot be missing.
            if written.is_none_or(|written| written.is_err()) {
                break;
            }
            frames.copied();
            filling = Filling {
                frames: filling.frames + 1,
                bytes: filling.bytes.saturating_add(len),
                last: start,
                end: start.saturating_add(total),
            };
        }
        filling
    }

    /// Sends the next frame by its page. Returns whether it was taken.
    fn by_page(&self, held: &mut Held, cx: &Context<'_>, frames: &mut Frames<'_>) -> bool {
        let Some(len) = self.next_len(cx, frames) else {
            return false;
        };
        let Some(slot) = self.slots.reserve(cx.queue) else {
            return false;
        };
        let header = Header::new(Ppis::default(), len);
        let Ok(front) = self.front(slot.number(), &header) else {
            return false;
        };
        let Some(frame) = frames.take() else {
            return false;
        };
        let range = frame.range();
        let describe = |pages: &mut MpbBuilder<'_>| {
            pages.push(Contiguous {
                pfn: range.pfn,
                offset: range.offset,
                len: range.len,
            })
        };
        let Ok(mut pages) = Self::describe(&mut held.words, front, describe) else {
            frames.put_back(frame);
            return false;
        };
        let message = RndisPacket::in_pages(ChannelType::RMC_DATA);
        let sent = slot.launch(frame, Tag::new(None, 1, len).0, |id| {
            cx.channel.send_mpb(&mut pages, &message, id)
        });
        match sent {
            Ok(_) => true,
            Err((_, frame)) => {
                frames.put_back(frame);
                false
            }
        }
    }
}
