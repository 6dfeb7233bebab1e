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
            Atomic,
            Full,
            Relaxed,
            Release, //
        },
        rcu, //
    }, //
};
use rlis_hv::{
    ordered::{
        load_acquire,
        test_and_set, //
    },
    ReadSide,
    Single, //
};
use rlis_proto::ring::valid_index;
use rlis_sys::vmbus_channel;

mod batch;
mod buffer;
mod callback;
mod close;
mod open;
mod packet;
mod params;
mod reader;
mod sub_channel;

pub use batch::Tell;
pub use buffer::GrantedMemory;
pub use close::Closed;
pub use open::{
    ChannelHandler,
    OpenChannel, //
};
pub use packet::{
    Contiguous,
    MpbBuilder,
    MpbDescriptor,
    PacketType,
    PageRange, //
};
pub use params::{
    CallbackMode,
    OpenParams,
    RequestIds, //
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

/// What the requestor returns if there is none, `VMBUS_NO_RQSTOR`; as above.
const NO_RQSTOR: u64 = u64::MAX;

/// [`Channel::state`]: the bus is at it. The host may signal already, but there may be no rings.
const OPENING: u32 = 0;

/// [`Channel::state`]: there are rings.
const OPEN: u32 = 1;

/// [`Channel::state`]: nobody starts to use the channel any more.
const CLOSED: u32 = 2;

/// A channel that is or was open.
///
/// Obtained from [`OpenChannel::channel`] and in the functions of a [`ChannelHandler`]; shared as
/// `Arc<Channel>`. Everything here may be called from any context. Before the channel is open, which
/// [`ChannelHandler::on_rescind`] and [`ChannelHandler::on_target_cpu`] may see, and once it is closed, there is nothing
/// but the constant properties and all else answers `ENODEV`; opening the device's channel anew makes a new `Channel`.
///
/// # Invariants
///
/// - While `state` is [`OPEN`], and until an RCU grace period after it was changed to [`CLOSED`], `raw` points to a
///   channel with rings.
/// - `state` goes from [`OPENING`] to [`OPEN`] to [`CLOSED`] and never back.
pub struct Channel {
    raw: NonNull<vmbus_channel>,
    state: Atomic<u32>,
    /// Whether a [`Reader`] exists that `try_reader` made.
    reading: Atomic<bool>,
    mode: CallbackMode,
    /// [`ChannelHandler::BATCHES`]: all packets go through `batch`.
    batches: bool,
    /// How many bytes at the end of the outbound ring are packets that the host was not told of. Used under the ring's lock.
    untold: Single<u32>,
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
    /// `raw` must be a channel of `device`.
    unsafe fn new(
        raw: NonNull<vmbus_channel>,
        device: ARef<Device>,
        mode: CallbackMode,
        batches: bool,
    ) -> Self {
        // SAFETY: The offer does not change while the channel exists.
        let offer = unsafe { &raw const (*raw.as_ptr()).offermsg };
        // SAFETY: As above; the message is packed, so it is read by value.
        let relid = unsafe { (&raw const (*offer).child_relid).read_unaligned() };
        // SAFETY: As above.
        let index = unsafe { (&raw const (*offer).offer.sub_channel_index).read_unaligned() };
        // INVARIANT: The channel is not open yet.
        Self {
            raw,
            state: Atomic::new(OPENING),
            reading: Atomic::new(false),
            mode,
            batches,
            untold: Single::new(0),
            relid,
            sub_channel_index: index,
            device,
        }
    }

    /// Begins the use of the channel.
    ///
    /// # Safety
    ///
    /// The channel must have rings, and keep them until a grace period has passed after [`Self::mark_closed`].
    unsafe fn mark_open(&self) {
        // What the callback ignored up to here is seen by whoever looks at the ring afterwards: a full barrier.
        // INVARIANT: As required of the caller.
        self.state.xchg(OPEN, Full);
    }

    /// Ends all use of the channel. Whoever wants to close it waits for a grace period first.
    fn mark_closed(&self) {
        // INVARIANT: Nothing leads back from here.
        self.state.store(CLOSED, Release);
    }

    /// Returns whether the bus is still opening the channel, so that there may be no rings.
    #[inline]
    fn is_opening(&self) -> bool {
        load_acquire(&self.state) == OPENING
    }

    /// Calls `f` with the channel if it is open, and keeps it open meanwhile. `f` must not sleep.
    #[inline]
    fn with_open<R>(&self, f: impl FnOnce(*mut vmbus_channel) -> Result<R>) -> Result<R> {
        let _guard = rcu::read_lock();
        if load_acquire(&self.state) != OPEN {
            return Err(ENODEV);
        }
        f(self.raw.as_ptr())
    }

    /// Makes several uses of the channel cost one check that it is open: it stays so as long as the read-side critical
    /// section of RCU.
    ///
    /// Returns `None` if it is closed.
    #[inline]
    pub fn pin<'a>(&'a self, _side: &'a impl ReadSide) -> Option<PinnedChannel<'a>> {
        // INVARIANT: The channel is open, and closing it waits for the end of the section.
        (load_acquire(&self.state) == OPEN).then_some(PinnedChannel(self))
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
        self.state.load(Relaxed) == OPEN
    }

    /// Returns whether the host has withdrawn the offer, or the channel is not open.
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
            // SAFETY: The channel is open, so its rings exist.
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
            // SAFETY: The channel is open, so its rings exist; their size does not change while they do.
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
        let guard = rcu::read_lock();
        let pinned = self.pin(&guard).ok_or(ENODEV)?;
        pinned.set_pending_send_size(bytes);
        Ok(())
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
    /// Returns `None` for an id that is not in use: the host made it up, or completes a request twice; and always with
    /// [`RequestIds::AsGiven`].
    ///
    /// # Errors
    ///
    /// `ENODEV` if the channel is closed.
    pub fn take_request_id(&self, transaction_id: u64) -> Result<Option<u64>> {
        self.with_open(|raw| {
            // SAFETY: The channel is open; the function checks the id.
            let address = unsafe { rlis_sys::vmbus_request_addr(raw, transaction_id) };
            Ok((address != RQST_ERROR && address != NO_RQSTOR).then_some(address))
        })
    }

    /// Has the handler called soon, as if the host had signalled.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the channel is closed; `EINVAL` in [`CallbackMode::Isr`], whose handler arranges for its reading
    /// itself and is not made to run in a tasklet beside the interrupt.
    pub fn schedule(&self) -> Result {
        if self.mode == CallbackMode::Isr {
            return Err(EINVAL);
        }
        self.with_open(|raw| {
            // SAFETY: The channel is valid; its tasklet stays initialised as long as it exists, and does nothing
            // once the channel is closed.
            unsafe { rlis_sys::tasklet_schedule(&raw mut (*raw).callback_event) };
            Ok(())
        })
    }

    /// Tells the host not to signal new packets (`hv_begin_read`).
    ///
    /// # Errors
    ///
    /// `ENODEV` if the channel is closed.
    pub fn mask_interrupt(&self) -> Result {
        let guard = rcu::read_lock();
        self.pin(&guard).ok_or(ENODEV)?.mask_interrupt();
        Ok(())
    }
}

/// What the bus says of a packet, without the call that `to_result` costs where all is well.
#[inline(always)]
fn sent(result: c_int) -> Result {
    if result == 0 {
        return Ok(());
    }
    to_result(result)
}

/// A channel that stays open as long as this exists, from [`Channel::pin`] and in [`ChannelHandler::on_interrupt`].
///
/// # Invariants
///
/// The channel was opened, and keeps its rings as long as `'a`.
#[derive(Clone, Copy)]
pub struct PinnedChannel<'a>(&'a Channel);

