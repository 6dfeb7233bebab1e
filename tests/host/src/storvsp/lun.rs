// SPDX-License-Identifier: GPL-2.0

//! Logical units: what is stored there, and what the guest has yet to be told. A unit may be on several adapters, as a disk
//! that virtual machines share; each way to it is an initiator of its own to whom it may be reserved.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use anyhow::{ensure, Context, Result};

use super::reserve::Reservations;
use super::sense::Sense;
use super::store::Store;

/// What kind of device the unit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A disk.
    Disk,
    /// A DVD drive, whose disc may be exchanged.
    Dvd,
}

/// What happened to the disc in a drive last, as GET EVENT STATUS NOTIFICATION codes it (MMC-6, media class).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaEvent {
    /// Nothing since the last question.
    None = 0,
    /// There is another disc.
    New = 2,
    /// There is none any more.
    Removed = 3,
}

/// What a unit stores.
struct Medium {
    store: Store,
    size: AtomicU64,
}

/// Unit attention conditions, oldest first.
#[derive(Default)]
struct Attentions(Mutex<VecDeque<Sense>>);

impl Attentions {
    fn list(&self) -> MutexGuard<'_, VecDeque<Sense>> {
        // Every change is a single operation on the list.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One that waits already is not queued a second time.
    fn push(&self, sense: Sense) {
        let mut list = self.list();
        if !list.contains(&sense) {
            list.push_back(sense);
        }
    }
}

/// What all ways to a unit have in common.
struct Unit {
    medium: RwLock<Option<Medium>>,
    reservations: Mutex<Reservations>,
    /// The attentions of each way; its number is that of the way.
    ways: Mutex<Vec<Arc<Attentions>>>,
}

impl Unit {
    /// Adds a way. Returns its number and attentions.
    fn way(&self) -> (usize, Arc<Attentions>) {
        let attentions = Arc::new(Attentions::default());
        let mut ways = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
        ways.push(attentions.clone());
        (ways.len() - 1, attentions)
    }

    /// Queues a unit attention condition for the ways that `who` picks.
    fn attend(&self, sense: Sense, who: impl Fn(usize) -> bool) {
        let ways = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
        let chosen = ways.iter().enumerate().filter(|(number, _)| who(*number));
        chosen.for_each(|(_, way)| way.push(sense));
    }
}

/// A way to a logical unit.
pub struct Lun {
    /// Disk or DVD.
    pub kind: Kind,
    /// Bytes of a logical block.
    pub block: u32,
    /// Writes are refused.
    pub readonly: bool,
    /// Sixteen bytes that name the unit in the whole world (NAA 6).
    pub id: [u8; 16],
    unit: Arc<Unit>,
    way: usize,
    attentions: Arc<Attentions>,
    event: AtomicU8,
    /// The guest wants the disc to stay where it is.
    locked: AtomicBool,
}

impl Medium {
    fn new(store: Store, size: u64, block: u32) -> Result<Self> {
        whole_blocks(size, block)?;
        let size = AtomicU64::new(size);
        Ok(Self { store, size })
    }
}

fn whole_blocks(size: u64, block: u32) -> Result<()> {
    ensure!(
        size > 0 && size % u64::from(block) == 0,
        "{size} bytes are not whole blocks of {block}"
    );
    Ok(())
}

impl Lun {
    /// A unit of `size` bytes, which must be whole blocks.
    pub fn new(
        kind: Kind,
        store: Store,
        size: u64,
        block: u32,
        readonly: bool,
        id: [u8; 16],
    ) -> Result<Self> {
        ensure!(
            [512, 2048, 4096].contains(&block),
            "a block of {block} bytes; there are 512, 2048 and 4096"
        );
        let unit = Arc::new(Unit {
            medium: RwLock::new(Some(Medium::new(store, size, block)?)),
            reservations: Mutex::default(),
            ways: Mutex::default(),
        });
        Ok(Self::on(unit, kind, block, readonly, id))
    }

