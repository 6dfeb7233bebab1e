// SPDX-License-Identifier: GPL-2.0

//! Wire structs of storage.

use super::SrbStatus;
use crate::error::{read_prefix, ProtoError};
use core::mem::size_of;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

open_enum! {
    /// `enum vstor_packet_operation`.
    pub struct Operation(u32) {
        /// Host: a request is complete.
        VSTOR_OPERATION_COMPLETE_IO = 1,
        /// Host: a device is gone.
        VSTOR_OPERATION_REMOVE_DEVICE = 2,
        /// Guest: a SCSI command.
        VSTOR_OPERATION_EXECUTE_SRB = 3,
        /// Guest: reset a logical unit. Not used by Linux.
        VSTOR_OPERATION_RESET_LUN = 4,
        /// Guest: reset the adapter. Not used by Linux.
        VSTOR_OPERATION_RESET_ADAPTER = 5,
        /// Guest: reset the bus.
        VSTOR_OPERATION_RESET_BUS = 6,
        /// Guest: first request on a channel.
        VSTOR_OPERATION_BEGIN_INITIALIZATION = 7,
        /// Guest: initialisation is done.
        VSTOR_OPERATION_END_INITIALIZATION = 8,
        /// Guest: proposes a protocol version.
        VSTOR_OPERATION_QUERY_PROTOCOL_VERSION = 9,
        /// Guest: asks for [`ChannelProperties`].
        VSTOR_OPERATION_QUERY_PROPERTIES = 10,
        /// Host: devices have come or gone.
        VSTOR_OPERATION_ENUMERATE_BUS = 11,
        /// Guest: asks for [`FcWwnPacket`]; host: it changed.
        VSTOR_OPERATION_FCHBA_DATA = 12,
        /// Guest: asks for sub-channels.
        VSTOR_OPERATION_CREATE_SUB_CHANNELS = 13,
    }
}

/// Packet flag: the host shall answer (`REQUEST_COMPLETION_FLAG`).
pub const REQUEST_COMPLETION_FLAG: u32 = 1;
/// Bytes of a CDB (`STORVSC_MAX_CMD_LEN`).
pub const CDB_SIZE: usize = 16;
/// Bytes of sense data (`STORVSC_SENSE_BUFFER_SIZE`).
pub const SENSE_BUFFER_SIZE: usize = 20;
/// Properties flag: sub-channels are supported.
pub const STORAGE_CHANNEL_SUPPORTS_MULTI_CHANNEL: u32 = 1;

/// `vmstorage_protocol_version.major_minor`. Ordered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ProtocolVersion(pub u16);

impl ProtocolVersion {
    /// 6.0: Windows 8.1, and the paravisor in Azure.
    pub const V6_0: Self = Self::new(6, 0);
    /// 6.2: Windows 10.
    pub const V6_2: Self = Self::new(6, 2);
    /// The versions supported, best first.
    pub const SUPPORTED: [Self; 2] = [Self::V6_2, Self::V6_0];

    /// A version (`VMSTOR_PROTO_VERSION`).
    pub const fn new(major: u8, minor: u8) -> Self {
        Self(u16::from_le_bytes([minor, major]))
    }
}

wire_struct! {
    /// `struct vmscsi_request`, 52 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct VmScsiRequest {
        /// 52.
        pub length: u16,
        /// [`super::SrbStatus`] and its two flags.
        pub srb_status: u8,
        /// SCSI status.
        pub scsi_status: u8,
        /// Number of the adapter in the guest.
        pub port_number: u8,
        /// SCSI channel.
        pub path_id: u8,
        /// SCSI target.
        pub target_id: u8,
        /// Logical unit.
        pub lun: u8,
        /// Bytes used of the CDB.
        pub cdb_length: u8,
        /// Bytes of sense data: room in requests, used in completions.
        pub sense_info_length: u8,
        /// Direction: 0 write, 1 read, 2 none.
        pub data_in: u8,
        /// Unused.
        pub reserved: u8,
        /// Bytes of data: wanted in requests, transferred in completions.
        pub data_transfer_length: u32,
        /// A union: CDB (16 bytes) in requests, sense data (20 bytes) in completions.
        pub cdb: [u8; SENSE_BUFFER_SIZE],
        /// Unused.
        pub reserve: u16,
        /// 0xff: untagged.
        pub queue_tag: u8,
        /// 0x20: simple.
        pub queue_action: u8,
        /// `SRB_FLAGS_*`.
        pub srb_flags: u32,
        /// Seconds.
        pub time_out_value: u32,
        /// Unused.
        pub queue_sort_ey: u32,
    }

    /// `struct vmstorage_channel_properties`, 24 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct ChannelProperties {
        /// Unused.
        pub reserved: u32,
        /// Most sub-channels.
        pub max_channel_cnt: u16,
        /// Unused.
        pub reserved1: u16,
        /// [`STORAGE_CHANNEL_SUPPORTS_MULTI_CHANNEL`].
        pub flags: u32,
        /// Most bytes in one request.
        pub max_transfer_bytes: u32,
        /// Unused.
        pub reserved2: u64,
    }

    /// `struct hv_fc_wwn_packet`, 36 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct FcWwnPacket {
        /// Not 0 if the primary names are in use.
        pub primary_active: u8,
        /// Unused.
        pub reserved1: [u8; 3],
        /// World-wide port name, big-endian.
        pub primary_port_wwn: [u8; 8],
        /// World-wide node name, big-endian.
        pub primary_node_wwn: [u8; 8],
        /// World-wide port name after a migration, big-endian.
        pub secondary_port_wwn: [u8; 8],
        /// World-wide node name after a migration, big-endian.
        pub secondary_node_wwn: [u8; 8],
    }
}

