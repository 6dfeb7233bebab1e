// SPDX-License-Identifier: GPL-2.0

//! What can be asked and set, and how the values look.

use super::writer::Writer;
use crate::error::{read_prefix, ProtoError};
use core::mem::size_of;

open_enum! {
    /// Object identifiers. All values are little-endian.
    pub struct Oid(u32) {
        /// Bytes of the longest frame without its header, 32 bits.
        RNDIS_OID_GEN_MAXIMUM_FRAME_SIZE = 0x0001_0106,
        /// Speed, 32 bits, in units of 100 bit/s.
        RNDIS_OID_GEN_LINK_SPEED = 0x0001_0107,
        /// Which frames the guest wants, `FILTER_*`.
        RNDIS_OID_GEN_CURRENT_PACKET_FILTER = 0x0001_010e,
        /// [`MEDIA_CONNECTED`] or [`MEDIA_DISCONNECTED`].
        RNDIS_OID_GEN_MEDIA_CONNECT_STATUS = 0x0001_0114,
        /// Queues and the table of receive-side scaling, [`super::RssCapabilities`].
        OID_GEN_RECEIVE_SCALE_CAPABILITIES = 0x0001_0203,
        /// Key and table, [`super::RssParameters`].
        OID_GEN_RECEIVE_SCALE_PARAMETERS = 0x0001_0204,
        /// A parameter of the configuration, [`ConfigParameter`].
        RNDIS_OID_GEN_RNDIS_CONFIG_PARAMETER = 0x0001_021b,
        /// What the host calls the card, UTF-16.
        RNDIS_OID_GEN_FRIENDLY_NAME = 0x0002_0216,
        /// The address of the card, six bytes.
        RNDIS_OID_802_3_PERMANENT_ADDRESS = 0x0101_0101,
        /// The address in use, six bytes.
        RNDIS_OID_802_3_CURRENT_ADDRESS = 0x0101_0102,
        /// What is switched on, [`super::OffloadParams`].
        OID_TCP_OFFLOAD_PARAMETERS = 0xfc01_020c,
        /// What can be, [`super::Offload`].
        OID_TCP_OFFLOAD_HARDWARE_CAPABILITIES = 0xfc01_020d,
    }
}

/// The cable is plugged in.
pub const MEDIA_CONNECTED: u32 = 0;
/// It is not.
pub const MEDIA_DISCONNECTED: u32 = 1;

/// Frames to the card's own address.
pub const FILTER_DIRECTED: u32 = 0x01;
/// Frames to groups that the guest has joined.
pub const FILTER_MULTICAST: u32 = 0x02;
/// Frames to any group.
pub const FILTER_ALL_MULTICAST: u32 = 0x04;
/// Frames to all.
pub const FILTER_BROADCAST: u32 = 0x08;
/// All frames.
pub const FILTER_PROMISCUOUS: u32 = 0x20;

/// Megabits in a second, of a speed as the host tells it.
pub const fn link_speed(units: u32) -> u32 {
    units / 10_000
}

/// Bytes of the longest name that a guest asks for.
pub const MAX_FRIENDLY_NAME: usize = 512;

/// The characters of a friendly name, up to its end or its NUL. What is no character of UTF-16 is replaced.
pub fn friendly_name(value: &[u8]) -> impl Iterator<Item = char> + '_ {
    let units = value.chunks_exact(2).map_while(|unit| match unit {
        [0, 0] => None,
        [low, high] => Some(u16::from_le_bytes([*low, *high])),
        _ => None,
    });
    char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
}

wire_struct! {
    /// `struct rndis_config_parameter_info`, 20 bytes. Offsets count from its start.
    #[derive(Debug, PartialEq, Eq)]
    pub struct ConfigParameter {
        /// Where the name is, UTF-16.
        pub parameter_name_offset: u32,
        /// Its bytes.
        pub parameter_name_length: u32,
        /// 2: the value is a string.
        pub parameter_type: u32,
        /// Where the value is, UTF-16.
        pub parameter_value_offset: u32,
        /// Its bytes.
        pub parameter_value_length: u32,
    }
}

const STRING: u32 = 2;
const NETWORK_ADDRESS: &str = "NetworkAddress";
const FIXED: usize = size_of::<ConfigParameter>();
/// Bytes of the parameter that sets the card's address.
pub const MAC_PARAMETER_SIZE: usize = FIXED + 2 * (NETWORK_ADDRESS.len() + 12);

