// SPDX-License-Identifier: GPL-2.0

//! GUIDs in the byte order of Microsoft: the first three fields little-endian, the rest as written.
//! The same bytes as the kernel's `guid_t` (include/uapi/linux/mei_uuid.h: `GUID_INIT`).

use core::fmt;
use zerocopy_derive::*;

/// A GUID as it lies in memory and on the wire, 16 bytes.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(C)]
pub struct Guid {
    /// The bytes in wire order.
    pub b: [u8; 16],
}

/// Memory position of each of the sixteen byte pairs of the text form, left to right.
const TEXT_ORDER: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];

impl Guid {
    /// The all-zero GUID.
    pub const NULL: Self = Self { b: [0; 16] };

    /// A GUID from its bytes in wire order.
    pub const fn from_bytes(b: [u8; 16]) -> Self {
        Self { b }
    }

    /// Parses `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`, upper or lower case, with or without braces.
    pub const fn parse(text: &str) -> Option<Self> {
        let s = text.as_bytes();
        let start = match s.len() {
            36 => 0,
            38 if s[0] == b'{' && s[37] == b'}' => 1,
            _ => return None,
        };
        let mut b = [0u8; 16];
        let mut pos = start;
        let mut i = 0;
        while i < 16 {
            if i == 4 || i == 6 || i == 8 || i == 10 {
                if s[pos] != b'-' {
                    return None;
                }
                pos += 1;
            }
            let (Some(hi), Some(lo)) = (hex_digit(s[pos]), hex_digit(s[pos + 1])) else {
                return None;
            };
            b[TEXT_ORDER[i]] = (hi << 4) | lo;
            pos += 2;
            i += 1;
        }
        Some(Self { b })
    }

    /// Whether all bytes are zero.
    pub const fn is_null(&self) -> bool {
        let mut i = 0;
        while i < 16 {
            if self.b[i] != 0 {
                return false;
            }
            i += 1;
        }
        true
    }
}

/// Like [`Guid::parse`] for literals; a malformed literal fails to compile when used in a `const`.
const fn guid(text: &str) -> Guid {
    match Guid::parse(text) {
        Some(g) => g,
        None => panic!("malformed GUID literal"),
    }
}

const fn hex_digit(c: u8) -> Option<u8> {
    match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        b'A'..=b'F' => Some(c - b'A' + 10),
        _ => None,
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, &at) in TEXT_ORDER.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{:02x}", self.b.get(at).copied().unwrap_or(0))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Device classes (`if_type` of an offer), include/linux/hyperv.h `HV_*_GUID`.
pub mod class {
    use super::{guid, Guid};

    /// Network interface (netvsc).
    pub const HV_NIC_GUID: Guid = guid("f8615163-df3e-46c5-913f-f2d2f965ed0e");
    /// Accelerated IDE disk (storvsc).
    pub const HV_IDE_GUID: Guid = guid("32412632-86cb-44a2-9b5c-50d1417354f5");
    /// SCSI controller (storvsc).
    pub const HV_SCSI_GUID: Guid = guid("ba6163d9-04a1-4d29-b605-72e2ffb1dc7f");
    /// Synthetic Fibre Channel adapter (storvsc).
    pub const HV_SYNTHFC_GUID: Guid = guid("2f9bcc4a-0069-4af3-b76b-6fd0be528cda");
    /// Guest shutdown service.
    pub const HV_SHUTDOWN_GUID: Guid = guid("0e0b6031-5213-4934-818b-38d90ced39db");
    /// Time synchronisation service.
    pub const HV_TS_GUID: Guid = guid("9527e630-d0ae-497b-adce-e80ab0175caf");
    /// Heartbeat service.
    pub const HV_HEART_BEAT_GUID: Guid = guid("57164f39-9115-4e78-ab55-382f3bd5422d");
    /// Key-value pair exchange service.
    pub const HV_KVP_GUID: Guid = guid("a9a0f4e7-5a45-4d96-b827-8a841e8c03e6");
    /// Backup (VSS) service.
    pub const HV_VSS_GUID: Guid = guid("35fa2e29-ea23-4236-96ae-3a6ebacba440");
    /// Guest file copy service.
    pub const HV_FCOPY_GUID: Guid = guid("34d14be3-dee4-41c8-9ae7-6b174977c192");
    /// Dynamic memory (balloon).
    pub const HV_DM_GUID: Guid = guid("525074dc-8985-46e2-8057-a307dc18a502");
    /// Synthetic mouse.
    pub const HV_MOUSE_GUID: Guid = guid("cfa8b69e-5b4a-4cc0-b98b-8ba1a1f3f95a");
    /// Synthetic keyboard.
    pub const HV_KBD_GUID: Guid = guid("f912ad6d-2b17-48ea-bd65-f927a61c7684");
    /// Synthetic video.
    pub const HV_SYNTHVID_GUID: Guid = guid("da0a7802-e377-4aac-8e77-0558eb1073f8");
    /// NetworkDirect (guest RDMA).
    pub const HV_ND_GUID: Guid = guid("8c2eaf3d-32a7-4b09-ab99-bd1f1c86b501");
    /// PCI Express pass-through.
    pub const HV_PCIE_GUID: Guid = guid("44c4f61d-4444-4400-9d52-802e27ede19f");
    /// Automatic virtual machine activation, first device. No Linux driver.
    pub const HV_AVMA1_GUID: Guid = guid("f8e65716-3cb3-4a06-9a60-1889c5cccab5");
    /// Automatic virtual machine activation, second device. No Linux driver.
    pub const HV_AVMA2_GUID: Guid = guid("3375baf4-9e15-4b30-b765-67acb10d607b");
    /// Remote desktop virtualisation. No Linux driver.
    pub const HV_RDV_GUID: Guid = guid("276aacf4-ac15-426c-98dd-7521ad3f01fe");
    /// Initial machine configuration. No Linux driver.
    pub const HV_IMC_GUID: Guid = guid("c376c1c3-d276-48d2-90a9-c04748072c60");
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::string::ToString;

    #[test]
    fn wire_order_is_mixed_endian() {
        let g = Guid::parse("{F8615163-DF3E-46C5-913F-F2D2F965ED0E}").unwrap();
        assert_eq!(
            g.b,
            [
                0x63, 0x51, 0x61, 0xf8, 0x3e, 0xdf, 0xc5, 0x46, 0x91, 0x3f, 0xf2, 0xd2, 0xf9, 0x65,
                0xed, 0x0e
            ]
        );
        assert_eq!(g, class::HV_NIC_GUID);
        assert_eq!(g.to_string(), "f8615163-df3e-46c5-913f-f2d2f965ed0e");
    }

    #[test]
    fn malformed_text_is_refused() {
        for bad in [
            "",
            "f8615163-df3e-46c5-913f-f2d2f965ed0",
            "f8615163-df3e-46c5-913f-f2d2f965ed0g",
            "f8615163xdf3e-46c5-913f-f2d2f965ed0e",
            "{f8615163-df3e-46c5-913f-f2d2f965ed0e",
            "[f8615163-df3e-46c5-913f-f2d2f965ed0e]",
        ] {
            assert_eq!(Guid::parse(bad), None, "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn text_round_trip(b: [u8; 16]) {
            let g = Guid::from_bytes(b);
            proptest::prop_assert_eq!(Guid::parse(&g.to_string()), Some(g));
        }
    }
}
