// SPDX-License-Identifier: GPL-2.0

//! Integration components (IC): the framing and the version negotiation that heartbeat, shutdown, time
//! synchronisation, KVP, VSS and file copy share (include/linux/hyperv.h, drivers/hv/channel_mgmt.c).
//!
//! Every request of the host is an inband packet: pipe header (8 bytes), IC header (20 bytes), body. The guest
//! answers with the same packet, changed in place. Functions here therefore work on the packet's payload in
//! the caller's buffer; the messages are up to 7.4 KB and are never copied to the stack.

pub mod fcopy;
pub mod heartbeat;
pub mod kvp;
pub mod shutdown;
pub mod timesync;
pub mod transaction;
pub mod vss;

mod negotiate;
pub use negotiate::{
    answer_negotiate, build_negotiate, parse_negotiate_reply, IcNegotiate, MAX_VERSION_COUNT,
};

use crate::error::{put_bytes, read_prefix, ProtoError};
use core::fmt;
use core::mem::size_of;
use zerocopy::{FromBytes, IntoBytes};

open_enum! {
    /// `ICMSGTYPE_*`.
    pub struct MessageType(u16) {
        /// Version negotiation.
        ICMSGTYPE_NEGOTIATE = 0,
        /// Heartbeat.
        ICMSGTYPE_HEARTBEAT = 1,
        /// KVP.
        ICMSGTYPE_KVPEXCHANGE = 2,
        /// Shutdown.
        ICMSGTYPE_SHUTDOWN = 3,
        /// Time synchronisation.
        ICMSGTYPE_TIMESYNC = 4,
        /// VSS.
        ICMSGTYPE_VSS = 5,
        /// File copy.
        ICMSGTYPE_FCOPY = 7,
    }
}

open_enum! {
    /// Status of a reply, an HRESULT (include/uapi/linux/hyperv.h).
    pub struct Status(u32) {
        /// Done.
        HV_S_OK = 0,
        /// Failed.
        HV_E_FAIL = 0x8000_4005,
        /// Nothing more to enumerate, or no such key.
        HV_S_CONT = 0x8007_0103,
        /// Not supported.
        HV_ERROR_NOT_SUPPORTED = 0x8007_0032,
        /// The machine is locked.
        HV_ERROR_MACHINE_LOCKED = 0x8007_04f7,
        /// Not connected.
        HV_ERROR_DEVICE_NOT_CONNECTED = 0x8007_048f,
        /// A parameter is invalid.
        HV_INVALIDARG = 0x8007_0057,
        /// No such adapter.
        HV_GUID_NOTFOUND = 0x8004_1002,
        /// The file exists.
        HV_ERROR_ALREADY_EXISTS = 0x8007_0050,
        /// The disk is full.
        HV_ERROR_DISK_FULL = 0x8007_0070,
    }
}

/// Header flag: part of a transaction.
pub const ICMSGHDRFLAG_TRANSACTION: u8 = 1;
/// Header flag: a request.
pub const ICMSGHDRFLAG_REQUEST: u8 = 2;
/// Header flag: a response.
pub const ICMSGHDRFLAG_RESPONSE: u8 = 4;
/// Bytes of both headers (`ICMSG_HDR`).
pub const ICMSG_HDR: usize = size_of::<VmbusPipeHeader>() + size_of::<IcMessageHeader>();
/// Largest packet of any service that the guest has to be able to read, bytes.
pub const MAX_PACKET: usize = 16384;

wire_struct! {
    /// `struct ic_version`, 4 bytes. Ordered.
    #[derive(PartialEq, Eq, PartialOrd, Ord, Default)]
    pub struct IcVersion {
        /// Major.
        pub major: u16,
        /// Minor.
        pub minor: u16,
    }
}

impl IcVersion {
    /// A version.
    pub const fn new(major: u16, minor: u16) -> Self {
        Self { major, minor }
    }
}

impl fmt::Display for IcVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", { self.major }, { self.minor })
    }
}

impl fmt::Debug for IcVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

wire_struct! {
    /// `struct vmbuspipe_hdr`, 8 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct VmbusPipeHeader {
        /// 1 from hosts. Not looked at.
        pub flags: u32,
        /// Bytes that follow. Not looked at: the packet's own length counts.
        pub msgsize: u32,
    }

    /// `struct icmsg_hdr`, 20 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct IcMessageHeader {
        /// Framework version.
        pub icverframe: IcVersion,
        /// [`MessageType`].
        pub icmsgtype: u16,
        /// Message version.
        pub icvermsg: IcVersion,
        /// Bytes of the body.
        pub icmsgsize: u16,
        /// [`Status`], in replies.
        pub status: u32,
        /// Echoed.
        pub ictransaction_id: u8,
        /// `ICMSGHDRFLAG_*`.
        pub icflags: u8,
        /// Unused.
        pub reserved: [u8; 2],
    }
}

