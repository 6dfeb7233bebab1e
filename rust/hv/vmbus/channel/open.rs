// SPDX-License-Identifier: GPL-2.0

//! Opening and closing channels.

use super::{
    callback,
    sub_channel::Opener,
    CallbackMode,
    Channel,
    OpenParams,
    PinnedChannel,
    Reader,
    RequestIds,
    SubChannelOffer, //
};
use crate::{
    device::{
        Bound,
        Device, //
    },
    registry, //
};
use core::{
    ffi::c_void,
    ptr::NonNull, //
};
use kernel::{
    error::to_result,
    new_mutex,
    prelude::*,
    sync::{
        rcu,
        Arc,
        Mutex, //
    }, //
};
use rlis_hv::NoSoftirq;
use rlis_sys::vmbus_channel;

const _: () = assert!(
    kernel::page::PAGE_SIZE == rlis_proto::ring::RING_HEADER_SIZE,
    "the bus counts rings in pages of the guest, `RingSize` in those of the host"
);

/// What a driver does about its channel.
///
/// The same handler serves a device's primary channel and its sub-channels.
pub trait ChannelHandler: Send + Sync + 'static {
    /// Whether the driver wants [`Self::on_sub_channel`].
    const SUB_CHANNELS: bool = false;
    /// Whether the driver wants [`Self::on_rescind`].
    const RESCIND: bool = false;
    /// Whether the driver wants [`Self::on_target_cpu`].
    const TARGET_CPU: bool = false;
    /// Whether the driver wants [`PinnedChannel::write`]. Its requests keep their ids then ([`RequestIds::AsGiven`]).
    const BATCHES: bool = false;

    /// The host has signalled or the channel was just opened, so there may be packets; modes [`CallbackMode::Batched`] and
    /// [`CallbackMode::Direct`].
    ///
    /// Runs in a tasklet: must not sleep. Never runs twice at a time for the same channel.
    fn on_event(&self, channel: &Arc<Channel>, reader: Reader<'_>) {
        let _ = (channel, reader);
    }

    /// The host has signalled or the channel was just opened; mode [`CallbackMode::Isr`].
    ///
    /// Runs with interrupts disabled and a lock of the bus held, so never twice at a time for the same channel. It is
    /// called once when the channel has been opened, for what the host has signalled until then.
    fn on_interrupt(&self, channel: &PinnedChannel<'_>) {
        let _ = channel;
    }

    /// The host offers a sub-channel, as the driver has asked it to. Open it in here or never.
    ///
    /// May sleep. Closing the primary channel waits for this to return.
    fn on_sub_channel(&self, offer: SubChannelOffer<'_>) {
        let _ = offer;
    }

    /// The host has withdrawn the device: no answer to anything will come any more, so wake up whoever waits for
    /// one. The driver's remove function is called next.
    ///
    /// May sleep. May come while the channel is still being opened.
    fn on_rescind(&self, channel: &Arc<Channel>) {
        let _ = channel;
    }

    /// The host's interrupts for a channel go to another CPU from now on.
    ///
    /// May sleep, but the bus holds its mutex: must not open or close channels. May come before
    /// [`OpenChannel::open`] has returned.
    fn on_target_cpu(&self, channel: &Arc<Channel>, old: u32, new: u32) {
        let _ = (channel, old, new);
    }
}

/// How often the handler is called for what is left in a ring.
const REST_ROUNDS: u32 = 16;

/// What the callback of an open channel gets.
#[pin_data]
pub(super) struct Context<H: ChannelHandler> {
    pub(super) channel: Arc<Channel>,
    pub(super) handler: Arc<H>,
    #[pin]
    pub(super) subs: Mutex<SubChannels<H>>,
}

/// The sub-channels of a primary channel.
pub(super) struct SubChannels<H: ChannelHandler> {
    /// The primary channel is being closed: open no more.
    pub(super) closing: bool,
    pub(super) open: KVec<OpenRaw<H>>,
}

/// Opens sub-channels beside those of a primary channel that are open.
struct SubOpener<'a, H: ChannelHandler> {
    primary: &'a Context<H>,
    open: &'a mut KVec<OpenRaw<H>>,
}

impl<H: ChannelHandler> Opener for SubOpener<'_, H> {
    unsafe fn open(
        &mut self,
        raw: NonNull<vmbus_channel>,
        params: &OpenParams<'_>,
    ) -> Result<Arc<Channel>> {
        // So that nothing can fail once the channel is open.
        self.open.reserve(1, GFP_KERNEL)?;
        let device = self.primary.channel.device();
        // SAFETY: The channel is valid, as required of the caller. The bus keeps an open sub-channel until it closes it
        // together with its primary, after which `OpenChannel` drops what is in the list.
        let open = unsafe { OpenRaw::open(raw, device, params, self.primary.handler.clone())? };
        let channel = open.context.channel.clone();
        // There is room, see above.
        self.open.push(open, GFP_KERNEL)?;
        Ok(channel)
    }
}

