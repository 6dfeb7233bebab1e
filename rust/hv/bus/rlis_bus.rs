// SPDX-License-Identifier: GPL-2.0

//! The bus's side of VMBus: the mechanisms that need `unsafe` and that only `hv_vmbus` needs. What is decided is decided by
//! the module, which implements [`BusOps`].
//!
//! The API of `<linux/hyperv.h>` is in [`exports`]; what is behind it:
//!
//! - [`machine`], [`cpu`], [`hypercall`], [`synic`], [`interrupt`], [`signal`]: the hypervisor's interrupt controller,
//!   messages and events;
//! - [`connection`], [`request`], [`inbox`], [`queues`]: what the connection consists of, requests that the host answers,
//!   messages that it sends of its own accord, and where they are worked on;
//! - [`channel`], [`gpadl`], [`ring`], [`requestor`]: channels, their rings, and memory that the host may use;
//! - [`bus_type`], [`device`], [`driver`], [`device_class`], [`sysfs`], [`mmio`], [`root`]: the Linux device model around them;
//! - [`trace`]: the tracepoints;
//!   [`table`]: the tables of callbacks that it is given;
//! - [`hotplug`], [`power`]: CPUs that come and go, suspend, shutdown and crash.
//!
//! # Objects
//!
//! A [`channel::Channel`] is a C `struct vmbus_channel` that drivers see, with a reference count of its own
//! (its kobject's). It comes into being with an offer, is found through its relid, and is removed exactly
//! once: when its device is released, when its sub-channel was rescinded and closed, or when it never became
//! a device. Where it is in its life says [`channel::Channel::life`], and only [`channel::Channel::on`] changes that.

// C code is the only caller of the `extern "C"` functions here. What they rely on stands where they use it.
#![allow(clippy::missing_safety_doc)]

const __LOG_PREFIX: &[u8] = b"hv_vmbus\0";

mod active;
pub mod bus_type;
pub mod channel;
pub mod connection;
pub mod cpu;
pub mod device;
pub mod device_class;
pub mod driver;
pub mod exports;
pub mod gpadl;
pub mod hotplug;
pub mod hypercall;
pub mod inbox;
pub mod interrupt;
pub mod lock;
pub mod machine;
pub mod mmio;
mod ops;
mod parts;
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
pub mod trace;
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
