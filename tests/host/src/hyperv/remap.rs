// SPDX-License-Identifier: GPL-2.0

//! Interrupts of devices that are passed through. The host hands out the messages that a device writes; which vector
//! of which virtual processor stands behind one is told when it is made, and changed by the hypercall
//! HvCallRetargetDeviceInterrupt (TLFS chapter 10.8; struct hv_retarget_device_interrupt of
//! include/hyperv/hvgdk_mini.h).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{bail, ensure, Context, Result};
use vm_memory::{Bytes, GuestAddress};
use zerocopy::FromBytes;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::hypercall::{INVALID_ALIGNMENT, INVALID_HYPERCALL_INPUT, INVALID_PARAMETER, SUCCESS};
use crate::memory::Memory;
use crate::violations::Violations;

/// HvCallRetargetDeviceInterrupt.
pub const RETARGET_DEVICE_INTERRUPT: u16 = 0x7E;
/// Bit 16 of the control word: the input is in registers, which this call does not fit into.
const FAST: u64 = 1 << 16;
/// Bits 17 to 26 of the control word: units of 8 bytes that follow the fixed part of the input.
const VARIABLE_SHIFT: u32 = 17;
const VARIABLE_MASK: u64 = 0x3FF;
/// HV_PARTITION_ID_SELF.
const SELF: u64 = u64::MAX;
/// HV_INTERRUPT_SOURCE_MSI.
const SOURCE_MSI: u32 = 1;
/// HV_DEVICE_INTERRUPT_TARGET_PROCESSOR_SET.
const PROCESSOR_SET: u32 = 2;
/// HV_GENERIC_SET_SPARSE_4K: the banks that the mask names follow, 64 processors each.
const SPARSE: u64 = 0;

/// The address of all messages: that of the local APICs, as devices expect it.
const ADDRESS: u64 = 0xFEE0_0000;
/// The data of the first message. No vector is so large: a message that is used without the host is recognised.
const FIRST_DATA: u32 = 0x100;
/// Vectors below are the processor's own.
const FIRST_VECTOR: u32 = 0x10;

/// What the host writes for a device: raises a vector of a virtual processor.
pub trait MsiLine: Send + Sync {
    /// Writes `data` to `address`, as a device on the machine's own bus would.
    fn send(&self, address: u64, data: u32) -> std::io::Result<()>;
}

/// A message as a device's MSI registers hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where the device writes to.
    pub address: u64,
    /// What it writes.
    pub data: u32,
}

impl Message {
    /// What stands in the registers of a device that got none (hv_compose_msi_msg in pci-hyperv.c).
    const EMPTY: Self = Self {
        address: 0,
        data: 0,
    };
}

/// Where an interrupt goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Vector in the interrupt descriptor table.
    pub vector: u32,
    /// Virtual processors; one of them gets it.
    pub vps: Vec<u32>,
}

struct Entry {
    device: u32,
    vector: u8,
    vp: u8,
}

#[derive(Default)]
struct Table {
    /// Devices whose channel is open.
    devices: BTreeSet<u32>,
    /// Messages in use, by their data.
    entries: BTreeMap<u32, Entry>,
    /// Messages that were handed out so far.
    count: u32,
    retargets: BTreeMap<u32, u64>,
}

/// The table of all messages.
pub struct Remapper {
    line: Box<dyn MsiLine>,
    vps: u32,
    violations: Arc<Violations>,
    table: Mutex<Table>,
}

