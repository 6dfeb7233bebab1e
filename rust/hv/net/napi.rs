// SPDX-License-Identifier: GPL-2.0

//! Polling, `struct napi_struct`.

use crate::{
    device::NetDevice,
    poll::PollContext, //
};
use core::ptr::NonNull;
use kernel::{
    error::to_result,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full,
            Release, //
        },
        Arc, //
    },
    types::Opaque, //
};
use rlis_hv::{
    ordered::load_acquire,
    NoSoftirq, //
};
use rlis_sys_net::{
    napi_struct,
    page_pool,
    xdp_rxq_info, //
};

/// What a poll has come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Polled {
    /// There is more to do: poll again.
    More,
    /// Nothing is left: wait for the next interrupt.
    Done,
}

/// What is polled.
pub trait NapiHandler: Send + Sync + 'static {
    /// Does what there is to do until [`PollContext::exhausted`].
    ///
    /// In softirq context, or in a thread of its own with softirqs disabled: must not sleep. Never twice at a time for one
    /// [`Napi`].
    fn poll(&self, cx: &mut PollContext<'_>) -> Polled;

    /// Keeps the device from interrupting. Any context.
    fn mask(&self);

    /// Lets the device interrupt again. Returns whether there is something to do that it will not interrupt for. Another poll may
    /// be under way by now, on another CPU.
    fn unmask(&self, context: &NoSoftirq) -> bool;
}

/// A polling instance of an interface, with a pool of pages for what it receives.
///
/// # Invariants
///
/// `raw` is on the list of `device`. `handler` is valid while it is enabled, and until the poll that is under way when
/// it is disabled has ended. `pool` is used by the poll function only, and `rxq` is registered with it.
#[pin_data(PinnedDrop)]
pub struct Napi<H: NapiHandler> {
    #[pin]
    raw: Opaque<napi_struct>,
    pool: NonNull<page_pool>,
    #[pin]
    rxq: Opaque<xdp_rxq_info>,
    handler: Atomic<*const H>,
    /// Whether there is an [`EnabledNapi`].
    enabled: Atomic<bool>,
    queue: u16,
    device: Arc<NetDevice>,
}

// SAFETY: NAPI instances may be used from any thread.
unsafe impl<H: NapiHandler> Send for Napi<H> {}

// SAFETY: The functions of a shared instance do their own locking.
unsafe impl<H: NapiHandler> Sync for Napi<H> {}

/// Pages that the pool keeps for use again.
const POOL_PAGES: u32 = 1024;

impl<H: NapiHandler> Napi<H> {
    /// Makes an instance, which is disabled, for a receive queue of an interface. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, and `EINVAL` for a queue that there is not.
    pub fn new(device: Arc<NetDevice>, queue: u16) -> Result<Arc<Self>> {
        if queue >= device.max_queues() {
            return Err(EINVAL);
        }
        Arc::pin_init(
            try_pin_init!(Self {
                raw <- Opaque::ffi_init(|slot: *mut napi_struct| {
                    // SAFETY: The slot is valid for writes, and all fields of the struct may be zero.
                    unsafe { slot.write_bytes(0, 1) };
                }),
                pool: {
                    // SAFETY: The slot is pinned, so the pool may refer to it; it is destroyed first. Nothing is mapped
                    // for DMA, so no device is needed.
                    let pool = unsafe {
                        rlis_sys_net::net_pool_create(core::ptr::null_mut(), raw.get(), POOL_PAGES)
                    };
                    if pool.is_null() || rlis_sys_net_is_err(pool) {
                        return Err(ENOMEM);
                    }
                    // SAFETY: Not null, as just seen.
                    unsafe { NonNull::new_unchecked(pool) }
                },
                rxq <- {
                    let (dev, pool) = (device.as_raw(), *pool);
                    // SAFETY: The slot is valid for writes, and pinned; all fields of the struct may be zero. It is
                    // unregistered before either of interface and pool goes.
                    let register = move |slot: *mut xdp_rxq_info| unsafe {
                        slot.write_bytes(0, 1);
                        to_result(rlis_sys_net::net_xdp_register(slot, dev, queue.into(), pool.as_ptr()))
                            .inspect_err(|_| rlis_sys_net::page_pool_destroy(pool.as_ptr()))
                    };
                    Opaque::try_ffi_init(register)
                },
                handler: Atomic::new(core::ptr::null()),
                enabled: Atomic::new(false),
                queue,
                _: {
                    // SAFETY: The interface is valid, and the instance zeroed and pinned. It is taken from the list before
                    // either goes. Nothing can fail afterwards.
                    unsafe {
                        rlis_sys_net::net_napi_add(device.as_raw(), raw.get(), Some(Self::poll))
                    };
                },
                device,
            }),
            GFP_KERNEL,
        )
    }

