// SPDX-License-Identifier: GPL-2.0

//! Volume snapshots: the host asks the guest to freeze and thaw its file systems (struct hv_vss_msg).

use std::time::Duration;

use anyhow::{ensure, Context, Result};
use clap::ValueEnum;
use rlis_proto::guid::class::HV_VSS_GUID;
use rlis_proto::ic::MessageType;

use super::{Component, Kind, Version};

/// The VSS component.
pub const KIND: Kind = Kind {
    name: "vss",
    class: HV_VSS_GUID,
    instance: super::instance("2450ee40-33bf-4fbd-892e-9fb06e9214cf"),
    on_the_ring: false,
    type_: MessageType::ICMSGTYPE_VSS,
    versions: &[Version::new(3, 0), Version::new(4, 0), Version::new(5, 0)],
};

/// What the guest is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Operation {
    /// Whether a backup with the guest running is possible (VSS_OP_HOT_BACKUP).
    HotBackup = 2,
    /// Dynamic disks (VSS_OP_GET_DM_INFO).
    DmInfo = 3,
    /// Freeze all file systems (VSS_OP_FREEZE).
    Freeze = 5,
    /// Thaw them (VSS_OP_THAW).
    Thaw = 6,
}

/// Size of a FREEZE message: Hyper-V appends LUN information that Linux does not use.
const FREEZE_SIZE: usize = 6260 - 28;

/// Sends `operation`; freezing may take the guest up to 15 minutes. Returns the flags of the reply.
pub fn request(component: &Component, operation: Operation) -> Result<u32> {
    let mut body = vec![
        0;
        if operation == Operation::Freeze {
            FREEZE_SIZE
        } else {
            12
        }
    ];
    body[0] = operation as u8;
    let limit = if operation == Operation::Freeze {
        16 * 60
    } else {
        60
    };
    let reply = component.request(&body, Duration::from_secs(limit))?;
    ensure!(
        reply.status == 0,
        "the guest answered with status {:#x}",
        reply.status
    );
    let flags = reply
        .body
        .get(8..12)
        .and_then(|b| b.try_into().ok())
        .map(u32::from_le_bytes);
    flags.context("the guest's reply is too short")
}
