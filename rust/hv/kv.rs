// SPDX-License-Identifier: GPL-2.0

//! Zeroed memory of the kernel that need not lie in one piece.
//!
//! The kernel crate's `KVVec` needs functions that are not exported.

use core::{
    marker::PhantomData,
    ops::{
        Deref,
        DerefMut, //
    },
    ptr::NonNull,
    slice, //
};
use kernel::prelude::*;
use zerocopy::FromZeros;

/// A slice in memory of `kvzalloc()`.
///
/// # Invariants
///
/// The pointer came from `kvzalloc()` with room for so many elements, and is ours.
pub struct KvSlice<T: FromZeros>(NonNull<T>, usize);

// SAFETY: It owns its elements.
unsafe impl<T: FromZeros + Send> Send for KvSlice<T> {}
// SAFETY: As above.
unsafe impl<T: FromZeros + Sync> Sync for KvSlice<T> {}

impl<T: FromZeros> KvSlice<T> {
    /// Allocates `len` zeroes. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; also for no elements.
    pub fn zeroed(len: usize) -> Result<Self> {
        let bytes = len.checked_mul(size_of::<T>()).ok_or(ENOMEM)?;
        const { assert!(!core::mem::needs_drop::<T>()) };
        if bytes == 0 {
            return Err(ENOMEM);
        }
        let start = NonNull::new(rlis_sys::kvzalloc_bytes(bytes)).ok_or(ENOMEM)?;
        // INVARIANT: Just allocated.
        Ok(Self(start.cast(), len))
    }

    /// Gives the memory up to who calls [`Self::from_raw`] later.
    pub fn into_raw(self) -> *mut T {
        core::mem::ManuallyDrop::new(self).0.as_ptr()
    }

    /// Takes memory back that [`Self::into_raw`] has given up; `None` for null.
    ///
    /// # Safety
    ///
    /// `start` is null or of `into_raw`, with `len` elements, and is given up to this.
    pub unsafe fn from_raw(start: *mut T, len: usize) -> Option<Self> {
        // INVARIANT: As the caller promises.
        NonNull::new(start).map(|start| Self(start, len))
    }
}

impl<T: FromZeros> Deref for KvSlice<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: By the invariants; all elements are initialised, with zeroes at first.
        unsafe { slice::from_raw_parts(self.0.as_ptr(), self.1) }
    }
}

impl<T: FromZeros> DerefMut for KvSlice<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: As above.
        unsafe { slice::from_raw_parts_mut(self.0.as_ptr(), self.1) }
    }
}

impl<T: FromZeros> Drop for KvSlice<T> {
    fn drop(&mut self) {
        // SAFETY: By the invariants.
        unsafe { rlis_sys::kvfree(self.0.as_ptr().cast()) };
    }
}

/// Bits in words of C (`DECLARE_BITMAP`).
///
/// # Invariants
///
/// There are words for so many bits, which are ours for `'a`.
pub struct Bits<'a>(*mut usize, usize, PhantomData<&'a mut usize>);

impl Bits<'_> {
    /// The words that a bitmap has.
    pub const fn words(bits: usize) -> usize {
        bits.div_ceil(usize::BITS as usize)
    }

    /// # Safety
    ///
    /// As the invariants of the type say.
    #[inline]
    pub unsafe fn from_raw(words: *mut usize, bits: usize) -> Self {
        // INVARIANT: As the caller promises.
        Self(words, bits, PhantomData)
    }

    /// Changes a bit; nothing if there is no such bit.
    #[inline]
    pub fn flip(&mut self, bit: usize) {
        if bit < self.1 {
            // SAFETY: By the invariants there is a word for the bit.
            unsafe { *self.0.add(bit / usize::BITS as usize) ^= 1 << (bit % usize::BITS as usize) };
        }
    }

    /// Sets a bit; nothing if there is no such bit.
    #[inline]
    pub fn set(&mut self, bit: usize) {
        if bit < self.1 {
            // SAFETY: By the invariants there is a word for the bit.
            unsafe { *self.0.add(bit / usize::BITS as usize) |= 1 << (bit % usize::BITS as usize) };
        }
    }

    /// Whether a bit is set; not if there is no such bit.
    #[inline]
    pub fn get(&self, bit: usize) -> bool {
        bit < self.1 && {
            // SAFETY: By the invariants there is a word for the bit.
            let word = unsafe { *self.0.add(bit / usize::BITS as usize) };
            word & (1 << (bit % usize::BITS as usize)) != 0
        }
    }
}

#[kunit_tests(rlis_hv_kv)]
mod tests {
    use super::*;

    #[test]
    fn is_zeroed_and_comes_back() -> Result {
        let mut numbers = KvSlice::<u64>::zeroed(5000)?;
        assert!(numbers.iter().all(|&n| n == 0));
        numbers[4999] = 7;
        let raw = numbers.into_raw();
        // SAFETY: Given up just now.
        let numbers = unsafe { KvSlice::from_raw(raw, 5000) }.ok_or(EINVAL)?;
        assert_eq!(numbers.last(), Some(&7));
        assert!(KvSlice::<u8>::zeroed(0).is_err());
        assert!(KvSlice::<u64>::zeroed(usize::MAX).is_err());
        Ok(())
    }

    #[test]
    fn bits_are_those_of_the_words() -> Result {
        let mut words = KvSlice::<usize>::zeroed(Bits::words(70))?;
        assert_eq!(words.len(), 2);
        // SAFETY: There are words for as many bits, and nobody else uses them meanwhile.
        let mut bits = unsafe { Bits::from_raw(words.as_mut_ptr(), 70) };
        bits.set(0);
        bits.set(69);
        bits.set(70);
        assert!(bits.get(0) && bits.get(69) && !bits.get(1) && !bits.get(70));
        bits.flip(0);
        bits.flip(100);
        assert!(!bits.get(0));
        assert_eq!(words[..], [0, 1 << 5]);
        Ok(())
    }
}
