// SPDX-License-Identifier: GPL-2.0

//! Memory that is added to the kernel while it runs.
//!
//! The kernel takes whole blocks, of 128 MiB or more, and the host may have given a part of one only. [`HotMemory`] knows which
//! pages are there. This file does what it says: it adds blocks, and when one comes online, by whomever, it gives the kernel the
//! pages that are there and leaves the others as they are, which nobody ever touches.
//!
//! C headers: [`include/linux/memory_hotplug.h`](srctree/include/linux/memory_hotplug.h),
//! [`include/linux/memory.h`](srctree/include/linux/memory.h)

use kernel::{
    error::to_result,
    new_mutex,
    prelude::*,
    sync::Mutex,
    time::Msecs, //
};
use rlis_hv::{
    time::uptime_ms,
    Completion, //
};
use rlis_proto::{
    balloon::{
        HotAddRequest,
        HotAddStep,
        HotMemory,
        MemoryEvent,
        Span, //
    },
    ProtoError, //
};

/// Pieces of memory that do not follow one another, of each kind that is kept note of.
const PIECES: usize = 64;

/// Largest order of pages that are given to the kernel at once: 2 MiB.
const LARGEST: u32 = 9;

/// The memory that was added, and what becomes of it.
#[pin_data]
pub struct HotPlug {
    #[pin]
    memory: Mutex<HotMemory<PIECES>>,
    /// A block has come online or gone offline.
    #[pin]
    changed: Completion,
    block: u64,
}

impl HotPlug {
    /// Nothing is added yet.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` if this kernel takes no more memory.
    pub(crate) fn new() -> Result<impl PinInit<Self, Error>> {
        let block = rlis_sys::mem_block_pages() as u64;
        let pluggable = Span::new(
            rlis_sys::mem_pluggable_start(),
            rlis_sys::mem_pluggable_end(),
        );
        let memory = HotMemory::new(block, pluggable).map_err(|_| EOPNOTSUPP)?;
        Ok(try_pin_init!(Self {
            memory <- new_mutex!(memory),
            changed <- Completion::new(),
            block,
        }? Error))
    }

    /// Returns how many pages a block has: what is added at once.
    pub fn block_pages(&self) -> u64 {
        self.block
    }

    /// Returns how many pages were added, and how many of them are in use. Sleeps.
    pub fn pages(&self) -> (u64, u64) {
        let memory = self.memory.lock();
        (memory.added(), memory.onlined())
    }

    /// As [`HotMemory::check`]. Sleeps.
    ///
    /// # Errors
    ///
    /// As that.
    pub fn check(&self, request: &HotAddRequest) -> Result<Span, ProtoError> {
        self.memory.lock().check(request)
    }

    /// Adds the first of `pages`, as many as belong to one block or to blocks that the kernel has. Returns what it did, or `None`
    /// if there are no pages. Sleeps.
    ///
    /// # Errors
    ///
    /// - `EAGAIN`: the kernel is about to change these blocks; see [`Self::wait`].
    /// - `EEXIST`: there is something else at this address.
    /// - `ENOSPC`: there are too many pieces.
    /// - `ENOMEM` and what else the kernel says to a new block.
    pub fn add(&self, pages: Span) -> Result<Option<HotAddStep>> {
        let mut memory = self.memory.lock();
        let Some(step) = memory.next_step(pages) else {
            return Ok(None);
        };
        if memory.backed_in(step.pages) != 0 {
            return Err(EEXIST);
        }
        if step.block.is_none() && memory.is_changing(step.pages) {
            return Err(EAGAIN);
        }
        memory.begin(&step).map_err(|_| ENOSPC)?;
        let Some(block) = step.block else {
            for (run, online) in memory.online_runs(step.pages) {
                if online {
                    // SAFETY: The block is online, and does not change while the lock is held. When it came online these
                    // pages were left out, since nobody had given them.
                    unsafe { bring_online(run) };
                }
            }
            return Ok(Some(step));
        };
        // The kernel may bring the block online at once, for which it calls back.
        drop(memory);
        let result = to_result(rlis_sys::mem_add(block.start, block.len()));
        if let Err(error) = result {
            // Cannot fail: it is the last step.
            let _ = self.memory.lock().undo(&step);
            return Err(error);
        }
        Ok(Some(step))
    }

