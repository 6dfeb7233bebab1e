// SPDX-License-Identifier: GPL-2.0

//! What goes in front of a frame.

use kernel::prelude::*;
use rlis_hv::SharedMemory;
use rlis_proto::rndis::{
    packet_front,
    Ppis,
    PACKET_HEADER_SIZE, //
};

/// The front of a message with a frame: header and per-packet information.
pub(crate) struct Header {
    info: Ppis,
    info_len: u32,
    /// Bytes of the frame.
    frame: u32,
}

impl Header {
    /// Of a frame of `frame` bytes.
    #[inline]
    pub(crate) fn new(info: Ppis, frame: u32) -> Self {
        let info_len = info.size();
        Self {
            info,
            info_len,
            frame,
        }
    }

    /// Its bytes.
    #[inline]
    pub(crate) fn len(&self) -> u32 {
        PACKET_HEADER_SIZE + self.info_len
    }

    /// Writes it to `at` bytes into `memory`. Returns where it ends.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it does not lie in the memory.
    #[inline]
    pub(crate) fn write(&self, memory: &SharedMemory, at: usize) -> Result<usize> {
        let front = packet_front(self.info_len, self.frame, 0);
        memory.put_words(at, front)?;
        let mut end = at + size_of_val(&front);
        self.info.pieces(|piece| -> Result {
            memory.put_words(end, piece)?;
            end += size_of_val(&piece);
            Ok(())
        })?;
        Ok(end)
    }
}
