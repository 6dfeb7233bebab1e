// SPDX-License-Identifier: GPL-2.0

//! Transmit queues, `struct netdev_queue`: stopping and waking them.

use crate::device::NetDevice;
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::types::NotThreadSafe;
use rlis_sys_net::netdev_queue;

/// A transmit queue whose lock is held: only its holder sends through the queue.
pub struct TxQueue<'a> {
    raw: NonNull<netdev_queue>,
    index: u16,
    _context: PhantomData<&'a ()>,
    _not_send: NotThreadSafe,
}

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
            _context: PhantomData,
            _not_send: NotThreadSafe,
        }
    }

    /// Returns the number of the queue.
    #[inline]
    pub fn index(&self) -> u16 {
        self.index
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

impl NetDevice {
    /// Wakes a queue that was stopped by [`TxQueue::stop_unless`], if there is `room` now and the interface
    /// is registered. Returns whether it was woken. Any context but hard interrupts.
    #[inline]
    pub fn wake_queue(&self, index: u16, room: impl Fn() -> bool) -> bool {
        // SAFETY: By the type invariant.
        if u32::from(index) >= unsafe { (*self.as_raw()).num_tx_queues } {
            return false;
        }
        // SAFETY: The queue exists, see above, and as long as the interface. The helper begins with a full barrier, so that
        // either this sees the queue stopped, or who stops it sees the room.
        let (queue, stopped) = unsafe {
            let queue = rlis_sys_net::net_tx_queue(self.as_raw(), index.into());
            (queue, rlis_sys_net::net_tx_is_stopped(queue))
        };
        if !stopped || !room() || !self.is_registered() {
            return false;
        }
        // SAFETY: As above. The queues of an interface that is registered, or was, have a discipline.
        unsafe { rlis_sys_net::netif_tx_wake_queue(queue) };
        true
    }
}
