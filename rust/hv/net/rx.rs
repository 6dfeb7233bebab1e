// SPDX-License-Identifier: GPL-2.0

//! Frames received, `struct sk_buff`.

use crate::poll::PollContext;
use core::ptr::NonNull;
use kernel::page::PAGE_SIZE;
use rlis_hv::SharedMemory;
use rlis_sys_net::sk_buff;

/// Bytes of an Ethernet header, without which nothing is a frame.
const ETH_HLEN: usize = 14;

/// Bytes of the longest frame that lies in one piece of memory, which is smaller than a page.
const LINEAR: usize = 3000;

/// Bytes of a longer frame that lie in its head: enough for the headers.
const HEAD: usize = 256;

/// Pages that a packet can have besides its head, on any kernel.
const MAX_FRAGS: usize = 17;

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
    /// Gives a packet to the stack, which may put it together with others of its flow (GRO).
    #[inline]
    pub fn receive(&mut self, packet: RxPacket) {
        let skb = core::mem::ManuallyDrop::new(packet).skb;
        // SAFETY: By the type invariants; the packet is ours to give away.
        unsafe {
            rlis_sys_net::net_napi_receive(
                self.raw_napi(),
                skb.as_ptr(),
                self.device().as_raw(),
                self.queue(),
            )
        };
        self.count();
    }

    /// Makes a packet of a copy of the `len` bytes of a frame that lie at `offset` in memory that others write to.
    ///
    /// Returns `None` if there is no memory, if the bytes do not all lie in `from`, or if they are less than an Ethernet
    /// header or more than a packet can have, about 64 KiB.
    #[inline]
    pub fn copy_frame(&self, from: &SharedMemory, offset: usize, len: usize) -> Option<RxPacket> {
        if len > LINEAR {
            return self.begin_pieces(from, offset, len).map(RxPieces::finish);
        }
        self.linear(from, offset, len)
    }

    /// Makes a packet of a copy of at most [`LINEAR`] bytes, all in its head.
    #[inline]
    fn linear(&self, from: &SharedMemory, offset: usize, len: usize) -> Option<RxPacket> {
        let source = from.range(offset, len)?;
        if len < ETH_HLEN {
            return None;
        }
        // Not longer than `LINEAR`.
        #[allow(clippy::cast_possible_truncation)]
        let size = len as u32;
        // SAFETY: This is a poll of the instance. So many bytes are valid to read; others may write them meanwhile, hence the
        // copy in C.
        let skb =
            unsafe { rlis_sys_net::net_copy_frame(self.raw_napi(), source.as_ptr().cast(), size) };
        // INVARIANT: There are at least the bytes of a header, all in the head.
        Some(RxPacket {
            skb: NonNull::new(skb)?,
        })
    }

    /// Begins a frame that comes in pieces, with a copy of the first of them, as [`Self::copy_frame`]. The frame has a small
    /// head, and whole pages for the rest.
    ///
    /// Returns `None` if there is no memory, if the bytes do not all lie in `from`, or if they are less than an Ethernet
    /// header or more than a packet can have.
    pub fn begin_pieces(&self, from: &SharedMemory, offset: usize, len: usize) -> Option<RxPieces> {
        let head = len.min(HEAD);
        let packet = self.linear(from, offset, head)?;
        // SAFETY: By the type invariant. What it gets is of the pool.
        unsafe { rlis_sys_net::net_mark_for_recycle(packet.skb.as_ptr()) };
        // INVARIANT: There is a header in the head; there is no page yet.
        let mut pieces = RxPieces {
            packet,
            pages: 0,
            room: core::ptr::null_mut(),
            left: 0,
            uncounted: 0,
        };
        if len > head {
            self.add_piece(&mut pieces, from, offset + head, len - head)?;
        }
        Some(pieces)
    }

    /// Puts a copy of another piece behind what there is of a frame, of any length.
    ///
    /// Returns `None` if there is no memory, if the bytes do not all lie in `from`, or if the frame would be too long. Some of
    /// them may have been copied then: the frame is good for nothing.
    pub fn add_piece(
        &self,
        pieces: &mut RxPieces,
        from: &SharedMemory,
        offset: usize,
        len: usize,
    ) -> Option<()> {
        let source = from.range(offset, len)?;
        let skb = pieces.packet.skb.as_ptr();
        let mut at = 0;
        while at < len {
            if pieces.left == 0 {
                if pieces.pages >= MAX_FRAGS {
                    return None;
                }
                pieces.count();
                // SAFETY: This is a poll of the pool's instance.
                let page = unsafe { rlis_sys_net::net_pool_alloc_page(self.pool()) };
                let page = NonNull::new(page)?;
                // SAFETY: The page is ours alone, and goes to the packet, which has fewer than `MAX_FRAGS`. All pages are
                // mapped on x86_64. The fragment has no bytes yet, and the memory of a page.
                unsafe {
                    rlis_sys_net::net_add_rx_frag(
                        skb,
                        pieces.pages as i32,
                        page.as_ptr(),
                        0,
                        0,
                        PAGE_SIZE as u32,
                    );
                    pieces.room = rlis_sys_net::net_page_address(page.as_ptr()).cast();
                }
                // INVARIANT: The page that was just added is empty.
                pieces.pages += 1;
                pieces.left = PAGE_SIZE;
            }
            let part = pieces.left.min(len - at);
            // SAFETY: By the type invariant there are `left` bytes at `room`, which belong to the last fragment; `source` has
            // `len` bytes.
            unsafe {
                rlis_sys::copy_shared(pieces.room.cast(), source.as_ptr().add(at).cast(), part);
                pieces.room = pieces.room.add(part);
            }
            // INVARIANT: So many bytes of the page are used up.
            pieces.left -= part;
            pieces.uncounted += part as u32;
            at += part;
        }
        Some(())
    }
}

