// SPDX-License-Identifier: GPL-2.0

//! Receive and send buffer: memory of the guest that both sides use for frames, cut by the host into sections of one
//! size.

use super::message::{body, message, MessageType, ProtocolVersion, Status, MESSAGE_SIZE};
use crate::error::{read_prefix, ProtoError};
use core::fmt;
use core::mem::size_of;

/// What the guest calls its receive buffer (`NETVSC_RECEIVE_BUFFER_ID`).
pub const RECEIVE_BUFFER_ID: u16 = 0xcafe;
/// What the guest calls its send buffer (`NETVSC_SEND_BUFFER_ID`).
pub const SEND_BUFFER_ID: u16 = 0;
/// Bytes of the largest send buffer that hosts take.
pub const MAX_SEND_BUFFER: u32 = 15 << 20;
/// Bytes of the shortest section of a receive buffer: that of the least MTU.
pub const MIN_RECEIVE_SECTION: u32 = 68;
/// Bytes of the shortest section of a send buffer that is of use: RNDIS headers and the shortest frame.
pub const MIN_SEND_SECTION: u32 = 116 + 60;
/// Sections without which receiving is no use.
const MIN_RECEIVE_SECTIONS: u32 = 10;
/// Bytes that a frame needs beside itself in a receive section: the fixed part of an RNDIS packet message.
const RNDIS_HEADER: u32 = 44;

/// Bytes of the largest receive buffer that hosts of `version` take.
pub fn max_receive_buffer(version: ProtocolVersion) -> u32 {
    if version <= ProtocolVersion::V2 {
        15 << 20
    } else {
        31 << 20
    }
}

wire_struct! {
    /// `struct nvsp_1_message_send_receive_buffer` and its twin for the send buffer, 6 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct EstablishBuffer {
        /// The GPADL that is the buffer.
        pub gpadl_handle: u32,
        /// What later messages call it.
        pub id: u16,
    }

    /// `struct nvsp_1_message_revoke_receive_buffer` and its twin for the send buffer, 2 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct RevokeBuffer {
        /// Which buffer.
        pub id: u16,
    }

    /// `struct nvsp_1_message_send_receive_buffer_complete` without its sections, 8 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct ReceiveBufferComplete {
        /// [`Status`].
        pub status: u32,
        /// How many [`ReceiveBufferSection`]s follow.
        pub num_sections: u32,
    }

    /// `struct nvsp_1_receive_buffer_section`, 16 bytes: a part of the buffer that is cut in one way.
    #[derive(Debug, PartialEq, Eq)]
    pub struct ReceiveBufferSection {
        /// Where it begins.
        pub offset: u32,
        /// Bytes of a section.
        pub sub_alloc_size: u32,
        /// How many there are.
        pub num_sub_allocs: u32,
        /// Where it ends.
        pub end_offset: u32,
    }

    /// `struct nvsp_1_message_send_send_buffer_complete`, 8 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct SendBufferComplete {
        /// [`Status`].
        pub status: u32,
        /// Bytes of a section.
        pub section_size: u32,
    }
}

impl EstablishBuffer {
    /// SEND_RECV_BUF.
    pub fn receive(gpadl_handle: u32) -> [u8; MESSAGE_SIZE] {
        let id = RECEIVE_BUFFER_ID;
        message(
            MessageType::NVSP_MSG1_TYPE_SEND_RECV_BUF,
            &Self { gpadl_handle, id },
        )
    }

    /// SEND_SEND_BUF.
    pub fn send(gpadl_handle: u32) -> [u8; MESSAGE_SIZE] {
        let id = SEND_BUFFER_ID;
        message(
            MessageType::NVSP_MSG1_TYPE_SEND_SEND_BUF,
            &Self { gpadl_handle, id },
        )
    }
}

impl RevokeBuffer {
    /// REVOKE_RECV_BUF.
    pub fn receive() -> [u8; MESSAGE_SIZE] {
        let id = RECEIVE_BUFFER_ID;
        message(MessageType::NVSP_MSG1_TYPE_REVOKE_RECV_BUF, &Self { id })
    }

