// SPDX-License-Identifier: GPL-2.0

//! Frames to send, `struct sk_buff`.

use crate::{
    napi::PollContext,
    queue::StoppedQueue, //
};
use core::ptr::NonNull;
use kernel::{
    error::to_result,
    prelude::*, //
};
use rlis_hv::SharedMemory;
use rlis_sys_net::{
    netdev_tx_t,
    sk_buff, //
};

/// Bytes in a page of the host, whatever those of the guest are.
const HV_PAGE_SIZE: u64 = 4096;

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
    fn at(address: u64, len: u32) -> Self {
        Self {
            pfn: address / HV_PAGE_SIZE,
            // Below 4096.
            #[allow(clippy::cast_possible_truncation)]
            offset: (address % HV_PAGE_SIZE) as u32,
            len,
        }
    }
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

impl TxPacket {
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

    /// Returns whether somebody has to compute a checksum in it (`CHECKSUM_PARTIAL`).
    #[inline]
    pub fn wants_checksum(&self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { rlis_sys_net::net_wants_checksum(self.skb.as_ptr()) }
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

    /// Returns how many pieces the frame lies in, from 1 on.
    #[inline]
    pub fn pieces(&self) -> usize {
        // SAFETY: By the type invariant. The shared info is only written by the owner.
        1 + usize::from(unsafe { (*rlis_sys_net::net_shared_info(self.skb.as_ptr())).nr_frags })
    }

    /// Calls `f` with where the pieces of the frame are in physical memory, one after the other.
    ///
    /// # Errors
    ///
    /// That of `f`, which ends it.
    pub fn ranges(&self, mut f: impl FnMut(Range) -> Result) -> Result {
        let skb = self.raw();
        let linear = skb.len.wrapping_sub(skb.data_len);
        if linear != 0 {
            // SAFETY: The linear part of a packet is memory of the kernel's linear map.
            f(Range::at(
                unsafe { rlis_sys_net::net_phys(skb.data.cast()) },
                linear,
            ))?;
        }
        // SAFETY: By the type invariant.
        let shared = unsafe { rlis_sys_net::net_shared_info(self.skb.as_ptr()) };
        // SAFETY: As above.
        let count = usize::from(unsafe { (*shared).nr_frags });
        for index in 0..count {
            // SAFETY: `frags` has at least `nr_frags` elements in use.
            let (pfn, offset, len) = unsafe {
                let frag = (&raw const (*shared).frags)
                    .cast::<rlis_sys_net::skb_frag_t>()
                    .add(index);
                (
                    rlis_sys_net::net_frag_pfn(frag),
                    rlis_sys_net::net_frag_offset(frag),
                    rlis_sys_net::net_frag_len(frag),
                )
            };
            if len != 0 {
                f(Range {
                    pfn: pfn.into_u64(),
                    offset,
                    len,
                })?;
            }
        }
        Ok(())
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

/// Numbers of pages, `unsigned long` in C.
trait IntoU64 {
    fn into_u64(self) -> u64;
}

impl IntoU64 for usize {
    fn into_u64(self) -> u64 {
        // 64 bits on the only architecture.
        self as u64
    }
}

impl Drop for TxPacket {
    fn drop(&mut self) {
        // SAFETY: By the type invariant.
        unsafe { rlis_sys_net::net_free_skb(self.skb.as_ptr()) };
    }
}

#[kunit_tests(rlis_net_tx)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let range = Range::at(0x1234_5678, 9000);
        assert_eq!(range.pfn, 0x12345);
        assert_eq!(range.offset, 0x678);
        assert_eq!(range.len, 9000);
    }
}
