// SPDX-License-Identifier: GPL-2.0

//! Wire formats, validation, ring-buffer algebra and state machines of VMBus and its devices.
//!
//! The crate does no I/O, allocates nothing that it is not handed and contains no `unsafe`. Kbuild compiles
//! it into every module; cargo compiles the same files for host tests and for the test host, which plays the
//! other side of every protocol here.
//!
//! Everything is little-endian, as VMBus is: the crate refuses to build for a big-endian target instead of
//! wrapping each field. Structs are `#[repr(C, packed)]` where the C header packs them, keep the C field
//! names, and have their size and offsets asserted in [`layout`].
//!
//! One module per protocol: [`vmbus`], [`ring`], [`ic`], [`storvsc`], [`balloon`], and for network cards [`nvsp`] and
//! [`rndis`].

#![cfg_attr(not(MODULE), no_std)]
#![forbid(unsafe_code)]

#[cfg(target_endian = "big")]
compile_error!("VMBus structures are little-endian and this crate uses native integers");

#[macro_use]
mod open_enum;
#[macro_use]
mod wire_struct;

pub mod balloon;
pub mod error;
pub mod guid;
pub mod ic;
pub mod layout;
pub mod nvsp;
pub mod ring;
pub mod rndis;
pub mod storvsc;
pub mod vmbus;

pub use error::ProtoError;
pub use guid::Guid;
