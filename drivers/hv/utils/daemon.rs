// SPDX-License-Identifier: GPL-2.0

//! Services that a daemon answers, through a character device.
//!
//! [`Transaction`] makes all decisions. This file moves messages between channel and character device, under one mutex: the
//! channel's interrupt only queues work, so everything runs in process context.

use crate::simple::{
    open_params,
    ChannelSlot,
    NEGOTIATIONS, //
};
use kernel::{
    new_mutex,
    new_poll_condvar,
    prelude::*,
    sync::{
        poll::PollCondVar,
        rcu,
        Arc,
        Mutex, //
    }, //
};
use rlis_hv::{
    chardev,
    time,
    work::{
        Task,
        Worker, //
    },
    RateLimit, //
};
use rlis_proto::{
    ic::{
        self,
        transaction::{
            DaemonError,
            Output,
            Outputs,
            Profile,
            ToDaemon,
            Transaction, //
        },
        Action,
        Guest,
        Status, //
    },
    ProtoError, //
};
use rlis_vmbus::{
    Bound,
    CallbackMode,
    Channel,
    ChannelHandler,
    Device,
    OpenChannel,
    PacketType,
    PinnedChannel, //
};

mod device;

/// Packets that are handled before the work item yields.
const BUDGET: u32 = 64;

/// What to do with a request from the host.
pub(crate) enum Request {
    /// Pass it to the daemon: operation and length of the message.
    Daemon(u32, usize),
    /// Reply with this status; the rest of the reply is in the packet.
    Answered(Status),
}

/// What a daemon wrote.
pub(crate) enum Written {
    /// A registration with this code.
    Register(u32),
    /// The answer to the request.
    Answer(Status),
}

/// What differs between the services.
pub(crate) trait Protocol: Send + Sync + Sized + 'static {
    /// Framing and versions.
    const SERVICE: &'static ic::Service;
    /// Time-outs and registrations.
    const PROFILE: &'static Profile;
    /// Name of the character device.
    const DEVICE_NAME: &'static CStr;
    /// Size of the longest message to the daemon, in bytes.
    const MAX_TO_DAEMON: usize;
    /// Size of the longest message from the daemon, in bytes.
    const MAX_FROM_DAEMON: usize;

    /// Checks the request in `body`, and converts it into the daemon's message in `out`, [`Self::MAX_TO_DAEMON`] bytes.
    ///
    /// # Errors
    ///
    /// Any; the host gets `HV_E_FAIL`.
    fn request(body: &mut [u8], legacy: bool, out: &mut [u8]) -> Result<Request, ProtoError>;

    /// Writes the answer to a registration into `out`, and returns its length.
    ///
    /// # Errors
    ///
    /// `NoRoom` if `out` is too small.
    fn handshake(code: u32, out: &mut [u8]) -> Result<usize, ProtoError>;

    /// Writes the message for an operation that the host did not ask for into `out`, and returns its length.
    ///
    /// # Errors
    ///
    /// Any, if the service has no such operation.
    fn internal(op: u32, out: &mut [u8]) -> Result<usize, ProtoError>;

    /// Checks what a daemon wrote, up to one byte more than [`Self::MAX_FROM_DAEMON`].
    ///
    /// # Errors
    ///
    /// Any; the daemon gets `EINVAL`.
    fn written(bytes: &[u8], registering: bool, legacy: bool) -> Result<Written, ProtoError>;

    /// How long the host may keep file systems frozen, in seconds; 0 for no limit.
    fn freeze_limit() -> u32 {
        0
    }

    /// Turns `body` of the request into that of the reply, and returns the status.
    fn complete(body: &mut [u8], op: u32, status: Status, answer: &[u8]) -> Status;
}

/// A request from the host that has no reply yet.
struct Pending {
    /// Length of the packet.
    len: usize,
    transaction_id: u64,
    op: u32,
}

struct State {
    machine: Transaction,
    guest: Guest,
    /// Where replies go; `None` while the channel is closed.
    channel: Option<Arc<Channel>>,
    /// A packet from the host, turned into the reply in place; [`ic::MAX_PACKET`] bytes.
    packet: KVec<u8>,
    pending: Option<Pending>,
    /// The next message for the daemon, of `outbox_len` bytes; none if that is 0.
    outbox: KVec<u8>,
    outbox_len: usize,
    /// Incremented with each message in the outbox.
    outbox_id: u64,
    /// A request for the daemon that is not in the outbox yet.
    draft: KVec<u8>,
    draft_len: usize,
    /// What the daemon wrote last.
    inbox: KVec<u8>,
    inbox_len: usize,
    inbox_status: Status,
    /// The transaction's timer, and when it expires, in milliseconds of uptime.
    timer: Option<(u32, u64)>,
    /// When the transaction's watchdog expires.
    watchdog: Option<u64>,
    /// The device is gone; files may still be open.
    gone: bool,
}

