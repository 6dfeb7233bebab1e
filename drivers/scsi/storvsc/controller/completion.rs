// SPDX-License-Identifier: GPL-2.0

//! Packets from the host: completions, answers to the driver's requests, and notifications.

use super::Controller;
use crate::{
    control::Control,
    events::{
        notify,
        Address,
        Event, //
    },
    settings::logs, //
};
use kernel::{
    prelude::*,
    sync::atomic::Full, //
};
use rlis_proto::storvsc::{
    classify,
    incoming,
    is_repeatable,
    Completion,
    FollowUp,
    HostByte,
    Incoming,
    LogLevel,
    Operation,
    SenseHeader,
    StorageKind,
    VmScsiRequest,
    VstorPacket,
    SAM_STAT_GOOD, //
};
use rlis_scsi::{
    Command,
    Outcome, //
};
use rlis_vmbus::{
    Packet,
    PacketType, //
};

impl Controller {
    /// A packet from the host.
    #[inline]
    pub(super) fn receive(&self, packet: &Packet<'_>) {
        let id = packet.transaction_id();
        let payload = packet.payload();
        if id == 0 {
            return self.unsolicited(payload);
        }
        if packet.packet_type() != PacketType::COMPLETION {
            // Not a completion, although it has an id.
            return self.damaged(id, payload.len());
        }
        if Control::is_control(id) {
            return self.answered(id, payload);
        }
        // The packet is a private copy.
        match VstorPacket::of(payload) {
            Ok(vstor) if vstor.op() == Operation::VSTOR_OPERATION_COMPLETE_IO => {
                match self.tags.claim(id) {
                    Some(command) => self.completed(command, vstor),
                    None => self.ignore(id, payload.len()),
                }
            }
            _ => self.unreadable(id, payload.len()),
        }
    }

    /// The answer to one of the driver's own requests.
    #[cold]
    #[inline(never)]
    fn answered(&self, id: u64, payload: &[u8]) {
        let taken = match VstorPacket::of(payload) {
            Ok(vstor) => self.control.answered(id, vstor),
            Err(_) => {
                self.control.spoiled(id);
                false
            }
        };
        if !taken {
            self.ignore(id, payload.len());
        }
    }

    /// A completion that does not say how the command ended. There will be no second one, and the host is done with it.
    #[cold]
    #[inline(never)]
    fn unreadable(&self, id: u64, len: usize) {
        if let Some(command) = self.tags.claim(id) {
            let host = if is_repeatable(command.opcode()) {
                rlis_scsi::HostByte::REQUEUE
            } else {
                rlis_scsi::HostByte::RESET
            };
            command.complete(Outcome::failed(host));
        }
        self.damaged(id, len);
    }

    /// A packet that no host should send. Others may have been lost with it.
    #[cold]
    #[inline(never)]
    fn damaged(&self, id: u64, len: usize) {
        self.suspect.xchg(1, Full);
        self.ignore(id, len);
    }

    /// Logs a packet that is ignored.
    #[cold]
    #[inline(never)]
    fn ignore(&self, id: u64, len: usize) {
        self.nonsense.run(|dropped| {
            dev_err!(
                self.dev(),
                "ignored a packet: id {id:#x}, {len} bytes ({dropped} like this not shown)\n"
            );
        });
    }

    #[cold]
    #[inline(never)]
    fn unsolicited(&self, payload: &[u8]) {
        match incoming(0, payload) {
            Ok(Incoming::Rescan) => notify(&self.events, Event::Scan),
            Ok(Incoming::FchbaData(names)) if self.kind == StorageKind::FibreChannel => {
                self.set_names(names);
                self.show_names();
            }
            _ => self.ignore(0, payload.len()),
        }
    }

    /// The host has completed a command.
    #[inline]
    fn completed(&self, command: Command, vstor: &VstorPacket) {
        if let Some(transferred) = vstor.good() {
            // The common case.
            return command.complete(Outcome {
                status: SAM_STAT_GOOD,
                host: rlis_scsi::HostByte::OK,
                transferred,
            });
        }
        self.not_good(command, vstor);
    }

    #[cold]
    #[inline(never)]
    fn not_good(&self, mut command: Command, vstor: &VstorPacket) {
        let srb = &vstor.vm_srb();
        let is_fc = self.kind == StorageKind::FibreChannel;
        let verdict = classify(command.opcode(), is_fc, command.len(), srb);
        if verdict.log != LogLevel::None {
            self.log(&command, srb, vstor.status, &verdict);
        }
        if let Some(sense @ [_, ..]) = srb.cdb.get(..verdict.sense_len) {
            command.set_sense(sense);
        }
        if verdict.follow_up != FollowUp::None {
            self.follow_up(&command, verdict.follow_up);
        }
        command.complete(Outcome {
            status: verdict.scsi_status,
            host: match verdict.host_byte {
                HostByte::Ok => rlis_scsi::HostByte::OK,
                HostByte::Requeue => rlis_scsi::HostByte::REQUEUE,
                HostByte::Error => rlis_scsi::HostByte::ERROR,
                HostByte::NoConnect => rlis_scsi::HostByte::NO_CONNECT,
                HostByte::Passthrough => rlis_scsi::HostByte::PASSTHROUGH,
            },
            transferred: verdict.transferred,
        });
    }

    #[cold]
    #[inline(never)]
    fn follow_up(&self, command: &Command, what: FollowUp) {
        let Some((channel, target, lun)) = command.address() else {
            return;
        };
        let address = Address {
            channel,
            target,
            lun,
        };
        match what {
            FollowUp::None => {}
            FollowUp::RescanDevice => notify(&self.events, Event::Rescan(address)),
            FollowUp::Rescan => notify(&self.events, Event::Scan),
            FollowUp::RemoveLun => notify(&self.events, Event::Remove(address)),
        }
    }

    #[cold]
    #[inline(never)]
    fn log(&self, command: &Command, srb: &VmScsiRequest, status: u32, verdict: &Completion) {
        if !logs(verdict.log) {
            return;
        }
        self.failures.run(|_| {
            let tag = command.queue_and_tag().1;
            dev_warn!(
                self.dev(),
                "tag#{tag} cmd {:#x} status: scsi {:#x} srb {:#x} host {status:#x}\n",
                command.opcode(),
                srb.scsi_status,
                srb.srb_status
            );
            let sense = srb.cdb.get(..verdict.sense_len);
            if let Some(sense) = sense.and_then(SenseHeader::parse) {
                // The mid-layer logs sense data only for commands that it fails.
                if logs(LogLevel::Warn) {
                    let SenseHeader { key, asc, ascq } = sense;
                    dev_warn!(
                        self.dev(),
                        "tag#{tag} sense: key {key:#x} asc {asc:#x} ascq {ascq:#x}\n"
                    );
                }
            }
        });
    }
}
