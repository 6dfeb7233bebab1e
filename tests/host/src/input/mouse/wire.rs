// SPDX-License-Identifier: GPL-2.0

//! Messages of the synthetic mouse (drivers/hid/hid-hyperv.c; values and the report in OpenVMM's
//! vm/devices/uidevices, mouse/protocol.rs). Each is the payload of an in-band packet of its own: a [`PipeHeader`], a
//! [`Header`], and what the type says. All are little-endian and packed.

use rlis_proto::ic::VmbusPipeHeader;
use zerocopy::{Immutable, IntoBytes};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Version 2.0, the only one there is: the minor version is in the lower half.
pub const VERSION: u32 = 2 << 16;

/// PIPE_MESSAGE_DATA, the only type of message in a pipe that carries data.
pub const PIPE_MESSAGE_DATA: u32 = 1;

/// SYNTH_HID_PROTOCOL_REQUEST, from the guest: the version that it speaks, 32 bits.
pub const PROTOCOL_REQUEST: u32 = 0;
/// SYNTH_HID_PROTOCOL_RESPONSE, from the host ([`ProtocolResponse`]).
pub const PROTOCOL_RESPONSE: u32 = 1;
/// SYNTH_HID_INITIAL_DEVICE_INFO, from the host ([`DeviceInfo`]).
pub const INITIAL_DEVICE_INFO: u32 = 2;
/// SYNTH_HID_INITIAL_DEVICE_INFO_ACK, from the guest: one reserved byte.
pub const INITIAL_DEVICE_INFO_ACK: u32 = 3;
/// SYNTH_HID_INPUT_REPORT, from the host ([`Report`]).
pub const INPUT_REPORT: u32 = 4;

/// struct pipe_prt_msg without its data, 8 bytes: the type is called `flags` there, the size `msgsize`.
pub type PipeHeader = VmbusPipeHeader;

/// struct synthhid_msg_hdr, 8 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C, packed)]
pub struct Header {
    /// The type.
    pub type_: u32,
    /// Bytes that follow.
    pub size: u32,
}

/// struct synthhid_protocol_response behind its header, 5 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C, packed)]
pub struct ProtocolResponse {
    /// What the guest asked for.
    pub version_requested: u32,
    /// Whether it gets it.
    pub approved: u8,
}

/// struct hv_input_dev_info, 32 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C, packed)]
pub struct Attributes {
    /// Bytes of this struct.
    pub size: u32,
    /// USB's number of the vendor.
    pub vendor: u16,
    /// The vendor's number of the product.
    pub product: u16,
    /// Its version.
    pub version: u16,
    /// Zero.
    pub reserved: [u16; 11],
}

/// struct hid_descriptor with one entry (USB's Device Class Definition for HID 1.11, section 6.2.1), 9 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C, packed)]
pub struct HidDescriptor {
    /// Bytes of this struct.
    pub length: u8,
    /// 0x21, HID.
    pub descriptor_type: u8,
    /// Version of the HID specification in binary coded decimals.
    pub bcd_hid: u16,
    /// 0: no country.
    pub country: u8,
    /// 1.
    pub num_descriptors: u8,
    /// 0x22, report descriptor.
    pub report_type: u8,
    /// Bytes of the report descriptor.
    pub report_length: u16,
}

/// struct synthhid_device_info behind its header, and the report descriptor that follows it, 108 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C, packed)]
pub struct DeviceInfo {
    /// Who made it.
    pub attributes: Attributes,
    /// What follows.
    pub descriptor: HidDescriptor,
    /// What a report means.
    pub report_descriptor: [u8; REPORT_DESCRIPTOR.len()],
}

/// An input report, 7 bytes, as [`REPORT_DESCRIPTOR`] has it.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C, packed)]
pub struct Report {
    /// Buttons that are held, a bit each from the lowest.
    pub buttons: u8,
    /// From 0 at the left to 32767.
    pub x: u16,
    /// From 0 at the top to 32767.
    pub y: u16,
    /// Notches of the wheel since the last report.
    pub wheel: i16,
}

