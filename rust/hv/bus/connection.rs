// SPDX-License-Identifier: GPL-2.0

//! `struct vmbus_connection`, of which drivers see parts: the state of the connection, its pages and its table.
//!
//! C counterpart: drivers/hv/connection.c.

use crate::{
    hypercall,
    lock::SpinGuard,
    machine,
    wait::CompletionRef, //
};
use core::{
    ptr,
    sync::atomic::{
        AtomicPtr,
        AtomicU32,
        AtomicU64,
        Ordering, //
    }, //
};
use kernel::{
    ffi::c_void,
    page::PAGE_SIZE,
    prelude::*, //
};
use rlis_proto::vmbus::{
    message::ChannelMessage,
    Version,
    HV_HYP_PAGE_SIZE,
    MAX_CHANNEL_RELIDS, //
};
use rlis_sys as bindings;

/// The one connection. All fields of the C object are reached through this pointer.
pub(crate) fn raw() -> *mut bindings::vmbus_connection {
    &raw mut bindings::vmbus_connection
}

/// `enum vmbus_connect_state`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// There is no connection.
    Disconnected,
    /// A version is being negotiated.
    Connecting,
    /// Messages can be posted.
    Connected,
}

impl State {
    fn to_c(self) -> u32 {
        match self {
            Self::Disconnected => bindings::vmbus_connect_state_DISCONNECTED,
            Self::Connecting => bindings::vmbus_connect_state_CONNECTING,
            Self::Connected => bindings::vmbus_connect_state_CONNECTED,
        }
    }

    fn from_c(state: u32) -> Self {
        match state {
            bindings::vmbus_connect_state_CONNECTED => Self::Connected,
            bindings::vmbus_connect_state_CONNECTING => Self::Connecting,
            _ => Self::Disconnected,
        }
    }
}

/// What is accessed atomically and lives forever.
struct Cells {
    state: &'static AtomicU32,
    msg_conn_id: &'static AtomicU32,
    version: &'static AtomicU32,
    next_gpadl: &'static AtomicU32,
    table: &'static AtomicPtr<*mut bindings::vmbus_channel>,
    send_page: &'static AtomicPtr<c_void>,
}

fn cells() -> Cells {
    let c = raw();
    // SAFETY: The statics live forever; an enum of C is a `u32` and `atomic_t` an integer; once there is a connection, all
    // accesses here are atomic.
    unsafe {
        Cells {
            state: AtomicU32::from_ptr((&raw mut (*c).conn_state).cast()),
            msg_conn_id: AtomicU32::from_ptr(&raw mut (*c).msg_conn_id),
            version: AtomicU32::from_ptr(&raw mut bindings::vmbus_proto_version),
            next_gpadl: AtomicU32::from_ptr((&raw mut (*c).next_gpadl_handle).cast()),
            table: AtomicPtr::from_ptr(&raw mut (*c).channels),
            send_page: AtomicPtr::from_ptr(&raw mut (*c).send_int_page),
        }
    }
}

/// The state of the connection.
pub fn state() -> State {
    State::from_c(cells().state.load(Ordering::Acquire))
}

/// Sets the state, and returns the one before.
pub fn set_state(state: State) -> State {
    State::from_c(cells().state.swap(state.to_c(), Ordering::AcqRel))
}

/// The version in use; 0.0 before the first connection.
pub fn version() -> Version {
    Version(cells().version.load(Ordering::Relaxed))
}

/// Sets the version in use.
pub fn set_version(version: Version) {
    cells().version.store(version.0, Ordering::Relaxed);
}

/// The hypervisor's connection that messages go to.
pub fn message_connection() -> u32 {
    cells().msg_conn_id.load(Ordering::Relaxed)
}

/// Sets the hypervisor's connection that messages go to.
pub fn set_message_connection(id: u32) {
    cells().msg_conn_id.store(id, Ordering::Relaxed);
}