    /// REVOKE_SEND_BUF.
    pub fn send() -> [u8; MESSAGE_SIZE] {
        let id = SEND_BUFFER_ID;
        message(MessageType::NVSP_MSG1_TYPE_REVOKE_SEND_BUF, &Self { id })
    }
}

/// Why a buffer cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BufferError {
    /// The host refuses it.
    Refused(Status),
    /// The answer makes no sense.
    Bad(ProtoError),
}

impl From<ProtoError> for BufferError {
    fn from(error: ProtoError) -> Self {
        Self::Bad(error)
    }
}

impl fmt::Display for BufferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(status) => write!(f, "refused with status {status:?}"),
            Self::Bad(error) => error.fmt(f),
        }
    }
}

fn invalid(what: &'static str, value: u32) -> BufferError {
    BufferError::Bad(ProtoError::invalid(what, value))
}

/// How the host has cut the receive buffer. The sections lie in the buffer, each one is long enough for a frame, and
/// there are some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiveSections {
    size: u32,
    count: u32,
}

impl ReceiveSections {
    /// Reads the answer to SEND_RECV_BUF for a buffer of `buffer` bytes and frames of up to `frame` bytes.
    ///
    /// # Errors
    ///
    /// If the host refuses, or cuts the buffer in a way that cannot be.
    pub fn parse(payload: &[u8], buffer: u32, frame: u32) -> Result<Self, BufferError> {
        let kind = MessageType::NVSP_MSG1_TYPE_SEND_RECV_BUF_COMPLETE;
        let what = "SEND_RECV_BUF_COMPLETE";
        let complete: ReceiveBufferComplete = body(payload, kind, what)?;
        let (status, parts) = (Status(complete.status), complete.num_sections);
        if status != Status::NVSP_STAT_SUCCESS {
            return Err(BufferError::Refused(status));
        }
        // Hosts have never cut it in more than one way.
        if parts != 1 {
            return Err(invalid("parts of the receive buffer", parts));
        }
        let sections = 4 + size_of::<ReceiveBufferComplete>();
        let bytes = payload.get(sections..).unwrap_or_default();
        let (section, _) = read_prefix::<ReceiveBufferSection>(bytes, what)?;
        let (offset, size, count) = (
            section.offset,
            section.sub_alloc_size,
            section.num_sub_allocs,
        );
        if offset != 0 {
            return Err(invalid("offset of the receive sections", offset));
        }
        if size < MIN_RECEIVE_SECTION.max(frame.saturating_add(RNDIS_HEADER)) {
            return Err(invalid("size of a receive section", size));
        }
        if count < MIN_RECEIVE_SECTIONS
            || u64::from(size).saturating_mul(u64::from(count)) > u64::from(buffer)
        {
            return Err(invalid("number of receive sections", count));
        }
        Ok(Self { size, count })
    }

    /// Bytes of a section.
    pub const fn size(&self) -> u32 {
        self.size
    }

    /// Number of sections: as many transactions can be under way.
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Bytes of the buffer that the host may use.
    #[inline]
    pub const fn bytes(&self) -> u32 {
        // It was seen to fit into the buffer.
        self.size.saturating_mul(self.count)
    }
}

/// How the host has cut the send buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendSections {
    size: u32,
    count: u32,
}

impl SendSections {
    /// Reads the answer to SEND_SEND_BUF for a buffer of `buffer` bytes. `None` if the sections are too short to be of
    /// use, or longer than the buffer: the card works without them.
    ///
    /// # Errors
    ///
    /// If the host refuses, or gives no answer that can be.
    pub fn parse(payload: &[u8], buffer: u32) -> Result<Option<Self>, BufferError> {
        let kind = MessageType::NVSP_MSG1_TYPE_SEND_SEND_BUF_COMPLETE;
        let complete: SendBufferComplete = body(payload, kind, "SEND_SEND_BUF_COMPLETE")?;
        let (status, size) = (Status(complete.status), complete.section_size);
        if status != Status::NVSP_STAT_SUCCESS {
            return Err(BufferError::Refused(status));
        }
        let count = buffer.checked_div(size).unwrap_or(0);
        Ok((size >= MIN_SEND_SECTION && count > 0).then_some(Self { size, count }))
    }

