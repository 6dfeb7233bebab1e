// SPDX-License-Identifier: GPL-2.0

//! What arrives in the channel while it is open.

use crate::{
    control::{
        Completed,
        Control, //
    },
    nic::Nic,
    receive::{
        Completions,
        Receive, //
    },
    transmit::Transmit, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::Atomic,
        Arc,
        SetOnce, //
    }, //
};
use rlis_net::{
    Napi,
    NapiHandler,
    PollContext,
    Polled, //
};
use rlis_proto::nvsp::{
    self,
    ProtocolVersion, //
};
use rlis_vmbus::{
    Channel,
    ChannelHandler,
    GrantedMemory,
    Packet,
    PacketType, //
};

/// Bytes of free ring that the host is to tell of: more than the longest packet has.
pub(crate) const WANTED_ROOM: u32 = 8192;

/// Packets of a poll that are no frames: so many, and others have a turn.
const PACKETS: u32 = 4096;

/// The time from opening the channel to closing it. A card that was given another MTU has another one.
#[pin_data]
pub(crate) struct Session {
    #[pin]
    pub(crate) control: Control,
    pub(crate) nic: Arc<Nic>,
    pub(crate) napi: Arc<Napi<Session>>,
    channel: SetOnce<Arc<Channel>>,
    /// From the time that the host knows the receive buffer.
    receive: SetOnce<Receive>,
    /// From the time that frames may be sent.
    transmit: SetOnce<Transmit>,
    /// A buffer that the host has and that is not used.
    kept: SetOnce<GrantedMemory>,
    /// The packet filter that the host has.
    pub(crate) filter: Atomic<u32>,
    pub(crate) completions: Completions,
}

impl Session {
    pub(crate) fn new(nic: Arc<Nic>, napi: Arc<Napi<Session>>) -> Result<Arc<Self>> {
        Arc::pin_init(
            try_pin_init!(Self {
                control <- Control::new(),
                nic,
                napi,
                channel: SetOnce::new(),
                receive: SetOnce::new(),
                transmit: SetOnce::new(),
                kept: SetOnce::new(),
                // None has these bits.
                filter: Atomic::new(u32::MAX),
                completions: Completions::new()?,
            }),
            GFP_KERNEL,
        )
    }

    /// The channel has been opened.
    pub(crate) fn opened(&self, channel: &Arc<Channel>) {
        self.channel.populate(channel.clone());
        // What came before was left where it was.
        self.schedule();
    }

    /// Keeps a buffer that the host has, and that is not used, until the channel is closed. There is at most one.
    pub(crate) fn keep(&self, buffer: GrantedMemory) {
        self.kept.populate(buffer);
    }

    /// The host has taken the receive buffer.
    pub(crate) fn set_receive(&self, receive: Receive) {
        self.receive.populate(receive);
    }

    /// Frames may be sent.
    pub(crate) fn set_transmit(&self, transmit: Transmit) {
        self.transmit.populate(transmit);
    }

    #[inline]
    pub(crate) fn channel(&self) -> Option<&Arc<Channel>> {
        self.channel.as_ref()
    }

    /// Returns whether the host still has the card, so that it may do what it was asked.
    pub(crate) fn is_open(&self) -> bool {
        self.channel
            .as_ref()
            .is_some_and(|channel| !channel.is_rescinded())
    }

    #[inline]
    pub(crate) fn transmit(&self) -> Option<&Transmit> {
        self.transmit.as_ref()
    }

    /// Has the host interrupt when there is room in the ring: the poll wakes the queue then.
    #[cold]
    pub(crate) fn want_room(&self) {
        if let Some(channel) = self.channel.as_ref() {
            // It fails for a channel that is closed, where nobody waits.
            let _ = channel.set_pending_send_size(WANTED_ROOM);
        }
        // There may be room since before the host knew.
        self.schedule();
    }

    fn schedule(&self) {
        self.napi.schedule(|| self.mask());
    }

    fn packet(&self, packet: &Packet<'_>, channel: &Channel, cx: &mut PollContext<'_>) {
        match packet.packet_type() {
            PacketType::COMPLETION => self.completion(packet, cx),
            PacketType::DATA_USING_XFER_PAGES => {
                Receive::packet(self.receive.as_ref(), self, packet, channel, cx);
            }
            PacketType::DATA_INBAND => self.in_band(packet, channel),
            other => self.nic.malformed("packet", &other),
        }
    }

    fn completion(&self, packet: &Packet<'_>, cx: &PollContext<'_>) {
        let (id, payload) = (packet.transaction_id(), packet.payload());
        let known = match self.control.completed(id, payload) {
            Completed::Request(known) => known,
            Completed::Frame => {
                let transmit = self.transmit.as_ref();
                transmit.is_some_and(|tx| tx.completed(&self.nic, id, payload, cx))
            }
        };
        if !known {
            self.nic.counters.rx.unknown.add(1);
            self.nic
                .complain("completion of what is not under way", &id);
        }
    }

    /// What the host says unasked. There is one channel and no virtual function, so nothing follows from it yet but that
    /// a completion is sent where one is wanted.
    fn in_band(&self, packet: &Packet<'_>, channel: &Channel) {
        let version = self.nic.version().unwrap_or(ProtocolVersion::V1);
        if let Err(error) = nvsp::incoming(packet.payload(), version, 1) {
            self.nic.malformed("message", &error);
        }
        if packet.wants_completion() {
            let id = packet.transaction_id();
            self.completions
                .answer(channel, &self.nic.counters, id, None);
        }
    }
}

impl NapiHandler for Session {
    fn poll(&self, cx: &mut PollContext<'_>) -> Polled {
        let Some(channel) = self.channel.as_ref() else {
            return Polled::Done;
        };
        let mut polled = Polled::Done;
        if let Some(mut reader) = channel.try_reader() {
            let mut packets = 0;
            while let Some(packet) = reader.next_packet() {
                self.packet(&packet, channel, cx);
                packets += 1;
                if cx.exhausted() || packets == PACKETS {
                    polled = Polled::More;
                    break;
                }
            }
        }
        if let Some(transmit) = self.transmit.as_ref() {
            transmit.wake(&self.nic.counters, channel, cx);
        }
        // After that, which may tell the host that nobody waits for room.
        self.completions.flush(channel);
        polled
    }

    fn mask(&self) {
        if let Some(channel) = self.channel.as_ref() {
            // It fails for a channel that is closed, which does not interrupt.
            let _ = channel.mask_interrupt();
        }
    }

    fn unmask(&self) -> bool {
        let channel = self.channel.as_ref();
        channel.is_some_and(|channel| channel.unmask_interrupt().unwrap_or(0) != 0)
    }
}

impl ChannelHandler for Session {
    const RESCIND: bool = true;

    fn on_interrupt(&self, channel: &Arc<Channel>) {
        self.napi.schedule(|| {
            let _ = channel.mask_interrupt();
        });
    }

    fn on_rescind(&self, _channel: &Arc<Channel>) {
        self.control.give_up();
    }
}
