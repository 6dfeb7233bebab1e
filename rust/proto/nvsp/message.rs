// SPDX-License-Identifier: GPL-2.0

//! What all messages have in common: type, status words, versions, size.

use crate::error::{read_prefix, ProtoError};
use core::mem::size_of;
use zerocopy::{FromBytes, Immutable, IntoBytes};

open_enum! {
    /// Types of messages (`NVSP_MSG*_TYPE_*`). The number behind MSG is the oldest version that has it.
    pub struct MessageType(u32) {
        /// Guest: proposes a range of versions ([`super::Init`]).
        NVSP_MSG_TYPE_INIT = 1,
        /// Completion of INIT ([`super::InitComplete`]).
        NVSP_MSG_TYPE_INIT_COMPLETE = 2,
        /// Guest: its NDIS version ([`super::NdisVersion`]). Not answered.
        NVSP_MSG1_TYPE_SEND_NDIS_VER = 100,
        /// Guest: the receive buffer ([`super::EstablishBuffer`]).
        NVSP_MSG1_TYPE_SEND_RECV_BUF = 101,
        /// Completion of SEND_RECV_BUF ([`super::ReceiveBufferComplete`] and sections).
        NVSP_MSG1_TYPE_SEND_RECV_BUF_COMPLETE = 102,
        /// Guest: takes the receive buffer back ([`super::RevokeBuffer`]). Not answered.
        NVSP_MSG1_TYPE_REVOKE_RECV_BUF = 103,
        /// Guest: the send buffer ([`super::EstablishBuffer`]).
        NVSP_MSG1_TYPE_SEND_SEND_BUF = 104,
        /// Completion of SEND_SEND_BUF ([`super::SendBufferComplete`]).
        NVSP_MSG1_TYPE_SEND_SEND_BUF_COMPLETE = 105,
        /// Guest: takes the send buffer back ([`super::RevokeBuffer`]). Not answered.
        NVSP_MSG1_TYPE_REVOKE_SEND_BUF = 106,
        /// Both: RNDIS messages ([`super::RndisPacket`]).
        NVSP_MSG1_TYPE_SEND_RNDIS_PKT = 107,
        /// Both: completion of SEND_RNDIS_PKT ([`super::RndisPacketComplete`]).
        NVSP_MSG1_TYPE_SEND_RNDIS_PKT_COMPLETE = 108,
        /// Guest: MTU and abilities ([`super::NdisConfig`]). Not answered.
        NVSP_MSG2_TYPE_SEND_NDIS_CONFIG = 125,
        /// Host: a virtual function belongs to the card, or no longer ([`super::VfAssociation`]).
        NVSP_MSG4_TYPE_SEND_VF_ASSOCIATION = 128,
        /// Guest, and the host of its own accord: frames go another way ([`super::SwitchDataPath`]).
        NVSP_MSG4_TYPE_SWITCH_DATA_PATH = 129,
        /// No longer used.
        NVSP_MSG4_TYPE_UPLINK_CONNECT_STATE_DEPRECATED = 130,
        /// Not used by Linux.
        NVSP_MSG5_TYPE_OID_QUERY_EX = 131,
        /// Not used by Linux.
        NVSP_MSG5_TYPE_OID_QUERY_EX_COMP = 132,
        /// Guest asks for channels and host answers ([`super::SubchannelRequest`], [`super::SubchannelComplete`]).
        NVSP_MSG5_TYPE_SUBCHANNEL = 133,
        /// Host: which channel to send on ([`super::SendIndirectionTable`]).
        NVSP_MSG5_TYPE_SEND_INDIRECTION_TABLE = 134,
        /// PacketDirect; not used by Linux.
        NVSP_MSG6_TYPE_PD_API = 135,
        /// PacketDirect; not used by Linux.
        NVSP_MSG6_TYPE_PD_POST_BATCH = 136,
    }
}

open_enum! {
    /// Status words (`NVSP_STAT_*`).
    pub struct Status(u32) {
        /// Never valid.
        NVSP_STAT_NONE = 0,
        /// Done.
        NVSP_STAT_SUCCESS = 1,
        /// Failed.
        NVSP_STAT_FAIL = 2,
        /// The version is newer than the host's.
        NVSP_STAT_PROTOCOL_TOO_NEW = 3,
        /// The version is older than the host takes.
        NVSP_STAT_PROTOCOL_TOO_OLD = 4,
        /// The RNDIS packet is malformed.
        NVSP_STAT_INVALID_RNDIS_PKT = 5,
        /// Not now.
        NVSP_STAT_BUSY = 6,
        /// No such version.
        NVSP_STAT_PROTOCOL_UNSUPPORTED = 7,
    }
}

/// `NVSP_PROTOCOL_VERSION_*`, as on the wire. Ordered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ProtocolVersion(pub u32);

