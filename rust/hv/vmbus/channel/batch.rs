// SPDX-License-Identifier: GPL-2.0

//! Packets that go to the host together: they are written to the ring one by one, and the host is signalled once.
//!
//! The C API has no function for this: `vmbus_sendpacket` signals whenever the host may have come to the end of the ring. So
//! packets are written here, under the lock of `struct hv_ring_buffer_info` that the bus's own functions take, by the code that
//! our bus writes them with, and the signal is `vmbus_setevent`. Both are part of `<linux/hyperv.h>`, whichever bus is loaded.

use super::{
    Channel,
    MpbDescriptor,
    PacketType,
    PinnedChannel, //
};
use core::ptr::NonNull;
use kernel::prelude::*;
use rlis_hv::{
    c_struct,
    lock::SpinLock,
    view::view,
    Field,
    MappedRing, //
};
use rlis_proto::ring::{
    self,
    packet::{
        DESCRIPTOR_SIZE,
        VMBUS_DATA_PACKET_FLAG_COMPLETION_REQUESTED as WANTS_COMPLETION, //
    },
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
    /// What sending takes of a channel.
    // SAFETY: A channel is initialised by the bus, with the lock of its ring.
    unsafe struct Fields(vmbus_channel) {
        fn lock -> SpinLock = outbound.ring_lock;
        fn ring -> Field<*mut rlis_sys::hv_ring_buffer> = outbound.ring_buffer;
        fn datasize -> Field<u32> = outbound.ring_datasize;
        fn size -> Field<u32> = outbound.ring_size;
        fn rescind -> Field<bool> = rescind;
        fn out_full_flag -> Field<bool> = out_full_flag;
        fn out_full_first -> Field<u64> = out_full_first;
        fn out_full_total -> Field<u64> = out_full_total;
        fn intr_out_empty -> Field<u64> = intr_out_empty;
    }
}

/// What a packet consists of.
struct Content<'a> {
    packet_type: ring::PacketType,
    flags: u16,
    /// Between the common descriptor and the payload.
    extension: &'a [u8],
    payload: &'a [u8],
    id: u64,
}

impl Channel {
    /// The side of the ring that is written to.
    #[inline]
    fn outgoing(&self, fields: &Fields) -> Result<OutgoingRing<MappedRing>> {
        let base = NonNull::new(fields.ring().get()).ok_or(EINVAL)?;
        // SAFETY: The bus has mapped a header page and twice the data, as it does for all rings, and keeps them while the channel
        // is open, which it is while there is the `PinnedChannel` that this is called for.
        let ring = unsafe { MappedRing::new(base.cast(), fields.datasize().get()) };
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

    /// Returns whether more than `percent` per cent of the outbound ring are free. It is out of date at once.
    #[inline]
    pub fn has_room(&self, percent: u32) -> bool {
        let fields = self.fields();
        let Some(free) = self
            .0
            .outgoing(fields)
            .ok()
            .and_then(|ring| ring.free().ok())
        else {
            // Who sends is told what is wrong.
            return true;
        };
        u64::from(free) * 100 >= (u64::from(percent) + 1) * u64::from(fields.size().get())
    }

    /// Sends a packet with its data inside the ring, as [`Self::send`].
    ///
    /// # Errors
    ///
    /// As [`Self::send`]; of what was not told before, the host is told also if the ring is full. `EINVAL` if the handler has not
    /// said [`ChannelHandler::BATCHES`](super::ChannelHandler::BATCHES).
    #[inline]
    pub fn write(
        &self,
        packet_type: PacketType,
        payload: &[u8],
        request_id: u64,
        completion: bool,
        tell: Tell,
    ) -> Result {
        let content = Content {
            // It has 16 bits in a packet.
            packet_type: ring::PacketType(u16::try_from(packet_type.0).map_err(|_| EINVAL)?),
            flags: if completion { WANTS_COMPLETION } else { 0 },
            extension: &[],
            payload,
            id: request_id,
        };
        self.put(&content, tell)
    }

    /// Sends a packet whose data lie in pages of the guest, as [`Self::send_mpb`].
    ///
    /// # Errors
    ///
    /// As [`Self::write`].
    #[inline]
    pub fn write_mpb(
        &self,
        descriptor: &MpbDescriptor<'_>,
        payload: &[u8],
        request_id: u64,
        tell: Tell,
    ) -> Result {
        let content = Content {
            packet_type: ring::PacketType::VM_PKT_DATA_USING_GPA_DIRECT,
            flags: WANTS_COMPLETION,
            extension: descriptor.extension(),
            payload,
            id: request_id,
        };
        self.put(&content, tell)
    }

    /// Tells the host of what it was not told of, if it does not look by itself. Any context.
    pub fn tell(&self) {
        let fields = self.fields();
        let signal = {
            let _guard = fields.lock().lock();
            match self.0.outgoing(fields) {
                Ok(ring) => {
                    // Other CPUs may have written.
                    ring.mem().full_barrier();
                    self.0.settle(&ring)
                }
                Err(_) => Signal::NotNeeded,
            }
        };
        self.signal(fields, signal);
    }

    #[inline]
    fn put(&self, content: &Content<'_>, tell: Tell) -> Result {
        let fields = self.fields();
        if !self.0.batches {
            return Err(EINVAL);
        }
        if fields.rescind().get() {
            return Err(ENODEV);
        }
        let (sent, signal) = {
            let _guard = fields.lock().lock();
            self.put_locked(fields, content, tell)
        };
        self.signal(fields, signal);
        sent?;
        if fields.rescind().get() {
            return Err(ENODEV);
        }
        Ok(())
    }

    /// The caller holds the ring's lock.
    #[inline]
    fn put_locked(&self, fields: &Fields, content: &Content<'_>, tell: Tell) -> (Result, Signal) {
        let mut ring = match self.0.outgoing(fields) {
            Ok(ring) => ring,
            Err(error) => return (Err(error), Signal::NotNeeded),
        };
        let header = DESCRIPTOR_SIZE as usize + content.extension.len();
        let room = match ring.reserve(header, content.payload.len()) {
            Ok(room) => room,
            Err(WriteError::Full { .. }) => return self.full(fields, &ring),
            Err(WriteError::Corrupt(_)) => return (Err(EIO), Signal::NotNeeded),
            Err(_) => return (Err(EINVAL), Signal::NotNeeded),
        };
        fields.out_full_flag().set(false);
        let bytes = room.ring_bytes();
        let Ok(filled) = room.fill(&[content.extension], &[content.payload]) else {
            return (Err(EINVAL), Signal::NotNeeded);
        };
        filled.publish_quietly(content.packet_type, content.flags, content.id);
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
    fn full(&self, fields: &Fields, ring: &OutgoingRing<MappedRing>) -> (Result, Signal) {
        fields.out_full_total().count();
        if !fields.out_full_flag().replace(true) {
            fields.out_full_first().count();
        }
        ring.mem().full_barrier();
        (Err(EAGAIN), self.0.settle(ring))
    }

    #[inline]
    fn signal(&self, fields: &Fields, signal: Signal) {
        if signal.needed() {
            fields.intr_out_empty().count();
            // SAFETY: By the type invariant the channel is open.
            unsafe { rlis_sys::vmbus_setevent(self.0.raw.as_ptr()) };
        }
    }
}
