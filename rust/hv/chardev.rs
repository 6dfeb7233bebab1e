// SPDX-License-Identifier: GPL-2.0

//! Character devices that pass whole messages and can be polled, as misc devices of mode 0600.
//!
//! The kernel crate's `MiscDevice` has neither `poll` nor a file mode.
//!
//! The memory of a program is only touched here, between calls of the [`CharDevice`]: a page fault may wait for as
//! long as its file system, FUSE server or userfaultfd likes, and whoever has to answer a host must not wait for that.
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
    new_mutex,
    prelude::*,
    sync::{
        poll::{
            PollCondVar,
            PollTable, //
        },
        Arc,
        Mutex, //
    },
    types::{
        ForeignOwnable,
        Opaque, //
    },
    uaccess::{
        UserPtr,
        UserSlice, //
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

/// A message that was copied for a reader, see [`CharDevice::peek`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Peeked {
    /// Its length, bytes.
    pub len: usize,
    /// Tells it from every other message of the device.
    pub id: u64,
}

/// The object behind a character device. All its open files share it.
///
/// It may outlive the device's registration: files stay open when the device goes away.
pub trait CharDevice: Send + Sync + 'static {
    /// The module, which stays loaded as long as a file is open.
    type Module: ModuleMetadata;
    /// Bytes of the longest message to read.
    const MAX_READ: usize;
    /// The most bytes of a write that [`Self::write`] gets to see.
    const MAX_WRITE: usize;

    /// A file is opened. May sleep.
    ///
    /// # Errors
    ///
    /// Any; `EBUSY` is the one for a device that only one may have open.
    fn open(this: &Arc<Self>) -> Result;

    /// An open file is closed for the last time. May sleep.
    fn release(this: &Arc<Self>);

    /// Waits until there is a message to read.
    ///
    /// # Errors
    ///
    /// Any. With `nonblock`, `EAGAIN` instead of waiting.
    fn wait(this: &Arc<Self>, nonblock: bool) -> Result;

    /// Copies the message that is to be read into `out`, which has [`Self::MAX_READ`] bytes; it stays there. `None` if
    /// there is none. `room` is what the reader has room for. May sleep.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the message is longer than `room`.
    fn peek(this: &Arc<Self>, room: usize, out: &mut [u8]) -> Result<Option<Peeked>>;

    /// The reader has the message with this id. Returns whether it was still to be read; if not, the reader gets the
    /// next one in its place. May sleep.
    fn taken(this: &Arc<Self>, id: u64) -> bool;

    /// Takes a message, or the first [`Self::MAX_WRITE`] bytes of a longer one. May sleep.
    ///
    /// # Errors
    ///
    /// Any.
    fn write(this: &Arc<Self>, data: &[u8]) -> Result;

    /// Returns what is signalled when readiness changes.
    fn wait_queue(&self) -> &PollCondVar;

    /// Returns whether a read would find something. May sleep.
    fn readiness(&self) -> Readiness;
}

/// An open file: the object, and where messages are on their way from and to user space.
///
/// The buffers are made with the file, since a reader that is to thaw file systems must not wait for memory.
#[pin_data]
struct OpenFile<T: CharDevice> {
    device: Arc<T>,
    #[pin]
    to_user: Mutex<KVec<u8>>,
    #[pin]
    from_user: Mutex<KVec<u8>>,
}

impl<T: CharDevice> OpenFile<T> {
    fn new(device: Arc<T>) -> Result<Pin<KBox<Self>>> {
        let to_user = KVec::from_elem(0, T::MAX_READ, GFP_KERNEL)?;
        let from_user = KVec::from_elem(0, T::MAX_WRITE, GFP_KERNEL)?;
        KBox::pin_init(
            pin_init!(Self {
                device,
                to_user <- new_mutex!(to_user),
                from_user <- new_mutex!(from_user),
            }),
            GFP_KERNEL,
        )
    }

    fn read(&self, user: UserPtr, room: usize, nonblock: bool) -> Result<usize> {
        loop {
            T::wait(&self.device, nonblock)?;
            let mut buffer = self.to_user.lock();
            // Another thread may have been faster.
            let Some(message) = T::peek(&self.device, room, &mut buffer)? else {
                continue;
            };
            let bytes = buffer.get(..message.len).ok_or(EINVAL)?;
            UserSlice::new(user, room).writer().write_slice(bytes)?;
            if T::taken(&self.device, message.id) {
                return Ok(message.len);
            }
        }
    }

    fn write(&self, user: UserPtr, total: usize) -> Result<usize> {
        let mut buffer = self.from_user.lock();
        let len = total.min(T::MAX_WRITE);
        let data = buffer.get_mut(..len).ok_or(EINVAL)?;
        UserSlice::new(user, total).reader().read_slice(data)?;
        T::write(&self.device, data)?;
        Ok(total)
    }
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
            let open_file = OpenFile::new(device.clone())?;
            // Not `stream_open`: daemons read with `pread`, which that forbids.
            T::open(&device)?;
            // SAFETY: The private data of a file belong to its operations.
            unsafe { (*file).private_data = open_file.into_foreign() };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// See [`Files`].
    unsafe extern "C" fn release(_inode: *mut inode, file: *mut file) -> c_int {
        // SAFETY: `open` has set the private data, and nobody uses them any more.
        let open_file = unsafe { Pin::<KBox<OpenFile<T>>>::from_foreign((*file).private_data) };
        T::release(&open_file.device);
        0
    }

    /// Returns what belongs to an open file.
    ///
    /// # Safety
    ///
    /// See [`Files`]; the file must stay open during `'a`.
    unsafe fn open_file<'a>(file: *mut file) -> Pin<&'a OpenFile<T>> {
        // SAFETY: `open` has set the private data, and `release` comes after all other calls.
        let private: *mut c_void = unsafe { (*file).private_data };
        // SAFETY: As above.
        unsafe { Pin::<KBox<OpenFile<T>>>::borrow(private) }
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
        // SAFETY: As required of the caller; the file stays open during this call.
        let open_file = unsafe { Self::open_file(file) };
        // SAFETY: The file is valid; a plain read of a word that other threads may change.
        let flags = unsafe { (&raw const (*file).f_flags).read_volatile() };
        from_result(|| {
            let user = UserPtr::from_ptr(buffer.cast());
            let read = open_file.read(user, len, flags & rlis_sys::O_NONBLOCK != 0)?;
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
        // SAFETY: As required of the caller; the file stays open during this call.
        let open_file = unsafe { Self::open_file(file) };
        from_result(|| {
            let user = UserPtr::from_ptr(buffer.cast_mut().cast());
            isize::try_from(open_file.write(user, len)?).map_err(|_| EINVAL)
        })
    }

    /// # Safety
    ///
    /// See [`Files`].
    unsafe extern "C" fn poll(
        file: *mut file,
        table: *mut rlis_sys::poll_table,
    ) -> rlis_sys::__poll_t {
        // SAFETY: As required of the caller; the file stays open during this call.
        let device = &unsafe { Self::open_file(file) }.get_ref().device;
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