impl<H: ChannelHandler> Context<H> {
    fn new(channel: Channel, handler: Arc<H>) -> Result<Arc<Self>> {
        let channel = Arc::new(channel, GFP_KERNEL)?;
        Arc::pin_init(
            pin_init!(Self {
                channel,
                handler,
                subs <- new_mutex!(SubChannels {
                    closing: false,
                    open: KVec::new(),
                }),
            }),
            GFP_KERNEL,
        )
    }

    /// The channel callback of the C API.
    ///
    /// # Safety
    ///
    /// Only for the bus to call, with what the C API prescribes.
    unsafe extern "C" fn callback(context: *mut c_void) {
        // SAFETY: The bus passes what the channel was opened with, and `OpenRaw` keeps it until the bus has ended
        // all calls.
        let context = unsafe { &*context.cast::<Self>() };
        // The host may signal as soon as it knows of the channel, when the kernel's bus has no rings yet, or takes
        // them down again since the host has refused. `OpenRaw::open` makes up for it.
        if context.channel.is_opening() {
            return;
        }
        if context.channel.mode == CallbackMode::Isr {
            // INVARIANT: The channel has rings since it was opened, as was just seen. The bus takes the callback back before it
            // frees them, and waits for this call.
            let pinned = PinnedChannel(&context.channel);
            context.handler.on_interrupt(&pinned);
            return;
        }
        // SAFETY: The channel was opened, and is not closed as long as the bus makes this call; it makes it from the
        // channel's tasklet, which does not run twice at a time, and `try_reader` makes no readers in these modes.
        let reader = unsafe { Reader::new(&context.channel, false) };
        context.handler.on_event(&context.channel, reader);
    }

    /// Hands the handler what lies in the ring of a channel whose callback the bus has taken back, since the host has
    /// withdrawn it: what came before that counts.
    fn read_the_rest(&self) {
        if self.channel.mode == CallbackMode::Isr {
            return;
        }
        let _no_softirq = NoSoftirq::begin();
        for _ in 0..REST_ROUNDS {
            if !matches!(self.channel.bytes_to_read(), Ok(1..)) {
                return;
            }
            let guard = rcu::read_lock();
            let raw = self.channel.raw.as_ptr();
            // SAFETY: The channel is valid as long as its device, to which `Channel` has a reference. The bus changes the
            // field with plain stores, so read it once.
            let callback = unsafe { (&raw const (*raw).onchannel_callback).read_volatile() };
            if self.channel.pin(&guard).is_none() || callback.is_some() {
                return;
            }
            // SAFETY: The guard keeps the channel open, with the rings that `bytes_to_read` has seen. The bus has waited for
            // the callback before it took it back, so there is no other reader.
            let reader = unsafe { Reader::new(&self.channel, false) };
            self.handler.on_event(&self.channel, reader);
        }
    }

    /// The rescind callback of the C API.
    ///
    /// # Safety
    ///
    /// Only for the bus to call, with what the C API prescribes.
    unsafe extern "C" fn rescind_callback(raw: *mut vmbus_channel) {
        if let Some(context) = registry::find::<Self>(raw) {
            context.read_the_rest();
            for sub in &context.subs.lock().open {
                sub.context.read_the_rest();
            }
            context.handler.on_rescind(&context.channel);
        }
        // A driver that asks to be told of the rescind has to do what the bus would have done.
        // SAFETY: The bus passes a channel that stays valid during the call, as does the device of a primary
        // channel; only those have this callback.
        unsafe { rlis_sys::vmbus_device_unregister((*raw).device_obj) };
    }

    /// The sub-channel creation callback of the C API.
    ///
    /// # Safety
    ///
    /// Only for the bus to call, with what the C API prescribes.
    unsafe extern "C" fn sub_channel_callback(raw: *mut vmbus_channel) {
        let Some(raw) = NonNull::new(raw) else { return };
        // SAFETY: The bus passes a sub-channel that is valid during the call; its primary outlives it.
        let primary = unsafe { (*raw.as_ptr()).primary_channel };
        let Some(context) = registry::find::<Self>(primary) else {
            return;
        };
        let mut subs = context.subs.lock();
        if subs.closing {
            return;
        }
        let mut opener = SubOpener {
            primary: &context,
            open: &mut subs.open,
        };
        // SAFETY: The bus is making the callback for this sub-channel of `context.channel`.
        let offer = unsafe { SubChannelOffer::new(raw, &context.channel, &mut opener) };
        context.handler.on_sub_channel(offer);
    }

