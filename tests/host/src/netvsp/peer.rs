// SPDX-License-Identifier: GPL-2.0

//! The machine at the other end of a network card's cable: smoltcp with an IPv4 address and a link-local IPv6
//! address. It answers ARP, neighbour solicitations and echo requests, also those that come in fragments, gives the
//! address behind its own by DHCP, and has services on TCP and UDP ([`services`]). If the guest tags its frames for a
//! VLAN, so does the peer.

mod dhcp;
mod services;

use std::collections::VecDeque;

use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::phy::{self, Device, DeviceCapabilities, Medium};
use smoltcp::time::Instant;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    EthernetRepr, HardwareAddress, IpCidr, Ipv4Address, Ipv4Cidr, Ipv4Packet, Ipv6Address,
    Ipv6Cidr,
};

use services::{Services, Stream};

/// Rounds of work on one frame, at most: an answer leaves in up to 64 KiB / 1500 fragments, one a round.
const MAX_ROUNDS: usize = 64;

/// Frames on their way, the side of the peer.
struct Cable {
    /// Bytes of the longest frame.
    longest: usize,
    to_peer: VecDeque<Vec<u8>>,
    from_peer: Vec<Vec<u8>>,
}

struct Received(Vec<u8>);
struct Sending<'a>(&'a mut Vec<Vec<u8>>);

impl phy::RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl phy::TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let result = f(&mut frame);
        self.0.push(frame);
        result
    }
}

impl Device for Cable {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received, Sending<'_>)> {
        let frame = self.to_peer.pop_front()?;
        Some((Received(frame), Sending(&mut self.from_peer)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sending<'_>> {
        Some(Sending(&mut self.from_peer))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = self.longest;
        capabilities
    }
}

/// The peer.
pub struct Peer {
    mac: EthernetAddress,
    address: Ipv4Cidr,
    cable: Cable,
    interface: Interface,
    sockets: SocketSet<'static>,
    services: Services,
    /// The VLAN tag of the frame that came last.
    tag: Option<[u8; 4]>,
}

/// The link-local address that belongs to a hardware address (RFC 4291, appendix A).
fn link_local(mac: EthernetAddress) -> Ipv6Address {
    let [a, b, c, d, e, f] = mac.0;
    Ipv6Address::new(
        0xfe80,
        0,
        0,
        0,
        u16::from_be_bytes([a ^ 2, b]),
        u16::from_be_bytes([c, 0xff]),
        u16::from_be_bytes([0xfe, d]),
        u16::from_be_bytes([e, f]),
    )
}

impl Peer {
    /// A peer with these addresses on a cable for frames of up to `longest` bytes, header included.
    pub fn new(mac: EthernetAddress, address: Ipv4Cidr, longest: usize) -> Self {
        let mut cable = Cable {
            longest,
            to_peer: VecDeque::new(),
            from_peer: Vec::new(),
        };
        let config = Config::new(HardwareAddress::Ethernet(mac));
        let mut interface = Interface::new(config, &mut cable, Instant::now());
        interface.update_ip_addrs(|addresses| {
            // There is room for two addresses.
            let _ = addresses.push(IpCidr::Ipv4(address));
            let _ = addresses.push(IpCidr::Ipv6(Ipv6Cidr::new(link_local(mac), 64)));
        });
        let mut sockets = SocketSet::new(Vec::new());
        let services = Services::new(&mut sockets);
        Self {
            mac,
            address,
            cable,
            interface,
            sockets,
            services,
            tag: None,
        }
    }

    /// Hands the peer a frame and takes the frames that it answers with.
    pub fn exchange(&mut self, mut frame: Vec<u8>) -> Vec<Vec<u8>> {
        self.tag = None;
        if let Some([0x81, 0x00, rest @ ..]) = frame.get(12..16) {
            self.tag = <[u8; 2]>::try_from(rest)
                .ok()
                .map(|[high, low]| [0x81, 0x00, high, low]);
            frame.drain(12..16);
        }
        // smoltcp drops an answer to somebody whose hardware address it has forgotten, and asks for it. A test of
        // lost frames cannot have that.
        self.cable.to_peer.extend(self.introduction(&frame));
        self.cable.to_peer.push_back(frame);
        self.poll()
    }

    /// Lets the peer do what its clock asks for, such as sending again what was lost. Returns its frames.
    pub fn poll(&mut self) -> Vec<Vec<u8>> {
        for _ in 0..MAX_ROUNDS {
            let now = Instant::now();
            self.interface.poll(now, &mut self.cable, &mut self.sockets);
            self.services.work(&mut self.sockets, self.address);
            let next = self.interface.poll_at(now, &self.sockets);
            if next.is_none_or(|next| next > now) {
                break;
            }
        }
        let mut frames = std::mem::take(&mut self.cable.from_peer);
        if let Some(tag) = self.tag {
            for frame in &mut frames {
                frame.splice(12..12, tag);
            }
        }
        frames
    }

