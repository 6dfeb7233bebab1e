// SPDX-License-Identifier: GPL-2.0

//! The answer to the guest's wish to connect to a service.
//!
//! Source of its content: vmbus_core of Microsoft's openvmm; Linux guests do not look at it.

use rlis_proto::vmbus::message::{ChannelMessageHeader, MessageType};
use rlis_proto::Guid;
use zerocopy_derive::*;

/// NTSTATUS STATUS_CONNECTION_REFUSED.
const STATUS_CONNECTION_REFUSED: u32 = 0xC000_0236;

/// CHANNELMSG_TL_CONNECT_RESULT, 44 bytes: the answer to a TL_CONNECT_REQUEST that no offer answers.
#[derive(Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TlConnectResult {
    header: ChannelMessageHeader,
    endpoint: Guid,
    service: Guid,
    status: u32,
}

impl TlConnectResult {
    /// Nobody listens.
    pub fn refused(endpoint: Guid, service: Guid) -> Self {
        Self {
            header: ChannelMessageHeader::new(MessageType::CHANNELMSG_TL_CONNECT_RESULT),
            endpoint,
            service,
            status: STATUS_CONNECTION_REFUSED,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::IntoBytes;

    #[test]
    fn a_refusal_has_44_bytes() {
        let refusal =
            TlConnectResult::refused(Guid::from_bytes([1; 16]), Guid::from_bytes([2; 16]));
        let bytes = refusal.as_bytes();
        assert_eq!((bytes.len(), bytes[0], bytes[8], bytes[24]), (44, 23, 1, 2));
        assert_eq!(bytes[40..], 0xC000_0236u32.to_le_bytes());
    }
}
