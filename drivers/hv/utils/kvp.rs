// SPDX-License-Identifier: GPL-2.0

//! Key-value pairs and IP settings, answered by hv_kvp_daemon.

use crate::daemon::{
    Protocol,
    Request,
    Written, //
};
use kernel::prelude::*;
use rlis_proto::{
    ic::{
        self,
        kvp::{
            self,
            KvpFromDaemon,
            KvpOp,
            Refused, //
        },
        transaction::Profile,
        Status, //
    },
    ProtoError, //
};

/// The service.
pub(crate) struct Kvp;

impl Protocol for Kvp {
    const SERVICE: &'static ic::Service = &kvp::SERVICE;
    const PROFILE: &'static Profile = &kvp::PROFILE;
    const DEVICE_NAME: &'static CStr = c"vmbus/hv_kvp";
    const MAX_TO_DAEMON: usize = kvp::KVP_MESSAGE_SIZE;
    const MAX_FROM_DAEMON: usize = kvp::KVP_MESSAGE_SIZE;

    fn request(body: &mut [u8], legacy: bool, out: &mut [u8]) -> Result<Request, ProtoError> {
        Ok(match kvp::to_daemon(body, legacy, out) {
            Ok(op) => Request::Daemon(u32::from(op.0), kvp::KVP_MESSAGE_SIZE),
            Err(Refused(status)) => Request::Answered(status),
        })
    }

    fn handshake(code: u32, out: &mut [u8]) -> Result<usize, ProtoError> {
        kvp::handshake_answer(code, out)
    }

    fn internal(_op: u32, _out: &mut [u8]) -> Result<usize, ProtoError> {
        Err(ProtoError::Unexpected {
            what: "KVP operation without the host",
        })
    }

    fn written(bytes: &[u8], registering: bool, legacy: bool) -> Result<Written, ProtoError> {
        Ok(match kvp::from_daemon(bytes, registering, legacy)? {
            KvpFromDaemon::Register(code) => {
                if code == kvp::KVP_OP_REGISTER {
                    pr_info!("KVP: IP injection functionality not available\n");
                    pr_info!("KVP: Upgrade the KVP daemon\n");
                }
                Written::Register(code)
            }
            KvpFromDaemon::Answer(status) => Written::Answer(status),
        })
    }

    fn complete(body: &mut [u8], op: u32, status: Status, answer: &[u8]) -> Status {
        match u8::try_from(op) {
            Ok(op) => kvp::complete(body, KvpOp(op), status, answer),
            Err(_) => Status::HV_E_FAIL,
        }
    }
}
