// SPDX-License-Identifier: GPL-2.0

//! VSS: a message of the host, and what the daemon wrote.

use crate::input::Input;
use rlis_proto::ic::vss::{
    complete, from_daemon, handle, to_daemon, VssFromDaemon, VssOp, VssRequest, VSS_MESSAGE_SIZE,
};
use rlis_proto::ic::Status;

/// The input: one byte (1: the daemon registers), a slice with the host's message, the rest is the daemon's.
pub fn fuzz(data: &[u8]) {
    let mut input = Input(data);
    let registering = input.u8() & 1 != 0;
    let mut body = input.slice().to_vec();
    let len = body.len();
    let request = handle(&mut body);
    assert_eq!(request.is_err(), len < VSS_MESSAGE_SIZE);
    let written = from_daemon(input.0, registering);
    assert_eq!(written.is_ok(), input.0.len() == VSS_MESSAGE_SIZE);
    match (request, written) {
        (Ok(VssRequest::Daemon(op)), written) => {
            let mut message = [0xa5; VSS_MESSAGE_SIZE];
            assert_eq!(to_daemon(op, &mut message), Ok(VSS_MESSAGE_SIZE));
            assert_eq!(message[0], op.0);
            assert_eq!(message[1..], [0; VSS_MESSAGE_SIZE - 1]);
            assert!(to_daemon(op, &mut message[1..]).is_err());
            if let Ok(VssFromDaemon::Answer(status)) = written {
                let before = body.clone();
                complete(&mut body, op, status);
                assert_eq!(body[..8], before[..8]);
                assert_eq!(body[VSS_MESSAGE_SIZE..], before[VSS_MESSAGE_SIZE..]);
            }
        }
        (Ok(VssRequest::Answered(status)), _) => {
            assert_eq!(status == Status::HV_S_OK, VssOp(body[0]).name().is_some());
        }
        _ => {}
    }
    assert_eq!(body.len(), len);
}
