// SPDX-License-Identifier: GPL-2.0

//! The memory of a channel's ring, as the bus maps it for the guest.

use core::{
    ptr::{
        self,
        NonNull, //
    },
    sync::atomic::{
        fence,
        AtomicU32,
        Ordering, //
    }, //
};
use kernel::page::PAGE_SIZE;
use rlis_proto::ring::{
    HeaderField,
    RingHeader,
    RingMem,
    Words, //
};

/// A ring that is mapped: a header page, and the data twice in a row, so that a packet is contiguous even where it wraps around.
/// Copied out of `struct hv_ring_buffer_info` for one operation.
///
/// # Invariants
///
/// `base` points to a header page followed by twice `datasize` bytes, mapped for the life of the value. `datasize` is a size that a
/// ring can have: whole pages, and no more than 1 GiB.
#[derive(Clone, Copy)]
pub struct MappedRing {
    base: NonNull<u8>,
    datasize: u32,
}

impl MappedRing {
    /// Describes a ring whose data are `datasize` bytes.
    ///
    /// # Safety
    ///
    /// As the type invariants say of `base`.
    #[inline]
    pub unsafe fn new(base: NonNull<u8>, datasize: u32) -> Self {
        // INVARIANT: As required of the caller.
        Self { base, datasize }
    }

    #[inline]
    fn word(&self, field: HeaderField) -> &AtomicU32 {
        // SAFETY: Within the header page; shared with the host, and only accessed atomically.
        unsafe { AtomicU32::from_ptr(self.base.as_ptr().add(field.offset()).cast()) }
    }

    /// Where an access of `len` bytes at `offset` begins, if it is one that the double mapping has room for.
    #[inline]
    fn at(&self, offset: u32, len: usize) -> Option<*mut u8> {
        (offset < self.datasize && len <= self.datasize as usize)
            .then(|| self.base.as_ptr().wrapping_add(PAGE_SIZE + offset as usize))
    }
}

/// Bytes up to which packets are copied by words. Beyond, the string instructions of `memcpy` pay for their start.
const SHORT: usize = 128;

/// Whether an access is worth copying by words, and can be.
#[inline]
fn by_words(offset: u32, len: usize) -> bool {
    len <= SHORT && len % 8 == 0 && offset % 8 == 0
}

impl RingHeader for MappedRing {
    #[inline]
    fn load(&self, field: HeaderField) -> u32 {
        self.word(field).load(Ordering::Relaxed)
    }

    #[inline]
    fn load_acquire(&self, field: HeaderField) -> u32 {
        self.word(field).load(Ordering::Acquire)
    }

    #[inline]
    fn store(&self, field: HeaderField, value: u32) {
        self.word(field).store(value, Ordering::Relaxed);
    }

    #[inline]
    fn store_release(&self, field: HeaderField, value: u32) {
        self.word(field).store(value, Ordering::Release);
    }

    #[inline]
    fn full_barrier(&self) {
        // Not `smp_mb()`, which a kernel for one processor leaves out: the other side is the host.
        fence(Ordering::SeqCst);
    }

    #[inline]
    fn publish(&self, field: HeaderField, value: u32) {
        // On x86 a locked instruction is a full barrier, and cheaper than a store with one behind it. Of other
        // architectures C11 promises no more than what the model of rust/proto/tests has.
        if cfg!(target_arch = "x86_64") {
            self.word(field).swap(value, Ordering::SeqCst);
        } else {
            self.store_release(field, value);
            self.full_barrier();
        }
    }
}

impl RingMem for MappedRing {
    // By the type invariants.
    const IS_SIZED: bool = true;

    #[inline]
    fn size(&self) -> u32 {
        self.datasize
    }

    #[inline]
    fn read_at(&self, offset: u32, dst: &mut [u8]) {
        let Some(from) = self.at(offset, dst.len()) else {
            return;
        };
        let to = dst.as_mut_ptr();
        // SAFETY: It begins below `datasize` and is no longer than that: within the double mapping, which begins at a
        // page. The host may change the bytes meanwhile; whoever gets the copy takes it for anything. Volatile, so that
        // the compiler does not make a call of `memcpy` of the loop.
        unsafe {
            if by_words(offset, dst.len()) {
                for i in 0..dst.len() / 8 {
                    let word = from.cast::<u64>().add(i).read_volatile();
                    to.cast::<u64>().add(i).write_unaligned(word);
                }
            } else {
                ptr::copy_nonoverlapping(from, to, dst.len());
            }
        }
    }

    #[inline]
    fn write_at(&self, offset: u32, src: &[u8]) {
        let Some(to) = self.at(offset, src.len()) else {
            return;
        };
        let from = src.as_ptr();
        // SAFETY: As above.
        unsafe {
            if by_words(offset, src.len()) {
                for i in 0..src.len() / 8 {
                    let word = from.cast::<u64>().add(i).read_unaligned();
                    to.cast::<u64>().add(i).write_volatile(word);
                }
            } else {
                ptr::copy_nonoverlapping(from, to, src.len());
            }
        }
    }

    #[inline]
    fn load_descriptor(&self, offset: u32) -> [u64; 2] {
        match self.at(offset, 16) {
            Some(from) if offset % 8 == 0 => {
                let from = from.cast::<u64>();
                // SAFETY: Within the double mapping, see `read_at`, and aligned. Volatile, so that what is checked is
                // what is used, whatever the host writes meanwhile.
                unsafe { [from.read_volatile(), from.add(1).read_volatile()] }
            }
            _ => [0; 2],
        }
    }

    #[inline(always)]
    fn write_words<const E: usize, const P: usize>(&self, offset: u32, packet: &Words<'_, E, P>) {
        let len = const { Words::<E, P>::SIZE as usize };
        let Some(to) = self.at(offset, len).filter(|_| offset % 8 == 0) else {
            return;
        };
        let to = to.cast::<u64>();
        // SAFETY: Within the double mapping, see `write_at`: all together are `len` bytes; and aligned.
        unsafe {
            put(to, &packet.descriptor);
            put(to.add(2), &packet.extension);
            put(to.add(2 + E), packet.payload);
            put(to.add(2 + E + P), &[packet.trailer]);
        }
    }
}

/// Writes words that the compiler may have in registers.
///
/// # Safety
///
/// `to` is valid for writes of so many words, and aligned.
#[inline(always)]
unsafe fn put<const N: usize>(to: *mut u64, words: &[u64; N]) {
    for (i, word) in words.iter().enumerate() {
        // SAFETY: As required of the caller.
        unsafe { to.add(i).write_volatile(*word) };
    }
}
