// SPDX-License-Identifier: GPL-2.0

//! Per-packet information: what belongs to a frame and does not lie in it.

use super::header::{word, words, Words};
use crate::error::ProtoError;

wire_struct! {
    /// `struct rndis_per_packet_info`, 12 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct PerPacketInfo {
        /// Bytes of this and of the value.
        pub size: u32,
        /// What it is; the highest bit says that it is one of Hyper-V's own kinds. Bit-fields `type` and `internal` in C.
        pub kind: u32,
        /// Where the value is, from the start of this.
        pub ppi_offset: u32,
    }

    /// `struct rndis_pktinfo_id`, 4 bytes: the piece of a coalesced frame that this is.
    #[derive(Debug, PartialEq, Eq)]
    pub struct PacketId {
        /// 1.
        pub ver: u8,
        /// `PKTINFO_*`.
        pub flag: u8,
        /// Which frame.
        pub pkt_id: u16,
    }
}

/// The packet is one of several pieces.
pub const PKTINFO_SUBALLOC: u8 = 1;
/// It is the first one.
pub const PKTINFO_FIRST: u8 = 2;
/// It is the last one.
pub const PKTINFO_LAST: u8 = 4;

/// Bytes of one piece of information with a value of one word.
const PPI_SIZE: u32 = 16;
/// Bytes of its fixed part.
const FIXED: u32 = 12;
/// Bytes of all information that there can be, one of each kind.
pub const MAX_PPI_SIZE: u32 = 6 * PPI_SIZE;

const INTERNAL: u32 = 1 << 31;
const TCPIP_CHKSUM: u32 = 0;
const TCP_LARGESEND: u32 = 2;
const IEEE_8021Q: u32 = 6;
const NBL_HASH_VALUE: u32 = 8;
const NBL_HASH_INFO: u32 = 9;
const PKTINFO_ID: u32 = INTERNAL | 1;

/// The information that came with a frame, or is to go with it. Each kind has a value of one word. Of a kind that
/// comes twice, the first counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ppis {
    /// Checksums, [`TxChecksum`] or [`RxChecksum`].
    pub checksum: Option<u32>,
    /// Segmentation, [`LargeSend`].
    pub large_send: Option<u32>,
    /// VLAN tag, [`Vlan`].
    pub vlan: Option<u32>,
    /// Hash of the flow.
    pub hash_value: Option<u32>,
    /// What the hash is made of, and how: `HASH_*`.
    pub hash_info: Option<u32>,
    /// Piece of a coalesced frame, [`PacketId`].
    pub packet_id: Option<u32>,
}

impl Ppis {
    #[inline]
    fn entry(&mut self, kind: u32) -> Option<&mut Option<u32>> {
        Some(match kind {
            TCPIP_CHKSUM => &mut self.checksum,
            TCP_LARGESEND => &mut self.large_send,
            IEEE_8021Q => &mut self.vlan,
            NBL_HASH_VALUE => &mut self.hash_value,
            NBL_HASH_INFO => &mut self.hash_info,
            PKTINFO_ID => &mut self.packet_id,
            _ => return None,
        })
    }

    /// Reads the information in the `len` bytes from `start` on, in one pass; each word is loaded once. Kinds that are
    /// not known are passed over.
    ///
    /// # Errors
    ///
    /// If sizes and offsets do not fit into each other.
    #[inline]
    pub(super) fn parse<W: Words + ?Sized>(
        bytes: &W,
        start: u32,
        len: u32,
    ) -> Result<Self, ProtoError> {
        let mut all = Self::default();
        let (mut at, mut left) = (start, len);
        // Each round uses up 12 bytes or more.
        while left != 0 {
            let what = "per-packet information";
            if left < FIXED {
                return Err(ProtoError::short(what, FIXED as usize, left as usize));
            }
            let [size, kind, offset] = words(bytes, at, what)?;
            if size < FIXED || size > left || size % 4 != 0 {
                return Err(ProtoError::invalid("size of per-packet information", size));
            }
            if offset < FIXED || offset >= size {
                return Err(ProtoError::invalid(
                    "offset of per-packet information",
                    offset,
                ));
            }
            if let Some(entry) = all.entry(kind) {
                if size - offset < 4 {
                    return Err(ProtoError::invalid(
                        "offset of per-packet information",
                        offset,
                    ));
                }
                let value = word(bytes, at.saturating_add(offset), what)?;
                entry.get_or_insert(value);
            }
            at = at.saturating_add(size);
            left -= size;
        }
        Ok(all)
    }

