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
    /// MEDIUM ERROR, unrecovered read error.
    pub const UNRECOVERED_READ: Self = Self::new(0x3, 0x11, 0x00);
    /// MEDIUM ERROR, write error.
    pub const WRITE_ERROR: Self = Self::new(0x3, 0x0C, 0x00);
    /// ILLEGAL REQUEST, invalid command operation code.
    pub const INVALID_OPCODE: Self = Self::new(0x5, 0x20, 0x00);
    /// ILLEGAL REQUEST, logical block address out of range.
    pub const LBA_OUT_OF_RANGE: Self = Self::new(0x5, 0x21, 0x00);
    /// ILLEGAL REQUEST, invalid field in CDB.
    pub const INVALID_FIELD: Self = Self::new(0x5, 0x24, 0x00);
    /// ILLEGAL REQUEST, invalid field in parameter list.
    pub const INVALID_PARAMETER: Self = Self::new(0x5, 0x26, 0x00);
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
