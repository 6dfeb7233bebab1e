// SPDX-License-Identifier: GPL-2.0

//! The virtual machine as KVM runs it: creation, interrupt routes, and the loop of each vCPU.

use std::sync::{mpsc, Arc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{bail, Context, Result};
use kvm_bindings::{
    kvm_enable_cap, kvm_irq_routing_entry, kvm_irq_routing_entry__bindgen_ty_1,
    kvm_irq_routing_hv_sint, kvm_irq_routing_irqchip, kvm_msi, kvm_msr_entry, kvm_pit_config,
    KvmIrqRouting, Msrs, KVM_CAP_HYPERV_SYNIC2, KVM_CAP_X86_USER_SPACE_MSR,
    KVM_INTERNAL_ERROR_DELIVERY_EV, KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER,
    KVM_IRQCHIP_PIC_SLAVE, KVM_IRQ_ROUTING_HV_SINT, KVM_IRQ_ROUTING_IRQCHIP,
    KVM_SYSTEM_EVENT_CRASH,
};
use kvm_ioctls::{
    Cap, Kvm, MsrExitReason, MsrFilterDefaultAction, MsrFilterRange, MsrFilterRangeFlags, VcpuExit,
    VcpuFd, VmFd,
};
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use vmm_sys_util::eventfd::{EventFd, EFD_NONBLOCK};
use vmm_sys_util::signal::{register_signal_handler, Killable, SIGRTMIN};

use super::kvm::{self, HypervExit};
use super::mmio::Mmio;
use super::ports::Ports;
use super::{cpuid, Outcome, OutcomeSender};
use crate::hyperv::cpuid::Features;
use crate::hyperv::extended::{self, ColdDiscard};
use crate::hyperv::hypercall::{self, Receiver};
use crate::hyperv::hypercall_page;
use crate::hyperv::remap::{MsiLine, Remapper};
use crate::hyperv::synic::{self, SintLine, Synic, VMBUS_SINT};
use crate::memory::{Memory, Plug};

/// HV_X64_MSR_CRASH_P0; P1 to P4 follow.
const MSR_CRASH_P0: u32 = 0x4000_0100;
/// Interrupt lines of the I/O APIC; the SINT routes come after them.
const IO_APIC_LINES: u32 = 24;
/// Where Intel's VT-x keeps its task state segment, in the hole below 4 GiB.
const TSS: usize = 0xFFFB_D000;
/// How often in a row a vCPU goes on after an access to a device's memory that KVM takes for one of the delivery of an
/// interrupt. On an emulated processor (QEMU's) that happens when an interrupt and such an access meet.
const MOST_DELIVERIES: u32 = 8;
/// After which time a vCPU that has not left the guest is signalled again.
const CALL_AGAIN: Duration = Duration::from_micros(500);

/// What every vCPU thread works with.
pub struct Shared {
    /// The guest's RAM.
    pub memory: Arc<Memory>,
    /// Port I/O.
    pub ports: Arc<Ports>,
    /// Memory-mapped I/O.
    pub mmio: Arc<Mmio>,
    /// Interrupts of devices that are passed through.
    pub remapper: Arc<Remapper>,
    /// The synthetic interrupt controllers.
    pub synic: Arc<Synic>,
    /// Who takes hypercalls.
    pub receiver: Arc<dyn Receiver>,
    /// Who takes hints of free memory.
    pub discard: Option<Arc<dyn ColdDiscard>>,
    /// Where the end of the run is reported.
    pub outcome: OutcomeSender,
}

/// A VM with its vCPUs, not yet running.
pub struct Machine {
    vm: Arc<VmFd>,
    vcpus: Vec<VcpuFd>,
    /// Acknowledgement events of the SINT routes, one a vCPU.
    acknowledged: Vec<EventFd>,
}

/// The SINT lines as events that KVM listens on.
pub struct SintEvents(Vec<EventFd>);

impl SintLine for SintEvents {
    fn raise(&self, vp: u32) -> std::io::Result<()> {
        let event = usize::try_from(vp).ok().and_then(|i| self.0.get(i));
        event
            .ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotFound))?
            .write(1)
    }
}

