// SPDX-License-Identifier: GPL-2.0

//! Network interfaces: what a driver needs of the network stack, safely.
//!
//! C headers: [`include/linux/netdevice.h`](srctree/include/linux/netdevice.h),
//! [`include/linux/skbuff.h`](srctree/include/linux/skbuff.h),
//! [`include/net/page_pool/helpers.h`](srctree/include/net/page_pool/helpers.h)
//!
//! # How the pieces belong together
//!
//! - [`Unregistered::new`] makes an interface for a type that implements [`Driver`]; [`Unregistered::register`] shows it
//!   to the system. The [`Registration`] takes it away again when it is dropped; [`NetDevice`] is what both refer to.
//! - The context of a call is a value: [`Rtnl`] where the RTNL is held, [`TxQueue`] where the lock of a queue is,
//!   [`PollContext`] in a NAPI poll. What needs a context asks for its value.
//! - A frame to send is a [`TxPacket`], and one received an [`RxPacket`]: owned values, in one place at any time.
//!   [`Slots`] keep the frames that the device is sending, under ids that it cannot use twice. A packet that is
//!   dropped is freed and counted: none is lost, and none is completed twice.
//! - A [`Napi`] polls. Its interrupt is masked and unmasked in one place, [`napi`].

pub mod context;
pub mod device;
pub mod free_list;
pub mod napi;
pub mod ops;
pub mod queue;
pub mod rx;
pub mod slots;
pub mod stats;
mod tests;
pub mod tx;

pub use context::Rtnl;
pub use device::{
    Features,
    InterfaceParams,
    MacAddress,
    NetDevice,
    Registration,
    Unregistered, //
};
pub use free_list::FreeList;
pub use napi::{
    EnabledNapi,
    Napi,
    NapiHandler,
    PollContext,
    Polled, //
};
pub use ops::{
    Driver,
    LinkSettings,
    RxMode, //
};
pub use queue::{
    StoppedQueue,
    TxQueue, //
};
pub use rx::RxPacket;
pub use slots::{
    InFlight,
    Reserved,
    Slots, //
};
pub use stats::{
    Counter,
    Stats, //
};
pub use tx::{
    Range,
    Sent,
    TxPacket, //
};