    /// A piece as it goes on the wire.
    #[inline]
    const fn on_wire(kind: u32, value: u32) -> [u32; 4] {
        [PPI_SIZE, kind, FIXED, value]
    }

    #[inline]
    pub(super) const fn checksum_piece(checksum: u32) -> [u32; 4] {
        Self::on_wire(TCPIP_CHKSUM, checksum)
    }

    #[inline]
    pub(super) const fn large_send_piece(large_send: u32) -> [u32; 4] {
        Self::on_wire(TCP_LARGESEND, large_send)
    }

    #[inline]
    pub(super) const fn hash_piece(hash: u32) -> [u32; 4] {
        Self::on_wire(NBL_HASH_VALUE, hash)
    }

    /// Calls `f` with the information as it goes on the wire, a piece at a time, in the order in which Linux sends them.
    ///
    /// # Errors
    ///
    /// That of `f`, which ends it.
    #[inline]
    pub fn pieces<E>(&self, mut f: impl FnMut([u32; 4]) -> Result<(), E>) -> Result<(), E> {
        let mut piece = |kind, value: Option<u32>| match value {
            Some(value) => f(Self::on_wire(kind, value)),
            None => Ok(()),
        };
        piece(PKTINFO_ID, self.packet_id)?;
        piece(NBL_HASH_VALUE, self.hash_value)?;
        piece(NBL_HASH_INFO, self.hash_info)?;
        piece(IEEE_8021Q, self.vlan)?;
        piece(TCP_LARGESEND, self.large_send)?;
        piece(TCPIP_CHKSUM, self.checksum)
    }

    /// Bytes that the information takes.
    #[inline]
    pub fn size(&self) -> u32 {
        let one = |value: Option<u32>| u32::from(value.is_some()) * PPI_SIZE;
        one(self.packet_id)
            + one(self.hash_value)
            + one(self.hash_info)
            + one(self.vlan)
            + one(self.large_send)
            + one(self.checksum)
    }

    /// Which piece of a coalesced frame this is.
    #[inline]
    pub fn piece(&self) -> Option<PacketId> {
        let [ver, flag, low, high] = self.packet_id?.to_le_bytes();
        let pkt_id = u16::from_le_bytes([low, high]);
        Some(PacketId { ver, flag, pkt_id })
    }
}

impl PacketId {
    /// Whether the piece is neither a whole frame nor the first of several: it has no headers.
    pub const fn is_data(&self) -> bool {
        self.flag & (PKTINFO_SUBALLOC | PKTINFO_FIRST) == PKTINFO_SUBALLOC
    }

    /// The value on the wire.
    pub const fn word(&self) -> u32 {
        let [low, high] = self.pkt_id.to_le_bytes();
        u32::from_le_bytes([self.ver, self.flag, low, high])
    }
}

/// Checksums that the host is to fill in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TxChecksum(pub u32);

impl TxChecksum {
    /// The frame is IPv4.
    pub const IPV4: u32 = 1;
    /// The frame is IPv6.
    pub const IPV6: u32 = 2;
    /// TCP's is asked for.
    pub const TCP: u32 = 4;
    /// UDP's is.
    pub const UDP: u32 = 8;
    /// That of the IPv4 header is.
    pub const IP_HEADER: u32 = 0x10;
    const OFFSET_SHIFT: u32 = 16;
    const OFFSET_BITS: u32 = 0x3ff;

    /// The flags `what` for a transport header `offset` bytes into the frame; `None` if it lies too far in.
    pub const fn new(what: u32, offset: u32) -> Option<Self> {
        if offset > Self::OFFSET_BITS {
            return None;
        }
        Some(Self(what & 0x1f | (offset << Self::OFFSET_SHIFT)))
    }

    /// Where the transport header begins in the frame.
    pub const fn offset(self) -> u32 {
        (self.0 >> Self::OFFSET_SHIFT) & Self::OFFSET_BITS
    }

    /// Whether all of `what` is set.
    pub const fn has(self, what: u32) -> bool {
        self.0 & what == what
    }
}

/// What the host found checksums to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RxChecksum(pub u32);

