// SPDX-License-Identifier: GPL-2.0

//! Memory that somebody else reads and writes at the same time, such as the host.
//!
//! C header: [`include/linux/vmalloc.h`](srctree/include/linux/vmalloc.h)

use core::ptr::NonNull;
use kernel::{
    page::PAGE_SIZE,
    prelude::*, //
};

/// Whole pages of memory, zeroed in the beginning, whose contents may change at any time.
///
/// There is no reference to its bytes: they are copied in and out. What was copied out stays as it is, but need not be
/// what was there a moment before or after.
///
/// # Invariants
///
/// `start` is valid for reads and writes of `len` bytes, a multiple of the page size, until it is freed by our destructor.
pub struct SharedMemory {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: The memory belongs to this value, and may be used and freed from any thread.
unsafe impl Send for SharedMemory {}

// SAFETY: The bytes are only ever copied, by code that takes them for whatever they are.
unsafe impl Sync for SharedMemory {}

impl SharedMemory {
    /// Allocates memory of `len` bytes, rounded up to whole pages. The pages need not lie side by side. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, and `EINVAL` for no bytes.
    pub fn new(len: usize) -> Result<Self> {
        let len = len.checked_next_multiple_of(PAGE_SIZE).ok_or(EINVAL)?;
        if len == 0 {
            return Err(EINVAL);
        }
        let start = NonNull::new(rlis_sys::vzalloc_bytes(len)).ok_or(ENOMEM)?;
        // INVARIANT: The memory was just allocated.
        Ok(Self {
            start: start.cast(),
            len,
        })
    }

    /// Returns the size in bytes.
    #[allow(clippy::len_without_is_empty)] // It never is.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns where `len` bytes from `offset` on begin, if all of them lie in the memory. They are valid for reads and
    /// writes as long as `self`, and others may do both meanwhile.
    #[inline]
    pub fn range(&self, offset: usize, len: usize) -> Option<NonNull<u8>> {
        let end = offset.checked_add(len)?;
        // SAFETY: The offset lies in the memory, or at its end.
        (end <= self.len).then(|| unsafe { self.start.add(offset) })
    }

    /// Returns the 32-bit word at `offset`, at any alignment, loaded once; `None` if it does not lie in the memory.
    #[inline]
    pub fn word(&self, offset: usize) -> Option<u32> {
        self.words(offset).map(|[word]| word)
    }

    /// Returns the words from `offset` on, at any alignment, each loaded once; `None` if they do not all lie in the memory.
    #[inline]
    pub fn words<const N: usize>(&self, offset: usize) -> Option<[u32; N]> {
        let from = self.range(offset, size_of::<[u32; N]>())?;
        Some(core::array::from_fn(|index| {
            // SAFETY: All `N` words lie in the memory, which is valid for reads. A word may be at any address; of its
            // alignment nothing is assumed.
            unsafe {
                let place = from.cast::<Unaligned>().add(index);
                place.as_ptr().read_volatile().0
            }
        }))
    }

    /// Copies bytes out.
    ///
    /// # Errors
    ///
    /// `EINVAL` if they do not all lie in the memory.
    #[inline]
    pub fn copy_to(&self, offset: usize, to: &mut [u8]) -> Result {
        let from = self.range(offset, to.len()).ok_or(EINVAL)?;
        // SAFETY: Both are valid for so many bytes, and do not overlap: `to` is private. The copy is made in C, which
        // knows that the bytes may change.
        unsafe { rlis_sys::copy_shared(to.as_mut_ptr().cast(), from.as_ptr().cast(), to.len()) };
        Ok(())
    }

    /// Copies bytes in.
    ///
    /// # Errors
    ///
    /// `EINVAL` if they do not all lie in the memory.
    #[inline]
    pub fn copy_from(&self, offset: usize, from: &[u8]) -> Result {
        let to = self.range(offset, from.len()).ok_or(EINVAL)?;
        // SAFETY: As in `copy_to`, the other way round.
        unsafe { rlis_sys::copy_shared(to.as_ptr().cast(), from.as_ptr().cast(), from.len()) };
        Ok(())
    }

    /// Stores words at `offset`, at any alignment, in the byte order of the machine, which is the host's.
    ///
    /// # Errors
    ///
    /// `EINVAL` if they do not all lie in the memory.
    #[inline]
    pub fn put_words<const N: usize>(&self, offset: usize, words: [u32; N]) -> Result {
        let to = self.range(offset, size_of::<[u32; N]>()).ok_or(EINVAL)?;
        // SAFETY: All of them lie in the memory, which is valid for writes, at whatever address. Others who write there at the
        // same time may spoil them, as with `copy_from`; nothing of this is read here.
        unsafe { to.cast::<[u32; N]>().write_unaligned(words) };
        Ok(())
    }

    /// Returns the numbers of the pages, in units of the page size, in their order.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn page_numbers(&self) -> Result<KVec<u64>> {
        let mut pages = KVec::with_capacity(self.len / PAGE_SIZE, GFP_KERNEL)?;
        for offset in (0..self.len).step_by(PAGE_SIZE) {
            // SAFETY: The address lies in the memory, which is mapped page by page.
            let pfn = unsafe { rlis_sys::vmalloc_to_pfn(self.start.as_ptr().add(offset).cast()) };
            pages.push(pfn as u64, GFP_KERNEL)?;
        }
        Ok(pages)
    }
}

/// A word at any address.
#[derive(Clone, Copy)]
#[repr(C, packed)]
struct Unaligned(u32);

impl Drop for SharedMemory {
    fn drop(&mut self) {
        // SAFETY: By the type invariant; nobody refers to the memory any more.
        unsafe { rlis_sys::vfree(self.start.as_ptr().cast()) };
    }
}

#[kunit_tests(rlis_hv_shared)]
mod tests {
    use super::*;

    #[test]
    fn copies_within_bounds_only() -> Result {
        let memory = SharedMemory::new(5000)?;
        assert_eq!(memory.len(), 2 * PAGE_SIZE);
        let mut out = [1; 3];
        memory.copy_to(4999, &mut out)?;
        assert_eq!(out, [0; 3]);
        memory.copy_from(4094, &[1, 2, 3, 4])?;
        assert_eq!(memory.word(4094), Some(0x0403_0201));
        memory.copy_to(4095, &mut out)?;
        assert_eq!(out, [2, 3, 4]);
        assert!(memory.copy_from(8190, &[0; 3]).is_err());
        assert!(memory.copy_to(usize::MAX, &mut out).is_err());
        assert_eq!(memory.words(4093), Some([0x0302_0100, 4]));
        assert!(memory.words::<2>(8185).is_none());
        memory.put_words(8183, [0x0403_0201, 0x0807_0605])?;
        assert_eq!(memory.word(8184), Some(0x0504_0302));
        assert!(memory.put_words(8185, [1, 2]).is_err());
        assert!(memory.word(8188).is_some());
        assert!(memory.word(8189).is_none());
        assert!(memory.range(8192, 0).is_some());
        assert!(memory.range(8193, 0).is_none());
        assert_eq!(memory.page_numbers()?.len(), 2);
        assert!(SharedMemory::new(0).is_err());
        assert!(SharedMemory::new(usize::MAX).is_err());
        Ok(())
    }
}
