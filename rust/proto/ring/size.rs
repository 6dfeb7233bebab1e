// SPDX-License-Identifier: GPL-2.0

//! Sizes that a guest chooses when it opens a channel.

use super::packet::DESCRIPTOR_SIZE;
use super::RING_HEADER_SIZE;
use crate::vmbus::gpadl::MAX_GPADL_PAGES;

/// A page; those of the host, whatever size the guest's are.
const PAGE: u32 = RING_HEADER_SIZE as u32;

/// The size of one ring: a header page and at least one page of data.
///
/// Both rings of a channel are one GPADL, which names at most [`MAX_GPADL_PAGES`] pages; a ring has at most half of
/// them, so any two make a GPADL and their sum overflows nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RingSize {
    pages: u32,
}

impl RingSize {
    /// The header and one page, 8 KiB.
    pub const MIN: Self = Self { pages: 2 };
    /// Half of the pages that a GPADL names, 16,380 KiB.
    pub const MAX: Self = Self {
        pages: (MAX_GPADL_PAGES / 2) as u32,
    };

    /// A ring of `bytes` bytes with its header; `None` if that is no whole number of pages, or not from
    /// [`Self::MIN`] to [`Self::MAX`].
    pub const fn new(bytes: u32) -> Option<Self> {
        let pages = bytes / PAGE;
        if bytes % PAGE != 0 || pages < Self::MIN.pages || pages > Self::MAX.pages {
            return None;
        }
        Some(Self { pages })
    }

    /// A ring for `payload` bytes as `VMBUS_RING_SIZE` (include/linux/hyperv.h) makes it: rounded up to whole pages,
    /// and with a page more for the header if there are fewer than eight. At most [`Self::MAX`].
    pub const fn for_payload(payload: u32) -> Self {
        let header = if payload >= 8 * PAGE { 0 } else { 1 };
        // Fewer than 2^20 + 1.
        let pages = payload.div_ceil(PAGE) + header;
        if pages < Self::MIN.pages {
            Self::MIN
        } else if pages > Self::MAX.pages {
            Self::MAX
        } else {
            Self { pages }
        }
    }

    /// Pages, with the header.
    pub const fn pages(self) -> u32 {
        self.pages
    }

    /// Bytes, with the header.
    pub const fn bytes(self) -> u32 {
        self.pages * PAGE
    }

    /// Bytes behind the header, of which one packet with its trailer can have all but eight.
    pub const fn data_bytes(self) -> u32 {
        (self.pages - 1) * PAGE
    }
}

/// The longest packet that a guest takes from the host; the bus cuts off what is beyond.
///
/// It is at least a descriptor: the bus hands out what it copied as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxPacket(u32);

impl MaxPacket {
    /// What the bus takes if nothing is said, 4096 bytes (`VMBUS_DEFAULT_MAX_PKT_SIZE`).
    pub const DEFAULT: Self = Self(4096);
    /// The longest that a packet's length field can say, 524,280 bytes.
    pub const MAX: Self = Self(u16::MAX as u32 * 8);

    /// Packets with up to `bytes` bytes behind the descriptor, rounded up to the next multiple of eight. At most
    /// [`Self::MAX`].
    pub const fn with_payload(bytes: u32) -> Self {
        let words = DESCRIPTOR_SIZE / 8 + bytes.div_ceil(8);
        if words > u16::MAX as u32 {
            Self::MAX
        } else {
            Self(words * 8)
        }
    }

    /// Bytes, with the descriptor: 16 to 524,280.
    pub const fn bytes(self) -> u32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `VMBUS_RING_SIZE` of the C header, as its users call it: hv_utils 3 pages, hid and keyboard 36 KiB,
    /// storvsc 128 KiB, netvsc 512 KiB.
    #[test]
    fn as_the_macro_does() {
        for (payload, size) in [
            (3 * 4096, 4 * 4096),
            (7 * 4096, 8 * 4096),
            (7 * 4096 + 1, 9 * 4096),
            (8 * 4096, 8 * 4096),
            (36 * 1024, 36 * 1024),
            (128 * 1024, 128 * 1024),
            (512 * 1024, 512 * 1024),
            (512 * 1024 + 1, 516 * 1024),
        ] {
            assert_eq!(RingSize::for_payload(payload).bytes(), size);
        }
    }

    #[test]
    fn limits() {
        assert_eq!(RingSize::MIN.bytes(), 8192);
        assert_eq!(RingSize::MAX.bytes(), 16380 * 1024);
        assert!(u64::from(2 * RingSize::MAX.pages()) <= MAX_GPADL_PAGES);
        assert_eq!(RingSize::for_payload(0), RingSize::MIN);
        assert_eq!(RingSize::for_payload(u32::MAX), RingSize::MAX);
        for bytes in [0, 1, 4096, 8191, 8193, 16384 * 1024, 0xFFFF_F000, u32::MAX] {
            assert_eq!(RingSize::new(bytes), None);
        }
        assert_eq!(RingSize::new(8192), Some(RingSize::MIN));
        assert_eq!(RingSize::new(16380 * 1024), Some(RingSize::MAX));
    }

    proptest! {
        #[test]
        fn ring_sizes_keep_their_promises(a: u32, b: u32) {
            for size in [Some(RingSize::for_payload(a)), RingSize::new(b), RingSize::new(b & !4095)] {
                let Some(size) = size else { continue };
                prop_assert!(size >= RingSize::MIN && size <= RingSize::MAX);
                prop_assert_eq!(size.bytes() % 4096, 0);
                prop_assert_eq!(size.data_bytes(), size.bytes() - 4096);
                prop_assert_eq!(RingSize::new(size.bytes()), Some(size));
            }
            let room = RingSize::for_payload(a);
            prop_assert!(room == RingSize::MAX || room.bytes() >= a);
        }

        #[test]
        fn packets_have_room_for_a_descriptor(payload: u32) {
            let max = MaxPacket::with_payload(payload);
            prop_assert!((16..=524_280).contains(&max.bytes()) && max.bytes() % 8 == 0);
            prop_assert!(max == MaxPacket::MAX || max.bytes() - 16 >= payload);
        }
    }
}
