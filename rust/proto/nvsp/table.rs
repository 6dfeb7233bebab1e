// SPDX-License-Identifier: GPL-2.0

//! Which channel the guest is to send on, by the hash of a flow.

use super::message::{body, MessageHeader, MessageType, ProtocolVersion};
use crate::error::ProtoError;
use core::mem::size_of;
use zerocopy::FromBytes;

/// Entries of the table.
pub const VRSS_SEND_TAB_SIZE: usize = 16;
/// Where hosts up to version 6 put the table, whatever they say: behind the largest body that this version knows.
pub const SEND_TABLE_OFFSET_UP_TO_6: usize = size_of::<MessageHeader>() + LARGEST_BODY_OF_VERSION_6;
/// Bytes of `union nvsp_6_message_uber`.
const LARGEST_BODY_OF_VERSION_6: usize = 36;

wire_struct! {
    /// `struct nvsp_5_send_indirect_table`, 8 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct SendIndirectionTable {
        /// Number of entries, [`VRSS_SEND_TAB_SIZE`].
        pub count: u32,
        /// Where they begin, from the start of the message.
        pub offset: u32,
    }
}

/// The table. Each entry is the number of a channel that there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendTable([u16; VRSS_SEND_TAB_SIZE]);

impl SendTable {
    /// What a guest uses as long as the host has not sent one: the channels in turn. With no channel it is that of one.
    pub fn in_turn(channels: u32) -> Self {
        let channels = channels.clamp(1, super::VRSS_CHANNEL_MAX) as u16;
        let mut table = [0; VRSS_SEND_TAB_SIZE];
        for (entry, n) in table.iter_mut().zip((0..channels).cycle()) {
            *entry = n;
        }
        Self(table)
    }

    /// Reads SEND_INDIRECTION_TABLE for a card with `channels` channels.
    ///
    /// # Errors
    ///
    /// If the table has another size, lies outside of the message, or names a channel that there is not.
    pub fn parse(
        payload: &[u8],
        version: ProtocolVersion,
        channels: u32,
    ) -> Result<Self, ProtoError> {
        const BYTES: usize = VRSS_SEND_TAB_SIZE * size_of::<u32>();
        let what = "send table";
        let kind = MessageType::NVSP_MSG5_TYPE_SEND_INDIRECTION_TABLE;
        let head: SendIndirectionTable = body(payload, kind, what)?;
        let (count, mut offset) = (head.count, head.offset as usize);
        if count as usize != VRSS_SEND_TAB_SIZE {
            return Err(ProtoError::Invalid {
                what: "entries of the send table",
                value: u64::from(count),
            });
        }
        // These hosts give a wrong offset; a message that is long enough for the right one is theirs.
        if version <= ProtocolVersion::V6 && payload.len() >= SEND_TABLE_OFFSET_UP_TO_6 + BYTES {
            offset = SEND_TABLE_OFFSET_UP_TO_6;
        }
        let bytes = offset
            .checked_add(BYTES)
            .and_then(|end| payload.get(offset..end))
            .ok_or(ProtoError::Invalid {
                what: "offset of the send table",
                value: offset as u64,
            })?;
        let words = <[u32; VRSS_SEND_TAB_SIZE]>::read_from_bytes(bytes)
            .map_err(|_| ProtoError::Unexpected { what })?;
        let mut table = [0; VRSS_SEND_TAB_SIZE];
        for (entry, word) in table.iter_mut().zip(words) {
            *entry = u16::try_from(word).ok().filter(|_| word < channels).ok_or(
                ProtoError::Invalid {
                    what: "entry of the send table",
                    value: u64::from(word),
                },
            )?;
        }
        Ok(Self(table))
    }

    /// The channel for a flow with this hash.
    #[inline]
    pub fn channel(&self, hash: u32) -> u32 {
        // The table has 16 entries, and the index four bits.
        let index = hash as usize % VRSS_SEND_TAB_SIZE;
        self.0.get(index).copied().unwrap_or(0).into()
    }

    /// The entries.
    pub const fn entries(&self) -> &[u16; VRSS_SEND_TAB_SIZE] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::IntoBytes;
    extern crate std;
    use std::vec::Vec;

    fn table(count: u32, offset: u32, at: usize, entries: &[u32]) -> Vec<u8> {
        let mut bytes = [134, count, offset].as_bytes().to_vec();
        bytes.resize(at, 0xff);
        bytes.extend(entries.as_bytes());
        bytes
    }

    #[test]
    fn tables_of_old_and_new_hosts() {
        let entries: Vec<u32> = (0..16).map(|n| n % 4).collect();
        let fine = SendTable::in_turn(4);
        let v6 = ProtocolVersion::V6;
        let new = ProtocolVersion::V6_1;
        assert_eq!(
            SendTable::parse(&table(16, 12, 12, &entries), new, 4),
            Ok(fine)
        );
        // The offset of an old host means nothing, if there is room at the right place.
        for offset in [12, 40, 4711] {
            let message = table(16, offset, 40, &entries);
            assert_eq!(SendTable::parse(&message, v6, 4), Ok(fine), "{offset}");
        }
        assert_eq!(
            SendTable::parse(&table(16, 12, 12, &entries), v6, 4),
            Ok(fine)
        );
        for (message, channels) in [
            (table(15, 12, 12, &entries), 4),
            (table(17, 12, 12, &entries), 4),
            (table(16, 13, 12, &entries), 4),
            (table(16, u32::MAX, 12, &entries), 4),
            (table(16, u32::MAX - 63, 12, &entries), 4),
            (table(16, 12, 12, &entries), 3),
            (table(16, 12, 12, &entries[..15]), 4),
            (table(16, 12, 12, &[0x1_0000; 16]), 4),
            (table(16, 12, 12, &[65_535; 16]), 64),
            (table(16, 12, 12, &[0; 16]), 0),
        ] {
            assert!(SendTable::parse(&message, new, channels).is_err());
        }
    }

    #[test]
    fn channels_in_turn() {
        let table = SendTable::in_turn(3);
        assert_eq!(table.channel(0xffff_fff5), 2);
        assert_eq!(SendTable::in_turn(0).channel(7), 0);
        assert_eq!(SendTable::in_turn(u32::MAX).channel(15), 15);
        assert_eq!(table.entries()[3], 0);
    }
}
