// SPDX-License-Identifier: GPL-2.0

//! Logical units: what is stored where, and what the guest has yet to be told.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};

use anyhow::{ensure, Context, Result};

use super::sense::Sense;

/// Memory is kept in pieces of this many bytes, and only where something was written.
const CHUNK: u64 = 64 * 1024;

type Chunks = RwLock<BTreeMap<u64, Box<[u8]>>>;

/// Where the bytes are.
pub enum Store {
    /// In a file.
    File(File),
    /// In memory; what was never written reads as zeroes.
    Memory(Chunks),
}

/// Calls `piece` for each part of `offset..offset + len` that lies in one chunk: chunk number, range in the chunk,
/// range in the buffer.
fn chunks(
    offset: u64,
    len: usize,
    mut piece: impl FnMut(u64, std::ops::Range<usize>, std::ops::Range<usize>),
) {
    let mut done = 0usize;
    while done < len {
        let at = offset + done as u64;
        let inside = (at % CHUNK) as usize;
        let count = (CHUNK as usize - inside).min(len - done);
        piece(at / CHUNK, inside..inside + count, done..done + count);
        done += count;
    }
}

impl Store {
    /// An empty store in memory.
    pub fn memory() -> Self {
        Store::Memory(RwLock::default())
    }

    /// A file and its size. A writable one that does not exist is made if `size` is given, and gets that size.
    pub fn file(path: &Path, readonly: bool, size: Option<u64>) -> Result<(Self, u64)> {
        let file = OpenOptions::new()
            .read(true)
            .write(!readonly)
            .create(!readonly && size.is_some())
            .truncate(false)
            .open(path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        if let Some(size) = size.filter(|_| !readonly) {
            file.set_len(size)
                .with_context(|| format!("cannot resize {}", path.display()))?;
        }
        let size = file.metadata()?.len();
        Ok((Store::File(file), size))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        match self {
            Store::File(file) => {
                let mut done = 0;
                while done < out.len() {
                    match file.read_at(&mut out[done..], offset + done as u64)? {
                        // A file that was cut from outside reads as zeroes behind its end.
                        0 => {
                            out[done..].fill(0);
                            break;
                        }
                        n => done += n,
                    }
                }
            }
            Store::Memory(map) => {
                let map = map.read().unwrap_or_else(PoisonError::into_inner);
                chunks(offset, out.len(), |chunk, inside, span| {
                    match map.get(&chunk) {
                        Some(bytes) => out[span].copy_from_slice(&bytes[inside]),
                        None => out[span].fill(0),
                    }
                });
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        match self {
            Store::File(file) => file.write_all_at(data, offset)?,
            Store::Memory(map) => {
                let mut map = map.write().unwrap_or_else(PoisonError::into_inner);
                chunks(offset, data.len(), |chunk, inside, span| {
                    let bytes = map
                        .entry(chunk)
                        .or_insert_with(|| vec![0; CHUNK as usize].into());
                    bytes[inside].copy_from_slice(&data[span]);
                });
            }
        }
        Ok(())
    }

    /// Makes a range read as zeroes.
    fn clear(&self, offset: u64, len: u64) -> std::io::Result<()> {
        let end = offset + len;
        match self {
            Store::File(file) => {
                let zeroes = vec![0; 1 << 20];
                let mut at = offset;
                while at < end {
                    let count = (end - at).min(zeroes.len() as u64);
                    file.write_all_at(&zeroes[..count as usize], at)?;
                    at += count;
                }
            }
            Store::Memory(map) => {
                let mut map = map.write().unwrap_or_else(PoisonError::into_inner);
                let touched: Vec<u64> = map
                    .range(offset / CHUNK..end.div_ceil(CHUNK))
                    .map(|(chunk, _)| *chunk)
                    .collect();
                for chunk in touched {
                    let start = chunk * CHUNK;
                    let inside = offset.saturating_sub(start)..(end - start).min(CHUNK);
                    if inside == (0..CHUNK) {
                        map.remove(&chunk);
                    } else if let Some(bytes) = map.get_mut(&chunk) {
                        bytes[inside.start as usize..inside.end as usize].fill(0);
                    }
                }
            }
        }
        Ok(())
    }

    fn flush(&self) -> std::io::Result<()> {
        match self {
            Store::File(file) => file.sync_data(),
            Store::Memory(_) => Ok(()),
        }
    }
}

/// What kind of device the unit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A disk.
    Disk,
    /// A DVD drive with a disc in it.
    Dvd,
}

/// A logical unit.
pub struct Lun {
    /// Disk or DVD.
    pub kind: Kind,
    /// Bytes of a logical block.
    pub block: u32,
    /// Writes are refused.
    pub readonly: bool,
    /// Sixteen bytes that name the unit in the whole world (NAA 6).
    pub id: [u8; 16],
    store: Store,
    size: AtomicU64,
    attention: Mutex<VecDeque<Sense>>,
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
        ensure!(
            size > 0 && size % u64::from(block) == 0,
            "{size} bytes are not whole blocks of {block}"
        );
        let (size, attention) = (AtomicU64::new(size), Mutex::default());
        Ok(Self {
            kind,
            block,
            readonly,
            id,
            store,
            size,
            attention,
        })
    }

    /// Number of logical blocks.
    pub fn blocks(&self) -> u64 {
        self.size.load(Ordering::SeqCst) / u64::from(self.block)
    }

    /// Grows or shrinks the unit; the guest is told with its next command.
    pub fn resize(&self, size: u64) -> Result<()> {
        let block = u64::from(self.block);
        ensure!(
            size > 0 && size % block == 0,
            "{size} bytes are not whole blocks of {block}"
        );
        if let Store::File(file) = &self.store {
            file.set_len(size).context("cannot resize the file")?;
        }
        self.size.store(size, Ordering::SeqCst);
        self.attend(Sense::CAPACITY_CHANGED);
        Ok(())
    }

    /// Queues a unit attention condition.
    pub fn attend(&self, sense: Sense) {
        self.attention
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_back(sense);
    }

    /// The oldest unit attention condition that the guest has not been told.
    pub fn take_attention(&self) -> Option<Sense> {
        self.attention
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
    }

    /// The byte range of `count` blocks from `lba` on, if the unit has them.
    fn range(&self, lba: u64, count: u64) -> Result<(u64, u64), Sense> {
        lba.checked_add(count)
            .filter(|end| *end <= self.blocks())
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
        let (offset, len) = self.range(lba, count)?;
        let mut out = vec![0; usize::try_from(len).map_err(|_| Sense::INVALID_FIELD)?];
        self.store
            .read(offset, &mut out)
            .map_err(|_| Sense::UNRECOVERED_READ)?;
        Ok(out)
    }

    /// Writes whole blocks.
    pub fn write(&self, lba: u64, count: u64, data: &[u8]) -> Result<(), Sense> {
        self.writable()?;
        let (offset, len) = self.range(lba, count)?;
        let data = usize::try_from(len).ok().and_then(|len| data.get(..len));
        self.store
            .write(offset, data.ok_or(Sense::INVALID_FIELD)?)
            .map_err(|_| Sense::WRITE_ERROR)
    }

    /// Makes `count` blocks read as zeroes.
    pub fn clear(&self, lba: u64, count: u64) -> Result<(), Sense> {
        self.writable()?;
        let (offset, len) = self.range(lba, count)?;
        self.store
            .clear(offset, len)
            .map_err(|_| Sense::WRITE_ERROR)
    }

    /// Whether `count` blocks from `lba` on exist.
    pub fn verify(&self, lba: u64, count: u64) -> Result<(), Sense> {
        self.range(lba, count).map(drop)
    }

    /// Makes written data permanent.
    pub fn flush(&self) -> Result<(), Sense> {
        self.store.flush().map_err(|_| Sense::WRITE_ERROR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn disk(size: u64) -> Lun {
        Lun::new(Kind::Disk, Store::memory(), size, 512, false, [0; 16]).unwrap()
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
        let cd = Lun::new(Kind::Dvd, Store::memory(), 4096, 2048, true, [0; 16]).unwrap();
        assert_eq!(cd.write(0, 1, &[0; 2048]), Err(Sense::WRITE_PROTECTED));
        assert!(Lun::new(Kind::Disk, Store::memory(), 1000, 512, false, [0; 16]).is_err());
    }

    #[test]
    fn resizing_is_announced_once() {
        let lun = disk(512 * 8);
        lun.resize(512 * 16).unwrap();
        assert_eq!(lun.blocks(), 16);
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
}
