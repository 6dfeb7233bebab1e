// SPDX-License-Identifier: GPL-2.0

//! Packets of a storage host: completions, answers to the initialisation, and what it sends unasked.

use crate::input::Input;
use rlis_proto::storvsc::{
    classify, incoming, HostByte, Incoming, Init, InitStep, LogLevel, SenseHeader, StorageKind,
    VstorPacket, SENSE_BUFFER_SIZE,
};

/// Most answers that an initialisation takes: one for each of its steps, and one for each version but the first.
const MOST_STEPS: usize = 16;

/// The input: the kind of controller (one byte), the operation code and the length of a command, then packets, each
/// with its transaction id (eight bytes) and a slice.
pub fn fuzz(data: &[u8]) {
    let mut input = Input(data);
    let kinds = [
        StorageKind::Scsi,
        StorageKind::Ide,
        StorageKind::FibreChannel,
    ];
    let kind = kinds[usize::from(input.u8()) % kinds.len()];
    let (opcode, requested) = (input.u8(), input.u32());
    let (mut init, mut step) = Init::new(kind, 8);
    let mut steps = 0;
    while !input.is_empty() {
        let transaction = input.u64();
        match incoming(transaction, input.slice()) {
            Ok(Incoming::Completion { packet, .. }) => {
                let srb = packet.vm_srb();
                let is_fc = kind == StorageKind::FibreChannel;
                let completion = classify(opcode, is_fc, requested, &srb);
                assert!(completion.transferred <= requested);
                assert!(completion.sense_len <= SENSE_BUFFER_SIZE);
                if completion.host_byte != HostByte::Ok {
                    assert_ne!(completion.log, LogLevel::None);
                }
                let _ = SenseHeader::parse(&srb.cdb[..completion.sense_len]);
            }
            Ok(Incoming::Init(packet)) if matches!(step, InitStep::Send(_)) => {
                step = init.answer(&packet);
                steps += 1;
                assert!(steps <= MOST_STEPS, "an initialisation without end");
            }
            _ => {}
        }
    }
    if let InitStep::Send(_) = step {
        assert!(!matches!(init.timed_out(), InitStep::Send(_)));
    }
}

/// Bytes of a packet, for seeds.
pub const PACKET: usize = VstorPacket::SIZE;
