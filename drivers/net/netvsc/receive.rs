// SPDX-License-Identifier: GPL-2.0

//! Frames from the host, in sections of the receive buffer.

use crate::{
    control::MESSAGE,
    counters::Counters,
    nic::Nic,
    session::{
        Session,
        WANTED_ROOM, //
    },
    settings::VLAN_TAG, //
};
use kernel::{
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Relaxed,
        Release, //
    }, //
};
use rlis_hv::SharedMemory;
use rlis_net::PollContext;
use rlis_proto::{
    nvsp::{
        received,
        ReceiveSections,
        RndisPacketComplete,
        Status, //
    },
    rndis::{
        self,
        Header,
        MessageType,
        RxChecksum,
        Vlan,
        Words, //
    },
    ProtoError, //
};
use rlis_vmbus::{
    Channel,
    GrantedMemory,
    Packet,
    PacketType, //
};

/// The receive buffer, as the host has cut it.
pub(crate) struct Receive {
    buffer: GrantedMemory,
    sections: ReceiveSections,
    /// Bytes of the longest frame.
    frame: u32,
}

/// A message in the receive buffer. The host may write to it at any time.
struct Message<'a> {
    memory: &'a SharedMemory,
    offset: u32,
    len: u32,
}

impl Words for Message<'_> {
    #[inline]
    fn word(&self, offset: u32) -> Option<u32> {
        if offset > self.len.checked_sub(4)? {
            return None;
        }
        let at = usize::try_from(self.offset.checked_add(offset)?).ok()?;
        self.memory.word(at)
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
    channel: &'a Channel,
    completions: &'a Completions,
    counters: &'a Counters,
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        let status = Some(self.status);
        self.completions
            .answer(self.channel, self.counters, self.id, status);
    }
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
    pub(crate) fn packet(
        this: Option<&Self>,
        session: &Session,
        packet: &Packet<'_>,
        channel: &Channel,
        cx: &mut PollContext<'_>,
    ) {
        let nic = &session.nic;
        let mut transaction = Transaction {
            id: packet.transaction_id(),
            status: Status::NVSP_STAT_SUCCESS,
            channel,
            completions: &session.completions,
            counters: &nic.counters,
        };
        let Some(this) = this else {
            transaction.status = Status::NVSP_STAT_FAIL;
            return nic.malformed("packet", &"no receive buffer yet");
        };
        match received(packet.extra_header(), packet.payload(), &this.sections) {
            Ok(ranges) => {
                for range in ranges {
                    let result = range.and_then(|range| {
                        let message = Message {
                            memory: this.buffer.memory(),
                            offset: range.byte_offset,
                            len: range.byte_count,
                        };
                        this.message(session, &message, cx)
                    });
                    if let Err(error) = result {
                        transaction.status = Status::NVSP_STAT_FAIL;
                        cx.count();
                        nic.malformed("message in the receive buffer", &error);
                    }
                }
            }
            Err(error) => {
                transaction.status = Status::NVSP_STAT_FAIL;
                nic.malformed("packet", &error);
            }
        }
    }

    #[inline]
    fn message(
        &self,
        session: &Session,
        message: &Message<'_>,
        cx: &mut PollContext<'_>,
    ) -> core::result::Result<(), ProtoError> {
        let header = rndis::header(message, message.len)?;
        match header.kind {
            MessageType::RNDIS_MSG_PACKET => self.frame(&session.nic, message, &header, cx),
            MessageType::RNDIS_MSG_INDICATE => {
                session
                    .nic
                    .indication(rndis::indication(message, &header, message.len)?);
                Ok(())
            }
            _ => Self::answer(session, message, &header),
        }
    }

    /// Takes a message that may be the answer to a request.
    #[cold]
    fn answer(
        session: &Session,
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
        if session.control.message(copy) {
            Ok(())
        } else {
            Err(unexpected)
        }
    }

    #[inline]
    fn frame(
        &self,
        nic: &Nic,
        message: &Message<'_>,
        header: &Header,
        cx: &mut PollContext<'_>,
    ) -> core::result::Result<(), ProtoError> {
        let packet = rndis::packet(message, header)?;
        let counters = &nic.counters.rx;
        let invalid = ProtoError::Invalid {
            what: "length of a frame",
            value: u64::from(packet.len),
        };
        if packet.len > self.frame.saturating_add(VLAN_TAG) || packet.info.packet_id.is_some() {
            return Err(invalid);
        }
        if !cx.device().is_running() {
            counters.down.add(1);
            cx.count();
            return Ok(());
        }
        let (Some(position), Ok(len)) =
            (message.position(packet.offset), usize::try_from(packet.len))
        else {
            return Err(invalid);
        };
        let Some(mut frame) = cx.copy_frame(message.memory, position, len) else {
            counters.no_memory.add(1);
            cx.count();
            return Ok(());
        };
        if let Some(tag) = packet.info.vlan {
            frame.set_vlan(Vlan(tag).tci());
        }
        if let Some(checksum) = packet.info.checksum.map(RxChecksum) {
            if checksum.has(RxChecksum::TCP_SUCCEEDED) || checksum.has(RxChecksum::UDP_SUCCEEDED) {
                frame.set_checksum_good();
            }
        }
        counters.packets.add(1);
        counters.bytes.add(u64::from(packet.len));
        if frame.is_multicast() {
            counters.multicast.add(1);
        }
        cx.receive(frame);
        Ok(())
    }
}

