// SPDX-License-Identifier: GPL-2.0

//! Takes a fuzzer's bytes apart. What is missing at the end is zero, so that any input means something and cutting
//! one short is no barrier for the fuzzer.

/// Bytes still to be used.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let (front, rest) = self.0.split_at(N.min(self.0.len()));
        for (to, from) in array.iter_mut().zip(front) {
            *to = *from;
        }
        self.0 = rest;
        array
    }

    /// The next byte.
    pub fn u8(&mut self) -> u8 {
        let [byte] = self.array();
        byte
    }

    /// The next two bytes.
    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    /// The next four bytes.
    pub fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    /// The next eight bytes.
    pub fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    /// A slice with its length, two bytes, in front; shorter if there is no more.
    pub fn slice(&mut self) -> &'a [u8] {
        let len = usize::from(self.u16());
        let (front, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        front
    }
}

/// `bytes`, with zeros behind it up to `len`.
pub fn padded(bytes: &[u8], len: usize) -> Vec<u8> {
    let mut all = bytes.to_vec();
    all.resize(len.max(bytes.len()), 0);
    all
}

/// `slice` as [`Input::slice`] takes it. For seeds.
///
/// # Panics
///
/// If it is longer than 65535 bytes.
pub fn with_len(slice: &[u8]) -> Vec<u8> {
    let len = u16::try_from(slice.len()).expect("no seed is that long");
    [&len.to_le_bytes(), slice].concat()
}
