// SPDX-License-Identifier: GPL-2.0

//! What is noted of frames that are under way.

use kernel::prelude::*;

/// Where what a completion needs to know is in the tag of a slot: the number of a section and 1, or 0; whether the frames were counted
/// for the byte queue limits; frames; their bytes.
#[derive(Clone, Copy)]
pub(crate) struct Tag(pub(crate) u64);

impl Tag {
    const COUNTED: u64 = 1 << 23;
    const FRAMES: u32 = 24;
    const BYTES: u32 = 40;

    /// Of up to 65535 frames with up to 2^24 bytes, and of a section below 2^23 - 1. They were not counted.
    pub(crate) fn new(section: Option<u32>, frames: u16, bytes: u32) -> Self {
        let section = section.map_or(0, |number| u64::from(number) + 1);
        Self(section | u64::from(frames) << Self::FRAMES | u64::from(bytes) << Self::BYTES)
    }

    /// The same, of frames that were counted.
    pub(crate) fn counted(self) -> Self {
        Self(self.0 | Self::COUNTED)
    }

    pub(crate) fn is_counted(self) -> bool {
        self.0 & Self::COUNTED != 0
    }

    #[allow(clippy::cast_possible_truncation)] // 23 bits.
    pub(crate) fn section(self) -> Option<u32> {
        ((self.0 & (Self::COUNTED - 1)) as u32).checked_sub(1)
    }

    #[allow(clippy::cast_possible_truncation)] // 16 bits.
    pub(crate) fn frames(self) -> u32 {
        (self.0 >> Self::FRAMES) as u32 & 0xffff
    }

    #[allow(clippy::cast_possible_truncation)] // 24 bits.
    pub(crate) fn bytes(self) -> u32 {
        (self.0 >> Self::BYTES) as u32
    }
}

#[kunit_tests(hv_netvsc_tag)]
mod tests {
    use super::*;

    #[test]
    fn tags() {
        for (section, frames, bytes) in [
            (None, 1, 65_549),
            (Some(0), 1, 14),
            (Some(2_559), 8, 6_144),
            (Some((1 << 23) - 2), u16::MAX, (1 << 24) - 1),
        ] {
            let tag = Tag::new(section, frames, bytes);
            assert!(!tag.is_counted() && tag.counted().is_counted());
            for tag in [tag, tag.counted()] {
                assert_eq!(tag.section(), section);
                assert_eq!(tag.frames(), frames.into());
                assert_eq!(tag.bytes(), bytes);
            }
        }
    }
}
