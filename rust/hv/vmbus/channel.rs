// SPDX-License-Identifier: GPL-2.0

//! Channels, `struct vmbus_channel`.

use crate::device::Device;
use core::ptr::NonNull;
use kernel::{
    error::to_result,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Acquire,
            Atomic,
            Full,
            Relaxed,
            Release, //
        },
        rcu, //
    }, //
};
use rlis_proto::ring::valid_index;
use rlis_sys::vmbus_channel;

mod open;
mod packet;
mod reader;
mod sub_channel;

pub use open::{
    ring_size,
    CallbackMode,
    ChannelHandler,
    OpenChannel,
    OpenParams,
    RequestIds, //
};
pub use packet::{
    MpbDescriptor,
    PacketType,
    PageRange, //
};
pub use reader::{
    Packet,
    Reader, //
};
pub use sub_channel::SubChannelOffer;

/// Flag of a packet that the host is to answer with a completion,
/// `VMBUS_DATA_PACKET_FLAG_COMPLETION_REQUESTED`.
const COMPLETION_REQUESTED: u32 = rlis_sys::VMBUS_DATA_PACKET_FLAG_COMPLETION_REQUESTED;

/// What the requestor returns for an unknown id, `VMBUS_RQST_ERROR`; a macro that bindgen cannot evaluate.
const RQST_ERROR: u64 = u64::MAX - 1;

/// Returns whether a channel has rings: not while it is being opened, when the host may already signal.
///
/// # Safety
///
/// `raw` must be valid.
unsafe fn rings_exist(raw: *mut vmbus_channel) -> bool {
    // SAFETY: As required of the caller. The bus sets this pointer after the others, and clears it when the channel
    // is closed.
    !unsafe { (&raw const (*raw).inbound.pkt_buffer).read_volatile() }.is_null()
}

/// A channel that is or was open.
///
/// Obtained from [`OpenChannel::channel`] and in the functions of a [`ChannelHandler`]; shared as
/// `Arc<Channel>`. Everything here may be called from any context. Once the channel is closed, nothing but the
/// constant properties is left and all else answers `ENODEV`; opening the device's channel anew makes a new
/// `Channel`.
///
/// # Invariants
///
/// - While `open` is set, and until an RCU grace period after it was cleared, `raw` points to a channel with
///   rings.
/// - `open` is never set again once cleared.
pub struct Channel {
    raw: NonNull<vmbus_channel>,
    open: Atomic<bool>,
    /// Whether a [`Reader`] exists that `try_reader` made.
    reading: Atomic<bool>,
    mode: CallbackMode,
    relid: u32,
    sub_channel_index: u16,
    device: ARef<Device>,
}

// SAFETY: The bus's functions may be called from any thread; `raw` is only used as the type invariant allows.
unsafe impl Send for Channel {}

// SAFETY: The functions of the bus that are called with a shared reference do their own locking.
unsafe impl Sync for Channel {}

impl Channel {
    /// Describes a channel that is about to be opened.
    ///
    /// # Safety
    ///
    /// `raw` must be a channel of `device`, and the caller must follow the type's invariants: the channel must
    /// be closed no earlier than a grace period after [`Self::mark_closed`].
    unsafe fn new(raw: NonNull<vmbus_channel>, device: ARef<Device>, mode: CallbackMode) -> Self {
        // SAFETY: The offer does not change while the channel exists.
        let offer = unsafe { &raw const (*raw.as_ptr()).offermsg };
        // SAFETY: As above; the message is packed, so it is read by value.
        let relid = unsafe { (&raw const (*offer).child_relid).read_unaligned() };
        // SAFETY: As above.
        let index = unsafe { (&raw const (*offer).offer.sub_channel_index).read_unaligned() };
        // INVARIANT: The channel counts as open from here on. Nobody can use it before its rings exist,
        // because only the callback gets to know of it, which runs when they do.
        Self {
            raw,
            open: Atomic::new(true),
            reading: Atomic::new(false),
            mode,
            relid,
            sub_channel_index: index,
            device,
        }
    }

    /// Ends all use of the channel. Whoever wants to close it waits for a grace period first.
    fn mark_closed(&self) {
        self.open.store(false, Release);
    }

    /// Calls `f` with the channel if it is open, and keeps it open meanwhile. `f` must not sleep.
    #[inline]
    fn with_open<R>(&self, f: impl FnOnce(*mut vmbus_channel) -> Result<R>) -> Result<R> {
        let _guard = rcu::read_lock();
        if !self.open.load(Acquire) {
            return Err(ENODEV);
        }
        f(self.raw.as_ptr())
    }

    /// Makes several uses of the channel cost one check that it is open: it stays so as long as the guard.
    ///
    /// Returns `None` if it is closed.
    #[inline]
    pub fn pin<'a>(&'a self, _guard: &'a rcu::Guard) -> Option<PinnedChannel<'a>> {
        // INVARIANT: The channel is open, and closing it waits for the guard.
        self.open.load(Acquire).then_some(PinnedChannel(self))
    }

