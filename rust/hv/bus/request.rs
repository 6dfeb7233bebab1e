// SPDX-License-Identifier: GPL-2.0

//! Requests to the host and its answers.
//!
//! A request stands on the stack of whoever waits for it and is linked into `vmbus_connection.chn_msg_list`
//! meanwhile. The answer is matched by what it says about itself; answers that nobody waits for are dropped,
//! among them those that come after the time-out. The rescind of a channel ends all requests about it.

use crate::{
    channel::Channel,
    connection,
    ratelimit,
    CHANNEL_TIMEOUT_MS,
    HOST_RESPONSE_TIMEOUT_MS, //
};
use core::{
    cell::Cell,
    mem::offset_of,
    ptr::{
        self,
        NonNull, //
    }, //
};
use kernel::prelude::*;
use pin_init::stack_pin_init;
use rlis_hv::{
    list::{
        Link,
        Links,
        List,
        Locked,
        Owner, //
    },
    lock::SpinGuard,
    view::view,
    Completion, //
};
use rlis_proto::vmbus::{
    life::{
        Event,
        Step, //
    },
    message::VersionResponse, //
};
use rlis_sys as bindings;

/// What an answer must say to belong to a request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// VERSION_RESPONSE.
    Version,
    /// OPENCHANNEL_RESULT of this relid and open id.
    Open {
        /// Of this channel.
        relid: u32,
        /// The request's own number.
        openid: u32,
    },
    /// GPADL_CREATED with this relid and handle.
    GpadlCreated {
        /// Of this channel.
        relid: u32,
        /// The handle.
        gpadl: u32,
    },
    /// GPADL_TORNDOWN with this handle.
    GpadlTorndown {
        /// The handle.
        gpadl: u32,
    },
    /// MODIFYCHANNEL_RESPONSE of this relid.
    Modify {
        /// Of this channel.
        relid: u32,
    },
}

impl Key {
    /// How long the host may take, in milliseconds.
    fn timeout_ms(self) -> u32 {
        match self {
            // Nobody can go on without these, and a host that is being serviced answers late.
            Self::Open { .. } | Self::GpadlCreated { .. } | Self::GpadlTorndown { .. } => {
                CHANNEL_TIMEOUT_MS
            }
            Self::Version | Self::Modify { .. } => HOST_RESPONSE_TIMEOUT_MS,
        }
    }

    /// What the log calls it.
    fn what(self) -> &'static str {
        match self {
            Self::Version => "a version",
            Self::Open { .. } => "the opening of a channel",
            Self::GpadlCreated { .. } => "a GPADL",
            Self::GpadlTorndown { .. } => "the end of a GPADL",
            Self::Modify { .. } => "the move of a channel",
        }
    }
}

/// What an answer brings.
#[derive(Clone, Copy)]
pub enum Answer {
    /// Nothing yet.
    None,
    /// A status, 0 for success.
    Status(u32),
    /// The whole message.
    Version(VersionResponse),
    /// The channel was rescinded; there will be no answer.
    Rescinded,
}

/// A pending request.
#[pin_data]
pub(crate) struct Request {
    links: Links,
    #[pin]
    done: Completion,
    /// The address of the channel that it is about, 0 if there is none.
    channel: usize,
    key: Key,
    /// Used under the lock of [`Requests`] only.
    answer: Cell<Answer>,
}

// SAFETY: `answer` is used under a lock, the rest by anyone.
unsafe impl Sync for Request {}

/// A request on the stack of who waits for the answer.
///
/// # Invariants
///
/// It stays where it is until it is taken off the list.
pub(crate) struct OnStack(NonNull<Request>);

/// How requests are linked.
pub(crate) struct Pending;

// SAFETY: The offset is that of the links.
unsafe impl Link for Pending {
    type Item = Request;
    type Owner = OnStack;
    const OFFSET: usize = offset_of!(Request, links);
}

// SAFETY: By the invariants the request stays.
unsafe impl Owner<Request> for OnStack {
    fn into_raw(self) -> NonNull<Request> {
        self.0
    }

    unsafe fn from_raw(item: NonNull<Request>) -> Self {
        Self(item)
    }
}

/// The pending requests, with their lock.
struct Requests(Locked<'static, Pending, SpinGuard<'static>>);

