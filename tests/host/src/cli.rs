// SPDX-License-Identifier: GPL-2.0

//! The command line: `rlis-host run …` boots a guest, `rlis-host ctl …` talks to a running host.

// Comments here are what `--help` shows: brackets stand around what may be left out.
#![allow(rustdoc::broken_intra_doc_links)]

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use rlis_proto::vmbus::version::Version;

use crate::dynmem;
use crate::hyperv::cpuid::Stimer;
use crate::input;
use crate::netvsp::spec::{parse_nic, NicSpec};
use crate::size::parse_size;
use crate::storvsp::spec::{self, AdapterSpec, UnitSpec};
use crate::vmbus::parse_version;
use crate::vpci::spec::{parse_pci, PciSpec};

/// A Hyper-V host for tests: boots a Linux guest on KVM and offers it VMBus devices.
///
/// Exit codes of `run`: 0 the guest powered off, 10 it asked for a reset, 11 it reported a crash, 12 a vCPU
/// stopped (triple fault, KVM error), 13 the time limit passed, 20 it powered off but broke the protocol,
/// 1 the host could not start, 2 wrong usage.
#[derive(Debug, Parser)]
#[command(name = "rlis-host", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// The two uses of the program.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Boot a guest and wait for its end.
    Run(Box<RunArgs>),
    /// Send one command to a running host and print its answer.
    Ctl(CtlArgs),
}

/// Integration components by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Ic {
    /// Heartbeat.
    Heartbeat,
    /// Shutdown on request.
    Shutdown,
    /// Time synchronisation.
    Timesync,
    /// Key-value pairs.
    Kvp,
    /// Volume snapshots.
    Vss,
    /// File copy.
    Fcopy,
}

