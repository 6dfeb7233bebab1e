// SPDX-License-Identifier: GPL-2.0

//! What comes through the channel, and what is told by it.
//!
//! The channel's tasklet takes one message out of the ring and leaves the next one there until a thread is through with it.
//! So nothing that the host asks for is lost, however much it asks for at a time, and each request is answered in its turn.

use crate::{
    counters::{
        Counters,
        Doing, //
    },
    hints::Hints,
    hot_add::HotAdd,
    pages::Pages, //
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
    time::Msecs, //
};
use rlis_hv::{
    power,
    time::{
        sleep_ms,
        uptime_ms, //
    },
    work::{
        Task,
        Worker, //
    },
    Completion,
    NoSoftirq,
    RateLimit, //
};
use rlis_proto::{
    balloon::{
        answer_hot_add,
        incoming,
        refused,
        to_balloon,
        Agreed,
        Caps,
        Clipped,
        HotAddRequest,
        Incoming,
        Negotiation,
        NegotiationStep,
        Pace,
        Pressure,
        Ranges,
        Shortfall,
        Status,
        UnballoonResponse,
        MESSAGE_SIZE, //
    },
    ProtoError, //
};
use rlis_vmbus::{
    Channel,
    PacketType,
    Reader, //
};
use zerocopy::IntoBytes;

/// How long the ring may be full while the host is answered, in milliseconds, and how often that is looked at.
const SEND_MS: u64 = 10_000;
const SEND_STEP_MS: u32 = 20;

/// Packets that are looked at in one go. A host that sends more of what is no message has to share the CPU.
const BUDGET: u32 = 64;

/// How often it is looked at whether the host is to be told of the memory, in milliseconds.
pub(crate) const REPORT_STEP_MS: Msecs = 1_000;

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
    hot_add: HotAdd,
    /// The machine may hibernate, and does not with pages of the host.
    hibernates: bool,
}

/// Limits what the host can provoke.
static LIMIT: RateLimit = RateLimit::new();

/// What serves the host.
#[pin_data]
pub(crate) struct Session {
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
    counters: Arc<Counters>,
    hints: Arc<Hints>,
}

