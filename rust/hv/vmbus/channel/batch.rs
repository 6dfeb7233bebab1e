// SPDX-License-Identifier: GPL-2.0

//! Packets that go to the host together: they are written to the ring one by one, and the host is signalled once.
//!
//! The C API has no function for this: `vmbus_sendpacket` signals whenever the host may have come to the end of the ring. So
//! packets are written here, under the lock of `struct hv_ring_buffer_info` that the bus's own functions take, by the code that
//! our bus writes them with, and the signal is `vmbus_setevent`. Both are part of `<linux/hyperv.h>`, whichever bus is loaded.

use super::{
    Channel,
    Contiguous,
    MpbDescriptor,
    PacketType,
    PinnedChannel, //
};
use kernel::prelude::*;
use rlis_hv::{
    c_struct,
    outbound::{
        Content,
        Outbound, //
    },
    view::view,
    Field,
    MappedRing, //
};
use rlis_proto::ring::{
    self,
    packet::VMBUS_DATA_PACKET_FLAG_COMPLETION_REQUESTED as WANTS_COMPLETION,
    OutgoingRing,
    RingHeader,
    Signal,
    WriteError, //
};
use rlis_sys::vmbus_channel;

/// When the host is told of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tell {
    /// At once, if it does not look by itself; and of all that it was not told of before.
    Now,
    /// With a later packet, or by [`PinnedChannel::tell`]. Until then it may not see it.
    Later,
}

c_struct! {
    /// What else sending takes of a channel.
    // SAFETY: A channel is initialised by the bus.
    unsafe struct Fields(vmbus_channel) {
        fn size -> Field<u32> = outbound.ring_size;
        fn rescind -> Field<bool> = rescind;
    }
}

/// What writes and publishes a packet, with the ring's lock held, and returns how many bytes that took. No closure, for these can
/// not be told to be inlined.
trait Write {
    fn write(
        self,
        outbound: &Outbound,
        ring: &mut OutgoingRing<MappedRing>,
    ) -> Result<u32, WriteError>;
}

/// A packet with its id.
struct Whole<'a>(Content<'a>, u64);

impl Write for Whole<'_> {
    #[inline(always)]
    fn write(
        self,
        outbound: &Outbound,
        ring: &mut OutgoingRing<MappedRing>,
    ) -> Result<u32, WriteError> {
        let Self(content, id) = self;
        let (filled, bytes) = outbound.fill(ring, &content)?;
        filled.publish_quietly(content.packet_type, content.flags, id);
        Ok(bytes)
    }
}

/// A packet whose data lie in one page.
struct OnePage<'a, const N: usize> {
    range: [u64; 3],
    payload: &'a [u64; N],
    id: u64,
}

impl<const N: usize> Write for OnePage<'_, N> {
    #[inline(always)]
    fn write(
        self,
        outbound: &Outbound,
        ring: &mut OutgoingRing<MappedRing>,
    ) -> Result<u32, WriteError> {
        let Self { range, payload, id } = self;
        let packet_type = ring::PacketType::VM_PKT_DATA_USING_GPA_DIRECT;
        outbound.write_words(ring, packet_type, WANTS_COMPLETION, id, range, payload)
    }
}

/// The data of a packet, in less than a page: what [`MpbDescriptor::from_pages`] makes of one.
#[inline]
fn one_page(page: Contiguous) -> Option<[u64; 3]> {
    let Contiguous { pfn, offset, len } = page;
    let end = u64::from(offset) + u64::from(len);
    (len != 0 && end <= super::packet::HV_PAGE_SIZE).then_some([
        1 << 32,
        u64::from(offset) << 32 | u64::from(len),
        pfn,
    ])
}

impl Channel {
    /// The side of the ring that is written to.
    #[inline]
    fn outgoing(&self, outbound: &Outbound) -> Result<OutgoingRing<MappedRing>> {
        // SAFETY: The channel is open, which it is while there is the `PinnedChannel` that this is called for.
        let ring = unsafe { outbound.mapped() }.ok_or(EINVAL)?;
        OutgoingRing::new(ring).map_err(|_| EIO)
    }

    /// Whether the host has to be signalled for what it was not told of. The caller holds the ring's lock, and has made a full
    /// barrier since it took it.
    #[inline]
    fn settle(&self, ring: &OutgoingRing<MappedRing>) -> Signal {
        ring.signal_for(self.untold.replace(0))
    }
}

