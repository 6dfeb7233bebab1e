// SPDX-License-Identifier: GPL-2.0

//! What a guest can do.

/// What a guest can do (`union dm_caps`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caps {
    /// Gives pages and takes them back.
    pub balloon: bool,
    /// Takes more memory.
    pub hot_add: bool,
    /// Where memory may be added: at multiples of two to the power of this in MiB. Up to 15.
    pub hot_add_alignment: u8,
}

impl Caps {
    const BALLOON: u64 = 1 << 0;
    const HOT_ADD: u64 = 1 << 1;
    const ALIGNMENT_SHIFT: u32 = 2;
    const ALIGNMENT_MASK: u64 = 0xf;

    /// What the hot-add alignment is for memory blocks of `bytes`; `None` if the protocol has no number for it: for
    /// blocks below 1 MiB, above 32 GiB, or whose size is no power of two.
    pub fn alignment(bytes: u64) -> Option<u8> {
        let log = bytes.checked_ilog2()?;
        let shift = log.checked_sub(20).filter(|_| bytes.is_power_of_two())?;
        u8::try_from(shift).ok().filter(|n| *n <= 15)
    }

    /// As in [`Capabilities`](super::Capabilities).
    pub fn to_bits(self) -> u64 {
        let bit = |set, bit| if set { bit } else { 0 };
        bit(self.balloon, Self::BALLOON)
            | bit(self.hot_add, Self::HOT_ADD)
            | ((u64::from(self.hot_add_alignment) & Self::ALIGNMENT_MASK) << Self::ALIGNMENT_SHIFT)
    }

    /// From [`Capabilities`](super::Capabilities); bits without a meaning are left out.
    pub const fn from_bits(bits: u64) -> Self {
        Self {
            balloon: bits & Self::BALLOON != 0,
            hot_add: bits & Self::HOT_ADD != 0,
            // Four bits.
            hot_add_alignment: ((bits >> Self::ALIGNMENT_SHIFT) & Self::ALIGNMENT_MASK) as u8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    extern crate std;

    #[test]
    fn alignment_of_blocks() {
        for (bytes, alignment) in [
            (128 << 20, Some(7)),
            (1 << 20, Some(0)),
            (2 << 30, Some(11)),
            (32 << 30, Some(15)),
            (64 << 30, None),
            (1 << 19, None),
            (0, None),
            (192 << 20, None),
            (u64::MAX, None),
        ] {
            assert_eq!(Caps::alignment(bytes), alignment, "{bytes}");
        }
    }

    proptest! {
        #[test]
        fn capabilities_are_read_back(balloon: bool, hot_add: bool, hot_add_alignment in 0u8..16, high: u64) {
            let caps = Caps { balloon, hot_add, hot_add_alignment };
            prop_assert_eq!(Caps::from_bits(caps.to_bits() | (high << 6)), caps);
        }
    }
}
