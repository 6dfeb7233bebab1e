// SPDX-License-Identifier: GPL-2.0

//! What a completed SCSI command means: one pure function from what the host says to what the mid-layer is
//! told.

use super::packet::{VmScsiRequest, SENSE_BUFFER_SIZE};
use super::sense::SenseHeader;
use super::{
    opcode, SrbStatus, SAM_STAT_ACA_ACTIVE, SAM_STAT_BUSY, SAM_STAT_CHECK_CONDITION, SAM_STAT_GOOD,
    SAM_STAT_RESERVATION_CONFLICT, SAM_STAT_TASK_ABORTED, SAM_STAT_TASK_SET_FULL,
    SRB_STATUS_AUTOSENSE_VALID,
};

/// The host byte of the mid-layer's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostByte {
    /// `DID_OK`: status and sense say all.
    Ok,
    /// `DID_REQUEUE`: do it again.
    Requeue,
    /// `DID_ERROR`.
    Error,
    /// `DID_NO_CONNECT`: the logical unit is gone.
    NoConnect,
    /// `DID_PASSTHROUGH`: an ATA pass-through command, whose issuer looks for himself.
    Passthrough,
}

/// Work to do besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FollowUp {
    /// None.
    None,
    /// Look at the device again: capacity or parameters have changed, or it is another one.
    RescanDevice,
    /// Look at all devices again: which there are has changed.
    Rescan,
    /// Remove the logical unit.
    RemoveLun,
}

/// How loud to report it, always rate-limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Not at all.
    None,
    /// Expected now and then.
    Warn,
    /// An error.
    Error,
}

/// What to tell the mid-layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// SCSI status byte.
    pub scsi_status: u8,
    /// Host byte.
    pub host_byte: HostByte,
    /// Bytes transferred, at most as many as were asked for.
    pub transferred: u32,
    /// Bytes of valid sense data at the front of the union (`VmScsiRequest::cdb`), at most 20.
    pub sense_len: usize,
    /// Work to do.
    pub follow_up: FollowUp,
    /// Reporting.
    pub log: LogLevel,
}

/// Commands to which hosts give answers that would take the device offline.
fn host_mishandles(cmd: u8, is_fc: bool) -> bool {
    match cmd {
        opcode::INQUIRY | opcode::MODE_SENSE | opcode::MODE_SENSE_10 => true,
        opcode::MAINTENANCE_IN | opcode::PERSISTENT_RESERVE_IN => is_fc,
        _ => false,
    }
}

/// SCSI statuses that say all there is to say: the logical unit did not carry the command out, for a reason that the
/// mid-layer knows what to do about. BUSY and TASK SET FULL are tried again without counting, the latter with a shorter
/// queue; TASK ABORTED counts as a try; RESERVATION CONFLICT is the issuer's affair.
fn speaks_for_itself(scsi_status: u8) -> bool {
    matches!(
        scsi_status,
        SAM_STAT_BUSY
            | SAM_STAT_RESERVATION_CONFLICT
            | SAM_STAT_TASK_SET_FULL
            | SAM_STAT_ACA_ACTIVE
            | SAM_STAT_TASK_ABORTED
    )
}

