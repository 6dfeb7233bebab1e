// SPDX-License-Identifier: GPL-2.0

//! A thread on each CPU, that interrupts leave their work to.
//!
//! C header: [`include/linux/smpboot.h`](srctree/include/linux/smpboot.h)

use crate::{
    per_cpu::PerCpu,
    NoSoftirq,
    RcuArc, //
};
use core::{
    marker::PhantomData,
    sync::atomic::{
        AtomicBool,
        AtomicPtr,
        Ordering, //
    }, //
};
use kernel::{
    error::to_result,
    ffi::{
        c_int,
        c_uint, //
    },
    prelude::*,
    sync::rcu,
    types::Opaque, //
};
use rlis_sys as bindings;

/// What the threads do.
pub trait CpuWork: Sized + 'static {
    /// The name of a thread, with `%u` for its CPU.
    const NAME: &'static CStr;

    /// Where the threads are kept while there are any.
    fn threads() -> &'static RcuArc<CpuThreads<Self>>;

    /// The work. In the thread of a CPU, which does not leave it; with softirqs disabled, so that what it raises, NAPI and
    /// tasklets, runs there when it returns, and not in ksoftirqd.
    fn run();
}

/// A CPU's thread, and whether there is work for it.
#[derive(zerocopy_derive::FromZeros)]
#[repr(C)]
struct State {
    /// First, as the kernel is given it for where it keeps the thread.
    thread: AtomicPtr<bindings::task_struct>,
    pending: AtomicBool,
}

/// Threads of real-time priority, one on each CPU, which comes and goes with it. Dropping it ends them. Sleeps.
///
/// # Invariants
///
/// `c` is registered, with `states` for its store.
#[pin_data(PinnedDrop)]
pub struct CpuThreads<W: CpuWork> {
    states: PerCpu<State>,
    #[pin]
    c: Opaque<bindings::smp_hotplug_thread>,
    _work: PhantomData<W>,
}

// SAFETY: The threads may be ended from any thread.
unsafe impl<W: CpuWork> Send for CpuThreads<W> {}

// SAFETY: What is shared are the states, which are atomics.
unsafe impl<W: CpuWork> Sync for CpuThreads<W> {}

impl<W: CpuWork> CpuThreads<W> {
    /// Makes the threads. They sleep until [`Self::wake`], and as long as they are not in [`CpuWork::threads`]. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(&this in Self {
            states: PerCpu::new()?,
            // INVARIANT: It is registered here.
            c <- Opaque::try_ffi_init(|slot: *mut bindings::smp_hotplug_thread| {
                // SAFETY: The field is initialised.
                let store = unsafe { (*this.as_ptr()).states.base() };
                let mut threads: bindings::smp_hotplug_thread = pin_init::zeroed();
                threads.store = store.cast();
                threads.setup = Some(setup);
                threads.thread_should_run = Some(Self::should_run);
                threads.thread_fn = Some(Self::run);
                threads.thread_comm = W::NAME.as_char_ptr();
                // SAFETY: The slot is valid for writes, and pinned; the store has a place for each CPU.
                to_result(unsafe {
                    slot.write(threads);
                    bindings::smpboot_register_percpu_thread(slot)
                })
            }),
            _work: PhantomData,
        })
    }

    /// Has this CPU's thread do its work; once more if it is at it. In interrupts.
    #[inline]
    pub fn wake(&self) {
        let state = self.states.here();
        state.pending.store(true, Ordering::Relaxed);
        let thread = state.thread.load(Ordering::Relaxed);
        if !thread.is_null() {
            // SAFETY: A CPU's thread stays as long as the registration, by the invariants.
            unsafe { bindings::wake_up_process(thread) };
        }
    }

    /// Whether this CPU's thread has something to do.
    fn is_pending() -> bool {
        let rcu = rcu::read_lock();
        let threads = W::threads().get(&rcu);
        threads.is_some_and(|threads| threads.states.here().pending.load(Ordering::Relaxed))
    }

    /// Takes back that there is something to do.
    fn begin() {
        let rcu = rcu::read_lock();
        if let Some(threads) = W::threads().get(&rcu) {
            threads
                .states
                .here()
                .pending
                .store(false, Ordering::Relaxed);
        }
    }

    /// # Safety
    ///
    /// For the threads to call.
    unsafe extern "C" fn should_run(_cpu: c_uint) -> c_int {
        c_int::from(Self::is_pending())
    }

    /// # Safety
    ///
    /// For the threads to call.
    unsafe extern "C" fn run(_cpu: c_uint) {
        // An interrupt that comes from here on has it run again.
        Self::begin();
        let _softirqs = NoSoftirq::begin();
        W::run();
    }
}

/// # Safety
///
/// For the threads to call.
unsafe extern "C" fn setup(_cpu: c_uint) {
    // SAFETY: The thread that this runs in.
    unsafe { bindings::sched_set_fifo(bindings::get_current()) };
}

#[pinned_drop]
impl<W: CpuWork> PinnedDrop for CpuThreads<W> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the invariants.
        unsafe { bindings::smpboot_unregister_percpu_thread(self.c.get()) };
    }
}

#[kunit_tests(rlis_hv_cpu_threads)]
mod tests {
    use super::*;
    use crate::Completion;
    use kernel::sync::Arc;

    struct Once;

    static THREADS: RcuArc<CpuThreads<Once>> = RcuArc::new();
    static DONE: RcuArc<Completion> = RcuArc::new();

    impl CpuWork for Once {
        const NAME: &'static CStr = c"rlis_test/%u";

        fn threads() -> &'static RcuArc<CpuThreads<Self>> {
            &THREADS
        }

        fn run() {
            if let Some(done) = DONE.get(&rcu::read_lock()) {
                done.complete();
            }
        }
    }

    #[test]
    fn runs_once_for_each_time_it_was_woken() -> Result {
        let done = Arc::pin_init(Completion::new(), GFP_KERNEL)?;
        drop(DONE.replace(Some(done.clone())));
        drop(THREADS.replace(Some(Arc::pin_init(CpuThreads::new(), GFP_KERNEL)?)));
        for _ in 0..2 {
            if let Some(threads) = THREADS.get(&rcu::read_lock()) {
                threads.wake();
            }
            done.wait_timeout(10_000)?;
            assert!(!done.is_done());
        }
        drop(THREADS.replace(None));
        drop(DONE.replace(None));
        Ok(())
    }
}
