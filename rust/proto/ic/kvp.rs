// SPDX-License-Identifier: GPL-2.0

//! KVP: the host reads and writes key-value pairs and IP settings of the guest
//! (include/uapi/linux/hyperv.h, drivers/hv/hv_kvp.c, tools/hv/hv_kvp_daemon.c).
//!
//! Host and daemon use the same structs, with text in UTF-16LE and UTF-8. The structs overlap in a union, and
//! all strings are byte arrays here, so that a reference into a packet needs no alignment.

pub mod utf;

use self::utf::{utf16le_to_utf8, utf16le_to_utf8_cut, utf8_to_utf16le, UtfError};
use super::transaction::{Profile, Registration, HV_UTIL_TIMEOUT};
use super::{IcVersion, MessageType, Service, Status, FRAMEWORK_3_AND_1};
use crate::error::ProtoError;
use core::mem::size_of;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The service.
pub static SERVICE: Service = Service {
    name: "KVP",
    message_type: MessageType::ICMSGTYPE_KVPEXCHANGE,
    framework_versions: FRAMEWORK_3_AND_1,
    message_versions: &[
        IcVersion::new(4, 0),
        IcVersion::new(3, 0),
        IcVersion::new(1, 0),
    ],
};

/// Bytes of a key, terminator included, in either encoding (`HV_KVP_EXCHANGE_MAX_KEY_SIZE`).
pub const MAX_KEY_SIZE: usize = 512;
/// Bytes of a value, terminator included, in either encoding (`HV_KVP_EXCHANGE_MAX_VALUE_SIZE`).
pub const MAX_VALUE_SIZE: usize = 2048;
/// UTF-16 units of an adapter id (`MAX_ADAPTER_ID_SIZE`).
pub const MAX_ADAPTER_ID_SIZE: usize = 128;
/// UTF-16 units of a list of addresses (`MAX_IP_ADDR_SIZE`).
pub const MAX_IP_ADDR_SIZE: usize = 1024;
/// UTF-16 units of a list of gateways (`MAX_GATEWAY_SIZE`).
pub const MAX_GATEWAY_SIZE: usize = 512;
/// Value type: text.
pub const REG_SZ: u32 = 1;
/// Value type: 32-bit number.
pub const REG_U32: u32 = 4;
/// Value type: 64-bit number, as Linux's header has it.
pub const REG_U64: u32 = 8;
/// Value type: 64-bit number, as Windows has it (winnt.h `REG_QWORD`); taken like [`REG_U64`].
pub const REG_QWORD: u32 = 11;
/// Registration of daemons without IP injection, which report errors by an empty key.
pub const KVP_OP_REGISTER: u32 = 4;
/// Registration.
pub const KVP_OP_REGISTER1: u32 = 100;
/// Version text in the answer to a registration (`HV_DRV_VERSION`).
pub const HV_DRV_VERSION: &[u8] = b"3.1";

open_enum! {
    /// `enum hv_kvp_exchg_op`.
    pub struct KvpOp(u8) {
        /// Get a value.
        KVP_OP_GET = 0,
        /// Set a value.
        KVP_OP_SET = 1,
        /// Delete a key.
        KVP_OP_DELETE = 2,
        /// Get key and value at an index.
        KVP_OP_ENUMERATE = 3,
        /// Get the IP settings of an adapter.
        KVP_OP_GET_IP_INFO = 4,
        /// Set the IP settings of an adapter.
        KVP_OP_SET_IP_INFO = 5,
    }
}

open_enum! {
    /// `enum hv_kvp_exchg_pool`.
    pub struct KvpPool(u8) {
        /// Written by the host's user.
        KVP_POOL_EXTERNAL = 0,
        /// Written by the guest's user.
        KVP_POOL_GUEST = 1,
        /// What the daemon knows about the guest.
        KVP_POOL_AUTO = 2,
        /// What the host tells about itself.
        KVP_POOL_AUTO_EXTERNAL = 3,
        /// Not used.
        KVP_POOL_AUTO_INTERNAL = 4,
    }
}

