// SPDX-License-Identifier: GPL-2.0

//! What a card says to a guest, without a channel that is open.

use rlis_proto::nvsp::{Init, NdisConfig, NdisVersion};
use rlis_proto::rndis::{answer, encode_rss, Answer, Oid, MAC_PARAMETER_SIZE};

use super::*;
use crate::netvsp::spec::parse_nic;
use crate::vmbus::guest::Guest;

struct Bench {
    nic: Arc<Nic>,
    state: State,
    /// For its faults; nobody opens it.
    channel: Arc<Channel>,
}

fn card(options: &str) -> Bench {
    let guest = Guest::new();
    let nic = Nic::new(parse_nic(&format!("net0{options}")).unwrap(), 3, None);
    let state = State {
        frame: DEFAULT_FRAME,
        peer: nic.new_peer(DEFAULT_FRAME),
        mac: nic.permanent,
        up: true,
        ..State::default()
    };
    let channel = guest.idle_channel(nic.clone());
    Bench {
        nic,
        state,
        channel,
    }
}

fn init(bench: &mut Bench, min: u32, max: u32) -> (Status, bool) {
    let init = Init {
        min_protocol_ver: min,
        max_protocol_ver: max,
    };
    let (status, result) = bench.nic.init(&mut bench.state, init);
    (status, result.is_ok())
}

#[test]
fn versions_are_negotiated_once() {
    let mut bench = card(",version=5");
    let unsupported = Status::NVSP_STAT_PROTOCOL_UNSUPPORTED;
    assert_eq!(init(&mut bench, 0x60001, 0x60001), (unsupported, true));
    let success = Status::NVSP_STAT_SUCCESS;
    assert_eq!(init(&mut bench, 0x40000, 0x60001), (success, true));
    assert_eq!(bench.state.version, Some(ProtocolVersion::V5));
    assert_eq!(bench.state.step, Step::Versioned);
    assert!(!init(&mut bench, 2, 2).1, "a second time");
    let mut bench = card("");
    assert_eq!(init(&mut bench, 2, 2), (success, true));
    assert_eq!(
        bench.state.step,
        Step::Configured,
        "version 1 has no NDIS_CONFIG"
    );
}

#[test]
fn the_order_of_the_initialisation_is_kept() {
    let mut bench = card(",mtu=1500-9000");
    let config = |mtu| NdisConfig {
        mtu,
        reserved: 0,
        capability: 8,
    };
    let ndis = |minor| NdisVersion {
        ndis_major_ver: 6,
        ndis_minor_ver: minor,
    };
    let nic = bench.nic.clone();
    assert!(nic.configure(&mut bench.state, config(1514)).is_err());
    assert!(Nic::ndis_version(&mut bench.state, ndis(30)).is_err());
    init(&mut bench, 0x60001, 0x60001);
    let state = &mut bench.state;
    assert!(Nic::ndis_version(state, ndis(30)).is_err());
    for mtu in [0, 60, 1513, 9015, 70_000] {
        assert!(nic.configure(state, config(mtu)).is_err(), "{mtu}");
    }
    nic.configure(state, config(9014)).unwrap();
    assert_eq!((state.frame, state.capability), (9014, 8));
    assert!(nic.configure(state, config(9014)).is_err());
    assert!(Nic::ndis_version(state, ndis(0)).is_err());
    Nic::ndis_version(state, ndis(30)).unwrap();
    assert_eq!(state.step, Step::Ready);
}

impl Bench {
    /// Carries out a request as an encoder writes it.
    fn ask(
        &mut self,
        write: impl FnOnce(&mut [u8]) -> Result<usize, rlis_proto::ProtoError>,
    ) -> Result<Option<Vec<u8>>> {
        let message = written(write);
        let kind = rndis::header(&message[..], message.len() as u32)?.kind;
        self.nic
            .control(&mut self.state, &self.channel, kind, &message)
    }

    fn query(&mut self, oid: Oid, given: &[u8]) -> (rndis::Status, Vec<u8>) {
        let reply = self.ask(|out| rndis::query(out, 5, oid, given)).unwrap();
        match answer(&reply.unwrap()).unwrap() {
            Answer::Query {
                req_id: 5,
                status,
                value,
            } => (status, value.to_vec()),
            other => panic!("{other:?}"),
        }
    }

    fn set(&mut self, oid: Oid, value: &[u8]) -> Result<rndis::Status> {
        let reply = self.ask(|out| rndis::set(out, 5, oid, value))?;
        match answer(&reply.unwrap()).unwrap() {
            Answer::Set { req_id: 5, status } => Ok(status),
            other => panic!("{other:?}"),
        }
    }
}

fn initialised(options: &str) -> Bench {
    let mut bench = card(options);
    init(&mut bench, 0x60001, 0x60001);
    let reply = bench.ask(|out| rndis::initialize(out, 7)).unwrap().unwrap();
    match answer(&reply).unwrap() {
        Answer::Initialize(complete) => assert_eq!(complete.batch(), (8, 8)),
        other => panic!("{other:?}"),
    }
    bench
}

