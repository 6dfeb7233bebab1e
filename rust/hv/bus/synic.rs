// SPDX-License-Identifier: GPL-2.0

//! The synthetic interrupt controller: each CPU's message page and event flags page, and SINT 2.
//!
//! Sources: TLFS "Virtual Interrupt Controller"; drivers/hv/hv.c.

use crate::{
    cpu,
    ops, //
};
use core::{
    mem::size_of,
    ptr,
    sync::atomic::{
        AtomicU32,
        AtomicU64,
        AtomicU8,
        Ordering, //
    }, //
};
use kernel::{
    ffi::c_void,
    prelude::*, //
};
use rlis_proto::vmbus::{
    hypercall::msr,
    parse,
    synic::{
        Message,
        MessageHeader,
        Sint,
        SynicMessageType,
        HV_EVENT_FLAGS_COUNT,
        HV_MESSAGE_FLAG_PENDING,
        HV_SYNIC_ENABLE, //
    },
    HV_HYP_PAGE_SIZE, VMBUS_MESSAGE_SINT,
};
use rlis_sys as bindings;
use zerocopy::FromZeros;

const SINT: usize = VMBUS_MESSAGE_SINT as usize;
const MSR_SINT: u32 = msr::HV_X64_MSR_SINT0 + VMBUS_MESSAGE_SINT as u32;

/// Words of event flags, 64 flags each.
pub(crate) const EVENT_WORDS: usize = HV_EVENT_FLAGS_COUNT / 64;

fn read_msr(reg: u32) -> u64 {
    // SAFETY: A synthetic register of the hypervisor we run on.
    unsafe { bindings::hv_get_msr(reg) }
}

fn write_msr(reg: u32, value: u64) {
    // SAFETY: A synthetic register of the hypervisor we run on; the caller knows what it does.
    unsafe { bindings::hv_set_msr(reg, value) };
}

/// The per-CPU state and pages.
///
/// Dropping it frees the pages; the SynIC must be disabled on all CPUs, and the interrupt handler removed by then.
pub struct Pages(());

impl Pages {
    /// Allocates them for all CPUs that may ever come online.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new() -> Result<Self> {
        // SAFETY: Called once; process context.
        kernel::error::to_result(unsafe { bindings::hv_context_alloc() })?;
        let pages = Self(());
        for cpu in cpu::present() {
            let context = cpu::context(cpu);
            // SAFETY: The context is this CPU's and not in use yet.
            unsafe {
                (*context).hyp_synic_message_page = alloc_page()?;
                (*context).hyp_synic_event_page = alloc_page()?;
            }
        }
        Ok(pages)
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: The SynIC is off, so that no interrupt comes, and none is under way after the tasklets are killed.
        unsafe {
            for cpu in cpu::present() {
                let context = cpu::context(cpu);
                bindings::tasklet_kill(&raw mut (*context).msg_dpc);
                free_page((*context).hyp_synic_message_page);
                free_page((*context).hyp_synic_event_page);
            }
            bindings::hv_context_free();
        }
    }
}

fn alloc_page() -> Result<*mut c_void> {
    // SAFETY: The page is ours. One whose encryption state is unknown is leaked.
    unsafe {
        let page = bindings::get_zeroed_page();
        if page.is_null() || bindings::set_memory_decrypted(page, HV_HYP_PAGE_SIZE) != 0 {
            return Err(ENOMEM);
        }
        ptr::write_bytes(page.cast::<u8>(), 0, HV_HYP_PAGE_SIZE);
        Ok(page)
    }
}

/// # Safety
///
/// `page` is null or of [`alloc_page`], and nobody uses it any more.
unsafe fn free_page(page: *mut c_void) {
    // SAFETY: The caller gives the page up.
    unsafe {
        if !page.is_null() && bindings::set_memory_encrypted(page, HV_HYP_PAGE_SIZE) == 0 {
            bindings::free_page(page);
        }
    }
}

/// Sets up the registers of this CPU, `cpu`.
pub(crate) fn enable(cpu: u32) {
    let context = cpu::context(cpu);
    let address_mask = !(HV_HYP_PAGE_SIZE as u64 - 1);
    // SAFETY: The pages of a present CPU are allocated.
    let (message_page, event_page) = unsafe {
        (
            bindings::virt_to_phys((*context).hyp_synic_message_page),
            bindings::virt_to_phys((*context).hyp_synic_event_page),
        )
    };
    // Reserved bits stay as the hypervisor has them.
    for (reg, page) in [
        (msr::HV_X64_MSR_SIMP, message_page),
        (msr::HV_X64_MSR_SIEFP, event_page),
    ] {
        write_msr(
            reg,
            (read_msr(reg) & !address_mask) | (page & address_mask) | HV_SYNIC_ENABLE,
        );
    }
    // SAFETY: No requirements.
    let (vector, auto_eoi) = unsafe {
        (
            bindings::hv_callback_vector(),
            bindings::hv_recommend_using_aeoi(),
        )
    };
    write_msr(
        MSR_SINT,
        Sint(read_msr(MSR_SINT)).enabled(vector, auto_eoi).0,
    );
    write_msr(
        msr::HV_X64_MSR_SCONTROL,
        read_msr(msr::HV_X64_MSR_SCONTROL) | HV_SYNIC_ENABLE,
    );
}