/// The value of RNDIS_CONFIG_PARAMETER that makes `mac` the card's address: `NetworkAddress`, as 12 hexadecimal
/// digits.
pub fn mac_parameter(mac: [u8; 6]) -> [u8; MAC_PARAMETER_SIZE] {
    let mut bytes = [0; MAC_PARAMETER_SIZE];
    let name_len = 2 * NETWORK_ADDRESS.len() as u32;
    let header = ConfigParameter {
        parameter_name_offset: FIXED as u32,
        parameter_name_length: name_len,
        parameter_type: STRING,
        parameter_value_offset: FIXED as u32 + name_len,
        parameter_value_length: 24,
    };
    let mut out = Writer::new(&mut bytes, "address of the card");
    let digits = mac.iter().flat_map(|b| [b >> 4, b & 15]);
    let digits = digits.map(|d| if d < 10 { b'0' + d } else { b'a' + d - 10 });
    // The buffer has the size of all of it.
    let _ = out.put(&header);
    for byte in NETWORK_ADDRESS.bytes().chain(digits) {
        let _ = out.put(&[byte, 0]);
    }
    bytes
}

/// The address that a configuration parameter sets.
///
/// # Errors
///
/// If it is another parameter, or no address.
pub fn mac_from_parameter(value: &[u8]) -> Result<[u8; 6], ProtoError> {
    let what = "configuration parameter";
    let (header, _) = read_prefix::<ConfigParameter>(value, what)?;
    let text = |offset: u32, len: u32| {
        let (start, len) = (offset as usize, len as usize);
        start
            .checked_add(len)
            .and_then(|end| value.get(start..end))
            .ok_or(ProtoError::Invalid {
                what,
                value: u64::from(offset),
            })
    };
    let name = text(header.parameter_name_offset, header.parameter_name_length)?;
    let digits = text(header.parameter_value_offset, header.parameter_value_length)?;
    let is_name = friendly_name(name).eq(NETWORK_ADDRESS.chars());
    if !is_name || header.parameter_type != STRING {
        return Err(ProtoError::Unexpected { what });
    }
    let what = "address of the card";
    let mut mac = [0; 6];
    let mut all = friendly_name(digits).map(|c| c.to_digit(16));
    for byte in &mut mac {
        let (Some(Some(high)), Some(Some(low))) = (all.next(), all.next()) else {
            return Err(ProtoError::Unexpected { what });
        };
        // Two digits make a byte.
        *byte = ((high << 4) | low) as u8;
    }
    match all.next() {
        None => Ok(mac),
        Some(_) => Err(ProtoError::Unexpected { what }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    extern crate std;
    use std::string::String;
    use std::vec::Vec;

    #[test]
    fn names() {
        let utf16 =
            |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
        let name = |bytes: &[u8]| friendly_name(bytes).collect::<String>();
        assert_eq!(name(&utf16("Netzwerk 🙂")), "Netzwerk 🙂");
        assert_eq!(name(&utf16("net\0rest")), "net");
        assert_eq!(name(&[b'a', 0, b'b']), "a");
        assert_eq!(name(&[0, 0xd8]), "\u{fffd}");
        assert_eq!(name(&[]), "");
        assert_eq!(link_speed(100_000_000), 10_000);
    }

    #[test]
    fn an_address_in_digits() {
        let bytes = mac_parameter([0, 0x15, 0x5d, 0xab, 0x0c, 0xff]);
        assert_eq!(bytes.len(), 72);
        assert_eq!(bytes[..4], [20, 0, 0, 0]);
        assert_eq!(bytes[20..24], *b"N\0e\0");
        assert_eq!(
            bytes[48..72],
            *b"0\x000\x001\x005\x005\0d\0a\0b\x000\0c\0f\0f\0"
        );
        for at in [0, 4, 8, 12, 16, 20, 47, 48] {
            let mut bad = bytes;
            bad[at] ^= 0x40;
            assert!(mac_from_parameter(&bad).is_err(), "{at}");
        }
        assert!(mac_from_parameter(&bytes[..71]).is_err());
        assert!(mac_from_parameter(&bytes[..19]).is_err());
    }

    proptest! {
        #[test]
        fn any_address(mac: [u8; 6]) {
            prop_assert_eq!(mac_from_parameter(&mac_parameter(mac)), Ok(mac));
        }

        #[test]
        fn any_bytes(bytes: Vec<u8>) {
            let _ = mac_from_parameter(&bytes);
            prop_assert!(friendly_name(&bytes).count() <= bytes.len() / 2);
        }
    }
}
