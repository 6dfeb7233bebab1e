// SPDX-License-Identifier: GPL-2.0

//! PCI pass-through, as Hyper-V's virtual PCI service offers it: a bus with one function, which is a serial port or a
//! network card. What would be hardware on Hyper-V is emulated here. A network card can be the virtual function that
//! belongs to a synthetic one.
//!
//! [`protocol`] has the messages, [`function`] the hardware, made of [`config`] and of [`serial`] or [`vmxnet3`]; [`bus`]
//! is what stands between it and the guest.

pub mod bus;
pub mod config;
pub mod function;
pub mod protocol;
pub mod serial;
pub mod spec;
pub mod vmxnet3;
