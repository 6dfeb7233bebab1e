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
use rlis_hv::{
    RcuArc,
    Replaced, //
};
use rlis_scsi::topology;
use rlis_vmbus::{
    Channel,
    PinnedChannel, //
};

/// Maps that readers may still use, at most; with more, a change of the map waits for a grace period.
const RETIRED: usize = 16;

/// An open channel.
#[derive(Clone)]
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

/// Which CPU sends through which channel. It does not change: another one takes its place.
struct Map {
    /// All channels.
    open: KVec<Open>,
    /// For each CPU number, the channel of that CPU.
    of_cpu: KVec<Arc<Channel>>,
}

/// The open channels, and for each CPU the one that it sends through.
///
/// Sending looks at the map without a lock. The map changes when channels are opened, moved and closed: all CPUs at
/// once, without waiting for those who send.
#[pin_data]
pub(crate) struct Channels {
    map: RcuArc<Map>,
    #[pin]
    changes: Mutex<Changes>,
}

/// What who changes the map looks at.
struct Changes {
    open: KVec<Open>,
    /// Former maps, until nobody reads them.
    retired: KVec<Replaced<Map>>,
}

impl Place {
    fn on(cpu: u32) -> Self {
        Self {
            cpu,
            node: topology::node_of(cpu),
        }
    }
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
            map: RcuArc::new(),
            changes <- new_mutex!(Changes {
                open: KVec::new(),
                retired: KVec::new(),
            }),
        })
    }

    /// Adds a channel that was opened. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, and `ENODEV` if the channel is closed again. The channel is not used then.
    pub(crate) fn add(&self, channel: &Arc<Channel>) -> Result {
        let mut changes = self.changes.lock();
        // With the lock held: `moved` for this channel comes before, or finds it.
        let place = Place::on(channel.target_cpu()?);
        let channel = channel.clone();
        changes.open.push(Open { channel, place }, GFP_KERNEL)?;
        let assigned = self.assign(&mut changes);
        if assigned.is_err() {
            changes.open.pop();
        }
        assigned
    }

    /// Notes that a channel's interrupts go to another CPU now. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn moved(&self, channel: &Channel, cpu: u32) -> Result {
        let mut changes = self.changes.lock();
        let mut known = false;
        for other in changes.open.iter_mut() {
            if other.channel.relid() == channel.relid() {
                other.place = Place::on(cpu);
                known = true;
            }
        }
        if !known {
            // It is not in use yet, and its CPU is looked at when it is.
            return Ok(());
        }
        self.assign(&mut changes)
    }

    /// Forgets the sub-channels that the host has withdrawn while it left the others: their CPUs send through those.
    /// Returns how many there were. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn forget_withdrawn(&self) -> Result<usize> {
        let mut changes = self.changes.lock();
        let before = changes.open.len();
        let keeps =
            |open: &mut Open| open.channel.sub_channel_index() == 0 || !open.channel.is_rescinded();
        changes.open.retain(keeps);
        let forgotten = before - changes.open.len();
        if forgotten != 0 {
            self.assign(&mut changes)?;
        }
        Ok(forgotten)
    }

    /// Forgets all channels, before they are closed. Sleeps.
    pub(crate) fn clear(&self) {
        let mut changes = self.changes.lock();
        changes.open.clear();
        // First, so that the wait for it covers the others.
        drop(self.map.replace(None));
        changes.retired.clear();
    }

    fn assign(&self, changes: &mut Changes) -> Result {
        let mut places = KVec::with_capacity(changes.open.len(), GFP_KERNEL)?;
        let mut open = KVec::with_capacity(changes.open.len(), GFP_KERNEL)?;
        for channel in &changes.open {
            places.push(channel.place, GFP_KERNEL)?;
            open.push(channel.clone(), GFP_KERNEL)?;
        }
        let cpus = topology::cpu_ids();
        let mut of_cpu = KVec::with_capacity(usize::try_from(cpus)?, GFP_KERNEL)?;
        for cpu in 0..cpus {
            let index = choose(cpu, topology::node_of(cpu), &places);
            let open = index.and_then(|index| open.get(index)).ok_or(ENODEV)?;
            of_cpu.push(open.channel.clone(), GFP_KERNEL)?;
        }
        let map = Arc::new(Map { open, of_cpu }, GFP_KERNEL)?;
        changes.retired.retain(|map| !map.is_unused());
        if changes.retired.len() >= RETIRED {
            // Whoever changes the map so often has the time.
            changes.retired.clear();
        }
        changes.retired.reserve(1, GFP_KERNEL)?;
        changes
            .retired
            .push(self.map.replace(Some(map)), GFP_KERNEL)?;
        Ok(())
    }

    /// Has each channel's ring looked at as if the host had signalled. Returns whether the host has ruined one: what it
    /// has completed there cannot be read. Any context.
    pub(crate) fn look_again(&self) -> bool {
        let guard = rcu::read_lock();
        let mut ruined = false;
        for open in self.map.get(&guard).into_iter().flat_map(|map| &map.open) {
            let _ = open.channel.schedule();
            ruined |= open.channel.is_readable() == Ok(false);
        }
        ruined
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
        let map = self.map.get(guard)?;
        let own = map.of_cpu.get(usize::try_from(cpu).ok()?)?.pin(guard)?;
        if own.percent_to_write() > lowater {
            return Some(own);
        }
        Some(map.another(cpu, lowater, guard).unwrap_or(own))
    }
}

impl Map {
    #[cold]
    fn another<'a>(
        &'a self,
        cpu: u32,
        lowater: u32,
        guard: &'a rcu::Guard,
    ) -> Option<PinnedChannel<'a>> {
        let node = topology::node_of(cpu);
        // From another one on for each CPU, so that not all turn to the same.
        let first = usize::try_from(cpu).ok()?.checked_rem(self.open.len())?;
        let (before, after) = self.open.split_at_checked(first)?;
        let others = || Iterator::chain(after.iter(), before);
        let with_room = |open: &'a Open| {
            let channel = open.channel.pin(guard)?;
            (channel.percent_to_write() > lowater).then_some(channel)
        };
        others()
            .filter(|open| open.place.node == node)
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
