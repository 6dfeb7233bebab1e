// SPDX-License-Identifier: GPL-2.0

//! Hibernation, kexec, crash and panic.
//!
//! Over a hibernation the host's side is new: relids change, sub-channels and sockets are gone. Drivers have
//! closed their channels when the bus is suspended, and open them again after it is resumed.

use crate::{
    channel::{
        self,
        ChannelRef, //
    },
    connection::{
        self,
        Connection, //
    },
    control::{
        self,
        Offers, //
    },
    cpu,
    synic, //
};
use core::sync::atomic::{
    AtomicBool,
    Ordering, //
};
use kernel::{
    ffi::c_int,
    prelude::*, //
};
use rlis_proto::vmbus::life::{
    Event,
    Kind,
    Relid, //
};
use rlis_sys as bindings;

/// A framebuffer driver wants to unload the bus itself, after it has flushed the screen.
static SKIP_UNLOAD: AtomicBool = AtomicBool::new(false);

/// How long sub-channels and sockets may take to go away before a suspend, in milliseconds.
const CLOSE_TIMEOUT_MS: u32 = 60_000;

/// Sets whether a crash leaves the unload to another driver.
pub(crate) fn set_skip_unload(skip: bool) {
    SKIP_UNLOAD.store(skip, Ordering::Relaxed);
}

/// Suspends the bus; devices are suspended already.
#[no_mangle]
extern "C" fn rlis_bus_suspend() -> c_int {
    match suspend() {
        Ok(()) => 0,
        Err(e) => {
            control::set_offers(Offers::Taken);
            e.to_errno()
        }
    }
}

fn suspend() -> Result {
    let c = connection::raw();
    // Offers from here on come again after the resume, if there is one. Those before are handled, with what they entail.
    control::set_offers(Offers::Kept);
    control::flush();
    // SAFETY: The queues exist as long as there is a connection; process context.
    unsafe {
        bindings::reinit_completion(&raw mut (*c).ready_for_suspend_event);
        for wq in [
            (*c).rescind_work_queue,
            (*c).handle_primary_chan_wq,
            (*c).handle_sub_chan_wq,
        ] {
            bindings::flush_workqueue(wq);
        }
    }
    control::flush_ordered();

    // No socket survives: as if the host had rescinded it.
    loop {
        let list = channel::lock();
        let next = list
            .primaries()
            .find(|p| p.is_hvsock() && !p.is_rescinded())
            .map(ChannelRef::from);
        drop(list);
        let Some(socket) = next else { break };
        control::rescind(socket);
    }
    if channel::awaited() > 0 {
        // SAFETY: As above.
        let closed = unsafe {
            bindings::wait_for_completion_ms(
                &raw mut (*c).ready_for_suspend_event,
                CLOSE_TIMEOUT_MS,
            )
        };
        if !closed && channel::awaited() > 0 {
            pr_err!("sub-channels or sockets did not close, not suspending\n");
            return Err(EBUSY);
        }
    }

    let mut list = channel::lock();
    let mut relids = 0;
    while let Some(channel) = list
        .primaries()
        .find(|p| p.life().relid == Relid::Held)
        .map(ChannelRef::from)
    {
        list.unmap_relid(channel.relid());
        channel.on(Event::Suspended);
        relids += 1;
    }
    drop(list);
    pr_debug!("suspended with {} channels\n", relids);
    connection::unload(false);
    control::set_offers(Offers::Dropped);
    control::flush();
    Ok(())
}

/// Resumes the bus, before its devices.
#[no_mangle]
extern "C" fn rlis_bus_resume() -> c_int {
    match resume() {
        Ok(()) => 0,
        Err(e) => {
            pr_err!("resuming the bus failed: {}\n", e.to_errno());
            e.to_errno()
        }
    }
}

fn resume() -> Result {
    control::set_offers(Offers::Taken);
    Connection::reestablish()?;
    connection::request_offers()?;
    let list = channel::lock();
    for channel in list.primaries() {
        let life = channel.life();
        if life.relid == Relid::Forgotten && life.kind == Kind::Primary && !life.is_over() {
            let offer = channel.offer();
            pr_err!(
                "channel {}/{} not present after resume.\n",
                core::format_args!("{}", { offer.offer.if_type }),
                core::format_args!("{}", { offer.offer.if_instance })
            );
        }
    }
    Ok(())
}

/// CPU 0's SynIC before the image is made: all other CPUs are offline.
#[no_mangle]
extern "C" fn rlis_bus_synic_suspend() {
    synic::disable_pages();
}

/// CPU 0's SynIC after the image is loaded.
#[no_mangle]
extern "C" fn rlis_bus_synic_resume() {
    synic::enable(cpu::CONNECT_CPU);
}

/// The kernel panics.
#[no_mangle]
extern "C" fn rlis_bus_panic() {
    if !SKIP_UNLOAD.load(Ordering::Relaxed) {
        connection::unload(true);
    }
}

unsafe extern "C" fn kexec() {
    connection::unload(false);
    cpu::disable_all();
}

/// A crash kernel is about to be started. Only this CPU can be cleaned up, which is enough for it.
unsafe extern "C" fn crash(_regs: *mut bindings::pt_regs) {
    rlis_bus_panic();
    // SAFETY: Interrupts are off.
    unsafe { bindings::stimer_cleanup_cpu(bindings::vmbus_smp_processor_id()) };
    synic::disable_pages();
}

/// The handlers for panic, kexec, crash and the suspend of CPU 0.
pub struct Handlers(());

impl Handlers {
    /// Sets them. The connection is established.
    pub fn set() -> Self {
        // SAFETY: The functions are what is expected; drop takes them back.
        unsafe {
            bindings::vmbus_panic_notifier(true);
            bindings::hv_setup_kexec_handler(Some(kexec));
            bindings::hv_setup_crash_handler(Some(crash));
            bindings::vmbus_syscore(true);
        }
        Self(())
    }
}

impl Drop for Handlers {
    fn drop(&mut self) {
        // SAFETY: Set by `set`.
        unsafe {
            bindings::vmbus_syscore(false);
            bindings::hv_remove_kexec_handler();
            bindings::hv_remove_crash_handler();
            bindings::vmbus_panic_notifier(false);
        }
    }
}
