// SPDX-License-Identifier: GPL-2.0

//! The bus's side of VMBus: everything that needs `unsafe` and that only `hv_vmbus` needs.
//!
//! The API of `<linux/hyperv.h>` is in [`exports`]; what is behind it follows the C driver's division:
//!
//! - [`synic`], [`hypercall`], [`interrupt`]: the hypervisor's interrupt controller, messages and events;
//! - [`connection`], [`request`], [`control`]: the connection to the host, requests that it answers, messages
//!   that it sends of its own accord;
//! - [`channel`], [`gpadl`], [`open`], [`ring`], [`requestor`], [`retarget`]: channels and their rings;
//! - [`device`], [`driver`], [`device_class`], [`sysfs`], [`mmio`]: the Linux device model around them;
//! - [`cpu`], [`power`]: CPU hotplug, suspend, shutdown and crash.
//!
//! What is policy (which version, which offers, which CPU) is decided by the module, which hands a [`Policy`]
//! to [`start`].
//!
//! # Objects
//!
//! A [`channel::Channel`] is a C `struct vmbus_channel` that drivers see, with a reference count of its own
//! (its kobject's). It comes into being with an offer, is found through its relid, and is removed exactly
//! once: when its device is released, when its sub-channel was rescinded and closed, or when it never became
//! a device. Only then its relid is given back to the host, which may use it for another offer.
//!
//! # Order of offers and rescinds
//!
//! One work item handles both in the order in which the host sent them and never waits for the host or for a
//! driver. What may wait (probing a device, removing it) is a work item of the channel: a rescind wakes
//! everyone who waits for an answer about the channel, then queues the removal, which starts by waiting for
//! the end of the addition.

// C code is the only caller of the `extern "C"` functions here. What they rely on stands where they use it.
#![allow(clippy::missing_safety_doc)]

const __LOG_PREFIX: &[u8] = b"hv_vmbus\0";

pub mod channel;
pub mod connection;
pub mod cpu;
pub mod device;
pub mod device_class;
pub mod driver;
mod exports;
pub mod gpadl;
pub mod hotplug;
pub mod hypercall;
pub mod inbox;
pub mod interrupt;
mod list;
pub mod lock;
pub mod machine;
pub mod mmio;
mod ops;
pub mod power;
pub mod queues;
pub mod ratelimit;
pub mod request;
pub mod requestor;
pub mod ring;
pub mod root;
mod signal;
pub mod synic;
mod sysfs;
pub mod wait;

use self::ops::ops;
pub use self::ops::{
    set_ops,
    BusOps, //
};

/// How long the host may take to answer a request, in milliseconds.
///
/// Hosts answer within milliseconds; a guest that is paused or migrated does not see the time pass. Below the
/// kernel's hung-task limit, so that a silent host ends in an error and not in a warning.
pub const HOST_RESPONSE_TIMEOUT_MS: u32 = 30_000;

/// How long the host may take to open a channel or to take or give back a GPADL, in milliseconds.
///
/// While a host is updated, its side of storage and network may stand still for tens of seconds. A device given up then
/// would be lost until somebody binds it again; memory that is not given back is lost for good.
pub const CHANNEL_TIMEOUT_MS: u32 = 120_000;

/// How long the host may take to end the channel of a disk controller, in milliseconds. It does so when it is through with
/// all commands, which takes as long as its storage stalls; and a driver whose channel does not end has lost its disks.
pub const STORAGE_CLOSE_TIMEOUT_MS: u32 = 600_000;

/// How long the host may take to end the connection, in milliseconds. A host writes its disk caches back
/// first, which takes long.
pub const UNLOAD_TIMEOUT_MS: u32 = 100_000;