    fn on(unit: Arc<Unit>, kind: Kind, block: u32, readonly: bool, id: [u8; 16]) -> Self {
        let (way, attentions) = unit.way();
        Self {
            kind,
            block,
            readonly,
            id,
            unit,
            way,
            attentions,
            event: AtomicU8::new(MediaEvent::None as u8),
            locked: AtomicBool::new(false),
        }
    }

    /// Another way to the same unit, for another adapter.
    pub fn another_way(&self) -> Self {
        let (kind, block, readonly) = (self.kind, self.block, self.readonly);
        Self::on(self.unit.clone(), kind, block, readonly, self.id)
    }

    /// Does something with what the unit stores.
    fn with<T>(&self, act: impl FnOnce(&Medium) -> Result<T, Sense>) -> Result<T, Sense> {
        let medium = self.unit.medium.read();
        let medium = medium.unwrap_or_else(PoisonError::into_inner);
        act(medium.as_ref().ok_or(Sense::MEDIUM_NOT_PRESENT)?)
    }

    fn blocks_of(&self, medium: &Medium) -> u64 {
        medium.size.load(Ordering::SeqCst) / u64::from(self.block)
    }

    /// Number of logical blocks, at least one.
    pub fn blocks(&self) -> Result<u64, Sense> {
        self.with(|medium| Ok(self.blocks_of(medium)))
    }

    /// Grows or shrinks the unit; the guest is told with its next command.
    pub fn resize(&self, size: u64) -> Result<()> {
        whole_blocks(size, self.block)?;
        let medium = self.unit.medium.read();
        let medium = medium.unwrap_or_else(PoisonError::into_inner);
        let medium = medium.as_ref().context("there is no disc in the drive")?;
        if let Store::File(file) = &medium.store {
            file.set_len(size).context("cannot resize the file")?;
        }
        medium.size.store(size, Ordering::SeqCst);
        self.unit.attend(Sense::CAPACITY_CHANGED, |_| true);
        Ok(())
    }

    /// Puts a disc of `size` bytes into a drive, in the place of one that is there. The guest is told.
    pub fn insert(&self, store: Store, size: u64) -> Result<()> {
        ensure!(
            self.kind == Kind::Dvd,
            "only a DVD drive has an exchangeable medium"
        );
        let medium = Medium::new(store, size, self.block)?;
        self.exchange(Some(medium), MediaEvent::New);
        self.unit.attend(Sense::MEDIUM_MAY_HAVE_CHANGED, |_| true);
        Ok(())
    }

    /// Takes the disc out of a drive, whether the guest has locked it or not; without one nothing happens.
    pub fn eject(&self) -> Result<()> {
        ensure!(
            self.kind == Kind::Dvd,
            "only a DVD drive has an exchangeable medium"
        );
        self.exchange(None, MediaEvent::Removed);
        Ok(())
    }

    fn exchange(&self, medium: Option<Medium>, event: MediaEvent) {
        let place = self.unit.medium.write();
        *place.unwrap_or_else(PoisonError::into_inner) = medium;
        self.event.store(event as u8, Ordering::SeqCst);
    }

    /// The event of the medium that the guest has not been told of; it has then.
    pub fn take_event(&self) -> u8 {
        self.event.swap(MediaEvent::None as u8, Ordering::SeqCst)
    }

    /// PREVENT ALLOW MEDIUM REMOVAL.
    pub fn lock(&self, locked: bool) {
        self.locked.store(locked, Ordering::SeqCst);
    }

    /// START STOP UNIT with LoEj: the guest takes the disc out.
    pub fn eject_by_guest(&self) -> Result<(), Sense> {
        if self.locked.load(Ordering::SeqCst) {
            return Err(Sense::REMOVAL_PREVENTED);
        }
        self.eject().map_err(|_| Sense::INVALID_FIELD)
    }

    /// Which way this is, among those to the unit.
    pub fn way(&self) -> usize {
        self.way
    }

