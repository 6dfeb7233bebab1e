// SPDX-License-Identifier: GPL-2.0

//! The API of `<linux/hyperv.h>`, as C code calls it. drivers/hv/vmbus/exports_*.c makes the symbols known to
//! other modules.
//!
//! All of it is called by drivers of this bus, which promise what the header says: channels and devices come
//! from callbacks of the bus and are used only while the driver has them; buffers have the lengths given; a
//! channel is read in one place at a time, and closed by the one who opened it. Where a type can say so, the
//! parameter has that type: `&Channel` is a `struct vmbus_channel *` that is valid during the call, [`Owned`] one that
//! the caller opens or closes. The comments below call the rest *the driver's promise*.

mod channel;
mod device;
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

/// A slice, empty for a length of 0 whatever the pointer.
///
/// # Safety
///
/// `data` points to `len` elements that are not written during `'a`, or `len` is 0.
unsafe fn slice<'a, T>(data: *const T, len: usize) -> &'a [T] {
    if len == 0 {
        &[]
    } else {
        // SAFETY: As the caller promises.
        unsafe { slice::from_raw_parts(data, len) }
    }
}
