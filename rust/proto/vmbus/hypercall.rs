// SPDX-License-Identifier: GPL-2.0

//! The two hypercalls VMBus makes, their inputs, statuses and what a caller does about them.
//! Sources: TLFS "HvCallPostMessage", "HvCallSignalEvent", "Hypercall status codes";
//! include/hyperv/hvgdk_mini.h.

use super::MAX_SIZE_CHANNEL_MESSAGE;
use crate::error::ProtoError;
use zerocopy_derive::*;

/// `HVCALL_POST_MESSAGE`.
pub const HVCALL_POST_MESSAGE: u16 = 0x005c;
/// `HVCALL_SIGNAL_EVENT`, usable as a fast hypercall.
pub const HVCALL_SIGNAL_EVENT: u16 = 0x005d;
/// Bit of the hypercall input value: parameters are in registers.
pub const HV_HYPERCALL_FAST_BIT: u64 = 1 << 16;
/// Mask of the call code in the hypercall input value.
pub const HV_HYPERCALL_CODE_MASK: u64 = 0xffff;
/// Mask of the status in the hypercall result value.
pub const HV_HYPERCALL_RESULT_MASK: u64 = 0xffff;

open_enum! {
    /// Hypercall status, the lower 16 bits of the result value.
    pub struct HvStatus(u16) {
        /// Done.
        HV_STATUS_SUCCESS = 0x00,
        /// No such hypercall.
        HV_STATUS_INVALID_HYPERCALL_CODE = 0x02,
        /// The input value is malformed.
        HV_STATUS_INVALID_HYPERCALL_INPUT = 0x03,
        /// The input page is not aligned.
        HV_STATUS_INVALID_ALIGNMENT = 0x04,
        /// A parameter is invalid.
        HV_STATUS_INVALID_PARAMETER = 0x05,
        /// The partition lacks the privilege.
        HV_STATUS_ACCESS_DENIED = 0x06,
        /// Not possible in the partition's state.
        HV_STATUS_INVALID_PARTITION_STATE = 0x07,
        /// Not possible now.
        HV_STATUS_OPERATION_DENIED = 0x08,
        /// The hypervisor lacks memory.
        HV_STATUS_INSUFFICIENT_MEMORY = 0x0b,
        /// No such virtual processor.
        HV_STATUS_INVALID_VP_INDEX = 0x0e,
        /// No such port.
        HV_STATUS_INVALID_PORT_ID = 0x11,
        /// No such connection.
        HV_STATUS_INVALID_CONNECTION_ID = 0x12,
        /// The receiver has no free message buffer.
        HV_STATUS_INSUFFICIENT_BUFFERS = 0x13,
        /// A previous message was not acknowledged.
        HV_STATUS_NOT_ACKNOWLEDGED = 0x14,
        /// The virtual processor's state does not allow it.
        HV_STATUS_INVALID_VP_STATE = 0x15,
        /// Timed out.
        HV_STATUS_TIME_OUT = 0x78,
    }
}

impl HvStatus {
    /// The status in a hypercall result value.
    pub const fn from_result(result: u64) -> Self {
        let [lo, hi, ..] = result.to_le_bytes();
        Self(u16::from_le_bytes([lo, hi]))
    }
}

/// What to do after a HvPostMessage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PostOutcome {
    /// The message is on its way.
    Posted,
    /// The host is short of buffers or throttles this guest: post again after a pause. The error to give up
    /// with is "no buffers" (ENOBUFS) for lack of resources and "try again" (EAGAIN) for throttling.
    Retry {
        /// Throttled, as opposed to short of resources.
        throttled: bool,
    },
    /// INITIATE_CONTACT only: this connection id does not exist on this host; try another one (ENXIO).
    OtherConnection,
    /// Posting again is pointless (EINVAL).
    Failed(HvStatus),
}

/// Number of attempts before a message that meets [`PostOutcome::Retry`] is given up.
pub const POST_MESSAGE_ATTEMPTS: u32 = 100;

