// SPDX-License-Identifier: GPL-2.0

//! Messages that carry a frame.

use super::header::{words, Header, MessageType, PutWords, Words, HEADER_SIZE};
use super::ppi::{Ppis, MAX_PPI_SIZE};
use super::writer::Writer;
use crate::error::ProtoError;
use core::mem::size_of;

wire_struct! {
    /// `struct rndis_packet`, 36 bytes.
    #[derive(Debug, Default, PartialEq, Eq)]
    pub struct PacketHeader {
        /// Where the frame is.
        pub data_offset: u32,
        /// Its bytes.
        pub data_len: u32,
        /// Zero.
        pub oob_data_offset: u32,
        /// Zero.
        pub oob_data_len: u32,
        /// Zero.
        pub num_oob_data_elements: u32,
        /// Where the per-packet information is; 0 if there is none.
        pub per_pkt_info_offset: u32,
        /// Its bytes.
        pub per_pkt_info_len: u32,
        /// Zero.
        pub vc_handle: u32,
        /// Zero.
        pub reserved: u32,
    }
}

/// Bytes of a message in front of its per-packet information.
pub const PACKET_HEADER_SIZE: u32 = HEADER_SIZE + FIXED;
/// Bytes in front of a frame, at most.
pub const MAX_HEADER_SIZE: u32 = PACKET_HEADER_SIZE + MAX_PPI_SIZE;
/// Bytes of the fixed part of the body.
const FIXED: u32 = size_of::<PacketHeader>() as u32;
/// Bytes of the shortest frame: addresses and type.
const MIN_FRAME: u32 = 14;

/// A frame, found in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Where it begins, from the start of the message.
    pub offset: u32,
    /// Its bytes, 14 or more; of a piece of a coalesced frame that is not the first, one or more. All of them lie in the
    /// message.
    pub len: u32,
    /// What came with it.
    pub info: Ppis,
}

/// Reads a message of type PACKET, whose front `header` has been read from the same bytes.
///
/// How long a frame may be depends on the MTU, and on whether it is a piece of a coalesced one: that is the caller's to
/// check.
///
/// # Errors
///
/// If the frame, or what comes with it, does not lie in the message, or overlaps the message's header.
#[inline]
pub fn packet<W: Words + ?Sized>(bytes: &W, header: &Header) -> Result<Packet, ProtoError> {
    let what = "RNDIS packet";
    if header.kind != MessageType::RNDIS_MSG_PACKET {
        return Err(ProtoError::unexpected(what));
    }
    let body = header.len.saturating_sub(HEADER_SIZE);
    if body < FIXED {
        return Err(ProtoError::short(
            what,
            PACKET_HEADER_SIZE as usize,
            header.len as usize,
        ));
    }
    let fields = words(bytes, HEADER_SIZE, what)?;
    let [offset, len, _, _, _, info_offset, info_len] = fields;
    if offset < FIXED || offset > body {
        return Err(ProtoError::invalid("offset of a frame", offset));
    }
    if len > body - offset {
        return Err(ProtoError::invalid("length of a frame", len));
    }
    let info = if info_offset == 0 {
        Ppis::default()
    } else {
        if info_offset < FIXED || info_offset > body {
            return Err(ProtoError::invalid(
                "offset of per-packet information",
                info_offset,
            ));
        }
        if info_len > body - info_offset {
            return Err(ProtoError::invalid(
                "length of per-packet information",
                info_len,
            ));
        }
        Ppis::parse(bytes, HEADER_SIZE.saturating_add(info_offset), info_len)?
    };
    // What the host has joined to a frame is data of any length; the headers are in the first piece.
    let is_data = info.piece().is_some_and(|piece| piece.is_data());
    if len < if is_data { 1 } else { MIN_FRAME } {
        return Err(ProtoError::invalid("length of a frame", len));
    }
    Ok(Packet {
        offset: HEADER_SIZE.saturating_add(offset),
        len,
        info,
    })
}

