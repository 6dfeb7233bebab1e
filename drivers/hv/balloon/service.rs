// SPDX-License-Identifier: GPL-2.0

//! The channel, opened, agreed upon and closed.

use crate::{
    counters::{
        Counters,
        Doing, //
    },
    hints::Hints,
    hot_add::HotAdd,
    session::{
        Session,
        REPORT_STEP_MS, //
    },
    settings::PRESSURE_REPORT_DELAY, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
    time::Msecs,
    workqueue, //
};
use rlis_hv::work::Worker;
use rlis_mem::DebugFile;
use rlis_proto::balloon::MESSAGE_SIZE;
use rlis_vmbus::{
    Bound,
    CallbackMode,
    Channel,
    ChannelHandler,
    Device,
    MaxPacket,
    OpenChannel,
    OpenParams,
    Reader,
    RequestIds,
    RingSize, //
};

/// Payload that the rings have room for, as with the C driver.
const RING_PAYLOAD: u32 = 16 * 1024;

/// How long the host may take for each answer of the beginning, in milliseconds.
const ANSWER_MS: Msecs = 5_000;

/// What the channel calls.
pub(crate) struct Endpoint(Arc<Worker<Session>>);

impl ChannelHandler for Endpoint {
    const RESCIND: bool = true;

    fn on_event(&self, channel: &Arc<Channel>, reader: Reader<'_>) {
        Session::on_event(&self.0, channel, reader);
    }

    fn on_rescind(&self, _channel: &Arc<Channel>) {
        // Whoever waits finds no answer.
        self.0.wake();
    }
}

/// Dynamic memory at work. Dropping it closes the channel; then all pages come back.
pub(crate) struct Service {
    channel: Pin<KBox<Mutex<Option<OpenChannel<Endpoint>>>>>,
    session: Arc<Worker<Session>>,
    counters: Arc<Counters>,
    hints: Arc<Hints>,
    // Nothing depends on it.
    _file: Option<DebugFile<Counters>>,
}

impl Service {
    /// Opens the channel and comes to terms with the host. Sleeps.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT` if the host does not answer, `EPROTO` if it does not agree, and those of [`OpenChannel::open`].
    pub(crate) fn new(dev: &Device<Bound>) -> Result<Self> {
        let plug = rlis_mem::current();
        let counters = Arc::new(Counters::new(plug.clone()), GFP_KERNEL)?;
        let hints = Arc::pin_init(Hints::new(), GFP_KERNEL)?;
        let session = Session::new(HotAdd::new(plug), counters.clone(), hints.clone())?;
        let this = Self {
            channel: KBox::pin_init(new_mutex!(None), GFP_KERNEL)?,
            session: Arc::pin_init(Worker::new(workqueue::system_long(), session), GFP_KERNEL)?,
            counters: counters.clone(),
            hints,
            _file: DebugFile::new(c"hv-balloon", counters).ok(),
        };
        this.open(dev)?;
        this.hints.begin();
        Ok(this)
    }

    fn open(&self, dev: &Device<Bound>) -> Result {
        const DESCRIPTOR: u32 = rlis_proto::ring::packet::DESCRIPTOR_SIZE;
        #[allow(clippy::cast_possible_truncation)] // 4096.
        const LONGEST: u32 = MESSAGE_SIZE as u32;

        let session = &self.session;
        let params = OpenParams {
            send_ring: RingSize::for_payload(RING_PAYLOAD),
            recv_ring: RingSize::for_payload(RING_PAYLOAD),
            mode: CallbackMode::Direct,
            // As the C driver: two pages, so that a message of one finds room with what is before it.
            max_packet: MaxPacket::with_payload(2 * LONGEST - DESCRIPTOR),
            request_ids: RequestIds::AsGiven,
            user_data: &[],
        };
        self.counters.set_doing(Doing::Initializing);
        let endpoint = Arc::new(Endpoint(session.clone()), GFP_KERNEL)?;
        let channel = OpenChannel::open(dev, &params, endpoint)
            .inspect_err(|_| self.counters.set_doing(Doing::InitError))?;
        session.set_channel(Some(channel.channel().clone()));
        *self.channel.lock() = Some(channel);
        match session.begin(ANSWER_MS) {
            Ok(agreed) => {
                let version = agreed.version;
                pr_info!(
                    "Using Dynamic Memory protocol version {}.{}\n",
                    version.major(),
                    version.minor()
                );
                self.counters.set_version(version);
                self.counters.set_doing(Doing::Initialized);
                session.set_pace(PRESSURE_REPORT_DELAY.get());
                session.set_timer(REPORT_STEP_MS);
                Ok(())
            }
            Err(error) => {
                self.close();
                Err(error)
            }
        }
    }

    /// Closes the channel, and takes back what is with the host.
    fn close(&self) {
        let session = &self.session;
        let channel = self.channel.lock().take();
        drop(channel);
        session.set_channel(None);
        session.disable();
        session.end();
        session.enable();
        self.counters.set_doing(Doing::InitError);
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
        self.open(dev).inspect_err(|_| self.hints.end())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.hints.end();
        self.close();
    }
}
