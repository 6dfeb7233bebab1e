// SPDX-License-Identifier: GPL-2.0

//! Frames of XDP that are to be sent, `struct xdp_frame`.

use crate::device::NetDevice;
use core::{
    mem::MaybeUninit,
    ptr::NonNull, //
};
use kernel::{
    prelude::*,
    sync::rcu,
    types::NotThreadSafe, //
};
use rlis_hv::SharedMemory;
use rlis_sys_net::xdp_frame;

/// A frame of XDP that is to be sent: in one piece, and in memory that may be anybody's.
///
/// Dropped, it is freed: the frame is lost.
///
/// # Invariants
///
/// `raw` is valid, and this is its only owner.
pub struct XdpFrame {
    pub(crate) raw: NonNull<xdp_frame>,
}

// SAFETY: A frame may be read and freed from any thread; this is its only owner.
unsafe impl Send for XdpFrame {}

impl XdpFrame {
    /// Takes a frame over.
    ///
    /// # Safety
    ///
    /// `raw` must be valid and owned by the caller, who gives that up.
    #[inline]
    pub(crate) unsafe fn from_raw(raw: NonNull<xdp_frame>) -> Self {
        // INVARIANT: As required of the caller.
        Self { raw }
    }

    /// Gives the frame to the caller.
    #[inline]
    pub(crate) fn into_raw(self) -> NonNull<xdp_frame> {
        core::mem::ManuallyDrop::new(self).raw
    }

    /// Returns the length of the frame with its Ethernet header, in bytes.
    #[inline]
    #[allow(clippy::len_without_is_empty)] // There is a header at least.
    pub fn len(&self) -> u32 {
        // SAFETY: By the type invariant.
        unsafe { rlis_sys_net::net_xdp_frame_len(self.raw.as_ptr()) }
    }

    /// Copies the whole frame to `offset` bytes into `to`.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it has no room there.
    #[inline]
    pub fn copy_to(&self, to: &SharedMemory, offset: usize) -> Result {
        let len = usize::try_from(self.len())?;
        let room = to.range(offset, len).ok_or(EINVAL)?;
        // SAFETY: By the type invariant, all `len` bytes lie at `data`, and nobody else writes to them; `room` is valid for as
        // many, elsewhere.
        unsafe {
            let data = rlis_sys_net::net_xdp_frame_data(self.raw.as_ptr());
            rlis_sys::copy_shared(room.as_ptr().cast(), data, len);
        }
        Ok(())
    }
}

impl Drop for XdpFrame {
    fn drop(&mut self) {
        // SAFETY: By the type invariant; any context but hard interrupts.
        unsafe { rlis_sys_net::xdp_return_frame(self.raw.as_ptr()) };
    }
}

/// Frames that somebody wants sent, in their order. Those that are not taken remain theirs.
///
/// # Invariants
///
/// All frames from `taken` on are valid, and whoever takes one gets it. This is used in the poll that the frames come from, with
/// softirqs disabled.
pub struct Frames<'a> {
    list: &'a [NonNull<xdp_frame>],
    taken: usize,
    _not_send: NotThreadSafe,
}

impl<'a> Frames<'a> {
    /// Borrows frames.
    ///
    /// # Safety
    ///
    /// All must be valid, and the caller's to give away one by one, from the first on. The call must be in the poll that they
    /// come from, with softirqs disabled, or where the C API prescribes the same (`ndo_xdp_xmit`).
    pub(crate) unsafe fn new(list: &'a [NonNull<xdp_frame>]) -> Self {
        // INVARIANT: As required of the caller.
        Self {
            list,
            taken: 0,
            _not_send: NotThreadSafe,
        }
    }

    /// Returns how many were taken.
    pub fn taken(&self) -> usize {
        self.taken
    }

    /// Returns how many are left.
    pub fn left(&self) -> usize {
        self.list.len().saturating_sub(self.taken)
    }

    /// Calls `f` with the next one, if there is one, which stays.
    #[inline]
    pub fn peek<R>(&self, f: impl FnOnce(&XdpFrame) -> R) -> Option<R> {
        let raw = *self.list.get(self.taken)?;
        // SAFETY: By the type invariant; the value is not dropped.
        let frame = core::mem::ManuallyDrop::new(unsafe { XdpFrame::from_raw(raw) });
        Some(f(&frame))
    }

    /// Takes the next one.
    #[inline]
    pub fn take(&mut self) -> Option<XdpFrame> {
        let raw = *self.list.get(self.taken)?;
        // INVARIANT: The frame is given away.
        self.taken += 1;
        // SAFETY: By the type invariant.
        Some(unsafe { XdpFrame::from_raw(raw) })
    }

    /// The next one was copied to where the device takes it from.
    #[inline]
    pub fn copied(&mut self) {
        if let Some(frame) = self.take() {
            // SAFETY: The frame is valid and ours, and by the type invariant this is the poll that it comes from.
            unsafe { rlis_sys_net::xdp_return_frame_rx_napi(frame.into_raw().as_ptr()) };
        }
    }

    /// Puts back the one that was taken last. Another one is freed.
    pub fn put_back(&mut self, frame: XdpFrame) {
        let last = self.taken.checked_sub(1);
        if last.and_then(|last| self.list.get(last)) == Some(&frame.raw) {
            let _ = frame.into_raw();
            // INVARIANT: It was the one with this number, and is the caller's again.
            self.taken -= 1;
        }
    }
}

impl NetDevice {
    /// Gives frames to the interface below, if those of the stack go there, too, and it takes any of this kind. Returns what it says
    /// of them, see `ndo_xdp_xmit`.
    ///
    /// # Safety
    ///
    /// As of `ndo_xdp_xmit`, whose arguments these are.
    pub(crate) unsafe fn forward_frames(
        &self,
        count: c_int,
        frames: *mut *mut xdp_frame,
        flags: u32,
    ) -> Option<c_int> {
        let private = self.private();
        if !private.is_forwarding() {
            return None;
        }
        let _guard = rcu::read_lock();
        let lower = NonNull::new(private.lower())?.as_ptr();
        // SAFETY: Both are valid in the RCU read side; the frames are as required of the caller.
        let taken = unsafe {
            if !rlis_sys_net::net_can_forward(self.as_raw(), lower) {
                return None;
            }
            rlis_sys_net::net_xdp_forward(lower, count, frames, flags)
        };
        (taken != EOPNOTSUPP.to_errno()).then_some(taken)
    }
}

/// How many frames a poll gathers before it sends them, as many as the stack gathers for another interface.
const BULK: usize = 16;

/// Frames that a poll is to send.
///
/// Dropped, those that were not sent are freed.
///
/// # Invariants
///
/// The first `count` entries are initialised, with frames that belong to this.
pub(crate) struct Outgoing {
    pub(crate) list: [MaybeUninit<NonNull<xdp_frame>>; BULK],
    pub(crate) count: usize,
}

impl Outgoing {
    #[inline]
    pub(crate) fn new() -> Self {
        // INVARIANT: None has to be initialised.
        Self {
            list: [const { MaybeUninit::uninit() }; BULK],
            count: 0,
        }
    }
}

impl Drop for Outgoing {
    #[inline]
    fn drop(&mut self) {
        for raw in self.list.iter().take(self.count) {
            // SAFETY: By the type invariant.
            drop(unsafe { XdpFrame::from_raw(raw.assume_init()) });
        }
    }
}