impl PinnedChannel<'_> {
    #[inline]
    fn fields(&self) -> &Fields {
        // SAFETY: By the type invariant the channel is open, so it stays valid as long as `self`.
        unsafe { view::<Fields>(self.0.raw.as_ptr()) }
    }

    #[inline]
    fn outbound(&self) -> &Outbound {
        // SAFETY: As in `fields`.
        unsafe { view::<Outbound>(self.0.raw.as_ptr()) }
    }

    /// Returns whether more than `percent` per cent of the outbound ring are free. It is out of date at once.
    pub fn has_room(&self, percent: u32) -> bool {
        let ring = self.0.outgoing(self.outbound());
        let Some(free) = ring.ok().and_then(|ring| ring.free().ok()) else {
            // Who sends is told what is wrong.
            return true;
        };
        u64::from(free) * 100 >= (u64::from(percent) + 1) * u64::from(self.fields().size().get())
    }

    /// Sends a packet with its data inside the ring, as [`Self::send`].
    ///
    /// # Errors
    ///
    /// As [`Self::send`]; of what was not told before, the host is told also if the ring is full. `EINVAL` if the handler has not
    /// said [`ChannelHandler::BATCHES`](super::ChannelHandler::BATCHES). `EBUSY` if no more than `spare` bytes of the ring are
    /// free, and of nothing was anybody told.
    pub fn write(
        &self,
        packet_type: PacketType,
        payload: &[u8],
        request_id: u64,
        completion: bool,
        spare: u32,
        tell: Tell,
    ) -> Result {
        let content = Content {
            // It has 16 bits in a packet.
            packet_type: ring::PacketType(u16::try_from(packet_type.0).map_err(|_| EINVAL)?),
            flags: if completion { WANTS_COMPLETION } else { 0 },
            extension: &[],
            payload,
        };
        self.put(spare, tell, Whole(content, request_id))
    }

    /// Sends a packet whose data lie in pages of the guest, as [`Self::send_mpb`].
    ///
    /// # Errors
    ///
    /// As [`Self::write`].
    pub fn write_mpb(
        &self,
        descriptor: &MpbDescriptor<'_>,
        payload: &[u8],
        request_id: u64,
        spare: u32,
        tell: Tell,
    ) -> Result {
        let content = Content {
            packet_type: ring::PacketType::VM_PKT_DATA_USING_GPA_DIRECT,
            flags: WANTS_COMPLETION,
            extension: descriptor.extension(),
            payload,
        };
        self.put(spare, tell, Whole(content, request_id))
    }

    /// As [`Self::write_mpb`] with data that lie in one page, and a payload of so many words: much of what there is to do
    /// otherwise is done by the compiler.
    ///
    /// # Errors
    ///
    /// As [`Self::write`], and `EINVAL` if the data leave their page.
    #[inline(always)]
    pub fn write_page<const N: usize>(
        &self,
        page: Contiguous,
        payload: &[u64; N],
        request_id: u64,
        spare: u32,
        tell: Tell,
    ) -> Result {
        let range = one_page(page).ok_or(EINVAL)?;
        let id = request_id;
        self.put(spare, tell, OnePage { range, payload, id })
    }

    /// Tells the host of what it was not told of, if it does not look by itself. Any context.
    pub fn tell(&self) {
        let outbound = self.outbound();
        let signal = {
            let _guard = outbound.lock().lock();
            match self.0.outgoing(outbound) {
                Ok(ring) => {
                    // Other CPUs may have written.
                    ring.mem().full_barrier();
                    self.0.settle(&ring)
                }
                Err(_) => Signal::NotNeeded,
            }
        };
        self.signal(signal);
    }

    #[inline(always)]
    fn put(&self, spare: u32, tell: Tell, packet: impl Write) -> Result {
        let rescind = self.fields().rescind();
        if !self.0.batches {
            return Err(EINVAL);
        }
        if rescind.get() {
            return Err(ENODEV);
        }
        let (sent, signal) = {
            let _guard = self.outbound().lock().lock();
            self.put_locked(spare, tell, packet)
        };
        self.signal(signal);
        sent?;
        if rescind.get() {
            return Err(ENODEV);
        }
        Ok(())
    }

    /// The caller holds the ring's lock.
    #[inline(always)]
    fn put_locked(&self, spare: u32, tell: Tell, packet: impl Write) -> (Result, Signal) {
        let mut ring = match self.0.outgoing(self.outbound()) {
            Ok(ring) => ring,
            Err(error) => return (Err(error), Signal::NotNeeded),
        };
        if spare != 0 && ring.free().is_ok_and(|free| free <= spare) {
            return (Err(EBUSY), Signal::NotNeeded);
        }
        let bytes = match packet.write(self.outbound(), &mut ring) {
            Ok(bytes) => bytes,
            Err(WriteError::Full { .. }) => return self.full(&ring),
            Err(WriteError::Corrupt(_)) => return (Err(EIO), Signal::NotNeeded),
            Err(_) => return (Err(EINVAL), Signal::NotNeeded),
        };
        let untold = &self.0.untold;
        untold.set(untold.get().saturating_add(bytes));
        let signal = match tell {
            Tell::Now => self.0.settle(&ring),
            Tell::Later => Signal::NotNeeded,
        };
        (Ok(()), signal)
    }

    /// There is no room: the host makes some if it knows that there is something to read.
    #[cold]
    fn full(&self, ring: &OutgoingRing<MappedRing>) -> (Result, Signal) {
        ring.mem().full_barrier();
        (Err(EAGAIN), self.0.settle(ring))
    }

    #[inline]
    fn signal(&self, signal: Signal) {
        if signal.needed() {
            self.outbound().signals().count();
            // SAFETY: By the type invariant the channel is open.
            unsafe { rlis_sys::vmbus_setevent(self.0.raw.as_ptr()) };
        }
    }
}

#[kunit_tests(rlis_vmbus_batch)]
mod tests {
    use super::*;

    #[test]
    fn one_page_is_as_others() {
        for (offset, len) in [(0, 4096), (0x123, 1), (4095, 1), (0, 512)] {
            let mut buffer = [0; 5];
            let all = MpbDescriptor::from_pages(&mut buffer, len, offset, [7].into_iter());
            let page = Contiguous {
                pfn: 7,
                offset,
                len,
            };
            let words = one_page(page);
            assert_eq!(
                words.as_ref().map(zerocopy::IntoBytes::as_bytes),
                all.as_ref().ok().map(MpbDescriptor::extension)
            );
        }
        for (offset, len) in [
            (0, 4097),
            (1, 4096),
            (4096, 0),
            (5, 0),
            (u32::MAX, u32::MAX),
        ] {
            let page = Contiguous {
                pfn: 7,
                offset,
                len,
            };
            assert_eq!(one_page(page), None);
        }
    }
}
