// SPDX-License-Identifier: GPL-2.0

//! Receive segment coalescing: which of the host's ranges make one frame.
//!
//! The host joins TCP segments of one flow to a frame of up to 64 KiB, which it gives to the guest in pieces: in
//! consecutive ranges of one packet, each with a message of its own that tells, as [`PacketId`], whether it is the first
//! piece, the last, or one between. Checksum, VLAN and hash of the first piece are those of the frame.

use super::ppi::{PacketId, PKTINFO_FIRST, PKTINFO_LAST, PKTINFO_SUBALLOC};

/// Most pieces of a frame: as many as the largest packet has ranges.
pub const NVSP_RSC_MAX: u32 = 562;
/// Bytes of the longest frame: an IP packet of 64 KiB and the header.
const MAX_FRAME: u32 = 65_535 + 14;

/// What is to be done with a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// It is a whole frame.
    Whole,
    /// It begins a frame; more follows.
    First,
    /// It goes on with one; more follows.
    Middle,
    /// It ends the frame, which is complete.
    Last,
}

/// Why a piece is dropped. With it goes what came of the frame before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RscError {
    /// It goes on with a frame that has not begun.
    NotBegun,
    /// More pieces should follow, but the packet ends here.
    NotEnded,
    /// The frame has too many pieces.
    TooManyPieces,
    /// The frame is longer than one can be.
    TooLong,
}

/// The frame that is being put together. A pure state machine: it keeps counts, the caller keeps the pieces.
///
/// Whenever a frame is given up or another begins, the caller lets go of the pieces it has: on `Whole`, on `First`, and on
/// every error, also of [`Rsc::end`]. Nothing is kept from one packet of the host to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rsc {
    pieces: u32,
    bytes: u32,
}

impl Rsc {
    /// Takes a piece of `len` bytes; `is_last` says that it lies in the last range of the packet.
    ///
    /// # Errors
    ///
    /// If the piece does not fit. What there was of its frame counts no longer.
    #[inline]
    pub fn piece(
        &mut self,
        id: Option<PacketId>,
        len: u32,
        is_last: bool,
    ) -> Result<Piece, RscError> {
        let before = core::mem::take(self);
        let Some(id) = id.filter(|id| id.flag & PKTINFO_SUBALLOC != 0) else {
            return Ok(Piece::Whole);
        };
        let is_first = id.flag & PKTINFO_FIRST != 0;
        let ends = id.flag & PKTINFO_LAST != 0;
        let before = if is_first { Self::default() } else { before };
        if !is_first && before.pieces == 0 {
            return Err(RscError::NotBegun);
        }
        if !ends && is_last {
            return Err(RscError::NotEnded);
        }
        if before.pieces >= NVSP_RSC_MAX {
            return Err(RscError::TooManyPieces);
        }
        let bytes = before.bytes.saturating_add(len);
        if bytes > MAX_FRAME {
            return Err(RscError::TooLong);
        }
        match (is_first, ends) {
            (true, true) => return Ok(Piece::Whole),
            (false, true) => return Ok(Piece::Last),
            _ => {}
        }
        *self = Self {
            pieces: before.pieces.saturating_add(1),
            bytes,
        };
        Ok(if is_first {
            Piece::First
        } else {
            Piece::Middle
        })
    }

    /// A range of the packet held no piece: it was malformed, or something else. A frame that was begun is given up.
    /// Returns whether there was one.
    #[inline]
    pub fn give_up(&mut self) -> bool {
        core::mem::take(self).pieces != 0
    }

    /// The packet has ended. Returns whether a frame was begun and not ended, which is then given up.
    #[inline]
    pub fn end(&mut self) -> bool {
        self.give_up()
    }

    /// Number of pieces so far of the frame that is being put together.
    pub const fn pieces(&self) -> u32 {
        self.pieces
    }