    /// The callback of the C API for a change of a channel's CPU.
    ///
    /// # Safety
    ///
    /// Only for the bus to call, with what the C API prescribes.
    unsafe extern "C" fn target_cpu_callback(raw: *mut vmbus_channel, old: u32, new: u32) {
        if let Some(context) = registry::find::<Self>(raw) {
            context.handler.on_target_cpu(&context.channel, old, new);
        }
    }
}

/// A channel that the bus has open for us. Does not close it: the bus closes sub-channels with their primary.
///
/// # Invariants
///
/// The bus may call `context` through the channel's callback until it has closed the channel, so the value is
/// only dropped afterwards.
pub(super) struct OpenRaw<H: ChannelHandler> {
    pub(super) context: Arc<Context<H>>,
    claim: registry::Claim<Context<H>>,
}

impl<H: ChannelHandler> OpenRaw<H> {
    /// Opens a channel.
    ///
    /// # Safety
    ///
    /// `raw` must be a valid channel of `device`, which is bound to the calling driver. The caller must close the
    /// channel before it drops the result.
    pub(super) unsafe fn open(
        raw: NonNull<vmbus_channel>,
        device: &Device,
        params: &OpenParams<'_>,
        handler: Arc<H>,
    ) -> Result<Self> {
        if H::BATCHES && params.request_ids != RequestIds::AsGiven {
            return Err(EINVAL);
        }
        let user_data_len = u32::try_from(params.user_data.len()).map_err(|_| EINVAL)?;
        // From here on nobody else opens this channel.
        let claim = registry::Claim::new(raw.as_ptr())?;
        // SAFETY: As required of the caller.
        let channel = unsafe { Channel::new(raw, device.into(), params.mode, H::BATCHES) };
        let context = Context::new(channel, handler)?;
        let raw = raw.as_ptr();

        // The bus allocates new rings before it looks at the state, so look first.
        // SAFETY: The channel is valid. Only who opens or closes it changes the state.
        if unsafe { (*raw).state } != rlis_sys::vmbus_channel_state_CHANNEL_OPEN_STATE {
            return Err(EBUSY);
        }
        // SAFETY: The channel is valid, closed and claimed, so nobody else uses these fields.
        unsafe { configure::<H>(raw, params) };
        if H::TARGET_CPU || H::RESCIND || H::SUB_CHANNELS {
            claim.set(context.clone());
        }
        // SAFETY: The channel is valid and closed. The context lives until it is closed again. The sizes are whole
        // pages, at least two, whose sum does not overflow, by the invariants of their types. The user data are only
        // read, and the function checks their length.
        let opened = to_result(unsafe {
            rlis_sys::vmbus_open(
                raw,
                params.send_ring.bytes(),
                params.recv_ring.bytes(),
                params.user_data.as_ptr().cast_mut().cast(),
                user_data_len,
                Some(Context::<H>::callback),
                Arc::as_ptr(&context).cast_mut().cast(),
            )
        });
        if let Err(error) = opened {
            // Nobody has used the channel: it was never marked as open.
            claim.clear();
            // A failed open leaves the callback set, and the host may signal a channel that it believes open.
            // SAFETY: The channel is valid and claimed, and not open.
            unsafe { reset(raw) };
            // SAFETY: The channel is valid and claimed. This waits for a call that is under way.
            unsafe { callback::clear(raw) };
            return Err(error);
        }
        // SAFETY: The bus has just opened the channel. It keeps its rings until the caller closes it, which waits for
        // a grace period between `retire` and that.
        unsafe { context.channel.mark_open() };
        // The callback has ignored the host's signals so far, and it may not repeat them.
        // SAFETY: The channel is valid and open with our callback, which now heeds the call.
        unsafe { callback::call(raw) };
        // INVARIANT: The channel is open with `context`.
        Ok(Self { context, claim })
    }

    /// The first half of closing: afterwards nobody uses the channel except the bus and callbacks under way.
    pub(super) fn retire(&self) {
        self.claim.clear();
        self.context.channel.mark_closed();
    }
}