/// Words of a message in front of its per-packet information.
const FRONT_WORDS: usize = PACKET_HEADER_SIZE as usize / 4;

/// The front of a message, up to the per-packet information of `info_len` bytes. The frame, of `len` bytes, belongs right
/// behind that.
///
/// `pad` bytes behind the frame belong to the message, too: another one follows at a boundary.
#[inline]
fn packet_front(info_len: u32, len: u32, pad: u32) -> [u32; FRONT_WORDS] {
    let front = PACKET_HEADER_SIZE.saturating_add(info_len);
    let message = front.saturating_add(len).saturating_add(pad);
    let offset = FIXED.saturating_add(info_len);
    let info = if info_len == 0 { 0 } else { FIXED };
    // Type and length of the message, then the fields of `PacketHeader`.
    let kind = MessageType::RNDIS_MSG_PACKET.0;
    [kind, message, offset, len, 0, 0, 0, info, info_len, 0, 0]
}

/// Words of `N` pieces of information.
type Pieces<const N: usize> = [[u32; 4]; N];

/// [`packet_front`] with `N` pieces of information, in `WORDS` words.
#[inline]
fn front_with<const N: usize, const WORDS: usize>(
    pieces: Pieces<N>,
    len: u32,
    pad: u32,
) -> [u32; WORDS] {
    const { assert!(WORDS == FRONT_WORDS + 4 * N) };
    let mut words = [0; WORDS];
    let (front, info) = words.split_at_mut(FRONT_WORDS);
    front.copy_from_slice(&packet_front(size_of::<Pieces<N>>() as u32, len, pad));
    for (to, piece) in info.chunks_exact_mut(4).zip(pieces) {
        to.copy_from_slice(&piece);
    }
    words
}

/// Puts what goes in front of a frame of `len` bytes: `packet_front`, and the information `info`, which takes `info_len`
/// bytes ([`Ppis::size`]).
///
/// # Errors
///
/// Those of `out`.
#[inline(always)]
pub fn put_front<P: PutWords>(
    out: &mut P,
    info: &Ppis,
    info_len: u32,
    len: u32,
    pad: u32,
) -> Result<(), P::Error> {
    // What nearly all frames have is put in one go: nothing, a checksum to be filled in or a large send, and in front of that the
    // hash.
    let offload = match (info.large_send, info.checksum) {
        (None, Some(checksum)) => Some(Ppis::checksum_piece(checksum)),
        (Some(large_send), None) => Some(Ppis::large_send_piece(large_send)),
        _ => None,
    };
    match (info_len, info.hash_value, offload) {
        (0, _, _) => out.put_words(packet_front(0, len, pad)),
        (ONE, None, Some(offload)) => {
            out.put_words(front_with::<1, { FRONT_WORDS + 4 }>([offload], len, pad))
        }
        (TWO, Some(hash), Some(offload)) => {
            let pieces = [Ppis::hash_piece(hash), offload];
            out.put_words(front_with::<2, { FRONT_WORDS + 8 }>(pieces, len, pad))
        }
        _ => put_piece_by_piece(out, *info, info_len, len, pad),
    }
}

/// [`put_front`] for whatever there is.
#[inline(never)]
fn put_piece_by_piece<P: PutWords>(
    out: &mut P,
    // By value, so that the caller has its own in registers.
    info: Ppis,
    info_len: u32,
    len: u32,
    pad: u32,
) -> Result<(), P::Error> {
    out.put_words(packet_front(info_len, len, pad))?;
    info.pieces(|piece| out.put_words(piece))
}

/// Bytes of one piece of information, and of two.
const ONE: u32 = size_of::<Pieces<1>>() as u32;
const TWO: u32 = size_of::<Pieces<2>>() as u32;

/// Writes what goes in front of a frame of `len` bytes, see [`put_front`]. Returns how many bytes that are, at most
/// [`MAX_HEADER_SIZE`].
///
/// # Errors
///
/// `NoRoom` if `out` is too short.
pub fn encode_packet(out: &mut [u8], info: &Ppis, len: u32, pad: u32) -> Result<u32, ProtoError> {
    let info_len = info.size();
    let mut out = Writer::new(out, "RNDIS packet");
    put_front(&mut out, info, info_len, len, pad)?;
    Ok(PACKET_HEADER_SIZE + info_len)
}

