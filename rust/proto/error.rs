// SPDX-License-Identifier: GPL-2.0

//! The one error type of parsers and builders.

use core::fmt;
use zerocopy::FromBytes;

/// Why bytes from the other side were refused, or why a message could not be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtoError {
    /// Fewer bytes than the message needs.
    Short {
        /// Which message or structure.
        what: &'static str,
        /// Bytes required.
        need: usize,
        /// Bytes present.
        got: usize,
    },
    /// A type, operation or version that is not known.
    Unknown {
        /// Which field.
        what: &'static str,
        /// Its value.
        value: u64,
    },
    /// A known field with a value outside of what the protocol allows.
    Invalid {
        /// Which field.
        what: &'static str,
        /// Its value.
        value: u64,
    },
    /// The buffer handed in for output is too small.
    NoRoom {
        /// What was to be written.
        what: &'static str,
        /// Bytes required.
        need: usize,
        /// Bytes offered.
        got: usize,
    },
    /// A message that is well formed but does not belong into this state.
    Unexpected {
        /// What arrived.
        what: &'static str,
    },
}

/// Parsers on a data path make their errors with these, out of the way of what is right.
impl ProtoError {
    /// [`ProtoError::Short`]
    #[cold]
    #[inline(never)]
    pub fn short(what: &'static str, need: usize, got: usize) -> Self {
        Self::Short { what, need, got }
    }

    /// [`ProtoError::Invalid`]
    #[cold]
    #[inline(never)]
    pub fn invalid(what: &'static str, value: impl Into<u64>) -> Self {
        Self::Invalid {
            what,
            value: value.into(),
        }
    }

    /// [`ProtoError::Unexpected`]
    #[cold]
    #[inline(never)]
    pub fn unexpected(what: &'static str) -> Self {
        Self::Unexpected { what }
    }
}

impl fmt::Display for ProtoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Short { what, need, got } => write!(f, "{what}: {got} bytes, {need} needed"),
            Self::Unknown { what, value } => write!(f, "{what}: unknown value {value:#x}"),
            Self::Invalid { what, value } => write!(f, "{what}: invalid value {value:#x}"),
            Self::NoRoom { what, need, got } => {
                write!(f, "{what}: buffer of {got} bytes, {need} needed")
            }
            Self::Unexpected { what } => write!(f, "{what}: not expected in this state"),
        }
    }
}

impl core::error::Error for ProtoError {}

/// Copies a `T` from the front of `bytes` and returns it with what follows.
///
/// # Errors
///
/// [`ProtoError::Short`] if `bytes` is shorter than `T`.
#[inline]
pub fn read_prefix<'a, T: FromBytes>(
    bytes: &'a [u8],
    what: &'static str,
) -> Result<(T, &'a [u8]), ProtoError> {
    T::read_from_prefix(bytes).map_err(|_| ProtoError::Short {
        what,
        need: core::mem::size_of::<T>(),
        got: bytes.len(),
    })
}

/// Copies `src` to the front of `dst` and returns how many bytes that were.
///
/// # Errors
///
/// [`ProtoError::NoRoom`] if `dst` is shorter than `src`.
pub fn put_bytes(dst: &mut [u8], src: &[u8], what: &'static str) -> Result<usize, ProtoError> {
    let got = dst.len();
    match dst.get_mut(..src.len()) {
        Some(d) => {
            d.copy_from_slice(src);
            Ok(src.len())
        }
        None => Err(ProtoError::NoRoom {
            what,
            need: src.len(),
            got,
        }),
    }
}