/// A number for a GPADL that no other has had, until they wrap around.
pub fn next_gpadl_handle() -> u32 {
    cells().next_gpadl.fetch_add(1, Ordering::Relaxed)
}

/// Posts a channel message of fixed size. May sleep for seconds while the host is short of buffers.
///
/// # Errors
///
/// Those of [`hypercall::post`], and `ENODEV` without a connection.
pub fn post<M: ChannelMessage>(message: &M) -> Result {
    post_bytes(message.as_bytes())
}

/// Posts a channel message. May sleep.
///
/// # Errors
///
/// As for [`post`].
pub fn post_bytes(message: &[u8]) -> Result {
    if state() != State::Connected {
        return Err(ENODEV);
    }
    hypercall::post(message_connection(), message, false, true)
}

/// Takes the lock that protects pending requests.
pub(crate) fn channelmsg_lock() -> SpinGuard<'static> {
    // SAFETY: The lock is initialised statically and lives forever; nothing in this crate takes it twice.
    unsafe { SpinGuard::lock(&raw mut (*raw()).channelmsg_lock) }
}

/// Happens when the host confirms the end of the connection.
pub fn unloaded() -> CompletionRef<'static> {
    // SAFETY: Initialised statically, and lives forever.
    unsafe { CompletionRef::from_raw(&raw mut (*raw()).unload_event) }
}

/// Happens when the host has sent all its present offers.
pub fn offers_delivered() -> CompletionRef<'static> {
    // SAFETY: Initialised statically, and lives forever.
    unsafe { CompletionRef::from_raw(&raw mut bindings::rlis_all_offers_delivered) }
}

/// Happens when the last channel has gone that a suspend waits for.
pub fn ready_for_suspend() -> CompletionRef<'static> {
    // SAFETY: Initialised statically, and lives forever.
    unsafe { CompletionRef::from_raw(&raw mut (*raw()).ready_for_suspend_event) }
}

/// The table of channels, by relid; null before and after the connection.
pub(crate) fn table() -> &'static AtomicPtr<*mut bindings::vmbus_channel> {
    cells().table
}

/// Sets the channel's bit in the page that the host looks at when it is signalled.
pub(crate) fn set_interrupt_bit(relid: u32) {
    let page = cells().send_page.load(Ordering::Relaxed).cast::<u64>();
    if !page.is_null() && relid < MAX_CHANNEL_RELIDS {
        // SAFETY: The send half of the interrupt page has 2048 bytes; relids are below 2048. Shared with the host and
        // accessed atomically.
        unsafe { AtomicU64::from_ptr(page.add(relid as usize / 64)) }
            .fetch_or(1 << (relid % 64), Ordering::SeqCst);
    }
}

/// A monitor page: host to guest, or guest to host.
#[derive(Clone, Copy)]
pub(crate) enum MonitorPage {
    Server,
    Client,
}

impl MonitorPage {
    /// The word at `offset`, rounded down to one; `None` if it is not in the page, or there is none.
    pub(crate) fn word(self, offset: usize) -> Option<&'static AtomicU32> {
        let index = match self {
            Self::Server => 0,
            Self::Client => 1,
        };
        // SAFETY: The pages live as long as the connection, which outlives devices.
        let page = unsafe { (*raw()).monitor_pages[index] }.cast::<u8>();
        if page.is_null() || offset >= PAGE_SIZE - 3 {
            return None;
        }
        // SAFETY: Within the page, aligned, shared with the host and accessed atomically.
        Some(unsafe { AtomicU32::from_ptr(page.add(offset & !3).cast()) })
    }
}

