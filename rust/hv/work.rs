// SPDX-License-Identifier: GPL-2.0

//! Work that belongs to an object and ends with it, and work queues of one's own.
//!
//! The kernel crate's `Work` keeps its object alive through a reference of its own, so it can neither be
//! cancelled nor waited for. Here the object lies inside a [`Worker`]; dropping that ends the work first.
//!
//! C header: [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h)

mod gate;

use core::{
    ops::Deref,
    ptr::NonNull, //
};
use gate::Gate;
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        },
        Arc,
        Mutex, //
    },
    time::{
        msecs_to_jiffies,
        Msecs, //
    },
    types::Opaque,
    workqueue::Queue, //
};
use rlis_sys::{
    delayed_work,
    work_struct,
    workqueue_struct, //
    wq_flags,
    wq_flags_WQ_FREEZABLE,
    wq_flags_WQ_MEM_RECLAIM,
    wq_flags_WQ_UNBOUND,
    wq_flags___WQ_LEGACY,
    wq_flags___WQ_ORDERED,
};

/// "No CPU in particular", where a function takes one.
const ANY_CPU: i32 = rlis_sys::wq_misc_consts_WORK_CPU_UNBOUND as i32;

/// What `alloc_ordered_workqueue` adds to a queue's flags.
const ORDERED: wq_flags = wq_flags_WQ_UNBOUND | wq_flags___WQ_ORDERED;

/// What newer kernels want a queue to say that is not `WQ_UNBOUND`.
#[cfg(RLIS_HAVE_WQ_PERCPU)]
const PER_CPU: wq_flags = rlis_sys::wq_flags_WQ_PERCPU;
#[cfg(not(RLIS_HAVE_WQ_PERCPU))]
const PER_CPU: wq_flags = 0;

/// What a [`Worker`] does.
pub trait Task: Send + Sync + 'static {
    /// Called in process context some time after [`Worker::queue`]; never twice at a time.
    fn run(this: &Worker<Self>)
    where
        Self: Sized;

    /// Called in process context when the time of [`Worker::set_timer`] has passed; never twice at a time, but
    /// possibly together with [`Self::run`].
    fn expired(this: &Worker<Self>)
    where
        Self: Sized,
    {
        let _ = this;
    }
}

/// A reference to a work queue.
pub enum QueueRef {
    /// One of the system's.
    System(&'static Queue),
    /// One made by a driver.
    Owned(Arc<OwnedQueue>),
}

impl Deref for QueueRef {
    type Target = Queue;

    fn deref(&self) -> &Queue {
        match self {
            Self::System(queue) => queue,
            Self::Owned(queue) => queue,
        }
    }
}

impl From<&'static Queue> for QueueRef {
    fn from(queue: &'static Queue) -> Self {
        Self::System(queue)
    }
}

impl From<Arc<OwnedQueue>> for QueueRef {
    fn from(queue: Arc<OwnedQueue>) -> Self {
        Self::Owned(queue)
    }
}

/// An object with a work item and a timer of its own.
///
/// Dropping it waits until neither of them runs, and they do not start again. So the last reference to it must not
/// be dropped in [`Task::run`] or [`Task::expired`] of the same object.
///
/// # Invariants
///
/// `work` and `timer` are initialised with the functions below, and only ever queued on `queue`, through `gate`.
#[pin_data(PinnedDrop)]
pub struct Worker<T: Task> {
    #[pin]
    work: Opaque<work_struct>,
    #[pin]
    timer: Opaque<delayed_work>,
    queue: QueueRef,
    #[pin]
    gate: Gate,
    #[pin]
    inner: T,
}

// SAFETY: Work items may be used from any thread, and `T` is `Send`.
unsafe impl<T: Task> Send for Worker<T> {}

// SAFETY: The functions on work items do their own locking, and `T` is `Sync`.
unsafe impl<T: Task> Sync for Worker<T> {}

