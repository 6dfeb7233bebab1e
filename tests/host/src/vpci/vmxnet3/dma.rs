// SPDX-License-Identifier: GPL-2.0

//! How the card reaches the guest's memory. All is little-endian.

use std::sync::atomic::Ordering;

use anyhow::Result;
use vm_memory::{Bytes, GuestAddress};

use crate::memory::Memory;

/// The guest's memory as the card reaches it.
#[derive(Clone, Copy)]
pub struct Dma<'a>(pub &'a Memory);

impl Dma<'_> {
    /// Bytes.
    pub fn bytes(self, at: u64, len: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.0.read_slice(&mut bytes, GuestAddress(at))?;
        Ok(bytes)
    }

    /// Writes bytes.
    pub fn put(self, at: u64, bytes: &[u8]) -> Result<()> {
        Ok(self.0.write_slice(bytes, GuestAddress(at))?)
    }

    /// A word.
    pub fn u32(self, at: u64) -> Result<u32> {
        Ok(u32::from_le(self.0.read_obj(GuestAddress(at))?))
    }

    /// Writes a word.
    pub fn put_u32(self, at: u64, value: u32) -> Result<()> {
        Ok(self.0.write_obj(value.to_le(), GuestAddress(at))?)
    }

    /// Two words.
    pub fn u64(self, at: u64) -> Result<u64> {
        Ok(u64::from_le(self.0.read_obj(GuestAddress(at))?))
    }

    /// A word that says whose a descriptor is, before the rest of it.
    pub fn owner(self, at: u64) -> Result<u32> {
        Ok(u32::from_le(
            self.0.load(GuestAddress(at), Ordering::Acquire)?,
        ))
    }

    /// Writes such a word, behind the rest.
    pub fn give(self, at: u64, value: u32) -> Result<()> {
        Ok(self
            .0
            .store(value.to_le(), GuestAddress(at), Ordering::Release)?)
    }
}
