// SPDX-License-Identifier: GPL-2.0

//! The channel, and what comes through it.
//!
//! The channel's tasklet takes one message out of the ring and leaves the next one there until a thread is through with it.
//! So nothing that the host asks for is lost, however much it asks for at a time, and each request is answered in its turn.

use crate::{
    pages::Pages,
    PRESSURE_REPORT_DELAY, //
};
use kernel::{
    new_mutex,
    new_spinlock,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex,
        SpinLock, //
    },
    time::Msecs,
    workqueue, //
};
use rlis_hv::{
    power,
    time::uptime_ms,
    work::{
        Task,
        Worker, //
    },
    Completion,
    NoSoftirq,
    RateLimit, //
};
use rlis_proto::balloon::{
    answer_hot_add,
    incoming,
    to_balloon,
    Agreed,
    Caps,
    Clipped,
    Incoming,
    MemoryState,
    Negotiation,
    NegotiationStep,
    Pace,
    Pressure,
    Ranges,
    Shortfall,
    Status,
    UnballoonResponse,
    MESSAGE_SIZE, //
};
use rlis_vmbus::{
    Bound,
    CallbackMode,
    Channel,
    ChannelHandler,
    Device,
    MaxPacket,
    OpenChannel,
    OpenParams,
    PacketType,
    Reader,
    RequestIds,
    RingSize, //
};
use zerocopy::IntoBytes;

/// Payload that the rings have room for, as with the C driver.
const RING_PAYLOAD: u32 = 16 * 1024;

/// How long the host may take for each answer of the beginning, in milliseconds.
const ANSWER_MS: Msecs = 5_000;

/// How long the ring may be full while the host is answered, in milliseconds, and how often that is looked at.
const SEND_MS: u64 = 10_000;
const SEND_STEP_MS: u32 = 20;

/// Packets that are looked at in one go. A host that sends more of what is no message has to share the CPU.
const BUDGET: u32 = 64;

/// How often it is looked at whether the host is to be told of the memory, in milliseconds.
const REPORT_STEP_MS: Msecs = 1_000;

/// Where a channel stands.
enum Phase {
    /// There is none.
    Closed,
    /// The host has to answer.
    Beginning(Negotiation),
    /// All is agreed.
    Agreed(Agreed),
    /// There is no dynamic memory with this host; the error of probe.
    Failed(Error),
}

/// A message that the thread has not taken.
struct Inbox {
    /// Its length; 0 if there is none.
    len: usize,
    /// [`MESSAGE_SIZE`] bytes.
    bytes: KVec<u8>,
}

struct State {
    phase: Phase,
    /// As [`Inbox::bytes`], the message that is being looked at.
    message: KVec<u8>,
    pages: Pages,
    /// The machine may hibernate, and does not with pages of the host.
    hibernates: bool,
}

/// What serves the host.
#[pin_data]
pub(crate) struct Core {
    #[pin]
    inbox: SpinLock<Inbox>,
    #[pin]
    state: Mutex<State>,
    #[pin]
    channel: Mutex<Option<Arc<Channel>>>,
    #[pin]
    pace: Mutex<Pace>,
    /// The phase has changed.
    #[pin]
    changed: Completion,
    /// The number of the last message.
    trans_id: Atomic<u32>,
    /// Pages that are with the host.
    ballooned: Atomic<u64>,
}

impl Core {
    fn new() -> Result<impl PinInit<Self, Error>> {
        let buffer = || KVec::from_elem(0, MESSAGE_SIZE, GFP_KERNEL);
        let inbox = Inbox {
            len: 0,
            bytes: buffer()?,
        };
        let state = State {
            phase: Phase::Closed,
            message: buffer()?,
            pages: Pages::new()?,
            hibernates: power::hibernation_supported(),
        };
        Ok(try_pin_init!(Self {
            inbox <- new_spinlock!(inbox),
            state <- new_mutex!(state),
            channel <- new_mutex!(None),
            pace <- new_mutex!(Pace::new(0, 0)),
            changed <- Completion::new(),
            trans_id: Atomic::new(0),
            ballooned: Atomic::new(0),
        }? Error))
    }

