// SPDX-License-Identifier: GPL-2.0

//! Frames to send, `struct sk_buff`.

use crate::{
    poll::PollContext,
    queue::StoppedQueue, //
};
use core::{
    mem::MaybeUninit,
    num::NonZeroU16,
    ptr::NonNull, //
};
use kernel::{
    error::to_result,
    prelude::*, //
};
use rlis_hv::SharedMemory;
use rlis_sys_net::{
    netdev_tx_t,
    rlis_net_range,
    sk_buff, //
};

/// What became of a frame that was to be sent; what [`Driver::transmit`](crate::Driver::transmit) returns. Only the
/// functions that end a [`TxPacket`] make one.
#[must_use]
pub struct Sent(Fate);

enum Fate {
    Taken,
    Busy,
}

impl Sent {
    /// The driver has the frame, or it is no more.
    pub(crate) fn taken() -> Self {
        Self(Fate::Taken)
    }

    pub(crate) fn into_raw(self) -> netdev_tx_t {
        match self.0 {
            Fate::Taken => rlis_sys_net::netdev_tx_NETDEV_TX_OK,
            Fate::Busy => rlis_sys_net::netdev_tx_NETDEV_TX_BUSY,
        }
    }
}

/// How [`TxPacket::describe_pages`] has described where a frame lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Described {
    /// Words that were written.
    pub words: usize,
    /// Ranges that they describe; not 0.
    pub ranges: u32,
}

/// Bytes that follow each other in physical memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    /// Number of the page, of 4096 bytes, in which they begin.
    pub pfn: u64,
    /// Where in that page; below 4096.
    pub offset: u32,
    /// How many; not 0.
    pub len: u32,
}

impl Range {
    #[inline]
    #[allow(clippy::cast_possible_truncation)] // The upper half, and the lower one.
    pub(crate) fn from_raw(range: &rlis_net_range) -> Self {
        Self {
            pfn: range.pfn,
            offset: (range.described >> 32) as u32,
            len: range.described as u32,
        }
    }
}

/// `IPPROTO_TCP` and `IPPROTO_UDP` of the C API.
const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;

/// What a checksum is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// Where the header of the transport is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transport {
    /// Which it is.
    pub protocol: Protocol,
    /// On IPv6, not on IPv4.
    pub ipv6: bool,
    /// Bytes of the frame in front of it.
    pub offset: u32,
}

/// What a frame has beside its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TxInfo {
    /// Tag of IEEE 802.1Q that the device has to put in.
    pub vlan: Option<u16>,
    /// Hash of the flow; 0 if it has none.
    pub hash: u32,
    /// Somebody has to fill in a checksum (`CHECKSUM_PARTIAL`).
    pub wants_checksum: bool,
    /// Of what, if a device can do it: TCP or UDP right behind the headers of IP.
    pub transport: Option<Transport>,
    /// Bytes of data in a segment, if the frame is to be cut.
    pub segment: Option<NonZeroU16>,
}

/// A frame that the stack wants sent.
///
/// Dropped, it is freed: the frame is lost.
///
/// # Invariants
///
/// `skb` is valid, and this is its only owner.
pub struct TxPacket {
    skb: NonNull<sk_buff>,
}

// SAFETY: A packet may be read, sent and freed from any thread; this is its only owner.
unsafe impl Send for TxPacket {}

impl TxPacket {
    /// How many pieces of memory a frame that is not put together can lie in.
    pub const MAX_PIECES: usize = 18;

    /// Takes a packet over.
    ///
    /// # Safety
    ///
    /// `skb` must be valid and owned by the caller, who gives that up.
    #[inline]
    pub(crate) unsafe fn from_raw(skb: NonNull<sk_buff>) -> Self {
        // INVARIANT: As required of the caller.
        Self { skb }
    }

    /// Gives the packet to the caller.
    #[inline]
    pub(crate) fn into_raw(self) -> NonNull<sk_buff> {
        core::mem::ManuallyDrop::new(self).skb
    }

    #[inline]
    fn raw(&self) -> &sk_buff {
        // SAFETY: By the type invariant.
        unsafe { self.skb.as_ref() }
    }

    /// Returns the length of the frame with its Ethernet header, in bytes.
    #[inline]
    #[allow(clippy::len_without_is_empty)] // An empty frame is never sent.
    pub fn len(&self) -> u32 {
        self.raw().len
    }

    /// Returns what the frame has beside its bytes.
    #[inline]
    pub fn describe(&self) -> TxInfo {
        let mut raw = MaybeUninit::<rlis_sys_net::rlis_net_tx>::uninit();
        // SAFETY: By the type invariant; the helper fills the struct in.
        let raw = unsafe {
            rlis_sys_net::net_describe_tx(self.skb.as_ptr(), raw.as_mut_ptr());
            raw.assume_init()
        };
        let protocol = match raw.protocol {
            IPPROTO_TCP => Some(Protocol::Tcp),
            IPPROTO_UDP => Some(Protocol::Udp),
            _ => None,
        };
        TxInfo {
            vlan: raw.has_vlan.then_some(raw.vlan),
            hash: raw.hash,
            wants_checksum: raw.partial,
            transport: protocol.map(|protocol| Transport {
                protocol,
                ipv6: raw.ipv6,
                offset: raw.transport,
            }),
            segment: NonZeroU16::new(raw.mss),
        }
    }