/// What tells one service from another in framing and negotiation.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    /// For logs, as in the C driver's messages.
    pub name: &'static str,
    /// Type of its messages.
    pub message_type: MessageType,
    /// Framework versions supported, best first.
    pub framework_versions: &'static [IcVersion],
    /// Message versions supported, best first.
    pub message_versions: &'static [IcVersion],
}

/// Framework versions of most services (`UTIL_FW_VERSION`, `UTIL_WS2K8_FW_VERSION`).
pub const FRAMEWORK_3_AND_1: &[IcVersion] = &[IcVersion::new(3, 0), IcVersion::new(1, 0)];
/// Framework versions of VSS and file copy.
pub const FRAMEWORK_3: &[IcVersion] = &[IcVersion::new(3, 0)];

/// The pair that guest and host agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// Framework version.
    pub framework: IcVersion,
    /// Message version.
    pub message: IcVersion,
}

/// What a packet of the host asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A negotiation; the reply is in the buffer already, send it. `None`: nothing in common, which the reply
    /// says.
    Negotiated(Option<Negotiated>),
    /// A request of the service: handle [`body`], then [`finish`] and send.
    Request,
    /// Neither; the reply with an error status is in the buffer already, send it.
    Refused(MessageType),
}

/// The guest's side of one service's framing.
#[derive(Clone, Debug)]
pub struct Guest {
    service: &'static Service,
    negotiated: Option<Negotiated>,
}

impl Guest {
    /// A guest that has not negotiated yet.
    pub const fn new(service: &'static Service) -> Self {
        Self {
            service,
            negotiated: None,
        }
    }

    /// The service.
    pub const fn service(&self) -> &'static Service {
        self.service
    }

    /// What was agreed on last.
    pub const fn negotiated(&self) -> Option<Negotiated> {
        self.negotiated
    }

    /// Looks at the payload of an inband packet in a private buffer. For everything but
    /// [`Action::Request`] the buffer holds the reply afterwards; a reply is as long as its request.
    ///
    /// # Errors
    ///
    /// `Short` if there is no complete header, to which no reply is possible.
    pub fn receive(&mut self, packet: &mut [u8]) -> Result<Action, ProtoError> {
        let h = header(packet)?;
        let ty = MessageType(h.icmsgtype);
        if ty == MessageType::ICMSGTYPE_NEGOTIATE {
            let agreed = negotiate::answer(self.service, packet)?;
            if agreed.is_some() {
                self.negotiated = agreed;
            }
            Ok(Action::Negotiated(agreed))
        } else if ty == self.service.message_type {
            Ok(Action::Request)
        } else {
            finish(packet, Status::HV_E_FAIL)?;
            Ok(Action::Refused(ty))
        }
    }
}

/// A copy of the IC header of a packet.
///
/// # Errors
///
/// `Short` if both headers are not there.
pub fn header(packet: &[u8]) -> Result<IcMessageHeader, ProtoError> {
    let (_, rest) = read_prefix::<VmbusPipeHeader>(packet, "vmbuspipe_hdr")?;
    Ok(read_prefix::<IcMessageHeader>(rest, "icmsg_hdr")?.0)
}

/// The body of a packet; empty if the headers are not complete.
pub fn body(packet: &[u8]) -> &[u8] {
    packet.get(ICMSG_HDR..).unwrap_or_default()
}

/// The body of a packet, to be changed; empty if the headers are not complete.
pub fn body_mut(packet: &mut [u8]) -> &mut [u8] {
    packet.get_mut(ICMSG_HDR..).unwrap_or_default()
}

fn header_mut(packet: &mut [u8]) -> Result<&mut IcMessageHeader, ProtoError> {
    let got = packet.len();
    packet
        .get_mut(size_of::<VmbusPipeHeader>()..)
        .and_then(|b| IcMessageHeader::mut_from_prefix(b).ok())
        .map(|(h, _)| h)
        .ok_or(ProtoError::Short {
            what: "icmsg_hdr",
            need: ICMSG_HDR,
            got,
        })
}

/// Makes the reply of the request in `packet`: sets status and flags. Send as many bytes as the request had.
///
/// # Errors
///
/// `Short` if both headers are not there.
pub fn finish(packet: &mut [u8], status: Status) -> Result<(), ProtoError> {
    let h = header_mut(packet)?;
    h.status = status.0;
    h.icflags = ICMSGHDRFLAG_TRANSACTION | ICMSGHDRFLAG_RESPONSE;
    Ok(())
}