impl State {
    /// A new message of this length is in the outbox.
    fn queued(&mut self, len: usize) {
        self.outbox_len = len;
        self.outbox_id = self.outbox_id.wrapping_add(1);
    }

    /// When the earlier of the two timers expires.
    fn next_expiry(&self) -> Option<u64> {
        let first = self.timer.map(|(_, at)| at);
        [first, self.watchdog].into_iter().flatten().min()
    }
}

/// The uptime this many seconds from now, in milliseconds.
fn uptime_in(seconds: u32) -> u64 {
    time::uptime_ms().saturating_add(u64::from(seconds).saturating_mul(1000))
}

/// What the work item of a service works on.
#[pin_data]
pub(crate) struct Core<P: Protocol> {
    #[pin]
    state: Mutex<State>,
    /// Signalled when `outbox_len` or `gone` change.
    #[pin]
    readers: PollCondVar,
    _protocol: core::marker::PhantomData<P>,
}

/// Limits all log lines that the host or a daemon can provoke.
static LIMIT: RateLimit = RateLimit::new();

impl<P: Protocol> Core<P> {
    /// Sends `packet`.
    fn send(state: &State, len: usize, transaction_id: u64) {
        let (Some(channel), Some(packet)) = (&state.channel, state.packet.get(..len)) else {
            return;
        };
        if let Err(error) = channel.send(PacketType::DATA_INBAND, packet, transaction_id, false) {
            LIMIT.run(|_| pr_err!("{} IC: cannot answer: {:?}\n", P::SERVICE.name, error));
        }
    }

    /// Answers the pending request.
    fn reply(state: &mut State, status: Status) {
        let Some(pending) = state.pending.take() else {
            return;
        };
        if let Some(packet) = state.packet.get_mut(..pending.len) {
            // Cannot fail: a packet without headers never becomes a pending request.
            let _ = ic::finish(packet, status);
        }
        Self::send(state, pending.len, pending.transaction_id);
    }

    /// Puts a message of the length that `write` returns into the outbox.
    fn put(
        this: &Worker<Self>,
        state: &mut State,
        write: impl FnOnce(&mut [u8]) -> Result<usize, ProtoError>,
    ) {
        match write(&mut state.outbox) {
            Ok(len) => {
                state.queued(len);
                this.readers.notify_all();
            }
            Err(error) => pr_err!(
                "{} IC: no message for the daemon: {}\n",
                P::SERVICE.name,
                format_args!("{}", error)
            ),
        }
    }

    /// Carries out what the transaction has decided.
    fn carry_out(this: &Worker<Self>, state: &mut State, outputs: Outputs) {
        for output in outputs {
            match output {
                Output::Queue(ToDaemon::Request) => {
                    core::mem::swap(&mut state.outbox, &mut state.draft);
                    let len = state.draft_len;
                    state.queued(len);
                    this.readers.notify_all();
                }
                Output::Queue(ToDaemon::Handshake(code)) => {
                    Self::put(this, state, |out| P::handshake(code, out));
                }
                Output::Queue(ToDaemon::Internal(op)) => {
                    Self::put(this, state, |out| P::internal(op, out));
                }
                Output::Unqueue => state.outbox_len = 0,
                Output::Reply(status) => Self::reply(state, status),
                Output::ReplyFromDaemon => {
                    let Some(pending) = &state.pending else {
                        continue;
                    };
                    let op = pending.op;
                    let body = state.packet.get_mut(..pending.len).unwrap_or_default();
                    let answer = state.inbox.get(..state.inbox_len).unwrap_or_default();
                    let status = P::complete(ic::body_mut(body), op, state.inbox_status, answer);
                    Self::reply(state, status);
                }
                Output::ArmTimer { id, seconds } => {
                    state.timer = Some((id, uptime_in(seconds)));
                    Self::program_timer(this, state);
                }
                Output::CancelTimer => {
                    state.timer = None;
                    Self::program_timer(this, state);
                }
                Output::ArmWatchdog { seconds } => {
                    state.watchdog = Some(uptime_in(seconds));
                    Self::program_timer(this, state);
                }
                Output::CancelWatchdog => {
                    state.watchdog = None;
                    Self::program_timer(this, state);
                }
                Output::Poll => this.queue(),
            }
        }
    }

