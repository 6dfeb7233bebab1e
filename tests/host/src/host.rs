// SPDX-License-Identifier: GPL-2.0

//! The host as a whole: puts machine, bus and devices together, and carries out commands.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::sync::atomic::Ordering;
use std::sync::{mpsc, Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};

use crate::cli::{Ic, RunArgs};
use crate::control::{self, Command, LinkState};
use crate::faults::Faults;
use crate::hyperv::cpuid::{Features, Stimer};
use crate::hyperv::remap::Remapper;
use crate::hyperv::synic::Synic;
use crate::ic::{fcopy, heartbeat, kvp, shutdown, timesync, vss, Component};
use crate::input::Input;
use crate::netvsp::nic::Nic;
use crate::netvsp::nics;
use crate::sockets::Sockets;
use crate::storvsp::adapter::{Adapter, Class};
use crate::storvsp::lun;
use crate::violations::{self, Violations};
use crate::vm::mmio::Mmio;
use crate::vm::pm::Pm;
use crate::vm::ports::Ports;
use crate::vm::serial::{self, IrqLine, LineSink, Port};
use crate::vm::vcpu::{self, Machine};
use crate::vm::{acpi, boot, memory, Outcome, OutcomeSender};
use crate::vmbus::channel::Shared;
use crate::vmbus::server::Server;
use crate::vmbus::Offer;
use crate::vpci::bus::Bus;

/// How long a command waits for the guest's driver of a component.
const DRIVER_WAIT: Duration = Duration::from_secs(10);
/// How long `offer` waits until the guest has let go of the device.
const RELEASE_WAIT: Duration = Duration::from_secs(5);

/// The integration components that are offered.
#[derive(Default)]
struct Components {
    all: BTreeMap<Ic, Arc<Component>>,
    heartbeats: Option<Arc<heartbeat::Counts>>,
    timesync: Option<Arc<timesync::TimeSync>>,
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
    server: Arc<Server>,
    components: Components,
    adapters: BTreeMap<String, Arc<Adapter>>,
    nics: BTreeMap<String, Arc<Nic>>,
    pcis: BTreeMap<String, Arc<Bus>>,
    input: Input,
    sockets: Option<Arc<Sockets>>,
    /// Everything that was offered at the start, to be offered again after a rescind.
    offers: Mutex<BTreeMap<String, Offer>>,
    outcome: OutcomeSender,
}

