// SPDX-License-Identifier: GPL-2.0

//! How much memory there is.

/// Returns how many pages the kernel manages, without what is with the host. Any context.
pub fn total_pages() -> u64 {
    rlis_sys::mem_total_pages() as u64
}

/// Returns how many pages could be had without swapping, as the kernel reckons: below zero if memory is short. Any
/// context.
pub fn available_pages() -> i64 {
    rlis_sys::mem_available_pages() as i64
}

/// Returns how many pages are promised to programs. Any context.
pub fn committed_pages() -> u64 {
    rlis_sys::mem_committed_pages() as u64
}

/// Lets other tasks run, if one waits for the CPU. May sleep.
pub fn pause() {
    rlis_sys::mem_pause();
}