impl RxChecksum {
    /// TCP's is wrong.
    pub const TCP_FAILED: u32 = 1;
    /// UDP's is wrong.
    pub const UDP_FAILED: u32 = 2;
    /// That of the IPv4 header is wrong.
    pub const IP_FAILED: u32 = 4;
    /// TCP's is right. Seen to be set on UDP, too.
    pub const TCP_SUCCEEDED: u32 = 8;
    /// UDP's is right.
    pub const UDP_SUCCEEDED: u32 = 0x10;
    /// That of the IPv4 header is right.
    pub const IP_SUCCEEDED: u32 = 0x20;
    /// The frame never was on a wire.
    pub const LOOPBACK: u32 = 0x40;
    /// The field in the frame does not hold what was found right: the frame was made of several.
    pub const TCP_VALUE_INVALID: u32 = 0x80;
    /// The same of the IPv4 header.
    pub const IP_VALUE_INVALID: u32 = 0x100;

    /// Whether all of `what` is set.
    pub const fn has(self, what: u32) -> bool {
        self.0 & what == what
    }
}

/// A TCP frame that the host is to cut into segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LargeSend(pub u32);

impl LargeSend {
    const MSS_BITS: u32 = 0xf_ffff;
    const OFFSET_BITS: u32 = 0x3ff;
    /// Version 2, the one that is used.
    const TYPE_V2: u32 = 1 << 30;
    const IPV6: u32 = 1 << 31;

    /// Segments of `mss` bytes of data, for a TCP header `offset` bytes into the frame; `None` if that cannot be said.
    pub const fn new(mss: u32, offset: u32, ipv6: bool) -> Option<Self> {
        if mss == 0 || mss > Self::MSS_BITS || offset > Self::OFFSET_BITS {
            return None;
        }
        let ip = if ipv6 { Self::IPV6 } else { 0 };
        Some(Self(mss | (offset << 20) | Self::TYPE_V2 | ip))
    }

    /// Bytes of data in a segment.
    pub const fn mss(self) -> u32 {
        self.0 & Self::MSS_BITS
    }

    /// Where the TCP header begins in the frame.
    pub const fn offset(self) -> u32 {
        (self.0 >> 20) & Self::OFFSET_BITS
    }

    /// Whether the frame is IPv6; if not, it is IPv4.
    pub const fn is_ipv6(self) -> bool {
        self.0 & Self::IPV6 != 0
    }

    /// Whether this is a request of version 2.
    pub const fn is_v2(self) -> bool {
        self.0 & Self::TYPE_V2 != 0
    }
}

/// A VLAN tag that does not lie in the frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vlan(pub u32);

impl Vlan {
    /// The tag control information of IEEE 802.1Q: priority in bits 13 to 15, then CFI, then the id.
    pub const fn from_tci(tci: u16) -> Self {
        let [low, high] = tci.to_le_bytes();
        let tci = u32::from_le_bytes([low, high, 0, 0]);
        Self((tci >> 13) | (((tci >> 12) & 1) << 3) | ((tci & 0xfff) << 4))
    }