/// Sets up the fields that the bus reads when a channel is opened or called.
///
/// # Safety
///
/// `raw` must be valid, closed and claimed by the caller.
unsafe fn configure<H: ChannelHandler>(raw: *mut vmbus_channel, params: &OpenParams<'_>) {
    let mode = match params.mode {
        CallbackMode::Batched => rlis_sys::vmbus_channel_hv_callback_mode_HV_CALL_BATCHED,
        CallbackMode::Direct => rlis_sys::vmbus_channel_hv_callback_mode_HV_CALL_DIRECT,
        CallbackMode::Isr => rlis_sys::vmbus_channel_hv_callback_mode_HV_CALL_ISR,
    };
    // SAFETY: As required of the caller.
    unsafe {
        (*raw).callback_mode = mode;
        (*raw).max_pkt_size = params.max_packet.bytes();
        match params.request_ids {
            RequestIds::AsGiven => {
                (*raw).rqstor_size = 0;
                (*raw).next_request_id_callback = None;
                (*raw).request_addr_callback = None;
            }
            RequestIds::Requestor(size) => {
                (*raw).rqstor_size = size;
                (*raw).next_request_id_callback = Some(rlis_sys::vmbus_next_request_id);
                (*raw).request_addr_callback = Some(rlis_sys::vmbus_request_addr);
            }
        }
        if H::TARGET_CPU {
            (*raw).change_target_cpu_callback = Some(Context::<H>::target_cpu_callback);
        }
        if H::RESCIND && (*raw).primary_channel.is_null() {
            rlis_sys::vmbus_set_chn_rescind_callback(raw, Some(Context::<H>::rescind_callback));
        }
    }
}

/// Takes back the callbacks that carry no context.
///
/// # Safety
///
/// `raw` must be valid and claimed by the caller.
pub(super) unsafe fn reset(raw: *mut vmbus_channel) {
    // SAFETY: As required of the caller.
    unsafe {
        (*raw).change_target_cpu_callback = None;
        if (*raw).primary_channel.is_null() {
            rlis_sys::vmbus_set_sc_create_callback(raw, None);
            rlis_sys::vmbus_set_chn_rescind_callback(raw, None);
        }
    }
}

/// A device's open primary channel, together with its open sub-channels.
///
/// Dropping it closes them all, which sleeps: the host is told, and the handler is called no more from then on.
/// The host's memory of the rings is taken back before the pages are freed.
///
/// # Invariants
///
/// The channel was opened with `inner`'s context, and has been closed since if `closed` says so.
pub struct OpenChannel<H: ChannelHandler> {
    pub(super) inner: OpenRaw<H>,
    pub(super) closed: bool,
}

impl<H: ChannelHandler> OpenChannel<H> {
    /// Opens the channel of a device. Sleeps until the host has answered.
    ///
    /// `handler` is called, possibly before this returns and at least once, until the `OpenChannel` is dropped. Keep that in the
    /// data of the device, so that it is closed when the driver gives the device up.
    ///
    /// # Errors
    ///
    /// `EBUSY` if the channel is open, `EINVAL` for user data above 120 bytes, `ENOMEM`, `ENODEV` if the host has withdrawn the device, `EAGAIN` if the host refuses.
    pub fn open(dev: &Device<Bound>, params: &OpenParams<'_>, handler: Arc<H>) -> Result<Self> {
        Self::on(dev, params, handler)
    }

    pub(super) fn on(dev: &Device, params: &OpenParams<'_>, handler: Arc<H>) -> Result<Self> {
        let raw = NonNull::new(dev.raw_channel()).ok_or(ENODEV)?;
        // SAFETY: The channel of a device is valid, and lives as long as the device, to which `Channel` has a
        // reference. Our destructor closes it.
        let inner = unsafe { OpenRaw::open(raw, dev, params, handler)? };
        // INVARIANT: The channel was just opened.
        Ok(Self {
            inner,
            closed: false,
        })
    }

    /// From now on [`ChannelHandler::on_sub_channel`] is called for each sub-channel that the host offers.
    ///
    /// Call this before the host is asked for sub-channels. Does nothing unless
    /// [`ChannelHandler::SUB_CHANNELS`].
    pub fn accept_sub_channels(&self) {
        if H::SUB_CHANNELS {
            let raw = self.channel().raw.as_ptr();
            // SAFETY: The channel is open. The callback looks up its context, which `OpenRaw::open` has set.
            unsafe {
                rlis_sys::vmbus_set_sc_create_callback(
                    raw,
                    Some(Context::<H>::sub_channel_callback),
                );
            }
        }
    }

    /// Returns the channel, for sending.
    pub fn channel(&self) -> &Arc<Channel> {
        &self.inner.context.channel
    }

    /// Returns the handler.
    pub fn handler(&self) -> &Arc<H> {
        &self.inner.context.handler
    }

    /// Calls `f` with each open sub-channel.
    pub fn for_each_sub_channel(&self, mut f: impl FnMut(&Arc<Channel>)) {
        for sub in &self.inner.context.subs.lock().open {
            f(&sub.context.channel);
        }
    }
}

impl<H: ChannelHandler> Drop for OpenChannel<H> {
    fn drop(&mut self) {
        self.close_once();
    }
}
