// SPDX-License-Identifier: GPL-2.0

//! Packets of the storage protocol (drivers/scsi/storvsc_drv.c: struct vstor_packet and its union).

use anyhow::{ensure, Context, Result};
use zerocopy::{FromBytes, IntoBytes};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::vmbus::direct::DataBuffer;
use crate::vmbus::ring::Packet;

/// VSTOR_OPERATION_COMPLETE_IO.
pub const COMPLETE_IO: u32 = 1;
/// VSTOR_OPERATION_REMOVE_DEVICE.
pub const REMOVE_DEVICE: u32 = 2;
/// VSTOR_OPERATION_EXECUTE_SRB.
pub const EXECUTE_SRB: u32 = 3;
/// VSTOR_OPERATION_RESET_LUN.
pub const RESET_LUN: u32 = 4;
/// VSTOR_OPERATION_RESET_ADAPTER.
pub const RESET_ADAPTER: u32 = 5;
/// VSTOR_OPERATION_RESET_BUS.
pub const RESET_BUS: u32 = 6;
/// VSTOR_OPERATION_BEGIN_INITIALIZATION.
pub const BEGIN_INITIALIZATION: u32 = 7;
/// VSTOR_OPERATION_END_INITIALIZATION.
pub const END_INITIALIZATION: u32 = 8;
/// VSTOR_OPERATION_QUERY_PROTOCOL_VERSION.
pub const QUERY_PROTOCOL_VERSION: u32 = 9;
/// VSTOR_OPERATION_QUERY_PROPERTIES.
pub const QUERY_PROPERTIES: u32 = 10;
/// VSTOR_OPERATION_ENUMERATE_BUS.
pub const ENUMERATE_BUS: u32 = 11;
/// VSTOR_OPERATION_FCHBA_DATA.
pub const FCHBA_DATA: u32 = 12;
/// VSTOR_OPERATION_CREATE_SUB_CHANNELS.
pub const CREATE_SUB_CHANNELS: u32 = 13;

/// REQUEST_COMPLETION_FLAG of struct vstor_packet.
pub const REQUEST_COMPLETION: u32 = 1;
/// STORAGE_CHANNEL_SUPPORTS_MULTI_CHANNEL.
pub const SUPPORTS_MULTI_CHANNEL: u32 = 1;

/// SRB_STATUS_SUCCESS.
pub const SRB_SUCCESS: u8 = 0x01;
/// SRB_STATUS_ERROR.
pub const SRB_ERROR: u8 = 0x04;
/// SRB_STATUS_INVALID_REQUEST.
pub const SRB_INVALID_REQUEST: u8 = 0x06;
/// SRB_STATUS_INVALID_LUN.
pub const SRB_INVALID_LUN: u8 = 0x20;
/// SRB_STATUS_AUTOSENSE_VALID.
pub const SRB_AUTOSENSE_VALID: u8 = 0x80;

/// Bytes of the union of struct vstor_packet.
pub const PAYLOAD: usize = 0x34;
/// STORVSC_SENSE_BUFFER_SIZE.
pub const SENSE: usize = 20;

/// Direction of data as `data_in` tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the device (WRITE_TYPE).
    Out,
    /// From the device (READ_TYPE).
    In,
    /// No data (UNKNOWN_TYPE).
    None,
}

/// struct vmscsi_request, 52 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C, packed)]
pub struct Srb {
    /// Bytes of this structure.
    pub length: u16,
    /// SRB status with its flag bits.
    pub srb_status: u8,
    /// SAM status.
    pub scsi_status: u8,
    /// Host number in the guest.
    pub port_number: u8,
    /// Bus.
    pub path_id: u8,
    /// Target.
    pub target_id: u8,
    /// Logical unit.
    pub lun: u8,
    /// Bytes of the command.
    pub cdb_length: u8,
    /// Room for sense data; in a completion, bytes of it.
    pub sense_info_length: u8,
    /// 0 write, 1 read, 2 none.
    pub data_in: u8,
    /// Unused.
    pub reserved: u8,
    /// Bytes asked for; in a completion, bytes moved.
    pub data_transfer_length: u32,
    /// The command (16 bytes); in a completion, the sense data.
    pub cdb: [u8; SENSE],
    /// Unused.
    pub reserve: u16,
    /// Queue tag.
    pub queue_tag: u8,
    /// Queue action.
    pub queue_action: u8,
    /// SRB_FLAGS_*.
    pub srb_flags: u32,
    /// Seconds.
    pub time_out_value: u32,
    /// Unused.
    pub queue_sort_key: u32,
}