/// What `run` needs.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Kernel (bzImage).
    #[arg(long)]
    pub kernel: PathBuf,
    /// Initial RAM disk.
    #[arg(long)]
    pub initrd: Option<PathBuf>,
    /// Kernel command line.
    #[arg(long, default_value = "console=ttyS0")]
    pub cmdline: String,
    /// Virtual processors.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub cpus: u8,
    /// Processors that the firmware lists, those beyond the ones that there are as disabled: a Generation 2 VM of Hyper-V
    /// lists 240, whatever it has. As many as there are if left out.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=254))]
    pub possible_cpus: Option<u8>,
    /// Memory, such as 512M or 2G.
    #[arg(long, default_value = "512M", value_parser = parse_size)]
    pub memory: u64,
    /// Where the guest's console goes: a file, or standard output if left out.
    #[arg(long)]
    pub serial: Option<PathBuf>,
    /// Give what comes on standard input to the guest's console.
    #[arg(long)]
    pub console_input: bool,
    /// Newest VMBus version that the host accepts (4.0 to 6.0).
    #[arg(long, default_value = "6.0", value_parser = parse_version)]
    pub vmbus_max: Version,
    /// Synthetic timers.
    #[arg(long, value_enum, default_value_t)]
    pub stimer: Stimer,
    /// Offer a TSC that the guest may take its time from (HV_ACCESS_TSC_INVARIANT).
    #[arg(long)]
    pub invariant_tsc: bool,
    /// Integration components to offer, comma-separated.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "heartbeat,shutdown,timesync,kvp,vss,fcopy"
    )]
    pub ic: Vec<Ic>,
    /// Offer no integration components.
    #[arg(long)]
    pub no_ic: bool,
    /// Offer the devices that come with every VM although only Windows guests use them, and one of a class that nobody knows.
    #[arg(long)]
    pub bystanders: bool,
    /// A SCSI controller: NAME[,channels=N][,version=6.0|6.2][,max-transfer=SIZE][,monitor]; may be repeated.
    #[arg(long, value_parser = spec::parse_adapter)]
    pub scsi: Vec<AdapterSpec>,
    /// A synthetic Fibre Channel adapter, written like a SCSI controller; may be repeated.
    #[arg(long, value_parser = spec::parse_adapter)]
    pub fc: Vec<AdapterSpec>,
    /// An accelerated IDE disk, written like a SCSI controller; may be repeated. Each is a device of its own with one
    /// unit: 0:0 of the first, 1:0 of the second (these two make one controller), 0:0 of the third, and so on.
    #[arg(long, value_parser = spec::parse_adapter)]
    pub ide: Vec<AdapterSpec>,
    /// A disk: ADAPTER:TARGET:LUN,size=SIZE[,file=PATH][,block=4096][,readonly]; may be repeated. With
    /// ADAPTER:TARGET:LUN,shared=ADAPTER:TARGET:LUN it is a disk that was named before, on another adapter, which is another
    /// initiator: the two may reserve it from each other, as virtual machines do with a shared disk.
    #[arg(long, value_parser = spec::parse_unit)]
    pub disk: Vec<UnitSpec>,
    /// A DVD drive with a disc: ADAPTER:TARGET:LUN,file=PATH; may be repeated.
    #[arg(long, value_parser = spec::parse_unit)]
    pub dvd: Vec<UnitSpec>,
    /// A network card: NAME[,mac=MAC][,peer=ADDRESS/BITS][,switch=NAME][,version=1|2|4|5|6|6.1][,mode=windows|openvmm]
    /// [,batch=FRAMES][,channels=N][,offload][,lso=BYTES][,rsc][,mtu=MIN-MAX][,speed=MEGABITS][,alias=NAME][,vf=BUS][,down]; may
    /// be repeated. The peer (10.0.0.1/24 if left out) answers ARP and echo requests, gives an address by DHCP, and has the
    /// services echo, discard and source. Cards on one switch have each other instead. With vf, the network card on a PCI
    /// bus is its virtual function, which the command `net NAME vf SERIAL` tells the guest.
    #[arg(long, value_parser = parse_nic)]
    pub net: Vec<NicSpec>,
    /// A PCI bus with a serial port or a network card, passed through: NAME[,version=1.1|1.2|1.3|1.4][,function=serial]
    /// [,function=vmxnet3][,serial=NUMBER][,mac=MAC]; may be repeated.
    #[arg(long, value_parser = parse_pci)]
    pub pci: Vec<PciSpec>,
    /// Dynamic memory.
    #[command(flatten)]
    pub dynmem: dynmem::Options,
    /// Keyboard and mouse.
    #[command(flatten)]
    pub input: input::Options,
    /// Offer Hyper-V sockets, with services on these ports of VSOCK: 7 echoes; 9 tells how many bytes came, when the guest
    /// has shut down its side; 19 takes a line with a number and sends that many bytes: 0, 1, …, 250, 0, …
    #[arg(long)]
    pub sockets: bool,
    /// Let the guest hibernate: offer it ACPI's sleep state S4.
    #[arg(long)]
    pub hibernation: bool,
    /// Unix socket for `rlis-host ctl`.
    #[arg(long)]
    pub control: Option<PathBuf>,
    /// Go on when the guest reports a crash: a crash kernel may take over.
    #[arg(long)]
    pub outlive_crash: bool,
    /// End the run after this many seconds.
    #[arg(long)]
    pub timeout: Option<u64>,
    /// A command (as for `ctl`) to carry out before the guest starts; may be repeated.
    #[arg(long = "do", value_name = "COMMAND")]
    pub before: Vec<String>,
}

/// What `ctl` needs.
#[derive(Debug, Args)]
pub struct CtlArgs {
    /// The control socket of the running host.
    #[arg(long)]
    pub control: PathBuf,
    /// The command and its parameters; `help` lists the commands.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub words: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn run_takes_what_the_runner_gives() {
        let line = "rlis-host run --cpus 2 --memory 512M --serial log --kernel k --initrd i --cmdline console=ttyS0";
        let cli = Cli::try_parse_from(line.split(' ')).unwrap();
        let Action::Run(run) = cli.action else {
            panic!()
        };
        assert_eq!((run.cpus, run.memory, run.ic.len()), (2, 512 << 20, 6));
        assert_eq!(run.possible_cpus, None);
        for wrong in ["--cpus 0", "--cpus 65", "--possible-cpus 255"] {
            let line = format!("rlis-host run --kernel k {wrong}");
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{wrong}");
        }
        assert!(
            Cli::try_parse_from("rlis-host run --kernel k --vmbus-max 9.9".split(' ')).is_err()
        );
    }
}
