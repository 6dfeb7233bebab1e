// SPDX-License-Identifier: GPL-2.0

//! Version negotiation of the integration components, which the C bus exports for their drivers.

use crate::ratelimit;
use kernel::{
    ffi::c_int,
    prelude::*, //
};

/// Bytes before the negotiation message: `struct vmbuspipe_hdr` and `struct icmsg_hdr`.
const ICMSG_HDR: usize = 28;
/// Size of `struct icmsg_negotiate` without its versions.
const NEGOTIATE: usize = 8;
/// Most versions of a kind that a message may hold.
const MAX_VERSIONS: usize = 100;
/// `icmsgsize` of the answer: the negotiation with two versions.
pub(crate) const RESPONSE_SIZE: u16 = 0x10;

/// Least length of a message that can be answered: up to the version counts.
pub(crate) const MIN_LEN: usize = ICMSG_HDR + 4;

/// Logs that a message is shorter.
pub(crate) fn too_short() {
    ratelimit::warn(|| pr_err!("Invalid icmsg negotiate\n"));
}

/// A version, major in the upper and minor in the lower 16 bits.
fn pack(major: u16, minor: u16) -> c_int {
    (c_int::from(major) << 16) | c_int::from(minor)
}

fn read_u16(buf: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*buf.get(at..)?.first_chunk()?))
}

fn write_u16(buf: &mut [u8], at: usize, value: u16) {
    if let Some(to) = buf.get_mut(at..at + 2) {
        to.copy_from_slice(&value.to_le_bytes());
    }
}

/// The outcome of a negotiation.
pub(crate) struct Negotiated {
    /// Whether there is a common version of both kinds.
    pub(crate) found: bool,
    /// Framework version.
    pub(crate) framework: c_int,
    /// Message version.
    pub(crate) message: c_int,
}

/// Answers the negotiation message in `buf` in place. `framework` and `message` are what the service supports,
/// best first. `None` if the message is too short for an answer.
///
/// Without a common version the answer has version counts of 0, and the versions returned are the counts that
/// the host sent, as with the C bus.
pub(crate) fn negotiate(
    buf: &mut [u8],
    framework: &[c_int],
    message: &[c_int],
) -> Option<Negotiated> {
    let framework_count = read_u16(buf, ICMSG_HDR)?;
    let message_count = read_u16(buf, ICMSG_HDR + 2)?;
    let (f, m) = (usize::from(framework_count), usize::from(message_count));
    let end = ICMSG_HDR + NEGOTIATE + (f + m) * 4;
    let mut result = Negotiated {
        found: false,
        framework: pack(framework_count, 0),
        message: pack(message_count, 0),
    };
    if f > MAX_VERSIONS || m > MAX_VERSIONS || end > buf.len() {
        ratelimit::warn(|| {
            pr_err!(
                "Invalid icmsg negotiate - icframe_major: {}, icmsg_major: {}\n",
                framework_count,
                message_count
            );
        });
    } else {
        let offered = |index: usize| -> Option<c_int> {
            let at = ICMSG_HDR + NEGOTIATE + index * 4;
            Some(pack(read_u16(buf, at)?, read_u16(buf, at + 2)?))
        };
        let pick = |supported: &[c_int], range: core::ops::Range<usize>| {
            supported
                .iter()
                .copied()
                .find(|&v| range.clone().any(|i| offered(i) == Some(v)))
        };
        let framework = pick(framework, 0..f);
        let message = framework.and_then(|_| pick(message, f..f + m));
        if let Some(v) = framework {
            result.framework = v;
        }
        if let Some(v) = message {
            result.message = v;
            result.found = true;
        }
    }
    let count = u16::from(result.found);
    write_u16(buf, ICMSG_HDR, count);
    write_u16(buf, ICMSG_HDR + 2, count);
    for (i, version) in [result.framework, result.message].into_iter().enumerate() {
        let at = ICMSG_HDR + NEGOTIATE + i * 4;
        let [lo, hi, major_lo, major_hi] = version.to_le_bytes();
        write_u16(buf, at, u16::from_le_bytes([major_lo, major_hi]));
        write_u16(buf, at + 2, u16::from_le_bytes([lo, hi]));
    }
    Some(result)
}
