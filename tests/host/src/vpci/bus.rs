// SPDX-License-Identifier: GPL-2.0

//! A bus: the protocol on its channel, the window to configuration space, the ranges of its function's BARs, and what a
//! network card there is connected to.

mod messages;
#[cfg(test)]
mod tests;
mod window;

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use rlis_proto::guid::class::HV_PCIE_GUID;
use rlis_proto::Guid;
use zerocopy::IntoBytes;

use super::function::Function;
use super::protocol::{self, Child};
use super::spec::{Kind, PciSpec};
use crate::hyperv::remap::Remapper;
use crate::memory::{Memory, VMBUS_MMIO_HIGH, VMBUS_MMIO_LOW};
use crate::netvsp::vf::{self, Frames};
use crate::violations::Violations;
use crate::vm::mmio::Mmio;
use crate::vmbus::channel::Channel;
use crate::vmbus::ring::Packet;
use crate::vmbus::{Device, Offer};
use window::{Bar, Window};

/// How long the guest may take to let go of a function. Hyper-V waits for a minute.
const EJECT_WAIT: Duration = Duration::from_secs(30);
/// What the instances of all buses have in common. Linux makes the PCI domain of bytes 4 and 5, and the logical id of
/// the device for hypercalls of bytes 4 to 7.
const INSTANCE: [u8; 16] = *b"rlis\x00\x10pc-i-bus\0\0";
/// The byte of an instance that is the bus's number.
const NUMBER: usize = 4;

/// An ejection that the host asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Ejection {
    #[default]
    None,
    Asked,
    Done,
}

/// Counters of a bus since the start of the host.
#[derive(Debug, Default)]
struct Counts {
    /// Interrupts by virtual processor.
    interrupts: BTreeMap<u8, u64>,
    /// Interrupts whose message the guest had deleted.
    lost: u64,
    /// Messages that the guest did not delete before it released the function.
    undeleted: usize,
    /// Accesses to configuration space, and to the BARs.
    config: u64,
    bar: u64,
}

struct State {
    channel: Option<Arc<Channel>>,
    version: Option<u32>,
    /// Address of the window to configuration space; the bus is in use as long as there is one.
    window: Option<u64>,
    /// The function that the window shows.
    slot: u32,
    /// RESOURCES_ASSIGNED has come.
    assigned: bool,
    /// BARs that are in memory space: number and address.
    decoded: Vec<(usize, u64)>,
    ejection: Ejection,
    function: Function,
    counts: Counts,
}

/// Takes the frames that a network card sends.
type Uplink = Box<dyn Fn(Frames) + Send + Sync>;

/// A PCI bus.
pub struct Bus {
    spec: PciSpec,
    instance: [u8; 16],
    /// Logical device id of the function.
    device: u32,
    remapper: Arc<Remapper>,
    mmio: Arc<Mmio>,
    violations: Arc<Violations>,
    state: Mutex<State>,
    changed: Condvar,
    uplink: OnceLock<Uplink>,
    this: Weak<Bus>,
}

impl State {
    /// The guest's memory, while the bus is open.
    fn memory(&self) -> Option<Arc<Memory>> {
        self.channel.as_ref().map(|c| c.context.memory.clone())
    }
}

/// Whether a range lies in what the bus may give its drivers.
fn is_vmbus_mmio(start: u64, len: u64) -> bool {
    let (low, low_len) = (u64::from(VMBUS_MMIO_LOW.0), u64::from(VMBUS_MMIO_LOW.1));
    [(low, low_len), VMBUS_MMIO_HIGH].iter().any(|(s, l)| {
        let end = start.checked_add(len);
        start >= *s && end.is_some_and(|e| e <= s + l)
    })
}

impl Bus {
    /// A bus that nobody has opened. `index` tells it from others of the machine.
    pub fn new(
        spec: PciSpec,
        index: u8,
        remapper: Arc<Remapper>,
        mmio: Arc<Mmio>,
        violations: Arc<Violations>,
    ) -> Result<Arc<Self>> {
        let mut instance = INSTANCE;
        if let Some(number) = instance.get_mut(NUMBER) {
            *number = index;
        }
        let [_, _, _, _, b4, b5, b6, b7, ..] = instance;
        let function = Function::new(&spec.kind)?;
        Ok(Arc::new_cyclic(|this| Self {
            spec,
            instance,
            // hv_irq_retarget_interrupt in pci-hyperv.c; the function's number is 0.
            device: u32::from_be_bytes([b5, b4, b7, b6 & 0xF8]),
            remapper,
            mmio,
            violations,
            state: Mutex::new(State {
                channel: None,
                version: None,
                window: None,
                slot: 0,
                assigned: false,
                decoded: Vec::new(),
                ejection: Ejection::None,
                function,
                counts: Counts::default(),
            }),
            changed: Condvar::new(),
            uplink: OnceLock::new(),
            this: this.clone(),
        }))
    }

