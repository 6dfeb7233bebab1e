// SPDX-License-Identifier: GPL-2.0

//! Requests to the host and its answers.
//!
//! A request stands on the stack of whoever waits for it and is linked into `vmbus_connection.chn_msg_list`
//! meanwhile. The answer is matched by what it says about itself; answers that nobody waits for are dropped,
//! among them those that come after the time-out. The rescind of a channel ends all requests about it.

use crate::{
    channel::Channel,
    connection,
    list::{
        list_add_tail,
        list_del, //
    },
    ratelimit,
    CHANNEL_TIMEOUT_MS,
    HOST_RESPONSE_TIMEOUT_MS, //
};
use core::{
    cell::UnsafeCell,
    ptr, //
};
use kernel::prelude::*;
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
///
/// # Invariants
///
/// While linked, the request is at this address, and `answer` is accessed under `channelmsg_lock` only.
struct Request {
    links: UnsafeCell<bindings::list_head>,
    done: UnsafeCell<bindings::completion>,
    channel: *const Channel,
    key: Key,
    answer: UnsafeCell<Answer>,
}

impl Request {
    /// Waits for the answer for `limit` milliseconds at most, and says so in the log when it takes long. Sleeps.
    fn wait(&self, limit: u32) -> Result {
        let mut waited = 0;
        loop {
            // Not longer in one go than the kernel allows a task before it takes it for hung.
            let step = HOST_RESPONSE_TIMEOUT_MS.min(limit - waited);
            // SAFETY: Process context; the completion is initialised.
            if unsafe { bindings::wait_for_completion_ms(self.done.get(), step) } {
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

/// Calls `f` for the pending requests until it returns true.
///
/// # Safety
///
/// `channelmsg_lock` is held.
unsafe fn find(mut f: impl FnMut(&Request) -> bool) {
    // SAFETY: Only the address is taken; the object lives forever.
    let head = unsafe { &raw mut (*connection::raw()).chn_msg_list };
    // SAFETY: The list is initialised statically and the lock is held.
    let mut at = unsafe { (*head).next };
    while at != head {
        let request = at
            .cast_const()
            .wrapping_byte_sub(core::mem::offset_of!(Request, links))
            .cast::<Request>();
        // SAFETY: Everything on the list is the `links` of a request, valid until it is unlinked under the
        // lock.
        let (request, next) = unsafe { (&*request, (*at).next) };
        if f(request) {
            return;
        }
        at = next;
    }
}

/// Delivers an answer of the host. Any context.
pub fn answer(key: Key, answer: Answer) {
    let _guard = connection::channelmsg_lock();
    // SAFETY: The lock is held, which is also what access to `answer` needs.
    unsafe {
        find(|request| {
            if request.key != key || !matches!(*request.answer.get(), Answer::None) {
                return false;
            }
            *request.answer.get() = answer;
            bindings::complete(request.done.get());
            true
        });
    }
}

/// Ends the offer by [`Event::Withdrawn`] or [`Event::Ended`], and every request about the channel. Any context.
pub fn end(channel: &Channel, event: Event) -> Option<Step> {
    let _guard = connection::channelmsg_lock();
    let step = channel.on(event);
    // SAFETY: As in `answer`.
    unsafe {
        find(|request| {
            if ptr::eq(request.channel, channel) && matches!(*request.answer.get(), Answer::None) {
                *request.answer.get() = Answer::Rescinded;
                bindings::complete(request.done.get());
            }
            false
        });
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
    let request = &Request {
        links: UnsafeCell::new(pin_init::zeroed()),
        done: UnsafeCell::new(pin_init::zeroed()),
        channel: channel.map_or(ptr::null(), ptr::from_ref),
        key,
        answer: UnsafeCell::new(Answer::None),
    };
    // SAFETY: The completion is at its final place, as the request is.
    unsafe { bindings::init_completion(request.done.get()) };

    {
        let _guard = connection::channelmsg_lock();
        // Under the lock: a rescind either sees the request or is seen here.
        if channel.is_some_and(Channel::is_rescinded) {
            return Err(ENODEV);
        }
        // SAFETY: The lock is held; the request is not linked yet and is unlinked below before it dies.
        unsafe {
            list_add_tail(
                request.links.get(),
                &raw mut (*connection::raw()).chn_msg_list,
            )
        };
    }

    let result = post().and_then(|()| request.wait(timeout_ms));

    let answer = {
        let _guard = connection::channelmsg_lock();
        // SAFETY: The lock is held and the request is linked.
        unsafe {
            list_del(request.links.get());
            *request.answer.get()
        }
    };
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
