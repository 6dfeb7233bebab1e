// SPDX-License-Identifier: GPL-2.0

//! Shutdown, restart and hibernation on request of the host.

use super::{IcVersion, MessageType, Service, Status, FRAMEWORK_3_AND_1};
use crate::error::ProtoError;
use zerocopy::FromBytes;

/// The service.
pub static SERVICE: Service = Service {
    name: "Shutdown",
    message_type: MessageType::ICMSGTYPE_SHUTDOWN,
    framework_versions: FRAMEWORK_3_AND_1,
    message_versions: &[
        IcVersion::new(3, 2),
        IcVersion::new(3, 1),
        IcVersion::new(3, 0),
        IcVersion::new(1, 0),
    ],
};

/// Flag: without asking applications. Linux does not distinguish.
pub const SHUTDOWN_FLAG_FORCE: u32 = 1;
/// Flag: restart.
pub const SHUTDOWN_FLAG_RESTART: u32 = 2;
/// Flag: hibernate.
pub const SHUTDOWN_FLAG_HIBERNATE: u32 = 4;

wire_struct! {
    /// `struct shutdown_msg_data`, 2060 bytes.
    pub struct ShutdownMessage {
        /// Why; an SHTDN_REASON value.
        pub reason_code: u32,
        /// Seconds the host will wait.
        pub timeout_seconds: u32,
        /// `SHUTDOWN_FLAG_*`.
        pub flags: u32,
        /// Text for the user, UTF-16LE.
        pub display_message: [u8; 2048],
    }
}

/// What to do, after the reply has been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShutdownAction {
    /// Power off in an orderly way.
    PowerOff,
    /// Restart in an orderly way.
    Restart,
    /// Tell user space to hibernate.
    Hibernate,
}

/// Decides about the request in `body`: the status for the reply, and what to do after it was sent.
///
/// # Errors
///
/// `Short` if the body is no complete message, `Unknown` for other flags. The reply is `HV_E_FAIL` then.
pub fn handle(
    body: &[u8],
    hibernation_supported: bool,
) -> Result<(Status, Option<ShutdownAction>), ProtoError> {
    let got = body.len();
    let (message, _) = ShutdownMessage::ref_from_prefix(body).map_err(|_| ProtoError::Short {
        what: "shutdown_msg_data",
        need: core::mem::size_of::<ShutdownMessage>(),
        got,
    })?;
    let action = match message.flags & !SHUTDOWN_FLAG_FORCE {
        0 => ShutdownAction::PowerOff,
        SHUTDOWN_FLAG_RESTART => ShutdownAction::Restart,
        SHUTDOWN_FLAG_HIBERNATE if hibernation_supported => ShutdownAction::Hibernate,
        SHUTDOWN_FLAG_HIBERNATE => return Ok((Status::HV_E_FAIL, None)),
        _ => {
            return Err(ProtoError::Unknown {
                what: "shutdown flags",
                value: u64::from(message.flags),
            })
        }
    };
    Ok((Status::HV_S_OK, Some(action)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_flags() {
        let mut b = [0u8; 2060];
        let mut decide = |flags: u8, hib| {
            b[8] = flags;
            handle(&b, hib)
        };
        use ShutdownAction::*;
        for force in [0, 1] {
            assert_eq!(decide(force, false), Ok((Status::HV_S_OK, Some(PowerOff))));
            assert_eq!(
                decide(2 | force, false),
                Ok((Status::HV_S_OK, Some(Restart)))
            );
            assert_eq!(
                decide(4 | force, true),
                Ok((Status::HV_S_OK, Some(Hibernate)))
            );
            assert_eq!(decide(4 | force, false), Ok((Status::HV_E_FAIL, None)));
        }
        for bad in [6, 7, 8, 0xff] {
            assert!(decide(bad, true).is_err());
        }
        assert!(handle(&[0; 2059], true).is_err());
    }
}
