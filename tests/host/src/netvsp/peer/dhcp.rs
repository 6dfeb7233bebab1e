// SPDX-License-Identifier: GPL-2.0

//! A DHCP server with one address to give: the one behind its own.

use smoltcp::wire::{DhcpMessageType, DhcpPacket, DhcpRepr, IpEndpoint, Ipv4Address, Ipv4Cidr};

/// Seconds for which an address is given.
const LEASE: u32 = 3600;
const CLIENT_PORT: u16 = 68;

/// The answer to a message of a client, and where it goes to; `None` if it asks for nothing, or not of this server.
pub fn answer(bytes: &[u8], own: Ipv4Cidr) -> Option<(Vec<u8>, IpEndpoint)> {
    let packet = DhcpPacket::new_checked(bytes).ok()?;
    let asked = DhcpRepr::parse(&packet).ok()?;
    let server = own.address();
    let given = Ipv4Address::from(u32::from(server).wrapping_add(1));
    let message_type = match asked.message_type {
        DhcpMessageType::Discover => DhcpMessageType::Offer,
        DhcpMessageType::Request if asked.server_identifier.is_some_and(|id| id != server) => {
            return None;
        }
        DhcpMessageType::Request => {
            let wanted = asked.requested_ip.unwrap_or(asked.client_ip);
            if wanted == given {
                DhcpMessageType::Ack
            } else {
                DhcpMessageType::Nak
            }
        }
        _ => return None,
    };
    let refused = message_type == DhcpMessageType::Nak;
    let repr = DhcpRepr {
        message_type,
        transaction_id: asked.transaction_id,
        secs: 0,
        client_hardware_address: asked.client_hardware_address,
        client_ip: Ipv4Address::UNSPECIFIED,
        your_ip: if refused {
            Ipv4Address::UNSPECIFIED
        } else {
            given
        },
        server_ip: server,
        router: Some(server),
        subnet_mask: Some(own.netmask()),
        relay_agent_ip: Ipv4Address::UNSPECIFIED,
        broadcast: true,
        requested_ip: None,
        client_identifier: None,
        server_identifier: Some(server),
        parameter_request_list: None,
        dns_servers: None,
        max_size: None,
        lease_duration: Some(LEASE),
        renew_duration: None,
        rebind_duration: None,
        additional_options: &[],
    };
    let mut bytes = vec![0; repr.buffer_len()];
    repr.emit(&mut DhcpPacket::new_unchecked(&mut bytes)).ok()?;
    // The client has no address yet.
    let to = (Ipv4Address::BROADCAST, CLIENT_PORT).into();
    Some((bytes, to))
}
