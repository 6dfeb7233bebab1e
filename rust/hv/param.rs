// SPDX-License-Identifier: GPL-2.0

//! Module parameters that appear in `/sys/module/NAME/parameters`, and may be written there.
//!
//! The parameters of the kernel crate's `module!` can only be given when the module is loaded.
//!
//! C header: [`include/linux/moduleparam.h`](srctree/include/linux/moduleparam.h)

use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        AtomicType,
        Relaxed, //
    }, //
};
use rlis_sys::{
    kernel_param,
    kernel_param__bindgen_ty_1,
    kernel_param_ops, //
};

/// Who may read and write a parameter in sysfs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// 0444: all may read it.
    ReadOnly,
    /// 0644: all may read it, and root may write it while the module runs.
    Writable,
}

/// A type that a parameter can have.
///
/// # Safety
///
/// `OPS` must be the kernel's conversions for the C type that has the layout of `Self`, and all values that they
/// store must be valid.
pub unsafe trait ParamType: AtomicType + Copy + 'static {
    /// Conversions from and to text.
    const OPS: *const kernel_param_ops;
    /// Name of the type for `modinfo`.
    const NAME: &'static str;

    /// Reads a parameter's storage.
    fn load(storage: &Atomic<Self>) -> Self;
}

// SAFETY: C's `bool` is that of Rust, and `param_set_bool` stores 0 or 1.
unsafe impl ParamType for bool {
    const OPS: *const kernel_param_ops = &raw const rlis_sys::param_ops_bool;
    const NAME: &'static str = "bool";

    fn load(storage: &Atomic<Self>) -> Self {
        storage.load(Relaxed)
    }
}

// SAFETY: `unsigned int` has 32 bits, and all values are valid.
unsafe impl ParamType for u32 {
    const OPS: *const kernel_param_ops = &raw const rlis_sys::param_ops_uint;
    const NAME: &'static str = "uint";

    fn load(storage: &Atomic<Self>) -> Self {
        storage.load(Relaxed)
    }
}

// SAFETY: `int` has 32 bits, and all values are valid.
unsafe impl ParamType for i32 {
    const OPS: *const kernel_param_ops = &raw const rlis_sys::param_ops_int;
    const NAME: &'static str = "int";

    fn load(storage: &Atomic<Self>) -> Self {
        storage.load(Relaxed)
    }
}

/// A module parameter, declared with [`module_param!`](crate::module_param).
#[repr(transparent)]
pub struct Param<T: ParamType>(Atomic<T>);

impl<T: ParamType> Param<T> {
    /// Makes the storage of a parameter.
    #[doc(hidden)]
    pub const fn new(default: T) -> Self {
        Self(Atomic::new(default))
    }

    /// Returns the value, which root may change at any time if the mode allows it.
    pub fn get(&self) -> T {
        T::load(&self.0)
    }
}

/// The entry in the section `__param` through which the kernel finds a parameter.
#[doc(hidden)]
#[repr(transparent)]
pub struct Entry(kernel_param);

// SAFETY: What the pointers point to is static, and the kernel serialises access to it.
unsafe impl Sync for Entry {}

impl Entry {
    /// Describes a parameter of a module. `name` is without the module's name.
    pub const fn new<T: ParamType>(
        param: &'static Param<T>,
        name: &'static CStr,
        module: &ThisModule,
        mode: Mode,
    ) -> Self {
        Self(kernel_param {
            name: kernel::str::as_char_ptr_in_const_context(name),
            mod_: module.as_ptr(),
            ops: T::OPS,
            perm: match mode {
                Mode::ReadOnly => 0o444,
                Mode::Writable => 0o644,
            },
            level: -1,
            flags: 0,
            __bindgen_anon_1: kernel_param__bindgen_ty_1 {
                arg: core::ptr::from_ref(param).cast_mut().cast(),
            },
        })
    }
}

/// Copies text for the section `.modinfo`.
#[doc(hidden)]
pub const fn text<const N: usize>(parts: &[&str]) -> [u8; N] {
    let mut out = [0; N];
    let mut at = 0;
    let mut i = 0;
    while i < parts.len() {
        let part = parts[i].as_bytes();
        let mut j = 0;
        while j < part.len() {
            out[at] = part[j];
            at += 1;
            j += 1;
        }
        i += 1;
    }
    assert!(at == N);
    out
}

/// Declares a parameter of the module that is being compiled.
///
/// # Examples
///
/// ```ignore
/// module_param! {
///     /// Whether to foo.
///     pub(crate) static FOO: bool = false, "foo", Mode::Writable, "foo if set";
/// }
///
/// if FOO.get() {}
/// ```
#[macro_export]
#[allow(clippy::crate_in_macro_def)] // `LocalModule` is that of the module that declares the parameter.
macro_rules! module_param {
    ($(#[$meta:meta])* $vis:vis static $var:ident: $ty:ty = $default:expr, $name:literal, $mode:expr, $desc:literal;) => {
        $(#[$meta])*
        $vis static $var: $crate::param::Param<$ty> = $crate::param::Param::new($default);

        const _: () = {
            #[used(compiler)]
            #[link_section = "__param"]
            static ENTRY: $crate::param::Entry = $crate::param::Entry::new(
                &$var,
                match ::core::ffi::CStr::from_bytes_with_nul(::core::concat!($name, "\0").as_bytes()) {
                    Ok(name) => name,
                    Err(_) => panic!("a parameter's name contains a NUL"),
                },
                &<crate::LocalModule as ::kernel::module::ModuleMetadata>::THIS_MODULE,
                $mode,
            );

            const TYPE: &[&str] = &[
                "parmtype=", $name, ":", <$ty as $crate::param::ParamType>::NAME, "\0",
            ];
            const TYPE_LEN: usize = ::core::concat!("parmtype=", $name, ":", "\0").len()
                + <$ty as $crate::param::ParamType>::NAME.len();
            #[used(compiler)]
            #[link_section = ".modinfo"]
            static TYPE_TEXT: [u8; TYPE_LEN] = $crate::param::text(TYPE);

            const DESC: &str = ::core::concat!("parm=", $name, ":", $desc, "\0");
            #[used(compiler)]
            #[link_section = ".modinfo"]
            static DESC_TEXT: [u8; DESC.len()] = $crate::param::text(&[DESC]);
        };
    };
}
