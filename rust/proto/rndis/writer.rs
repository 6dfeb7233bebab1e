// SPDX-License-Identifier: GPL-2.0

//! Puts messages together.

use super::header::{MessageType, PutWords, HEADER_SIZE};
use crate::error::ProtoError;
use core::mem::size_of;
use zerocopy::{Immutable, IntoBytes};

/// Writes one thing behind the other.
pub(super) struct Writer<'a> {
    out: &'a mut [u8],
    at: usize,
    what: &'static str,
}

impl<'a> Writer<'a> {
    /// Writes to `out`; `what` names it in errors.
    pub(super) fn new(out: &'a mut [u8], what: &'static str) -> Self {
        Self { out, at: 0, what }
    }

    pub(super) fn put_bytes(&mut self, bytes: &[u8]) -> Result<(), ProtoError> {
        let got = self.out.len();
        let need = self.at.saturating_add(bytes.len());
        match self.out.get_mut(self.at..need) {
            Some(to) => {
                to.copy_from_slice(bytes);
                self.at = need;
                Ok(())
            }
            None => Err(ProtoError::NoRoom {
                what: self.what,
                need,
                got,
            }),
        }
    }

    pub(super) fn put<T: IntoBytes + Immutable>(&mut self, value: &T) -> Result<(), ProtoError> {
        self.put_bytes(value.as_bytes())
    }
}

impl PutWords for Writer<'_> {
    type Error = ProtoError;

    fn put_words<const N: usize>(&mut self, words: [u32; N]) -> Result<(), ProtoError> {
        self.put(&words)
    }
}

/// A message of a fixed body and what follows it. Returns its bytes.
pub(super) fn message<T: IntoBytes + Immutable>(
    out: &mut [u8],
    kind: MessageType,
    body: &T,
    more: &[u8],
) -> Result<usize, ProtoError> {
    let what = "RNDIS message";
    let len = (HEADER_SIZE as usize)
        .saturating_add(size_of::<T>())
        .saturating_add(more.len());
    let length = u32::try_from(len).map_err(|_| ProtoError::Invalid {
        what,
        value: len as u64,
    })?;
    let mut out = Writer::new(out, what);
    out.put(&[kind.0, length])?;
    out.put(body)?;
    out.put_bytes(more)?;
    Ok(len)
}
