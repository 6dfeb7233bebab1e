// SPDX-License-Identifier: GPL-2.0

//! Volume shadow copies: hv_vss_daemon freezes and thaws file systems.

use crate::{
    daemon::{
        Protocol,
        Request,
        Written, //
    },
    VSS_FREEZE_LIMIT, //
};
use kernel::prelude::*;
use rlis_proto::{
    ic::{
        self,
        transaction::{
            handshake_answer,
            Profile, //
        },
        vss::{
            self,
            VssFromDaemon,
            VssOp,
            VssRequest, //
        },
        Status, //
    },
    ProtoError, //
};

/// The service.
pub(crate) struct Vss;

/// The operation with this code.
fn op(code: u32) -> Result<VssOp, ProtoError> {
    u8::try_from(code)
        .map(VssOp)
        .map_err(|_| ProtoError::Unknown {
            what: "VSS operation",
            value: u64::from(code),
        })
}

impl Protocol for Vss {
    const SERVICE: &'static ic::Service = &vss::SERVICE;
    const PROFILE: &'static Profile = &vss::PROFILE;
    const DEVICE_NAME: &'static CStr = c"vmbus/hv_vss";
    const MAX_TO_DAEMON: usize = vss::VSS_MESSAGE_SIZE;
    const MAX_FROM_DAEMON: usize = vss::VSS_MESSAGE_SIZE;

    fn request(body: &mut [u8], _legacy: bool, out: &mut [u8]) -> Result<Request, ProtoError> {
        Ok(match vss::handle(body)? {
            VssRequest::Daemon(op) => Request::Daemon(u32::from(op.0), vss::to_daemon(op, out)?),
            VssRequest::Answered(status) => Request::Answered(status),
        })
    }

    fn handshake(code: u32, out: &mut [u8]) -> Result<usize, ProtoError> {
        // Only the code, in four bytes.
        handshake_answer(code, out)
    }

    fn internal(code: u32, out: &mut [u8]) -> Result<usize, ProtoError> {
        vss::to_daemon(op(code)?, out)
    }

    fn written(bytes: &[u8], registering: bool, _legacy: bool) -> Result<Written, ProtoError> {
        Ok(match vss::from_daemon(bytes, registering)? {
            VssFromDaemon::Register(code) => {
                if code == vss::VSS_OP_REGISTER {
                    pr_info!("VSS: old daemon, registered without a handshake\n");
                }
                Written::Register(code)
            }
            VssFromDaemon::Answer(status) => Written::Answer(status),
        })
    }

    fn freeze_limit() -> u32 {
        VSS_FREEZE_LIMIT.get()
    }

    fn complete(body: &mut [u8], code: u32, status: Status, _answer: &[u8]) -> Status {
        if let Ok(op) = op(code) {
            vss::complete(body, op, status);
        }
        status
    }
}
