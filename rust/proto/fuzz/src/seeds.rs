// SPDX-License-Identifier: GPL-2.0

//! A few well-formed inputs for each target. Messages of several kilobytes are nothing that a fuzzer comes upon by
//! itself.

use crate::ic::SERVICES;
use crate::input::with_len;
use rlis_proto::ic::{build_negotiate, build_request, IcVersion, Negotiated, Service};

/// `text` in UTF-16LE with its NUL, in a field of `len` bytes.
fn utf16(text: &str, len: usize) -> Vec<u8> {
    let mut field: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert!(field.len() + 2 <= len);
    field.resize(len, 0);
    field
}

/// `text` in a field of `len` bytes.
fn utf8(text: &str, len: usize) -> Vec<u8> {
    let mut field = text.as_bytes().to_vec();
    field.resize(len, 0);
    field
}

/// `struct hv_kvp_exchg_msg_value`, as the host sends it.
fn kvp_value(kind: u32, key: &str, value: &[u8]) -> Vec<u8> {
    let key_size = u32::try_from(2 * key.encode_utf16().count() + 2).expect("short");
    let value_size = u32::try_from(value.len()).expect("short");
    let mut bytes = [kind, key_size, value_size].map(u32::to_le_bytes).concat();
    bytes.extend(utf16(key, 512));
    bytes.extend(value);
    bytes.resize(2572, 0);
    bytes
}

/// Requests of the host and answers of the daemon, KVP.
fn kvp() -> Vec<(Vec<u8>, Vec<u8>)> {
    let value = utf16("Wert 日本 🙂", 40);
    let answer = |kind: &[u8]| {
        let mut bytes = vec![0; 4];
        bytes.extend(kind);
        bytes.extend([1, 0, 0, 0, 5, 0, 0, 0, 5, 0, 0, 0]);
        bytes.extend(utf8("Schlüssel", 512));
        bytes.extend(utf8("Wert 日本 🙂", 2048));
        bytes
    };
    let status = |status: u32| status.to_le_bytes().to_vec();
    let ip = |op: u8, adapter: &str| {
        let mut bytes = vec![op, 0];
        bytes.extend(utf16(adapter, 256));
        bytes.extend([3, 0]);
        bytes.extend(utf16("192.0.2.7;2001:db8::7", 2048));
        bytes.extend(utf16("255.255.255.0;64", 2048));
        bytes.extend(utf16("192.0.2.1;2001:db8::1", 1024));
        bytes.extend(utf16("192.0.2.53", 2048));
        bytes
    };
    let ip_answer = {
        let mut bytes = vec![0; 4];
        bytes.extend(utf8("{6b42c1a6-19c9-4d8c-8eac-e42e3f4c4c40}", 256));
        bytes.extend([1, 1]);
        bytes.extend(utf8("192.0.2.7;", 2048));
        bytes.extend(utf8("255.255.255.0;", 2048));
        bytes.extend(utf8("192.0.2.1;", 1024));
        bytes.extend(utf8("", 2048));
        bytes
    };
    let set = |kind, value: &[u8]| [vec![1, 0, 0, 0], kvp_value(kind, "Grüße", value)].concat();
    vec![
        (
            [vec![0, 1, 0, 0], kvp_value(1, "Schlüssel", &[])].concat(),
            answer(&[]),
        ),
        (set(1, &value), status(0)),
        (set(4, &7u32.to_le_bytes()), status(0x8000_4005)),
        (set(11, &7u64.to_le_bytes()), status(0)),
        (
            [vec![2, 3, 0, 0, 12, 0, 0, 0], utf16("Grüße", 512)].concat(),
            status(0x8007_0103),
        ),
        (vec![3, 2, 0, 0, 9, 0, 0, 0], answer(&[9, 0, 0, 0])),
        (ip(4, "00:15:5d:01:02:03"), ip_answer),
        (ip(5, "{6b42c1a6-19c9-4d8c-8eac-e42e3f4c4c40}"), status(0)),
    ]
}

