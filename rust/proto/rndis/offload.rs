// SPDX-License-Identifier: GPL-2.0

//! What the host can do in place of the guest: checksums, segmentation, coalescing.

use crate::error::{read_prefix, ProtoError};
use crate::nvsp::ProtocolVersion;
use core::mem::{offset_of, size_of};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

/// Type of an [`Offload`].
const OBJECT_OFFLOAD: u8 = 0xa7;
/// Type of [`OffloadParams`].
const OBJECT_DEFAULT: u8 = 0x80;

wire_struct! {
    /// `struct ndis_object_header`, 4 bytes: the front of what NDIS calls an object.
    #[derive(Debug, PartialEq, Eq)]
    pub struct ObjectHeader {
        /// What it is; `type` in C.
        pub object: u8,
        /// Its version.
        pub revision: u8,
        /// Its bytes.
        pub size: u16,
    }

    /// `struct ndis_csum_offload`, 32 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct CsumOffload {
        /// Encapsulations, sending IPv4.
        pub ip4_txenc: u32,
        /// `TXCSUM_*4`.
        pub ip4_txcsum: u32,
        /// Encapsulations, receiving IPv4.
        pub ip4_rxenc: u32,
        /// `RXCSUM_*4`.
        pub ip4_rxcsum: u32,
        /// Encapsulations, sending IPv6.
        pub ip6_txenc: u32,
        /// `TXCSUM_*6`.
        pub ip6_txcsum: u32,
        /// Encapsulations, receiving IPv6.
        pub ip6_rxenc: u32,
        /// `RXCSUM_*6`.
        pub ip6_rxcsum: u32,
    }

    /// `struct ndis_lsov1_offload`, 16 bytes. Not used.
    #[derive(Debug, PartialEq, Eq)]
    pub struct LsoV1Offload {
        /// Encapsulations.
        pub encap: u32,
        /// Most bytes.
        pub maxsize: u32,
        /// Fewest segments.
        pub minsegs: u32,
        /// Options.
        pub opts: u32,
    }

    /// `struct ndis_ipsecv1_offload`, 28 bytes. Not used.
    #[derive(Debug, PartialEq, Eq)]
    pub struct IpsecV1Offload {
        /// All of it.
        pub encap: [u32; 7],
    }

    /// `struct ndis_lsov2_offload`, 28 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct LsoV2Offload {
        /// Encapsulations of IPv4, [`ENCAP_8023`].
        pub ip4_encap: u32,
        /// Bytes of the longest frame of IPv4.
        pub ip4_maxsz: u32,
        /// Fewest segments of IPv4.
        pub ip4_minsg: u32,
        /// Encapsulations of IPv6.
        pub ip6_encap: u32,
        /// Bytes of the longest frame of IPv6.
        pub ip6_maxsz: u32,
        /// Fewest segments of IPv6.
        pub ip6_minsg: u32,
        /// 1: extension headers, 4: TCP options.
        pub ip6_opts: u32,
    }

    /// `struct ndis_ipsecv2_offload`, 32 bytes. Not used.
    #[derive(Debug, PartialEq, Eq)]
    pub struct IpsecV2Offload {
        /// All of it.
        pub encap: [u32; 8],
    }

    /// `struct ndis_rsc_offload`, 2 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct RscOffload {
        /// Not 0: segments of IPv4 are coalesced.
        pub ip4: u8,
        /// Not 0: segments of IPv6 are.
        pub ip6: u8,
    }

    /// `struct ndis_encap_offload`, 8 bytes. Not used.
    #[derive(Debug, PartialEq, Eq)]
    pub struct EncapOffload {
        /// Kinds.
        pub flags: u32,
        /// Bytes of the longest header.
        pub maxhdr: u32,
    }

    /// `struct ndis_offload`, 156 bytes: what the host can do. NDIS 6.0 ends before `ipsecv2`, 6.1 before `rsc`.
    #[derive(Debug, PartialEq, Eq)]
    pub struct Offload {
        /// Type 0xa7, revision 1 to 3, and the size.
        pub header: ObjectHeader,
        /// Checksums.
        pub csum: CsumOffload,
        /// Segmentation, version 1.
        pub lsov1: LsoV1Offload,
        /// IPsec, version 1.
        pub ipsecv1: IpsecV1Offload,
        /// Segmentation, version 2.
        pub lsov2: LsoV2Offload,
        /// Flags.
        pub flags: u32,
        /// IPsec, version 2.
        pub ipsecv2: IpsecV2Offload,
        /// Coalescing.
        pub rsc: RscOffload,
        /// Padding.
        pub pad: u16,
        /// Encapsulation in GRE.
        pub encap_gre: EncapOffload,
    }

    /// `struct ndis_offload_params`, 28 bytes: what is to be switched on, [`TxRx`] for checksums and [`Switch`] for the
    /// rest.
    #[derive(Debug, PartialEq, Eq)]
    pub struct OffloadParams {
        /// Type 0x80, revision 3, and the size.
        pub header: ObjectHeader,
        /// Checksum of the IPv4 header.
        pub ip_v4_csum: u8,
        /// Of TCP on IPv4.
        pub tcp_ip_v4_csum: u8,
        /// Of UDP on IPv4.
        pub udp_ip_v4_csum: u8,
        /// Of TCP on IPv6.
        pub tcp_ip_v6_csum: u8,
        /// Of UDP on IPv6.
        pub udp_ip_v6_csum: u8,
        /// Segmentation, version 1.
        pub lso_v1: u8,
        /// IPsec.
        pub ip_sec_v1: u8,
        /// Segmentation of TCP on IPv4.
        pub lso_v2_ipv4: u8,
        /// Segmentation of TCP on IPv6.
        pub lso_v2_ipv6: u8,
        /// Connections.
        pub tcp_connection_ip_v4: u8,
        /// Connections.
        pub tcp_connection_ip_v6: u8,
        /// Padding.
        pub pad: u8,
        /// Zero.
        pub flags: u32,
        /// IPsec.
        pub ip_sec_v2: u8,
        /// IPsec.
        pub ip_sec_v2_ip_v4: u8,
        /// Coalescing of TCP on IPv4.
        pub rsc_ip_v4: u8,
        /// Coalescing of TCP on IPv6.
        pub rsc_ip_v6: u8,
        /// Encapsulation.
        pub encapsulated_packet_task_offload: u8,
        /// Encapsulation.
        pub encapsulation_types: u8,
        /// Padding.
        pub pad2: u16,
    }
}

