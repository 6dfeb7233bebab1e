// SPDX-License-Identifier: GPL-2.0

//! Receive-side scaling: the host spreads flows over the channels by a hash.

use super::offload::ObjectHeader;
use super::writer::Writer;
use crate::error::{read_prefix, ProtoError};
use core::mem::size_of;
use zerocopy::{FromBytes, IntoBytes};

/// Bytes of the secret key.
pub const HASH_KEY_SIZE: usize = 40;
/// Entries of the largest table.
pub const MAX_RSS_TABLE: usize = 256;
/// Entries of the table of a host that says nothing that can be.
const DEFAULT_RSS_TABLE: u32 = 128;

/// The hash is Toeplitz's.
pub const HASH_TOEPLITZ: u32 = 0x1;
/// It is made of the addresses of IPv4.
pub const HASH_IPV4: u32 = 0x100;
/// Of the addresses and ports of TCP on IPv4.
pub const HASH_TCP_IPV4: u32 = 0x200;
/// Of the addresses of IPv6.
pub const HASH_IPV6: u32 = 0x400;
/// Of the addresses and ports of TCP on IPv6.
pub const HASH_TCP_IPV6: u32 = 0x1000;

/// Flag in [`RssParameters`]: switch it off (`NDIS_RSS_PARAM_FLAG_DISABLE_RSS`).
pub const RSS_DISABLE: u16 = 0x10;

const OBJECT_RSS_CAPABILITIES: u8 = 0x88;
const OBJECT_RSS_PARAMETERS: u8 = 0x89;
const REVISION_2: u8 = 2;

wire_struct! {
    /// `struct ndis_recv_scale_cap`, 18 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct RssCapabilities {
        /// Type 0x88, revision 2.
        pub hdr: ObjectHeader,
        /// Flags; Linux does not look at them.
        pub cap_flag: u32,
        /// Interrupts; Linux does not look.
        pub num_int_msg: u32,
        /// Queues that the card has.
        pub num_recv_que: u32,
        /// Entries that its table has.
        pub num_indirect_tabent: u16,
    }

    /// `struct ndis_recv_scale_param`, 40 bytes. Table and key follow.
    #[derive(Debug, PartialEq, Eq)]
    pub struct RssParameters {
        /// Type 0x89, revision 2.
        pub hdr: ObjectHeader,
        /// [`RSS_DISABLE`], or 0.
        pub flag: u16,
        /// Zero.
        pub base_cpu_number: u16,
        /// `HASH_*`.
        pub hashinfo: u32,
        /// Bytes of the table, whose entries have 32 bits.
        pub indirect_tabsize: u16,
        /// Padding.
        pub pad1: u16,
        /// Where the table is, from the start of this.
        pub indirect_taboffset: u32,
        /// Bytes of the key.
        pub hashkey_size: u16,
        /// Padding.
        pub pad2: u16,
        /// Where the key is.
        pub hashkey_offset: u32,
        /// Zero.
        pub processor_masks_offset: u32,
        /// Zero.
        pub num_processor_masks: u32,
        /// Zero.
        pub processor_masks_entry_size: u32,
    }
}

/// All that Linux asks for: Toeplitz's function over addresses, and ports of TCP.
pub const fn hash_function() -> u32 {
    HASH_TOEPLITZ | HASH_IPV4 | HASH_TCP_IPV4 | HASH_IPV6 | HASH_TCP_IPV6
}

impl RssCapabilities {
    /// Bytes.
    pub const SIZE: usize = size_of::<Self>();

    /// What a guest asks for capabilities with.
    pub fn query() -> Self {
        Self::new(0, 0)
    }

    /// Capabilities of a card.
    pub fn new(queues: u32, table: u16) -> Self {
        Self {
            hdr: ObjectHeader {
                object: OBJECT_RSS_CAPABILITIES,
                revision: REVISION_2,
                size: Self::SIZE as u16,
            },
            cap_flag: 0,
            num_int_msg: 0,
            num_recv_que: queues,
            num_indirect_tabent: table,
        }
    }

    /// Reads the host's answer: queues, at least one, and entries of the table, at most [`MAX_RSS_TABLE`]; no table at all
    /// if there is just one queue.
    ///
    /// # Errors
    ///
    /// If it is something else, or too short.
    pub fn parse(value: &[u8]) -> Result<(u32, u32), ProtoError> {
        let what = "receive scale capabilities";
        let (caps, _) = read_prefix::<Self>(value, what)?;
        if caps.hdr.object != OBJECT_RSS_CAPABILITIES {
            return Err(ProtoError::Unexpected { what });
        }
        let (queues, table) = (caps.num_recv_que, u32::from(caps.num_indirect_tabent));
        if queues <= 1 {
            return Ok((1, 0));
        }
        let usable = (1..=MAX_RSS_TABLE as u32).contains(&table);
        Ok((queues, if usable { table } else { DEFAULT_RSS_TABLE }))
    }
}

