// SPDX-License-Identifier: GPL-2.0

//! The machine at the other end of a network card's cable: smoltcp with an IPv4 address and a link-local IPv6
//! address. It answers ARP, neighbour solicitations and echo requests, also those that come in fragments.

use std::collections::VecDeque;

use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::phy::{self, Device, DeviceCapabilities, Medium};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr, Ipv4Cidr, Ipv6Address, Ipv6Cidr};

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
    cable: Cable,
    interface: Interface,
    sockets: SocketSet<'static>,
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
        Self {
            cable,
            interface,
            sockets: SocketSet::new(Vec::new()),
        }
    }

    /// Hands the peer a frame and takes the frames that it answers with.
    pub fn exchange(&mut self, frame: Vec<u8>) -> Vec<Vec<u8>> {
        self.cable.to_peer.push_back(frame);
        self.interface
            .poll(Instant::now(), &mut self.cable, &mut self.sockets);
        std::mem::take(&mut self.cable.from_peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
        assert_eq!(answers[0][..12], [2, 0, 0, 0, 0, 9, 0, 0x15, 0x5d, 0xff, 0xff, 0]);
        assert_eq!(answers[0][20..22], [0, 2], "a reply");
        assert!(peer.exchange(arp_request([10, 0, 0, 3])).is_empty());
    }

    #[test]
    fn rubbish_is_not_answered() {
        let mut peer = peer();
        for len in [0, 13, 14, 20, 60] {
            assert!(peer.exchange(vec![0xff; len]).is_empty(), "{len}");
        }
    }

    #[test]
    fn the_link_local_address_follows_the_hardware_address() {
        assert_eq!(link_local(MAC).to_string(), "fe80::215:5dff:feff:ff00");
    }
}