/// Classifies the completion `srb` of a command with operation code `cmd` that asked for `requested` bytes.
///
/// The error paths are those of the C driver, with these differences: an SRB error with a good SCSI status is
/// never reported as success (but for TEST UNIT READY), sense data is used only if it was sent together with
/// CHECK CONDITION, a missing logical unit is reported for every command, and a SCSI status such as BUSY reaches the
/// mid-layer whatever the SRB status is: hosts send it with SRB_STATUS_ERROR, SRB_STATUS_ABORTED and others.
pub fn classify(cmd: u8, is_fc: bool, requested: u32, srb: &VmScsiRequest) -> Completion {
    let srb_status = SrbStatus::of(srb.srb_status);
    let transferred = |srb: &VmScsiRequest| { srb.data_transfer_length }.min(requested);
    let success = Completion {
        scsi_status: SAM_STAT_GOOD,
        host_byte: HostByte::Ok,
        transferred: transferred(srb),
        sense_len: 0,
        follow_up: FollowUp::None,
        log: LogLevel::None,
    };
    let gone = matches!(
        srb_status,
        SrbStatus::SRB_STATUS_INVALID_LUN | SrbStatus::SRB_STATUS_NO_DEVICE
    );
    if speaks_for_itself(srb.scsi_status) && !gone {
        return Completion {
            scsi_status: srb.scsi_status,
            transferred: 0,
            log: LogLevel::Warn,
            ..success
        };
    }
    if host_mishandles(cmd, is_fc) && !gone {
        return success;
    }

    // Sense data counts if the target reported it and it is there.
    let has_sense = srb.scsi_status == SAM_STAT_CHECK_CONDITION
        && srb.srb_status & SRB_STATUS_AUTOSENSE_VALID != 0;
    let sense_len = if has_sense {
        usize::from(srb.sense_info_length).min(SENSE_BUFFER_SIZE)
    } else {
        0
    };
    let sense = srb.cdb.get(..sense_len).and_then(SenseHeader::parse);
    let quiet = cmd == opcode::TEST_UNIT_READY || sense.is_some_and(|s| s.is_expected());
    let log = if quiet {
        LogLevel::Warn
    } else {
        LogLevel::Error
    };

    if srb_status == SrbStatus::SRB_STATUS_SUCCESS {
        return Completion {
            scsi_status: srb.scsi_status,
            sense_len,
            log: if srb.scsi_status == SAM_STAT_GOOD {
                LogLevel::None
            } else {
                log
            },
            ..success
        };
    }

    let (host_byte, follow_up) = match (srb_status, sense) {
        (SrbStatus::SRB_STATUS_INVALID_LUN, _) => (HostByte::NoConnect, FollowUp::RemoveLun),
        (SrbStatus::SRB_STATUS_NO_DEVICE, None) => (HostByte::NoConnect, FollowUp::None),
        (_, Some(s)) if s.is_capacity_change() || s.is_parameter_change() => {
            (HostByte::Requeue, FollowUp::RescanDevice)
        }
        // These are the mid-layer's, too, which tells user space.
        (_, Some(s)) if s.is_restart() => (HostByte::Ok, FollowUp::RescanDevice),
        (_, Some(s)) if s.is_luns_change() => (HostByte::Ok, FollowUp::Rescan),
        _ if has_sense => (HostByte::Ok, FollowUp::None),
        _ if matches!(cmd, opcode::ATA_12 | opcode::ATA_16) => {
            (HostByte::Passthrough, FollowUp::None)
        }
        // Some hosts answer it with an SRB error alone.
        _ if cmd == opcode::TEST_UNIT_READY => (HostByte::Ok, FollowUp::None),
        _ => (HostByte::Error, FollowUp::None),
    };
    Completion {
        scsi_status: srb.scsi_status,
        host_byte,
        // Only with an overrun does the host say how much it was.
        transferred: if srb_status == SrbStatus::SRB_STATUS_DATA_OVERRUN {
            transferred(srb)
        } else {
            0
        },
        sense_len,
        follow_up,
        log,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use zerocopy::{FromBytes, FromZeros};

    const READ_10: u8 = 0x28;

    fn srb(srb_status: u8, scsi_status: u8, len: u32) -> VmScsiRequest {
        VmScsiRequest {
            srb_status,
            scsi_status,
            data_transfer_length: len,
            ..VmScsiRequest::new_zeroed()
        }
    }

    fn with_sense(srb_status: u8, key: u8, asc: u8, ascq: u8) -> VmScsiRequest {
        let mut r = srb(srb_status, SAM_STAT_CHECK_CONDITION, 0);
        r.sense_info_length = 18;
        (r.cdb[0], r.cdb[2], r.cdb[7], r.cdb[12], r.cdb[13]) = (0x70, key, 10, asc, ascq);
        r
    }

    #[test]
    fn success_and_residual() {
        let c = classify(READ_10, false, 4096, &srb(1, 0, 512));
        assert_eq!(
            (c.host_byte, c.transferred, c.log),
            (HostByte::Ok, 512, LogLevel::None)
        );
        // The host cannot have transferred more than was asked for.
        assert_eq!(
            classify(READ_10, false, 4096, &srb(1, 0, u32::MAX)).transferred,
            4096
        );
        // A queue-frozen flag is no error.
        assert_eq!(
            classify(READ_10, false, 4096, &srb(0x41, 0, 4096)).host_byte,
            HostByte::Ok
        );
    }

    #[test]
    fn changes_are_rescanned_and_requeued() {
        for status in [0x84, 0x82, 0x86, 0xb0, 0x89, 0x8a, 0x8e, 0x92] {
            let c = classify(READ_10, false, 512, &with_sense(status, 6, 0x2a, 9));
            assert_eq!(
                (c.host_byte, c.follow_up),
                (HostByte::Requeue, FollowUp::RescanDevice)
            );
            assert_eq!(c.log, LogLevel::Warn);
            for ascq in [1, 3] {
                let c = classify(READ_10, false, 512, &with_sense(status, 6, 0x3f, ascq));
                assert_eq!(
                    (c.host_byte, c.follow_up),
                    (HostByte::Requeue, FollowUp::RescanDevice)
                );
            }
            // The issuer sees that there was a reset.
            let c = classify(READ_10, false, 512, &with_sense(status, 6, 0x29, 0));
            assert_eq!(
                (c.host_byte, c.follow_up, c.sense_len),
                (HostByte::Ok, FollowUp::RescanDevice, 18)
            );
            let c = classify(READ_10, false, 512, &with_sense(status, 6, 0x3f, 0x0e));
            assert_eq!(
                (c.host_byte, c.follow_up, c.sense_len),
                (HostByte::Ok, FollowUp::Rescan, 18)
            );
        }
    }

    #[test]
    fn other_sense_is_left_to_the_mid_layer() {
        let c = classify(READ_10, false, 512, &with_sense(0x84, 3, 0x11, 0));
        assert_eq!(
            (c.host_byte, c.scsi_status, c.sense_len),
            (HostByte::Ok, 2, 18)
        );
        assert_eq!((c.transferred, c.log), (0, LogLevel::Error));
        let mut r = with_sense(0x84, 3, 0x11, 0);
        r.sense_info_length = 255;
        assert_eq!(classify(READ_10, false, 512, &r).sense_len, 20);
    }

    #[test]
    fn errors_without_sense() {
        for status in [
            0x04, 0x02, 0x06, 0x30, 0x09, 0x0a, 0x0e, 0x12, 0x05, 0x3f, 0x00,
        ] {
            for (cmd, expected) in [
                (READ_10, HostByte::Error),
                (opcode::ATA_12, HostByte::Passthrough),
                (opcode::ATA_16, HostByte::Passthrough),
                (opcode::TEST_UNIT_READY, HostByte::Ok),
            ] {
                let c = classify(cmd, false, 512, &srb(status, 0, 512));
                assert_eq!(
                    (c.host_byte, c.follow_up, c.sense_len),
                    (expected, FollowUp::None, 0)
                );
                assert_eq!(c.transferred, if status == 0x12 { 512 } else { 0 });
            }
        }
        // Autosense announced, but no check condition: the data means nothing, and it is no success.
        let mut r = with_sense(0x84, 6, 0x2a, 9);
        r.scsi_status = 0;
        assert_eq!(classify(READ_10, false, 512, &r).host_byte, HostByte::Error);
        assert_eq!(classify(READ_10, false, 512, &r).sense_len, 0);
    }

    #[test]
    fn status_speaks_for_itself() {
        for (srb_status, scsi_status) in [
            // As OpenVMM answers the victims of PREEMPT AND ABORT.
            (0x82, 0x40),
            (0x84, 0x08),
            (0x84, 0x28),
            (0x04, 0x08),
            (0x04, 0x28),
            (0x05, 0x08),
            (0x01, 0x28),
            (0x04, 0x18),
        ] {
            for cmd in [
                READ_10,
                opcode::INQUIRY,
                opcode::ATA_16,
                opcode::TEST_UNIT_READY,
            ] {
                let c = classify(cmd, false, 512, &srb(srb_status, scsi_status, 512));
                assert_eq!(
                    (c.host_byte, c.scsi_status, c.transferred),
                    (HostByte::Ok, scsi_status, 0),
                    "SRB status {srb_status:#x}"
                );
                assert_eq!((c.log, c.follow_up), (LogLevel::Warn, FollowUp::None));
            }
        }
        // What the mid-layer takes for a kind of good, or does not know, does not make up for an SRB error.
        for scsi_status in [0x04, 0x10, 0x14, 0x22, 0x77] {
            let c = classify(READ_10, false, 512, &srb(0x04, scsi_status, 512));
            assert_eq!(c.host_byte, HostByte::Error);
        }
    }

    #[test]
    fn missing_units() {
        for cmd in [READ_10, opcode::INQUIRY, opcode::TEST_UNIT_READY] {
            let c = classify(cmd, false, 512, &srb(0x20, 0, 0));
            assert_eq!(
                (c.host_byte, c.follow_up),
                (HostByte::NoConnect, FollowUp::RemoveLun)
            );
        }
    }

    #[test]
    fn mishandled_commands_succeed() {
        for (cmd, fc, expected) in [
            (opcode::INQUIRY, false, HostByte::Ok),
            (opcode::MODE_SENSE, false, HostByte::Ok),
            (opcode::MODE_SENSE_10, false, HostByte::Ok),
            (opcode::MAINTENANCE_IN, false, HostByte::Error),
            (opcode::MAINTENANCE_IN, true, HostByte::Ok),
            (opcode::PERSISTENT_RESERVE_IN, false, HostByte::Error),
            (opcode::PERSISTENT_RESERVE_IN, true, HostByte::Ok),
        ] {
            let c = classify(cmd, fc, 96, &srb(0x04, 0, 36));
            assert_eq!(c.host_byte, expected);
            if expected == HostByte::Ok {
                assert_eq!(
                    (c.transferred, c.scsi_status, c.log),
                    (36, 0, LogLevel::None)
                );
            }
        }
    }

    proptest! {
        #[test]
        fn any_completion(
            cmd: u8,
            fc: bool,
            requested: u32,
            bytes in proptest::collection::vec(any::<u8>(), 52),
            status in prop_oneof![any::<u8>(), proptest::sample::select(&[0, 2, 0x08, 0x18, 0x28, 0x30, 0x40][..])],
        ) {
            let mut r = VmScsiRequest::read_from_bytes(&bytes).unwrap();
            r.scsi_status = status;
            let c = classify(cmd, fc, requested, &r);
            prop_assert!(c.transferred <= requested && c.sense_len <= SENSE_BUFFER_SIZE);
            // Nothing but success is a success.
            let good = c.scsi_status == 0 && c.host_byte == HostByte::Ok;
            if good && !host_mishandles(cmd, fc) && cmd != opcode::TEST_UNIT_READY {
                prop_assert_eq!(SrbStatus::of(r.srb_status), SrbStatus::SRB_STATUS_SUCCESS);
            }
            // A status that speaks for itself is passed on as it is, unless the unit is gone.
            if speaks_for_itself(r.scsi_status) && c.host_byte != HostByte::NoConnect {
                prop_assert_eq!((c.scsi_status, c.host_byte), (r.scsi_status, HostByte::Ok));
                prop_assert_eq!((c.sense_len, c.transferred), (0, 0));
            }
        }
    }
}