    /// Returns the channel's number on the bus (`child_relid`).
    pub fn relid(&self) -> u32 {
        self.relid
    }

    /// Returns 0 for the primary channel of a device, and from 1 on for its sub-channels.
    pub fn sub_channel_index(&self) -> u16 {
        self.sub_channel_index
    }

    /// Returns the device that the channel belongs to.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Returns when the handler is called.
    pub fn mode(&self) -> CallbackMode {
        self.mode
    }

    /// Returns whether the channel is open. It may be closed at any time, so this is only a hint.
    pub fn is_open(&self) -> bool {
        self.open.load(Relaxed)
    }

    /// Returns whether the host has withdrawn the offer, or the channel is closed.
    pub fn is_rescinded(&self) -> bool {
        self.with_open(|raw| {
            // SAFETY: The channel is valid; the bus sets the flag with a plain store, so read it once.
            Ok(unsafe { (&raw const (*raw).rescind).read_volatile() })
        })
        .unwrap_or(true)
    }

    /// Returns the CPU that the host interrupts for this channel.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the channel is closed.
    pub fn target_cpu(&self) -> Result<u32> {
        self.with_open(|raw| {
            // SAFETY: The channel is valid; the bus changes the field with a plain store, so read it once.
            Ok(unsafe { (&raw const (*raw).target_cpu).read_volatile() })
        })
    }

    /// Returns how many bytes the outbound ring has room for. The figure is out of date at once.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the channel is closed.
    pub fn bytes_to_write(&self) -> Result<u32> {
        self.with_open(|raw| {
            // SAFETY: The channel is open, so its rings exist.
            Ok(unsafe { rlis_sys::hv_get_bytes_to_write(&raw const (*raw).outbound) })
        })
    }

    /// Returns how many bytes wait in the inbound ring. The figure is out of date at once.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the channel is closed.
    pub fn bytes_to_read(&self) -> Result<u32> {
        self.with_open(|raw| {
            // SAFETY: The channel is valid.
            if !unsafe { rings_exist(raw) } {
                return Ok(0);
            }
            // SAFETY: The rings exist.
            Ok(unsafe { rlis_sys::hv_get_bytes_to_read(&raw const (*raw).inbound) })
        })
    }

    /// Returns whether the host's index in the inbound ring can be. While it cannot, nothing arrives.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the channel is closed.
    pub fn is_readable(&self) -> Result<bool> {
        self.with_open(|raw| {
            // SAFETY: The channel is valid.
            if !unsafe { rings_exist(raw) } {
                return Ok(true);
            }
            // SAFETY: The rings exist; their size does not change while they do.
            let (index, size) = unsafe {
                (
                    rlis_sys::inbound_write_index(raw),
                    (*raw).inbound.ring_datasize,
                )
            };
            Ok(valid_index(index, size))
        })
    }

    /// Asks the host for an interrupt once the outbound ring has room for `bytes`, 0 for not any more.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the channel is closed.
    pub fn set_pending_send_size(&self, bytes: u32) -> Result {
        self.with_open(|raw| {
            // SAFETY: The channel is open, so its rings exist.
            unsafe { rlis_sys::set_channel_pending_send_size(raw, bytes) };
            Ok(())
        })
    }

    /// Sends a packet with its data inside the ring; as [`PinnedChannel::send`], which is for who sends many.
    ///
    /// # Errors
    ///
    /// As [`PinnedChannel::send`], and `ENODEV` if the channel is closed.
    #[inline]
    pub fn send(
        &self,
        packet_type: PacketType,
        payload: &[u8],
        request_id: u64,
        completion: bool,
    ) -> Result {
        let guard = rcu::read_lock();
        let pinned = self.pin(&guard).ok_or(ENODEV)?;
        pinned.send(packet_type, payload, request_id, completion)
    }

    /// Gives back the request id that [`Self::send`] was called with, and frees the requestor's id.
    ///
    /// Returns `None` for an id that is not in use: the host made it up, or completes a request twice.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the channel is closed.
    pub fn take_request_id(&self, transaction_id: u64) -> Result<Option<u64>> {
        self.with_open(|raw| {
            // SAFETY: The channel is open; the function checks the id.
            let address = unsafe { rlis_sys::vmbus_request_addr(raw, transaction_id) };
            Ok((address != RQST_ERROR).then_some(address))
        })
    }

    /// Has the handler called soon, as if the host had signalled.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the channel is closed.
    pub fn schedule(&self) -> Result {
        self.with_open(|raw| {
            // SAFETY: The channel is valid; its tasklet stays initialised as long as it exists, and does nothing
            // once the channel is closed.
            unsafe { rlis_sys::tasklet_schedule(&raw mut (*raw).callback_event) };
            Ok(())
        })
    }