/// KVM as what a device writes its messages to.
struct MsiWriter(Arc<VmFd>);

impl MsiLine for MsiWriter {
    fn send(&self, address: u64, data: u32) -> std::io::Result<()> {
        let msi = kvm_msi {
            address_lo: (address & 0xFFFF_FFFF) as u32,
            address_hi: (address >> 32) as u32,
            data,
            ..Default::default()
        };
        // A guest whose APIC is off gets none; that is its own affair.
        self.0.signal_msi(msi).map(drop)?;
        Ok(())
    }
}

/// Opens /dev/kvm and makes sure that it emulates what a Hyper-V guest needs.
pub fn open() -> Result<Kvm> {
    let kvm = Kvm::new().context("cannot open /dev/kvm")?;
    if !kvm.check_extension(Cap::HypervSynic2) {
        bail!("this /dev/kvm does not emulate the Hyper-V interface (KVM_CAP_HYPERV_SYNIC2 is missing)");
    }
    Ok(kvm)
}

fn irqchip_route(gsi: u32, chip: u32, pin: u32) -> kvm_irq_routing_entry {
    kvm_irq_routing_entry {
        gsi,
        type_: KVM_IRQ_ROUTING_IRQCHIP,
        u: kvm_irq_routing_entry__bindgen_ty_1 {
            irqchip: kvm_irq_routing_irqchip { irqchip: chip, pin },
        },
        ..Default::default()
    }
}

/// The routes that KVM has by default, and one for the VMBus SINT of each vCPU.
fn routes(cpus: u32) -> Vec<kvm_irq_routing_entry> {
    let mut routes = Vec::new();
    for gsi in 0..IO_APIC_LINES {
        if gsi < 8 {
            routes.push(irqchip_route(gsi, KVM_IRQCHIP_PIC_MASTER, gsi));
        } else if gsi < 16 {
            routes.push(irqchip_route(gsi, KVM_IRQCHIP_PIC_SLAVE, gsi - 8));
        }
        // The PIT is line 0 of the PIC and, by old custom, line 2 of the I/O APIC.
        let pin = if gsi == 0 { 2 } else { gsi };
        if gsi != 2 {
            routes.push(irqchip_route(gsi, KVM_IRQCHIP_IOAPIC, pin));
        }
    }
    for vcpu in 0..cpus {
        routes.push(kvm_irq_routing_entry {
            gsi: IO_APIC_LINES + vcpu,
            type_: KVM_IRQ_ROUTING_HV_SINT,
            u: kvm_irq_routing_entry__bindgen_ty_1 {
                hv_sint: kvm_irq_routing_hv_sint {
                    vcpu,
                    sint: VMBUS_SINT.into(),
                },
            },
            ..Default::default()
        });
    }
    routes
}

impl Machine {
    /// Creates the VM with its interrupt controllers, memory below the address `hot` and `cpus` vCPUs. Returns it with the
    /// SINT lines.
    pub fn new(
        kvm: &Kvm,
        memory: &Memory,
        hot: u64,
        cpus: u8,
        features: Features,
    ) -> Result<(Self, SintEvents)> {
        let vm = kvm.create_vm().context("KVM cannot create a VM")?;
        // Only VT-x wants this; elsewhere it does nothing.
        vm.set_tss_address(TSS)
            .context("KVM refuses the task state segment")?;
        vm.create_irq_chip()
            .context("KVM cannot create the interrupt controllers")?;
        vm.create_pit2(kvm_pit_config {
            flags: 1,
            ..Default::default()
        })
        .context("KVM cannot create the PIT")?;
        kvm::register_memory(&vm, memory, hot)?;

        let mut vcpus = Vec::new();
        for index in 0..cpus {
            let vcpu = vm
                .create_vcpu(index.into())
                .with_context(|| format!("KVM cannot create vCPU {index}"))?;
            vcpu.set_cpuid2(&cpuid::table(kvm, index, cpus, features)?)
                .context("KVM refuses our CPUID")?;
            vcpu.enable_cap(&kvm_enable_cap {
                cap: KVM_CAP_HYPERV_SYNIC2,
                ..Default::default()
            })
            .context("KVM refuses KVM_CAP_HYPERV_SYNIC2")?;
            vcpus.push(vcpu);
        }
        let table = KvmIrqRouting::from_entries(&routes(cpus.into()))
            .context("too many interrupt routes")?;
        vm.set_gsi_routing(&table)
            .context("KVM refuses the interrupt routes")?;
        let mut lines = Vec::new();
        let mut acknowledged = Vec::new();
        for gsi in IO_APIC_LINES..IO_APIC_LINES + u32::from(cpus) {
            let (raise, ack) = (EventFd::new(EFD_NONBLOCK)?, EventFd::new(EFD_NONBLOCK)?);
            vm.register_irqfd_with_resample(&raise, &ack, gsi)
                .context("KVM refuses a SINT event")?;
            lines.push(raise);
            acknowledged.push(ack);
        }
        Ok((
            Self {
                vm: Arc::new(vm),
                vcpus,
                acknowledged,
            },
            SintEvents(lines),
        ))
    }

