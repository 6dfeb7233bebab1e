// SPDX-License-Identifier: GPL-2.0

//! The memory-mapped I/O space: ranges that devices take and give back while the guest runs, and all-ones everywhere
//! else.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use anyhow::{Context, Result};
use vm_device::bus::{MmioAddress, MmioRange};
use vm_device::device_manager::{IoManager, MmioManager};
use vm_device::DeviceMmio;

/// What answers in a range.
pub type Device = Arc<dyn DeviceMmio + Send + Sync>;

/// All ranges.
#[derive(Default)]
pub struct Mmio {
    ranges: RwLock<IoManager>,
}

impl Mmio {
    fn ranges(&self) -> RwLockReadGuard<'_, IoManager> {
        // Every change is a single map operation.
        self.ranges.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) -> RwLockWriteGuard<'_, IoManager> {
        self.ranges.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets `device` answer in `len` bytes from `start` on. Fails if another device answers there.
    pub fn add(&self, start: u64, len: u64, device: Device) -> Result<()> {
        MmioRange::new(MmioAddress(start), len)
            .and_then(|range| self.change().register_mmio(range, device))
            .with_context(|| format!("{len:#x} bytes at {start:#x}"))
    }

    /// Takes away the range that begins at `start`. An access that is under way may still reach its device.
    pub fn remove(&self, start: u64) {
        self.change().deregister_mmio(MmioAddress(start));
    }

    /// The device at `address`, the start of its range and the offset in it. No lock is held when this returns: a device
    /// may change the ranges while it answers.
    fn find(&self, address: u64) -> Option<(Device, MmioAddress, u64)> {
        let ranges = self.ranges();
        let (range, device) = ranges.mmio_device(MmioAddress(address))?;
        let base = range.base();
        Some((device.clone(), base, address.checked_sub(base.0)?))
    }

    /// Answers a read of `data.len()` bytes.
    pub fn read(&self, address: u64, data: &mut [u8]) {
        data.fill(0xFF);
        if let Some((device, base, offset)) = self.find(address) {
            device.mmio_read(base, offset, data);
        }
    }

    /// Takes a write.
    pub fn write(&self, address: u64, data: &[u8]) {
        if let Some((device, base, offset)) = self.find(address) {
            device.mmio_write(base, offset, data);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Weak;

    /// Answers with the offset; a write moves it by one page.
    struct Mover(Weak<Mmio>, Weak<Mover>);

    impl DeviceMmio for Mover {
        fn mmio_read(&self, _base: MmioAddress, offset: u64, data: &mut [u8]) {
            data.fill(u8::try_from(offset).unwrap());
        }

        fn mmio_write(&self, base: MmioAddress, _offset: u64, _data: &[u8]) {
            let mmio = self.0.upgrade().unwrap();
            mmio.remove(base.0);
            mmio.add(base.0 + 0x1000, 0x1000, self.1.upgrade().unwrap())
                .unwrap();
        }
    }

    #[test]
    fn a_device_may_move_while_it_answers() {
        let mmio = Arc::new(Mmio::default());
        let device = Arc::new_cyclic(|this| Mover(Arc::downgrade(&mmio), this.clone()));
        mmio.add(0xF800_0000, 0x1000, device.clone()).unwrap();
        assert!(mmio.add(0xF800_0800, 0x1000, device).is_err(), "overlap");
        let read = |address| {
            let mut data = [0];
            mmio.read(address, &mut data);
            data[0]
        };
        assert_eq!(read(0xF800_0007), 7);
        assert_eq!(read(0xF800_1007), 0xFF);
        mmio.write(0xF800_0000, &[1]);
        assert_eq!((read(0xF800_0007), read(0xF800_1007)), (0xFF, 7));
    }
}
