// SPDX-License-Identifier: GPL-2.0

//! How a PCI bus is written on the command line: `NAME[,version=V]`.

use super::protocol;

/// A PCI bus with its function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PciSpec {
    /// Its name.
    pub name: String,
    /// Newest protocol version (PCI_PROTOCOL_VERSION_*).
    pub version: u32,
}

/// Reads a bus.
pub fn parse_pci(text: &str) -> Result<PciSpec, String> {
    let mut parts = text.split(',');
    let name = parts.next().unwrap_or("");
    if name.is_empty() || name.contains([':', '=']) {
        return Err(format!("'{text}' does not begin with the bus's name"));
    }
    let mut spec = PciSpec {
        name: name.into(),
        version: protocol::VERSION_1_4,
    };
    for part in parts {
        match part.split_once('=') {
            Some(("version", value)) => {
                let known = protocol::VERSIONS.iter().find(|v| v.1 == value);
                spec.version = known.map(|v| v.0).ok_or_else(|| {
                    let names: Vec<&str> = protocol::VERSIONS.iter().map(|v| v.1).collect();
                    format!("version={value}: there are {}", names.join(", "))
                })?;
            }
            _ => return Err(format!("a PCI bus has no '{part}'; there is version")),
        }
    }
    Ok(spec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buses() {
        let spec = parse_pci("pci0").unwrap();
        assert_eq!((spec.name.as_str(), spec.version), ("pci0", 0x10004));
        assert_eq!(parse_pci("p,version=1.1").unwrap().version, 0x10001);
        for bad in ["", ",version=1.4", "p,version=1.0", "p,version", "p,x=1"] {
            assert!(parse_pci(bad).is_err(), "{bad}");
        }
    }
}
