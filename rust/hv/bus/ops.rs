// SPDX-License-Identifier: GPL-2.0

//! What the module does when something happens.

use crate::{
    channel::{
        Callback,
        Channel,
        Owned, //
    },
    gpadl::{
        Gpadl,
        Kind, //
    }, //
};
use kernel::{
    prelude::*,
    sync::SetOnce, //
};
use rlis_proto::vmbus::Message;

/// The bus. All of it that decides something; this crate calls it, and is called by it.
///
/// Functions may sleep and are called in process context unless they say otherwise.
pub trait BusOps: Sync {
    /// Takes a message of the host; false if it must stay in its slot for now, in which case it comes again
    /// ([`crate::synic::restart_message_tasklet`]). In a tasklet.
    fn message(&self, message: Message<'_>) -> bool;

    /// Handles what is in the inbox. One call at a time, on the CPU that gets messages.
    fn control(&self);

    /// Adds a channel that [`crate::queues::queue_addition`] was called with. One call at a time for a channel.
    fn add(&self, channel: &Channel);

    /// Removes a channel that [`crate::queues::queue_removal`] was called with, after its addition has ended.
    fn remove_withdrawn(&self, channel: &Channel);

    /// The driver of a device was removed from it, or its probe has failed. It is not called any more.
    fn driver_gone(&self, channel: &Owned<'_>);

    /// The last reference to the device of a channel is gone.
    fn device_released(&self, channel: &Owned<'_>);

    /// A driver unregisters its device after a rescind (`vmbus_device_unregister`).
    fn unregister_device(&self, channel: &Channel);

    /// hv_sock has closed a connection (`vmbus_hvsock_device_unregister`).
    fn unregister_socket(&self, channel: &Channel);

    /// Opens a channel whose rings are allocated.
    ///
    /// # Errors
    ///
    /// Any.
    fn connect(&self, channel: &Owned<'_>, userdata: &[u8], callback: Callback) -> Result;

    /// Closes a primary channel and its sub-channels; the primary's rings stay allocated.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it is none, or not open; after any other the rings' memory is lost.
    fn disconnect(&self, channel: &Owned<'_>) -> Result;

    /// Frees a channel's rings, of a channel that is closed or that its driver has left open.
    fn free_ring(&self, channel: &Owned<'_>);

    /// Makes a GPADL.
    ///
    /// # Errors
    ///
    /// Any.
    fn establish_gpadl(&self, channel: &Channel, kind: Kind, gpadl: Gpadl<'_>) -> Result;

    /// Ends a GPADL.
    ///
    /// # Errors
    ///
    /// Any; the memory is lost then.
    fn teardown_gpadl(&self, channel: &Channel, gpadl: Gpadl<'_>) -> Result;

    /// Asks the host to send a channel's interrupts to a virtual processor.
    ///
    /// # Errors
    ///
    /// Any.
    fn modify_channel(&self, channel: &Channel, target_vp: u32) -> Result;

    /// Moves an open channel to a CPU, as somebody has written to its file `cpu`.
    ///
    /// # Errors
    ///
    /// Any.
    fn set_cpu(&self, channel: &Channel, cpu: u32) -> Result;

    /// A CPU is about to go offline. Runs on it.
    ///
    /// # Errors
    ///
    /// Any keeps it online.
    fn cpu_leaves(&self, cpu: u32) -> Result;

    /// Ends the connection. With `crash` in any context.
    fn unload(&self, crash: bool);

    /// Another driver will end the connection in a crash.
    fn set_skip_unload(&self, skip: bool);

    /// The kernel panics, or a crash kernel is about to be started. Any context.
    fn panic(&self);

    /// Suspends the bus; devices are suspended already.
    ///
    /// # Errors
    ///
    /// Any ends the hibernation.
    fn suspend(&self) -> Result;

    /// Resumes the bus, before its devices.
    ///
    /// # Errors
    ///
    /// Any.
    fn resume(&self) -> Result;
}

static OPS: SetOnce<&'static dyn BusOps> = SetOnce::new();

/// Sets what the module does; before anything else here is used.
pub fn set_ops(ops: &'static dyn BusOps) {
    OPS.populate(ops);
}

/// What the module does.
///
/// # Errors
///
/// `ENODEV` in a module that has not started a bus.
pub(crate) fn ops() -> Result<&'static dyn BusOps> {
    OPS.as_ref().copied().ok_or(ENODEV)
}
