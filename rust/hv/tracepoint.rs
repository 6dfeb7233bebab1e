// SPDX-License-Identifier: GPL-2.0

//! Tracepoints of the bus, as functions.
//!
//! While nobody listens to a tracepoint, it costs an instruction that does nothing, where the kernel has jump labels, else a
//! look at a number.

/// Whether somebody listens to a tracepoint.
#[cfg(all(CONFIG_TRACEPOINTS, CONFIG_JUMP_LABEL))]
#[doc(hidden)]
#[macro_export]
macro_rules! tracepoint_is_on {
    ($tracepoint:path) => {'on: {
        // SAFETY: These are five bytes that do nothing, `BYTES_NOP5`. While the tracepoint's key is on, the kernel has a jump to
        // the label in their place, as the entry says that is added to the module's table of jumps.
        unsafe {
            core::arch::asm!(
                "2: .byte 0x0f, 0x1f, 0x44, 0x00, 0x00",
                ".pushsection __jump_table, \"aw\"",
                ".balign 8",
                ".long 2b - .",
                ".long {on} - .",
                ".quad {tracepoint} + {key} - .",
                ".popsection",
                on = label { break 'on true; },
                tracepoint = sym $tracepoint,
                key = const core::mem::offset_of!(::rlis_sys::tracepoint, key),
                options(att_syntax, nostack, preserves_flags),
            );
        }
        false
    }};
}

/// As above, for kernels without jump labels.
#[cfg(all(CONFIG_TRACEPOINTS, not(CONFIG_JUMP_LABEL)))]
#[doc(hidden)]
#[macro_export]
macro_rules! tracepoint_is_on {
    ($tracepoint:path) => {'on: {
        // SAFETY: A look at the number that a static key begins with, of those who have switched it on.
        unsafe {
            core::arch::asm!(
                "cmpl $0, {tracepoint} + {key}(%rip)",
                "jg {on}",
                on = label { break 'on true; },
                tracepoint = sym $tracepoint,
                key = const core::mem::offset_of!(::rlis_sys::tracepoint, key),
                options(att_syntax, nostack, readonly),
            );
        }
        false
    }};
}

#[cfg(not(CONFIG_TRACEPOINTS))]
#[doc(hidden)]
#[macro_export]
macro_rules! tracepoint_is_on {
    ($tracepoint:path) => {
        false
    };
}

/// Defines the function of a tracepoint that gets a pointer to something, and perhaps a number.
#[macro_export]
macro_rules! tracepoints {
    ($($name:ident($what:ident: &$type:ty $(, $result:ident: Result)?);)*) => {$(::kernel::macros::paste! {
        #[inline(always)]
        fn $name($what: &$type $(, $result: Result)?) {
            #[cold]
            fn tell($what: &$type $(, $result: ::kernel::ffi::c_int)?) {
                let what = core::ptr::from_ref($what).cast();
                // SAFETY: What is pointed to has the layout of the C structure; it is read only.
                unsafe { ::rlis_sys::[<trace_vmbus_ $name>](what $(, $result)?) };
            }
            if $crate::tracepoint_is_on!(::rlis_sys::[<__tracepoint_vmbus_ $name>]) {
                tell($what $(, $result.map_or_else(|e| e.to_errno(), |()| 0))?);
            }
        }
    })*};
}