/// The host's side: writes the headers of a request with `body_len` bytes of body, which the caller writes
/// behind them. Returns the length of the whole.
///
/// # Errors
///
/// `NoRoom` if `packet` is too small, `Invalid` if the body is longer than its length field can say.
pub fn build_request(
    packet: &mut [u8],
    ty: MessageType,
    versions: Negotiated,
    transaction_id: u8,
    body_len: usize,
) -> Result<usize, ProtoError> {
    let total = ICMSG_HDR.saturating_add(body_len);
    let (Ok(icmsgsize), Ok(msgsize)) = (
        u16::try_from(body_len),
        u32::try_from(total - size_of::<VmbusPipeHeader>()),
    ) else {
        return Err(ProtoError::Invalid {
            what: "icmsgsize",
            value: body_len as u64,
        });
    };
    let got = packet.len();
    if got < total {
        return Err(ProtoError::NoRoom {
            what: "IC request",
            need: total,
            got,
        });
    }
    let n = put_bytes(
        packet,
        VmbusPipeHeader { flags: 1, msgsize }.as_bytes(),
        "IC request",
    )?;
    let h = IcMessageHeader {
        icverframe: versions.framework,
        icmsgtype: ty.0,
        icvermsg: versions.message,
        icmsgsize,
        status: 0,
        ictransaction_id: transaction_id,
        icflags: ICMSGHDRFLAG_TRANSACTION | ICMSGHDRFLAG_REQUEST,
        reserved: [0; 2],
    };
    put_bytes(
        packet.get_mut(n..).unwrap_or_default(),
        h.as_bytes(),
        "IC request",
    )?;
    Ok(total)
}

/// The host's side: checks that `packet` is a reply and returns its header.
///
/// # Errors
///
/// `Short` without complete headers, `Unexpected` if it is no response.
pub fn parse_reply(packet: &[u8]) -> Result<IcMessageHeader, ProtoError> {
    let h = header(packet)?;
    if h.icflags & ICMSGHDRFLAG_RESPONSE == 0 {
        return Err(ProtoError::Unexpected {
            what: "IC message that is no response",
        });
    }
    Ok(h)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    extern crate std;
    use std::vec;

    #[test]
    fn request_and_reply() {
        let v = Negotiated {
            framework: IcVersion::new(3, 0),
            message: IcVersion::new(3, 2),
        };
        let mut p = vec![0; 28 + 40];
        assert_eq!(
            build_request(&mut p, MessageType::ICMSGTYPE_HEARTBEAT, v, 9, 40),
            Ok(68)
        );
        assert!(parse_reply(&p).is_err());
        let mut g = Guest::new(&heartbeat::SERVICE);
        assert_eq!(g.receive(&mut p), Ok(Action::Request));
        finish(&mut p, Status::HV_S_OK).unwrap();
        let h = parse_reply(&p).unwrap();
        assert_eq!((h.ictransaction_id, h.icflags, { h.status }), (9, 5, 0));
        assert!(build_request(&mut p, MessageType::ICMSGTYPE_VSS, v, 0, 41).is_err());
        assert!(build_request(
            &mut vec![0; 1 << 17],
            MessageType::ICMSGTYPE_VSS,
            v,
            0,
            1 << 16
        )
        .is_err());
    }

    #[test]
    fn a_message_of_another_service_is_answered_with_an_error() {
        let v = Negotiated {
            framework: IcVersion::new(3, 0),
            message: IcVersion::new(3, 0),
        };
        let mut p = vec![0; 28];
        build_request(&mut p, MessageType::ICMSGTYPE_TIMESYNC, v, 0, 0).unwrap();
        let mut g = Guest::new(&heartbeat::SERVICE);
        assert_eq!(
            g.receive(&mut p),
            Ok(Action::Refused(MessageType::ICMSGTYPE_TIMESYNC))
        );
        assert_eq!({ parse_reply(&p).unwrap().status }, Status::HV_E_FAIL.0);
    }

    proptest! {
        #[test]
        fn any_packet_never_panics(mut p in proptest::collection::vec(any::<u8>(), 0..120), ty in 0u16..8) {
            for s in [&heartbeat::SERVICE, &shutdown::SERVICE, &timesync::SERVICE, &kvp::SERVICE, &vss::SERVICE, &fcopy::SERVICE] {
                let _ = Guest::new(s).receive(&mut p);
                if p.len() > 14 {
                    p[12..14].copy_from_slice(&ty.to_le_bytes());
                }
                let r = Guest::new(s).receive(&mut p);
                prop_assert_eq!(r.is_err(), p.len() < ICMSG_HDR);
            }
        }
    }
}
