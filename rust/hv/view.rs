// SPDX-License-Identifier: GPL-2.0

//! Fields of C structures, as types that may be shared.
//!
//! A structure of a C API is used by several at once: by us, by C drivers, on several CPUs. So there must be no Rust reference
//! to it, but there may be one to a field, if its type is made for that: a [`Field`] for a word that is read and written as a
//! whole, an atomic, or a type over what C has functions for, as a lock. [`c_struct!`](crate::c_struct) declares which field is what.

use core::{
    cell::UnsafeCell,
    marker::PhantomData,
    ops::Add,
    sync::atomic::{
        AtomicBool,
        AtomicI32,
        AtomicPtr,
        AtomicU32,
        AtomicU64,
        Ordering, //
    }, //
};
use kernel::{
    ffi::c_void,
    prelude::*, //
};
use zerocopy::FromBytes;

/// What a field of a C structure can be seen as.
///
/// # Safety
///
/// The type has the layout of `Raw`, and its safe functions are sound for a `Raw` that C code has initialised, while C code
/// and other references use it in the way that is usual for it.
pub unsafe trait View {
    /// The type of the field.
    type Raw;
}

/// Sees a field as `V`.
///
/// # Safety
///
/// `raw` points to a field that is initialised and stays valid for `'a`; nobody has an exclusive reference to it.
#[inline(always)]
pub unsafe fn view<'a, V: View>(raw: *mut V::Raw) -> &'a V {
    // SAFETY: The layout is the same, and the caller promises the rest.
    unsafe { &*raw.cast::<V>() }
}

