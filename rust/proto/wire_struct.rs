// SPDX-License-Identifier: GPL-2.0

//! Structs as they lie on the wire.

/// Declares structs that are read from and written to bytes at any address: packed as in C, without padding, and
/// plain data. A derive in front of one is added to what all have.
macro_rules! wire_struct {
    ($(
        $(#[$meta:meta])*
        pub struct $name:ident { $( $(#[$fmeta:meta])* pub $field:ident : $ty:ty ),* $(,)? }
    )*) => {
        $(
            $(#[$meta])*
            #[derive(
                Clone, Copy,
                zerocopy_derive::FromBytes, zerocopy_derive::IntoBytes,
                zerocopy_derive::Immutable, zerocopy_derive::KnownLayout, zerocopy_derive::Unaligned,
            )]
            #[repr(C, packed)]
            pub struct $name { $( $(#[$fmeta])* pub $field: $ty, )* }
        )*
    };
}
