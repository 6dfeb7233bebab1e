// SPDX-License-Identifier: GPL-2.0

//! Incoming packets.

use super::{
    CallbackMode,
    Channel,
    PacketType, //
};
use core::ptr::NonNull;
use kernel::types::NotThreadSafe;
use rlis_hv::ordered::store_release;
use rlis_sys::vmpacket_descriptor;

/// Takes packets out of a channel's inbound ring.
///
/// The bus copies each packet out of the memory that the host can write, so what is seen here stays as it is.
/// Space in the ring goes back to the host when the reader is dropped, or when the ring is empty.
///
/// # Invariants
///
/// - The channel is open while the reader exists, and there is no other reader of it.
/// - `current` is the packet that the bus returned last and that is not yet counted as read.
pub struct Reader<'a> {
    channel: &'a Channel,
    current: Option<NonNull<vmpacket_descriptor>>,
    /// `reading` of the channel was set for this one.
    is_noted: bool,
    _not_send: NotThreadSafe,
}

impl<'a> Reader<'a> {
    /// Makes a reader.
    ///
    /// # Safety
    ///
    /// The channel must stay open as long as the reader exists, and there must be no other reader. With `is_noted`, `reading` of
    /// the channel was set for it.
    #[inline]
    pub(super) unsafe fn new(channel: &'a Channel, is_noted: bool) -> Self {
        // INVARIANT: As required of the caller.
        Self {
            channel,
            current: None,
            is_noted,
            _not_send: NotThreadSafe,
        }
    }

    /// Returns the channel.
    pub fn channel(&self) -> &'a Channel {
        self.channel
    }

    /// Returns the next packet, and counts the one before as read. `None` if the ring is empty.
    ///
    /// To stop before the ring is empty, just drop the reader: in [`CallbackMode::Batched`]
    /// (super::CallbackMode::Batched) the handler is called again.
    #[inline]
    pub fn next_packet(&mut self) -> Option<Packet<'_>> {
        let raw = self.channel.raw.as_ptr();
        let mut next = match self.current.take() {
            // SAFETY: By the type invariants, the channel is open, this is the only reader, and the packet is the
            // last one returned.
            Some(packet) => unsafe { rlis_sys::__hv_pkt_iter_next(raw, packet.as_ptr()) },
            // SAFETY: As above.
            None => unsafe { rlis_sys::hv_pkt_iter_first(raw) },
        };
        if next.is_null() {
            // SAFETY: As above.
            unsafe { rlis_sys::hv_pkt_iter_close(raw) };
            // The host signals only if the ring is empty when it writes, as far as it has been told. What it has written
            // since the ring was found empty, and before that was told, is for us to find, or nobody ever hears of it and
            // of what follows. In batched mode the bus looks again as it lets the host signal; where interrupts run the handler its driver does.
            if self.channel.mode == CallbackMode::Direct {
                // SAFETY: As above.
                next = unsafe { rlis_sys::hv_pkt_iter_first(raw) };
            }
        }
        let next = NonNull::new(next)?;
        // INVARIANT: This is the packet returned last.
        self.current = Some(next);
        // SAFETY: The bus has just copied the packet into the channel's private buffer, where it stays until the
        // next call. It has corrected the length to what it copied, at least a descriptor's, and the offset to
        // something between the two.
        let bytes = unsafe {
            core::slice::from_raw_parts(
                next.as_ptr().cast::<u8>(),
                usize::from((*next.as_ptr()).len8) * 8,
            )
        };
        // SAFETY: As above.
        let descriptor = unsafe { &*next.as_ptr() };
        Some(Packet { descriptor, bytes })
    }
}

impl Drop for Reader<'_> {
    #[inline]
    fn drop(&mut self) {
        let raw = self.channel.raw.as_ptr();
        if let Some(packet) = self.current.take() {
            // The packet has been seen, so it counts as read; the one that follows is copied once more later.
            // SAFETY: As in `next_packet`.
            unsafe { rlis_sys::__hv_pkt_iter_next(raw, packet.as_ptr()) };
            // SAFETY: As in `next_packet`.
            unsafe { rlis_sys::hv_pkt_iter_close(raw) };
        }
        if self.is_noted {
            store_release(&self.channel.reading, false);
        }
    }
}

/// A packet from the host, in private memory. All in it is the host's word: check before use.
#[derive(Clone, Copy)]
pub struct Packet<'a> {
    descriptor: &'a vmpacket_descriptor,
    bytes: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Returns the type of the packet.
    #[inline]
    pub fn packet_type(&self) -> PacketType {
        PacketType(u32::from(self.descriptor.type_))
    }

    /// Returns whether the host wants a completion.
    pub fn wants_completion(&self) -> bool {
        u32::from(self.descriptor.flags) & super::COMPLETION_REQUESTED != 0
    }

    /// Returns the transaction id: of the request that this completes, or one to answer with.
    #[inline]
    pub fn transaction_id(&self) -> u64 {
        self.descriptor.trans_id
    }

    /// Returns the whole packet, at least 16 bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Returns what lies between the common descriptor and the payload, such as transfer pages.
    pub fn extra_header(&self) -> &'a [u8] {
        self.bytes
            .get(16..self.payload_offset())
            .unwrap_or_default()
    }

    /// Returns the payload. It is as long as the packet says in units of eight bytes, so up to seven more than
    /// what the host meant.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        self.bytes.get(self.payload_offset()..).unwrap_or_default()
    }

    #[inline]
    fn payload_offset(&self) -> usize {
        usize::from(self.descriptor.offset8) * 8
    }
}