/// Declares a type for references to a C structure, which others use at the same time, and functions that return its fields.
///
/// What one writes is `unsafe`: a reference to the type is only made of a C structure that is initialised, with all locks, lists
/// and the like that are declared here, and stays valid as long; and what unsafe code takes from a field is only written where
/// that code is, which the visibility of the function says.
///
/// `raw` returns the pointer to the C structure.
#[macro_export]
macro_rules! c_struct {
    (
        $(#[$attribute:meta])*
        unsafe $visible:vis struct $type:ident($raw:ty) {
            $($(#[$meta:meta])* $vis:vis fn $name:ident -> $view:ty = $($field:ident).+;)*
        }
    ) => {
        $(#[$attribute])*
        #[repr(transparent)]
        $visible struct $type(::kernel::types::Opaque<$raw>);

        // SAFETY: All access is through fields that may be shared.
        unsafe impl Send for $type {}
        // SAFETY: As above.
        unsafe impl Sync for $type {}

        // SAFETY: Transparent over the structure, and who declares it promises that all is initialised.
        unsafe impl $crate::view::View for $type {
            type Raw = $raw;
        }

        impl $type {
            /// The C structure.
            #[allow(dead_code)]
            #[inline]
            fn raw(&self) -> *mut $raw {
                self.0.get()
            }

            $(
                $(#[$meta])*
                #[inline]
                $vis fn $name(&self) -> &$view {
                    // SAFETY: Who has declared the field promises that it is initialised and valid as long as `self`.
                    unsafe { $crate::view::view::<$view>(&raw mut (*self.raw()).$($field).+) }
                }
            )*
        }
    };
}

/// Declares more functions that return fields, for a type of [`c_struct!`](crate::c_struct) in another file, whose types the fields
/// have.
///
/// What one writes is `unsafe impl Type via function`, as for the type itself; the function returns the pointer to the C structure.
#[macro_export]
macro_rules! c_fields {
    (
        // SAFETY: The reason is that of who writes it.
        unsafe impl $type:ident via $raw:ident {
            $($(#[$meta:meta])* $vis:vis fn $name:ident -> $view:ty = $($field:ident).+;)*
        }
    ) => {
        impl $type {
            $(
                $(#[$meta])*
                #[inline]
                $vis fn $name(&self) -> &$view {
                    // SAFETY: Who has declared the field promises that it is initialised and valid as long as `self`.
                    unsafe { $crate::view::view::<$view>(&raw mut (*self.$raw()).$($field).+) }
                }
            )*
        }
    };
}

/// Declares kinds of functions that C code stores, for [`Hook`].
///
/// What one writes is `unsafe`: each line has the arguments for us, and in brackets those in C, as which they have the same ABI; C
/// code that stores such a function promises that it may be called with any arguments that are valid for us.
#[macro_export]
macro_rules! hooks {
    (
        // SAFETY: As above.
        unsafe {
            $($(#[$attribute:meta])* $vis:vis $name:ident = fn($($arg:ty),*) $(-> $result:ty)?, [$($raw:ty),*];)*
        }
    ) => {
        $(
            $(#[$attribute])*
            $vis enum $name {}

            // SAFETY: Who declares it promises that the arguments have the same ABI.
            unsafe impl $crate::view::Kind for $name {
                type Function = extern "C" fn($($arg),*) $(-> $result)?;
                type Raw = unsafe extern "C" fn($($raw),*) $(-> $result)?;
            }
        )*
    };
}

/// A function that C code calls, or stores, with one argument.
pub type Callback<A, R = ()> = unsafe extern "C" fn(A) -> R;

/// What C reads and writes as a whole.
///
/// # Safety
///
/// The type has at most the size of a pointer and its alignment is its size, and C code stores valid values only.
pub unsafe trait Word: Copy {}

macro_rules! words {
    ($($type:ty)*) => {
        $(
            // SAFETY: The same type in C; of a `_Bool` C code makes nothing but 0 and 1.
            unsafe impl Word for $type {}
        )*
    };
}

words! { bool u8 u16 u32 u64 usize i32 }

// SAFETY: A pointer in C.
unsafe impl<T> Word for *mut T {}
// SAFETY: A pointer in C.
unsafe impl<T> Word for *const T {}
// SAFETY: A pointer to a function in C.
unsafe impl<A, R> Word for Option<Callback<A, R>> {}
// SAFETY: As above.
unsafe impl<A, B, R> Word for Option<unsafe extern "C" fn(A, B) -> R> {}

/// A word in a C structure, which is read and written as a whole (`READ_ONCE`, `WRITE_ONCE`).
#[repr(transparent)]
pub struct Field<T: Word>(UnsafeCell<T>);

// SAFETY: A word is good for any task that reads it; to follow a pointer is for the reader to justify.
unsafe impl<T: Word> Send for Field<T> {}

// SAFETY: Accesses are of whole words, and volatile, which the kernel's memory model takes for atomic.
unsafe impl<T: Word> Sync for Field<T> {}

// SAFETY: A `Field` is transparent over its type.
unsafe impl<T: Word> View for Field<T> {
    type Raw = T;
}

impl<T: Word> Field<T> {
    /// A word of our own; see [`Single`](crate::Single).
    pub const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// Reads it.
    #[inline(always)]
    pub fn get(&self) -> T {
        // SAFETY: Valid and aligned, as `self` is a reference; see `Sync`.
        unsafe { self.0.get().read_volatile() }
    }

    /// Writes it.
    #[inline(always)]
    pub fn set(&self, value: T) {
        // SAFETY: As above.
        unsafe { self.0.get().write_volatile(value) };
    }

    /// Writes it, and returns what was there. Not in one step.
    #[inline(always)]
    pub fn replace(&self, value: T) -> T {
        let old = self.get();
        self.set(value);
        old
    }
}

impl<T: Word + Add<Output = T> + From<u8>> Field<T> {
    /// Adds one, to a statistic: not in one step, so that one of several at once may be lost.
    #[inline(always)]
    pub fn count(&self) {
        self.set(self.get() + T::from(1));
    }
}

/// A function in a C structure, or none.
///
/// The field's type in C is a pointer to a function with C's types. Here it is one to a function that takes references: C code
/// that stores one promises that it may be called with any that are valid.
#[repr(transparent)]
pub struct Hook<K: Kind>(UnsafeCell<Option<K::Function>>);

/// A kind of functions that C code stores.
///
/// # Safety
///
/// `Function` is a function pointer with the ABI of `Raw`, another one, whose arguments are those of `Raw` as references and
/// numbers.
pub unsafe trait Kind {
    /// The function for us.
    type Function: Copy;
    /// The function in C.
    type Raw;
}

// SAFETY: Accesses are of whole words, and volatile.
unsafe impl<K: Kind> Sync for Hook<K> {}

// SAFETY: An optional function pointer has the layout of one in C, where the null pointer is none.
unsafe impl<K: Kind> View for Hook<K> {
    type Raw = Option<K::Raw>;
}

impl<K: Kind> Hook<K> {
    /// Reads it.
    #[inline(always)]
    pub fn get(&self) -> Option<K::Function> {
        // SAFETY: Valid and aligned, as `self` is a reference; see `Sync`.
        unsafe { self.0.get().read_volatile() }
    }

    /// Writes it.
    #[inline(always)]
    pub fn set(&self, function: Option<K::Function>) {
        // SAFETY: As above.
        unsafe { self.0.get().write_volatile(function) };
    }
}

/// A piece of a C structure that is plain data. `R` is its type in C.
///
/// Others may write to it meanwhile: what is read then is some of the old and some of the new.
#[repr(transparent)]
pub struct Plain<T: FromBytes + Copy, R>(UnsafeCell<T>, PhantomData<R>);

// SAFETY: Accesses are volatile, and any bytes make a value.
unsafe impl<T: FromBytes + Copy, R> Sync for Plain<T, R> {}

// SAFETY: The functions see to it that size and alignment are those of the type in C. Any bytes make a value.
unsafe impl<T: FromBytes + Copy, R> View for Plain<T, R> {
    type Raw = R;
}

impl<T: FromBytes + Copy, R> Plain<T, R> {
    /// The pointer, of types that match.
    #[inline(always)]
    fn at(&self) -> *mut T {
        const { assert!(size_of::<T>() == size_of::<R>() && align_of::<T>() <= align_of::<R>()) };
        self.0.get()
    }

    /// Returns a copy.
    pub fn get(&self) -> T {
        // SAFETY: Valid and aligned, as `self` is a reference; see `Sync`.
        unsafe { self.at().read_volatile() }
    }

    /// Writes it.
    pub fn set(&self, value: &T) {
        // SAFETY: As above.
        unsafe { self.at().write_volatile(*value) };
    }

    /// Returns one byte of it, without copying the rest.
    #[inline(always)]
    pub fn byte<const OFFSET: usize>(&self) -> u8 {
        const { assert!(OFFSET < size_of::<T>()) };
        // SAFETY: Within the value, see above.
        unsafe { self.at().cast::<u8>().add(OFFSET).read_volatile() }
    }
}

/// A pointer in a C structure that owns a box, or null.
#[repr(transparent)]
pub struct BoxSlot<T>(AtomicPtr<c_void>, PhantomData<T>);

// SAFETY: It gives boxes from one thread to another.
unsafe impl<T: Send> Sync for BoxSlot<T> {}

// SAFETY: An atomic pointer has the layout of a pointer. C code gives it null and then leaves it alone.
unsafe impl<T> View for BoxSlot<T> {
    type Raw = *mut c_void;
}

impl<T: Send + 'static> BoxSlot<T> {
    /// Puts a box there, or nothing, and takes out what there was.
    pub fn replace(&self, new: Option<KBox<T>>) -> Option<KBox<T>> {
        let new = new.map_or(core::ptr::null_mut(), |new| KBox::into_raw(new).cast());
        let old = self.0.swap(new, Ordering::AcqRel);
        // SAFETY: All pointers here come from `into_raw`, and each is taken out once.
        (!old.is_null()).then(|| unsafe { KBox::from_raw(old.cast()) })
    }

    /// What is there.
    ///
    /// # Safety
    ///
    /// Nobody takes it out for `'a`.
    pub unsafe fn get<'a>(&self) -> Option<&'a T> {
        // SAFETY: Null, or a box that the caller promises to stay.
        unsafe { self.0.load(Ordering::Acquire).cast::<T>().as_ref() }
    }
}

// SAFETY: An array has its elements one after the other.
unsafe impl<V: View, const N: usize> View for [V; N]
where
    V::Raw: Sized,
{
    type Raw = [V::Raw; N];
}

// SAFETY: An atomic has the layout of its integer. C code reads it as a whole; where it writes, it does so atomically.
unsafe impl View for AtomicU32 {
    type Raw = u32;
}
// SAFETY: As above.
unsafe impl View for AtomicI32 {
    type Raw = i32;
}
// SAFETY: As above.
unsafe impl View for AtomicU64 {
    type Raw = u64;
}
// SAFETY: As above; of a `_Bool` C code makes nothing but 0 and 1.
unsafe impl View for AtomicBool {
    type Raw = bool;
}
// SAFETY: As above, of a pointer.
unsafe impl<T> View for AtomicPtr<T> {
    type Raw = *mut T;
}

#[kunit_tests(rlis_hv_view)]
mod tests {
    use super::*;
    use kernel::types::Opaque;

    #[repr(C)]
    struct Raw {
        count: u64,
        on: bool,
        place: *mut c_void,
        at: u32,
        pair: [u8; 2],
        add: Option<unsafe extern "C" fn(*mut u32, u32) -> u32>,
    }

    hooks! {
        // SAFETY: A reference has the ABI of a pointer.
        unsafe {
            Adder = fn(&u32, u32) -> u32, [*mut u32, u32];
        }
    }

    c_struct! {
        /// What a test has made.
        // SAFETY: Tests initialise all of it.
        unsafe struct Object(Raw) {
            fn count -> Field<u64> = count;
            fn on -> Field<bool> = on;
            fn place -> BoxSlot<KVec<u8>> = place;
            fn at -> AtomicU32 = at;
            fn pair -> Plain<[u8; 2], [u8; 2]> = pair;
            fn add -> Hook<Adder> = add;
        }
    }

    extern "C" fn add(a: &u32, b: u32) -> u32 {
        *a + b
    }

    #[test]
    fn fields_are_those_of_the_structure() -> Result {
        let object = Object(Opaque::new(Raw {
            count: 6,
            on: false,
            place: core::ptr::null_mut(),
            at: 3,
            pair: [1, 2],
            add: None,
        }));
        object.count().count();
        assert_eq!(object.count().replace(1), 7);
        assert_eq!(object.count().get(), 1);
        object.on().set(true);
        assert!(object.on().get());
        assert_eq!(object.at().fetch_add(1, Ordering::SeqCst), 3);
        assert_eq!(object.at().load(Ordering::SeqCst), 4);
        assert_eq!(object.pair().get(), [1, 2]);
        object.pair().set(&[3, 4]);
        assert_eq!(object.pair().byte::<1>(), 4);
        assert!(object.add().get().is_none());
        object.add().set(Some(add));
        assert_eq!(object.add().get().map(|add| add(&2, 3)), Some(5));
        assert!(object.place().replace(None).is_none());
        let mut bytes = KVec::new();
        bytes.push(9, GFP_KERNEL)?;
        assert!(object
            .place()
            .replace(Some(KBox::new(bytes, GFP_KERNEL)?))
            .is_none());
        // SAFETY: It is taken out below.
        assert_eq!(unsafe { object.place().get() }.map(|b| b.len()), Some(1));
        assert!(object.place().replace(None).is_some());
        assert!(object.place().replace(None).is_none());
        Ok(())
    }
}
