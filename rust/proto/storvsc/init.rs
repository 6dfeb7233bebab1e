// SPDX-License-Identifier: GPL-2.0

//! The initialisation of a storage channel: BEGIN_INITIALIZATION, versions from the best down, properties,
//! Fibre Channel names, END_INITIALIZATION, sub-channels.

use super::packet::{
    Operation, ProtocolVersion, VstorPacket, Wwn, STORAGE_CHANNEL_SUPPORTS_MULTI_CHANNEL,
};
use crate::error::ProtoError;

/// Kind of device, from the class of the offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StorageKind {
    /// SCSI controller.
    Scsi,
    /// Accelerated IDE disk.
    Ide,
    /// Synthetic Fibre Channel adapter.
    FibreChannel,
}

/// What follows from the largest transfer the host takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of a request, a multiple of 4096 and not 0.
    pub max_transfer_bytes: u32,
    /// The same in sectors of 512 bytes (`max_sectors`).
    pub max_sectors: u32,
    /// Scatter list entries for as many bytes at any offset (`sg_tablesize`).
    pub sg_tablesize: u32,
}

impl Limits {
    /// Largest transfer of a Fibre Channel adapter: 512 KiB.
    pub const FC_MAX_TRANSFER: u32 = 512 * 1024;

    /// The limits for what the host reported.
    ///
    /// # Errors
    ///
    /// `Invalid` for less than a page, with which no request could be made.
    pub fn new(kind: StorageKind, reported: u32) -> Result<Self, ProtoError> {
        let clamped = match kind {
            StorageKind::FibreChannel => reported.min(Self::FC_MAX_TRANSFER),
            _ => reported,
        };
        let max_transfer_bytes = clamped & !4095;
        if max_transfer_bytes == 0 {
            return Err(ProtoError::Invalid {
                what: "max_transfer_bytes",
                value: u64::from(reported),
            });
        }
        Ok(Self {
            max_transfer_bytes,
            max_sectors: max_transfer_bytes / 512,
            sg_tablesize: max_transfer_bytes / 4096 + 1,
        })
    }

    /// The same limits, or those of requests whose list of pages takes no more than `bytes`, if that is less: the host
    /// may report more than fits into a ring. Never less than a page.
    pub fn with_page_list(self, bytes: u32) -> Self {
        // Eight bytes a page, and one page more where the data do not begin at the start of one.
        let pages = (bytes / 8).saturating_sub(1).clamp(1, u32::MAX / 4096);
        let max_transfer_bytes = self.max_transfer_bytes.min(pages * 4096);
        Self {
            max_transfer_bytes,
            max_sectors: max_transfer_bytes / 512,
            sg_tablesize: max_transfer_bytes / 4096 + 1,
        }
    }
}

/// What the initialisation has found out. Belongs to one device; different devices may differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StorageProperties {
    /// Protocol version.
    pub version: ProtocolVersion,
    /// Limits of a request.
    pub limits: Limits,
    /// Names, for Fibre Channel.
    pub wwn: Option<Wwn>,
    /// Sub-channels that were asked for and granted; their offers follow.
    pub sub_channels: u16,
}

/// Why the initialisation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitError {
    /// The host refused this request with this status.
    Refused {
        /// The request.
        operation: Operation,
        /// Its status.
        status: u32,
    },
    /// The answer to this request was none.
    BadAnswer(Operation),
    /// The host accepts none of our versions.
    NoCommonVersion,
    /// The host's limits are unusable.
    BadLimits(ProtoError),
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitStep {
    /// Send this packet with [`super::RequestId::Init`], wait for the answer and give it to [`Init::answer`].
    Send(VstorPacket),
    /// Ready.
    Done(StorageProperties),
    /// Give the device up.
    Failed(InitError),
}

#[derive(Clone, Copy, Debug)]
enum State {
    Begin,
    Version(usize),
    Properties,
    Fchba,
    End,
    SubChannels(u16),
    Finished,
}

