// SPDX-License-Identifier: GPL-2.0

//! The ACPI tables: fixed hardware for power-off and reset, the processors, and the `VMBus` device whose
//! resources are the MMIO ranges that VMBus drivers may allocate from.

use anyhow::{ensure, Context, Result};
use vm_memory::{Bytes, GuestAddress};

use super::aml;
use super::pm;
use crate::memory::{Memory, VMBUS_MMIO_HIGH, VMBUS_MMIO_LOW};

/// Address of the RSDP, told to the kernel in the boot parameters; the other tables follow it.
pub const RSDP: u64 = 0xE_0000;

const LOCAL_APIC: u32 = 0xFEE0_0000;
const IO_APIC: u32 = 0xFEC0_0000;
/// Interrupt of ACPI events. Nothing raises it, but fixed hardware has to name one.
const SCI: u16 = 9;

/// The processors that there are, and how many are listed.
#[derive(Clone, Copy, Debug)]
pub struct Processors {
    present: u8,
    listed: u8,
}

impl Processors {
    /// `present` processors, and `listed` in the table: those beyond are disabled. As many as there are if `None`.
    pub fn new(present: u8, listed: Option<u8>) -> Result<Self> {
        let listed = listed.unwrap_or(present);
        ensure!(
            listed >= present,
            "--possible-cpus {listed} is less than --cpus {present}"
        );
        Ok(Self { present, listed })
    }
}

/// What makes all bytes sum up to 0.
fn checksum(bytes: &[u8]) -> u8 {
    bytes
        .iter()
        .fold(0u8, |sum, b| sum.wrapping_add(*b))
        .wrapping_neg()
}

/// A table with the 36-byte header that most of them have (ACPI 6.5 chapter 5.2.6).
fn table(signature: &[u8; 4], revision: u8, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(36 + body.len()).expect("our tables are small");
    let mut out = signature.to_vec();
    out.extend(len.to_le_bytes());
    out.extend([revision, 0]);
    out.extend(b"RLIS  RLISHOST");
    out.extend(1u32.to_le_bytes());
    out.extend(b"RLIS");
    out.extend(1u32.to_le_bytes());
    out.extend(body);
    out[9] = checksum(&out);
    out
}

/// The S5 state, the S4 state of a machine with `hibernation` and, below `\_SB`, the `VMBus` device (Linux binds to the id
/// "VMBus").
fn dsdt(hibernation: bool) -> Vec<u8> {
    let zero = aml::byte(0);
    let state = |type_| aml::package_of(&[&aml::byte(type_), &zero, &zero, &zero]);
    let crs = aml::resource_template(&[
        &aml::dword_memory(VMBUS_MMIO_LOW.0, VMBUS_MMIO_LOW.1),
        &aml::qword_memory(VMBUS_MMIO_HIGH.0, VMBUS_MMIO_HIGH.1),
    ]);
    let vmbus = aml::device(
        b"VMB8",
        &[
            &aml::name(b"_HID", &aml::string("VMBus")),
            &aml::name(b"_UID", &zero),
            &aml::name(b"_CRS", &crs),
        ],
    );
    // A generic container, as Hyper-V's own firmware has it: the MMIO search walks up through it.
    let container = aml::device(
        b"MOD0",
        &[
            &aml::name(b"_HID", &aml::eisa_id(b"PNP", 0x0A05)),
            &aml::name(b"_UID", &zero),
            &vmbus,
        ],
    );
    let mut body = aml::name(b"_S5_", &state(pm::SLP_TYP_S5));
    if hibernation {
        body.extend(aml::name(b"_S4_", &state(pm::SLP_TYP_S4)));
    }
    body.extend(aml::scope(b"_SB_", &[&container]));
    table(b"DSDT", 2, &body)
}

/// A generic address structure for I/O ports (ACPI 6.5 chapter 5.2.3.2); `size` is its access size code.
fn port(port: u16, bits: u8, size: u8) -> [u8; 12] {
    let mut out = [0; 12];
    out[0] = 1;
    out[1] = bits;
    out[3] = size;
    out[4..6].copy_from_slice(&port.to_le_bytes());
    out
}

/// The FADT, revision 6, that points to a DSDT and a FACS below 4 GiB.
fn fadt(dsdt: u32, facs: u32) -> Vec<u8> {
    // Offsets are those of ACPI 6.5 table 5.9, less the header's 36 bytes.
    let mut body = [0u8; 276 - 36];
    let mut put =
        |at: usize, bytes: &[u8]| body[at - 36..at - 36 + bytes.len()].copy_from_slice(bytes);
    put(36, &facs.to_le_bytes());
    put(40, &dsdt.to_le_bytes());
    // Without an SMI port (48) the system is in ACPI mode from the start.
    put(46, &SCI.to_le_bytes());
    put(56, &u32::from(pm::PM1_EVENT).to_le_bytes());
    put(64, &u32::from(pm::PM1_CONTROL).to_le_bytes());
    put(76, &u32::from(pm::PM_TIMER).to_le_bytes());
    // Lengths: PM1 event, PM1 control, PM2, timer.
    put(88, &[4, 2, 0, 4]);
    // Latencies that mean "C2 and C3 are not there".
    put(96, &[0xFF, 0x0F, 0xFF, 0x0F]);
    // Legacy devices (the serial ports) exist; no VGA (bit 2), no CMOS clock (bit 5).
    put(109, &(1u16 | (1 << 2) | (1 << 5)).to_le_bytes());
    // WBINVD, C1 on all processors, no power and sleep buttons in fixed hardware, 32-bit timer, reset
    // register, headless.
    let flags = [0u32, 2, 4, 5, 8, 10, 12]
        .iter()
        .fold(0, |f, bit| f | (1u32 << bit));
    put(112, &flags.to_le_bytes());
    put(116, &port(pm::RESET, 8, 1));
    put(128, &[pm::RESET_VALUE]);
    put(131, &[5]);
    put(140, &u64::from(dsdt).to_le_bytes());
    put(148, &port(pm::PM1_EVENT, 32, 2));
    put(172, &port(pm::PM1_CONTROL, 16, 2));
    put(208, &port(pm::PM_TIMER, 32, 3));
    table(b"FACP", 6, &body)
}

