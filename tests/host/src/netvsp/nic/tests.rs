// SPDX-License-Identifier: GPL-2.0

//! What a card says to a guest, without a channel.

use super::*;
use crate::netvsp::spec::parse_nic;

fn card(options: &str) -> (Arc<Nic>, State) {
    let nic = Nic::new(parse_nic(&format!("net0{options}")).unwrap(), 3);
    let state = State {
        frame: DEFAULT_FRAME,
        peer: Some(nic.new_peer(DEFAULT_FRAME)),
        mac: nic.permanent,
        up: true,
        ..State::default()
    };
    (nic, state)
}

fn init(nic: &Nic, state: &mut State, min: u32, max: u32) -> (u32, u32, bool) {
    let init = Init {
        min_protocol_ver: min,
        max_protocol_ver: max,
    };
    let (version, status, result) = nic.init(state, init);
    (version, status, result.is_ok())
}

#[test]
fn versions_are_negotiated_once() {
    let (nic, mut state) = card(",version=5");
    assert_eq!(
        init(&nic, &mut state, 0x60001, 0x60001),
        (0x50000, nvsp::UNSUPPORTED, true)
    );
    assert_eq!(
        init(&nic, &mut state, 0x40000, 0x60001),
        (0x50000, nvsp::SUCCESS, true)
    );
    assert_eq!(state.step, Step::Versioned);
    assert!(!init(&nic, &mut state, 2, 2).2, "a second time");
    let (nic, mut state) = card("");
    assert_eq!(init(&nic, &mut state, 2, 2), (2, nvsp::SUCCESS, true));
    assert_eq!(state.step, Step::Configured, "version 1 has no NDIS_CONFIG");
}

#[test]
fn the_order_of_the_initialisation_is_kept() {
    let (nic, mut state) = card("");
    let config = |mtu| NdisConfig {
        mtu,
        reserved: 0,
        capability: 0,
    };
    let ndis = |minor| NdisVersion {
        ndis_major_ver: 6,
        ndis_minor_ver: minor,
    };
    assert!(nic.configure(&mut state, config(1514)).is_err());
    assert!(Nic::ndis_version(&mut state, ndis(30)).is_err());
    init(&nic, &mut state, 0x60001, 0x60001);
    assert!(Nic::ndis_version(&mut state, ndis(30)).is_err());
    for mtu in [0, 60, 70_000] {
        assert!(nic.configure(&mut state, config(mtu)).is_err(), "{mtu}");
    }
    nic.configure(&mut state, config(9014)).unwrap();
    assert_eq!(state.frame, 9014);
    assert!(nic.configure(&mut state, config(9014)).is_err());
    assert!(Nic::ndis_version(&mut state, ndis(0)).is_err());
    Nic::ndis_version(&mut state, ndis(30)).unwrap();
    assert_eq!(state.step, Step::Ready);
}

fn initialised() -> (Arc<Nic>, State) {
    let (nic, mut state) = card("");
    let request = words(&[7, 1, 0, 0x4000]);
    let answer = nic.control(&mut state, rndis::INITIALIZE, &request);
    let answer = answer.unwrap().unwrap();
    assert_eq!(answer[..16], words(&[0x8000_0002, 52, 7, 0]));
    (nic, state)
}

#[test]
fn rndis_is_initialised_first_and_once() {
    let (nic, mut state) = card("");
    assert!(nic.control(&mut state, rndis::KEEPALIVE, &[0; 4]).is_err());
    assert!(nic.frame_from_guest(&mut state, &[0; 100]).is_err());
    let bad = words(&[7, 2, 0, 0x4000]);
    assert!(nic.control(&mut state, rndis::INITIALIZE, &bad).is_err());
    let (nic, mut state) = initialised();
    let again = words(&[7, 1, 0, 0x4000]);
    assert!(nic.control(&mut state, rndis::INITIALIZE, &again).is_err());
    let alive = nic.control(&mut state, rndis::KEEPALIVE, &words(&[9]));
    assert_eq!(alive.unwrap().unwrap(), words(&[0x8000_0008, 16, 9, 0]));
    assert!(nic
        .control(&mut state, rndis::HALT, &words(&[1]))
        .unwrap()
        .is_none());
    assert!(!state.initialised);
}

fn query(nic: &Nic, state: &mut State, oid: u32, given: &[u8]) -> (u32, Vec<u8>) {
    let len = u32::try_from(given.len()).unwrap();
    let mut body = words(&[5, oid, len, 20, 0]);
    body.extend(given);
    let answer = nic.control(state, rndis::QUERY, &body).unwrap().unwrap();
    let [type_, len, id, status, info_len, offset] =
        <[u32; 6]>::read_from_prefix(&answer).unwrap().0;
    assert_eq!((type_, len as usize, id), (0x8000_0004, answer.len(), 5));
    let info = rndis::part(&answer[8..], offset, info_len, "info").unwrap();
    (status, info.to_vec())
}