    /// Sets the worker's timer to the earlier of the two timers.
    fn program_timer(this: &Worker<Self>, state: &State) {
        match state.next_expiry() {
            Some(at) => {
                let left = at.saturating_sub(time::uptime_ms());
                this.set_timer(u32::try_from(left).unwrap_or(u32::MAX));
            }
            None => this.clear_timer(),
        }
    }

    /// Reads a packet from the ring into `packet`; returns its length and transaction id.
    fn receive(state: &mut State) -> Option<(usize, u64)> {
        let channel = state.channel.clone()?;
        let guard = rcu::read_lock();
        let mut reader = channel.pin(&guard)?.try_reader()?;
        loop {
            let packet = reader.next_packet()?;
            let payload = packet.payload();
            if let Some(to) = state.packet.get_mut(..payload.len()) {
                to.copy_from_slice(payload);
                return Some((payload.len(), packet.transaction_id()));
            }
        }
    }

    /// Handles the packet from the host in `packet`.
    fn handle(this: &Worker<Self>, state: &mut State, len: usize, transaction_id: u64) {
        let name = P::SERVICE.name;
        let packet = state.packet.get_mut(..len).unwrap_or_default();
        match state.guest.receive(packet) {
            Ok(Action::Request) => {
                let legacy = state.machine.is_legacy();
                let request = P::request(ic::body_mut(packet), legacy, &mut state.draft);
                let (status, op) = match request {
                    Ok(Request::Answered(status)) => (status, None),
                    Ok(Request::Daemon(op, draft_len)) => {
                        state.draft_len = draft_len;
                        (Status::HV_S_OK, Some(op))
                    }
                    Err(error) => {
                        LIMIT.run(|_| {
                            pr_err!("{} IC: bad request: {}\n", name, format_args!("{}", error));
                        });
                        (Status::HV_E_FAIL, None)
                    }
                };
                state.pending = Some(Pending {
                    len,
                    transaction_id,
                    op: op.unwrap_or(0),
                });
                if let Some(op) = op {
                    let outputs = state.machine.host_request(op);
                    Self::carry_out(this, state, outputs);
                } else {
                    Self::reply(state, status);
                }
            }
            Ok(action) => {
                match action {
                    Action::Negotiated(Some(versions)) => NEGOTIATIONS.run(|_| {
                        pr_info!(
                            "{} IC version {}\n",
                            name,
                            format_args!("{}", versions.message)
                        );
                    }),
                    Action::Negotiated(None) => {
                        LIMIT.run(|_| pr_warn!("{} IC: no common version with the host\n", name));
                    }
                    _ => LIMIT.run(|_| pr_err!("{} IC: message of another service\n", name)),
                }
                Self::send(state, len, transaction_id);
            }
            Err(error) => LIMIT.run(|_| {
                pr_err!("{} IC: bad request: {}\n", name, format_args!("{}", error));
            }),
        }
    }
}

impl<P: Protocol> Task for Core<P> {
    /// Reads packets from the ring, as long as the transaction wants any.
    fn run(this: &Worker<Self>) {
        let mut state = this.state.lock();
        for _ in 0..BUDGET {
            if !state.machine.wants_packet() {
                return;
            }
            let Some((len, transaction_id)) = Self::receive(&mut state) else {
                return;
            };
            Self::handle(this, &mut state, len, transaction_id);
        }
        this.queue();
    }

    /// Handles the timers that have expired. There may be none, if one was cancelled too late for the worker's timer.
    fn expired(this: &Worker<Self>) {
        let mut state = this.state.lock();
        let now = time::uptime_ms();
        if let Some((id, _)) = state.timer.filter(|&(_, at)| at <= now) {
            LIMIT.run(|_| {
                if state.machine.host_operation().is_some() {
                    pr_warn!(
                        "{} IC: no answer from the daemon in time\n",
                        P::SERVICE.name
                    );
                }
            });
            state.timer = None;
            let outputs = state.machine.timeout(id);
            Self::carry_out(this, &mut state, outputs);
        }
        if state.watchdog.is_some_and(|at| at <= now) {
            LIMIT.run(|_| {
                pr_warn!(
                    "{} IC: the host has not thawed the file systems; they are thawed without it\n",
                    P::SERVICE.name
                );
            });
            state.watchdog = None;
            let outputs = state.machine.freeze_expired();
            Self::carry_out(this, &mut state, outputs);
        }
        Self::program_timer(this, &state);
    }
}