/// Requests of the host, file copy.
fn fcopy() -> Vec<Vec<u8>> {
    let header = |op: u8| {
        let mut bytes = vec![0; 36];
        bytes[0] = op;
        bytes
    };
    let mut start = header(0);
    start.extend(utf16("größe-日本.txt", 520));
    start.extend(utf16("/tmp/Ordner/", 520));
    start.extend([3, 0, 0, 0]);
    start.extend(11u64.to_le_bytes());
    let mut write = header(1);
    write.extend([0; 4]);
    write.extend(0u64.to_le_bytes());
    write.extend(11u32.to_le_bytes());
    write.extend(b"hello world");
    vec![start, write, header(2), header(3)]
}

/// Requests of the host, VSS.
fn vss() -> Vec<Vec<u8>> {
    (0..9)
        .map(|op| {
            let mut bytes = vec![0; 12];
            bytes[0] = op;
            bytes
        })
        .collect()
}

fn versions(service: &Service) -> Negotiated {
    Negotiated {
        framework: service.framework_versions[0],
        message: service.message_versions[0],
    }
}

fn negotiation(service: &Service) -> Vec<u8> {
    let mut packet = vec![0; 200];
    let other = [IcVersion::new(9, 1)];
    let messages = [&other, service.message_versions].concat();
    let len = build_negotiate(&mut packet, service.framework_versions, &messages, 1);
    packet.truncate(len.expect("room"));
    packet
}

/// An IC packet with `body`.
fn packet(service: &Service, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; 28 + body.len()];
    build_request(
        &mut packet,
        service.message_type,
        versions(service),
        2,
        body.len(),
    )
    .expect("room");
    packet[28..].copy_from_slice(body);
    packet
}

fn ic() -> Vec<Vec<u8>> {
    let parent = 0x01dc_5000_0000_0000u64.to_le_bytes();
    let time = |flags: u8| [&parent[..], &[0x10; 8], &[flags, 0, 0, 0, 0, 0]].concat();
    let shutdown = |flags: u8| [&[0; 8][..], &[flags, 0, 0, 0]].concat();
    let bodies: [Vec<Vec<u8>>; 6] = [
        vec![vec![1; 40]],
        vec![shutdown(0), shutdown(3), shutdown(4), shutdown(8)],
        vec![time(1), time(2), time(0), [&parent[..], &[0; 17]].concat()],
        vec![],
        vec![],
        vec![],
    ];
    (0u8..)
        .zip(SERVICES)
        .zip(bodies)
        .map(|((number, service), bodies)| {
            let mut input = vec![number];
            input.extend(0x2000_0000u64.to_le_bytes());
            for packet in [negotiation(service)]
                .into_iter()
                .chain(bodies.iter().map(|body| packet(service, body)))
            {
                input.push(1);
                input.extend(with_len(&packet));
            }
            input
        })
        .collect()
}

fn chardev() -> Vec<Vec<u8>> {
    // A daemon comes, reads, answers; another comes; the time runs out; the machine hibernates and wakes up.
    let rounds = |kind: u8, service: &Service, requests: &[Vec<u8>]| {
        let mut input = vec![kind, 14, 0];
        input.extend(with_len(&negotiation(service)));
        for body in requests {
            for end in [
                &[6, 10][..],
                &[6, 9, 5, 0x40, 0, 0x80],
                &[6, 12, 10],
                &[4, 5, 14],
            ] {
                input.push(0x81);
                input.extend(with_len(body));
                input.extend(end);
                input.extend([6, 10]);
            }
        }
        input.extend([13, 6, 10, 13, 5, 14, 6]);
        input
    };
    let requests: Vec<Vec<u8>> = kvp().into_iter().map(|(request, _)| request).collect();
    let mut inputs = vec![
        rounds(1, SERVICES[4], &vss()),
        rounds(2, SERVICES[5], &fcopy()),
    ];
    for request in &requests {
        inputs.push(rounds(0, SERVICES[3], std::slice::from_ref(request)));
    }
    inputs
}