#[cfg(test)]
mod tests {
    use super::super::header;
    use super::*;
    use proptest::prelude::*;
    use zerocopy::{FromBytes, IntoBytes};
    extern crate std;
    use std::vec::Vec;

    fn read(bytes: &[u8]) -> Result<Packet, ProtoError> {
        let head = header(bytes, bytes.len() as u32)?;
        packet(bytes, &head)
    }

    /// A message of `words` behind its header, and a frame of 60 bytes.
    fn message(words: [u32; 9], info: &[u32]) -> Vec<u8> {
        let len = 8 + 36 + 4 * info.len() as u32 + 60;
        let mut bytes = [1, len].as_bytes().to_vec();
        bytes.extend(words.as_bytes());
        bytes.extend(info.as_bytes());
        bytes.extend([7; 60]);
        bytes
    }

    #[test]
    fn frames_with_and_without_information() {
        let plain = read(&message([36, 60, 0, 0, 0, 0, 0, 0, 0], &[])).unwrap();
        let fine = Packet {
            offset: 44,
            len: 60,
            info: Ppis::default(),
        };
        assert_eq!(plain, fine);
        // Without an offset there is no information, whatever its length says.
        let words = [36, 60, 0, 0, 0, 0, 4711, 0, 0];
        assert_eq!(read(&message(words, &[])), Ok(fine));
        let tagged = message([52, 60, 0, 0, 0, 36, 16, 0, 0], &[16, 6, 12, 5]);
        let got = read(&tagged).unwrap();
        assert_eq!((got.offset, got.len, got.info.vlan), (60, 60, Some(5)));
        // What is joined to a frame may be a single byte; what it is joined to has headers.
        for (flag, len, fine) in [
            (1, 1, true),
            (5, 1, true),
            (5, 0, false),
            (3, 13, false),
            (7, 13, false),
            (4, 13, false),
            (0, 13, false),
            (3, 14, true),
        ] {
            let id = [16, (1 << 31) | 1, 12, 1 | (flag << 8)];
            let piece = message([52, len, 0, 0, 0, 36, 16, 0, 0], &id);
            assert_eq!(read(&piece).is_ok(), fine, "{flag} {len}");
        }
        // A short frame, as a guest may well send one.
        let got = read(&message([36, 14, 0, 0, 0, 0, 0, 0, 0], &[])).unwrap();
        assert_eq!(got.len, 14);
    }

    #[test]
    fn frames_that_do_not_lie_in_the_message() {
        let info = &[16, 6, 12, 5][..];
        for words in [
            [0, 60, 0, 0, 0, 36, 16, 0, 0],
            [35, 60, 0, 0, 0, 36, 16, 0, 0],
            [53, 60, 0, 0, 0, 36, 16, 0, 0],
            [u32::MAX, 60, 0, 0, 0, 36, 16, 0, 0],
            [52, 0, 0, 0, 0, 36, 16, 0, 0],
            [52, 13, 0, 0, 0, 36, 16, 0, 0],
            [52, 61, 0, 0, 0, 36, 16, 0, 0],
            [52, u32::MAX, 0, 0, 0, 36, 16, 0, 0],
            [52, 60, 0, 0, 0, 35, 16, 0, 0],
            [52, 60, 0, 0, 0, 1, 16, 0, 0],
            [52, 60, 0, 0, 0, 113, 16, 0, 0],
            [52, 60, 0, 0, 0, u32::MAX, 16, 0, 0],
            [52, 60, 0, 0, 0, 36, 15, 0, 0],
            [52, 60, 0, 0, 0, 36, 77, 0, 0],
            [52, 60, 0, 0, 0, 36, u32::MAX, 0, 0],
        ] {
            assert!(read(&message(words, info)).is_err(), "{words:?}");
        }
        let short = [1u32, 43].as_bytes().iter().copied();
        let short: Vec<u8> = short.chain([0; 35]).collect();
        assert!(read(&short).is_err());
        let other = [4u32, 52].as_bytes().iter().copied();
        let other: Vec<u8> = other.chain([36; 44]).collect();
        assert!(read(&other).is_err());
    }

