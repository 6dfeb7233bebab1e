// SPDX-License-Identifier: GPL-2.0

//! SynIC pages and registers (TLFS "Virtual Interrupt Controller"; include/hyperv/hvgdk_mini.h).

use super::{parse, MAX_SIZE_CHANNEL_MESSAGE, VMBUS_MESSAGE_TYPE};
use crate::error::ProtoError;
use zerocopy_derive::*;

/// Synthetic interrupt sources per virtual processor.
pub const HV_SYNIC_SINT_COUNT: usize = 16;
/// Event flags per SINT.
pub const HV_EVENT_FLAGS_COUNT: usize = 256 * 8;
/// Bit of SCONTROL, SIMP and SIEFP: enabled. The upper 52 bits of SIMP and SIEFP are the page address.
pub const HV_SYNIC_ENABLE: u64 = 1;
/// Bit 0 of [`MessageHeader::message_flags`]: further messages wait for this slot, write EOM.
pub const HV_MESSAGE_FLAG_PENDING: u8 = 1;

open_enum! {
    /// `enum hv_message_type`.
    pub struct SynicMessageType(u32) {
        /// The slot is free.
        HVMSG_NONE = 0,
        /// A VMBus channel message.
        HVMSG_VMBUS = VMBUS_MESSAGE_TYPE,
        /// A synthetic timer expired.
        HVMSG_TIMER_EXPIRED = 0x8000_0010,
    }
}

wire_struct! {
    /// `struct hv_message_header`, 16 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct MessageHeader {
        /// [`SynicMessageType`]; 0 marks a free slot.
        pub message_type: u32,
        /// Bytes used of the payload.
        pub payload_size: u8,
        /// [`HV_MESSAGE_FLAG_PENDING`].
        pub message_flags: u8,
        /// Zero.
        pub reserved: [u8; 2],
        /// Sender's partition id or the port id.
        pub sender: u64,
    }

    /// `struct hv_message`, one slot of the message page, 256 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct Message {
        /// Its header.
        pub header: MessageHeader,
        /// The message.
        pub payload: [u8; MAX_SIZE_CHANNEL_MESSAGE],
    }
}

impl Message {
    /// A slot with a channel message, as a host fills it.
    ///
    /// # Errors
    ///
    /// `Invalid` if `message` is longer than 240 bytes.
    pub fn new(message: &[u8]) -> Result<Self, ProtoError> {
        let mut slot = Self {
            header: MessageHeader {
                message_type: VMBUS_MESSAGE_TYPE,
                payload_size: 0,
                message_flags: 0,
                reserved: [0; 2],
                sender: 0,
            },
            payload: [0; MAX_SIZE_CHANNEL_MESSAGE],
        };
        match (
            slot.payload.get_mut(..message.len()),
            u8::try_from(message.len()),
        ) {
            (Some(payload), Ok(len)) => {
                payload.copy_from_slice(message);
                slot.header.payload_size = len;
                Ok(slot)
            }
            _ => Err(ProtoError::Invalid {
                what: "SynIC message length",
                value: message.len() as u64,
            }),
        }
    }

    /// The payload of a private copy of a slot.
    ///
    /// # Errors
    ///
    /// `Invalid` if `payload_size` exceeds 240.
    pub fn payload_bytes(&self) -> Result<&[u8], ProtoError> {
        self.payload
            .get(..usize::from(self.header.payload_size))
            .ok_or(ProtoError::Invalid {
                what: "SynIC payload_size",
                value: u64::from(self.header.payload_size),
            })
    }

    /// Parses the host's channel message in a private copy of a slot; `None` if the slot is free.
    ///
    /// # Errors
    ///
    /// Those of [`parse::parse_from`], `Invalid` for the payload size, `Unknown` for another message type.
    pub fn channel_message(&self) -> Result<Option<parse::Message<'_>>, ProtoError> {
        match SynicMessageType(self.header.message_type) {
            SynicMessageType::HVMSG_NONE => Ok(None),
            SynicMessageType::HVMSG_VMBUS => {
                parse::parse_from(parse::Direction::HostToGuest, self.payload_bytes()?).map(Some)
            }
            other => Err(ProtoError::Unknown {
                what: "SynIC message type",
                value: u64::from(other.0),
            }),
        }
    }
}

