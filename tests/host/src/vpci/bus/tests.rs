// SPDX-License-Identifier: GPL-2.0

//! A bus on a channel, from the version to the ejection; the guest's processors are played by calls of the MMIO bus.

use std::sync::atomic::{AtomicU64, Ordering};

use vm_memory::{Bytes, GuestAddress};
use zerocopy::{FromZeros, Immutable, IntoBytes};

use super::*;
use crate::hyperv::remap::MsiLine;
use crate::vmbus::guest::{Guest, GuestChannel};
use crate::vmbus::ring::{COMPLETION, DATA_INBAND};
use crate::vpci::protocol::*;
use crate::vpci::serial::{BARS, DESCRIPTION};
use crate::vpci::spec::parse_pci;
use crate::vpci::vmxnet3::tests::{frame, give_both, lay_out};

const WINDOW_AT: u64 = 0xF800_0000;
const UART_AT: u64 = 0xF900_0000;
const MEMORY_AT: u64 = 0x10_0000_0000;

/// The last MSI: destination and vector.
#[derive(Clone, Default)]
struct LastMsi(Arc<AtomicU64>);

impl MsiLine for LastMsi {
    fn send(&self, address: u64, data: u32) -> std::io::Result<()> {
        let value = ((address & 0xFFFF_FFFF) << 32) | u64::from(data);
        self.0.store(value, Ordering::SeqCst);
        Ok(())
    }
}

struct Bench {
    guest: Guest,
    channel: GuestChannel,
    relid: u32,
    bus: Arc<Bus>,
    mmio: Arc<Mmio>,
    msi: LastMsi,
}

impl Bench {
    /// A bus whose channel is open.
    fn open(spec: &str) -> Self {
        let mut guest = Guest::new();
        let (msi, mmio) = (LastMsi::default(), Arc::new(Mmio::default()));
        let violations = guest.shared.violations.clone();
        let remapper = Remapper::new(Box::new(msi.clone()), 2, violations.clone());
        let spec = parse_pci(spec).unwrap();
        let bus = Bus::new(spec, 3, Arc::new(remapper), mmio.clone(), violations).unwrap();
        let (relid, channel) = guest.open_device(bus.offer());
        Self {
            guest,
            channel,
            relid,
            bus,
            mmio,
            msi,
        }
    }

    fn packet<T: IntoBytes + Immutable + ?Sized>(&mut self, message: &T, completion: bool) {
        let packet = Packet {
            type_: DATA_INBAND,
            flags: completion.into(),
            transaction: if completion { 77 } else { 0 },
            header: Vec::new(),
            payload: message.as_bytes().to_vec(),
        };
        self.guest.send(&mut self.channel, &packet);
    }

    fn tell<T: IntoBytes + Immutable + ?Sized>(&mut self, message: &T) {
        self.packet(message, false);
    }

    /// Sends a message and returns its completion.
    fn ask<T: IntoBytes + Immutable + ?Sized>(&mut self, message: &T) -> Vec<u8> {
        self.packet(message, true);
        self.completion()
    }

    fn completion(&mut self) -> Vec<u8> {
        let packet = self.guest.receive(&mut self.channel);
        assert_eq!((packet.type_, packet.transaction), (COMPLETION, 77));
        packet.payload
    }

    fn status<T: IntoBytes + Immutable + ?Sized>(&mut self, message: &T) -> u32 {
        let completion = self.ask(message);
        u32::from_le_bytes(completion[..4].try_into().unwrap())
    }

    /// A message of the host.
    fn told(&mut self) -> Vec<u8> {
        let packet = self.guest.receive(&mut self.channel);
        assert_eq!((packet.type_, packet.transaction), (DATA_INBAND, 0));
        packet.payload
    }

    fn version(&mut self, version: u32) -> u32 {
        self.status(&[QUERY_PROTOCOL_VERSION, version])
    }

    /// Everything that pci-hyperv does before it scans the bus.
    fn in_d0(spec: &str, version: u32) -> Self {
        let mut bench = Self::open(spec);
        assert_eq!(bench.version(version), SUCCESS);
        bench.tell(&QUERY_BUS_RELATIONS);
        bench.told();
        bench.packet(&d0(WINDOW_AT), true);
        bench.told();
        assert_eq!(bench.completion()[..4], [0; 4]);
        bench.config_write(0x10, 0xF900_0000);
        bench.config_write(0x18, 0);
        bench.config_write(0x1C, 0x10);
        bench.config_write(4, 6);
        bench
    }

