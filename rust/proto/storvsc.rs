// SPDX-License-Identifier: GPL-2.0

//! Storage: SCSI, accelerated IDE and synthetic Fibre Channel over VMBus (drivers/scsi/storvsc_drv.c).
//!
//! Guest and host exchange [`VstorPacket`]s of 64 bytes as packet payloads. A SCSI command goes out as
//! EXECUTE_SRB in a GPA-direct packet and comes back, with the same transaction id, as COMPLETE_IO.

mod completion;
mod identity;
mod init;
mod packet;
mod recovery;
mod request;
mod sense;

pub use completion::{classify, Completion, FollowUp, HostByte, LogLevel};
pub use identity::{compare_identity, Comparison, IDENTITY_BYTES};
pub use init::{Init, InitError, InitStep, Limits, StorageKind, StorageProperties};
pub use packet::{
    ChannelProperties, FcWwnPacket, Operation, ProtocolVersion, VmScsiRequest, VstorPacket, Wwn,
};
pub use packet::{
    CDB_SIZE, REQUEST_COMPLETION_FLAG, SENSE_BUFFER_SIZE, STORAGE_CHANNEL_SUPPORTS_MULTI_CHANNEL,
};
pub use recovery::{is_repeatable, Link, Outstanding, ResetStep, Unsent, PATIENCE_MS, SETTLE_MS};
pub use request::{
    incoming, srb_flags, Cdb, DataDirection, Incoming, RequestId, SrbAddress, SrbPacket,
};
pub use sense::{SenseHeader, ILLEGAL_REQUEST, NOT_READY, UNIT_ATTENTION};

open_enum! {
    /// SRB status without its two flag bits (`SRB_STATUS_*`; the Windows SCSI port driver's values).
    pub struct SrbStatus(u8) {
        /// Not finished.
        SRB_STATUS_PENDING = 0x00,
        /// Done.
        SRB_STATUS_SUCCESS = 0x01,
        /// Aborted.
        SRB_STATUS_ABORTED = 0x02,
        /// Failed; SCSI status and sense say why.
        SRB_STATUS_ERROR = 0x04,
        /// The target is busy.
        SRB_STATUS_BUSY = 0x05,
        /// Not supported.
        SRB_STATUS_INVALID_REQUEST = 0x06,
        /// No such device.
        SRB_STATUS_NO_DEVICE = 0x08,
        /// Timed out.
        SRB_STATUS_TIMEOUT = 0x09,
        /// No such target.
        SRB_STATUS_SELECTION_TIMEOUT = 0x0a,
        /// The bus was reset.
        SRB_STATUS_BUS_RESET = 0x0e,
        /// More data, or less, than asked for.
        SRB_STATUS_DATA_OVERRUN = 0x12,
        /// No such logical unit.
        SRB_STATUS_INVALID_LUN = 0x20,
        /// The host failed.
        SRB_STATUS_INTERNAL_ERROR = 0x30,
    }
}

/// Flag in the SRB status: sense data is there.
pub const SRB_STATUS_AUTOSENSE_VALID: u8 = 0x80;
/// Flag in the SRB status: the host's queue is frozen.
pub const SRB_STATUS_QUEUE_FROZEN: u8 = 0x40;

impl SrbStatus {
    /// The status in an SRB's status byte (`SRB_STATUS()`).
    pub const fn of(byte: u8) -> Self {
        Self(byte & !(SRB_STATUS_AUTOSENSE_VALID | SRB_STATUS_QUEUE_FROZEN))
    }
}

/// SCSI operation codes that are treated specially.
pub mod opcode {
    /// TEST UNIT READY.
    pub const TEST_UNIT_READY: u8 = 0x00;
    /// INQUIRY.
    pub const INQUIRY: u8 = 0x12;
    /// MODE SENSE(6).
    pub const MODE_SENSE: u8 = 0x1a;
    /// MODE SENSE(10).
    pub const MODE_SENSE_10: u8 = 0x5a;
    /// PERSISTENT RESERVE IN.
    pub const PERSISTENT_RESERVE_IN: u8 = 0x5e;
    /// ATA PASS-THROUGH(16).
    pub const ATA_16: u8 = 0x85;
    /// ATA PASS-THROUGH(12).
    pub const ATA_12: u8 = 0xa1;
    /// MAINTENANCE IN.
    pub const MAINTENANCE_IN: u8 = 0xa3;
}

/// SCSI status: good.
pub const SAM_STAT_GOOD: u8 = 0x00;
/// SCSI status: check condition.
pub const SAM_STAT_CHECK_CONDITION: u8 = 0x02;
/// SCSI status: busy.
pub const SAM_STAT_BUSY: u8 = 0x08;
/// SCSI status: reservation conflict.
pub const SAM_STAT_RESERVATION_CONFLICT: u8 = 0x18;
/// SCSI status: task set full.
pub const SAM_STAT_TASK_SET_FULL: u8 = 0x28;
/// SCSI status: ACA active.
pub const SAM_STAT_ACA_ACTIVE: u8 = 0x30;
/// SCSI status: task aborted.
pub const SAM_STAT_TASK_ABORTED: u8 = 0x40;
