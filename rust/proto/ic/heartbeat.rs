// SPDX-License-Identifier: GPL-2.0

//! Heartbeat: the host counts, the guest answers with the next number.

use super::{IcVersion, MessageType, Service, Status, FRAMEWORK_3_AND_1};

/// The service.
pub static SERVICE: Service = Service {
    name: "Heartbeat",
    message_type: MessageType::ICMSGTYPE_HEARTBEAT,
    framework_versions: FRAMEWORK_3_AND_1,
    message_versions: &[IcVersion::new(3, 0), IcVersion::new(1, 0)],
};

wire_struct! {
    /// `struct heartbeat_msg_data`, 40 bytes. Hosts may send no more than the sequence number.
    #[derive(Debug)]
    pub struct HeartbeatMessage {
        /// Counts up.
        pub seq_num: u64,
        /// Unused.
        pub reserved: [u32; 8],
    }
}

/// Answers the request in `body` in place and returns the status for the reply.
pub fn handle(body: &mut [u8]) -> Status {
    match body.first_chunk_mut::<8>() {
        Some(seq) => {
            *seq = u64::from_le_bytes(*seq).wrapping_add(1).to_le_bytes();
            Status::HV_S_OK
        }
        None => Status::HV_E_FAIL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_wraps() {
        let mut b = [0xff; 40];
        assert_eq!(handle(&mut b), Status::HV_S_OK);
        assert_eq!((b[..8].iter().sum::<u8>(), b[8]), (0, 0xff));
        assert_eq!(handle(&mut b), Status::HV_S_OK);
        assert_eq!(b[0], 1);
        assert_eq!(handle(&mut [0; 7]), Status::HV_E_FAIL);
    }
}
