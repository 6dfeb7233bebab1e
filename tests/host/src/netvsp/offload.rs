// SPDX-License-Identifier: GPL-2.0

//! What a card does with frames in place of the guest: it fills in checksums, cuts large sends into segments, puts VLAN
//! tags in and takes them out, verifies checksums, and computes the hash of a flow.

use anyhow::{bail, ensure, Context, Result};
use rlis_proto::rndis::{
    LargeSend, Ppis, RxChecksum, TxChecksum, Vlan, HASH_IPV4, HASH_IPV6, HASH_TCP_IPV4,
    HASH_TCP_IPV6,
};
use smoltcp::wire::{
    IpAddress, IpProtocol, Ipv4Address, Ipv4Packet, Ipv6Address, Ipv6Packet, TcpPacket, UdpPacket,
};

/// Bytes of an Ethernet header, and of a VLAN tag in it.
pub const ETHERNET: usize = 14;
const TAG: usize = 4;
const ADDRESSES: usize = 12;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const VLAN: u16 = 0x8100;

/// Where the headers of a frame are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layers {
    /// The IP header.
    pub ip: usize,
    /// Whether it is IPv6.
    pub v6: bool,
    /// The transport header; `None` in a fragment that lacks it, or in one at all.
    pub transport: Option<(usize, IpProtocol)>,
}

fn word(frame: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*frame.get(at..)?.first_chunk()?))
}

impl Layers {
    /// Finds the headers of an IP frame, behind a VLAN tag or not.
    pub fn of(frame: &[u8]) -> Option<Self> {
        let mut ip = ETHERNET;
        let mut kind = word(frame, ADDRESSES)?;
        if kind == VLAN {
            ip += TAG;
            kind = word(frame, ip - 2)?;
        }
        let bytes = frame.get(ip..)?;
        let transport = match kind {
            IPV4 => {
                let header = bytes.get(..20)?;
                let packet = Ipv4Packet::new_unchecked(header);
                let len = usize::from(packet.header_len());
                if packet.version() != 4 || len < 20 || bytes.len() < len {
                    return None;
                }
                let whole = packet.frag_offset() == 0 && !packet.more_frags();
                whole.then(|| (ip + len, packet.next_header()))
            }
            IPV6 => {
                let packet = Ipv6Packet::new_unchecked(bytes.get(..40)?);
                if packet.version() != 6 {
                    return None;
                }
                transport_of_v6(frame, ip + 40, packet.next_header())
            }
            _ => return None,
        };
        Some(Self {
            ip,
            v6: kind == IPV6,
            transport,
        })
    }

    /// The transport header if it is of this protocol.
    fn transport(&self, protocol: IpProtocol) -> Option<usize> {
        let (at, found) = self.transport?;
        (found == protocol).then_some(at)
    }

    fn addresses(&self, frame: &[u8]) -> Option<(IpAddress, IpAddress)> {
        let bytes = frame.get(self.ip..)?;
        Some(if self.v6 {
            let address = |at: usize| -> Option<Ipv6Address> {
                Some(Ipv6Address::from(*bytes.get(at..)?.first_chunk::<16>()?))
            };
            (address(8)?.into(), address(24)?.into())
        } else {
            let address = |at: usize| -> Option<Ipv4Address> {
                Some(Ipv4Address::from(*bytes.get(at..)?.first_chunk::<4>()?))
            };
            (address(12)?.into(), address(16)?.into())
        })
    }

    /// Where the IP packet ends in the frame, which may be padded behind it.
    fn end(&self, frame: &[u8]) -> Option<usize> {
        let len = if self.v6 {
            40 + usize::from(word(frame, self.ip + 4)?)
        } else {
            usize::from(word(frame, self.ip + 2)?)
        };
        Some(self.ip + len).filter(|end| *end <= frame.len())
    }
}

/// Passes over the extension headers that may be in front of the transport header.
fn transport_of_v6(
    frame: &[u8],
    mut at: usize,
    mut next: IpProtocol,
) -> Option<(usize, IpProtocol)> {
    for _ in 0..8 {
        match next {
            IpProtocol::HopByHop | IpProtocol::Ipv6Route | IpProtocol::Ipv6Opts => {
                let [protocol, len] = *frame.get(at..)?.first_chunk()?;
                next = protocol.into();
                at += 8 * (usize::from(len) + 1);
            }
            IpProtocol::Ipv6Frag | IpProtocol::Ipv6NoNxt => return None,
            other => return Some((at, other)),
        }
    }
    None
}