    /// Connects `event` to interrupt line `irq` of the I/O APIC and PIC.
    pub fn connect_irq(&self, event: &EventFd, irq: u32) -> Result<()> {
        self.vm
            .register_irqfd(event, irq)
            .with_context(|| format!("KVM refuses interrupt line {irq}"))
    }

    /// Tells the guest's reference counter (units of 100 ns): KVM derives it from the VM's clock.
    pub fn reference_counter(&self) -> Box<dyn Fn() -> Result<u64> + Send + Sync> {
        let vm = self.vm.clone();
        Box::new(move || {
            Ok(vm
                .get_clock()
                .context("KVM does not tell the VM's clock")?
                .clock
                / 100)
        })
    }

    /// Gives the guest what it has not got yet of `memory`.
    pub fn plugger(&self, memory: Arc<Memory>) -> Box<dyn Plug> {
        Box::new(kvm::Plugger::new(self.vm.clone(), memory))
    }

    /// Where messages of devices that are passed through go.
    pub fn msi_line(&self) -> Box<dyn MsiLine> {
        Box::new(MsiWriter(self.vm.clone()))
    }

    /// Has the guest's writes to HV_X64_MSR_HYPERCALL come to the host, so that it can fill the hypercall page.
    pub fn fill_hypercall_page(&self) -> Result<()> {
        self.vm
            .enable_cap(&kvm_enable_cap {
                cap: KVM_CAP_X86_USER_SPACE_MSR,
                args: [MsrExitReason::Filter.bits().into(), 0, 0, 0],
                ..Default::default()
            })
            .context("KVM refuses KVM_CAP_X86_USER_SPACE_MSR")?;
        // One bit, 0, says that the MSR is not KVM's. KVM reads whole words.
        let range = MsrFilterRange {
            flags: MsrFilterRangeFlags::WRITE,
            base: hypercall_page::MSR_HYPERCALL,
            msr_count: 1,
            bitmap: &[0; 8],
        };
        self.vm
            .set_msr_filter(MsrFilterDefaultAction::ALLOW, &[range])
            .context("KVM refuses the MSR filter")
    }