/// Masks the SINT of this CPU and takes the pages away from the hypervisor.
pub(crate) fn disable_pages() {
    write_msr(MSR_SINT, Sint(read_msr(MSR_SINT)).masked().0);
    let address_mask = !(HV_HYP_PAGE_SIZE as u64 - 1);
    for reg in [msr::HV_X64_MSR_SIMP, msr::HV_X64_MSR_SIEFP] {
        write_msr(reg, read_msr(reg) & !address_mask & !HV_SYNIC_ENABLE);
    }
}

/// Undoes [`enable`] on this CPU.
pub(crate) fn disable() {
    disable_pages();
    write_msr(
        msr::HV_X64_MSR_SCONTROL,
        read_msr(msr::HV_X64_MSR_SCONTROL) & !HV_SYNIC_ENABLE,
    );
}

/// Whether the interrupt handler has channels' events before it, on a CPU that is present.
pub fn has_events(cpu: u32) -> bool {
    let Some(flags) = event_flags(cpu::context(cpu)) else {
        return false;
    };
    // Flag 0 announces messages, which are none of a channel's interrupts.
    flags
        .iter()
        .enumerate()
        .any(|(i, word)| word.load(Ordering::SeqCst) & if i == 0 { !1 } else { !0 } != 0)
}

/// The words of the event flags of our SINT in a CPU's page.
pub(crate) fn event_flags(
    context: *mut bindings::hv_per_cpu_context,
) -> Option<&'static [AtomicU64; EVENT_WORDS]> {
    // SAFETY: The context is valid.
    let page = unsafe { (*context).hyp_synic_event_page }.cast::<[AtomicU64; EVENT_WORDS]>();
    if page.is_null() {
        return None;
    }
    // SAFETY: The page has flags for each SINT and lives as long as interrupts come; it is shared with the
    // hypervisor, which sets bits atomically.
    Some(unsafe { &*page.add(SINT) })
}

/// Our SINT's slot in a CPU's message page.
struct Slot(*mut Message);

impl Slot {
    fn of(context: *mut bindings::hv_per_cpu_context) -> Option<Self> {
        // SAFETY: The context is valid.
        let page = unsafe { (*context).hyp_synic_message_page }.cast::<Message>();
        // The page has a slot for each SINT.
        (!page.is_null()).then(|| Self(page.wrapping_add(SINT)))
    }

    fn message_type(&self) -> &AtomicU32 {
        // SAFETY: The slot is in a valid page that is shared with the hypervisor, and starts with the type,
        // aligned.
        unsafe { AtomicU32::from_ptr(self.0.cast()) }
    }

    /// A private copy of the message, or `None` if the slot is free.
    fn read(&self) -> Option<Message> {
        let message_type = self.message_type().load(Ordering::Acquire);
        if message_type == SynicMessageType::HVMSG_NONE.0 {
            return None;
        }
        let mut copy = Message::new_zeroed();
        // SAFETY: The slot is valid for reads of its size. The host may change it while it is copied; what
        // the copy then holds is as good as any other message from a host that misbehaves.
        unsafe {
            ptr::copy_nonoverlapping(
                self.0.cast_const().cast::<u8>(),
                (&raw mut copy).cast::<u8>(),
                size_of::<Message>(),
            )
        };
        copy.header.message_type = message_type;
        Some(copy)
    }

    /// Frees the slot and, if more messages wait for it, asks for the next.
    ///
    /// Only if the slot still holds a message of this type: while the guest crashes, another CPU may be at it.
    fn end_of_message(&self, message_type: u32) {
        if self
            .message_type()
            .compare_exchange(
                message_type,
                SynicMessageType::HVMSG_NONE.0,
                Ordering::SeqCst,
                Ordering::Relaxed,
            )
            .is_err()
        {
            return;
        }
        let offset = core::mem::offset_of!(MessageHeader, message_flags);
        // The flag must be read after the slot was freed, which the exchange orders: the hypervisor sets it
        // when it finds the slot taken.
        // SAFETY: The flags are in the slot; see `message_type`.
        let flags = unsafe { AtomicU8::from_ptr(self.0.cast::<u8>().add(offset)) };
        if flags.load(Ordering::SeqCst) & HV_MESSAGE_FLAG_PENDING != 0 {
            write_msr(msr::HV_X64_MSR_EOM, 0);
        }
    }
}

