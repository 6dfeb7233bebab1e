// SPDX-License-Identifier: GPL-2.0

//! The ACPI tables: fixed hardware for power-off and reset, the processors, and the `VMBus` device whose
//! resources are the MMIO ranges that VMBus drivers may allocate from.

use acpi_tables::aml::{
    AddressSpace as AmlSpace, AddressSpaceCacheable, Device, EISAName, Name, Package, Path, ResourceTemplate, Scope,
};
use acpi_tables::facs::FACS;
use acpi_tables::fadt::{FADTBuilder, Flags};
use acpi_tables::gas::{AccessSize, AddressSpace, GAS};
use acpi_tables::madt::{EnabledStatus, IoApic, LocalInterruptController, ProcessorLocalApic, MADT};
use acpi_tables::rsdp::Rsdp;
use acpi_tables::sdt::Sdt;
use acpi_tables::xsdt::XSDT;
use acpi_tables::Aml;
use anyhow::{Context, Result};
use vm_memory::{Bytes, GuestAddress};

use super::memory::{Memory, VMBUS_MMIO_HIGH, VMBUS_MMIO_LOW};
use super::pm;

/// Address of the RSDP, told to the kernel in the boot parameters; the other tables follow it.
pub const RSDP: u64 = 0xE_0000;

const OEM: [u8; 6] = *b"RLIS  ";
const OEM_TABLE: [u8; 8] = *b"RLISHOST";
const LOCAL_APIC: u32 = 0xFEE0_0000;
const IO_APIC: u32 = 0xFEC0_0000;
/// Interrupt of ACPI events. Nothing raises it, but fixed hardware has to name one.
const SCI: u16 = 9;

fn bytes_of(table: &dyn Aml) -> Vec<u8> {
    let mut out = Vec::new();
    table.to_aml_bytes(&mut out);
    out
}

/// The DSDT's AML: the S5 state and, below `\_SB`, the `VMBus` device (Linux binds to the id "VMBus").
fn dsdt_body() -> Vec<u8> {
    let zero = 0u8;
    let s5_value = pm::SLP_TYP_S5;
    let s5 = Package::new(vec![&s5_value, &zero, &zero, &zero]);
    let mut body = bytes_of(&Name::new(Path::new("_S5_"), &s5));

    let low = AmlSpace::new_memory(
        AddressSpaceCacheable::NotCacheable,
        true,
        VMBUS_MMIO_LOW.0,
        VMBUS_MMIO_LOW.0 + (VMBUS_MMIO_LOW.1 - 1),
        None,
    );
    let high = AmlSpace::new_memory(
        AddressSpaceCacheable::NotCacheable,
        true,
        VMBUS_MMIO_HIGH.0,
        VMBUS_MMIO_HIGH.0 + (VMBUS_MMIO_HIGH.1 - 1),
        None,
    );
    let crs = ResourceTemplate::new(vec![&low, &high]);
    let (hid, uid) = ("VMBus", 0u8);
    let (hid, uid, crs) = (
        Name::new(Path::new("_HID"), &hid),
        Name::new(Path::new("_UID"), &uid),
        Name::new(Path::new("_CRS"), &crs),
    );
    let vmbus = Device::new(Path::new("VMB8"), vec![&hid, &uid, &crs]);

    let module_id = EISAName::new("PNP0A05");
    let module_hid = Name::new(Path::new("_HID"), &module_id);
    let module_uid = Name::new(Path::new("_UID"), &zero);
    // A generic container, as Hyper-V's own firmware has it: the MMIO search walks up through it.
    let container = Device::new(Path::new("MOD0"), vec![&module_hid, &module_uid, &vmbus]);
    body.extend(bytes_of(&Scope::new(Path::new("_SB_"), vec![&container])));
    body
}

/// The DSDT with its header.
pub fn dsdt() -> Vec<u8> {
    let mut table = Sdt::new(*b"DSDT", 36, 2, OEM, OEM_TABLE, 1);
    table.append_slice(&dsdt_body());
    table.as_slice().to_vec()
}

fn io_gas(port: u16, bits: u8, size: AccessSize) -> GAS {
    GAS::new(AddressSpace::SystemIo, bits, 0, size, u64::from(port))
}

