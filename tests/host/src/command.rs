// SPDX-License-Identifier: GPL-2.0

//! The commands that a running host understands.

// Comments here are what `--help` shows: brackets stand around what may be left out.
#![allow(rustdoc::broken_intra_doc_links)]

use anyhow::{bail, Result};
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use rlis_proto::vmbus::version::Version;

use crate::dynmem;
use crate::faults::Fault;
use crate::ic::kvp::{Pool, ValueType};
use crate::ic::shutdown;
use crate::ic::vss;
use crate::input;
use crate::netvsp::nic::Event;
use crate::storvsp::sense::Sense;
use crate::storvsp::spec::{self, Place, UnitSpec};

/// A command.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Answers, to see that the host is there.
    Ping,
    /// Devices and their channels.
    List,
    /// Counters: heartbeats, channels, messages.
    Stats,
    /// The VMBus version negotiated.
    Version,
    /// Protocol violations of the guest so far; with --take they are forgotten.
    Violations {
        /// Forget them, so that they do not fail the run.
        #[arg(long)]
        take: bool,
    },
    /// Wait until the connection with the guest has ended, as it does when the guest is suspended, and carry out a command at
    /// once.
    AfterEnd {
        /// How many times the connection has to end.
        times: u32,
        /// The command.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<String>,
    },
    /// Withdraw a device from the guest.
    Rescind {
        /// Its name, as `list` shows it; NAME.N is its sub-channel number N alone.
        device: String,
    },
    /// Offer a withdrawn device again.
    Offer {
        /// Its name.
        device: String,
    },
    /// Withdraw and offer a device many times, without waiting for the guest.
    OfferStorm {
        /// Its name.
        device: String,
        /// How often.
        count: u32,
        /// Microseconds between offer and rescind: from 0 in the first round to this in the last, so that the rescinds
        /// meet the guest in all that it does with an offer.
        #[arg(default_value_t = 0)]
        within: u64,
    },
    /// Offer sub-channels of a device, which the guest has not asked for.
    SubChannels {
        /// Its name.
        device: String,
        /// How many.
        count: u16,
    },
    /// Signal all open channels of a device, although nothing was sent. A guest has to bear that at any time.
    Signal {
        /// Its name.
        device: String,
    },
    /// Accept other versions from the next connection on, as another host does that a saved guest is moved to.
    VmbusMax {
        /// The newest (4.0 to 6.0).
        #[arg(value_parser = crate::vmbus::parse_version)]
        version: Version,
    },
    /// Logical units of all storage adapters.
    Luns,
    /// Add a disk while the guest runs.
    LunAdd {
        /// ADAPTER:TARGET:LUN,size=SIZE[,file=PATH][,block=4096][,readonly], or ADAPTER:TARGET:LUN,shared=ADAPTER:TARGET:LUN
        #[arg(value_parser = spec::parse_unit)]
        unit: UnitSpec,
        /// Add a DVD drive instead.
        #[arg(long)]
        dvd: bool,
    },
    /// Take a logical unit away while the guest runs.
    LunRemove {
        /// ADAPTER:TARGET:LUN
        #[arg(value_parser = spec::parse_place)]
        place: Place,
    },
    /// Put another disk in the place of one while the guest runs. Of this the guest learns as little as from Hyper-V: that it
    /// is to look again, and what the new disk says to its first command.
    LunReplace {
        /// The new one: ADAPTER:TARGET:LUN,size=SIZE[,file=PATH][,block=4096][,readonly]
        #[arg(value_parser = spec::parse_unit)]
        unit: UnitSpec,
        /// A unit attention for its first command: ASC/ASCQ, such as 29/00.
        #[arg(value_parser = spec::parse_attention)]
        attention: Option<Sense>,
    },
    /// Give a unit a unit attention for its next command.
    LunAttention {
        /// ADAPTER:TARGET:LUN
        #[arg(value_parser = spec::parse_place)]
        place: Place,
        /// ASC/ASCQ, such as 3f/03.
        #[arg(value_parser = spec::parse_attention)]
        attention: Sense,
    },
    /// Put a disc into a DVD drive, in the place of one that is there; the guest may have locked it.
    LunInsert {
        /// ADAPTER:TARGET:LUN,size=SIZE[,file=PATH]
        #[arg(value_parser = spec::parse_unit)]
        unit: UnitSpec,
    },
    /// Take the disc out of a DVD drive.
    LunEject {
        /// ADAPTER:TARGET:LUN
        #[arg(value_parser = spec::parse_place)]
        place: Place,
    },
    /// Change the size of a disk while the guest runs.
    LunResize {
        /// ADAPTER:TARGET:LUN
        #[arg(value_parser = spec::parse_place)]
        place: Place,
        /// New size, such as 128M.
        #[arg(value_parser = crate::size::parse_size)]
        size: u64,
    },
    /// Plug the cable of a network card in or out; a card may be the function of a PCI bus.
    Link {
        /// Its name.
        device: String,
        /// Where to.
        #[arg(value_enum)]
        state: LinkState,
    },
    /// Let something happen to a network card.
    Net {
        /// Its name.
        device: String,
        /// What.
        #[command(subcommand)]
        event: Event,
    },
    /// Network cards: cable, what was negotiated, counters.
    Nets,
    /// PCI buses: state, addresses, interrupts, bytes.
    Pcis {
        /// Just this one.
        device: Option<String>,
    },
    /// Send bytes to the guest by the serial port of a PCI bus.
    PciSend {
        /// The bus.
        device: String,
        /// What, as the source of `fcopy`.
        source: String,
    },
    /// What the guest has sent by the serial port of a PCI bus; with --take it is forgotten.
    PciReceived {
        /// The bus.
        device: String,
        /// Forget it.
        #[arg(long)]
        take: bool,
    },
    /// Ask the guest to let go of the function of a PCI bus, wait until it has, and withdraw the bus.
    Eject {
        /// The bus.
        device: String,
    },
    /// Hyper-V sockets: counters, and connections that have a channel. `rescind` ends one.
    Sockets,
    /// Connect to a program of the guest, send, and collect what comes until the guest has shut down its side; the answer
    /// tells how much that was, and whether it was what was sent.
    SocketConnect {
        /// Its port of VSOCK.
        port: u32,
        /// What to send, written as for `fcopy`.
        source: String,
        /// Give up after this many seconds.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
    /// Switch a misbehaviour on.
    Fault {
        /// Device name, `vmbus` for the bus, `all` for every device.
        device: String,
        /// Which.
        #[arg(value_enum)]
        fault: Fault,
        /// How many times (0 switches it off).
        #[arg(default_value_t = 1)]
        count: u32,
        /// Its parameter, decimal or 0x….
        #[arg(value_parser = parse_number)]
        value: Option<u64>,
    },
    /// Misbehaviours that are switched on; with --clear they are switched off.
    Faults {
        /// Switch all off.
        #[arg(long)]
        clear: bool,
    },
    /// Ask the guest to shut down; the answer is the status of the guest's reply.
    Shutdown {
        /// What to do.
        #[arg(value_enum)]
        action: shutdown::Action,
        /// Without asking the user.
        #[arg(long)]
        force: bool,
    },
    /// Send a shutdown request with any flags.
    ShutdownFlags {
        /// The flags, decimal or 0x….
        #[arg(value_parser = parse_number)]
        flags: u64,
    },
    /// Tell the guest the time: the host's clock plus SECONDS, as SYNC (set it) or with --sample (take note).
    Time {
        /// What to add to the host's clock.
        #[arg(allow_negative_numbers = true)]
        seconds: i64,
        /// Send a sample instead of a SYNC.
        #[arg(long)]
        sample: bool,
    },
    /// The time as the guest is told it, in seconds since 1970.
    Clock,
    /// Samples of the time, which are sent every five seconds: no more, or again.
    TimeSamples {
        /// Which.
        #[arg(value_parser = clap::builder::BoolishValueParser::new(), action = clap::ArgAction::Set)]
        on: bool,
    },
    /// Heartbeats answered and missed.
    Heartbeat,
    /// Read a key.
    KvpGet {
        /// Pool.
        #[arg(value_enum)]
        pool: Pool,
        /// Key.
        key: String,
    },
    /// Set a key.
    KvpSet {
        /// Pool.
        #[arg(value_enum)]
        pool: Pool,
        /// Key.
        key: String,
        /// Value.
        value: String,
        /// Type of the value.
        #[arg(value_enum, long = "type", default_value_t)]
        type_: ValueType,
    },
    /// Delete a key.
    KvpDelete {
        /// Pool.
        #[arg(value_enum)]
        pool: Pool,
        /// Key.
        key: String,
    },
    /// All keys of a pool, one `key=value` a line.
    KvpList {
        /// Pool.
        #[arg(value_enum)]
        pool: Pool,
    },
    /// Addresses of a network interface.
    KvpIp {
        /// VMBus instance in braces, or MAC address.
        adapter: String,
    },
    /// Set the addresses of a network interface.
    KvpSetIp {
        /// VMBus instance in braces, or MAC address.
        adapter: String,
        /// Addresses, `;` between.
        addresses: String,
        /// Netmasks, `;` between.
        netmasks: String,
        /// Gateway.
        #[arg(default_value = "")]
        gateway: String,
        /// Name servers.
        #[arg(default_value = "")]
        dns: String,
    },
    /// Volume snapshot request; the answer is the flags of the guest's reply.
    Vss {
        /// Which.
        #[arg(value_enum)]
        operation: vss::Operation,
    },
    /// Copy a file of this machine into the guest.
    Fcopy {
        /// File here; `text:…` stands for these characters, `pattern:N` for N bytes counting from 0 to 250 again and
        /// again.
        source: String,
        /// Folder in the guest.
        folder: String,
        /// File name in the guest.
        name: String,
        /// Replace an existing file.
        #[arg(long)]
        overwrite: bool,
        /// Make missing folders.
        #[arg(long)]
        create_path: bool,
    },
    /// Dynamic memory.
    #[command(flatten)]
    Memory(dynmem::Command),
    /// Keyboard and mouse.
    #[command(flatten)]
    Input(input::Command),
    /// End the run at once.
    Quit,
}