/// Whether a message waits in the slot of this CPU's page.
pub(crate) fn has_message(context: *mut bindings::hv_per_cpu_context) -> bool {
    Slot::of(context).is_some_and(|slot| {
        slot.message_type().load(Ordering::Relaxed) != SynicMessageType::HVMSG_NONE.0
    })
}

/// Whether the message is that a synthetic timer of this CPU has expired. In kernels that do not set such timers no message
/// is: one that the host sends all the same is done with like any that nobody knows.
fn is_timer(message_type: u32) -> bool {
    cfg!(RLIS_HAVE_STIMER_MESSAGES) && message_type == SynicMessageType::HVMSG_TIMER_EXPIRED.0
}

/// If a synthetic timer has expired, tells the clock event device and frees the slot. Newer kernels use such timers only
/// where they interrupt by themselves. In the interrupt handler, on the CPU of the context.
pub(crate) fn take_timer_message(context: *mut bindings::hv_per_cpu_context) -> bool {
    if !cfg!(RLIS_HAVE_STIMER_MESSAGES) {
        return false;
    }
    let Some(slot) = Slot::of(context) else {
        return false;
    };
    let message_type = slot.message_type().load(Ordering::Acquire);
    if !is_timer(message_type) {
        return false;
    }
    // SAFETY: The clock event device of this CPU has asked for the message.
    unsafe { bindings::stimer_expired() };
    slot.end_of_message(message_type);
    true
}

/// The tasklet that takes a message out of a CPU's page; runs on that CPU.
#[no_mangle]
unsafe extern "C" fn rlis_bus_on_message(context: usize) {
    let Some(slot) = Slot::of(ptr::with_exposed_provenance_mut(context)) else {
        return;
    };
    let Some(message) = slot.read() else { return };
    let message_type = message.header.message_type;
    if is_timer(message_type) {
        // For the interrupt that it comes with.
        return;
    }
    let handled = match message.channel_message() {
        // Nobody has asked for messages before there is a bus.
        Ok(Some(message)) => ops().map_or(true, |ops| ops.message(message)),
        Ok(None) => true,
        Err(e) => {
            bad_message(e);
            true
        }
    };
    if handled {
        slot.end_of_message(message_type);
    }
}

fn bad_message(e: rlis_proto::ProtoError) {
    crate::ratelimit::warn(|| {
        pr_warn!(
            "message from the host ignored: {}\n",
            core::format_args!("{e}")
        )
    });
}

/// Has the tasklet look again at a message that it had to leave. Runs on the CPU that gets messages.
pub fn restart_message_tasklet() {
    let context = cpu::context(cpu::CONNECT_CPU);
    // SAFETY: The control work runs on that CPU, and the context is valid while there is a connection.
    unsafe { bindings::tasklet_schedule(&raw mut (*context).msg_dpc) };
}

/// Waits up to `timeout_ms` for UNLOAD_RESPONSE without sleeping and without relying on interrupts: `done`
/// says whether another CPU has got it, and the pages of all CPUs are looked at. Then frees all slots, for
/// the kernel that comes next.
pub fn poll_for_unload_response(timeout_ms: u32, done: impl Fn() -> bool) -> bool {
    const STEP_MS: u32 = 10;
    const NOTE_MS: u32 = 5_000;
    let mut waited = 0;
    let mut found = done();
    while !found && waited < timeout_ms {
        for cpu in cpu::present() {
            let Some(slot) = Slot::of(cpu::context(cpu)) else {
                continue;
            };
            let Some(message) = slot.read() else { continue };
            found |= matches!(
                message.channel_message(),
                Ok(Some(parse::Message::UnloadResponse))
            );
            slot.end_of_message(message.header.message_type);
        }
        if found || done() {
            found = true;
            break;
        }
        // SAFETY: Any context.
        unsafe { bindings::mdelay(STEP_MS) };
        waited += STEP_MS;
        if waited % NOTE_MS == 0 {
            pr_notice!("Waiting for VMBus UNLOAD to complete\n");
        }
    }
    for cpu in cpu::present() {
        if let Some(slot) = Slot::of(cpu::context(cpu)) {
            slot.message_type()
                .store(SynicMessageType::HVMSG_NONE.0, Ordering::SeqCst);
        }
    }
    found
}
