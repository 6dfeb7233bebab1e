// SPDX-License-Identifier: GPL-2.0

//! Transmit queues, `struct netdev_queue`: stopping and waking them.

use crate::{
    device::NetDevice,
    poll::PollContext, //
};
use core::{
    cell::Cell,
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::types::NotThreadSafe;
use rlis_hv::ReadSide;
use rlis_sys_net::netdev_queue;

/// A transmit queue whose lock is held: only its holder sends through the queue.
pub struct TxQueue<'a> {
    raw: NonNull<netdev_queue>,
    index: u16,
    /// Another frame follows, as [`Self::sent`] has found.
    follows: Cell<bool>,
    _context: PhantomData<&'a ()>,
    _not_send: NotThreadSafe,
}

// SAFETY: The lock of a queue is only held with softirqs disabled, or interrupts, as netpoll has them, which is a read-side critical
// section; with PREEMPT_RT, too, see `NoSoftirq`. The value is of one task only.
unsafe impl ReadSide for TxQueue<'_> {}

/// A queue that was stopped: the reason to leave a frame with the stack.
#[must_use]
pub struct StoppedQueue<'a>(PhantomData<&'a ()>);

impl<'a> TxQueue<'a> {
    /// Makes the value for a call of the transmit function.
    ///
    /// # Safety
    ///
    /// `raw` must be valid for `'a`, and its lock held.
    #[inline]
    pub(crate) unsafe fn new(raw: NonNull<netdev_queue>, index: u16) -> Self {
        Self {
            raw,
            index,
            follows: Cell::new(false),
            _context: PhantomData,
            _not_send: NotThreadSafe,
        }
    }

    /// Returns the number of the queue.
    #[inline]
    pub fn index(&self) -> u16 {
        self.index
    }

    /// Returns what tells the queue from all others.
    #[inline]
    pub(crate) fn identity(&self) -> usize {
        self.raw.as_ptr().addr()
    }

    /// Counts a frame that the driver has taken (byte queue limits). Returns whether the device is to be told now: no other
    /// frame follows at once, or the stack has stopped the queue.
    ///
    /// All that was counted has to be counted again by [`PollContext::completed`], or be forgotten by
    /// [`NetDevice::forget_sent`]; until then the stack may hold the queue back.
    #[inline]
    pub fn sent(&self, bytes: u32) -> bool {
        // SAFETY: Valid by the requirement of `new`, with its lock held.
        let now = unsafe { rlis_sys_net::net_bql_sent(self.raw.as_ptr(), bytes) };
        self.follows.set(!now);
        now
    }

    /// Returns whether another frame follows at once, so that the device need not be told of this one yet.
    #[inline]
    pub fn more(&self) -> bool {
        // SAFETY: No requirements.
        self.follows.get() || unsafe { rlis_sys_net::net_xmit_more() }
    }

    /// Stops the queue unless there is `room` for another frame.
    ///
    /// `room` is asked again after the queue was stopped: whoever makes room after that sees a stopped queue, and wakes
    /// it by [`NetDevice::wake_queue`]. So no wake-up is lost if whatever `room` looks at is changed before that call.
    #[inline]
    pub fn stop_unless(&self, room: impl Fn() -> bool) -> Result<(), StoppedQueue<'a>> {
        if room() {
            return Ok(());
        }
        self.stop(room)
    }

    #[cold]
    fn stop(&self, room: impl Fn() -> bool) -> Result<(), StoppedQueue<'a>> {
        // SAFETY: Valid by the requirement of `new`. The helper ends with a full barrier.
        unsafe { rlis_sys_net::net_tx_stop(self.raw.as_ptr()) };
        if !room() {
            return Err(StoppedQueue(PhantomData));
        }
        // SAFETY: As above. The lock is held, so nobody else stops the queue meanwhile but for good.
        unsafe { rlis_sys_net::net_tx_start(self.raw.as_ptr()) };
        Ok(())
    }
}