    /// What is put in one go is the same as piece by piece, in the order in which Linux sends them.
    #[test]
    fn the_order_of_information() {
        let info = |hash_value, vlan, checksum| Ppis {
            hash_value,
            vlan,
            checksum,
            ..Ppis::default()
        };
        let large = |info| Ppis {
            large_send: Some(73),
            ..info
        };
        let (hash, vlan, checksum) = ([16, 8, 12, 70], [16, 6, 12, 71], [16, 0, 12, 72]);
        let large_send = [16, 2, 12, 73];
        for (info, pieces) in [
            (info(None, None, None), &[][..]),
            (info(None, None, Some(72)), &[checksum]),
            (info(None, Some(71), None), &[vlan]),
            (info(Some(70), None, None), &[hash]),
            (info(Some(70), None, Some(72)), &[hash, checksum]),
            (info(None, Some(71), Some(72)), &[vlan, checksum]),
            (info(Some(70), Some(71), Some(72)), &[hash, vlan, checksum]),
            (large(info(None, None, None)), &[large_send]),
            (large(info(Some(70), None, None)), &[hash, large_send]),
            (large(info(None, Some(71), None)), &[vlan, large_send]),
            (large(info(None, None, Some(72))), &[large_send, checksum]),
        ] {
            let mut bytes = [0xff; 200];
            let end = encode_packet(&mut bytes, &info, 60, 4).unwrap() as usize;
            let size = 16 * pieces.len() as u32;
            let mut words = [1, 44 + size + 64, 36 + size, 60, 0, 0, 0, 0, size, 0, 0].to_vec();
            words[7] = if size == 0 { 0 } else { 36 };
            words.extend(pieces.iter().flatten());
            assert_eq!(&bytes[..end], words.as_bytes());
        }
    }

    proptest! {
        #[test]
        fn a_frame_comes_out_as_it_went_in(
            len in 14u32..2000, pad in 0u32..8,
            checksum: Option<u32>, large_send: Option<u32>, vlan: Option<u32>, hash_value: Option<u32>, hash_info: Option<u32>,
        ) {
            let info = Ppis { checksum, large_send, vlan, hash_value, hash_info, packet_id: None };
            let mut bytes = [0; 3000];
            let front = encode_packet(&mut bytes, &info, len, pad).unwrap();
            let all = (front + len + pad) as usize;
            prop_assert_eq!(read(&bytes[..all]), Ok(Packet { offset: front, len, info }));
            prop_assert_eq!(header(&bytes[..], 3000).unwrap().len as usize, all);
            let (fixed, _) = PacketHeader::read_from_prefix(&bytes[8..]).unwrap();
            prop_assert_eq!((fixed.data_len, fixed.per_pkt_info_len), (len, info.size()));
            prop_assert_eq!([fixed.vc_handle, fixed.reserved, fixed.oob_data_offset], [0; 3]);
            prop_assert!(read(&bytes[..all - 1]).is_err());
            prop_assert!(encode_packet(&mut bytes[..front as usize - 1], &info, len, pad).is_err());
        }

        #[test]
        fn a_frame_lies_in_its_message(words: [u16; 9], info: [u8; 16], real: bool) {
            let mut words = words.map(|w| u32::from(w % 160));
            if real {
                words[0] = 52;
                words[5] = 36;
            }
            let info: Vec<u32> = info.chunks(4).map(|c| u32::from(c[0] % 24)).collect();
            let bytes = message(words, &info);
            if let Ok(got) = read(&bytes) {
                prop_assert!(got.offset >= 44 && got.len >= 1);
                prop_assert!((got.offset + got.len) as usize <= bytes.len());
            }
        }
    }
}
