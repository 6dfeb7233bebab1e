// SPDX-License-Identifier: GPL-2.0

//! Memory that leaves the kernel and comes back, memory that is added, memory that is free, and how much of it there is.
//!
//! C headers: [`include/linux/mm.h`](srctree/include/linux/mm.h),
//! [`include/linux/gfp.h`](srctree/include/linux/gfp.h)

mod balloon;
mod current;
mod debug_file;
mod hot_plug;
mod info;
mod reporting;
mod trace;

pub use balloon::{
    Balloon,
    BlockSize, //
};
pub use current::{
    current,
    Attached, //
};
pub use debug_file::{
    DebugFile,
    Show,
    Text, //
};
pub use hot_plug::HotPlug;
pub use info::{
    available_pages,
    committed_pages,
    pause,
    total_pages, //
};
pub use reporting::{
    report_large_only,
    reporting_order,
    takes_cold_discard_hints,
    FreeHint,
    FreePages,
    FreeRange,
    Reported,
    Reporting, //
};
pub use trace::trace_status;

const _: () = assert!(
    kernel::page::PAGE_SIZE == 4096,
    "the host counts pages of 4 KiB, and takes each of them alone"
);