/// Completions that the host waits for, and that had no room in the ring.
///
/// Written and read by the poll function alone. As many as the host can have transactions under way: it has that many
/// sections. A host that has more breaks the protocol, and waits for ever.
pub(crate) struct Completions {
    ring: KVec<Pending>,
    first: Atomic<u32>,
    count: Atomic<u32>,
}

struct Pending {
    id: Atomic<u64>,
    /// 0 for a completion without a payload.
    status: Atomic<u32>,
}

/// How many completions can wait; a power of two, and more than there are sections in the largest receive buffer.
const PENDING: usize = 1 << 14;

impl Completions {
    pub(crate) fn new() -> Result<Self> {
        let mut ring = KVec::with_capacity(PENDING, GFP_KERNEL)?;
        for _ in 0..PENDING {
            let pending = Pending {
                id: Atomic::new(0),
                status: Atomic::new(0),
            };
            ring.push(pending, GFP_KERNEL)?;
        }
        Ok(Self {
            ring,
            first: Atomic::new(0),
            count: Atomic::new(0),
        })
    }

    /// Completes a packet of the host, now or when there is room.
    #[inline]
    pub(crate) fn answer(
        &self,
        channel: &Channel,
        counters: &Counters,
        id: u64,
        status: Option<Status>,
    ) {
        if self.count.load(Relaxed) == 0 && Self::send(channel, id, status) != Err(EAGAIN) {
            // Sent, or the channel is closed.
            return;
        }
        counters.rx.completions_late.add(1);
        let (first, count) = (self.first.load(Relaxed), self.count.load(Acquire));
        let Some(place) = self.place(first.wrapping_add(count)) else {
            return;
        };
        if usize::try_from(count).is_ok_and(|count| count < PENDING) {
            place.id.store(id, Relaxed);
            place
                .status
                .store(status.map_or(0, |status| status.0), Relaxed);
            self.count.store(count + 1, Release);
        }
    }

    fn place(&self, at: u32) -> Option<&Pending> {
        self.ring.get(usize::try_from(at).ok()? % PENDING)
    }

    fn send(channel: &Channel, id: u64, status: Option<Status>) -> Result {
        match status {
            Some(status) => {
                let message = RndisPacketComplete::message(status);
                channel.send(PacketType::COMPLETION, &message, id, false)
            }
            None => channel.send(PacketType::COMPLETION, &[], id, false),
        }
    }

    /// Sends what waits, as far as there is room. If that is not all, the host signals when there is more.
    pub(crate) fn flush(&self, channel: &Channel) {
        if self.count.load(Relaxed) == 0 || self.send_all(channel) {
            return;
        }
        // If the channel is closed, nobody waits.
        let _ = channel.set_pending_send_size(WANTED_ROOM);
        // There may be room since before the host knew.
        self.send_all(channel);
    }

    fn send_all(&self, channel: &Channel) -> bool {
        loop {
            let count = self.count.load(Relaxed);
            if count == 0 {
                return true;
            }
            let first = self.first.load(Relaxed);
            let Some(place) = self.place(first) else {
                return true;
            };
            let status = place.status.load(Relaxed);
            let status = (status != 0).then_some(Status(status));
            if Self::send(channel, place.id.load(Relaxed), status) == Err(EAGAIN) {
                return false;
            }
            self.first.store(first.wrapping_add(1), Relaxed);
            self.count.store(count - 1, Relaxed);
        }
    }
}