impl<T: Task> Worker<T> {
    /// Makes a worker whose functions are called on `queue`: one of the system's, such as
    /// [`kernel::workqueue::system_long`], or an `Arc<OwnedQueue>`.
    pub fn new<E>(
        queue: impl Into<QueueRef>,
        inner: impl PinInit<T, E>,
    ) -> impl PinInit<Self, Error>
    where
        Error: From<E>,
    {
        let queue = queue.into();
        // INVARIANT: The items are initialised here, and the reference keeps the queue.
        try_pin_init!(Self {
            work <- Opaque::ffi_init(|slot: *mut work_struct| {
                // SAFETY: `slot` is valid for writes and pinned.
                unsafe { rlis_sys::init_work(slot, Some(Self::run)) };
            }),
            timer <- Opaque::ffi_init(|slot: *mut delayed_work| {
                // SAFETY: `slot` is valid for writes and pinned.
                unsafe { rlis_sys::init_delayed_work(slot, Some(Self::expired)) };
            }),
            queue,
            gate <- Gate::new(),
            inner <- inner,
        })
    }

    fn raw_queue(&self) -> *mut workqueue_struct {
        let queue: &Queue = &self.queue;
        core::ptr::from_ref(queue).cast_mut().cast()
    }

    /// The function of the work item.
    ///
    /// # Safety
    ///
    /// `work` must be the `work` of a pinned `Self` that is not being dropped.
    unsafe extern "C" fn run(work: *mut work_struct) {
        let work: *mut Opaque<work_struct> = work.cast();
        // SAFETY: As required of the caller; the destructor waits for this function to return.
        let this = unsafe { &*kernel::container_of!(work, Self, work) };
        T::run(this);
    }

    /// The function of the timer.
    ///
    /// # Safety
    ///
    /// `work` must be the work inside the `timer` of a pinned `Self` that is not being dropped.
    unsafe extern "C" fn expired(work: *mut work_struct) {
        // SAFETY: As required of the caller.
        let timer: *mut delayed_work = unsafe { kernel::container_of!(work, delayed_work, work) };
        let timer: *mut Opaque<delayed_work> = timer.cast();
        // SAFETY: As required of the caller; the destructor waits for this function to return.
        let this = unsafe { &*kernel::container_of!(timer, Self, timer) };
        T::expired(this);
    }

    /// Has [`Task::run`] called. If it runs just now, it is called again afterwards. Any context.
    pub fn queue(&self) {
        self.queue_to(ANY_CPU);
    }

    /// Has [`Task::run`] called on a CPU that is online, unless it is queued already. Any context.
    pub fn queue_on(&self, cpu: u32) {
        self.queue_to(cpu as i32);
    }

    #[inline]
    fn queue_to(&self, cpu: i32) {
        self.gate.pass(|| {
            // SAFETY: By the type invariant. The destructor waits for the work.
            unsafe { rlis_sys::queue_work_on(cpu, self.raw_queue(), self.work.get()) };
        });
    }

    /// Has [`Task::expired`] called in `after` milliseconds; a time set before is forgotten. Any context.
    pub fn set_timer(&self, after: Msecs) {
        let after = msecs_to_jiffies(after);
        self.gate.pass(|| {
            // SAFETY: By the type invariant. The destructor waits for the timer.
            unsafe {
                rlis_sys::mod_delayed_work_on(ANY_CPU, self.raw_queue(), self.timer.get(), after)
            };
        });
    }

    /// Forgets the time that was set. Does not wait if [`Task::expired`] is already on its way. Any context except
    /// hard interrupts.
    pub fn clear_timer(&self) {
        // SAFETY: By the type invariant.
        unsafe { rlis_sys::cancel_delayed_work(self.timer.get()) };
    }

    /// Waits until neither function runs, and keeps both from running until [`Self::enable`], which has to be
    /// called as often. Sleeps.
    pub fn disable(&self) {
        // SAFETY: By the type invariant.
        unsafe { self.gate.close(self.work.get(), self.timer.get()) };
    }

