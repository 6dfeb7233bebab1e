// SPDX-License-Identifier: GPL-2.0

//! Services that the driver answers by itself, in the channel's tasklet.

use kernel::{
    new_mutex,
    new_spinlock,
    prelude::*,
    sync::{
        Arc,
        Mutex,
        SpinLock, //
    }, //
};
use rlis_hv::RateLimit;
use rlis_proto::{
    ic::{
        self,
        Action,
        Guest,
        Negotiated,
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
    MaxPacket,
    OpenChannel,
    OpenParams,
    PacketType,
    Reader,
    RequestIds,
    RingSize, //
};

/// Holds the open channel of a service; empty during hibernation.
pub(crate) type ChannelSlot<H> = Pin<KBox<Mutex<Option<OpenChannel<H>>>>>;

/// Payload of the rings in bytes, as in the C driver.
const RING_PAYLOAD: u32 = 3 * 4096;

/// Limits the log lines about negotiations, which the host may repeat at any rate.
pub(crate) static NEGOTIATIONS: RateLimit = RateLimit::new();

/// Packets that are answered before the tasklet yields.
const BUDGET: u32 = 64;

/// Parameters for opening the channel of a service.
pub(crate) const fn open_params(mode: CallbackMode) -> OpenParams<'static> {
    #[allow(clippy::cast_possible_truncation)] // 16384.
    const MAX_PACKET: u32 = ic::MAX_PACKET as u32;
    const DESCRIPTOR: u32 = rlis_proto::ring::packet::DESCRIPTOR_SIZE;

    OpenParams {
        send_ring: RingSize::for_payload(RING_PAYLOAD),
        recv_ring: RingSize::for_payload(RING_PAYLOAD),
        mode,
        max_packet: MaxPacket::with_payload(MAX_PACKET - DESCRIPTOR),
        request_ids: RequestIds::AsGiven,
        user_data: &[],
    }
}

/// A service.
pub(crate) trait Simple: Send + Sync + Sized + 'static {
    /// Framing and versions.
    const SERVICE: &'static ic::Service;
    /// What to do once the reply has been sent.
    type Followup;

    /// Creates the service's state.
    fn new(dev: &Device<Bound>) -> impl PinInit<Self, Error>;

    /// Answers the request in `body` in place. Atomic context.
    ///
    /// # Errors
    ///
    /// Any, for a malformed request; the host gets `HV_E_FAIL`.
    fn request(
        &self,
        body: &mut [u8],
        negotiated: Option<Negotiated>,
    ) -> Result<(Status, Option<Self::Followup>), ProtoError>;

    /// The reply has been sent. Atomic context.
    fn follow_up(&self, followup: Self::Followup) {
        let _ = followup;
    }

    /// Called when the channel was closed for hibernation. May sleep.
    fn suspended(&self) {}

    /// Called before the channel is reopened. May sleep.
    fn resumed(&self) {}
}

/// The handler of a service's channel.
#[pin_data]
struct Endpoint<S: Simple> {
    #[pin]
    service: S,
    /// Only the channel's tasklet takes this lock.
    #[pin]
    state: SpinLock<State>,
}

struct State {
    guest: Guest,
    /// A packet from the host, turned into the reply in place; [`ic::MAX_PACKET`] bytes.
    packet: KVec<u8>,
}

