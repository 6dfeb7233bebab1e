// SPDX-License-Identifier: GPL-2.0

//! How memory of `KVmalloc` grows, shrinks and is freed on kernels of any age.

use super::{
    AllocError,
    Flags,
    NumaNode, //
};
use core::{
    alloc::Layout,
    ptr::{
        self,
        NonNull, //
    }, //
};

/// As `ReallocFunc::call`, for memory of `kvmalloc()`.
///
/// # Safety
///
/// Those of `Allocator::realloc`.
#[inline]
pub(super) unsafe fn call(
    ptr: Option<NonNull<u8>>,
    layout: Layout,
    old_layout: Layout,
    flags: Flags,
    nid: NumaNode,
) -> Result<NonNull<[u8]>, AllocError> {
    let size = layout.size();
    let (old, old_size) = match ptr {
        Some(ptr) if old_layout.size() != 0 => (ptr.as_ptr(), old_layout.size()),
        // Nothing was allocated for nothing.
        _ => (ptr::null_mut(), 0),
    };
    // SAFETY: `old` is null, or memory of `kvmalloc()` of at least the size that is said, as the caller promises.
    let raw: *mut u8 = unsafe {
        bindings::portable_kvrealloc(old.cast(), old_size, size, layout.align(), flags.0, nid.0)
            .cast()
    };
    let ptr = if size == 0 {
        crate::alloc::dangling_from_layout(layout)
    } else {
        NonNull::new(raw).ok_or(AllocError)?
    };
    Ok(NonNull::slice_from_raw_parts(ptr, size))
}