wire_struct! {
    /// `struct hv_kvp_hdr`, 4 bytes. The daemon's answers have a [`Status`] in its place.
    #[derive(Debug, PartialEq, Eq)]
    pub struct KvpHeader {
        /// [`KvpOp`], or a registration code.
        pub operation: u8,
        /// [`KvpPool`].
        pub pool: u8,
        /// Zero.
        pub pad: u16,
    }

    /// `struct hv_kvp_exchg_msg_value`, 2572 bytes.
    pub struct KvpExchangeValue {
        /// `REG_*`.
        pub value_type: u32,
        /// Bytes of the key, terminator included.
        pub key_size: u32,
        /// Bytes of the value, terminator included.
        pub value_size: u32,
        /// The key.
        pub key: [u8; MAX_KEY_SIZE],
        /// The value; numbers are at its front.
        pub value: [u8; MAX_VALUE_SIZE],
    }

    /// Header and value: `kvp_get` and `kvp_set` of `struct hv_kvp_msg`.
    pub struct KvpGetSet {
        /// The header.
        pub kvp_hdr: KvpHeader,
        /// Key and value.
        pub data: KvpExchangeValue,
    }

    /// Header, index and value: `kvp_enum_data` of `struct hv_kvp_msg`.
    pub struct KvpEnumerate {
        /// The header.
        pub kvp_hdr: KvpHeader,
        /// Which pair.
        pub index: u32,
        /// Key and value.
        pub data: KvpExchangeValue,
    }

    /// Header and key: `kvp_delete` of `struct hv_kvp_msg`.
    pub struct KvpDelete {
        /// The header.
        pub kvp_hdr: KvpHeader,
        /// Bytes of the key, terminator included.
        pub key_size: u32,
        /// The key.
        pub key: [u8; MAX_KEY_SIZE],
    }

    /// `struct hv_kvp_ipaddr_value`, 7426 bytes; arrays of 16-bit units in C.
    pub struct KvpIpValue {
        /// GUID or MAC address of the adapter.
        pub adapter_id: [u8; 2 * MAX_ADAPTER_ID_SIZE],
        /// 0 none, bit 0 IPv4, bit 1 IPv6.
        pub addr_family: u8,
        /// Not 0 for DHCP.
        pub dhcp_enabled: u8,
        /// Addresses, separated by semicolons.
        pub ip_addr: [u8; 2 * MAX_IP_ADDR_SIZE],
        /// Net masks.
        pub sub_net: [u8; 2 * MAX_IP_ADDR_SIZE],
        /// Gateways.
        pub gate_way: [u8; 2 * MAX_GATEWAY_SIZE],
        /// Name servers.
        pub dns_addr: [u8; 2 * MAX_IP_ADDR_SIZE],
    }

    /// `struct hv_kvp_ip_msg`, 7428 bytes: IP settings on the wire.
    pub struct KvpIpMessage {
        /// [`KvpOp`].
        pub operation: u8,
        /// Unused.
        pub pool: u8,
        /// The settings.
        pub kvp_ip_val: KvpIpValue,
    }

    /// `kvp_ip_val` of `struct hv_kvp_msg`, 7430 bytes: IP settings at the character device, whose header is two
    /// bytes longer.
    pub struct KvpDaemonIp {
        /// The header.
        pub kvp_hdr: KvpHeader,
        /// The settings.
        pub kvp_ip_val: KvpIpValue,
    }

    /// `struct hv_kvp_msg` as a whole: the header and the bytes of the union.
    pub struct KvpMessage {
        /// The header.
        pub kvp_hdr: KvpHeader,
        /// The union, whose members want an alignment of four.
        pub body: [u8; 7428],
    }
}

/// Bytes of a message at the character device, both ways.
pub const KVP_MESSAGE_SIZE: usize = size_of::<KvpMessage>();

fn handshake(code: u32) -> Option<Registration> {
    match code {
        KVP_OP_REGISTER => Some(Registration {
            legacy: true,
            answered: true,
        }),
        KVP_OP_REGISTER1 => Some(Registration {
            legacy: false,
            answered: true,
        }),
        _ => None,
    }
}