impl<S: Simple> Endpoint<S> {
    /// Handles and answers one packet; returns what to do after that.
    fn handle(
        &self,
        channel: &Channel,
        state: &mut State,
        payload: &[u8],
        transaction_id: u64,
    ) -> Option<S::Followup> {
        static LIMIT: RateLimit = RateLimit::new();

        let name = S::SERVICE.name;
        let packet = state.packet.get_mut(..payload.len())?;
        packet.copy_from_slice(payload);
        let mut followup = None;
        let result = state.guest.receive(packet).and_then(|action| match action {
            Action::Negotiated(Some(versions)) => {
                NEGOTIATIONS.run(|_| {
                    pr_info!(
                        "{} IC version {}\n",
                        name,
                        format_args!("{}", versions.message)
                    );
                });
                Ok(())
            }
            Action::Negotiated(None) => {
                LIMIT.run(|_| pr_warn!("{} IC: no common version with the host\n", name));
                Ok(())
            }
            Action::Refused(_) => Err(ProtoError::Unexpected {
                what: "IC message of this type",
            }),
            Action::Request => {
                let negotiated = state.guest.negotiated();
                match self.service.request(ic::body_mut(packet), negotiated) {
                    Ok((status, then)) => {
                        followup = then;
                        ic::finish(packet, status)
                    }
                    // Malformed requests are answered, too, so that the host does not wait in vain.
                    Err(error) => ic::finish(packet, Status::HV_E_FAIL).and(Err(error)),
                }
            }
        });
        if let Err(error) = result {
            LIMIT.run(|_| {
                pr_err!("{} IC: bad request: {}\n", name, format_args!("{}", error));
            });
        }
        if ic::header(packet).is_err() {
            // Too short for a header, so it cannot be answered.
            return None;
        }
        if let Err(error) = channel.send(PacketType::DATA_INBAND, packet, transaction_id, false) {
            LIMIT.run(|_| pr_err!("{} IC: cannot answer: {:?}\n", name, error));
        }
        followup
    }
}

impl<S: Simple> ChannelHandler for Endpoint<S> {
    fn on_event(&self, channel: &Arc<Channel>, mut reader: Reader<'_>) {
        let mut state = self.state.lock();
        for _ in 0..BUDGET {
            let Some(packet) = reader.next_packet() else {
                return;
            };
            let followup = self.handle(
                channel,
                &mut state,
                packet.payload(),
                packet.transaction_id(),
            );
            if let Some(followup) = followup {
                self.service.follow_up(followup);
            }
        }
        drop(reader);
        // There may be more packets, for which the host will not signal again. Fails only if the channel is closed.
        let _ = channel.schedule();
    }
}

/// A running service. Dropping it closes the channel, and then drops the service's state.
pub(crate) struct SimpleService<S: Simple> {
    // Dropped first, which closes it.
    channel: ChannelSlot<Endpoint<S>>,
    endpoint: Arc<Endpoint<S>>,
}

impl<S: Simple> SimpleService<S> {
    /// Opens the channel.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, or those of [`OpenChannel::open`].
    pub(crate) fn new(dev: &Device<Bound>) -> Result<Self> {
        let packet = KVec::from_elem(0, ic::MAX_PACKET, GFP_KERNEL)?;
        let endpoint = Arc::pin_init(
            try_pin_init!(Endpoint {
                service <- S::new(dev),
                state <- new_spinlock!(State {
                    guest: Guest::new(S::SERVICE),
                    packet,
                }),
            }? Error),
            GFP_KERNEL,
        )?;
        let channel = KBox::pin_init(new_mutex!(None), GFP_KERNEL)?;
        let this = Self { channel, endpoint };
        this.open(dev)?;
        Ok(this)
    }

    fn open(&self, dev: &Device<Bound>) -> Result {
        let params = open_params(CallbackMode::Direct);
        let channel = OpenChannel::open(dev, &params, self.endpoint.clone())?;
        *self.channel.lock() = Some(channel);
        Ok(())
    }

    /// Returns the service's state.
    pub(crate) fn service(&self) -> &S {
        &self.endpoint.service
    }

    /// Closes the channel for hibernation.
    pub(crate) fn suspend(&self) {
        let channel = self.channel.lock().take();
        drop(channel);
        self.endpoint.service.suspended();
    }

    /// Reopens the channel.
    ///
    /// # Errors
    ///
    /// Those of [`OpenChannel::open`].
    pub(crate) fn resume(&self, dev: &Device<Bound>) -> Result {
        self.endpoint.service.resumed();
        self.open(dev)
    }
}
