// SPDX-License-Identifier: GPL-2.0

//! `struct vmbus_connection`, of which drivers see parts: the state of the connection, its pages and its table.
//!
//! C counterpart: drivers/hv/connection.c.

use crate::{
    hypercall,
    machine,
    trace, //
};
use core::sync::atomic::{
    AtomicI32,
    AtomicPtr,
    AtomicU32,
    AtomicU64,
    Ordering, //
};
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
    page::{
        HostPage,
        PageSlot,
        Retired, //
    },
    view::view,
    Completion,
    Field, //
};
use rlis_proto::vmbus::{
    message::ChannelMessage,
    Version,
    HV_HYP_PAGE_SIZE, //
};
use rlis_sys as bindings;

/// The one connection.
#[inline]
pub(crate) fn c() -> &'static Connection {
    // SAFETY: The object lives forever.
    unsafe { view(&raw mut bindings::vmbus_connection) }
}

c_struct! {
    /// The C object.
    // SAFETY: It is initialised statically, in drivers/hv/vmbus/exports_connection.c, and lives forever.
    unsafe pub(crate) struct Connection(bindings::vmbus_connection) {
        fn conn_state -> AtomicU32 = conn_state;
        fn msg_conn_id -> AtomicU32 = msg_conn_id;
        fn next_gpadl -> AtomicI32 = next_gpadl_handle.counter;
        fn unload_event -> Completion = unload_event;
        fn ready_for_suspend_event -> Completion = ready_for_suspend_event;
        pub(crate) fn channel_mutex -> Mutex = channel_mutex;
        pub(crate) fn channels -> AtomicPtr<*mut bindings::vmbus_channel> = channels;
        pub(crate) fn channelmsg_lock -> SpinLock = channelmsg_lock;
        pub(crate) fn nr_chan_close_on_suspend -> AtomicI32 = nr_chan_close_on_suspend.counter;
        pub(crate) fn ignore_any_offer_msg -> Field<bool> = ignore_any_offer_msg;
        fn int_page -> PageSlot<InterruptPage> = int_page;
        fn send_int_page -> Field<*mut c_void> = send_int_page;
        fn recv_int_page -> Field<*mut c_void> = recv_int_page;
        fn monitor_pages -> [PageSlot<MonitorWords, bindings::hv_monitor_page>; 2] = monitor_pages;
    }
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

/// The state of the connection.
pub fn state() -> State {
    State::from_c(c().conn_state().load(Ordering::Acquire))
}

/// Sets the state, and returns the one before.
pub fn set_state(state: State) -> State {
    State::from_c(c().conn_state().swap(state.to_c(), Ordering::AcqRel))
}

fn version_cell() -> &'static AtomicU32 {
    // SAFETY: It lives forever, and C code reads it only.
    unsafe { view(&raw mut bindings::vmbus_proto_version) }
}

/// The version in use; 0.0 before the first connection.
pub fn version() -> Version {
    Version(version_cell().load(Ordering::Relaxed))
}

/// Sets the version in use.
pub fn set_version(version: Version) {
    version_cell().store(version.0, Ordering::Relaxed);
}

/// The hypervisor's connection that messages go to.
pub fn message_connection() -> u32 {
    c().msg_conn_id().load(Ordering::Relaxed)
}

/// Sets the hypervisor's connection that messages go to.
pub fn set_message_connection(id: u32) {
    c().msg_conn_id().store(id, Ordering::Relaxed);
}

/// A number for a GPADL that no other has had, until they wrap around.
pub fn next_gpadl_handle() -> u32 {
    c().next_gpadl().fetch_add(1, Ordering::Relaxed) as u32
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
    let result = hypercall::post(message_connection(), message, false, true);
    trace::sent(message, result);
    result
}

/// Happens when the host confirms the end of the connection.
pub fn unloaded() -> &'static Completion {
    c().unload_event()
}

