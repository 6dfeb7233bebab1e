// SPDX-License-Identifier: GPL-2.0

//! Address space for devices that have memory-mapped I/O: what ACPI grants the bus, given out in pieces.
//!
//! The windows form a resource tree of their own. A piece is taken twice: there, and in the kernel's tree of
//! physical memory, where everyone else looks. Part of the first window is kept for the framebuffer.

use crate::root;
use core::{
    cell::Cell,
    ffi::CStr,
    ptr, //
};
use kernel::{
    ffi::{
        c_char,
        c_int,
        c_void, //
    },
    prelude::*,
    sync::{
        new_mutex,
        Arc,
        Mutex, //
    },
    types::Opaque, //
};
use rlis_hv::{
    c_struct,
    callbacks,
    screen,
    table::{
        Contains,
        FromKernel, //
    },
    Field,
    RcuArc, //
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

/// `AE_OK` of <acpi/acexcep.h>, which bindgen cannot evaluate.
const AE_OK: bindings::acpi_status = 0;
/// `AE_NO_MEMORY` of the same.
const AE_NO_MEMORY: bindings::acpi_status = 4;

struct Windows {
    /// Sorted, disjoint, not touching. Boxed, as their children point to them.
    windows: KVec<KBox<Window>>,
    /// First and last address of the framebuffer's part.
    framebuffer: Option<(u64, u64)>,
}

c_struct! {
    /// A window: a resource whose children are the pieces that were taken.
    // SAFETY: `Window::new` makes it of zeroes. The kernel has a lock of its own for the tree.
    unsafe struct Window(bindings::resource) {
        fn start -> Field<u64> = start;
        fn end -> Field<u64> = end;
        fn flags -> Field<usize> = flags;
        fn name -> Field<*const c_char> = name;
    }
}

impl Window {
    fn new(start: u64, end: u64) -> Result<KBox<Self>> {
        let window = KBox::new(Self(Opaque::zeroed()), GFP_KERNEL)?;
        window.name().set(c"hyperv mmio".as_char_ptr());
        window.flags().set(bindings::IORESOURCE_MEM as usize);
        window.start().set(start);
        window.end().set(end);
        Ok(window)
    }

    /// Its first and last address.
    fn range(&self) -> (u64, u64) {
        (self.start().get(), self.end().get())
    }

    fn tree(&self) -> Tree {
        // INVARIANT: Pieces are given back before the bus, and with it the windows, goes.
        Tree(self.raw())
    }
}

#[pin_data]
struct Shared {
    #[pin]
    windows: Mutex<Windows>,
}

/// The windows while there is a bus.
static WINDOWS: RcuArc<Shared> = RcuArc::new();

/// The windows. Dropping it gives the framebuffer's part back; all other pieces must have been given back.
pub struct Mmio(());

impl Mmio {
    /// Reads the windows from ACPI and keeps the framebuffer's part of them.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, or `ENODEV` if the firmware's description cannot be read.
    pub fn new() -> Result<Self> {
        let mut windows = Windows {
            windows: KVec::new(),
            framebuffer: None,
        };
        windows.read()?;
        windows.reserve_framebuffer();
        let shared = Arc::pin_init(
            pin_init!(Shared {
                windows <- new_mutex!(windows),
            }),
            GFP_KERNEL,
        )?;
        drop(WINDOWS.replace(Some(shared)));
        Ok(Self(()))
    }
}

impl Drop for Mmio {
    fn drop(&mut self) {
        drop(WINDOWS.replace(None));
    }
}

impl Drop for Windows {
    fn drop(&mut self) {
        if let (Some((first, last)), Some(window)) = (self.framebuffer, self.windows.first()) {
            window.tree().release(first, last - first + 1);
        }
    }
}

/// A tree of resources: a window's, which outlives what is taken from it, or the kernel's tree of physical memory.
///
/// # Invariants
///
/// The pointer is to the root of one.
#[derive(Clone, Copy)]
struct Tree(*mut bindings::resource);

impl Tree {
    /// The kernel's tree of physical memory.
    fn memory() -> Self {
        // INVARIANT: It is static.
        Self(&raw mut bindings::iomem_resource)
    }

    /// Takes a piece; null if it is not free. Names live as long as the piece. Sleeps.
    fn request(
        self,
        start: u64,
        size: u64,
        name: *const c_char,
        flags: u32,
    ) -> *mut bindings::resource {
        // SAFETY: By the invariants.
        unsafe { bindings::__request_region(self.0, start, size, name, flags as c_int) }
    }

    /// Gives a piece back. Sleeps.
    fn release(self, start: u64, size: u64) {
        // SAFETY: By the invariants.
        unsafe { bindings::__release_region(self.0, start, size) };
    }
}

/// A description of address space, of any kind.
struct Description(Option<(u64, u64)>);

impl FromKernel<*mut bindings::acpi_resource> for Description {
    unsafe fn from_kernel(arg: *mut bindings::acpi_resource) -> Self {
        // Windows of a bridge are "address" descriptors; "memory" descriptors are registers of a device.
        // SAFETY: ACPI calls the callback with a resource, whose type says which member of the union there is.
        Self(unsafe {
            let data = &raw const (*arg).data;
            match (*arg).type_ {
                bindings::ACPI_RESOURCE_TYPE_ADDRESS32 => {
                    let window = data.cast::<bindings::acpi_resource_address32>();
                    let address = (&raw const (*window).address).read_unaligned();
                    Some((address.minimum.into(), address.maximum.into()))
                }
                bindings::ACPI_RESOURCE_TYPE_ADDRESS64 => {
                    let window = data.cast::<bindings::acpi_resource_address64>();
                    let address = (&raw const (*window).address).read_unaligned();
                    Some((address.minimum, address.maximum))
                }
                _ => None,
            }
        })
    }
}

/// The reading of one device's descriptions.
struct Reading<'a> {
    windows: Cell<Option<&'a mut Windows>>,
    found: Cell<bool>,
    result: Cell<Result>,
}

