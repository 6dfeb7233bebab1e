// SPDX-License-Identifier: GPL-2.0

//! A guest for unit tests: it speaks to the bus through its memory and the hypercalls' entry, without a virtual machine.

use std::ops::Range;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use rlis_proto::vmbus::gpadl::GpadlSplitter;
use rlis_proto::vmbus::message::{
    ChannelMessage, ChannelMessageHeader, CloseChannel, GpadlTeardown, InitiateContact,
    MessageType, OpenChannel, RelidReleased, VersionResponse,
};
use rlis_proto::vmbus::parse::{parse_from, Direction, Message};
use rlis_proto::vmbus::version::Version;
use rlis_proto::vmbus::{
    MAX_SIZE_CHANNEL_MESSAGE, VMBUS_MESSAGE_CONNECTION_ID_4, VMBUS_MESSAGE_SINT, VMBUS_MESSAGE_TYPE,
};
use vm_memory::{Bytes, GuestAddress};
use zerocopy::{Immutable, IntoBytes};

use super::channel::{Channel, Shared};
use super::gpadl::GuestPages;
use super::ring::{Distortion, Incoming, Outgoing, Packet, Pushed};
use super::server::Server;
use super::Device;
use super::Offer;
use crate::hyperv::hypercall::Receiver;
use crate::hyperv::synic::{SintLine, Synic};
use crate::memory::Memory;

/// Page number of the guest-to-host monitor page.
pub const MONITOR_PAGE: u64 = 4;
/// The slot of the message page that the bus uses.
const SLOT: u64 = 0x1000 + VMBUS_MESSAGE_SINT as u64 * 256;
const EVENT_CONNECTION: u32 = 0x1_0000;
/// Where a ring's header says that its reader looks at pending_send_sz.
const FEATURE_BITS: u64 = 64;
/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Interrupts, which this guest does not wait for.
struct NoLine;

impl SintLine for NoLine {
    fn raise(&self, _vp: u32) -> std::io::Result<()> {
        Ok(())
    }
}

/// The guest.
pub struct Guest {
    /// The bus under test.
    pub server: Arc<Server>,
    /// The guest's memory.
    pub memory: Arc<Memory>,
    /// What the bus shares with its channels.
    pub shared: Shared,
    connection: u32,
}

/// An open channel, the guest's side.
pub struct GuestChannel {
    relid: u32,
    out: Outgoing,
    inc: Incoming,
}

fn message<M: ChannelMessage>() -> M {
    M::new_zeroed()
}

impl Guest {
    /// A guest with 4 MiB of memory, not connected.
    pub fn new() -> Self {
        let memory = Arc::new(crate::memory::allocate(4 << 20).unwrap());
        let synic = Arc::new(Synic::new(memory.clone(), Box::new(NoLine), 1));
        synic.set_registers(0, 1, 0x2001, 0x1001).unwrap();
        let shared = Shared {
            memory: memory.clone(),
            synic,
            violations: Arc::default(),
            faults: Arc::default(),
        };
        Self {
            server: Server::new(shared.clone(), Version::V6_0),
            memory,
            shared,
            connection: VMBUS_MESSAGE_CONNECTION_ID_4,
        }
    }

    /// Posts a message.
    pub fn post<M: IntoBytes + Immutable + ?Sized>(&self, message: &M) {
        let status =
            self.server
                .message(0, self.connection, VMBUS_MESSAGE_TYPE, message.as_bytes());
        assert_eq!(status, 0);
    }

    /// Takes the host's next message.
    pub fn next(&self) -> Vec<u8> {
        let deadline = Instant::now() + LIMIT;
        while self.memory.read_obj::<u32>(GuestAddress(SLOT)).unwrap() == 0 {
            assert!(Instant::now() < deadline, "the host sends no message");
            thread::sleep(Duration::from_millis(1));
        }
        let len: u8 = self.memory.read_obj(GuestAddress(SLOT + 4)).unwrap();
        let mut payload = vec![0; len.into()];
        self.memory
            .read_slice(&mut payload, GuestAddress(SLOT + 16))
            .unwrap();
        self.memory.write_obj(0u32, GuestAddress(SLOT)).unwrap();
        self.shared.synic.acknowledged(0).unwrap();
        payload
    }

