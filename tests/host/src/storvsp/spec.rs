// SPDX-License-Identifier: GPL-2.0

//! How adapters and logical units are written on the command line and in commands: a name or place, then
//! `key=value` pairs, all with commas between.

use std::path::PathBuf;

use rlis_proto::storvsc::ProtocolVersion;

use super::sense::Sense;
use crate::size::parse_size;

/// An adapter: `NAME[,channels=N][,version=6.0][,max-transfer=SIZE][,monitor]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdapterSpec {
    /// Its name.
    pub name: String,
    /// Sub-channels that the guest may have.
    pub channels: u16,
    /// Newest storage protocol version.
    pub version: ProtocolVersion,
    /// Most bytes of one transfer.
    pub max_transfer: u32,
    /// Whether its channels have monitors.
    pub monitor: bool,
}

/// Where a unit is: `ADAPTER:TARGET:LUN`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Name of the adapter.
    pub adapter: String,
    /// Target on it.
    pub target: u8,
    /// Logical unit of the target.
    pub lun: u8,
}

/// A unit: `PLACE,size=SIZE[,file=PATH][,block=512|4096][,readonly]`, or `PLACE,shared=PLACE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitSpec {
    /// Where.
    pub place: Place,
    /// Bytes; a file that exists has its own.
    pub size: Option<u64>,
    /// The file; in memory if left out.
    pub file: Option<PathBuf>,
    /// Bytes of a block.
    pub block: Option<u32>,
    /// Whether writes are refused.
    pub readonly: bool,
    /// The unit of another adapter that this is, too; nothing else is said then.
    pub shared: Option<Place>,
}

fn pairs(text: &str) -> (&str, Vec<(&str, &str)>) {
    let mut parts = text.split(',');
    let first = parts.next().unwrap_or("");
    (
        first,
        parts
            .map(|p| p.split_once('=').unwrap_or((p, "")))
            .collect(),
    )
}

/// Reads an adapter.
pub fn parse_adapter(text: &str) -> Result<AdapterSpec, String> {
    let (name, rest) = pairs(text);
    if name.is_empty() || name.contains([':', '=']) {
        return Err(format!("'{text}' does not begin with the adapter's name"));
    }
    let mut spec = AdapterSpec {
        name: name.into(),
        channels: 0,
        version: ProtocolVersion::V6_2,
        max_transfer: 2 << 20,
        monitor: false,
    };
    for (key, value) in rest {
        match key {
            "channels" => {
                spec.channels = value
                    .parse()
                    .map_err(|_| format!("channels={value} is no number"))?;
            }
            "version" => {
                spec.version = match value {
                    "6.2" => ProtocolVersion::V6_2,
                    "6.0" => ProtocolVersion::V6_0,
                    _ => return Err(format!("version={value}: there are 6.0 and 6.2")),
                }
            }
            "max-transfer" => {
                spec.max_transfer = u32::try_from(parse_size(value)?)
                    .map_err(|_| format!("max-transfer={value} is too large"))?;
            }
            "monitor" => spec.monitor = true,
            _ => {
                return Err(format!(
                    "an adapter has no '{key}'; there are channels, version, max-transfer, monitor"
                ))
            }
        }
    }
    Ok(spec)
}

/// Reads a place.
pub fn parse_place(text: &str) -> Result<Place, String> {
    let parts: Vec<&str> = text.split(':').collect();
    if let [adapter, target, lun] = parts.as_slice() {
        if let (Ok(target), Ok(lun)) = (target.parse(), lun.parse()) {
            return Ok(Place {
                adapter: (*adapter).into(),
                target,
                lun,
            });
        }
    }
    Err(format!(
        "'{text}' is no place; write ADAPTER:TARGET:LUN, such as scsi0:0:1"
    ))
}

/// Reads a unit.
pub fn parse_unit(text: &str) -> Result<UnitSpec, String> {
    let (place, rest) = pairs(text);
    let mut spec = UnitSpec {
        place: parse_place(place)?,
        size: None,
        file: None,
        block: None,
        readonly: false,
        shared: None,
    };
    if let [("shared", of)] = rest.as_slice() {
        spec.shared = Some(parse_place(of)?);
        return Ok(spec);
    }
    for (key, value) in rest {
        match key {
            "size" => spec.size = Some(parse_size(value)?),
            "file" => spec.file = Some(value.into()),
            "block" => {
                spec.block = Some(
                    value
                        .parse()
                        .map_err(|_| format!("block={value} is no number"))?,
                )
            }
            "readonly" => spec.readonly = true,
            _ => {
                return Err(format!(
                    "a unit has no '{key}'; there are size, file, block, readonly, and shared by itself"
                ))
            }
        }
    }
    if spec.size.is_none() && spec.file.is_none() {
        return Err(format!("'{text}' says neither size nor file"));
    }
    Ok(spec)
}

/// Reads a unit attention, `ASC/ASCQ` in hexadecimal.
pub fn parse_attention(text: &str) -> Result<Sense, String> {
    let number = |text| u8::from_str_radix(text, 16).ok();
    text.split_once('/')
        .and_then(|(asc, ascq)| Some(Sense::new(0x6, number(asc)?, number(ascq)?)))
        .ok_or_else(|| format!("'{text}' is no unit attention; write ASC/ASCQ, such as 29/00"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adapters() {
        let spec = parse_adapter("scsi0,channels=3,version=6.0,max-transfer=512K,monitor").unwrap();
        assert_eq!(
            (spec.channels, spec.version, spec.max_transfer),
            (3, ProtocolVersion::V6_0, 512 << 10)
        );
        assert!(spec.monitor && !parse_adapter("scsi0").unwrap().monitor);
        for bad in [
            "",
            ",channels=1",
            "a,channels=x",
            "a,version=5.0",
            "a,colour=red",
            "a:b",
        ] {
            assert!(parse_adapter(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn attentions() {
        assert_eq!(parse_attention("3f/0e"), Ok(Sense::REPORTED_LUNS_CHANGED));
        for bad in ["", "29", "29/", "29/100", "xx/00", "29/00/00"] {
            assert!(parse_attention(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn units() {
        let spec = parse_unit("scsi0:1:7,size=64M,block=4096,readonly").unwrap();
        assert_eq!(
            (spec.place.target, spec.place.lun, spec.size, spec.readonly),
            (1, 7, Some(64 << 20), true)
        );
        let shared = parse_unit("scsi1:0:0,shared=scsi0:0:2").unwrap().shared;
        assert_eq!(
            shared.map(|p| (p.adapter, p.lun)),
            Some(("scsi0".into(), 2))
        );
        for bad in [
            "scsi1:0:0,shared=scsi0",
            "scsi1:0:0,shared=scsi0:0:0,size=1M",
            "scsi0",
            "scsi0:0",
            "scsi0:0:x,size=1M",
            "scsi0:0:0",
            "scsi0:0:0,size=x",
            "scsi0:0:256,size=1M",
        ] {
            assert!(parse_unit(bad).is_err(), "{bad}");
        }
    }
}