/// Writes the parameters that a guest sets: header, table, key. Returns their bytes.
///
/// # Errors
///
/// If the table is too long, or `out` too short.
pub fn encode_rss(
    out: &mut [u8],
    flag: u16,
    table: &[u16],
    key: &[u8; HASH_KEY_SIZE],
) -> Result<usize, ProtoError> {
    const FIXED: u32 = size_of::<RssParameters>() as u32;
    let what = "receive scale parameters";
    if table.len() > MAX_RSS_TABLE {
        return Err(ProtoError::Invalid {
            what,
            value: table.len() as u64,
        });
    }
    let bytes = 4 * table.len();
    let header = RssParameters {
        hdr: ObjectHeader {
            object: OBJECT_RSS_PARAMETERS,
            revision: REVISION_2,
            size: FIXED as u16,
        },
        flag,
        base_cpu_number: 0,
        hashinfo: hash_function(),
        indirect_tabsize: bytes as u16,
        pad1: 0,
        indirect_taboffset: FIXED,
        hashkey_size: HASH_KEY_SIZE as u16,
        pad2: 0,
        hashkey_offset: FIXED + bytes as u32,
        processor_masks_offset: 0,
        num_processor_masks: 0,
        processor_masks_entry_size: 0,
    };
    let mut out = Writer::new(out, what);
    out.put(&header)?;
    for entry in table {
        out.put_bytes(u32::from(*entry).as_bytes())?;
    }
    out.put_bytes(key)?;
    Ok(FIXED as usize + bytes + HASH_KEY_SIZE)
}

/// Why parameters are refused.
pub type RssError = ProtoError;

/// Parameters as the host reads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rss<'a> {
    /// Whether flows are to be spread.
    pub enabled: bool,
    /// `HASH_*`.
    pub hash: u32,
    /// The key.
    pub key: [u8; HASH_KEY_SIZE],
    table: &'a [u8],
}

impl<'a> Rss<'a> {
    /// Reads parameters.
    ///
    /// # Errors
    ///
    /// If they are something else, or table or key lie outside of them or have another size.
    pub fn parse(value: &'a [u8]) -> Result<Self, RssError> {
        let what = "receive scale parameters";
        let (header, _) = read_prefix::<RssParameters>(value, what)?;
        if header.hdr.object != OBJECT_RSS_PARAMETERS {
            return Err(ProtoError::Unexpected { what });
        }
        let part = |offset: u32, len: u16| {
            let (start, len) = (offset as usize, usize::from(len));
            start
                .checked_add(len)
                .filter(|_| start >= size_of::<RssParameters>())
                .and_then(|end| value.get(start..end))
                .ok_or(ProtoError::Invalid {
                    what,
                    value: u64::from(offset),
                })
        };
        let table = part(header.indirect_taboffset, header.indirect_tabsize)?;
        if table.len() % 4 != 0 || table.len() / 4 > MAX_RSS_TABLE {
            return Err(ProtoError::Invalid {
                what,
                value: table.len() as u64,
            });
        }
        let key = part(header.hashkey_offset, header.hashkey_size)?;
        let key = <[u8; HASH_KEY_SIZE]>::read_from_bytes(key)
            .map_err(|_| ProtoError::Unexpected { what })?;
        Ok(Self {
            enabled: header.flag & RSS_DISABLE == 0,
            hash: header.hashinfo,
            key,
            table,
        })
    }

    /// The table: which queue a flow goes to, by the low bits of its hash.
    pub fn table(&self) -> impl ExactSizeIterator<Item = u32> + Clone + 'a {
        self.table.chunks_exact(4).map(|entry| {
            let mut word = 0;
            word.as_mut_bytes().copy_from_slice(entry);
            word
        })
    }
}

