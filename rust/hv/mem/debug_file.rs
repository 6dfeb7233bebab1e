// SPDX-License-Identifier: GPL-2.0

//! Files in debugfs that show the state of an object.
//!
//! C headers: [`include/linux/debugfs.h`](srctree/include/linux/debugfs.h),
//! [`include/linux/seq_file.h`](srctree/include/linux/seq_file.h)

use core::{
    fmt,
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    ffi::c_void,
    prelude::*,
    sync::Arc,
    types::NotThreadSafe, //
};

/// What a [`DebugFile`] shows.
pub trait Show: Send + Sync + 'static {
    /// Writes the file's text. Called in process context, by several readers at a time.
    ///
    /// # Errors
    ///
    /// Those of writing to `to`, which has none.
    fn show(&self, to: &mut Text<'_>) -> fmt::Result;
}

/// Where the text of a file goes. What is too long for a buffer is written again into a longer one.
///
/// # Invariants
///
/// The pointer is the file of a callback that shows it, for `'a`.
pub struct Text<'a>(
    NonNull<rlis_sys::seq_file>,
    PhantomData<&'a ()>,
    NotThreadSafe,
);

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        // SAFETY: The file is valid by the type invariant, and the text for its length.
        unsafe { rlis_sys::debug_file_write(self.0.as_ptr(), s.as_ptr(), s.len()) };
        Ok(())
    }
}

/// A file in debugfs that root may read. Dropping it takes it away.
///
/// # Invariants
///
/// `raw` came from `debug_file_new` with a pointer to `shown`, and is removed once.
pub struct DebugFile<T: Show> {
    raw: NonNull<c_void>,
    _shown: Arc<T>,
}

// SAFETY: A file may be removed on any thread, and the object be shared.
unsafe impl<T: Show> Send for DebugFile<T> {}

// SAFETY: There is nothing to do with a shared reference.
unsafe impl<T: Show> Sync for DebugFile<T> {}

impl<T: Show> DebugFile<T> {
    /// Makes the file `name` at the top of debugfs. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOENT` if that cannot be: there is no debugfs, or no memory.
    pub fn new(name: &CStr, shown: Arc<T>) -> Result<Self> {
        let object: *const T = &*shown;
        // SAFETY: The name is a C string. The object stays until the file is removed.
        let raw = unsafe {
            rlis_sys::debug_file_new(
                name.as_char_ptr(),
                Some(Self::show),
                object.cast_mut().cast(),
            )
        };
        // INVARIANT: Just made.
        Ok(Self {
            raw: NonNull::new(raw).ok_or(ENOENT)?,
            _shown: shown,
        })
    }

    /// Shows the object.
    ///
    /// # Safety
    ///
    /// `object` is a `T`, and `to` the file that is being shown.
    unsafe extern "C" fn show(object: *mut c_void, to: *mut rlis_sys::seq_file) {
        // SAFETY: As required of the caller. The object is only read.
        let object = unsafe { &*object.cast::<T>().cast_const() };
        if let Some(to) = NonNull::new(to) {
            // INVARIANT: As required of the caller.
            // Writing has no errors.
            let _ = object.show(&mut Text(to, PhantomData, NotThreadSafe));
        }
    }
}

impl<T: Show> Drop for DebugFile<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant. The function waits for readers, so that nobody uses the object afterwards.
        unsafe { rlis_sys::debug_file_remove(self.raw.as_ptr()) };
    }
}

#[kunit_tests(rlis_mem_debug_file)]
mod tests {
    use super::*;

    struct Nothing;

    impl Show for Nothing {
        fn show(&self, _to: &mut Text<'_>) -> fmt::Result {
            Ok(())
        }
    }

    #[test]
    fn a_name_is_free_again() -> Result {
        let shown = Arc::new(Nothing, GFP_KERNEL)?;
        for _ in 0..2 {
            let file = DebugFile::new(c"rlis_mem_test", shown.clone())?;
            assert!(DebugFile::new(c"rlis_mem_test", shown.clone()).is_err());
            drop(file);
        }
        assert!(Arc::into_unique_or_drop(shown).is_some());
        Ok(())
    }
}