// SAFETY: `Windows::read_device` passes this.
unsafe impl Contains<c_void> for Reading<'_> {
    const OFFSET: usize = 0;
}

callbacks! {
    /// Takes a description of a device, and ends the reading if there is no memory for it.
    fn on_description(
        description: *mut bindings::acpi_resource => Description,
        reading: *mut c_void => &Reading<'_>,
    ) -> bindings::acpi_status {
        let (Some((start, end)), Some(windows)) = (description.0, reading.windows.take()) else {
            return AE_OK;
        };
        let added = windows.add(start, end);
        reading.windows.set(Some(windows));
        reading.found.set(true);
        reading.result.set(added);
        if added.is_ok() { AE_OK } else { AE_NO_MEMORY }
    }
}

impl Windows {
    /// Takes the windows of the bus's device or, if it has none, those of its nearest ancestor with any.
    fn read(&mut self) -> Result {
        let mut devices = root::with_ancestors();
        let mut found = self.read_device(devices.next().ok_or(ENODEV)?)?;
        while let (false, Some(ancestor)) = (found, devices.next()) {
            found = match self.read_device(ancestor) {
                // Not every ancestor describes address space.
                Err(e) if e != ENOMEM => false,
                read => read?,
            };
        }
        Ok(())
    }

    /// Adds the windows of a device in ACPI, and says whether it has any.
    fn read_device(&mut self, device: bindings::acpi_handle) -> Result<bool> {
        let reading = Reading {
            windows: Cell::new(Some(self)),
            found: Cell::new(false),
            result: Cell::new(Ok(())),
        };
        // SAFETY: The callback gets this very object; ACPI does not write the name.
        let status = unsafe {
            bindings::acpi_walk_resources(
                device,
                c"_CRS".as_char_ptr().cast_mut(),
                Some(on_description),
                (&raw const reading).cast_mut().cast(),
            )
        };
        reading.result.get()?;
        if status == AE_OK {
            Ok(reading.found.get())
        } else {
            Err(ENODEV)
        }
    }

    /// Adds a window, merging it with those that it touches.
    fn add(&mut self, start: u64, end: u64) -> Result {
        let Some((start, end)) = usable(start, end) else {
            return Ok(());
        };
        for w in &self.windows {
            let (first, last) = w.range();
            if last.checked_add(1) == Some(start) {
                w.end().set(end);
                return Ok(());
            }
            if end.checked_add(1) == Some(first) {
                w.start().set(start);
                return Ok(());
            }
        }
        let window = Window::new(start, end)?;
        let at = self
            .windows
            .iter()
            .position(|w| w.start().get() > end)
            .unwrap_or(self.windows.len());
        self.windows.push(window, GFP_KERNEL)?;
        if let Some(tail) = self.windows.get_mut(at..) {
            tail.rotate_right(1);
        }
        Ok(())
    }

