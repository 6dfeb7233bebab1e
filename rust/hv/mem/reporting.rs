// SPDX-License-Identifier: GPL-2.0

//! Free page reporting: the kernel tells which of its pages are free, and the hypervisor is given hints of them.
//!
//! C headers: [`include/linux/page_reporting.h`](srctree/include/linux/page_reporting.h),
//! [`include/asm-generic/mshyperv.h`](srctree/include/asm-generic/mshyperv.h)

use core::{
    marker::PhantomData,
    ptr::NonNull,
    slice, //
};
use kernel::{
    error::{
        from_result,
        to_result, //
    },
    ffi::{
        c_int,
        c_void, //
    },
    prelude::*,
    sync::Arc, //
};
use rlis_proto::balloon::{
    hinted_ranges,
    Hint,
    Progress,
    Span, //
};

/// Who is told of free pages.
pub trait FreePages: Send + Sync + 'static {
    /// Takes note of pages that are free. The kernel does not use them until this returns. Called in process context, never twice
    /// at a time.
    ///
    /// # Errors
    ///
    /// With any error the kernel takes these pages as not reported.
    fn free(&self, pages: Reported<'_>) -> Result;
}

/// The blocks of pages that a call of [`FreePages::free`] is about.
///
/// # Invariants
///
/// Each is the first of pages that are free for `'a`, and how many they are.
pub struct Reported<'a>(slice::Iter<'a, [u64; 2]>);

impl<'a> Reported<'a> {
    /// Returns the pages as ranges for hints.
    pub fn ranges(self) -> impl Iterator<Item = FreeRange<'a>> {
        let spans = self
            .0
            .map(|&[start, pages]| Span::new(start, start.saturating_add(pages)));
        // INVARIANT: By that of `self`.
        spans
            .flat_map(hinted_ranges)
            .map(|word| FreeRange(word, PhantomData))
    }
}

/// A range of free pages as a hint has it.
///
/// # Invariants
///
/// The pages are free for `'a`.
pub struct FreeRange<'a>(u64, PhantomData<&'a ()>);

/// A hint for the hypervisor that what is in free pages is of no use.
///
/// # Invariants
///
/// The pages of all its ranges are free for `'a`.
pub struct FreeHint<'a>(Hint, PhantomData<&'a ()>);

impl<'a> FreeHint<'a> {
    /// Makes one without pages.
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        // INVARIANT: There are none.
        Self(Hint::new(), PhantomData)
    }

    /// Adds a range.
    ///
    /// # Errors
    ///
    /// The range, if there is no room for it.
    pub fn push(&mut self, range: FreeRange<'a>) -> Result<(), FreeRange<'a>> {
        // INVARIANT: By that of `range`.
        if self.0.push(range.0) {
            Ok(())
        } else {
            Err(range)
        }
    }

    /// Gives the hint to the hypervisor, which has carried out `done` ranges of it. It may empty the pages. Returns what follows.
    /// Any context.
    pub fn give(&self, done: u16) -> Progress {
        let words = self.0.words();
        // They are few.
        let count = words.len() as u32;
        // SAFETY: The words are read only, and fit into a page. By the type invariant nobody uses the pages.
        let result = unsafe { rlis_sys::mem_hint(self.0.control(done), words.as_ptr(), count) };
        self.0.after(done, result)
    }
}

/// The kernel tells a `T` of free pages, as long as this exists. Dropping it waits for a call that is under way.
///
/// # Invariants
///
/// `raw` came from `mem_reporting_new` with a pointer to the object of `told`, and is removed once.
pub struct Reporting<T: FreePages> {
    raw: NonNull<c_void>,
    told: Arc<T>,
}

// The object is not in it.
impl<T: FreePages> Unpin for Reporting<T> {}

// SAFETY: It may be removed on any thread, and the object be shared.
unsafe impl<T: FreePages> Send for Reporting<T> {}

// SAFETY: There is nothing to do with a shared reference.
unsafe impl<T: FreePages> Sync for Reporting<T> {}

impl<T: FreePages> Reporting<T> {
    /// Begins. Sleeps.
    ///
    /// # Errors
    ///
    /// `EBUSY` if somebody else is told of them; `EOPNOTSUPP` if the kernel does not tell; `ENOMEM`.
    pub fn new(told: Arc<T>) -> Result<Self> {
        let object: *const T = &*told;
        let mut raw = core::ptr::null_mut();
        // SAFETY: The object stays until what is made here is removed.
        to_result(unsafe {
            rlis_sys::mem_reporting_new(Some(Self::report), object.cast_mut().cast(), &raw mut raw)
        })?;
        // INVARIANT: Just made.
        Ok(Self {
            raw: NonNull::new(raw).ok_or(ENOMEM)?,
            told,
        })
    }

    /// Returns who is told.
    pub fn told(&self) -> &T {
        &self.told
    }

    /// Tells the object.
    ///
    /// # Safety
    ///
    /// `object` is a `T`, and `blocks` points to `count` pairs that nobody changes meanwhile: the first of pages that are free until
    /// this returns, and how many they are.
    unsafe extern "C" fn report(object: *mut c_void, blocks: *const u64, count: usize) -> c_int {
        from_result(|| {
            // SAFETY: As required of the caller. The object is only read.
            let object = unsafe { &*object.cast::<T>().cast_const() };
            // SAFETY: As required of the caller.
            let blocks = unsafe { slice::from_raw_parts(blocks.cast::<[u64; 2]>(), count) };
            // INVARIANT: As required of the caller.
            object.free(Reported(blocks.iter()))?;
            Ok(0)
        })
    }
}

impl<T: FreePages> Drop for Reporting<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant. The function waits for a call that is under way, so that nobody uses the object afterwards.
        unsafe { rlis_sys::mem_reporting_remove(self.raw.as_ptr()) };
    }
}

/// Returns the order of the smallest blocks that are reported. Any context.
pub fn reporting_order() -> u32 {
    rlis_sys::mem_reporting_order()
}

/// Has no blocks reported from now on that are smaller than 2 MiB. Returns the order of the smallest ones. Any context.
pub fn report_large_only() -> u32 {
    rlis_sys::mem_report_large_only()
}

/// Returns whether the hypervisor takes hints that free memory is of no use to the guest (cold discard), and may be given
/// them: not by root partitions and nested ones, nor if free pages have to keep a pattern (`page_poison=1`). Sleeps.
pub fn takes_cold_discard_hints() -> bool {
    rlis_sys::mem_takes_cold_discard()
}

#[kunit_tests(rlis_mem_reporting)]
mod tests {
    use super::*;

    struct Nobody;

    impl FreePages for Nobody {
        fn free(&self, _pages: Reported<'_>) -> Result {
            // Nothing becomes of them.
            Err(EINVAL)
        }
    }

    #[test]
    fn one_at_a_time_is_told() -> Result {
        let new = || Reporting::new(Arc::new(Nobody, GFP_KERNEL)?);
        let first = match new() {
            // A kernel without it.
            Err(EOPNOTSUPP) => return Ok(()),
            first => first?,
        };
        assert_eq!(new().err(), Some(EBUSY));
        drop(first);
        drop(new()?);
        Ok(())
    }
}