    /// Starts all vCPUs; the first begins at the kernel's 64-bit `entry`, the others wait for it. With `turns` messages
    /// are delivered on the vCPUs' own threads, see [`Synic::deliver_in_turns`].
    pub fn start(self, shared: Arc<Shared>, entry: u64, turns: bool) -> Result<()> {
        if let Some(bsp) = self.vcpus.first() {
            super::boot::set_up_bsp(&shared.memory, bsp, entry)?;
        }
        let (synic, acknowledged) = (shared.synic.clone(), self.acknowledged);
        thread::Builder::new()
            .name("sint-ack".into())
            .spawn(move || {
                if let Err(error) = watch_acknowledgements(&synic, &acknowledged) {
                    eprintln!("rlis-host: {error:#}");
                }
            })?;
        let (call, calls) = mpsc::channel();
        if turns {
            register_signal_handler(leave_guest(), ignore)
                .context("the signal for vCPUs cannot be handled")?;
            // The receiver lives as long as the process.
            let call: synic::Call = Box::new(move |vp| {
                let _ = call.send(vp);
            });
            shared.synic.deliver_in_turns(call);
        }
        let mut threads = Vec::new();
        for (index, vcpu) in (0u32..).zip(self.vcpus) {
            // The VM must stay open while its vCPUs run.
            let (shared, vm) = (shared.clone(), self.vm.clone());
            let thread = thread::Builder::new()
                .name(format!("vcpu{index}"))
                .spawn(move || {
                    let outcome = run(vcpu, index, &shared);
                    // The main thread ends the process when it gets the first outcome; later ones do not matter.
                    let _ = shared.outcome.send(outcome);
                    drop(vm);
                })?;
            threads.push(thread);
        }
        if turns {
            thread::Builder::new()
                .name("vcpu-calls".into())
                .spawn(move || call_vcpus(&shared.synic, &threads, &calls))?;
        }
        Ok(())
    }
}

/// The signal that makes a vCPU leave the guest.
fn leave_guest() -> libc::c_int {
    SIGRTMIN()
}

/// It does all that it has to by coming.
extern "C" fn ignore(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}

/// Makes each vCPU that is called for take a turn.
fn call_vcpus(synic: &Synic, threads: &[JoinHandle<()>], calls: &mpsc::Receiver<u32>) {
    for vp in calls {
        let Some(thread) = usize::try_from(vp).ok().and_then(|i| threads.get(i)) else {
            continue;
        };
        let before = synic.turns(vp);
        // A signal that comes just before the thread enters the guest has no effect, so there may have to be more.
        while synic.turns(vp) == before && thread.kill(leave_guest()).is_ok() {
            thread::sleep(CALL_AGAIN);
        }
    }
}

fn watch_acknowledgements(synic: &Synic, events: &[EventFd]) -> Result<()> {
    use std::os::fd::AsRawFd;
    let epoll = Epoll::new()?;
    for (index, event) in (0u64..).zip(events) {
        epoll.ctl(
            ControlOperation::Add,
            event.as_raw_fd(),
            EpollEvent::new(EventSet::IN, index),
        )?;
    }
    let mut ready = vec![EpollEvent::default(); events.len()];
    loop {
        let count = match epoll.wait(-1, &mut ready) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            result => result?,
        };
        for entry in ready.iter().take(count) {
            let index = u32::try_from(entry.data())?;
            if let Some(event) = events.get(usize::try_from(entry.data())?) {
                // Another thread cannot have read it; if it did there is nothing to do.
                let _ = event.read();
            }
            synic.acknowledged(index)?;
        }
    }
}

