// SPDX-License-Identifier: GPL-2.0

//! Address space for devices that have memory-mapped I/O: what ACPI grants the bus, given out in pieces.
//!
//! The windows form a resource tree of their own. A piece is taken twice: there, and in the kernel's tree of
//! physical memory, where everyone else looks. Part of the first window is kept for the framebuffer.

use crate::root;
use core::{
    ffi::CStr,
    ptr,
    sync::atomic::{
        AtomicBool,
        Ordering, //
    }, //
};
use kernel::{
    error::to_result,
    ffi::{
        c_int,
        c_void, //
    },
    prelude::*, //
};
use rlis_proto::vmbus::mmio::{
    framebuffer,
    framebuffer_sizes,
    starts,
    usable,
    Firmware,
    Oddity, //
};
use rlis_sys as bindings;

struct Windows {
    /// Sorted, disjoint, not touching. Boxed, as their children point to them.
    windows: KVec<KBox<Window>>,
    framebuffer: *mut bindings::resource,
}

struct Window(bindings::resource);

// SAFETY: The resources are accessed under the mutex, or by the kernel under its own lock.
unsafe impl Send for Windows {}

kernel::sync::global_lock! {
    // SAFETY: `Mmio::new` initialises it before anything else is called.
    unsafe(uninit) static WINDOWS: Mutex<Option<Windows>> = None;
}

static READY: AtomicBool = AtomicBool::new(false);

/// The windows. Dropping it gives the framebuffer's part back; all other pieces must have been given back.
pub struct Mmio(());

impl Mmio {
    /// Reads the windows from ACPI and keeps the framebuffer's part of them.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, or `ENODEV` if the firmware's description cannot be read.
    ///
    /// # Panics
    ///
    /// Never; but it must be called once only.
    pub fn new() -> Result<Self> {
        // SAFETY: Called once, when the module is loaded.
        unsafe { WINDOWS.init() };
        let mut windows = Windows {
            windows: KVec::new(),
            framebuffer: ptr::null_mut(),
        };
        if root::device().is_null() {
            return Err(ENODEV);
        }
        // SAFETY: The callback gets this very object.
        to_result(unsafe { bindings::acpi_walk_windows((&raw mut windows).cast()) })?;
        windows.reserve_framebuffer();
        *WINDOWS.lock() = Some(windows);
        READY.store(true, Ordering::Release);
        Ok(Self(()))
    }
}

impl Drop for Mmio {
    fn drop(&mut self) {
        READY.store(false, Ordering::Release);
        let Some(mut windows) = WINDOWS.lock().take() else {
            return;
        };
        let fb = windows.framebuffer;
        if !fb.is_null() {
            // SAFETY: The region was requested by `reserve_framebuffer` in the first window.
            unsafe {
                let (start, size) = ((*fb).start, (*fb).end - (*fb).start + 1);
                if let Some(first) = windows.first() {
                    bindings::__release_region(first, start, size);
                }
            }
        }
    }
}

/// Adds a window that ACPI describes; `ctx` is the object of [`Mmio::new`].
#[no_mangle]
unsafe extern "C" fn rlis_bus_mmio_window(ctx: *mut c_void, start: u64, end: u64) -> c_int {
    // SAFETY: `Mmio::new` passes its object, which nobody else uses meanwhile.
    let windows = unsafe { &mut *ctx.cast::<Windows>() };
    windows
        .add(start, end)
        .map_or_else(|e| e.to_errno(), |()| 0)
}

impl Windows {
    fn first(&mut self) -> Option<*mut bindings::resource> {
        self.windows.first_mut().map(|w| &raw mut w.0)
    }

    /// Adds a window, merging it with those that it touches.
    fn add(&mut self, start: u64, end: u64) -> Result {
        let Some((start, end)) = usable(start, end) else {
            return Ok(());
        };
        for w in &mut self.windows {
            if w.0.end.checked_add(1) == Some(start) {
                w.0.end = end;
                return Ok(());
            }
            if end.checked_add(1) == Some(w.0.start) {
                w.0.start = start;
                return Ok(());
            }
        }
        let mut window = KBox::new(Window(pin_init::zeroed()), GFP_KERNEL)?;
        window.0.name = c"hyperv mmio".as_char_ptr();
        window.0.flags = bindings::IORESOURCE_MEM as usize;
        window.0.start = start;
        window.0.end = end;
        let at = self
            .windows
            .iter()
            .position(|w| w.0.start > end)
            .unwrap_or(self.windows.len());
        self.windows.push(window, GFP_KERNEL)?;
        if let Some(tail) = self.windows.get_mut(at..) {
            tail.rotate_right(1);
        }
        Ok(())
    }

