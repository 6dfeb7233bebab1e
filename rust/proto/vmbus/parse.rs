// SPDX-License-Identifier: GPL-2.0

//! Parsing channel messages in both directions. A message longer than its struct is accepted, as the C
//! drivers do: newer hosts append fields.

use super::message::*;
use super::MAX_SIZE_CHANNEL_MESSAGE;
use crate::error::{read_prefix, ProtoError};

/// Which side sent a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Sent by the host.
    HostToGuest,
    /// Sent by the guest.
    GuestToHost,
}

impl MessageType {
    /// Which side may send this type; `None` for types that are unknown or not used with Linux guests.
    pub const fn direction(self) -> Option<Direction> {
        match self {
            Self::CHANNELMSG_OFFERCHANNEL
            | Self::CHANNELMSG_RESCIND_CHANNELOFFER
            | Self::CHANNELMSG_ALLOFFERS_DELIVERED
            | Self::CHANNELMSG_OPENCHANNEL_RESULT
            | Self::CHANNELMSG_GPADL_CREATED
            | Self::CHANNELMSG_GPADL_TORNDOWN
            | Self::CHANNELMSG_VERSION_RESPONSE
            | Self::CHANNELMSG_UNLOAD_RESPONSE
            | Self::CHANNELMSG_TL_CONNECT_RESULT
            | Self::CHANNELMSG_MODIFYCHANNEL_RESPONSE => Some(Direction::HostToGuest),
            Self::CHANNELMSG_REQUESTOFFERS
            | Self::CHANNELMSG_OPENCHANNEL
            | Self::CHANNELMSG_CLOSECHANNEL
            | Self::CHANNELMSG_GPADL_HEADER
            | Self::CHANNELMSG_GPADL_BODY
            | Self::CHANNELMSG_GPADL_TEARDOWN
            | Self::CHANNELMSG_RELID_RELEASED
            | Self::CHANNELMSG_INITIATE_CONTACT
            | Self::CHANNELMSG_UNLOAD
            | Self::CHANNELMSG_TL_CONNECT_REQUEST
            | Self::CHANNELMSG_MODIFYCHANNEL => Some(Direction::GuestToHost),
            _ => None,
        }
    }

    /// Least length of a message of this type, header included; `None` as for [`Self::direction`].
    pub const fn min_len(self) -> Option<usize> {
        use core::mem::size_of;
        Some(match self {
            Self::CHANNELMSG_OFFERCHANNEL => size_of::<OfferChannel>(),
            Self::CHANNELMSG_RESCIND_CHANNELOFFER => size_of::<RescindOffer>(),
            Self::CHANNELMSG_OPENCHANNEL => size_of::<OpenChannel>(),
            Self::CHANNELMSG_OPENCHANNEL_RESULT => size_of::<OpenResult>(),
            Self::CHANNELMSG_CLOSECHANNEL => size_of::<CloseChannel>(),
            Self::CHANNELMSG_GPADL_HEADER => size_of::<GpadlHeader>(),
            Self::CHANNELMSG_GPADL_BODY => size_of::<GpadlBody>(),
            Self::CHANNELMSG_GPADL_CREATED => size_of::<GpadlCreated>(),
            Self::CHANNELMSG_GPADL_TEARDOWN => size_of::<GpadlTeardown>(),
            Self::CHANNELMSG_GPADL_TORNDOWN => size_of::<GpadlTorndown>(),
            Self::CHANNELMSG_RELID_RELEASED => size_of::<RelidReleased>(),
            Self::CHANNELMSG_INITIATE_CONTACT => size_of::<InitiateContact>(),
            Self::CHANNELMSG_VERSION_RESPONSE => size_of::<VersionResponse>(),
            Self::CHANNELMSG_MODIFYCHANNEL => size_of::<ModifyChannel>(),
            Self::CHANNELMSG_MODIFYCHANNEL_RESPONSE => size_of::<ModifyChannelResponse>(),
            Self::CHANNELMSG_TL_CONNECT_REQUEST => size_of::<TlConnectRequest>(),
            Self::CHANNELMSG_REQUESTOFFERS
            | Self::CHANNELMSG_ALLOFFERS_DELIVERED
            | Self::CHANNELMSG_UNLOAD
            | Self::CHANNELMSG_UNLOAD_RESPONSE
            | Self::CHANNELMSG_TL_CONNECT_RESULT => size_of::<ChannelMessageHeader>(),
            _ => return None,
        })
    }

