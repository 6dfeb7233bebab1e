// SPDX-License-Identifier: GPL-2.0

//! The host as a whole: the bus and its devices, and the commands that they are steered by.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};

use crate::cli::Ic;
use crate::command::{self, Command, LinkState};
use crate::dynmem::{self, MemoryDevice};
use crate::ic::{fcopy, heartbeat, kvp, shutdown, timesync, vss, Component};
use crate::input::Input;
use crate::netvsp::nic::Nic;
use crate::sockets::Sockets;
use crate::storvsp::adapter::{Adapter, Adapters};
use crate::storvsp::lun;
use crate::vm::{Outcome, OutcomeSender};
use crate::vmbus::server::Server;
use crate::vmbus::Offer;
use crate::vpci::bus::Bus;

/// How long a command waits for the guest's driver of a component.
const DRIVER_WAIT: Duration = Duration::from_secs(10);
/// How long `offer` waits until the guest has let go of the device.
const RELEASE_WAIT: Duration = Duration::from_secs(5);

/// The integration components that are offered.
#[derive(Default)]
pub struct Components {
    /// All of them.
    pub all: BTreeMap<Ic, Arc<Component>>,
    /// How the guest has answered to heartbeats, if they are offered.
    pub heartbeats: Option<Arc<heartbeat::Counts>>,
    /// The clock that the guest is told, if it is.
    pub timesync: Option<Arc<timesync::TimeSync>>,
}

impl Components {
    /// The component, once the guest's driver has negotiated.
    fn get(&self, which: Ic) -> Result<&Component> {
        let component = self
            .all
            .get(&which)
            .with_context(|| format!("the host was started without {which:?}"))?;
        component.wait_ready(DRIVER_WAIT)?;
        Ok(component)
    }
}

/// A running host.
pub struct Host {
    /// The bus.
    pub server: Arc<Server>,
    /// Integration components.
    pub components: Components,
    /// Storage adapters by their names.
    pub adapters: Adapters,
    /// Network cards by their names.
    pub nics: BTreeMap<String, Arc<Nic>>,
    /// PCI buses by their names.
    pub pcis: BTreeMap<String, Arc<Bus>>,
    /// Keyboard and mouse.
    pub input: Input,
    /// Dynamic memory.
    pub memory: Option<Arc<MemoryDevice>>,
    /// Hyper-V sockets.
    pub sockets: Option<Arc<Sockets>>,
    /// Everything that was offered at the start, to be offered again after a rescind.
    pub offers: Mutex<BTreeMap<String, Offer>>,
    /// Where the end of the run is told.
    pub outcome: OutcomeSender,
}

impl Host {
    /// Offers a device, now and whenever it is to be offered again.
    pub fn offer(&self, offer: Offer) -> Result<()> {
        self.offers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(offer.name.clone(), offer.clone());
        self.server.offer(offer).map(drop)
    }

    fn offer_again(&self, device: &str) -> Result<()> {
        let offers = self.offers.lock().unwrap_or_else(PoisonError::into_inner);
        let offer = offers
            .get(device)
            .with_context(|| format!("there is no device {device}"))?
            .clone();
        drop(offers);
        self.server.offer(offer).map(drop)
    }

    fn adapter(&self, name: &str) -> Result<&Adapter> {
        let adapter = self.adapters.get(name).map(|a| &**a);
        adapter.with_context(|| format!("there is no storage adapter {name}"))
    }

    fn nic(&self, name: &str) -> Result<&Nic> {
        let nic = self.nics.get(name);
        nic.map(|n| &**n)
            .with_context(|| format!("there is no network card {name}"))
    }

    fn pci(&self, name: &str) -> Result<&Bus> {
        let bus = self.pcis.get(name).map(|b| &**b);
        bus.with_context(|| format!("there is no PCI bus {name}"))
    }

    fn timesync(&self) -> Result<&timesync::TimeSync> {
        let service = self.components.timesync.as_deref();
        service.context("the host was started without Timesync")
    }

    fn sockets(&self) -> Result<&Sockets> {
        let sockets = self.sockets.as_deref();
        sockets.context("the host was started without --sockets")
    }

    fn knows(&self, device: &str) -> bool {
        let special = [crate::faults::ANY, crate::vmbus::server::BUS];
        special.contains(&device)
            || self
                .offers
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .contains_key(device)
    }

