// SPDX-License-Identifier: GPL-2.0

//! Which CPU sends through which channel.

use crate::batch::Set;
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
    cpu,
    RcuArc,
    Replaced, //
};
use rlis_vmbus::{
    Channel,
    PinnedChannel, //
};

/// The most retired maps to keep. Beyond that, a change of the map waits for a grace period.
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

/// Which CPU sends through which channel. Never modified, only replaced.
struct Map {
    /// All channels.
    open: KVec<Open>,
    /// For each CPU number, the channel of that CPU.
    of_cpu: KVec<Arc<Channel>>,
    /// How many bytes of a ring have to stay free for its CPUs not to look for another one; 0 if there is none.
    spare: u32,
}

/// The channel that a command is sent through, and where there are others.
pub(crate) struct Way<'a> {
    map: &'a Map,
    channel: PinnedChannel<'a>,
    spare: u32,
}

/// The open channels, and for each CPU the one that it sends through.
///
/// Senders read the map without a lock. It is replaced when channels are opened, moved or closed, for all CPUs at once and
/// without waiting for senders.
#[pin_data]
pub(crate) struct Channels {
    map: RcuArc<Map>,
    /// [`Settings::spare`](crate::settings::Settings::spare).
    spare: u32,
    #[pin]
    changes: Mutex<Changes>,
}

/// State for replacing the map.
struct Changes {
    open: KVec<Open>,
    /// Former maps that may still have readers.
    retired: KVec<Replaced<Map>>,
}

impl Place {
    fn on(cpu: u32) -> Self {
        Self {
            cpu,
            node: cpu::node(cpu),
        }
    }
}

/// Chooses a channel for each CPU, of which `present` are there: the one that interrupts this CPU; else the one of its NUMA node that
/// interrupts the nearest CPU, for it may share a cache, and has no more than its share of CPUs; else any. Numbers of CPUs that share
/// something follow each other. There is at least one channel.
fn choose(nodes: &[i32], present: usize, places: &[Place]) -> Result<KVec<usize>> {
    let number = |cpu: u32| usize::try_from(cpu).unwrap_or(usize::MAX);
    let mut chosen = KVec::with_capacity(nodes.len(), GFP_KERNEL)?;
    let mut takes = KVec::from_elem(0usize, places.len(), GFP_KERNEL)?;
    for cpu in 0..nodes.len() {
        let own = places.iter().position(|place| number(place.cpu) == cpu);
        if let Some(count) = own.and_then(|own| takes.get_mut(own)) {
            *count += 1;
        }
        chosen.push(own, GFP_KERNEL)?;
    }
    let mut of_cpu = KVec::with_capacity(nodes.len(), GFP_KERNEL)?;
    for (cpu, (node, own)) in nodes.iter().zip(chosen).enumerate() {
        let near = |place: &Place| place.node == *node;
        let is_local = places.iter().any(near);
        let candidates = || {
            let all = places.iter().enumerate();
            all.filter(move |(_, place)| !is_local || near(place))
        };
        let channels = candidates().count().max(1);
        let served = |other: &i32| !is_local || other == node;
        let there = nodes.iter().take(present).filter(|node| served(node));
        let share = there.count().div_ceil(channels);
        let index = match own {
            Some(own) => Some(own),
            // One that is not there counts for nothing.
            None if cpu >= present || !is_local => {
                candidates().nth(cpu % channels).map(|(index, _)| index)
            }
            None => {
                let with_room = candidates().filter(|(index, _)| takes.get(*index) < Some(&share));
                let nearest = with_room.min_by_key(|(_, place)| number(place.cpu).abs_diff(cpu));
                nearest.map(|(index, _)| index)
            }
        };
        let index = index.unwrap_or(0);
        if let Some(count) = takes.get_mut(index).filter(|_| own.is_none()) {
            *count += 1;
        }
        of_cpu.push(index, GFP_KERNEL)?;
    }
    Ok(of_cpu)
}

