// SPDX-License-Identifier: GPL-2.0

//! PCI pass-through, as Hyper-V's virtual PCI service offers it: a bus with one function. The function is a serial port,
//! a 16550, with a message-signalled interrupt; what would be hardware on Hyper-V is emulated here.
//!
//! [`protocol`] has the messages, [`function`] the hardware, [`bus`] what stands between it and the guest.

pub mod bus;
pub mod function;
pub mod protocol;
pub mod spec;