/// Encapsulation: Ethernet without further headers.
pub const ENCAP_8023: u32 = 2;
/// Sending: TCP on IPv4, with options.
pub const TXCSUM_ALL_TCP4: u32 = 0x14;
/// Sending: UDP on IPv4.
pub const TXCSUM_UDP4: u32 = 0x40;
/// Sending: IPv4 header.
pub const TXCSUM_IP4: u32 = 0x100;
/// Sending: TCP on IPv6, with options and extension headers.
pub const TXCSUM_ALL_TCP6: u32 = 0x15;
/// Sending: UDP on IPv6.
pub const TXCSUM_UDP6: u32 = 0x40;
/// Receiving: TCP on IPv4, with options.
pub const RXCSUM_ALL_TCP4: u32 = 0x14;
/// Receiving: UDP on IPv4.
pub const RXCSUM_UDP4: u32 = 0x40;
/// Receiving: IPv4 header.
pub const RXCSUM_IP4: u32 = 0x100;
/// Receiving: TCP on IPv6, with options and extension headers.
pub const RXCSUM_ALL_TCP6: u32 = 0x15;
/// Receiving: UDP on IPv6.
pub const RXCSUM_UDP6: u32 = 0x40;
/// Segmentation of IPv6: with TCP options and extension headers.
const LSO_ALL_IP6: u32 = 0x5;

/// Bytes of [`OffloadParams`] up to version 4 of NVSP.
pub const VERSION_4_OFFLOAD_SIZE: usize = 22;
/// Bytes of [`Offload`] in NDIS 6.0.
const SIZE_6_0: usize = offset_of!(Offload, ipsecv2);
/// Bytes of [`Offload`] in NDIS 6.1.
const SIZE_6_1: usize = offset_of!(Offload, rsc);
/// Bytes of a large send below which it is none: that of two segments of an ordinary Ethernet.
const MIN_LARGE_SEND: u32 = 2 * 1460;

/// Bytes of [`Offload`] that a guest asks for, and the host's answer has, with `version` of NVSP.
pub fn offload_query_size(version: ProtocolVersion) -> usize {
    if version >= ProtocolVersion::V5 {
        size_of::<Offload>()
    } else if version >= ProtocolVersion::V4 {
        SIZE_6_1
    } else {
        SIZE_6_0
    }
}

/// What a guest asks for capabilities with: an [`Offload`] of which only the header says something, and how many bytes
/// of it are sent.
pub fn offload_query(version: ProtocolVersion) -> (Offload, usize) {
    let size = offload_query_size(version);
    let mut offload = Offload::new_zeroed();
    offload.header = ObjectHeader {
        object: OBJECT_OFFLOAD,
        revision: match size {
            SIZE_6_0 => 1,
            SIZE_6_1 => 2,
            _ => 3,
        },
        size: size as u16,
    };
    (offload, size)
}

