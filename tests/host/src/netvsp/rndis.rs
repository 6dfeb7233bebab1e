// SPDX-License-Identifier: GPL-2.0

//! Remote NDIS: the messages in the packets of the network service (drivers/net/hyperv/hyperv_net.h and
//! include/linux/rndis.h). A message is a type, its length with these 8 bytes, and a body; offsets in a body count
//! from the body's start.

use anyhow::{ensure, Context, Result};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of type and length.
pub const HEADER: usize = 8;

/// RNDIS_MSG_PACKET: a frame ([`PacketHeader`]).
pub const PACKET: u32 = 1;
/// RNDIS_MSG_INIT.
pub const INITIALIZE: u32 = 2;
/// RNDIS_MSG_HALT.
pub const HALT: u32 = 3;
/// RNDIS_MSG_QUERY.
pub const QUERY: u32 = 4;
/// RNDIS_MSG_SET.
pub const SET: u32 = 5;
/// RNDIS_MSG_RESET.
pub const RESET: u32 = 6;
/// RNDIS_MSG_INDICATE: something happened, unasked.
pub const INDICATE: u32 = 7;
/// RNDIS_MSG_KEEPALIVE.
pub const KEEPALIVE: u32 = 8;
/// RNDIS_MSG_COMPLETION: set in the type of an answer.
pub const COMPLETION: u32 = 0x8000_0000;

/// RNDIS_STATUS_SUCCESS.
pub const SUCCESS: u32 = 0;
/// RNDIS_STATUS_NOT_SUPPORTED.
pub const NOT_SUPPORTED: u32 = 0xC000_00BB;
/// RNDIS_STATUS_INVALID_DATA.
pub const INVALID_DATA: u32 = 0xC001_0015;
/// RNDIS_STATUS_MEDIA_CONNECT.
pub const MEDIA_CONNECT: u32 = 0x4001_000B;
/// RNDIS_STATUS_MEDIA_DISCONNECT.
pub const MEDIA_DISCONNECT: u32 = 0x4001_000C;

/// RNDIS_OID_GEN_MAXIMUM_FRAME_SIZE: bytes of the longest frame without its header.
pub const OID_MAXIMUM_FRAME_SIZE: u32 = 0x0001_0106;
/// RNDIS_OID_GEN_LINK_SPEED, in units of 100 bit/s.
pub const OID_LINK_SPEED: u32 = 0x0001_0107;
/// RNDIS_OID_GEN_CURRENT_PACKET_FILTER.
pub const OID_PACKET_FILTER: u32 = 0x0001_010E;
/// RNDIS_OID_GEN_MEDIA_CONNECT_STATUS: 0 is connected.
pub const OID_MEDIA_CONNECT_STATUS: u32 = 0x0001_0114;
/// RNDIS_OID_GEN_RNDIS_CONFIG_PARAMETER.
pub const OID_CONFIG_PARAMETER: u32 = 0x0001_021B;
/// OID_GEN_RECEIVE_SCALE_CAPABILITIES.
pub const OID_RECEIVE_SCALE_CAPABILITIES: u32 = 0x0001_0203;
/// RNDIS_OID_GEN_FRIENDLY_NAME, in UTF-16.
pub const OID_FRIENDLY_NAME: u32 = 0x0002_0216;
/// RNDIS_OID_802_3_PERMANENT_ADDRESS.
pub const OID_PERMANENT_ADDRESS: u32 = 0x0101_0101;
/// RNDIS_OID_802_3_CURRENT_ADDRESS.
pub const OID_CURRENT_ADDRESS: u32 = 0x0101_0102;
/// OID_TCP_OFFLOAD_PARAMETERS.
pub const OID_OFFLOAD_PARAMETERS: u32 = 0xFC01_020C;
/// OID_TCP_OFFLOAD_HARDWARE_CAPABILITIES.
pub const OID_OFFLOAD_CAPABILITIES: u32 = 0xFC01_020D;

/// NDIS_PACKET_TYPE_DIRECTED: frames to the card's own address.
pub const FILTER_DIRECTED: u32 = 0x01;
/// NDIS_PACKET_TYPE_MULTICAST and _ALL_MULTICAST.
pub const FILTER_MULTICAST: u32 = 0x02 | 0x04;
/// NDIS_PACKET_TYPE_BROADCAST.
pub const FILTER_BROADCAST: u32 = 0x08;
/// NDIS_PACKET_TYPE_PROMISCUOUS.
pub const FILTER_PROMISCUOUS: u32 = 0x20;

