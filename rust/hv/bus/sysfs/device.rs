// SPDX-License-Identifier: GPL-2.0

//! The files of a device: `/sys/bus/vmbus/devices/<instance>/`.

use crate::{
    channel,
    connection::MonitorPage,
    driver::Device, //
};
use core::fmt::Write;
use kernel::{
    ffi::{
        c_char,
        c_int, //
    },
    prelude::*, //
};
#[cfg(RLIS_HAVE_MATCH_DRIVER_OVERRIDE)]
use rlis_hv::sysfs::{
    groups,
    Groups, //
};
use rlis_hv::{
    callbacks,
    contains,
    sysfs::{
        addresses,
        attribute,
        group,
        Page, //
    },
    table::Table, //
};
use rlis_sys as bindings;

/// A file of a device that can be read.
#[repr(C)]
struct File {
    attribute: bindings::device_attribute,
    /// It is about the monitor pages, and only there for channels that use them.
    of_monitor: bool,
    show: fn(&Device, &mut Page<'_>) -> Result,
}

type Show = fn(&Device, &mut Page<'_>) -> Result;

const fn read_only(name: &'static CStr, show: Show) -> File {
    let mut file: bindings::device_attribute = pin_init::zeroed();
    file.attr = attribute(name, 0o444);
    #[cfg(RLIS_HAVE_CONST_DEVICE_ATTRIBUTES)]
    {
        file.__bindgen_anon_1.show = Some(show_file);
    }
    #[cfg(not(RLIS_HAVE_CONST_DEVICE_ATTRIBUTES))]
    {
        file.show = Some(show_file);
    }
    File {
        attribute: file,
        of_monitor: false,
        show,
    }
}

const fn of_monitor(name: &'static CStr, show: Show) -> File {
    File {
        of_monitor: true,
        ..read_only(name, show)
    }
}

const COUNT: usize = if cfg!(CONFIG_NUMA) { 26 } else { 25 };

#[rustfmt::skip] // One file a line.
static FILES: Table<[File; COUNT]> = Table::new([
    // `%d` in C: -1 while the guest is suspended.
    read_only(c"id", |d, p| p.line(format_args!("{}", d.channel().relid() as i32))),
    read_only(c"state", |d, p| p.number(d.channel().state_number())),
    of_monitor(c"monitor_id", |d, p| p.number(monitor(d))),
    read_only(c"class_id", |d, p| p.line(format_args!("{{{}}}", { d.channel().offer().offer.if_type }))),
    read_only(c"device_id", |d, p| p.line(format_args!("{{{}}}", { d.channel().offer().offer.if_instance }))),
    read_only(c"modalias", modalias),
    #[cfg(CONFIG_NUMA)]
    read_only(c"numa_node", |d, p| p.line(format_args!("{}", crate::cpu::node(d.channel().target_cpu())))),
    of_monitor(c"server_monitor_pending", |d, p| p.number(MonitorPage::Server.pending(monitor(d))?)),
    of_monitor(c"client_monitor_pending", |d, p| p.number(MonitorPage::Client.pending(monitor(d))?)),
    of_monitor(c"server_monitor_latency", |d, p| p.number(MonitorPage::Server.latency(monitor(d))?)),
    of_monitor(c"client_monitor_latency", |d, p| p.number(MonitorPage::Client.latency(monitor(d))?)),
    of_monitor(c"server_monitor_conn_id", |d, p| p.number(MonitorPage::Server.connection_id(monitor(d))?)),
    of_monitor(c"client_monitor_conn_id", |d, p| p.number(MonitorPage::Client.connection_id(monitor(d))?)),
    read_only(c"out_intr_mask", |d, p| p.number(d.channel().outbound().debug_info()?.interrupt_mask)),
    read_only(c"out_read_index", |d, p| p.number(d.channel().outbound().debug_info()?.read_index)),
    read_only(c"out_write_index", |d, p| p.number(d.channel().outbound().debug_info()?.write_index)),
    read_only(c"out_read_bytes_avail", |d, p| p.number(d.channel().outbound().debug_info()?.to_read)),
    read_only(c"out_write_bytes_avail", |d, p| p.number(d.channel().outbound().debug_info()?.to_write)),
    read_only(c"in_intr_mask", |d, p| p.number(d.channel().inbound().debug_info()?.interrupt_mask)),
    read_only(c"in_read_index", |d, p| p.number(d.channel().inbound().debug_info()?.read_index)),
    read_only(c"in_write_index", |d, p| p.number(d.channel().inbound().debug_info()?.write_index)),
    read_only(c"in_read_bytes_avail", |d, p| p.number(d.channel().inbound().debug_info()?.to_read)),
    read_only(c"in_write_bytes_avail", |d, p| p.number(d.channel().inbound().debug_info()?.to_write)),
    read_only(c"channel_vp_mapping", channel_vp_mapping),
    read_only(c"vendor", |d, p| p.line(format_args!("{:#x}", d.ids().0))),
    read_only(c"device", |d, p| p.line(format_args!("{:#x}", d.ids().1))),
]);

fn monitor(device: &Device) -> u8 {
    device.channel().offer().monitorid
}

fn modalias(device: &Device, page: &mut Page<'_>) -> Result {
    let _ = page.write_str("vmbus:");
    for byte in device.class().b {
        let _ = page.write_fmt(format_args!("{byte:02x}"));
    }
    page.line(format_args!(""))
}

fn channel_vp_mapping(device: &Device, page: &mut Page<'_>) -> Result {
    let primary = device.channel();
    let list = channel::lock();
    for c in Iterator::chain(core::iter::once(primary), list.sub_channels(primary)) {
        page.line(format_args!("{}:{}", c.relid(), c.target_cpu()))?;
    }
    Ok(())
}

contains! {
    // SAFETY: sysfs shows the files of `FILES` with `show_file`, and asks `is_visible` about them; their attribute begins with the
    // plain one.
    unsafe {
        File: bindings::device_attribute = File, attribute;
        File: bindings::attribute = File, attribute.attr;
    }
}

callbacks! {
    /// What a file says.
    fn show_file(
        device: *mut bindings::device => &Device,
        file: *mut bindings::device_attribute => &File,
        page: *mut c_char => Page<'_>,
    ) -> isize {
        let mut page = page;
        let result = (file.show)(device, &mut page);
        page.finish(result)
    }

    /// Whether a device has a file.
    fn is_visible(
        device: *mut bindings::kobject => &Device,
        file: *mut bindings::attribute => &File,
        _index: c_int,
    ) -> bindings::umode_t {
        if file.of_monitor && device.channel().monitor_id().is_none() {
            return 0;
        }
        file.attribute.attr.mode
    }
}

static ADDRESSES: Table<[*mut bindings::attribute; COUNT + 1]> = addresses(&FILES);
static GROUP: Table<bindings::attribute_group> =
    Table::new(group(ADDRESSES.get().cast(), Some(is_visible)));

/// For the bus type: what files every device has.
#[cfg(RLIS_HAVE_MATCH_DRIVER_OVERRIDE)]
pub(crate) static GROUPS: Groups = groups(&GROUP);

#[cfg(not(RLIS_HAVE_MATCH_DRIVER_OVERRIDE))]
pub(crate) use self::with_override::GROUPS;

/// The file that newer kernels make: which driver alone may have the device.
#[cfg(not(RLIS_HAVE_MATCH_DRIVER_OVERRIDE))]
mod with_override {
    use super::*;
    use core::ptr;

    static FILE: Table<[bindings::device_attribute; 1]> = Table::new([{
        let mut file: bindings::device_attribute = pin_init::zeroed();
        file.attr = attribute(c"driver_override", 0o644);
        file.show = Some(bindings::driver_override_show);
        file.store = Some(bindings::driver_override_store);
        file
    }]);
    static ADDRESS: Table<[*mut bindings::attribute; 2]> = addresses(&FILE);
    static OVERRIDE: Table<bindings::attribute_group> =
        Table::new(group(ADDRESS.get().cast(), None));

    /// For the bus type: what files every device has.
    pub(crate) static GROUPS: Table<[*const bindings::attribute_group; 3]> = Table::new([
        OVERRIDE.get().cast_const(),
        GROUP.get().cast_const(),
        ptr::null(),
    ]);
}