/// The processors and the I/O APIC (ACPI 6.5 chapter 5.2.12). A processor that there is not is not enabled (bit 0), but online
/// capable (bit 1): since revision 6.3 of the FADT systems leave out those that are neither.
fn madt(processors: Processors) -> Vec<u8> {
    let Processors { present, listed } = processors;
    let mut body = LOCAL_APIC.to_le_bytes().to_vec();
    // PCAT_COMPAT: there are two 8259 as well.
    body.extend(1u32.to_le_bytes());
    for index in 0..listed {
        let flags = if index < present { 1 } else { 2 };
        body.extend([0, 8, index, index, flags, 0, 0, 0]);
    }
    body.extend([1, 12, listed, 0]);
    body.extend(IO_APIC.to_le_bytes());
    body.extend(0u32.to_le_bytes());
    // The PIT, line 0 of the old controllers, is line 2 of this one.
    body.extend([2, 10, 0, 0, 2, 0, 0, 0, 0, 0]);
    table(b"APIC", 5, &body)
}

/// The firmware control structure, which has no checksum.
fn facs() -> [u8; 64] {
    let mut out = [0; 64];
    out[..4].copy_from_slice(b"FACS");
    out[4] = 64;
    out[32] = 2;
    out
}

/// The root pointer, revision 2.
fn rsdp(xsdt: u64) -> [u8; 36] {
    let mut out = [0; 36];
    out[..8].copy_from_slice(b"RSD PTR ");
    out[9..15].copy_from_slice(b"RLIS  ");
    out[15] = 2;
    out[8] = checksum(&out[..20]);
    out[20] = 36;
    out[24..32].copy_from_slice(&xsdt.to_le_bytes());
    out[32] = checksum(&out);
    out
}

/// Writes all tables into guest memory, starting with the RSDP. With `hibernation` the guest may hibernate.
pub fn write(mem: &Memory, processors: Processors, hibernation: bool) -> Result<()> {
    let mut next = RSDP + 64;
    let mut place = |bytes: &[u8]| -> Result<u64> {
        let at = next;
        mem.write_slice(bytes, GuestAddress(at))
            .context("cannot write the ACPI tables")?;
        // The FACS needs an alignment of 64 bytes; give it to all.
        next = (at + u64::try_from(bytes.len())?).next_multiple_of(64);
        Ok(at)
    };
    let facs = place(&facs())?;
    let dsdt = place(&dsdt(hibernation))?;
    let fadt = place(&fadt(u32::try_from(dsdt)?, u32::try_from(facs)?))?;
    let madt = place(&madt(processors))?;
    let mut entries = fadt.to_le_bytes().to_vec();
    entries.extend(madt.to_le_bytes());
    let xsdt = place(&table(b"XSDT", 1, &entries))?;
    mem.write_slice(&rsdp(xsdt), GuestAddress(RSDP))
        .context("cannot write the RSDP")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_have_valid_checksums() {
        let madt = madt(Processors::new(4, Some(240)).unwrap());
        for table in [dsdt(true), dsdt(false), fadt(0x1000, 0x2000), madt] {
            assert_eq!(checksum(&table), 0);
            assert_eq!(
                u32::from_le_bytes(table[4..8].try_into().unwrap()) as usize,
                table.len()
            );
        }
        assert_eq!(checksum(&rsdp(0x1234)[..20]), 0);
        assert_eq!(checksum(&rsdp(0x1234)), 0);
    }

    #[test]
    fn dsdt_names_the_bus_and_both_ranges() {
        let (table, hibernates) = (dsdt(false), dsdt(true));
        let find = |needle: &[u8]| table.windows(needle.len()).any(|w| w == needle);
        assert!(find(b"VMBus\0"));
        assert!(find(&VMBUS_MMIO_LOW.0.to_le_bytes()));
        assert!(find(&VMBUS_MMIO_HIGH.0.to_le_bytes()));
        assert!(find(b"_S5_") && !find(b"_S4_"));
        assert!(hibernates.windows(4).any(|w| w == b"_S4_"));
    }

    #[test]
    fn fadt_has_the_registers_of_pm() {
        let table = fadt(0xE_1000, 0xE_2000);
        assert_eq!(&table[56..60], u32::from(pm::PM1_EVENT).to_le_bytes());
        assert_eq!(&table[64..68], u32::from(pm::PM1_CONTROL).to_le_bytes());
        assert_eq!(&table[40..44], 0xE_1000u32.to_le_bytes());
        assert_eq!(table.len(), 276);
    }

    #[test]
    fn madt_lists_every_processor() {
        // Header 44, local APIC entries 8 each, one I/O APIC of 12, one override of 10.
        let len = |listed: usize| 44 + listed * 8 + 12 + 10;
        let three = madt(Processors::new(3, None).unwrap());
        assert_eq!(three.len(), len(3));
        let table = madt(Processors::new(3, Some(240)).unwrap());
        assert_eq!(table.len(), len(240));
        let flags = table[44..44 + 240 * 8].chunks(8).map(|cpu| cpu[4]);
        assert_eq!(
            flags.collect::<Vec<_>>(),
            [[1; 3].as_slice(), &[2; 237]].concat()
        );
        assert!(Processors::new(3, Some(2)).is_err());
    }
}