/// What Hyper-V's mouse says about its reports (items of USB's Device Class Definition for HID 1.11, section 6.2.2):
/// five buttons, an absolute position, a wheel.
#[rustfmt::skip]
pub const REPORT_DESCRIPTOR: [u8; 67] = [
    // Usage Page (Generic Desktop), Usage (Mouse), Collection (Application).
    0x05, 0x01, 0x09, 0x02, 0xA1, 0x01,
    // Usage (Pointer), Collection (Physical).
    0x09, 0x01, 0xA1, 0x00,
    // Usage Page (Button), Usage Minimum (1), Usage Maximum (5), Logical Minimum (0), Logical Maximum (1).
    0x05, 0x09, 0x19, 0x01, 0x29, 0x05, 0x15, 0x00, 0x25, 0x01,
    // Report Count (5), Report Size (1), Input (Data, Variable, Absolute).
    0x95, 0x05, 0x75, 0x01, 0x81, 0x02,
    // Report Count (1), Report Size (3), Input (Constant): to the end of the byte.
    0x95, 0x01, 0x75, 0x03, 0x81, 0x01,
    // Usage Page (Generic Desktop), Usage (X), Usage (Y), Logical Minimum (0), Logical Maximum (32767).
    0x05, 0x01, 0x09, 0x30, 0x09, 0x31, 0x15, 0x00, 0x26, 0xFF, 0x7F,
    // Report Size (16), Report Count (2), Input (Data, Variable, Absolute).
    0x75, 0x10, 0x95, 0x02, 0x81, 0x02,
    // Usage Page (Generic Desktop), Usage (Wheel), Logical Minimum (-32767), Logical Maximum (32767).
    0x05, 0x01, 0x09, 0x38, 0x16, 0x01, 0x80, 0x26, 0xFF, 0x7F,
    // Report Size (16), Report Count (1), Input (Data, Variable, Relative).
    0x75, 0x10, 0x95, 0x01, 0x81, 0x06,
    // End Collection, End Collection.
    0xC0, 0xC0,
];

/// The packet of a message: its headers, and `body`.
pub fn message<T: IntoBytes + Immutable>(type_: u32, body: &T) -> Vec<u8> {
    let body = body.as_bytes();
    // Bodies are structs of this file, none as long as 4 GiB.
    let len = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let header = Header {
        type_,
        size: len(body.len()),
    };
    let pipe = PipeHeader {
        flags: PIPE_MESSAGE_DATA,
        msgsize: len(size_of::<Header>() + body.len()),
    };
    [pipe.as_bytes(), header.as_bytes(), body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_c_structs() {
        assert_eq!(size_of::<PipeHeader>(), 8);
        assert_eq!(size_of::<Header>(), 8);
        assert_eq!(size_of::<ProtocolResponse>(), 5);
        assert_eq!(size_of::<Attributes>(), 32);
        assert_eq!(size_of::<HidDescriptor>(), 9);
        assert_eq!(size_of::<DeviceInfo>(), 108);
        assert_eq!(size_of::<Report>(), 7);
    }

    /// What a report descriptor says of its report: bits of its input items, and how deep collections are nested.
    fn walk(descriptor: &[u8]) -> (u32, i32) {
        let (mut at, mut size, mut count, mut bits, mut depth) = (0, 0u32, 0u32, 0, 0);
        while let Some(item) = descriptor.get(at) {
            let len = [0, 1, 2, 4][usize::from(item & 3)];
            let data = descriptor[at + 1..at + 1 + len].iter().rev();
            let value = data.fold(0, |value, byte| (value << 8) | u32::from(*byte));
            match item & !3 {
                0x74 => size = value,
                0x94 => count = value,
                0x80 => bits += size * count,
                0xA0 => depth += 1,
                0xC0 => depth -= 1,
                _ => {}
            }
            at += 1 + len;
        }
        (bits, depth)
    }

    #[test]
    fn the_descriptor_describes_the_report() {
        assert_eq!(
            walk(&REPORT_DESCRIPTOR),
            (8 * size_of::<Report>() as u32, 0)
        );
    }

    #[test]
    fn messages_have_both_headers() {
        let response = ProtocolResponse {
            version_requested: VERSION,
            approved: 1,
        };
        assert_eq!(
            message(PROTOCOL_RESPONSE, &response),
            [1, 0, 0, 0, 13, 0, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0, 0, 0, 2, 0, 1]
        );
    }
}
