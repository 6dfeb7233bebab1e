// SPDX-License-Identifier: GPL-2.0

//! Where the bytes of a unit are: in a file, or in memory.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{PoisonError, RwLock};

use anyhow::{Context, Result};

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

    /// Fills `out` with what lies at `offset`; behind the end of a file that was cut from outside there are zeroes.
    pub fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        match self {
            Store::File(file) => {
                let mut done = 0;
                while done < out.len() {
                    match file.read_at(&mut out[done..], offset + done as u64)? {
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

    /// Writes `data` at `offset`.
    pub fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
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
    pub fn clear(&self, offset: u64, len: u64) -> std::io::Result<()> {
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

    /// Makes written data permanent.
    pub fn flush(&self) -> std::io::Result<()> {
        match self {
            Store::File(file) => file.sync_data(),
            Store::Memory(_) => Ok(()),
        }
    }
}
