// SPDX-License-Identifier: GPL-2.0

//! Building SCSI requests, and telling apart what the host sends.

use super::packet::{
    Operation, VmScsiRequest, VstorPacket, Wwn, CDB_SIZE, REQUEST_COMPLETION_FLAG,
    SENSE_BUFFER_SIZE,
};
use crate::error::{read_prefix, ProtoError};
use core::mem::size_of;
use zerocopy::IntoBytes;

/// `SRB_FLAGS_*`.
pub mod srb_flags {
    /// Tagged queueing.
    pub const SRB_FLAGS_QUEUE_ACTION_ENABLE: u32 = 0x0000_0002;
    /// No synchronous transfer negotiation.
    pub const SRB_FLAGS_DISABLE_SYNCH_TRANSFER: u32 = 0x0000_0008;
    /// Data comes from the device.
    pub const SRB_FLAGS_DATA_IN: u32 = 0x0000_0040;
    /// Data goes to the device.
    pub const SRB_FLAGS_DATA_OUT: u32 = 0x0000_0080;
    /// An error does not freeze the queue.
    pub const SRB_FLAGS_NO_QUEUE_FREEZE: u32 = 0x0000_0100;
}
use srb_flags::*;

/// Queue tag: untagged.
const SP_UNTAGGED: u8 = 0xff;
/// Queue action: simple.
const SRB_SIMPLE_TAG_REQUEST: u8 = 0x20;
/// Seconds the host gives a request.
const SRB_TIME_OUT: u64 = 60;

/// Direction of a request's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataDirection {
    /// To the device.
    Write,
    /// From the device.
    Read,
    /// No data.
    None,
}

impl DataDirection {
    /// The direction in a request, as the host reads it.
    ///
    /// # Errors
    ///
    /// `Unknown` for another value.
    pub fn of(srb: &VmScsiRequest) -> Result<Self, ProtoError> {
        match srb.data_in {
            0 => Ok(Self::Write),
            1 => Ok(Self::Read),
            2 => Ok(Self::None),
            v => Err(ProtoError::Unknown {
                what: "vmscsi_request.data_in",
                value: u64::from(v),
            }),
        }
    }
}

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SrbAddress {
    /// Number of the adapter in the guest.
    pub port_number: u8,
    /// SCSI channel.
    pub path_id: u8,
    /// SCSI target.
    pub target_id: u8,
    /// Logical unit.
    pub lun: u8,
}

/// The packet that carries a SCSI command, as words: most of them are known at once, and none goes through memory on its way to
/// the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SrbPacket([u64; VstorPacket::SIZE / 8]);

/// A CDB of up to 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cdb {
    /// The bytes, and zeroes behind them; the first one is the lowest.
    words: [u64; 2],
    len: u8,
}

impl Cdb {
    /// The first `len` bytes.
    ///
    /// # Errors
    ///
    /// `Invalid` if there are none, or more than a CDB can have.
    #[inline]
    pub fn new(bytes: &[u8; CDB_SIZE], len: u16) -> Result<Self, ProtoError> {
        let all: [[u8; 8]; 2] = zerocopy::transmute!(*bytes);
        let [low, high] = all.map(u64::from_le_bytes);
        let words = match len {
            10 => [low, high & 0xffff],
            16 => [low, high],
            1..=7 => [low & (u64::MAX >> (64 - 8 * len)), 0],
            8 => [low, 0],
            9..=15 => [low, high & (u64::MAX >> (128 - 8 * len))],
            _ => {
                return Err(ProtoError::Invalid {
                    what: "CDB length",
                    value: u64::from(len),
                })
            }
        };
        let [len, _] = len.to_le_bytes();
        Ok(Self { words, len })
    }
}

impl SrbPacket {
    /// The packet for a SCSI command of `len` bytes of data.
    #[inline]
    pub fn new(
        address: SrbAddress,
        cdb: Cdb,
        direction: DataDirection,
        len: u32,
        tagged: bool,
    ) -> Self {
        const { assert!(size_of::<VmScsiRequest>() == 52 && SENSE_BUFFER_SIZE == 20) };
        let (data_in, flag) = match direction {
            DataDirection::Write => (0, SRB_FLAGS_DATA_OUT),
            DataDirection::Read => (1, SRB_FLAGS_DATA_IN),
            DataDirection::None => (2, 0),
        };
        let (tag_flags, queue_tag, queue_action) = if tagged {
            let flags = SRB_FLAGS_QUEUE_ACTION_ENABLE | SRB_FLAGS_NO_QUEUE_FREEZE;
            (flags, SP_UNTAGGED, SRB_SIMPLE_TAG_REQUEST)
        } else {
            (0, 0, 0)
        };
        let SrbAddress {
            port_number,
            path_id,
            target_id,
            lun,
        } = address;
        let Cdb {
            words: [low, high],
            len: cdb_len,
        } = cdb;
        let flags = SRB_FLAGS_DISABLE_SYNCH_TRANSFER | flag | tag_flags;
        let execute = u64::from(Operation::VSTOR_OPERATION_EXECUTE_SRB.0);
        Self(
            [
                // Operation and flags.
                execute | (u64::from(REQUEST_COMPLETION_FLAG) << 32),
                // Status; from here on `VmScsiRequest`, with its length.
                52 << 32,
                u64::from_le_bytes([
                    port_number,
                    path_id,
                    target_id,
                    lun,
                    cdb_len,
                    20,
                    data_in,
                    0,
                ]),
                u64::from(len) | (low << 32),
                (low >> 32) | (high << 32),
                // The last bytes are for sense data.
                high >> 32,
                (u64::from(queue_tag) << 16)
                    | (u64::from(queue_action) << 24)
                    | (u64::from(flags) << 32),
                SRB_TIME_OUT,
            ]
            .map(u64::to_le),
        )
    }