/// Toeplitz's hash of `input` with `key`: for each bit that is set, in network order, the 32 bits of the key that begin
/// at the same place are added without carry. A key has four bytes more than an input.
pub fn toeplitz(key: &[u8; HASH_KEY_SIZE], input: impl IntoIterator<Item = u8>) -> u32 {
    let mut rest = key.iter().copied();
    let mut window = [0; 4];
    for (to, from) in window.iter_mut().zip(&mut rest) {
        *to = from;
    }
    let mut window = u32::from_be_bytes(window);
    let mut hash = 0;
    for byte in input {
        let next = rest.next().unwrap_or(0);
        for bit in (0..8).rev() {
            if (byte >> bit) & 1 != 0 {
                hash ^= window;
            }
            window = (window << 1) | u32::from((next >> bit) & 1);
        }
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    extern crate std;
    use std::vec::Vec;

    /// The key of Microsoft's "Verifying the RSS Hash Calculation", from which the hashes below are, too.
    const KEY: [u8; 40] = [
        0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f,
        0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30,
        0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
    ];

    #[test]
    fn published_hashes() {
        let source = [66, 9, 149, 187];
        let destination = [161, 142, 100, 80];
        let addresses = || source.into_iter().chain(destination);
        assert_eq!(toeplitz(&KEY, addresses()), 0x323e_8fc2);
        let ports = [2794u16.to_be_bytes(), 1766u16.to_be_bytes()].concat();
        assert_eq!(toeplitz(&KEY, addresses().chain(ports)), 0x51cc_c178);
        let source = [
            0x3f, 0xfe, 0x25, 0x01, 0x02, 0x00, 0x1f, 0xff, 0, 0, 0, 0, 0, 0, 0, 7,
        ];
        let destination = [
            0x3f, 0xfe, 0x25, 0x01, 0x02, 0x00, 0x00, 0x03, 0, 0, 0, 0, 0, 0, 0, 1,
        ];
        let v6 = source.into_iter().chain(destination);
        assert_eq!(toeplitz(&KEY, v6), 0x2cc1_8cd5);
    }

    #[test]
    fn capabilities() {
        let read = |caps: RssCapabilities| RssCapabilities::parse(caps.as_bytes());
        assert_eq!(read(RssCapabilities::new(8, 128)), Ok((8, 128)));
        assert_eq!(read(RssCapabilities::new(8, 256)), Ok((8, 256)));
        assert_eq!(read(RssCapabilities::new(8, 257)), Ok((8, 128)));
        assert_eq!(read(RssCapabilities::new(8, 0)), Ok((8, 128)));
        assert_eq!(read(RssCapabilities::query()), Ok((1, 0)));
        let mut other = RssCapabilities::new(8, 128);
        other.hdr.object = 0x89;
        assert!(read(other).is_err());
        let caps = RssCapabilities::new(8, 128);
        assert!(RssCapabilities::parse(&caps.as_bytes()[..17]).is_err());
    }

    #[test]
    fn parameters_out_of_bounds() {
        let mut out = [0; 300];
        let len = encode_rss(&mut out, RSS_DISABLE, &[1, 2, 3], &KEY).unwrap();
        assert_eq!(len, 40 + 12 + 40);
        assert!(Rss::parse(&out[..len]).is_ok());
        assert!(Rss::parse(&out[..len - 1]).is_err());
        for (at, value) in [
            (0, 0x80),
            (12, 11),
            (13, 1),
            (16, 39),
            (19, 0xff),
            (20, 39),
            (24, 53),
        ] {
            let mut bad = out;
            bad[at] = value;
            assert!(Rss::parse(&bad[..len]).is_err(), "{at}");
        }
        assert!(encode_rss(&mut out[..len - 1], 0, &[1, 2, 3], &KEY).is_err());
        assert!(encode_rss(&mut out, 0, &[0; 257], &KEY).is_err());
    }

    proptest! {
        #[test]
        fn parameters_come_out_as_they_went_in(table in proptest::collection::vec(0u16..64, 0..257), enabled: bool) {
            let mut out = [0; 40 + 4 * 256 + 40];
            let flag = if enabled { 0 } else { RSS_DISABLE };
            let len = encode_rss(&mut out, flag, &table, &KEY).unwrap();
            let rss = Rss::parse(&out[..len]).unwrap();
            prop_assert_eq!((rss.enabled, rss.hash, rss.key), (enabled, hash_function(), KEY));
            let got: Vec<u16> = rss.table().map(|e| e as u16).collect();
            prop_assert_eq!(got, table);
        }

        #[test]
        fn any_bytes(bytes: Vec<u8>) {
            if let Ok(rss) = Rss::parse(&bytes) {
                prop_assert!(rss.table().len() <= MAX_RSS_TABLE);
            }
            let _ = RssCapabilities::parse(&bytes);
            toeplitz(&KEY, bytes);
        }
    }
}