/// What a host can do, as far as a guest makes use of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Fills in the checksum of TCP on IPv4.
    pub tcp4: bool,
    /// Fills in that of UDP on IPv4.
    pub udp4: bool,
    /// Fills in that of TCP on IPv6.
    pub tcp6: bool,
    /// Fills in that of UDP on IPv6.
    pub udp6: bool,
    /// Bytes of the longest frame of TCP on IPv4 that it cuts into segments.
    pub lso4: Option<u32>,
    /// Bytes of the longest one of TCP on IPv6.
    pub lso6: Option<u32>,
    /// Coalesces TCP segments for the guest.
    pub rsc: bool,
}

impl Capabilities {
    /// Reads the host's answer.
    ///
    /// # Errors
    ///
    /// If it is something else, or shorter than it says.
    pub fn parse(value: &[u8]) -> Result<Self, ProtoError> {
        let what = "offload capabilities";
        let (header, _) = read_prefix::<ObjectHeader>(value, what)?;
        if header.object != OBJECT_OFFLOAD {
            return Err(ProtoError::Unexpected { what });
        }
        let size = usize::from(header.size);
        if header.revision == 0 || size < SIZE_6_0 || size > value.len() {
            return Err(ProtoError::Invalid {
                what: "size of offload capabilities",
                value: size as u64,
            });
        }
        // What the host does not tell of it has not got.
        let mut bytes = [0; size_of::<Offload>()];
        for (to, from) in bytes.iter_mut().zip(value.iter().take(size)) {
            *to = *from;
        }
        let offload =
            Offload::read_from_bytes(&bytes).map_err(|_| ProtoError::Unexpected { what })?;
        let (csum, lso) = (offload.csum, offload.lsov2);
        let all = |have: u32, need: u32| have & need == need;
        let tcp4 = all(csum.ip4_txcsum, TXCSUM_ALL_TCP4);
        let tcp6 = all(csum.ip6_txcsum, TXCSUM_ALL_TCP6);
        let large = |can: bool, encap, most| {
            (can && all(encap, ENCAP_8023) && most >= MIN_LARGE_SEND).then_some(most)
        };
        Ok(Self {
            tcp4,
            udp4: tcp4 && all(csum.ip4_txcsum, TXCSUM_UDP4),
            tcp6,
            udp6: tcp6 && all(csum.ip6_txcsum, TXCSUM_UDP6),
            // Segments need checksums.
            lso4: large(tcp4, lso.ip4_encap, lso.ip4_maxsz),
            lso6: large(
                tcp6 && all(lso.ip6_opts, LSO_ALL_IP6),
                lso.ip6_encap,
                lso.ip6_maxsz,
            ),
            rsc: offload.rsc.ip4 != 0 && offload.rsc.ip6 != 0,
        })
    }
}

open_enum! {
    /// Which directions of a checksum are switched on.
    pub struct TxRx(u8) {
        /// As before.
        NO_CHANGE = 0,
        /// None.
        DISABLED = 1,
        /// Sending.
        TX = 2,
        /// Receiving.
        RX = 3,
        /// Both.
        BOTH = 4,
    }
}

open_enum! {
    /// Whether something is switched on.
    pub struct Switch(u8) {
        /// As before.
        NO_CHANGE = 0,
        /// Off.
        OFF = 1,
        /// On.
        ON = 2,
    }
}

impl OffloadParams {
    /// Nothing but the header: all stays as it is.
    pub fn unchanged() -> Self {
        let mut params = Self::new_zeroed();
        params.header = ObjectHeader {
            object: OBJECT_DEFAULT,
            revision: 3,
            size: size_of::<Self>() as u16,
        };
        params
    }

    /// Makes the parameters what `version` of NVSP takes, and returns how many bytes of them are to be sent. Up to
    /// version 4 they end early, and UDP is not in them.
    pub fn for_version(&mut self, version: ProtocolVersion) -> usize {
        let mut size = size_of::<Self>();
        if version <= ProtocolVersion::V4 {
            size = VERSION_4_OFFLOAD_SIZE;
            self.udp_ip_v4_csum = TxRx::NO_CHANGE.0;
            self.udp_ip_v6_csum = TxRx::NO_CHANGE.0;
        }
        self.header.size = size as u16;
        size
    }

