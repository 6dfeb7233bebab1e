// SPDX-License-Identifier: GPL-2.0

//! What the two ends of a Hyper-V socket say to each other: names of services, user data of an offer, and the
//! header of each packet.
//!
//! Sources: net/vmw_vsock/hyperv_transport.c and include/linux/hyperv.h of Linux for what its guests look at; for what
//! they do not (versions in the user data), vmbus_core of Microsoft's openvmm.

use anyhow::{ensure, Context, Result};
use rlis_proto::vmbus::{MAX_USER_DEFINED_BYTES, VMBUS_PIPE_TYPE_BYTE};
use rlis_proto::Guid;
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, IntoBytes};
use zerocopy_derive::*;

use crate::vmbus::ring::{Packet, DATA_INBAND};

/// Most bytes of data in a packet, either way (HVS_MTU_SIZE).
pub const MTU: usize = 16 * 1024;
/// Bytes of [`PipeHeader`].
pub const HEADER: usize = size_of::<PipeHeader>();

/// What a port of VSOCK looks like as a service: `xxxxxxxx-facb-11e6-bd58-64006a7986d3` (srv_id_template).
const TEMPLATE: [u8; 12] = [
    0xCB, 0xFA, 0xE6, 0x11, 0xBD, 0x58, 0x64, 0x00, 0x6A, 0x79, 0x86, 0xD3,
];
/// Packets with data have this type.
const TYPE_DATA: u32 = 1;
/// HvsockParametersVersion::RS5: the user data ends with the id of a silo.
const USER_DATA_VERSION: u32 = 1;

/// The service that stands for `port`.
pub fn service_of(port: u32) -> Guid {
    let mut bytes = [0; 16];
    let (head, tail) = bytes.split_at_mut(4);
    head.copy_from_slice(&port.to_le_bytes());
    tail.copy_from_slice(&TEMPLATE);
    Guid::from_bytes(bytes)
}

/// The port that `service` stands for, if it is of that form.
pub fn port_of(service: &Guid) -> Option<u32> {
    let (head, tail) = service.b.split_first_chunk::<4>()?;
    (tail == TEMPLATE).then(|| u32::from_le_bytes(*head))
}

/// The first bytes of the user data of a socket's offer (HvsockUserDefinedParameters).
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct UserData {
    /// VMBUS_PIPE_TYPE_*.
    pipe_mode: U32,
    /// 1 if the host connects to a service of the guest; `u.pipe.user_def[0]`.
    for_guest_accept: u8,
    for_guest_container: u8,
    version: U32,
    silo: Guid,
}

/// The user data of an offer; `from_host` tells who connects.
pub fn user_data(from_host: bool) -> [u8; MAX_USER_DEFINED_BYTES] {
    let data = UserData {
        pipe_mode: U32::new(VMBUS_PIPE_TYPE_BYTE),
        for_guest_accept: from_host.into(),
        for_guest_container: 0,
        version: U32::new(USER_DATA_VERSION),
        silo: Guid::NULL,
    };
    let mut bytes = [0; MAX_USER_DEFINED_BYTES];
    bytes
        .iter_mut()
        .zip(data.as_bytes())
        .for_each(|(to, from)| *to = *from);
    bytes
}

/// The header of each packet's payload (struct vmpipe_proto_header).
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct PipeHeader {
    /// 1, data.
    pkt_type: U32,
    /// Bytes that follow; none means that this side sends no more.
    data_size: U32,
}

/// The payload of a packet with `data`, at most [`MTU`] bytes. Without any it says that this side sends no more.
pub fn payload(data: &[u8]) -> Result<Vec<u8>> {
    ensure!(
        data.len() <= MTU,
        "{} bytes of data for one packet",
        data.len()
    );
    let header = PipeHeader {
        pkt_type: U32::new(TYPE_DATA),
        data_size: U32::new(u32::try_from(data.len())?),
    };
    Ok([header.as_bytes(), data].concat())
}

/// The data in a packet of the guest; none if the guest sends no more.
pub fn data(packet: &Packet) -> Result<&[u8]> {
    ensure!(
        packet.type_ == DATA_INBAND && packet.flags == 0 && packet.header.is_empty(),
        "a packet of type {} with flags {:#x}",
        packet.type_,
        packet.flags
    );
    let (header, rest) = PipeHeader::ref_from_prefix(&packet.payload)
        .ok()
        .with_context(|| format!("a packet of {} bytes", packet.payload.len()))?;
    let (type_, size) = (header.pkt_type.get(), header.data_size.get());
    ensure!(type_ == TYPE_DATA, "a pipe packet of type {type_}");
    let size = usize::try_from(size)?;
    ensure!(size <= MTU, "{size} bytes of data in one packet");
    // The ring pads to a multiple of 8 bytes.
    ensure!(
        rest.len() == size.next_multiple_of(8),
        "a header for {size} bytes of data, with {} bytes behind it",
        rest.len()
    );
    rest.get(..size).context("the data is not all there")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_services() {
        let service = service_of(0x0102_0304);
        assert_eq!(service.to_string(), "01020304-facb-11e6-bd58-64006a7986d3");
        assert_eq!(port_of(&service), Some(0x0102_0304));
        assert_eq!(port_of(&Guid::NULL), None);
    }

    #[test]
    fn user_data_as_the_guest_reads_it() {
        assert_eq!(
            user_data(true)[..10],
            [0, 0, 0, 0, 1, 0, 1, 0, 0, 0],
            "pipe mode, user_def[0], and so on"
        );
        assert_eq!(user_data(false)[4], 0);
    }

    #[test]
    fn packets_are_checked() {
        let of = |words: [u32; 2], behind: usize| Packet {
            type_: DATA_INBAND,
            flags: 0,
            transaction: 0,
            header: Vec::new(),
            payload: [words.as_bytes(), &vec![7; behind]].concat(),
        };
        assert_eq!(data(&of([1, 3], 8)).unwrap(), [7; 3]);
        assert_eq!(data(&of([1, 0], 0)).unwrap(), [0; 0]);
        for (bad, why) in [
            (of([2, 3], 8), "type"),
            (of([1, 9], 8), "too few bytes"),
            (of([1, 0], 8), "too many bytes"),
            (of([1, 16_385], 16_392), "too much data"),
            (of([1, u32::MAX], 8), "a size of 4 GiB"),
            (
                Packet {
                    flags: 1,
                    ..of([1, 0], 0)
                },
                "flags",
            ),
            (
                Packet {
                    payload: vec![1; 4],
                    ..of([1, 0], 0)
                },
                "no header",
            ),
        ] {
            assert!(data(&bad).is_err(), "{why}");
        }
        assert_eq!(payload(&[]).unwrap(), [1, 0, 0, 0, 0, 0, 0, 0]);
        assert!(payload(&[0; MTU]).is_ok());
        assert!(payload(&[0; MTU + 1]).is_err());
    }
}
