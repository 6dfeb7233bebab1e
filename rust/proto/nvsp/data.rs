// SPDX-License-Identifier: GPL-2.0

//! Packets that carry RNDIS messages, and their completions.

use super::buffers::{ReceiveSections, RECEIVE_BUFFER_ID};
use super::message::{body, message, MessageType, Status, MESSAGE_SIZE};
use crate::error::ProtoError;
use crate::ring::packet::{transfer_pages, TransferPageRange, TransferPageRanges};
use zerocopy::transmute;

/// Section index that says that the send buffer is not used.
pub const NETVSC_INVALID_INDEX: u32 = u32::MAX;

open_enum! {
    /// The two channels of RNDIS, which share one here.
    pub struct ChannelType(u32) {
        /// Frames.
        RMC_DATA = 0,
        /// Requests, answers and indications.
        RMC_CONTROL = 1,
    }
}

wire_struct! {
    /// `struct nvsp_1_message_send_rndis_packet`, 12 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct RndisPacket {
        /// [`ChannelType`].
        pub channel_type: u32,
        /// Section of the send buffer where the message is or begins, or [`NETVSC_INVALID_INDEX`]. Of no meaning from
        /// the host.
        pub send_buf_section_index: u32,
        /// Bytes used of that section.
        pub send_buf_section_size: u32,
    }

    /// `struct nvsp_1_message_send_rndis_packet_complete`, 4 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct RndisPacketComplete {
        /// [`Status`].
        pub status: u32,
    }
}

impl RndisPacket {
    /// SEND_RNDIS_PKT for what lies in pages only.
    #[inline]
    pub fn in_pages(channel: ChannelType) -> [u8; MESSAGE_SIZE] {
        Self::in_section(channel, NETVSC_INVALID_INDEX, 0)
    }

    /// SEND_RNDIS_PKT for `size` bytes in section `index` of the send buffer, with more in pages or not.
    #[inline]
    pub fn in_section(channel: ChannelType, index: u32, size: u32) -> [u8; MESSAGE_SIZE] {
        let packet = Self {
            channel_type: channel.0,
            send_buf_section_index: index,
            send_buf_section_size: size,
        };
        message(MessageType::NVSP_MSG1_TYPE_SEND_RNDIS_PKT, &packet)
    }
}

impl RndisPacketComplete {
    /// SEND_RNDIS_PKT_COMPLETE as a guest sends it: type and status, 8 bytes.
    #[inline]
    pub fn message(status: Status) -> [u8; 8] {
        let kind = MessageType::NVSP_MSG1_TYPE_SEND_RNDIS_PKT_COMPLETE;
        transmute!([kind.0.to_le(), status.0.to_le()])
    }
}

/// The status in a completion of SEND_RNDIS_PKT.
///
/// # Errors
///
/// If it is no such completion; also if it is empty, which nothing but SWITCH_DATA_PATH is answered with.
#[inline]
pub fn completion_status(payload: &[u8]) -> Result<Status, ProtoError> {
    let kind = MessageType::NVSP_MSG1_TYPE_SEND_RNDIS_PKT_COMPLETE;
    let complete: RndisPacketComplete = body(payload, kind, "SEND_RNDIS_PKT_COMPLETE")?;
    Ok(Status(complete.status))
}

/// What a transfer-page packet of the host points to.
#[derive(Clone, Debug)]
pub struct Received<'a> {
    /// Frames, or control messages.
    pub channel: ChannelType,
    /// Number of ranges, at least one.
    pub count: u32,
    ranges: TransferPageRanges<'a>,
    section: u32,
}

/// Reads a transfer-page packet: `extension` is what lies between descriptor and payload.
///
/// Whatever comes out, an error as well, the packet has to be completed, or the host lacks its sections for ever.
///
/// # Errors
///
/// If it is no SEND_RNDIS_PKT, names another buffer, or has no range or fewer than it says. A bad range is an item of
/// the iterator.
#[inline]
pub fn received<'a>(
    extension: &'a [u8],
    payload: &[u8],
    sections: &ReceiveSections,
) -> Result<Received<'a>, ProtoError> {
    // Only the channel type means something from the host, so no more need be there.
    let kind = MessageType::NVSP_MSG1_TYPE_SEND_RNDIS_PKT;
    let channel: ChannelType = body(payload, kind, "SEND_RNDIS_PKT")?;
    let (header, ranges) = transfer_pages(extension, sections.bytes())?;
    let (set, count) = (header.xfer_pageset_id, header.range_cnt);
    if set != RECEIVE_BUFFER_ID {
        return Err(ProtoError::invalid("transfer page set", set));
    }
    if count == 0 {
        return Err(ProtoError::invalid("number of transfer page ranges", 0_u32));
    }
    Ok(Received {
        channel,
        count,
        ranges,
        section: sections.size(),
    })
}