fn vmbus() -> Vec<Vec<u8>> {
    let message = |kind: u8, len: usize| {
        let mut bytes = vec![0; len];
        bytes[0] = kind;
        bytes
    };
    let mut offer = message(1, 196);
    offer[184] = 5;
    let mut slot = vec![1, 1, 0, 0, 0, 196];
    slot.resize(17, 0);
    slot.extend(&offer);
    let mut gpadl = message(8, 20);
    gpadl[16..20].copy_from_slice(&[24, 0, 1, 0]);
    gpadl.extend([0, 16, 0, 0, 8, 0, 0, 0]);
    gpadl.extend(7u64.to_le_bytes());
    let mut body = message(9, 16);
    body.extend(8u64.to_le_bytes());
    let all = (1..26).flat_map(|kind| with_len(&message(kind, 200)));
    vec![
        slot,
        [vec![0], with_len(&offer), with_len(&gpadl), with_len(&body)].concat(),
        [0].into_iter().chain(all).collect(),
    ]
}

fn storvsc() -> Vec<Vec<u8>> {
    let packet = |transaction: u64, operation: u32, payload: &[u8]| {
        let mut bytes = [operation, 0, 0].map(u32::to_le_bytes).concat();
        bytes.extend(payload);
        bytes.resize(64, 0);
        [transaction.to_le_bytes().to_vec(), with_len(&bytes)].concat()
    };
    let init = rlis_proto::storvsc::RequestId::Init.to_trans_id();
    // Sense data: unit attention, capacity has changed.
    let mut srb = vec![0; 52];
    srb[2] = 0x84;
    srb[3] = 2;
    srb[9] = 18;
    srb[16..30].copy_from_slice(&[0x70, 0, 6, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x2a, 9]);
    let properties = [0, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, 0, 64, 0];
    (0..3)
        .map(|kind| {
            let mut input = vec![kind, 0x28, 0, 16, 0, 0];
            for payload in [&[][..], &[], &properties, &[1; 36], &[], &[]] {
                input.extend(packet(init, 1, payload));
            }
            input.extend(packet(3, 1, &srb));
            input.extend(packet(0, 11, &[]));
            input.extend(packet(0, 12, &[7; 36]));
            input
        })
        .collect()
}

