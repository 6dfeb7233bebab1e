// SPDX-License-Identifier: GPL-2.0

//! Contents of the files in sysfs. Names and formats are those of the C driver
//! (Documentation/ABI/stable/sysfs-bus-vmbus); the tables are in rust/sys/helpers_bus_sysfs.c.

use crate::{
    channel::{
        self,
        Channel, //
    },
    connection::MonitorPage,
    driver::Device,
    ops, //
};
use core::{
    fmt::{
        self,
        Write, //
    },
    slice,
    sync::atomic::Ordering, //
};
use kernel::{
    error::code,
    ffi::c_char,
    page::PAGE_SIZE,
    prelude::*, //
};
use rlis_proto::vmbus::monitor::{
    monitor_connection_offset,
    monitor_latency_offset,
    monitor_trigger, //
};
use rlis_sys as bindings;

/// The page that a file's content is written to. What does not fit is cut off.
///
/// One byte less than a page: sysfs takes a whole one for an overrun.
struct Page<'a> {
    buf: &'a mut [u8],
    len: usize,
}

impl Page<'_> {
    /// Of the page that sysfs hands over.
    fn new(page: &mut [u8; PAGE_SIZE]) -> Page<'_> {
        let (buf, _) = page.split_at_mut(PAGE_SIZE - 1);
        Page { buf, len: 0 }
    }
}

impl Write for Page<'_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let room = self.buf.get_mut(self.len..).unwrap_or_default();
        let n = room.len().min(s.len());
        let (to, from) = (room.get_mut(..n), s.as_bytes().get(..n));
        if let (Some(to), Some(from)) = (to, from) {
            to.copy_from_slice(from);
            self.len += n;
        }
        Ok(())
    }
}

fn finish(page: &Page<'_>, result: Result) -> isize {
    match result {
        Ok(()) => page.len as isize,
        Err(e) => e.to_errno() as isize,
    }
}

fn line(page: &mut Page<'_>, args: fmt::Arguments<'_>) -> Result {
    // Writing to the page cannot fail.
    let _ = page.write_fmt(args);
    let _ = page.write_str("\n");
    Ok(())
}

impl MonitorPage {
    /// The word at `offset` of the page.
    fn get(self, offset: Option<usize>) -> Result<u32> {
        let word = offset.and_then(|offset| self.word(offset)).ok_or(EINVAL)?;
        Ok(word.load(Ordering::Relaxed))
    }

    fn pending(self, id: u8) -> Result<u32> {
        self.get(monitor_trigger(id).map(|(offset, _)| offset))
    }

    fn latency(self, id: u8) -> Result<u32> {
        let offset = monitor_latency_offset(id);
        let shift = if offset.is_some_and(|o| o % 4 != 0) {
            16
        } else {
            0
        };
        Ok((self.get(offset)? >> shift) & 0xffff)
    }

    fn connection_id(self, id: u8) -> Result<u32> {
        // 24 bits; the rest of the field is reserved.
        Ok(self.get(monitor_connection_offset(id))? & 0x00ff_ffff)
    }
}

/// Shows a file of a device.
#[no_mangle]
extern "C" fn rlis_bus_device_show(
    device: &Device,
    attr: bindings::rlis_device_attr,
    buf: &mut [u8; PAGE_SIZE],
) -> isize {
    let mut page = Page::new(buf);
    let result = show_device(device, attr, &mut page);
    finish(&page, result)
}