fn keepalive(out: &mut [u8]) -> Result<usize, rlis_proto::ProtoError> {
    let message = [8u32, 12, 9].map(u32::to_le_bytes).concat();
    out[..12].copy_from_slice(&message);
    Ok(12)
}

#[test]
fn rndis_is_initialised_first_and_once() {
    let mut bench = card("");
    assert!(bench.ask(keepalive).is_err());
    let nic = bench.nic.clone();
    assert!(nic.frame(&mut bench.state, &[0; 100], 100).is_err());
    assert!(bench
        .ask(|out| {
            let len = rndis::initialize(out, 7)?;
            out[12] = 2;
            Ok(len)
        })
        .is_err());
    let mut bench = initialised("");
    assert!(bench.ask(|out| rndis::initialize(out, 7)).is_err());
    let alive = bench.ask(keepalive).unwrap().unwrap();
    assert_eq!(
        alive,
        [0x8000_0008u32, 16, 9, 0].map(u32::to_le_bytes).concat()
    );
    assert!(bench.ask(|out| rndis::halt(out, 1)).unwrap().is_none());
    assert!(!bench.state.initialised);
}

#[test]
fn signs_of_life_are_counted() {
    let mut bench = initialised("");
    let success = rndis::Status::RNDIS_STATUS_SUCCESS;
    let alive = |id, status| move |out: &mut [u8]| rndis::keepalive_complete(out, id, status);
    assert!(bench.ask(alive(1, success)).is_err(), "nobody asked");
    bench.state.asked.extend([1, 2]);
    assert!(bench.ask(alive(1, rndis::Status(9))).is_err());
    assert!(bench.ask(alive(1, success)).unwrap().is_none());
    assert!(bench.ask(alive(1, success)).is_err(), "a second time");
    assert!(bench.ask(alive(2, success)).unwrap().is_none());
    assert_eq!(bench.state.counts.alive, 2);
}

#[test]
fn questions_are_answered() {
    let mut bench = initialised(",speed=25000");
    let success = rndis::Status::RNDIS_STATUS_SUCCESS;
    let mut ask = |oid, given: &[u8]| bench.query(oid, given);
    let word = |n: u32| n.to_le_bytes().to_vec();
    assert_eq!(
        ask(Oid::RNDIS_OID_GEN_MAXIMUM_FRAME_SIZE, &[]).1,
        word(1500)
    );
    assert_eq!(ask(Oid::RNDIS_OID_GEN_MEDIA_CONNECT_STATUS, &[]).1, word(0));
    let address = ask(Oid::RNDIS_OID_802_3_PERMANENT_ADDRESS, &[]).1;
    assert_eq!(address, [0, 0x15, 0x5D, 0, 1, 3]);
    assert_eq!(
        ask(Oid::RNDIS_OID_GEN_FRIENDLY_NAME, &[]).1,
        b"n\0e\0t\x000\0"
    );
    let unknown = rndis::Status::RNDIS_STATUS_NOT_SUPPORTED;
    assert_eq!(ask(Oid(0x1234), &[]), (unknown, vec![]));
    let rss = ask(Oid::OID_GEN_RECEIVE_SCALE_CAPABILITIES, &[0; 18]).1;
    assert_eq!(rndis::RssCapabilities::parse(&rss), Ok((1, 0)), "one queue");
    let mut asked = vec![0; 156];
    asked[..4].copy_from_slice(&[0xA7, 3, 156, 0]);
    let offload = ask(Oid::OID_TCP_OFFLOAD_HARDWARE_CAPABILITIES, &asked);
    assert_eq!(offload.0, success);
    assert_eq!(offload.1[..4], [0xA7, 3, 156, 0]);
    assert!(offload.1[4..].iter().all(|b| *b == 0));
    // Questions whose information lies outside of them.
    for (len, offset) in [(4, 20), (4, 0), (u32::MAX, 20), (0x8000_0000, 0x8000_0000)] {
        let words = [4, 28, 5, 0x10107, len, offset, 0];
        let message = words.map(u32::to_le_bytes).concat();
        let asked = bench.ask(|out| {
            out[..28].copy_from_slice(&message);
            Ok(28)
        });
        assert!(asked.is_err());
    }
}

