// SPDX-License-Identifier: GPL-2.0

//! How a PCI bus is written on the command line: `NAME[,OPTION]...`, see [`OPTIONS`].

use smoltcp::wire::EthernetAddress;

use super::protocol;

/// What can be said of a bus.
pub const OPTIONS: &str = "version, function, serial, mac";

/// What the function of a bus is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A serial port.
    Serial,
    /// A network card.
    Vmxnet3 {
        /// Its serial number, of which Linux makes the name of its slot.
        serial: u32,
        /// Its address; that of the synthetic card that it belongs to if left out.
        mac: Option<EthernetAddress>,
    },
}

/// A PCI bus with its function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PciSpec {
    /// Its name.
    pub name: String,
    /// Newest protocol version (PCI_PROTOCOL_VERSION_*).
    pub version: u32,
    /// Its function.
    pub kind: Kind,
}

/// Reads a bus.
pub fn parse_pci(text: &str) -> Result<PciSpec, String> {
    let mut parts = text.split(',');
    let name = parts.next().unwrap_or("");
    if name.is_empty() || name.contains([':', '=']) {
        return Err(format!("'{text}' does not begin with the bus's name"));
    }
    let (mut is_card, mut serial, mut mac) = (false, None, None);
    let mut version = protocol::VERSION_1_4;
    for part in parts {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        match key {
            "version" => {
                let known = protocol::VERSIONS.iter().find(|v| v.1 == value);
                version = known.map(|v| v.0).ok_or_else(|| {
                    let names: Vec<&str> = protocol::VERSIONS.iter().map(|v| v.1).collect();
                    format!("version={value}: there are {}", names.join(", "))
                })?;
            }
            "function" => {
                is_card = match value {
                    "serial" => false,
                    "vmxnet3" => true,
                    _ => return Err(format!("function={value}: there are serial, vmxnet3")),
                };
            }
            "serial" => {
                let number = value.parse::<u32>();
                serial = Some(number.map_err(|_| format!("serial={value} is no number"))?);
            }
            "mac" => {
                let address = value.parse().ok().filter(EthernetAddress::is_unicast);
                mac = Some(address.ok_or_else(|| {
                    format!("mac={value} is no address of a card, such as 00:15:5d:00:00:01")
                })?);
            }
            _ => return Err(format!("a PCI bus has no '{key}'; there are {OPTIONS}")),
        }
    }
    let kind = match (is_card, serial, mac) {
        (true, serial, mac) => Kind::Vmxnet3 {
            serial: serial.unwrap_or(1),
            mac,
        },
        (false, None, None) => Kind::Serial,
        _ => return Err("a serial port has neither serial number nor address".into()),
    };
    Ok(PciSpec {
        name: name.into(),
        version,
        kind,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buses() {
        let spec = parse_pci("pci0").unwrap();
        assert_eq!((spec.name.as_str(), spec.version), ("pci0", 0x10004));
        assert_eq!(spec.kind, Kind::Serial);
        assert_eq!(parse_pci("p,version=1.1").unwrap().version, 0x10001);
        let spec = parse_pci("p,function=vmxnet3,serial=7,mac=00:15:5d:00:01:00").unwrap();
        let mac = Some(EthernetAddress([0, 0x15, 0x5d, 0, 1, 0]));
        assert_eq!(spec.kind, Kind::Vmxnet3 { serial: 7, mac });
        let spec = parse_pci("p,function=vmxnet3").unwrap();
        let plain = Kind::Vmxnet3 {
            serial: 1,
            mac: None,
        };
        assert_eq!(spec.kind, plain);
        for bad in [
            "",
            ",version=1.4",
            "p,version=1.0",
            "p,version",
            "p,x=1",
            "p,function=e1000",
            "p,serial=7",
            "p,function=vmxnet3,serial=x",
            "p,function=vmxnet3,mac=01:00:5e:00:00:01",
        ] {
            assert!(parse_pci(bad).is_err(), "{bad}");
        }
    }
}