impl Iterator for Received<'_> {
    type Item = Result<TransferPageRange, ProtoError>;

    /// The next range: within the receive buffer, and not longer than a section.
    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let range = self.ranges.next()?;
        Some(range.and_then(|r| {
            let len = r.byte_count;
            if len > self.section {
                return Err(ProtoError::invalid("length of a transfer page range", len));
            }
            Ok(r)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nvsp::message;
    use proptest::prelude::*;
    use zerocopy::IntoBytes;
    extern crate std;
    use std::vec::Vec;

    fn sections() -> ReceiveSections {
        let kind = MessageType::NVSP_MSG1_TYPE_SEND_RECV_BUF_COMPLETE;
        let answer = message(kind, &[1u32, 1, 0, 1728, 30, 0]);
        ReceiveSections::parse(&answer, 30 * 1728, 1514).unwrap()
    }

    fn extension(set: u16, count: u32, ranges: &[[u32; 2]]) -> Vec<u8> {
        let mut bytes = set.to_le_bytes().to_vec();
        bytes.extend([0, 0]);
        bytes.extend(count.to_le_bytes());
        bytes.extend(ranges.as_bytes());
        bytes
    }

    #[test]
    fn ranges_of_sections() {
        let payload = RndisPacket::in_pages(ChannelType::RMC_DATA);
        let ranges = [[100, 0], [1728, 1728], [1729, 0], [1, 30 * 1728], [0, 5]];
        let all = extension(0xcafe, 5, &ranges);
        let got = received(&all, &payload, &sections()).unwrap();
        assert_eq!((got.channel, got.count), (ChannelType::RMC_DATA, 5));
        let fine: Vec<bool> = got.map(|r| r.is_ok()).collect();
        assert_eq!(fine, [true, true, false, false, true]);
        // No more than the channel type is needed.
        assert!(received(&all, &payload[..8], &sections()).is_ok());
    }

    #[test]
    fn packets_that_cannot_be() {
        let payload = RndisPacket::in_pages(ChannelType::RMC_DATA);
        let one = extension(0xcafe, 1, &[[100, 0]]);
        assert!(received(&one, &payload, &sections()).is_ok());
        for bad in [
            extension(0xcafd, 1, &[[100, 0]]),
            extension(0xcafe, 2, &[[100, 0]]),
            extension(0xcafe, u32::MAX, &[[100, 0]]),
            extension(0xcafe, 0, &[]),
        ] {
            assert!(received(&bad, &payload, &sections()).is_err());
        }
        assert!(received(&one[..7], &payload, &sections()).is_err());
        assert!(received(&one, &payload[..7], &sections()).is_err());
        let other = RndisPacketComplete::message(Status::NVSP_STAT_SUCCESS);
        assert!(received(&one, &other, &sections()).is_err());
    }

    #[test]
    fn completions() {
        let done = RndisPacketComplete::message(Status::NVSP_STAT_FAIL);
        assert_eq!(done, [108, 0, 0, 0, 2, 0, 0, 0]);
        assert_eq!(completion_status(&done), Ok(Status::NVSP_STAT_FAIL));
        assert!(completion_status(&done[..7]).is_err());
        assert!(completion_status(&[]).is_err());
        let other = RndisPacket::in_pages(ChannelType::RMC_DATA);
        assert!(completion_status(&other).is_err());
    }

    proptest! {
        #[test]
        fn ranges_stay_in_the_buffer(count in 0u32..20, ranges: Vec<[u32; 2]>, small: bool) {
            let small_ranges: Vec<[u32; 2]> = ranges.iter().map(|r| [r[0] % 2000, r[1] % 60_000]).collect();
            let all = extension(0xcafe, count, if small { &small_ranges } else { &ranges });
            let payload = RndisPacket::in_pages(ChannelType::RMC_DATA);
            if let Ok(got) = received(&all, &payload, &sections()) {
                let mut n = 0;
                for range in got {
                    n += 1;
                    if let Ok(r) = range {
                        let (len, offset) = (u64::from(r.byte_count), u64::from(r.byte_offset));
                        prop_assert!(len <= 1728 && offset + len <= 30 * 1728);
                    }
                }
                prop_assert_eq!(n, count);
            }
        }
    }
}
