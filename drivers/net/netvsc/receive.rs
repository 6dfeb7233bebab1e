// SPDX-License-Identifier: GPL-2.0

//! Frames from the host, in sections of the receive buffer.

use crate::{
    completions::Completions,
    control::{
        Control,
        MESSAGE, //
    },
    counters::Received,
    port::Port,
    settings::VLAN_TAG,
    xdp::{
        self,
        Shown, //
    }, //
};
use core::fmt::Debug;
use rlis_hv::SharedMemory;
use rlis_net::{
    PollContext,
    RxPacket,
    RxPieces, //
};
use rlis_proto::{
    nvsp::{
        received,
        ReceiveSections,
        Status, //
    },
    rndis::{
        self,
        Header,
        MessageType,
        Piece,
        Ppis,
        Request,
        Rsc,
        RscError,
        RxChecksum,
        Vlan,
        Words,
        HASH_TCP_IPV4,
        HASH_TCP_IPV6, //
    },
    ProtoError, //
};
use rlis_vmbus::{
    GrantedMemory,
    Packet,
    PinnedChannel, //
};

/// The receive buffer, as the host has cut it.
pub(crate) struct Receive {
    buffer: GrantedMemory,
    sections: ReceiveSections,
    /// Bytes of the longest frame.
    frame: u32,
}

/// What belongs to the channel that a packet has come on.
pub(crate) struct Context<'a> {
    pub(crate) port: &'a Port,
    pub(crate) control: &'a Control,
    pub(crate) completions: &'a Completions,
    pub(crate) counters: &'a Received,
    pub(crate) channel: &'a PinnedChannel<'a>,
    /// There is a program that frames are shown to, as this poll has found.
    pub(crate) has_program: bool,
    /// Sends the frames that a program wants sent.
    pub(crate) send_kept: &'a dyn Fn(&mut PollContext<'_>),
}

impl Context<'_> {
    /// Counts what made no sense, and says so.
    #[cold]
    pub(crate) fn malformed(&self, what: &str, detail: &dyn Debug) {
        self.counters.malformed.add(1);
        self.port.complain(what, detail);
    }
}

/// A message in the receive buffer. The host may write to it at any time.
struct Message<'a> {
    memory: &'a SharedMemory,
    offset: u32,
    len: u32,
}

impl Words for Message<'_> {
    #[inline]
    fn words<const N: usize>(&self, offset: u32) -> Option<[u32; N]> {
        let at = usize::try_from(offset).ok()?;
        let end = at.checked_add(size_of::<[u32; N]>())?;
        if end > usize::try_from(self.len).ok()? {
            return None;
        }
        let start = usize::try_from(self.offset).ok()?;
        self.memory.words(start.checked_add(at)?)
    }
}

impl Message<'_> {
    /// Where `offset` bytes into the message are in the buffer.
    #[inline]
    fn position(&self, offset: u32) -> Option<usize> {
        usize::try_from(self.offset.checked_add(offset)?).ok()
    }
}

/// A packet with sections of the receive buffer, which the host gets back when this is dropped.
struct Transaction<'a> {
    id: u64,
    status: Status,
    context: &'a Context<'a>,
}

impl Drop for Transaction<'_> {
    #[inline]
    fn drop(&mut self) {
        let status = Some(self.status);
        let context = self.context;
        context
            .completions
            .answer(context.channel, context.counters, self.id, status);
    }
}

/// A frame that comes in pieces, in consecutive ranges of one packet.
#[derive(Default)]
struct Coalesced {
    rsc: Rsc,
    /// The pieces so far, and what came with the first; `None` if there was no memory for it.
    begun: Option<(RxPieces, Ppis)>,
}

impl Receive {
    pub(crate) fn new(buffer: GrantedMemory, sections: ReceiveSections, frame: u32) -> Self {
        Self {
            buffer,
            sections,
            frame,
        }
    }

