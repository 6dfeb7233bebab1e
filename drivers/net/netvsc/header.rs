// SPDX-License-Identifier: GPL-2.0

//! What goes in front of a frame.

use kernel::prelude::*;
use rlis_hv::SharedMemory;
use rlis_proto::rndis::{
    put_front,
    Ppis,
    PutWords,
    PACKET_HEADER_SIZE, //
};

/// The front of a message with a frame: header and per-packet information.
#[derive(Clone, Copy)]
pub(crate) struct Header {
    info: Ppis,
    info_len: u32,
    /// Bytes of the frame.
    frame: u32,
}

/// Where the next words go.
struct Cursor<'a> {
    memory: &'a SharedMemory,
    at: usize,
}

impl PutWords for Cursor<'_> {
    type Error = Error;

    #[inline]
    fn put_words<const N: usize>(&mut self, words: [u32; N]) -> Result {
        self.memory.put_words(self.at, words)?;
        self.at += size_of_val(&words);
        Ok(())
    }
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
        let mut cursor = Cursor { memory, at };
        put_front(&mut cursor, &self.info, self.info_len, self.frame, 0)?;
        Ok(cursor.at)
    }
}
