// SPDX-License-Identifier: GPL-2.0

//! Messages of the synthetic keyboard (drivers/input/serio/hyperv-keyboard.c; those that Linux does not send are in
//! OpenVMM's vm/devices/uidevices, keyboard/protocol.rs). Each is the payload of an in-band packet of its own, without
//! a pipe header, and begins with its type, 32 bits. All are little-endian.

use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// SYNTH_KBD_PROTOCOL_REQUEST, from the guest ([`ProtocolRequest`]).
pub const PROTOCOL_REQUEST: u32 = 1;
/// SYNTH_KBD_PROTOCOL_RESPONSE, from the host ([`ProtocolResponse`]).
pub const PROTOCOL_RESPONSE: u32 = 2;
/// SYNTH_KBD_EVENT, from the host ([`Keystroke`]).
pub const EVENT: u32 = 3;
/// SYNTH_KBD_LED_INDICATORS, from the guest ([`LedIndicators`]).
pub const LED_INDICATORS: u32 = 4;

/// Version 1.0, the only one there is: the minor version is in the lower half.
pub const VERSION: u32 = 1 << 16;
/// PROTOCOL_ACCEPTED in [`ProtocolResponse::proto_status`].
pub const PROTOCOL_ACCEPTED: u32 = 1 << 0;

/// IS_UNICODE in [`Keystroke::info`]: the code is a character.
pub const IS_UNICODE: u32 = 1 << 0;
/// IS_BREAK: the key is let go of.
pub const IS_BREAK: u32 = 1 << 1;
/// IS_E0: the scan code has the prefix E0.
pub const IS_E0: u32 = 1 << 2;
/// IS_E1: the scan code has the prefix E1.
pub const IS_E1: u32 = 1 << 3;

/// Names of the lowest bits of [`LedIndicators::led_flags`] (KEYBOARD_*_LOCK_ON of Windows' ntddkbd.h).
pub const LEDS: [(u16, &str); 3] = [(1, "scroll"), (2, "num"), (4, "caps")];

/// struct synth_kbd_protocol_request, 8 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C, packed)]
pub struct ProtocolRequest {
    /// [`PROTOCOL_REQUEST`].
    pub type_: u32,
    /// The version that the guest speaks.
    pub version_requested: u32,
}

/// struct synth_kbd_protocol_response, 8 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C, packed)]
pub struct ProtocolResponse {
    /// [`PROTOCOL_RESPONSE`].
    pub type_: u32,
    /// [`PROTOCOL_ACCEPTED`] or 0.
    pub proto_status: u32,
}

/// struct synth_kbd_keystroke, 12 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C, packed)]
pub struct Keystroke {
    /// [`EVENT`].
    pub type_: u32,
    /// Scan code of set 1 without its prefix and without the bit that says that the key is let go of.
    pub make_code: u16,
    /// Zero.
    pub reserved0: u16,
    /// `IS_*`.
    pub info: u32,
}

/// MessageLedIndicatorsState of OpenVMM with its header, 8 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C, packed)]
pub struct LedIndicators {
    /// [`LED_INDICATORS`].
    pub type_: u32,
    /// Lights that are on.
    pub led_flags: u16,
    /// Zero.
    pub padding: u16,
}
