// SPDX-License-Identifier: GPL-2.0

//! VSS: the host backs the machine up and wants its file systems to stand still meanwhile
//! (include/uapi/linux/hyperv.h, drivers/hv/hv_snapshot.c, tools/hv/hv_vss_daemon.c).

use super::transaction::{Profile, Registration, HV_UTIL_TIMEOUT};
use super::{IcVersion, MessageType, Service, Status, FRAMEWORK_3};
use crate::error::{put_bytes, read_prefix, ProtoError};
use zerocopy::IntoBytes;

/// The service.
pub static SERVICE: Service = Service {
    name: "VSS",
    message_type: MessageType::ICMSGTYPE_VSS,
    framework_versions: FRAMEWORK_3,
    message_versions: &[IcVersion::new(5, 0)],
};

/// Seconds the daemon has to freeze (`VSS_FREEZE_TIMEOUT`).
pub const VSS_FREEZE_TIMEOUT: u32 = 15 * 60;
/// Registration of old daemons, which expect no answer.
pub const VSS_OP_REGISTER: u32 = 128;
/// Registration; answered with this value in four bytes.
pub const VSS_OP_REGISTER1: u32 = 129;
/// Flag in the reply to HOT_BACKUP: no auto recovery (`VSS_HBU_NO_AUTO_RECOVERY`).
pub const VSS_HBU_NO_AUTO_RECOVERY: u32 = 5;
/// Largest packet, bytes: FREEZE comes with LUN information that Linux does not use.
pub const VSS_MAX_PKT_SIZE: usize = 8192;

open_enum! {
    /// `enum hv_vss_op`.
    pub struct VssOp(u8) {
        /// Not used with Linux.
        VSS_OP_CREATE = 0,
        /// Not used with Linux.
        VSS_OP_DELETE = 1,
        /// Can the machine be backed up while it runs?
        VSS_OP_HOT_BACKUP = 2,
        /// What is supported.
        VSS_OP_GET_DM_INFO = 3,
        /// Not used with Linux.
        VSS_OP_BU_COMPLETE = 4,
        /// Freeze the file systems.
        VSS_OP_FREEZE = 5,
        /// Thaw them.
        VSS_OP_THAW = 6,
        /// Not used with Linux.
        VSS_OP_AUTO_RECOVER = 7,
    }
}

wire_struct! {
    /// `struct hv_vss_msg`, 12 bytes, on the wire and at the character device. The first eight bytes are a union:
    /// operation in requests, error (four bytes) in the daemon's answers.
    #[derive(Debug, PartialEq, Eq)]
    pub struct VssMessage {
        /// [`VssOp`].
        pub operation: u8,
        /// Zero.
        pub reserved: [u8; 7],
        /// Flags of HOT_BACKUP and GET_DM_INFO replies.
        pub flags: u32,
    }
}

/// Bytes of a message at the character device, both ways, but for the answer to a registration (4 bytes).
pub const VSS_MESSAGE_SIZE: usize = 12;

fn handshake(code: u32) -> Option<Registration> {
    match code {
        VSS_OP_REGISTER => Some(Registration {
            legacy: true,
            answered: false,
        }),
        VSS_OP_REGISTER1 => Some(Registration {
            legacy: false,
            answered: true,
        }),
        _ => None,
    }
}

fn timeout(op: u32) -> u32 {
    if op == u32::from(VssOp::VSS_OP_FREEZE.0) {
        VSS_FREEZE_TIMEOUT
    } else {
        HV_UTIL_TIMEOUT
    }
}

/// For [`super::transaction::Transaction`].
pub static PROFILE: Profile = Profile {
    handshake,
    timeout,
    waits_for_daemon: false,
    freeze_thaw: Some((VssOp::VSS_OP_FREEZE.0 as u32, VssOp::VSS_OP_THAW.0 as u32)),
};

/// What to do with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VssRequest {
    /// Pass it to the daemon.
    Daemon(VssOp),
    /// Answered; send the reply with this status.
    Answered(Status),
}

/// Looks at the request in `body`; what the kernel answers itself is put there.
///
/// # Errors
///
/// `Short` for an incomplete message. The reply is `HV_E_FAIL` then.
pub fn handle(body: &mut [u8]) -> Result<VssRequest, ProtoError> {
    let (message, _) = read_prefix::<VssMessage>(body, "hv_vss_msg")?;
    let op = VssOp(message.operation);
    Ok(match op {
        VssOp::VSS_OP_FREEZE | VssOp::VSS_OP_THAW | VssOp::VSS_OP_HOT_BACKUP => {
            VssRequest::Daemon(op)
        }
        VssOp::VSS_OP_GET_DM_INFO => {
            set_flags(body, 0);
            VssRequest::Answered(Status::HV_S_OK)
        }
        // As the C driver answers them.
        _ if op.name().is_some() => VssRequest::Answered(Status::HV_S_OK),
        _ => VssRequest::Answered(Status::HV_ERROR_NOT_SUPPORTED),
    })
}