    /// Keeps the framebuffer's part of the first window, the one below 4 GiB.
    fn reserve_framebuffer(&mut self) {
        let Some(low_base) = self.windows.first().map(|w| w.start().get()) else {
            return;
        };
        let (place, odd) = framebuffer(firmware(), low_base);
        match odd {
            Some(Oddity::LowBase) => pr_warn!("Unexpected low mmio base {:#x}\n", low_base),
            Some(Oddity::NoAddress) => pr_warn!("Unexpected framebuffer mmio base of zero\n"),
            None => {}
        }
        let mut trees = [ptr::null_mut(); 2];
        for (tree, window) in trees.iter_mut().zip(&self.windows) {
            *tree = window.tree().0;
        }
        let [first, second] = trees;
        let mut part = ptr::null_mut();
        let sizes =
            place.map(|(start, size)| framebuffer_sizes(size).map(move |size| (start, size)));
        for (start, size) in sizes.into_iter().flatten() {
            // INVARIANT: The first window's.
            part = Tree(first).request(start, size, c"fb_range".as_char_ptr(), 0);
            if !part.is_null() {
                self.framebuffer = Some((start, start + (size - 1)));
                break;
            }
        }
        // The words of the C driver, which people look for when a device finds no address space.
        let text = c"\x016hv_vmbus: hv_mmio=%pR,%pR fb=%pR\n".as_char_ptr();
        // SAFETY: `%pR` takes a resource, or null.
        unsafe { bindings::_printk(text, first, second, part) };
    }
}

/// What firmware says of the framebuffer.
fn firmware() -> Firmware {
    if bindings::efi_boot() {
        return Firmware::Uefi(screen::framebuffer());
    }
    let mut bar: bindings::resource = pin_init::zeroed();
    // SAFETY: The variable is valid for writes; process context.
    if !unsafe { bindings::hyperv_video_bar(&raw mut bar) } {
        return Firmware::Bios(None);
    }
    let is_memory = bar.flags & bindings::IORESOURCE_MEM as usize != 0;
    Firmware::Bios(Some(if is_memory {
        (bar.start, length(&bar))
    } else {
        (0, 0)
    }))
}

fn length(resource: &bindings::resource) -> u64 {
    if resource.end == 0 {
        return 0;
    }
    resource.end - resource.start + 1
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
    let shared = WINDOWS.keep().ok_or(ENXIO)?;
    let windows = shared.windows.lock();
    let framebuffer = windows.framebuffer;
    let name: *const c_char = name.as_char_ptr();
    let request_exclusive =
        |start| Tree::memory().request(start, size, name, bindings::IORESOURCE_EXCLUSIVE);

    // Its part was taken from the window already.
    if let Some((first, last)) = framebuffer.filter(|&(f, l)| fb_overlap_ok && min <= l && max >= f)
    {
        for start in starts(first, last, size, align) {
            let new = request_exclusive(start);
            if !new.is_null() {
                return Ok(new);
            }
        }
    }
    for window in &windows.windows {
        let (first, last) = window.range();
        if first >= max || last <= min {
            continue;
        }
        for start in starts(first, last, size, align) {
            let end = start + (size - 1);
            if !fb_overlap_ok && framebuffer.is_some_and(|(f, l)| start <= l && end >= f) {
                continue;
            }
            let tree = window.tree();
            let shadow = tree.request(start, size, ptr::null(), bindings::IORESOURCE_BUSY);
            if shadow.is_null() {
                continue;
            }
            let new = request_exclusive(start);
            if !new.is_null() {
                return Ok(new);
            }
            tree.release(start, size);
        }
    }
    Err(ENXIO)
}

/// Gives a piece back. Sleeps.
pub(crate) fn free(start: u64, size: u64) {
    let Some(end) = size.checked_sub(1).and_then(|n| start.checked_add(n)) else {
        return;
    };
    let Some(shared) = WINDOWS.keep() else {
        return;
    };
    let windows = shared.windows.lock();
    let in_framebuffer = windows
        .framebuffer
        .is_some_and(|(first, last)| start >= first && end <= last);
    if !in_framebuffer {
        for window in &windows.windows {
            let (first, last) = window.range();
            if first <= end && last >= start {
                window.tree().release(start, size);
            }
        }
    }
    Tree::memory().release(start, size);
}
