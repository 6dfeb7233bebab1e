// SPDX-License-Identifier: GPL-2.0

//! What the host sends: completions, answers, and what nobody asked for.

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
    Completion,
    FollowUp,
    HostByte,
    Incoming,
    LogLevel,
    Operation,
    SenseHeader,
    SrbStatus,
    StorageKind,
    VmScsiRequest,
    VstorPacket,
    SAM_STAT_GOOD, //
};
use rlis_scsi::{
    Command,
    Outcome, //
};
use rlis_vmbus::Packet;

impl Controller {
    /// A packet from the host.
    #[inline]
    pub(super) fn receive(&self, packet: &Packet<'_>) {
        let id = packet.transaction_id();
        let payload = packet.payload();
        if id == 0 {
            return self.unsolicited(payload);
        }
        let Ok(vstor) = VstorPacket::parse(payload) else {
            self.control.spoiled(id);
            return self.ignore(id, payload.len());
        };
        if Control::is_control(id) {
            if !self.control.answered(id, &vstor) {
                self.ignore(id, payload.len());
            }
            return;
        }
        // An id is worth something once only, so look at the packet first.
        if vstor.op() != Operation::VSTOR_OPERATION_COMPLETE_IO {
            return self.ignore(id, payload.len());
        }
        match self.tags.claim(id) {
            Some(command) => self.completed(command, &vstor),
            None => self.ignore(id, payload.len()),
        }
    }

    /// A packet that means nothing, or not what it should.
    #[cold]
    fn ignore(&self, id: u64, len: usize) {
        if self.tags.is_in_flight(id) {
            // There may be no other completion for that command. A reset makes sure that it comes to an end.
            self.spoiled.xchg(1, Full);
            notify(&self.events, Event::Reset);
        }
        self.nonsense.run(|dropped| {
            dev_err!(
                self.dev(),
                "ignored a packet: id {id:#x}, {len} bytes ({dropped} like this not shown)\n"
            );
        });
    }

    #[cold]
    fn unsolicited(&self, payload: &[u8]) {
        match incoming(0, payload) {
            Ok(Incoming::Rescan) => notify(&self.events, Event::Scan),
            Ok(Incoming::FchbaData(names)) if self.kind == StorageKind::FibreChannel => {
                self.set_names(names);
                notify(&self.events, Event::Names);
            }
            _ => self.ignore(0, payload.len()),
        }
    }

    /// The host has completed a command.
    #[inline]
    fn completed(&self, command: Command, vstor: &VstorPacket) {
        let srb = vstor.vm_srb();
        let success = SrbStatus::SRB_STATUS_SUCCESS.0;
        if srb.srb_status == success && srb.scsi_status == SAM_STAT_GOOD {
            // Nearly always, and nothing to decide.
            return command.complete(Outcome {
                status: SAM_STAT_GOOD,
                host: rlis_scsi::HostByte::OK,
                transferred: srb.data_transfer_length,
            });
        }
        self.not_good(command, vstor, &srb);
    }

    #[cold]
    fn not_good(&self, mut command: Command, vstor: &VstorPacket, srb: &VmScsiRequest) {
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
                // The mid-layer logs the sense data of what it fails; here it is of all.
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
