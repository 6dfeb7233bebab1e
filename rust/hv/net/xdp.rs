// SPDX-License-Identifier: GPL-2.0

//! Frames received are shown to a program before anything is made of them: XDP, the express data path.
//!
//! C headers: [`include/net/xdp.h`](srctree/include/net/xdp.h), [`include/linux/filter.h`](srctree/include/linux/filter.h)

use crate::{
    context::Rtnl,
    device::NetDevice,
    frames::{
        Frames,
        Outgoing,
        XdpFrame, //
    },
    lower::Lower,
    poll::PollContext,
    program::Program,
    rx::RxPacket,
    tx::Range, //
};
use core::{
    mem::MaybeUninit,
    ptr::NonNull, //
};
use kernel::{
    error::to_result,
    prelude::*, //
};
use rlis_hv::SharedMemory;
use rlis_sys_net::{
    bpf_prog,
    rlis_net_range,
    xdp_action,
    xdp_buff, //
};

/// Bytes of the longest frame that a program can be shown: with 256 bytes of room in front of it, and what the stack wants behind
/// it, it has a page.
pub const XDP_ROOM: u32 = rlis_sys_net::rlis_net_xdp_sizes_RLIS_NET_XDP_ROOM;

/// What has become of a frame that a program was shown.
#[must_use]
pub enum Verdict {
    /// It goes to the stack, as the program has left it, with what it has put in front of it (`XDP_PASS`).
    Pass(RxPacket),
    /// It is to be sent by the interface that has received it (`XDP_TX`).
    Transmit(XdpFrame),
    /// Somebody else has it (`XDP_REDIRECT`).
    Redirected,
    /// It is no more, as the program wants (`XDP_DROP`).
    Dropped,
    /// It is no more, since the program has failed (`XDP_ABORTED`, an unknown action, nowhere to go to), which was told to those
    /// who trace that.
    Aborted,
    /// There was no memory for it.
    NoMemory,
}

impl PollContext<'_> {
    /// Returns whether there is a program to be shown what is received.
    #[inline]
    pub fn has_program(&self) -> bool {
        self.device().has_program()
    }

    /// Shows the program of the interface a copy of the `len` bytes of a frame that lie at `offset` in memory that others write
    /// to, and does what it says.
    ///
    /// Returns `None` if there is no program, if the bytes do not all lie in `from`, or if they are less than an Ethernet header
    /// or more than [`XDP_ROOM`].
    pub fn run_program(
        &mut self,
        from: &SharedMemory,
        offset: usize,
        len: usize,
    ) -> Option<Verdict> {
        let program = NonNull::new(self.device().private().program.get())?;
        let source = from.range(offset, len)?;
        let size = u32::try_from(len).ok()?;
        if !(14..=XDP_ROOM).contains(&size) {
            return None;
        }
        // SAFETY: This is a poll of the pool's instance.
        let page = unsafe { rlis_sys_net::net_pool_alloc_page(self.pool()) };
        let Some(page) = NonNull::new(page) else {
            return Some(Verdict::NoMemory);
        };
        let mut buff = MaybeUninit::<xdp_buff>::uninit();
        let buff = buff.as_mut_ptr();
        // SAFETY: A poll is an RCU read side, so the program stays. The page is ours alone; all pages are mapped on x86_64. So
        // many bytes are valid to read, and have room in it; others may write them meanwhile, hence the copy in C. The queue is
        // registered as long as the instance is there.
        let action = unsafe {
            rlis_sys_net::net_xdp_run(
                buff,
                program.as_ptr(),
                self.rxq(),
                page.as_ptr(),
                source.as_ptr().cast(),
                size,
            )
        };
        // SAFETY: The frame was just shown to the program, and lies in the page, which is ours.
        let verdict = unsafe { self.follow(action, program, buff) };
        if matches!(
            verdict,
            Verdict::Dropped | Verdict::Aborted | Verdict::NoMemory
        ) {
            // SAFETY: In these cases the page is ours still, and nobody refers to it. This is a poll of the pool's instance.
            unsafe { rlis_sys_net::net_pool_recycle(self.pool(), page.as_ptr()) };
        }
        Some(verdict)
    }

    /// Does what a program has said. For all but [`Verdict::Dropped`], [`Verdict::Aborted`] and [`Verdict::NoMemory`], the page of
    /// the frame has gone with it.
    ///
    /// # Safety
    ///
    /// `action` must be what `program` has said of the frame that `buff` describes, in a page that is the caller's alone, of the
    /// pool.
    #[inline]
    unsafe fn follow(
        &mut self,
        action: xdp_action,
        program: NonNull<bpf_prog>,
        buff: *mut xdp_buff,
    ) -> Verdict {
        let dev = self.device().as_raw();
        match action {
            rlis_sys_net::xdp_action_XDP_DROP => return Verdict::Dropped,
            rlis_sys_net::xdp_action_XDP_PASS => {
                // SAFETY: As required of the caller. If it succeeds, the packet has the page.
                let skb = unsafe { rlis_sys_net::net_xdp_to_skb(buff) };
                return match NonNull::new(skb) {
                    // SAFETY: The packet is new. Programs cannot make a frame shorter than an Ethernet header, and it lies in
                    // one piece.
                    Some(skb) => Verdict::Pass(unsafe { RxPacket::from_raw(skb) }),
                    None => Verdict::NoMemory,
                };
            }
            rlis_sys_net::xdp_action_XDP_TX => {
                // SAFETY: As required of the caller. If it succeeds, the frame has the page.
                let frame = unsafe { rlis_sys_net::net_xdp_to_frame(buff) };
                if let Some(frame) = NonNull::new(frame) {
                    // SAFETY: The frame is new, and has the page.
                    return Verdict::Transmit(unsafe { XdpFrame::from_raw(frame) });
                }
            }
            rlis_sys_net::xdp_action_XDP_REDIRECT => {
                // SAFETY: As required of the caller; this is a poll, and `xdp_do_flush` is called before it ends. If it fails,
                // the page is the caller's still.
                if unsafe { rlis_sys_net::net_xdp_redirect(dev, buff, program.as_ptr()) } == 0 {
                    self.set_redirected();
                    return Verdict::Redirected;
                }
            }
            rlis_sys_net::xdp_action_XDP_ABORTED => {}
            unknown => {
                // SAFETY: Both are valid.
                unsafe { rlis_sys_net::net_xdp_unknown(dev, program.as_ptr(), unknown) };
                return Verdict::Aborted;
            }
        }
        // SAFETY: Both are valid.
        unsafe { rlis_sys_net::net_xdp_exception(dev, program.as_ptr(), action) };
        Verdict::Aborted
    }
}

