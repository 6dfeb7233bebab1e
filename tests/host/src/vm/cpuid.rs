// SPDX-License-Identifier: GPL-2.0

//! CPUID as the guest sees it: what KVM supports, our topology, and the Hyper-V leaves.

use anyhow::{Context, Result};
use kvm_bindings::{kvm_cpuid_entry2, CpuId, KVM_MAX_CPUID_ENTRIES};
use kvm_ioctls::Kvm;

use crate::hyperv::cpuid as hyperv_leaves;

/// CPUID.1:ECX bit 31, "running under a hypervisor".
const ECX_HYPERVISOR: u32 = 1 << 31;
/// First leaf of the hypervisor range.
const HYPERVISOR_FIRST: u32 = 0x4000_0000;
/// Last leaf of the hypervisor range.
const HYPERVISOR_LAST: u32 = 0x4FFF_FFFF;

/// The CPUID table of vCPU `index` of `count`. KVM's own paravirtual leaves are left out, because Linux would
/// prefer them to the Hyper-V signature.
pub fn table(kvm: &Kvm, index: u8, count: u8, features: hyperv_leaves::Features) -> Result<CpuId> {
    let supported = kvm
        .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
        .context("KVM does not tell its CPUID")?;
    let mut entries: Vec<kvm_cpuid_entry2> = supported
        .as_slice()
        .iter()
        .filter(|e| !(HYPERVISOR_FIRST..=HYPERVISOR_LAST).contains(&e.function))
        .copied()
        .collect();
    for entry in &mut entries {
        set_topology(entry, index, count);
    }
    for (function, [eax, ebx, ecx, edx]) in hyperv_leaves::leaves(features) {
        entries.push(kvm_cpuid_entry2 {
            function,
            eax,
            ebx,
            ecx,
            edx,
            ..Default::default()
        });
    }
    CpuId::from_entries(&entries).context("too many CPUID leaves")
}

/// One socket, one thread a core, `count` cores: writes the APIC id and the counts into the leaves that tell them.
fn set_topology(entry: &mut kvm_cpuid_entry2, index: u8, count: u8) {
    let bits = u8::BITS - count.saturating_sub(1).leading_zeros();
    match entry.function {
        0x1 => {
            entry.ecx |= ECX_HYPERVISOR;
            entry.ebx =
                (entry.ebx & 0x0000_FFFF) | (u32::from(index) << 24) | (u32::from(count) << 16);
            // HTT: more than one logical processor in the package.
            entry.edx = if count > 1 {
                entry.edx | (1 << 28)
            } else {
                entry.edx & !(1 << 28)
            };
        }
        0xB | 0x1F => {
            entry.edx = u32::from(index);
            (entry.eax, entry.ebx, entry.ecx) = match entry.index {
                // Level 0: threads of a core (type 1); level 1: cores of the package (type 2).
                0 => (0, 1, 1 << 8),
                1 => (bits, u32::from(count), (2 << 8) | 1),
                other => (0, 0, other & 0xFF),
            };
        }
        0x8000_0008 => {
            // AMD: number of cores less one, and how many bits of the APIC id name the core.
            entry.ecx = (bits << 12) | u32::from(count - 1);
        }
        // AMD extended APIC id and node: one core a compute unit, one node.
        0x8000_001E => {
            entry.eax = u32::from(index);
            entry.ebx = u32::from(index);
            entry.ecx = 0;
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_vcpu_has_its_own_apic_id() {
        for index in 0..4 {
            let mut leaf = kvm_cpuid_entry2 {
                function: 1,
                ebx: 0x0101_0800,
                ..Default::default()
            };
            set_topology(&mut leaf, index, 4);
            assert_eq!(leaf.ebx >> 24, u32::from(index));
            assert_eq!((leaf.ebx >> 16) & 0xFF, 4);
            assert_eq!(leaf.ebx & 0xFFFF, 0x0800);
            assert_ne!(leaf.ecx & ECX_HYPERVISOR, 0);
        }
    }

    #[test]
    fn core_bits_cover_the_count() {
        for (count, bits) in [(1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (8, 3)] {
            let mut leaf = kvm_cpuid_entry2 {
                function: 0xB,
                index: 1,
                ..Default::default()
            };
            set_topology(&mut leaf, 0, count);
            assert_eq!(leaf.eax, bits, "{count} cores");
        }
    }
}