impl ProtocolVersion {
    /// 1: Windows Server 2008.
    pub const V1: Self = Self(0x2);
    /// 2: SEND_NDIS_CONFIG, and with it MTUs above 1500.
    pub const V2: Self = Self(0x3_0002);
    /// 4: virtual functions.
    pub const V4: Self = Self(0x4_0000);
    /// 5: sub-channels, receive-side scaling, NDIS 6.30.
    pub const V5: Self = Self(0x5_0000);
    /// 6: PacketDirect.
    pub const V6: Self = Self(0x6_0000);
    /// 6.1: receive segment coalescing; messages of 40 bytes.
    pub const V6_1: Self = Self(0x6_0001);
    /// All, newest first, as a guest proposes them.
    pub const NEWEST_FIRST: [Self; 6] =
        [Self::V6_1, Self::V6, Self::V5, Self::V4, Self::V2, Self::V1];

    /// The newest version below this one; `None` below 1.
    pub fn older(self) -> Option<Self> {
        Self::NEWEST_FIRST.into_iter().find(|v| *v < self)
    }

    /// What it is called, such as `6.1`; `None` if it is not a known one.
    pub const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::V1 => "1",
            Self::V2 => "2",
            Self::V4 => "4",
            Self::V5 => "5",
            Self::V6 => "6",
            Self::V6_1 => "6.1",
            _ => return None,
        })
    }
}

wire_struct! {
    /// `struct nvsp_message_header`, 4 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct MessageHeader {
        /// [`MessageType`].
        pub msg_type: u32,
    }
}

/// Bytes of `struct nvsp_message`, which Linux always sends.
pub const MESSAGE_SIZE: usize = 40;
/// Bytes of the messages of a host that speaks a version below 6.1. They end before the fields that came with it.
pub const OLD_MESSAGE_SIZE: usize = 28;

/// A message with `body`, padded with zeros. A body has at most 36 bytes; of a longer one, which none of the types
/// here is, the rest would be cut off.
#[inline]
pub fn message<T: IntoBytes + Immutable>(kind: MessageType, body: &T) -> [u8; MESSAGE_SIZE] {
    let mut bytes = [0; MESSAGE_SIZE];
    // Lengths are known to the compiler: this becomes a few stores.
    if let Some((front, rest)) = bytes.split_first_chunk_mut() {
        *front = kind.0.to_le_bytes();
        let body = body.as_bytes();
        let len = body.len().min(rest.len());
        if let (Some(to), Some(from)) = (rest.get_mut(..len), body.get(..len)) {
            to.copy_from_slice(from);
        }
    }
    bytes
}

/// The type of a message.
///
/// # Errors
///
/// `Short` if it has fewer than four bytes.
#[inline]
pub fn message_type(payload: &[u8]) -> Result<MessageType, ProtoError> {
    Ok(read_prefix::<MessageType>(payload, "NVSP message")?.0)
}

/// The body of a message of type `kind`. `what` names it in errors.
///
/// # Errors
///
/// If the message is of another type, or ends before the body does.
#[inline]
pub fn body<T: FromBytes>(
    payload: &[u8],
    kind: MessageType,
    what: &'static str,
) -> Result<T, ProtoError> {
    let (header, rest) = read_prefix::<MessageHeader>(payload, what)?;
    if header.msg_type != kind.0 {
        return Err(ProtoError::unexpected(what));
    }
    T::read_from_prefix(rest)
        .map(|(value, _)| value)
        .map_err(|_| {
            ProtoError::short(
                what,
                size_of::<MessageHeader>() + size_of::<T>(),
                payload.len(),
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_step_down_to_1() {
        let mut version = ProtocolVersion::NEWEST_FIRST[0];
        let mut count = 1;
        while let Some(next) = version.older() {
            assert!(next < version && next.name().is_some());
            version = next;
            count += 1;
        }
        assert_eq!((version, count), (ProtocolVersion::V1, 6));
        assert_eq!(ProtocolVersion(0x3_0000).name(), None);
    }

    #[test]
    fn messages_are_padded_and_read_back() {
        let bytes = message(MessageType::NVSP_MSG5_TYPE_SUBCHANNEL, &[1u32, 3]);
        assert_eq!(&bytes[..12], &[133, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0]);
        assert_eq!(bytes[12..], [0; 28]);
        let kind = MessageType::NVSP_MSG5_TYPE_SUBCHANNEL;
        assert_eq!(body::<[u32; 2]>(&bytes[..12], kind, "test"), Ok([1, 3]));
        let short = ProtoError::Short {
            what: "test",
            need: 12,
            got: 11,
        };
        assert_eq!(body::<[u32; 2]>(&bytes[..11], kind, "test"), Err(short));
        let other = body::<u32>(&bytes, MessageType::NVSP_MSG_TYPE_INIT, "test");
        assert_eq!(other, Err(ProtoError::Unexpected { what: "test" }));
    }
}
