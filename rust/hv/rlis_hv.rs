// SPDX-License-Identifier: GPL-2.0

//! The kernel layer: safe abstractions that the kernel crate lacks and that need no other subsystem.

pub mod answer;
pub mod chardev;
pub mod completion;
pub mod cpu;
pub mod cpu_threads;
pub mod hyperv;
pub mod kv;
pub mod list;
pub mod lock;
pub mod mapped_ring;
pub mod once_arc;
pub mod ordered;
pub mod outbound;
pub mod page;
pub mod param;
pub mod per_cpu;
pub mod power;
pub mod ratelimit;
pub mod rcu_arc;
pub mod read_side;
pub mod reciprocal;
pub mod ref_work;
pub mod scope;
pub mod screen;
pub mod shared;
pub mod single;
pub mod sysfs;
pub mod table;
pub mod tasklet;
pub mod time;
pub mod timer;
pub mod tracepoint;
pub mod view;
pub mod work;

pub use answer::AnswerSlot;
pub use completion::Completion;
pub use kv::KvSlice;
pub use mapped_ring::MappedRing;
pub use once_arc::OnceArc;
pub use ratelimit::RateLimit;
pub use rcu_arc::{
    GracePeriod,
    RcuArc,
    Replaced, //
};
pub use read_side::ReadSide;
pub use ref_work::RefWork;
pub use scope::{
    NoIo,
    NoSoftirq, //
};
pub use shared::SharedMemory;
pub use single::{
    load_once,
    Single, //
};
pub use tasklet::Tasklet;
pub use timer::Timer;
pub use view::{
    Field,
    Hook, //
};