/// Happens when the host has sent all its present offers.
pub fn offers_delivered() -> &'static Completion {
    // SAFETY: Initialised statically, and lives forever.
    unsafe { view(&raw mut bindings::rlis_all_offers_delivered) }
}

/// Happens when the last channel has gone that a suspend waits for.
pub fn ready_for_suspend() -> &'static Completion {
    c().ready_for_suspend_event()
}

/// The page of events, which no current host uses but by the bits that it looks at when it is signalled: the half for events
/// from the host, and the half for those to it, a bit a relid.
#[derive(FromBytes)]
#[repr(C)]
pub(crate) struct InterruptPage {
    from_host: [AtomicU64; 256],
    to_host: [AtomicU64; 256],
}

/// A monitor page.
pub(crate) type MonitorWords = [AtomicU32; HV_HYP_PAGE_SIZE / 4];

/// Sets the channel's bit in the page that the host looks at when it is signalled.
#[inline]
pub(crate) fn set_interrupt_bit(relid: u32) {
    // SAFETY: The pages stay as long as there are channels, of one of which this is the relid: see `Resources`.
    let page = unsafe { c().int_page().get_kept() };
    if let Some(word) = page.and_then(|page| page.to_host.get(relid as usize / 64)) {
        word.fetch_or(1 << (relid % 64), Ordering::SeqCst);
    }
}

/// A monitor page: host to guest, or guest to host.
#[derive(Clone, Copy)]
pub(crate) enum MonitorPage {
    Server,
    Client,
}

impl MonitorPage {
    /// The word at `offset`, rounded down to one; `None` if it is not in the page, or there is none. For who has a channel.
    #[inline]
    pub(crate) fn word(self, offset: usize) -> Option<&'static AtomicU32> {
        let [server, client] = c().monitor_pages();
        let page = match self {
            Self::Server => server,
            Self::Client => client,
        };
        // SAFETY: As above.
        unsafe { page.get_kept() }?.get(offset / 4)
    }
}

/// Addresses of the pages as the host is told them.
pub struct ContactPages {
    /// The interrupt page.
    pub interrupt: u64,
    /// The monitor pages: host to guest, guest to host.
    pub monitor: [u64; 2],
}

/// The connection's pages. Dropping it gives them up; channels must be gone by then.
pub struct Resources {
    /// The host may write to the monitor pages. Then they are not freed.
    is_lent: fn() -> bool,
}

impl Resources {
    /// Allocates them. `is_lent` says at the end whether the host may still write to the monitor pages.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(is_lent: fn() -> bool) -> Result<Self> {
        let [server, client] = [HostPage::decrypted()?, HostPage::decrypted()?];
        let (c, interrupt) = (c(), HostPage::new()?);
        c.recv_int_page().set(interrupt.start());
        c.send_int_page()
            .set(interrupt.start().wrapping_byte_add(HV_HYP_PAGE_SIZE / 2));
        c.int_page().put(interrupt);
        let [to_server, to_client] = c.monitor_pages();
        to_server.put(server);
        to_client.put(client);
        Ok(Self { is_lent })
    }
}

/// The addresses for INITIATE_CONTACT. There are [`Resources`].
pub fn contact_pages() -> ContactPages {
    let boundary = machine::shared_gpa_boundary();
    let [server, client] = c().monitor_pages();
    ContactPages {
        interrupt: c().int_page().physical(),
        monitor: [server.physical() | boundary, client.physical() | boundary],
    }
}

impl Drop for Resources {
    fn drop(&mut self) {
        let c = c();
        c.send_int_page().set(core::ptr::null_mut());
        c.recv_int_page().set(core::ptr::null_mut());
        let [server, client] = c.monitor_pages();
        let pages = [
            c.int_page().take(false),
            server.take(true),
            client.take(true),
        ];
        if (self.is_lent)() {
            pr_warn!("three pages are lost: the host may still write to them\n");
            pages.map(|page| page.map(Retired::lose));
        }
    }
}