/// Runs one vCPU until the run ends.
fn run(mut vcpu: VcpuFd, index: u32, shared: &Shared) -> Outcome {
    let mut deliveries = 0;
    loop {
        if let Err(error) = shared.synic.turn(index) {
            return Outcome::Fault(format!("SynIC of vCPU {index}: {error:#}"));
        }
        let exit = vcpu.run();
        if !matches!(exit, Ok(VcpuExit::InternalError)) {
            deliveries = 0;
        }
        match exit {
            Ok(VcpuExit::IoOut(hypercall_page::PORT, _)) => {
                if let Err(error) = hypercall_page::call(&vcpu, &shared.memory, &shared.remapper) {
                    return Outcome::Fault(format!("vCPU {index}: {error:#}"));
                }
            }
            Ok(VcpuExit::IoOut(port, data)) => {
                if let Some(outcome) = shared.ports.write(port, data) {
                    return outcome;
                }
            }
            Ok(VcpuExit::IoIn(port, data)) => shared.ports.read(port, data),
            Ok(VcpuExit::MmioRead(address, data)) => shared.mmio.read(address, data),
            Ok(VcpuExit::MmioWrite(address, data)) => shared.mmio.write(address, data),
            Ok(VcpuExit::X86Wrmsr(exit)) => {
                // The filter lets no other MSR come here.
                let value = exit.data;
                if let Err(error) = hypercall_page::set(&vcpu, &shared.memory, value) {
                    return Outcome::Fault(format!("vCPU {index}: {error:#}"));
                }
            }
            Ok(VcpuExit::Hyperv) => match kvm::hyperv_exit(&mut vcpu) {
                HypervExit::Synic {
                    control,
                    event_page,
                    message_page,
                } => {
                    if let Err(error) =
                        shared
                            .synic
                            .set_registers(index, control, event_page, message_page)
                    {
                        return Outcome::Fault(format!("SynIC of vCPU {index}: {error:#}"));
                    }
                }
                HypervExit::Hypercall { input, params } => {
                    let (memory, receiver) = (&shared.memory, &*shared.receiver);
                    let result = if extended::is_extended(input) {
                        extended::handle(memory, shared.discard.as_deref(), input, params)
                    } else {
                        hypercall::handle(memory, receiver, index, input, params[0]).into()
                    };
                    kvm::set_hypercall_result(&mut vcpu, result);
                }
                HypervExit::Other(kind) => {
                    return Outcome::Fault(format!(
                        "vCPU {index}: unexpected Hyper-V exit of type {kind}"
                    ));
                }
            },
            // The guest goes on after its report. Whether the run does is up to whoever gets it.
            Ok(VcpuExit::SystemEvent(KVM_SYSTEM_EVENT_CRASH, _)) => {
                let _ = shared.outcome.send(crash(&vcpu));
            }
            Ok(VcpuExit::Shutdown) => {
                return Outcome::Fault(format!("triple fault on vCPU {index}"))
            }
            Ok(VcpuExit::Intr | VcpuExit::IrqWindowOpen | VcpuExit::Hlt) => {}
            Ok(VcpuExit::InternalError) => {
                let (number, data) = kvm::internal_error(&mut vcpu);
                // The event is delivered again when the vCPU goes on, and then the instruction is.
                if number == KVM_INTERNAL_ERROR_DELIVERY_EV && deliveries < MOST_DELIVERIES {
                    deliveries += 1;
                    eprintln!("rlis-host: vCPU {index} goes on after KVM internal error {number}");
                    continue;
                }
                return Outcome::Fault(format!(
                    "KVM internal error {number} on vCPU {index}{}, data {data:x?}",
                    place(&vcpu)
                ));
            }
            Ok(other) => {
                let what = format!("{other:?}");
                return Outcome::Fault(format!(
                    "unexpected exit of vCPU {index}: {what}{}",
                    place(&vcpu)
                ));
            }
            Err(error) if matches!(error.errno(), libc::EINTR | libc::EAGAIN) => {}
            Err(error) => return Outcome::Fault(format!("KVM_RUN on vCPU {index}: {error}")),
        }
    }
}

fn place(vcpu: &VcpuFd) -> String {
    vcpu.get_regs()
        .map(|r| format!(" at RIP {:#x}", r.rip))
        .unwrap_or_default()
}

/// Reads the crash parameters that the guest left before it wrote HV_X64_MSR_CRASH_CTL.
fn crash(vcpu: &VcpuFd) -> Outcome {
    let entries: Vec<_> = (0..5)
        .map(|i| kvm_msr_entry {
            index: MSR_CRASH_P0 + i,
            ..Default::default()
        })
        .collect();
    let mut parameters = [0u64; 5];
    if let Ok(mut msrs) = Msrs::from_entries(&entries) {
        if vcpu.get_msrs(&mut msrs).is_ok() {
            parameters
                .iter_mut()
                .zip(msrs.as_slice())
                .for_each(|(p, m)| *p = m.data);
        }
    }
    Outcome::Crash(parameters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_vcpu_has_a_sint_route() {
        let routes = routes(3);
        let sints: Vec<u32> = routes
            .iter()
            .filter(|r| r.type_ == KVM_IRQ_ROUTING_HV_SINT)
            .map(|r| r.gsi)
            .collect();
        assert_eq!(sints, [24, 25, 26]);
        // 16 lines of the PICs, 23 of the I/O APIC (line 2 is taken by the PIT).
        assert_eq!(routes.len(), 16 + 23 + 3);
    }
}