    /// The next message, which must be an `M`.
    pub fn expect<M: ChannelMessage>(&self) -> M {
        let bytes = self.next();
        assert_eq!(bytes[..4], M::TYPE.0.to_le_bytes(), "{}", M::NAME);
        M::read_from_prefix(&bytes).unwrap().0
    }

    /// Asks for a version, 5.0 or newer. Returns the host's answer.
    pub fn contact(&self, version: Version) -> VersionResponse {
        let mut contact: InitiateContact = message();
        contact.header = ChannelMessageHeader::of::<InitiateContact>();
        contact.vmbus_version_requested = version;
        contact.interrupt_page = u64::from(VMBUS_MESSAGE_SINT);
        contact.monitor_page1 = 3 << 12;
        contact.monitor_page2 = MONITOR_PAGE << 12;
        self.post(&contact);
        self.expect()
    }

    /// Negotiates version 6.0 and asks for the offers. Returns their relids.
    pub fn connect(&mut self) -> Vec<u32> {
        let response = self.contact(Version::V6_0);
        assert_eq!(
            (response.version_supported, response.connection_state),
            (1, 0)
        );
        self.connection = response.msg_conn_id;
        self.post(&ChannelMessageHeader::new(
            MessageType::CHANNELMSG_REQUESTOFFERS,
        ));
        let mut relids = Vec::new();
        loop {
            let bytes = self.next();
            match parse_from(Direction::HostToGuest, &bytes).unwrap() {
                Message::Offer(offer) => relids.push(offer.child_relid),
                Message::AllOffersDelivered => return relids,
                other => panic!("{other:?}"),
            }
        }
    }

    /// Offers a device, connects and opens its channel, with rings of four pages each. Returns the relid and the channel.
    pub fn open_device(&mut self, offer: Offer) -> (u32, GuestChannel) {
        self.server.offer(offer).unwrap();
        let relid = self.connect()[0];
        (relid, self.open(relid, 0x10, 16..24))
    }

    /// Begins anew, as a guest whose bus was unloaded.
    pub fn forget_connection(&mut self) {
        self.connection = VMBUS_MESSAGE_CONNECTION_ID_4;
    }

    /// Makes a GPADL of pages. Returns the host's status.
    pub fn gpadl(&self, relid: u32, handle: u32, pages: Range<u64>) -> u32 {
        let len = u32::try_from(pages.end - pages.start).unwrap() * 4096;
        let mut split = GpadlSplitter::new(relid, handle, 0, len, pages).unwrap();
        let mut buf = [0; MAX_SIZE_CHANNEL_MESSAGE];
        while let Some(len) = split.next_message(&mut buf).unwrap() {
            self.post(&buf[..len]);
        }
        let created: rlis_proto::vmbus::message::GpadlCreated = self.expect();
        assert_eq!(
            ({ created.gpadl }, { created.child_relid }),
            (handle, relid)
        );
        created.creation_status
    }

    /// Takes a GPADL back.
    pub fn teardown(&self, relid: u32, handle: u32) {
        let mut teardown: GpadlTeardown = message();
        teardown.header = ChannelMessageHeader::of::<GpadlTeardown>();
        teardown.child_relid = relid;
        teardown.gpadl = handle;
        self.post(&teardown);
        let done: rlis_proto::vmbus::message::GpadlTorndown = self.expect();
        assert_eq!({ done.gpadl }, handle);
    }

    /// Opens a channel with two rings of the same size over `pages`.
    pub fn open(&self, relid: u32, handle: u32, pages: Range<u64>) -> GuestChannel {
        let channel = self.ask_to_open(relid, handle, pages);
        self.opened();
        channel
    }

    /// Takes the host's consent to the opening of a channel.
    pub fn opened(&self) {
        let result: rlis_proto::vmbus::message::OpenResult = self.expect();
        assert_eq!(({ result.openid }, { result.status }), (77, 0));
    }

