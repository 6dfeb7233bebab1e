// SPDX-License-Identifier: GPL-2.0

//! Writes requests and answers.

use super::control::{
    HaltRequest, InitializeComplete, InitializeRequest, KeepaliveComplete, QueryComplete,
    QueryRequest, ResetComplete, SetComplete, SetRequest, MAX_TRANSFER_SIZE,
};
use super::header::MessageType;
use super::oid::Oid;
use super::status::Status;
use super::writer::message;
use crate::error::ProtoError;
use core::mem::size_of;

/// Length and offset of information that follows a fixed body of type `T`. Too long a one is refused by [`message`].
fn info<T>(more: &[u8]) -> (u32, u32) {
    let len = u32::try_from(more.len()).unwrap_or(u32::MAX);
    (len, size_of::<T>() as u32)
}

/// The guest begins: INITIALIZE, version 1.0.
///
/// # Errors
///
/// This and the functions below: `NoRoom` if `out` is too short. They return how many bytes they wrote.
pub fn initialize(out: &mut [u8], req_id: u32) -> Result<usize, ProtoError> {
    let body = InitializeRequest {
        req_id,
        major_ver: 1,
        minor_ver: 0,
        max_xfer_size: MAX_TRANSFER_SIZE,
    };
    message(out, MessageType::RNDIS_MSG_INIT, &body, &[])
}

/// The guest ends: HALT. There is no answer.
///
/// # Errors
///
/// See [`initialize`].
pub fn halt(out: &mut [u8], req_id: u32) -> Result<usize, ProtoError> {
    message(
        out,
        MessageType::RNDIS_MSG_HALT,
        &HaltRequest { req_id },
        &[],
    )
}

/// The guest asks for `oid`, with `given` to say how.
///
/// # Errors
///
/// See [`initialize`].
pub fn query(out: &mut [u8], req_id: u32, oid: Oid, given: &[u8]) -> Result<usize, ProtoError> {
    let (info_buflen, info_buf_offset) = info::<QueryRequest>(given);
    let body = QueryRequest {
        req_id,
        oid: oid.0,
        info_buflen,
        info_buf_offset,
        dev_vc_handle: 0,
    };
    message(out, MessageType::RNDIS_MSG_QUERY, &body, given)
}

/// The guest sets `oid` to `value`.
///
/// # Errors
///
/// See [`initialize`].
pub fn set(out: &mut [u8], req_id: u32, oid: Oid, value: &[u8]) -> Result<usize, ProtoError> {
    let (info_buflen, info_buf_offset) = info::<SetRequest>(value);
    let body = SetRequest {
        req_id,
        oid: oid.0,
        info_buflen,
        info_buf_offset,
        dev_vc_handle: 0,
    };
    message(out, MessageType::RNDIS_MSG_SET, &body, value)
}

/// The answer to INITIALIZE.
///
/// # Errors
///
/// See [`initialize`].
pub fn initialize_complete(
    out: &mut [u8],
    complete: &InitializeComplete,
) -> Result<usize, ProtoError> {
    message(out, MessageType::RNDIS_MSG_INIT_C, complete, &[])
}

/// The answer to QUERY.
///
/// # Errors
///
/// See [`initialize`].
pub fn query_complete(
    out: &mut [u8],
    req_id: u32,
    status: Status,
    value: &[u8],
) -> Result<usize, ProtoError> {
    let (info_buflen, offset) = info::<QueryComplete>(value);
    let body = QueryComplete {
        req_id,
        status: status.0,
        info_buflen,
        info_buf_offset: if value.is_empty() { 0 } else { offset },
    };
    message(out, MessageType::RNDIS_MSG_QUERY_C, &body, value)
}

/// The answer to SET.
///
/// # Errors
///
/// See [`initialize`].
pub fn set_complete(out: &mut [u8], req_id: u32, status: Status) -> Result<usize, ProtoError> {
    let status = status.0;
    let body = SetComplete { req_id, status };
    message(out, MessageType::RNDIS_MSG_SET_C, &body, &[])
}

/// The answer to KEEPALIVE.
///
/// # Errors
///
/// See [`initialize`].
pub fn keepalive_complete(
    out: &mut [u8],
    req_id: u32,
    status: Status,
) -> Result<usize, ProtoError> {
    let status = status.0;
    let body = KeepaliveComplete { req_id, status };
    message(out, MessageType::RNDIS_MSG_KEEPALIVE_C, &body, &[])
}

/// The answer to RESET.
///
/// # Errors
///
/// See [`initialize`].
pub fn reset_complete(out: &mut [u8], status: Status) -> Result<usize, ProtoError> {
    let body = ResetComplete {
        status: status.0,
        addressing_reset: 0,
    };
    message(out, MessageType::RNDIS_MSG_RESET_C, &body, &[])
}