    /// Reads parameters. Those that are not sent stay as they are.
    ///
    /// # Errors
    ///
    /// If they are something else, or shorter than they say.
    pub fn parse(value: &[u8]) -> Result<Self, ProtoError> {
        let what = "offload parameters";
        let (header, _) = read_prefix::<ObjectHeader>(value, what)?;
        let size = usize::from(header.size);
        if header.object != OBJECT_DEFAULT {
            return Err(ProtoError::Unexpected { what });
        }
        if size < VERSION_4_OFFLOAD_SIZE || size > value.len() || size > size_of::<Self>() {
            return Err(ProtoError::Invalid {
                what: "size of offload parameters",
                value: size as u64,
            });
        }
        let mut params = Self::new_zeroed();
        for (to, from) in params
            .as_mut_bytes()
            .iter_mut()
            .zip(value.iter().take(size))
        {
            *to = *from;
        }
        Ok(params)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    extern crate std;
    use std::vec::Vec;

    fn all() -> Offload {
        let (mut offload, _) = offload_query(ProtocolVersion::V6_1);
        offload.csum.ip4_txcsum = 0x154;
        offload.csum.ip6_txcsum = 0x55;
        offload.lsov2 = LsoV2Offload {
            ip4_encap: 2,
            ip4_maxsz: 65_000,
            ip4_minsg: 2,
            ip6_encap: 2,
            ip6_maxsz: 64_000,
            ip6_minsg: 2,
            ip6_opts: 5,
        };
        offload.rsc = RscOffload { ip4: 1, ip6: 1 };
        offload
    }

    #[test]
    fn all_that_a_host_can_do() {
        let capabilities = Capabilities::parse(all().as_bytes()).unwrap();
        let full = Capabilities {
            tcp4: true,
            udp4: true,
            tcp6: true,
            udp6: true,
            lso4: Some(65_000),
            lso6: Some(64_000),
            rsc: true,
        };
        assert_eq!(capabilities, full);
        // A shorter answer has no coalescing.
        let mut short = all();
        short.header.size = 144;
        let short = Capabilities::parse(&short.as_bytes()[..144]).unwrap();
        assert_eq!(short, Capabilities { rsc: false, ..full });
    }

    #[test]
    fn what_does_not_suffice() {
        let change = |change: fn(&mut Offload)| {
            let mut offload = all();
            change(&mut offload);
            Capabilities::parse(offload.as_bytes()).unwrap()
        };
        // TCP without options is no use, and then there is nothing for UDP and segments.
        let without = change(|o| o.csum.ip4_txcsum = 0x50);
        assert_eq!(
            (without.tcp4, without.udp4, without.lso4),
            (false, false, None)
        );
        assert!(without.tcp6);
        for most in [0, 1, 1514] {
            let mut offload = all();
            offload.lsov2.ip4_maxsz = most;
            let tiny = Capabilities::parse(offload.as_bytes()).unwrap();
            assert_eq!((tiny.lso4, tiny.lso6), (None, Some(64_000)));
        }
        assert_eq!(change(|o| o.lsov2.ip6_opts = 1).lso6, None);
        assert_eq!(change(|o| o.lsov2.ip4_encap = 4).lso4, None);
        assert!(!change(|o| o.rsc.ip6 = 0).rsc);
    }

    #[test]
    fn answers_that_cannot_be() {
        for (at, value) in [(0, 0xa6), (1, 0), (2, 111), (2, 157), (3, 1)] {
            let mut bytes = all().as_bytes().to_vec();
            bytes[at] = value;
            assert!(Capabilities::parse(&bytes).is_err(), "{at} {value}");
        }
        assert!(Capabilities::parse(&all().as_bytes()[..155]).is_err());
        assert!(Capabilities::parse(&[]).is_err());
    }

    #[test]
    fn sizes_by_version() {
        let size = |version| {
            let (query, size) = offload_query(version);
            let header = query.header;
            assert_eq!(usize::from(header.size), size);
            (header.revision, size)
        };
        assert_eq!(size(ProtocolVersion::V2), (1, 112));
        assert_eq!(size(ProtocolVersion::V4), (2, 144));
        assert_eq!(size(ProtocolVersion::V5), (3, 156));
        let mut params = OffloadParams::unchanged();
        params.udp_ip_v4_csum = TxRx::BOTH.0;
        params.rsc_ip_v4 = Switch::ON.0;
        assert_eq!(params.for_version(ProtocolVersion::V6_1), 28);
        assert_eq!(OffloadParams::parse(params.as_bytes()), Ok(params));
        assert_eq!(params.for_version(ProtocolVersion::V4), 22);
        let got = OffloadParams::parse(&params.as_bytes()[..22]).unwrap();
        let (udp, rsc) = (got.udp_ip_v4_csum, got.rsc_ip_v4);
        assert_eq!((udp, rsc), (0, 0), "not sent to such a host");
        assert!(OffloadParams::parse(&params.as_bytes()[..21]).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes(bytes: Vec<u8>) {
            let _ = OffloadParams::parse(&bytes);
            if let Ok(can) = Capabilities::parse(&bytes) {
                prop_assert!(can.lso4.is_none() || can.tcp4);
            }
        }
    }
}
