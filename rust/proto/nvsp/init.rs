// SPDX-License-Identifier: GPL-2.0

//! The first messages: version, MTU and abilities, NDIS version.

use super::message::{body, message, MessageType, ProtocolVersion, Status, MESSAGE_SIZE};
use crate::error::ProtoError;

wire_struct! {
    /// `struct nvsp_message_init`, 8 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct Init {
        /// Oldest version that the guest takes.
        pub min_protocol_ver: u32,
        /// Newest.
        pub max_protocol_ver: u32,
    }

    /// `struct nvsp_message_init_complete`, 12 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct InitComplete {
        /// Means nothing: hosts send the version, or 0xffffffff.
        pub negotiated_protocol_ver: u32,
        /// Longest chain of memory descriptors that the host sends; of no meaning to a guest.
        pub max_mdl_chain_len: u32,
        /// [`Status`].
        pub status: u32,
    }

    /// `struct nvsp_1_message_send_ndis_version`, 8 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct NdisVersion {
        /// 6.
        pub ndis_major_ver: u32,
        /// 1 or 30.
        pub ndis_minor_ver: u32,
    }

    /// `struct nvsp_2_send_ndis_config`, 16 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct NdisConfig {
        /// Bytes of the longest frame: MTU and 14.
        pub mtu: u32,
        /// Zero.
        pub reserved: u32,
        /// What the guest can do, `VSC_*`.
        pub capability: u64,
    }
}

/// Ability: virtual functions.
pub const VSC_SRIOV: u64 = 1 << 2;
/// Ability: VLAN tags beside the frame.
pub const VSC_8021Q: u64 = 1 << 3;
/// Ability: correlation ids.
pub const VSC_CORRELATION_ID: u64 = 1 << 4;
/// Ability: teaming.
pub const VSC_TEAMING: u64 = 1 << 5;
/// Ability: receive segment coalescing.
pub const VSC_RSC: u64 = 1 << 7;

/// What a guest says of itself in [`NdisConfig`]. An isolated one trusts no device that the host attaches.
pub fn capabilities(version: ProtocolVersion, isolated: bool) -> u64 {
    let mut all = VSC_8021Q;
    if version >= ProtocolVersion::V5 {
        all |= VSC_TEAMING;
        if !isolated {
            all |= VSC_SRIOV;
        }
    }
    if version >= ProtocolVersion::V6_1 {
        all |= VSC_RSC;
    }
    all
}

impl Init {
    /// INIT that proposes just `version`.
    pub fn propose(version: ProtocolVersion) -> [u8; MESSAGE_SIZE] {
        let init = Self {
            min_protocol_ver: version.0,
            max_protocol_ver: version.0,
        };
        message(MessageType::NVSP_MSG_TYPE_INIT, &init)
    }
}

impl NdisVersion {
    /// The NDIS version that goes with a version of this protocol.
    pub fn of(version: ProtocolVersion) -> Self {
        Self {
            ndis_major_ver: 6,
            ndis_minor_ver: if version <= ProtocolVersion::V4 {
                1
            } else {
                30
            },
        }
    }

    /// SEND_NDIS_VER.
    pub fn message(&self) -> [u8; MESSAGE_SIZE] {
        message(MessageType::NVSP_MSG1_TYPE_SEND_NDIS_VER, self)
    }
}

impl NdisConfig {
    /// SEND_NDIS_CONFIG for frames of up to `frame` bytes, header included.
    pub fn message(frame: u32, capability: u64) -> [u8; MESSAGE_SIZE] {
        let config = Self {
            mtu: frame,
            reserved: 0,
            capability,
        };
        message(MessageType::NVSP_MSG2_TYPE_SEND_NDIS_CONFIG, &config)
    }
}

/// The host's answer to INIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitAnswer {
    /// It takes the version.
    Accepted,
    /// It does not; an older one may do.
    Refused(Status),
}

/// Reads the answer to INIT.
///
/// # Errors
///
/// If it is none.
pub fn init_answer(payload: &[u8]) -> Result<InitAnswer, ProtoError> {
    let kind = MessageType::NVSP_MSG_TYPE_INIT_COMPLETE;
    let complete: InitComplete = body(payload, kind, "INIT_COMPLETE")?;
    Ok(match Status(complete.status) {
        Status::NVSP_STAT_SUCCESS => InitAnswer::Accepted,
        other => InitAnswer::Refused(other),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_to_a_proposal() {
        let answer = |words: &[u32; 3]| message(MessageType::NVSP_MSG_TYPE_INIT_COMPLETE, words);
        let accepted = answer(&[u32::MAX, 34, 1]);
        assert_eq!(init_answer(&accepted), Ok(InitAnswer::Accepted));
        assert_eq!(init_answer(&accepted[..16]), Ok(InitAnswer::Accepted));
        assert!(init_answer(&accepted[..15]).is_err());
        for status in [0, 2, 7, 99] {
            let refused = init_answer(&answer(&[0x60001, 0, status]));
            assert_eq!(refused, Ok(InitAnswer::Refused(Status(status))));
        }
        assert!(init_answer(&Init::propose(ProtocolVersion::V1)).is_err());
    }

    #[test]
    fn what_goes_with_each_version() {
        let minor = |version| { NdisVersion::of(version) }.ndis_minor_ver;
        assert_eq!(minor(ProtocolVersion::V4), 1);
        assert_eq!(minor(ProtocolVersion::V5), 30);
        assert_eq!(capabilities(ProtocolVersion::V2, false), 0x08);
        assert_eq!(capabilities(ProtocolVersion::V5, false), 0x2c);
        assert_eq!(capabilities(ProtocolVersion::V6_1, false), 0xac);
        assert_eq!(capabilities(ProtocolVersion::V6_1, true), 0xa8);
    }
}
