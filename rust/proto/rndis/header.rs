// SPDX-License-Identifier: GPL-2.0

//! The front of every message, and memory to read messages from.

use crate::error::ProtoError;
use zerocopy::FromBytes;

/// Bytes of type and length.
pub const HEADER_SIZE: u32 = 8;
/// Set in the type of an answer.
pub const RNDIS_MSG_COMPLETION: u32 = 0x8000_0000;

open_enum! {
    /// Types of messages.
    pub struct MessageType(u32) {
        /// A frame.
        RNDIS_MSG_PACKET = 1,
        /// Guest: begins.
        RNDIS_MSG_INIT = 2,
        /// Answer to it.
        RNDIS_MSG_INIT_C = 2 | RNDIS_MSG_COMPLETION,
        /// Guest: ends. Not answered.
        RNDIS_MSG_HALT = 3,
        /// Guest: asks for something.
        RNDIS_MSG_QUERY = 4,
        /// Answer to it.
        RNDIS_MSG_QUERY_C = 4 | RNDIS_MSG_COMPLETION,
        /// Guest: sets something.
        RNDIS_MSG_SET = 5,
        /// Answer to it.
        RNDIS_MSG_SET_C = 5 | RNDIS_MSG_COMPLETION,
        /// Guest: resets the card.
        RNDIS_MSG_RESET = 6,
        /// Answer to it. It has no id.
        RNDIS_MSG_RESET_C = 6 | RNDIS_MSG_COMPLETION,
        /// Host: something happened.
        RNDIS_MSG_INDICATE = 7,
        /// Either: are you there?
        RNDIS_MSG_KEEPALIVE = 8,
        /// Answer to it.
        RNDIS_MSG_KEEPALIVE_C = 8 | RNDIS_MSG_COMPLETION,
    }
}

impl MessageType {
    /// The type of the answer to a request of this type.
    pub const fn answer(self) -> Self {
        Self(self.0 | RNDIS_MSG_COMPLETION)
    }
}

/// Bytes that a message is read from, a word at a time. They may belong to memory that the host writes meanwhile; an
/// implementation for such memory loads a word exactly once a call.
pub trait Words {
    /// The 32-bit word at `offset`, at any alignment; `None` if it does not lie wholly in the bytes.
    fn word(&self, offset: u32) -> Option<u32> {
        self.words(offset).map(|[word]| word)
    }

    /// The words from `offset` on, each loaded once; `None` if they do not lie wholly in the bytes.
    fn words<const N: usize>(&self, offset: u32) -> Option<[u32; N]>;
}

/// Where words of a message go, one behind the other.
pub trait PutWords {
    /// Why they cannot go there.
    type Error;

    /// Puts words behind those before, in the byte order of the machine, which is the host's.
    ///
    /// # Errors
    ///
    /// If there is no room.
    fn put_words<const N: usize>(&mut self, words: [u32; N]) -> Result<(), Self::Error>;
}

impl Words for [u8] {
    #[inline]
    fn words<const N: usize>(&self, offset: u32) -> Option<[u32; N]> {
        let bytes = self.get(offset as usize..)?;
        <[u32; N]>::read_from_prefix(bytes)
            .ok()
            .map(|(words, _)| words)
    }
}

/// Words that must be there.
#[inline]
pub(super) fn words<W: Words + ?Sized, const N: usize>(
    bytes: &W,
    offset: u32,
    what: &'static str,
) -> Result<[u32; N], ProtoError> {
    bytes
        .words(offset)
        .ok_or_else(|| ProtoError::invalid(what, offset))
}

/// A word that must be there.
#[inline]
pub(super) fn word<W: Words + ?Sized>(
    bytes: &W,
    offset: u32,
    what: &'static str,
) -> Result<u32, ProtoError> {
    words(bytes, offset, what).map(|[word]| word)
}

/// Type and length of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What it is.
    pub kind: MessageType,
    /// Its bytes, these eight included.
    pub len: u32,
}

/// Reads the front of a message that lies in `len` bytes.
///
/// # Errors
///
/// If these bytes are fewer than the front has, or than the message says it has, or if it says it is shorter than its
/// front.
#[inline]
pub fn header<W: Words + ?Sized>(bytes: &W, len: u32) -> Result<Header, ProtoError> {
    let what = "RNDIS message";
    if len < HEADER_SIZE {
        return Err(ProtoError::short(what, HEADER_SIZE as usize, len as usize));
    }
    let [kind, message] = words(bytes, 0, what)?;
    let kind = MessageType(kind);
    if message < HEADER_SIZE || message > len {
        return Err(ProtoError::invalid("length of an RNDIS message", message));
    }
    Ok(Header { kind, len: message })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_messages() {
        let bytes = [1, 0, 0, 0, 12, 0, 0, 0, 9, 9, 9, 9, 7];
        let fine = Header {
            kind: MessageType::RNDIS_MSG_PACKET,
            len: 12,
        };
        assert_eq!(header(&bytes[..], 13), Ok(fine));
        assert_eq!(header(&bytes[..], 12), Ok(fine));
        assert!(header(&bytes[..], 11).is_err());
        assert!(header(&bytes[..], 7).is_err());
        assert!(header(&bytes[..7], 12).is_err(), "no word beyond the end");
        for short in [0, 7] {
            let mut bytes = bytes;
            bytes[4] = short;
            assert!(header(&bytes[..], 13).is_err());
        }
        assert_eq!(MessageType(6).answer().0, 0x8000_0006);
    }
}
