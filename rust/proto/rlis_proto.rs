// SPDX-License-Identifier: GPL-2.0

//! Wire formats, validation, ring-buffer algebra and state machines of VMBus and its devices.
//!
//! The crate does no I/O, allocates nothing that it is not handed and contains no `unsafe`. Kbuild compiles
//! it into every module; cargo compiles the same files for host tests and for the test host, which plays the
//! other side of every protocol here.

#![cfg_attr(not(MODULE), no_std)]
#![forbid(unsafe_code)]