/// What can be in front of a frame, of type and size: checksum and segmentation requests, VLAN, hash (NDIS's
/// per-packet information).
const PPI_CHECKSUM: u32 = 0;
const PPI_LARGE_SEND: u32 = 2;

/// struct rndis_packet, 36 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C, packed)]
pub struct PacketHeader {
    /// Where the frame is.
    pub data_offset: u32,
    /// Its bytes.
    pub data_len: u32,
    /// Zero.
    pub oob_data_offset: u32,
    /// Zero.
    pub oob_data_len: u32,
    /// Zero.
    pub num_oob_data_elements: u32,
    /// Where the per-packet information is.
    pub per_pkt_info_offset: u32,
    /// Its bytes.
    pub per_pkt_info_len: u32,
    /// Zero.
    pub vc_handle: u32,
    /// Zero.
    pub reserved: u32,
}

/// struct rndis_per_packet_info, 12 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C, packed)]
struct PerPacketInfo {
    size: u32,
    type_: u32,
    offset: u32,
}

/// struct rndis_initialize_request, 16 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C, packed)]
pub struct Initialize {
    /// Repeated in the answer.
    pub req_id: u32,
    /// 1.
    pub major_ver: u32,
    /// 0.
    pub minor_ver: u32,
    /// Bytes of the longest message that the guest takes.
    pub max_xfer_size: u32,
}

/// struct rndis_query_request and the fixed part of struct rndis_set_request, 20 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C, packed)]
pub struct Request {
    /// Repeated in the answer.
    pub req_id: u32,
    /// What it is about.
    pub oid: u32,
    /// Bytes of the information.
    pub info_buflen: u32,
    /// Where it is.
    pub info_buf_offset: u32,
    /// Zero.
    pub dev_vc_handle: u32,
}

/// The fixed part at the front of a body.
pub fn front<T: FromBytes + KnownLayout + Immutable>(body: &[u8], what: &str) -> Result<T> {
    let (value, _) = T::read_from_prefix(body)
        .ok()
        .with_context(|| format!("{what} of {} bytes", body.len()))?;
    Ok(value)
}

/// `len` bytes from `offset` on.
pub fn part<'a>(body: &'a [u8], offset: u32, len: u32, what: &str) -> Result<&'a [u8]> {
    (|| {
        let start = usize::try_from(offset).ok()?;
        body.get(start..start.checked_add(usize::try_from(len).ok()?)?)
    })()
    .with_context(|| {
        format!(
            "{what}: {len} bytes from {offset} on in a body of {}",
            body.len()
        )
    })
}

/// Cuts bytes into messages: pairs of type and body. The bytes must be used up exactly.
pub fn messages(mut bytes: &[u8]) -> Result<Vec<(u32, &[u8])>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let ([type_, len], _) = <[u32; 2]>::read_from_prefix(bytes)
            .ok()
            .with_context(|| format!("{} bytes behind the last RNDIS message", bytes.len()))?;
        let len = usize::try_from(len)?;
        ensure!(
            (HEADER..=bytes.len()).contains(&len),
            "an RNDIS message of {len} bytes where {} are left",
            bytes.len()
        );
        let (message, rest) = bytes.split_at(len);
        found.push((type_, message.get(HEADER..).unwrap_or_default()));
        bytes = rest;
    }
    ensure!(!found.is_empty(), "a packet without an RNDIS message");
    Ok(found)
}