/// The guest's side of the initialisation.
#[derive(Clone, Debug)]
pub struct Init {
    kind: StorageKind,
    /// Most sub-channels that the guest can use.
    max_sub_channels: u16,
    /// Most that the host offers.
    host_sub_channels: u16,
    state: State,
    version: ProtocolVersion,
    limits: Option<Limits>,
    wwn: Option<Wwn>,
}

impl Init {
    /// Starts. `max_sub_channels` is how many sub-channels the guest can use: at most its CPUs less one.
    pub fn new(kind: StorageKind, max_sub_channels: u16) -> (Self, InitStep) {
        let init = Self {
            kind,
            max_sub_channels,
            host_sub_channels: 0,
            state: State::Begin,
            version: ProtocolVersion::V6_0,
            limits: None,
            wwn: None,
        };
        (
            init,
            request(Operation::VSTOR_OPERATION_BEGIN_INITIALIZATION),
        )
    }

    fn operation(&self) -> Operation {
        match self.state {
            State::Begin => Operation::VSTOR_OPERATION_BEGIN_INITIALIZATION,
            State::Version(_) => Operation::VSTOR_OPERATION_QUERY_PROTOCOL_VERSION,
            State::Properties => Operation::VSTOR_OPERATION_QUERY_PROPERTIES,
            State::Fchba => Operation::VSTOR_OPERATION_FCHBA_DATA,
            State::End | State::Finished => Operation::VSTOR_OPERATION_END_INITIALIZATION,
            State::SubChannels(_) => Operation::VSTOR_OPERATION_CREATE_SUB_CHANNELS,
        }
    }

    /// The host's answer to the last packet.
    pub fn answer(&mut self, packet: &VstorPacket) -> InitStep {
        let operation = self.operation();
        let answered = packet.op() == Operation::VSTOR_OPERATION_COMPLETE_IO;
        let status = packet.status;
        if let State::SubChannels(count) = self.state {
            // The device works without them.
            return self.done(if answered && status == 0 { count } else { 0 });
        }
        if !answered {
            return InitStep::Failed(InitError::BadAnswer(operation));
        }
        if let State::Version(at) = self.state {
            if status != 0 {
                return self.propose(at.saturating_add(1));
            }
            self.state = State::Properties;
            return request(Operation::VSTOR_OPERATION_QUERY_PROPERTIES);
        }
        if status != 0 {
            return InitStep::Failed(InitError::Refused { operation, status });
        }
        match self.state {
            State::Begin => self.propose(0),
            State::Properties => {
                let p = packet.channel_properties();
                match Limits::new(self.kind, p.max_transfer_bytes) {
                    Ok(limits) => self.limits = Some(limits),
                    Err(e) => return InitStep::Failed(InitError::BadLimits(e)),
                }
                if p.flags & STORAGE_CHANNEL_SUPPORTS_MULTI_CHANNEL != 0 {
                    self.host_sub_channels = p.max_channel_cnt;
                }
                if self.kind == StorageKind::FibreChannel {
                    self.state = State::Fchba;
                    request(Operation::VSTOR_OPERATION_FCHBA_DATA)
                } else {
                    self.end()
                }
            }
            State::Fchba => {
                self.wwn = Some(packet.wwn_packet().active());
                self.end()
            }
            State::End => {
                let count = self.host_sub_channels.min(self.max_sub_channels);
                if count == 0 {
                    return self.done(0);
                }
                self.state = State::SubChannels(count);
                InitStep::Send(
                    VstorPacket::request(Operation::VSTOR_OPERATION_CREATE_SUB_CHANNELS)
                        .with(&count),
                )
            }
            _ => InitStep::Failed(InitError::BadAnswer(operation)),
        }
    }

    /// No answer came in time. Only without sub-channels can the device be used all the same.
    pub fn timed_out(&mut self) -> InitStep {
        match self.state {
            State::SubChannels(_) => self.done(0),
            _ => InitStep::Failed(InitError::BadAnswer(self.operation())),
        }
    }