impl PollContext<'_> {
    /// Returns the transmit queue of the same number.
    #[inline]
    fn tx_queue(&self) -> NonNull<netdev_queue> {
        // SAFETY: By the type invariant, the queue is one of the interface's.
        unsafe { self.device().tx_queue(self.queue()) }
    }

    /// Calls `f` with the lock of the transmit queue of the same number, for which this waits.
    #[cold]
    pub fn with_tx_queue<R>(&self, f: impl FnOnce(&TxQueue<'_>) -> R) -> R {
        // SAFETY: The queue is valid. Softirqs are disabled in a poll, as they are wherever else the lock is taken, and the
        // transmit function, which is called with it, does not poll.
        unsafe { with_lock(self.tx_queue(), self.queue(), f) }
    }

    /// Wakes the transmit queue of the same number, as [`NetDevice::wake_queue`].
    #[inline]
    pub fn wake_queue(&self, room: impl Fn() -> bool) -> bool {
        // SAFETY: The queue exists, and as long as the interface.
        unsafe { self.device().wake_existing(self.tx_queue(), room) }
    }

    /// Counts frames that the device has sent, of the queue that is polled: never more than [`TxQueue::sent`] was told.
    #[inline]
    pub fn completed(&self, sum: &mut Completed) {
        let Completed { frames, bytes } = core::mem::take(sum);
        if bytes != 0 {
            // SAFETY: The queue exists, as the instance was made for it, and as long as the interface. This is its poll.
            unsafe { rlis_sys_net::net_bql_completed(self.tx_queue().as_ptr(), frames, bytes) };
        }
    }
}

impl NetDevice {
    /// Calls `f` with the lock of the queue that this CPU sends frames of XDP through, for which this waits. Softirqs have to be
    /// disabled, and no lock of a queue of this interface be held.
    pub(crate) fn with_queue_of_cpu<R>(&self, f: impl FnOnce(&TxQueue<'_>) -> R) -> R {
        // SAFETY: By the type invariant. The helper returns one of those that are in use.
        let (index, raw) = unsafe {
            let index = rlis_sys_net::net_xdp_queue(self.as_raw());
            (index, self.tx_queue(index))
        };
        // SAFETY: The queue is valid, and as long as the interface.
        unsafe { with_lock(raw, index, f) }
    }
}

/// Calls `f` with the lock of a queue.
///
/// # Safety
///
/// The queue must be valid, and `index` be its number. Softirqs must be disabled, and the lock not be held by this CPU.
#[inline]
unsafe fn with_lock<R>(
    raw: NonNull<netdev_queue>,
    index: u16,
    f: impl FnOnce(&TxQueue<'_>) -> R,
) -> R {
    // SAFETY: As required of the caller.
    unsafe { rlis_sys_net::net_tx_lock(raw.as_ptr()) };
    // SAFETY: The lock has just been taken.
    let result = f(&unsafe { TxQueue::new(raw, index) });
    // SAFETY: As above.
    unsafe { rlis_sys_net::net_tx_unlock(raw.as_ptr()) };
    result
}

/// Frames that the device has sent.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Completed {
    /// How many.
    pub frames: u32,
    /// Bytes of them.
    pub bytes: u32,
}

impl NetDevice {
    /// Returns a transmit queue, valid as long as the interface.
    ///
    /// # Safety
    ///
    /// The interface must have a queue of this number.
    #[inline]
    pub(crate) unsafe fn tx_queue(&self, index: u16) -> NonNull<netdev_queue> {
        // SAFETY: By the type invariant, and as required of the caller.
        unsafe { NonNull::new_unchecked((*self.as_raw())._tx.add(index.into())) }
    }

    /// Forgets what was counted of a queue. Nobody may be sending through it, and no poll of it be under way.
    pub fn forget_sent(&self, index: u16) {
        if index < self.max_queues() {
            // SAFETY: The queue exists, and as long as the interface.
            unsafe {
                rlis_sys_net::net_bql_reset(self.tx_queue(index).as_ptr());
            }
        }
    }

    /// Wakes a queue that was stopped by [`TxQueue::stop_unless`], if there is `room` now and the interface
    /// is registered. Returns whether it was woken. Any context but hard interrupts.
    #[inline]
    pub fn wake_queue(&self, index: u16, room: impl Fn() -> bool) -> bool {
        // SAFETY: By the type invariant.
        if u32::from(index) >= unsafe { (*self.as_raw()).num_tx_queues } {
            return false;
        }
        // SAFETY: The queue exists, see above, and as long as the interface.
        unsafe { self.wake_existing(self.tx_queue(index), room) }
    }

    /// The same for a queue that exists.
    ///
    /// # Safety
    ///
    /// It must be one of the interface's.
    #[inline]
    unsafe fn wake_existing(&self, queue: NonNull<netdev_queue>, room: impl Fn() -> bool) -> bool {
        // SAFETY: As required of the caller. The helper begins with a full barrier, so that either this sees the queue stopped, or
        // who stops it sees the room.
        if !unsafe { rlis_sys_net::net_tx_is_stopped(queue.as_ptr()) } {
            return false;
        }
        if !room() || !self.is_registered() {
            return false;
        }
        // SAFETY: As above. The queues of an interface that is registered, or was, have a discipline.
        unsafe { rlis_sys_net::netif_tx_wake_queue(queue.as_ptr()) };
        true
    }
}