impl<'a> PinnedChannel<'a> {
    /// Returns the channel.
    #[inline]
    pub fn channel(&self) -> &'a Channel {
        self.0
    }

    /// Starts reading, in [`CallbackMode::Isr`]; in the other modes the handler has the only reader.
    ///
    /// Returns `None` if somebody reads already, and in the other modes.
    #[inline]
    pub fn try_reader(&self) -> Option<Reader<'a>> {
        if self.0.mode != CallbackMode::Isr || test_and_set(&self.0.reading) {
            return None;
        }
        // SAFETY: By the type invariant the channel stays open, and `reading` makes this the only reader.
        Some(unsafe { Reader::new(self.0, true) })
    }

    /// Tells the host not to signal new packets (`hv_begin_read`).
    #[inline]
    pub fn mask_interrupt(&self) {
        // SAFETY: By the type invariant the channel is open, so its rings exist.
        unsafe { rlis_sys::hv_begin_read(&raw mut (*self.0.raw.as_ptr()).inbound) };
    }

    /// Tells the host to signal new packets again (`hv_end_read`), and returns how many bytes have come in meanwhile: if not
    /// 0, no signal will come for them, so read again.
    #[inline]
    pub fn unmask_interrupt(&self) -> u32 {
        // SAFETY: As in `mask_interrupt`.
        unsafe { rlis_sys::hv_end_read(&raw mut (*self.0.raw.as_ptr()).inbound) }
    }

    /// Returns how much of the outbound ring is free, in per cent. The figure is out of date at once.
    #[inline]
    pub fn percent_to_write(&self) -> u32 {
        // SAFETY: By the type invariant the channel is open, so its rings exist.
        unsafe {
            rlis_sys::hv_get_avail_to_write_percent(&raw const (*self.0.raw.as_ptr()).outbound)
        }
    }

    /// Asks the host for an interrupt once the outbound ring has room for `bytes`, 0 for not any more.
    pub fn set_pending_send_size(&self, bytes: u32) {
        // SAFETY: By the type invariant the channel is open, so its rings exist.
        unsafe { rlis_sys::set_channel_pending_send_size(self.0.raw.as_ptr(), bytes) };
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
        if self.0.batches {
            return self.write(packet_type, payload, request_id, completion, 0, Tell::Now);
        }
        let len = packet::checked_len(packet::DESCRIPTOR_LEN, payload.len())?;
        let flags = if completion { COMPLETION_REQUESTED } else { 0 };
        // SAFETY: By the type invariant the channel is open, and `payload` is valid for `len` bytes, which the
        // function only reads.
        let result = unsafe {
            rlis_sys::vmbus_sendpacket(
                self.0.raw.as_ptr(),
                payload.as_ptr().cast_mut().cast(),
                len,
                request_id,
                packet_type.0,
                flags,
            )
        };
        sent(result)
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
        if self.0.batches {
            return self.write_mpb(descriptor, payload, request_id, 0, Tell::Now);
        }
        let size = descriptor.size();
        let len = packet::checked_len(size, payload.len())?;
        // SAFETY: By the type invariant the channel is open; the descriptor is valid for reads and writes of `size`
        // bytes by its invariant, and `payload` for reads of `len` bytes.
        let result = unsafe {
            rlis_sys::vmbus_sendpacket_mpb_desc(
                self.0.raw.as_ptr(),
                descriptor.as_raw(),
                size,
                payload.as_ptr().cast_mut().cast(),
                len,
                request_id,
            )
        };
        sent(result)
    }
}

