// SPDX-License-Identifier: GPL-2.0

//! Messages of the network service protocol, NVSP (drivers/net/hyperv/hyperv_net.h: struct nvsp_message and its
//! union). Each begins with its type; what follows are the structs here. All are little-endian and packed.

use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of struct nvsp_message, which the host pads its messages to.
pub const MESSAGE: usize = 40;

/// NVSP_MSG_TYPE_INIT: the guest proposes a range of versions ([`Init`]).
pub const INIT: u32 = 1;
/// NVSP_MSG_TYPE_INIT_COMPLETE: version, longest chain of MDLs, status.
pub const INIT_COMPLETE: u32 = 2;
/// NVSP_MSG1_TYPE_SEND_NDIS_VER ([`NdisVersion`]).
pub const SEND_NDIS_VERSION: u32 = 100;
/// NVSP_MSG1_TYPE_SEND_RECV_BUF ([`Buffer`]).
pub const SEND_RECEIVE_BUFFER: u32 = 101;
/// NVSP_MSG1_TYPE_SEND_RECV_BUF_COMPLETE: status, count of sections, then per section offset, size and number of
/// the parts, and end.
pub const SEND_RECEIVE_BUFFER_COMPLETE: u32 = 102;
/// NVSP_MSG1_TYPE_REVOKE_RECV_BUF: the buffer's id, 16 bits.
pub const REVOKE_RECEIVE_BUFFER: u32 = 103;
/// NVSP_MSG1_TYPE_SEND_SEND_BUF ([`Buffer`]).
pub const SEND_SEND_BUFFER: u32 = 104;
/// NVSP_MSG1_TYPE_SEND_SEND_BUF_COMPLETE: status, bytes of a section.
pub const SEND_SEND_BUFFER_COMPLETE: u32 = 105;
/// NVSP_MSG1_TYPE_REVOKE_SEND_BUF: the buffer's id, 16 bits.
pub const REVOKE_SEND_BUFFER: u32 = 106;
/// NVSP_MSG1_TYPE_SEND_RNDIS_PKT, in both directions ([`RndisPacket`]).
pub const SEND_RNDIS_PACKET: u32 = 107;
/// NVSP_MSG1_TYPE_SEND_RNDIS_PKT_COMPLETE, in both directions: status.
pub const SEND_RNDIS_PACKET_COMPLETE: u32 = 108;
/// NVSP_MSG2_TYPE_SEND_NDIS_CONFIG ([`NdisConfig`]).
pub const SEND_NDIS_CONFIG: u32 = 125;
/// NVSP_MSG5_TYPE_SUBCHANNEL, in both directions: operation or status, then a number of channels.
pub const SUB_CHANNEL: u32 = 133;

/// NVSP_STAT_SUCCESS.
pub const SUCCESS: u32 = 1;
/// NVSP_STAT_FAIL.
pub const FAIL: u32 = 2;
/// NVSP_STAT_INVALID_RNDIS_PKT.
pub const INVALID_RNDIS_PACKET: u32 = 5;
/// NVSP_STAT_PROTOCOL_UNSUPPORTED.
pub const UNSUPPORTED: u32 = 7;

/// Versions by their numbers on the wire (NVSP_PROTOCOL_VERSION_*), ascending, with the names they go by.
pub const VERSIONS: [(u32, &str); 6] = [
    (2, "1"),
    (0x30002, "2"),
    (0x40000, "4"),
    (0x50000, "5"),
    (0x60000, "6"),
    (0x60001, "6.1"),
];
/// Version 2 and newer have SEND_NDIS_CONFIG.
pub const VERSION_2: u32 = 0x30002;

/// RNDIS packet type RMC_DATA: frames.
pub const CHANNEL_DATA: u32 = 0;
/// RNDIS packet type RMC_CONTROL: requests and their answers.
pub const CHANNEL_CONTROL: u32 = 1;
/// Section index that says that the send buffer is not used (NETVSC_INVALID_INDEX).
pub const NO_SECTION: u32 = u32::MAX;

/// struct nvsp_message_init, 8 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C, packed)]
pub struct Init {
    /// Oldest version that the guest takes.
    pub min_protocol_ver: u32,
    /// Newest.
    pub max_protocol_ver: u32,
}

/// struct nvsp_1_message_send_ndis_version, 8 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C, packed)]
pub struct NdisVersion {
    /// 6.
    pub ndis_major_ver: u32,
    /// 1 or 30.
    pub ndis_minor_ver: u32,
}

/// struct nvsp_2_send_ndis_config, 16 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C, packed)]
pub struct NdisConfig {
    /// Bytes of the longest frame, with its 14-byte header.
    pub mtu: u32,
    /// Zero.
    pub reserved: u32,
    /// What the guest can do, one bit each.
    pub capability: u64,
}

/// struct nvsp_1_message_send_receive_buffer and its twin for sending, 6 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C, packed)]
pub struct Buffer {
    /// The GPADL that is the buffer.
    pub gpadl_handle: u32,
    /// What later messages call it.
    pub id: u16,
}

/// struct nvsp_1_message_send_rndis_packet, 12 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C, packed)]
pub struct RndisPacket {
    /// [`CHANNEL_DATA`] or [`CHANNEL_CONTROL`].
    pub channel_type: u32,
    /// Section of the send buffer, or [`NO_SECTION`].
    pub send_buf_section_index: u32,
    /// Bytes used of it.
    pub send_buf_section_size: u32,
}

/// A message of the given type whose further words are `words`, padded to [`MESSAGE`] bytes.
pub fn message(type_: u32, words: &[u32]) -> Vec<u8> {
    let mut bytes = type_.to_le_bytes().to_vec();
    bytes.extend(words.iter().flat_map(|w| w.to_le_bytes()));
    bytes.resize(bytes.len().max(MESSAGE), 0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_padded() {
        let bytes = message(SEND_SEND_BUFFER_COMPLETE, &[SUCCESS, 6144]);
        assert_eq!(bytes.len(), MESSAGE);
        assert_eq!(&bytes[..12], &[105, 0, 0, 0, 1, 0, 0, 0, 0, 24, 0, 0]);
    }
}
