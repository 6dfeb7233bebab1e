// SPDX-License-Identifier: GPL-2.0

//! Packets of the storage protocol as the host reads and writes them; the structs are those of [`rlis_proto::storvsc`].

use anyhow::{ensure, Result};
use rlis_proto::storvsc::{VmScsiRequest, VstorPacket, CDB_SIZE};

use crate::vmbus::direct::DataBuffer;
use crate::vmbus::ring::Packet;

/// Takes the storage packet and the data buffer out of a ring packet.
pub fn parse(packet: &Packet) -> Result<(VstorPacket, DataBuffer)> {
    let vstor = VstorPacket::parse(&packet.payload)?;
    ensure!(
        packet.payload.len() < VstorPacket::SIZE + 8,
        "a packet of {} bytes",
        packet.payload.len()
    );
    Ok((vstor, DataBuffer::of(packet)?))
}

/// The command of a request.
pub fn command(srb: &VmScsiRequest) -> &[u8] {
    srb.cdb
        .get(..usize::from(srb.cdb_length).min(CDB_SIZE))
        .unwrap_or_default()
}

/// The completion of a request.
pub fn complete_io(srb: VmScsiRequest) -> VstorPacket {
    VstorPacket::complete(0).with(&srb)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vmbus::ring::DATA_INBAND;

    #[test]
    fn malformed_packets_are_refused() {
        let of = |payload: usize| Packet {
            type_: DATA_INBAND,
            flags: 1,
            transaction: 1,
            header: Vec::new(),
            payload: vec![0; payload],
        };
        assert!(parse(&of(56)).is_err());
        assert!(parse(&of(64)).is_ok());
        assert!(parse(&of(72)).is_err());
        assert!(parse(&Packet {
            header: vec![0; 8],
            ..of(64)
        })
        .is_err());
    }
}
