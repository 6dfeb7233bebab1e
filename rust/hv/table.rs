// SPDX-License-Identifier: GPL-2.0

//! Tables of callbacks that the kernel is given: the bus type, files in sysfs, and the like; and the callbacks in them.

use crate::view::Callback;
use core::{
    cell::UnsafeCell,
    ptr, //
};
use kernel::ffi::{
    c_int,
    c_ulong, //
};
use rlis_sys as bindings;

/// A structure that is registered with the kernel by its address, as a C driver has it in a static variable.
///
/// # Invariants
///
/// Rust code makes the structure and hands out its address; it neither reads nor writes what the kernel may write.
#[repr(transparent)]
pub struct Table<T>(UnsafeCell<T>);

// SAFETY: By the invariants only the kernel writes the structure, under the rules of whatever it is registered with.
unsafe impl<T> Sync for Table<T> {}

impl<T> Table<T> {
    /// A table for a static.
    pub const fn new(table: T) -> Self {
        // INVARIANT: Nobody has it yet.
        Self(UnsafeCell::new(table))
    }

    /// Its address.
    pub const fn get(&self) -> *mut T {
        self.0.get()
    }
}

type Phase = Callback<*mut bindings::device, c_int>;

/// Callbacks for hibernation, in the phase in which interrupts are off.
pub const fn noirq(suspend: Phase, resume: Phase) -> bindings::dev_pm_ops {
    let mut pm: bindings::dev_pm_ops = pin_init::zeroed();
    pm.freeze_noirq = Some(suspend);
    pm.thaw_noirq = Some(resume);
    pm.poweroff_noirq = Some(suspend);
    pm.restore_noirq = Some(resume);
    pm
}

/// What a callback makes of something that the kernel calls it with.
pub trait FromKernel<C> {
    /// # Safety
    ///
    /// The kernel has called a callback of a table of this bus with `arg`; the value is not used after its return.
    unsafe fn from_kernel(arg: C) -> Self;
}

/// Objects that callbacks get by a C structure in them.
///
/// # Safety
///
/// At `OFFSET` in the object is the C structure, and wherever the kernel calls a callback of this bus with a structure that is
/// taken for such an object, it is in one, which stays valid until the callback returns.
pub unsafe trait Contains<C> {
    /// Where the C structure is, in bytes.
    const OFFSET: usize;
}

impl<C, T: Contains<C>> FromKernel<*const C> for &T {
    unsafe fn from_kernel(arg: *const C) -> Self {
        // SAFETY: The implementer of the trait vouches for it.
        unsafe { &*arg.wrapping_byte_sub(T::OFFSET).cast() }
    }
}

impl<C, T: Contains<C>> FromKernel<*mut C> for &T {
    unsafe fn from_kernel(arg: *mut C) -> Self {
        // SAFETY: As above.
        unsafe { FromKernel::from_kernel(arg.cast_const()) }
    }
}

/// Objects whose address tasklets are called with.
///
/// # Safety
///
/// Wherever the kernel calls a callback of this bus with a number that is taken for the address of such an object, it is that of
/// one, which stays valid until the callback returns.
pub unsafe trait TaskletData {}

impl<T: TaskletData> FromKernel<c_ulong> for &T {
    #[inline(always)]
    unsafe fn from_kernel(arg: c_ulong) -> Self {
        // SAFETY: The implementer of the trait vouches for it.
        unsafe { &*ptr::with_exposed_provenance(arg) }
    }
}

/// Defines functions for tables. An argument is given as in C, and `=>` what the body sees instead; what makes the second of
/// the first, and may do so because of who calls the function, is in the implementation of [`FromKernel`].
#[macro_export]
macro_rules! callbacks {
    ($(
        $(#[$attribute:meta])*
        fn $name:ident($($arg:ident: $c:ty $(=> $rust:ty)?),* $(,)?) $(-> $out:ty)? $body:block
    )*) => {$(
        $(#[$attribute])*
        unsafe extern "C" fn $name($($arg: $c),*) $(-> $out)? {
            $($(
                // SAFETY: Only a table names the function, so that the kernel has called it; the value lives as long as the body.
                let $arg = unsafe { <$rust as $crate::table::FromKernel<$c>>::from_kernel($arg) };
            )?)*
            $body
        }
    )*};
}

/// Says where in objects the C structures are that callbacks get.
///
/// What one writes is `unsafe`, as [`Contains`] is: `Object: Structure = field;`, with the field of the C object that `Object` is
/// transparent over.
#[macro_export]
macro_rules! contains {
    (unsafe { $($object:ty: $structure:ty = $raw:ty, $($field:ident).+;)* }) => {$(
        // SAFETY: Who declares it promises what the trait asks for.
        unsafe impl $crate::table::Contains<$structure> for $object {
            const OFFSET: usize = ::core::mem::offset_of!($raw, $($field).+);
        }
    )*};
}
