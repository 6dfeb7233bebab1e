// SPDX-License-Identifier: GPL-2.0

//! File copy from the host. hv_fcopy_daemon writes the files.

use crate::daemon::{
    Protocol,
    Request,
    Written, //
};
use kernel::prelude::*;
use rlis_proto::{
    ic::{
        self,
        fcopy::{
            self,
            Refused, //
        },
        transaction::{
            handshake_answer,
            Profile, //
        },
        Status, //
    },
    ProtoError, //
};

/// The service.
pub(crate) struct Fcopy;

impl Protocol for Fcopy {
    const SERVICE: &'static ic::Service = &fcopy::SERVICE;
    const PROFILE: &'static Profile = &fcopy::PROFILE;
    const DEVICE_NAME: &'static CStr = c"vmbus/hv_fcopy";
    const MAX_TO_DAEMON: usize = fcopy::FCOPY_MAX_MESSAGE;
    const MAX_FROM_DAEMON: usize = 4;

    fn request(body: &mut [u8], _legacy: bool, out: &mut [u8]) -> Result<Request, ProtoError> {
        Ok(match fcopy::to_daemon(body, out) {
            Ok((op, len)) => Request::Daemon(op.0, len),
            Err(Refused(status)) => Request::Answered(status),
        })
    }

    fn handshake(code: u32, out: &mut [u8]) -> Result<usize, ProtoError> {
        handshake_answer(code, out)
    }

    fn internal(_op: u32, _out: &mut [u8]) -> Result<usize, ProtoError> {
        Err(ProtoError::Unexpected {
            what: "file copy operation without the host",
        })
    }

    fn written(bytes: &[u8], registering: bool, _legacy: bool) -> Result<Written, ProtoError> {
        let word = fcopy::from_daemon(bytes)?;
        Ok(if registering {
            Written::Register(word)
        } else {
            Written::Answer(Status(word))
        })
    }

    fn complete(_body: &mut [u8], _op: u32, status: Status, _answer: &[u8]) -> Status {
        status
    }
}