/// The state of a cable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LinkState {
    /// Plugged in.
    Up,
    /// Plugged out.
    Down,
}

/// Reads a number, decimal or with 0x.
fn parse_number(text: &str) -> Result<u64, String> {
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    }
    .map_err(|_| format!("'{text}' is no number"))
}

#[derive(Debug, Parser)]
#[command(name = "command", no_binary_name = true, disable_help_flag = true)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

/// Understands the words of a command; the error is one sentence.
pub fn parse(words: &[String]) -> Result<Command> {
    match Line::try_parse_from(words) {
        Ok(line) => Ok(line.command),
        Err(error) if error.kind() == ErrorKind::DisplayHelp => {
            let commands = Line::command();
            let names: Vec<&str> = commands.get_subcommands().map(|c| c.get_name()).collect();
            bail!("the commands are {}", names.join(", "))
        }
        Err(error) => {
            let text = error.to_string();
            let mut lines = text.lines().map(str::trim);
            let first = lines.next().unwrap_or("wrong command");
            let first = first.trim_start_matches("error: ");
            match lines.find(|line| line.starts_with("[possible values")) {
                Some(values) => bail!("{first} {values}"),
                None if words.is_empty() => bail!("a command is missing"),
                None => bail!("{first}"),
            }
        }
    }
}