fn set_flags(body: &mut [u8], flags: u32) {
    if let Some(d) = body.get_mut(8..12) {
        d.copy_from_slice(&flags.to_le_bytes());
    }
}

/// Writes the message that asks the daemon for operation `op`; returns its length.
///
/// # Errors
///
/// `NoRoom` if `out` is too small.
pub fn to_daemon(op: VssOp, out: &mut [u8]) -> Result<usize, ProtoError> {
    let message = VssMessage {
        operation: op.0,
        reserved: [0; 7],
        flags: 0,
    };
    put_bytes(out, message.as_bytes(), "hv_vss_msg")
}

/// What a daemon wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VssFromDaemon {
    /// A registration with this code.
    Register(u32),
    /// An answer with this status.
    Answer(Status),
}

/// Parses what a daemon wrote. `registering` is [`super::transaction::Transaction::expects_registration`];
/// otherwise the same bytes are an answer, since its error shares the place of the operation.
///
/// # Errors
///
/// `Invalid` if it does not have 12 bytes (EINVAL).
pub fn from_daemon(bytes: &[u8], registering: bool) -> Result<VssFromDaemon, ProtoError> {
    if bytes.len() != VSS_MESSAGE_SIZE {
        return Err(ProtoError::Invalid {
            what: "length of hv_vss_msg",
            value: bytes.len() as u64,
        });
    }
    let (error, _) = read_prefix::<u32>(bytes, "hv_vss_msg")?;
    Ok(if registering {
        VssFromDaemon::Register(error & 0xff)
    } else {
        VssFromDaemon::Answer(Status(error))
    })
}

/// Completes the reply in `body` after the daemon answered operation `op` with `status`.
pub fn complete(body: &mut [u8], op: VssOp, status: Status) {
    if op == VssOp::VSS_OP_HOT_BACKUP && status == Status::HV_S_OK {
        set_flags(body, VSS_HBU_NO_AUTO_RECOVERY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn requests() {
        for (op, expected) in [
            (2, VssRequest::Daemon(VssOp::VSS_OP_HOT_BACKUP)),
            (5, VssRequest::Daemon(VssOp::VSS_OP_FREEZE)),
            (6, VssRequest::Daemon(VssOp::VSS_OP_THAW)),
            (3, VssRequest::Answered(Status::HV_S_OK)),
            (7, VssRequest::Answered(Status::HV_S_OK)),
            (8, VssRequest::Answered(Status::HV_ERROR_NOT_SUPPORTED)),
        ] {
            let mut b = [0xff; 12];
            b[0] = op;
            assert_eq!(handle(&mut b), Ok(expected));
            assert_eq!(b[8] == 0, op == 3);
        }
        assert!(handle(&mut [5; 11]).is_err());
    }

    #[test]
    fn hot_backup_reply_has_its_flags() {
        let mut b = [0; 12];
        complete(&mut b, VssOp::VSS_OP_HOT_BACKUP, Status::HV_E_FAIL);
        assert_eq!(b, [0; 12]);
        complete(&mut b, VssOp::VSS_OP_HOT_BACKUP, Status::HV_S_OK);
        assert_eq!(b[8..], [5, 0, 0, 0]);
    }

    #[test]
    fn daemon_messages() {
        let mut m = [0; 12];
        assert_eq!(to_daemon(VssOp::VSS_OP_FREEZE, &mut m), Ok(12));
        assert_eq!(m, [5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert!(to_daemon(VssOp::VSS_OP_FREEZE, &mut [0; 11]).is_err());
        m[..4].copy_from_slice(&0x8000_4005u32.to_le_bytes());
        assert_eq!(
            from_daemon(&m, false),
            Ok(VssFromDaemon::Answer(Status::HV_E_FAIL))
        );
        m[0] = 129;
        assert_eq!(from_daemon(&m, true), Ok(VssFromDaemon::Register(129)));
        assert!(from_daemon(&m[..11], true).is_err());
        assert!(from_daemon(&[0; 13], true).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_never_panic(mut b in proptest::collection::vec(any::<u8>(), 0..20), op: u8, status: u32) {
            let _ = handle(&mut b);
            let _ = from_daemon(&b, true);
            complete(&mut b, VssOp(op), Status(status));
        }
    }
}