/// struct vstor_packet, 64 bytes, its union as bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C, packed)]
pub struct VstorPacket {
    /// VSTOR_OPERATION_*.
    pub operation: u32,
    /// [`REQUEST_COMPLETION`].
    pub flags: u32,
    /// NTSTATUS of a completion.
    pub status: u32,
    /// The union.
    pub payload: [u8; PAYLOAD],
}

impl VstorPacket {
    /// A packet with an empty payload.
    pub fn new(operation: u32, status: u32) -> Self {
        Self {
            operation,
            flags: 0,
            status,
            payload: [0; PAYLOAD],
        }
    }

    /// The payload as an SRB.
    pub fn srb(&self) -> Srb {
        Srb::read_from_bytes(&self.payload).unwrap_or_default()
    }

    /// The same packet with `srb` as its payload.
    pub fn with_srb(mut self, srb: &Srb) -> Self {
        self.payload.copy_from_slice(srb.as_bytes());
        self
    }

    /// Writes `bytes` at `at` of the payload; what does not fit is cut off.
    pub fn put(&mut self, at: usize, bytes: &[u8]) {
        if let Some(room) = self.payload.get_mut(at..) {
            room.iter_mut().zip(bytes).for_each(|(d, s)| *d = *s);
        }
    }

    /// The 16-bit word at `at` of the payload.
    pub fn word(&self, at: usize) -> u16 {
        self.payload
            .get(at..at + 2)
            .and_then(|b| b.try_into().ok())
            .map_or(0, u16::from_le_bytes)
    }
}

impl Srb {
    /// Direction of the data, if `data_in` has one of its three values.
    pub fn direction(&self) -> Option<Direction> {
        match self.data_in {
            0 => Some(Direction::Out),
            1 => Some(Direction::In),
            2 => Some(Direction::None),
            _ => None,
        }
    }

    /// The command.
    pub fn command(&self) -> &[u8] {
        self.cdb
            .get(..usize::from(self.cdb_length).min(16))
            .unwrap_or_default()
    }
}

/// Takes the storage packet and the data buffer out of a ring packet.
pub fn parse(packet: &Packet) -> Result<(VstorPacket, DataBuffer)> {
    let (vstor, rest) = VstorPacket::read_from_prefix(&packet.payload)
        .ok()
        .with_context(|| format!("a packet of {} bytes", packet.payload.len()))?;
    ensure!(rest.len() < 8, "a packet of {} bytes", packet.payload.len());
    Ok((vstor, DataBuffer::of(packet)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vmbus::ring::DATA_INBAND;

    #[test]
    fn sizes_are_those_of_the_c_structs() {
        assert_eq!((size_of::<Srb>(), size_of::<VstorPacket>()), (52, 64));
    }

    fn packet(type_: u16, header: Vec<u8>) -> Packet {
        Packet {
            type_,
            flags: 1,
            transaction: 1,
            header,
            payload: vec![0; size_of::<VstorPacket>()],
        }
    }

    #[test]
    fn malformed_packets_are_refused() {
        let mut short = packet(DATA_INBAND, vec![]);
        short.payload.truncate(56);
        assert!(parse(&short).is_err());
        assert!(parse(&packet(DATA_INBAND, vec![0; 8])).is_err());
        assert!(parse(&packet(DATA_INBAND, vec![])).is_ok());
    }
}