/// What the guest has switched on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Enabled {
    /// Checksums of frames that the guest sends: TCP and UDP on IPv4, TCP and UDP on IPv6.
    pub tx: [bool; 4],
    /// Checksums of frames that it gets.
    pub rx: [bool; 4],
    /// Segmentation: IPv4, IPv6.
    pub lso: [bool; 2],
    /// Coalescing.
    pub rsc: bool,
}

/// Index into [`Enabled`]'s checksums.
fn kind(protocol: IpProtocol, v6: bool) -> Option<usize> {
    Some(match (protocol, v6) {
        (IpProtocol::Tcp, false) => 0,
        (IpProtocol::Udp, false) => 1,
        (IpProtocol::Tcp, true) => 2,
        (IpProtocol::Udp, true) => 3,
        _ => return None,
    })
}

/// Makes of a frame of the guest, and of what it asks for with it, frames as they go on the wire. `most` is the longest
/// large send.
pub fn finish(
    mut frame: Vec<u8>,
    info: &Ppis,
    enabled: &Enabled,
    most: u32,
) -> Result<Vec<Vec<u8>>> {
    let mut frames = if let Some(send) = info.large_send {
        segments(&frame, LargeSend(send), enabled, most)?
    } else {
        if let Some(sum) = info.checksum {
            fill(&mut frame, TxChecksum(sum), enabled)?;
        }
        vec![frame]
    };
    if let Some(vlan) = info.vlan {
        for frame in &mut frames {
            let tci = Vlan(vlan).tci().to_be_bytes();
            // Another tag in the frame is that of a VLAN in this one.
            ensure!(
                word(frame, ADDRESSES) != Some(VLAN)
                    || word(frame, ADDRESSES + 2) != Some(u16::from_be_bytes(tci)),
                "the same VLAN tag beside the frame and in it"
            );
            let tag = [0x81, 0x00, tci[0], tci[1]];
            frame.splice(ADDRESSES..ADDRESSES, tag);
        }
    }
    Ok(frames)
}

/// Fills in the checksum that is asked for.
fn fill(frame: &mut [u8], asked: TxChecksum, enabled: &Enabled) -> Result<()> {
    let layers = Layers::of(frame).context("a checksum for a frame that is not IP")?;
    let family = if layers.v6 {
        TxChecksum::IPV6
    } else {
        TxChecksum::IPV4
    };
    let other = family ^ (TxChecksum::IPV4 | TxChecksum::IPV6);
    ensure!(
        asked.has(family) && !asked.has(other),
        "a checksum for the wrong version of IP"
    );
    ensure!(
        !asked.has(TxChecksum::IP_HEADER),
        "a checksum of the IP header, which is not switched on"
    );
    let (at, protocol) = layers
        .transport
        .context("a checksum for a frame without a transport header")?;
    ensure!(
        asked.offset() as usize == at,
        "a checksum for a header at {}, which is at {at}",
        asked.offset()
    );
    let wanted = match (asked.has(TxChecksum::TCP), asked.has(TxChecksum::UDP)) {
        (true, false) => IpProtocol::Tcp,
        (false, true) => IpProtocol::Udp,
        _ => bail!("a checksum of neither TCP nor UDP, or of both"),
    };
    ensure!(
        wanted == protocol,
        "a checksum of {wanted} for a frame of {protocol}"
    );
    let on = kind(protocol, layers.v6).and_then(|k| enabled.tx.get(k).copied());
    ensure!(
        on == Some(true),
        "a checksum of {protocol}, which is not switched on"
    );
    sum(frame, &layers)
}

/// Computes and writes the transport checksum.
fn sum(frame: &mut [u8], layers: &Layers) -> Result<()> {
    let (from, to) = layers.addresses(frame).context("no addresses")?;
    let (at, protocol) = layers.transport.context("no transport header")?;
    let end = layers.end(frame).context("an IP packet beyond its frame")?;
    let bytes = frame.get_mut(at..end).context("no transport header")?;
    if protocol == IpProtocol::Tcp {
        TcpPacket::new_checked(bytes)?.fill_checksum(&from, &to);
    } else {
        UdpPacket::new_checked(bytes)?.fill_checksum(&from, &to);
    }
    Ok(())
}

/// The sum of RFC 1071 over what is not in TCP's bytes: addresses and protocol, without the length. That is what a guest
/// leaves in the checksum of a large send.
fn pseudo_sum(frame: &[u8], layers: &Layers) -> Option<u16> {
    let range = if layers.v6 { 8..40 } else { 12..20 };
    let addresses = frame.get(layers.ip..)?.get(range)?;
    let words = addresses
        .chunks_exact(2)
        .filter_map(|c| word(c, 0))
        .map(u32::from);
    let mut sum = words.sum::<u32>() + u32::from(u8::from(IpProtocol::Tcp));
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    u16::try_from(sum).ok()
}