    /// Keeps the framebuffer's part of the first window, the one below 4 GiB.
    fn reserve_framebuffer(&mut self) {
        let Some(window) = self.first() else { return };
        // SAFETY: The window is ours.
        let low_base = unsafe { (*window).start };
        let (place, odd) = framebuffer(firmware(), low_base);
        match odd {
            Some(Oddity::LowBase) => pr_warn!("Unexpected low mmio base {:#x}\n", low_base),
            Some(Oddity::NoAddress) => pr_warn!("Unexpected framebuffer mmio base of zero\n"),
            None => {}
        }
        let Some((start, size)) = place else { return };
        for size in framebuffer_sizes(size) {
            // SAFETY: The window outlives the region, which `drop` releases.
            self.framebuffer = unsafe {
                bindings::request_region_in(window, start, size, c"fb_range".as_char_ptr(), false)
            };
            if !self.framebuffer.is_null() {
                break;
            }
        }
        let second = self
            .windows
            .get_mut(1)
            .map_or(ptr::null_mut(), |w| &raw mut w.0);
        // SAFETY: Resources of ours, or null.
        unsafe { bindings::vmbus_tell_mmio(window, second, self.framebuffer) };
    }

    /// First and last address of the framebuffer's part.
    fn framebuffer_range(&self) -> Option<(u64, u64)> {
        // SAFETY: A region that `reserve_framebuffer` requested.
        unsafe { self.framebuffer.as_ref() }.map(|r| (r.start, r.end))
    }
}

/// What firmware says of the framebuffer.
fn firmware() -> Firmware {
    let mut place = (0, 0);
    // SAFETY: The numbers are valid for writes; process context.
    let found = unsafe { bindings::vmbus_screen(&raw mut place.0, &raw mut place.1) };
    let place = |known| (found & known != 0).then_some(place);
    if found & bindings::RLIS_SCREEN_UEFI != 0 {
        Firmware::Uefi(place(bindings::RLIS_SCREEN_KNOWN))
    } else {
        Firmware::Bios(place(bindings::RLIS_SCREEN_KNOWN))
    }
}

/// Takes a piece of `size` bytes within `min` to `max`, aligned to `align`, a power of two. The framebuffer's
/// part is only considered, and then first, if `fb_overlap_ok`. Sleeps.
///
/// # Errors
///
/// `ENXIO` if there is none; `EINVAL` for a bad alignment.
pub(crate) fn allocate(
    name: &CStr,
    min: u64,
    max: u64,
    size: u64,
    align: u64,
    fb_overlap_ok: bool,
) -> Result<*mut bindings::resource> {
    if !align.is_power_of_two() {
        return Err(EINVAL);
    }
    if !READY.load(Ordering::Acquire) {
        return Err(ENXIO);
    }
    let mut guard = WINDOWS.lock();
    let windows = guard.as_mut().ok_or(ENXIO)?;
    let framebuffer = windows.framebuffer_range();
    let name: *const kernel::ffi::c_char = name.as_char_ptr();

    // Its part was taken from the window already.
    if let Some((first, last)) = framebuffer.filter(|&(f, l)| fb_overlap_ok && min <= l && max >= f)
    {
        for start in starts(first, last, size, align) {
            // SAFETY: No requirements.
            let new = unsafe { bindings::vmbus_request_mem_region_exclusive(start, size, name) };
            if !new.is_null() {
                return Ok(new);
            }
        }
    }
    for window in &mut windows.windows {
        let (first, last) = (window.0.start, window.0.end);
        if first >= max || last <= min {
            continue;
        }
        for start in starts(first, last, size, align) {
            let end = start + (size - 1);
            if !fb_overlap_ok && framebuffer.is_some_and(|(f, l)| start <= l && end >= f) {
                continue;
            }
            // SAFETY: The window outlives the region: pieces are given back before the bus goes.
            unsafe {
                let parent = &raw mut window.0;
                let shadow = bindings::request_region_in(parent, start, size, ptr::null(), true);
                if shadow.is_null() {
                    continue;
                }
                let new = bindings::vmbus_request_mem_region_exclusive(start, size, name);
                if !new.is_null() {
                    return Ok(new);
                }
                bindings::__release_region(parent, start, size);
            }
        }
    }
    Err(ENXIO)
}

/// Gives a piece back. Sleeps.
pub(crate) fn free(start: u64, size: u64) {
    let Some(end) = size.checked_sub(1).and_then(|n| start.checked_add(n)) else {
        return;
    };
    if !READY.load(Ordering::Acquire) {
        return;
    }
    let mut guard = WINDOWS.lock();
    let Some(windows) = guard.as_mut() else {
        return;
    };
    let in_framebuffer = windows
        .framebuffer_range()
        .is_some_and(|(first, last)| start >= first && end <= last);
    // SAFETY: The caller gives back what it took.
    unsafe {
        if !in_framebuffer {
            for window in &mut windows.windows {
                if window.0.start <= end && window.0.end >= start {
                    bindings::__release_region(&raw mut window.0, start, size);
                }
            }
        }
        bindings::vmbus_release_mem_region(start, size);
    }
}
