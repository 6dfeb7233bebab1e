// SPDX-License-Identifier: GPL-2.0

//! SCSI sense data (SPC-4 4.5), as far as a driver looks at it.

/// Sense key: not ready.
pub const NOT_READY: u8 = 0x02;
/// Sense key: illegal request.
pub const ILLEGAL_REQUEST: u8 = 0x05;
/// Sense key: unit attention.
pub const UNIT_ATTENTION: u8 = 0x06;

/// The parts that both formats have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenseHeader {
    /// Sense key.
    pub key: u8,
    /// Additional sense code.
    pub asc: u8,
    /// Additional sense code qualifier.
    pub ascq: u8,
}

impl SenseHeader {
    /// Parses fixed (0x70, 0x71) and descriptor (0x72, 0x73) format; `None` for anything else. Fields beyond
    /// the data's own length or the end of `sense` are 0.
    pub fn parse(sense: &[u8]) -> Option<Self> {
        let at = |i: usize| sense.get(i).copied().unwrap_or(0);
        match sense.first()? & 0x7f {
            0x70 | 0x71 => {
                // Byte 7 counts what follows it.
                let end = usize::from(at(7)).saturating_add(8);
                let upto = |i: usize| if i < end { at(i) } else { 0 };
                Some(Self {
                    key: at(2) & 0x0f,
                    asc: upto(12),
                    ascq: upto(13),
                })
            }
            0x72 | 0x73 => Some(Self {
                key: at(1) & 0x0f,
                asc: at(2),
                ascq: at(3),
            }),
            _ => None,
        }
    }

    /// The capacity has changed (2A/09).
    pub const fn is_capacity_change(&self) -> bool {
        self.asc == 0x2a && self.ascq == 0x09
    }

    /// Operating parameters have changed (3F/xx), inquiry data among them (03), but for reported LUNs (0E). Hosts report
    /// it when the block size of a virtual disk changes.
    pub const fn is_parameter_change(&self) -> bool {
        self.asc == 0x3f && self.ascq != 0x0e
    }

    /// Power on, reset, or bus device reset occurred (29/xx): the logical unit begins anew, if it is the same.
    pub const fn is_restart(&self) -> bool {
        self.key == UNIT_ATTENTION && self.asc == 0x29
    }

    /// Reported LUNs data have changed (3F/0E).
    pub const fn is_luns_change(&self) -> bool {
        self.key == UNIT_ATTENTION && self.asc == 0x3f && self.ascq == 0x0e
    }

    /// Part of normal operation: changes, unsupported commands, an empty drive.
    pub const fn is_expected(&self) -> bool {
        matches!(
            (self.key, self.asc),
            (UNIT_ATTENTION | ILLEGAL_REQUEST, _) | (NOT_READY, 0x3a)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats() {
        let mut fixed = [0u8; 20];
        (fixed[0], fixed[2], fixed[7], fixed[12], fixed[13]) = (0x70, 0x06, 10, 0x2a, 0x09);
        let h = SenseHeader::parse(&fixed).unwrap();
        assert_eq!(
            h,
            SenseHeader {
                key: 6,
                asc: 0x2a,
                ascq: 9
            }
        );
        assert!(h.is_capacity_change() && h.is_expected() && !h.is_parameter_change());
        // Cut short by its own length and by the buffer.
        fixed[7] = 5;
        assert_eq!(
            SenseHeader::parse(&fixed),
            Some(SenseHeader {
                key: 6,
                asc: 0x2a,
                ascq: 0
            })
        );
        assert_eq!(
            SenseHeader::parse(&fixed[..12]),
            Some(SenseHeader {
                key: 6,
                asc: 0,
                ascq: 0
            })
        );
        assert_eq!(
            SenseHeader::parse(&[0x72, 0x02, 0x3a, 0x00]),
            Some(SenseHeader {
                key: 2,
                asc: 0x3a,
                ascq: 0
            })
        );
        assert_eq!(SenseHeader::parse(&[]), None);
        assert_eq!(SenseHeader::parse(&[0x7f; 20]), None);
        assert_eq!(SenseHeader::parse(&[0; 20]), None);
    }

    #[test]
    fn changes() {
        for (asc, ascq, expected) in [
            (0x3f, 0x00, (true, false, false)),
            (0x3f, 0x03, (true, false, false)),
            (0x3f, 0x0e, (false, false, true)),
            (0x3f, 0x0f, (true, false, false)),
            (0x29, 0x00, (false, true, false)),
            (0x29, 0x04, (false, true, false)),
            (0x28, 0x00, (false, false, false)),
        ] {
            let sense = SenseHeader { key: 6, asc, ascq };
            assert_eq!(
                (
                    sense.is_parameter_change(),
                    sense.is_restart(),
                    sense.is_luns_change()
                ),
                expected
            );
        }
        let aborted = SenseHeader {
            key: 0x0b,
            asc: 0x29,
            ascq: 0,
        };
        assert!(!aborted.is_restart());
    }
}