    fn config_write(&self, at: u64, value: u32) {
        self.mmio.write(WINDOW_AT, &0u32.to_le_bytes());
        self.mmio
            .write(WINDOW_AT + CONFIG_PAGE + at, &value.to_le_bytes());
    }

    fn read(&self, address: u64) -> u32 {
        let mut data = [0; 4];
        self.mmio.read(address, &mut data);
        u32::from_le_bytes(data)
    }

    fn uart(&self, register: u64) -> u8 {
        let mut data = [0];
        self.mmio.read(UART_AT + register, &mut data);
        data[0]
    }

    /// Makes a message, programs it, and lets the serial port interrupt.
    fn msi(&mut self, message: &(impl IntoBytes + Immutable)) -> InterruptCreated {
        let answer = self.program(message);
        self.mmio.write(UART_AT + 1, &[1]);
        answer
    }

    /// Makes a message and programs it.
    fn program(&mut self, message: &(impl IntoBytes + Immutable)) -> InterruptCreated {
        let answer: InterruptCreated = read(&self.ask(message)).unwrap();
        assert_eq!(answer.status, SUCCESS);
        self.config_write(0x54, u32::try_from(answer.message.address).unwrap());
        self.config_write(0x5C, answer.message.data);
        self.config_write(0x50, 1 << 16);
        answer
    }

