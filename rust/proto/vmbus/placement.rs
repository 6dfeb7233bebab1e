// SPDX-License-Identifier: GPL-2.0

//! On which CPU a new channel gets its interrupts.
//!
//! Only performance-critical channels are spread, and only they are counted. Linux fills one NUMA node after the other
//! (`init_vp_index`); here the CPU with the fewest channels is chosen, whatever came and went before.

use core::sync::atomic::{
    AtomicU32,
    Ordering, //
};

/// How many channels each CPU serves, for up to `CPUS` CPUs.
///
/// Counts are changed and read under one lock, the one under which channels are moved; they are atomic so that a static can
/// hold them.
pub struct Counts<const CPUS: usize>([AtomicU32; CPUS]);

impl<const CPUS: usize> Default for Counts<CPUS> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const CPUS: usize> Counts<CPUS> {
    /// No channels.
    pub const fn new() -> Self {
        Self([const { AtomicU32::new(0) }; CPUS])
    }

    /// A channel has come to a CPU. One that there cannot be is not counted.
    pub fn come(&self, cpu: u32) {
        if let Some(count) = self.0.get(cpu as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A channel that has come to a CPU has left it.
    pub fn go(&self, cpu: u32) {
        if let Some(count) = self.0.get(cpu as usize) {
            // Below zero there is nothing to count; a caller that is wrong shall not fill the CPU for ever.
            let _ = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
        }
    }

    /// The channels of a CPU.
    pub fn of(&self, cpu: u32) -> u32 {
        self.0
            .get(cpu as usize)
            .map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Chooses the CPU of a new channel, which is not counted yet: one of the `candidates` that no channel of the same device
    /// uses, if there is any; among those the one with the fewest channels. Where that leaves a choice, one of the NUMA node
    /// with the fewest channels, so that nodes fill up evenly; then the lowest number.
    ///
    /// `own` are the CPUs of the device's other channels. `node` is the node of a CPU, if it has one. `scratch` has room for
    /// a number for each CPU, and `nodes` for one for each node that the candidates lie in; both are zero.
    pub fn choose(
        &self,
        candidates: impl Iterator<Item = u32>,
        own: impl Iterator<Item = u32>,
        node: impl Fn(u32) -> Option<usize>,
        scratch: &mut [u32],
        nodes: &mut [u32],
    ) -> Option<u32> {
        for cpu in own {
            if let Some(count) = scratch.get_mut(cpu as usize) {
                *count += 1;
            }
        }
        let of_node =
            |nodes: &[u32], cpu| node(cpu).and_then(|n| nodes.get(n).copied()).unwrap_or(0);
        for (cpu, count) in (0..).zip(&self.0).take(scratch.len()) {
            let count = count.load(Ordering::Relaxed);
            if count != 0 {
                if let Some(total) = node(cpu).and_then(|n| nodes.get_mut(n)) {
                    *total += count;
                }
            }
        }
        let own = |cpu: u32| scratch.get(cpu as usize).copied().unwrap_or(0);
        candidates.min_by_key(|&cpu| (own(cpu), self.of(cpu), of_node(nodes, cpu), cpu))
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    const CPUS: usize = 12;

    /// What a channel is to the placement.
    #[derive(Clone, Copy, Debug)]
    struct Channel {
        device: u8,
        cpu: u32,
    }

    /// The rule, from a look at all channels.
    fn scan(
        channels: &[Channel],
        device: u8,
        serving: &[u32],
        node: &[Option<usize>],
    ) -> Option<u32> {
        let on = |cpu: u32| channels.iter().filter(move |c| c.cpu == cpu);
        let of_node = |n: usize| {
            channels
                .iter()
                .filter(|c| node[c.cpu as usize] == Some(n))
                .count()
        };
        serving.iter().copied().min_by_key(|&cpu| {
            (
                on(cpu).filter(|c| c.device == device).count(),
                on(cpu).count(),
                node[cpu as usize].map_or(0, of_node),
                cpu,
            )
        })
    }

    #[derive(Clone, Debug)]
    enum Step {
        Place(u8),
        Move(usize, u32),
        Remove(usize),
        Serve(Vec<bool>),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            5 => (0u8..4).prop_map(Step::Place),
            2 => (any::<usize>(), 0..CPUS as u32).prop_map(|(i, cpu)| Step::Move(i, cpu)),
            2 => any::<usize>().prop_map(Step::Remove),
            1 => prop::collection::vec(any::<bool>(), CPUS).prop_map(Step::Serve),
        ]
    }

    proptest! {
        #[test]
        fn counts_place_as_a_look_at_all_channels_does(
            steps in prop::collection::vec(step(), 0..120),
            node in prop::collection::vec(prop::option::weighted(0.9, 0usize..4), CPUS),
        ) {
            let counts = Counts::<CPUS>::new();
            let mut channels: Vec<Channel> = Vec::new();
            let mut serving: Vec<u32> = (0..CPUS as u32).collect();
            for step in steps {
                match step {
                    Step::Place(device) => {
                        let expected = scan(&channels, device, &serving, &node);
                        let own = channels.iter().filter(|c| c.device == device).map(|c| c.cpu);
                        let chosen = counts.choose(
                            serving.iter().copied(),
                            own,
                            |cpu| node[cpu as usize],
                            &mut [0; CPUS],
                            &mut [0; 4],
                        );
                        prop_assert_eq!(chosen, expected);
                        if let Some(cpu) = chosen {
                            counts.come(cpu);
                            channels.push(Channel { device, cpu });
                        }
                    }
                    Step::Move(i, to) if !channels.is_empty() => {
                        let i = i % channels.len();
                        counts.go(channels[i].cpu);
                        counts.come(to);
                        channels[i].cpu = to;
                    }
                    Step::Remove(i) if !channels.is_empty() => {
                        let gone = channels.swap_remove(i % channels.len());
                        counts.go(gone.cpu);
                    }
                    Step::Serve(mask) => {
                        serving = (0..CPUS as u32).filter(|&c| mask[c as usize]).collect();
                    }
                    Step::Move(..) | Step::Remove(_) => {}
                }
                for cpu in 0..CPUS as u32 {
                    let there = channels.iter().filter(|c| c.cpu == cpu).count();
                    prop_assert_eq!(counts.of(cpu) as usize, there);
                }
            }
        }
    }

    #[test]
    fn a_cpu_that_there_is_not_is_not_counted() {
        let counts = Counts::<2>::new();
        counts.come(7);
        counts.go(7);
        counts.go(1);
        assert_eq!((counts.of(7), counts.of(1)), (0, 0));
        counts.come(1);
        assert_eq!(counts.of(1), 1);
    }
}