fn ring() -> Vec<Vec<u8>> {
    // Three packets: inband, GPA direct and transfer pages; then garbage.
    let inband = [6, 0, 2, 0, 3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
    let direct = [9, 0, 6, 0, 6, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0];
    let pages = [7, 0, 4, 0, 4, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0];
    let mut data = [&inband[..], &[0xaa; 8], &[0; 8]].concat();
    data.extend(direct);
    data.extend([0, 0, 0, 0, 1, 0, 0, 0, 0, 2, 0, 0, 16, 0, 0, 0]);
    data.extend(9u64.to_le_bytes());
    data.extend([0; 16]);
    data.extend(pages);
    data.extend([1, 0, 0, 0, 1, 0, 0, 0, 0, 4, 0, 0, 0, 8, 0, 0]);
    data.extend([0; 8]);
    let write = u8::try_from(data.len() / 8).expect("small");
    let mut input = vec![2, 0];
    input.extend(with_len(&data));
    input.extend([1, write, 7, 200, 7, 200, 7, 200, 5, 1]);
    input.extend([3, 1, 1, 0, 0, 1, 63, 7, 3, 4, 5, 0, 0, 7, 0, 0, 0, 6, 9]);
    vec![input]
}

/// The initialisation of a card and its traffic, in the host's packets.
fn nvsp() -> Vec<Vec<u8>> {
    use rlis_proto::nvsp::{message, MessageType, SEND_TABLE_OFFSET_UP_TO_6};
    let packet = |kind: u8, message: &[u8]| [vec![kind], with_len(message)].concat();
    let words = |kind: u32, words: [u32; 6]| message(MessageType(kind), &words);
    let mut table = words(134, [16, 40, 0, 0, 0, 0]).to_vec();
    table.resize(SEND_TABLE_OFFSET_UP_TO_6, 0);
    for entry in 0..16u32 {
        table.extend((entry % 4).to_le_bytes());
    }
    let mut frames = vec![4];
    // Header and three ranges of a transfer-page packet.
    let header = [0xcafe, 3, 100, 0, 1728, 1728, 60, 3456u32];
    frames.extend(with_len(&header.map(u32::to_le_bytes).concat()));
    frames.extend(with_len(&words(107, [0, u32::MAX, 0, 0, 0, 0])));
    let mut input = vec![1, 0, 6, 0, 4];
    for part in [
        packet(0, &words(2, [u32::MAX, 34, 1, 0, 0, 0])),
        packet(1, &words(102, [1, 1, 0, 1728, 9709, 0])),
        packet(2, &words(105, [1, 6144, 0, 0, 0, 0])),
        packet(3, &words(133, [1, 3, 0, 0, 0, 0])),
        packet(5, &table),
        packet(5, &words(128, [1, 2, 0, 0, 0, 0])),
        packet(5, &words(129, [0; 6])),
        frames,
        packet(6, &words(108, [1, 0, 0, 0, 0, 0])),
    ] {
        input.extend(part);
    }
    vec![input]
}

/// Frames, whole and in pieces, and control messages in both directions.
fn rndis() -> Vec<Vec<u8>> {
    use rlis_proto::rndis as r;
    let range = |message: &[u8], extra: usize| with_len(&[message, &vec![0; extra]].concat());
    let frame = |info: &r::Ppis, len: u32| {
        let mut out = vec![0; 200 + len as usize];
        let front = r::encode_packet(&mut out, info, len, 0).expect("room");
        out.truncate((front + len) as usize);
        out
    };
    let piece = |flag| r::PacketId {
        ver: 1,
        flag,
        pkt_id: 7,
    };
    let full = r::Ppis {
        checksum: Some(0x28),
        vlan: Some(0x50),
        hash_value: Some(7),
        hash_info: Some(0x201),
        ..Default::default()
    };
    let pieces = [3, 1, 5].map(|flag| r::Ppis {
        packet_id: Some(piece(flag).word()),
        ..full
    });
    let mut traffic = range(&frame(&full, 60), 36);
    for info in pieces {
        traffic.extend(range(&frame(&info, 100), 0));
    }
    let control = |write: &dyn Fn(&mut [u8]) -> Result<usize, rlis_proto::ProtoError>| {
        let mut out = vec![0; 1400];
        let len = write(&mut out).expect("room");
        out.truncate(len);
        range(&out, 4)
    };
    let (offload, size) = r::offload_query(rlis_proto::nvsp::ProtocolVersion::V6_1);
    let offload = zerocopy::IntoBytes::as_bytes(&offload)[..size].to_vec();
    let mut rss = [0; 200];
    let size = r::encode_rss(&mut rss, 0, &[0, 1, 2, 3], &[0x6d; 40]).expect("room");
    let speed = r::Status::RNDIS_STATUS_LINK_SPEED_CHANGE;
    let capabilities = r::RssCapabilities::new(8, 128);
    let complete = r::InitializeComplete {
        req_id: 1,
        max_pkt_per_msg: 8,
        pkt_alignment_factor: 3,
        ..Default::default()
    };
    let scale = r::Oid::OID_GEN_RECEIVE_SCALE_PARAMETERS;
    let address = r::Oid::RNDIS_OID_GEN_RNDIS_CONFIG_PARAMETER;
    let messages = [
        control(&|o| r::initialize(o, 1)),
        control(&|o| r::initialize_complete(o, &complete)),
        control(&|o| r::query(o, 2, r::Oid(0xfc01_020d), &offload)),
        control(&|o| r::query_complete(o, 2, r::Status(0), &offload)),
        control(&|o| {
            r::query_complete(
                o,
                2,
                r::Status(0),
                zerocopy::IntoBytes::as_bytes(&capabilities),
            )
        }),
        control(&|o| r::set(o, 3, scale, &rss[..size])),
        control(&|o| r::set(o, 3, address, &r::mac_parameter([0, 0x15, 0x5d, 1, 2, 3]))),
        control(&|o| r::set_complete(o, 3, r::Status(0))),
        control(&|o| r::indicate(o, speed, &[0, 0, 1, 0])),
        control(&|o| r::keepalive_complete(o, 4, r::Status(0))),
        control(&|o| r::reset_complete(o, r::Status(0))),
        control(&|o| r::halt(o, 5)),
    ];
    vec![traffic, messages.concat()]
}

/// A host of dynamic memory from the beginning on, and a guest.
fn balloon() -> Vec<Vec<u8>> {
    use rlis_proto::balloon as b;
    use zerocopy::IntoBytes;
    let range = |start, count| b::PageRange::new(start, count).expect("a range");
    let memory = range(0x10_0000, 0x1_0000);
    let region = range(0x10_0000, 0x8_0000);
    let mut unballoon = [0; 64];
    let pages = [range(0x4200, 0x200), range(0x17, 1)];
    let len = b::write_unballoon(&mut unballoon, &pages, true, 5).expect("room");
    let mut answer = [0; 64];
    let mut pages = b::BalloonAnswer::new(&mut answer).expect("room");
    pages.push(range(0x4200, 0x200));
    let pressure = b::Pressure::of(&b::MemoryState::default());
    let host = [
        b::VersionResponse::new(false, 1).as_bytes().to_vec(),
        b::VersionResponse::new(true, 2).as_bytes().to_vec(),
        b::CapabilitiesResponse::new(true, 3).as_bytes().to_vec(),
        b::Balloon::new(5000, 4).as_bytes().to_vec(),
        unballoon[..len].to_vec(),
        b::HotAddWithRegion::new(memory, Some(region), 6)
            .as_bytes()
            .to_vec(),
        b::HotAddWithRegion::new(range(0x11_0100, 0x8000), None, 7)
            .as_bytes()
            .to_vec(),
        b::HotAdd::new(range(0x20_0001, 0x9000), 8)
            .as_bytes()
            .to_vec(),
        b::MaxPages::new(1 << 20, 9).as_bytes().to_vec(),
    ];
    let guest = [
        b::VersionRequest::new(b::Version::V3, false, 1)
            .as_bytes()
            .to_vec(),
        b::Capabilities::new(b::Caps::from_bits(0x1f), 2)
            .as_bytes()
            .to_vec(),
        b::Status::new(pressure, 3).as_bytes().to_vec(),
        pages.finish(true, 4).to_vec(),
        b::UnballoonResponse::new(5).as_bytes().to_vec(),
        b::answer_hot_add(0x8000, None, 6).as_bytes().to_vec(),
    ];
    let mut input = vec![0x1f];
    for (kind, messages) in [(0, &host[..]), (3, &guest[..]), (4, &host[7..])] {
        for message in messages {
            input.push(kind);
            input.extend(with_len(message));
        }
    }
    vec![input]
}

/// A fuzz target, as a plain function.
pub type Target = fn(&[u8]);

/// The targets with their names and inputs.
pub fn all() -> [(&'static str, Target, Vec<Vec<u8>>); 11] {
    let both_ways = kvp()
        .into_iter()
        .map(|(request, answer)| [vec![0xc], with_len(&request), answer].concat());
    let with_answer = |flag: u8, requests: Vec<Vec<u8>>, answer: &[u8]| -> Vec<Vec<u8>> {
        let join = |request: Vec<u8>| [vec![flag], with_len(&request), answer.to_vec()].concat();
        requests.into_iter().map(join).collect()
    };
    [
        ("ic", crate::ic::fuzz, ic()),
        ("kvp", crate::kvp::fuzz, both_ways.collect()),
        ("vss", crate::vss::fuzz, with_answer(0, vss(), &[0; 12])),
        (
            "fcopy",
            crate::fcopy::fuzz,
            with_answer(1, fcopy(), &[0; 4]),
        ),
        ("chardev", crate::chardev::fuzz, chardev()),
        ("vmbus", crate::vmbus::fuzz, vmbus()),
        ("storvsc", crate::storvsc::fuzz, storvsc()),
        ("ring", crate::ring::fuzz, ring()),
        ("nvsp", crate::nvsp::fuzz, nvsp()),
        ("rndis", crate::rndis::fuzz, rndis()),
        ("balloon", crate::balloon::fuzz, balloon()),
    ]
}

#[cfg(test)]
mod tests {
    /// What a target holds for true does hold, and for every beginning of an input too.
    #[test]
    fn every_target_takes_every_seed() {
        for (_, fuzz, _) in super::all() {
            for (_, _, inputs) in super::all() {
                for input in inputs {
                    fuzz(&input);
                    for len in (0..input.len()).step_by(97) {
                        fuzz(&input[..len]);
                    }
                }
            }
        }
    }
}
