// SPDX-License-Identifier: GPL-2.0

//! The pages of the rings and their mapping.

use super::{
    pages::PageArray,
    PageList,
    RingInfo, //
};
use crate::channel::{
    Channel,
    Owned, //
};
use core::{
    mem::ManuallyDrop,
    ptr::{
        self,
        NonNull, //
    }, //
};
use kernel::{
    ffi::c_void,
    page::PAGE_SIZE,
    prelude::*, //
};
use rlis_hv::{
    KvSlice,
    MappedRing, //
};
use rlis_proto::{
    ring::OutgoingRing,
    vmbus::{
        gpadl::MAX_GPADL_PAGES,
        life::Rings,
        HV_HYP_PAGE_SIZE, //
    },
};
use rlis_sys as bindings;

/// `VMBUS_DEFAULT_MAX_PKT_SIZE`.
const DEFAULT_MAX_PKT_SIZE: u32 = 4096;

/// Allocates the memory of both rings on the channel's NUMA node, in pages that lie anywhere, or in one piece for a
/// driver that maps it by its physical address. Sleeps.
///
/// # Errors
///
/// `EINVAL` for a size of less than two pages or one that is no multiple of the page size, for more than a GPADL can
/// name, and if the channel is open; `ENOMEM`.
pub(crate) fn alloc(
    channel: &Owned<'_>,
    send_size: u32,
    recv_size: u32,
    in_one_piece: bool,
) -> Result {
    let total = send_size.checked_add(recv_size).ok_or(EINVAL)? as usize;
    let bad = |size: u32| (size as usize) < 2 * PAGE_SIZE || size as usize % PAGE_SIZE != 0;
    if bad(send_size) || bad(recv_size) || channel.life().rings != Rings::Closed {
        return Err(EINVAL);
    }
    if (total / HV_HYP_PAGE_SIZE) as u64 > MAX_GPADL_PAGES {
        pr_err!(
            "the rings of relid {} cannot have {} KiB: a GPADL names {} at most\n",
            channel.relid(),
            total / 1024,
            MAX_GPADL_PAGES * 4
        );
        return Err(EINVAL);
    }
    let pages = total / PAGE_SIZE;
    let fits =
        |list: &PageList| list.bytes() == total && (!in_one_piece || list.contiguous() == pages);
    // Rings that the channel had before are as good as new ones, and there may be no memory for those: at a resume, and
    // at the reset of the disk that is to be swapped to.
    let list = match take_kept(channel).filter(|list| fits(list)) {
        Some(list) => {
            list.clear();
            list
        }
        None => KBox::new(new_list(channel, pages, in_one_piece)?, GFP_KERNEL)?,
    };
    // What a driver has left behind from before.
    free(channel);
    // What C code finds by way of the first page is memory of the rings, even if that has more pieces.
    let first = list.pages().first().copied();
    channel
        .ringbuffer_page()
        .set(first.unwrap_or(ptr::null_mut()));
    channel.ringbuffer_pagecount().set(list.contiguous() as u32);
    channel
        .ringbuffer_send_offset()
        .set(send_size / PAGE_SIZE as u32);
    // Of this memory the host knows nothing, whatever became of that before.
    channel.ring_gpadl().decrypted().set(false);
    channel.ring_in_one_piece().set(in_one_piece);
    channel.ring_memory().replace(Some(list));
    Ok(())
}

fn new_list(channel: &Channel, pages: usize, in_one_piece: bool) -> Result<PageList> {
    let node = crate::cpu::node(channel.target_cpu());
    if !in_one_piece {
        return PageList::alloc(node, pages);
    }
    PageList::alloc_contiguous(node, pages).inspect_err(|_| {
        pr_err!(
            "no {} KiB of memory in one piece for the rings of relid {}, whose driver maps them as such\n",
            pages * PAGE_SIZE / 1024,
            channel.relid()
        );
    })
}

/// Unmaps the rings and frees their memory, unless the host may still use it. Sleeps.
pub fn free(channel: &Owned<'_>) {
    unmap(channel);
    if let Some(list) = channel.ring_memory().replace(None) {
        if channel.ring_gpadl().decrypted().get() {
            KBox::into_inner(list).leak();
        }
    }
    channel.ringbuffer_page().set(ptr::null_mut());
    channel.ring_in_one_piece().set(false);
}

/// Unmaps the rings of a closed primary channel and keeps their memory for the next [`alloc`], or for [`release_kept`].
/// Sleeps.
///
/// Those of a sub-channel are freed: the host offers new ones when the driver asks again.
pub(crate) fn keep(channel: &Owned<'_>) {
    if channel.ring_gpadl().decrypted().get() || channel.primary().is_some() {
        return free(channel);
    }
    unmap(channel);
    let list = channel.ring_memory().replace(None);
    channel.ring_kept().replace(list);
    channel.ring_in_one_piece().set(false);
    channel.ringbuffer_page().set(ptr::null_mut());
}

/// Frees what [`keep`] has kept, when the driver has given the device up.
pub fn release_kept(channel: &Owned<'_>) {
    drop(take_kept(channel));
}

fn take_kept(channel: &Owned<'_>) -> Option<KBox<PageList>> {
    channel.ring_kept().replace(None)
}

impl Owned<'_> {
    /// The memory of both rings, if there is any.
    pub(crate) fn page_list(&self) -> Option<&PageList> {
        // SAFETY: By the invariants nobody else frees it.
        unsafe { self.ring_memory().get() }
    }
}

/// Whether the driver of a channel asked for rings in one piece, and got them.
pub(crate) fn is_in_one_piece(channel: &Channel) -> bool {
    channel.ring_in_one_piece().get()
}