#[allow(non_upper_case_globals)] // Constants of a C enum, as bindgen names them.
fn show_device(device: &Device, attr: bindings::rlis_device_attr, page: &mut Page<'_>) -> Result {
    use bindings::*;

    let channel = device.channel();
    let offer = channel.offer();
    let monitor = offer.monitorid;
    let out = || channel.outbound().debug_info();
    let inbound = || channel.inbound().debug_info();
    match attr {
        rlis_device_attr_RLIS_DEVICE_id => {
            // `%d` in C: -1 while the guest is suspended.
            line(page, format_args!("{}", channel.relid() as i32))
        }
        rlis_device_attr_RLIS_DEVICE_state => {
            line(page, format_args!("{}", channel.state_number()))
        }
        rlis_device_attr_RLIS_DEVICE_monitor_id => line(page, format_args!("{monitor}")),
        rlis_device_attr_RLIS_DEVICE_class_id => {
            line(page, format_args!("{{{}}}", { offer.offer.if_type }))
        }
        rlis_device_attr_RLIS_DEVICE_device_id => {
            line(page, format_args!("{{{}}}", { offer.offer.if_instance }))
        }
        rlis_device_attr_RLIS_DEVICE_modalias => {
            let _ = page.write_str("vmbus:");
            for byte in device.class().b {
                let _ = page.write_fmt(format_args!("{byte:02x}"));
            }
            line(page, format_args!(""))
        }
        rlis_device_attr_RLIS_DEVICE_numa_node => line(
            page,
            format_args!("{}", crate::cpu::node(channel.target_cpu())),
        ),
        rlis_device_attr_RLIS_DEVICE_server_monitor_pending => line(
            page,
            format_args!("{}", MonitorPage::Server.pending(monitor)?),
        ),
        rlis_device_attr_RLIS_DEVICE_client_monitor_pending => line(
            page,
            format_args!("{}", MonitorPage::Client.pending(monitor)?),
        ),
        rlis_device_attr_RLIS_DEVICE_server_monitor_latency => line(
            page,
            format_args!("{}", MonitorPage::Server.latency(monitor)?),
        ),
        rlis_device_attr_RLIS_DEVICE_client_monitor_latency => line(
            page,
            format_args!("{}", MonitorPage::Client.latency(monitor)?),
        ),
        rlis_device_attr_RLIS_DEVICE_server_monitor_conn_id => line(
            page,
            format_args!("{}", MonitorPage::Server.connection_id(monitor)?),
        ),
        rlis_device_attr_RLIS_DEVICE_client_monitor_conn_id => line(
            page,
            format_args!("{}", MonitorPage::Client.connection_id(monitor)?),
        ),
        rlis_device_attr_RLIS_DEVICE_out_intr_mask => {
            line(page, format_args!("{}", out()?.interrupt_mask))
        }
        rlis_device_attr_RLIS_DEVICE_out_read_index => {
            line(page, format_args!("{}", out()?.read_index))
        }
        rlis_device_attr_RLIS_DEVICE_out_write_index => {
            line(page, format_args!("{}", out()?.write_index))
        }
        rlis_device_attr_RLIS_DEVICE_out_read_bytes_avail => {
            line(page, format_args!("{}", out()?.to_read))
        }
        rlis_device_attr_RLIS_DEVICE_out_write_bytes_avail => {
            line(page, format_args!("{}", out()?.to_write))
        }
        rlis_device_attr_RLIS_DEVICE_in_intr_mask => {
            line(page, format_args!("{}", inbound()?.interrupt_mask))
        }
        rlis_device_attr_RLIS_DEVICE_in_read_index => {
            line(page, format_args!("{}", inbound()?.read_index))
        }
        rlis_device_attr_RLIS_DEVICE_in_write_index => {
            line(page, format_args!("{}", inbound()?.write_index))
        }
        rlis_device_attr_RLIS_DEVICE_in_read_bytes_avail => {
            line(page, format_args!("{}", inbound()?.to_read))
        }
        rlis_device_attr_RLIS_DEVICE_in_write_bytes_avail => {
            line(page, format_args!("{}", inbound()?.to_write))
        }
        rlis_device_attr_RLIS_DEVICE_channel_vp_mapping => {
            let list = channel::lock();
            for c in Iterator::chain(core::iter::once(channel), list.sub_channels(channel)) {
                line(page, format_args!("{}:{}", c.relid(), c.target_cpu()))?;
            }
            Ok(())
        }
        rlis_device_attr_RLIS_DEVICE_vendor => line(page, format_args!("{:#x}", device.ids().0)),
        rlis_device_attr_RLIS_DEVICE_device => line(page, format_args!("{:#x}", device.ids().1)),
        _ => Err(code::EIO),
    }
}