    /// Takes a packet that points to sections. Whatever is wrong with it, it is completed.
    // Into the one function that calls it.
    #[inline(always)]
    pub(crate) fn packet(
        this: Option<&Self>,
        context: &Context<'_>,
        packet: &Packet<'_>,
        cx: &mut PollContext<'_>,
    ) {
        let mut transaction = Transaction {
            id: packet.transaction_id(),
            status: Status::NVSP_STAT_FAIL,
            context,
        };
        match this {
            Some(this) => transaction.status = this.sections(context, packet, cx),
            None => context.malformed("packet", &"no receive buffer yet"),
        }
    }

    /// Takes what lies in the sections. Returns whether all was well with it.
    #[inline(always)]
    fn sections(
        &self,
        context: &Context<'_>,
        packet: &Packet<'_>,
        cx: &mut PollContext<'_>,
    ) -> Status {
        let ranges = match received(packet.extra_header(), packet.payload(), &self.sections) {
            Ok(ranges) => ranges,
            Err(error) => {
                context.malformed("packet", &error);
                return Status::NVSP_STAT_FAIL;
            }
        };
        let mut status = Status::NVSP_STAT_SUCCESS;
        let mut frame = Coalesced::default();
        let mut left = ranges.count;
        for range in ranges {
            left = left.saturating_sub(1);
            let result = range.and_then(|range| {
                let message = Message {
                    memory: self.buffer.memory(),
                    offset: range.byte_offset,
                    len: range.byte_count,
                };
                self.message(context, &message, &mut frame, left == 0, cx)
            });
            if let Err(error) = result {
                status = Status::NVSP_STAT_FAIL;
                frame = Coalesced::default();
                cx.count();
                context.malformed("message in the receive buffer", &error);
            }
        }
        status
    }

    #[inline]
    fn message(
        &self,
        context: &Context<'_>,
        message: &Message<'_>,
        frame: &mut Coalesced,
        is_last: bool,
        cx: &mut PollContext<'_>,
    ) -> core::result::Result<(), ProtoError> {
        let header = rndis::header(message, message.len)?;
        if header.kind == MessageType::RNDIS_MSG_PACKET {
            return self.frame(context, message, &header, frame, is_last, cx);
        }
        if frame.rsc.give_up() {
            *frame = Coalesced::default();
            return Err(ProtoError::Unexpected {
                what: "message between the pieces of a frame",
            });
        }
        if header.kind == MessageType::RNDIS_MSG_INDICATE {
            let news = rndis::indication(message, &header, message.len)?;
            context.port.indication(news);
            return Ok(());
        }
        Self::answer(context, message, &header)
    }

    /// Takes a message that may be the answer to a request, or asks whether somebody is there.
    #[cold]
    fn answer(
        context: &Context<'_>,
        message: &Message<'_>,
        header: &Header,
    ) -> core::result::Result<(), ProtoError> {
        let unexpected = ProtoError::Unexpected {
            what: "RNDIS message",
        };
        let mut bytes = [0; MESSAGE];
        let len = usize::try_from(header.len).map_err(|_| unexpected)?;
        let copy = bytes.get_mut(..len).ok_or(unexpected)?;
        let position = message.position(0).ok_or(unexpected)?;
        message
            .memory
            .copy_to(position, copy)
            .map_err(|_| unexpected)?;
        if let Ok(Request::Keepalive { req_id }) = rndis::request(copy) {
            if let Err(error) = context.control.keepalive(context.channel, req_id) {
                context.port.complain("KEEPALIVE is not answered", &error);
            }
            return Ok(());
        }
        if context.control.message(copy) {
            Ok(())
        } else {
            Err(unexpected)
        }
    }