    /// Whether the guest handles this host message in process context because handling it may block.
    pub const fn may_block(self) -> bool {
        matches!(
            self,
            Self::CHANNELMSG_OFFERCHANNEL | Self::CHANNELMSG_RESCIND_CHANNELOFFER
        )
    }
}

/// A parsed channel message. Fixed parts are copies; only the ranges of a GPADL refer to the input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Message<'a> {
    /// OFFERCHANNEL.
    Offer(OfferChannel),
    /// RESCIND_CHANNELOFFER.
    Rescind(RescindOffer),
    /// REQUESTOFFERS.
    RequestOffers,
    /// ALLOFFERS_DELIVERED.
    AllOffersDelivered,
    /// OPENCHANNEL.
    Open(OpenChannel),
    /// OPENCHANNEL_RESULT.
    OpenResult(OpenResult),
    /// CLOSECHANNEL.
    Close(CloseChannel),
    /// GPADL_HEADER with the bytes of the ranges that came with it.
    GpadlHeader(GpadlHeader, &'a [u8]),
    /// GPADL_BODY with the bytes of its page numbers.
    GpadlBody(GpadlBody, &'a [u8]),
    /// GPADL_CREATED.
    GpadlCreated(GpadlCreated),
    /// GPADL_TEARDOWN.
    GpadlTeardown(GpadlTeardown),
    /// GPADL_TORNDOWN.
    GpadlTorndown(GpadlTorndown),
    /// RELID_RELEASED.
    RelidReleased(RelidReleased),
    /// INITIATE_CONTACT.
    InitiateContact(InitiateContact),
    /// VERSION_RESPONSE, with the feature flags that a 6.0 host appends.
    VersionResponse(VersionResponse, Option<u32>),
    /// UNLOAD.
    Unload,
    /// UNLOAD_RESPONSE.
    UnloadResponse,
    /// TL_CONNECT_REQUEST.
    TlConnectRequest(TlConnectRequest),
    /// TL_CONNECT_RESULT, whose content Linux does not use.
    TlConnectResult,
    /// MODIFYCHANNEL.
    ModifyChannel(ModifyChannel),
    /// MODIFYCHANNEL_RESPONSE.
    ModifyChannelResponse(ModifyChannelResponse),
}

/// Parses the payload of a SynIC message (`bytes` has `payload_size` bytes, copied out of the slot).
///
/// # Errors
///
/// `Short` if the message is shorter than its type demands, `Unknown` for a type that neither side sends to
/// a Linux guest, `Invalid` if `bytes` is longer than any message can be.
pub fn parse(bytes: &[u8]) -> Result<Message<'_>, ProtoError> {
    if bytes.len() > MAX_SIZE_CHANNEL_MESSAGE {
        return Err(ProtoError::Invalid {
            what: "channel message length",
            value: bytes.len() as u64,
        });
    }
    let (header, _) = read_prefix::<ChannelMessageHeader>(bytes, "channel message header")?;
    Ok(match header.msgtype {
        MessageType::CHANNELMSG_OFFERCHANNEL => Message::Offer(fixed(bytes)?.0),
        MessageType::CHANNELMSG_RESCIND_CHANNELOFFER => Message::Rescind(fixed(bytes)?.0),
        MessageType::CHANNELMSG_REQUESTOFFERS => Message::RequestOffers,
        MessageType::CHANNELMSG_ALLOFFERS_DELIVERED => Message::AllOffersDelivered,
        MessageType::CHANNELMSG_OPENCHANNEL => Message::Open(fixed(bytes)?.0),
        MessageType::CHANNELMSG_OPENCHANNEL_RESULT => Message::OpenResult(fixed(bytes)?.0),
        MessageType::CHANNELMSG_CLOSECHANNEL => Message::Close(fixed(bytes)?.0),
        MessageType::CHANNELMSG_GPADL_HEADER => {
            let (m, rest) = fixed(bytes)?;
            Message::GpadlHeader(m, rest)
        }
        MessageType::CHANNELMSG_GPADL_BODY => {
            let (m, rest) = fixed(bytes)?;
            Message::GpadlBody(m, rest)
        }
        MessageType::CHANNELMSG_GPADL_CREATED => Message::GpadlCreated(fixed(bytes)?.0),
        MessageType::CHANNELMSG_GPADL_TEARDOWN => Message::GpadlTeardown(fixed(bytes)?.0),
        MessageType::CHANNELMSG_GPADL_TORNDOWN => Message::GpadlTorndown(fixed(bytes)?.0),
        MessageType::CHANNELMSG_RELID_RELEASED => Message::RelidReleased(fixed(bytes)?.0),
        MessageType::CHANNELMSG_INITIATE_CONTACT => Message::InitiateContact(fixed(bytes)?.0),
        MessageType::CHANNELMSG_VERSION_RESPONSE => {
            let (m, rest) = fixed(bytes)?;
            let features = read_prefix::<u32>(rest, "features").ok().map(|(f, _)| f);
            Message::VersionResponse(m, features)
        }
        MessageType::CHANNELMSG_UNLOAD => Message::Unload,
        MessageType::CHANNELMSG_UNLOAD_RESPONSE => Message::UnloadResponse,
        MessageType::CHANNELMSG_TL_CONNECT_REQUEST => Message::TlConnectRequest(fixed(bytes)?.0),
        MessageType::CHANNELMSG_TL_CONNECT_RESULT => Message::TlConnectResult,
        MessageType::CHANNELMSG_MODIFYCHANNEL => Message::ModifyChannel(fixed(bytes)?.0),
        MessageType::CHANNELMSG_MODIFYCHANNEL_RESPONSE => {
            Message::ModifyChannelResponse(fixed(bytes)?.0)
        }
        other => {
            return Err(ProtoError::Unknown {
                what: "channel message type",
                value: u64::from(other.0),
            });
        }
    })
}