    fn propose(&mut self, at: usize) -> InitStep {
        match ProtocolVersion::SUPPORTED.get(at) {
            Some(&version) => {
                self.version = version;
                self.state = State::Version(at);
                InitStep::Send(
                    VstorPacket::request(Operation::VSTOR_OPERATION_QUERY_PROTOCOL_VERSION)
                        .with(&version.0),
                )
            }
            None => InitStep::Failed(InitError::NoCommonVersion),
        }
    }

    fn end(&mut self) -> InitStep {
        self.state = State::End;
        request(Operation::VSTOR_OPERATION_END_INITIALIZATION)
    }

    fn done(&mut self, sub_channels: u16) -> InitStep {
        self.state = State::Finished;
        match self.limits {
            Some(limits) => InitStep::Done(StorageProperties {
                version: self.version,
                limits,
                wwn: self.wwn,
                sub_channels,
            }),
            // Not reached: the properties come before.
            None => InitStep::Failed(InitError::BadAnswer(
                Operation::VSTOR_OPERATION_QUERY_PROPERTIES,
            )),
        }
    }
}

fn request(operation: Operation) -> InitStep {
    InitStep::Send(VstorPacket::request(operation))
}

#[cfg(test)]
mod tests {
    use super::super::packet::{ChannelProperties, FcWwnPacket};
    use super::*;
    use proptest::prelude::*;
    use zerocopy::{FromBytes, FromZeros};
    extern crate std;
    use std::vec::Vec;

    struct Host {
        max_version: ProtocolVersion,
        properties: ChannelProperties,
        refuse: Option<Operation>,
        seen: Vec<Operation>,
    }

    impl Host {
        fn new() -> Self {
            Self {
                max_version: ProtocolVersion::V6_2,
                properties: ChannelProperties {
                    max_channel_cnt: 8,
                    flags: 1,
                    max_transfer_bytes: 0x20_0000,
                    ..ChannelProperties::new_zeroed()
                },
                refuse: None,
                seen: Vec::new(),
            }
        }

        fn answer(&mut self, p: &VstorPacket) -> VstorPacket {
            assert_eq!({ p.flags }, 1);
            self.seen.push(p.op());
            if self.refuse == Some(p.op()) {
                return VstorPacket::complete(0xc000_00bb);
            }
            match p.op() {
                Operation::VSTOR_OPERATION_QUERY_PROTOCOL_VERSION => {
                    VstorPacket::complete(u32::from(p.version() > self.max_version))
                }
                Operation::VSTOR_OPERATION_QUERY_PROPERTIES => {
                    VstorPacket::complete(0).with(&self.properties)
                }
                Operation::VSTOR_OPERATION_FCHBA_DATA => {
                    let mut w = FcWwnPacket::new_zeroed();
                    w.secondary_node_wwn[7] = 1;
                    w.secondary_port_wwn[0] = 2;
                    VstorPacket::complete(0).with(&w)
                }
                Operation::VSTOR_OPERATION_CREATE_SUB_CHANNELS => {
                    assert!(p.sub_channel_count() <= self.properties.max_channel_cnt);
                    VstorPacket::complete(0)
                }
                _ => VstorPacket::complete(0),
            }
        }

        fn run(&mut self, kind: StorageKind, max: u16) -> InitStep {
            let (mut init, mut step) = Init::new(kind, max);
            while let InitStep::Send(p) = step {
                step = init.answer(&self.answer(&p));
            }
            step
        }
    }

    #[test]
    fn scsi_with_sub_channels() {
        let mut h = Host::new();
        let InitStep::Done(p) = h.run(StorageKind::Scsi, 3) else {
            panic!()
        };
        assert_eq!(
            (p.version, p.sub_channels, p.wwn),
            (ProtocolVersion::V6_2, 3, None)
        );
        assert_eq!(
            p.limits,
            Limits {
                max_transfer_bytes: 0x20_0000,
                max_sectors: 4096,
                sg_tablesize: 513
            }
        );
        let ops: Vec<u32> = h.seen.iter().map(|o| o.0).collect();
        assert_eq!(ops, [7, 9, 10, 8, 13]);
    }

