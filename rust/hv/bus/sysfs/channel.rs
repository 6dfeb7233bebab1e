// SPDX-License-Identifier: GPL-2.0

//! The files of a channel, `/sys/bus/vmbus/devices/<instance>/channels/<relid>/`, and the kobject that they belong to.

use crate::{
    channel::{
        Channel,
        Files, //
    },
    connection::MonitorPage,
    ops,
    ring, //
};
use core::ptr;
use kernel::{
    error::{
        code::EIO,
        to_result, //
    },
    ffi::{
        c_char,
        c_int, //
    },
    prelude::*, //
};
use rlis_hv::{
    callbacks,
    contains,
    sysfs::{
        addresses,
        attribute,
        group,
        taken,
        Page,
        Text, //
    },
    table::Table, //
};
use rlis_proto::vmbus::life::Event;
use rlis_sys as bindings;

/// A file of a channel, which has one number in it.
#[repr(C)]
struct File {
    attribute: bindings::attribute,
    /// It is about the monitor pages, and only there for channels that use them.
    of_monitor: bool,
    show: Show,
    store: Option<fn(&Channel, Text<'_>) -> Result>,
}

type Show = fn(&Channel) -> Result<u64>;

const fn read_only(name: &'static CStr, show: Show) -> File {
    File {
        attribute: attribute(name, 0o444),
        of_monitor: false,
        show,
        store: None,
    }
}

const fn of_monitor(name: &'static CStr, show: Show) -> File {
    File {
        of_monitor: true,
        ..read_only(name, show)
    }
}

const fn writable(
    name: &'static CStr,
    show: Show,
    store: fn(&Channel, Text<'_>) -> Result,
) -> File {
    File {
        attribute: attribute(name, 0o644),
        of_monitor: false,
        show,
        store: Some(store),
    }
}

#[rustfmt::skip] // One file a line.
static FILES: Table<[File; 15]> = Table::new([
    read_only(c"out_mask", |c| Ok(c.outbound().debug_info()?.interrupt_mask.into())),
    read_only(c"in_mask", |c| Ok(c.inbound().debug_info()?.interrupt_mask.into())),
    read_only(c"read_avail", |c| Ok(c.inbound().debug_info()?.to_read.into())),
    read_only(c"write_avail", |c| Ok(c.outbound().debug_info()?.to_write.into())),
    writable(c"cpu", |c| Ok(c.target_cpu().into()), set_cpu),
    of_monitor(c"pending", |c| Ok(MonitorPage::Client.pending(c.offer().monitorid)?.into())),
    of_monitor(c"latency", |c| Ok(MonitorPage::Client.latency(c.offer().monitorid)?.into())),
    read_only(c"interrupts", |c| Ok(c.interrupts().get())),
    read_only(c"events", |c| Ok(c.sig_events().get())),
    read_only(c"intr_in_full", |c| Ok(c.intr_in_full().get())),
    read_only(c"intr_out_empty", |c| Ok(c.intr_out_empty().get())),
    read_only(c"out_full_first", |c| Ok(c.out_full_first().get())),
    read_only(c"out_full_total", |c| Ok(c.out_full_total().get())),
    of_monitor(c"monitor_id", |c| Ok(c.offer().monitorid.into())),
    read_only(c"subchannel_id", |c| Ok({ c.offer().offer.sub_channel_index }.into())),
]);

/// Memory that the kernel maps for a program; see [`map_ring`].
static RING: Table<[bindings::bin_attribute; 1]> = Table::new([{
    let mut file: bindings::bin_attribute = pin_init::zeroed();
    file.attr = attribute(c"ring", 0o600);
    file.mmap = Some(map_ring);
    file
}]);

/// Moves the channel to a CPU. `EIO` for what is no number, as with the C bus.
fn set_cpu(channel: &Channel, text: Text<'_>) -> Result {
    let cpu = text.0.parse::<u32>().map_err(|_| EIO)?;
    ops()?.set_cpu(channel, cpu)
}

/// The file `ring`: how many bytes of memory it maps, and whether the driver lets programs do so.
fn ring_file(channel: &Channel) -> (usize, bool) {
    let pages = channel.ringbuffer_pagecount().get();
    let visible = channel.ring_sysfs_visible().get();
    (pages as usize * kernel::page::PAGE_SIZE, visible)
}

#[cfg(RLIS_HAVE_CONST_BIN_ATTRIBUTES)]
type Ring = *const bindings::bin_attribute;
#[cfg(not(RLIS_HAVE_CONST_BIN_ATTRIBUTES))]
type Ring = *mut bindings::bin_attribute;

contains! {
    // SAFETY: sysfs, and the kobjects of `rlis_channel_ktype`, have only channels' kobjects. All files of a channel's group are
    // in `FILES`.
    unsafe {
        Channel: bindings::kobject = bindings::rlis_channel, channel.kobj;
        File: bindings::attribute = File, attribute;
    }
}

callbacks! {
    fn show_file(
        channel: *mut bindings::kobject => &Channel,
        file: *mut bindings::attribute => &File,
        page: *mut c_char => Page<'_>,
    ) -> isize {
        let mut page = page;
        let result = (file.show)(channel).and_then(|number| page.number(number));
        page.finish(result)
    }

    fn store_file(
        channel: *mut bindings::kobject => &Channel,
        file: *mut bindings::attribute => &File,
        text: *const c_char => Option<Text<'_>>,
        count: usize,
    ) -> isize {
        let stored = match (file.store, text) {
            (Some(store), Some(text)) => store(channel, text),
            _ => Err(EIO),
        };
        taken(count, stored)
    }

    /// Whether a channel has a file.
    fn is_visible(
        channel: *mut bindings::kobject => &Channel,
        file: *mut bindings::attribute => &File,
        _index: c_int,
    ) -> bindings::umode_t {
        if file.of_monitor && channel.monitor_id().is_none() {
            return 0;
        }
        file.attribute.mode
    }

    /// Whether a channel has the file `ring`.
    fn is_ring_visible(
        channel: *mut bindings::kobject => &Channel,
        _file: Ring,
        _index: c_int,
    ) -> bindings::umode_t {
        let (_bytes, visible) = ring_file(channel);
        #[cfg(not(RLIS_HAVE_BIN_SIZE))]
        tell_size(_bytes);
        if visible {
            0o600
        } else {
            0
        }
    }

    /// How large it is.
    #[cfg(RLIS_HAVE_BIN_SIZE)]
    fn ring_size(
        channel: *mut bindings::kobject => &Channel,
        _file: Ring,
        _index: c_int,
    ) -> usize {
        ring_file(channel).0
    }

    /// Has the driver map the rings. The file is visible only while there is a function for that.
    fn map_ring(
        file: *mut bindings::file,
        channel: *mut bindings::kobject => &Channel,
        _ring: Ring,
        area: *mut bindings::vm_area_struct,
    ) -> c_int {
        // The function maps as much memory as there is behind the first page.
        if !ring::is_in_one_piece(channel) {
            return EOPNOTSUPP.to_errno();
        }
        // SAFETY: The driver's function, called as declared with what the kernel has handed over.
        unsafe { bindings::channel_map_ring(channel.c(), file, area) }
    }

    /// The last reference to a channel is gone. Interrupts look channels up under RCU, so the memory outlives a grace period.
    fn release(channel: *mut bindings::kobject => &Channel) {
        // SAFETY: Nobody else has the channel any more, but for who looks at it under RCU.
        unsafe { bindings::channel_free(channel.c()) };
    }
}

/// Says how large the file `ring` is: in older kernels all channels share the attribute, and this is the one place for that.
#[cfg(not(RLIS_HAVE_BIN_SIZE))]
fn tell_size(bytes: usize) {
    // SAFETY: sysfs reads the field when the callback has returned; whatever it finds is only shown.
    unsafe { (*RING.get().cast::<bindings::bin_attribute>()).size = bytes };
}

static OPERATIONS: Table<bindings::sysfs_ops> = Table::new(bindings::sysfs_ops {
    show: Some(show_file),
    store: Some(store_file),
});

/// The type of a channel's kobject, whose reference count is that of the channel. C code initialises it with the channel.
#[no_mangle]
static rlis_channel_ktype: Table<bindings::kobj_type> = Table::new({
    let mut ktype: bindings::kobj_type = pin_init::zeroed();
    ktype.release = Some(release);
    ktype.sysfs_ops = OPERATIONS.get();
    ktype
});

static ADDRESSES: Table<[*mut bindings::attribute; 16]> = addresses(&FILES);
static RING_ADDRESSES: Table<[*mut bindings::bin_attribute; 2]> =
    Table::new([RING.get().cast(), ptr::null_mut()]);
static GROUP: Table<bindings::attribute_group> = Table::new({
    let mut group = group(ADDRESSES.get().cast(), Some(is_visible));
    group.bin_attrs = RING_ADDRESSES.get().cast();
    group.is_bin_visible = Some(is_ring_visible);
    #[cfg(RLIS_HAVE_BIN_SIZE)]
    {
        group.bin_size = Some(ring_size);
    }
    group
});

/// Makes a channel's files in the folder `kset`. Sleeps.
///
/// # Errors
///
/// Those of sysfs.
///
/// # Safety
///
/// `kset` is valid, and the channel has no files yet, nor gets some elsewhere at the same time.
pub(crate) unsafe fn add(channel: &Channel, kset: *mut bindings::kset) -> Result {
    // SAFETY: The kobject is initialised with the channel and not added yet, as the caller promises.
    unsafe {
        let kobj = &raw mut (*channel.c()).kobj;
        (*kobj).kset = kset;
        let name = c"%u".as_char_ptr();
        to_result(bindings::kobject_add(
            kobj,
            ptr::null_mut(),
            name,
            channel.relid(),
        ))?;
        to_result(bindings::sysfs_create_group(kobj, GROUP.get()))
            .inspect_err(|_| bindings::kobject_del(kobj))?;
        bindings::kobject_uevent(kobj, bindings::kobject_action_KOBJ_ADD);
    }
    Ok(())
}

impl Channel {
    /// Removes the channel's files, if it has any. Sleeps.
    pub fn remove_files(&self) {
        let _files = Files::of(self);
        if self.on(Event::FilesGone).is_some() {
            // SAFETY: The files were added and are removed once.
            unsafe {
                let kobj = &raw mut (*self.c()).kobj;
                bindings::sysfs_remove_group(kobj, GROUP.get());
                bindings::kobject_del(kobj);
            }
        }
    }

    /// Has sysfs look again which files there are.
    fn update_files(&self) -> Result {
        // SAFETY: The channel has its files while a driver has it.
        to_result(unsafe { bindings::sysfs_update_group(&raw mut (*self.c()).kobj, GROUP.get()) })
    }

    /// Shows the file `ring`, which is mapped with the driver's function.
    ///
    /// # Errors
    ///
    /// Those of sysfs.
    pub(crate) fn show_ring(&self, map: bindings::rlis_map_ring_t) -> Result {
        self.map_ring().set(map);
        self.ring_sysfs_visible().set(true);
        self.update_files()
    }

    /// Hides the file `ring`. It is gone before its function.
    ///
    /// # Errors
    ///
    /// Those of sysfs.
    pub(crate) fn hide_ring(&self) -> Result {
        self.ring_sysfs_visible().set(false);
        let updated = self.update_files();
        self.map_ring().set(None);
        updated
    }
}