fn timeout(_: u32) -> u32 {
    HV_UTIL_TIMEOUT
}

/// For [`super::transaction::Transaction`].
pub static PROFILE: Profile = Profile {
    handshake,
    timeout,
    waits_for_daemon: true,
    freeze_thaw: None,
};

/// A request that is refused, with the status for the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused(pub Status);

const INVALID: Refused = Refused(Status::HV_INVALIDARG);
const FAILED: Refused = Refused(Status::HV_E_FAIL);

impl From<UtfError> for Refused {
    fn from(_: UtfError) -> Self {
        INVALID
    }
}

fn request<T: FromBytes + KnownLayout + Immutable + Unaligned>(body: &[u8]) -> Result<&T, Refused> {
    T::ref_from_prefix(body)
        .map(|(m, _)| m)
        .map_err(|_| INVALID)
}

fn message<T: FromBytes + IntoBytes + KnownLayout + Unaligned>(
    out: &mut [u8],
) -> Result<&mut T, Refused> {
    T::mut_from_prefix(out).map(|(m, _)| m).map_err(|_| FAILED)
}

fn size_with_nul(len: usize) -> u32 {
    u32::try_from(len.saturating_add(1)).unwrap_or(u32::MAX)
}

/// Converts a key or value of the host for the daemon; returns its size for the daemon.
///
/// The text ends at its NUL. `size` only bounds it, in units as the C driver reads it, so that a host may as well count
/// bytes; 0 is no text, and what is beyond the field is not there. What the daemon has no room for is cut off, as by the C
/// driver.
fn text_to_daemon(field: &[u8], size: u32, out: &mut [u8]) -> u32 {
    let bytes = usize::try_from(size)
        .unwrap_or(usize::MAX)
        .saturating_mul(2);
    let text = field.get(..bytes).unwrap_or(field);
    size_with_nul(utf16le_to_utf8_cut(text, out))
}

