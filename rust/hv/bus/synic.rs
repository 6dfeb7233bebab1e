// SPDX-License-Identifier: GPL-2.0

//! The synthetic interrupt controller: each CPU's message page and event flags page, and SINT 2.
//!
//! Sources: TLFS "Virtual Interrupt Controller"; drivers/hv/hv.c.

use crate::{
    cpu,
    ops,
    trace, //
};
use core::{
    array,
    sync::atomic::{
        AtomicU32,
        AtomicU64,
        AtomicU8,
        Ordering, //
    }, //
};
use kernel::{
    prelude::*,
    sync::rcu, //
};
use rlis_hv::{
    c_struct,
    callbacks,
    contains,
    page::{
        HostPage,
        PageSlot, //
    },
    time,
    Tasklet, //
};
use rlis_proto::vmbus::{
    hypercall::msr,
    parse,
    synic::{
        Message,
        Sint,
        SynicMessageType,
        HV_EVENT_FLAGS_COUNT,
        HV_MESSAGE_FLAG_PENDING,
        HV_SYNIC_ENABLE, //
    },
    HV_HYP_PAGE_SIZE, VMBUS_MESSAGE_SINT,
};
use rlis_sys as bindings;

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

/// SINTs of a SynIC.
const SINTS: usize = 16;

/// A CPU's page of event flags: a bit a flag.
type EventPage = [[AtomicU64; EVENT_WORDS]; SINTS];

/// A CPU's page of messages.
type MessagePage = [Slot; SINTS];

const _: () = assert!(size_of::<EventPage>() == HV_HYP_PAGE_SIZE);
const _: () = assert!(size_of::<MessagePage>() == HV_HYP_PAGE_SIZE);

c_struct! {
    /// A CPU's pages, and the tasklet that takes messages. It lives as long as this module.
    // SAFETY: Zero at first, with the tasklet initialised by `Pages::new`, before the first interrupt.
    unsafe pub(crate) struct Context(bindings::hv_per_cpu_context) {
        fn message_page -> PageSlot<MessagePage> = hyp_synic_message_page;
        fn event_page -> PageSlot<EventPage> = hyp_synic_event_page;
        pub(crate) fn msg_dpc -> Tasklet = msg_dpc;
    }
}

impl Context {
    /// The words of the event flags of our SINT.
    #[inline]
    pub(crate) fn event_flags<'a>(
        &self,
        rcu: &'a rcu::Guard,
    ) -> Option<&'a [AtomicU64; EVENT_WORDS]> {
        self.event_page().get(rcu)?.get(SINT)
    }

    /// The slot of our SINT.
    #[inline]
    fn slot<'a>(&self, rcu: &'a rcu::Guard) -> Option<&'a Slot> {
        self.message_page().get(rcu)?.get(SINT)
    }

    /// Whether it has what a CPU that is online needs.
    pub(crate) fn is_ready(&self) -> bool {
        !self.event_page().is_empty()
    }
}

/// The SynIC of a CPU; `None` if there cannot be such a CPU.
pub(crate) fn context(cpu: u32) -> Option<&'static Context> {
    // SAFETY: Null, or a CPU's, which lives as long as this module.
    unsafe { bindings::hv_cpu_context(cpu).cast::<Context>().as_ref() }
}

/// The SynIC of this CPU. Where the caller stays on it.
#[inline]
pub(crate) fn this_context() -> &'static Context {
    // SAFETY: It lives as long as this module.
    unsafe { &*bindings::hv_this_cpu_context().cast::<Context>() }
}

/// The pages of all CPUs.
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
        for context in cpu::possible().filter_map(context) {
            // SAFETY: When the module is loaded, before there is an interrupt handler; the function is for this tasklet.
            unsafe { bindings::tasklet_setup(&raw mut (*context.raw()).msg_dpc, Some(on_message)) };
        }
        let pages = Self(());
        for context in cpu::present().filter_map(context) {
            context.message_page().put(HostPage::decrypted()?);
            context.event_page().put(HostPage::decrypted()?);
        }
        Ok(pages)
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        let mut old = KVec::new();
        for context in cpu::present().filter_map(context) {
            context.msg_dpc().kill();
            let pages = [
                context.message_page().take(true),
                context.event_page().take(true),
            ];
            for page in pages.into_iter().flatten() {
                // One that there is no memory for is waited for on its own.
                let _ = old.push(page, GFP_KERNEL);
            }
        }
    }
}

/// Sets up the registers of this CPU, `cpu`.
pub(crate) fn enable(cpu: u32) {
    let Some(context) = context(cpu) else {
        return;
    };
    let address_mask = !(HV_HYP_PAGE_SIZE as u64 - 1);
    let (message_page, event_page) = (
        context.message_page().physical(),
        context.event_page().physical(),
    );
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
    let (vector, auto_eoi) = (
        bindings::HYPERVISOR_CALLBACK_VECTOR as u8,
        bindings::hv_recommend_using_aeoi(),
    );
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
    let rcu = rcu::read_lock();
    context(cpu).is_some_and(|context| has_events_of(context, &rcu))
}

