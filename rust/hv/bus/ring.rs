// SPDX-License-Identifier: GPL-2.0

//! The two rings of a channel.
//!
//! A ring is one header page, which both sides write to, and data pages. The data pages are mapped twice, one
//! mapping after the other, so that a packet is contiguous even where it wraps around.
//!
//! How packets lie in the data, who may touch which index and who has to be signalled when is in
//! [`rlis_proto::ring`], which is checked against the C11 memory model; here is the memory that it works on
//! ([`MappedRing`]), where the pages come from ([`memory`], [`pages`]), and the state of `struct hv_ring_buffer_info` around it
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
        NO_REQUESTOR,
        REQUEST_ERROR, //
    },
    pages::PageList,
};

use core::ptr::NonNull;
use kernel::{
    ffi::c_void,
    prelude::*, //
};
use rlis_hv::{
    c_struct,
    lock::{
        Mutex,
        SpinLock, //
    },
    reciprocal::reciprocal,
    Field,
    MappedRing, //
};
use rlis_proto::ring::{
    HeaderField,
    RingHeader,
    RingMem, //
};
use rlis_sys as bindings;

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
    unsafe fn mapped(&self) -> Option<MappedRing> {
        let (base, datasize) = (self.ring_buffer().get(), self.ring_datasize().get());
        // SAFETY: `memory::init` mapped it so, and wrote both fields under the mutex; a GPADL does not name 1 GiB.
        NonNull::new(base).map(|base| unsafe { MappedRing::new(base.cast(), datasize) })
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
            ring.size().saturating_sub(write - read)
        } else {
            read - write
        };
        Ok(DebugInfo {
            interrupt_mask: ring.load(HeaderField::InterruptMask),
            read_index: read,
            write_index: write,
            to_read: ring.size().saturating_sub(to_write),
            to_write,
        })
    }

    /// Whether somebody is sending.
    pub(crate) fn is_busy(&self) -> bool {
        self.ring_lock().is_locked()
    }
}
