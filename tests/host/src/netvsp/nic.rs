// SPDX-License-Identifier: GPL-2.0

//! A network card: what it is made of, and what the host's commands do with it.

#[cfg(test)]
mod channel_tests;
mod control;
#[cfg(test)]
mod leave_tests;
mod outgoing;
mod receive;
mod start;
#[cfg(test)]
mod tests;
mod transmit;
mod vf;
#[cfg(test)]
mod vf_tests;
mod wrong;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use anyhow::{anyhow, ensure, Context, Result};
use rlis_proto::guid::class::HV_NIC_GUID;
use rlis_proto::nvsp::{DataPath, MessageType, ProtocolVersion, Status, VfAssociation};
use rlis_proto::rndis;
use rlis_proto::Guid;
use smoltcp::wire::EthernetAddress;

use super::encode::{nvsp, written};
use super::offload::Enabled;
use super::peer::Peer;
use super::spec::{Mode, NicSpec};
use super::switch::{Port, Switch};
use crate::vmbus::channel::Channel;
use crate::vmbus::gpadl::Loan;
use crate::vmbus::ring::Packet;
use crate::vmbus::{Device, Offer};
use outgoing::Outgoing;
use vf::Vf;

/// Bytes of the longest frame of a guest that has not said otherwise.
const DEFAULT_FRAME: usize = 1514;
/// How often the peer's clock is looked at.
const TICK: Duration = Duration::from_millis(20);
/// Transactions of what the host sends in band and wants completed; OpenVMM's.
const TELL_VF: u64 = 1 << 63;
const TELL_PATH: u64 = TELL_VF + 1;

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
    /// Transactions that the guest has not completed, with their sections and the number of the channel.
    in_flight: BTreeMap<u64, (Vec<usize>, u16)>,
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
    /// Frames after HALT, which Linux sends until its interface is gone, and frames that are longer than the MTU of now,
    /// which it sends if they were queued before it was changed. They go nowhere.
    late: u64,
    too_long: u64,
    checksums: u64,
    large_sends: u64,
    tags: u64,
    coalesced: u64,
    batches: u64,
    on_sub_channels: u64,
    /// Answers to KEEPALIVE.
    alive: u64,
}

/// How the guest wants flows spread.
#[derive(Debug)]
struct Spread {
    kinds: u32,
    key: [u8; rndis::HASH_KEY_SIZE],
    table: Vec<u32>,
}

/// What there is while the guest has the card open.
#[derive(Default)]
struct State {
    /// The channels by their numbers.
    channels: BTreeMap<u16, Arc<Channel>>,
    /// Sub-channels that were granted.
    granted: u32,
    step: Step,
    version: Option<ProtocolVersion>,
    /// What the guest says that it can do.
    capability: u64,
    /// Bytes of the longest frame.
    frame: usize,
    receive: Option<ReceiveBuffer>,
    send: Option<SendBuffer>,
    /// RNDIS is initialised, or was until the guest halted it.
    initialised: bool,
    halted: bool,
    filter: u32,
    enabled: Enabled,
    spread: Option<Spread>,
    path: DataPath,
    vf: Vf,
    mac: EthernetAddress,
    /// Ids of KEEPALIVE that were not answered, and the last one.
    asked: BTreeSet<u32>,
    last_asked: u32,
    /// Messages that wait for sections of the receive buffer.
    waiting: VecDeque<Outgoing>,
    peer: Option<Peer>,
    up: bool,
    speed: u32,
    counts: Counts,
}

/// A network card.
pub struct Nic {
    spec: NicSpec,
    index: u8,
    permanent: EthernetAddress,
    switch: Option<Arc<Switch>>,
    /// For threads that act later.
    this: Weak<Self>,
    state: Mutex<State>,
}

/// What happens to a card by a command.
#[derive(Clone, Debug, PartialEq, Eq, clap::Subcommand)]
pub enum Event {
    /// A virtual function belongs to the card.
    Vf {
        /// Its serial number.
        serial: u32,
    },
    /// The virtual function is taken away.
    NoVf,
    /// The host moves the data path back to the synthetic card.
    Synthetic,
    /// The card is on another network.
    NetworkChange,
    /// The card has another speed.
    Speed {
        /// Megabits in a second.
        megabits: u32,
    },
    /// The host asks for a sign of life.
    Keepalive,
    /// Offloads have changed, with information of a wrong length; nobody acts upon that.
    OffloadConfig,
}

