// SPDX-License-Identifier: GPL-2.0

//! The two rings of a channel: their memory, sending and receiving packets, signalling.
//!
//! A ring is one header page, which both sides write to, and data pages. The data pages are mapped twice, one
//! mapping after the other, so that a packet is contiguous even where it wraps around.
//!
//! # What is read from the header
//!
//! Indices are read once, and used only after they were compared with the size of the ring. A packet is copied
//! to private memory before any of it is interpreted.

use crate::{
    channel::Channel,
    interrupt,
    lock::SpinGuard,
    ratelimit, //
};
use core::{
    mem::size_of,
    ptr,
    slice,
    sync::atomic::{
        AtomicU32,
        Ordering, //
    }, //
};
use kernel::{
    ffi::c_void,
    page::PAGE_SIZE,
    prelude::*, //
};
use rlis_sys as bindings;

/// Offsets in the header page (`struct hv_ring_buffer`), in bytes.
mod header {
    pub(super) const WRITE_INDEX: usize = 0;
    pub(super) const READ_INDEX: usize = 4;
    pub(super) const INTERRUPT_MASK: usize = 8;
    pub(super) const PENDING_SEND_SZ: usize = 12;
    pub(super) const FEATURE_BITS: usize = 64;
}

/// Feature bit: the owner of the ring's read side looks at `pending_send_sz`.
const FEAT_PENDING_SEND_SZ: u32 = 1;
/// Bytes after each packet: the write index before it, in the upper half of a 64-bit word.
const TRAILER: u32 = 8;
/// Size of `struct vmpacket_descriptor`.
const DESCRIPTOR: u32 = 16;
/// Offset of `trans_id` in it.
const DESCRIPTOR_TRANS_ID: usize = 8;

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
    /// # Safety
    ///
    /// `info` is initialised, and the ring is not freed while the value is used: the channel is open.
    unsafe fn of(info: *const bindings::hv_ring_buffer_info) -> Option<Self> {
        // SAFETY: The caller vouches for `info`.
        let (base, datasize) = unsafe { ((*info).ring_buffer.cast::<u8>(), (*info).ring_datasize) };
        // INVARIANT: `init` mapped it so.
        (!base.is_null()).then_some(Self { base, datasize })
    }

    fn word(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: Within the header page; shared with the host, and only accessed atomically.
        unsafe { AtomicU32::from_ptr(self.base.add(offset).cast()) }
    }

    fn write_index(&self) -> &AtomicU32 {
        self.word(header::WRITE_INDEX)
    }

    fn read_index(&self) -> &AtomicU32 {
        self.word(header::READ_INDEX)
    }

    fn data(&self) -> *mut u8 {
        self.base.wrapping_add(PAGE_SIZE)
    }

    /// Bytes that can be written with these indices, both below `datasize`. One that is never used included.
    fn room(&self, read: u32, write: u32) -> u32 {
        if write >= read {
            self.datasize - (write - read)
        } else {
            read - write
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

/// Looks at a ring, open or not. Sleeps.
///
/// # Errors
///
/// `EINVAL` if the channel is not open.
///
/// # Safety
///
/// `info` is a ring of a channel.
pub(crate) unsafe fn debug_info(info: *mut bindings::hv_ring_buffer_info) -> Result<DebugInfo> {
    // SAFETY: The caller vouches for the ring.
    let _guard = unsafe { RingMutex::lock(info) };
    // SAFETY: The mutex keeps the ring.
    let ring = unsafe { Mapped::of(info) }.ok_or(EINVAL)?;
    let (read, write) = (
        ring.read_index().load(Ordering::Relaxed),
        ring.write_index().load(Ordering::Relaxed),
    );
    // Numbers for people: indices out of range must only not overflow.
    let to_write = if write >= read {
        ring.datasize.saturating_sub(write - read)
    } else {
        read - write
    };
    Ok(DebugInfo {
        interrupt_mask: ring.word(header::INTERRUPT_MASK).load(Ordering::Relaxed),
        read_index: read,
        write_index: write,
        to_read: ring.datasize.saturating_sub(to_write),
        to_write,
    })
}

/// `ring_buffer_mutex`, which keeps a ring mapped while sysfs looks at it.
struct RingMutex(*mut bindings::mutex);

impl RingMutex {
    /// # Safety
    ///
    /// `info` is a ring of a channel that outlives the guard.
    unsafe fn lock(info: *mut bindings::hv_ring_buffer_info) -> Self {
        // SAFETY: Initialised with the channel.
        unsafe {
            let mutex = &raw mut (*info).ring_buffer_mutex;
            bindings::mutex_lock(mutex);
            Self(mutex)
        }
    }
}

impl Drop for RingMutex {
    fn drop(&mut self) {
        // SAFETY: Locked by `lock`.
        unsafe { bindings::mutex_unlock(self.0) };
    }
}

/// Allocates the memory of both rings on the channel's NUMA node. Sleeps.
///
/// # Errors
///
/// `EINVAL` for a size of zero or one that is no multiple of the page size; `ENOMEM`.
pub(crate) fn alloc(channel: &Channel, send_size: u32, recv_size: u32) -> Result {
    let total = send_size.checked_add(recv_size).ok_or(EINVAL)?;
    let bad = |size: u32| (size as usize) < 2 * PAGE_SIZE || size as usize % PAGE_SIZE != 0;
    if bad(send_size) || bad(recv_size) {
        return Err(EINVAL);
    }
    let c = channel.raw();
    let node = crate::cpu::node(channel.target_cpu());
    // SAFETY: Process context. The driver that opens the channel is the only one to touch these fields.
    unsafe {
        let page = bindings::alloc_ring_pages(node, total as usize);
        if page.is_null() {
            return Err(ENOMEM);
        }
        (*c).ringbuffer_page = page;
        (*c).ringbuffer_pagecount = total / PAGE_SIZE as u32;
        (*c).ringbuffer_send_offset = send_size / PAGE_SIZE as u32;
    }
    Ok(())
}

/// Unmaps the rings and frees their memory, unless the host may still use it. Sleeps.
pub(crate) fn free(channel: &Channel) {
    unmap(channel);
    let c = channel.raw();
    // SAFETY: The channel is closed, so that only its driver, our caller, uses these fields.
    unsafe {
        let page = (*c).ringbuffer_page;
        if !page.is_null() && !(*c).ringbuffer_gpadlhandle.decrypted {
            let size = (*c).ringbuffer_pagecount as usize * PAGE_SIZE;
            bindings::free_ring_pages(page, size);
        }
        (*c).ringbuffer_page = ptr::null_mut();
    }
}

/// Unmaps the rings. Sleeps.
pub(crate) fn unmap(channel: &Channel) {
    let c = channel.raw();
    // SAFETY: The channel is closed; the mutex keeps sysfs out.
    unsafe {
        for info in [&raw mut (*c).outbound, &raw mut (*c).inbound] {
            let guard = RingMutex::lock(info);
            let mapping = (*info).ring_buffer;
            (*info).ring_buffer = ptr::null_mut();
            drop(guard);
            if !mapping.is_null() {
                bindings::vmbus_vunmap(mapping.cast());
            }
            bindings::kfree((*info).pkt_buffer);
            (*info).pkt_buffer = ptr::null_mut();
            (*info).pkt_buffer_size = 0;
        }
    }
}

/// Maps one ring and sets it up as empty. Sleeps.
///
/// # Errors
///
/// `ENOMEM`.
///
/// # Safety
///
/// `info` is a ring of a channel that is being opened; `pages` points to `count` consecutive pages of its
/// memory.
pub(crate) unsafe fn init(
    info: *mut bindings::hv_ring_buffer_info,
    pages: *mut bindings::page,
    count: u32,
    max_pkt_size: u32,
    confidential: bool,
) -> Result {
    let data = count.checked_sub(1).filter(|&n| n > 0).ok_or(EINVAL)? as usize;
    let mut list = KVec::with_capacity(1 + 2 * data, GFP_KERNEL)?;
    list.push(pages, GFP_KERNEL)?;
    for i in 0..2 * data {
        list.push(pages.wrapping_add(1 + i % data), GFP_KERNEL)?;
    }
    // SAFETY: The list holds that many pages. The ring is not in use; the mutex keeps sysfs out.
    unsafe {
        let mapping = bindings::vmap_ring(list.as_mut_ptr(), list.len() as u32, confidential);
        if mapping.is_null() {
            return Err(ENOMEM);
        }
        ptr::write_bytes(mapping.cast::<u8>(), 0, PAGE_SIZE);
        let size = count * PAGE_SIZE as u32;
        let guard = RingMutex::lock(info);
        (*info).ring_buffer = mapping.cast();
        (*info).ring_size = size;
        (*info).ring_size_div10_reciprocal = bindings::vmbus_reciprocal_value(size / 10);
        (*info).ring_datasize = size - PAGE_SIZE as u32;
        (*info).priv_read_index = 0;
        drop(guard);
        bindings::ring_lock_init(&raw mut (*info).ring_lock);
        if let Some(ring) = Mapped::of(info) {
            ring.word(header::FEATURE_BITS)
                .store(FEAT_PENDING_SEND_SZ, Ordering::Relaxed);
        }
        if max_pkt_size > 0 {
            (*info).pkt_buffer = bindings::vmbus_kzalloc(max_pkt_size as usize);
            if (*info).pkt_buffer.is_null() {
                return Err(ENOMEM);
            }
            (*info).pkt_buffer_size = max_pkt_size;
        }
    }
    Ok(())
}

/// Signals the host after a packet was written, if the host waits for one.
///
/// The host masks signals while it reads, and reads until the ring is empty; so it waits only if the ring was
/// empty before. Hosts throttle guests that signal more often than that.
fn signal_on_write(channel: &Channel, ring: Mapped, old_write: u32) {
    // The exchange that published the packet orders these reads after it.
    if ring.word(header::INTERRUPT_MASK).load(Ordering::SeqCst) != 0 {
        return;
    }
    if ring.read_index().load(Ordering::SeqCst) == old_write {
        // SAFETY: A statistic that may miss a count.
        unsafe { (*channel.raw()).intr_out_empty += 1 };
        interrupt::signal(channel);
    }
}

/// A packet to be sent: the descriptor, its parts and what it asks for.
pub(crate) struct Packet<'a> {
    /// The pieces, in order; the first begins with the descriptor. Together a multiple of 8 bytes.
    pub(crate) parts: [&'a [u8]; 3],
    /// Whether the host shall complete the packet.
    pub(crate) wants_completion: bool,
    /// What the channel's request id callback turns into a transaction id, or the id itself.
    pub(crate) request_id: u64,
}

/// Writes a packet to the ring and signals the host if it has to be. Any context.
///
/// Returns the transaction id under which the host will complete it.
///
/// # Errors
///
/// `EAGAIN` if the ring is full or there is no request id left; `ENODEV` if the channel is rescinded, also if
/// that happens meanwhile; `EIO` if the host has ruined the ring; `EINVAL` if the channel is not open.
pub(crate) fn send(channel: &Channel, packet: &Packet<'_>) -> Result<u64> {
    let c = channel.raw();
    if channel.is_rescinded() {
        return Err(ENODEV);
    }
    let len = packet
        .parts
        .iter()
        .try_fold(TRAILER, |sum, part| {
            u32::try_from(part.len())
                .ok()
                .and_then(|n| sum.checked_add(n))
        })
        .ok_or(EINVAL)?;
    // SAFETY: The driver keeps the channel open during the call.
    let ring = unsafe { Mapped::of(&raw const (*c).outbound) }.ok_or(EINVAL)?;

    // SAFETY: Initialised with the ring; not held here.
    let guard = unsafe { SpinGuard::lock(&raw mut (*c).outbound.ring_lock) };
    let read = ring.read_index().load(Ordering::Acquire);
    let old_write = ring.write_index().load(Ordering::Relaxed);
    if read >= ring.datasize || old_write >= ring.datasize {
        drop(guard);
        ratelimit::warn(|| {
            pr_err!(
                "outbound ring of relid {}: read index {} or write index {} beyond {}\n",
                channel.relid(),
                read,
                old_write,
                ring.datasize
            );
        });
        return Err(EIO);
    }
    // A ring that is filled to the last byte would look empty.
    if ring.room(read, old_write) <= len {
        // SAFETY: Statistics, written under the lock.
        unsafe {
            (*c).out_full_total += 1;
            if !(*c).out_full_flag {
                (*c).out_full_first += 1;
                (*c).out_full_flag = true;
            }
        }
        return Err(EAGAIN);
    }
    // SAFETY: As above.
    unsafe { (*c).out_full_flag = false };

    let mut at = old_write as usize;
    let mut copy = |bytes: &[u8]| {
        // SAFETY: All parts and the trailer together are smaller than the free room, so the copy ends before
        // `datasize` bytes after its start, which is below `datasize`: within the double mapping. The host
        // does not read beyond the write index.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), ring.data().add(at), bytes.len()) };
        at += bytes.len();
    };
    for part in packet.parts {
        copy(part);
    }
    copy(&(u64::from(old_write) << 32).to_le_bytes());
    let new_write = match u32::try_from(at) {
        Ok(at) if at >= ring.datasize => at - ring.datasize,
        Ok(at) => at,
        Err(_) => return Err(EINVAL),
    };

    // The id is allocated last: from then on a completion could find it.
    let mut allocated = None;
    if packet.wants_completion {
        // SAFETY: The driver's function, set while the channel is open, called as declared.
        if let Some(next_request_id) = unsafe { (*c).next_request_id_callback } {
            // SAFETY: As above.
            match unsafe { next_request_id(c, packet.request_id) } {
                NO_REQUESTOR => {}
                REQUEST_ERROR => return Err(EAGAIN),
                id => allocated = Some(id),
            }
        }
    }
    let trans_id = allocated.unwrap_or(packet.request_id);
    // SAFETY: Within the first part, which was just written. Written only: what is there may change.
    unsafe {
        ring.data()
            .add(old_write as usize + DESCRIPTOR_TRANS_ID)
            .cast::<u64>()
            .write_volatile(trans_id);
    }
    // A full barrier: the packet before it, the decision to signal after it.
    ring.write_index().swap(new_write, Ordering::SeqCst);
    drop(guard);

    signal_on_write(channel, ring, old_write);
    if channel.is_rescinded() {
        if let Some(id) = allocated {
            // SAFETY: The driver's function. The id would never be completed.
            unsafe {
                if let Some(request_addr) = (*c).request_addr_callback {
                    request_addr(c, id);
                }
            }
        }
        return Err(ENODEV);
    }
    Ok(trans_id)
}

/// `VMBUS_NO_RQSTOR`: the channel's ids are the driver's own.
pub(crate) const NO_REQUESTOR: u64 = u64::MAX;
/// `VMBUS_RQST_ERROR`: no id.
pub(crate) const REQUEST_ERROR: u64 = u64::MAX - 1;

/// A copy of the packet at the private read index, or null if there is none. For the channel's reader.
///
/// The copy is in `pkt_buffer`, which the next call overwrites. Its lengths are consistent, whatever the host
/// wrote.
///
/// # Safety
///
/// The channel is open, and the caller is its only reader.
pub(crate) unsafe fn first(channel: &Channel) -> *mut bindings::vmpacket_descriptor {
    // SAFETY: The caller is the only one to use the read side.
    unsafe {
        let info = &raw mut (*channel.raw()).inbound;
        let Some(ring) = Mapped::of(info) else {
            return ptr::null_mut();
        };
        let read = (*info).priv_read_index;
        // The packet is read only after the index that announces it.
        let write = ring.write_index().load(Ordering::Acquire);
        if write >= ring.datasize || read >= ring.datasize {
            ratelimit::warn(|| {
                pr_err!(
                    "inbound ring of relid {}: write index {} beyond {}\n",
                    channel.relid(),
                    write,
                    ring.datasize
                );
            });
            return ptr::null_mut();
        }
        let filled = ring.datasize - ring.room(read, write);
        if filled < DESCRIPTOR || (*info).pkt_buffer_size < DESCRIPTOR {
            return ptr::null_mut();
        }
        let available = filled.min((*info).pkt_buffer_size);

        let packet = ring.data().add(read as usize);
        // Once: the host may change them at any time.
        let len8 = packet.add(4).cast::<u16>().read_volatile();
        let offset8 = packet.add(2).cast::<u16>().read_volatile();
        let mut len = u32::from(len8) << 3;
        if len < DESCRIPTOR || len > available {
            len = available;
        }
        let mut offset = u32::from(offset8) << 3;
        if offset < DESCRIPTOR || offset > len {
            offset = DESCRIPTOR;
        }
        let copy = (*info).pkt_buffer.cast::<u8>();
        // `read` is below `datasize` and `len` at most that: within the double mapping.
        ptr::copy_nonoverlapping(packet, copy, len as usize);
        copy.add(4).cast::<u16>().write((len >> 3) as u16);
        copy.add(2).cast::<u16>().write((offset >> 3) as u16);
        copy.cast()
    }
}

/// Goes on to the packet after `packet`; see [`first`].
///
/// # Safety
///
/// As for [`first`]; `packet` is what it returned last.
pub(crate) unsafe fn next(
    channel: &Channel,
    packet: *const bindings::vmpacket_descriptor,
) -> *mut bindings::vmpacket_descriptor {
    // SAFETY: The caller is the only one to use the read side; `packet` is a private copy.
    unsafe {
        let info = &raw mut (*channel.raw()).inbound;
        let len = (u32::from((*packet).len8) << 3) + TRAILER;
        let at = (*info).priv_read_index.wrapping_add(len);
        let size = (*info).ring_datasize;
        (*info).priv_read_index = if at >= size { at - size } else { at };
        first(channel)
    }
}

/// Gives the packets that were read back to the host, and signals it if it waits for room.
///
/// The order is part of the protocol: first the read index, then the host's `pending_send_sz`, then the write
/// index; otherwise a host that fills the ring meanwhile would wait forever. The host is signalled only when
/// the room it waits for has just become available.
///
/// # Safety
///
/// As for [`first`].
pub(crate) unsafe fn close(channel: &Channel) {
    // SAFETY: The caller is the only one to use the read side.
    unsafe {
        let info = &raw mut (*channel.raw()).inbound;
        let Some(ring) = Mapped::of(info) else { return };
        let now = (*info).priv_read_index;
        // A full barrier on both sides: all reads of packets before it, the decision to signal after it.
        let before = ring.read_index().swap(now, Ordering::SeqCst);

        if ring.word(header::FEATURE_BITS).load(Ordering::Relaxed) & FEAT_PENDING_SEND_SZ == 0 {
            return;
        }
        let pending = ring.word(header::PENDING_SEND_SZ).load(Ordering::SeqCst);
        if pending == 0 {
            return;
        }
        let write = ring.write_index().load(Ordering::SeqCst);
        if write >= ring.datasize || before >= ring.datasize {
            return;
        }
        let room = ring.room(now, write);
        let freed = if now >= before {
            now - before
        } else {
            ring.datasize - before + now
        };
        // Exactly full counts as not enough: one byte always stays free.
        if room.wrapping_sub(freed) > pending || room <= pending {
            return;
        }
        (*channel.raw()).intr_in_full += 1;
        interrupt::signal(channel);
    }
}

/// What [`receive`] has read.
pub(crate) struct Received {
    /// Bytes of the packet; may be more than there was room for.
    pub(crate) len: u32,
    /// Its transaction id.
    pub(crate) trans_id: u64,
}

/// Reads one packet into `buffer`: its payload or, if `raw`, all of it. `None` if there is none.
///
/// # Errors
///
/// `ENOBUFS` with the length needed if the buffer is too small; the packet stays in the ring.
///
/// # Safety
///
/// As for [`first`].
pub(crate) unsafe fn receive(
    channel: &Channel,
    buffer: &mut [u8],
    raw: bool,
) -> (Option<Received>, Result) {
    // SAFETY: The caller is the only one to use the read side. The copy has the length it says.
    unsafe {
        let packet = first(channel);
        if packet.is_null() {
            return (None, Ok(()));
        }
        let offset = if raw {
            0
        } else {
            usize::from((*packet).offset8) << 3
        };
        let len = (usize::from((*packet).len8) << 3).saturating_sub(offset);
        let received = Received {
            len: len as u32,
            trans_id: (*packet).trans_id,
        };
        let Some(room) = buffer.get_mut(..len) else {
            return (Some(received), Err(ENOBUFS));
        };
        room.copy_from_slice(slice::from_raw_parts(packet.cast::<u8>().add(offset), len));
        next(channel, packet);
        close(channel);
        (Some(received), Ok(()))
    }
}

/// The address of the rings' memory as the host sees it, and its size.
pub(crate) fn memory(channel: &Channel) -> (*mut c_void, u32) {
    // SAFETY: The driver that opens the channel is the only one to touch these fields.
    unsafe {
        let c = channel.raw();
        (
            bindings::vmbus_page_address((*c).ringbuffer_page),
            (*c).ringbuffer_pagecount * PAGE_SIZE as u32,
        )
    }
}

const _: () = assert!(size_of::<bindings::vmpacket_descriptor>() == DESCRIPTOR as usize);
