// SPDX-License-Identifier: GPL-2.0

//! Character devices that can be polled, as misc devices of mode 0600.
//!
//! The kernel crate's `MiscDevice` has neither `poll` nor a file mode.
//!
//! C header: [`include/linux/miscdevice.h`](srctree/include/linux/miscdevice.h)

use core::ffi::c_void;
use kernel::{
    error::{
        from_result,
        to_result, //
    },
    fs::File,
    module::ModuleMetadata,
    prelude::*,
    sync::{
        poll::{
            PollCondVar,
            PollTable, //
        },
        Arc, //
    },
    types::{
        ForeignOwnable,
        Opaque, //
    },
    uaccess::{
        UserPtr,
        UserSlice,
        UserSliceReader,
        UserSliceWriter, //
    }, //
};
use rlis_sys::{
    file,
    file_operations,
    inode,
    miscdevice, //
};

/// What `poll` reports of a device.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// Nothing to read.
    Idle,
    /// There is something to read: `EPOLLIN | EPOLLRDNORM`.
    Readable,
    /// The device is gone: `EPOLLERR | EPOLLHUP`.
    Gone,
}

/// The object behind a character device. All its open files share it.
///
/// It may outlive the device's registration: files stay open when the device goes away.
pub trait CharDevice: Send + Sync + 'static {
    /// The module, which stays loaded as long as a file is open.
    type Module: ModuleMetadata;

    /// A file is opened. May sleep.
    ///
    /// # Errors
    ///
    /// Any; `EBUSY` is the one for a device that only one may have open.
    fn open(this: &Arc<Self>) -> Result;

    /// An open file is closed for the last time. May sleep.
    fn release(this: &Arc<Self>);

    /// Reads at most `buffer.len()` bytes, and returns how many.
    ///
    /// # Errors
    ///
    /// Any. With `nonblock`, `EAGAIN` instead of waiting.
    fn read(this: &Arc<Self>, buffer: UserSliceWriter, nonblock: bool) -> Result<usize>;

    /// Writes the bytes of `data`, and returns how many it has taken.
    ///
    /// # Errors
    ///
    /// Any.
    fn write(this: &Arc<Self>, data: UserSliceReader) -> Result<usize>;

    /// Returns what is signalled when readiness changes.
    fn wait_queue(&self) -> &PollCondVar;

    /// Returns whether a read would find something. May sleep.
    fn readiness(&self) -> Readiness;
}

/// A registered character device, `/dev/NAME`.
///
/// Dropping it takes the device away. Files that are open go on working with the object.
///
/// # Invariants
///
/// `misc` is registered; `device` is what it serves.
#[pin_data(PinnedDrop)]
#[repr(C)]
pub struct Registration<T: CharDevice> {
    // First, so that a pointer to it is one to the whole.
    #[pin]
    misc: Opaque<miscdevice>,
    device: Arc<T>,
}

// SAFETY: A misc device may be deregistered on any thread.
unsafe impl<T: CharDevice> Send for Registration<T> {}

// SAFETY: There are no functions that take a shared reference, except `open`, which only reads `device`.
unsafe impl<T: CharDevice> Sync for Registration<T> {}

impl<T: CharDevice> Registration<T> {
    /// Registers a device with a name that may contain a folder: `vmbus/hv_kvp`.
    ///
    /// # Errors
    ///
    /// `EBUSY` if no minor number is left, `EEXIST` if the name is taken.
    pub fn new(name: &'static CStr, device: Arc<T>) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            // Initialised first: an open may follow at once.
            device,
            misc <- Opaque::try_ffi_init(move |slot: *mut miscdevice| {
                // SAFETY: `slot` is valid for writes, and all fields of the struct may be zero.
                unsafe { slot.write_bytes(0, 1) };
                // SAFETY: `slot` is valid and zeroed.
                unsafe {
                    #[allow(clippy::cast_possible_wrap)] // 255.
                    let minor = rlis_sys::MISC_DYNAMIC_MINOR as c_int;
                    (*slot).minor = minor;
                    (*slot).name = name.as_char_ptr();
                    (*slot).mode = 0o600;
                    (*slot).fops = &Files::<T>::OPERATIONS;
                }
                // SAFETY: The misc device is initialised and pinned, and deregistered before it is freed.
                // INVARIANT: If this succeeds, it is registered.
                to_result(unsafe { rlis_sys::misc_register(slot) })
            }),
        })
    }
}