    fn next_trans_id(&self) -> u32 {
        self.trans_id.fetch_add(1u32, Relaxed).wrapping_add(1)
    }

    fn memory(&self) -> MemoryState {
        MemoryState {
            total: rlis_mem::total_pages(),
            available: rlis_mem::available_pages(),
            committed: rlis_mem::committed_pages(),
            ballooned: self.ballooned.load(Relaxed),
            added: 0,
            onlined: 0,
        }
    }

    /// Sends a message, and waits for room in the ring, for a bounded time. Sleeps.
    fn send(&self, message: &[u8]) -> Result {
        static LIMIT: RateLimit = RateLimit::new();

        let channel = self.channel.lock().clone().ok_or(ENODEV)?;
        let until = uptime_ms().saturating_add(SEND_MS);
        loop {
            match channel.send(PacketType::DATA_INBAND, message, 0, false) {
                Err(EAGAIN) if uptime_ms() < until => rlis_hv::time::sleep_ms(SEND_STEP_MS),
                Err(error) => {
                    LIMIT.run(|_| pr_err!("Cannot answer the host: {:?}\n", error));
                    return Err(error);
                }
                Ok(()) => return Ok(()),
            }
        }
    }

    /// Does what comes next in the beginning.
    fn step(&self, state: &mut State, step: NegotiationStep) {
        state.phase = match (step, core::mem::replace(&mut state.phase, Phase::Closed)) {
            (NegotiationStep::Send(request), phase) => match self.send(request.as_bytes()) {
                Ok(()) => phase,
                Err(error) => Phase::Failed(error),
            },
            (NegotiationStep::Done(agreed), _) => Phase::Agreed(agreed),
            (NegotiationStep::Failed(error), _) => {
                pr_err!("{}\n", format_args!("{}", error));
                Phase::Failed(EPROTO)
            }
            (NegotiationStep::Wait, phase) => {
                state.phase = phase;
                return;
            }
        };
        self.changed.complete();
    }

    /// Takes a message of the host. Sleeps.
    fn message(&self, state: &mut State, message: &[u8]) {
        static LIMIT: RateLimit = RateLimit::new();

        let message = match incoming(message) {
            Ok(message) => message,
            Err(error) => {
                LIMIT.run(|_| pr_warn!("Bad message: {}\n", format_args!("{}", error)));
                return;
            }
        };
        if let Phase::Beginning(negotiation) = &mut state.phase {
            let step = negotiation.answer(&message, self.next_trans_id());
            return self.step(state, step);
        }
        match message {
            Incoming::Balloon { pages } => self.balloon(state, pages),
            Incoming::Unballoon { ranges, more } => self.unballoon(state, ranges, more),
            Incoming::HotAdd(_) => {
                LIMIT.run(|_| pr_err!("Memory hot add is not supported\n"));
                let answer = answer_hot_add(0, Some(Shortfall::Permanent), self.next_trans_id());
                // An error was told.
                let _ = self.send(answer.as_bytes());
            }
            Incoming::MaxPages(pages) => {
                LIMIT.run(|_| pr_info!("Max. dynamic memory size: {} MB\n", pages / 256));
            }
            Incoming::UnknownInfo(kind) => {
                LIMIT.run(|_| pr_warn!("Received Unknown type: {}\n", kind.0));
            }
            Incoming::Unknown(kind) => {
                LIMIT.run(|_| pr_warn!("Unhandled message: type: {}\n", kind.0));
            }
            // Nobody has asked.
            Incoming::VersionResponse { .. } | Incoming::CapabilitiesResponse(_) => {}
        }
    }

