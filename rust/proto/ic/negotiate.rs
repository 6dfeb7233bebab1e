// SPDX-License-Identifier: GPL-2.0

//! Version negotiation of the integration components: the host lists framework and message versions, the guest
//! answers with one of each, or with zero counts.

use super::{
    body_mut, finish, header, IcVersion, MessageType, Negotiated, Service, Status, ICMSG_HDR,
};
use crate::error::{put_bytes, read_prefix, ProtoError};
use core::mem::size_of;
use zerocopy::{FromBytes, IntoBytes};

/// Most framework versions, and most message versions, in a request (`IC_VERSION_NEGOTIATION_MAX_VER_COUNT`).
pub const MAX_VERSION_COUNT: u16 = 100;

/// Bytes of the body of a reply: counts and two versions.
const REPLY_BODY: u16 = 0x10;

wire_struct! {
    /// `struct icmsg_negotiate` without its versions, 8 bytes.
    #[derive(Debug)]
    pub struct IcNegotiate {
        /// Number of framework versions.
        pub icframe_vercnt: u16,
        /// Number of message versions.
        pub icmsg_vercnt: u16,
        /// Unused.
        pub reserved: u32,
    }
}

/// The lists of versions in the body of a request.
fn offered(body: &[u8]) -> Option<(&[IcVersion], &[IcVersion])> {
    let (h, versions) = read_prefix::<IcNegotiate>(body, "icmsg_negotiate").ok()?;
    if h.icframe_vercnt > MAX_VERSION_COUNT || h.icmsg_vercnt > MAX_VERSION_COUNT {
        return None;
    }
    let (nf, nm) = (usize::from(h.icframe_vercnt), usize::from(h.icmsg_vercnt));
    let (versions, _) = <[IcVersion]>::ref_from_prefix_with_elems(versions, nf + nm).ok()?;
    versions.split_at_checked(nf)
}

/// The first of `ours`, best first, that is also in `theirs`.
fn best(mut ours: impl Iterator<Item = IcVersion>, theirs: &[IcVersion]) -> Option<IcVersion> {
    ours.find(|v| theirs.contains(v))
}

/// Changes a request into its reply and returns what was agreed on.
pub(super) fn answer(
    service: &Service,
    packet: &mut [u8],
) -> Result<Option<Negotiated>, ProtoError> {
    let agreed = answer_negotiate(
        packet,
        service.framework_versions.iter().copied(),
        service.message_versions.iter().copied(),
    )?;
    finish(packet, Status::HV_S_OK)?;
    Ok(agreed)
}

/// Writes the body of the reply over that of a negotiation request and returns what was agreed on: the first of
/// `framework` and of `message`, both best first, that the request lists, or `None` if there is nothing in common
/// or the request makes no sense, which the reply says with counts of 0. Status and flags of the header stay as
/// they are; see [`finish`].
///
/// # Errors
///
/// `Short` if there is no complete header, to which no reply is possible.
pub fn answer_negotiate(
    packet: &mut [u8],
    framework: impl Iterator<Item = IcVersion>,
    message: impl Iterator<Item = IcVersion>,
) -> Result<Option<Negotiated>, ProtoError> {
    // The reply has two versions and needs room for both; no more than the request is sent back.
    let agreed = offered(super::body(packet))
        .filter(|_| packet.len() >= ICMSG_HDR + usize::from(REPLY_BODY))
        .and_then(|(their_framework, their_message)| {
            Some(Negotiated {
                framework: best(framework, their_framework)?,
                message: best(message, their_message)?,
            })
        });
    let count = u16::from(agreed.is_some());
    let reply = IcNegotiate {
        icframe_vercnt: count,
        icmsg_vercnt: count,
        reserved: 0,
    };
    let versions = agreed.map_or([IcVersion::default(); 2], |a| [a.framework, a.message]);
    let body = body_mut(packet);
    let parts = reply.as_bytes().iter().chain(versions.as_bytes());
    for (d, s) in body.iter_mut().zip(parts) {
        *d = *s;
    }
    super::header_mut(packet)?.icmsgsize = REPLY_BODY;
    Ok(agreed)
}

/// The host's side: writes a negotiation request and returns its length.
///
/// # Errors
///
/// `NoRoom` if `packet` is too small, `Invalid` if a list has more than [`MAX_VERSION_COUNT`] versions.
pub fn build_negotiate(
    packet: &mut [u8],
    framework: &[IcVersion],
    message: &[IcVersion],
    transaction_id: u8,
) -> Result<usize, ProtoError> {
    let what = "IC negotiation";
    let count = |list: &[IcVersion]| match u16::try_from(list.len()) {
        Ok(n) if n <= MAX_VERSION_COUNT => Ok(n),
        _ => Err(ProtoError::Invalid {
            what: "number of IC versions",
            value: list.len() as u64,
        }),
    };
    let h = IcNegotiate {
        icframe_vercnt: count(framework)?,
        icmsg_vercnt: count(message)?,
        reserved: 0,
    };
    let body_len =
        size_of::<IcNegotiate>() + size_of::<IcVersion>() * (framework.len() + message.len());
    let v = Negotiated {
        framework: framework.first().copied().unwrap_or_default(),
        message: message.first().copied().unwrap_or_default(),
    };
    let total = super::build_request(
        packet,
        MessageType::ICMSGTYPE_NEGOTIATE,
        v,
        transaction_id,
        body_len,
    )?;
    let mut rest = body_mut(packet);
    for part in [h.as_bytes(), framework.as_bytes(), message.as_bytes()] {
        let n = put_bytes(rest, part, what)?;
        rest = rest.get_mut(n..).unwrap_or_default();
    }
    Ok(total)
}