    /// Datagrams that came to the port for discarding.
    pub fn discarded(&self) -> u64 {
        self.services.discarded
    }

    /// What came over the last connection to echo or discard that the guest has shut down.
    pub fn stream(&self) -> Option<&Stream> {
        self.services.stream.as_ref()
    }

    /// An ARP reply that tells the hardware address of the sender of an IPv4 frame to the peer.
    fn introduction(&self, frame: &[u8]) -> Option<Vec<u8>> {
        let ethernet = EthernetFrame::new_checked(frame).ok()?;
        let ours =
            ethernet.ethertype() == EthernetProtocol::Ipv4 && ethernet.dst_addr() == self.mac;
        let packet = Ipv4Packet::new_checked(ethernet.payload()).ok()?;
        let source: Ipv4Address = packet.src_addr();
        if !ours || !self.address.contains_addr(&source) {
            return None;
        }
        let arp = ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Reply,
            source_hardware_addr: ethernet.src_addr(),
            source_protocol_addr: source,
            target_hardware_addr: self.mac,
            target_protocol_addr: self.address.address(),
        };
        let header = EthernetRepr {
            src_addr: ethernet.src_addr(),
            dst_addr: self.mac,
            ethertype: EthernetProtocol::Arp,
        };
        let mut bytes = vec![0; header.buffer_len() + arp.buffer_len()];
        let mut out = EthernetFrame::new_unchecked(&mut bytes);
        header.emit(&mut out);
        arp.emit(&mut ArpPacket::new_unchecked(out.payload_mut()));
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};
    use smoltcp::socket::tcp;
    use smoltcp::wire::Ipv4Address;

    const MAC: EthernetAddress = EthernetAddress([0, 0x15, 0x5d, 0xff, 0xff, 0]);

    fn peer() -> Peer {
        Peer::new(MAC, Ipv4Cidr::new(Ipv4Address::new(10, 0, 0, 1), 24), 1514)
    }