/// What `rlis-host ctl help` prints.
pub fn help() -> String {
    let mut text = String::from("Commands:\n");
    for command in Line::command().get_subcommands_mut() {
        let about = command.get_about().map(ToString::to_string);
        text += &format!(
            "\n{}",
            command
                .render_usage()
                .to_string()
                .trim_start_matches("Usage: ")
        );
        text += &format!("\n    {}\n", about.unwrap_or_default());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_line(line: &str) -> Result<Command> {
        let words: Vec<String> = line.split_whitespace().map(Into::into).collect();
        parse(&words)
    }

    #[test]
    fn commands_are_understood() {
        assert!(
            matches!(parse_line("rescind scsi0"), Ok(Command::Rescind { device }) if device == "scsi0")
        );
        assert!(matches!(
            parse_line("fault kvp slow-reply 3 0x10"),
            Ok(Command::Fault {
                fault: Fault::SlowReply,
                count: 3,
                value: Some(16),
                ..
            })
        ));
        assert!(matches!(
            parse_line("time -5"),
            Ok(Command::Time {
                seconds: -5,
                sample: false
            })
        ));
    }

    #[test]
    fn input_is_understood() {
        for good in [
            "input",
            "key 0x1e",
            "key 0xe048 0xe11d 0x45 --up",
            "type abc",
            "type abc 25 --unicode",
            "mouse 0 32767",
            "mouse 1 2 left+right -3",
            "mouse-line 5 6 20",
        ] {
            assert!(parse_line(good).is_ok(), "{good}: {:?}", parse_line(good));
        }
        for bad in [
            "key",
            "key 0x80",
            "key 0",
            "key 0xe21c",
            "key 0xe09c",
            "key a",
            "key 0x1e --up --down",
            "type",
            "type abc 0",
            "mouse 1",
            "mouse 32768 0",
            "mouse -1 0",
            "mouse 1 1 back",
            "mouse 1 1 left 32768",
            "mouse-line 5 6 0",
        ] {
            let error = parse_line(bad).unwrap_err().to_string();
            assert!(!error.is_empty() && !error.contains('\n'), "{bad}: {error}");
        }
    }

    #[test]
    fn dynamic_memory_is_understood() {
        for good in [
            "memory",
            "balloon 64M",
            "balloon 4K --seconds 5",
            "unballoon",
            "unballoon 1M --ranges 1",
            "hot-add 128M",
            "hot-add 64M --at 0 --region none",
            "hot-add 64M --at 128M --region again",
            "memory-send 0600100001000000",
        ] {
            assert!(parse_line(good).is_ok(), "{good}: {:?}", parse_line(good));
        }
        for bad in [
            "balloon",
            "balloon 0",
            "balloon 100",
            "balloon 16385G",
            "unballoon 1M --ranges 511",
            "hot-add 1M --region half",
            "hot-add 1M --at 5",
            "memory-send 123",
            "memory-send 1g",
        ] {
            let error = parse_line(bad).unwrap_err().to_string();
            assert!(!error.is_empty() && !error.contains('\n'), "{bad}: {error}");
        }
    }

    #[test]
    fn help_names_every_command() {
        let text = help();
        for command in Line::command().get_subcommands() {
            assert!(text.contains(command.get_name()));
        }
    }

    #[test]
    fn wrong_commands_get_one_sentence() {
        for line in [
            "",
            "nonsense",
            "fault scsi0 no-such-fault",
            "rescind",
            "fault a no-reply x",
            "time soon",
        ] {
            let error = parse_line(line).unwrap_err().to_string();
            assert!(
                !error.is_empty() && !error.contains('\n'),
                "{line}: {error}"
            );
        }
        let error = parse_line("fault scsi0 no-such-fault")
            .unwrap_err()
            .to_string();
        assert!(error.contains("no-such-fault"), "{error}");
    }
}