/// Writes `number` in decimal and a NUL; returns the size of both.
fn decimal(mut number: u64, out: &mut [u8; MAX_VALUE_SIZE]) -> u32 {
    let mut digits = [0u8; 20];
    let mut n = 0;
    for d in digits.iter_mut() {
        // A remainder by ten is a digit.
        *d = b'0' + u8::try_from(number % 10).unwrap_or(0);
        n += 1;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    for (o, d) in out.iter_mut().zip(digits.iter().take(n).rev()) {
        *o = *d;
    }
    if let Some(o) = out.get_mut(n) {
        *o = 0;
    }
    size_with_nul(n)
}

/// Validates the request in `body` and writes the daemon's message into `out`, which becomes
/// [`KVP_MESSAGE_SIZE`] bytes long; returns the operation.
///
/// # Errors
///
/// [`Refused`] with `HV_INVALIDARG` for an incomplete message, an unknown pool or value type, and IP settings that are
/// no UTF-16 or do not fit (keys and values are cut off); `HV_ERROR_NOT_SUPPORTED` for an unknown operation, and
/// for IP settings when the daemon is a legacy one; `HV_E_FAIL` if `out` is too small.
pub fn to_daemon(body: &[u8], legacy: bool, out: &mut [u8]) -> Result<KvpOp, Refused> {
    let out = out.get_mut(..KVP_MESSAGE_SIZE).ok_or(FAILED)?;
    out.fill(0);
    // IP messages have the same two bytes at the front.
    let (operation, pool) = match body {
        [operation, pool, ..] => (*operation, *pool),
        _ => return Err(INVALID),
    };
    let op = KvpOp(operation);
    let hdr = KvpHeader {
        operation,
        pool,
        pad: 0,
    };
    if matches!(op, KvpOp::KVP_OP_GET_IP_INFO | KvpOp::KVP_OP_SET_IP_INFO) {
        if legacy {
            return Err(Refused(Status::HV_ERROR_NOT_SUPPORTED));
        }
        let from = &request::<KvpIpMessage>(body)?.kvp_ip_val;
        let to = message::<KvpDaemonIp>(out)?;
        to.kvp_hdr = hdr;
        let to = &mut to.kvp_ip_val;
        utf16le_to_utf8(&from.adapter_id, &mut to.adapter_id)?;
        to.addr_family = from.addr_family;
        if op == KvpOp::KVP_OP_SET_IP_INFO {
            to.dhcp_enabled = from.dhcp_enabled;
            utf16le_to_utf8(&from.ip_addr, &mut to.ip_addr)?;
            utf16le_to_utf8(&from.sub_net, &mut to.sub_net)?;
            utf16le_to_utf8(&from.gate_way, &mut to.gate_way)?;
            utf16le_to_utf8(&from.dns_addr, &mut to.dns_addr)?;
        }
        return Ok(op);
    }
    if op.name().is_none() {
        return Err(Refused(Status::HV_ERROR_NOT_SUPPORTED));
    }
    if KvpPool(pool).name().is_none() {
        return Err(INVALID);
    }
    match op {
        KvpOp::KVP_OP_ENUMERATE => {
            let from = request::<KvpEnumerate>(body)?;
            let to = message::<KvpEnumerate>(out)?;
            to.kvp_hdr = hdr;
            to.index = from.index;
        }
        KvpOp::KVP_OP_DELETE => {
            let from = request::<KvpDelete>(body)?;
            let to = message::<KvpDelete>(out)?;
            to.kvp_hdr = hdr;
            to.key_size = text_to_daemon(&from.key, from.key_size, &mut to.key);
        }
        KvpOp::KVP_OP_GET => {
            let from = &request::<KvpGetSet>(body)?.data;
            let to = message::<KvpGetSet>(out)?;
            to.kvp_hdr = hdr;
            to.data.key_size = text_to_daemon(&from.key, from.key_size, &mut to.data.key);
            // The daemon copies this many bytes of the value.
            to.data.value_size = size_with_nul(MAX_VALUE_SIZE - 1);
        }
        _ => {
            let from = &request::<KvpGetSet>(body)?.data;
            let to = message::<KvpGetSet>(out)?;
            to.kvp_hdr = hdr;
            let to = &mut to.data;
            to.key_size = text_to_daemon(&from.key, from.key_size, &mut to.key);
            // The daemon stores text only.
            to.value_type = REG_SZ;
            to.value_size = match from.value_type {
                REG_SZ => text_to_daemon(&from.value, from.value_size, &mut to.value),
                REG_U32 => {
                    let [a, b, c, d, ..] = from.value;
                    decimal(u64::from(u32::from_le_bytes([a, b, c, d])), &mut to.value)
                }
                REG_U64 | REG_QWORD => {
                    let [a, b, c, d, e, f, g, h, ..] = from.value;
                    decimal(u64::from_le_bytes([a, b, c, d, e, f, g, h]), &mut to.value)
                }
                _ => return Err(INVALID),
            };
        }
    }
    Ok(op)
}

/// Writes the answer to a registration with `code` into `out`; returns its length.
///
/// # Errors
///
/// `NoRoom` if `out` is too small.
pub fn handshake_answer(code: u32, out: &mut [u8]) -> Result<usize, ProtoError> {
    let got = out.len();
    let out = out.get_mut(..KVP_MESSAGE_SIZE).ok_or(ProtoError::NoRoom {
        what: "hv_kvp_msg",
        need: KVP_MESSAGE_SIZE,
        got,
    })?;
    out.fill(0);
    let version = size_of::<KvpHeader>();
    for (d, s) in out.iter_mut().zip(code.to_le_bytes().iter().take(1)) {
        *d = *s;
    }
    for (d, s) in out.iter_mut().skip(version).zip(HV_DRV_VERSION) {
        *d = *s;
    }
    Ok(KVP_MESSAGE_SIZE)
}

/// What a daemon wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvpFromDaemon {
    /// A registration with this code.
    Register(u32),
    /// An answer with this status; the rest is for [`complete`].
    Answer(Status),
}

