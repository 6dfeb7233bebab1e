// SPDX-License-Identifier: GPL-2.0

use super::*;
use proptest::prelude::*;
use std::string::String;
use std::vec;
use std::vec::Vec;
use zerocopy::FromZeros;

extern crate std;

fn put_utf16(dst: &mut [u8], text: &str) -> u32 {
    let bytes: Vec<u8> = text
        .encode_utf16()
        .chain([0])
        .flat_map(u16::to_le_bytes)
        .collect();
    dst[..bytes.len()].copy_from_slice(&bytes);
    bytes.len() as u32
}

fn get_utf16(src: &[u8], size: u32) -> String {
    let units: Vec<u16> = src[..size as usize]
        .chunks(2)
        .map(|c| u16::from_le_bytes([c[0], c[1]]))
        .collect();
    let (nul, text) = units.split_last().unwrap();
    assert_eq!(*nul, 0);
    String::from_utf16(text).unwrap()
}

fn set(key: &str, value: &str) -> KvpGetSet {
    let mut r = KvpGetSet::new_zeroed();
    r.kvp_hdr.operation = 1;
    r.data.value_type = REG_SZ;
    r.data.key_size = put_utf16(&mut r.data.key, key);
    r.data.value_size = put_utf16(&mut r.data.value, value);
    r
}

fn convert(body: &[u8]) -> Result<Vec<u8>, Refused> {
    let mut out = vec![0xff; KVP_MESSAGE_SIZE];
    to_daemon(body, false, &mut out).map(|_| out)
}

#[test]
fn set_is_converted() {
    let out = convert(set("größe", "日本").as_bytes()).unwrap();
    let (m, _) = KvpGetSet::ref_from_prefix(&out).unwrap();
    assert_eq!((m.kvp_hdr.operation, { m.data.value_type }), (1, REG_SZ));
    assert_eq!({ m.data.key_size }, 8);
    assert!(m.data.key.starts_with("größe\0".as_bytes()));
    assert_eq!({ m.data.value_size }, 7);
    assert!(m.data.value.starts_with("日本\0".as_bytes()));
}

#[test]
fn numbers_become_text() {
    for (ty, bytes, text) in [
        (REG_U32, [0xff; 8], "4294967295"),
        (REG_U32, [0; 8], "0"),
        (REG_U64, [0xff; 8], "18446744073709551615"),
        (REG_QWORD, 77u64.to_le_bytes(), "77"),
        (REG_U64, 1_000_000u64.to_le_bytes(), "1000000"),
    ] {
        let mut r = set("k", "");
        r.data.value_type = ty;
        r.data.value[..8].copy_from_slice(&bytes);
        let out = convert(r.as_bytes()).unwrap();
        let (m, _) = KvpGetSet::ref_from_prefix(&out).unwrap();
        assert_eq!(m.data.value_size as usize, text.len() + 1);
        assert_eq!(&m.data.value[..text.len()], text.as_bytes());
        assert_eq!(m.data.value[text.len()], 0);
    }
}

#[test]
fn limits_of_keys_and_values() {
    // 511 bytes of UTF-8 and a NUL would fit; 255 units of UTF-16 and a NUL are all that can come.
    assert!(convert(set(&"k".repeat(255), &"v".repeat(1023)).as_bytes()).is_ok());
    // Value types that do not exist.
    let mut r = set("k", "v");
    r.data.value_type = 2;
    assert_eq!(convert(r.as_bytes()), Err(INVALID));
    assert_eq!(convert(&set("k", "v").as_bytes()[..2575]), Err(INVALID));
    let mut r = set("k", "v");
    r.kvp_hdr.pool = 5;
    assert_eq!(convert(r.as_bytes()), Err(INVALID));
    r.kvp_hdr.operation = 6;
    assert_eq!(
        convert(r.as_bytes()),
        Err(Refused(Status::HV_ERROR_NOT_SUPPORTED))
    );
}

/// Key and value of a converted SET, as the daemon takes them: with the sizes that the message has.
fn stored(request: &KvpGetSet) -> (String, String) {
    let out = convert(request.as_bytes()).unwrap();
    let (m, _) = KvpGetSet::ref_from_prefix(&out).unwrap();
    let text = |field: &[u8], size: u32| {
        let (nul, text) = field[..size as usize].split_last().unwrap();
        assert_eq!(*nul, 0);
        String::from_utf8(text.to_vec()).unwrap()
    };
    (
        text(&m.data.key, m.data.key_size),
        text(&m.data.value, m.data.value_size),
    )
}

