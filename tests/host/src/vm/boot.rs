// SPDX-License-Identifier: GPL-2.0

//! Direct boot of a bzImage by the 64-bit entry of the Linux/x86 boot protocol
//! (Documentation/arch/x86/boot.rst).

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{bail, ensure, Context, Result};
use kvm_bindings::{kvm_regs, kvm_segment, kvm_sregs};
use kvm_ioctls::VcpuFd;
use linux_loader::configurator::{linux::LinuxBootConfigurator, BootConfigurator, BootParams};
use linux_loader::loader::bootparam::{boot_e820_entry, boot_params};
use linux_loader::loader::bzimage::BzImage;
use linux_loader::loader::KernelLoader;
use vm_memory::{Bytes, GuestAddress};

use super::acpi;
use crate::memory::{self, Memory};

const GDT: u64 = 0x500;
const ZERO_PAGE: u64 = 0x7000;
const PAGE_TABLES: u64 = 0x9000;
const COMMAND_LINE: u64 = 0x2_0000;
/// End of conventional memory; above lies what a PC's firmware would own.
const LOW_RAM_END: u64 = 0x9_FC00;
const HIGH_RAM_START: u64 = 0x10_0000;
/// setup_header.xloadflags: the kernel has the 64-bit entry point.
const XLF_KERNEL_64: u16 = 1;
const E820_RAM: u32 = 1;
const E820_ACPI: u32 = 3;

/// Loads kernel, initial RAM disk, command line and boot parameters into `mem` (of `size` bytes).
/// Returns the address of the kernel's 64-bit entry point.
pub fn load(
    mem: &Memory,
    size: u64,
    kernel: &Path,
    initrd: Option<&Path>,
    cmdline: &str,
) -> Result<u64> {
    let mut image = File::open(kernel)
        .with_context(|| format!("cannot open the kernel {}", kernel.display()))?;
    let loaded = BzImage::load(mem, None, &mut image, Some(GuestAddress(HIGH_RAM_START)))
        .with_context(|| format!("{} is not a kernel that can be loaded", kernel.display()))?;
    let header = loaded
        .setup_header
        .context("the kernel has no setup header")?;
    let xloadflags = header.xloadflags;
    ensure!(
        xloadflags & XLF_KERNEL_64 != 0,
        "{} is not a 64-bit kernel",
        kernel.display()
    );

    let mut params = boot_params {
        hdr: header,
        ..Default::default()
    };
    params.hdr.type_of_loader = 0xFF;
    let limit = usize::try_from(header.cmdline_size).unwrap_or(0);
    ensure!(
        cmdline.len() <= limit,
        "the command line has {} bytes; this kernel takes {limit}",
        cmdline.len()
    );
    let mut line = cmdline.as_bytes().to_vec();
    line.push(0);
    mem.write_slice(&line, GuestAddress(COMMAND_LINE))
        .context("cannot write the command line")?;
    params.hdr.cmd_line_ptr = u32::try_from(COMMAND_LINE)?;
    params.acpi_rsdp_addr = acpi::RSDP;

    if let Some(path) = initrd {
        let (start, len) = load_initrd(mem, size, path, u64::from(header.initrd_addr_max))?;
        params.hdr.ramdisk_image = start;
        params.hdr.ramdisk_size = len;
    }

    let mut map = vec![
        (0, LOW_RAM_END, E820_RAM),
        (acpi::RSDP, HIGH_RAM_START - acpi::RSDP, E820_ACPI),
    ];
    for (start, len) in memory::layout(size) {
        if start == 0 {
            map.push((HIGH_RAM_START, len - HIGH_RAM_START, E820_RAM));
        } else {
            map.push((start, len, E820_RAM));
        }
    }
    for (slot, &(addr, size, type_)) in params.e820_table.iter_mut().zip(&map) {
        *slot = boot_e820_entry { addr, size, type_ };
    }
    params.e820_entries = u8::try_from(map.len())?;
    LinuxBootConfigurator::write_bootparams(
        &BootParams::new(&params, GuestAddress(ZERO_PAGE)),
        mem,
    )
    .context("cannot write the boot parameters")?;
    // The 64-bit entry point lies 0x200 bytes into the protected-mode code.
    Ok(loaded.kernel_load.0 + 0x200)
}