    /// Starts polling: from here on [`Self::schedule`] works. Sleeps.
    ///
    /// # Errors
    ///
    /// `EBUSY` if it is enabled already.
    pub fn enable(self: Arc<Self>, handler: Arc<H>) -> Result<EnabledNapi<H>> {
        if self.enabled.xchg(true, Full) {
            return Err(EBUSY);
        }
        self.handler.store(Arc::as_ptr(&handler), Release);
        // SAFETY: The instance is on its interface's list and disabled, and nobody else enables it: `enabled`.
        unsafe { rlis_sys_net::napi_enable(self.raw.get()) };
        // INVARIANT: It was just enabled; the value keeps the handler.
        Ok(EnabledNapi {
            napi: self,
            _handler: handler,
        })
    }

    /// Has [`NapiHandler::poll`] called soon, unless that is already so; otherwise calls `mask` first. Any context.
    #[inline]
    pub fn schedule(&self, mask: impl FnOnce()) {
        // SAFETY: The instance is valid. While it is disabled, the function returns false.
        if unsafe { rlis_sys_net::napi_schedule_prep(self.raw.get()) } {
            mask();
            // SAFETY: The instance is ours to schedule.
            unsafe { rlis_sys_net::net_napi_schedule(self.raw.get()) };
        }
    }

    /// The poll function of the C API.
    ///
    /// # Safety
    ///
    /// Only for the network stack to call, with what the C API prescribes.
    unsafe extern "C" fn poll(raw: *mut napi_struct, budget: c_int) -> c_int {
        // netpoll, which wants no more than what was sent completed, and has interrupts disabled. Completions lie in the
        // ring between frames received, so there is nothing to do for it.
        if budget <= 0 {
            return 0;
        }
        let opaque: *mut Opaque<napi_struct> = raw.cast();
        // SAFETY: Only instances inside of a `Self` have this function.
        let this = unsafe { &*kernel::container_of!(opaque, Self, raw) };
        // SAFETY: By the type invariant: only an enabled instance is polled.
        let handler = unsafe { &*load_acquire(&this.handler) };
        // SAFETY: The stack polls this instance, and the pool is its own.
        let mut cx = unsafe {
            PollContext::new(
                raw,
                this.pool,
                this.rxq.get(),
                budget,
                this.queue,
                &this.device,
            )
        };
        let polled = handler.poll(&mut cx);
        let done = cx.finish();
        if polled == Polled::More || done >= budget {
            return budget;
        }
        // From here on another CPU may poll, if this returns true.
        // SAFETY: The instance is being polled.
        if !unsafe { rlis_sys_net::napi_complete_done(raw, done) } {
            return done;
        }
        // SAFETY: A poll is called with softirqs disabled, and this is still the call.
        let context = unsafe { NoSoftirq::assume() };
        if handler.unmask(context) {
            this.schedule(|| handler.mask());
        }
        done
    }
}

/// Returns whether a pointer is an error number of C.
fn rlis_sys_net_is_err(pool: *mut page_pool) -> bool {
    // `MAX_ERRNO`.
    pool.addr() >= usize::MAX - 4094
}

#[pinned_drop]
impl<H: NapiHandler> PinnedDrop for Napi<H> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: The instance is disabled: an `EnabledNapi` has a reference. So queue and pool are not used, and the pool refers
        // to the instance no more afterwards. Packets that are still somewhere keep the pool's memory.
        unsafe {
            rlis_sys_net::xdp_rxq_info_unreg(self.rxq.get());
            rlis_sys_net::page_pool_destroy(self.pool.as_ptr());
        }
        // SAFETY: By the type invariant, and the instance is disabled. This waits for a grace period.
        unsafe { rlis_sys_net::net_napi_del(self.raw.get()) };
    }
}

/// A [`Napi`] that polls.
///
/// Dropping it waits for a poll under way, and none starts afterwards. Sleeps.
pub struct EnabledNapi<H: NapiHandler> {
    napi: Arc<Napi<H>>,
    _handler: Arc<H>,
}

impl<H: NapiHandler> EnabledNapi<H> {
    /// Returns the instance.
    pub fn napi(&self) -> &Arc<Napi<H>> {
        &self.napi
    }
}

impl<H: NapiHandler> Drop for EnabledNapi<H> {
    fn drop(&mut self) {
        // SAFETY: The instance is enabled, and only this value disables it, once.
        unsafe { rlis_sys_net::napi_disable(self.napi.raw.get()) };
        self.napi.handler.store(core::ptr::null(), Release);
        self.napi.enabled.store(false, Release);
    }
}
