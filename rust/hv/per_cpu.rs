// SPDX-License-Identifier: GPL-2.0

//! A value for each CPU.
//!
//! C header: [`include/linux/percpu.h`](srctree/include/linux/percpu.h)

use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    ffi::c_void,
    prelude::*, //
};
use rlis_sys as bindings;
use zerocopy::FromZeros;

/// A value for each CPU that there can be, of zeroes at first.
///
/// # Invariants
///
/// `base` is of the allocator of per-CPU memory, for a `T`, and given back by our destructor.
pub struct PerCpu<T: FromZeros> {
    base: NonNull<c_void>,
    _values: PhantomData<T>,
}

// SAFETY: The values may be dropped, which does nothing, and used from any thread, if each may.
unsafe impl<T: FromZeros + Send> Send for PerCpu<T> {}

// SAFETY: A value is shared by who gets at it, from any CPU.
unsafe impl<T: FromZeros + Sync> Sync for PerCpu<T> {}

impl<T: FromZeros + Sync> PerCpu<T> {
    /// Allocates the values. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new() -> Result<Self> {
        const { assert!(!core::mem::needs_drop::<T>()) };
        let (size, align) = (size_of::<T>(), align_of::<T>());
        let base = bindings::alloc_percpu_bytes(size, align);
        // INVARIANT: Just allocated, and zeroed.
        Ok(Self {
            base: NonNull::new(base).ok_or(ENOMEM)?,
            _values: PhantomData,
        })
    }

    /// The value of the CPU that this runs on; of the one that it ran on, if it does not stay there.
    #[inline]
    pub fn here(&self) -> &T {
        // SAFETY: By the invariants, there is a `T` for each CPU, which zeroes initialise.
        unsafe { &*bindings::raw_cpu_ptr(self.base.as_ptr()).cast::<T>() }
    }

    /// What C code takes for its per-CPU variable.
    pub(crate) fn base(&self) -> *mut T {
        self.base.as_ptr().cast()
    }
}

impl<T: FromZeros> Drop for PerCpu<T> {
    fn drop(&mut self) {
        // SAFETY: By the invariants.
        unsafe { bindings::free_percpu(self.base.as_ptr()) };
    }
}

#[kunit_tests(rlis_hv_per_cpu)]
mod tests {
    use super::*;
    use core::sync::atomic::{
        AtomicU64,
        Ordering, //
    };

    #[test]
    fn begins_with_zeroes() -> Result {
        let values = PerCpu::<AtomicU64>::new()?;
        let here = values.here();
        assert_eq!(here.fetch_add(3, Ordering::Relaxed), 0);
        assert_eq!(here.load(Ordering::Relaxed), 3);
        Ok(())
    }
}
