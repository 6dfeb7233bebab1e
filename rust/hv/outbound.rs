// SPDX-License-Identifier: GPL-2.0

//! The side of a channel's rings that the guest writes to, for our bus and for drivers that write packets themselves.

use crate::{
    c_struct,
    lock::SpinLock,
    view::Field,
    MappedRing, //
};
use core::ptr::NonNull;
use rlis_proto::ring::{
    packet::DESCRIPTOR_SIZE,
    Filled,
    OutgoingRing,
    PacketType,
    WriteError, //
};
use rlis_sys::vmbus_channel;

c_struct! {
    /// What writing packets takes of a channel.
    // SAFETY: A channel is initialised by the bus, with the lock of its ring.
    unsafe pub struct Outbound(vmbus_channel) {
        /// Who writes holds it.
        pub fn lock -> SpinLock = outbound.ring_lock;
        fn ring -> Field<*mut rlis_sys::hv_ring_buffer> = outbound.ring_buffer;
        fn datasize -> Field<u32> = outbound.ring_datasize;
        fn full_flag -> Field<bool> = out_full_flag;
        fn full_first -> Field<u64> = out_full_first;
        fn full_total -> Field<u64> = out_full_total;
        /// Signals to the host.
        pub fn signals -> Field<u64> = intr_out_empty;
    }
}

/// What a packet consists of, but for its id.
pub struct Content<'a> {
    /// What kind of packet it is.
    pub packet_type: PacketType,
    /// `VMBUS_DATA_PACKET_FLAG_*`.
    pub flags: u16,
    /// What comes between descriptor and payload, a multiple of 8 bytes.
    pub extension: &'a [u8],
    /// The payload, padded on the way.
    pub payload: &'a [u8],
}

impl Outbound {
    /// The ring as it is mapped now, if it is.
    ///
    /// # Safety
    ///
    /// It is not unmapped while the value is used: the channel is open, or the ring's mutex held.
    #[inline]
    pub unsafe fn mapped(&self) -> Option<MappedRing> {
        let base = NonNull::new(self.ring().get())?;
        // SAFETY: The bus maps all rings so, a header page and twice the data, which are whole pages and far less than 1 GiB (a
        // GPADL does not name that many), and keeps them while the caller promises.
        Some(unsafe { MappedRing::new(base.cast(), self.datasize().get()) })
    }

    /// Copies a packet into the ring, which whoever gets it publishes; returns how many bytes it takes there, too. The caller
    /// holds the lock.
    ///
    /// # Errors
    ///
    /// As [`OutgoingRing::reserve`]. That the ring is full is counted.
    #[inline(always)]
    pub fn fill<'a>(
        &self,
        ring: &'a mut OutgoingRing<MappedRing>,
        content: &Content<'_>,
    ) -> Result<(Filled<'a, MappedRing>, u32), WriteError> {
        let header = DESCRIPTOR_SIZE as usize + content.extension.len();
        let room = match ring.reserve(header, content.payload.len()) {
            Ok(room) => room,
            Err(error) => return Err(self.refused(error)),
        };
        self.full_flag().set(false);
        let bytes = room.ring_bytes();
        Ok((room.fill(&[content.extension], &[content.payload])?, bytes))
    }

    /// Writes and publishes a packet of whole words, as [`OutgoingRing::write_words`]; returns how many bytes it takes in the
    /// ring. The caller holds the lock.
    ///
    /// # Errors
    ///
    /// As [`OutgoingRing::write_words`]. That the ring is full is counted.
    #[inline(always)]
    pub fn write_words<const E: usize, const P: usize>(
        &self,
        ring: &mut OutgoingRing<MappedRing>,
        packet_type: PacketType,
        flags: u16,
        id: u64,
        extension: [u64; E],
        payload: &[u64; P],
    ) -> Result<u32, WriteError> {
        match ring.write_words(packet_type, flags, id, extension, payload) {
            Ok(bytes) => {
                self.full_flag().set(false);
                Ok(bytes)
            }
            Err(error) => Err(self.refused(error)),
        }
    }

    /// Counts how often the ring was full, and how often it became so.
    #[cold]
    fn refused(&self, error: WriteError) -> WriteError {
        if let WriteError::Full { .. } = error {
            self.full_total().count();
            if !self.full_flag().replace(true) {
                self.full_first().count();
            }
        }
        error
    }
}
