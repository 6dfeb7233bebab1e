// SPDX-License-Identifier: GPL-2.0

//! PTP hardware clocks, `/dev/ptpN`, that can be read but not set.
//!
//! A crate of its own, because a module that links it depends on the PTP core.
//!
//! C header: [`include/linux/ptp_clock_kernel.h`](srctree/include/linux/ptp_clock_kernel.h)

use core::ptr::NonNull;
use kernel::{
    error::{
        from_err_ptr,
        from_result, //
    },
    module::ModuleMetadata,
    prelude::*,
    sync::Arc,
    types::Opaque, //
};
#[cfg(RLIS_HAVE_COUNTER_IDS)]
use rlis_sys::{
    ktime_t,
    system_counterval_t,
    system_device_crosststamp, //
};
use rlis_sys::{
    ptp_clock,
    ptp_clock_info,
    ptp_clock_request,
    ptp_system_timestamp,
    timespec64, //
};

/// A clock that user space may read.
pub trait Clock: Send + Sync + 'static {
    /// The module, which stays loaded as long as the clock is open.
    type Module: ModuleMetadata;
    /// Name of the clock, at most 31 bytes; the attribute `clock_name` in sysfs.
    const NAME: &'static CStr;

    /// Returns the time of the clock in nanoseconds since 1970. Called in process context; should be quick.
    ///
    /// # Errors
    ///
    /// Any; user space gets it.
    fn now(&self) -> Result<u64>;

    /// Returns the time of the clock at a reference time (see [`rlis_hv::time::reference_counter`]), in nanoseconds
    /// since 1970, for timestamps that are the clock's and the system's at once. Must not sleep, and may be called
    /// again until the system's clock stands still meanwhile.
    ///
    /// # Errors
    ///
    /// Any; user space gets it.
    fn at(&self, reference: u64) -> Result<u64>;
}

/// A registered clock. Dropping it takes the clock away.
///
/// # Invariants
///
/// `handle`, if there is one, is a clock registered with `info`.
#[pin_data(PinnedDrop)]
pub struct Registration<T: Clock> {
    #[pin]
    info: Opaque<ptp_clock_info>,
    handle: Option<NonNull<ptp_clock>>,
    clock: Arc<T>,
}

// SAFETY: A clock may be unregistered on any thread.
unsafe impl<T: Clock> Send for Registration<T> {}

// SAFETY: Shared references only give the clock away, which is `Sync`.
unsafe impl<T: Clock> Sync for Registration<T> {}

impl<T: Clock> Registration<T> {
    /// Registers a clock. Where the kernel has no PTP clocks, this does nothing; see [`Self::is_registered`].
    ///
    /// # Errors
    ///
    /// `ENOMEM` and what else `ptp_clock_register` returns.
    pub fn new(clock: Arc<T>) -> impl PinInit<Self, Error> {
        try_pin_init!(&this in Self {
            clock,
            info <- Opaque::ffi_init(|slot: *mut ptp_clock_info| {
                // SAFETY: `slot` is valid for writes, and all fields of the struct may be zero.
                unsafe { slot.write_bytes(0, 1) };
                // SAFETY: As above. The last byte of the name stays zero.
                unsafe {
                    (*slot).owner = T::Module::THIS_MODULE.as_ptr();
                    let bytes = T::NAME.to_bytes().iter();
                    for (to, from) in (*slot).name.iter_mut().take(31).zip(bytes) {
                        *to = *from;
                    }
                    (*slot).gettimex64 = Some(Self::gettimex64);
                    // Older kernels name the counter by a clock source that they do not export. They then say that the
                    // clock has no such timestamps.
                    #[cfg(RLIS_HAVE_COUNTER_IDS)]
                    {
                        (*slot).getcrosststamp = Some(Self::getcrosststamp);
                    }
                    (*slot).settime64 = Some(Self::settime64);
                    (*slot).adjfine = Some(Self::adjfine);
                    (*slot).adjtime = Some(Self::adjtime);
                    (*slot).enable = Some(Self::enable);
                }
            }),
            // Last: from now on the functions may be called.
            handle: {
                // SAFETY: The fields above are initialised.
                let info = unsafe { &raw mut (*this.as_ptr()).info };
                // SAFETY: The information is pinned, and the clock unregistered before it is freed.
                // INVARIANT: The clock is registered with it.
                NonNull::new(from_err_ptr(unsafe {
                    rlis_sys::ptp_register(info.cast())
                })?)
            },
        })
    }

    /// Returns whether there is a clock in user space.
    pub fn is_registered(&self) -> bool {
        self.handle.is_some()
    }