    /// Waits until the host has recorded a violation.
    fn violation(&self) -> String {
        for _ in 0..10_000 {
            if let Some(first) = self.guest.violations().into_iter().next() {
                return first;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("no violation was recorded");
    }
}

fn d0(mmio_base: u64) -> D0Entry {
    D0Entry {
        type_: BUS_D0ENTRY,
        reserved: 0,
        mmio_base,
    }
}

fn create3(vector: u32, vp: u16) -> CreateInterrupt3 {
    let mut message = CreateInterrupt3::new_zeroed();
    message.type_ = CREATE_INTERRUPT_MESSAGE3;
    message.vector = vector;
    message.vector_count = 1;
    message.processor_count = 1;
    message.processors[0] = vp;
    message
}

#[test]
fn versions_are_agreed_on() {
    let mut bench = Bench::open("pci0,version=1.2");
    assert_eq!(bench.version(VERSION_1_4), REVISION_MISMATCH);
    assert_eq!(bench.version(0x1_0000), REVISION_MISMATCH);
    assert_eq!(bench.version(VERSION_1_2), SUCCESS);
    assert_eq!(bench.version(VERSION_1_2), BAD_DATA);
    assert!(bench.violation().contains("0x42490013"));
}

#[test]
fn the_function_is_described() {
    for (version, type_, size) in [
        (VERSION_1_1, BUS_RELATIONS, 32),
        (VERSION_1_2, BUS_RELATIONS, 32),
        (VERSION_1_3, BUS_RELATIONS2, 40),
        (VERSION_1_4, BUS_RELATIONS2, 40),
    ] {
        let mut bench = Bench::open("pci0");
        assert_eq!(bench.version(version), SUCCESS);
        bench.tell(&QUERY_BUS_RELATIONS);
        let told = bench.told();
        assert_eq!(told.len(), size, "{version:#x}");
        assert_eq!(told[..8], *[type_, 1].as_bytes());
        assert_eq!(told[8..28], *DESCRIPTION.as_bytes());
        let answer: Requirements = read(&bench.ask(&[QUERY_RESOURCE_REQUIREMENTS, 0])).unwrap();
        assert_eq!((answer.status, answer.bars), (SUCCESS, BARS));
        assert_eq!(bench.guest.violations(), [""; 0]);
    }
}

#[test]
fn bytes_and_interrupts_go_through() {
    let mut bench = Bench::in_d0("pci0", VERSION_1_4);
    assert_eq!(bench.read(WINDOW_AT + CONFIG_PAGE), 0x9900_9710);
    let mut assigned = vec![0; RESOURCES_ASSIGNED2_SIZE];
    assigned[..4].copy_from_slice(RESOURCES_ASSIGNED2.as_bytes());
    assert_eq!(bench.status(&*assigned), SUCCESS);
    let created = bench.msi(&create3(0x51, 1));
    bench.mmio.write(UART_AT, b"g");
    assert_eq!(bench.bus.received(true).unwrap(), b"g");
    bench.bus.send(b"h").unwrap();
    assert_eq!(bench.msi.0.load(Ordering::SeqCst), 0xFEE0_1000_0000_0051);
    assert_eq!(bench.uart(0), b'h');
    bench.mmio.write(MEMORY_AT + 8, &[1, 2, 3, 4]);
    assert_eq!(bench.read(MEMORY_AT + 8), 0x0403_0201);
    let line = bench.bus.describe();
    for part in [
        "pci0 version=1.4 d0=yes window=0xf8000000 bar0=0xf9000000 bar2=0x1000000000 assigned=yes",
        " msi=on messages=1 undeleted=0 interrupts=1 by_vcpu=1:1 ",
    ] {
        assert!(line.contains(part), "{line}");
    }
    // A message that was deleted but is still programmed goes nowhere.
    let delete = DeleteInterrupt {
        type_: DELETE_INTERRUPT_MESSAGE,
        slot: 0,
        message: created.message,
    };
    bench.tell(&delete);
    bench.tell(&[RESOURCES_RELEASED, 0]);
    assert_eq!(bench.status(&BUS_D0EXIT), SUCCESS);
    assert!(bench.bus.send(b"x").is_err());
    for address in [WINDOW_AT + CONFIG_PAGE, UART_AT, MEMORY_AT + 8] {
        assert_eq!(bench.read(address), u32::MAX, "{address:#x}");
    }
    assert!(bench.bus.describe().contains(" undeleted=0 "));
    assert_eq!(bench.guest.violations(), [""; 0]);
    bench.tell(&delete);
    assert!(bench.violation().contains("deleted message"));
}

#[test]
fn interrupts_of_the_older_versions() {
    let mut bench = Bench::in_d0("pci0", VERSION_1_1);
    bench.msi(&CreateInterrupt {
        type_: CREATE_INTERRUPT_MESSAGE,
        slot: 0,
        vector: 0x31,
        delivery_mode: 0,
        vector_count: 1,
        reserved: 0,
        cpu_mask: u64::MAX,
    });
    bench.bus.send(b"h").unwrap();
    assert_eq!(bench.msi.0.load(Ordering::SeqCst), 0xFEE0_0000_0000_0031);
    assert_eq!(bench.status(&create3(0x31, 0)), BAD_DATA);
    bench.violation();

    let mut bench = Bench::in_d0("pci0", VERSION_1_3);
    let mut message = CreateInterrupt2::new_zeroed();
    message.type_ = CREATE_INTERRUPT_MESSAGE2;
    message.vector = 0x32;
    message.vector_count = 1;
    message.processor_count = 1;
    message.processors[0] = 1;
    bench.msi(&message);
    bench.bus.send(b"h").unwrap();
    assert_eq!(bench.msi.0.load(Ordering::SeqCst), 0xFEE0_1000_0000_0032);
    assert_eq!(bench.guest.violations(), [""; 0]);
}

#[test]
fn a_function_is_ejected() {
    let mut bench = Bench::in_d0("pci0", VERSION_1_4);
    let bus = bench.bus.clone();
    let host = std::thread::spawn(move || bus.eject());
    assert_eq!(bench.told()[..8], *[EJECT, 0].as_bytes());
    assert!(bench.bus.eject().is_err(), "twice");
    bench.tell(&[EJECTION_COMPLETE, 0, 0]);
    host.join().unwrap().unwrap();
    assert_eq!(bench.read(WINDOW_AT + CONFIG_PAGE), u32::MAX);
    assert_eq!(bench.uart(5), 0xFF);
    bench.tell(&QUERY_BUS_RELATIONS);
    assert_eq!(bench.told(), [BUS_RELATIONS2, 0].as_bytes());
    assert_eq!(bench.guest.violations(), [""; 0]);
    bench.tell(&[EJECTION_COMPLETE, 0, 0]);
    assert!(bench.violation().contains("no ejection"));
}

#[test]
fn a_guest_that_closes_leaves_nothing_behind() {
    let mut bench = Bench::in_d0("pci0", VERSION_1_4);
    bench.msi(&create3(0x51, 0));
    bench.guest.close(&bench.channel);
    bench.guest.teardown(bench.relid, 0x10);
    for address in [WINDOW_AT + CONFIG_PAGE, UART_AT, MEMORY_AT] {
        assert_eq!(bench.read(address), u32::MAX, "{address:#x}");
    }
    let line = bench.bus.describe();
    assert!(
        line.contains(" d0=no ") && line.contains(" messages=0 undeleted=0 "),
        "{line}"
    );
    assert!(bench.bus.eject().is_err());
    // The next guest finds a function that was reset.
    bench.channel = bench.guest.open(bench.relid, 0x11, 32..40);
    assert_eq!(bench.version(VERSION_1_1), SUCCESS);
    bench.packet(&d0(WINDOW_AT), true);
    bench.told();
    bench.completion();
    assert_eq!(bench.read(WINDOW_AT + CONFIG_PAGE + 0x10), 0);
    // It leaves the bus with an interrupt that it has not deleted.
    bench.msi(&CreateInterrupt {
        type_: CREATE_INTERRUPT_MESSAGE,
        vector: 0x31,
        vector_count: 1,
        cpu_mask: 1,
        ..CreateInterrupt::new_zeroed()
    });
    assert_eq!(bench.status(&BUS_D0EXIT), SUCCESS);
    let line = bench.bus.describe();
    assert!(line.contains(" messages=0 undeleted=1 "), "{line}");
    assert_eq!(bench.guest.violations(), [""; 0]);
}

#[test]
fn messages_out_of_turn_are_recorded() {
    let mut bench = Bench::open("pci0");
    assert_eq!(bench.status(&d0(WINDOW_AT)), BAD_DATA);
    assert!(bench.violation().contains("at version None"));
    assert_eq!(bench.version(VERSION_1_4), SUCCESS);
    for wrong in [
        0x1000,
        WINDOW_AT + 4,
        0xFBFF_F000,
        0x1F_FFFF_F000,
        u64::MAX - 0xFFF,
    ] {
        assert_eq!(bench.status(&d0(wrong)), BAD_DATA, "{wrong:#x}");
        assert!(bench.violation().contains("a window at"));
    }
    assert_eq!(bench.status(&create3(0x51, 0)), BAD_DATA);
    assert!(bench.violation().contains("outside of D0"));
    assert_eq!(bench.status(&BUS_D0EXIT), BAD_DATA);
    bench.violation();
    assert_eq!(bench.status(&0x4249_0009u32), NOT_SUPPORTED);
    bench.violation();
    bench.tell(&d0(WINDOW_AT));
    assert!(bench.violation().contains("completion requested: false"));
    bench.tell(&[EJECTION_COMPLETE, 0, 0]);
    bench.violation();
    bench.tell(&0u16);
    bench.violation();
}

#[test]
fn wrong_interrupts_and_accesses_are_recorded() {
    let mut bench = Bench::in_d0("pci0", VERSION_1_4);
    let good = create3(0x51, 0);
    for wrong in [
        CreateInterrupt3 { vector: 5, ..good },
        CreateInterrupt3 { slot: 1, ..good },
        CreateInterrupt3 {
            delivery_mode: 2,
            ..good
        },
        CreateInterrupt3 {
            vector_count: 2,
            ..good
        },
        CreateInterrupt3 {
            processor_count: 33,
            ..good
        },
        CreateInterrupt3 {
            processor_count: 0,
            ..good
        },
        CreateInterrupt3 {
            processors: [9; 32],
            ..good
        },
    ] {
        assert_eq!(bench.status(&wrong), BAD_DATA, "{wrong:?}");
        bench.violation();
    }
    // A message that the host has not made.
    bench.config_write(0x54, 0xFEE0_0000);
    bench.config_write(0x5C, 0x31);
    bench.config_write(0x50, 1 << 16);
    bench.mmio.write(UART_AT + 1, &[1]);
    bench.bus.send(b"x").unwrap();
    assert!(bench.violation().contains("unknown message"));
    // A base address while it is in use, and one that is not the bus's.
    bench.config_write(0x10, 0xF900_1000);
    assert!(bench.violation().contains("a base address is written"));
    bench.config_write(4, 0);
    bench.config_write(0x10, 0x1000);
    bench.config_write(4, 2);
    assert!(bench.violation().contains("BAR 0: 0x1000 is not VMBus's"));
    // The page where functions are chosen.
    bench.mmio.write(WINDOW_AT + 4, &[0; 4]);
    bench.violation();
    bench.read(WINDOW_AT);
    bench.violation();
    let mut data = [0; 8];
    bench.mmio.read(WINDOW_AT + CONFIG_PAGE, &mut data);
    bench.violation();
    // A function that is not there.
    bench.mmio.write(WINDOW_AT, &1u32.to_le_bytes());
    assert_eq!(bench.read(WINDOW_AT + CONFIG_PAGE), u32::MAX);
    assert_eq!(bench.guest.violations(), [""; 0]);
}

/// A bus with a network card that answers in memory space.
fn with_card() -> Bench {
    let spec = "pci0,function=vmxnet3,serial=9,mac=00:15:5d:00:01:00";
    let mut bench = Bench::open(spec);
    assert_eq!(bench.version(VERSION_1_4), SUCCESS);
    bench.tell(&QUERY_BUS_RELATIONS);
    let told = bench.told();
    assert_eq!(told[8..12], [0xAD, 0x15, 0xB0, 0x07]);
    assert_eq!(told[24..28], 9u32.to_le_bytes(), "the serial number");
    bench.packet(&d0(WINDOW_AT), true);
    bench.told();
    bench.completion();
    bench.config_write(0x10, 0xF900_0000);
    bench.config_write(0x14, 0xF900_1000);
    bench.config_write(4, 6);
    bench
}

#[test]
fn frames_go_between_the_guest_and_the_wire() {
    let mut bench = with_card();
    let sent = Arc::new(Mutex::new(Frames::new()));
    let (bus, wire) = (Arc::downgrade(&bench.bus), sent.clone());
    // The wire brings each frame back at once.
    bench.bus.connect(move |frames| {
        let lost = vf::Function::receive(&*bus.upgrade().unwrap(), &frames);
        assert_eq!(lost, 0);
        wire.lock().unwrap().extend(frames);
    });
    bench.program(&create3(0x51, 1));
    let memory = bench.guest.memory.clone();
    let shared = u32::try_from(lay_out(&memory)).unwrap();
    let frame = frame([0, 0x15, 0x5D, 0, 1, 0], 90);
    let came = give_both(&memory, &frame);
    let write = |at, value: u32| bench.mmio.write(UART_AT + at, &value.to_le_bytes());
    write(0x1010, shared);
    write(0x1018, 0);
    write(0x1020, 0xCAFE_0000);
    assert_eq!(bench.read(UART_AT + 0x1020), 0, "active");
    write(0x600, 1);
    assert_eq!(*sent.lock().unwrap(), [frame.clone()]);
    let mut bytes = vec![0; 90];
    memory.read_slice(&mut bytes, GuestAddress(came)).unwrap();
    assert_eq!(bytes, frame);
    assert_eq!(bench.msi.0.load(Ordering::SeqCst), 0, "masked");
    write(0, 0);
    assert_eq!(bench.msi.0.load(Ordering::SeqCst), 0xFEE0_1000_0000_0051);
    let line = bench.bus.describe();
    let end = " active=yes mtu=1500 sent=1 received=1 frames_lost=0 ";
    assert!(line.contains(end), "{line}");
    // What is reset is driven by nobody.
    assert_eq!(bench.status(&BUS_D0EXIT), SUCCESS);
    assert_eq!(vf::Function::receive(&*bench.bus, &[frame]), 1);
    assert!(bench.bus.describe().contains(" active=no "));
    assert_eq!(bench.guest.violations(), [""; 0]);
}

#[test]
fn a_network_card_is_reached_through_its_bars() {
    let bench = with_card();
    let register = UART_AT + 0x1000;
    assert_eq!(bench.read(register + 0x28), 0x005D_1500, "the address");
    bench
        .mmio
        .write(register + 0x20, &0xF00D_0008u32.to_le_bytes());
    assert_eq!(bench.read(register + 0x20), 2, "MSI");
    let line = bench.bus.describe();
    let end = " function=vmxnet3 serial=9 mac=00:15:5d:00:01:00 link=up active=no mtu=0 sent=0 received=0 ";
    assert!(line.contains(end), "{line}");
    // Nobody drives it.
    assert_eq!(vf::Function::receive(&*bench.bus, &[vec![0; 60]]), 1);
    bench.bus.set_link(false).unwrap();
    assert!(bench.bus.describe().contains(" link=down "));
    assert!(bench.bus.send(b"x").is_err(), "no serial port");
    assert!(bench.bus.received(true).is_err());
    assert_eq!(bench.guest.violations(), [""; 0]);
    bench.mmio.write(register + 0x20, &0u32.to_le_bytes());
    assert!(bench.violation().contains("command 0x0"));
    assert!(Bench::in_d0("pci0", VERSION_1_4)
        .bus
        .set_link(true)
        .is_err());
}

#[test]
fn a_network_card_needs_an_address() {
    let violations = Arc::new(Violations::default());
    let remapper = Remapper::new(Box::<LastMsi>::default(), 1, violations.clone());
    let spec = parse_pci("pci0,function=vmxnet3").unwrap();
    let mmio = Arc::new(Mmio::default());
    assert!(Bus::new(spec, 0, Arc::new(remapper), mmio, violations).is_err());
}
