// SPDX-License-Identifier: GPL-2.0

//! The hypercall page, whose contents are the hypervisor's business (TLFS chapter 3.13). KVM's own sends every call to
//! KVM, which answers those that it does not know. Where the host offers devices that are passed through it fills the
//! page itself, so that HvCallRetargetDeviceInterrupt comes here; all other calls go to KVM as before.

use anyhow::{Context, Result};
use kvm_bindings::{kvm_msr_entry, Msrs};
use kvm_ioctls::VcpuFd;
use vm_memory::{Bytes, GuestAddress};

use super::remap::{Remapper, RETARGET_DEVICE_INTERRUPT};
use crate::memory::Memory;

/// HV_X64_MSR_HYPERCALL: page number and, in bit 0, whether the page is there.
pub const MSR_HYPERCALL: u32 = 0x4000_0001;
const ENABLE: u64 = 1;
const PAGE_MASK: u64 = !0xFFF;
/// The I/O port that the page writes for a call to the host. Nothing on a PC answers there.
pub const PORT: u16 = 0xE4;
/// Bytes of KVM's code that are taken over. It has 4 of them, 9 beside Xen's hypercalls, and does not look where it lies.
const KVM_CODE: u8 = 16;

/// The code of the page around KVM's own.
fn code(kvm: &[u8]) -> Vec<u8> {
    let mut code = vec![0xF3, 0x0F, 0x1E, 0xFA]; // endbr64
    code.extend([0x66, 0x81, 0xF9]); // cmp cx, ...
    code.extend(RETARGET_DEVICE_INTERRUPT.to_le_bytes());
    code.extend([0x74, KVM_CODE]); // je, behind KVM's code
    code.extend(kvm.iter().take(KVM_CODE.into()));
    let port = PORT.to_le_bytes();
    code.extend([0xE6, port[0]]); // out PORT, al
    code.push(0xC3); // ret; the host has set rax
    code
}

/// The guest writes `value` to HV_X64_MSR_HYPERCALL: KVM carries it out, and its page is replaced.
pub fn set(vcpu: &VcpuFd, memory: &Memory, value: u64) -> Result<()> {
    let entry = |data| kvm_msr_entry {
        index: MSR_HYPERCALL,
        data,
        ..Default::default()
    };
    let mut msrs = Msrs::from_entries(&[entry(value)]).context("one MSR")?;
    vcpu.set_msrs(&msrs)
        .context("KVM refuses the hypercall page")?;
    vcpu.get_msrs(&mut msrs)
        .context("KVM does not tell the hypercall page")?;
    // KVM ignores the page of a guest that has not told its identity.
    let in_force = msrs.as_slice().first().map_or(0, |m| m.data);
    if in_force & ENABLE == 0 {
        return Ok(());
    }
    let page = GuestAddress(in_force & PAGE_MASK);
    let mut kvm = [0; KVM_CODE as usize];
    memory
        .read_slice(&mut kvm, page)
        .and_then(|()| memory.write_slice(&code(&kvm), page))
        .with_context(|| format!("the hypercall page at {:#x}", page.0))
}

/// The guest's page wrote to [`PORT`]: carries out the call in its registers (rcx the control word, rdx the address of the
/// input) and puts the status into rax.
pub fn call(vcpu: &VcpuFd, memory: &Memory, remapper: &Remapper) -> Result<()> {
    let mut regs = vcpu.get_regs().context("cannot read the registers")?;
    // Whoever else writes to the port writes to a port without a device.
    if (regs.rcx & 0xFFFF) as u16 == RETARGET_DEVICE_INTERRUPT {
        regs.rax = remapper.hypercall(memory, regs.rcx, regs.rdx).into();
        vcpu.set_regs(&regs).context("cannot set the registers")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_jump_leads_behind_the_code_of_kvm() {
        let kvm: Vec<u8> = (0..16).collect();
        let code = code(&kvm);
        let after_jump = 4 + 5 + 2;
        assert_eq!(code[after_jump..after_jump + 16], kvm);
        assert_eq!(code[after_jump - 1], 16);
        assert_eq!(code[after_jump + 16..], [0xE6, 0xE4, 0xC3]);
        assert_eq!(code[7..9], [0x7E, 0]);
    }
}
