// SPDX-License-Identifier: GPL-2.0

//! CPUs: their SynIC over hotplug, and which of them serves which channel.
//!
//! A CPU serves channels between `rlis_bus_cpu_online` and the beginning of `rlis_bus_cpu_offline`. The flag
//! that says so changes under the lock of channels, so that no channel is placed on a CPU that is leaving.

use crate::{
    channel::{
        self,
        Channel,
        ChannelLock, //
    },
    connection::{
        self,
        State, //
    },
    policy::{
        self,
        Candidate, //
    },
    retarget,
    synic, //
};
use core::sync::atomic::{
    AtomicU64,
    Ordering, //
};
use kernel::{
    ffi::{
        c_int,
        c_uint, //
    },
    prelude::*, //
};
use rlis_proto::vmbus::{
    Version,
    VMBUS_MESSAGE_SINT, //
};
use rlis_sys as bindings;

/// The CPU that gets the host's messages. It never goes offline while there is a connection: the host cannot
/// be told of another.
pub(crate) const CONNECT_CPU: u32 = 0;

/// CPUs that the mask of serving CPUs has room for; the kernel's own limit for x86 is 8192.
const MAX_CPUS: usize = 8192;

static SERVING: [AtomicU64; MAX_CPUS / 64] = [const { AtomicU64::new(0) }; MAX_CPUS / 64];

fn serving_word(cpu: u32) -> Option<(&'static AtomicU64, u64)> {
    Some((SERVING.get((cpu / 64) as usize)?, 1 << (cpu % 64)))
}

fn set_serving(cpu: u32, on: bool, _lock: &ChannelLock) {
    if let Some((word, bit)) = serving_word(cpu) {
        if on {
            word.fetch_or(bit, Ordering::Relaxed);
        } else {
            word.fetch_and(!bit, Ordering::Relaxed);
        }
    }
}

/// Whether channels may be placed on the CPU.
fn is_serving(cpu: u32) -> bool {
    serving_word(cpu).is_some_and(|(word, bit)| word.load(Ordering::Relaxed) & bit != 0)
}

/// Whether the CPU takes interrupts that the kernel may place, and serves channels.
pub(crate) fn may_serve(cpu: u32) -> bool {
    // SAFETY: No requirements.
    is_serving(cpu) && unsafe { bindings::cpu_housekeeping(cpu) }
}

fn iterate(next: unsafe extern "C" fn(c_int) -> c_uint) -> impl Iterator<Item = u32> {
    let mut at: c_int = -1;
    core::iter::from_fn(move || {
        // SAFETY: No requirements.
        let (cpu, end) = unsafe { (next(at), bindings::nr_cpu_ids) };
        at = c_int::try_from(cpu).unwrap_or(c_int::MAX);
        (cpu < end).then_some(cpu)
    })
}

/// All CPUs that are present.
pub(crate) fn present() -> impl Iterator<Item = u32> {
    iterate(bindings::next_present_cpu)
}

/// All CPUs that are online.
pub(crate) fn online() -> impl Iterator<Item = u32> {
    iterate(bindings::next_online_cpu)
}

/// The state of a present CPU. Only between the making and the drop of [`synic::Pages`].
pub(crate) fn context(cpu: u32) -> *mut bindings::hv_per_cpu_context {
    // SAFETY: The CPU is present, so that its per-CPU memory is there.
    unsafe { bindings::hv_cpu_context(cpu) }
}

/// The hypervisor's number of a CPU.
pub(crate) fn vp_number(cpu: u32) -> u32 {
    // SAFETY: The table has an entry for each possible CPU.
    unsafe { bindings::hv_cpu_number_to_vp_number(cpu) }
}

/// The NUMA node of a CPU.
pub(crate) fn node(cpu: u32) -> i32 {
    // SAFETY: No requirements.
    unsafe { bindings::cpu_to_node(cpu) }
}

/// Chooses the CPU of a new channel.
pub(crate) fn place(list: &ChannelLock, channel: &Channel) {
    channel.set_target_cpu(choose(list, channel).unwrap_or(CONNECT_CPU), list);
}

fn choose(list: &ChannelLock, channel: &Channel) -> Option<u32> {
    if !channel.is_perf() {
        return None;
    }
    let census = Census::of(list, channel).ok()?;
    let mut candidates = online()
        .filter(|&cpu| may_serve(cpu))
        .map(|cpu| census.candidate(cpu));
    policy::get()?.place(&mut candidates)
}

/// How many performance-critical channels each CPU and each node serves.
struct Census {
    /// By CPU: channels, and how many of them are of the device in question.
    cpus: KVec<(u32, u32)>,
    /// By node.
    nodes: KVec<u32>,
}

impl Census {
    /// Counts all channels but this one, for whose device it is.
    fn of(list: &ChannelLock, channel: &Channel) -> Result<Self> {
        // SAFETY: Set at boot.
        let count = unsafe { bindings::nr_cpu_ids };
        let highest = online().filter_map(node_index).max();
        let mut census = Self {
            cpus: KVec::from_elem((0, 0), count as usize, GFP_KERNEL)?,
            nodes: KVec::from_elem(0, highest.map_or(0, |n| n + 1), GFP_KERNEL)?,
        };
        let primary = channel.primary().unwrap_or(channel);
        for other in list.all() {
            if !other.is_perf() || core::ptr::eq(other, channel) {
                continue;
            }
            let at = other.target_cpu();
            if let Some((users, own)) = census.cpus.get_mut(at as usize) {
                *users += 1;
                *own += u32::from(core::ptr::eq(other.primary().unwrap_or(other), primary));
            }
            if let Some(users) = node_index(at).and_then(|n| census.nodes.get_mut(n)) {
                *users += 1;
            }
        }
        Ok(census)
    }

