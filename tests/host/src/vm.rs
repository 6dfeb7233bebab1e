// SPDX-License-Identifier: GPL-2.0

//! The virtual machine below VMBus: vCPUs, boot, serial ports, ACPI and power.

pub mod acpi;
pub mod aml;
pub mod boot;
pub mod cpuid;
pub mod kvm;
pub mod mmio;
pub mod pm;
pub mod ports;
pub mod serial;
pub mod vcpu;

use std::fmt;
use std::sync::mpsc;

/// How a run of the guest ended. Each way has its own exit code, so that a script can tell them apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The guest powered itself off (ACPI S5).
    PowerOff,
    /// The guest asked for a reset (FADT reset register or the keyboard controller).
    Reset,
    /// The guest wrote HV_X64_MSR_CRASH_CTL; the five parameters are HV_X64_MSR_CRASH_P0..P4.
    Crash([u64; 5]),
    /// A vCPU stopped in a way that no guest asks for: a triple fault or an error from KVM.
    Fault(String),
    /// The time limit of `--timeout` passed.
    Timeout,
    /// `rlis-host ctl quit` ended the run.
    Quit,
}

impl Outcome {
    /// The process exit code that reports this outcome.
    pub fn exit_code(&self) -> u8 {
        match self {
            Outcome::PowerOff | Outcome::Quit => 0,
            Outcome::Reset => 10,
            Outcome::Crash(_) => 11,
            Outcome::Fault(_) => 12,
            Outcome::Timeout => 13,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::PowerOff => f.write_str("the guest powered off"),
            Outcome::Reset => f.write_str("the guest asked for a reset"),
            Outcome::Crash(p) => {
                write!(
                    f,
                    "the guest reported a crash: P0={:#x} P1={:#x} P2={:#x} P3={:#x} P4={:#x}",
                    p[0], p[1], p[2], p[3], p[4]
                )
            }
            Outcome::Fault(why) => write!(f, "a vCPU stopped: {why}"),
            Outcome::Timeout => f.write_str("the time limit passed"),
            Outcome::Quit => f.write_str("ended by the control socket"),
        }
    }
}

/// Where threads report that the run is over; the main thread holds the other end.
pub type OutcomeSender = mpsc::Sender<Outcome>;
