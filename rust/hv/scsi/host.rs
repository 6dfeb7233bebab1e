// SPDX-License-Identifier: GPL-2.0

//! Host adapters, `struct Scsi_Host`.

use crate::{
    Command,
    DeviceRef,
    DeviceSetup,
    InFlight,
    Queued,
    Tags, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    error::to_result,
    new_spinlock,
    prelude::*,
    sync::{
        Arc,
        SpinLock, //
    }, //
};
use rlis_sys::{
    scsi_cmnd,
    scsi_device,
    scsi_host_template,
    Scsi_Host, //
};

/// Made-up geometry of disks: heads and sectors per track.
const HEADS: u64 = 255;
const SECTORS: u64 = 63;

/// What to do about a command whose time has run out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimeoutAction {
    /// Wait once more as long.
    Wait,
    /// Nothing: it has been completed.
    Completed,
}

/// What a low-level driver does.
pub trait HostOps: Send + Sync + 'static {
    /// Returns where the commands are kept that the device works on, always the same. [`Host::new`] makes them the host's.
    fn tags(&self) -> &Tags;

    /// Carries out a command. Must not sleep; called for different hardware queues at the same time.
    fn queue(&self, command: Command) -> Queued;

    /// Of the commands of a hardware queue that came last, none was marked as the last one ([`Command::is_last`]), but no other
    /// follows: whatever waits for it does so no longer. Must not sleep.
    fn commit(&self, queue: u32) {
        let _ = queue;
    }

    /// Resets the adapter and all that is behind it (`eh_host_reset_handler`): when this returns `Ok`, the device
    /// works on no command any more that it had before. Sleeps.
    ///
    /// `command` is what the reset is about. Whatever this returns, the mid-layer does with it what it likes afterwards,
    /// so it must not be in flight any more: the error handler's own commands come this way.
    ///
    /// # Errors
    ///
    /// Any.
    fn reset(&self, command: InFlight<'_>) -> Result;

    /// Decides on a command that takes longer than the device's time-out. Must not sleep.
    fn timed_out(&self, command: InFlight<'_>) -> TimeoutAction;

    /// Sets up a device that was found (`sdev_configure`). Sleeps.
    fn configure(&self, device: &mut DeviceSetup<'_>);
}

/// Properties of a host adapter, as the fields of the same names in `struct Scsi_Host`.
#[derive(Clone, Copy)]
pub struct HostParams {
    /// Name in the log.
    pub name: &'static CStr,
    /// Name in sysfs.
    pub proc_name: &'static CStr,
    /// Commands in each hardware queue.
    pub can_queue: i32,
    /// Hardware queues.
    pub nr_hw_queues: u32,
    /// Commands for each device, to begin with.
    pub cmd_per_lun: i16,
    /// Elements in the scatter-gather list of a command.
    pub sg_tablesize: u16,
    /// Length of a command's data, in units of 512 bytes.
    pub max_sectors: u32,
    /// Length of a CDB, in bytes.
    pub max_cmd_len: u16,
    /// LUNs of a target.
    pub max_lun: u64,
    /// Targets of a channel.
    pub max_id: u32,
    /// The highest channel number.
    pub max_channel: u32,
    /// Only the first element of a list may start, and only the last may end, where an address and this have bits
    /// in common.
    pub virt_boundary_mask: usize,
    /// Flags for all devices, `BLIST_*`.
    pub device_flags: u64,
}

/// What lies behind a `struct Scsi_Host`, in memory that is freed with it.
///
/// # Invariants
///
/// `hot` is valid until `scsi_remove_host` has returned.
struct HostData<T> {
    template: scsi_host_template,
    device_flags: u64,
    hot: *const T,
    /// The reference that `hot` comes from; `None` from the time the adapter is gone.
    owner: SpinLock<Option<Arc<T>>>,
}

/// Returns what lies behind a host.
///
/// # Safety
///
/// `host` must be valid and made by [`Host::new`] with this `T`.
#[inline]
unsafe fn data<'a, T>(host: *mut Scsi_Host) -> &'a HostData<T> {
    // SAFETY: `Host::new` allocated and initialised it.
    unsafe { &*(&raw const (*host).hostdata).cast() }
}

/// A host adapter that is registered with the mid-layer.
///
/// Dropping it removes all its devices first, which sends them commands and waits for those under way; so these must
/// come to an end. When it returns, [`HostOps`] is called no more.
///
/// # Invariants
///
/// `raw` is a host that was made and added by [`Self::new`] with this `T`.
pub struct Host<T: HostOps> {
    raw: NonNull<Scsi_Host>,
    #[cfg(CONFIG_SCSI_FC_ATTRS)]
    port: Option<crate::fc::Port>,
    transport: Option<Arc<crate::Transport>>,
    _ops: PhantomData<Arc<T>>,
}

// SAFETY: A host may be removed from any thread.
unsafe impl<T: HostOps> Send for Host<T> {}

// SAFETY: The functions of a shared host do their own locking.
unsafe impl<T: HostOps> Sync for Host<T> {}

impl<T: HostOps> Host<T> {
    /// Makes a host adapter below `parent`, which is also the device that does the DMA, and registers it. Nothing is
    /// scanned yet.
    ///
    /// `prepare` gets the number of the host before [`HostOps::queue`] can be called.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, `EBUSY` if the tags of `ops` are another host's, and what the mid-layer finds wrong with `params`.
    pub fn new(
        parent: &kernel::device::Device,
        params: &HostParams,
        transport: Option<Arc<crate::Transport>>,
        module: &'static ThisModule,
        ops: Arc<T>,
        prepare: impl FnOnce(u32),
    ) -> Result<Self> {
        let template = Self::template(params, module);
        let size = c_int::try_from(core::mem::size_of::<HostData<T>>())?;
        // SAFETY: The template is valid. The host gets another one of its own before it could be used later.
        let raw = unsafe { rlis_sys::scsi_host_alloc((&raw const template).cast_mut(), size) };
        let raw = NonNull::new(raw).ok_or(ENOMEM)?;
        let host = raw.as_ptr();
        // SAFETY: The host was allocated with that much memory behind it.
        let data: *mut HostData<T> = unsafe { (&raw mut (*host).hostdata).cast() };
        let own_tags = ops.tags().belong_to(raw);
        // SAFETY: The memory is ours, and big enough. It stays where it is, so the lock is pinned.
        // INVARIANT: `owner` keeps `ops` until the host has been removed.
        unsafe {
            (&raw mut (*data).template).write(template);
            (&raw mut (*data).device_flags).write(params.device_flags);
            (&raw mut (*data).hot).write(Arc::as_ptr(&ops));
            let lock = new_spinlock!(Some(ops), "rlis_scsi_host");
            pin_init::raw_init(&raw mut (*data).owner, lock);
            (*host).hostt = &raw mut (*data).template;
        }
        if let Err(error) = own_tags {
            // SAFETY: The host was not added; nobody calls its functions.
            unsafe { Self::release(raw) };
            return Err(error);
        }
        // SAFETY: The host is not registered yet, so nobody else uses it.
        let number = unsafe {
            (*host).nr_hw_queues = params.nr_hw_queues;
            (*host).max_cmd_len = params.max_cmd_len;
            (*host).max_lun = params.max_lun;
            (*host).max_id = params.max_id;
            (*host).max_channel = params.max_channel;
            if let Some(transport) = &transport {
                (*host).transportt = transport.as_raw();
            }
            (*host).host_no
        };
        prepare(number);
        let device = core::ptr::from_ref(parent).cast_mut().cast();
        // SAFETY: The host is set up, and the device valid. DMA parameters belong to the device as long as it is
        // bound to a driver, which the caller's is.
        let added = unsafe {
            rlis_sys::dma_set_min_align_mask(
                device,
                u32::try_from(params.virt_boundary_mask).unwrap_or(0),
            );
            to_result(rlis_sys::scsi_add_host_with_dma(host, device, device))
        };
        if let Err(error) = added {
            // SAFETY: The host was not added; nobody calls its functions.
            unsafe { Self::release(raw) };
            return Err(error);
        }
        // INVARIANT: The host was just added.
        Ok(Self {
            raw,
            #[cfg(CONFIG_SCSI_FC_ATTRS)]
            port: None,
            transport,
            _ops: PhantomData,
        })
    }

    /// Adds a remote port to a host with the Fibre Channel transport; does nothing for others.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn add_remote_port(&mut self) -> Result {
        #[cfg(CONFIG_SCSI_FC_ATTRS)]
        if self.transport.is_some() && self.port.is_none() {
            // SAFETY: By the type invariant the host is registered, with the transport; our destructor drops the port
            // first.
            self.port = Some(unsafe { crate::fc::Port::new(self.as_raw()) }?);
        }
        let _ = &self.transport;
        Ok(())
    }

    /// Gives up a host that is not registered.
    ///
    /// # Safety
    ///
    /// `raw` must be a host with valid `HostData<T>` that is not registered, and the reference be given up.
    unsafe fn release(raw: NonNull<Scsi_Host>) {
        // SAFETY: As required of the caller.
        let owner = unsafe { data::<T>(raw.as_ptr()) }.owner.lock().take();
        drop(owner);
        // SAFETY: As required of the caller.
        unsafe { rlis_sys::scsi_host_put(raw.as_ptr()) };
    }

    fn template(params: &HostParams, module: &'static ThisModule) -> scsi_host_template {
        let mut template = scsi_host_template {
            module: module.as_ptr(),
            name: params.name.as_char_ptr(),
            proc_name: params.proc_name.as_char_ptr(),
            queuecommand: Some(Self::queuecommand),
            commit_rqs: Some(Self::commit_rqs),
            eh_host_reset_handler: Some(Self::eh_host_reset),
            eh_timed_out: Some(Self::eh_timed_out),
            #[cfg(RLIS_HAVE_SDEV_CONFIGURE)]
            sdev_init: Some(Self::sdev_init),
            #[cfg(RLIS_HAVE_SDEV_CONFIGURE)]
            sdev_configure: Some(Self::sdev_configure),
            #[cfg(not(RLIS_HAVE_SDEV_CONFIGURE))]
            slave_alloc: Some(Self::sdev_init),
            #[cfg(all(not(RLIS_HAVE_SDEV_CONFIGURE), RLIS_HAVE_DEVICE_CONFIGURE))]
            device_configure: Some(Self::sdev_configure),
            #[cfg(not(any(RLIS_HAVE_SDEV_CONFIGURE, RLIS_HAVE_DEVICE_CONFIGURE)))]
            slave_configure: Some(Self::slave_configure),
            change_queue_depth: Some(Self::change_queue_depth),
            bios_param: Some(Self::bios_param),
            can_queue: params.can_queue,
            cmd_per_lun: params.cmd_per_lun,
            this_id: -1,
            sg_tablesize: params.sg_tablesize,
            max_sectors: params.max_sectors,
            virt_boundary_mask: params.virt_boundary_mask,
            ..Zeroable::zeroed()
        };
        template.set_no_write_same(1);
        template.set_track_queue_depth(1);
        // There are no cables: once the reset is acknowledged, ten seconds of rest would only prolong it.
        template.set_skip_settle_delay(1);
        template
    }

    /// Returns the number of the host.
    pub fn number(&self) -> u32 {
        // SAFETY: The number does not change.
        unsafe { (*self.raw.as_ptr()).host_no }
    }

    /// Returns a reference to the host, which may outlive this value.
    pub fn reference(&self) -> HostRef {
        // SAFETY: By the type invariant the host is valid.
        unsafe { rlis_sys::get_device(&raw mut (*self.raw.as_ptr()).shost_gendev) };
        // INVARIANT: The reference was just taken.
        HostRef(self.raw)
    }

    pub(crate) fn as_raw(&self) -> *mut Scsi_Host {
        self.raw.as_ptr()
    }

    /// The queuecommand function of the C API.
    ///
    /// # Safety
    ///
    /// Only for the mid-layer to call, with what the C API prescribes.
    unsafe extern "C" fn queuecommand(
        host: *mut Scsi_Host,
        cmd: *mut scsi_cmnd,
    ) -> rlis_sys::scsi_qc_status {
        // SAFETY: Commands only come as long as the host is registered, when `hot` is valid.
        let ops = unsafe { &*data::<T>(host).hot };
        // SAFETY: The mid-layer never passes a null pointer, and the command is ours now.
        let command = unsafe { Command::from_raw(NonNull::new_unchecked(cmd), false) };
        ops.queue(command).into_raw()
    }

    /// The commit_rqs function of the C API.
    ///
    /// # Safety
    ///
    /// Only for the mid-layer to call, with what the C API prescribes.
    unsafe extern "C" fn commit_rqs(host: *mut Scsi_Host, queue: u16) {
        // SAFETY: It follows commands, so the host is registered.
        let ops = unsafe { &*data::<T>(host).hot };
        ops.commit(queue.into());
    }

    /// The eh_host_reset_handler function of the C API.
    ///
    /// # Safety
    ///
    /// Only for the mid-layer to call, with what the C API prescribes.
    unsafe extern "C" fn eh_host_reset(cmd: *mut scsi_cmnd) -> c_int {
        // SAFETY: The command has a device, which has a host. A reset that user space asks for may come when the host
        // is being removed, so `hot` will not do.
        let owner = unsafe { data::<T>((*(*cmd).device).host) }
            .owner
            .lock()
            .clone();
        // SAFETY: The mid-layer passes a command, which it leaves alone until this function returns.
        let command = unsafe { InFlight::new(cmd) };
        let result = match owner {
            Some(ops) => ops.reset(command),
            None => Err(ENODEV),
        };
        let disposition = match result {
            Ok(()) => rlis_sys::scsi_disposition_SUCCESS,
            Err(_) => rlis_sys::scsi_disposition_FAILED,
        };
        // 0x2002 or 0x2003.
        disposition as c_int
    }

    /// The eh_timed_out function of the C API.
    ///
    /// # Safety
    ///
    /// Only for the mid-layer to call, with what the C API prescribes.
    unsafe extern "C" fn eh_timed_out(cmd: *mut scsi_cmnd) -> rlis_sys::scsi_timeout_action {
        // SAFETY: The command has a device, which has a host; as long as there are commands, it is registered.
        let ops = unsafe { &*data::<T>((*(*cmd).device).host).hot };
        // SAFETY: The mid-layer passes a command, which it leaves alone until this function returns.
        let command = unsafe { InFlight::new(cmd) };
        match ops.timed_out(command) {
            TimeoutAction::Wait => rlis_sys::scsi_timeout_action_SCSI_EH_RESET_TIMER,
            TimeoutAction::Completed => rlis_sys::scsi_timeout_action_SCSI_EH_DONE,
        }
    }

    /// The sdev_init function of the C API.
    ///
    /// # Safety
    ///
    /// Only for the mid-layer to call, with what the C API prescribes.
    unsafe extern "C" fn sdev_init(device: *mut scsi_device) -> c_int {
        // SAFETY: The device is new, and has a host.
        unsafe { (*device).sdev_bflags = data::<T>((*device).host).device_flags };
        0
    }

    /// The sdev_configure function of the C API.
    ///
    /// # Safety
    ///
    /// Only for the mid-layer to call, with what the C API prescribes.
    unsafe extern "C" fn sdev_configure(
        device: *mut scsi_device,
        _limits: *mut rlis_sys::queue_limits,
    ) -> c_int {
        // SAFETY: Devices are set up under the host's scan mutex, which removing the host takes first; so it is
        // registered.
        let ops = unsafe { &*data::<T>((*device).host).hot };
        // SAFETY: The mid-layer never passes a null pointer, and this is the call that the type is for.
        let mut setup = unsafe { DeviceSetup::from_raw(NonNull::new_unchecked(device)) };
        ops.configure(&mut setup);
        0
    }

    /// The slave_configure function of the C API, which older kernels have in place of the one above.
    ///
    /// # Safety
    ///
    /// Only for the mid-layer to call, with what the C API prescribes.
    #[cfg(not(any(RLIS_HAVE_SDEV_CONFIGURE, RLIS_HAVE_DEVICE_CONFIGURE)))]
    unsafe extern "C" fn slave_configure(device: *mut scsi_device) -> c_int {
        // SAFETY: As required of the caller. The limits are not looked at.
        unsafe { Self::sdev_configure(device, core::ptr::null_mut()) }
    }

    /// The change_queue_depth function of the C API.
    ///
    /// # Safety
    ///
    /// Only for the mid-layer to call, with what the C API prescribes.
    unsafe extern "C" fn change_queue_depth(device: *mut scsi_device, depth: c_int) -> c_int {
        // SAFETY: The device is valid, and has a host.
        unsafe {
            let most = (*(*device).host).can_queue;
            rlis_sys::scsi_change_queue_depth(device, depth.min(most))
        }
    }

    /// The bios_param function of the C API: a geometry for programs that insist on one.
    ///
    /// # Safety
    ///
    /// Only for the mid-layer to call, with what the C API prescribes.
    unsafe extern "C" fn bios_param(
        _device: *mut scsi_device,
        _disk: *mut crate::BiosDisk,
        capacity: rlis_sys::sector_t,
        info: *mut c_int,
    ) -> c_int {
        let cylinders = (capacity / (HEADS * SECTORS)).min(0xffff);
        for (i, value) in [HEADS, SECTORS, cylinders].into_iter().enumerate() {
            // SAFETY: The caller passes an array of three.
            unsafe { info.add(i).write(c_int::try_from(value).unwrap_or(0xffff)) };
        }
        0
    }
}

impl<T: HostOps> Drop for Host<T> {
    fn drop(&mut self) {
        #[cfg(CONFIG_SCSI_FC_ATTRS)]
        drop(self.port.take());
        // SAFETY: By the type invariant, the host is registered.
        unsafe { rlis_sys::scsi_remove_host(self.as_raw()) };
        // SAFETY: It is no longer, and this is the reference that allocating it gave.
        unsafe { Self::release(self.raw) };
    }
}

/// A reference to a host adapter, which may have been removed.
///
/// # Invariants
///
/// The reference is ours.
pub struct HostRef(NonNull<Scsi_Host>);

// SAFETY: References may be used from any thread.
unsafe impl Send for HostRef {}

// SAFETY: The functions on hosts do their own locking.
unsafe impl Sync for HostRef {}

impl HostRef {
    /// Looks for devices on all channels, and adds those that are new. Sleeps, and may leave the work to a thread.
    pub fn scan(&self) {
        // SAFETY: By the type invariant. A host that is removed is not scanned.
        unsafe { rlis_sys::scsi_scan_host(self.0.as_ptr()) };
    }

    /// Sets the names that a host with the Fibre Channel transport shows; does nothing for others. Any context.
    pub fn set_fc_names(&self, node: u64, port: u64) {
        // SAFETY: By the type invariant. What a transport keeps for a host does not move; Fibre Channel's is the only transport
        // that hosts of this crate can have.
        unsafe {
            let names: *mut rlis_sys::fc_host_attrs = (*self.0.as_ptr()).shost_data.cast();
            if !names.is_null() {
                (*names).node_name = node;
                (*names).port_name = port;
            }
        }
    }

    /// Adds the one device at an address.
    ///
    /// # Errors
    ///
    /// `ENODEV` if there is none.
    pub fn add_device(&self, channel: u32, target: u32, lun: u64) -> Result {
        // SAFETY: By the type invariant.
        to_result(unsafe { rlis_sys::scsi_add_device(self.0.as_ptr(), channel, target, lun) })
    }

    /// Sends TEST UNIT READY to all known devices. What becomes of those that are gone is up to how the driver
    /// completes that. Sleeps.
    pub fn test_devices(&self, timeout_seconds: u32) {
        // SAFETY: By the type invariant.
        unsafe { rlis_sys::scsi_test_devices(self.0.as_ptr(), timeout_seconds) };
    }

    /// Returns the devices that are known, one after the other. One that comes meanwhile may be left out.
    pub fn devices(&self) -> Devices<'_> {
        // INVARIANT: There is no device yet.
        Devices {
            host: self,
            last: core::ptr::null_mut(),
        }
    }

    /// Returns the device at an address, if it is known.
    pub fn device(&self, channel: u32, target: u32, lun: u64) -> Option<DeviceRef> {
        // SAFETY: By the type invariant. The function returns a reference or null.
        unsafe {
            let raw = rlis_sys::scsi_device_lookup(self.0.as_ptr(), channel, target, lun);
            DeviceRef::from_raw(raw)
        }
    }
}