impl Nic {
    /// A card that nobody has opened. `index` tells it from others of the machine.
    pub fn new(spec: NicSpec, index: u8, switch: Option<Arc<Switch>>) -> Arc<Self> {
        let made_up = EthernetAddress([0x00, 0x15, 0x5D, 0, 1, index]);
        let permanent = spec.mac.unwrap_or(made_up);
        let (up, speed) = (spec.up, spec.speed);
        let nic = Arc::new_cyclic(|this| Self {
            spec,
            index,
            permanent,
            switch,
            this: this.clone(),
            state: Mutex::new(State {
                up,
                speed,
                ..State::default()
            }),
        });
        if let Some(switch) = &nic.switch {
            let port: Arc<dyn Port> = nic.clone();
            switch.plug(&port);
        }
        nic
    }

    /// The offer for the bus.
    pub fn offer(self: &Arc<Self>) -> Offer {
        let mut instance = *b"rlis-netcard\0\0\0\0";
        instance[15] = self.index;
        Offer::new(
            self.spec.name.clone(),
            HV_NIC_GUID,
            Guid::from_bytes(instance),
            self.clone(),
        )
    }

    /// Its address from the factory.
    pub fn permanent(&self) -> EthernetAddress {
        self.permanent
    }

    /// The PCI bus with its virtual function.
    pub fn function(&self) -> Option<&str> {
        self.spec.vf.as_deref()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic would leave counters or a frame behind; a test tool goes on.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Plugs the cable in or out. A guest that listens is told.
    pub fn set_link(&self, up: bool) {
        let mut state = self.state();
        if state.up != up {
            state.up = up;
            self.indicate(
                &mut state,
                if up {
                    rndis::Status::RNDIS_STATUS_MEDIA_CONNECT
                } else {
                    rndis::Status::RNDIS_STATUS_MEDIA_DISCONNECT
                },
                &[],
            );
        }
    }

    /// Lets something happen to the card.
    pub fn event(&self, event: Event) -> Result<()> {
        let mut state = self.state();
        // Which function belongs to the card is known to a guest that opens it later.
        let early = matches!(event, Event::Vf { .. } | Event::NoVf);
        ensure!(
            state.channels.contains_key(&0) && state.version.is_some()
                || early && state.vf.is_attached(),
            "the guest has not opened the card"
        );
        if let Event::Vf { .. } | Event::NoVf | Event::Synthetic = event {
            let version = state.version.unwrap_or(ProtocolVersion::V6_1);
            ensure!(
                version >= ProtocolVersion::V4,
                "version {} has no virtual functions",
                version.name().unwrap_or("?")
            );
        }
        match event {
            Event::Vf { serial } => self.associate(&mut state, Some(serial)),
            Event::NoVf => self.associate(&mut state, None),
            Event::Synthetic => self.switch_back(&mut state),
            Event::NetworkChange => {
                let status = rndis::Status::RNDIS_STATUS_NETWORK_CHANGE;
                self.indicate(&mut state, status, &[]);
            }
            Event::Speed { megabits } => {
                state.speed = megabits;
                let units = megabits.saturating_mul(10_000).to_le_bytes();
                let status = rndis::Status::RNDIS_STATUS_LINK_SPEED_CHANGE;
                self.indicate(&mut state, status, &units);
            }
            Event::Keepalive => {
                ensure!(state.initialised, "RNDIS is not initialised");
                state.last_asked = state.last_asked.wrapping_add(1);
                let id = state.last_asked;
                state.asked.insert(id);
                let message = [8, 12, id].map(u32::to_le_bytes).concat();
                self.deliver_control(&mut state, message);
            }
            Event::OffloadConfig => {
                let status = rndis::Status::RNDIS_STATUS_TASK_OFFLOAD_CURRENT_CONFIG;
                self.indicate(&mut state, status, &[1; 7]);
            }
        }
        Ok(())
    }

    fn indicate(&self, state: &mut State, status: rndis::Status, more: &[u8]) {
        if state.initialised {
            let message = written(|out| rndis::indicate(out, status, more));
            self.deliver_control(state, message);
        }
    }

    /// The card as a line.
    pub fn describe(&self) -> String {
        let state = self.state();
        let stream = state.peer.as_ref().and_then(Peer::stream);
        let stream = stream.map_or("none".into(), ToString::to_string);
        let version = state.version.and_then(ProtocolVersion::name);
        let counts = &state.counts;
        let held = state.receive.as_ref();
        let held = held.map_or(0, |r| {
            r.in_flight.values().map(|(s, _)| s.len()).sum::<usize>()
        });
        let path = match state.path {
            DataPath::NVSP_DATAPATH_VF => "vf",
            _ => "synthetic",
        };
        format!(
            "{} mac={} peer={} link={} version={} frame={} filter={:#x} sent={} sent_bytes={} received={} \
             received_bytes={} dropped={} by_section={} by_pages={} refused_by_guest={} late={} too_long={} channels={} held={held} \
             waiting={} path={path} capability={:#x} checksums={} large_sends={} tags={} coalesced={} batches={} \
             on_sub_channels={} alive={} spread={} discarded={} stream={stream} address={} {}",
            self.spec.name,
            self.permanent.to_string().replace('-', ":"),
            self.spec.peer,
            if state.up { "up" } else { "down" },
            version.unwrap_or("none"),
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
            counts.late,
            counts.too_long,
            state.channels.len(),
            state.waiting.len(),
            state.capability,
            counts.checksums,
            counts.large_sends,
            counts.tags,
            counts.coalesced,
            counts.batches,
            counts.on_sub_channels,
            counts.alive,
            state.spread.as_ref().map_or(0, |s| s.table.len()),
            state.peer.as_ref().map_or(0, Peer::discarded),
            state.mac.to_string().replace('-', ":"),
            state.vf.describe(),
        )
    }

    fn new_peer(&self, frame: usize) -> Option<Peer> {
        let mac = EthernetAddress([0x00, 0x15, 0x5D, 0xFF, 0xFF, self.index]);
        let alone = self.switch.is_none();
        alone.then(|| Peer::new(mac, self.spec.peer, frame))
    }

    /// Hands frames of the guest to what is at the other end of the cable. The state must not be locked.
    fn to_network(&self, frames: Vec<Vec<u8>>) {
        if let Some(switch) = &self.switch {
            switch.send(&self.spec.name, &frames);
            return;
        }
        let mut state = self.state();
        let Some(peer) = state.peer.as_mut() else {
            return;
        };
        let back = frames.into_iter().flat_map(|f| peer.exchange(f)).collect();
        self.deliver_frames(&mut state, back);
    }

    /// Looks after the peer for as long as the guest has the channel open.
    fn tick(this: &Weak<Self>, channel: &Channel) {
        while !channel.is_stopped() {
            thread::sleep(TICK);
            let Some(nic) = this.upgrade() else { return };
            let mut state = nic.state();
            let frames = state.peer.as_mut().map(Peer::poll).unwrap_or_default();
            if !frames.is_empty() {
                nic.deliver_frames(&mut state, frames);
            }
        }
    }
}

impl Port for Nic {
    fn name(&self) -> &str {
        &self.spec.name
    }

