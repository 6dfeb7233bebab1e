// SPDX-License-Identifier: GPL-2.0

//! rlis-host: a Hyper-V host for tests. It boots a Linux guest on KVM, plays the host's side of VMBus and of
//! the devices on it, records what the guest does against the protocol, and misbehaves on demand.
//!
//! Layers: [`vm`] is the machine, [`hyperv`] what KVM leaves to its user of the Hyper-V interface, [`vmbus`] the
//! bus, [`bystander`], [`dynmem`], [`ic`], [`input`], [`netvsp`], [`sockets`], [`storvsp`] and [`vpci`] the devices. [`run`]
//! puts them together; [`command`], [`control`] and [`faults`] are how a test steers them. Each uses those before it.

mod bystander;
mod cli;
mod command;
mod control;
mod dynmem;
mod faults;
mod host;
mod hyperv;
mod ic;
mod input;
mod memory;
mod netvsp;
mod run;
mod size;
mod sockets;
mod storvsp;
mod violations;
mod vm;
mod vmbus;
mod vpci;

use std::process::ExitCode;

use clap::Parser;

use cli::{Action, Cli};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.action {
        Action::Run(args) => run::run(&args),
        Action::Ctl(args) => ctl(&args),
    };
    match result {
        // Threads still run; leaving main ends them with the process.
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("rlis-host: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Sends a command and prints the answer.
fn ctl(args: &cli::CtlArgs) -> anyhow::Result<u8> {
    if args.words.first().is_some_and(|w| w == "help") {
        print!("{}", command::help());
        return Ok(0);
    }
    // Checked here too, so that a mistake is told even if no host runs.
    command::parse(&args.words)?;
    for line in control::call(&args.control, &args.words)? {
        println!("{line}");
    }
    Ok(0)
}
