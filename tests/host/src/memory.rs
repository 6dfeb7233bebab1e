// SPDX-License-Identifier: GPL-2.0

//! Guest physical memory: RAM below and above the hole for memory-mapped devices.

use anyhow::{Context, Result};
use vm_memory::{GuestAddress, GuestMemoryMmap};

/// The guest's RAM. All access goes through this type, which checks bounds and never makes a Rust
/// reference to bytes that the guest can change.
pub type Memory = GuestMemoryMmap<()>;

/// First address of the hole below 4 GiB; no RAM lies from here to 4 GiB.
pub const HOLE_START: u64 = 0xC000_0000;
/// First address after the hole: RAM that does not fit below continues here.
pub const HOLE_END: u64 = 0x1_0000_0000;
/// The part of the hole that the `VMBus` ACPI device hands out as its low MMIO range (start, length).
pub const VMBUS_MMIO_LOW: (u32, u32) = (0xF800_0000, 0x0400_0000);
/// The `VMBus` device's high MMIO range (start, length), above all RAM.
pub const VMBUS_MMIO_HIGH: (u64, u64) = (0x10_0000_0000, 0x10_0000_0000);

/// Splits `size` bytes of RAM around the hole: `(start, length)` of each piece, in ascending order.
pub fn layout(size: u64) -> Vec<(u64, u64)> {
    if size <= HOLE_START {
        vec![(0, size)]
    } else {
        vec![(0, HOLE_START), (HOLE_END, size - HOLE_START)]
    }
}

/// Reserves `size` bytes of RAM for the guest; the kernel backs pages as they are touched.
pub fn allocate(size: u64) -> Result<Memory> {
    let mut ranges = Vec::new();
    for (start, len) in layout(size) {
        ranges.push((
            GuestAddress(start),
            usize::try_from(len).context("too much guest memory for this machine")?,
        ));
    }
    GuestMemoryMmap::from_ranges(&ranges).context("cannot map the guest's memory")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_memory_is_one_piece() {
        assert_eq!(layout(512 << 20), [(0, 512 << 20)]);
        assert_eq!(layout(HOLE_START), [(0, HOLE_START)]);
    }

    #[test]
    fn large_memory_leaves_the_hole_free() {
        assert_eq!(
            layout(4 << 30),
            [(0, HOLE_START), (HOLE_END, (4 << 30) - HOLE_START)]
        );
    }
}
