// SPDX-License-Identifier: GPL-2.0

//! Files in sysfs: what their callbacks get, and how their tables are made.

use crate::table::{
    FromKernel,
    Table, //
};
use core::{
    fmt::{
        self,
        Write, //
    },
    ptr, //
};
use kernel::{
    ffi::{
        c_char,
        c_int, //
    },
    page::PAGE_SIZE,
    prelude::*, //
};
use rlis_sys as bindings;

/// The page that a file's content is written to. What does not fit is cut off.
///
/// One byte less than a page: sysfs takes a whole one for an overrun.
pub struct Page<'a> {
    buf: &'a mut [u8],
    len: usize,
}

impl FromKernel<*mut c_char> for Page<'_> {
    unsafe fn from_kernel(arg: *mut c_char) -> Self {
        // SAFETY: sysfs hands a page to whoever shows a file.
        let page = unsafe { &mut *arg.cast::<[u8; PAGE_SIZE]>() };
        let (buf, _) = page.split_at_mut(PAGE_SIZE - 1);
        Page { buf, len: 0 }
    }
}

impl Write for Page<'_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let room = self.buf.get_mut(self.len..).unwrap_or_default();
        let n = room.len().min(s.len());
        let (to, from) = (room.get_mut(..n), s.as_bytes().get(..n));
        if let (Some(to), Some(from)) = (to, from) {
            to.copy_from_slice(from);
            self.len += n;
        }
        Ok(())
    }
}

impl Page<'_> {
    /// A line.
    ///
    /// # Errors
    ///
    /// None; what does not fit is cut off.
    pub fn line(&mut self, args: fmt::Arguments<'_>) -> Result {
        // Writing to the page cannot fail.
        let _ = self.write_fmt(args);
        let _ = self.write_str("\n");
        Ok(())
    }

    /// A line with a number.
    ///
    /// # Errors
    ///
    /// None, as for [`Self::line`].
    pub fn number(&mut self, number: impl Into<u64>) -> Result {
        let number: u64 = number.into();
        self.line(format_args!("{number}"))
    }

    /// What a callback returns that has written the page.
    pub fn finish(&self, result: Result) -> isize {
        match result {
            Ok(()) => self.len as isize,
            Err(e) => e.to_errno() as isize,
        }
    }
}

/// What was written to a file.
pub struct Text<'a>(pub &'a str);

impl FromKernel<*const c_char> for Option<Text<'_>> {
    unsafe fn from_kernel(arg: *const c_char) -> Self {
        // SAFETY: kernfs puts a null byte behind what was written.
        let text = unsafe { CStr::from_char_ptr(arg) };
        text.to_str().ok().map(|text| Text(text.trim()))
    }
}

/// What a callback returns that has taken `count` bytes.
pub fn taken(count: usize, result: Result) -> isize {
    match result {
        Ok(()) => isize::try_from(count).unwrap_or(isize::MAX),
        Err(e) => e.to_errno() as isize,
    }
}

/// A file's name and mode.
#[allow(clippy::disallowed_methods)] // `as_char_ptr` is not const.
pub const fn attribute(name: &'static CStr, mode: bindings::umode_t) -> bindings::attribute {
    let mut attribute: bindings::attribute = pin_init::zeroed();
    attribute.name = name.to_bytes_with_nul().as_ptr();
    attribute.mode = mode;
    attribute
}

/// The addresses of the files in a table, and the null that ends them. A file begins with its `struct attribute`.
pub const fn addresses<F, const N: usize, const M: usize>(
    files: &'static Table<[F; N]>,
) -> Table<[*mut bindings::attribute; M]> {
    assert!(M == N + 1);
    let mut addresses = [ptr::null_mut(); M];
    let mut at = 0;
    while at < N {
        addresses[at] = files.get().cast::<F>().wrapping_add(at).cast();
        at += 1;
    }
    Table::new(addresses)
}

/// Says which of a group's files there are.
pub type IsVisible = unsafe extern "C" fn(
    *mut bindings::kobject,
    *mut bindings::attribute,
    c_int,
) -> bindings::umode_t;

/// A group of files.
pub const fn group(
    files: *mut *mut bindings::attribute,
    is_visible: Option<IsVisible>,
) -> bindings::attribute_group {
    let mut group: bindings::attribute_group = pin_init::zeroed();
    #[cfg(RLIS_HAVE_CONST_ATTRIBUTES)]
    {
        group.__bindgen_anon_1.is_visible = is_visible;
        group.__bindgen_anon_2.attrs = files;
    }
    #[cfg(not(RLIS_HAVE_CONST_ATTRIBUTES))]
    {
        group.is_visible = is_visible;
        group.attrs = files;
    }
    group
}

/// A list of one group.
pub type Groups = Table<[*const bindings::attribute_group; 2]>;

/// Makes one.
pub const fn groups(group: &'static Table<bindings::attribute_group>) -> Groups {
    Table::new([group.get().cast_const(), ptr::null()])
}