/// Whether channels' events wait in the page of a CPU.
pub(crate) fn has_events_of(context: &Context, rcu: &rcu::Guard) -> bool {
    let Some(flags) = context.event_flags(rcu) else {
        return false;
    };
    // Flag 0 announces messages, which are none of a channel's interrupts.
    flags
        .iter()
        .enumerate()
        .any(|(i, word)| word.load(Ordering::SeqCst) & if i == 0 { !1 } else { !0 } != 0)
}

/// The slot of a SINT in a message page, which both sides write to. The hypervisor does so only while it is free.
#[derive(FromBytes)]
#[repr(C)]
struct Slot {
    message_type: AtomicU32,
    payload_size: AtomicU8,
    message_flags: AtomicU8,
    _reserved: [AtomicU8; 2],
    /// The sender and the message.
    rest: [AtomicU64; 31],
}

impl Slot {
    /// A private copy of the message, or `None` if the slot is free.
    ///
    /// The host may change it while it is copied; what the copy then holds is as good as any other message from a host that
    /// misbehaves.
    fn read(&self) -> Option<Message> {
        let message_type = self.message_type.load(Ordering::Acquire);
        if message_type == SynicMessageType::HVMSG_NONE.0 {
            return None;
        }
        let [t0, t1, t2, t3] = message_type.to_ne_bytes();
        let size = self.payload_size.load(Ordering::Relaxed);
        let flags = self.message_flags.load(Ordering::Relaxed);
        let first = u64::from_ne_bytes([t0, t1, t2, t3, size, flags, 0, 0]);
        let words: [u64; 32] = array::from_fn(|i| match i.checked_sub(1) {
            None => first,
            Some(i) => self.rest.get(i).map_or(0, |w| w.load(Ordering::Relaxed)),
        });
        Some(zerocopy::transmute!(words))
    }

    /// Frees the slot and, if more messages wait for it, asks for the next.
    ///
    /// Only if the slot still holds a message of this type: while the guest crashes, another CPU may be at it.
    fn end_of_message(&self, message_type: u32) {
        if self
            .message_type
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
        // The flag must be read after the slot was freed, which the exchange orders: the hypervisor sets it
        // when it finds the slot taken.
        if self.message_flags.load(Ordering::SeqCst) & HV_MESSAGE_FLAG_PENDING != 0 {
            write_msr(msr::HV_X64_MSR_EOM, 0);
        }
    }
}

/// Whether a message waits in the slot of this CPU's page.
#[inline]
pub(crate) fn has_message(context: &Context, rcu: &rcu::Guard) -> bool {
    context.slot(rcu).is_some_and(|slot| {
        slot.message_type.load(Ordering::Relaxed) != SynicMessageType::HVMSG_NONE.0
    })
}

/// Whether the message is that a synthetic timer of this CPU has expired. In kernels that do not set such timers no message
/// is: one that the host sends all the same is done with like any that nobody knows.
fn is_timer(message_type: u32) -> bool {
    cfg!(RLIS_HAVE_STIMER_MESSAGES) && message_type == SynicMessageType::HVMSG_TIMER_EXPIRED.0
}

/// If a synthetic timer has expired, tells the clock event device and frees the slot. Newer kernels use such timers only
/// where they interrupt by themselves. In the interrupt handler, on the CPU of the context.
#[inline]
pub(crate) fn take_timer_message(context: &Context, rcu: &rcu::Guard) {
    if !cfg!(RLIS_HAVE_STIMER_MESSAGES) {
        return;
    }
    let Some(slot) = context.slot(rcu) else {
        return;
    };
    let message_type = slot.message_type.load(Ordering::Acquire);
    if is_timer(message_type) {
        // SAFETY: The clock event device of this CPU has asked for the message.
        unsafe { bindings::stimer_expired() };
        slot.end_of_message(message_type);
    }
}

contains! {
    // SAFETY: Only the tasklets of contexts call a function with a tasklet that is taken for a context's.
    unsafe {
        Context: bindings::tasklet_struct = bindings::hv_per_cpu_context, msg_dpc;
    }
}

callbacks! {
    /// The tasklet that takes a message out of a CPU's page; runs on that CPU.
    fn on_message(context: *mut bindings::tasklet_struct => &Context) {
        take_message(context);
    }
}

fn take_message(context: &Context) {
    let rcu = rcu::read_lock();
    let Some(slot) = context.slot(&rcu) else {
        return;
    };
    let Some(message) = slot.read() else { return };
    let message_type = message.header.message_type;
    if is_timer(message_type) {
        // For the interrupt that it comes with.
        return;
    }
    trace::taken(&message.payload);
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
    if let Some(context) = context(cpu::CONNECT_CPU) {
        context.msg_dpc().schedule();
    }
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
        for context in cpu::present().filter_map(context) {
            let rcu = rcu::read_lock();
            let Some(slot) = context.slot(&rcu) else {
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
        time::busy_wait_ms(STEP_MS);
        waited += STEP_MS;
        if waited % NOTE_MS == 0 {
            pr_notice!("Waiting for VMBus UNLOAD to complete\n");
        }
    }
    for context in cpu::present().filter_map(context) {
        let rcu = rcu::read_lock();
        if let Some(slot) = context.slot(&rcu) {
            slot.message_type
                .store(SynicMessageType::HVMSG_NONE.0, Ordering::SeqCst);
        }
    }
    found
}