/// Classifies the status of a HvPostMessage.
///
/// `initiate_contact` says that the message was INITIATE_CONTACT, where an unknown connection means an older
/// host. For any other message an unknown connection is what hosts answer when a guest posts too fast.
pub const fn classify_post(status: HvStatus, initiate_contact: bool) -> PostOutcome {
    match status {
        HvStatus::HV_STATUS_SUCCESS => PostOutcome::Posted,
        HvStatus::HV_STATUS_INVALID_CONNECTION_ID if initiate_contact => {
            PostOutcome::OtherConnection
        }
        HvStatus::HV_STATUS_INVALID_CONNECTION_ID => PostOutcome::Retry { throttled: true },
        HvStatus::HV_STATUS_INSUFFICIENT_MEMORY | HvStatus::HV_STATUS_INSUFFICIENT_BUFFERS => {
            PostOutcome::Retry { throttled: false }
        }
        other => PostOutcome::Failed(other),
    }
}

/// Pause before attempt number `attempt` + 1 (0 is the first attempt), in microseconds: doubles from 1 µs and
/// stays at about two seconds from the 22nd attempt on.
pub const fn post_retry_delay_us(attempt: u32) -> u32 {
    1 << if attempt < 21 { attempt } else { 21 }
}

/// `struct hv_input_post_message`, 256 bytes, 8-aligned.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct PostMessageInput {
    /// Connection id, 24 bits used.
    pub connectionid: u32,
    /// Zero.
    pub reserved: u32,
    /// Message type; [`super::VMBUS_MESSAGE_TYPE`] for channel messages.
    pub message_type: u32,
    /// Bytes used of `payload`.
    pub payload_size: u32,
    /// The message.
    pub payload: [u8; MAX_SIZE_CHANNEL_MESSAGE],
}

impl PostMessageInput {
    /// The input for posting `message` to `connection_id`.
    ///
    /// # Errors
    ///
    /// `Invalid` if `message` is longer than 240 bytes.
    pub fn new(connection_id: u32, message_type: u32, message: &[u8]) -> Result<Self, ProtoError> {
        let mut input = Self {
            connectionid: connection_id,
            reserved: 0,
            message_type,
            payload_size: 0,
            payload: [0; MAX_SIZE_CHANNEL_MESSAGE],
        };
        match (
            input.payload.get_mut(..message.len()),
            u32::try_from(message.len()),
        ) {
            (Some(payload), Ok(len)) => {
                payload.copy_from_slice(message);
                input.payload_size = len;
                Ok(input)
            }
            _ => Err(ProtoError::Invalid {
                what: "HvPostMessage payload length",
                value: message.len() as u64,
            }),
        }
    }

    /// The message in an input the host received.
    ///
    /// # Errors
    ///
    /// `Invalid` if `payload_size` exceeds 240.
    pub fn message(&self) -> Result<&[u8], ProtoError> {
        usize::try_from(self.payload_size)
            .ok()
            .and_then(|n| self.payload.get(..n))
            .ok_or(ProtoError::Invalid {
                what: "HvPostMessage payload_size",
                value: u64::from(self.payload_size),
            })
    }
}

/// Parameter of HvSignalEvent, one 64-bit register as a fast hypercall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignalEventInput {
    /// Connection id, from the offer.
    pub connection_id: u32,
    /// Relative flag number; 0 for channels.
    pub flag_number: u16,
}

impl SignalEventInput {
    /// The register value.
    pub const fn to_u64(self) -> u64 {
        let c = self.connection_id.to_le_bytes();
        let f = self.flag_number.to_le_bytes();
        u64::from_le_bytes([c[0], c[1], c[2], c[3], f[0], f[1], 0, 0])
    }

    /// The parts of a register value.
    pub const fn from_u64(value: u64) -> Self {
        let b = value.to_le_bytes();
        Self {
            connection_id: u32::from_le_bytes([b[0], b[1], b[2], b[3]]),
            flag_number: u16::from_le_bytes([b[4], b[5]]),
        }
    }
}