#[test]
fn what_does_not_fit_is_cut_between_characters() {
    // 170 characters of three bytes are 510, 682 are 2046.
    let (key, value) = ("日".repeat(171), "日".repeat(683));
    assert_eq!(
        stored(&set(&key, &value)),
        ("日".repeat(170), "日".repeat(682))
    );
    // Nothing behind the first that does not fit, even if it were short enough.
    let (key, value) = (
        "日".repeat(170) + "éx",
        "v".repeat(2) + &"🙂".repeat(510) + "x",
    );
    assert_eq!(stored(&set(&key, &value)).0, "日".repeat(170));
    assert_eq!(stored(&set("k", &value)).1, value);
    assert_eq!(
        stored(&set(&"k".repeat(255), &"v".repeat(1023))).1.len(),
        1023
    );
}

#[test]
fn half_a_surrogate_pair_becomes_a_replacement_character() {
    let mut r = set("k😀", "a😀b");
    // Windows cuts names at a number of units.
    r.data.key[4..6].fill(0);
    r.data.key_size = 6;
    r.data.value[4..6].fill(0);
    r.data.value[2..4].copy_from_slice(&[0x00, 0xde]);
    assert_eq!(stored(&r), ("k\u{fffd}".into(), "a\u{fffd}".into()));
}

#[test]
fn sizes_in_bytes_in_units_and_out_of_bounds() {
    let full = "größe-und-wert";
    let bytes = 2 * (full.encode_utf16().count() as u32 + 1);
    for size in [
        bytes,
        bytes - 2,
        bytes / 2,
        bytes / 2 - 1,
        511,
        512,
        513,
        2048,
        2049,
        u32::MAX,
    ] {
        let mut r = set(full, full);
        r.data.key_size = size;
        r.data.value_size = size;
        assert_eq!(stored(&r), (full.into(), full.into()), "size {size}");
    }
    // No text at all, whatever was left in the field.
    let mut r = set(full, full);
    r.data.value_size = 0;
    assert_eq!(stored(&r).1, "");
    // Fields without a terminator, of which the daemon gets what fits.
    for (size, units) in [
        (512, 256),
        (511, 256),
        (255, 255),
        (10, 10),
        (u32::MAX, 256),
    ] {
        let mut r = set("", "v");
        r.data
            .key
            .chunks_mut(2)
            .for_each(|u| u.copy_from_slice(b"a\0"));
        r.data.key_size = size;
        assert_eq!(stored(&r).0, "a".repeat(units));
    }
    // Likewise for DELETE and GET.
    let mut r = KvpDelete::new_zeroed();
    r.kvp_hdr.operation = 2;
    put_utf16(&mut r.key, full);
    for size in [bytes, bytes / 2, u32::MAX] {
        r.key_size = size;
        let out = convert(r.as_bytes()).unwrap();
        let (m, _) = KvpDelete::ref_from_prefix(&out).unwrap();
        assert_eq!(m.key_size as usize, full.len() + 1);
        assert!(m.key.starts_with(full.as_bytes()));
    }
}

#[test]
fn addresses_are_not_cut() {
    let mut body = KvpIpMessage::new_zeroed();
    body.operation = 5;
    put_utf16(&mut body.kvp_ip_val.ip_addr, &"日".repeat(683));
    assert_eq!(convert(body.as_bytes()), Err(INVALID));
    put_utf16(&mut body.kvp_ip_val.ip_addr, "10.0.0.1");
    body.kvp_ip_val.ip_addr[0..2].copy_from_slice(&[0, 0xd8]);
    assert_eq!(convert(body.as_bytes()), Err(INVALID));
}

#[test]
fn a_value_of_the_daemon_that_is_too_long_is_cut() {
    // The longest that a pool's record holds (what the KVP-MAX-READ test of Microsoft's suite has the host read).
    let mut answer = KvpEnumerate::new_zeroed();
    answer.data.key.fill(b'k');
    answer.data.value.fill(b'v');
    let mut whole = answer.as_bytes().to_vec();
    whole.resize(KVP_MESSAGE_SIZE, 0);
    let mut reply = KvpEnumerate::new_zeroed();
    let status = complete(
        reply.as_mut_bytes(),
        KvpOp::KVP_OP_ENUMERATE,
        Status::HV_S_OK,
        &whole,
    );
    assert_eq!(status, Status::HV_S_OK);
    assert_eq!(
        get_utf16(&reply.data.key, reply.data.key_size),
        "k".repeat(255)
    );
    assert_eq!(
        get_utf16(&reply.data.value, reply.data.value_size),
        "v".repeat(1023)
    );
}

