// SPDX-License-Identifier: GPL-2.0

//! How a network card is written on the command line: `NAME[,mac=MAC][,peer=ADDRESS/BITS][,version=V][,down]`.

use smoltcp::wire::{EthernetAddress, Ipv4Address, Ipv4Cidr};

use super::nvsp;

/// A network card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NicSpec {
    /// Its name.
    pub name: String,
    /// Its address; one is made up if left out.
    pub mac: Option<EthernetAddress>,
    /// The peer's IPv4 address with its network.
    pub peer: Ipv4Cidr,
    /// Newest protocol version (NVSP_PROTOCOL_VERSION_*).
    pub version: u32,
    /// Whether the cable is plugged in at the start.
    pub up: bool,
}

fn parse_peer(text: &str) -> Option<Ipv4Cidr> {
    let (address, bits) = text.split_once('/')?;
    let (address, bits) = (address.parse::<Ipv4Address>().ok()?, bits.parse().ok()?);
    (bits <= 32).then(|| Ipv4Cidr::new(address, bits))
}

/// Reads a card.
pub fn parse_nic(text: &str) -> Result<NicSpec, String> {
    let mut parts = text.split(',');
    let name = parts.next().unwrap_or("");
    if name.is_empty() || name.contains([':', '=']) {
        return Err(format!("'{text}' does not begin with the card's name"));
    }
    let mut spec = NicSpec {
        name: name.into(),
        mac: None,
        peer: Ipv4Cidr::new(Ipv4Address::new(10, 0, 0, 1), 24),
        version: nvsp::VERSIONS.iter().map(|v| v.0).max().unwrap_or(0),
        up: true,
    };
    for part in parts {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        match key {
            "mac" => {
                let mac = value.parse::<EthernetAddress>();
                spec.mac = Some(
                    mac.ok()
                        .filter(EthernetAddress::is_unicast)
                        .ok_or_else(|| {
                            format!(
                                "mac={value} is no address of a card, such as 00:15:5d:00:00:01"
                            )
                        })?,
                );
            }
            "peer" => {
                spec.peer = parse_peer(value).ok_or_else(|| {
                    format!("peer={value} is no IPv4 address with a length, such as 10.0.0.1/24")
                })?;
            }
            "version" => {
                let known = nvsp::VERSIONS.iter().find(|v| v.1 == value);
                spec.version = known.map(|v| v.0).ok_or_else(|| {
                    let names: Vec<&str> = nvsp::VERSIONS.iter().map(|v| v.1).collect();
                    format!("version={value}: there are {}", names.join(", "))
                })?;
            }
            "down" => spec.up = false,
            _ => {
                return Err(format!(
                    "a card has no '{key}'; there are mac, peer, version, down"
                ))
            }
        }
    }
    Ok(spec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards() {
        let spec = parse_nic("net0").unwrap();
        assert_eq!((spec.mac, spec.version, spec.up), (None, 0x60001, true));
        assert_eq!(spec.peer.to_string(), "10.0.0.1/24");
        let spec =
            parse_nic("net1,mac=00:15:5d:01:02:03,peer=192.168.7.1/16,version=5,down").unwrap();
        assert_eq!(spec.mac.unwrap().to_string(), "00-15-5d-01-02-03");
        assert_eq!((spec.version, spec.up), (0x50000, false));
        for bad in [
            "",
            ",down",
            "net0,mac=1:2",
            "net0,mac=ff:ff:ff:ff:ff:ff",
            "net0,peer=10.0.0.1",
            "net0,peer=10.0.0.1/33",
            "net0,version=3",
            "net0,colour=red",
        ] {
            assert!(parse_nic(bad).is_err(), "{bad}");
        }
    }
}
