// SPDX-License-Identifier: GPL-2.0

//! Open enumerations: integer new-types with named values.
//!
//! A value that comes from the other side may be anything, so it is never turned into a Rust `enum`. An open
//! enum keeps the integer and gives names to the values that are known.

/// Declares a `#[repr(transparent)]` integer new-type with named constants and a `name()` for logs.
macro_rules! open_enum {
    (
        $(#[$meta:meta])*
        pub struct $name:ident($int:ty) {
            $( $(#[$vmeta:meta])* $variant:ident = $value:expr ),+ $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default,
            zerocopy_derive::FromBytes, zerocopy_derive::IntoBytes,
            zerocopy_derive::Immutable, zerocopy_derive::KnownLayout,
        )]
        #[repr(transparent)]
        pub struct $name(pub $int);

        impl $name {
            $( $(#[$vmeta])* pub const $variant: Self = Self($value); )+

            /// The name of a known value, as the C headers spell it, or `None`.
            pub const fn name(self) -> Option<&'static str> {
                match self {
                    $( Self::$variant => Some(stringify!($variant)), )+
                    _ => None,
                }
            }
        }

        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                match self.name() {
                    Some(name) => f.write_str(name),
                    None => write!(f, "{}({:#x})", stringify!($name), self.0),
                }
            }
        }
    };
}