/// The host's side: what the guest chose; `None` if it found nothing in common.
///
/// # Errors
///
/// `Short` for an incomplete reply, `Unexpected` for another message, `Invalid` for counts other than 0 and 1.
pub fn parse_negotiate_reply(packet: &[u8]) -> Result<Option<Negotiated>, ProtoError> {
    super::parse_reply(packet)?;
    if header(packet)?.icmsgtype != MessageType::ICMSGTYPE_NEGOTIATE.0 {
        return Err(ProtoError::Unexpected {
            what: "IC message type",
        });
    }
    let (h, rest) = read_prefix::<IcNegotiate>(super::body(packet), "icmsg_negotiate")?;
    match (h.icframe_vercnt, h.icmsg_vercnt) {
        (0, 0) => Ok(None),
        (1, 1) => {
            let ([framework, message], _) = read_prefix::<[IcVersion; 2]>(rest, "ic_version")?;
            Ok(Some(Negotiated { framework, message }))
        }
        (f, m) => Err(ProtoError::Invalid {
            what: "counts in IC negotiation reply",
            value: (u64::from(f) << 16) | u64::from(m),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{heartbeat, shutdown, Action, Guest};
    use super::*;
    use proptest::prelude::*;
    extern crate std;
    use std::vec::Vec;

    fn negotiate(
        service: &'static Service,
        fw: &[(u16, u16)],
        msg: &[(u16, u16)],
    ) -> Option<Negotiated> {
        let list = |l: &[(u16, u16)]| -> Vec<IcVersion> {
            l.iter().map(|&(a, b)| IcVersion::new(a, b)).collect()
        };
        let mut p = [0; 900];
        let n = build_negotiate(&mut p, &list(fw), &list(msg), 3).unwrap();
        let mut g = Guest::new(service);
        let Ok(Action::Negotiated(agreed)) = g.receive(&mut p[..n]) else {
            panic!()
        };
        assert_eq!(g.negotiated(), agreed);
        assert_eq!(parse_negotiate_reply(&p[..n]), Ok(agreed));
        agreed
    }

    #[test]
    fn the_best_common_pair_is_chosen() {
        let v = |f, m| {
            Some(Negotiated {
                framework: f,
                message: m,
            })
        };
        assert_eq!(
            negotiate(
                &shutdown::SERVICE,
                &[(1, 0), (3, 0)],
                &[(1, 0), (3, 0), (3, 1), (3, 2)]
            ),
            v(IcVersion::new(3, 0), IcVersion::new(3, 2))
        );
        assert_eq!(
            negotiate(&shutdown::SERVICE, &[(1, 0)], &[(3, 0), (9, 9)]),
            v(IcVersion::new(1, 0), IcVersion::new(3, 0))
        );
        assert_eq!(negotiate(&shutdown::SERVICE, &[(4, 0)], &[(3, 0)]), None);
        assert_eq!(negotiate(&shutdown::SERVICE, &[(3, 0)], &[(2, 0)]), None);
        assert_eq!(negotiate(&heartbeat::SERVICE, &[(3, 0)], &[]), None);
        // A framework version is no message version.
        assert_eq!(
            negotiate(&heartbeat::SERVICE, &[(9, 0), (3, 0)], &[(9, 0)]),
            None
        );
    }

    #[test]
    fn hostile_counts() {
        for (nf, nm, len) in [
            (101, 1, 900),
            (1, 101, 900),
            (u16::MAX, u16::MAX, 900),
            (1, 1, 36),
            (2, 1, 44),
            (1, 1, 43),
        ] {
            let mut p = std::vec![0u8; len];
            p[28..30].copy_from_slice(&u16::to_le_bytes(nf));
            p[30..32].copy_from_slice(&u16::to_le_bytes(nm));
            for v in p[36..].chunks_exact_mut(4) {
                v[0] = 3;
            }
            assert_eq!(
                Guest::new(&heartbeat::SERVICE).receive(&mut p),
                Ok(Action::Negotiated(None)),
                "{nf} {nm} {len}"
            );
            assert_eq!(parse_negotiate_reply(&p), Ok(None));
        }
        let many = [IcVersion::new(3, 0); 101];
        assert!(build_negotiate(&mut [0; 900], &many, &[], 0).is_err());
        assert!(build_negotiate(&mut [0; 900], &many[..100], &many[..100], 0).is_ok());
    }

    proptest! {
        #[test]
        fn agreed_versions_are_common(
            fw in proptest::collection::vec((0u16..5, 0u16..3), 0..20),
            msg in proptest::collection::vec((0u16..5, 0u16..3), 0..20),
        ) {
            let agreed = negotiate(&shutdown::SERVICE, &fw, &msg);
            let best = |ours: &[IcVersion], theirs: &[(u16, u16)]| {
                theirs.iter().map(|&(a, b)| IcVersion::new(a, b)).filter(|v| ours.contains(v)).max()
            };
            let f = best(shutdown::SERVICE.framework_versions, &fw);
            let m = best(shutdown::SERVICE.message_versions, &msg);
            // Both sides need two versions in the packet to answer into.
            let room = fw.len() + msg.len() >= 2;
            prop_assert_eq!(agreed.map(|a| (a.framework, a.message)), f.zip(m).filter(|_| room));
        }
    }
}
