// SPDX-License-Identifier: GPL-2.0

//! The bus, its devices and drivers, MMIO, and the connection.

use super::{
    slice,
    to_int, //
};
use crate::{
    channel::Channel,
    connection,
    driver,
    hypercall,
    mmio,
    ops,
    root, //
};
use core::ffi::CStr;
use kernel::{
    ffi::{
        c_char,
        c_int,
        c_void, //
    },
    prelude::*, //
};
use rlis_proto::{
    vmbus::message::{
        ChannelMessageHeader,
        TlConnectRequest, //
    },
    Guid, //
};
use rlis_sys as bindings;
use rlis_sys::{
    guid_t,
    hv_device,
    hv_driver, //
};
use zerocopy::IntoBytes;

#[no_mangle]
extern "C" fn vmbus_is_confidential() -> bool {
    // The module does not load where VMBus is confidential.
    false
}

#[no_mangle]
extern "C" fn vmbus_set_skip_unload(skip: bool) {
    if let Ok(ops) = ops() {
        ops.set_skip_unload(skip);
    }
}

#[no_mangle]
extern "C" fn hv_get_vmbus_root_device() -> *mut bindings::device {
    root::device()
}

#[no_mangle]
extern "C" fn hv_vmbus_exists() -> bool {
    !root::device().is_null()
}

#[no_mangle]
unsafe extern "C" fn __vmbus_driver_register(
    drv: *mut hv_driver,
    owner: *mut bindings::module,
    mod_name: *const c_char,
) -> c_int {
    // SAFETY: The driver's promise.
    to_int(unsafe { driver::register_driver(drv, owner, mod_name) })
}

#[no_mangle]
unsafe extern "C" fn vmbus_driver_unregister(drv: *mut hv_driver) {
    if hv_vmbus_exists() {
        // SAFETY: The driver's promise.
        unsafe { driver::unregister_driver(drv) };
    }
}

#[no_mangle]
extern "C" fn vmbus_device_unregister(dev: *mut hv_device) {
    // SAFETY: The driver's promise: the device is registered, and so has its channel.
    let channel = unsafe { Channel::from_raw((*dev).channel) };
    if let Ok(ops) = ops() {
        ops.unregister_device(channel);
    }
}

#[no_mangle]
extern "C" fn vmbus_hvsock_device_unregister(channel: &Channel) {
    if let Ok(ops) = ops() {
        ops.unregister_socket(channel);
    }
}

#[no_mangle]
extern "C" fn hv_create_ring_sysfs(channel: &Channel, map: bindings::rlis_map_ring_t) -> c_int {
    to_int(channel.show_ring(map))
}

#[no_mangle]
extern "C" fn hv_remove_ring_sysfs(channel: &Channel) -> c_int {
    to_int(channel.hide_ring())
}

#[no_mangle]
extern "C" fn vmbus_allocate_mmio(
    new: &mut *mut bindings::resource,
    dev: *mut hv_device,
    min: bindings::resource_size_t,
    max: bindings::resource_size_t,
    size: bindings::resource_size_t,
    align: bindings::resource_size_t,
    fb_overlap_ok: bool,
) -> c_int {
    // SAFETY: The driver's promise; a registered device has a name that lives as long as it does, which is
    // longer than the driver keeps the piece.
    let name = unsafe { CStr::from_char_ptr(bindings::hv_dev_name(&raw const (*dev).device)) };
    match mmio::allocate(name, min, max, size, align, fb_overlap_ok) {
        Ok(resource) => {
            *new = resource;
            0
        }
        Err(e) => e.to_errno(),
    }
}

#[no_mangle]
extern "C" fn vmbus_free_mmio(start: bindings::resource_size_t, size: bindings::resource_size_t) {
    mmio::free(start, size);
}

#[no_mangle]
extern "C" fn vmbus_initiate_unload(crash: bool) {
    if let Ok(ops) = ops() {
        ops.unload(crash);
    }
}

#[no_mangle]
unsafe extern "C" fn hv_post_message(
    connection_id: bindings::hv_connection_id,
    message_type: bindings::hv_message_type,
    payload: *mut c_void,
    size: usize,
) -> c_int {
    // SAFETY: The caller's promise; any bits are valid for the number in the union.
    let (id, payload) = unsafe {
        (
            *connection_id.asu32.as_ref(),
            slice(payload.cast::<u8>().cast_const(), size),
        )
    };
    match hypercall::post_once(id, message_type, payload) {
        Ok(status) => c_int::from(status.0),
        Err(e) => e.to_errno(),
    }
}

#[no_mangle]
extern "C" fn vmbus_send_tl_connect_request(
    guest_endpoint: &guid_t,
    host_service: &guid_t,
) -> c_int {
    let message = TlConnectRequest {
        header: ChannelMessageHeader::of::<TlConnectRequest>(),
        guest_endpoint_id: Guid::from_bytes(guest_endpoint.b),
        host_service_id: Guid::from_bytes(host_service.b),
    };
    to_int(connection::post_bytes(message.as_bytes()))
}