    fn arp_request(target: [u8; 4]) -> Vec<u8> {
        let mut frame = vec![0xff; 6];
        frame.extend([2, 0, 0, 0, 0, 9, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        frame.extend([2, 0, 0, 0, 0, 9, 10, 0, 0, 2, 0, 0, 0, 0, 0, 0]);
        frame.extend(target);
        frame
    }

    #[test]
    fn arp_is_answered_for_the_own_address_only() {
        let mut peer = peer();
        let answers = peer.exchange(arp_request([10, 0, 0, 1]));
        assert_eq!(answers.len(), 1);
        assert_eq!(
            answers[0][..12],
            [2, 0, 0, 0, 0, 9, 0, 0x15, 0x5d, 0xff, 0xff, 0]
        );
        assert_eq!(answers[0][20..22], [0, 2], "a reply");
        assert!(peer.exchange(arp_request([10, 0, 0, 3])).is_empty());
    }

    /// The checksum of RFC 1071.
    fn checksum(bytes: &[u8]) -> [u8; 2] {
        let sum: u32 = bytes
            .chunks(2)
            .map(|c| u32::from(u16::from_be_bytes([c[0], *c.get(1).unwrap_or(&0)])))
            .sum();
        let folded = (sum & 0xFFFF) + (sum >> 16);
        let folded = (folded & 0xFFFF) + (folded >> 16);
        (!(folded as u16)).to_be_bytes()
    }

    /// An echo request of `len` bytes of data to 10.0.0.1, in fragments of at most `part` bytes.
    fn echo_request(len: usize, part: usize) -> Vec<Vec<u8>> {
        let mut icmp = vec![8, 0, 0, 0, 0, 1, 0, 1];
        icmp.extend((0..len).map(|i| i as u8));
        let sum = checksum(&icmp);
        icmp[2..4].copy_from_slice(&sum);
        let count = icmp.len().div_ceil(part);
        let parts = icmp.chunks(part).enumerate();
        parts
            .map(|(n, bytes)| {
                let mut frame = MAC.0.to_vec();
                frame.extend([2, 0, 0, 0, 0, 9, 8, 0]);
                let more = u16::from(n + 1 < count) << 13;
                let mut ip = vec![0x45, 0];
                ip.extend(((20 + bytes.len()) as u16).to_be_bytes());
                ip.extend([0, 7]);
                ip.extend((more | (n * part / 8) as u16).to_be_bytes());
                ip.extend([64, 1, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1]);
                let sum = checksum(&ip);
                ip[10..12].copy_from_slice(&sum);
                frame.extend(ip);
                frame.extend(bytes);
                frame
            })
            .collect()
    }

    #[test]
    fn echo_requests_are_answered_at_once_and_whole() {
        let ordinary = [0, 1, 1400, 1472, 1473, 30_000, 60_000].map(|len| (len, 1514));
        let jumbo = [8900, 8968, 8969, 30_000, 60_000].map(|len| (len, 9014));
        for (len, longest) in ordinary.into_iter().chain(jumbo) {
            let mut peer = Peer::new(
                MAC,
                Ipv4Cidr::new(Ipv4Address::new(10, 0, 0, 1), 24),
                longest,
            );
            let part = (longest - 34) & !7;
            let requests = echo_request(len, part);
            let answers: Vec<Vec<u8>> = requests
                .iter()
                .flat_map(|f| peer.exchange(f.clone()))
                .collect();
            let to_guest = [2, 0, 0, 0, 0, 9, 0, 0x15, 0x5d, 0xff, 0xff, 0];
            assert!(answers.iter().all(|f| f[..12] == to_guest));
            let data: usize = answers
                .iter()
                .map(|f| usize::from(u16::from_be_bytes([f[16], f[17]])) - 20)
                .sum();
            assert_eq!(data, len + 8, "{len} {longest}");
            assert_eq!(answers[0][34], 0, "an echo reply");
            let mut broken = echo_request(len, part);
            let at = broken[0].len() - 1;
            broken[0][at] ^= 1;
            assert!(
                broken.into_iter().all(|f| peer.exchange(f).is_empty()),
                "{len}"
            );
        }
    }

    #[test]
    fn rubbish_is_not_answered() {
        let mut peer = peer();
        for len in [0, 13, 14, 20, 60] {
            assert!(peer.exchange(vec![0xff; len]).is_empty(), "{len}");
        }
    }

    /// Connects to a port of `peer`, sends `bytes` and shuts down. Returns what came back.
    fn stream_to(peer: &mut Peer, port: u16, bytes: &[u8]) -> Vec<u8> {
        let address = Ipv4Cidr::new(Ipv4Address::new(10, 0, 0, 2), 24);
        let mut client = Peer::new(EthernetAddress([2, 0, 0, 0, 0, 9]), address, 1514);
        let buffer = || tcp::SocketBuffer::new(vec![0; 1 << 17]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.set_ack_delay(None);
        let to = (Ipv4Address::new(10, 0, 0, 1), port);
        let context = client.interface.context();
        socket.connect(context, to, 50_000 + port).unwrap();
        let handle = client.sockets.add(socket);
        let mut shut = false;
        loop {
            let mut to_peer = client.poll();
            while !to_peer.is_empty() {
                let answers: Vec<_> = to_peer.drain(..).flat_map(|f| peer.exchange(f)).collect();
                to_peer = answers
                    .into_iter()
                    .flat_map(|f| client.exchange(f))
                    .collect();
            }
            let socket = client.sockets.get_mut::<tcp::Socket<'_>>(handle);
            if !shut && socket.can_send() {
                assert_eq!(socket.send_slice(bytes), Ok(bytes.len()));
                socket.close();
                shut = true;
            }
            // Both sides have shut down.
            if socket.state() == tcp::State::TimeWait {
                // With nothing in the queue, the end is an error.
                let back = socket.recv(|bytes| (bytes.len(), bytes.to_vec()));
                return back.unwrap_or_default();
            }
        }
    }

    #[test]
    fn a_stream_is_told_of_when_it_has_ended() {
        let mut peer = peer();
        assert_eq!(peer.stream(), None);
        for len in [100_000u32, 0, 1] {
            let bytes: Vec<u8> = (0..len).map(|n| (n % 253) as u8).collect();
            let hash = format!("{:x}", Sha256::digest(&bytes));
            assert_eq!(stream_to(&mut peer, 7, &bytes), bytes);
            let told = peer.stream().map(ToString::to_string);
            assert_eq!(told, Some(format!("7/{len}/{hash}")));
            let line = format!("{len} bytes\n");
            assert_eq!(stream_to(&mut peer, 9, &bytes), line.as_bytes());
            let told = peer.stream().map(ToString::to_string);
            assert_eq!(told, Some(format!("9/{len}/{hash}")));
        }
    }

    #[test]
    fn the_link_local_address_follows_the_hardware_address() {
        assert_eq!(link_local(MAC).to_string(), "fe80::215:5dff:feff:ff00");
    }
}