    /// The words, as they lie in memory.
    #[inline]
    pub fn words(&self) -> &[u64; VstorPacket::SIZE / 8] {
        &self.0
    }

    /// The bytes.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// Transaction ids of storage (`VMBUS_RQST_*`; block-layer tags are shifted by one since 0 is taken).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestId {
    /// 0: the host on its own.
    Unsolicited,
    /// A SCSI command with this unique block-layer tag.
    Tag(u32),
    /// Requests of the initialisation (`VMBUS_RQST_INIT`).
    Init,
    /// A bus reset (`VMBUS_RQST_RESET`).
    Reset,
}

impl RequestId {
    const INIT: u64 = u64::MAX - 2;
    const RESET: u64 = u64::MAX - 3;

    /// The transaction id.
    #[inline]
    pub const fn to_trans_id(self) -> u64 {
        match self {
            Self::Unsolicited => 0,
            #[allow(clippy::cast_lossless)] // `From` is not const.
            Self::Tag(tag) => tag as u64 + 1,
            Self::Init => Self::INIT,
            Self::Reset => Self::RESET,
        }
    }

    /// What a transaction id from the host stands for; `None` for one that the guest never gives.
    #[inline]
    pub fn from_trans_id(id: u64) -> Option<Self> {
        match id {
            0 => Some(Self::Unsolicited),
            Self::INIT => Some(Self::Init),
            Self::RESET => Some(Self::Reset),
            _ => u32::try_from(id.wrapping_sub(1)).ok().map(Self::Tag),
        }
    }
}

/// A packet from the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// The completion of a SCSI command. Whether a command with this tag is in flight is for the driver to
    /// find out, before anything else.
    Completion {
        /// Its tag.
        tag: u32,
        /// The completion.
        packet: VstorPacket,
    },
    /// The answer to a request of the initialisation.
    Init(VstorPacket),
    /// The answer to a bus reset.
    Reset(VstorPacket),
    /// Devices have come or gone: look for them.
    Rescan,
    /// The Fibre Channel names have changed.
    FchbaData(Wwn),
}