impl XdpFrame {
    /// Returns where the frame lies in physical memory.
    pub fn range(&self) -> Range {
        let mut range = MaybeUninit::<rlis_net_range>::uninit();
        // SAFETY: By the type invariant; the helper fills the struct in.
        Range::from_raw(&unsafe {
            rlis_sys_net::net_xdp_frame_range(self.raw.as_ptr(), range.as_mut_ptr());
            range.assume_init()
        })
    }
}

impl PollContext<'_> {
    /// Keeps a frame to be sent by [`Self::send_kept`].
    ///
    /// # Errors
    ///
    /// Gives the frame back if those that are kept have to be sent first.
    #[inline]
    pub fn keep(&mut self, frame: XdpFrame) -> core::result::Result<(), XdpFrame> {
        let outgoing = self.outgoing();
        match outgoing.list.get_mut(outgoing.count) {
            Some(place) => {
                place.write(frame.into_raw());
                // INVARIANT: The next one was just written.
                outgoing.count += 1;
                Ok(())
            }
            None => Err(frame),
        }
    }

    /// Returns whether frames are kept.
    #[inline]
    pub fn has_kept(&mut self) -> bool {
        self.outgoing().count != 0
    }

    /// Has `send` take the frames that are kept. Returns how many it has not taken, which are freed.
    pub fn send_kept(&mut self, send: impl FnOnce(&Self, &mut Frames<'_>)) -> usize {
        let mut kept = core::mem::replace(self.outgoing(), Outgoing::new());
        let count = core::mem::take(&mut kept.count);
        // SAFETY: By the type invariant so many are initialised; they have the layout of what they hold. As `count` is 0 now,
        // they do not belong to `kept` any more.
        let list = unsafe { core::slice::from_raw_parts(kept.list.as_ptr().cast(), count) };
        // SAFETY: They are ours, as just said, and this is the poll in which they were received.
        let mut frames = unsafe { Frames::new(list) };
        send(self, &mut frames);
        let left = frames.left();
        while let Some(frame) = frames.take() {
            drop(frame);
        }
        left
    }
}

impl Lower<'_> {
    /// Returns whether the interface can show what it receives to programs of XDP.
    pub fn takes_programs(&self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { rlis_sys_net::net_bpf_supported(self.as_raw()) }
    }

    /// Has the interface show what it receives to this program, or to none. Not to be called in a [`Watcher`](crate::Watcher) but
    /// for [`LowerEvent::Unregistered`](crate::LowerEvent::Unregistered), as some kernels hold the interface's own lock there.
    ///
    /// # Errors
    ///
    /// What its driver has against it; it has the program of before then.
    pub fn set_program(&self, program: Option<Program>) -> Result {
        let raw = program
            .as_ref()
            .map_or(core::ptr::null_mut(), |program| program.0.as_ptr());
        // SAFETY: By the type invariants; the RTNL is held.
        to_result(unsafe { rlis_sys_net::net_bpf_propagate(self.as_raw(), raw) })?;
        if let Some(program) = program {
            // It has this reference now.
            let _ = program.into_raw();
        }
        Ok(())
    }
}

impl NetDevice {
    /// Returns whether frames that are received are shown to a program of XDP. Out of date at once, unless the RTNL is held.
    #[inline]
    pub fn has_program(&self) -> bool {
        self.private().program.is_some()
    }

    /// Returns a reference to the program, if there is one.
    pub fn program(&self, _rtnl: &Rtnl<'_>) -> Option<Program> {
        let raw = NonNull::new(self.private().program.get())?;
        // SAFETY: By the invariant of the slot; it stays while the RTNL is held. The value is not dropped.
        let program = core::mem::ManuallyDrop::new(unsafe { Program::from_raw(raw) });
        Some(Program::clone(&program))
    }

    /// From here on frames that are received are shown to this program, or to none.
    pub(crate) fn set_program(&self, _rtnl: &Rtnl<'_>, program: Option<Program>) {
        drop(self.private().program.replace(program));
    }
}
