// SPDX-License-Identifier: GPL-2.0

//! Sense data (SPC-4 chapter 4.5).

/// Sense key, additional sense code and qualifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sense {
    /// Sense key.
    pub key: u8,
    /// Additional sense code.
    pub asc: u8,
    /// Its qualifier.
    pub ascq: u8,
}

impl Sense {
    /// NOT READY, medium not present.
    pub const MEDIUM_NOT_PRESENT: Self = Self::new(0x2, 0x3A, 0x00);
    /// MEDIUM ERROR, unrecovered read error.
    pub const UNRECOVERED_READ: Self = Self::new(0x3, 0x11, 0x00);
    /// MEDIUM ERROR, write error.
    pub const WRITE_ERROR: Self = Self::new(0x3, 0x0C, 0x00);
    /// ILLEGAL REQUEST, parameter list length error.
    pub const PARAMETER_LIST_LENGTH_ERROR: Self = Self::new(0x5, 0x1A, 0x00);
    /// ILLEGAL REQUEST, invalid command operation code.
    pub const INVALID_OPCODE: Self = Self::new(0x5, 0x20, 0x00);
    /// ILLEGAL REQUEST, logical block address out of range.
    pub const LBA_OUT_OF_RANGE: Self = Self::new(0x5, 0x21, 0x00);
    /// ILLEGAL REQUEST, invalid field in CDB.
    pub const INVALID_FIELD: Self = Self::new(0x5, 0x24, 0x00);
    /// ILLEGAL REQUEST, invalid field in parameter list.
    pub const INVALID_PARAMETER: Self = Self::new(0x5, 0x26, 0x00);
    /// ILLEGAL REQUEST, invalid release of persistent reservation.
    pub const INVALID_RELEASE: Self = Self::new(0x5, 0x26, 0x04);
    /// ILLEGAL REQUEST, medium removal prevented.
    pub const REMOVAL_PREVENTED: Self = Self::new(0x5, 0x53, 0x02);
    /// UNIT ATTENTION, not ready to ready change, medium may have changed.
    pub const MEDIUM_MAY_HAVE_CHANGED: Self = Self::new(0x6, 0x28, 0x00);
    /// UNIT ATTENTION, reservations preempted.
    pub const RESERVATIONS_PREEMPTED: Self = Self::new(0x6, 0x2A, 0x03);
    /// UNIT ATTENTION, reservations released.
    pub const RESERVATIONS_RELEASED: Self = Self::new(0x6, 0x2A, 0x04);
    /// UNIT ATTENTION, registrations preempted.
    pub const REGISTRATIONS_PREEMPTED: Self = Self::new(0x6, 0x2A, 0x05);
    /// UNIT ATTENTION, capacity data has changed.
    pub const CAPACITY_CHANGED: Self = Self::new(0x6, 0x2A, 0x09);
    /// UNIT ATTENTION, reported LUNs data has changed.
    pub const REPORTED_LUNS_CHANGED: Self = Self::new(0x6, 0x3F, 0x0E);
    /// DATA PROTECT, write protected.
    pub const WRITE_PROTECTED: Self = Self::new(0x7, 0x27, 0x00);

    /// Sense data with these three values.
    pub const fn new(key: u8, asc: u8, ascq: u8) -> Self {
        Self { key, asc, ascq }
    }

    /// Fixed-format sense data, 18 bytes (SPC-4 chapter 4.5.3).
    pub fn to_bytes(self) -> [u8; 18] {
        let mut out = [0; 18];
        out[0] = 0x70;
        out[2] = self.key;
        out[7] = 10;
        out[12] = self.asc;
        out[13] = self.ascq;
        out
    }
}