    #[inline]
    fn frame(
        &self,
        context: &Context<'_>,
        message: &Message<'_>,
        header: &Header,
        coalesced: &mut Coalesced,
        is_last: bool,
        cx: &mut PollContext<'_>,
    ) -> core::result::Result<(), ProtoError> {
        let packet = rndis::packet(message, header)?;
        let counters = context.counters;
        let piece = coalesced
            .rsc
            .piece(packet.info.piece(), packet.len, is_last)
            .map_err(|_: RscError| ProtoError::unexpected("piece of a frame"))?;
        if packet.len > self.frame.saturating_add(VLAN_TAG) {
            return Err(ProtoError::invalid("length of a frame", packet.len));
        }
        if !cx.device().is_running() {
            counters.down.add(1);
            cx.count();
            return Ok(());
        }
        let (Some(position), Ok(len)) =
            (message.position(packet.offset), usize::try_from(packet.len))
        else {
            return Err(ProtoError::invalid("length of a frame", packet.len));
        };
        let memory = message.memory;
        let (frame, info) = match piece {
            Piece::Whole => {
                coalesced.begun = None;
                let frame = if context.has_program {
                    match xdp::show(counters, context.send_kept, memory, position, len, cx) {
                        Shown::NoProgram => cx.copy_frame(memory, position, len),
                        Shown::Pass(frame) => frame,
                        Shown::Done => return Ok(()),
                    }
                } else {
                    cx.copy_frame(memory, position, len)
                };
                Self::deliver(counters, frame, &packet.info, cx);
                return Ok(());
            }
            _ if context.has_program => {
                if piece == Piece::First {
                    xdp::refuse_joined(counters, context.port);
                    cx.count();
                }
                coalesced.begun = None;
                return Ok(());
            }
            Piece::First => {
                let pieces = cx.begin_pieces(memory, position, len);
                coalesced.begun = pieces.map(|pieces| (pieces, packet.info));
                return Ok(());
            }
            Piece::Middle | Piece::Last => {
                let added = match &mut coalesced.begun {
                    Some((pieces, _)) => cx.add_piece(pieces, memory, position, len),
                    None => None,
                };
                if added.is_none() {
                    coalesced.begun = None;
                }
                if piece == Piece::Middle {
                    return Ok(());
                }
                match coalesced.begun.take() {
                    Some((pieces, info)) => (Some(pieces.finish()), info),
                    None => (None, Ppis::default()),
                }
            }
        };
        Self::deliver_joined(counters, frame, &info, cx);
        Ok(())
    }

    /// [`Self::deliver`] for a frame that came in pieces.
    #[inline(never)]
    fn deliver_joined(
        counters: &Received,
        frame: Option<RxPacket>,
        info: &Ppis,
        cx: &mut PollContext<'_>,
    ) {
        Self::deliver(counters, frame, info, cx);
    }

    /// Gives a frame to the stack, with what the host has said of it. There is none if there was no memory.
    #[inline(always)]
    fn deliver(
        counters: &Received,
        frame: Option<RxPacket>,
        info: &Ppis,
        cx: &mut PollContext<'_>,
    ) {
        let Some(mut frame) = frame else {
            counters.no_memory.add(1);
            cx.count();
            return;
        };
        if let Some(tag) = info.vlan {
            frame.set_vlan(Vlan(tag).tci());
        }
        if let Some(checksum) = info.checksum.map(RxChecksum) {
            // The host has changed the length in the header and left the checksum as it was.
            if checksum.has(RxChecksum::IP_VALUE_INVALID | RxChecksum::IP_SUCCEEDED) {
                frame.fix_ip_checksum();
            }
            let good =
                checksum.has(RxChecksum::TCP_SUCCEEDED) || checksum.has(RxChecksum::UDP_SUCCEEDED);
            if good && cx.device().features().rx_checksum {
                frame.set_checksum_good();
            }
        }
        if let Some(hash) = info.hash_value {
            let tcp = HASH_TCP_IPV4 | HASH_TCP_IPV6;
            frame.set_hash(hash, info.hash_info.is_some_and(|info| info & tcp != 0));
        }
        counters.packets.add(1);
        counters.bytes.add(u64::from(frame.len()));
        if frame.is_multicast() {
            counters.multicast.add(1);
        }
        cx.receive(frame);
    }
}
