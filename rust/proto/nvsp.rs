// SPDX-License-Identifier: GPL-2.0

//! The network service protocol, NVSP: what a network card's channel carries (drivers/net/hyperv/hyperv_net.h).
//!
//! A message is a type and a body, [`MESSAGE_SIZE`] bytes in all; a peer may send less, as long as the
//! fields of that message are there. Frames and RNDIS messages do not lie in it: [`RndisPacket`] says that they lie in
//! pages, in a section of the send buffer, or in ranges of the receive buffer ([`received`]). What they look like is
//! [`rndis`](crate::rndis)'s matter.

mod buffers;
mod data;
mod init;
mod message;
mod pairing;
mod subchannel;
mod table;
mod vf;

pub use buffers::{
    max_receive_buffer, BufferError, EstablishBuffer, ReceiveBufferComplete, ReceiveBufferSection,
    ReceiveSections, RevokeBuffer, SendBufferComplete, SendSections, MAX_SEND_BUFFER,
    MIN_RECEIVE_SECTION, MIN_SEND_SECTION, RECEIVE_BUFFER_ID, SEND_BUFFER_ID,
};
pub use data::{
    completion_status, received, ChannelType, Received, RndisPacket, RndisPacketComplete,
    NETVSC_INVALID_INDEX,
};
pub use init::{
    capabilities, init_answer, Init, InitAnswer, InitComplete, NdisConfig, NdisVersion, VSC_8021Q,
    VSC_CORRELATION_ID, VSC_RSC, VSC_SRIOV, VSC_TEAMING,
};
pub use message::{
    body, message, message_type, MessageHeader, MessageType, ProtocolVersion, Status, MESSAGE_SIZE,
    OLD_MESSAGE_SIZE,
};
pub use pairing::{Pairing, SwitchRequest};
pub use subchannel::{
    granted, SubchannelComplete, SubchannelRequest, NVSP_SUBCHANNEL_ALLOCATE, VRSS_CHANNEL_MAX,
};
pub use table::{SendIndirectionTable, SendTable, SEND_TABLE_OFFSET_UP_TO_6, VRSS_SEND_TAB_SIZE};
pub use vf::{DataPath, SwitchDataPath, VfAssociation};

use crate::error::ProtoError;

/// What the host sends in band, without having been asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// Which channel to send on, by hash.
    SendTable(SendTable),
    /// A virtual function came, or went.
    VfAssociation(VfAssociation),
    /// The host has moved the data path by itself.
    SwitchDataPath(DataPath),
    /// A message that a guest need not act upon.
    Ignored(MessageType),
}

/// Reads an in-band message of the host.
///
/// `version` is the one negotiated, `channels` the number of channels that are open.
///
/// # Errors
///
/// If fields are missing or do not make sense. A type that is not known is no error.
pub fn incoming(
    payload: &[u8],
    version: ProtocolVersion,
    channels: u32,
) -> Result<Incoming, ProtoError> {
    let kind = message_type(payload)?;
    Ok(match kind {
        MessageType::NVSP_MSG5_TYPE_SEND_INDIRECTION_TABLE => {
            Incoming::SendTable(SendTable::parse(payload, version, channels)?)
        }
        MessageType::NVSP_MSG4_TYPE_SEND_VF_ASSOCIATION => {
            Incoming::VfAssociation(body(payload, kind, "VF association")?)
        }
        MessageType::NVSP_MSG4_TYPE_SWITCH_DATA_PATH => {
            Incoming::SwitchDataPath(DataPath::parse(payload)?)
        }
        other => Incoming::Ignored(other),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    extern crate std;

    #[test]
    fn messages_of_the_host() {
        let version = ProtocolVersion::V6_1;
        let vf = message(
            MessageType::NVSP_MSG4_TYPE_SEND_VF_ASSOCIATION,
            &[1u32, 0x1234],
        );
        let got = incoming(&vf, version, 4);
        let association = VfAssociation {
            allocated: 1,
            serial: 0x1234,
        };
        assert_eq!(got, Ok(Incoming::VfAssociation(association)));
        assert!(incoming(&vf[..11], version, 4).is_err());
        assert!(incoming(&vf[..3], version, 4).is_err());
        let path = message(MessageType::NVSP_MSG4_TYPE_SWITCH_DATA_PATH, &0u32);
        let synthetic = DataPath::NVSP_DATAPATH_SYNTHETIC;
        assert_eq!(
            incoming(&path, version, 4),
            Ok(Incoming::SwitchDataPath(synthetic))
        );
        let other = message(MessageType(4711), &0u32);
        assert_eq!(
            incoming(&other, version, 4),
            Ok(Incoming::Ignored(MessageType(4711)))
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken(
            bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in 100u32..140,
            version in 0u32..0x70000, channels: u32,
        ) {
            let mut bytes = bytes;
            for (to, from) in bytes.iter_mut().zip(kind.to_le_bytes()) {
                *to = from;
            }
            if let Ok(Incoming::SendTable(table)) = incoming(&bytes, ProtocolVersion(version), channels) {
                for hash in 0..32 {
                    prop_assert!(table.channel(hash) < channels.max(1));
                }
            }
        }
    }
}
