// SPDX-License-Identifier: GPL-2.0

//! KVP: a message of the host on its way to the daemon, and what the daemon wrote on its way back.

use crate::input::{padded, Input};
use crate::text::{utf16, utf8};
use rlis_proto::ic::kvp::{
    complete, from_daemon, to_daemon, KvpDaemonIp, KvpDelete, KvpEnumerate, KvpFromDaemon,
    KvpGetSet, KvpIpMessage, KvpIpValue, KvpOp, KvpPool, Refused, KVP_MESSAGE_SIZE, MAX_VALUE_SIZE,
    REG_SZ,
};
use rlis_proto::ic::Status;
use zerocopy::FromBytes;

/// The input: one byte of flags (1: the daemon is of the old kind; 2: it registers; 4: the host's message is filled
/// up with zeros to 7428 bytes; 8: the daemon's to 7432), a slice with the host's message, the rest is the daemon's.
pub fn fuzz(data: &[u8]) {
    let mut input = Input(data);
    let flags = input.u8();
    let (legacy, registering) = (flags & 1 != 0, flags & 2 != 0);
    let mut body = padded(input.slice(), if flags & 4 != 0 { 7428 } else { 0 });
    let answer = padded(input.0, if flags & 8 != 0 { KVP_MESSAGE_SIZE } else { 0 });

    let mut message = vec![0xa5; KVP_MESSAGE_SIZE];
    let request = to_daemon(&body, legacy, &mut message);
    if let Ok(op) = request {
        check_message(op, legacy, &message);
    }
    // Room that is too small is refused, whatever the message.
    assert!(to_daemon(&body, legacy, &mut message[..KVP_MESSAGE_SIZE - 1]).is_err());

    let written = from_daemon(&answer, registering, legacy);
    assert_eq!(written.is_err(), answer.len() < KVP_MESSAGE_SIZE);
    if let (Ok(op), Ok(KvpFromDaemon::Answer(status))) = (request, written) {
        let done = complete(&mut body, op, status, &answer);
        if status != Status::HV_S_OK {
            assert_eq!(done, status);
        } else if done == Status::HV_S_OK {
            check_reply(op, &body);
        }
    }
}

fn ip(settings: &KvpIpValue, text: fn(&[u8]) -> usize) {
    text(&settings.adapter_id);
    text(&settings.ip_addr);
    text(&settings.sub_net);
    text(&settings.gate_way);
    text(&settings.dns_addr);
}

/// Checks a message for the daemon.
///
/// # Panics
///
/// If the daemon could read beyond a text, or take a size for one that it is not.
pub fn check_message(op: KvpOp, legacy: bool, message: &[u8]) {
    assert_eq!(message.len(), KVP_MESSAGE_SIZE);
    assert_eq!(message[0], op.0);
    let key = |key: &[u8], size: u32| assert_eq!(utf8(key) + 1, size as usize);
    match op {
        KvpOp::KVP_OP_GET | KvpOp::KVP_OP_SET => {
            let data = KvpGetSet::read_from_prefix(message).expect("size").0.data;
            key(&data.key, data.key_size);
            if op == KvpOp::KVP_OP_SET {
                assert_eq!({ data.value_type }, REG_SZ);
                key(&data.value, data.value_size);
            } else {
                assert_eq!(data.value_size as usize, MAX_VALUE_SIZE);
            }
        }
        KvpOp::KVP_OP_DELETE => {
            let message = KvpDelete::read_from_prefix(message).expect("size").0;
            key(&message.key, message.key_size);
        }
        KvpOp::KVP_OP_ENUMERATE => {}
        KvpOp::KVP_OP_GET_IP_INFO | KvpOp::KVP_OP_SET_IP_INFO => {
            assert!(!legacy, "IP settings for a daemon without them");
            let message = KvpDaemonIp::read_from_prefix(message).expect("size").0;
            ip(&message.kvp_ip_val, utf8);
        }
        _ => panic!("{op:?} for the daemon"),
    }
    let is_ip = matches!(op, KvpOp::KVP_OP_GET_IP_INFO | KvpOp::KVP_OP_SET_IP_INFO);
    assert!(is_ip || KvpPool(message[1]).name().is_some());
}

/// Checks a successful reply to the host.
///
/// # Panics
///
/// If a text in it is no text, or a size not that of its text.
pub fn check_reply(op: KvpOp, body: &[u8]) {
    let sized = |text: &[u8], size: u32| assert_eq!(utf16(text) + 2, size as usize);
    match op {
        KvpOp::KVP_OP_ENUMERATE => {
            let data = KvpEnumerate::read_from_prefix(body).expect("size").0.data;
            sized(&data.key, data.key_size);
            sized(&data.value, data.value_size);
        }
        KvpOp::KVP_OP_GET => {
            let data = KvpGetSet::read_from_prefix(body).expect("size").0.data;
            sized(&data.value, data.value_size);
        }
        KvpOp::KVP_OP_GET_IP_INFO => {
            let message = KvpIpMessage::read_from_prefix(body).expect("size").0;
            ip(&message.kvp_ip_val, utf16);
        }
        _ => {}
    }
}

/// The status of a request that is refused is none of success.
pub fn refused(refused: Refused) -> Status {
    assert_ne!(refused.0, Status::HV_S_OK);
    refused.0
}