/// The devices of a host; see [`HostRef::devices`].
///
/// # Invariants
///
/// `last` is null, or a device of the host with a reference that is ours.
pub struct Devices<'a> {
    host: &'a HostRef,
    last: *mut scsi_device,
}

impl Iterator for Devices<'_> {
    type Item = DeviceRef;

    fn next(&mut self) -> Option<DeviceRef> {
        loop {
            let host = self.host.0.as_ptr();
            // SAFETY: By the type invariants. The function gives up our reference, and returns null or a device with a new
            // one.
            self.last = unsafe { rlis_sys::__scsi_iterate_devices(host, self.last) };
            if self.last.is_null() {
                return None;
            }
            // SAFETY: There is a reference, so the device is valid. A second one is for who called.
            if unsafe { rlis_sys::scsi_device_get(self.last) } == 0 {
                // SAFETY: The reference was just taken.
                return unsafe { DeviceRef::from_raw(self.last) };
            }
        }
    }
}

impl Drop for Devices<'_> {
    fn drop(&mut self) {
        if !self.last.is_null() {
            // SAFETY: By the type invariant.
            unsafe { rlis_sys::scsi_device_put(self.last) };
        }
    }
}

impl Clone for HostRef {
    fn clone(&self) -> Self {
        // SAFETY: By the type invariant the host is valid.
        unsafe { rlis_sys::get_device(&raw mut (*self.0.as_ptr()).shost_gendev) };
        // INVARIANT: The reference was just taken.
        Self(self.0)
    }
}

impl Drop for HostRef {
    fn drop(&mut self) {
        // SAFETY: By the type invariant.
        unsafe { rlis_sys::scsi_host_put(self.0.as_ptr()) };
    }
}