    fn candidate(&self, cpu: u32) -> Candidate {
        let (users, own) = self.cpus.get(cpu as usize).copied().unwrap_or_default();
        Candidate {
            cpu,
            users,
            node_users: node_index(cpu)
                .and_then(|n| self.nodes.get(n).copied())
                .unwrap_or_default(),
            own,
        }
    }
}

/// The CPU's node, unless it has none.
fn node_index(cpu: u32) -> Option<usize> {
    usize::try_from(node(cpu)).ok()
}

/// The registration of the hotplug callbacks. While it exists, the SynIC is on on all CPUs that are online.
pub struct Hotplug(c_int);

impl Hotplug {
    /// Enables the SynIC on all CPUs that are online, and on others when they come online.
    ///
    /// # Errors
    ///
    /// Those of `cpuhp_setup_state`.
    pub fn new() -> Result<Self> {
        // SAFETY: The callbacks are those below; the pages exist.
        let state = unsafe { bindings::cpuhp_setup() };
        if state < 0 {
            return Err(Error::from_errno(state));
        }
        STATE.store(state as u32, Ordering::Relaxed);
        Ok(Self(state))
    }
}

/// Keeps the module loaded if the kernel takes its time from timers that only this bus can hear.
///
/// The kernel may not find another timer for the boot CPU: its local APIC's serves all CPUs by then, as the broadcast
/// device. A CPU without a timer stands still.
pub fn stay_for_timers() {
    // SAFETY: No requirements; the module is being loaded, and so has a reference that is not given up yet.
    unsafe {
        if bindings::stimer_needs_bus() {
            pr_info!("the host's timers expire with messages, so this module cannot be unloaded\n");
            bindings::vmbus_stay_loaded();
        }
    }
}

/// The hotplug state, for kexec.
static STATE: core::sync::atomic::AtomicU32 = core::sync::atomic::AtomicU32::new(0);

/// Disables the SynIC on all CPUs, after the connection has ended.
pub(crate) fn disable_all() {
    let state = STATE.swap(0, Ordering::Relaxed);
    if state != 0 {
        // SAFETY: `Hotplug::new` made the state, and it is removed once.
        unsafe { bindings::cpuhp_remove(state as c_int) };
    }
}

impl Drop for Hotplug {
    fn drop(&mut self) {
        let _ = self.0;
        disable_all();
    }
}

/// The CPU has come online. Runs on it.
#[no_mangle]
extern "C" fn rlis_bus_cpu_online(cpu: c_uint) -> c_int {
    // SAFETY: The context of a present CPU.
    if unsafe { (*context(cpu)).hyp_synic_event_page.is_null() } {
        // It was not present when the bus was loaded.
        return ENOMEM.to_errno();
    }
    synic::enable(cpu);
    // SAFETY: The CPU's SynIC is set up, and this runs on it.
    unsafe { bindings::stimer_messages_on(cpu, c_int::from(VMBUS_MESSAGE_SINT)) };
    set_serving(cpu, true, &channel::lock());
    0
}

/// The CPU is about to go offline. Runs on it. An error keeps it online.
#[no_mangle]
extern "C" fn rlis_bus_cpu_offline(cpu: c_uint) -> c_int {
    // After an unload nobody sends interrupts any more, and any CPU may go.
    if connection::state() == State::Connected {
        if let Err(e) = leave(cpu) {
            set_serving(cpu, true, &channel::lock());
            return e.to_errno();
        }
    }
    set_serving(cpu, false, &channel::lock());
    // SAFETY: This runs on the CPU, whose SynIC is still set up.
    unsafe { bindings::stimer_messages_off(cpu) };
    synic::disable();
    0
}

/// Moves all channels away from `cpu`, and waits until the interrupts that came meanwhile are handled.
fn leave(cpu: u32) -> Result {
    if cpu == CONNECT_CPU {
        return Err(EBUSY);
    }
    set_serving(cpu, false, &channel::lock());
    loop {
        let list = channel::lock();
        let next = list
            .all()
            .find(|c| retarget::may_use(c, cpu, &list))
            .map(channel::ChannelRef::from);
        drop(list);
        let Some(channel) = next else { break };
        retarget::leave_cpu(&channel, cpu)?;
    }
    if connection::version() >= Version::V4_1 && !events_drained(cpu) {
        return Err(EBUSY);
    }
    Ok(())
}

/// Waits a little for the event flags of this CPU to be handled, false if some stay.
fn events_drained(cpu: u32) -> bool {
    const TRIES: u32 = 3;
    let Some(flags) = synic::event_flags(context(cpu)) else {
        return true;
    };
    for attempt in 0..=TRIES {
        // Flag 0 announces messages, which are none of a channel's interrupts.
        let pending = flags
            .iter()
            .enumerate()
            .any(|(i, word)| word.load(Ordering::SeqCst) & if i == 0 { !1 } else { !0 } != 0);
        if !pending {
            return true;
        }
        if attempt < TRIES {
            // SAFETY: Hotplug callbacks may sleep.
            unsafe { bindings::usleep_range(10_000, 20_000) };
        }
    }
    false
}
