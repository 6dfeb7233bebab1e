// SPDX-License-Identifier: GPL-2.0

//! The API of `<linux/hyperv.h>`, as C code calls it. drivers/hv/vmbus/exports_*.c makes the symbols known to
//! other modules. What the bus decides about is in [`entry`], and becomes functions for the module's bus by the macro
//! [`crate::exports!`]; the rest are functions here.
//!
//! All of it is called by drivers of this bus, which promise what the header says: channels and devices come
//! from callbacks of the bus and are used only while the driver has them; buffers have the lengths given; a
//! channel is read in one place at a time, and closed by the one who opened it. Where a type can say so, the
//! parameter has that type: `&Channel` is a `struct vmbus_channel *` that is valid during the call, [`Owned`] one that
//! the caller opens or closes, [`Given`] a pointer to a buffer. The comments below call the rest *the driver's promise*.

mod channel;
mod device;
#[doc(hidden)]
#[allow(missing_docs)] // What a C function of this name does.
pub mod entry;
mod negotiate;
mod packet;

#[cfg(doc)]
use crate::channel::Owned;
use core::slice;
use kernel::{
    ffi::c_int,
    prelude::*, //
};

fn to_int(result: Result) -> c_int {
    result.map_or_else(|e| e.to_errno(), |()| 0)
}

/// A pointer that a driver passes to a function of the API.
///
/// # Invariants
///
/// It came as an argument of an exported function, and the driver keeps its promise: it is null, or there are as many
/// elements as the argument beside it says, or one where there is none. Until the function returns nobody else writes them, nor
/// reads those that are written.
#[repr(transparent)]
pub struct Given<T>(*mut T);

impl<T> Given<T> {
    /// The elements, none for a length of 0 whatever the pointer.
    #[inline]
    fn slice(&self, len: usize) -> &[T] {
        if len == 0 {
            return &[];
        }
        // SAFETY: By the invariants.
        unsafe { slice::from_raw_parts(self.0, len) }
    }

    /// The elements, for writing.
    #[inline]
    fn slice_mut(&mut self, len: usize) -> &mut [T] {
        if len == 0 {
            return &mut [];
        }
        // SAFETY: By the invariants.
        unsafe { slice::from_raw_parts_mut(self.0, len) }
    }
}
