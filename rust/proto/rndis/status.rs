// SPDX-License-Identifier: GPL-2.0

//! What answers say of success, and what the host tells unasked.

use super::header::{word, Header, MessageType, Words, HEADER_SIZE};
use super::writer::message;
use crate::error::ProtoError;
use core::mem::size_of;

open_enum! {
    /// Status words (`RNDIS_STATUS_*`).
    pub struct Status(u32) {
        /// Done.
        RNDIS_STATUS_SUCCESS = 0,
        /// The cable is plugged in.
        RNDIS_STATUS_MEDIA_CONNECT = 0x4001_000b,
        /// The cable is pulled out.
        RNDIS_STATUS_MEDIA_DISCONNECT = 0x4001_000c,
        /// The speed has changed.
        RNDIS_STATUS_LINK_SPEED_CHANGE = 0x4001_0013,
        /// The card hangs on another network: addresses have to be fetched anew.
        RNDIS_STATUS_NETWORK_CHANGE = 0x4001_0018,
        /// What is offloaded has changed.
        RNDIS_STATUS_TASK_OFFLOAD_CURRENT_CONFIG = 0x4002_0006,
        /// Failed.
        RNDIS_STATUS_FAILURE = 0xc000_0001,
        /// No such thing.
        RNDIS_STATUS_NOT_SUPPORTED = 0xc000_00bb,
        /// The value cannot be.
        RNDIS_STATUS_INVALID_DATA = 0xc001_0015,
    }
}

wire_struct! {
    /// `struct rndis_indicate_status`, 12 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct IndicateStatus {
        /// [`Status`].
        pub status: u32,
        /// Bytes of what belongs to it.
        pub status_buflen: u32,
        /// Where that is.
        pub status_buf_offset: u32,
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Indication {
    /// The cable is plugged in.
    Connect,
    /// It is pulled out.
    Disconnect,
    /// The card hangs on another network.
    NetworkChange,
    /// The speed is now this, in units of 100 bit/s.
    LinkSpeed(u32),
    /// Nothing that a guest acts upon.
    Other(Status),
}

/// Reads an indication, whose front `header` has been read from the same bytes, `len` in all.
///
/// Old hosts do not count what belongs to a status in the length of the message; so it is looked for in all of the
/// bytes.
///
/// # Errors
///
/// If it is none, or if a speed is missing where there has to be one. What belongs to a status that needs nothing is not
/// looked at.
pub fn indication<W: Words + ?Sized>(
    bytes: &W,
    header: &Header,
    len: u32,
) -> Result<Indication, ProtoError> {
    const FIXED: u32 = size_of::<IndicateStatus>() as u32;
    let what = "RNDIS indication";
    if header.kind != MessageType::RNDIS_MSG_INDICATE {
        return Err(ProtoError::Unexpected { what });
    }
    if header.len < HEADER_SIZE + FIXED {
        return Err(ProtoError::Short {
            what,
            need: (HEADER_SIZE + FIXED) as usize,
            got: header.len as usize,
        });
    }
    Ok(match Status(word(bytes, HEADER_SIZE, what)?) {
        Status::RNDIS_STATUS_MEDIA_CONNECT => Indication::Connect,
        Status::RNDIS_STATUS_MEDIA_DISCONNECT => Indication::Disconnect,
        Status::RNDIS_STATUS_NETWORK_CHANGE => Indication::NetworkChange,
        Status::RNDIS_STATUS_LINK_SPEED_CHANGE => {
            let body = len.saturating_sub(HEADER_SIZE);
            let speed_len = word(bytes, HEADER_SIZE + 4, what)?;
            let offset = word(bytes, HEADER_SIZE + 8, what)?;
            if speed_len < 4 || offset < FIXED || body < offset || body - offset < speed_len {
                return Err(ProtoError::Invalid {
                    what: "speed in an indication",
                    value: (u64::from(offset) << 32) | u64::from(speed_len),
                });
            }
            let at = HEADER_SIZE.saturating_add(offset);
            Indication::LinkSpeed(word(bytes, at, what)?)
        }
        other => Indication::Other(other),
    })
}

/// Writes an indication with what belongs to it. Returns its bytes.
///
/// # Errors
///
/// `NoRoom` if `out` is too short.
pub fn indicate(out: &mut [u8], status: Status, more: &[u8]) -> Result<usize, ProtoError> {
    let len = u32::try_from(more.len()).unwrap_or(u32::MAX);
    let fixed = size_of::<IndicateStatus>() as u32;
    let body = IndicateStatus {
        status: status.0,
        status_buflen: len,
        status_buf_offset: if more.is_empty() { 0 } else { fixed },
    };
    message(out, MessageType::RNDIS_MSG_INDICATE, &body, more)
}

#[cfg(test)]
mod tests {
    use super::super::header;
    use super::*;
    use proptest::prelude::*;
    use zerocopy::IntoBytes;
    extern crate std;

    fn read(bytes: &[u8]) -> Result<Indication, ProtoError> {
        let len = bytes.len() as u32;
        indication(bytes, &header(bytes, len)?, len)
    }

    #[test]
    fn indications() {
        let mut out = [0; 64];
        let mut told = |status, more: &[u8]| {
            let len = indicate(&mut out, status, more).unwrap();
            read(&out[..len])
        };
        let speed = Status::RNDIS_STATUS_LINK_SPEED_CHANGE;
        assert_eq!(told(speed, &[1, 2, 0, 0]), Ok(Indication::LinkSpeed(513)));
        assert!(told(speed, &[]).is_err());
        assert!(told(speed, &[1, 2, 3]).is_err());
        let connect = Status::RNDIS_STATUS_MEDIA_CONNECT;
        assert_eq!(told(connect, &[]), Ok(Indication::Connect));
        assert_eq!(told(connect, &[9; 9]), Ok(Indication::Connect));
        let offload = Status::RNDIS_STATUS_TASK_OFFLOAD_CURRENT_CONFIG;
        assert_eq!(told(offload, &[9]), Ok(Indication::Other(offload)));
    }

    #[test]
    fn a_speed_that_the_length_does_not_count() {
        let words = |len, size, offset| [7, len, 0x4001_0013, size, offset, 4711];
        assert_eq!(
            read(words(20, 4, 12).as_bytes()),
            Ok(Indication::LinkSpeed(4711))
        );
        for bad in [
            words(24, 4, 8),
            words(24, 4, 13),
            words(24, 8, 12),
            words(24, u32::MAX, 12),
            words(24, 4, u32::MAX),
            words(19, 4, 12),
        ] {
            assert!(read(bad.as_bytes()).is_err());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken(words in proptest::collection::vec(0u32..40, 0..12), speed: bool) {
            let mut words = words;
            let front = [7, 4 * words.len() as u32, if speed { 0x4001_0013 } else { 4 }];
            for (to, from) in words.iter_mut().zip(front) {
                *to = from;
            }
            let _ = read(words.as_bytes());
        }
    }
}