/// A page that the host shares with us, or that must look like one.
fn alloc_page(decrypt: bool) -> Result<*mut c_void> {
    // SAFETY: No requirements.
    let page = unsafe { bindings::get_zeroed_page() };
    if page.is_null() {
        return Err(ENOMEM);
    }
    if decrypt {
        // SAFETY: The page is ours.
        if unsafe { bindings::set_memory_decrypted(page, HV_HYP_PAGE_SIZE) } != 0 {
            // Its encryption state is unknown: it must not go back to the allocator.
            return Err(ENOMEM);
        }
        // SAFETY: The page is ours and has that size. Decryption may have changed its content.
        unsafe { ptr::write_bytes(page.cast::<u8>(), 0, HV_HYP_PAGE_SIZE) };
    }
    Ok(page)
}

/// Frees a page of [`alloc_page`].
///
/// # Safety
///
/// Nobody uses the page any more, the host included.
unsafe fn free_page(page: *mut c_void, encrypt: bool) {
    if page.is_null() {
        return;
    }
    // SAFETY: The caller gives the page up. One that cannot be encrypted again is leaked.
    unsafe {
        if !encrypt || bindings::set_memory_encrypted(page, HV_HYP_PAGE_SIZE) == 0 {
            bindings::free_page(page);
        }
    }
}

/// Addresses of the pages as the host is told them.
pub struct ContactPages {
    /// The interrupt page.
    pub interrupt: u64,
    /// The monitor pages: host to guest, guest to host.
    pub monitor: [u64; 2],
}

/// The connection's pages and its table of channels. Dropping it gives them up; channels must be gone by then.
pub struct Resources {
    /// The host may write to the monitor pages. Then they are not freed.
    pub is_lent: fn() -> bool,
}

impl Resources {
    /// Allocates them. `is_lent` says at the end whether the host may still write to the monitor pages.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(is_lent: fn() -> bool) -> Result<Self> {
        let resources = Self { is_lent };
        let c = raw();
        // SAFETY: Nobody uses these fields yet: no message arrives before the first post, and no driver can register before
        // the module is loaded. Interrupts look at the table as soon as there is a first channel.
        unsafe {
            let table = bindings::vmbus_kvzalloc(
                MAX_CHANNEL_RELIDS as usize * size_of::<*mut bindings::vmbus_channel>(),
            );
            if table.is_null() {
                return Err(ENOMEM);
            }
            (*c).channels = table.cast();
            (*c).int_page = alloc_page(false)?;
            (*c).recv_int_page = (*c).int_page;
            (*c).send_int_page = (*c).int_page.byte_add(HV_HYP_PAGE_SIZE / 2);
            (*c).monitor_pages[0] = alloc_page(true)?.cast();
            (*c).monitor_pages[1] = alloc_page(true)?.cast();
        }
        Ok(resources)
    }
}

/// The addresses for INITIATE_CONTACT. There are [`Resources`].
pub fn contact_pages() -> ContactPages {
    let (c, boundary) = (raw(), machine::shared_gpa_boundary());
    // SAFETY: The pages are allocated, or null, of which there is an address, too.
    unsafe {
        ContactPages {
            interrupt: bindings::virt_to_phys((*c).int_page),
            monitor: (*c)
                .monitor_pages
                .map(|page| bindings::virt_to_phys(page.cast()) | boundary),
        }
    }
}

impl Drop for Resources {
    fn drop(&mut self) {
        let c = raw();
        // SAFETY: The connection has ended, and channels are gone. An interrupt may still be looking at the table. Pages
        // that the host may still write to are not freed.
        unsafe {
            let table = table().swap(ptr::null_mut(), Ordering::AcqRel);
            bindings::synchronize_rcu();
            bindings::vmbus_kvfree(table.cast());
            if (self.is_lent)() {
                pr_warn!("three pages are lost: the host may still write to them\n");
            } else {
                free_page((*c).int_page, false);
                for page in (*c).monitor_pages {
                    free_page(page.cast(), true);
                }
            }
            (*c).int_page = ptr::null_mut();
            (*c).send_int_page = ptr::null_mut();
            (*c).recv_int_page = ptr::null_mut();
            (*c).monitor_pages = [ptr::null_mut(); 2];
        }
    }
}