#[test]
fn get_round_trip() {
    let mut body = set("key", "");
    body.kvp_hdr.operation = 0;
    let mut out = convert(body.as_bytes()).unwrap();
    let (m, _) = KvpGetSet::mut_from_prefix(&mut out).unwrap();
    // What tools/hv/hv_kvp_daemon.c does: copies value_size bytes of the record, overwrites the header.
    assert_eq!({ m.data.value_size }, 2048);
    m.data.value[..6].copy_from_slice("wért\0".as_bytes());
    out[..4].fill(0);
    let mut reply = body.as_bytes().to_vec();
    assert_eq!(
        from_daemon(&out, false, false),
        Ok(KvpFromDaemon::Answer(Status::HV_S_OK))
    );
    assert_eq!(
        complete(&mut reply, KvpOp::KVP_OP_GET, Status::HV_S_OK, &out),
        Status::HV_S_OK
    );
    let (r, _) = KvpGetSet::ref_from_prefix(&reply).unwrap();
    assert_eq!(get_utf16(&r.data.value, r.data.value_size), "wért");
    assert_eq!(get_utf16(&r.data.key, r.data.key_size), "key");
    assert_eq!({ r.data.value_type }, REG_SZ);
}

#[test]
fn enumerate_round_trip_and_end() {
    let mut body = KvpEnumerate::new_zeroed();
    body.kvp_hdr.operation = 3;
    body.kvp_hdr.pool = 2;
    body.index = 9;
    let mut out = convert(body.as_bytes()).unwrap();
    let (m, _) = KvpEnumerate::mut_from_prefix(&mut out).unwrap();
    assert_eq!((m.kvp_hdr.pool, { m.index }), (2, 9));
    m.data.key[..8].copy_from_slice(b"OSName\0\0");
    // No terminator at all.
    m.data.value.fill(b'x');
    out[..4].fill(0);
    let mut reply = body.as_bytes().to_vec();
    assert_eq!(
        complete(&mut reply, KvpOp::KVP_OP_ENUMERATE, Status::HV_S_OK, &out),
        Status::HV_S_OK
    );
    let (r, _) = KvpEnumerate::ref_from_prefix(&reply).unwrap();
    assert_eq!(get_utf16(&r.data.key, r.data.key_size), "OSName");
    assert_eq!(
        get_utf16(&r.data.value, r.data.value_size),
        "x".repeat(1023)
    );
    // The end of the enumeration is passed on, and a reply that has no room is an error.
    out[..4].copy_from_slice(&Status::HV_S_CONT.0.to_le_bytes());
    let answer = from_daemon(&out, false, false);
    assert_eq!(answer, Ok(KvpFromDaemon::Answer(Status::HV_S_CONT)));
    assert_eq!(
        complete(&mut reply, KvpOp::KVP_OP_ENUMERATE, Status::HV_S_CONT, &out),
        Status::HV_S_CONT
    );
    assert_eq!(
        complete(
            &mut reply[..2579],
            KvpOp::KVP_OP_ENUMERATE,
            Status::HV_S_OK,
            &out
        ),
        Status::HV_E_FAIL
    );
}

#[test]
fn ip_settings_both_ways() {
    let mut body = KvpIpMessage::new_zeroed();
    body.operation = 5;
    let v = &mut body.kvp_ip_val;
    put_utf16(&mut v.adapter_id, "{F8615163-DF3E-46C5-913F-F2D2F965ED0E}");
    put_utf16(&mut v.ip_addr, "10.0.0.1;fe80::1");
    put_utf16(&mut v.sub_net, "255.0.0.0;64");
    put_utf16(&mut v.gate_way, "10.0.0.254");
    put_utf16(&mut v.dns_addr, "8.8.8.8");
    v.addr_family = 3;
    v.dhcp_enabled = 1;
    let out = convert(body.as_bytes()).unwrap();
    let (m, _) = KvpDaemonIp::ref_from_prefix(&out).unwrap();
    assert!(m
        .kvp_ip_val
        .adapter_id
        .starts_with(b"{F8615163-DF3E-46C5-913F-F2D2F965ED0E}\0"));
    assert!(m.kvp_ip_val.ip_addr.starts_with(b"10.0.0.1;fe80::1\0"));
    assert!(m.kvp_ip_val.dns_addr.starts_with(b"8.8.8.8\0"));
    assert_eq!(
        (m.kvp_ip_val.addr_family, m.kvp_ip_val.dhcp_enabled),
        (3, 1)
    );
    // And back, as the answer to a GET_IP_INFO.
    let mut reply = vec![0; size_of::<KvpIpMessage>()];
    assert_eq!(
        complete(&mut reply, KvpOp::KVP_OP_GET_IP_INFO, Status::HV_S_OK, &out),
        Status::HV_S_OK
    );
    body.operation = 0;
    assert!(reply == body.as_bytes());
    // GET asks with adapter and family only.
    body.operation = 4;
    let out = convert(body.as_bytes()).unwrap();
    let (m, _) = KvpDaemonIp::ref_from_prefix(&out).unwrap();
    assert_eq!(
        (
            m.kvp_ip_val.ip_addr[0],
            m.kvp_ip_val.dhcp_enabled,
            m.kvp_ip_val.addr_family
        ),
        (0, 0, 3)
    );
    let mut out = vec![0; KVP_MESSAGE_SIZE];
    assert_eq!(
        to_daemon(body.as_bytes(), true, &mut out),
        Err(Refused(Status::HV_ERROR_NOT_SUPPORTED))
    );
}

