// SPDX-License-Identifier: GPL-2.0

//! The connection to the host: its pages, its state, version negotiation and its end.
//!
//! C counterpart: `struct vmbus_connection`, drivers/hv/connection.c.

use crate::{
    control,
    cpu,
    hypercall,
    lock::SpinGuard,
    request,
    root,
    synic,
    HOST_RESPONSE_TIMEOUT_MS,
    UNLOAD_TIMEOUT_MS, //
};
use core::{
    ptr,
    sync::atomic::{
        AtomicBool,
        AtomicU32,
        Ordering, //
    }, //
};
use kernel::prelude::*;
use rlis_proto::vmbus::{
    message::{
        ChannelMessage,
        ChannelMessageHeader,
        InitiateContact,
        MessageType,
        VersionResponse, //
    },
    negotiate::{
        ContactParameters,
        Negotiation,
        Step, //
    },
    Version, HV_HYP_PAGE_SIZE, MAX_CHANNEL_RELIDS,
};
use rlis_sys as bindings;
use zerocopy::IntoBytes;

/// The one connection. All fields of the C object are reached through this pointer.
pub(crate) fn raw() -> *mut bindings::vmbus_connection {
    &raw mut bindings::vmbus_connection
}

/// `enum vmbus_connect_state`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Disconnected,
    Connecting,
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

fn state_cell() -> &'static AtomicU32 {
    // SAFETY: The static lives forever, an enum of C is a `u32`, and all accesses here are atomic.
    unsafe { AtomicU32::from_ptr((&raw mut (*raw()).conn_state).cast()) }
}

/// The host was told of the monitor pages, and has not said that it will not use them, or not any more.
static PAGES_LENT: AtomicBool = AtomicBool::new(false);

fn msg_conn_id_cell() -> &'static AtomicU32 {
    // SAFETY: As above.
    unsafe { AtomicU32::from_ptr(&raw mut (*raw()).msg_conn_id) }
}

fn proto_version_cell() -> &'static AtomicU32 {
    // SAFETY: As above.
    unsafe { AtomicU32::from_ptr(&raw mut bindings::vmbus_proto_version) }
}

/// The state of the connection.
pub(crate) fn state() -> State {
    State::from_c(state_cell().load(Ordering::Acquire))
}

fn set_state(state: State) -> State {
    State::from_c(state_cell().swap(state.to_c(), Ordering::AcqRel))
}

/// The version in use; 0.0 before the first connection.
pub fn version() -> Version {
    Version(proto_version_cell().load(Ordering::Relaxed))
}

/// Whether the host has confirmed the end of the connection, and so uses nothing of it any more.
pub(crate) fn is_over() -> bool {
    state() == State::Disconnected && !PAGES_LENT.load(Ordering::Relaxed)
}

/// Posts a channel message of fixed size. May sleep for seconds while the host is short of buffers.
///
/// # Errors
///
/// Those of [`hypercall::post`], and `ENODEV` without a connection.
pub(crate) fn post<M: ChannelMessage>(message: &M) -> Result {
    post_bytes(message.as_bytes())
}

/// Posts a channel message. May sleep.
///
/// # Errors
///
/// As for [`post`].
pub(crate) fn post_bytes(message: &[u8]) -> Result {
    if state() != State::Connected {
        return Err(ENODEV);
    }
    hypercall::post(
        msg_conn_id_cell().load(Ordering::Relaxed),
        message,
        false,
        true,
    )
}

/// Takes the lock that protects pending requests and the `rescind` flags.
pub(crate) fn channelmsg_lock() -> SpinGuard<'static> {
    // SAFETY: The lock is initialised statically and lives forever; nothing in this crate takes it twice.
    unsafe { SpinGuard::lock(&raw mut (*raw()).channelmsg_lock) }
}

