// SPDX-License-Identifier: GPL-2.0

//! A network card: the initialisation of the network service protocol, frames to and from the peer, and the state of
//! the cable.

#[cfg(test)]
mod channel_tests;
mod control;
mod frames;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{bail, ensure, Context, Result};
use rlis_proto::guid::class::HV_NIC_GUID;
use rlis_proto::Guid;
use smoltcp::wire::EthernetAddress;
use zerocopy::FromBytes;

use super::nvsp::{self, Buffer, Init, NdisConfig, NdisVersion, RndisPacket};
use super::peer::Peer;
use super::rndis;
use super::spec::NicSpec;
use crate::vmbus::channel::Channel;
use crate::vmbus::direct::DataBuffer;
use crate::vmbus::gpadl::Loan;
use crate::vmbus::ring::{Packet, COMPLETION, DATA_INBAND, FLAG_COMPLETION_REQUESTED};
use crate::vmbus::{Device, Offer};

/// Bytes of the longest frame of a guest that has not said otherwise.
const DEFAULT_FRAME: usize = 1514;
/// Shortest and longest frame that a guest may ask for.
const FRAMES: std::ops::RangeInclusive<u32> = 82..=65_535;
/// Bytes of a section of the send buffer, as Hyper-V has it.
const SEND_SECTION: usize = 6144;
/// What a section of the receive buffer has beyond a frame: the RNDIS headers and per-packet information. With the
/// default frame this makes Hyper-V's 1728 bytes.
const RECEIVE_EXTRA: usize = 214;
/// Frames that wait for a section of the receive buffer, at most.
const MAX_WAITING: usize = 512;

/// How far the guest has come with NVSP. The order is that of the protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// The channel is closed, or just open.
    #[default]
    Closed,
    /// A version is agreed on.
    Versioned,
    /// The guest has described its network interface (not in version 1).
    Configured,
    /// It has told its NDIS version; buffers may come.
    Ready,
}

/// A receive buffer, cut into sections of one message each.
struct ReceiveBuffer {
    loan: Loan,
    id: u16,
    section: usize,
    /// Sections that the guest does not hold, the longest unused first.
    free: VecDeque<usize>,
    /// Transactions that the guest has not completed, with their sections.
    in_flight: BTreeMap<u64, Vec<usize>>,
    next_transaction: u64,
}

struct SendBuffer {
    loan: Loan,
    id: u16,
}

/// Counters of a card since the start of the host.
#[derive(Debug, Default)]
struct Counts {
    sent_frames: u64,
    sent_bytes: u64,
    received_frames: u64,
    received_bytes: u64,
    dropped: u64,
    by_section: u64,
    by_pages: u64,
    refused_by_guest: u64,
}

#[derive(Default)]
struct State {
    channel: Option<Arc<Channel>>,
    step: Step,
    version: u32,
    /// Bytes of the longest frame.
    frame: usize,
    receive: Option<ReceiveBuffer>,
    send: Option<SendBuffer>,
    /// RNDIS is initialised.
    initialised: bool,
    filter: u32,
    mac: EthernetAddress,
    /// Messages that wait for a section of the receive buffer: channel type and message.
    waiting: VecDeque<(u32, Vec<u8>)>,
    peer: Option<Peer>,
    up: bool,
    counts: Counts,
}

/// A network card.
pub struct Nic {
    spec: NicSpec,
    index: u8,
    permanent: EthernetAddress,
    state: Mutex<State>,
}

/// The struct at `bytes`' front, behind the message type.
fn body<T: FromBytes + zerocopy::KnownLayout + zerocopy::Immutable>(payload: &[u8]) -> Result<T> {
    rndis::front(payload.get(4..).unwrap_or_default(), "an NVSP message")
}