/// State shared by the channel and open files.
#[pin_data]
pub(crate) struct Shared<P: Protocol> {
    #[pin]
    worker: Worker<Core<P>>,
}

impl<P: Protocol> ChannelHandler for Shared<P> {
    fn on_interrupt(&self, _channel: &PinnedChannel<'_>) {
        self.worker.queue();
    }
}

impl<P: Protocol> Shared<P> {
    /// Calls `f` and carries out what the transaction decides in it.
    fn with(&self, f: impl FnOnce(&mut State) -> Outputs) {
        let mut state = self.worker.state.lock();
        let outputs = f(&mut state);
        Core::carry_out(&self.worker, &mut state, outputs);
    }
}

/// A running service. Dropping it removes the device and closes the channel. Files that are still open get `EBADF` from then
/// on, but can first read a pending message that thaws file systems.
pub(crate) struct DaemonService<P: Protocol> {
    // Dropped in this order: no new files, then no more packets.
    device: Option<Pin<KBox<chardev::Registration<Shared<P>>>>>,
    channel: ChannelSlot<Shared<P>>,
    shared: Arc<Shared<P>>,
}

impl<P: Protocol> DaemonService<P> {
    /// Opens the channel and registers the character device.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, those of [`OpenChannel::open`] and of [`chardev::Registration::new`].
    pub(crate) fn new(dev: &Device<Bound>) -> Result<Self> {
        let buffer = |len| KVec::from_elem(0, len, GFP_KERNEL);
        let state = State {
            machine: Transaction::new(P::PROFILE),
            guest: Guest::new(P::SERVICE),
            channel: None,
            packet: buffer(ic::MAX_PACKET)?,
            pending: None,
            outbox: buffer(P::MAX_TO_DAEMON)?,
            outbox_len: 0,
            outbox_id: 0,
            draft: buffer(P::MAX_TO_DAEMON)?,
            draft_len: 0,
            inbox: buffer(P::MAX_FROM_DAEMON + 1)?,
            inbox_len: 0,
            inbox_status: Status::HV_S_OK,
            timer: None,
            watchdog: None,
            gone: false,
        };
        let core = try_pin_init!(Core::<P> {
            state <- new_mutex!(state),
            readers <- new_poll_condvar!(),
            _protocol: core::marker::PhantomData,
        }? Error);
        let shared = Arc::pin_init(
            try_pin_init!(Shared {
                worker <- Worker::new(kernel::workqueue::system_long(), core),
            }? Error),
            GFP_KERNEL,
        )?;
        let mut this = Self {
            device: None,
            channel: KBox::pin_init(new_mutex!(None), GFP_KERNEL)?,
            shared: shared.clone(),
        };
        this.open(dev)?;
        this.device = Some(KBox::pin_init(
            chardev::Registration::new(P::DEVICE_NAME, shared),
            GFP_KERNEL,
        )?);
        Ok(this)
    }

    fn open(&self, dev: &Device<Bound>) -> Result {
        let params = open_params(CallbackMode::Isr);
        let channel = OpenChannel::open(dev, &params, self.shared.clone())?;
        let handle = channel.channel().clone();
        *self.channel.lock() = Some(channel);
        self.shared.worker.state.lock().channel = Some(handle);
        // The interrupt handler may have queued the work before `state.channel` was set, which then did nothing.
        self.shared.worker.queue();
        Ok(())
    }

    /// Closes the channel for hibernation. If file systems are frozen, the daemon will find a message that thaws them when
    /// it is thawed itself.
    pub(crate) fn suspend(&self) {
        self.shared.with(|state| {
            state.channel = None;
            state.pending = None;
            state.machine.suspend()
        });
        let channel = self.channel.lock().take();
        drop(channel);
    }

    /// Opens the channel again.
    ///
    /// # Errors
    ///
    /// Those of [`OpenChannel::open`].
    pub(crate) fn resume(&self, dev: &Device<Bound>) -> Result {
        self.open(dev)?;
        self.shared.with(|state| state.machine.resume());
        Ok(())
    }
}

impl<P: Protocol> Drop for DaemonService<P> {
    fn drop(&mut self) {
        self.device = None;
        self.suspend();
        self.shared.worker.state.lock().gone = true;
        self.shared.worker.readers.notify_all();
        // Open files keep `shared` alive, but no work may run any more.
        self.shared.worker.disable();
    }
}

/// The errno that a refused daemon gets.
fn daemon_errno(error: DaemonError) -> Error {
    match error {
        DaemonError::Busy => EBUSY,
        DaemonError::Unexpected => EINVAL,
        DaemonError::Gone => EBADF,
    }
}
