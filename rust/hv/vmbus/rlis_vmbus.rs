// SPDX-License-Identifier: GPL-2.0

//! The driver's side of VMBus: safe access to the C API of `<linux/hyperv.h>`.
//!
//! C header: [`include/linux/hyperv.h`](srctree/include/linux/hyperv.h)
//!
//! Whether the bus behind that API is the kernel's or ours makes no difference here.
//!
//! # How the pieces belong together
//!
//! - A driver implements [`Driver`], declares the device classes that it serves with
//!   [`vmbus_device_table!`], and keeps a [`Registration`]. The bus then calls [`Driver::probe`] with a
//!   [`Device<Bound>`](Device), and the value that `probe` returns belongs to the device until
//!   [`Driver::remove`].
//! - [`OpenChannel::open`] opens a device's channel. The [`OpenChannel`] owns the open state: dropping it
//!   closes the channel and its sub-channels. Until that has returned, the bus may call the
//!   [`ChannelHandler`]; afterwards it cannot.
//! - [`Channel`] is what is sent through. References to it may be kept anywhere: before the channel is open and once
//!   it is closed, they answer `ENODEV` and never reach the memory of the bus.
//! - A [`Lease`] allows the driver to open the channel again outside of probe, until the device is given up.
//! - [`OpenChannel::grant`] gives memory to the host for longer than a request; the [`GrantedMemory`] keeps it.
//! - [`Reader`] takes packets out of the inbound ring, [`MpbDescriptor`] describes data pages.
//!
//! # Limits set by the C API
//!
//! The bus offers no way to wait for a call of the sub-channel, rescind or target-CPU callbacks that it has
//! started but that has not yet reached our code. What they would call is looked up in a registry, so a late
//! one finds nothing; only the first instructions of the callback itself rely on the module's text being
//! there, as they do in every C driver.

use kernel::prelude::*;

pub mod channel;
pub mod device;
pub mod driver;
mod lease;
mod once;
mod registry;

pub use channel::{
    CallbackMode,
    Channel,
    ChannelHandler,
    Closed,
    Contiguous,
    GrantedMemory,
    MpbBuilder,
    MpbDescriptor,
    OpenChannel,
    OpenParams,
    Packet,
    PacketType,
    PageRange,
    PinnedChannel,
    Reader,
    RequestIds,
    SubChannelOffer,
    Tell, //
};
pub use device::{
    Bound,
    Device,
    Normal, //
};
pub use driver::{
    DeviceTable,
    Driver,
    ProbeType,
    Registration,
    TableRef, //
};
pub use lease::Lease;
pub use rlis_proto::{
    guid::class,
    ring::{
        MaxPacket,
        RingSize, //
    },
    Guid, //
};

/// Returns the protocol version that the bus negotiated, major in the upper 16 bits, minor in the lower.
///
/// # Errors
///
/// `ENODEV` if there is no connection.
pub fn proto_version() -> Result<u32> {
    // SAFETY: A plain read of an integer that the bus sets before drivers can be registered with it.
    let version = unsafe { rlis_sys::vmbus_proto_version };
    if version == 0 {
        Err(ENODEV)
    } else {
        Ok(version)
    }
}