impl Nic {
    /// A card that nobody has opened. `index` tells it from others of the machine.
    pub fn new(spec: NicSpec, index: u8) -> Arc<Self> {
        let made_up = EthernetAddress([0x00, 0x15, 0x5D, 0, 1, index]);
        let permanent = spec.mac.unwrap_or(made_up);
        let up = spec.up;
        Arc::new(Self {
            spec,
            index,
            permanent,
            state: Mutex::new(State {
                up,
                ..State::default()
            }),
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// The offer for the bus.
    pub fn offer(self: &Arc<Self>) -> Offer {
        let mut instance = *b"rlis-netcard\0\0\0\0";
        instance[15] = self.index;
        Offer {
            name: self.spec.name.clone(),
            class: HV_NIC_GUID,
            instance: Guid::from_bytes(instance),
            flags: 0,
            user_data: [0; rlis_proto::vmbus::MAX_USER_DEFINED_BYTES],
            monitored: false,
            device: self.clone(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic would leave counters or a frame behind; a test tool goes on.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Plugs the cable in or out. A guest that listens is told.
    pub fn set_link(&self, up: bool) {
        let mut state = self.state();
        if state.up == up {
            return;
        }
        state.up = up;
        if state.initialised {
            let status = if up {
                rndis::MEDIA_CONNECT
            } else {
                rndis::MEDIA_DISCONNECT
            };
            // No further information: its length and offset are 0.
            let indication = rndis::message(rndis::INDICATE, &words(&[status, 0, 0]));
            self.deliver(&mut state, nvsp::CHANNEL_CONTROL, indication);
        }
    }

    /// The card as a line.
    pub fn describe(&self) -> String {
        let state = self.state();
        let version = nvsp::VERSIONS
            .iter()
            .find(|v| v.0 == state.version)
            .map_or("none", |v| v.1);
        let counts = &state.counts;
        format!(
            "{} mac={} peer={} link={} version={version} frame={} filter={:#x} sent={} sent_bytes={} received={} \
             received_bytes={} dropped={} by_section={} by_pages={} refused_by_guest={}",
            self.spec.name,
            self.permanent.to_string().replace('-', ":"),
            self.spec.peer,
            if state.up { "up" } else { "down" },
            state.frame,
            state.filter,
            counts.sent_frames,
            counts.sent_bytes,
            counts.received_frames,
            counts.received_bytes,
            counts.dropped,
            counts.by_section,
            counts.by_pages,
            counts.refused_by_guest,
        )
    }

    fn handle(&self, channel: &Arc<Channel>, packet: &Packet) -> Result<()> {
        let (type_, _) = u32::read_from_prefix(&packet.payload)
            .ok()
            .with_context(|| format!("a packet of {} bytes", packet.payload.len()))?;
        if packet.type_ == COMPLETION {
            return self.completed(packet.transaction, type_, &packet.payload);
        }
        let wants_completion = packet.flags & FLAG_COMPLETION_REQUESTED != 0;
        let has_completion = !matches!(
            type_,
            nvsp::SEND_NDIS_VERSION
                | nvsp::SEND_NDIS_CONFIG
                | nvsp::REVOKE_RECEIVE_BUFFER
                | nvsp::REVOKE_SEND_BUFFER
        );
        ensure!(
            wants_completion == has_completion,
            "NVSP message {type_}, completion {}requested",
            if wants_completion { "" } else { "not " }
        );
        ensure!(
            packet.type_ == DATA_INBAND || type_ == nvsp::SEND_RNDIS_PACKET,
            "NVSP message {type_} in a packet of type {}",
            packet.type_
        );
        let mut state = self.state();
        let answer = |words: &[u32], type_| {
            channel.complete(packet.transaction, &nvsp::message(type_, words));
        };
        match type_ {
            nvsp::INIT => {
                let (version, status, fine) = self.init(&mut state, body(&packet.payload)?);
                answer(&[version, 0, status], nvsp::INIT_COMPLETE);
                fine
            }
            nvsp::SEND_NDIS_CONFIG => self.configure(&mut state, body(&packet.payload)?),
            nvsp::SEND_NDIS_VERSION => Self::ndis_version(&mut state, body(&packet.payload)?),
            nvsp::SEND_RECEIVE_BUFFER => {
                match self.receive_buffer(&mut state, channel, body(&packet.payload)?) {
                    Ok((section, count)) => {
                        let end = u32::try_from(section * count)?;
                        let (section, count) = (u32::try_from(section)?, u32::try_from(count)?);
                        answer(
                            &[nvsp::SUCCESS, 1, 0, section, count, end],
                            nvsp::SEND_RECEIVE_BUFFER_COMPLETE,
                        );
                        Ok(())
                    }
                    Err(error) => {
                        answer(&[nvsp::FAIL, 0], nvsp::SEND_RECEIVE_BUFFER_COMPLETE);
                        Err(error.context("receive buffer"))
                    }
                }
            }
            nvsp::SEND_SEND_BUFFER => {
                let result = self.send_buffer(&mut state, channel, body(&packet.payload)?);
                let (status, section) = match &result {
                    Ok(()) => (nvsp::SUCCESS, u32::try_from(SEND_SECTION)?),
                    Err(_) => (nvsp::FAIL, 0),
                };
                answer(&[status, section], nvsp::SEND_SEND_BUFFER_COMPLETE);
                result.context("send buffer")
            }
            nvsp::REVOKE_RECEIVE_BUFFER => {
                let id: u16 = body(&packet.payload)?;
                let receive = state.receive.take();
                ensure!(
                    receive.as_ref().is_some_and(|b| b.id == id),
                    "receive buffer {id:#x} revoked, which is none"
                );
                Ok(())
            }
            nvsp::REVOKE_SEND_BUFFER => {
                let id: u16 = body(&packet.payload)?;
                let send = state.send.take();
                ensure!(
                    send.as_ref().is_some_and(|b| b.id == id),
                    "send buffer {id:#x} revoked, which is none"
                );
                Ok(())
            }
            nvsp::SUB_CHANNEL => {
                answer(&[nvsp::FAIL, 0], nvsp::SUB_CHANNEL);
                bail!("a request for sub-channels of a card that reported a single queue")
            }
            nvsp::SEND_RNDIS_PACKET => {
                let result = self.rndis_packet(&mut state, channel, packet);
                let status = match &result {
                    Ok(_) => nvsp::SUCCESS,
                    Err(_) => nvsp::INVALID_RNDIS_PACKET,
                };
                // The guest may use its memory again before the answers to what was in it arrive.
                answer(&[status], nvsp::SEND_RNDIS_PACKET_COMPLETE);
                for (channel_type, message) in result? {
                    self.deliver(&mut state, channel_type, message);
                }
                Ok(())
            }
            other => {
                if has_completion {
                    channel.complete(packet.transaction, &[]);
                }
                bail!("NVSP message {other} is not one that the host takes")
            }
        }
    }

    fn init(&self, state: &mut State, init: Init) -> (u32, u32, Result<()>) {
        let (min, max) = (init.min_protocol_ver, init.max_protocol_ver);
        let chosen = nvsp::VERSIONS
            .iter()
            .map(|v| v.0)
            .filter(|v| (min..=max).contains(v) && *v <= self.spec.version)
            .max();
        if state.step != Step::Closed {
            let late = Err(anyhow::anyhow!("INIT at step {:?}", state.step));
            return (state.version, nvsp::FAIL, late);
        }
        match chosen {
            Some(version) => {
                state.version = version;
                // Version 1 has no configuration to wait for.
                state.step = if version < nvsp::VERSION_2 {
                    Step::Configured
                } else {
                    Step::Versioned
                };
                (version, nvsp::SUCCESS, Ok(()))
            }
            None => (self.spec.version, nvsp::UNSUPPORTED, Ok(())),
        }
    }

    fn configure(&self, state: &mut State, config: NdisConfig) -> Result<()> {
        ensure!(
            state.step == Step::Versioned,
            "SEND_NDIS_CONFIG at step {:?}",
            state.step
        );
        let mtu = { config.mtu };
        ensure!(FRAMES.contains(&mtu), "SEND_NDIS_CONFIG of an MTU of {mtu}");
        state.frame = usize::try_from(mtu)?;
        state.peer = Some(self.new_peer(state.frame));
        state.step = Step::Configured;
        Ok(())
    }

    fn new_peer(&self, frame: usize) -> Peer {
        let mac = EthernetAddress([0x00, 0x15, 0x5D, 0xFF, 0xFF, self.index]);
        Peer::new(mac, self.spec.peer, frame)
    }

    fn ndis_version(state: &mut State, version: NdisVersion) -> Result<()> {
        ensure!(
            state.step == Step::Configured,
            "SEND_NDIS_VER at step {:?}",
            state.step
        );
        let version = ({ version.ndis_major_ver }, { version.ndis_minor_ver });
        ensure!(
            matches!(version, (6, 1) | (6, 30)),
            "NDIS version {}.{}",
            version.0,
            version.1
        );
        state.step = Step::Ready;
        Ok(())
    }

    fn borrow(channel: &Arc<Channel>, buffer: Buffer) -> Result<Loan> {
        let server = channel.server.upgrade().context("the bus is gone")?;
        server.lend_gpadl(channel.relid, buffer.gpadl_handle)
    }

    /// Takes the receive buffer. Returns size and number of its sections.
    fn receive_buffer(
        &self,
        state: &mut State,
        channel: &Arc<Channel>,
        buffer: Buffer,
    ) -> Result<(usize, usize)> {
        ensure!(
            state.step == Step::Ready,
            "it came at step {:?}",
            state.step
        );
        ensure!(state.receive.is_none(), "there is one already");
        let loan = Self::borrow(channel, buffer)?;
        let section = (state.frame + RECEIVE_EXTRA).next_multiple_of(16);
        let count = loan.pages.len() / section;
        ensure!(count > 0, "{} bytes are too few", loan.pages.len());
        state.receive = Some(ReceiveBuffer {
            loan,
            id: buffer.id,
            section,
            free: (0..count).collect(),
            in_flight: BTreeMap::new(),
            next_transaction: 1,
        });
        Ok((section, count))
    }

    fn send_buffer(&self, state: &mut State, channel: &Arc<Channel>, buffer: Buffer) -> Result<()> {
        ensure!(
            state.step == Step::Ready,
            "it came at step {:?}",
            state.step
        );
        ensure!(state.send.is_none(), "there is one already");
        let loan = Self::borrow(channel, buffer)?;
        ensure!(
            loan.pages.len() >= SEND_SECTION,
            "{} bytes are too few",
            loan.pages.len()
        );
        state.send = Some(SendBuffer {
            loan,
            id: buffer.id,
        });
        Ok(())
    }

    /// The bytes of an RNDIS packet, from the send buffer, from the guest's memory, or from both in this order.
    fn gather(
        &self,
        state: &mut State,
        channel: &Channel,
        packet: &Packet,
    ) -> Result<(u32, Vec<u8>)> {
        let rndis: RndisPacket = body(&packet.payload)?;
        let (index, size) = (
            { rndis.send_buf_section_index },
            usize::try_from(rndis.send_buf_section_size)?,
        );
        let mut bytes = Vec::new();
        if index == nvsp::NO_SECTION {
            ensure!(size == 0, "{size} bytes of no section");
        } else {
            let send = state
                .send
                .as_ref()
                .context("a section without a send buffer")?;
            let count = send.loan.pages.len() / SEND_SECTION;
            let index = usize::try_from(index)?;
            ensure!(index < count, "section {index} of {count}");
            ensure!(
                (1..=SEND_SECTION).contains(&size),
                "{size} bytes in a section"
            );
            bytes.resize(size, 0);
            send.loan.pages.read(index * SEND_SECTION, &mut bytes)?;
            state.counts.by_section += 1;
        }
        let buffer = DataBuffer::of(packet)?;
        if buffer.len() > 0 {
            bytes.extend(buffer.read(&channel.context.memory, buffer.len())?);
            state.counts.by_pages += 1;
        }
        Ok((rndis.channel_type, bytes))
    }

    /// Takes an RNDIS packet. Returns the messages that answer it.
    fn rndis_packet(
        &self,
        state: &mut State,
        channel: &Channel,
        packet: &Packet,
    ) -> Result<Vec<(u32, Vec<u8>)>> {
        ensure!(
            state.receive.is_some(),
            "an RNDIS packet without a receive buffer"
        );
        let (channel_type, bytes) = self.gather(state, channel, packet)?;
        let mut answers = Vec::new();
        for (type_, body) in rndis::messages(&bytes)? {
            let wanted = if type_ == rndis::PACKET {
                nvsp::CHANNEL_DATA
            } else {
                nvsp::CHANNEL_CONTROL
            };
            ensure!(
                channel_type == wanted,
                "RNDIS message {type_} on RNDIS channel {channel_type}"
            );
            if type_ == rndis::PACKET {
                let frames = self.frame_from_guest(state, body)?;
                answers.extend(frames.into_iter().map(|f| (wanted, rndis::packet(&f))));
            } else {
                let message = self.control(state, type_, body)?;
                answers.extend(message.map(|m| (wanted, m)));
            }
        }
        Ok(answers)
    }
}

/// Words as they lie in memory.
fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_le_bytes()).collect()
}

impl Device for Nic {
    fn opened(&self, channel: &Arc<Channel>) {
        let mut state = self.state();
        let up = state.up;
        let counts = std::mem::take(&mut state.counts);
        *state = State {
            channel: Some(channel.clone()),
            frame: DEFAULT_FRAME,
            peer: Some(self.new_peer(DEFAULT_FRAME)),
            mac: self.permanent,
            up,
            counts,
            ..State::default()
        };
    }

    fn packet(&self, channel: &Arc<Channel>, packet: Packet) -> Result<()> {
        self.handle(channel, &packet)
    }

    fn closed(&self, _channel: &Arc<Channel>) {
        let mut state = self.state();
        state.channel = None;
        state.step = Step::Closed;
        state.initialised = false;
        state.filter = 0;
        // Gives the guest its memory back.
        state.receive = None;
        state.send = None;
        state.waiting.clear();
    }
}
