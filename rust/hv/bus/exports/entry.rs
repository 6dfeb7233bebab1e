// SPDX-License-Identifier: GPL-2.0

//! The part of the API that the bus decides about: what [`crate::exports!`] makes functions of for the module's bus.

use super::{
    to_int,
    Given, //
};
use crate::{
    channel::{
        Callback,
        Channel,
        EventFunction,
        Owned, //
    },
    driver::Device,
    gpadl::{
        Gpadl,
        Kind,
        Memory,
        State, //
    },
    ring,
    BusOps, //
};
use kernel::{
    error::code::EINVAL,
    ffi::{
        c_int,
        c_void, //
    }, //
};

/// What the prototypes in [`crate::exports!`] are made of.
pub mod prototypes {
    pub use super::Function;
    pub use crate::{
        channel::{
            Channel,
            Owned, //
        },
        driver::Device,
        exports::Given,
        gpadl::State, //
    };
    pub use kernel::ffi::{
        c_int,
        c_void, //
    };
}

/// A driver's channel callback.
pub type Function = Option<EventFunction>;

/// Makes the functions of the API that the bus decides about, for a module whose bus is this value: `exports!(Bus);`, once in a
/// module. All others are functions of this crate.
#[macro_export]
macro_rules! exports {
    ($bus:expr) => {
        $crate::exports_of! { $bus =>
            fn vmbus_open(
                channel: Owned<'_>,
                send_size: u32,
                recv_size: u32,
                userdata: Given<u8>,
                userdata_len: u32,
                function: Function,
                context: *mut c_void,
            ) -> c_int;
            fn vmbus_close(channel: Owned<'_>);
            fn vmbus_connect_ring(channel: Owned<'_>, function: Function, context: *mut c_void) -> c_int;
            fn vmbus_disconnect_ring(channel: Owned<'_>) -> c_int;
            fn vmbus_free_ring(channel: Owned<'_>);
            fn vmbus_send_modifychannel(channel: &Channel, target_vp: u32) -> c_int;
            fn vmbus_establish_gpadl(
                channel: &Channel,
                buffer: *mut c_void,
                size: u32,
                gpadl: &State,
            ) -> c_int;
            fn vmbus_establish_gpadl_caller_decrypted(
                channel: &Channel,
                buffer: *mut c_void,
                size: u32,
                gpadl: &State,
            ) -> c_int;
            fn vmbus_teardown_gpadl(channel: &Channel, gpadl: &State) -> c_int;
            fn vmbus_device_unregister(device: &Device);
            fn vmbus_hvsock_device_unregister(channel: &Channel);
            fn vmbus_set_skip_unload(skip: bool);
            fn vmbus_initiate_unload(crash: bool);
        }
    };
}

/// Functions for prototypes, each of which calls the one of its name here.
#[doc(hidden)]
#[macro_export]
macro_rules! exports_of {
    ($bus:expr => $(fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $out:ty)?;)*) => {
        const _: () = {
            use $crate::exports::entry::prototypes::*;
            $(
                #[no_mangle]
                extern "C" fn $name($($arg: $type),*) $(-> $out)? {
                    $crate::exports::entry::$name(&$bus, $($arg),*)
                }
            )*
        };
    };
}

#[allow(clippy::too_many_arguments)] // The bus, and those of the C function.
pub fn vmbus_open(
    bus: &impl BusOps,
    channel: Owned<'_>,
    send_size: u32,
    recv_size: u32,
    userdata: Given<u8>,
    userdata_len: u32,
    function: Function,
    context: *mut c_void,
) -> c_int {
    let in_one_piece = channel.primary().is_some_and(ring::is_in_one_piece);
    let callback = Callback { function, context };
    let opened = ring::alloc(&channel, send_size, recv_size, in_one_piece).and_then(|()| {
        bus.connect(&channel, userdata.slice(userdata_len as usize), callback)
            .inspect_err(|_| ring::keep(&channel))
    });
    to_int(opened)
}

pub fn vmbus_close(bus: &impl BusOps, channel: Owned<'_>) {
    match bus.disconnect(&channel) {
        Ok(()) => ring::keep(&channel),
        // It was not open, and what it has, if anything, is another's.
        Err(e) if e == EINVAL => {}
        // The pages are lost, but nothing else.
        Err(_) => ring::free(&channel),
    }
}

pub fn vmbus_connect_ring(
    bus: &impl BusOps,
    channel: Owned<'_>,
    function: Function,
    context: *mut c_void,
) -> c_int {
    to_int(bus.connect(&channel, &[], Callback { function, context }))
}

pub fn vmbus_disconnect_ring(bus: &impl BusOps, channel: Owned<'_>) -> c_int {
    to_int(bus.disconnect(&channel))
}

pub fn vmbus_free_ring(bus: &impl BusOps, channel: Owned<'_>) {
    bus.free_ring(&channel);
}

pub fn vmbus_send_modifychannel(bus: &impl BusOps, channel: &Channel, target_vp: u32) -> c_int {
    to_int(bus.modify_channel(channel, target_vp))
}

/// A GPADL of a driver, and its memory, which the driver does not free while the host may use it.
fn given<'a>(gpadl: &'a State, buffer: *mut c_void, size: u32) -> Gpadl<'a> {
    // SAFETY: The driver's promise.
    unsafe { Gpadl::new(gpadl, Memory::Buffer(buffer, size)) }
}

pub fn vmbus_establish_gpadl(
    bus: &impl BusOps,
    channel: &Channel,
    buffer: *mut c_void,
    size: u32,
    gpadl: &State,
) -> c_int {
    to_int(bus.establish_gpadl(channel, Kind::Buffer, given(gpadl, buffer, size)))
}

pub fn vmbus_establish_gpadl_caller_decrypted(
    bus: &impl BusOps,
    channel: &Channel,
    buffer: *mut c_void,
    size: u32,
    gpadl: &State,
) -> c_int {
    to_int(bus.establish_gpadl(channel, Kind::DecryptedBuffer, given(gpadl, buffer, size)))
}

pub fn vmbus_teardown_gpadl(bus: &impl BusOps, channel: &Channel, gpadl: &State) -> c_int {
    let (buffer, size) = (gpadl.buffer().get(), gpadl.size().get());
    to_int(bus.teardown_gpadl(channel, given(gpadl, buffer, size)))
}

pub fn vmbus_device_unregister(bus: &impl BusOps, device: &Device) {
    bus.unregister_device(device.channel());
}

pub fn vmbus_hvsock_device_unregister(bus: &impl BusOps, channel: &Channel) {
    bus.unregister_socket(channel);
}

pub fn vmbus_set_skip_unload(bus: &impl BusOps, skip: bool) {
    bus.set_skip_unload(skip);
}

pub fn vmbus_initiate_unload(bus: &impl BusOps, crash: bool) {
    bus.unload(crash);
}