    /// Carries out a command. Returns the lines of the answer.
    pub fn execute(&self, command: Command) -> Result<Vec<String>> {
        let shared = self.server.shared();
        let nothing = Vec::new();
        Ok(match command {
            Command::Ping => vec!["here".into()],
            Command::List => self.server.list(),
            Command::Stats => self.stats(),
            Command::Version => {
                let version = self.server.version().context("there is no connection")?;
                vec![format!("{}.{}", version.major(), version.minor())]
            }
            Command::Violations { take: true } => shared.violations.take(),
            Command::Violations { take: false } => shared.violations.all(),
            Command::AfterEnd { times, command } => {
                self.server.await_end(times);
                self.execute(command::parse(&command)?)?
            }
            Command::Rescind { device } => {
                self.server.rescind(&device)?;
                nothing
            }
            Command::Offer { device } => {
                // Hyper-V does not offer a device to a guest that still holds the last offer of it. A guest that does not
                // let go at all gets the new one all the same.
                let deadline = Instant::now() + RELEASE_WAIT;
                while self.server.is_held(&device) && Instant::now() < deadline {
                    thread::sleep(Duration::from_millis(10));
                }
                self.offer_again(&device)?;
                nothing
            }
            Command::OfferStorm {
                device,
                count,
                within,
            } => {
                for round in 0..u64::from(count) {
                    self.server.rescind(&device)?;
                    self.offer_again(&device)?;
                    let delay = within * (round + 1) / u64::from(count);
                    thread::sleep(Duration::from_micros(delay));
                }
                nothing
            }
            Command::SubChannels { device, count } => {
                self.server.offer_sub_channels(&device, count)?;
                nothing
            }
            Command::Signal { device } => {
                let channels = self.server.channels(Some(&device));
                ensure!(!channels.is_empty(), "{device} has no open channel");
                channels.iter().for_each(|channel| channel.signal());
                nothing
            }
            Command::VmbusMax { version } => {
                self.server.set_max_version(version);
                nothing
            }
            Command::Luns => self.adapters.values().flat_map(|a| a.list()).collect(),
            Command::LunAdd { unit, dvd } => {
                let kind = if dvd { lun::Kind::Dvd } else { lun::Kind::Disk };
                let adapter = self.adapter(&unit.place.adapter)?;
                adapter.add(&self.adapters, &unit, kind)?;
                nothing
            }
            Command::LunRemove { place } => {
                self.adapter(&place.adapter)?
                    .remove(place.target, place.lun)?;
                nothing
            }
            Command::LunReplace { unit, attention } => {
                self.adapter(&unit.place.adapter)?
                    .replace(&unit, attention)?;
                nothing
            }
            Command::LunAttention { place, attention } => {
                self.adapter(&place.adapter)?
                    .unit(place.target, place.lun)?
                    .attend(attention);
                nothing
            }
            Command::LunInsert { unit } => {
                self.adapter(&unit.place.adapter)?.insert(&unit)?;
                nothing
            }
            Command::LunEject { place } => {
                self.adapter(&place.adapter)?
                    .unit(place.target, place.lun)?
                    .eject()?;
                nothing
            }
            Command::LunResize { place, size } => {
                self.adapter(&place.adapter)?
                    .unit(place.target, place.lun)?
                    .resize(size)?;
                nothing
            }
            Command::Link { device, state } => {
                let up = state == LinkState::Up;
                match self.pcis.get(&device) {
                    Some(bus) => bus.set_link(up)?,
                    None => self.nic(&device)?.set_link(up),
                }
                nothing
            }
            Command::Net { device, event } => {
                self.nic(&device)?.event(event)?;
                nothing
            }
            Command::Nets => self.nics.values().map(|n| n.describe()).collect(),
            Command::Pcis { device: None } => self.pcis.values().map(|b| b.describe()).collect(),
            Command::Pcis {
                device: Some(device),
            } => vec![self.pci(&device)?.describe()],
            Command::PciSend { device, source } => {
                self.pci(&device)?.send(&fcopy::source(&source)?)?;
                nothing
            }
            Command::PciReceived { device, take } => {
                let bytes = self.pci(&device)?.received(take)?;
                vec![String::from_utf8_lossy(&bytes).into_owned()]
            }
            Command::Eject { device } => {
                self.pci(&device)?.eject()?;
                // Hyper-V takes the bus away, too.
                self.server.rescind(&device)?;
                nothing
            }
            Command::Sockets => self.sockets()?.list(),
            Command::SocketConnect {
                port,
                source,
                seconds,
            } => {
                let bytes = fcopy::source(&source)?;
                let limit = Duration::from_secs(seconds);
                self.sockets()?.connect(port, bytes, limit)?
            }
            Command::Fault {
                device,
                fault,
                count,
                value,
            } => {
                if !self.knows(&device) {
                    bail!("there is no device {device}");
                }
                shared.faults.arm(&device, fault, count, value);
                nothing
            }
            Command::Faults { clear } => {
                if clear {
                    shared.faults.clear();
                }
                shared.faults.list()
            }
            Command::Shutdown { action, force } => {
                let reply = shutdown::request(self.components.get(Ic::Shutdown)?, action, force)?;
                vec![format!("{:#x}", reply.status)]
            }
            Command::ShutdownFlags { flags } => {
                let flags = u32::try_from(flags).context("the flags have 32 bits")?;
                let reply = shutdown::request_flags(self.components.get(Ic::Shutdown)?, flags)?;
                vec![format!("{:#x}", reply.status)]
            }
            Command::Time { seconds, sample } => {
                self.timesync()?.set_offset(seconds, !sample)?;
                nothing
            }
            Command::Clock => vec![format!("{:.3}", self.timesync()?.clock()?)],
            Command::TimeSamples { on } => {
                self.timesync()?.set_silent(!on);
                nothing
            }
            Command::Heartbeat => {
                let counts = self
                    .components
                    .heartbeats
                    .as_ref()
                    .context("the host was started without Heartbeat")?;
                vec![format!(
                    "answered={} missed={}",
                    counts.answered.load(Ordering::Relaxed),
                    counts.missed.load(Ordering::Relaxed)
                )]
            }
            Command::KvpGet { pool, key } => {
                vec![kvp::get(self.components.get(Ic::Kvp)?, pool, &key)?]
            }
            Command::KvpSet {
                pool,
                key,
                value,
                type_,
            } => {
                kvp::set(self.components.get(Ic::Kvp)?, pool, &key, type_, &value)?;
                nothing
            }
            Command::KvpDelete { pool, key } => {
                kvp::delete(self.components.get(Ic::Kvp)?, pool, &key)?;
                nothing
            }
            Command::KvpList { pool } => kvp::enumerate(self.components.get(Ic::Kvp)?, pool)?
                .into_iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect(),
            Command::KvpIp { adapter } => {
                let info = kvp::get_ip_info(self.components.get(Ic::Kvp)?, &adapter)?;
                vec![
                    format!("addresses={}", info.addresses),
                    format!("netmasks={}", info.netmasks),
                    format!("gateways={}", info.gateways),
                    format!("dns={}", info.dns),
                    format!("family={} dhcp={}", info.family, info.dhcp),
                ]
            }
            Command::KvpSetIp {
                adapter,
                addresses,
                netmasks,
                gateway,
                dns,
            } => {
                let info = kvp::IpInfo {
                    addresses,
                    netmasks,
                    gateways: gateway,
                    dns,
                    family: 1,
                    dhcp: false,
                };
                kvp::set_ip_info(self.components.get(Ic::Kvp)?, &adapter, &info)?;
                nothing
            }
            Command::Vss { operation } => {
                vec![format!(
                    "{:#x}",
                    vss::request(self.components.get(Ic::Vss)?, operation)?
                )]
            }
            Command::Fcopy {
                source,
                folder,
                name,
                overwrite,
                create_path,
            } => {
                let data = fcopy::source(&source)?;
                let flags = if overwrite { fcopy::OVERWRITE } else { 0 }
                    | if create_path { fcopy::CREATE_PATH } else { 0 };
                fcopy::copy(
                    self.components.get(Ic::Fcopy)?,
                    &folder,
                    &name,
                    flags,
                    &data,
                )?;
                nothing
            }
            Command::Memory(command) => dynmem::execute(self.memory.as_deref(), command)?,
            Command::Input(command) => self.input.execute(command)?,
            Command::Quit => {
                // The main thread is about to end the process; a second quit changes nothing.
                let _ = self.outcome.send(Outcome::Quit);
                nothing
            }
        })
    }

    fn stats(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for channel in self.server.channels(None) {
            let stats = &channel.stats;
            lines.push(format!(
                "{} relid={} sub={} received={} sent={} signals_in={} triggers={} empty_signals={} signals_out={} nudges={}",
                channel.name,
                channel.relid,
                channel.sub_index,
                stats.received.load(Ordering::Relaxed),
                stats.sent.load(Ordering::Relaxed),
                stats.signals_in.load(Ordering::Relaxed),
                stats.triggers.load(Ordering::Relaxed),
                stats.empty_signals.load(Ordering::Relaxed),
                stats.signals_out.load(Ordering::Relaxed),
                stats.nudges.load(Ordering::Relaxed),
            ));
        }
        let synic = &self.server.shared().synic;
        lines.extend(
            (0..synic.count()).map(|vp| format!("vcpu{vp} queued_messages={}", synic.queued(vp))),
        );
        lines
    }
}