#[test]
fn questions_are_answered() {
    let (nic, mut state) = initialised();
    let mut ask = |oid, given: &[u8]| query(&nic, &mut state, oid, given);
    assert_eq!(ask(rndis::OID_MAXIMUM_FRAME_SIZE, &[]).1, words(&[1500]));
    assert_eq!(ask(rndis::OID_MEDIA_CONNECT_STATUS, &[]).1, words(&[0]));
    assert_eq!(
        ask(rndis::OID_PERMANENT_ADDRESS, &[]).1,
        [0, 0x15, 0x5D, 0, 1, 3]
    );
    assert_eq!(ask(rndis::OID_FRIENDLY_NAME, &[]).1, b"n\0e\0t\x000\0");
    assert_eq!(ask(0x1234, &[]), (rndis::NOT_SUPPORTED, vec![]));
    let rss = ask(rndis::OID_RECEIVE_SCALE_CAPABILITIES, &[0; 18]).1;
    assert_eq!((rss.len(), rss[12]), (18, 1), "one queue");
    let mut asked = vec![0; 156];
    asked[..4].copy_from_slice(&[0xA7, 3, 156, 0]);
    let offload = ask(rndis::OID_OFFLOAD_CAPABILITIES, &asked);
    assert_eq!(offload.0, rndis::SUCCESS);
    assert_eq!(offload.1[..4], [0xA7, 3, 156, 0]);
    assert!(offload.1[4..].iter().all(|b| *b == 0));
    // Questions whose information lies outside of them.
    for (len, offset) in [(4, 20), (4, 0), (u32::MAX, 20), (0x8000_0000, 0x8000_0000)] {
        let body = words(&[5, rndis::OID_LINK_SPEED, len, offset, 0]);
        assert!(nic.control(&mut state, rndis::QUERY, &body).is_err());
    }
}

fn set(nic: &Nic, state: &mut State, oid: u32, info: &[u8]) -> Result<u32> {
    let len = u32::try_from(info.len()).unwrap();
    let mut body = words(&[5, oid, len, 20, 0]);
    body.extend(info);
    let answer = nic.control(state, rndis::SET, &body)?.unwrap();
    Ok(<[u32; 4]>::read_from_prefix(&answer).unwrap().0[3])
}

#[test]
fn settings_are_checked() {
    let (nic, mut state) = initialised();
    let state = &mut state;
    assert_eq!(
        set(&nic, state, rndis::OID_PACKET_FILTER, &words(&[0xD])).unwrap(),
        rndis::SUCCESS
    );
    assert_eq!(state.filter, 0xD);
    assert!(set(
        &nic,
        state,
        rndis::OID_PACKET_FILTER,
        &words(&[0x8000_0000])
    )
    .is_err());
    assert!(set(&nic, state, rndis::OID_PACKET_FILTER, &[1, 0]).is_err());
    assert_eq!(set(&nic, state, 0x1234, &[]).unwrap(), rndis::NOT_SUPPORTED);
    let mut offloads = [0; 32];
    offloads[4] = 1;
    assert_eq!(
        set(&nic, state, rndis::OID_OFFLOAD_PARAMETERS, &offloads).unwrap(),
        rndis::SUCCESS
    );
    offloads[5] = 4;
    assert!(set(&nic, state, rndis::OID_OFFLOAD_PARAMETERS, &offloads).is_err());
}

fn address(name: &str, value: &str) -> Vec<u8> {
    let text = |t: &str| -> Vec<u8> { t.encode_utf16().flat_map(u16::to_le_bytes).collect() };
    let (name, value) = (text(name), text(value));
    let (n, v) = (name.len() as u32, value.len() as u32);
    let mut info = words(&[20, n, 2, 20 + n, v]);
    info.extend(name);
    info.extend(value);
    info
}

#[test]
fn the_address_can_be_changed() {
    let good = Nic::network_address(&address("NetworkAddress", "00155d0a0b0c")).unwrap();
    assert_eq!(good.0, [0, 0x15, 0x5D, 10, 11, 12]);
    for (name, value) in [
        ("NetworkAddress", "00155d0a0b0"),
        ("NetworkAddress", "00155d0a0b0g"),
        ("NetworkAddress", "ffffffffffff"),
        ("NetworkAddress", "é0155d0a0b0"),
        ("Networkaddress", "00155d0a0b0c"),
    ] {
        assert!(
            Nic::network_address(&address(name, value)).is_err(),
            "{value}"
        );
    }
}

#[test]
fn frames_are_filtered() {
    let (_, mut state) = initialised();
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