/// Puts the initial RAM disk as high as the kernel allows. Returns its address and length.
fn load_initrd(mem: &Memory, size: u64, path: &Path, addr_max: u64) -> Result<(u32, u32)> {
    let mut data = Vec::new();
    File::open(path)
        .and_then(|mut f| f.read_to_end(&mut data))
        .with_context(|| format!("cannot read the initial RAM disk {}", path.display()))?;
    let len = u64::try_from(data.len())?;
    let top = size.min(memory::HOLE_START).min(addr_max);
    let Some(start) = top
        .checked_sub(len)
        .map(|s| s & !0xFFF)
        .filter(|s| *s > HIGH_RAM_START)
    else {
        bail!("the initial RAM disk of {len} bytes does not fit into the guest's memory");
    };
    mem.write_slice(&data, GuestAddress(start))
        .context("cannot write the initial RAM disk")?;
    Ok((u32::try_from(start)?, u32::try_from(len)?))
}

/// A segment descriptor of the boot GDT and the register that goes with it.
fn segment(mem: &Memory, index: u16, type_: u8, long: bool) -> Result<kvm_segment> {
    let (l, db) = if long { (1, 0) } else { (0, 1) };
    let seg = kvm_segment {
        base: 0,
        limit: 0xFFFF_FFFF,
        selector: index * 8,
        type_,
        present: 1,
        dpl: 0,
        db,
        s: 1,
        l,
        g: 1,
        ..Default::default()
    };
    // Intel SDM vol. 3 figure 3-8: limit 15:0, base, type and flags, limit 19:16, AVL/L/DB/G.
    let access = u64::from(type_) | 0x90;
    let flags = (u64::from(l) << 1) | (u64::from(db) << 2) | 8;
    let descriptor = 0xFFFF | (access << 40) | (0xF << 48) | (flags << 52);
    mem.write_obj(descriptor, GuestAddress(GDT + u64::from(index) * 8))
        .context("cannot write the GDT")?;
    Ok(seg)
}

/// Sets the boot processor up for the 64-bit entry point: long mode, the first 4 GiB mapped one to one,
/// interrupts off, RSI pointing to the boot parameters.
pub fn set_up_bsp(mem: &Memory, vcpu: &VcpuFd, entry: u64) -> Result<()> {
    // One level-4 entry, four level-3 entries, 4 * 512 pages of 2 MiB.
    mem.write_obj(PAGE_TABLES + 0x1000 + 3, GuestAddress(PAGE_TABLES))?;
    for gib in 0..4u64 {
        let directory = PAGE_TABLES + 0x2000 + gib * 0x1000;
        mem.write_obj(directory + 3, GuestAddress(PAGE_TABLES + 0x1000 + gib * 8))?;
        for page in 0..512u64 {
            // Present, writable, 2 MiB page.
            mem.write_obj(
                (gib << 30) + (page << 21) + 0x83,
                GuestAddress(directory + page * 8),
            )?;
        }
    }
    let mut sregs: kvm_sregs = vcpu.get_sregs()?;
    // __BOOT_CS and __BOOT_DS are 0x10 and 0x18; 0x20 holds a TSS because VT-x demands one.
    mem.write_obj(0u64, GuestAddress(GDT))?;
    sregs.cs = segment(mem, 2, 0xB, true)?;
    let data = segment(mem, 3, 0x3, false)?;
    (sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss) = (data, data, data, data, data);
    sregs.gdt.base = GDT;
    sregs.gdt.limit = 4 * 8 - 1;
    sregs.cr3 = PAGE_TABLES;
    sregs.cr4 |= 1 << 5; // PAE
    sregs.cr0 |= 1 | (1 << 31); // PE, PG
    sregs.efer |= (1 << 8) | (1 << 10); // LME, LMA
    vcpu.set_sregs(&sregs)
        .context("cannot set the boot processor's system registers")?;
    vcpu.set_regs(&kvm_regs {
        rip: entry,
        rsi: ZERO_PAGE,
        rsp: PAGE_TABLES - 16,
        rflags: 2,
        ..Default::default()
    })
    .context("cannot set the boot processor's registers")
}
