// SPDX-License-Identifier: GPL-2.0

//! The kernel layer: safe abstractions that the kernel crate lacks and that need no other subsystem.

pub mod answer;
pub mod chardev;
pub mod completion;
pub mod param;
pub mod power;
pub mod ratelimit;
pub mod rcu_arc;
pub mod scope;
pub mod shared;
pub mod time;
pub mod work;

pub use answer::AnswerSlot;
pub use completion::Completion;
pub use ratelimit::RateLimit;
pub use rcu_arc::{
    RcuArc,
    Replaced, //
};
pub use scope::{
    NoIo,
    NoSoftirq, //
};
pub use shared::SharedMemory;