    /// Reads the clock, with the system's time just before and after in `sts` unless that is null.
    ///
    /// # Safety
    ///
    /// For the PTP core to call.
    unsafe extern "C" fn gettimex64(
        info: *mut ptp_clock_info,
        ts: *mut timespec64,
        sts: *mut ptp_system_timestamp,
    ) -> c_int {
        let info: *mut Opaque<ptp_clock_info> = info.cast();
        // SAFETY: The core passes the information of a registered clock, which lies in a pinned `Self`.
        let this = unsafe { &*kernel::container_of!(info, Self, info) };
        from_result(|| {
            // SAFETY: The core passes null or a valid pointer; the function does nothing with null.
            unsafe { rlis_sys::ptp_read_system_prets(sts) };
            let now = this.clock.now();
            // SAFETY: As above.
            unsafe { rlis_sys::ptp_read_system_postts(sts) };
            let now = rlis_hv::time::timespec(now?)?;
            // SAFETY: The core passes a valid pointer.
            unsafe { *ts = now };
            Ok(0)
        })
    }

    /// Tells the time of the clock and of the system at one moment. The kernel can do that while its own time comes
    /// from the TSC; else it says `ENODEV`.
    ///
    /// # Safety
    ///
    /// For the PTP core to call.
    #[cfg(RLIS_HAVE_COUNTER_IDS)]
    unsafe extern "C" fn getcrosststamp(
        info: *mut ptp_clock_info,
        xtstamp: *mut system_device_crosststamp,
    ) -> c_int {
        // SAFETY: The core passes a valid pointer, and the information of a registered clock, which is what the function is
        // called with.
        unsafe {
            rlis_sys::get_device_system_crosststamp(
                Some(Self::clock_and_counter),
                info.cast(),
                core::ptr::null_mut(),
                xtstamp,
            )
        }
    }

    /// Tells the time of the clock and the TSC at one moment: the host's page says which reference time a TSC value is.
    ///
    /// # Safety
    ///
    /// `info` is that of a registered clock; the other two are valid for writes.
    #[cfg(RLIS_HAVE_COUNTER_IDS)]
    unsafe extern "C" fn clock_and_counter(
        clock: *mut ktime_t,
        counter: *mut system_counterval_t,
        info: *mut c_void,
    ) -> c_int {
        let info: *mut Opaque<ptp_clock_info> = info.cast();
        // SAFETY: The information lies in a pinned `Self`.
        let this = unsafe { &*kernel::container_of!(info, Self, info) };
        from_result(|| {
            let (mut tsc, mut reference) = (0, 0);
            // SAFETY: Both are valid for writes.
            if !unsafe { rlis_sys::hv_read_tsc_page(&raw mut tsc, &raw mut reference) } {
                return Err(EOPNOTSUPP);
            }
            let now = i64::try_from(this.clock.at(reference)?).map_err(|_| ERANGE)?;
            // SAFETY: By the function's contract.
            unsafe {
                *clock = now;
                (*counter).cycles = tsc;
                (*counter).cs_id = rlis_sys::clocksource_ids_CSID_X86_TSC;
                (*counter).use_nsecs = false;
            }
            Ok(0)
        })
    }

    /// The clock cannot be set.
    ///
    /// # Safety
    ///
    /// For the PTP core to call.
    unsafe extern "C" fn settime64(_: *mut ptp_clock_info, _: *const timespec64) -> c_int {
        EOPNOTSUPP.to_errno()
    }

    /// The clock cannot be adjusted.
    ///
    /// # Safety
    ///
    /// For the PTP core to call.
    unsafe extern "C" fn adjfine(_: *mut ptp_clock_info, _: c_long) -> c_int {
        EOPNOTSUPP.to_errno()
    }

    /// The clock cannot be adjusted.
    ///
    /// # Safety
    ///
    /// For the PTP core to call.
    unsafe extern "C" fn adjtime(_: *mut ptp_clock_info, _: i64) -> c_int {
        EOPNOTSUPP.to_errno()
    }

    /// The clock has no pins, alarms or pulses.
    ///
    /// # Safety
    ///
    /// For the PTP core to call.
    unsafe extern "C" fn enable(
        _: *mut ptp_clock_info,
        _: *mut ptp_clock_request,
        _: c_int,
    ) -> c_int {
        EOPNOTSUPP.to_errno()
    }
}

#[pinned_drop]
impl<T: Clock> PinnedDrop for Registration<T> {
    fn drop(self: Pin<&mut Self>) {
        if let Some(handle) = self.handle {
            // SAFETY: By the type invariant. Waits for calls that are under way.
            unsafe { rlis_sys::ptp_unregister(handle.as_ptr()) };
        }
    }
}