#[kunit_tests(rlis_vmbus_channel)]
mod tests {
    use super::*;
    use core::mem::ManuallyDrop;

    /// While the bus opens a channel, an interrupt can get hold of it when it has no rings: nothing may touch them.
    #[test]
    fn no_rings_before_it_is_open() {
        let flags = GFP_KERNEL | __GFP_ZERO;
        let channel = KBox::<vmbus_channel>::new_uninit(flags);
        let device = KBox::<rlis_sys::hv_device>::new_uninit(flags);
        let (Ok(mut channel), Ok(mut device)) = (channel, device) else {
            return;
        };
        let (Some(raw), Some(device)) = (
            NonNull::new(channel.as_mut_ptr()),
            NonNull::new(device.as_mut_ptr()),
        ) else {
            return;
        };
        for mode in [CallbackMode::Isr, CallbackMode::Batched] {
            // SAFETY: The device lives to the end of the test, and this reference is never given up.
            let device = unsafe { ARef::from_raw(device.cast::<Device>()) };
            // SAFETY: The channel is zeroed, as one that was never opened is, where it matters.
            let channel = ManuallyDrop::new(unsafe { Channel::new(raw, device, mode, false) });
            assert!(!channel.is_open());
            assert!(channel.is_rescinded());
            assert!(channel.pin(&rcu::read_lock()).is_none());
            assert!(channel.mask_interrupt().is_err());
            assert!(channel.bytes_to_read().is_err());
            assert!(channel.bytes_to_write().is_err());
            assert!(channel.is_readable().is_err());
            assert!(channel.set_pending_send_size(8).is_err());
            assert!(channel.take_request_id(1).is_err());
            // In this mode not even when it is open: the handler must not run beside the interrupt.
            let error = if mode == CallbackMode::Isr {
                EINVAL
            } else {
                ENODEV
            };
            assert_eq!(channel.schedule().err(), Some(error));
            assert!(channel
                .send(PacketType::DATA_INBAND, &[0; 8], 0, false)
                .is_err());
        }
    }
}
