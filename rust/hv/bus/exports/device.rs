// SPDX-License-Identifier: GPL-2.0

//! The bus, its devices and drivers, MMIO, and the connection.

use super::{
    to_int,
    Given, //
};
use crate::{
    bus_type,
    channel::Channel,
    connection,
    driver::{
        Device,
        Driver, //
    },
    hypercall,
    mmio,
    root, //
};
use kernel::ffi::{
    c_char,
    c_int, //
};
use rlis_proto::{
    vmbus::message::{
        ChannelMessageHeader,
        TlConnectRequest, //
    },
    Guid, //
};
use rlis_sys as bindings;
use rlis_sys::guid_t;
use zerocopy::IntoBytes;

#[no_mangle]
extern "C" fn vmbus_is_confidential() -> bool {
    // The module does not load where VMBus is confidential.
    false
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
extern "C" fn __vmbus_driver_register(
    driver: &Driver,
    owner: *mut bindings::module,
    mod_name: *const c_char,
) -> c_int {
    to_int(bus_type::register_driver(driver, owner, mod_name))
}

#[no_mangle]
extern "C" fn vmbus_driver_unregister(driver: &Driver) {
    if hv_vmbus_exists() {
        bus_type::unregister_driver(driver);
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
    device: &Device,
    min: bindings::resource_size_t,
    max: bindings::resource_size_t,
    size: bindings::resource_size_t,
    align: bindings::resource_size_t,
    fb_overlap_ok: bool,
) -> c_int {
    // A registered device has its name as long as it lives, which is longer than the driver keeps the piece.
    match mmio::allocate(device.name(), min, max, size, align, fb_overlap_ok) {
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
extern "C" fn hv_post_message(
    connection_id: bindings::hv_connection_id,
    message_type: bindings::hv_message_type,
    payload: Given<u8>,
    size: usize,
) -> c_int {
    // The number that the union is.
    match hypercall::post_once(
        connection_id.bindgen_union_field,
        message_type,
        payload.slice(size),
    ) {
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