    /// Lets the functions run again. What was queued or set meanwhile is lost.
    pub fn enable(&self) {
        // SAFETY: By the type invariant, after `disable`.
        unsafe { self.gate.reopen(self.work.get(), self.timer.get()) };
    }

    /// Waits for a run that was queued before. Sleeps.
    pub fn flush(&self) {
        // SAFETY: By the type invariant.
        unsafe { rlis_sys::flush_work(self.work.get()) };
    }
}

impl<T: Task> Deref for Worker<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner
    }
}

#[pinned_drop]
impl<T: Task> PinnedDrop for Worker<T> {
    fn drop(self: Pin<&mut Self>) {
        // Nothing can queue them any more afterwards, not even each other.
        self.disable();
    }
}

/// The name of the lock in each [`Target`]. A literal in generic code has an address in each crate that uses the code, where
/// lockdep expects one name for one class of locks.
static TARGET_LOCK: &CStr = c"rlis_hv::work::Target";

/// What a [`Task`] works on: a reference that it is given after its [`Worker`] was made, and that is taken away before the
/// worker ends.
///
/// An object that has a worker cannot be owned by the task from the start: neither would ever go. And its last reference must
/// not be dropped by the task, see [`Worker`].
#[pin_data]
pub struct Target<T> {
    #[pin]
    now: Mutex<Option<T>>,
}

impl<T: Clone + Unpin> Target<T> {
    /// Nothing to work on yet.
    pub fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            now <- Mutex::new(None, TARGET_LOCK, kernel::static_lock_class!()),
        })
    }

    /// Changes what the task works on from its next run on. A run under way goes on with what it has, and [`Worker::disable`]
    /// waits for it. Sleeps.
    pub fn change(&self, target: Option<T>) {
        let before = core::mem::replace(&mut *self.now.lock(), target);
        // With the lock given back: what goes here may do anything.
        drop(before);
    }

    /// Returns a reference for one run of the task. Sleeps.
    pub fn get(&self) -> Option<T> {
        self.now.lock().clone()
    }
}

/// Bits that say what a [`Task`] has to do. They are set in any context and never lost; each is taken once.
pub struct Flags(Atomic<u32>);

impl Flags {
    /// Nothing to do.
    pub const fn new() -> Self {
        Self(Atomic::new(0))
    }

    /// Sets bits, before the work is queued. Any context.
    pub fn set(&self, bits: u32) {
        let mut now = self.0.load(Relaxed);
        while let Err(other) = self.0.cmpxchg(now, now | bits, Full) {
            now = other;
        }
    }

    /// Returns the bits that were set since the last time. Any context.
    pub fn take(&self) -> u32 {
        self.0.xchg(0, Full)
    }
}

impl Default for Flags {
    fn default() -> Self {
        Self::new()
    }
}

/// A work queue.
///
/// Dropping it waits for all work on it.
///
/// # Invariants
///
/// The pointer is a valid queue that nobody else destroys.
pub struct OwnedQueue(NonNull<workqueue_struct>);

// SAFETY: A queue may be used and destroyed from any thread.
unsafe impl Send for OwnedQueue {}

// SAFETY: The functions on a queue do their own locking.
unsafe impl Sync for OwnedQueue {}

impl OwnedQueue {
    /// Makes a queue with `flags` of the kernel's, that runs at most `max_active` pieces of work at a time; 0 leaves that to the
    /// kernel.
    fn new(name: &CStr, flags: wq_flags, max_active: i32) -> Result<Self> {
        // SAFETY: The name is a C string, which the function copies.
        let queue = unsafe { rlis_sys::new_workqueue(name.as_char_ptr(), flags, max_active) };
        // INVARIANT: The queue is new.
        NonNull::new(queue).map(Self).ok_or(ENOMEM)
    }