/// Cuts a large send into segments.
fn segments(frame: &[u8], send: LargeSend, enabled: &Enabled, most: u32) -> Result<Vec<Vec<u8>>> {
    let layers = Layers::of(frame).context("a large send that is not IP")?;
    ensure!(
        send.is_v2() && send.is_ipv6() == layers.v6,
        "a large send of the wrong version"
    );
    ensure!(
        enabled.lso.get(usize::from(layers.v6)) == Some(&true),
        "a large send, which is not switched on"
    );
    let at = layers
        .transport(IpProtocol::Tcp)
        .context("a large send that is not TCP")?;
    ensure!(
        send.offset() as usize == at,
        "a large send with TCP at {}, which is at {at}",
        send.offset()
    );
    let tcp = TcpPacket::new_checked(frame.get(at..).unwrap_or_default())?;
    let data = at + usize::from(tcp.header_len());
    let payload = frame.get(data..).unwrap_or_default();
    let mss = send.mss() as usize;
    ensure!(
        mss != 0 && payload.len() > mss,
        "a large send of {} bytes in segments of {mss}",
        payload.len()
    );
    ensure!(
        frame.len() <= most as usize + ETHERNET,
        "a large send of {} bytes; the longest has {most}",
        frame.len()
    );
    ensure!(
        !tcp.syn() && !tcp.rst() && !tcp.urg(),
        "a large send of a segment that cannot be cut"
    );
    ensure!(
        Some(tcp.checksum()) == pseudo_sum(frame, &layers),
        "a large send whose checksum is not that of its addresses"
    );
    let header = frame.get(..data).unwrap_or_default();
    let count = payload.len().div_ceil(mss);
    let mut all = Vec::with_capacity(count);
    for (n, part) in payload.chunks(mss).enumerate() {
        let mut segment = [header, part].concat();
        set_length(&mut segment, &layers, n as u16)?;
        let mut packet = TcpPacket::new_unchecked(segment.get_mut(at..).unwrap_or_default());
        packet.set_seq_number(tcp.seq_number() + n * mss);
        if n + 1 < count {
            packet.set_fin(false);
            packet.set_psh(false);
        }
        if n > 0 {
            packet.set_cwr(false);
        }
        sum(&mut segment, &layers)?;
        all.push(segment);
    }
    Ok(all)
}

/// Makes the IP header fit the frame, as the `n`th of several.
pub fn set_length(frame: &mut [u8], layers: &Layers, n: u16) -> Result<()> {
    let bytes = frame.get_mut(layers.ip..).context("no IP header")?;
    let len = bytes.len();
    if layers.v6 {
        Ipv6Packet::new_unchecked(bytes).set_payload_len(u16::try_from(len - 40)?);
    } else {
        let mut ip = Ipv4Packet::new_unchecked(bytes);
        ip.set_total_len(u16::try_from(len)?);
        let ident = ip.ident();
        ip.set_ident(ident.wrapping_add(n));
        ip.fill_checksum();
    }
    Ok(())
}

/// Takes the VLAN tag out of a frame for the guest.
pub fn untag(frame: &mut Vec<u8>) -> Option<Vlan> {
    if word(frame, ADDRESSES)? != VLAN {
        return None;
    }
    let tci = word(frame, ADDRESSES + 2)?;
    frame.drain(ADDRESSES..ADDRESSES + TAG);
    Some(Vlan::from_tci(tci))
}

/// What a card tells of the checksums of a frame; `None` if there is nothing to tell, or the guest does not want it.
pub fn verified(frame: &[u8], enabled: &Enabled) -> Option<RxChecksum> {
    let layers = Layers::of(frame)?;
    let (at, protocol) = layers.transport?;
    if enabled.rx.get(kind(protocol, layers.v6)?) != Some(&true) {
        return None;
    }
    let (from, to) = layers.addresses(frame)?;
    let bytes = frame.get(at..layers.end(frame)?)?;
    let mut all = 0;
    let ip = frame.get(layers.ip..)?;
    if !layers.v6 {
        let fine = Ipv4Packet::new_checked(ip).is_ok_and(|p| p.verify_checksum());
        all |= if fine {
            RxChecksum::IP_SUCCEEDED
        } else {
            RxChecksum::IP_FAILED
        };
    }
    all |= if protocol == IpProtocol::Tcp {
        let fine = TcpPacket::new_checked(bytes).is_ok_and(|p| p.verify_checksum(&from, &to));
        if fine {
            RxChecksum::TCP_SUCCEEDED
        } else {
            RxChecksum::TCP_FAILED
        }
    } else {
        let fine = UdpPacket::new_checked(bytes).is_ok_and(|p| p.verify_checksum(&from, &to));
        if fine {
            RxChecksum::UDP_SUCCEEDED
        } else {
            RxChecksum::UDP_FAILED
        }
    };
    Some(RxChecksum(all))
}