/// Shows a file of a channel.
#[no_mangle]
extern "C" fn rlis_bus_channel_show(
    channel: &Channel,
    attr: bindings::rlis_channel_attr,
    buf: &mut [u8; PAGE_SIZE],
) -> isize {
    let mut page = Page::new(buf);
    let result = show_channel(channel, attr, &mut page);
    finish(&page, result)
}

#[allow(non_upper_case_globals)] // As above.
fn show_channel(
    channel: &Channel,
    attr: bindings::rlis_channel_attr,
    page: &mut Page<'_>,
) -> Result {
    use bindings::*;

    let offer = channel.offer();
    let c = channel.raw();
    let out = || channel.outbound().debug_info();
    let inbound = || channel.inbound().debug_info();
    // SAFETY: A statistic in a valid channel, of which a torn or stale value does no harm.
    let count = |field: *const u64| unsafe { field.read_volatile() };
    // SAFETY: Only addresses are taken.
    let number: u64 = unsafe {
        match attr {
            rlis_channel_attr_RLIS_CHANNEL_out_mask => u64::from(out()?.interrupt_mask),
            rlis_channel_attr_RLIS_CHANNEL_in_mask => u64::from(inbound()?.interrupt_mask),
            rlis_channel_attr_RLIS_CHANNEL_read_avail => u64::from(inbound()?.to_read),
            rlis_channel_attr_RLIS_CHANNEL_write_avail => u64::from(out()?.to_write),
            rlis_channel_attr_RLIS_CHANNEL_cpu => u64::from(channel.target_cpu()),
            rlis_channel_attr_RLIS_CHANNEL_pending => {
                u64::from(MonitorPage::Client.pending(offer.monitorid)?)
            }
            rlis_channel_attr_RLIS_CHANNEL_latency => {
                u64::from(MonitorPage::Client.latency(offer.monitorid)?)
            }
            rlis_channel_attr_RLIS_CHANNEL_interrupts => count(&raw const (*c).interrupts),
            rlis_channel_attr_RLIS_CHANNEL_events => count(&raw const (*c).sig_events),
            rlis_channel_attr_RLIS_CHANNEL_intr_in_full => count(&raw const (*c).intr_in_full),
            rlis_channel_attr_RLIS_CHANNEL_intr_out_empty => count(&raw const (*c).intr_out_empty),
            rlis_channel_attr_RLIS_CHANNEL_out_full_first => count(&raw const (*c).out_full_first),
            rlis_channel_attr_RLIS_CHANNEL_out_full_total => count(&raw const (*c).out_full_total),
            rlis_channel_attr_RLIS_CHANNEL_monitor_id => u64::from(offer.monitorid),
            rlis_channel_attr_RLIS_CHANNEL_subchannel_id => {
                u64::from(offer.offer.sub_channel_index)
            }
            _ => return Err(code::EIO),
        }
    };
    line(page, format_args!("{number}"))
}

/// Stores to a channel's `cpu` file.
#[no_mangle]
extern "C" fn rlis_bus_channel_set_cpu(
    channel: &Channel,
    buf: *const c_char,
    count: usize,
) -> isize {
    // SAFETY: sysfs hands over a buffer of that size.
    let text = unsafe { slice::from_raw_parts(buf.cast::<u8>(), count) };
    let cpu = core::str::from_utf8(text)
        .ok()
        .and_then(|t| t.trim().parse::<u32>().ok());
    // `EIO` for what is no number, as with the C bus.
    match cpu
        .ok_or(code::EIO)
        .and_then(|cpu| ops()?.set_cpu(channel, cpu))
    {
        Ok(()) => isize::try_from(count).unwrap_or(isize::MAX),
        Err(e) => e.to_errno() as isize,
    }
}