/// Unmaps the rings. Sleeps.
pub fn unmap(channel: &Owned<'_>) {
    for ring in [channel.outbound(), channel.inbound()] {
        // The channel is closed, so that nobody uses the mapping or the buffer.
        drop((ring.put_mapping(None), ring.put_buffer(None)));
    }
}

/// Maps both rings and sets them up as empty. Sleeps.
///
/// # Errors
///
/// `EINVAL` without memory for them; `ENOMEM`, after which one may be mapped.
pub fn map(channel: &Owned<'_>) -> Result {
    let list = channel.page_list().ok_or(EINVAL)?;
    let send = channel.ringbuffer_send_offset().get() as usize;
    let (outbound, inbound) = list.pages().split_at_checked(send).ok_or(EINVAL)?;
    if channel.max_pkt_size().get() == 0 {
        channel.max_pkt_size().set(DEFAULT_MAX_PKT_SIZE);
    }
    let confidential = channel.has_confidential_ring();
    init(channel, channel.outbound(), outbound, confidential)?;
    init(channel, channel.inbound(), inbound, confidential)?;
    let buffer = KvSlice::zeroed(channel.max_pkt_size().get() as usize)?;
    drop(channel.inbound().put_buffer(Some(buffer)));
    Ok(())
}

/// Maps one ring of a channel that is being opened, instead of what was mapped there, and sets it up as empty. `pages` are
/// those of its memory. Sleeps.
///
/// # Errors
///
/// `ENOMEM`.
fn init(
    _channel: &Owned<'_>,
    ring: &RingInfo,
    pages: &[*mut bindings::page],
    confidential: bool,
) -> Result {
    let (header, data) = pages.split_first().ok_or(EINVAL)?;
    if data.is_empty() {
        return Err(EINVAL);
    }
    let mut list = PageArray::new(1 + 2 * data.len())?;
    list.push(*header)?;
    for _ in 0..2 {
        for page in data {
            list.push(*page)?;
        }
    }
    let mapping = Mapping::new(&list, pages.len(), confidential)?;
    // In both rings: the host reads the one of its side before it asks to be told about room.
    OutgoingRing::new(mapping.ring())
        .map_err(|_| EINVAL)?
        .enable_pending_send_sz();
    // A driver that opens the same rings again has left them mapped.
    drop(ring.put_mapping(Some(mapping)));
    Ok(())
}

/// A header page and twice the data pages, one after the other. Dropping it unmaps them.
///
/// # Invariants
///
/// The mapping is ours, can be written, and is as large as a ring of `bytes` with the data mapped twice.
struct Mapping {
    start: NonNull<c_void>,
    bytes: u32,
}

impl Mapping {
    /// Of a ring of `count` pages, of which the header is cleared, and whose list names each data page twice.
    fn new(list: &PageArray, count: usize, confidential: bool) -> Result<Self> {
        let pages = list.as_slice();
        if count == 0 || pages.len() != 2 * count - 1 {
            return Err(EINVAL);
        }
        let bytes = u32::try_from(count * PAGE_SIZE).map_err(|_| EINVAL)?;
        // SAFETY: The list's pages are valid; the function does not write to it. What it has mapped begins with a page of ours.
        let start = unsafe {
            let start =
                bindings::vmap_ring(pages.as_ptr().cast_mut(), pages.len() as u32, confidential);
            if !start.is_null() {
                ptr::write_bytes(start.cast::<u8>(), 0, PAGE_SIZE);
            }
            start
        };
        // INVARIANT: The length was looked at above.
        Ok(Self {
            start: NonNull::new(start).ok_or(ENOMEM)?,
            bytes,
        })
    }
}

impl Mapping {
    /// The ring, which is not used longer than the mapping.
    fn ring(&self) -> MappedRing {
        // SAFETY: By the invariants of `self`; `alloc` sees to the size.
        unsafe { MappedRing::new(self.start.cast(), self.bytes - PAGE_SIZE as u32) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: By the invariants.
        unsafe { bindings::vunmap(self.start.as_ptr()) };
    }
}

impl RingInfo {
    /// Sets what is mapped, and returns what was. Under the mutex, which keeps sysfs out. Of a channel that is not open.
    fn put_mapping(&self, new: Option<Mapping>) -> Option<Mapping> {
        let _guard = self.ring_mutex().lock();
        let old = self.ring_buffer().get();
        let start = match new {
            None => ptr::null_mut(),
            Some(mapping) => {
                self.ring_size().set(mapping.bytes);
                self.set_reciprocal(mapping.bytes / 10);
                self.ring_datasize().set(mapping.bytes - PAGE_SIZE as u32);
                self.priv_read_index().set(0);
                ManuallyDrop::new(mapping).start.as_ptr()
            }
        };
        self.ring_buffer().set(start.cast());
        // INVARIANT: Only this function writes the pointer; nobody asks how large a mapping is that was taken out.
        NonNull::new(old.cast()).map(|start| Mapping { start, bytes: 0 })
    }

    /// Sets the buffer that packets are copied to, and returns the one before. Of a channel that is not open.
    fn put_buffer(&self, new: Option<KvSlice<u8>>) -> Option<KvSlice<u8>> {
        let size = self.pkt_buffer_size().get() as usize;
        let (len, start) = new.map_or((0, ptr::null_mut()), |b| (b.len() as u32, b.into_raw()));
        let old = self.pkt_buffer().replace(start.cast());
        self.pkt_buffer_size().set(len);
        // SAFETY: Only this function writes the fields.
        unsafe { KvSlice::from_raw(old.cast(), size) }
    }
}
