// SPDX-License-Identifier: GPL-2.0

//! CPUs and their memory nodes.
//!
//! C header: [`include/linux/cpumask.h`](srctree/include/linux/cpumask.h)

use core::{
    iter,
    marker::PhantomData, //
};
use rlis_sys as bindings;

/// Returns one more than the highest CPU number that there can be.
pub fn count() -> u32 {
    // SAFETY: Set during boot and never changed.
    unsafe { bindings::nr_cpu_ids }
}

/// Returns the CPU that this runs on; another one the next moment, unless preemption is off.
#[inline]
pub fn current() -> u32 {
    bindings::current_cpu()
}

/// Returns the memory node of a CPU; -1 if there cannot be such a CPU.
pub fn node(cpu: u32) -> i32 {
    bindings::cpu_to_node(cpu)
}

/// The CPUs of a mask of the kernel's, each if it is in the mask when its turn comes.
///
/// # Safety
///
/// `mask` is valid for good.
unsafe fn iterate(mask: *const bindings::cpumask) -> impl Iterator<Item = u32> {
    let mut at = -1;
    iter::from_fn(move || {
        // SAFETY: As the caller promises; the number is -1, or that of a CPU.
        let cpu = unsafe { bindings::cpumask_next(at, mask) };
        at = i32::try_from(cpu).ok()?;
        (cpu < count()).then_some(cpu)
    })
}

/// Returns all CPUs that there can be.
pub fn possible() -> impl Iterator<Item = u32> {
    // SAFETY: A static of the kernel.
    unsafe { iterate(&raw const bindings::__cpu_possible_mask) }
}

/// Returns all CPUs that are present.
pub fn present() -> impl Iterator<Item = u32> {
    // SAFETY: A static of the kernel.
    unsafe { iterate(&raw const bindings::__cpu_present_mask) }
}

/// Returns all CPUs that are online.
pub fn online() -> impl Iterator<Item = u32> {
    // SAFETY: A static of the kernel.
    unsafe { iterate(&raw const bindings::__cpu_online_mask) }
}

/// Returns how many CPUs are present.
pub fn present_count() -> u32 {
    present().fold(0, |count, _| count + 1)
}

/// Returns how many CPUs are online.
pub fn online_count() -> u32 {
    online().fold(0, |count, _| count + 1)
}

/// While this exists, CPUs neither come nor go (`cpus_read_lock`).
///
/// # Invariants
///
/// The current task has the lock, which it has taken for this value.
pub struct CpusStay(PhantomData<*mut ()>);

impl CpusStay {
    /// Sleeps. Not where CPUs are kept already.
    #[must_use]
    pub fn begin() -> Self {
        // SAFETY: The destructor gives the lock back, in the same task.
        unsafe { bindings::cpus_read_lock() };
        // INVARIANT: Just taken.
        Self(PhantomData)
    }
}

impl Drop for CpusStay {
    fn drop(&mut self) {
        // SAFETY: By the invariants.
        unsafe { bindings::cpus_read_unlock() };
    }
}

#[kernel::prelude::kunit_tests(rlis_hv_cpu)]
mod tests {
    use super::*;

    #[test]
    fn masks_hold_the_cpus_that_there_are() {
        assert!(online_count() >= 1);
        assert!(online_count() <= present_count());
        assert!(present().all(|cpu| possible().any(|other| other == cpu)));
        assert!(possible().all(|cpu| cpu < count()));
        assert!(possible().any(|cpu| cpu == current()));
        assert_eq!(node(count()), -1);
    }
}