/// Parses what a daemon wrote. `registering` is [`super::transaction::Transaction::expects_registration`];
/// otherwise the same bytes are an answer, since its error shares the place of the operation.
///
/// # Errors
///
/// `Short` for less than [`KVP_MESSAGE_SIZE`] bytes (EINVAL). More are ignored, so a driver copies no more.
pub fn from_daemon(
    bytes: &[u8],
    registering: bool,
    legacy: bool,
) -> Result<KvpFromDaemon, ProtoError> {
    let short = ProtoError::Short {
        what: "hv_kvp_msg",
        need: KVP_MESSAGE_SIZE,
        got: bytes.len(),
    };
    let Some([a, b, c, d, ..]) = bytes.get(..KVP_MESSAGE_SIZE) else {
        return Err(short);
    };
    if registering {
        return Ok(KvpFromDaemon::Register(u32::from(*a)));
    }
    if legacy {
        // An empty key is its way to say that there is nothing (more).
        let (m, _) = KvpEnumerate::ref_from_prefix(bytes).map_err(|_| short)?;
        let status = if m.data.key[0] == 0 {
            Status::HV_S_CONT
        } else {
            Status::HV_S_OK
        };
        return Ok(KvpFromDaemon::Answer(status));
    }
    Ok(KvpFromDaemon::Answer(Status(u32::from_le_bytes([
        *a, *b, *c, *d,
    ]))))
}

/// Fills `data`, a part of the reply, from the daemon's.
fn value_to_host(from: &KvpExchangeValue, with_key: bool, to: &mut KvpExchangeValue) {
    if with_key {
        to.key_size = u32::try_from(utf8_to_utf16le(&from.key, &mut to.key)).unwrap_or(0);
    }
    to.value_size = u32::try_from(utf8_to_utf16le(&from.value, &mut to.value)).unwrap_or(0);
    // Whatever was set, the daemon knows text only.
    to.value_type = REG_SZ;
}

/// Completes the reply in `body` (the request, to be changed) with the daemon's `answer` to operation `op`;
/// returns the status for the reply.
pub fn complete(body: &mut [u8], op: KvpOp, status: Status, answer: &[u8]) -> Status {
    if status != Status::HV_S_OK {
        return status;
    }
    let done = match op {
        KvpOp::KVP_OP_ENUMERATE => {
            match (
                KvpEnumerate::ref_from_prefix(answer),
                message::<KvpEnumerate>(body),
            ) {
                (Ok((from, _)), Ok(to)) => {
                    value_to_host(&from.data, true, &mut to.data);
                    Some(())
                }
                _ => None,
            }
        }
        KvpOp::KVP_OP_GET => match (
            KvpGetSet::ref_from_prefix(answer),
            message::<KvpGetSet>(body),
        ) {
            (Ok((from, _)), Ok(to)) => {
                value_to_host(&from.data, false, &mut to.data);
                Some(())
            }
            _ => None,
        },
        KvpOp::KVP_OP_GET_IP_INFO => {
            match (
                KvpDaemonIp::ref_from_prefix(answer),
                message::<KvpIpMessage>(body),
            ) {
                (Ok((from, _)), Ok(to)) => {
                    let (from, to) = (&from.kvp_ip_val, &mut to.kvp_ip_val);
                    to.addr_family = from.addr_family;
                    to.dhcp_enabled = from.dhcp_enabled;
                    utf8_to_utf16le(&from.adapter_id, &mut to.adapter_id);
                    utf8_to_utf16le(&from.ip_addr, &mut to.ip_addr);
                    utf8_to_utf16le(&from.sub_net, &mut to.sub_net);
                    utf8_to_utf16le(&from.gate_way, &mut to.gate_way);
                    utf8_to_utf16le(&from.dns_addr, &mut to.dns_addr);
                    Some(())
                }
                _ => None,
            }
        }
        // Their replies are a status.
        KvpOp::KVP_OP_SET | KvpOp::KVP_OP_DELETE | KvpOp::KVP_OP_SET_IP_INFO => Some(()),
        _ => None,
    };
    if done.is_some() {
        Status::HV_S_OK
    } else {
        Status::HV_E_FAIL
    }
}

#[cfg(test)]
mod tests;
