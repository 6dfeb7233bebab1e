// SPDX-License-Identifier: GPL-2.0

//! rlis-host: a Hyper-V host for tests.

mod hyperv;
mod vm;

use std::sync::{mpsc, Arc, Mutex};
use anyhow::Result;

struct Nobody;
impl hyperv::hypercall::Receiver for Nobody {
    fn message(&self, vp: u32, connection: u32, type_: u32, payload: &[u8]) -> u16 { eprintln!("msg {vp} {connection} {type_} {payload:x?}"); 0 }
    fn event(&self, _: u32, _: u32, _: u16) -> u16 { 0 }
}

fn main() -> Result<()> {
    let a: Vec<String> = std::env::args().collect();
    let size = 512 << 20;
    let kvm = vm::vcpu::open()?;
    let memory = Arc::new(vm::memory::allocate(size)?);
    let (machine, lines) = vm::vcpu::Machine::new(&kvm, &memory, 1, hyperv::cpuid::Stimer::Off)?;
    let synic = Arc::new(hyperv::synic::Synic::new(memory.clone(), Box::new(lines), 1));
    let entry = vm::boot::load(&memory, size, a[1].as_ref(), Some(a[2].as_ref()), &a[3])?;
    vm::acpi::write(&memory, 1)?;
    let (tx, _rxl) = mpsc::channel();
    let ports = vm::ports::Ports {
        com1: Arc::new(Mutex::new(vm::serial::Port::new(vm::serial::IrqLine::new()?, std::io::stdout()))),
        com2: Arc::new(Mutex::new(vm::serial::Port::new(vm::serial::IrqLine::new()?, vm::serial::LineSink::new(tx)))),
        pm: Mutex::new(vm::pm::Pm::new()),
    };
    machine.connect_irq(vm::serial::lock(&ports.com1).event(), 4)?;
    machine.connect_irq(vm::serial::lock(&ports.com2).event(), 3)?;
    let (otx, orx) = mpsc::channel();
    machine.start(Arc::new(vm::vcpu::Shared { memory, ports: Arc::new(ports), synic, receiver: Arc::new(Nobody), outcome: otx }), entry)?;
    let o = orx.recv()?;
    eprintln!("{o}");
    std::process::exit(o.exit_code().into())
}