/// What the hash of a frame's flow is made of: the kind, one of `kinds`, and the bytes.
pub fn flow(frame: &[u8], kinds: u32) -> Option<(u32, Vec<u8>)> {
    let layers = Layers::of(frame)?;
    let range = if layers.v6 { 8..40 } else { 12..20 };
    let mut input = frame.get(layers.ip..)?.get(range)?.to_vec();
    let (tcp, ip) = if layers.v6 {
        (HASH_TCP_IPV6, HASH_IPV6)
    } else {
        (HASH_TCP_IPV4, HASH_IPV4)
    };
    if let Some(at) = layers
        .transport(IpProtocol::Tcp)
        .filter(|_| kinds & tcp != 0)
    {
        input.extend(frame.get(at..at + 4)?);
        return Some((tcp, input));
    }
    (kinds & ip != 0).then_some((ip, input))
}

#[cfg(test)]
pub mod tests {
    use super::*;

    const ALL: Enabled = Enabled {
        tx: [true; 4],
        rx: [true; 4],
        lso: [true; 2],
        rsc: false,
    };

    /// A frame of TCP from 10.0.0.2:1000 to 10.0.0.1:2000, or their like in IPv6, with a right checksum.
    pub fn tcp(v6: bool, seq: u32, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![2; 12];
        let len = 20 + payload.len();
        if v6 {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend(u16::try_from(len).unwrap_or(0).to_be_bytes());
            frame.extend([6, 64]);
            for host in [2, 1] {
                frame.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host]);
            }
        } else {
            frame.extend([8, 0, 0x45, 0]);
            frame.extend(u16::try_from(len + 20).unwrap_or(0).to_be_bytes());
            frame.extend([0, 7, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1]);
        }
        let at = frame.len();
        frame.extend([3, 0xe8, 7, 0xd0]);
        frame.extend(seq.to_be_bytes());
        frame.extend([0, 0, 0, 9, 0x50, 0x18, 0x10, 0, 0, 0, 0, 0]);
        frame.extend(payload);
        let layers = Layers::of(&frame).unwrap();
        assert_eq!(layers.transport, Some((at, IpProtocol::Tcp)));
        if frame.len() < 65_000 {
            set_length(&mut frame, &layers, 0).unwrap();
            sum(&mut frame, &layers).unwrap();
        }
        frame
    }

    /// A large send as Linux makes one.
    fn large(v6: bool, len: usize) -> Vec<u8> {
        let payload: Vec<u8> = (0..len).map(|i| (i / 7) as u8).collect();
        let mut frame = tcp(v6, 1000, &payload);
        let layers = Layers::of(&frame).unwrap();
        let pseudo = pseudo_sum(&frame, &layers).unwrap().to_be_bytes();
        let at = layers.transport.unwrap().0;
        frame[at + 16..at + 18].copy_from_slice(&pseudo);
        if v6 {
            frame[18..20].fill(0);
        } else {
            frame[16..18].fill(0);
            frame[24..26].fill(0);
        }
        frame
    }

    fn send(v6: bool, mss: u32) -> Ppis {
        let at = if v6 { 54 } else { 34 };
        Ppis {
            large_send: Some(LargeSend::new(mss, at, v6).unwrap().0),
            ..Ppis::default()
        }
    }

    #[test]
    fn large_sends_become_segments_with_right_checksums() {
        for v6 in [false, true] {
            let frame = large(v6, 30_001);
            let payload = if v6 { &frame[74..] } else { &frame[54..] };
            let all = finish(frame.clone(), &send(v6, 1448), &ALL, 62_780).unwrap();
            assert_eq!(all.len(), 21);
            let mut joined: Vec<u8> = Vec::new();
            for segment in &all {
                let sums = verified(segment, &ALL).unwrap();
                assert!(sums.has(RxChecksum::TCP_SUCCEEDED));
                assert!(v6 || sums.has(RxChecksum::IP_SUCCEEDED));
                let layers = Layers::of(segment).unwrap();
                let at = layers.transport.unwrap().0;
                let tcp = TcpPacket::new_checked(&segment[at..]).unwrap();
                assert_eq!(tcp.seq_number().0, 1000 + joined.len() as i32);
                assert_eq!(tcp.psh(), joined.len() + tcp.payload().len() == 30_001);
                joined.extend(tcp.payload());
            }
            assert_eq!(joined, payload);
            // What is not right with it.
            let refuse = |frame: &[u8], info: &Ppis, on: &Enabled, most| {
                assert!(finish(frame.to_vec(), info, on, most).is_err());
            };
            refuse(&frame, &send(v6, 1448), &Enabled::default(), 62_780);
            refuse(&frame, &send(v6, 1448), &ALL, 30_000);
            refuse(&frame, &send(!v6, 1448), &ALL, 62_780);
            refuse(&frame, &send(v6, 30_001), &ALL, 62_780);
            let mut bad = frame.clone();
            bad[if v6 { 70 } else { 50 }] ^= 1;
            refuse(&bad, &send(v6, 1448), &ALL, 62_780);
        }
    }

    #[test]
    fn checksums_are_filled_in_and_verified() {
        for v6 in [false, true] {
            let right = tcp(v6, 5, &[1, 2, 3]);
            let at = if v6 { 54 } else { 34 };
            let mut frame = right.clone();
            frame[at + 16] ^= 0xFF;
            let sums = verified(&frame, &ALL).unwrap();
            assert!(sums.has(RxChecksum::TCP_FAILED));
            let family = if v6 {
                TxChecksum::IPV6
            } else {
                TxChecksum::IPV4
            };
            let asked = |what, offset| Ppis {
                checksum: Some(TxChecksum::new(what, offset).unwrap().0),
                ..Ppis::default()
            };
            let good = asked(family | TxChecksum::TCP, at as u32);
            assert_eq!(
                finish(frame.clone(), &good, &ALL, 0).unwrap(),
                [right.clone()]
            );
            for bad in [
                asked(family | TxChecksum::UDP, at as u32),
                asked(family | TxChecksum::TCP | TxChecksum::UDP, at as u32),
                asked(family, at as u32),
                asked(3 | TxChecksum::TCP, at as u32),
                asked(TxChecksum::TCP, at as u32),
                asked(family | TxChecksum::TCP, at as u32 + 1),
                asked(family | TxChecksum::TCP | TxChecksum::IP_HEADER, at as u32),
            ] {
                assert!(finish(frame.clone(), &bad, &ALL, 0).is_err());
            }
            assert!(finish(frame, &good, &Enabled::default(), 0).is_err());
        }
        assert_eq!(verified(&[0; 60], &ALL), None);
    }

    #[test]
    fn tags_go_in_and_out() {
        let frame = tcp(false, 1, &[7; 20]);
        let info = Ppis {
            vlan: Some(Vlan::from_tci(0x6042).0),
            ..Ppis::default()
        };
        let mut tagged = finish(frame.clone(), &info, &ALL, 0).unwrap().remove(0);
        assert_eq!(tagged[12..16], [0x81, 0, 0x60, 0x42]);
        assert!(verified(&tagged, &ALL)
            .unwrap()
            .has(RxChecksum::TCP_SUCCEEDED));
        assert!(finish(tagged.clone(), &info, &ALL, 0).is_err());
        let outer = Ppis {
            vlan: Some(Vlan::from_tci(7).0),
            ..Ppis::default()
        };
        let twice = finish(tagged.clone(), &outer, &ALL, 0).unwrap().remove(0);
        assert_eq!(twice[12..20], [0x81, 0, 0, 7, 0x81, 0, 0x60, 0x42]);
        assert_eq!(untag(&mut tagged), Some(Vlan::from_tci(0x6042)));
        assert_eq!(tagged, frame);
        assert_eq!(untag(&mut tagged), None);
    }

    #[test]
    fn flows() {
        let frame = tcp(false, 1, &[]);
        let kinds = HASH_IPV4 | HASH_TCP_IPV4;
        let (kind, input) = flow(&frame, kinds).unwrap();
        assert_eq!(kind, HASH_TCP_IPV4);
        assert_eq!(input, [10, 0, 0, 2, 10, 0, 0, 1, 3, 0xe8, 7, 0xd0]);
        assert_eq!(flow(&frame, HASH_IPV4).unwrap().1.len(), 8);
        assert_eq!(flow(&frame, HASH_IPV6), None);
        // A fragment has no ports.
        let mut part = frame;
        part[20] = 0x20;
        assert_eq!(flow(&part, kinds).unwrap().0, HASH_IPV4);
        assert_eq!(flow(&[0; 13], kinds), None);
    }
}