impl Channels {
    /// Makes an empty map. A CPU whose ring has no more than `spare` bytes free looks for another one.
    pub(crate) fn new(spare: u32) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            map: RcuArc::new(),
            spare,
            changes <- new_mutex!(Changes {
                open: KVec::new(),
                retired: KVec::new(),
            }),
        })
    }

    /// Adds an open channel. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, and `ENODEV` if the channel has been closed meanwhile. It is not used then.
    pub(crate) fn add(&self, channel: &Arc<Channel>) -> Result {
        let mut changes = self.changes.lock();
        // Under the lock, so that a concurrent `moved` either has changed the target already or finds the channel.
        let place = Place::on(channel.target_cpu()?);
        let channel = channel.clone();
        changes.open.push(Open { channel, place }, GFP_KERNEL)?;
        let assigned = self.assign(&mut changes);
        if assigned.is_err() {
            changes.open.pop();
        }
        assigned
    }

    /// Notes that a channel now interrupts another CPU. Sleeps.
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
            // Not added yet; `add` reads the CPU.
            return Ok(());
        }
        self.assign(&mut changes)
    }

    /// Removes sub-channels that the host has rescinded alone; their CPUs send through the others from then on. Returns how
    /// many there were. Sleeps.
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

    /// Removes all channels, before they are closed. Sleeps.
    pub(crate) fn clear(&self) {
        let mut changes = self.changes.lock();
        changes.open.clear();
        // First: its grace period covers the retired maps, too.
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
        let mut nodes = KVec::with_capacity(usize::try_from(cpu::count())?, GFP_KERNEL)?;
        for cpu in 0..cpu::count() {
            nodes.push(cpu::node(cpu), GFP_KERNEL)?;
        }
        let present = usize::try_from(cpu::present_count())?;
        let mut of_cpu = KVec::with_capacity(nodes.len(), GFP_KERNEL)?;
        for index in choose(&nodes, present, &places)? {
            let open = open.get(index).ok_or(ENODEV)?;
            of_cpu.push(open.channel.clone(), GFP_KERNEL)?;
        }
        let spare = if open.len() > 1 { self.spare } else { 0 };
        let map = Map {
            open,
            of_cpu,
            spare,
        };
        let map = Arc::new(map, GFP_KERNEL)?;
        changes.retired.retain(|map| !map.is_unused());
        if changes.retired.len() >= RETIRED {
            // One wait covers them all.
            changes.retired.clear();
        }
        changes.retired.reserve(1, GFP_KERNEL)?;
        changes
            .retired
            .push(self.map.replace(Some(map)), GFP_KERNEL)?;
        Ok(())
    }

    /// Polls the ring of each channel, as if the host had signalled, and tells it of what it was not told. Returns whether the host
    /// has corrupted one, so that completions in it cannot be read. Any context.
    pub(crate) fn look_again(&self) -> bool {
        self.tell(Set::ALL);
        let guard = rcu::read_lock();
        let mut ruined = false;
        for open in self.map.get(&guard).into_iter().flat_map(|map| &map.open) {
            let _ = open.channel.schedule();
            ruined |= open.channel.is_readable() == Ok(false);
        }
        ruined
    }

    /// Tells the host of the commands in these channels that it was not told of. Any context.
    pub(crate) fn tell(&self, some: Set) {
        let guard = rcu::read_lock();
        for open in self.map.get(&guard).into_iter().flat_map(|map| &map.open) {
            // A channel that is not in the map is closed, or about to be: its commands are recovered.
            if some.meets(Set::of(&open.channel)) {
                if let Some(channel) = open.channel.pin(&guard) {
                    channel.tell();
                }
            }
        }
    }

    /// Returns the channel for a CPU to send through: its own.
    #[inline]
    pub(crate) fn pick<'a>(&'a self, cpu: u32, guard: &'a rcu::Guard) -> Option<Way<'a>> {
        let map = self.map.get(guard)?;
        let channel = map.of_cpu.get(usize::try_from(cpu).ok()?)?.pin(guard)?;
        Some(Way {
            map,
            channel,
            spare: map.spare,
        })
    }
}

impl<'a> Way<'a> {
    /// The channel.
    #[inline]
    pub(crate) fn channel(&self) -> PinnedChannel<'a> {
        self.channel
    }

    /// How many bytes of its ring have to stay free, or another one may have more room.
    #[inline]
    pub(crate) fn spare(&self) -> u32 {
        self.spare
    }

    /// Another channel of whose ring more than `lowater` per cent are free, preferably on the same NUMA node; or this one, if
    /// there is none.
    #[cold]
    pub(crate) fn elsewhere(self, cpu: u32, lowater: u32, guard: &'a rcu::Guard) -> Self {
        let other = self.map.another(cpu, lowater, guard);
        Self {
            channel: other.unwrap_or(self.channel),
            spare: 0,
            ..self
        }
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
        let node = cpu::node(cpu);
        // Each CPU starts at a different channel, so that they do not all choose the same one.
        let first = usize::try_from(cpu).ok()?.checked_rem(self.open.len())?;
        let (before, after) = self.open.split_at_checked(first)?;
        let others = || Iterator::chain(after.iter(), before);
        let with_room = |open: &'a Open| {
            let channel = open.channel.pin(guard)?;
            channel.has_room(lowater).then_some(channel)
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

    fn chosen(nodes: &[i32], present: usize, places: &[Place]) -> KVec<usize> {
        choose(nodes, present, places).unwrap_or_default()
    }

    #[test]
    fn own_channel_first() {
        let places = [place(0, 0), place(2, 0), place(3, 1)];
        let of_cpu = chosen(&[0, 0, 0, 1], 4, &places);
        assert_eq!(&of_cpu[..], &[0, 0, 1, 2]);
    }

    #[test]
    fn nodes_share_their_channels() {
        let places = [place(0, 0), place(1, 0), place(4, 1)];
        let nodes = [0, 0, 0, 0, 1, 1, 1, 1, 2, 2];
        let of_cpu = chosen(&nodes, 8, &places);
        // The last two are on a node without a channel, and not there: any of all.
        assert_eq!(&of_cpu[..], &[0, 1, 1, 0, 2, 2, 2, 2, 2, 0]);
    }

    #[test]
    fn neighbours_share_a_channel() {
        let spread = [place(0, 0), place(4, 0)];
        assert_eq!(&chosen(&[0; 8], 8, &spread)[..], &[0, 0, 0, 1, 1, 1, 1, 0]);
        let first = [place(0, 0), place(1, 0), place(2, 0), place(3, 0)];
        let of_cpu = chosen(&[0; 16], 16, &first);
        for channel in 0..4 {
            assert_eq!(of_cpu.iter().filter(|of| **of == channel).count(), 4);
        }
        // CPUs that may come one day do not take a share.
        let of_cpu = chosen(&[0; 240], 4, &[place(0, 0), place(1, 0)]);
        assert_eq!(&of_cpu[..4], &[0, 1, 1, 0]);
    }
}