    /// Waits up to `ms` milliseconds until `pages` are online, or with `settled` until they are not being changed. Returns whether
    /// that is so. Sleeps.
    pub fn wait(&self, pages: Span, settled: bool, ms: Msecs) -> bool {
        let until = uptime_ms().saturating_add(u64::from(ms));
        self.changed.reinit();
        loop {
            let memory = self.memory.lock();
            let done = if settled {
                !memory.is_changing(pages)
            } else {
                memory.online_runs(pages).all(|(_, online)| online)
            };
            drop(memory);
            let left = until.saturating_sub(uptime_ms());
            if done || left == 0 {
                return done;
            }
            // Whether it was in time is seen above.
            let _ = self.changed.wait_timeout(left.try_into().unwrap_or(ms));
        }
    }

    /// Takes those blocks from the kernel that are offline and not wholly there: when nobody knows any more which of their pages
    /// are, they must not come online. `failed` is told of those that cannot be taken. Sleeps.
    pub fn remove_incomplete(&self, mut failed: impl FnMut(Span, Error)) {
        let mut from = 0;
        loop {
            let Some(block) = self.memory.lock().incomplete_from(from) else {
                return;
            };
            from = block.end;
            let result = to_result(rlis_sys::mem_remove(block.start, block.len()));
            let forgotten = |()| self.memory.lock().forget(block).map_err(|_| ENOSPC);
            if let Err(error) = result.and_then(forgotten) {
                failed(block, error);
            }
        }
    }

    /// Takes note of what the kernel does. Sleeps.
    pub(crate) fn note(&self, event: MemoryEvent, pages: Span) {
        // With more pieces than there is room for, what is online counts as offline: the host is told of less.
        let _ = self.memory.lock().note(event, pages);
        self.changed.complete();
    }

    /// Gives the kernel those of `pages`, which are coming online, that are there.
    ///
    /// # Safety
    ///
    /// As for [`bring_online`].
    pub(crate) unsafe fn online(&self, pages: Span) {
        let memory = self.memory.lock();
        if !memory.is_ours(pages.start) {
            // SAFETY: As required of the caller.
            return unsafe { bring_online(pages) };
        }
        for (run, backed) in memory.runs(pages) {
            if backed {
                // SAFETY: As required of the caller, of a part of them.
                unsafe { bring_online(run) };
            }
        }
    }
}

/// Gives pages to the kernel.
///
/// # Safety
///
/// They are in a zone, by being brought online now or with the rest of their block before, and were not given since.
pub(crate) unsafe fn bring_online(pages: Span) {
    let mut at = pages.start;
    while at < pages.end {
        let fits = pages.end.saturating_sub(at).checked_ilog2().unwrap_or(0);
        let order = at.trailing_zeros().min(fits).min(LARGEST);
        // SAFETY: As required of the caller. They begin at a multiple of their number.
        unsafe { rlis_sys::mem_bring_online(at, order) };
        at = at.saturating_add(1 << order);
    }
}

#[kunit_tests(rlis_mem_hot_plug)]
mod tests {
    use super::*;
    use kernel::sync::Arc;
    use rlis_proto::balloon::PageRange;

    fn plug() -> Result<Arc<HotPlug>> {
        Arc::pin_init(HotPlug::new()?, GFP_KERNEL)
    }

    #[test]
    fn memory_that_is_there_is_not_added() -> Result {
        let plug = plug()?;
        // The kernel's own memory begins below 16 MiB.
        let pages = Span::new(0x1000, 0x1001);
        assert_eq!(plug.add(pages), Err(EEXIST));
        assert_eq!(plug.pages(), (0, 0));
        assert_eq!(plug.add(Span::new(5, 5)), Ok(None));
        assert!(!plug.wait(pages, false, 10));
        assert!(plug.wait(pages, true, 10));
        plug.remove_incomplete(|_, _| assert!(false));
        Ok(())
    }

    #[test]
    fn what_cannot_be_mapped_is_refused() -> Result {
        let plug = plug()?;
        assert!(plug.block_pages() >= 0x8000 && plug.block_pages().is_power_of_two());
        let request = |start| -> Result<HotAddRequest> {
            Ok(HotAddRequest {
                range: PageRange::new(start, 1).ok_or(EINVAL)?,
                region: None,
            })
        };
        assert!(plug.check(&request(1 << 20)?).is_ok());
        assert!(plug.check(&request((1 << 40) - 1)?).is_err());
        Ok(())
    }
}
