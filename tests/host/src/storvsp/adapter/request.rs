// SPDX-License-Identifier: GPL-2.0

//! Requests to the units of a storage adapter.

use std::thread;

use rlis_proto::storvsc::{
    DataDirection, SrbStatus, SENSE_BUFFER_SIZE, SRB_STATUS_AUTOSENSE_VALID,
};

use super::*;
use crate::storvsp::reserve::Refusal;
use crate::storvsp::scsi;

/// The SCSI status of a command that somebody else's reservation forbids.
const RESERVATION_CONFLICT: u8 = 0x18;

impl Adapter {
    pub(super) fn execute_srb(
        self: &Arc<Self>,
        channel: &Arc<Channel>,
        transaction: u64,
        vstor: VstorPacket,
        buffer: DataBuffer,
    ) -> Result<()> {
        let srb = vstor.vm_srb();
        let problem = self.problem_with(&srb, &buffer);
        if problem.is_some() {
            let failed = VmScsiRequest {
                srb_status: SrbStatus::SRB_STATUS_INVALID_REQUEST.0,
                data_transfer_length: 0,
                ..srb
            };
            self.answer(channel, transaction, wire::complete_io(failed));
        } else {
            let (this, channel) = (self.clone(), channel.clone());
            if let Some(ms) = self.hold(&channel, &srb) {
                let ticket = self.held(channel.relid).enter();
                // Not on a thread of the pool: others are carried out meanwhile.
                thread::spawn(move || {
                    thread::sleep(Duration::from_millis(ms));
                    let server = channel.server.upgrade();
                    if server.is_some_and(|s| !s.is_withdrawn(channel.relid)) {
                        this.carry_out(&channel, transaction, srb, &buffer);
                    }
                    drop(ticket);
                });
            } else {
                let ticket = self.flying(channel.relid).enter();
                self.pool.submit(move || {
                    this.carry_out(&channel, transaction, srb, &buffer);
                    drop(ticket);
                });
            }
        }
        match problem {
            Some(problem) => bail!("{problem}"),
            None => Ok(()),
        }
    }

    /// How many milliseconds late the request is to be carried out, if it is.
    fn hold(&self, channel: &Channel, srb: &VmScsiRequest) -> Option<u64> {
        if !matches!(
            wire::command(srb).first(),
            Some(0x08 | 0x0A | 0x28 | 0x2A | 0x88 | 0x8A | 0xA8 | 0xAA)
        ) {
            return None;
        }
        let faults = &channel.context.faults;
        faults.take(&self.spec.name, Fault::HoldIo, 1000)
    }

    /// Carries out a request and answers it.
    fn carry_out(
        &self,
        channel: &Arc<Channel>,
        transaction: u64,
        srb: VmScsiRequest,
        buffer: &DataBuffer,
    ) {
        let opcode = wire::command(&srb).first().copied();
        let done = self.run(channel, srb, buffer).unwrap_or_else(|error| {
            channel
                .context
                .violations
                .record(format!("{}: {error:#}", self.spec.name));
            VmScsiRequest {
                srb_status: SrbStatus::SRB_STATUS_INVALID_REQUEST.0,
                data_transfer_length: 0,
                ..srb
            }
        });
        let spoils = |value: u64| opcode.is_some_and(|o| u64::from(o) == value);
        let faults = &channel.context.faults;
        if faults
            .take_if(&self.spec.name, Fault::SpoilOpcode, 0, spoils)
            .is_some()
        {
            let whole = wire::complete_io(done);
            let cut = whole.as_bytes().get(..8).unwrap_or_default();
            return channel.complete(transaction, cut);
        }
        self.answer(channel, transaction, wire::complete_io(done));
    }

    /// What is wrong with a request, apart from the SCSI command in it.
    fn problem_with(&self, srb: &VmScsiRequest, buffer: &DataBuffer) -> Option<String> {
        let length = { srb.data_transfer_length };
        let direction = match DataDirection::of(srb) {
            Ok(direction) => direction,
            Err(error) => return Some(error.to_string()),
        };
        if self.step.load(Ordering::SeqCst) != READY {
            return Some("EXECUTE_SRB before the end of the initialisation".into());
        }
        if usize::from(srb.length) != size_of::<VmScsiRequest>() {
            return Some(format!("an SRB whose length says {}", { srb.length }));
        }
        if srb.cdb_length == 0 || srb.cdb_length > 16 {
            return Some(format!("a command of {} bytes", srb.cdb_length));
        }
        if usize::from(srb.sense_info_length) != SENSE_BUFFER_SIZE {
            return Some(format!("sense_info_length {}", srb.sense_info_length));
        }
        if length as usize != buffer.len() {
            return Some(format!(
                "data_transfer_length {length} with a buffer of {} bytes",
                buffer.len()
            ));
        }
        if length > self.spec.max_transfer {
            return Some(format!(
                "a transfer of {length} bytes; {} are allowed",
                self.spec.max_transfer
            ));
        }
        if direction == DataDirection::None && length != 0 {
            return Some(format!("{length} bytes of data in no direction"));
        }
        None
    }