    fn deliver(&self, frames: Vec<Vec<u8>>) {
        let mut state = self.state();
        self.deliver_frames(&mut state, frames);
    }
}

impl Device for Nic {
    fn opened(&self, channel: &Arc<Channel>) {
        let mut state = self.state();
        if channel.sub_index != 0 {
            state.channels.insert(channel.sub_index, channel.clone());
            self.tell_send_table(&state);
            return;
        }
        let (up, speed) = (state.up, state.speed);
        let counts = std::mem::take(&mut state.counts);
        let vf = state.vf.kept();
        *state = State {
            channels: BTreeMap::from([(0, channel.clone())]),
            frame: DEFAULT_FRAME,
            peer: self.new_peer(DEFAULT_FRAME),
            mac: self.permanent,
            up,
            speed,
            counts,
            vf,
            ..State::default()
        };
        drop(state);
        if self.switch.is_none() {
            let (this, channel) = (self.this.clone(), channel.clone());
            let name = format!("{}.clock", self.spec.name);
            let clock = thread::Builder::new().name(name);
            if let Err(error) = clock.spawn(move || Self::tick(&this, &channel)) {
                eprintln!("rlis-host: {}: {error}", self.spec.name);
            }
        }
    }

    fn packet(&self, channel: &Arc<Channel>, packet: Packet) -> Result<()> {
        self.handle(channel, &packet)
    }

    /// HALT and the REVOKEs come just before the channel is closed.
    fn reads_to_the_end(&self) -> bool {
        true
    }

    fn closed(&self, channel: &Arc<Channel>) {
        let mut state = self.state();
        state.channels.remove(&channel.sub_index);
        if channel.sub_index != 0 {
            return;
        }
        if state.initialised && channel.was_left() {
            channel.record(Err(anyhow!("closed without HALT")));
        }
        state.step = Step::Closed;
        state.initialised = false;
        state.filter = 0;
        state.path = DataPath::default();
        // Gives the guest its memory back.
        state.receive = None;
        state.send = None;
        state.waiting.clear();
        state.peer = None;
    }
}