    /// To whom the unit is reserved.
    pub fn reservations(&self) -> MutexGuard<'_, Reservations> {
        // A request is checked before anything is changed.
        let reservations = self.unit.reservations.lock();
        reservations.unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a unit attention condition.
    pub fn attend(&self, sense: Sense) {
        self.attentions.push(sense);
    }

    /// Queues a unit attention condition for the ways to the unit that `who` picks.
    pub fn attend_ways(&self, sense: Sense, who: impl Fn(usize) -> bool) {
        self.unit.attend(sense, who);
    }

    /// The oldest unit attention condition that the guest has not been told.
    pub fn take_attention(&self) -> Option<Sense> {
        self.attentions.list().pop_front()
    }

    /// The byte range of `count` blocks from `lba` on, if the unit has them.
    fn range(&self, medium: &Medium, lba: u64, count: u64) -> Result<(u64, u64), Sense> {
        lba.checked_add(count)
            .filter(|end| *end <= self.blocks_of(medium))
            .ok_or(Sense::LBA_OUT_OF_RANGE)?;
        let block = u64::from(self.block);
        Ok((lba * block, count * block))
    }

    fn writable(&self) -> Result<(), Sense> {
        if self.readonly {
            return Err(Sense::WRITE_PROTECTED);
        }
        Ok(())
    }

    /// Reads `count` blocks.
    pub fn read(&self, lba: u64, count: u64) -> Result<Vec<u8>, Sense> {
        self.with(|medium| {
            let (offset, len) = self.range(medium, lba, count)?;
            let mut out = vec![0; usize::try_from(len).map_err(|_| Sense::INVALID_FIELD)?];
            let read = medium.store.read(offset, &mut out);
            read.map_err(|_| Sense::UNRECOVERED_READ)?;
            Ok(out)
        })
    }

    /// Writes whole blocks.
    pub fn write(&self, lba: u64, count: u64, data: &[u8]) -> Result<(), Sense> {
        self.writable()?;
        self.with(|medium| {
            let (offset, len) = self.range(medium, lba, count)?;
            let data = usize::try_from(len).ok().and_then(|len| data.get(..len));
            let written = medium
                .store
                .write(offset, data.ok_or(Sense::INVALID_FIELD)?);
            written.map_err(|_| Sense::WRITE_ERROR)
        })
    }

    /// Makes `count` blocks read as zeroes.
    pub fn clear(&self, lba: u64, count: u64) -> Result<(), Sense> {
        self.writable()?;
        self.with(|medium| {
            let (offset, len) = self.range(medium, lba, count)?;
            let cleared = medium.store.clear(offset, len);
            cleared.map_err(|_| Sense::WRITE_ERROR)
        })
    }

    /// Whether `count` blocks from `lba` on exist.
    pub fn verify(&self, lba: u64, count: u64) -> Result<(), Sense> {
        self.with(|medium| self.range(medium, lba, count).map(drop))
    }