    /// What its function is.
    pub fn kind(&self) -> &Kind {
        &self.spec.kind
    }

    /// The offer for the bus.
    pub fn offer(self: &Arc<Self>) -> Offer {
        Offer::new(
            self.spec.name.clone(),
            HV_PCIE_GUID,
            Guid::from_bytes(self.instance),
            self.clone(),
        )
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic would leave at worst a range behind in which nothing answers; a test tool goes on.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn violation(&self, error: &anyhow::Error) {
        self.violations
            .record(format!("{}: {error:#}", self.spec.name));
    }

    /// The bus as a line.
    pub fn describe(&self) -> String {
        let state = self.state();
        let version = protocol::VERSIONS
            .iter()
            .find(|v| Some(v.0) == state.version)
            .map_or("none", |v| v.1);
        let hex = |address: Option<u64>| address.map_or("none".into(), |a| format!("{a:#x}"));
        let bar = |n| hex(state.decoded.iter().find(|b| b.0 == n).map(|b| b.1));
        let counts = &state.counts;
        let by_vp = counts.interrupts.iter();
        let by_vp: Vec<String> = by_vp.map(|(vp, n)| format!("{vp}:{n}")).collect();
        format!(
            "{} version={version} d0={} window={} bar0={} bar2={} assigned={} msi={} messages={} undeleted={} \
             interrupts={} by_vcpu={} retargets={} lost={} config={} bar={} {}",
            self.spec.name,
            if state.window.is_some() { "yes" } else { "no" },
            hex(state.window),
            bar(0),
            bar(2),
            if state.assigned { "yes" } else { "no" },
            if state.function.msi_enabled() { "on" } else { "off" },
            self.remapper.live(self.device),
            counts.undeleted,
            counts.interrupts.values().sum::<u64>(),
            by_vp.join(","),
            self.remapper.retargets(self.device),
            counts.lost,
            counts.config,
            counts.bar,
            state.function.describe(),
        )
    }

    /// Sends bytes to the guest by the serial port.
    pub fn send(&self, bytes: &[u8]) -> Result<()> {
        let mut state = self.state();
        ensure!(state.window.is_some(), "the guest does not use the bus");
        state.function.serial()?.send(bytes);
        self.interrupt(&mut state);
        Ok(())
    }

    /// What the guest has sent by the serial port; with `take` it is forgotten.
    pub fn received(&self, take: bool) -> Result<Vec<u8>> {
        let mut state = self.state();
        let serial = state.function.serial()?;
        let bytes = serial.received();
        if take {
            serial.forget_received();
        }
        Ok(bytes)
    }

    /// Tells where the frames of the network card go. A second time changes nothing.
    pub fn connect(&self, uplink: impl Fn(Frames) + Send + Sync + 'static) {
        let _ = self.uplink.set(Box::new(uplink));
    }

    /// Plugs the cable of the network card in or out.
    pub fn set_link(&self, up: bool) -> Result<()> {
        let mut state = self.state();
        let memory = state.memory();
        let card = state.function.card()?;
        match memory {
            Some(memory) => card.set_link(up, &memory)?,
            None => card.set_idle_link(up),
        }
        self.interrupt(&mut state);
        Ok(())
    }

    /// Asks the guest to let go of the function and waits until it has.
    pub fn eject(&self) -> Result<()> {
        let mut state = self.state();
        let channel = state.channel.clone().context("the bus is not open")?;
        ensure!(state.version.is_some(), "the guest has not begun");
        ensure!(
            state.ejection == Ejection::None,
            "the function is being ejected"
        );
        state.ejection = Ejection::Asked;
        let message = Child {
            type_: protocol::EJECT,
            slot: state.function.description().slot,
        };
        channel.send(0, message.as_bytes());
        let waits = |s: &mut State| s.ejection == Ejection::Asked;
        let (state, _) = self
            .changed
            .wait_timeout_while(state, EJECT_WAIT, waits)
            .unwrap_or_else(PoisonError::into_inner);
        ensure!(
            state.ejection == Ejection::Done,
            "the guest has not completed the ejection"
        );
        Ok(())
    }

    /// Delivers the interrupt that the function may want to raise now.
    fn interrupt(&self, state: &mut State) {
        let Some(message) = state.function.interrupt() else {
            return;
        };
        match self.remapper.deliver(self.device, message) {
            Ok(Some(vp)) => *state.counts.interrupts.entry(vp).or_default() += 1,
            Ok(None) => state.counts.lost += 1,
            Err(error) => self.violation(&error.context("interrupt")),
        }
    }

    /// Puts the BARs into memory space, or takes them out, as the function's registers say now.
    fn map_bars(&self, state: &mut State) {
        let ranges = match state.window {
            Some(_) => state.function.ranges(),
            None => Vec::new(),
        };
        let wanted = |bar: &(usize, u64)| ranges.iter().any(|r| (r.0, r.1) == *bar);
        let (stay, go) = state.decoded.drain(..).partition(wanted);
        state.decoded = stay;
        go.into_iter().for_each(|(_, at)| self.mmio.remove(at));
        for (bar, address, len) in ranges {
            if state.decoded.contains(&(bar, address)) {
                continue;
            }
            let result = match is_vmbus_mmio(address, len) {
                true => {
                    let device = Arc::new(Bar::new(self.this.clone(), bar));
                    self.mmio.add(address, len, device)
                }
                false => Err(anyhow::anyhow!("{address:#x} is not VMBus's")),
            };
            match result {
                Ok(()) => state.decoded.push((bar, address)),
                Err(error) => self.violation(&error.context(format!("BAR {bar}"))),
            }
        }
    }

    /// The bus is in use, with its window at `address`.
    fn enter_d0(&self, state: &mut State, address: u64) -> Result<()> {
        ensure!(
            address % 4096 == 0 && is_vmbus_mmio(address, protocol::WINDOW),
            "a window at {address:#x}"
        );
        ensure!(state.window.is_none(), "the bus is in D0");
        let window = Arc::new(Window::new(self.this.clone()));
        self.mmio.add(address, protocol::WINDOW, window)?;
        state.window = Some(address);
        Ok(())
    }

    /// It is not in use any more: nothing of it is left in memory space, and the function is reset.
    fn exit_d0(&self, state: &mut State) {
        if let Some(address) = state.window.take() {
            self.mmio.remove(address);
        }
        self.map_bars(state);
        self.release(state);
        if let Err(error) = state.function.reset() {
            eprintln!("rlis-host: {}: {error:#}", self.spec.name);
        }
    }

    /// Forgets what was assigned to the function.
    fn release(&self, state: &mut State) {
        state.assigned = false;
        state.counts.undeleted += self.remapper.delete_all(self.device);
    }
}

impl vf::Function for Bus {
    fn name(&self) -> &str {
        &self.spec.name
    }