    /// Gives the host pages.
    fn balloon(&self, state: &mut State, wanted: u32) {
        static LIMIT: RateLimit = RateLimit::new();

        let mut grant = to_balloon(wanted, &self.memory());
        if state.hibernates {
            LIMIT.run(|_| pr_info!("Ignore balloon-up request!\n"));
            grant.pages = 0;
        } else if let Some(why) = grant.clipped {
            let why = match why {
                Clipped::NotEnough => "Not enough memory.",
                Clipped::Floor => "Balloon floor reached.",
            };
            LIMIT.run(|_| pr_info!("Balloon request will be partially fulfilled. {}\n", why));
        }
        let result = state.pages.give(grant.pages, |answer, more| {
            self.send(answer.finish(more, self.next_trans_id()))
        });
        self.ballooned.store(state.pages.count(), Relaxed);
        if result.is_err() {
            LIMIT.run(|_| pr_err!("Balloon response failed\n"));
        }
    }

    /// Takes pages back.
    fn unballoon(&self, state: &mut State, ranges: Ranges<'_>, more: bool) {
        state.pages.take_back(ranges);
        self.ballooned.store(state.pages.count(), Relaxed);
        if !more {
            let answer = UnballoonResponse::new(self.next_trans_id());
            // An error was told.
            let _ = self.send(answer.as_bytes());
        }
    }
}

impl Task for Core {
    /// There is a message.
    fn run(this: &Worker<Self>) {
        let mut state = this.state.lock();
        loop {
            let len = {
                let _no_softirq = NoSoftirq::begin();
                let mut inbox = this.inbox.lock();
                core::mem::swap(&mut inbox.bytes, &mut state.message);
                core::mem::take(&mut inbox.len)
            };
            if len == 0 {
                return;
            }
            // The next one may wait in the ring already.
            if let Some(channel) = &*this.channel.lock() {
                // Fails only if the channel is closed.
                let _ = channel.schedule();
            }
            let message = core::mem::take(&mut state.message);
            if let Some(bytes) = message.get(..len) {
                this.message(&mut state, bytes);
            }
            state.message = message;
        }
    }

    /// The host may have to be told of the memory.
    fn expired(this: &Worker<Self>) {
        this.set_timer(REPORT_STEP_MS);
        if !this.pace.lock().due(uptime_ms()) {
            return;
        }
        let pressure = Pressure::of(&this.memory());
        let status = Status::new(pressure, this.next_trans_id());
        let channel = this.channel.lock().clone();
        if let Some(channel) = channel {
            // There is another one in a second.
            let _ = channel.send(PacketType::DATA_INBAND, status.as_bytes(), 0, false);
        }
    }
}

/// What the channel calls.
pub(crate) struct Endpoint(Arc<Worker<Core>>);

impl ChannelHandler for Endpoint {
    const RESCIND: bool = true;

    fn on_event(&self, channel: &Arc<Channel>, mut reader: Reader<'_>) {
        let mut inbox = self.0.inbox.lock();
        for _ in 0..BUDGET {
            if inbox.len != 0 {
                // The thread asks for what is left when it has taken this one.
                drop(inbox);
                return self.0.queue();
            }
            let Some(packet) = reader.next_packet() else {
                return;
            };
            if packet.packet_type() != PacketType::DATA_INBAND {
                continue;
            }
            let payload = packet.payload();
            let len = payload.len().min(inbox.bytes.len());
            if let Some((to, from)) = inbox.bytes.get_mut(..len).zip(payload.get(..len)) {
                to.copy_from_slice(from);
                inbox.len = len;
            }
        }
        drop(inbox);
        self.0.queue();
        drop(reader);
        // Packets that are no messages may have more behind them. Fails only if the channel is closed.
        let _ = channel.schedule();
    }

    fn on_rescind(&self, _channel: &Arc<Channel>) {
        // Whoever waits finds no answer.
        self.0.changed.complete();
    }
}

/// Dynamic memory at work. Dropping it closes the channel; then all pages come back.
pub(crate) struct Service {
    // First, so that it is closed first.
    channel: Pin<KBox<Mutex<Option<OpenChannel<Endpoint>>>>>,
    core: Arc<Worker<Core>>,
}