/// Synthetic MSR numbers (TLFS "Synthetic MSRs").
pub mod msr {
    /// `HV_X64_MSR_GUEST_OS_ID`.
    pub const HV_X64_MSR_GUEST_OS_ID: u32 = 0x4000_0000;
    /// `HV_X64_MSR_HYPERCALL`.
    pub const HV_X64_MSR_HYPERCALL: u32 = 0x4000_0001;
    /// `HV_X64_MSR_VP_INDEX`.
    pub const HV_X64_MSR_VP_INDEX: u32 = 0x4000_0002;
    /// `HV_X64_MSR_TIME_REF_COUNT`, units of 100 ns since boot.
    pub const HV_X64_MSR_TIME_REF_COUNT: u32 = 0x4000_0020;
    /// `HV_X64_MSR_REFERENCE_TSC`.
    pub const HV_X64_MSR_REFERENCE_TSC: u32 = 0x4000_0021;
    /// `HV_X64_MSR_SCONTROL`.
    pub const HV_X64_MSR_SCONTROL: u32 = 0x4000_0080;
    /// `HV_X64_MSR_SVERSION`.
    pub const HV_X64_MSR_SVERSION: u32 = 0x4000_0081;
    /// `HV_X64_MSR_SIEFP`, event-flags page.
    pub const HV_X64_MSR_SIEFP: u32 = 0x4000_0082;
    /// `HV_X64_MSR_SIMP`, message page.
    pub const HV_X64_MSR_SIMP: u32 = 0x4000_0083;
    /// `HV_X64_MSR_EOM`.
    pub const HV_X64_MSR_EOM: u32 = 0x4000_0084;
    /// `HV_X64_MSR_SINT0`; SINT n is at `+ n`.
    pub const HV_X64_MSR_SINT0: u32 = 0x4000_0090;
    /// `HV_X64_MSR_CRASH_P0`; P1 to P4 follow.
    pub const HV_X64_MSR_CRASH_P0: u32 = 0x4000_0100;
    /// `HV_X64_MSR_CRASH_CTL`.
    pub const HV_X64_MSR_CRASH_CTL: u32 = 0x4000_0105;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn post_outcomes() {
        use HvStatus as S;
        assert_eq!(classify_post(S::from_result(0), true), PostOutcome::Posted);
        assert_eq!(classify_post(S(0x12), true), PostOutcome::OtherConnection);
        assert_eq!(
            classify_post(S(0x12), false),
            PostOutcome::Retry { throttled: true }
        );
        assert_eq!(
            classify_post(S(0x0b), true),
            PostOutcome::Retry { throttled: false }
        );
        assert_eq!(
            classify_post(S(0x13), false),
            PostOutcome::Retry { throttled: false }
        );
        for bad in [0x02, 0x05, 0x06, 0x11, 0x78, 0xffff] {
            assert_eq!(classify_post(S(bad), false), PostOutcome::Failed(S(bad)));
        }
        assert_eq!(
            S::from_result(0xffff_0000_0000_0013),
            S::HV_STATUS_INSUFFICIENT_BUFFERS
        );
    }

    #[test]
    fn delays_grow_and_stay_bounded() {
        assert_eq!(post_retry_delay_us(0), 1);
        assert_eq!(post_retry_delay_us(10), 1024);
        assert_eq!(post_retry_delay_us(99), 1 << 21);
        assert_eq!(post_retry_delay_us(u32::MAX), 1 << 21);
    }

    proptest! {
        #[test]
        fn post_message_round_trip(m in proptest::collection::vec(any::<u8>(), 0..300)) {
            match PostMessageInput::new(1, 1, &m) {
                Ok(i) => prop_assert_eq!(i.message(), Ok(&m[..])),
                Err(_) => prop_assert!(m.len() > 240),
            }
        }

        #[test]
        fn signal_event_round_trip(connection_id: u32, flag_number: u16) {
            let s = SignalEventInput { connection_id, flag_number };
            prop_assert_eq!(SignalEventInput::from_u64(s.to_u64()), s);
        }
    }
}