    fn receive(&self, frames: &[Vec<u8>]) -> usize {
        let mut state = self.state();
        let there = state.window.is_some() && state.ejection != Ejection::Done;
        let Some(memory) = state.memory().filter(|_| there) else {
            return frames.len();
        };
        let result = state.function.receive(frames, &memory);
        self.interrupt(&mut state);
        drop(state);
        result.unwrap_or_else(|error| {
            self.violation(&error.context("a frame for the guest"));
            frames.len()
        })
    }
}

impl Device for Bus {
    fn opened(&self, channel: &Arc<Channel>) {
        let mut state = self.state();
        self.remapper.open(self.device);
        state.channel = Some(channel.clone());
        state.version = None;
        state.ejection = Ejection::None;
    }

    fn packet(&self, channel: &Arc<Channel>, packet: Packet) -> Result<()> {
        let result = self.message(&mut self.state(), channel, &packet);
        self.changed.notify_all();
        result
    }

    fn closed(&self, _channel: &Arc<Channel>) {
        let mut state = self.state();
        // Once the bus is withdrawn the guest cannot send any more what it would delete.
        self.remapper.delete_all(self.device);
        self.exit_d0(&mut state);
        self.remapper.close(self.device);
        state.channel = None;
        state.version = None;
        state.ejection = Ejection::None;
        self.changed.notify_all();
    }
}