    /// Carries out a request. Returns the SRB of its completion; an error means that the guest's data buffer is bad.
    fn run(
        &self,
        channel: &Channel,
        srb: VmScsiRequest,
        buffer: &DataBuffer,
    ) -> Result<VmScsiRequest> {
        let memory = &channel.context.memory;
        let (target, lun) = (srb.target_id, srb.lun);
        let (unit, luns) = {
            let units = lock(&self.units);
            let luns: Vec<u8> = units
                .keys()
                .filter(|(t, _)| *t == target)
                .map(|(_, l)| *l)
                .collect();
            (units.get(&(target, lun)).cloned(), luns)
        };
        let mut done = VmScsiRequest {
            srb_status: SrbStatus::SRB_STATUS_SUCCESS.0,
            scsi_status: 0,
            data_transfer_length: 0,
            ..srb
        };
        let Some(unit) = unit.filter(|_| srb.path_id == 0) else {
            // Linux takes every answer to INQUIRY for a success, whatever the SRB status says, so the data must tell
            // that nothing is there; and a target without unit 0 is searched through REPORT LUNS of unit 0.
            let luns = if srb.path_id == 0 { luns } else { Vec::new() };
            let data = match wire::command(&srb).first() {
                Some(0x12) => Some(scsi::inquiry_of_missing_unit(wire::command(&srb))),
                Some(0xA0) if lun == 0 => Some(scsi::report_luns(&luns)),
                _ => None,
            };
            if let Some(data) = data {
                done.data_transfer_length = u32::try_from(buffer.write(memory, &data)?)?;
                return Ok(done);
            }
            done.srb_status = SrbStatus::SRB_STATUS_INVALID_LUN.0;
            return Ok(done);
        };
        let direction = DataDirection::of(&srb)?;
        let data = match direction {
            DataDirection::Write => buffer.read(memory, buffer.len())?,
            _ => Vec::new(),
        };
        let faults = &channel.context.faults;
        let name = &self.spec.name;
        let outcome = match faults.take(name, Fault::CheckCondition, 0x03_1100) {
            Some(value) => {
                let [.., key, asc, ascq] = value.to_be_bytes();
                Err(Sense::new(key, asc, ascq).into())
            }
            None => scsi::execute(&unit, wire::command(&srb), &data, buffer.len(), &luns),
        };
        match outcome {
            Ok(back) => {
                let moved = match direction {
                    DataDirection::Read => buffer.write(memory, &back)?,
                    _ => data.len(),
                };
                done.data_transfer_length = u32::try_from(moved)?;
            }
            Err(Refusal::Conflict) => {
                done.srb_status = SrbStatus::SRB_STATUS_ERROR.0;
                done.scsi_status = RESERVATION_CONFLICT;
            }
            Err(Refusal::Sense(sense)) => {
                let bytes = sense.to_bytes();
                done.srb_status = SrbStatus::SRB_STATUS_ERROR.0 | SRB_STATUS_AUTOSENSE_VALID;
                done.scsi_status = 2;
                done.sense_info_length = bytes.len() as u8;
                done.cdb = [0; SENSE_BUFFER_SIZE];
                done.cdb.iter_mut().zip(bytes).for_each(|(d, s)| *d = s);
            }
        }
        if let Some(status) =
            faults.take(name, Fault::SrbStatus, SrbStatus::SRB_STATUS_ERROR.0.into())
        {
            done.srb_status = u8::try_from(status).unwrap_or(SrbStatus::SRB_STATUS_ERROR.0);
            done.data_transfer_length = 0;
        }
        if faults.hit(name, Fault::SenseWithoutStatus) {
            done.srb_status = SrbStatus::SRB_STATUS_ERROR.0 | SRB_STATUS_AUTOSENSE_VALID;
            done.scsi_status = 0;
        }
        if faults.hit(name, Fault::SenseTooLong) {
            done.srb_status |= SRB_STATUS_AUTOSENSE_VALID;
            done.scsi_status = 2;
            done.sense_info_length = u8::MAX;
        }
        if faults.hit(name, Fault::TransferTooLong) {
            done.data_transfer_length = u32::MAX;
        }
        Ok(done)
    }
}
