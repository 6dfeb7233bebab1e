// SPDX-License-Identifier: GPL-2.0

//! What the KVM crates leave raw: registering memory, taking what is in it, and the exit record of the Hyper-V interface.
//!
//! The only file of this crate with `unsafe` code.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

use anyhow::{ensure, Context, Result};
use kvm_bindings::{kvm_userspace_memory_region, KVM_EXIT_HYPERV_HCALL, KVM_EXIT_HYPERV_SYNIC};
use kvm_ioctls::{VcpuFd, VmFd};
use vm_memory::{Address, GuestAddress, GuestMemory, GuestMemoryRegion};

use crate::memory::{Discard, Memory, Plug};

/// What made a vCPU leave the guest with KVM_EXIT_HYPERV.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HypervExit {
    /// The guest wrote a SynIC register; the fields are the values now in force on this vCPU.
    Synic {
        /// HV_X64_MSR_SCONTROL.
        control: u64,
        /// HV_X64_MSR_SIEFP.
        event_page: u64,
        /// HV_X64_MSR_SIMP.
        message_page: u64,
    },
    /// A hypercall that KVM leaves to us: the control word and the two parameters as the guest passed them.
    Hypercall {
        /// The hypercall input value (TLFS 3.7): call code in bits 0-15, fast flag in bit 16.
        input: u64,
        /// The GPAs of input and output, or the first 16 bytes of input if the call is fast.
        params: [u64; 2],
    },
    /// Something that a guest of ours has no reason to do (the kernel debugger's registers).
    Other(u32),
}

/// Bytes of a page.
const PAGE: u64 = 4096;

/// Tells KVM about every region of `memory` below the address `hot`. The mapping must stay for as long as `vm` is used;
/// the caller keeps `memory` alive for the whole run.
pub fn register_memory(vm: &VmFd, memory: &Memory, hot: u64) -> Result<()> {
    let regions = memory
        .iter()
        .filter(|region| region.start_addr().raw_value() < hot);
    for (slot, region) in (0u32..).zip(regions) {
        let host = region
            .get_host_address(vm_memory::MemoryRegionAddress(0))
            .context("a memory region has no host address")?;
        let entry = kvm_userspace_memory_region {
            slot,
            flags: 0,
            guest_phys_addr: region.start_addr().raw_value(),
            memory_size: region.len(),
            userspace_addr: host as u64,
        };
        // SAFETY: `host` is the start of a mapping of exactly `region.len()` bytes that `memory` owns. The main
        // thread holds `memory` until the process exits, so it outlives every vCPU, and regions do not overlap.
        unsafe { vm.set_user_memory_region(entry) }.context("KVM refuses the guest's memory")?;
    }
    Ok(())
}

/// Memory that KVM learns of while the guest runs.
pub struct Plugger {
    vm: Arc<VmFd>,
    memory: Arc<Memory>,
    slot: AtomicU32,
}

impl Plugger {
    /// Of `memory`, what [`register_memory`] has left out.
    pub fn new(vm: Arc<VmFd>, memory: Arc<Memory>) -> Self {
        // More than there are regions.
        let slot = AtomicU32::new(16);
        Self { vm, memory, slot }
    }
}

impl Plug for Plugger {
    fn plug(&self, start: u64, len: u64) -> Result<()> {
        let place = self.memory.to_region_addr(GuestAddress(start));
        let (region, offset) = place.context("there is no memory to plug in")?;
        let room = region.len().saturating_sub(offset.raw_value());
        ensure!(
            len > 0 && len <= room,
            "the memory to plug in is not in one piece"
        );
        let host = region
            .get_host_address(offset)
            .context("a memory region has no host address")?;
        let entry = kvm_userspace_memory_region {
            slot: self.slot.fetch_add(1, Ordering::Relaxed),
            flags: 0,
            guest_phys_addr: start,
            memory_size: len,
            userspace_addr: host as u64,
        };
        // SAFETY: `host` is the start of `len` bytes of a mapping that `memory` owns, as was looked at above. The main
        // thread holds `memory` until the process exits, so it outlives every vCPU. KVM refuses a slot that overlaps
        // another, and no number of a slot is used twice, so no slot in use is changed.
        unsafe { self.vm.set_user_memory_region(entry) }.context("KVM refuses to plug in memory")
    }
}