/// The FADT that points to a DSDT and a FACS at the given addresses (below 4 GiB).
fn fadt(dsdt: u32, facs: u32) -> Vec<u8> {
    let mut table = FADTBuilder::new(OEM, OEM_TABLE, 1)
        .dsdt_32(dsdt)
        .firmware_ctrl_32(facs)
        .flag(Flags::Wbinvd)
        .flag(Flags::ProcC1)
        .flag(Flags::PwrButton)
        .flag(Flags::SlpButton)
        .flag(Flags::TmrValExt)
        .flag(Flags::ResetRegSup)
        .flag(Flags::Headless);
    table.x_dsdt = u64::from(dsdt).into();
    table.sci_int = SCI.into();
    // Without an SMI port the system is in ACPI mode from the start.
    table.smi_cmd = 0.into();
    table.pm1a_evt_blk = u32::from(pm::PM1_EVENT).into();
    table.pm1_evt_len = 4;
    table.pm1a_cnt_blk = u32::from(pm::PM1_CONTROL).into();
    table.pm1_cnt_len = 2;
    table.pm_tmr_blk = u32::from(pm::PM_TIMER).into();
    table.pm_tmr_len = 4;
    table.x_pm1a_evt_blk = io_gas(pm::PM1_EVENT, 32, AccessSize::WordAccess);
    table.x_pm1a_cnt_blk = io_gas(pm::PM1_CONTROL, 16, AccessSize::WordAccess);
    table.x_pm_tmr_blk = io_gas(pm::PM_TIMER, 32, AccessSize::DwordAccess);
    table.reset_reg = io_gas(pm::RESET, 8, AccessSize::ByteAccess);
    table.reset_value = pm::RESET_VALUE;
    // Legacy devices (the serial ports) exist; no VGA (bit 2), no CMOS clock (bit 5).
    table.iapc_boot_arch = (1u16 | 1 << 2 | 1 << 5).into();
    // Worst-case latencies that mean "C2 and C3 are not there".
    table.p_lvl2_lat = 0xFFFu16.into();
    table.p_lvl3_lat = 0xFFFu16.into();
    bytes_of(&table.finalize())
}

fn madt(cpus: u8) -> Vec<u8> {
    let mut table = MADT::new(OEM, OEM_TABLE, 1, LocalInterruptController::Address(LOCAL_APIC));
    for index in 0..cpus {
        table.add_structure(ProcessorLocalApic::new(index, index, EnabledStatus::Enabled));
    }
    table.add_structure(IoApic::new(cpus, IO_APIC, 0));
    bytes_of(&table)
}

/// Writes all tables into guest memory, starting with the RSDP.
pub fn write(mem: &Memory, cpus: u8) -> Result<()> {
    let mut next = RSDP + 64;
    let mut place = |bytes: &[u8]| -> Result<u64> {
        let at = next;
        mem.write_slice(bytes, GuestAddress(at)).context("cannot write the ACPI tables")?;
        // The FACS needs an alignment of 64 bytes; give it to all.
        next = (at + bytes.len() as u64 + 63) & !63;
        Ok(at)
    };
    let facs = place(&bytes_of(&FACS::new()))?;
    let dsdt = place(&dsdt())?;
    let fadt = place(&fadt(u32::try_from(dsdt)?, u32::try_from(facs)?))?;
    let madt = place(&madt(cpus))?;
    let mut xsdt = XSDT::new(OEM, OEM_TABLE, 1);
    xsdt.add_entry(fadt);
    xsdt.add_entry(madt);
    let xsdt = place(&bytes_of(&xsdt))?;
    mem.write_slice(&bytes_of(&Rsdp::new(OEM, xsdt)), GuestAddress(RSDP)).context("cannot write the RSDP")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums_to_zero(table: &[u8]) -> bool {
        table.iter().fold(0u8, |sum, b| sum.wrapping_add(*b)) == 0
    }

    #[test]
    fn tables_have_valid_checksums() {
        for table in [dsdt(), fadt(0x1000, 0x2000), madt(4)] {
            assert!(sums_to_zero(&table));
            assert_eq!(u32::from_le_bytes(table[4..8].try_into().unwrap()) as usize, table.len());
        }
    }

    #[test]
    fn dsdt_names_the_bus_and_both_ranges() {
        let table = dsdt();
        let find = |needle: &[u8]| table.windows(needle.len()).any(|w| w == needle);
        assert!(find(b"VMBus\0"));
        assert!(find(&VMBUS_MMIO_LOW.0.to_le_bytes()));
        assert!(find(&VMBUS_MMIO_HIGH.0.to_le_bytes()));
        assert!(find(b"_S5_"));
    }

    #[test]
    fn fadt_has_the_registers_of_pm() {
        let table = fadt(0xE_1000, 0xE_2000);
        assert_eq!(&table[56..60], u32::from(pm::PM1_EVENT).to_le_bytes());
        assert_eq!(&table[64..68], u32::from(pm::PM1_CONTROL).to_le_bytes());
        assert_eq!(&table[40..44], 0xE_1000u32.to_le_bytes());
    }

    #[test]
    fn madt_lists_every_processor() {
        // Header 44, local APIC entries 8 each, one I/O APIC of 12.
        assert_eq!(madt(3).len(), 44 + 3 * 8 + 12);
    }
}
