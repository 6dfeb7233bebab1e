// SPDX-License-Identifier: GPL-2.0

//! SCSI hosts: what a low-level driver needs of the SCSI mid-layer, safely.
//!
//! C headers: [`include/scsi/scsi_host.h`](srctree/include/scsi/scsi_host.h),
//! [`include/scsi/scsi_cmnd.h`](srctree/include/scsi/scsi_cmnd.h),
//! [`include/scsi/scsi_transport_fc.h`](srctree/include/scsi/scsi_transport_fc.h)
//!
//! # How a command lives
//!
//! The mid-layer gives a [`Command`] to [`HostOps::queue`]. It is an owned value, so it is somewhere at any time:
//! it is completed by [`Command::complete`], given back to be tried again by [`Command::busy`], or put into the
//! [`Tags`] while the device works on it. Whoever gets it out of there again, and only one can, completes it. A
//! command that is dropped nevertheless is completed with an error: none is ever lost.

pub mod command;
pub mod device;
#[cfg(CONFIG_SCSI_FC_ATTRS)]
pub mod fc;
pub mod host;
pub mod scratch;
pub mod tags;

#[cfg(CONFIG_SCSI_FC_ATTRS)]
pub use fc::Transport;

/// The Fibre Channel transport, which this kernel does not have: nobody can make a value of this type.
#[cfg(not(CONFIG_SCSI_FC_ATTRS))]
pub enum Transport {}

#[cfg(not(CONFIG_SCSI_FC_ATTRS))]
impl Transport {
    pub(crate) fn as_raw(&self) -> *mut rlis_sys::scsi_transport_template {
        match *self {}
    }
}

/// The Fibre Channel transport class, which this kernel does not have.
#[cfg(not(CONFIG_SCSI_FC_ATTRS))]
pub mod fc {
    /// The module's use of the transport: none.
    pub struct Attached(());

    impl Attached {
        /// Does nothing.
        ///
        /// # Errors
        ///
        /// None.
        pub fn new() -> kernel::error::Result<Self> {
            Ok(Self(()))
        }
    }

    /// Returns nothing.
    pub fn current() -> Option<kernel::sync::Arc<super::Transport>> {
        None
    }
}

pub use command::{
    Command,
    Direction,
    HostByte,
    InFlight,
    Outcome,
    Pages,
    Queued, //
};
pub use device::{
    DeviceRef,
    DeviceSetup, //
};
pub use host::{
    Devices,
    Host,
    HostOps,
    HostParams,
    HostRef,
    TimeoutAction, //
};
pub use scratch::Scratch;
pub use tags::{
    Outstanding,
    Tags, //
};

/// What the C API's bios_param function gets besides the device.
#[cfg(RLIS_HAVE_BIOS_PARAM_GENDISK)]
pub(crate) type BiosDisk = rlis_sys::gendisk;
/// What the C API's bios_param function gets besides the device.
#[cfg(not(RLIS_HAVE_BIOS_PARAM_GENDISK))]
pub(crate) type BiosDisk = rlis_sys::block_device;