impl Service {
    /// Opens the channel and comes to terms with the host. Sleeps.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT` if the host does not answer, `EPROTO` if it does not agree, and those of [`OpenChannel::open`].
    pub(crate) fn new(dev: &Device<Bound>) -> Result<Self> {
        let worker = Worker::new(workqueue::system_long(), Core::new()?);
        let this = Self {
            channel: KBox::pin_init(new_mutex!(None), GFP_KERNEL)?,
            core: Arc::pin_init(worker, GFP_KERNEL)?,
        };
        this.open(dev)?;
        Ok(this)
    }

    fn open(&self, dev: &Device<Bound>) -> Result {
        const DESCRIPTOR: u32 = rlis_proto::ring::packet::DESCRIPTOR_SIZE;
        #[allow(clippy::cast_possible_truncation)] // 4096.
        const LONGEST: u32 = MESSAGE_SIZE as u32;

        let core = &self.core;
        let params = OpenParams {
            send_ring: RingSize::for_payload(RING_PAYLOAD),
            recv_ring: RingSize::for_payload(RING_PAYLOAD),
            mode: CallbackMode::Direct,
            // As the C driver: two pages, so that a message of one finds room with what is before it.
            max_packet: MaxPacket::with_payload(2 * LONGEST - DESCRIPTOR),
            request_ids: RequestIds::AsGiven,
            user_data: &[],
        };
        core.changed.reinit();
        let endpoint = Arc::new(Endpoint(core.clone()), GFP_KERNEL)?;
        let channel = OpenChannel::open(dev, &params, endpoint)?;
        *core.channel.lock() = Some(channel.channel().clone());
        *self.channel.lock() = Some(channel);
        let result = self.begin();
        match result {
            Ok(agreed) => {
                let (version, delay) = (agreed.version, PRESSURE_REPORT_DELAY.get());
                pr_info!(
                    "Using Dynamic Memory protocol version {}.{}\n",
                    version.major(),
                    version.minor()
                );
                *core.pace.lock() = Pace::new(uptime_ms(), delay);
                core.set_timer(REPORT_STEP_MS);
                Ok(())
            }
            Err(error) => {
                self.close();
                Err(error)
            }
        }
    }

    /// Comes to terms with the host.
    fn begin(&self) -> Result<Agreed> {
        let core = &self.core;
        let caps = Caps {
            balloon: true,
            hot_add: false,
            hot_add_alignment: 0,
        };
        let (negotiation, step) = Negotiation::new(caps, core.next_trans_id());
        {
            let mut state = core.state.lock();
            state.phase = Phase::Beginning(negotiation);
            core.step(&mut state, step);
        }
        loop {
            match &core.state.lock().phase {
                Phase::Agreed(agreed) => return Ok(*agreed),
                Phase::Failed(error) => return Err(*error),
                Phase::Beginning(_) => {}
                Phase::Closed => return Err(ENODEV),
            }
            let channel = core.channel.lock().clone().ok_or(ENODEV)?;
            if channel.is_rescinded() {
                return Err(ENODEV);
            }
            if core.changed.wait_timeout(ANSWER_MS).is_err() {
                if let Phase::Beginning(negotiation) = &mut core.state.lock().phase {
                    let _ = negotiation.timed_out();
                    pr_err!("The host does not answer\n");
                    return Err(ETIMEDOUT);
                }
            }
        }
    }

    /// Closes the channel, and takes back what is with the host.
    fn close(&self) {
        let core = &self.core;
        let channel = self.channel.lock().take();
        drop(channel);
        *core.channel.lock() = None;
        core.disable();
        {
            let _no_softirq = NoSoftirq::begin();
            core.inbox.lock().len = 0;
        }
        let mut state = core.state.lock();
        state.phase = Phase::Closed;
        state.pages.take_back_all();
        core.ballooned.store(0, Relaxed);
        drop(state);
        core.enable();
    }

    /// Closes the channel for hibernation.
    pub(crate) fn suspend(&self) {
        self.close();
    }

    /// Opens it again.
    ///
    /// # Errors
    ///
    /// As [`Self::new`].
    pub(crate) fn resume(&self, dev: &Device<Bound>) -> Result {
        self.open(dev)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.close();
    }
}
