// SPDX-License-Identifier: GPL-2.0

//! Frames received, `struct sk_buff`.

use crate::napi::PollContext;
use core::ptr::NonNull;
use kernel::page::PAGE_SIZE;
use rlis_hv::SharedMemory;
use rlis_sys_net::{
    net_device,
    sk_buff, //
};

/// Bytes of an Ethernet header, without which nothing is a frame.
const ETH_HLEN: usize = 14;

/// Bytes of a long frame that lie in its head: enough for the headers.
const HEAD: usize = 256;

/// Pages that a packet can have besides its head, on any kernel.
const MAX_FRAGS: usize = 16;

/// A frame that was received.
///
/// Dropped, it is freed: the frame is lost.
///
/// # Invariants
///
/// `skb` is valid, this is its only owner, and at least an Ethernet header lies in its head.
pub struct RxPacket {
    skb: NonNull<sk_buff>,
}

impl PollContext<'_> {
    /// Makes a packet of a copy of the `len` bytes of a frame that lie at `offset` in memory that others write to.
    ///
    /// Returns `None` if there is no memory, if the bytes do not all lie in `from`, or if they are less than an Ethernet
    /// header or more than a packet can have, about 64 KiB.
    #[inline]
    pub fn copy_frame(&self, from: &SharedMemory, offset: usize, len: usize) -> Option<RxPacket> {
        let source = from.range(offset, len)?;
        if len < ETH_HLEN {
            return None;
        }
        let size = u32::try_from(len).ok()?;
        // SAFETY: No requirements.
        let truesize = unsafe { rlis_sys_net::net_skb_truesize(size) };
        let packet = if usize::try_from(truesize).ok()? <= PAGE_SIZE {
            self.linear(truesize)?
        } else {
            return self.long(source.as_ptr(), len);
        };
        // SAFETY: The packet was made with room for so many bytes, which are valid to read. Others may write them
        // meanwhile, hence the copy in C.
        unsafe {
            let to = rlis_sys_net::skb_put(packet.skb.as_ptr(), size);
            rlis_sys::copy_shared(to.cast(), source.as_ptr().cast(), len);
        }
        // INVARIANT: There are at least the bytes of a header.
        Some(packet)
    }

    /// Makes an empty packet in a piece of a page of the pool.
    #[inline]
    fn linear(&self, truesize: u32) -> Option<RxPacket> {
        let mut size = truesize;
        // SAFETY: This is a poll of the pool's instance.
        let memory = unsafe { rlis_sys_net::net_pool_alloc(self.pool(), &mut size) };
        if memory.is_null() {
            return None;
        }
        // SAFETY: The memory has `size` bytes, enough for the shared info at its end.
        let Some(skb) = NonNull::new(unsafe { rlis_sys_net::napi_build_skb(memory, size) }) else {
            // SAFETY: The memory is the pool's and not used; this is still the poll.
            unsafe { rlis_sys_net::net_pool_free(self.pool(), memory) };
            return None;
        };
        // SAFETY: The packet is new, with that headroom and more of room; its memory is the pool's.
        unsafe {
            rlis_sys_net::net_reserve(skb.as_ptr(), rlis_sys_net::net_skb_headroom());
            rlis_sys_net::net_mark_for_recycle(skb.as_ptr());
        }
        Some(RxPacket { skb })
    }

    /// Makes a packet of a small head and whole pages.
    #[cold]
    fn long(&self, source: *const u8, len: usize) -> Option<RxPacket> {
        if len > HEAD + MAX_FRAGS * PAGE_SIZE {
            return None;
        }
        // SAFETY: This is a poll of the instance.
        let skb = unsafe { rlis_sys_net::napi_alloc_skb(self.raw_napi(), HEAD as u32) };
        let packet = RxPacket {
            skb: NonNull::new(skb)?,
        };
        // SAFETY: The packet has that room, `source` is longer, see `copy_frame`.
        unsafe {
            let to = rlis_sys_net::skb_put(skb, HEAD as u32);
            rlis_sys::copy_shared(to.cast(), source.cast(), HEAD);
            rlis_sys_net::net_mark_for_recycle(skb);
        }
        let mut at = HEAD;
        let mut index = 0;
        while at < len {
            let part = PAGE_SIZE.min(len - at);
            // SAFETY: This is a poll of the pool's instance.
            let page = NonNull::new(unsafe { rlis_sys_net::net_pool_alloc_page(self.pool()) })?;
            // SAFETY: The page is ours alone and mapped, as all pages are on x86_64. `source` has `len` bytes. There are
            // fewer than `MAX_FRAGS` pages in the packet.
            unsafe {
                let to = rlis_sys_net::net_page_address(page.as_ptr());
                rlis_sys::copy_shared(to, source.add(at).cast(), part);
                rlis_sys_net::net_add_rx_frag(
                    skb,
                    index,
                    page.as_ptr(),
                    0,
                    part as i32,
                    PAGE_SIZE as u32,
                );
            }
            at += part;
            index += 1;
        }
        Some(packet)
    }
}

impl RxPacket {
    /// Gives the packet to the caller, as one that a queue of `dev` has received.
    #[inline]
    pub(crate) fn into_raw(self, dev: *mut net_device, queue: u16) -> NonNull<sk_buff> {
        let skb = core::mem::ManuallyDrop::new(self).skb;
        // SAFETY: By the type invariant; `dev` is the interface that is being polled.
        unsafe {
            rlis_sys_net::net_set_protocol(skb.as_ptr(), dev);
            rlis_sys_net::net_record_rx_queue(skb.as_ptr(), queue);
        }
        skb
    }

    /// Returns whether the frame goes to more than one station.
    #[inline]
    pub fn is_multicast(&self) -> bool {
        // SAFETY: By the type invariant, the header lies in the head, and the packet is ours alone.
        unsafe { *(*self.skb.as_ptr()).data & 1 != 0 }
    }

    /// The device has found the checksums of the transport right (`CHECKSUM_UNNECESSARY`).
    #[inline]
    pub fn set_checksum_good(&mut self) {
        // SAFETY: By the type invariant.
        unsafe { rlis_sys_net::net_set_checksum_good(self.skb.as_ptr()) };
    }

    /// The frame had this tag of IEEE 802.1Q (priority, and VLAN), which is not in it any more.
    #[inline]
    pub fn set_vlan(&mut self, tci: u16) {
        // SAFETY: By the type invariant.
        unsafe { rlis_sys_net::net_set_vlan(self.skb.as_ptr(), tci) };
    }

    /// The device has computed this hash of the addresses of the flow, `l4` with its ports.
    #[inline]
    pub fn set_hash(&mut self, hash: u32, l4: bool) {
        // SAFETY: By the type invariant.
        unsafe { rlis_sys_net::net_set_hash(self.skb.as_ptr(), hash, l4) };
    }
}

impl Drop for RxPacket {
    fn drop(&mut self) {
        // SAFETY: By the type invariant.
        unsafe { rlis_sys_net::net_free_skb(self.skb.as_ptr()) };
    }
}