    /// Bytes of them.
    pub const fn bytes(&self) -> u32 {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(flag: u8) -> Option<PacketId> {
        Some(PacketId {
            ver: 1,
            flag,
            pkt_id: 0,
        })
    }

    #[test]
    fn frames_of_pieces() {
        let mut rsc = Rsc::default();
        assert_eq!(rsc.piece(None, 60, true), Ok(Piece::Whole));
        // Without the flag the others mean nothing.
        assert_eq!(rsc.piece(id(6), 60, true), Ok(Piece::Whole));
        assert_eq!(rsc.piece(id(7), 60, true), Ok(Piece::Whole));
        assert_eq!(rsc.piece(id(3), 1514, false), Ok(Piece::First));
        assert_eq!(rsc.piece(id(1), 1448, false), Ok(Piece::Middle));
        assert_eq!((rsc.pieces(), rsc.bytes()), (2, 2962));
        assert_eq!(rsc.piece(id(5), 100, false), Ok(Piece::Last));
        assert_eq!(rsc, Rsc::default());
        assert!(!rsc.end());
    }

    #[test]
    fn pieces_that_do_not_fit() {
        let mut rsc = Rsc::default();
        assert_eq!(rsc.piece(id(1), 60, false), Err(RscError::NotBegun));
        assert_eq!(rsc.piece(id(5), 60, false), Err(RscError::NotBegun));
        assert_eq!(rsc.piece(id(3), 60, true), Err(RscError::NotEnded));
        assert_eq!(rsc.piece(id(3), 60, false), Ok(Piece::First));
        assert_eq!(rsc.piece(id(1), 60, true), Err(RscError::NotEnded));
        assert_eq!(rsc.piece(id(5), 60, true), Err(RscError::NotBegun));
        // A whole frame in between ends what was begun.
        assert_eq!(rsc.piece(id(3), 60, false), Ok(Piece::First));
        assert_eq!(rsc.piece(None, 60, false), Ok(Piece::Whole));
        assert_eq!(rsc.piece(id(5), 60, true), Err(RscError::NotBegun));
        assert_eq!(rsc.piece(id(3), 60, false), Ok(Piece::First));
        assert!(rsc.give_up());
        assert_eq!(rsc.piece(id(3), 65_000, false), Ok(Piece::First));
        assert_eq!(rsc.piece(id(1), 549, false), Ok(Piece::Middle));
        assert_eq!(rsc.piece(id(5), 1, false), Err(RscError::TooLong));
        assert_eq!(rsc.piece(id(3), u32::MAX, false), Err(RscError::TooLong));
        assert_eq!(rsc.piece(id(3), 60, false), Ok(Piece::First));
        for _ in 1..NVSP_RSC_MAX {
            assert_eq!(rsc.piece(id(1), 60, false), Ok(Piece::Middle));
        }
        assert_eq!(rsc.piece(id(1), 60, false), Err(RscError::TooManyPieces));
        assert_eq!(rsc, Rsc::default());
    }

    proptest! {
        /// Whatever comes: the caller never holds more than a frame's bytes and pieces, and a frame is complete only
        /// with a first and a last piece of one packet.
        #[test]
        fn any_pieces(pieces in proptest::collection::vec((proptest::option::of(0u8..8), 0u32..30_000, any::<bool>()), 0..700)) {
            let mut rsc = Rsc::default();
            let (mut held, mut bytes) = (0u32, 0u32);
            for (flag, len, is_last) in pieces {
                match rsc.piece(flag.and_then(id), len, is_last) {
                    Ok(Piece::First) => (held, bytes) = (1, len),
                    Ok(Piece::Middle) => {
                        prop_assert!(held > 0 && !is_last);
                        (held, bytes) = (held + 1, bytes + len);
                    }
                    Ok(Piece::Last) => {
                        prop_assert!(held > 0 && bytes + len <= 65_549);
                        (held, bytes) = (0, 0);
                    }
                    Ok(Piece::Whole) | Err(_) => (held, bytes) = (0, 0),
                }
                prop_assert_eq!((rsc.pieces(), rsc.bytes()), (held, bytes));
                prop_assert!(held <= NVSP_RSC_MAX && bytes <= 65_549);
                if is_last {
                    prop_assert_eq!(held, 0);
                }
            }
        }
    }
}