#[test]
fn registration_and_legacy_answers() {
    let mut m = vec![0xff; KVP_MESSAGE_SIZE + 1];
    assert_eq!(
        handshake_answer(KVP_OP_REGISTER1, &mut m),
        Ok(KVP_MESSAGE_SIZE)
    );
    assert_eq!(m[..8], [100, 0, 0, 0, b'3', b'.', b'1', 0]);
    assert_eq!(
        from_daemon(&m, true, false),
        Ok(KvpFromDaemon::Register(100))
    );
    assert!(from_daemon(&m[..KVP_MESSAGE_SIZE - 1], true, false).is_err());
    // Legacy: the key tells.
    assert_eq!(
        from_daemon(&vec![0; 7432], false, true),
        Ok(KvpFromDaemon::Answer(Status::HV_S_CONT))
    );
    let mut e = KvpEnumerate::new_zeroed();
    e.data.key[0] = b'k';
    m[..size_of::<KvpEnumerate>()].copy_from_slice(e.as_bytes());
    assert_eq!(
        from_daemon(&m, false, true),
        Ok(KvpFromDaemon::Answer(Status::HV_S_OK))
    );
}

proptest! {
    #[test]
    fn any_host_bytes(op in 0u8..7, fill: u8, edits in proptest::collection::vec((0usize..7428, any::<u8>()), 0..40), len in 0usize..7500) {
        let mut body = vec![fill; len];
        for (at, b) in edits {
            if let Some(d) = body.get_mut(at) {
                *d = b;
            }
        }
        if let Some(d) = body.get_mut(0) {
            *d = op;
        }
        let mut out = vec![0xff; KVP_MESSAGE_SIZE];
        let _ = to_daemon(&body, false, &mut out);
    }

    #[test]
    fn any_daemon_bytes(op in 0u8..7, fill: u8, edits in proptest::collection::vec((0usize..7432, any::<u8>()), 0..40), room in 0usize..7500) {
        let mut answer = vec![fill; KVP_MESSAGE_SIZE];
        for (at, b) in edits {
            answer[at] = b;
        }
        let mut body = vec![0; room];
        let _ = from_daemon(&answer, false, true);
        let _ = complete(&mut body, KvpOp(op), Status::HV_S_OK, &answer);
    }

    /// A SET of known form is never refused, and what reaches the daemon is the longest front of the text that fits.
    #[test]
    fn any_text_and_any_size(units in proptest::collection::vec(1u16.., 0..1024), size in 0u32..3000) {
        let mut r = set("k", "");
        for (d, u) in r.data.value.chunks_mut(2).zip(&units) {
            d.copy_from_slice(&u.to_le_bytes());
        }
        r.data.value_size = size;
        let taken = units.len().min(size as usize);
        let whole: String = char::decode_utf16(units[..taken].iter().copied())
            .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
            .collect();
        let (_, value) = stored(&r);
        prop_assert!(whole.starts_with(&value));
        let next = whole[value.len()..].chars().next();
        prop_assert!(next.is_none_or(|c| value.len() + c.len_utf8() > 2047));
    }

    #[test]
    fn pairs_survive_the_trip(key in "[^\0]{0,127}", value in "[^\0]{0,400}") {
        let request = set(&key, &value);
        // The daemon's own limits, in UTF-8.
        prop_assume!(key.len() < 512 && value.len() < 2048 && key.encode_utf16().count() < 256);
        let out = convert(request.as_bytes()).unwrap();
        let (m, _) = KvpGetSet::ref_from_prefix(&out).unwrap();
        let mut answer = KvpEnumerate::new_zeroed();
        answer.data = m.data;
        let mut whole = answer.as_bytes().to_vec();
        whole.resize(KVP_MESSAGE_SIZE, 0);
        let mut reply = KvpEnumerate::new_zeroed();
        prop_assert_eq!(complete(reply.as_mut_bytes(), KvpOp::KVP_OP_ENUMERATE, Status::HV_S_OK, &whole), Status::HV_S_OK);
        prop_assert_eq!(get_utf16(&reply.data.key, reply.data.key_size), key);
        prop_assert_eq!(get_utf16(&reply.data.value, reply.data.value_size), value);
    }
}
