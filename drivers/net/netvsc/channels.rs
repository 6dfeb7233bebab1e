// SPDX-License-Identifier: GPL-2.0

//! All channels of a card: the one that it has from the beginning, and those that the host offers on request.

use crate::{
    encapsulate::Offloads,
    queue::Queue,
    session::Session,
    settings::{
        ring_size,
        MAX_PACKET, //
    }, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        SetOnce, //
    },
    time::Msecs, //
};
use rlis_hv::Completion;
use rlis_net::Napi;
use rlis_vmbus::{
    CallbackMode,
    Channel,
    ChannelHandler,
    MaxPacket,
    OpenParams,
    PinnedChannel,
    RequestIds,
    SubChannelOffer, //
};

/// How a channel is opened.
pub(crate) fn params() -> OpenParams<'static> {
    OpenParams {
        send_ring: ring_size(),
        recv_ring: ring_size(),
        mode: CallbackMode::Isr,
        max_packet: MaxPacket::with_payload(MAX_PACKET),
        request_ids: RequestIds::AsGiven,
        user_data: &[],
    }
}

/// The channels of a session.
pub(crate) struct Channels {
    pub(crate) session: Arc<Session>,
    queues: KVec<Arc<Queue>>,
    offloads: SetOnce<Offloads>,
    /// Sub-channels whose offers have been answered for, opened or not.
    answered: Atomic<u32>,
    /// They all have been.
    complete: Arc<Completion>,
}

impl Channels {
    /// Makes a place for each channel that the card can have.
    pub(crate) fn new(session: Arc<Session>, napis: &[Arc<Napi<Queue>>]) -> Result<Arc<Self>> {
        let mut queues = KVec::with_capacity(napis.len(), GFP_KERNEL)?;
        for (number, napi) in (0..).zip(napis) {
            queues.push(
                Queue::new(number, session.clone(), napi.clone())?,
                GFP_KERNEL,
            )?;
        }
        let channels = Self {
            session,
            queues,
            offloads: SetOnce::new(),
            answered: Atomic::new(0),
            complete: Arc::pin_init(Completion::new(), GFP_KERNEL)?,
        };
        Ok(Arc::new(channels, GFP_KERNEL)?)
    }

    pub(crate) fn queues(&self) -> &[Arc<Queue>] {
        &self.queues
    }

    #[inline]
    pub(crate) fn queue(&self, number: u16) -> Option<&Queue> {
        self.queues.get(usize::from(number)).map(|queue| &**queue)
    }

    /// The channel that the card has from the beginning, once it is open.
    pub(crate) fn primary(&self) -> Option<&Channel> {
        self.queue(0)?.channel()
    }

    /// Returns whether the host still has the card, so that it may do what it was asked.
    pub(crate) fn is_open(&self) -> bool {
        self.primary()
            .is_some_and(|channel| !channel.is_rescinded())
    }

    /// What the host does with frames, once that is known.
    #[inline]
    pub(crate) fn offloads(&self) -> Option<&Offloads> {
        self.offloads.as_ref()
    }

    pub(crate) fn set_offloads(&self, offloads: Offloads) {
        self.offloads.populate(offloads);
    }

    /// How many channels can be used: those without a gap from the first on.
    pub(crate) fn usable(&self) -> u16 {
        let planned = usize::from(self.session.channels());
        let open = self.queues.iter().take(planned);
        let count = open.take_while(|queue| queue.channel().is_some()).count();
        u16::try_from(count).unwrap_or(1)
    }

    /// Returns whether no more sub-channels are to come.
    pub(crate) fn is_complete(&self) -> bool {
        self.answered.load(Relaxed) + 1 >= u32::from(self.session.channels())
    }

    /// Waits until no more sub-channels are to come, `timeout` milliseconds at most. Sleeps.
    pub(crate) fn wait_for_all(&self, timeout: Msecs) {
        if !self.is_complete() {
            // Those that are late are used when they come.
            let _ = self.complete.wait_timeout(timeout);
        }
    }

    /// Returns whether frames are under way.
    pub(crate) fn is_busy(&self) -> bool {
        self.queues.iter().any(|queue| queue.is_busy())
    }
}

impl ChannelHandler for Channels {
    const SUB_CHANNELS: bool = true;
    const RESCIND: bool = true;

    fn on_interrupt(&self, channel: &PinnedChannel<'_>) {
        if let Some(queue) = self.queue(channel.channel().sub_channel_index()) {
            queue.interrupt(channel);
        }
    }

    fn on_sub_channel(&self, offer: SubChannelOffer<'_>) {
        let (number, port) = (offer.index(), &self.session.port);
        let planned = self.session.channels();
        let queue = self
            .queue(number)
            .filter(|queue| number != 0 && number < planned && queue.channel().is_none());
        let Some(queue) = queue else {
            return port.complain("a channel that was not asked for", &number);
        };
        match offer.open(&params()) {
            Ok(channel) => {
                queue.opened(&channel);
            }
            Err(error) => port.complain("a channel cannot be opened", &error),
        }
        // Offers come one at a time.
        let answered = self.answered.load(Relaxed) + 1;
        self.answered.store(answered, Relaxed);
        if self.is_complete() {
            self.complete.complete_all();
            port.worker.queue();
        }
    }

    fn on_rescind(&self, _channel: &Arc<Channel>) {
        self.session.control.give_up();
    }
}
