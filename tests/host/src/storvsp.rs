// SPDX-License-Identifier: GPL-2.0

//! The storage service: SCSI and Fibre Channel adapters and accelerated IDE disks, whose logical units are files or memory.

pub mod adapter;
pub mod lun;
pub mod pool;
pub mod reserve;
pub mod scsi;
pub mod sense;
pub mod spec;
pub mod store;
pub mod wire;
