// SPDX-License-Identifier: GPL-2.0

//! The Hyper-V interface below VMBus: CPUID leaves, the synthetic interrupt controller, and hypercalls.
//! KVM emulates the registers; what KVM leaves to its user is here.

pub mod cpuid;
pub mod extended;
pub mod hypercall;
pub mod hypercall_page;
pub mod remap;
pub mod synic;