    /// Makes a queue that runs one piece of work at a time, in the order in which they were queued, even when
    /// memory is short (`WQ_MEM_RECLAIM`).
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn ordered(name: &CStr) -> Result<Self> {
        Self::new(name, ORDERED | wq_flags_WQ_MEM_RECLAIM, 1)
    }

    /// Makes a queue as [`Self::ordered`] does that is frozen with user space (`WQ_FREEZABLE`): what runs when the system is
    /// suspended ends first, what is queued from then on runs when it has been resumed. For work that waits for devices.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn freezable(name: &CStr) -> Result<Self> {
        let flags = ORDERED | wq_flags_WQ_MEM_RECLAIM | wq_flags_WQ_FREEZABLE;
        Self::new(name, flags, 1)
    }

    /// Makes a queue that runs any amount of work at a time, not bound to a CPU, even when memory is short.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn unbound(name: &CStr) -> Result<Self> {
        Self::new(name, wq_flags_WQ_UNBOUND | wq_flags_WQ_MEM_RECLAIM, 0)
    }

    /// Makes a queue that runs work on the CPU that queues it, one piece at a time, even when memory is short.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn per_cpu(name: &CStr) -> Result<Self> {
        Self::new(name, PER_CPU | wq_flags_WQ_MEM_RECLAIM, 1)
    }

    /// Makes a queue for work that adds and removes devices, even when memory is short; with `ordered` one piece after the
    /// other. Drivers wait there for work of all kinds.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn for_devices(name: &CStr, ordered: bool) -> Result<Self> {
        // It needs a rescuer: what is written back to a controller that the host has taken away ends only when it is removed,
        // and a removal waits for the addition. What drivers wait for there they wait for on the C bus's queues, too;
        // `__WQ_LEGACY`, which `create_workqueue` sets, says that this is known.
        let flags = wq_flags___WQ_LEGACY | wq_flags_WQ_MEM_RECLAIM;
        if ordered {
            Self::new(name, ORDERED | flags, 1)
        } else {
            Self::new(name, wq_flags_WQ_UNBOUND | flags, 0)
        }
    }

    /// Queues work, unless it is queued already, and says whether it was not. Any context.
    ///
    /// # Safety
    ///
    /// The work is initialised, and stays so until its function has begun to run.
    pub(crate) unsafe fn queue(&self, work: *mut work_struct) -> bool {
        // SAFETY: By the type invariant, and as the caller promises.
        unsafe { rlis_sys::queue_work_on(ANY_CPU, self.0.as_ptr(), work) }
    }

    /// Waits for the work that is on the queue now. Sleeps.
    pub fn flush(&self) {
        // SAFETY: By the type invariant.
        unsafe { rlis_sys::__flush_workqueue(self.0.as_ptr()) };
    }

    /// Waits until the queue is empty, also of work that work itself has queued meanwhile. Sleeps.
    pub fn drain(&self) {
        // SAFETY: By the type invariant.
        unsafe { rlis_sys::drain_workqueue(self.0.as_ptr()) };
    }
}

impl Deref for OwnedQueue {
    type Target = Queue;

    fn deref(&self) -> &Queue {
        // SAFETY: By the type invariant, the queue is valid as long as `self`.
        unsafe { Queue::from_raw(self.0.as_ptr()) }
    }
}

impl Drop for OwnedQueue {
    fn drop(&mut self) {
        // SAFETY: By the type invariant. Work on the queue is either owned by the queue, or ended before by its
        // owner.
        unsafe { rlis_sys::destroy_workqueue(self.0.as_ptr()) };
    }
}

#[kunit_tests(rlis_hv_work)]
mod tests {
    use super::*;
    use crate::Completion;
    use kernel::{
        impl_has_work,
        new_work,
        workqueue::{
            Work,
            WorkItem, //
        }, //
    };