impl Remapper {
    /// An empty table of a machine with `vps` virtual processors.
    pub fn new(line: Box<dyn MsiLine>, vps: u32, violations: Arc<Violations>) -> Self {
        Self {
            line,
            vps,
            violations,
            table: Mutex::default(),
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Every change is a single map operation.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The vector and the processor that `target` means.
    fn resolve(&self, target: &Target) -> Result<(u8, u8)> {
        let vector = u8::try_from(target.vector)
            .ok()
            .filter(|v| u32::from(*v) >= FIRST_VECTOR)
            .with_context(|| format!("vector {:#x}", target.vector))?;
        let vp = target.vps.iter().min().context("no processor")?;
        if let Some(wrong) = target.vps.iter().find(|vp| **vp >= self.vps) {
            bail!("virtual processor {wrong}, which is not there");
        }
        Ok((vector, u8::try_from(*vp)?))
    }

    /// A device's channel was opened; `device` is its logical device id.
    pub fn open(&self, device: u32) {
        self.table().devices.insert(device);
    }

    /// A device's channel was closed.
    pub fn close(&self, device: u32) {
        self.table().devices.remove(&device);
    }

    /// Makes a message of `device` for `target`.
    pub fn create(&self, device: u32, target: &Target) -> Result<Message> {
        let (vector, vp) = self.resolve(target)?;
        let mut table = self.table();
        let data = table
            .count
            .checked_add(FIRST_DATA)
            .context("all messages were used")?;
        table.count += 1;
        table.entries.insert(data, Entry { device, vector, vp });
        Ok(Message {
            address: ADDRESS,
            data,
        })
    }

    /// Forgets a message of `device`.
    pub fn delete(&self, device: u32, message: Message) -> Result<()> {
        let mut table = self.table();
        table.find(device, message)?;
        table.entries.remove(&message.data);
        Ok(())
    }

    /// Forgets all messages of `device`. Returns how many there were.
    pub fn delete_all(&self, device: u32) -> usize {
        let mut table = self.table();
        let before = table.entries.len();
        table.entries.retain(|_, e| e.device != device);
        before - table.entries.len()
    }

    /// How many messages `device` has.
    pub fn live(&self, device: u32) -> usize {
        let table = self.table();
        table
            .entries
            .values()
            .filter(|e| e.device == device)
            .count()
    }

    /// How often the interrupts of `device` were moved.
    pub fn retargets(&self, device: u32) -> u64 {
        self.table().retargets.get(&device).copied().unwrap_or(0)
    }

    /// The device writes `message`. Returns the virtual processor that was interrupted; `None` if the message is one
    /// that the guest has deleted, or the empty one that Linux writes if it could not get any.
    pub fn deliver(&self, device: u32, message: Message) -> Result<Option<u8>> {
        if message == Message::EMPTY {
            return Ok(None);
        }
        let table = self.table();
        let (vector, vp) = match table.find(device, message) {
            Ok(entry) => (entry.vector, entry.vp),
            Err(_) if table.was_deleted(message) => return Ok(None),
            Err(error) => return Err(error),
        };
        drop(table);
        // Fixed delivery to one physical APIC id, edge-triggered (Intel SDM volume 3, chapter 11.11).
        self.line
            .send(ADDRESS | (u64::from(vp) << 12), vector.into())
            .context("KVM takes no MSI")?;
        Ok(Some(vp))
    }

    /// Moves a message of `device`.
    fn retarget(&self, device: u32, message: Message, target: &Target) -> Result<()> {
        let (vector, vp) = self.resolve(target)?;
        let mut table = self.table();
        table.find(device, message)?;
        table
            .entries
            .insert(message.data, Entry { device, vector, vp });
        *table.retargets.entry(device).or_default() += 1;
        Ok(())
    }

    /// Carries out HvCallRetargetDeviceInterrupt with control word `input` and the input at `page`. Returns its status.
    pub fn hypercall(&self, memory: &Memory, input: u64, page: u64) -> u16 {
        if input & FAST != 0 {
            return INVALID_HYPERCALL_INPUT;
        }
        if page % 8 != 0 {
            return INVALID_ALIGNMENT;
        }
        let call = match Retarget::read(memory, input, page) {
            Ok(call) => call,
            Err(error) => {
                self.violations
                    .record(format!("HvCallRetargetDeviceInterrupt: {error:#}"));
                return INVALID_PARAMETER;
            }
        };
        let result = self.retarget(call.device, call.message, &call.target);
        match result {
            Ok(()) => SUCCESS,
            // Linux moves the interrupts of a bus that hibernates, and bears that this fails.
            Err(_) if !self.table().devices.contains(&call.device) => INVALID_PARAMETER,
            Err(error) => {
                self.violations.record(format!(
                    "HvCallRetargetDeviceInterrupt of device {:#x}: {error:#}",
                    call.device
                ));
                INVALID_PARAMETER
            }
        }
    }
}

impl Table {
    fn was_deleted(&self, message: Message) -> bool {
        let number = message.data.checked_sub(FIRST_DATA);
        message.address == ADDRESS
            && number.is_some_and(|n| n < self.count)
            && !self.entries.contains_key(&message.data)
    }

    fn find(&self, device: u32, message: Message) -> Result<&Entry> {
        let entry = self.entries.get(&message.data);
        entry
            .filter(|e| e.device == device && message.address == ADDRESS)
            .with_context(|| {
                let deleted = match self.was_deleted(message) {
                    true => "deleted",
                    false => "unknown",
                };
                format!("{deleted} message {message:x?}")
            })
    }
}

/// The fixed part of the hypercall's input, up to the first word of the target.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct RetargetInput {
    partition: u64,
    device: u64,
    source: u32,
    reserved: u32,
    address: u32,
    data: u32,
    reserved2: u64,
    vector: u32,
    flags: u32,
    /// A mask of virtual processors, or the format of the set that follows.
    mask_or_format: u64,
}

struct Retarget {
    device: u32,
    message: Message,
    target: Target,
}

impl Retarget {
    fn read(memory: &Memory, input: u64, page: u64) -> Result<Self> {
        const FIXED: usize = size_of::<RetargetInput>();
        let variable = usize::try_from((input >> VARIABLE_SHIFT) & VARIABLE_MASK)? * 8;
        let mut bytes = vec![0; FIXED + variable];
        memory
            .read_slice(&mut bytes, GuestAddress(page))
            .with_context(|| format!("input at {page:#x}"))?;
        let (fixed, rest) = RetargetInput::read_from_prefix(&bytes)
            .ok()
            .context("no input")?;
        ensure!(
            fixed.partition == SELF,
            "partition {:#x} is not the guest's own",
            fixed.partition
        );
        ensure!(
            fixed.source == SOURCE_MSI && fixed.reserved == 0,
            "interrupt source {}",
            fixed.source
        );
        let vps = match fixed.flags {
            0 => {
                ensure!(rest.is_empty(), "{} bytes behind a mask", rest.len());
                bits(fixed.mask_or_format, 0)
            }
            PROCESSOR_SET => sparse_set(fixed.mask_or_format, rest)?,
            other => bail!("target flags {other:#x}"),
        };
        Ok(Self {
            device: u32::try_from(fixed.device).context("logical device id")?,
            message: Message {
                address: fixed.address.into(),
                data: fixed.data,
            },
            target: Target {
                vector: fixed.vector,
                vps,
            },
        })
    }
}

fn bits(word: u64, first: u32) -> Vec<u32> {
    (0..64)
        .filter(|bit| word & (1 << bit) != 0)
        .map(|bit| first + bit)
        .collect()
}

/// The processors of a struct hv_vpset whose mask of banks and banks are `rest`.
fn sparse_set(format: u64, rest: &[u8]) -> Result<Vec<u32>> {
    ensure!(format == SPARSE, "processor set of format {format}");
    let mut words = rest
        .chunks_exact(8)
        .filter_map(|c| c.try_into().ok().map(u64::from_le_bytes));
    let valid = words.next().context("a processor set without its mask")?;
    let banks: Vec<u64> = words.collect();
    let named = bits(valid, 0);
    ensure!(
        banks.len() == named.len(),
        "{} banks where the mask {valid:#x} names {}",
        banks.len(),
        named.len()
    );
    let members = named.iter().zip(banks);
    Ok(members.flat_map(|(n, bank)| bits(bank, n * 64)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::IntoBytes;

    const DEVICE: u32 = 0x1000_7262;
    const PAGE: u64 = 0x2000;

    struct Log(Arc<Mutex<Vec<(u64, u32)>>>);

    impl MsiLine for Log {
        fn send(&self, address: u64, data: u32) -> std::io::Result<()> {
            self.0.lock().unwrap().push((address, data));
            Ok(())
        }
    }

    struct Bench {
        remapper: Remapper,
        memory: Memory,
        sent: Arc<Mutex<Vec<(u64, u32)>>>,
        violations: Arc<Violations>,
    }

    fn bench() -> Bench {
        let (sent, violations) = (Arc::default(), Arc::<Violations>::default());
        let line = Box::new(Log(Arc::clone(&sent)));
        let remapper = Remapper::new(line, 4, violations.clone());
        remapper.open(DEVICE);
        Bench {
            remapper,
            memory: crate::memory::allocate(1 << 20).unwrap(),
            sent,
            violations,
        }
    }

    fn target(vector: u32, vps: &[u32]) -> Target {
        Target {
            vector,
            vps: vps.to_vec(),
        }
    }

    impl Bench {
        fn call(&self, input: RetargetInput, rest: &[u64]) -> u16 {
            let mut bytes = input.as_bytes().to_vec();
            bytes.extend(rest.iter().flat_map(|w| w.to_le_bytes()));
            self.memory.write_slice(&bytes, GuestAddress(PAGE)).unwrap();
            let control = u64::from(RETARGET_DEVICE_INTERRUPT) | ((rest.len() as u64) << 17);
            self.remapper.hypercall(&self.memory, control, PAGE)
        }
    }

    fn input(message: Message, flags: u32, mask: u64) -> RetargetInput {
        RetargetInput {
            partition: SELF,
            device: DEVICE.into(),
            source: SOURCE_MSI,
            reserved: 0,
            address: u32::try_from(message.address).unwrap(),
            data: message.data,
            reserved2: 0,
            vector: 0x41,
            flags,
            mask_or_format: mask,
        }
    }

    #[test]
    fn the_input_has_the_layout_of_the_header() {
        assert_eq!(size_of::<RetargetInput>(), 56);
        assert_eq!(std::mem::offset_of!(RetargetInput, address), 24);
        assert_eq!(std::mem::offset_of!(RetargetInput, vector), 40);
    }

    #[test]
    fn a_message_goes_where_it_was_moved_to() {
        let b = bench();
        let message = b
            .remapper
            .create(DEVICE, &target(0x30, &[0, 1, 2, 3]))
            .unwrap();
        assert_eq!(b.remapper.deliver(DEVICE, message).unwrap(), Some(0));
        assert_eq!(b.call(input(message, 0, 1 << 2), &[]), SUCCESS);
        assert_eq!(b.remapper.deliver(DEVICE, message).unwrap(), Some(2));
        // Bank 0 with processor 3.
        assert_eq!(b.call(input(message, 2, 0), &[1, 1 << 3]), SUCCESS);
        assert_eq!(b.remapper.deliver(DEVICE, message).unwrap(), Some(3));
        let expected = [
            (0xFEE0_0000, 0x30),
            (0xFEE0_2000, 0x41),
            (0xFEE0_3000, 0x41),
        ];
        assert_eq!(*b.sent.lock().unwrap(), expected);
        assert_eq!(b.remapper.retargets(DEVICE), 2);
        assert!(b.violations.all().is_empty());
    }

    #[test]
    fn only_messages_in_use_are_delivered() {
        let b = bench();
        let message = b.remapper.create(DEVICE, &target(0x30, &[1])).unwrap();
        let other = Message {
            data: message.data + 1,
            ..message
        };
        assert!(b.remapper.deliver(DEVICE, other).is_err(), "never given");
        assert_eq!(b.remapper.deliver(DEVICE, Message::EMPTY).unwrap(), None);
        assert!(b.remapper.deliver(DEVICE + 1, message).is_err());
        assert!(b.remapper.delete(DEVICE, other).is_err());
        assert!(b.remapper.delete(DEVICE + 1, message).is_err());
        assert_eq!(b.remapper.live(DEVICE), 1);
        b.remapper.delete(DEVICE, message).unwrap();
        assert!(b.remapper.delete(DEVICE, message).is_err(), "twice");
        assert_eq!(b.remapper.deliver(DEVICE, message).unwrap(), None);
        assert!(b.sent.lock().unwrap().is_empty());
        b.remapper.create(DEVICE, &target(0x30, &[1])).unwrap();
        assert_eq!(b.remapper.delete_all(DEVICE), 1);
    }

    #[test]
    fn wrong_targets_are_refused() {
        let b = bench();
        for wrong in [
            target(0xF, &[0]),
            target(0x100, &[0]),
            target(0x30, &[]),
            target(0x30, &[0, 4]),
        ] {
            assert!(b.remapper.create(DEVICE, &wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn wrong_hypercalls_are_recorded() {
        let b = bench();
        let message = b.remapper.create(DEVICE, &target(0x30, &[1])).unwrap();
        let good = input(message, 0, 1);
        let wrong = [
            (
                RetargetInput {
                    partition: 1,
                    ..good
                },
                vec![],
            ),
            (RetargetInput { source: 2, ..good }, vec![]),
            (RetargetInput { data: 7, ..good }, vec![]),
            (RetargetInput { vector: 3, ..good }, vec![]),
            (RetargetInput { flags: 1, ..good }, vec![]),
            (
                RetargetInput {
                    mask_or_format: 0,
                    ..good
                },
                vec![],
            ),
            (
                RetargetInput {
                    mask_or_format: 1 << 9,
                    ..good
                },
                vec![],
            ),
            (good, vec![0]),
            (RetargetInput { flags: 2, ..good }, vec![1, 1]),
            (input(message, 2, 0), vec![]),
            (input(message, 2, 0), vec![3, 1]),
        ];
        for (call, rest) in wrong {
            assert_eq!(b.call(call, &rest), INVALID_PARAMETER, "{call:?} {rest:?}");
            assert_eq!(b.violations.take().len(), 1, "{call:?} {rest:?}");
        }
        let control = u64::from(RETARGET_DEVICE_INTERRUPT);
        for (control, page, status) in [
            (control | FAST, PAGE, INVALID_HYPERCALL_INPUT),
            (control, PAGE + 4, INVALID_ALIGNMENT),
            (control, 1 << 40, INVALID_PARAMETER),
        ] {
            assert_eq!(b.remapper.hypercall(&b.memory, control, page), status);
        }
        b.violations.take();
        // What a closed bus still moves fails without being held against the guest.
        b.remapper.close(DEVICE);
        b.remapper.delete_all(DEVICE);
        assert_eq!(b.call(good, &[]), INVALID_PARAMETER);
        assert!(b.violations.all().is_empty());
    }
}