    /// Makes the headers of a frame that the device is to cut what it wants them to be (large send offload, version 2 of
    /// NDIS).
    ///
    /// # Errors
    ///
    /// `EINVAL` if it is not of TCP with a checksum to be filled in, `ENOMEM`.
    pub fn prepare_large_send(&mut self) -> Result {
        // SAFETY: By the type invariant, the packet is ours alone.
        to_result(unsafe { rlis_sys_net::net_prepare_lso(self.skb.as_ptr()) })
    }

    /// Fills in the checksum, since the device cannot.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, `EINVAL` if the frame has none.
    #[cold]
    pub fn fill_in_checksum(&mut self) -> Result {
        // SAFETY: By the type invariant, the packet is ours alone.
        to_result(unsafe { rlis_sys_net::skb_checksum_help(self.skb.as_ptr()) })
    }

    /// The frame was copied to where the device takes it from.
    #[inline]
    pub fn copied(self) {
        // SAFETY: By the type invariant.
        unsafe { rlis_sys_net::net_consume_skb(self.into_raw().as_ptr()) };
    }

    /// Copies the whole frame to `offset` bytes into `to`.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it has no room there.
    #[inline]
    pub fn copy_to(&self, to: &SharedMemory, offset: usize) -> Result {
        let len = usize::try_from(self.len())?;
        let room = to.range(offset, len).ok_or(EINVAL)?;
        let skb = self.raw();
        if skb.data_len == 0 {
            // SAFETY: All `len` bytes lie at `data`, which nobody else writes to; `room` is valid for as many, elsewhere.
            unsafe { rlis_sys::copy_shared(room.as_ptr().cast(), skb.data.cast(), len) };
            return Ok(());
        }
        // SAFETY: By the type invariant, the frame has so many bytes; `room` is valid for as many.
        to_result(unsafe {
            rlis_sys_net::skb_copy_bits(
                self.skb.as_ptr(),
                0,
                room.as_ptr().cast(),
                c_int::try_from(len)?,
            )
        })
    }

    /// Describes where the frame lies in physical memory, from the first of `words` on. For each piece there is, as in
    /// `struct hv_mpb_array` of VMBus, a word with its length, and in the upper half where it begins in its first page, and then
    /// the number of each page, of 4096 bytes.
    ///
    /// Returns `None` if there are more pieces than [`Self::MAX_PIECES`], or if `words` may be too short: three for each piece, and
    /// one for each 4096 bytes of the frame, are enough.
    #[inline]
    pub fn describe_pages(&self, words: &mut [u64]) -> Option<Described> {
        let room = u32::try_from(words.len()).unwrap_or(u32::MAX);
        // SAFETY: By the type invariant. The helper writes as many words as it returns, at most `room`.
        let pages = unsafe {
            rlis_sys_net::net_pages(
                self.skb.as_ptr(),
                words.as_mut_ptr(),
                room,
                Self::MAX_PIECES as u32,
            )
        };
        (pages.ranges != 0).then_some(Described {
            words: pages.words as usize,
            ranges: pages.ranges,
        })
    }

    /// Moves all data into one piece.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    #[cold]
    pub fn linearize(&mut self) -> Result {
        // SAFETY: By the type invariant.
        if unsafe { rlis_sys_net::net_linearize(self.skb.as_ptr()) } {
            Ok(())
        } else {
            Err(ENOMEM)
        }
    }

    /// Notes that the frame is about to be given to the device, for those who want to know when.
    #[inline]
    pub fn stamp(&self) {
        // SAFETY: By the type invariant.
        unsafe { rlis_sys_net::net_tx_timestamp(self.skb.as_ptr()) };
    }

    /// Throws the frame away.
    #[cold]
    pub fn discard(self) -> Sent {
        drop(self);
        Sent::taken()
    }

    /// Takes the frame over, to be given to the device together with others.
    #[inline]
    pub fn hold(self) -> (HeldPacket, Sent) {
        (HeldPacket(self), Sent::taken())
    }

    /// Leaves the frame with the stack, to be tried again when the queue is woken.
    pub fn busy(self, _queue: StoppedQueue<'_>) -> Sent {
        let _ = self.into_raw();
        Sent(Fate::Busy)
    }

    /// The frame has been sent; to be called in a poll.
    #[inline]
    pub(crate) fn consume(self, cx: &PollContext<'_>) {
        // SAFETY: By the type invariant; the poll has that budget.
        unsafe { rlis_sys_net::napi_consume_skb(self.into_raw().as_ptr(), cx.budget()) };
    }
}

/// A frame that the stack takes for sent, and that the device has not yet got.
pub struct HeldPacket(TxPacket);

impl HeldPacket {
    /// Returns the frame, to be given to the device.
    #[inline]
    pub fn release(self) -> TxPacket {
        self.0
    }
}

impl Drop for TxPacket {
    fn drop(&mut self) {
        // SAFETY: By the type invariant.
        unsafe { rlis_sys_net::net_free_skb(self.skb.as_ptr()) };
    }
}