/// Like [`parse`], and refuses a message that `from` does not send.
///
/// # Errors
///
/// Those of [`parse`], and `Unexpected` for a message of the other direction.
pub fn parse_from(from: Direction, bytes: &[u8]) -> Result<Message<'_>, ProtoError> {
    let (header, _) = read_prefix::<ChannelMessageHeader>(bytes, "channel message header")?;
    match header.msgtype.direction() {
        Some(d) if d != from => Err(ProtoError::Unexpected {
            what: header.msgtype.name().unwrap_or("channel message"),
        }),
        _ => parse(bytes),
    }
}

fn fixed<M: ChannelMessage>(bytes: &[u8]) -> Result<(M, &[u8]), ProtoError> {
    read_prefix(bytes, M::NAME)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use zerocopy::{FromZeros, IntoBytes};
    extern crate std;

    fn of_type(ty: u32, len: usize) -> std::vec::Vec<u8> {
        let mut v = std::vec![0u8; len];
        v[..4].copy_from_slice(&ty.to_le_bytes());
        v
    }

    #[test]
    fn each_type_has_its_minimum() {
        for ty in 0..40 {
            let t = MessageType(ty);
            assert_eq!(t.direction().is_some(), t.min_len().is_some());
            match t.min_len() {
                None => assert!(matches!(
                    parse(&of_type(ty, 240)),
                    Err(ProtoError::Unknown { .. })
                )),
                Some(min) => {
                    assert!(parse(&of_type(ty, min)).is_ok(), "{t:?}");
                    assert!(parse(&of_type(ty, 240)).is_ok(), "{t:?}");
                    if min > 8 {
                        assert!(
                            matches!(parse(&of_type(ty, min - 1)), Err(ProtoError::Short { .. })),
                            "{t:?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn direction_is_enforced() {
        let m = of_type(MessageType::CHANNELMSG_OFFERCHANNEL.0, 196);
        assert!(parse_from(Direction::HostToGuest, &m).is_ok());
        assert!(parse_from(Direction::GuestToHost, &m).is_err());
    }

    #[test]
    fn version_response_with_features() {
        let mut r = VersionResponse::new_zeroed();
        r.header = ChannelMessageHeader::of::<VersionResponse>();
        r.version_supported = 1;
        r.msg_conn_id = 0x1234;
        let mut v = r.as_bytes().to_vec();
        assert_eq!(parse(&v), Ok(Message::VersionResponse(r, None)));
        v.extend(0x10u32.to_le_bytes());
        assert_eq!(parse(&v), Ok(Message::VersionResponse(r, Some(0x10))));
    }

    proptest! {
        #[test]
        fn any_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn any_payload_of_a_known_type(ty in 0u32..26, tail in proptest::collection::vec(any::<u8>(), 0..232)) {
            let mut v = of_type(ty, 8);
            v.extend(&tail);
            let t = MessageType(ty);
            prop_assert_eq!(parse(&v).is_ok(), t.min_len().is_some_and(|m| v.len() >= m));
        }
    }
}