    /// As [`Guest::open`], without waiting for the host's answer.
    pub fn ask_to_open(&self, relid: u32, handle: u32, pages: Range<u64>) -> GuestChannel {
        let half = (pages.end - pages.start) / 2;
        assert_eq!(self.gpadl(relid, handle, pages.clone()), 0);
        for page in [pages.start, pages.start + half] {
            let at = GuestAddress(page * 4096 + FEATURE_BITS);
            self.memory.write_obj(1u32, at).unwrap();
        }
        let mut open: OpenChannel = message();
        open.header = ChannelMessageHeader::of::<OpenChannel>();
        open.child_relid = relid;
        open.openid = 77;
        open.ringbuffer_gpadlhandle = handle;
        open.downstream_ringbuffer_pageoffset = u32::try_from(half).unwrap();
        self.post(&open);
        let ring = |pages| GuestPages::new(self.memory.clone(), pages).unwrap();
        let middle = pages.start + half;
        GuestChannel {
            relid,
            out: Outgoing::new(ring(pages.start..middle)).unwrap(),
            inc: Incoming::new(ring(middle..pages.end)).unwrap(),
        }
    }

    /// A channel of the host that nobody opened, for what needs one to look for faults.
    pub fn idle_channel(&self, device: Arc<dyn Device>) -> Arc<Channel> {
        let pages = GuestPages::new(self.memory.clone(), 900..908).unwrap();
        let (shared, server) = (self.shared.clone(), Weak::<Server>::new());
        let name = "idle".to_string();
        Channel::open(name, 99, 0, 0, &pages, 4, device, shared, server)
            .unwrap()
            .0
    }

    /// Closes a channel.
    pub fn close(&self, channel: &GuestChannel) {
        let mut close: CloseChannel = message();
        close.header = ChannelMessageHeader::of::<CloseChannel>();
        close.child_relid = channel.relid;
        self.post(&close);
    }

    /// Lets go of a relid.
    pub fn release(&self, relid: u32) {
        let mut released: RelidReleased = message();
        released.header = ChannelMessageHeader::of::<RelidReleased>();
        released.child_relid = relid;
        self.post(&released);
    }

    /// Writes a packet without telling the host.
    pub fn write(&self, channel: &mut GuestChannel, packet: &Packet) {
        channel.out.push(packet, Distortion::None).unwrap();
    }

    /// Sends a packet.
    pub fn send(&self, channel: &mut GuestChannel, packet: &Packet) {
        self.write(channel, packet);
        assert_eq!(self.server.event(0, EVENT_CONNECTION + channel.relid, 0), 0);
    }

    /// Sends a packet if there is room for it in the ring.
    pub fn try_send(&self, channel: &mut GuestChannel, packet: &Packet) -> bool {
        let sent = channel.out.push(packet, Distortion::None).unwrap() != Pushed::Full;
        if sent {
            assert_eq!(self.server.event(0, EVENT_CONNECTION + channel.relid, 0), 0);
        }
        sent
    }

    /// Takes a packet of the host if there is one, and signals if the host waits for room.
    pub fn try_receive(&self, channel: &mut GuestChannel) -> Option<Packet> {
        let (packet, wake) = channel.inc.pop().unwrap()?;
        if wake {
            assert_eq!(self.server.event(0, EVENT_CONNECTION + channel.relid, 0), 0);
        }
        Some(packet)
    }

    /// Whether the next thing in the ring is no packet. It cannot be read on then.
    pub fn is_broken(&self, channel: &mut GuestChannel) -> bool {
        channel.inc.pop().is_err()
    }

    /// Takes the host's next packet.
    pub fn receive(&self, channel: &mut GuestChannel) -> Packet {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(packet) = self.try_receive(channel) {
                return packet;
            }
            assert!(Instant::now() < deadline, "the host sends no packet");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Forgets the violations so far and returns them.
    pub fn violations(&self) -> Vec<String> {
        self.shared.violations.take()
    }
}
