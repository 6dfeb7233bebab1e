// SPDX-License-Identifier: GPL-2.0

//! A run of the host: machine, bus and devices are put together, the guest boots and ends.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::sync::{mpsc, Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};

use crate::bystander::Bystander;
use crate::cli::{Ic, RunArgs};
use crate::control;
use crate::dynmem::{Hints, MemoryDevice, Region};
use crate::faults::Faults;
use crate::host::{Components, Host};
use crate::hyperv::cpuid::{Features, Stimer};
use crate::hyperv::extended::ColdDiscard;
use crate::hyperv::remap::Remapper;
use crate::hyperv::synic::Synic;
use crate::ic::{fcopy, heartbeat, kvp, shutdown, timesync, vss, Component};
use crate::input::Input;
use crate::memory;
use crate::netvsp::nic::Nic;
use crate::netvsp::nics;
use crate::sockets::Sockets;
use crate::storvsp::adapter::{Adapter, Adapters, Class};
use crate::storvsp::lun;
use crate::violations::{self, Violations};
use crate::vm::kvm::Discarder;
use crate::vm::mmio::Mmio;
use crate::vm::pm::Pm;
use crate::vm::ports::Ports;
use crate::vm::serial::{self, IrqLine, LineSink, Port};
use crate::vm::vcpu::{self, Machine};
use crate::vm::{acpi, boot, Outcome};
use crate::vmbus::channel::Shared;
use crate::vmbus::server::Server;
use crate::vpci::bus::Bus;
use crate::vpci::spec::Kind;

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

fn adapters(args: &RunArgs) -> Result<Adapters> {
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
        adapter.add(&adapters, unit, kind)?;
    }
    Ok(adapters)
}

fn pcis(
    args: &RunArgs,
    nics: &BTreeMap<String, Arc<Nic>>,
    remapper: &Arc<Remapper>,
    mmio: &Arc<Mmio>,
    violations: &Arc<Violations>,
) -> Result<BTreeMap<String, Arc<Bus>>> {
    let mut pcis = BTreeMap::new();
    for (index, spec) in args.pci.iter().enumerate() {
        let index = u8::try_from(index)?;
        let (remapper, mmio) = (remapper.clone(), mmio.clone());
        let mut spec = spec.clone();
        // The card that this is the virtual function of, whose address is its own, too.
        let nic = nics
            .values()
            .find(|n| n.function() == Some(spec.name.as_str()));
        if let (Some(nic), Kind::Vmxnet3 { mac, .. }) = (nic, &mut spec.kind) {
            mac.get_or_insert(nic.permanent());
        }
        let name = spec.name.clone();
        let bus = Bus::new(spec, index, remapper, mmio, violations.clone())
            .with_context(|| format!("PCI bus {name}"))?;
        if let Some(nic) = nic {
            nic.attach(bus.clone());
            let nic = Arc::downgrade(nic);
            bus.connect(move |frames| {
                if let Some(nic) = nic.upgrade() {
                    nic.sent_by_function(frames);
                }
            });
        }
        if pcis.insert(name.clone(), bus).is_some() {
            bail!("there are two PCI buses {name}");
        }
    }
    let wanted = nics.values().filter_map(|n| n.function());
    for name in wanted {
        if !matches!(pcis.get(name).map(|b| b.kind()), Some(Kind::Vmxnet3 { .. })) {
            bail!("there is no PCI bus {name} with a network card");
        }
    }
    Ok(pcis)
}

/// Boots the guest and waits for its end. Returns the exit code.
pub fn run(args: &RunArgs) -> Result<u8> {
    let kvm = vcpu::open()?;
    let more = args.dynmem.hot_add;
    let hot = more.map(|len| memory::hot_region(args.memory, len));
    let hot = hot.transpose()?;
    let memory = Arc::new(memory::allocate_with(args.memory, hot)?);
    let below = hot.map_or(u64::MAX, |(start, _)| start);
    let features = Features {
        stimer: args.stimer,
        invariant_tsc: args.invariant_tsc,
        cold_discard: args.dynmem.cold_discard,
    };
    let (machine, lines) = Machine::new(&kvm, &memory, below, args.cpus, features)?;
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
    let hints = args.dynmem.cold_discard.then(|| {
        let faults = shared.faults.clone();
        Hints::new(
            memory.clone(),
            Box::new(Discarder),
            violations.clone(),
            faults,
        )
    });
    let mmio = Arc::new(Mmio::default());
    let remapper = Remapper::new(machine.msi_line(), args.cpus.into(), violations.clone());
    let remapper = Arc::new(remapper);
    if !args.pci.is_empty() {
        machine.fill_hypercall_page()?;
    }
    let server = Server::new(shared, args.vmbus_max);
    let (outcome, ended) = mpsc::channel();
    let nics = nics(&args.net)?;
    let host = Arc::new(Host {
        server: server.clone(),
        components: components(args, &violations, machine.reference_counter())?,
        adapters: adapters(args)?,
        pcis: pcis(args, &nics, &remapper, &mmio, &violations)?,
        nics,
        memory: args.dynmem.memory_device.then(|| {
            let region = |(start, len)| Region::new(start, len, machine.plugger(memory.clone()));
            let newest = args.dynmem.memory_version;
            MemoryDevice::new(newest, args.memory, memory.clone(), hot.map(region), hints)
        }),
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
    if let Some(device) = &host.memory {
        host.offer(device.offer())?;
    }
    for offer in host.input.offers() {
        host.offer(offer)?;
    }
    for component in host.components.all.values() {
        host.offer(component.offer())?;
    }
    if args.bystanders {
        for offer in Bystander::offers() {
            host.offer(offer)?;
        }
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
    let discard = host.memory.clone().filter(|_| args.dynmem.cold_discard);
    let shared = vcpu::Shared {
        memory,
        ports,
        mmio,
        remapper,
        synic,
        receiver: server,
        discard: discard.map(|device| device as Arc<dyn ColdDiscard>),
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
