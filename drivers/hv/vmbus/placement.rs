// SPDX-License-Identifier: GPL-2.0

//! On which CPU a performance-critical channel gets its interrupts.

use rlis_bus::Candidate;

/// Chooses a CPU: one that no channel of the same device uses, if there is any; among those the one with the
/// fewest channels. Where that leaves a choice, the NUMA node with the fewest channels, so that nodes fill up
/// evenly.
pub(crate) fn place(candidates: &mut dyn Iterator<Item = Candidate>) -> Option<u32> {
    candidates
        .min_by_key(|c| (c.own, c.users, c.node_users, c.cpu))
        .map(|c| c.cpu)
}
