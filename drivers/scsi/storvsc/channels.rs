// SPDX-License-Identifier: GPL-2.0

//! Which CPU sends through which channel.

use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        rcu,
        Arc,
        Mutex, //
    }, //
};
use rlis_hv::RcuArc;
use rlis_scsi::topology;
use rlis_vmbus::{
    Channel,
    PinnedChannel, //
};

/// An open channel.
struct Open {
    channel: Arc<Channel>,
    place: Place,
}

/// Where a channel's interrupts go.
#[derive(Clone, Copy)]
struct Place {
    cpu: u32,
    node: i32,
}

/// The open channels, and for each CPU the one that it sends through.
///
/// Sending looks at one slot of its own CPU, without a lock. Slots change when channels are opened, moved and closed.
#[pin_data]
pub(crate) struct Channels {
    slots: KVec<RcuArc<Channel>>,
    #[pin]
    open: Mutex<KVec<Open>>,
}

/// Chooses the channel for a CPU: one that interrupts it; otherwise, the CPUs of a memory node take turns with the
/// channels of that node; otherwise with all. `None` if there are no channels.
fn choose(cpu: u32, node: i32, places: &[Place]) -> Option<usize> {
    if let Some(own) = places.iter().position(|place| place.cpu == cpu) {
        return Some(own);
    }
    let near = |place: &Place| place.node == node;
    let count = places.iter().filter(|place| near(place)).count();
    let cpu = usize::try_from(cpu).ok()?;
    match cpu.checked_rem(count) {
        Some(turn) => {
            let mut candidates = places.iter().enumerate().filter(|(_, place)| near(place));
            candidates.nth(turn).map(|(index, _)| index)
        }
        None => cpu.checked_rem(places.len()),
    }
}

impl Channels {
    /// Makes an empty map.
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            slots: {
                let mut slots = KVec::new();
                for _ in 0..topology::cpu_ids() {
                    slots.push(RcuArc::new(), GFP_KERNEL)?;
                }
                slots
            },
            open <- new_mutex!(KVec::new()),
        })
    }

    /// Adds a channel that was opened. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, and `ENODEV` if the channel is closed again.
    pub(crate) fn add(&self, channel: &Arc<Channel>) -> Result {
        let cpu = channel.target_cpu()?;
        let mut open = self.open.lock();
        open.push(
            Open {
                channel: channel.clone(),
                place: Place {
                    cpu,
                    node: topology::node_of(cpu),
                },
            },
            GFP_KERNEL,
        )?;
        self.assign(&open)
    }

    /// Notes that a channel's interrupts go to another CPU now. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn moved(&self, channel: &Channel, cpu: u32) -> Result {
        let mut open = self.open.lock();
        for other in open.iter_mut() {
            if other.channel.relid() == channel.relid() {
                other.place = Place {
                    cpu,
                    node: topology::node_of(cpu),
                };
            }
        }
        self.assign(&open)
    }

    /// Forgets all channels, before they are closed. Sleeps.
    pub(crate) fn clear(&self) {
        self.open.lock().clear();
        for slot in &self.slots {
            drop(slot.replace(None));
        }
    }

    fn assign(&self, open: &[Open]) -> Result {
        let mut places = KVec::new();
        for channel in open {
            places.push(channel.place, GFP_KERNEL)?;
        }
        // So that all that is replaced waits for one grace period together at the end, and not one by one.
        let mut replaced = KVec::with_capacity(self.slots.len(), GFP_KERNEL)?;
        for (cpu, slot) in (0..).zip(&self.slots) {
            let channel = choose(cpu, topology::node_of(cpu), &places)
                .and_then(|index| open.get(index))
                .map(|open| open.channel.clone());
            let same = {
                let guard = rcu::read_lock();
                let now = slot.get(&guard).map(|channel| channel.relid());
                now == channel.as_ref().map(|channel| channel.relid())
            };
            if !same {
                replaced.push(slot.replace(channel), GFP_KERNEL)?;
            }
        }
        Ok(())
    }

    /// Has each channel's ring looked at as if the host had signalled. Returns whether the host has ruined one: what it
    /// has completed there cannot be read. Any context.
    pub(crate) fn look_again(&self) -> bool {
        let guard = rcu::read_lock();
        let mut ruined = false;
        for channel in self.slots.iter().filter_map(|slot| slot.get(&guard)) {
            // Several CPUs may share a channel: it is looked at once all the same.
            let _ = channel.schedule();
            ruined |= channel.is_readable() == Ok(false);
        }
        ruined
    }

    /// Returns the channel that was opened first: the one for requests of the driver itself.
    pub(crate) fn primary(&self) -> Option<Arc<Channel>> {
        self.open.lock().first().map(|open| open.channel.clone())
    }

    /// Returns the channel for a CPU to send through: its own, unless no more than `lowater` per cent of that one's
    /// ring are free and another has more room, on the same memory node or else anywhere.
    #[inline]
    pub(crate) fn pick<'a>(
        &'a self,
        cpu: u32,
        lowater: u32,
        guard: &'a rcu::Guard,
    ) -> Option<PinnedChannel<'a>> {
        let own = self.slots.get(usize::try_from(cpu).ok()?)?;
        let own = own.get(guard)?.pin(guard)?;
        if own.percent_to_write() > lowater {
            return Some(own);
        }
        Some(self.another(cpu, lowater, guard).unwrap_or(own))
    }

    #[cold]
    fn another<'a>(
        &'a self,
        cpu: u32,
        lowater: u32,
        guard: &'a rcu::Guard,
    ) -> Option<PinnedChannel<'a>> {
        let node = topology::node_of(cpu);
        let cpus = topology::cpu_ids();
        // From the next CPU on and around, so that not all turn to the same one.
        let others = move || Iterator::chain(cpu.saturating_add(1)..cpus, 0..cpu);
        let with_room = |cpu: u32| {
            let slot = self.slots.get(usize::try_from(cpu).ok()?)?;
            let channel = slot.get(guard)?.pin(guard)?;
            (channel.percent_to_write() > lowater).then_some(channel)
        };
        others()
            .filter(|other| topology::node_of(*other) == node)
            .find_map(with_room)
            .or_else(|| others().find_map(with_room))
    }
}

#[kunit_tests(hv_storvsc_channels)]
mod tests {
    use super::*;

    fn place(cpu: u32, node: i32) -> Place {
        Place { cpu, node }
    }

    #[test]
    fn none() {
        assert_eq!(choose(0, 0, &[]), None);
    }

    #[test]
    fn own_channel_first() {
        let places = [place(0, 0), place(2, 0), place(3, 1)];
        assert_eq!(choose(2, 0, &places), Some(1));
        assert_eq!(choose(3, 1, &places), Some(2));
    }

    #[test]
    fn nodes_share_their_channels() {
        let places = [place(0, 0), place(1, 0), place(4, 1)];
        assert_eq!(choose(2, 0, &places), Some(0));
        assert_eq!(choose(3, 0, &places), Some(1));
        for cpu in 5..8 {
            assert_eq!(choose(cpu, 1, &places), Some(2));
        }
        // No channel on the node: all of them.
        assert_eq!(choose(8, 2, &places), Some(2));
        assert_eq!(choose(9, 2, &places), Some(0));
    }
}
