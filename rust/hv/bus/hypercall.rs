// SPDX-License-Identifier: GPL-2.0

//! The two hypercalls of VMBus: posting a message, signalling an event.

use kernel::prelude::*;
use rlis_hv::time;
use rlis_proto::vmbus::{
    hypercall::{
        classify_post,
        post_retry_delay_us,
        HvStatus,
        PostMessageInput,
        PostOutcome,
        POST_MESSAGE_ATTEMPTS, //
    },
    VMBUS_MESSAGE_TYPE,
};
use rlis_sys as bindings;
use zerocopy::IntoBytes;

/// Posts one message with HvPostMessage and returns the hypervisor's status.
///
/// Any context.
///
/// # Errors
///
/// `EMSGSIZE` if `message` is longer than 240 bytes.
pub(crate) fn post_once(connection_id: u32, message_type: u32, message: &[u8]) -> Result<HvStatus> {
    let input =
        PostMessageInput::new(connection_id, message_type, message).map_err(|_| EMSGSIZE)?;
    let bytes = input.as_bytes();
    // SAFETY: The helper copies that many bytes to the CPU's hypercall page, which has 4096.
    let result = unsafe { bindings::hvcall_post_message(bytes.as_ptr().cast(), bytes.len()) };
    Ok(HvStatus::from_result(result))
}

/// Posts a channel message and tries again while the host is short of buffers.
///
/// `can_sleep` says whether longer pauses may give the CPU away; without it the function busy-waits, for up
/// to about three minutes with a host that never recovers, which is for the panic path only.
///
/// # Errors
///
/// `ENXIO` if `contact` (the message is INITIATE_CONTACT) and the host does not know the connection id;
/// `ENOBUFS` or `EAGAIN` if the host stayed short of buffers or throttled the guest all the time; `EINVAL` for
/// any other status; `EMSGSIZE` for a message of more than 240 bytes.
pub fn post(connection_id: u32, message: &[u8], contact: bool, can_sleep: bool) -> Result {
    let mut error = EAGAIN;
    for attempt in 0..POST_MESSAGE_ATTEMPTS {
        let status = post_once(connection_id, VMBUS_MESSAGE_TYPE, message)?;
        match classify_post(status, contact) {
            PostOutcome::Posted => return Ok(()),
            PostOutcome::OtherConnection => return Err(ENXIO),
            PostOutcome::Failed(status) => {
                pr_err!("posting a message failed: {:?}\n", status);
                return Err(EINVAL);
            }
            PostOutcome::Retry { throttled } => error = if throttled { EAGAIN } else { ENOBUFS },
        }
        pause(post_retry_delay_us(attempt), can_sleep);
    }
    Err(error)
}

fn pause(us: u32, can_sleep: bool) {
    let ms = us / 1000;
    match (ms, can_sleep) {
        (0 | 1, _) => time::busy_wait_us(us),
        (_, true) => time::sleep_ms(ms),
        (_, false) => time::busy_wait_ms(ms),
    }
}

/// Signals the event of connection `sig_event` (from the offer) to the host. Any context.
pub(crate) fn signal_event(sig_event: u64) {
    // The status is of no use: a connection that is gone means a rescind, which is on its way.
    bindings::hvcall_signal_event(sig_event);
}