    /// The tag control information of IEEE 802.1Q.
    pub const fn tci(self) -> u16 {
        let tci = ((self.0 & 7) << 13) | (((self.0 >> 3) & 1) << 12) | (self.0 >> 4) & 0xfff;
        let [low, high, _, _] = tci.to_le_bytes();
        u16::from_le_bytes([low, high])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use zerocopy::IntoBytes;
    extern crate std;
    use core::cell::RefCell;
    use std::collections::BTreeSet;
    use std::vec::Vec;

    fn parse(words: &[u32]) -> Result<Ppis, ProtoError> {
        let bytes = words.as_bytes();
        Ppis::parse(bytes, 0, bytes.len() as u32)
    }

    #[test]
    fn every_kind_is_found() {
        let words = [
            [16, 0, 12, 1],
            [16, 2, 12, 2],
            [16, 6, 12, 3],
            [16, 8, 12, 4],
            [16, 9, 12, 5],
            [16, 0x8000_0001, 12, 0x0007_0301],
            [16, 4711, 12, 6],
            [16, 1, 12, 7],
        ]
        .concat();
        let all = parse(&words).unwrap();
        assert_eq!(all.checksum, Some(1));
        assert_eq!(all.large_send, Some(2));
        assert_eq!(all.vlan, Some(3));
        assert_eq!(all.hash_value, Some(4));
        assert_eq!(all.hash_info, Some(5));
        let piece = all.piece().unwrap();
        let (flag, id) = (piece.flag, piece.pkt_id);
        assert_eq!((piece.ver, flag, id), (1, 3, 7));
        assert_eq!(piece.word(), 0x0007_0301);
        // The first of a kind, and a value behind padding.
        assert_eq!(
            parse(&[16, 8, 12, 1, 16, 8, 12, 2]).unwrap().hash_value,
            Some(1)
        );
        assert_eq!(parse(&[24, 8, 16, 9, 7, 9]).unwrap().hash_value, Some(7));
        assert_eq!(parse(&[]), Ok(Ppis::default()));
    }

    #[test]
    fn malformed_information_ends_the_pass() {
        for words in [
            &[0, 8, 12, 1][..],
            &[8, 8, 12, 1],
            &[20, 8, 12, 1],
            &[u32::MAX, 8, 12, 1],
            &[15, 8, 12, 1],
            &[16, 8, 16, 1],
            &[16, 8, 0, 1],
            &[16, 8, 8, 1],
            &[16, 8, u32::MAX, 1],
            &[16, 8, 13, 1],
            &[16, 8, 12, 1, 9],
            &[16, 8, 12, 1, 12, 0, 12],
            &[12, 6, 12],
        ] {
            assert!(parse(words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn flags_and_fields() {
        let sum = TxChecksum::new(TxChecksum::IPV4 | TxChecksum::TCP, 34).unwrap();
        assert_eq!(sum.0, 0x0022_0005);
        assert!(sum.has(TxChecksum::TCP) && !sum.has(TxChecksum::UDP) && sum.offset() == 34);
        assert_eq!(TxChecksum::new(1, 1024), None);
        let send = LargeSend::new(1448, 54, true).unwrap();
        assert_eq!(send.0, 0xc360_05a8);
        assert_eq!((send.mss(), send.offset()), (1448, 54));
        assert!(send.is_ipv6() && send.is_v2());
        assert_eq!(LargeSend::new(0, 54, false), None);
        assert_eq!(LargeSend::new(1 << 20, 54, false), None);
        assert!(RxChecksum(0x28).has(RxChecksum::TCP_SUCCEEDED));
        assert_eq!(Vlan::from_tci(0xb123).0, 0x123d);
        for tci in [0, 1, 0xfff, 0x1fff, 0x6042, 0xffff] {
            assert_eq!(Vlan::from_tci(tci).tci(), tci);
        }
    }

    /// Bytes that note which of them were read.
    struct Once<'a>(&'a [u8], RefCell<BTreeSet<u32>>);

    impl Words for Once<'_> {
        fn words<const N: usize>(&self, offset: u32) -> Option<[u32; N]> {
            let value = self.0.words(offset)?;
            for byte in offset..offset + 4 * N as u32 {
                assert!(
                    self.1.borrow_mut().insert(byte),
                    "byte {byte} is read twice"
                );
            }
            Some(value)
        }
    }

    fn info() -> impl Strategy<Value = Ppis> {
        proptest::array::uniform6(proptest::option::of(any::<u32>())).prop_map(|o| Ppis {
            checksum: o[0],
            large_send: o[1],
            vlan: o[2],
            hash_value: o[3],
            hash_info: o[4],
            packet_id: o[5],
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_once(all in info()) {
            let mut words = Vec::new();
            let done: Result<(), ProtoError> = all.pieces(|piece| {
                words.extend(piece);
                Ok(())
            });
            prop_assert!(done.is_ok());
            prop_assert_eq!(words.len() as u32 * 4, all.size());
            prop_assert!(all.size() <= MAX_PPI_SIZE);
            let once = Once(words.as_bytes(), RefCell::default());
            prop_assert_eq!(Ppis::parse(&once, 0, all.size()), Ok(all));
        }

        #[test]
        fn any_bytes_are_read_once_and_within_bounds(
            sizes in proptest::collection::vec((0u32..9, 0u32..12, 0u32..7), 0..12), start in 0u32..9, cut in 0u32..20,
        ) {
            let mut words = Vec::new();
            for (size, kind, offset) in sizes {
                words.extend([size * 4, kind, offset * 4]);
                words.extend((3..size).map(|n| n * 77));
            }
            let bytes = words.as_bytes();
            let len = (bytes.len() as u32).saturating_sub(cut);
            let once = Once(bytes, RefCell::default());
            let _ = Ppis::parse(&once, start, len.saturating_sub(start));
            let read = once.1.into_inner();
            prop_assert!(read.last().is_none_or(|last| *last < len));
        }
    }
}