#[test]
fn a_card_offers_what_it_was_asked_for() {
    let mut bench = initialised(",offload,lso=60000,rsc,channels=8");
    let (query, size) = rndis::offload_query(ProtocolVersion::V6_1);
    let given = zerocopy::IntoBytes::as_bytes(&query)[..size].to_vec();
    let oid = Oid::OID_TCP_OFFLOAD_HARDWARE_CAPABILITIES;
    let offered = bench.query(oid, &given).1;
    let all = rndis::Capabilities::parse(&offered).unwrap();
    assert!(all.tcp4 && all.udp4 && all.tcp6 && all.udp6 && all.rsc);
    assert_eq!((all.lso4, all.lso6), (Some(60_000), Some(60_000)));
    let rss = bench.query(Oid::OID_GEN_RECEIVE_SCALE_CAPABILITIES, &[0; 18]);
    assert_eq!(rndis::RssCapabilities::parse(&rss.1), Ok((8, 128)));

    let mut params = rndis::OffloadParams::unchanged();
    params.tcp_ip_v4_csum = 4;
    params.udp_ip_v6_csum = 3;
    params.lso_v2_ipv6 = 2;
    params.rsc_ip_v4 = 2;
    params.rsc_ip_v6 = 2;
    let bytes = zerocopy::IntoBytes::as_bytes(&params).to_vec();
    bench.set(Oid::OID_TCP_OFFLOAD_PARAMETERS, &bytes).unwrap();
    let on = Enabled {
        tx: [true, false, false, false],
        rx: [true, false, false, true],
        lso: [false, true],
        rsc: true,
    };
    assert_eq!(bench.state.enabled, on);
    let unchanged = rndis::OffloadParams::unchanged();
    let bytes = zerocopy::IntoBytes::as_bytes(&unchanged).to_vec();
    bench.set(Oid::OID_TCP_OFFLOAD_PARAMETERS, &bytes).unwrap();
    assert_eq!(bench.state.enabled, on, "nothing was asked for");

    let mut out = [0; 700];
    bench.state.granted = 3;
    let oid = Oid::OID_GEN_RECEIVE_SCALE_PARAMETERS;
    let len = encode_rss(&mut out, 0, &[3; 128], &[7; 40]).unwrap();
    bench.set(oid, &out[..len]).unwrap();
    assert_eq!(bench.state.spread.as_ref().unwrap().table, [3; 128]);
    let len = encode_rss(&mut out, rndis::RSS_DISABLE, &[3; 128], &[7; 40]).unwrap();
    bench.set(oid, &out[..len]).unwrap();
    assert!(bench.state.spread.is_none());
    for table in [&[4; 128][..], &[0; 127]] {
        let len = encode_rss(&mut out, 0, table, &[7; 40]).unwrap();
        assert!(bench.set(oid, &out[..len]).is_err());
    }
}

#[test]
fn settings_are_checked() {
    let mut bench = initialised("");
    let success = rndis::Status::RNDIS_STATUS_SUCCESS;
    let filter = Oid::RNDIS_OID_GEN_CURRENT_PACKET_FILTER;
    assert_eq!(bench.set(filter, &[0xD, 0, 0, 0]).unwrap(), success);
    assert_eq!(bench.state.filter, 0xD);
    assert!(bench.set(filter, &[0, 0, 0, 0x80]).is_err());
    assert!(bench.set(filter, &[1, 0]).is_err());
    let unknown = rndis::Status::RNDIS_STATUS_NOT_SUPPORTED;
    assert_eq!(bench.set(Oid(0x1234), &[]).unwrap(), unknown);
    let mut params = rndis::OffloadParams::unchanged();
    params.ip_v4_csum = 1;
    let oid = Oid::OID_TCP_OFFLOAD_PARAMETERS;
    let bytes = zerocopy::IntoBytes::as_bytes(&params).to_vec();
    assert_eq!(bench.set(oid, &bytes).unwrap(), success);
    for at in [4, 5, 11, 22] {
        let mut more = bytes.clone();
        more[at] = 2;
        assert!(bench.set(oid, &more).is_err(), "{at}");
    }
    let parameter = rndis::mac_parameter([0, 0x15, 0x5D, 10, 11, 12]);
    assert_eq!(parameter.len(), MAC_PARAMETER_SIZE);
    let oid = Oid::RNDIS_OID_GEN_RNDIS_CONFIG_PARAMETER;
    assert_eq!(bench.set(oid, &parameter).unwrap(), success);
    assert_eq!(bench.state.mac.0, [0, 0x15, 0x5D, 10, 11, 12]);
    assert!(bench.set(oid, &rndis::mac_parameter([0xFF; 6])).is_err());
}

#[test]
fn frames_are_filtered() {
    let mut state = initialised("").state;
    let to = |mac: [u8; 6]| mac.to_vec();
    let (own, other) = (to(state.mac.0), to([2, 0, 0, 0, 0, 1]));
    let (all, group) = (to([0xFF; 6]), to([1, 0, 0x5E, 0, 0, 1]));
    let mut wanted = |filter| {
        state.filter = filter;
        [&own, &other, &all, &group].map(|f| state.wants(f))
    };
    assert_eq!(wanted(0), [false; 4]);
    assert_eq!(wanted(1), [true, false, false, false]);
    assert_eq!(wanted(9), [true, false, true, false]);
    assert_eq!(wanted(4), [false, false, false, true]);
    assert_eq!(wanted(0x20), [true; 4]);
    assert!(!state.wants(&[0; 5]));
}