    #[pin_data]
    struct Counter {
        runs: Atomic<u32>,
        expiries: Atomic<u32>,
        #[pin]
        expired: Completion,
    }

    impl Task for Counter {
        fn run(this: &Worker<Self>) {
            if this.runs.fetch_add(1u32, Relaxed) < 2 {
                this.queue();
            }
        }

        fn expired(this: &Worker<Self>) {
            this.expiries.fetch_add(1u32, Relaxed);
            this.expired.complete();
        }
    }

    // Not `Queue::try_spawn`: its lock class lies in the kernel and its name in the caller, so lockdep complains as
    // soon as a second module calls it.
    #[pin_data]
    struct Once {
        #[pin]
        work: Work<Once>,
        #[pin]
        done: Completion,
    }

    impl_has_work! {
        impl HasWork<Self> for Once { self.work }
    }

    impl WorkItem for Once {
        type Pointer = Arc<Self>;

        fn run(this: Arc<Self>) {
            this.done.complete();
        }
    }

    fn counter() -> Result<Pin<KBox<Worker<Counter>>>> {
        KBox::pin_init(
            Worker::new(
                kernel::workqueue::system_long(),
                pin_init!(Counter {
                    runs: Atomic::new(0),
                    expiries: Atomic::new(0),
                    expired <- Completion::new(),
                }),
            ),
            GFP_KERNEL,
        )
    }

    #[test]
    fn runs_requeues_and_expires() -> Result {
        let worker = counter()?;
        worker.queue();
        for _ in 0..3 {
            worker.flush();
        }
        assert_eq!(worker.runs.load(Relaxed), 3);
        worker.set_timer(10_000);
        worker.set_timer(10);
        assert!(worker.expired.wait_timeout(2000).is_ok());
        worker.set_timer(20);
        worker.clear_timer();
        assert!(worker.expired.wait_timeout(60).is_err());
        assert_eq!(worker.expiries.load(Relaxed), 1);
        Ok(())
    }

    #[test]
    fn disabled_work_does_not_run() -> Result {
        let worker = counter()?;
        worker.disable();
        worker.queue();
        worker.set_timer(1);
        assert!(worker.expired.wait_timeout(30).is_err());
        worker.enable();
        assert_eq!(worker.runs.load(Relaxed), 0);
        // Dropped with both pending: the debug kernel complains if either is still there afterwards.
        worker.queue();
        worker.set_timer(5000);
        Ok(())
    }

    #[test]
    fn a_target_is_kept_by_who_uses_it() -> Result {
        let target = KBox::pin_init(Target::new(), GFP_KERNEL)?;
        assert!(target.get().is_none());
        let object = Arc::new(7, GFP_KERNEL)?;
        target.change(Some(object.clone()));
        let used = target.get();
        target.change(None);
        assert!(target.get().is_none());
        assert_eq!(used.as_deref(), Some(&7));
        drop(used);
        // The target has given up its reference, so this one is the last.
        assert!(Arc::into_unique_or_drop(object).is_some());
        Ok(())
    }

    #[test]
    fn flags_are_taken_once() {
        let flags = Flags::new();
        flags.set(1);
        flags.set(4);
        flags.set(1);
        assert_eq!(flags.take(), 5);
        assert_eq!(flags.take(), 0);
    }

    #[test]
    fn owned_queue() -> Result {
        let queue = OwnedQueue::ordered(c"rlis_test")?;
        let once = Arc::pin_init(
            pin_init!(Once {
                work <- new_work!("rlis_test::Once"),
                done <- Completion::new(),
            }),
            GFP_KERNEL,
        )?;
        assert!(queue.enqueue(once.clone()).is_ok());
        queue.flush();
        assert!(once.done.try_wait());
        queue.drain();
        drop(OwnedQueue::unbound(c"rlis_test2")?);
        drop(OwnedQueue::freezable(c"rlis_test3")?);
        Ok(())
    }
}
