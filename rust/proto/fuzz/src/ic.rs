// SPDX-License-Identifier: GPL-2.0

//! Packets of the host to the services that the kernel answers itself, and the framing of all.

use crate::input::{padded, Input};
use rlis_proto::ic::{
    self, fcopy, heartbeat, kvp, parse_negotiate_reply, shutdown, timesync, vss, Action, Guest,
    IcVersion, Service, Status, ICMSG_HDR,
};
use rlis_proto::ProtoError;

/// The services, in the order in which an input numbers them.
pub static SERVICES: [&Service; 6] = [
    &heartbeat::SERVICE,
    &shutdown::SERVICE,
    &timesync::SERVICE,
    &kvp::SERVICE,
    &vss::SERVICE,
    &fcopy::SERVICE,
];

/// Bytes of the longest message that the kernel answers itself, with its headers.
const LONG_ENOUGH: usize = ICMSG_HDR + 2060;

/// The input: one byte for the service, eight for the reference time; then packets, each with one byte, whose lowest
/// bit fills it up with zeros to the length of any message, and a slice.
pub fn fuzz(data: &[u8]) {
    let mut input = Input(data);
    let service = SERVICES[usize::from(input.u8()) % SERVICES.len()];
    let now = input.u64();
    let mut guest = Guest::new(service);
    while !input.is_empty() {
        let full = input.u8() & 1 != 0;
        let mut packet = padded(input.slice(), if full { LONG_ENOUGH } else { 0 });
        receive(service, &mut guest, &mut packet, now);
    }
}

fn receive(service: &Service, guest: &mut Guest, packet: &mut [u8], now: u64) {
    let len = packet.len();
    let before = guest.negotiated();
    let result = guest.receive(packet);
    assert_eq!(result.is_err(), len < ICMSG_HDR);
    let Ok(action) = result else { return };
    match action {
        Action::Negotiated(agreed) => {
            assert_eq!(guest.negotiated(), agreed.or(before));
            if let Some(versions) = agreed {
                assert!(service.framework_versions.contains(&versions.framework));
                assert!(service.message_versions.contains(&versions.message));
            }
            // A packet may be too short for the counts.
            match parse_negotiate_reply(packet) {
                Ok(told) => assert_eq!(told, agreed),
                Err(ProtoError::Short { .. }) => assert!(agreed.is_none()),
                Err(error) => panic!("reply to a negotiation: {error}"),
            }
        }
        Action::Refused(_) => {
            let header = ic::parse_reply(packet).expect("a reply");
            assert_eq!({ header.status }, Status::HV_E_FAIL.0);
        }
        Action::Request => {
            assert_eq!(guest.negotiated(), before);
            request(guest, packet, now);
        }
    }
}

fn request(guest: &Guest, packet: &mut [u8], now: u64) {
    let body = ic::body_mut(packet);
    let status = if std::ptr::eq(guest.service(), &heartbeat::SERVICE) {
        heartbeat::handle(body)
    } else if std::ptr::eq(guest.service(), &shutdown::SERVICE) {
        let with = shutdown::handle(body, true);
        let without = shutdown::handle(body, false);
        assert_eq!(with.is_err(), without.is_err());
        with.map_or(Status::HV_E_FAIL, |(status, action)| {
            assert_eq!(status == Status::HV_S_OK, action.is_some());
            status
        })
    } else if std::ptr::eq(guest.service(), &timesync::SERVICE) {
        let version = guest
            .negotiated()
            .map_or(IcVersion::new(1, 0), |agreed| agreed.message);
        match timesync::parse(body, version, now) {
            Ok(message) => {
                let sample = message.sample;
                assert!(timesync::unix_ns(sample.host_time).is_some());
                assert_eq!(sample.ref_time, now);
                assert!(sample.host_ns_at(now).is_ok());
                let later = now.saturating_add(timesync::STALE_AFTER + 1);
                assert!(later == u64::MAX || sample.host_ns_at(later).is_err());
                let _ = sample.is_clock_behind(0);
                Status::HV_S_OK
            }
            Err(_) => Status::HV_E_FAIL,
        }
    } else {
        // The services with a daemon have targets of their own.
        return;
    };
    ic::finish(packet, status).expect("the headers are there");
    let header = ic::parse_reply(packet).expect("a reply");
    assert_eq!({ header.status }, status.0);
}
