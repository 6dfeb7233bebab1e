// SPDX-License-Identifier: GPL-2.0

//! Which addresses of the bus's windows are for what.
//!
//! Sources: `vmbus_walk_resources`, `vmbus_reserve_fb` and `vmbus_allocate_mmio` of Linux.

/// Windows below this are for legacy devices.
const LOW_LIMIT: u64 = 1 << 20;
/// A window ends before the virtual TPM, whose place is fixed (`VTPM_BASE_ADDRESS`).
const VTPM_BASE: u64 = 0xfed4_0000;
/// The least that is kept for the framebuffer.
const MIN_FRAMEBUFFER: u64 = 1 << 20;
/// The least that a framebuffer of UEFI firmware is taken for.
const MIN_SCREEN: u64 = 8 << 20;
/// The most that is kept for high resolutions.
const MAX_SCREEN: u64 = 128 << 20;
/// Where addresses need more than 32 bits.
const FOUR_GIB: u64 = 1 << 32;

/// What there is of a window from `start` to `end` for devices, as first and last address.
pub fn usable(start: u64, end: u64) -> Option<(u64, u64)> {
    if end < LOW_LIMIT || start > end {
        return None;
    }
    if start < VTPM_BASE && end >= VTPM_BASE {
        return Some((start, VTPM_BASE - 1));
    }
    Some((start, end))
}

/// Where firmware says that the framebuffer is; 0 for what it does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// A generation 2 VM has it in the windows; `None` if the kernel does not know about screens.
    Uefi(Option<(u64, u64)>),
    /// A generation 1 VM has it as a PCI device: start and length of its memory; `None` if there is no such device.
    Bios(Option<(u64, u64)>),
}

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oddity {
    /// The first window is not where a framebuffer can be.
    LowBase,
    /// There is a screen, and no address.
    NoAddress,
}

/// Start and size of what shall be kept for the framebuffer, which hyperv_drm will take over, and what is worth a line in the
/// log. `low_base` is where the first window begins.
///
/// Of a generation 2 VM half of what is left below 4 GiB is kept for high resolutions, at most 128 MiB.
pub fn framebuffer(firmware: Firmware, low_base: u64) -> (Option<(u64, u64)>, Option<Oddity>) {
    let (start, size, odd) = match firmware {
        Firmware::Bios(None) => return (None, None),
        Firmware::Bios(Some((start, size))) => (start, size, None),
        Firmware::Uefi(None) => (0, 0, None),
        Firmware::Uefi(Some((start, size))) => {
            let size = size.max(MIN_SCREEN);
            if low_base == 0 || low_base >= FOUR_GIB || (start != 0 && start < low_base) {
                (start, size, Some(Oddity::LowBase))
            } else {
                // A kdump kernel and a confidential VM see no address: it is the lowest one then.
                let start = if start == 0 { low_base } else { start };
                match FOUR_GIB.checked_sub(start) {
                    None | Some(0) => (start, size, None),
                    Some(left) => (start, (left / 2).min(MAX_SCREEN), None),
                }
            }
        }
    };
    if start == 0 {
        return (None, odd.or(Some(Oddity::NoAddress)));
    }
    (Some((start, size)), odd)
}

/// The sizes to try for the framebuffer's part. Its length tends to be reported too small: so a large part is tried first,
/// then smaller ones.
pub fn framebuffer_sizes(size: u64) -> impl Iterator<Item = u64> {
    core::iter::successors(Some(size), |size| Some(size / 2))
        .take_while(|&size| size >= MIN_FRAMEBUFFER)
}

/// Aligned starts of pieces of `size` bytes within a range. `align` is a power of two.
pub fn starts(first: u64, last: u64, size: u64, align: u64) -> impl Iterator<Item = u64> {
    let begin = first.checked_next_multiple_of(align.max(1));
    core::iter::successors(begin, move |at| at.checked_add(align.max(1)))
        .take_while(move |at| size > 0 && at.checked_add(size - 1).is_some_and(|end| end <= last))
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn windows_end_before_the_tpm() {
        assert_eq!(usable(0, LOW_LIMIT - 1), None);
        assert_eq!(usable(5, 4), None);
        assert_eq!(
            usable(0xf800_0000, 0xffff_ffff),
            Some((0xf800_0000, VTPM_BASE - 1))
        );
        assert_eq!(usable(VTPM_BASE, u64::MAX), Some((VTPM_BASE, u64::MAX)));
    }

    #[test]
    fn the_framebuffer_of_a_generation_2_vm_has_room_to_grow() {
        let low = 0xf800_0000;
        let at = |start, size| framebuffer(Firmware::Uefi(Some((start, size))), low);
        assert_eq!(at(low, 3 * MIB), (Some((low, 64 * MIB)), None));
        // A kdump kernel does not see where it is.
        assert_eq!(at(0, 0), (Some((low, 64 * MIB)), None));
        assert_eq!(
            framebuffer(Firmware::Uefi(Some((0, 0))), 0xc000_0000),
            (Some((0xc000_0000, 128 * MIB)), None)
        );
        // Above 4 GiB it is as large as it says.
        assert_eq!(at(FOUR_GIB, 16 * MIB), (Some((FOUR_GIB, 16 * MIB)), None));
        assert_eq!(
            at(low - MIB, MIB),
            (Some((low - MIB, 8 * MIB)), Some(Oddity::LowBase))
        );
        assert_eq!(
            framebuffer(Firmware::Uefi(None), low),
            (None, Some(Oddity::NoAddress))
        );
    }

    #[test]
    fn that_of_a_generation_1_vm_is_a_pci_device() {
        let at = |bar| framebuffer(Firmware::Bios(bar), 0xf800_0000);
        assert_eq!(at(None), (None, None));
        assert_eq!(at(Some((0, 0))), (None, Some(Oddity::NoAddress)));
        assert_eq!(
            at(Some((0xf800_0000, 64 * MIB))),
            (Some((0xf800_0000, 64 * MIB)), None)
        );
        assert!(framebuffer_sizes(5 * MIB).eq([5 * MIB, 5 * MIB / 2, 5 * MIB / 4]));
        assert_eq!(framebuffer_sizes(MIB - 1).next(), None);
    }

    proptest! {
        #[test]
        fn what_is_kept_is_below_4_gib_or_as_reported(start: u64, size: u64, low: u64) {
            if let (Some((at, len)), odd) = framebuffer(Firmware::Uefi(Some((start, size))), low) {
                prop_assert!(start == at || start == 0 && at == low);
                prop_assert!(odd.is_some() || at >= FOUR_GIB || at + len <= FOUR_GIB);
            }
        }

        #[test]
        fn pieces_are_aligned_and_within(first: u64, len in 0u64..1 << 20, size in 0u64..1 << 20, bit in 12u32..20) {
            let last = first.saturating_add(len);
            let align = 1u64 << bit;
            let all: std::vec::Vec<u64> = starts(first, last, size, align).take(512).collect();
            for &at in &all {
                prop_assert!(at % align == 0 && at >= first && at + (size - 1) <= last);
            }
            let fits = first.checked_next_multiple_of(align).and_then(|at| at.checked_add(size.saturating_sub(1)));
            prop_assert_eq!(!all.is_empty(), size > 0 && fits.is_some_and(|end| end <= last));
        }
    }
}
