// SPDX-License-Identifier: GPL-2.0

//! Guest physical memory: RAM below and above the hole for memory-mapped devices.

use anyhow::{ensure, Context, Result};
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

/// What the start of memory that is added is a multiple of: the largest memory block that Linux has.
const HOT_ALIGN: u64 = 2 << 30;

/// Where `len` bytes lie that can be added to `size` bytes of RAM while the guest runs: `(start, length)`.
pub fn hot_region(size: u64, len: u64) -> Result<(u64, u64)> {
    let end = layout(size).last().map_or(0, |(start, len)| start + len);
    let start = end.max(HOLE_END).next_multiple_of(HOT_ALIGN);
    let room = VMBUS_MMIO_HIGH.0.saturating_sub(start);
    ensure!(
        len <= room && len % 4096 == 0,
        "there is no place for {len:#x} bytes of memory that can be added"
    );
    Ok((start, len))
}

/// Gives the guest memory while it runs.
pub trait Plug: Send + Sync {
    /// From now on the guest has the memory in `len` bytes from `start` on. No byte may be given twice.
    fn plug(&self, start: u64, len: u64) -> Result<()>;
}

/// Takes what is in the guest's memory.
pub trait Discard: Send + Sync {
    /// From now on there are zeroes in `len` bytes of `memory` from `start` on. Both are made of pages.
    fn discard(&self, memory: &Memory, start: u64, len: u64) -> Result<()>;
}

/// Reserves `size` bytes of RAM for a guest to which nothing is added.
#[cfg(test)]
pub fn allocate(size: u64) -> Result<Memory> {
    allocate_with(size, None)
}

/// Reserves `size` bytes of RAM for the guest, and a [`hot_region`] that it has not got yet; the kernel backs pages as they
/// are touched.
pub fn allocate_with(size: u64, hot: Option<(u64, u64)>) -> Result<Memory> {
    let mut ranges = Vec::new();
    for (start, len) in layout(size).into_iter().chain(hot) {
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
    use vm_memory::GuestMemory;

    #[test]
    fn small_memory_is_one_piece() {
        assert_eq!(layout(512 << 20), [(0, 512 << 20)]);
        assert_eq!(layout(HOLE_START), [(0, HOLE_START)]);
    }

    #[test]
    fn memory_is_added_above_all_other() {
        assert_eq!(hot_region(512 << 20, 1 << 30).unwrap(), (HOLE_END, 1 << 30));
        assert_eq!(hot_region(HOLE_START, 4096).unwrap(), (HOLE_END, 4096));
        // 4 GiB end at 5 GiB.
        assert_eq!(hot_region(4 << 30, 1 << 30).unwrap(), (6 << 30, 1 << 30));
        assert_eq!(hot_region(1 << 30, 60 << 30).unwrap(), (HOLE_END, 60 << 30));
        for bad in [(60 << 30) + 4096, 100] {
            assert!(hot_region(1 << 30, bad).is_err(), "{bad:#x}");
        }
        let memory = allocate_with(1 << 20, Some((HOLE_END, 1 << 20))).unwrap();
        assert_eq!(memory.num_regions(), 2);
    }

    #[test]
    fn large_memory_leaves_the_hole_free() {
        assert_eq!(
            layout(4 << 30),
            [(0, HOLE_START), (HOLE_END, (4 << 30) - HOLE_START)]
        );
    }
}