    /// Bytes of a section.
    pub const fn size(&self) -> u32 {
        self.size
    }

    /// Number of sections, at least one.
    pub const fn count(&self) -> u32 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn receive(words: &[u32; 6]) -> [u8; MESSAGE_SIZE] {
        message(MessageType::NVSP_MSG1_TYPE_SEND_RECV_BUF_COMPLETE, words)
    }

    #[test]
    fn usual_sections() {
        let answer = receive(&[1, 1, 0, 1728, 9709, 0xffffff]);
        let sections = ReceiveSections::parse(&answer, 16 << 20, 1514).unwrap();
        assert_eq!((sections.size(), sections.count()), (1728, 9709));
        // A host of an older version sends 28 bytes.
        assert_eq!(
            ReceiveSections::parse(&answer[..28], 16 << 20, 1514),
            Ok(sections)
        );
        let kind = MessageType::NVSP_MSG1_TYPE_SEND_SEND_BUF_COMPLETE;
        let answer = message(kind, &[1u32, 6144]);
        let sections = SendSections::parse(&answer, 1 << 20).unwrap().unwrap();
        assert_eq!((sections.size(), sections.count()), (6144, 170));
    }

    #[test]
    fn sections_that_cannot_be() {
        let refused = BufferError::Refused(Status(2));
        let parse = |words| ReceiveSections::parse(&receive(words), 1 << 20, 1514);
        assert_eq!(parse(&[2, 1, 0, 1728, 100, 0]), Err(refused));
        for words in [
            [1, 0, 0, 1728, 100, 0],
            [1, 2, 0, 1728, 100, 0],
            [1, 1, 4, 1728, 100, 0],
            [1, 1, 0, 0, 100, 0],
            [1, 1, 0, 67, 100, 0],
            [1, 1, 0, 1557, 100, 0],
            [1, 1, 0, 1728, 0, 0],
            [1, 1, 0, 1728, 9, 0],
            [1, 1, 0, 1728, 607, 0],
            [1, 1, 0, u32::MAX, u32::MAX, 0],
        ] {
            let got = ReceiveSections::parse(&receive(&words), 1 << 20, 1514);
            assert!(matches!(got, Err(BufferError::Bad(_))), "{words:?}");
        }
        assert!(parse(&[1, 1, 0, 1558, 10, 0]).is_ok());
        let kind = MessageType::NVSP_MSG1_TYPE_SEND_SEND_BUF_COMPLETE;
        for size in [0, 67, 175, 70_000] {
            let answer = message(kind, &[1u32, size]);
            assert_eq!(SendSections::parse(&answer, 65_536), Ok(None), "{size}");
        }
        let answer = message(kind, &[6u32, 6144]);
        assert!(matches!(
            SendSections::parse(&answer, 65_536),
            Err(BufferError::Refused(Status::NVSP_STAT_BUSY))
        ));
    }

    proptest! {
        #[test]
        fn sections_lie_in_the_buffer(words: [u32; 6], buffer: u32, frame: u16, few in 0u32..3) {
            let mut words = words;
            words[..2].copy_from_slice(&[few, few]);
            words[2] *= few / 2;
            if let Ok(s) = ReceiveSections::parse(&receive(&words), buffer, u32::from(frame)) {
                prop_assert!(u64::from(s.size()) * u64::from(s.count()) <= u64::from(buffer));
                prop_assert_eq!(u64::from(s.bytes()), u64::from(s.size()) * u64::from(s.count()));
                prop_assert!(s.size() >= u32::from(frame) + 44 && s.count() >= 10);
            }
        }
    }
}