/// Takes what is in memory that this process has mapped, whether a guest runs in it or not.
pub struct Discarder;

impl Discard for Discarder {
    fn discard(&self, memory: &Memory, start: u64, len: u64) -> Result<()> {
        let place = memory.to_region_addr(GuestAddress(start));
        let (region, offset) = place.context("there is no such memory")?;
        let room = region.len().saturating_sub(offset.raw_value());
        ensure!(
            len <= room && (start | len) % PAGE == 0,
            "that memory is not in one piece"
        );
        let host = region
            .get_host_address(offset)
            .context("a memory region has no host address")?;
        // SAFETY: These are `len` bytes of a private mapping that `memory` owns, as was looked at above. All access to them is by
        // copies, which find other bytes from now on, as they do when the guest writes.
        let result =
            unsafe { libc::madvise(host.cast(), usize::try_from(len)?, libc::MADV_DONTNEED) };
        ensure!(result == 0, "madvise: {}", std::io::Error::last_os_error());
        Ok(())
    }
}

/// Reads the record of a KVM_EXIT_HYPERV exit. Call it only right after `VcpuExit::Hyperv`.
pub fn hyperv_exit(vcpu: &mut VcpuFd) -> HypervExit {
    let run = vcpu.get_kvm_run();
    // SAFETY: KVM filled the `hyperv` member of the union for the exit reason KVM_EXIT_HYPERV; all its members are
    // plain integers, for which every bit pattern is valid, so the read is defined even if the caller was wrong.
    let exit = unsafe { run.__bindgen_anon_1.hyperv };
    match exit.type_ {
        KVM_EXIT_HYPERV_SYNIC => {
            // SAFETY: as above; `type_` says that KVM filled the `synic` member.
            let synic = unsafe { exit.u.synic };
            HypervExit::Synic {
                control: synic.control,
                event_page: synic.evt_page,
                message_page: synic.msg_page,
            }
        }
        KVM_EXIT_HYPERV_HCALL => {
            // SAFETY: as above; `type_` says that KVM filled the `hcall` member.
            let call = unsafe { exit.u.hcall };
            HypervExit::Hypercall {
                input: call.input,
                params: call.params,
            }
        }
        other => HypervExit::Other(other),
    }
}

/// What KVM says of an internal error: its number (KVM_INTERNAL_ERROR_*) and the data that belongs to it. Call it only
/// right after `VcpuExit::InternalError`.
pub fn internal_error(vcpu: &mut VcpuFd) -> (u32, Vec<u64>) {
    let run = vcpu.get_kvm_run();
    // SAFETY: KVM filled the `internal` member of the union for the exit reason KVM_EXIT_INTERNAL_ERROR; all its members
    // are plain integers, for which every bit pattern is valid, so the read is defined even if the caller was wrong.
    let error = unsafe { run.__bindgen_anon_1.internal };
    let count = usize::try_from(error.ndata).unwrap_or(usize::MAX);
    (error.suberror, error.data.into_iter().take(count).collect())
}

/// Sets what the hypercall that `hyperv_exit` reported returns to the guest (RAX).
pub fn set_hypercall_result(vcpu: &mut VcpuFd, result: u64) {
    let run = vcpu.get_kvm_run();
    run.__bindgen_anon_1.hyperv.u.hcall.result = result;
}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_memory::Bytes;

    #[test]
    fn what_is_discarded_reads_as_zero() {
        let memory = crate::memory::allocate(1 << 20).unwrap();
        for page in 0..8 {
            memory.write_obj(7u64, GuestAddress(page * PAGE)).unwrap();
        }
        Discarder.discard(&memory, 2 * PAGE, 3 * PAGE).unwrap();
        let read = |page: u64| memory.read_obj::<u64>(GuestAddress(page * PAGE)).unwrap();
        let all: Vec<u64> = (0..8).map(read).collect();
        assert_eq!(all, [7, 7, 0, 0, 0, 7, 7, 7]);
        for (start, len) in [
            (1 << 20, PAGE),
            (100, PAGE),
            (0, 100),
            (0, (1 << 20) + PAGE),
        ] {
            assert!(Discarder.discard(&memory, start, len).is_err());
        }
    }
}
