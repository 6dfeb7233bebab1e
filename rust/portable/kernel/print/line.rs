// SPDX-License-Identifier: GPL-2.0

//! Formatting of log lines for the portable tree.
//!
//! The kernel's `%pA` calls back into Rust code of vmlinux, which a kernel without CONFIG_RUST does not have, and
//! whose view of [`fmt::Arguments`] is that of another compiler elsewhere. So lines are formatted here and printed
//! with `%s`.

use crate::fmt::{
    self,
    Write, //
};

/// A log line as a C string on the stack. Longer text is cut.
pub(crate) struct Line {
    /// Always ends with a NUL.
    bytes: [u8; Self::SIZE],
    used: usize,
}

impl Line {
    const SIZE: usize = 256;

    /// Formats `args`.
    pub(crate) fn new(args: fmt::Arguments<'_>) -> Self {
        let mut line = Self {
            bytes: [0; Self::SIZE],
            used: 0,
        };
        if line.write_fmt(args).is_err() {
            // What did not fit is marked as such, and the line still ends.
            let end = b"...\n\0";
            let (_, tail) = line.bytes.split_at_mut(Self::SIZE - end.len());
            tail.copy_from_slice(end);
        }
        line
    }

    /// The C string.
    pub(crate) fn as_ptr(&self) -> *const crate::ffi::c_char {
        self.bytes.as_ptr().cast()
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let free = Self::SIZE - 1 - self.used;
        let taken = text.len().min(free);
        if let (Some(to), Some(from)) = (
            self.bytes.get_mut(self.used..self.used + taken),
            text.as_bytes().get(..taken),
        ) {
            to.copy_from_slice(from);
        }
        self.used += taken;
        if taken == text.len() {
            Ok(())
        } else {
            Err(fmt::Error)
        }
    }
}
