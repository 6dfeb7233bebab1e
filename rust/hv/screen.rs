// SPDX-License-Identifier: GPL-2.0

//! The framebuffer that firmware has left.
//!
//! C header: [`include/linux/screen_info.h`](srctree/include/linux/screen_info.h)

#[cfg(CONFIG_SYSFB)]
use rlis_sys as bindings;

/// Returns where the framebuffer begins, and its size in bytes, 0 for what firmware has not said; nothing if the kernel does not
/// know about screens.
#[cfg(CONFIG_SYSFB)]
pub fn framebuffer() -> Option<(u64, u64)> {
    #[cfg(RLIS_HAVE_SYSFB_PRIMARY_DISPLAY)]
    let screen = {
        let display = &raw const bindings::sysfb_primary_display;
        // SAFETY: A variable of the kernel; the address of a field is taken.
        unsafe { &raw const (*display).screen }
    };
    #[cfg(not(RLIS_HAVE_SYSFB_PRIMARY_DISPLAY))]
    let screen = &raw const bindings::screen_info;
    // SAFETY: A variable of the kernel, which is set at boot.
    let (base, size) = unsafe { ((*screen).lfb_base, (*screen).lfb_size) };
    Some((base.into(), size.into()))
}

/// Returns nothing, as this kernel does not know about screens.
#[cfg(not(CONFIG_SYSFB))]
pub fn framebuffer() -> Option<(u64, u64)> {
    None
}
