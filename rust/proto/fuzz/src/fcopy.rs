// SPDX-License-Identifier: GPL-2.0

//! File copy: a message of the host, and what the daemon wrote.

use crate::input::{padded, Input};
use crate::text::utf8;
use rlis_proto::ic::fcopy::{
    from_daemon, to_daemon, DoFcopy, FcopyHeader, FcopyOp, StartFcopy, DATA_FRAGMENT,
    FCOPY_MAX_MESSAGE,
};
use std::mem::size_of;
use zerocopy::FromBytes;

/// The input: one byte (1: the host's message is filled up with zeros to 6196 bytes), a slice with the host's message,
/// the rest is the daemon's.
pub fn fuzz(data: &[u8]) {
    let mut input = Input(data);
    let full = input.u8() & 1 != 0;
    let body = padded(input.slice(), if full { FCOPY_MAX_MESSAGE } else { 0 });
    let mut message = vec![0xa5; FCOPY_MAX_MESSAGE];
    if let Ok((op, len)) = to_daemon(&body, &mut message) {
        check_message(op, &message[..len], &body);
        assert!(to_daemon(&body, &mut message[..len - 1]).is_err());
    }
    assert_eq!(from_daemon(input.0).is_ok(), input.0.len() == 4);
}

/// Checks a message for the daemon, made from the host's `body`.
///
/// # Panics
///
/// If the daemon could read beyond what it got, or gets what the host did not send.
pub fn check_message(op: FcopyOp, message: &[u8], body: &[u8]) {
    match op {
        FcopyOp::START_FILE_COPY => {
            assert_eq!(message.len(), size_of::<StartFcopy>());
            let start = StartFcopy::read_from_prefix(message).expect("size").0;
            assert_ne!(utf8(&start.file_name), 0);
            utf8(&start.path_name);
        }
        FcopyOp::WRITE_TO_FILE => {
            assert_eq!(message.len(), size_of::<DoFcopy>());
            let fragment = DoFcopy::read_from_prefix(message).expect("size").0;
            let size = fragment.size as usize;
            assert!(size <= DATA_FRAGMENT);
            assert_eq!(fragment.data[..size], body[52..52 + size]);
            assert!(fragment.data[size..].iter().all(|&byte| byte == 0));
        }
        FcopyOp::COMPLETE_FCOPY | FcopyOp::CANCEL_FCOPY => {
            assert_eq!(message.len(), size_of::<FcopyHeader>());
        }
        _ => panic!("{op:?} for the daemon"),
    }
}