impl Host {
    fn offer(&self, offer: Offer) -> Result<()> {
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
                self.execute(control::parse(&command)?)?
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
            Command::Luns => self.adapters.values().flat_map(|a| a.list()).collect(),
            Command::LunAdd { unit, dvd } => {
                let kind = if dvd { lun::Kind::Dvd } else { lun::Kind::Disk };
                self.adapter(&unit.place.adapter)?.add(&unit, kind)?;
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
            Command::LunResize { place, size } => {
                self.adapter(&place.adapter)?
                    .unit(place.target, place.lun)?
                    .resize(size)?;
                nothing
            }
            Command::Link { device, state } => {
                self.nic(&device)?.set_link(state == LinkState::Up);
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
                let bytes = self.pci(&device)?.received(take);
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

fn components(
    args: &RunArgs,
    violations: &Arc<Violations>,
    reference: timesync::ReferenceCounter,
) -> Result<Components> {
    let mut components = Components::default();
    if args.no_ic {
        return Ok(components);
    }
    for which in &args.ic {
        let kind = match which {
            Ic::Heartbeat => heartbeat::KIND,
            Ic::Shutdown => shutdown::KIND,
            Ic::Timesync => timesync::KIND,
            Ic::Kvp => kvp::KIND,
            Ic::Vss => vss::KIND,
            Ic::Fcopy => fcopy::KIND,
        };
        components.all.insert(*which, Component::new(kind));
    }
    if let Some(component) = components.all.get(&Ic::Heartbeat) {
        components.heartbeats = Some(heartbeat::start(component.clone(), violations.clone())?);
    }
    if let Some(component) = components.all.get(&Ic::Timesync) {
        components.timesync = Some(timesync::TimeSync::start(component.clone(), reference)?);
    }
    Ok(components)
}

fn adapters(args: &RunArgs) -> Result<BTreeMap<String, Arc<Adapter>>> {
    let mut adapters = BTreeMap::new();
    let scsi = args.scsi.iter().map(|spec| (spec, Class::Scsi));
    let fc = args.fc.iter().map(|spec| (spec, Class::Fc));
    let ide = (0..).zip(&args.ide).map(|(n, spec)| (spec, Class::Ide(n)));
    for (index, (spec, class)) in scsi.chain(fc).chain(ide).enumerate() {
        if matches!(class, Class::Ide(_)) && spec.channels > 0 {
            bail!("{} is an IDE disk and has no sub-channels", spec.name);
        }
        let adapter = Adapter::new(spec.clone(), class, u8::try_from(index)?)?;
        if adapters.insert(spec.name.clone(), adapter).is_some() {
            bail!("there are two adapters {}", spec.name);
        }
    }
    let disks = args.disk.iter().map(|unit| (unit, lun::Kind::Disk));
    let dvds = args.dvd.iter().map(|unit| (unit, lun::Kind::Dvd));
    for (unit, kind) in disks.chain(dvds) {
        let name = &unit.place.adapter;
        let adapter = adapters.get(name).with_context(|| {
            format!("there is no storage adapter {name}; name it with --scsi, --fc or --ide")
        })?;
        adapter.add(unit, kind)?;
    }
    Ok(adapters)
}

fn pcis(
    args: &RunArgs,
    remapper: &Arc<Remapper>,
    mmio: &Arc<Mmio>,
    violations: &Arc<Violations>,
) -> Result<BTreeMap<String, Arc<Bus>>> {
    let mut pcis = BTreeMap::new();
    for (index, spec) in args.pci.iter().enumerate() {
        let index = u8::try_from(index)?;
        let (remapper, mmio) = (remapper.clone(), mmio.clone());
        let bus = Bus::new(spec.clone(), index, remapper, mmio, violations.clone())?;
        if pcis.insert(bus.name().to_string(), bus).is_some() {
            bail!("there are two PCI buses {}", spec.name);
        }
    }
    Ok(pcis)
}

/// Boots the guest and waits for its end. Returns the exit code.
pub fn run(args: &RunArgs) -> Result<u8> {
    let kvm = vcpu::open()?;
    let memory = Arc::new(memory::allocate(args.memory)?);
    let features = Features {
        stimer: args.stimer,
        invariant_tsc: args.invariant_tsc,
    };
    let (machine, lines) = Machine::new(&kvm, &memory, args.cpus, features)?;
    let synic = Arc::new(Synic::new(
        memory.clone(),
        Box::new(lines),
        args.cpus.into(),
    ));
    let entry = boot::load(
        &memory,
        args.memory,
        &args.kernel,
        args.initrd.as_deref(),
        &args.cmdline,
    )?;
    let processors = acpi::Processors::new(args.cpus, args.possible_cpus)?;
    acpi::write(&memory, processors, args.hibernation)?;

    let violations = Arc::new(Violations::default());
    let shared = Shared {
        memory: memory.clone(),
        synic: synic.clone(),
        violations: violations.clone(),
        faults: Arc::new(Faults::default()),
    };
    let mmio = Arc::new(Mmio::default());
    let remapper = Remapper::new(machine.msi_line(), args.cpus.into(), violations.clone());
    let remapper = Arc::new(remapper);
    if !args.pci.is_empty() {
        machine.fill_hypercall_page()?;
    }
    let server = Server::new(shared, args.vmbus_max);
    let (outcome, ended) = mpsc::channel();
    let host = Arc::new(Host {
        server: server.clone(),
        components: components(args, &violations, machine.reference_counter())?,
        adapters: adapters(args)?,
        nics: nics(&args.net)?,
        pcis: pcis(args, &remapper, &mmio, &violations)?,
        input: Input::new(&args.input),
        sockets: args.sockets.then(|| Sockets::new(&server)),
        offers: Mutex::default(),
        outcome: outcome.clone(),
    });
    for adapter in host.adapters.values() {
        host.offer(adapter.offer())?;
    }
    if host.adapters.values().any(|a| a.spec.monitor) {
        server.start_monitor()?;
    }
    for nic in host.nics.values() {
        host.offer(nic.offer())?;
    }
    for bus in host.pcis.values() {
        host.offer(bus.offer())?;
    }
    for offer in host.input.offers() {
        host.offer(offer)?;
    }
    for component in host.components.all.values() {
        host.offer(component.offer())?;
    }
    for line in &args.before {
        let answer = control::execute_line(&host, line);
        if let Some(error) = answer.strip_prefix("error ") {
            bail!("--do '{line}': {error}");
        }
    }
    if let Some(path) = &args.control {
        control::listen(host.clone(), path)?;
    }

    let console: Box<dyn Write + Send> = match &args.serial {
        Some(path) => Box::new(
            File::create(path).with_context(|| format!("cannot write {}", path.display()))?,
        ),
        None => Box::new(io::stdout()),
    };
    let (commands, waiting) = mpsc::channel();
    let com1 = Arc::new(Mutex::new(Port::new(IrqLine::new()?, console)));
    let com2 = Arc::new(Mutex::new(Port::new(
        IrqLine::new()?,
        LineSink::new(commands),
    )));
    machine.connect_irq(serial::lock(&com1).event(), serial::COM1_IRQ)?;
    machine.connect_irq(serial::lock(&com2).event(), serial::COM2_IRQ)?;
    if args.console_input {
        let console = com1.clone();
        thread::Builder::new()
            .name("console-input".into())
            .spawn(move || serial::feed(&console, io::stdin().lock()))?;
    }
    let (answers, commander) = (com2.clone(), host.clone());
    thread::Builder::new()
        .name("serial-control".into())
        .spawn(move || {
            for line in waiting {
                let answer = control::execute_line(&commander, &line);
                serial::lock(&answers).send(format!("{answer}\n").as_bytes());
            }
        })?;

    let ports = Arc::new(Ports {
        com1,
        com2,
        pm: Mutex::new(Pm::new()),
    });
    let shared = vcpu::Shared {
        memory,
        ports,
        mmio,
        remapper,
        synic,
        receiver: server,
        outcome,
    };
    // The messages of timers are KVM's.
    let turns = args.stimer == Stimer::Message;
    machine.start(Arc::new(shared), entry, turns)?;

    let ending = wait_for_end(args, &host, &ended)?;
    eprintln!("rlis-host: {ending}");
    let found = violations.all().len();
    let code = match ending.exit_code() {
        0 if found > 0 => violations::EXIT_CODE,
        code => code,
    };
    if found > 0 {
        eprintln!("rlis-host: {found} protocol violation(s)");
    }
    if let Some(path) = &args.control {
        let _ = std::fs::remove_file(path);
    }
    Ok(code)
}

/// Waits for the end of the run. A crash that the guest reports is one unless `--outlive-crash` was given.
fn wait_for_end(args: &RunArgs, host: &Host, ended: &mpsc::Receiver<Outcome>) -> Result<Outcome> {
    let started = Instant::now();
    let mut crashes = 0;
    loop {
        let outcome = match args.timeout {
            Some(seconds) => ended
                .recv_timeout(Duration::from_secs(seconds).saturating_sub(started.elapsed()))
                .unwrap_or(Outcome::Timeout),
            None => ended.recv().context("all vCPUs are gone")?,
        };
        if matches!(outcome, Outcome::Crash(_)) {
            crashes += 1;
            if args.outlive_crash {
                eprintln!("rlis-host: {outcome}");
                continue;
            }
        }
        // Linux has ended it when a panic comes to its end; it need not when it powers off.
        let bus = match host.server.version() {
            Some(_) => "still connected",
            None => "not connected",
        };
        eprintln!("rlis-host: crashes reported: {crashes}; VMBus at the end: {bus}");
        return Ok(outcome);
    }
}