impl Requests {
    fn lock() -> Self {
        let guard = connection::c().channelmsg_lock().lock();
        // SAFETY: Initialised statically, and lives forever; the lock is that of the list.
        Self(unsafe {
            view::<List<Pending>>(&raw mut bindings::vmbus_connection.chn_msg_list).locked(guard)
        })
    }
}

impl Request {
    /// Waits for the answer for `limit` milliseconds at most, and says so in the log when it takes long. Sleeps.
    fn wait(&self, limit: u32) -> Result {
        let mut waited = 0;
        loop {
            // Not longer in one go than the kernel allows a task before it takes it for hung.
            let step = HOST_RESPONSE_TIMEOUT_MS.min(limit - waited);
            if self.done.wait_timeout(step).is_ok() {
                return Ok(());
            }
            waited += step;
            if waited >= limit {
                return Err(ETIMEDOUT);
            }
            ratelimit::rarely(|| {
                pr_warn!(
                    "the host has not confirmed {} for {} s, waiting\n",
                    self.key.what(),
                    waited / 1000
                );
            });
        }
    }
}

impl Request {
    fn is_open(&self) -> bool {
        matches!(self.answer.get(), Answer::None)
    }

    fn complete(&self, answer: Answer) {
        self.answer.set(answer);
        self.done.complete();
    }
}

/// Delivers an answer of the host. Any context.
pub fn answer(key: Key, answer: Answer) {
    let requests = Requests::lock();
    if let Some(request) = requests.0.iter().find(|r| r.key == key && r.is_open()) {
        request.complete(answer);
    }
}

/// Ends the offer by [`Event::Withdrawn`] or [`Event::Ended`], and every request about the channel. Any context.
pub fn end(channel: &Channel, event: Event) -> Option<Step> {
    let requests = Requests::lock();
    let step = channel.on(event);
    let about = ptr::from_ref(channel).addr();
    for request in requests
        .0
        .iter()
        .filter(|r| r.channel == about && r.is_open())
    {
        request.complete(Answer::Rescinded);
    }
    step
}

/// Posts a request with `post` and waits for its answer. Sleeps.
///
/// # Errors
///
/// What `post` returns; `ENODEV` if the channel is or gets rescinded, in which case `post` may not have been
/// called; `ETIMEDOUT` if no answer comes within `timeout_ms` milliseconds.
fn transact(
    key: Key,
    channel: Option<&Channel>,
    timeout_ms: u32,
    post: impl FnOnce() -> Result,
) -> Result<Answer> {
    stack_pin_init!(let request = pin_init!(Request {
        links: Links::new(),
        done <- Completion::new(),
        channel: channel.map_or(0, |c| ptr::from_ref(c).addr()),
        key,
        answer: Cell::new(Answer::None),
    }));
    let request = request.into_ref().get_ref();

    let mut requests = Requests::lock();
    // Under the lock: a rescind either sees the request or is seen here.
    if channel.is_some_and(Channel::is_rescinded) {
        return Err(ENODEV);
    }
    // INVARIANT: It is taken off the list below, and pinned until then.
    let _ = requests.0.push(OnStack(NonNull::from(request)));
    drop(requests);

    let result = post().and_then(|()| request.wait(timeout_ms));

    let mut requests = Requests::lock();
    requests.0.remove(request);
    let answer = request.answer.get();
    drop(requests);
    // An answer that came in the last moment still counts.
    match answer {
        Answer::None => result.and(Err(ETIMEDOUT)),
        Answer::Rescinded => Err(ENODEV),
        answer => result.map(|()| answer),
    }
}

/// Makes a request that is answered with a status; see [`transact`].
pub fn status(key: Key, channel: &Channel, post: impl FnOnce() -> Result) -> Result<u32> {
    status_within(key, channel, key.timeout_ms(), post)
}

/// As [`status`], but with another time-out.
pub fn status_within(
    key: Key,
    channel: &Channel,
    timeout_ms: u32,
    post: impl FnOnce() -> Result,
) -> Result<u32> {
    match transact(key, Some(channel), timeout_ms, post)? {
        Answer::Status(status) => Ok(status),
        _ => Err(EIO),
    }
}

/// Proposes a version; see [`transact`].
pub fn version(post: impl FnOnce() -> Result) -> Result<VersionResponse> {
    match transact(Key::Version, None, Key::Version.timeout_ms(), post)? {
        Answer::Version(response) => Ok(response),
        _ => Err(EIO),
    }
}
