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
//! - With a program of XDP, a frame received becomes a [`Verdict`] instead; [`XdpFrame`]s are sent as they lie.
//! - A [`Lower`] interface, of another driver, can be put below one of ours; a [`Watch`] tells when one comes and goes.
//! - A [`Napi`] polls. Its interrupt is masked and unmasked in one place, [`napi`].

pub mod context;
pub mod device;
pub mod features;
pub mod frames;
pub mod free_list;
pub mod lower;
mod lower_tests;
pub mod napi;
pub mod ops;
pub mod owned;
pub mod poll;
pub mod program;
pub mod queue;
pub mod register;
pub mod rx;
pub mod slots;
pub mod stats;
mod stats_tests;
mod tests;
pub mod tx;
pub mod xdp;
mod xdp_tests;

pub use context::Rtnl;
pub use device::{
    MacAddress,
    Name,
    NetDevice, //
};
pub use features::Features;
pub use frames::{
    Frames,
    XdpFrame, //
};
pub use free_list::FreeList;
pub use lower::{
    find_in_first_namespace,
    Function,
    Lower,
    LowerEvent,
    LowerStats,
    Watch,
    Watcher, //
};
pub use napi::{
    EnabledNapi,
    Napi,
    NapiHandler,
    Polled, //
};
pub use ops::{
    Driver,
    Duplex,
    HashPorts,
    LinkSettings,
    QueueStatistics,
    Registers,
    Rings,
    RxMode,
    TableChange, //
};
pub use owned::{
    OwnedGuard,
    QueueOwned, //
};
pub use poll::PollContext;
pub use program::Program;
pub use queue::{
    Completed,
    StoppedQueue,
    TxQueue, //
};
pub use register::{
    InterfaceParams,
    Registration,
    Unregistered, //
};
pub use rx::{
    RxPacket,
    RxPieces, //
};
pub use slots::{
    InFlight,
    Launch,
    Load,
    Reserved,
    Slots, //
};
pub use stats::{
    Counter,
    RxQueueStats,
    Stats,
    TxQueueStats, //
};
pub use tx::{
    Described,
    HeldPacket,
    Protocol,
    Range,
    Sent,
    Transport,
    TxInfo,
    TxPacket, //
};
pub use xdp::{
    Verdict,
    XDP_ROOM, //
};

/// Bytes of the key of receive-side scaling.
pub const HASH_KEY_SIZE: usize = 40;

/// Returns the key of receive-side scaling that all cards of this machine have by default.
pub fn hash_key() -> [u8; HASH_KEY_SIZE] {
    let mut key = [0; HASH_KEY_SIZE];
    // SAFETY: The key has so many bytes.
    unsafe { rlis_sys_net::netdev_rss_key_fill(key.as_mut_ptr().cast(), HASH_KEY_SIZE) };
    key
}