    #[test]
    fn fc_on_an_older_host() {
        let mut h = Host::new();
        h.max_version = ProtocolVersion::V6_0;
        h.properties.flags = 0;
        let InitStep::Done(p) = h.run(StorageKind::FibreChannel, 3) else {
            panic!()
        };
        assert_eq!((p.version, p.sub_channels), (ProtocolVersion::V6_0, 0));
        assert_eq!(
            p.wwn,
            Some(Wwn {
                node_name: 1,
                port_name: 2 << 56
            })
        );
        assert_eq!(p.limits.max_transfer_bytes, 512 * 1024);
        let ops: Vec<u32> = h.seen.iter().map(|o| o.0).collect();
        assert_eq!(ops, [7, 9, 9, 10, 12, 8]);
    }

    #[test]
    fn failures() {
        let mut h = Host::new();
        h.max_version = ProtocolVersion::new(5, 1);
        assert_eq!(
            h.run(StorageKind::Scsi, 1),
            InitStep::Failed(InitError::NoCommonVersion)
        );
        for op in [7, 10, 8] {
            let mut h = Host::new();
            h.refuse = Some(Operation(op));
            assert_eq!(
                h.run(StorageKind::Scsi, 1),
                InitStep::Failed(InitError::Refused {
                    operation: Operation(op),
                    status: 0xc000_00bb
                })
            );
        }
        let mut h = Host::new();
        h.refuse = Some(Operation::VSTOR_OPERATION_CREATE_SUB_CHANNELS);
        assert!(matches!(h.run(StorageKind::Scsi, 1), InitStep::Done(p) if p.sub_channels == 0));
        for bytes in [0, 4095] {
            let mut h = Host::new();
            h.properties.max_transfer_bytes = bytes;
            assert!(matches!(
                h.run(StorageKind::Scsi, 1),
                InitStep::Failed(InitError::BadLimits(_))
            ));
        }
        assert_eq!(Limits::new(StorageKind::Ide, 8191).unwrap().sg_tablesize, 2);
        assert_eq!(
            Limits::new(StorageKind::Scsi, u32::MAX)
                .unwrap()
                .max_sectors,
            0x7f_fff8
        );
        let most = Limits::new(StorageKind::Scsi, u32::MAX).unwrap();
        assert_eq!(most.with_page_list(8192).max_transfer_bytes, 1023 * 4096);
        assert_eq!(most.with_page_list(8192).sg_tablesize, 1024);
        assert_eq!(most.with_page_list(0).max_transfer_bytes, 4096);
        assert_eq!(most.with_page_list(u32::MAX).max_sectors, most.max_sectors);
        let least = Limits::new(StorageKind::Scsi, 4096).unwrap();
        assert_eq!(least.with_page_list(8192), least);
        let (mut init, _) = Init::new(StorageKind::Scsi, 1);
        assert!(matches!(init.timed_out(), InitStep::Failed(_)));
        let (mut init, InitStep::Send(p)) = Init::new(StorageKind::Scsi, 1) else {
            panic!()
        };
        assert!(matches!(
            init.answer(&p),
            InitStep::Failed(InitError::BadAnswer(_))
        ));
    }

    proptest! {
        #[test]
        fn any_answers_end(packets in proptest::collection::vec((0u32..3, proptest::collection::vec(any::<u8>(), 64)), 10), max: u16) {
            let (mut init, mut step) = Init::new(StorageKind::FibreChannel, max);
            let mut n = 0;
            for (status, bytes) in packets {
                let InitStep::Send(_) = step else { break };
                n += 1;
                let mut p = VstorPacket::read_from_bytes(&bytes).unwrap();
                p.operation = 1;
                p.status = status / 2;
                step = init.answer(&p);
            }
            prop_assert!(n <= 7);
            prop_assert!(!matches!(step, InitStep::Send(_)));
        }
    }
}