/// The names in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wwn {
    /// Node name.
    pub node_name: u64,
    /// Port name.
    pub port_name: u64,
}

impl FcWwnPacket {
    /// The names in use.
    pub const fn active(&self) -> Wwn {
        if self.primary_active != 0 {
            Wwn {
                node_name: u64::from_be_bytes(self.primary_node_wwn),
                port_name: u64::from_be_bytes(self.primary_port_wwn),
            }
        } else {
            Wwn {
                node_name: u64::from_be_bytes(self.secondary_node_wwn),
                port_name: u64::from_be_bytes(self.secondary_port_wwn),
            }
        }
    }
}

wire_struct! {
    /// `struct vstor_packet`, 64 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct VstorPacket {
        /// [`Operation`].
        pub operation: u32,
        /// [`REQUEST_COMPLETION_FLAG`].
        pub flags: u32,
        /// Status of the host, an NTSTATUS; 0 is success.
        pub status: u32,
        /// A union; see the accessors.
        pub buffer: [u8; 52],
    }
}

impl VstorPacket {
    /// Bytes of a packet.
    pub const SIZE: usize = size_of::<Self>();

    /// A request that the host shall answer.
    pub fn request(operation: Operation) -> Self {
        Self {
            operation: operation.0,
            flags: REQUEST_COMPLETION_FLAG,
            ..Self::new_zeroed()
        }
    }

    /// The host's answer with `status`, and the payload zero.
    pub fn complete(status: u32) -> Self {
        Self {
            operation: Operation::VSTOR_OPERATION_COMPLETE_IO.0,
            status,
            ..Self::new_zeroed()
        }
    }

    /// Sees the payload of a packet as what it is.
    ///
    /// # Errors
    ///
    /// `Short` for less than 64 bytes.
    #[inline]
    pub fn of(payload: &[u8]) -> Result<&Self, ProtoError> {
        match Self::ref_from_prefix(payload) {
            Ok((packet, _)) => Ok(packet),
            Err(_) => Err(ProtoError::Short {
                what: "vstor_packet",
                need: Self::SIZE,
                got: payload.len(),
            }),
        }
    }

    /// Parses the payload of a packet.
    ///
    /// # Errors
    ///
    /// `Short` for less than 64 bytes.
    #[inline]
    pub fn parse(payload: &[u8]) -> Result<Self, ProtoError> {
        Ok(read_prefix(payload, "vstor_packet")?.0)
    }

    /// What it is.
    #[inline]
    pub const fn op(&self) -> Operation {
        Operation(self.operation)
    }

    /// The same packet with `payload` at the front of the union. At most 52 bytes of it count.
    pub fn with<T: IntoBytes + zerocopy::Immutable>(mut self, payload: &T) -> Self {
        for (d, s) in self.buffer.iter_mut().zip(payload.as_bytes()) {
            *d = *s;
        }
        self
    }

    /// If a command has ended without any complaint: how many bytes were transferred.
    #[inline]
    pub fn good(&self) -> Option<u32> {
        let srb: &VmScsiRequest = zerocopy::transmute_ref!(&self.buffer);
        let good = srb.srb_status == SrbStatus::SRB_STATUS_SUCCESS.0 && srb.scsi_status == 0;
        good.then_some(srb.data_transfer_length)
    }

    /// The SCSI request in the union.
    #[inline]
    pub fn vm_srb(&self) -> VmScsiRequest {
        zerocopy::transmute!(self.buffer)
    }

    /// The properties in the union.
    pub fn channel_properties(&self) -> ChannelProperties {
        self.front()
    }

    /// The names in the union.
    pub fn wwn_packet(&self) -> FcWwnPacket {
        self.front()
    }

    /// The protocol version in the union; the revision behind it has no meaning.
    pub fn version(&self) -> ProtocolVersion {
        let [lo, hi, ..] = self.buffer;
        ProtocolVersion(u16::from_le_bytes([lo, hi]))
    }

    /// The number of sub-channels in the union.
    pub fn sub_channel_count(&self) -> u16 {
        let [lo, hi, ..] = self.buffer;
        u16::from_le_bytes([lo, hi])
    }

    /// A smaller member of the union.
    fn front<T: zerocopy::FromBytes>(&self) -> T {
        const { assert!(size_of::<T>() <= 52) };
        match read_prefix(&self.buffer, "vstor_packet") {
            Ok((value, _)) => value,
            // Cannot happen, see the assertion.
            Err(_) => T::new_zeroed(),
        }
    }
}
