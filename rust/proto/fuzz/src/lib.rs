// SPDX-License-Identifier: GPL-2.0

//! What the fuzz targets do with the bytes that they get. Each module has a `fuzz` function for one target;
//! [`seeds`] has inputs from which the fuzzer starts.
//!
//! A target looks for more than panics: it checks what each function promises about its result.

pub mod balloon;
pub mod chardev;
pub mod fcopy;
pub mod ic;
pub mod input;
pub mod kvp;
pub mod nvsp;
pub mod ring;
pub mod rndis;
pub mod seeds;
pub mod storvsc;
pub mod text;
pub mod vmbus;
pub mod vss;