    /// Starts reading, in [`CallbackMode::Isr`]; in the other modes the handler has the only reader.
    ///
    /// The reader keeps the channel open, so it must not be held across anything that sleeps.
    ///
    /// Returns `None` if somebody reads already, in the other modes, and if the channel is closed.
    pub fn try_reader(&self) -> Option<Reader<'_>> {
        if self.mode != CallbackMode::Isr {
            return None;
        }
        let guard = rcu::read_lock();
        if !self.open.load(Acquire) {
            return None;
        }
        // SAFETY: The guard keeps the channel open.
        if !unsafe { rings_exist(self.raw.as_ptr()) } || self.reading.xchg(true, Full) {
            return None;
        }
        // SAFETY: The guard keeps the channel open, and `reading` makes this the only reader.
        Some(unsafe { Reader::new(self, Some(guard)) })
    }

    /// Tells the host not to signal new packets (`hv_begin_read`).
    ///
    /// # Errors
    ///
    /// `ENODEV` if the channel is closed.
    pub fn mask_interrupt(&self) -> Result {
        self.with_open(|raw| {
            // SAFETY: The channel is open, so its rings exist.
            unsafe { rlis_sys::hv_begin_read(&raw mut (*raw).inbound) };
            Ok(())
        })
    }

    /// Tells the host to signal new packets again (`hv_end_read`), and returns how many bytes have come in
    /// meanwhile: if not 0, no signal will come for them, so read again.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the channel is closed.
    pub fn unmask_interrupt(&self) -> Result<u32> {
        self.with_open(|raw| {
            // SAFETY: The channel is open, so its rings exist.
            Ok(unsafe { rlis_sys::hv_end_read(&raw mut (*raw).inbound) })
        })
    }
}

/// A channel that stays open as long as this exists, from [`Channel::pin`].
///
/// # Invariants
///
/// The channel is open.
#[derive(Clone, Copy)]
pub struct PinnedChannel<'a>(&'a Channel);

impl PinnedChannel<'_> {
    /// Returns how much of the outbound ring is free, in per cent. The figure is out of date at once.
    #[inline]
    pub fn percent_to_write(&self) -> u32 {
        // SAFETY: By the type invariant the channel is open, so its rings exist.
        unsafe {
            rlis_sys::hv_get_avail_to_write_percent(&raw const (*self.0.raw.as_ptr()).outbound)
        }
    }

    /// Sends a packet with its data inside the ring.
    ///
    /// - `payload`: up to the size of the ring; padded to a multiple of eight bytes on the wire.
    /// - `request_id`: comes back in the host's completion; with [`RequestIds::Requestor`] and `completion`,
    ///   an id of the requestor goes to the host in its stead.
    /// - `completion`: whether the host is to answer.
    ///
    /// # Errors
    ///
    /// `EAGAIN` if the ring is full or the requestor has no id left, `ENODEV` if the channel is rescinded, `EIO`
    /// if the host has put nonsense into the ring's header, `EINVAL` for a payload that no packet can hold.
    #[inline]
    pub fn send(
        &self,
        packet_type: PacketType,
        payload: &[u8],
        request_id: u64,
        completion: bool,
    ) -> Result {
        let len = packet::checked_len(packet::DESCRIPTOR_LEN, payload.len())?;
        let flags = if completion { COMPLETION_REQUESTED } else { 0 };
        // SAFETY: By the type invariant the channel is open, and `payload` is valid for `len` bytes, which the
        // function only reads.
        to_result(unsafe {
            rlis_sys::vmbus_sendpacket(
                self.0.raw.as_ptr(),
                payload.as_ptr().cast_mut().cast(),
                len,
                request_id,
                packet_type.0,
                flags,
            )
        })
    }

    /// Sends a packet whose data lies in pages of the guest; the host answers with a completion.
    ///
    /// `payload` (such as a request header) goes into the ring behind the description of the pages.
    ///
    /// # Errors
    ///
    /// As [`Self::send`].
    #[inline]
    pub fn send_mpb(
        &self,
        descriptor: &mut MpbDescriptor<'_>,
        payload: &[u8],
        request_id: u64,
    ) -> Result {
        let size = descriptor.size();
        let len = packet::checked_len(size, payload.len())?;
        // SAFETY: By the type invariant the channel is open; the descriptor is valid for reads and writes of `size`
        // bytes by its invariant, and `payload` for reads of `len` bytes.
        to_result(unsafe {
            rlis_sys::vmbus_sendpacket_mpb_desc(
                self.0.raw.as_ptr(),
                descriptor.as_raw(),
                size,
                payload.as_ptr().cast_mut().cast(),
                len,
                request_id,
            )
        })
    }
}