/// The frame in the body of a packet message of the guest. What the card does not offer must not be asked for.
pub fn frame(body: &[u8]) -> Result<&[u8]> {
    let header: PacketHeader = front(body, "a packet message")?;
    let frame = part(body, header.data_offset, header.data_len, "frame")?;
    let header_len = u32::try_from(size_of::<PacketHeader>())?;
    ensure!(
        { header.data_offset } >= header_len,
        "the frame overlaps its header"
    );
    ensure!(
        [
            header.oob_data_offset,
            header.oob_data_len,
            header.num_oob_data_elements
        ] == [0; 3],
        "a packet message with out-of-band data"
    );
    ensure!(
        [header.vc_handle, header.reserved] == [0; 2],
        "a packet message with its reserved fields set"
    );
    if header.per_pkt_info_len == 0 {
        return Ok(frame);
    }
    ensure!(
        { header.per_pkt_info_offset } >= header_len,
        "per-packet information overlaps the header"
    );
    let mut rest = part(
        body,
        header.per_pkt_info_offset,
        header.per_pkt_info_len,
        "per-packet information",
    )?;
    while !rest.is_empty() {
        let info: PerPacketInfo = front(rest, "per-packet information")?;
        let (size, offset) = (usize::try_from(info.size)?, usize::try_from(info.offset)?);
        ensure!(
            size >= size_of::<PerPacketInfo>() && size <= rest.len(),
            "per-packet information of {size} bytes where {} are left",
            rest.len()
        );
        ensure!(
            (size_of::<PerPacketInfo>()..=size).contains(&offset),
            "per-packet information whose value is at {offset} of {size}"
        );
        // The highest bit says that the type is an internal one.
        ensure!(
            !matches!({ info.type_ }, PPI_CHECKSUM | PPI_LARGE_SEND),
            "per-packet information of type {}, which is not offered",
            { info.type_ }
        );
        rest = rest.get(size..).unwrap_or_default();
    }
    Ok(frame)
}

/// A message from its body.
pub fn message(type_: u32, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX);
    let mut bytes = [type_, len].as_bytes().to_vec();
    bytes.extend(body);
    bytes
}

/// The answer to a query.
pub fn query_complete(req_id: u32, status: u32, info: &[u8]) -> Vec<u8> {
    let len = u32::try_from(info.len()).unwrap_or(u32::MAX);
    let offset = if info.is_empty() { 0 } else { 16 };
    let mut body = [req_id, status, len, offset].as_bytes().to_vec();
    body.extend(info);
    message(QUERY | COMPLETION, &body)
}

/// A message that carries a frame to the guest.
pub fn packet(frame: &[u8]) -> Vec<u8> {
    let header = PacketHeader {
        data_offset: size_of::<PacketHeader>() as u32,
        data_len: u32::try_from(frame.len()).unwrap_or(u32::MAX),
        ..Default::default()
    };
    let mut body = header.as_bytes().to_vec();
    body.extend(frame);
    message(PACKET, &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_cut_exactly() {
        let mut bytes = message(KEEPALIVE, &7u32.to_le_bytes());
        bytes.extend(message(HALT, &[0; 4]));
        let found = messages(&bytes).unwrap();
        assert_eq!(found, [(KEEPALIVE, &[7, 0, 0, 0][..]), (HALT, &[0; 4][..])]);
        assert!(messages(&[]).is_err());
        for cut in 1..bytes.len() {
            let found = messages(&bytes[..cut]);
            assert_eq!(found.is_ok(), cut == 12, "{cut}");
        }
        bytes[4] = 7;
        assert!(messages(&bytes).is_err(), "shorter than its header");
    }

    #[test]
    fn frames_come_out_as_they_went_in() {
        let bytes = packet(&[9; 60]);
        let found = messages(&bytes).unwrap();
        assert_eq!(frame(found[0].1).unwrap(), [9; 60]);
    }

    fn with_info(info: &[u32], frame_len: u32) -> Vec<u8> {
        let header = PacketHeader {
            data_offset: 36 + 4 * info.len() as u32,
            data_len: frame_len,
            per_pkt_info_offset: 36,
            per_pkt_info_len: 4 * info.len() as u32,
            ..Default::default()
        };
        let mut body = header.as_bytes().to_vec();
        body.extend(info.as_bytes());
        body.extend([1; 60]);
        body
    }

    #[test]
    fn malformed_packets_are_refused() {
        // VLAN information is fine, and a hash value.
        assert!(frame(&with_info(&[16, 6, 12, 5], 60)).is_ok());
        assert!(frame(&with_info(&[16, 6, 12, 5, 16, 8, 12, 1], 60)).is_ok());
        for (info, len) in [
            (&[16, 6, 12, 5][..], 61),
            (&[16, 6, 12, 5], u32::MAX),
            (&[0, 6, 12, 5], 60),
            (&[20, 6, 12, 5], 60),
            (&[16, 6, 17, 5], 60),
            (&[16, 6, 0, 5], 60),
            (&[16, 0, 12, 1], 60),
            (&[16, 2, 12, 1], 60),
            (&[16, 6], 60),
        ] {
            assert!(frame(&with_info(info, len)).is_err(), "{info:?} {len}");
        }
        assert!(frame(&[0; 35]).is_err());
        assert!(frame(&[0; 60]).is_err(), "the frame overlaps the header");
    }
}