/// Parses the payload of a packet from the host.
///
/// # Errors
///
/// `Short` for incomplete packets, `Invalid` for a transaction id that is never given, `Unexpected` for an
/// operation that does not go with the id, `Unknown` for an unknown one.
#[inline]
pub fn incoming(trans_id: u64, payload: &[u8]) -> Result<Incoming, ProtoError> {
    let id = RequestId::from_trans_id(trans_id).ok_or(ProtoError::Invalid {
        what: "storage transaction id",
        value: trans_id,
    })?;
    match id {
        RequestId::Tag(tag) => {
            let packet = VstorPacket::parse(payload)?;
            if packet.op() != Operation::VSTOR_OPERATION_COMPLETE_IO {
                return Err(ProtoError::Unexpected {
                    what: "operation in the completion of a SCSI command",
                });
            }
            Ok(Incoming::Completion { tag, packet })
        }
        RequestId::Init => Ok(Incoming::Init(VstorPacket::parse(payload)?)),
        RequestId::Reset => Ok(Incoming::Reset(VstorPacket::parse(payload)?)),
        // These may be shorter than a whole packet.
        RequestId::Unsolicited => match Operation(read_prefix::<u32>(payload, "vstor_packet")?.0) {
            Operation::VSTOR_OPERATION_REMOVE_DEVICE | Operation::VSTOR_OPERATION_ENUMERATE_BUS => {
                Ok(Incoming::Rescan)
            }
            Operation::VSTOR_OPERATION_FCHBA_DATA => Ok(Incoming::FchbaData(
                VstorPacket::parse(payload)?.wwn_packet().active(),
            )),
            op if op.name().is_some() => Err(ProtoError::Unexpected {
                what: "operation in an unsolicited storage packet",
            }),
            op => Err(ProtoError::Unknown {
                what: "storage operation",
                value: u64::from(op.0),
            }),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const AT: SrbAddress = SrbAddress {
        port_number: 1,
        path_id: 2,
        target_id: 3,
        lun: 4,
    };

    #[test]
    fn execute_srb_bytes() {
        // What is behind the CDB is nobody's business.
        let mut bytes = [0xff; 16];
        bytes[..4].copy_from_slice(&[0x28, 9, 8, 7]);
        let cdb = Cdb::new(&bytes, 4).unwrap();
        let p = SrbPacket::new(AT, cdb, DataDirection::Read, 4096, true);
        let b = p.as_bytes();
        assert_eq!(b[..12], [3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(
            b[12..28],
            [52, 0, 0, 0, 1, 2, 3, 4, 4, 20, 1, 0, 0, 16, 0, 0]
        );
        assert_eq!(b[28..32], [0x28, 9, 8, 7]);
        assert_eq!(b[32..50], [0; 18]);
        assert_eq!(
            b[50..64],
            [0xff, 0x20, 0x4a, 1, 0, 0, 60, 0, 0, 0, 0, 0, 0, 0]
        );
        let cdb = Cdb::new(&[0; 16], 16).unwrap();
        let w = SrbPacket::new(AT, cdb, DataDirection::Write, 1, false);
        let w = VstorPacket::parse(w.as_bytes()).unwrap().vm_srb();
        assert_eq!(
            ({ w.srb_flags }, w.queue_tag, DataDirection::of(&w)),
            (0x88, 0, Ok(DataDirection::Write))
        );
    }

    #[test]
    fn cdbs_of_all_lengths() {
        let bytes: [u8; 16] = core::array::from_fn(|i| i as u8 + 1);
        for len in 1..=16 {
            let cdb = Cdb::new(&bytes, len).unwrap();
            let packet = SrbPacket::new(AT, cdb, DataDirection::None, 0, true);
            let packet = VstorPacket::parse(packet.as_bytes()).unwrap();
            let srb = packet.vm_srb();
            assert_eq!(u16::from(srb.cdb_length), len);
            assert_eq!(DataDirection::of(&srb), Ok(DataDirection::None));
            for (i, byte) in srb.cdb.into_iter().enumerate() {
                let expected = if i < usize::from(len) { bytes[i] } else { 0 };
                assert_eq!(byte, expected);
            }
            assert_eq!(packet.op(), Operation::VSTOR_OPERATION_EXECUTE_SRB);
        }
        for len in [0, 17, 32, 0x104, u16::MAX] {
            assert!(Cdb::new(&bytes, len).is_err());
        }
    }

    #[test]
    fn ids() {
        for id in [
            RequestId::Unsolicited,
            RequestId::Tag(0),
            RequestId::Tag(u32::MAX),
            RequestId::Init,
            RequestId::Reset,
        ] {
            assert_eq!(RequestId::from_trans_id(id.to_trans_id()), Some(id));
        }
        for bad in [u64::MAX, u64::MAX - 1, u64::MAX - 4, 1 << 33, (1 << 32) + 1] {
            assert_eq!(RequestId::from_trans_id(bad), None);
        }
    }

    #[test]
    fn what_goes_with_what() {
        let complete = VstorPacket::complete(0);
        let of = |op: u32| VstorPacket {
            operation: op,
            ..complete
        };
        assert_eq!(
            incoming(5, complete.as_bytes()),
            Ok(Incoming::Completion {
                tag: 4,
                packet: complete
            })
        );
        assert!(incoming(5, &complete.as_bytes()[..63]).is_err());
        assert!(incoming(5, of(11).as_bytes()).is_err());
        assert!(incoming(0, complete.as_bytes()).is_err());
        assert_eq!(incoming(0, &11u32.to_le_bytes()), Ok(Incoming::Rescan));
        assert_eq!(incoming(0, &2u32.to_le_bytes()), Ok(Incoming::Rescan));
        assert!(incoming(0, &12u32.to_le_bytes()).is_err());
        assert!(incoming(0, &99u32.to_le_bytes()).is_err());
        assert!(incoming(0, &[2, 0, 0]).is_err());
        let mut fc = of(12);
        fc.buffer[0] = 1;
        fc.buffer[11] = 7;
        fc.buffer[19] = 8;
        assert_eq!(
            incoming(0, fc.as_bytes()),
            Ok(Incoming::FchbaData(Wwn {
                node_name: 8,
                port_name: 7
            }))
        );
        assert_eq!(
            incoming(u64::MAX - 2, complete.as_bytes()),
            Ok(Incoming::Init(complete))
        );
        assert_eq!(
            incoming(u64::MAX - 3, complete.as_bytes()),
            Ok(Incoming::Reset(complete))
        );
    }

    proptest! {
        #[test]
        fn any_packet_never_panics(id: u64, small in 0u64..5, bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = incoming(id, &bytes);
            let _ = incoming(small, &bytes);
            let _ = incoming(u64::MAX - small, &bytes);
        }
    }
}