impl Session {
    /// Makes one without a channel. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(
        hot_add: HotAdd,
        counters: Arc<Counters>,
        hints: Arc<Hints>,
    ) -> Result<impl PinInit<Self, Error>> {
        let buffer = || KVec::from_elem(0, MESSAGE_SIZE, GFP_KERNEL);
        let inbox = Inbox {
            len: 0,
            bytes: buffer()?,
        };
        let state = State {
            phase: Phase::Closed,
            message: buffer()?,
            pages: Pages::new()?,
            hot_add,
            hibernates: power::hibernation_supported(),
        };
        Ok(try_pin_init!(Self {
            inbox <- new_spinlock!(inbox),
            state <- new_mutex!(state),
            channel <- new_mutex!(None),
            pace <- new_mutex!(Pace::new(0, 0)),
            changed <- Completion::new(),
            trans_id: Atomic::new(0),
            counters,
            hints,
        }? Error))
    }

    /// Uses a channel from now on, or none. Sleeps.
    pub(crate) fn set_channel(&self, channel: Option<Arc<Channel>>) {
        self.changed.reinit();
        *self.channel.lock() = channel;
    }

    /// Has the host told of the memory from `delay` seconds on. Sleeps.
    pub(crate) fn set_pace(&self, delay: u32) {
        *self.pace.lock() = Pace::new(uptime_ms(), delay);
    }

    /// Wakes up who waits in [`Self::begin`]. Any context.
    pub(crate) fn wake(&self) {
        self.changed.complete();
    }

    /// Comes to terms with the host, which may take `ms` milliseconds for each answer. Sleeps.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT` if it does not answer, `EPROTO` if it does not agree, `ENODEV` if it takes the device away, and those of
    /// sending.
    pub(crate) fn begin(&self, ms: Msecs) -> Result<Agreed> {
        {
            let mut state = self.state.lock();
            let caps: Caps = state.hot_add.caps();
            let (negotiation, step) = Negotiation::new(caps, self.next_trans_id());
            state.phase = Phase::Beginning(negotiation);
            self.step(&mut state, step);
        }
        loop {
            match &self.state.lock().phase {
                Phase::Agreed(agreed) => return Ok(*agreed),
                Phase::Failed(error) => return Err(*error),
                Phase::Beginning(_) => {}
                Phase::Closed => return Err(ENODEV),
            }
            let channel = self.channel.lock().clone().ok_or(ENODEV)?;
            if channel.is_rescinded() {
                return Err(ENODEV);
            }
            if self.changed.wait_timeout(ms).is_err() {
                if let Phase::Beginning(negotiation) = &mut self.state.lock().phase {
                    let _ = negotiation.timed_out();
                    pr_err!("The host does not answer\n");
                    return Err(ETIMEDOUT);
                }
            }
        }
    }

    /// Forgets what has come, and takes back what is with the host. The channel is closed, and no work runs. Sleeps.
    pub(crate) fn end(&self) {
        {
            let _no_softirq = NoSoftirq::begin();
            self.inbox.lock().len = 0;
        }
        let mut state = self.state.lock();
        state.phase = Phase::Closed;
        state.pages.take_back_all();
        self.counters.set_ballooned(0);
    }

    fn next_trans_id(&self) -> u32 {
        self.trans_id.fetch_add(1u32, Relaxed).wrapping_add(1)
    }

    /// Sends a message, and waits for room in the ring, for a bounded time. Sleeps.
    fn send(&self, message: &[u8]) -> Result {
        let channel = self.channel.lock().clone().ok_or(ENODEV)?;
        let until = uptime_ms().saturating_add(SEND_MS);
        loop {
            match channel.send(PacketType::DATA_INBAND, message, 0, false) {
                Err(EAGAIN) if uptime_ms() < until => sleep_ms(SEND_STEP_MS),
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
        let message = match incoming(message) {
            Ok(message) => message,
            Err(error) => {
                LIMIT.run(|_| pr_warn!("Bad message: {}\n", format_args!("{}", error)));
                let Some(request) = refused(message, error) else {
                    return;
                };
                request
            }
        };
        if let Phase::Beginning(negotiation) = &mut state.phase {
            let step = negotiation.answer(&message, self.next_trans_id());
            return self.step(state, step);
        }
        match message {
            Incoming::Balloon { pages } => self.balloon(state, pages),
            Incoming::Unballoon { ranges, more } => self.unballoon(state, ranges, more),
            Incoming::HotAdd(request) => self.hot_add(state, request),
            Incoming::MaxPages(pages) => {
                self.counters.set_max(pages);
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
        self.counters.set_doing(Doing::Initialized);
    }

    /// Gives the host pages.
    fn balloon(&self, state: &mut State, wanted: u32) {
        self.counters.set_doing(Doing::BalloonUp);
        let mut grant = to_balloon(wanted, &self.counters.memory());
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
        self.counters.set_ballooned(state.pages.count());
        if result.is_err() {
            LIMIT.run(|_| pr_err!("Balloon response failed\n"));
        }
    }

    /// Takes pages back.
    fn unballoon(&self, state: &mut State, ranges: Ranges<'_>, more: bool) {
        self.counters.set_doing(Doing::BalloonDown);
        state.pages.take_back(ranges);
        self.counters.set_ballooned(state.pages.count());
        if !more {
            let answer = UnballoonResponse::new(self.next_trans_id());
            // An error was told.
            let _ = self.send(answer.as_bytes());
        }
    }

    /// Adds memory.
    fn hot_add(&self, state: &mut State, request: Result<HotAddRequest, ProtoError>) {
        self.counters.set_doing(Doing::HotAdd);
        let (pages, shortfall) = if state.hibernates {
            LIMIT.run(|_| pr_info!("Ignore hot-add request!\n"));
            (0, Some(Shortfall::Permanent))
        } else {
            state.hot_add.request(request)
        };
        let answer = answer_hot_add(pages, shortfall, self.next_trans_id());
        // An error was told.
        let _ = self.send(answer.as_bytes());
    }

    /// Takes a message out of the ring, if the thread has taken the one before. In the channel's tasklet.
    pub(crate) fn on_event(this: &Worker<Self>, channel: &Channel, mut reader: Reader<'_>) {
        let mut inbox = this.inbox.lock();
        for _ in 0..BUDGET {
            if inbox.len != 0 {
                // The thread asks for what is left when it has taken this one.
                drop(inbox);
                return this.queue();
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
        this.queue();
        drop(reader);
        // Packets that are no messages may have more behind them. Fails only if the channel is closed.
        let _ = channel.schedule();
    }
}

impl Task for Session {
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

    /// The host may have to be told of the memory, and may have refused hints.
    fn expired(this: &Worker<Self>) {
        this.set_timer(REPORT_STEP_MS);
        this.hints.look();
        if !this.pace.lock().due(uptime_ms()) {
            return;
        }
        let memory = this.counters.memory();
        let pressure = Pressure::of(&memory);
        rlis_mem::trace_status(&memory, &pressure);
        let status = Status::new(pressure, this.next_trans_id());
        let channel = this.channel.lock().clone();
        if let Some(channel) = channel {
            // There is another one in a second.
            let _ = channel.send(PacketType::DATA_INBAND, status.as_bytes(), 0, false);
        }
    }
}
