// SPDX-License-Identifier: GPL-2.0

//! How a network card is written on the command line: `NAME[,OPTION]...`, see [`OPTIONS`].

use std::ops::RangeInclusive;

use rlis_proto::nvsp::{ProtocolVersion, VRSS_CHANNEL_MAX};
use smoltcp::wire::{EthernetAddress, Ipv4Address, Ipv4Cidr};

/// What can be said of a card.
pub const OPTIONS: &str =
    "mac, peer, switch, version, mode, batch, channels, offload, lso, rsc, mtu, speed, alias, vf, down";

/// How messages lie in the sections of the receive buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A range is as long as its message, which begins the section.
    Windows,
    /// Range and message are as long as the section, with the frame 256 bytes into it, as OpenVMM has it.
    OpenVmm,
}

/// A network card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NicSpec {
    /// Its name.
    pub name: String,
    /// Its address; one is made up if left out.
    pub mac: Option<EthernetAddress>,
    /// The peer's IPv4 address with its network.
    pub peer: Ipv4Cidr,
    /// The switch that it hangs on instead of the peer.
    pub switch: Option<String>,
    /// Newest protocol version.
    pub version: ProtocolVersion,
    /// How messages lie in sections.
    pub mode: Mode,
    /// Most frames in one packet to the guest.
    pub batch: usize,
    /// Most channels.
    pub channels: u32,
    /// Whether it computes checksums and cuts large sends.
    pub offload: bool,
    /// Bytes of the longest large send.
    pub lso: u32,
    /// Whether it coalesces segments.
    pub rsc: bool,
    /// Bytes of the longest frame that a guest may ask for, without header.
    pub mtu: RangeInclusive<u32>,
    /// Megabits in a second.
    pub speed: u32,
    /// What it is called in the guest; its name if left out.
    pub alias: Option<String>,
    /// The PCI bus with its virtual function.
    pub vf: Option<String>,
    /// Whether the cable is plugged in at the start.
    pub up: bool,
}

fn parse_peer(text: &str) -> Option<Ipv4Cidr> {
    let (address, bits) = text.split_once('/')?;
    let (address, bits) = (address.parse::<Ipv4Address>().ok()?, bits.parse().ok()?);
    (bits <= 32).then(|| Ipv4Cidr::new(address, bits))
}

fn parse_mtu(text: &str) -> Option<RangeInclusive<u32>> {
    let (least, most) = text.split_once('-')?;
    let (least, most) = (least.parse().ok()?, most.parse().ok()?);
    (68 <= least && least <= most && most <= 65_521).then_some(least..=most)
}

/// A number from `range`.
fn parse_number(key: &str, value: &str, range: RangeInclusive<u32>) -> Result<u32, String> {
    let number = value.parse().ok().filter(|n| range.contains(n));
    number.ok_or_else(|| {
        format!(
            "{key}={value} is no number from {} to {}",
            range.start(),
            range.end()
        )
    })
}

fn parse_version(value: &str) -> Result<ProtocolVersion, String> {
    let mut all = ProtocolVersion::NEWEST_FIRST.to_vec();
    all.reverse();
    let known = all.iter().find(|v| v.name() == Some(value));
    known.copied().ok_or_else(|| {
        let names: Vec<&str> = all.iter().filter_map(|v| v.name()).collect();
        format!("version={value}: there are {}", names.join(", "))
    })
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
        switch: None,
        version: ProtocolVersion::V6_1,
        mode: Mode::Windows,
        batch: 1,
        channels: 1,
        offload: false,
        lso: 62_780,
        rsc: false,
        mtu: 68..=65_521,
        speed: 10_000,
        alias: None,
        vf: None,
        up: true,
    };
    for part in parts {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        match key {
            "mac" => {
                let mac = value.parse().ok().filter(EthernetAddress::is_unicast);
                spec.mac = Some(mac.ok_or_else(|| {
                    format!("mac={value} is no address of a card, such as 00:15:5d:00:00:01")
                })?);
            }
            "peer" => {
                spec.peer = parse_peer(value).ok_or_else(|| {
                    format!("peer={value} is no IPv4 address with a length, such as 10.0.0.1/24")
                })?;
            }
            "switch" if !value.is_empty() => spec.switch = Some(value.into()),
            "version" => spec.version = parse_version(value)?,
            "mode" => {
                spec.mode = match value {
                    "windows" => Mode::Windows,
                    "openvmm" => Mode::OpenVmm,
                    _ => return Err(format!("mode={value}: there are windows, openvmm")),
                };
            }
            // More ranges than this do not fit into a packet that Linux takes.
            "batch" => spec.batch = parse_number(key, value, 1..=375)? as usize,
            "channels" => spec.channels = parse_number(key, value, 1..=VRSS_CHANNEL_MAX)?,
            "offload" => spec.offload = true,
            "lso" => spec.lso = parse_number(key, value, 0..=262_144)?,
            "rsc" => spec.rsc = true,
            "mtu" => {
                spec.mtu = parse_mtu(value)
                    .ok_or_else(|| format!("mtu={value} is no range such as 1500-9000"))?;
            }
            "speed" => spec.speed = parse_number(key, value, 1..=400_000)?,
            "alias" => spec.alias = Some(value.into()),
            "vf" if !value.is_empty() => spec.vf = Some(value.into()),
            "down" => spec.up = false,
            _ => return Err(format!("a card has no '{key}'; there are {OPTIONS}")),
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
        assert_eq!((spec.mac, spec.up), (None, true));
        assert_eq!(spec.version, ProtocolVersion::V6_1);
        assert_eq!(spec.peer.to_string(), "10.0.0.1/24");
        let spec =
            parse_nic("net1,mac=00:15:5d:01:02:03,peer=192.168.7.1/16,version=5,down").unwrap();
        assert_eq!(spec.mac.unwrap().to_string(), "00-15-5d-01-02-03");
        assert_eq!((spec.version, spec.up), (ProtocolVersion::V5, false));
        let spec = parse_nic(
            "n,switch=a,mode=openvmm,batch=32,channels=8,offload,lso=60000,rsc,mtu=1500-9000,speed=25000,alias=x,vf=pci0",
        )
        .unwrap();
        assert_eq!(spec.switch.as_deref(), Some("a"));
        assert_eq!(spec.vf.as_deref(), Some("pci0"));
        assert_eq!(
            (spec.mode, spec.batch, spec.channels),
            (Mode::OpenVmm, 32, 8)
        );
        assert!(spec.offload && spec.rsc && spec.mtu == (1500..=9000));
        for bad in [
            "",
            ",down",
            "net0,mac=1:2",
            "net0,mac=ff:ff:ff:ff:ff:ff",
            "net0,peer=10.0.0.1",
            "net0,peer=10.0.0.1/33",
            "net0,version=3",
            "net0,colour=red",
            "net0,switch",
            "net0,vf",
            "net0,mode=linux",
            "net0,batch=0",
            "net0,batch=376",
            "net0,channels=65",
            "net0,mtu=9000-1500",
            "net0,mtu=1500",
        ] {
            assert!(parse_nic(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_option_is_listed() {
        for option in OPTIONS.split(", ") {
            let error = parse_nic(&format!("net0,{option}=?"));
            assert!(
                error.is_ok() || !error.unwrap_err().contains("has no"),
                "{option}"
            );
        }
    }
}
