// SPDX-License-Identifier: GPL-2.0

//! More channels for one card.

use super::message::{body, message, MessageType, Status, MESSAGE_SIZE};
use crate::error::ProtoError;

/// Most channels of a card, the first one included.
pub const VRSS_CHANNEL_MAX: u32 = 64;
/// The one operation of [`SubchannelRequest`].
pub const NVSP_SUBCHANNEL_ALLOCATE: u32 = 1;

wire_struct! {
    /// `struct nvsp_5_subchannel_request`, 8 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct SubchannelRequest {
        /// [`NVSP_SUBCHANNEL_ALLOCATE`].
        pub op: u32,
        /// How many beside the first one.
        pub num_subchannels: u32,
    }

    /// `struct nvsp_5_subchannel_complete`, 8 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct SubchannelComplete {
        /// [`Status`].
        pub status: u32,
        /// How many the host will offer.
        pub num_subchannels: u32,
    }
}

impl SubchannelRequest {
    /// SUBCHANNEL that asks for `count` channels beside the first one.
    pub fn allocate(count: u32) -> [u8; MESSAGE_SIZE] {
        let request = Self {
            op: NVSP_SUBCHANNEL_ALLOCATE,
            num_subchannels: count,
        };
        message(MessageType::NVSP_MSG5_TYPE_SUBCHANNEL, &request)
    }
}

/// How many of `asked` channels the answer to SUBCHANNEL grants; 0 if the host refuses, which it may.
///
/// # Errors
///
/// If it is no such answer, or grants more than was asked for.
pub fn granted(payload: &[u8], asked: u32) -> Result<u32, ProtoError> {
    let kind = MessageType::NVSP_MSG5_TYPE_SUBCHANNEL;
    let complete: SubchannelComplete = body(payload, kind, "SUBCHANNEL")?;
    let (status, count) = (Status(complete.status), complete.num_subchannels);
    if status != Status::NVSP_STAT_SUCCESS {
        return Ok(0);
    }
    if count > asked {
        return Err(ProtoError::Invalid {
            what: "number of sub-channels granted",
            value: u64::from(count),
        });
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_granted_than_asked_for() {
        let answer = |status, count| {
            message(
                MessageType::NVSP_MSG5_TYPE_SUBCHANNEL,
                &SubchannelComplete {
                    status,
                    num_subchannels: count,
                },
            )
        };
        assert_eq!(granted(&answer(1, 3), 3), Ok(3));
        assert_eq!(granted(&answer(1, 0), 3), Ok(0));
        assert_eq!(granted(&answer(2, 3), 3), Ok(0));
        assert!(granted(&answer(1, 4), 3).is_err());
        assert!(granted(&answer(1, 1)[..11], 3).is_err());
        assert!(granted(&[0; 40], 3).is_err());
    }
}
