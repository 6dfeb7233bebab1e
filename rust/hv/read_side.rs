// SPDX-License-Identifier: GPL-2.0

//! What keeps a grace period of RCU from ending.

use crate::NoSoftirq;
use kernel::sync::rcu;

/// What exists in a read-side critical section of RCU only: who has a reference to it is in one, as long as that.
///
/// Grace periods wait not only for `rcu_read_lock()` but, since Linux 4.20, also for code that runs with softirqs or interrupts
/// disabled. So where that is the case anyway, nothing need be locked for each packet.
///
/// # Safety
///
/// A value exists in a read-side critical section only, and cannot be sent or shared to another task.
pub unsafe trait ReadSide {}

// SAFETY: It is dropped at the end of the section, by the task that has entered it.
unsafe impl ReadSide for rcu::Guard {}

// SAFETY: As long as it exists, softirqs are disabled, and the task stays on its CPU; with PREEMPT_RT, where it can be preempted,
// `local_bh_disable()` enters a read-side critical section.
unsafe impl ReadSide for NoSoftirq {}