#[pinned_drop]
impl<T: CharDevice> PinnedDrop for Registration<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant. This waits for an open that is under way.
        unsafe { rlis_sys::misc_deregister(self.misc.get()) };
    }
}

/// The file operations of a device. All functions are for the kernel's file system layer to call, on files that
/// were opened through a [`Registration`] of the same `T`.
struct Files<T>(core::marker::PhantomData<T>);

impl<T: CharDevice> Files<T> {
    const OPERATIONS: file_operations = file_operations {
        owner: T::Module::THIS_MODULE.as_ptr(),
        open: Some(Self::open),
        release: Some(Self::release),
        read: Some(Self::read),
        write: Some(Self::write),
        poll: Some(Self::poll),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// See [`Files`].
    unsafe extern "C" fn open(_inode: *mut inode, file: *mut file) -> c_int {
        from_result(|| {
            // SAFETY: `misc_open` has set the private data to the misc device, which it keeps registered during
            // this call; it is the first field of its registration.
            let registration = unsafe { &*(*file).private_data.cast::<Registration<T>>() };
            let device = registration.device.clone();
            // Not `stream_open`: daemons read with `pread`, which that forbids.
            T::open(&device)?;
            // SAFETY: The private data of a file belong to its operations.
            unsafe { (*file).private_data = device.into_foreign() };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// See [`Files`].
    unsafe extern "C" fn release(_inode: *mut inode, file: *mut file) -> c_int {
        // SAFETY: `open` has set the private data, and nobody uses them any more.
        let device = unsafe { Arc::<T>::from_foreign((*file).private_data) };
        T::release(&device);
        0
    }

    /// Returns the object behind an open file.
    ///
    /// # Safety
    ///
    /// See [`Files`]; the reference is valid as long as the file.
    unsafe fn device(file: *mut file) -> Arc<T> {
        // SAFETY: `open` has set the private data, and `release` comes after all other calls.
        let private: *mut c_void = unsafe { (*file).private_data };
        // SAFETY: As above.
        unsafe { Arc::<T>::borrow(private) }.into()
    }

    /// # Safety
    ///
    /// See [`Files`].
    unsafe extern "C" fn read(
        file: *mut file,
        buffer: *mut c_char,
        len: usize,
        _pos: *mut rlis_sys::loff_t,
    ) -> isize {
        // SAFETY: As required of the caller.
        let device = unsafe { Self::device(file) };
        // SAFETY: The file is valid; a plain read of a word that other threads may change.
        let flags = unsafe { (&raw const (*file).f_flags).read_volatile() };
        from_result(|| {
            let writer = UserSlice::new(UserPtr::from_ptr(buffer.cast()), len).writer();
            let read = T::read(&device, writer, flags & rlis_sys::O_NONBLOCK != 0)?;
            isize::try_from(read).map_err(|_| EINVAL)
        })
    }

    /// # Safety
    ///
    /// See [`Files`].
    unsafe extern "C" fn write(
        file: *mut file,
        buffer: *const c_char,
        len: usize,
        _pos: *mut rlis_sys::loff_t,
    ) -> isize {
        // SAFETY: As required of the caller.
        let device = unsafe { Self::device(file) };
        from_result(|| {
            let reader = UserSlice::new(UserPtr::from_ptr(buffer.cast_mut().cast()), len).reader();
            isize::try_from(T::write(&device, reader)?).map_err(|_| EINVAL)
        })
    }

    /// # Safety
    ///
    /// See [`Files`].
    unsafe extern "C" fn poll(
        file: *mut file,
        table: *mut rlis_sys::poll_table,
    ) -> rlis_sys::__poll_t {
        // SAFETY: As required of the caller.
        let device = unsafe { Self::device(file) };
        // SAFETY: The kernel passes null or a table that is valid during the call.
        let table = unsafe { PollTable::from_raw(table) };
        // SAFETY: The file is valid during the call, and no position is locked on this thread.
        let file = unsafe { File::from_raw_file(file) };
        table.register_wait(file, device.wait_queue());
        match device.readiness() {
            Readiness::Idle => 0,
            Readiness::Readable => rlis_sys::POLLIN | rlis_sys::POLLRDNORM,
            Readiness::Gone => rlis_sys::POLLERR | rlis_sys::POLLHUP,
        }
    }
}