/// A frame that comes in pieces.
///
/// Dropped, it is freed: the frame is lost.
///
/// # Invariants
///
/// `packet` has `pages` fragments, each of a page that is ours alone. The last of them has `left` bytes more, at `room`, and in front
/// of that `uncounted` bytes that do not belong to the packet yet.
pub struct RxPieces {
    packet: RxPacket,
    pages: usize,
    room: *mut u8,
    left: usize,
    uncounted: u32,
}

impl RxPieces {
    /// All pieces are there.
    #[inline]
    pub fn finish(mut self) -> RxPacket {
        self.count();
        self.packet
    }

    /// What was copied to the last page belongs to the packet from now on.
    #[inline]
    fn count(&mut self) {
        // INVARIANT: Nothing is left uncounted.
        let bytes = core::mem::take(&mut self.uncounted);
        if bytes != 0 {
            // SAFETY: By the type invariant there is a last fragment, since there are bytes in it, which belong to its page.
            unsafe {
                rlis_sys_net::net_grow_frag(self.packet.skb.as_ptr(), self.pages as i32 - 1, bytes);
            }
        }
    }
}

impl RxPacket {
    /// Takes a packet over.
    ///
    /// # Safety
    ///
    /// `skb` must be valid and owned by the caller, who gives that up, with at least an Ethernet header in its head, and know its
    /// interface.
    #[inline]
    pub(crate) unsafe fn from_raw(skb: NonNull<sk_buff>) -> Self {
        // INVARIANT: As required of the caller.
        Self { skb }
    }

    /// Returns the length of the frame with its Ethernet header, in bytes.
    #[inline]
    #[allow(clippy::len_without_is_empty)] // There is a header at least.
    pub fn len(&self) -> u32 {
        // SAFETY: By the type invariant.
        unsafe { (*self.skb.as_ptr()).len }
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

    /// The device has found the checksum of the IPv4 header right, and has then changed what it is of: makes it right again.
    pub fn fix_ip_checksum(&mut self) {
        // SAFETY: By the type invariant, the packet is ours alone; the helper looks at what lies in the head.
        unsafe { rlis_sys_net::net_fix_ip_checksum(self.skb.as_ptr()) };
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
