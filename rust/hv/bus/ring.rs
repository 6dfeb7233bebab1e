// SPDX-License-Identifier: GPL-2.0

//! The two rings of a channel.
//!
//! A ring is one header page, which both sides write to, and data pages. The data pages are mapped twice, one
//! mapping after the other, so that a packet is contiguous even where it wraps around.
//!
//! How packets lie in the data, who may touch which index and who has to be signalled when is in
//! [`rlis_proto::ring`], which is checked against the C11 memory model; here is the memory that it works on
//! ([`Mapped`]), where the pages come from ([`memory`], [`pages`]), and the state of `struct hv_ring_buffer_info` around it
//! ([`outbound`], [`inbound`]). Each operation takes its side of the ring up anew: the structure keeps the private
//! read index only, and programs that map the rings (uio_hv_generic) move the other indices themselves.

mod inbound;
mod memory;
mod outbound;
mod pages;

pub use self::memory::{
    free,
    map,
    release_kept,
    unmap, //
};
pub(crate) use self::{
    inbound::{
        Contents,
        Reader,
        Received, //
    },
    memory::{
        alloc,
        is_in_one_piece,
        keep, //
    },
    outbound::{
        send,
        Packet,
        NO_REQUESTOR,
        REQUEST_ERROR, //
    },
    pages::PageList,
};

use core::{
    ptr,
    sync::atomic::{
        fence,
        AtomicU32,
        Ordering, //
    }, //
};
use kernel::{
    ffi::c_void,
    page::PAGE_SIZE,
    prelude::*, //
};
use rlis_hv::{
    c_struct,
    lock::{
        Mutex,
        SpinLock, //
    },
    reciprocal::reciprocal,
    Field, //
};
use rlis_proto::ring::{
    HeaderField,
    RingHeader,
    RingMem, //
};
use rlis_sys as bindings;

/// A ring that is mapped. Copied out of `struct hv_ring_buffer_info` for one operation.
///
/// # Invariants
///
/// `base` points to a header page followed by twice `datasize` bytes, mapped for the life of the value.
#[derive(Clone, Copy)]
struct Mapped {
    base: *mut u8,
    datasize: u32,
}

impl Mapped {
    #[inline]
    fn word(&self, field: HeaderField) -> &AtomicU32 {
        // SAFETY: Within the header page; shared with the host, and only accessed atomically.
        unsafe { AtomicU32::from_ptr(self.base.add(field.offset()).cast()) }
    }

    /// Where an access of `len` bytes at `offset` begins, if it is one that the double mapping has room for.
    #[inline]
    fn at(&self, offset: u32, len: usize) -> Option<*mut u8> {
        (offset < self.datasize && len <= self.datasize as usize)
            .then(|| self.base.wrapping_add(PAGE_SIZE + offset as usize))
    }
}

/// Bytes up to which packets are copied by words. Beyond, the string instructions of `memcpy` pay for their start.
const SHORT: usize = 128;

/// Whether an access is worth copying by words, and can be.
#[inline]
fn by_words(offset: u32, len: usize) -> bool {
    len <= SHORT && len % 8 == 0 && offset % 8 == 0
}

impl RingHeader for Mapped {
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

impl RingMem for Mapped {
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
}

/// Sizes and indices of a ring, for sysfs.
pub(crate) struct DebugInfo {
    pub(crate) interrupt_mask: u32,
    pub(crate) read_index: u32,
    pub(crate) write_index: u32,
    pub(crate) to_read: u32,
    pub(crate) to_write: u32,
}

c_struct! {
    /// `struct hv_ring_buffer_info` of a channel. C drivers look at it through functions of `<linux/hyperv.h>` while they have the
    /// channel.
    // SAFETY: Zero at first, with the locks initialised.
    unsafe pub(crate) struct RingInfo(bindings::hv_ring_buffer_info) {
        fn ring_buffer -> Field<*mut bindings::hv_ring_buffer> = ring_buffer;
        fn ring_datasize -> Field<u32> = ring_datasize;
        fn ring_size -> Field<u32> = ring_size;
        fn reciprocal_m -> Field<u32> = ring_size_div10_reciprocal.m;
        fn reciprocal_sh1 -> Field<u8> = ring_size_div10_reciprocal.sh1;
        fn reciprocal_sh2 -> Field<u8> = ring_size_div10_reciprocal.sh2;
        fn ring_mutex -> Mutex = ring_buffer_mutex;
        fn ring_lock -> SpinLock = ring_lock;
        fn priv_read_index -> Field<u32> = priv_read_index;
        fn pkt_buffer -> Field<*mut c_void> = pkt_buffer;
        fn pkt_buffer_size -> Field<u32> = pkt_buffer_size;
    }
}

impl RingInfo {
    /// The ring as it is mapped now.
    ///
    /// # Safety
    ///
    /// It is not unmapped while the value is used: the channel is open, or the ring's mutex held.
    #[inline]
    unsafe fn mapped(&self) -> Option<Mapped> {
        let (base, datasize) = (self.ring_buffer().get(), self.ring_datasize().get());
        // INVARIANT: `memory::init` mapped it so, and wrote both fields under the mutex.
        (!base.is_null()).then_some(Mapped {
            base: base.cast(),
            datasize,
        })
    }

    /// Sets what C drivers divide by a tenth of the ring with.
    fn set_reciprocal(&self, divisor: u32) {
        let value = reciprocal(divisor);
        self.reciprocal_m().set(value.m);
        self.reciprocal_sh1().set(value.sh1);
        self.reciprocal_sh2().set(value.sh2);
    }

    /// Looks at the ring, open or not. Sleeps.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the channel is not open.
    pub(crate) fn debug_info(&self) -> Result<DebugInfo> {
        let _guard = self.ring_mutex().lock();
        // SAFETY: The mutex keeps the ring.
        let ring = unsafe { self.mapped() }.ok_or(EINVAL)?;
        let (read, write) = (
            ring.load(HeaderField::ReadIndex),
            ring.load(HeaderField::WriteIndex),
        );
        // Numbers for people: indices out of range must only not overflow.
        let to_write = if write >= read {
            ring.datasize.saturating_sub(write - read)
        } else {
            read - write
        };
        Ok(DebugInfo {
            interrupt_mask: ring.load(HeaderField::InterruptMask),
            read_index: read,
            write_index: write,
            to_read: ring.datasize.saturating_sub(to_write),
            to_write,
        })
    }

    /// Whether somebody is sending.
    pub(crate) fn is_busy(&self) -> bool {
        self.ring_lock().is_locked()
    }
}