/// Event flags of one SINT, 256 bytes: flag n is bit `n % 64` of word `n / 64`, and n is a relid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EventFlags {
    /// The words.
    pub flags: [u64; HV_EVENT_FLAGS_COUNT / 64],
}

/// Word index and bit mask of event flag `relid` in [`EventFlags`], `None` if there is no such flag.
pub fn event_flag(relid: u32) -> Option<(usize, u64)> {
    let n = usize::try_from(relid)
        .ok()
        .filter(|&n| n < HV_EVENT_FLAGS_COUNT)?;
    Some((n / 64, 1 << (n % 64)))
}

/// The value of a SINT register (`union hv_synic_sint`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sint(pub u64);

impl Sint {
    /// Bit: masked.
    pub const MASKED: u64 = 1 << 16;
    /// Bit: the interrupt is acknowledged by its delivery.
    pub const AUTO_EOI: u64 = 1 << 17;
    /// Bit: polled, no interrupt is raised.
    pub const POLLING: u64 = 1 << 18;
    /// Bit: proxied to the hypervisor by a paravisor.
    pub const PROXY: u64 = 1 << 20;

    /// A register value that enables the SINT with interrupt `vector`, keeping the reserved bits of `self`.
    pub const fn enabled(self, vector: u8, auto_eoi: bool) -> Self {
        #[allow(clippy::cast_lossless)] // `From` is not const.
        let v = (self.0 & !0xff & !Self::MASKED & !Self::AUTO_EOI & !Self::POLLING) | vector as u64;
        Self(if auto_eoi { v | Self::AUTO_EOI } else { v })
    }

    /// The same register masked.
    pub const fn masked(self) -> Self {
        Self(self.0 | Self::MASKED)
    }

    /// Whether the SINT is masked.
    pub const fn is_masked(self) -> bool {
        self.0 & Self::MASKED != 0
    }

    /// The interrupt vector.
    pub const fn vector(self) -> u8 {
        self.0.to_le_bytes()[0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vmbus::message::*;
    use proptest::prelude::*;
    use zerocopy::{FromBytes, IntoBytes};
    extern crate std;

    #[test]
    fn slot_round_trip() {
        let m = RescindOffer {
            header: ChannelMessageHeader::of::<RescindOffer>(),
            child_relid: 9,
        };
        let slot = Message::new(m.as_bytes()).unwrap();
        assert_eq!(slot.channel_message(), Ok(Some(parse::Message::Rescind(m))));
        assert!(Message::new(&[0; 241]).is_err());
    }

    #[test]
    fn event_flags() {
        assert_eq!(event_flag(0), Some((0, 1)));
        assert_eq!(event_flag(2047), Some((31, 1 << 63)));
        assert_eq!(event_flag(2048), None);
        assert_eq!(event_flag(u32::MAX), None);
    }

    #[test]
    fn sint_values() {
        let s = Sint(Sint::MASKED | Sint::POLLING | 0xdead_0000_0000_0033);
        let on = s.enabled(0xf3, true);
        assert_eq!((on.vector(), on.is_masked()), (0xf3, false));
        assert_eq!(on.0 & Sint::AUTO_EOI, Sint::AUTO_EOI);
        assert_eq!(on.0 >> 32, 0xdead_0000);
        assert!(on.masked().is_masked());
        assert_eq!(on.enabled(1, false).0 & Sint::AUTO_EOI, 0);
    }

    proptest! {
        #[test]
        fn any_slot_never_panics(bytes in proptest::collection::vec(any::<u8>(), 256)) {
            let slot = Message::read_from_bytes(&bytes).unwrap();
            let _ = slot.channel_message();
        }
    }
}
