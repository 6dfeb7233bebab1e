// SPDX-License-Identifier: GPL-2.0

//! The connection to the host: version negotiation, the first offers, and its end.

use core::sync::atomic::{
    AtomicBool,
    Ordering, //
};
use kernel::prelude::*;
use rlis_bus::{
    channel::table::Relids,
    connection::{
        self,
        Resources,
        State, //
    },
    cpu,
    hypercall,
    inbox::{
        self,
        Inbox, //
    },
    machine,
    queues::{
        Queue,
        Queues, //
    },
    request,
    root,
    synic,
    trace,
    HOST_RESPONSE_TIMEOUT_MS,
    UNLOAD_TIMEOUT_MS, //
};
use rlis_proto::vmbus::{
    message::{
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
    Version, //
};
use zerocopy::IntoBytes;

use crate::removal;

/// The host was told of the monitor pages, and has not said that it will not use them, or not any more.
static PAGES_LENT: AtomicBool = AtomicBool::new(false);

/// Whether the host has confirmed the end of the connection, and so uses nothing of it any more.
pub(crate) fn is_over() -> bool {
    connection::state() == State::Disconnected && !PAGES_LENT.load(Ordering::Relaxed)
}

/// The established connection. Dropping it ends it and frees what it used; drivers must be gone by then. Fields are
/// dropped from the first to the last.
pub(crate) struct Connection {
    _end: End,
    _inbox: Inbox,
    _queues: Queues,
    _channels: Channels,
    _relids: Relids,
    _resources: Resources,
}

/// Ends the connection when it is dropped.
struct End;

impl Drop for End {
    fn drop(&mut self) {
        unload(false);
    }
}

/// Removes what channels there are when it is dropped.
struct Channels;

impl Drop for Channels {
    fn drop(&mut self) {
        removal::remove_all();
    }
}

impl Connection {
    /// Allocates what the connection needs and negotiates the newest version that both sides know.
    ///
    /// The SynIC must be enabled on all CPUs. Messages from the host may arrive from here on.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `ETIMEDOUT` if the host does not answer; `EDOM` if there is no common version.
    pub(crate) fn establish() -> Result<Self> {
        connection::set_state(State::Connecting);
        let end = End;
        let resources = Resources::new(|| PAGES_LENT.swap(false, Ordering::Relaxed))?;
        // Interrupts look at the table as soon as there is a first channel.
        let relids = Relids::new()?;
        let queues = Queues::new()?;
        let this = Self {
            _inbox: Inbox::new()?,
            _end: end,
            _queues: queues,
            _channels: Channels,
            _relids: relids,
            _resources: resources,
        };
        negotiate(Version(root::max_version()), Version::V4_0)?;
        let version = connection::version();
        pr_info!("Vmbus version:{}.{}\n", version.major(), version.minor());
        if machine::is_isolated() && version < Version::V5_2 {
            pr_err!(
                "VMBus version {}.{} is too old for a guest that is isolated from its host\n",
                version.major(),
                version.minor()
            );
            return Err(EINVAL);
        }
        Ok(this)
    }
}

/// Connects again with exactly the version that was in use, after a resume.
///
/// # Errors
///
/// As for [`Connection::establish`].
pub(crate) fn reestablish() -> Result {
    let version = connection::version();
    if version == Version(0) {
        return Err(EINVAL);
    }
    connection::set_state(State::Connecting);
    negotiate(version, version)
}

fn negotiate(max_version: Version, min_version: Version) -> Result {
    let pages = connection::contact_pages();
    let [monitor_page1, monitor_page2] = pages.monitor;
    let (mut negotiation, mut step) = Negotiation::new(ContactParameters {
        max_version,
        min_version,
        target_vcpu: cpu::vp_number(cpu::CONNECT_CPU),
        vtl: machine::vtl(),
        interrupt_page: pages.interrupt,
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
                    connection::set_state(State::Disconnected);
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
                connection::set_message_connection(msg_conn_id);
                connection::set_version(version);
                connection::set_state(State::Connected);
                return Ok(());
            }
            Step::NoCommonVersion => {
                connection::set_state(State::Disconnected);
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
                connection::set_state(State::Disconnected);
                pr_err!("the host refused the connection: {:?}\n", state);
                return Err(ECONNREFUSED);
            }
        };
    }
}

fn propose(connection_id: u32, message: &InitiateContact) -> Result<VersionResponse> {
    connection::set_message_connection(connection_id);
    PAGES_LENT.store(true, Ordering::Relaxed);
    let response = request::version(|| {
        let posted = hypercall::post(connection_id, message.as_bytes(), true, true);
        trace::sent(message.as_bytes(), posted);
        posted
    });
    match &response {
        // It may still accept.
        Err(e) if *e == ETIMEDOUT => {}
        Ok(response) if response.version_supported != 0 => {}
        _ => PAGES_LENT.store(false, Ordering::Relaxed),
    }
    response
}

/// Asks for all offers and waits until those that exist now have become devices.
///
/// Best effort: a host that does not say that it has sent them all costs a minute and a warning.
///
/// # Errors
///
/// Those of posting the message.
pub(crate) fn request_offers() -> Result {
    let delivered = connection::offers_delivered();
    delivered.reinit();
    let message = ChannelMessageHeader::new(MessageType::CHANNELMSG_REQUESTOFFERS);
    connection::post_bytes(message.as_bytes())
        .inspect_err(|e| pr_err!("asking for offers failed: {}\n", e.to_errno()))?;
    if delivered.wait_timeout(60_000).is_err() {
        pr_warn!("the host did not finish sending offers within 60 s\n");
    }
    // The message is handled in the order of offers only by the control work, so finish that first.
    inbox::flush();
    for queue in [Queue::Device, Queue::Nic, Queue::Pci] {
        queue.flush();
    }
    Ok(())
}

/// Ends the connection, once: further calls do nothing. With `crash` any context, busy-waiting for the
/// answer, and for CPUs that no longer take interrupts; otherwise sleeping.
pub(crate) fn unload(crash: bool) {
    if connection::set_state(State::Disconnected) != State::Connected {
        return;
    }
    let unloaded = connection::unloaded();
    unloaded.reinit();
    let message = ChannelMessageHeader::new(MessageType::CHANNELMSG_UNLOAD);
    let id = connection::message_connection();
    if let Err(e) = hypercall::post(id, message.as_bytes(), false, !crash) {
        pr_err!("ending the connection failed: {}\n", e.to_errno());
        return;
    }
    let done = if crash {
        synic::poll_for_unload_response(UNLOAD_TIMEOUT_MS, || unloaded.is_done())
    } else {
        unloaded.wait_timeout(UNLOAD_TIMEOUT_MS).is_ok()
    };
    if done {
        PAGES_LENT.store(false, Ordering::Relaxed);
    } else {
        pr_err!("the host did not confirm the end of the connection, going on without\n");
    }
}