/// A page that the host shares with us, or that must look like one.
fn alloc_page(decrypt: bool) -> Result<*mut kernel::ffi::c_void> {
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
unsafe fn free_page(page: *mut kernel::ffi::c_void, encrypt: bool) {
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

/// The established connection. Dropping it ends it and frees what it used; devices must be gone by then.
pub struct Connection(());

impl Connection {
    /// Allocates what the connection needs and negotiates the newest version that both sides know.
    ///
    /// The SynIC must be enabled on all CPUs. Messages from the host may arrive from here on.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `ETIMEDOUT` if the host does not answer; `EDOM` if there is no common version.
    pub fn establish() -> Result<Self> {
        set_state(State::Connecting);
        // From here on drop releases what has been set up so far.
        let connection = Self(());
        let c = raw();

        // SAFETY: Nobody uses the connection's fields yet: no message arrives before the first post, and no
        // driver can register before the module is loaded.
        unsafe {
            (*c).work_queue =
                workqueue(bindings::workqueue_per_cpu(c"hv_vmbus_con".as_char_ptr()))?;
            (*c).rescind_work_queue = workqueue(bindings::workqueue_unbound(
                c"hv_vmbus_rescind".as_char_ptr(),
            ))?;
            (*c).handle_primary_chan_wq =
                workqueue(bindings::workqueue_unbound(c"hv_pri_chan".as_char_ptr()))?;
            (*c).handle_sub_chan_wq =
                workqueue(bindings::workqueue_unbound(c"hv_sub_chan".as_char_ptr()))?;
            control::setup()?;

            // Interrupts look here as soon as there is a first channel; so the table comes first.
            let table = bindings::vmbus_kvzalloc(
                (MAX_CHANNEL_RELIDS as usize)
                    * core::mem::size_of::<*mut bindings::vmbus_channel>(),
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

        let max_version = Version(root::max_version());
        connection.negotiate(max_version, Version::V4_0)?;
        let version = version();
        pr_info!("Vmbus version:{}.{}\n", version.major(), version.minor());
        if synic::is_isolated() && version < Version::V5_2 {
            pr_err!(
                "VMBus version {}.{} is too old for a guest that is isolated from its host\n",
                version.major(),
                version.minor()
            );
            return Err(EINVAL);
        }
        Ok(connection)
    }

    /// Connects again with exactly the version that was in use, after a resume.
    ///
    /// # Errors
    ///
    /// As for [`Self::establish`].
    pub(crate) fn reestablish() -> Result {
        let version = version();
        if version == Version(0) {
            return Err(EINVAL);
        }
        set_state(State::Connecting);
        core::mem::ManuallyDrop::new(Self(())).negotiate(version, version)
    }

    fn negotiate(&self, max_version: Version, min_version: Version) -> Result {
        let c = raw();
        let boundary = synic::shared_gpa_boundary();
        // SAFETY: The pages are allocated.
        let (interrupt_page, monitor_page1, monitor_page2) = unsafe {
            (
                bindings::virt_to_phys((*c).int_page),
                bindings::virt_to_phys((*c).monitor_pages[0].cast()) | boundary,
                bindings::virt_to_phys((*c).monitor_pages[1].cast()) | boundary,
            )
        };
        let (mut negotiation, mut step) = Negotiation::new(ContactParameters {
            max_version,
            min_version,
            target_vcpu: cpu::vp_number(cpu::CONNECT_CPU),
            vtl: synic::vtl(),
            interrupt_page,
            monitor_page1,
            monitor_page2,
            feature_flags: 0,
        });
        loop {
            step = match step {
                Step::Propose {
                    connection_id,
                    message,
                } => match propose(connection_id, &message) {
                    Ok(response) => negotiation.response(&response),
                    Err(e) if e == ENXIO => negotiation.unknown_connection(),
                    Err(e) => {
                        set_state(State::Disconnected);
                        if e == ETIMEDOUT {
                            pr_err!(
                                "the host did not answer within {} s\n",
                                HOST_RESPONSE_TIMEOUT_MS / 1000
                            );
                        }
                        return Err(e);
                    }
                },
                Step::Connected {
                    version,
                    msg_conn_id,
                } => {
                    msg_conn_id_cell().store(msg_conn_id, Ordering::Relaxed);
                    proto_version_cell().store(version.0, Ordering::Relaxed);
                    set_state(State::Connected);
                    return Ok(());
                }
                Step::NoCommonVersion => {
                    set_state(State::Disconnected);
                    pr_err!(
                        "the host supports no VMBus version from {}.{} to {}.{}\n",
                        min_version.major(),
                        min_version.minor(),
                        max_version.major(),
                        max_version.minor()
                    );
                    return Err(EDOM);
                }
                Step::Refused(state) => {
                    set_state(State::Disconnected);
                    pr_err!("the host refused the connection: {:?}\n", state);
                    return Err(ECONNREFUSED);
                }
            };
        }
    }

    /// Asks for all offers and waits until those that exist now have become devices.
    ///
    /// Best effort: a host that does not say that it has sent them all costs a minute and a warning.
    ///
    /// # Errors
    ///
    /// Those of posting the message.
    pub fn request_offers(&self) -> Result {
        request_offers()
    }
}

/// See [`Connection::request_offers`].
pub(crate) fn request_offers() -> Result {
    let c = raw();
    // SAFETY: The completion is initialised statically.
    unsafe { bindings::reinit_completion(&raw mut bindings::rlis_all_offers_delivered) };
    let message = ChannelMessageHeader::new(MessageType::CHANNELMSG_REQUESTOFFERS);
    post_bytes(message.as_bytes())
        .inspect_err(|e| pr_err!("asking for offers failed: {}\n", e.to_errno()))?;
    // SAFETY: As above; process context.
    if !unsafe {
        bindings::wait_for_completion_ms(&raw mut bindings::rlis_all_offers_delivered, 60_000)
    } {
        pr_warn!("the host did not finish sending offers within 60 s\n");
    }
    // The message is handled in the order of offers only by the control work, so finish that first.
    control::flush();
    // SAFETY: The queue exists as long as there is a connection.
    unsafe { bindings::flush_workqueue((*c).handle_primary_chan_wq) };
    control::flush_ordered();
    Ok(())
}

fn workqueue(wq: *mut bindings::workqueue_struct) -> Result<*mut bindings::workqueue_struct> {
    if wq.is_null() {
        Err(ENOMEM)
    } else {
        Ok(wq)
    }
}

fn propose(connection_id: u32, message: &InitiateContact) -> Result<VersionResponse> {
    msg_conn_id_cell().store(connection_id, Ordering::Relaxed);
    PAGES_LENT.store(true, Ordering::Relaxed);
    let response =
        request::version(|| hypercall::post(connection_id, message.as_bytes(), true, true));
    match &response {
        // It may still accept.
        Err(e) if *e == ETIMEDOUT => {}
        Ok(response) if response.version_supported != 0 => {}
        _ => PAGES_LENT.store(false, Ordering::Relaxed),
    }
    response
}

/// The host's answer to UNLOAD.
pub(crate) fn unload_response() {
    // SAFETY: The completion is initialised statically, so a message that comes unasked does no harm.
    unsafe { bindings::complete(&raw mut (*raw()).unload_event) };
}

/// The host has sent all its present offers.
pub(crate) fn all_offers_delivered() {
    // SAFETY: As above.
    unsafe { bindings::complete(&raw mut bindings::rlis_all_offers_delivered) };
}

/// Ends the connection, once: further calls do nothing. With `crash` any context, busy-waiting for the
/// answer, and for CPUs that no longer take interrupts; otherwise sleeping.
pub(crate) fn unload(crash: bool) {
    if set_state(State::Disconnected) != State::Connected {
        return;
    }
    // SAFETY: Only the address is taken.
    let event = unsafe { &raw mut (*raw()).unload_event };
    // SAFETY: The completion is initialised statically.
    unsafe { bindings::reinit_completion(event) };
    let message = ChannelMessageHeader::new(MessageType::CHANNELMSG_UNLOAD);
    let id = msg_conn_id_cell().load(Ordering::Relaxed);
    if let Err(e) = hypercall::post(id, message.as_bytes(), false, !crash) {
        pr_err!("ending the connection failed: {}\n", e.to_errno());
        return;
    }
    let done = if crash {
        synic::poll_for_unload_response(UNLOAD_TIMEOUT_MS, || {
            // SAFETY: As above.
            unsafe { bindings::completion_done(event) }
        })
    } else {
        // SAFETY: As above; process context.
        unsafe { bindings::wait_for_completion_ms(event, UNLOAD_TIMEOUT_MS) }
    };
    if done {
        PAGES_LENT.store(false, Ordering::Relaxed);
    } else {
        pr_err!("the host did not confirm the end of the connection, going on without\n");
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        unload(false);
        let c = raw();
        control::stop();
        let lent = PAGES_LENT.swap(false, Ordering::Relaxed);
        // SAFETY: The connection has ended. The queues are destroyed before what their work uses. Pages that the host
        // may still write to are not freed.
        unsafe {
            for wq in [
                &raw mut (*c).work_queue,
                &raw mut (*c).rescind_work_queue,
                &raw mut (*c).handle_primary_chan_wq,
                &raw mut (*c).handle_sub_chan_wq,
            ] {
                if !(*wq).is_null() {
                    bindings::destroy_workqueue(*wq);
                    *wq = ptr::null_mut();
                }
            }
            control::teardown();
            crate::channel::free_all();
            // An interrupt may still be looking at the table.
            let table = crate::channel::table().swap(ptr::null_mut(), Ordering::AcqRel);
            bindings::synchronize_rcu();
            bindings::vmbus_kvfree(table.cast());
            if lent {
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