    /// Makes written data permanent.
    pub fn flush(&self) -> Result<(), Sense> {
        self.with(|medium| medium.store.flush().map_err(|_| Sense::WRITE_ERROR))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn disk(size: u64) -> Lun {
        Lun::new(Kind::Disk, Store::memory(), size, 512, false, [0; 16]).unwrap()
    }

    fn dvd(size: u64) -> Lun {
        Lun::new(Kind::Dvd, Store::memory(), size, 2048, true, [0; 16]).unwrap()
    }

    proptest! {
        #[test]
        fn memory_behaves_like_an_array(
            ops in proptest::collection::vec((0u64..600, 1u64..200, any::<u8>(), any::<bool>()), 1..40),
        ) {
            let (lun, mut model) = (disk(512 * 1024), vec![0u8; 512 * 1024]);
            for (lba, count, byte, clear) in ops {
                let span = (lba * 512) as usize..((lba + count) * 512) as usize;
                if clear {
                    lun.clear(lba, count).unwrap();
                    model[span].fill(0);
                } else {
                    lun.write(lba, count, &vec![byte; (count * 512) as usize]).unwrap();
                    model[span].fill(byte);
                }
            }
            prop_assert!(lun.read(0, 1024).unwrap() == model);
        }
    }

    #[test]
    fn bounds_and_protection() {
        let lun = disk(512 * 8);
        assert_eq!(lun.read(7, 2), Err(Sense::LBA_OUT_OF_RANGE));
        assert_eq!(lun.read(u64::MAX, 2), Err(Sense::LBA_OUT_OF_RANGE));
        assert_eq!(lun.write(0, 2, &[0; 512]), Err(Sense::INVALID_FIELD));
        assert_eq!(
            dvd(4096).write(0, 1, &[0; 2048]),
            Err(Sense::WRITE_PROTECTED)
        );
        assert!(Lun::new(Kind::Disk, Store::memory(), 1000, 512, false, [0; 16]).is_err());
    }

    #[test]
    fn resizing_is_announced_once() {
        let lun = disk(512 * 8);
        lun.resize(512 * 16).unwrap();
        assert_eq!(lun.blocks(), Ok(16));
        assert_eq!(lun.take_attention(), Some(Sense::CAPACITY_CHANGED));
        assert_eq!(lun.take_attention(), None);
        // Nor more often, however often it changes before the guest asks.
        lun.resize(512 * 8).unwrap();
        lun.resize(512 * 32).unwrap();
        assert_eq!(lun.take_attention(), Some(Sense::CAPACITY_CHANGED));
        assert_eq!(lun.take_attention(), None);
    }

    #[test]
    fn a_huge_thin_disk_costs_nothing() {
        let lun = disk(4 << 40);
        let last = (4 << 40) / 512 - 1;
        lun.write(last, 1, &[9; 512]).unwrap();
        lun.clear(0, last).unwrap();
        assert_eq!(lun.read(last, 1).unwrap(), [9; 512]);
    }

    #[test]
    fn all_ways_lead_to_the_same_bytes_and_each_is_told() {
        let one = disk(512 * 8);
        let other = one.another_way();
        assert_ne!(one.way(), other.way());
        one.write(3, 1, &[7; 512]).unwrap();
        assert_eq!(other.read(3, 1).unwrap(), [7; 512]);
        other.resize(512 * 16).unwrap();
        assert_eq!(one.blocks(), Ok(16));
        for lun in [&one, &other] {
            assert_eq!(lun.take_attention(), Some(Sense::CAPACITY_CHANGED));
        }
        one.attend(Sense::REPORTED_LUNS_CHANGED);
        assert_eq!(other.take_attention(), None);
    }

    #[test]
    fn a_disc_goes_and_another_comes() {
        let drive = dvd(4096);
        drive.lock(true);
        assert_eq!(drive.eject_by_guest(), Err(Sense::REMOVAL_PREVENTED));
        drive.lock(false);
        drive.eject_by_guest().unwrap();
        assert_eq!(drive.blocks(), Err(Sense::MEDIUM_NOT_PRESENT));
        assert_eq!(drive.read(0, 1), Err(Sense::MEDIUM_NOT_PRESENT));
        assert!(drive.resize(4096).is_err());
        assert_eq!(drive.take_event(), MediaEvent::Removed as u8);
        assert_eq!(drive.take_attention(), None);
        assert!(drive.insert(Store::memory(), 1000).is_err());
        drive.insert(Store::memory(), 8192).unwrap();
        assert_eq!(drive.blocks(), Ok(4));
        assert_eq!(drive.take_event(), MediaEvent::New as u8);
        assert_eq!(drive.take_event(), MediaEvent::None as u8);
        assert_eq!(drive.take_attention(), Some(Sense::MEDIUM_MAY_HAVE_CHANGED));
        // The host may do so although the guest has locked it.
        drive.lock(true);
        drive.eject().unwrap();
        assert!(disk(512).eject().is_err() && disk(512).insert(Store::memory(), 512).is_err());
    }
}
