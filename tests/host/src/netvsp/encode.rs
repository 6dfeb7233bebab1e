// SPDX-License-Identifier: GPL-2.0

//! Messages of the host as byte vectors, the right ones of [`rlis_proto`] and wrong ones of them.

use rlis_proto::nvsp::{message, MessageType, ProtocolVersion, MESSAGE_SIZE, OLD_MESSAGE_SIZE};
use rlis_proto::ProtoError;
use zerocopy::{Immutable, IntoBytes};

/// Bytes of the longest control message.
const LONGEST: usize = 4096;

/// What an encoder of the protocol crate writes.
///
/// # Panics
///
/// If it does not fit into [`LONGEST`] bytes, which no control message of the host needs.
pub fn written(write: impl FnOnce(&mut [u8]) -> Result<usize, ProtoError>) -> Vec<u8> {
    let mut bytes = vec![0; LONGEST];
    let len = write(&mut bytes).expect("control messages are short");
    bytes.truncate(len);
    bytes
}

/// An NVSP message, as long as those of the version are.
pub fn nvsp<T: IntoBytes + Immutable>(
    kind: MessageType,
    body: &T,
    version: ProtocolVersion,
) -> Vec<u8> {
    let old = version < ProtocolVersion::V6_1 && body.as_bytes().len() <= OLD_MESSAGE_SIZE - 4;
    let len = if old { OLD_MESSAGE_SIZE } else { MESSAGE_SIZE };
    let mut bytes = message(kind, body).to_vec();
    bytes.truncate(len);
    bytes
}

/// Puts `value` at `at`, if there is such a place.
pub fn poke(bytes: &mut [u8], at: usize, value: u32) {
    if let Some(place) = bytes.get_mut(at..at + 4) {
        place.copy_from_slice(&value.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_the_length_of_their_version() {
        let kind = MessageType::NVSP_MSG1_TYPE_SEND_SEND_BUF_COMPLETE;
        assert_eq!(nvsp(kind, &[1u32, 6144], ProtocolVersion::V6).len(), 28);
        let new = nvsp(kind, &[1u32, 6144], ProtocolVersion::V6_1);
        assert_eq!(new.len(), 40);
        assert_eq!(new[..12], [105, 0, 0, 0, 1, 0, 0, 0, 0, 24, 0, 0]);
    }
}
