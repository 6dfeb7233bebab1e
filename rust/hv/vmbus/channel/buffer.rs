// SPDX-License-Identifier: GPL-2.0

//! Memory that the host is given for longer than a request, by a GPADL.

use super::{
    open::OpenChannel,
    ChannelHandler, //
};
use crate::device::Device;
use kernel::{
    error::to_result,
    prelude::*,
    sync::aref::ARef, //
};
use rlis_hv::SharedMemory;
use rlis_sys::vmbus_gpadl;

/// Memory that the host may read and write, from [`OpenChannel::grant`] on.
///
/// Dropping it asks the host to let go, and frees the memory. If the host does not answer, it may still write to the
/// memory, which then stays allocated for good; that is said in the log. Sleeps. A device's driver first closes the
/// channel, so that the host does not use the memory any more, and then drops this.
///
/// # Invariants
///
/// `gpadl` describes `memory` to the host, and belongs to the channel of `device`.
pub struct GrantedMemory {
    memory: core::mem::ManuallyDrop<SharedMemory>,
    gpadl: vmbus_gpadl,
    device: ARef<Device>,
}

// SAFETY: The bus's functions may be called from any thread; all else is `Send`.
unsafe impl Send for GrantedMemory {}

// SAFETY: A shared reference gives access to the memory, which is `Sync`, and to numbers that do not change.
unsafe impl Sync for GrantedMemory {}

impl<H: ChannelHandler> OpenChannel<H> {
    /// Gives memory to the host, which may read and write it from now on. Sleeps until the host has answered.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, `ENODEV` if the host has withdrawn the device, `EINVAL` for memory of 4 GiB and more, and what the bus says
    /// if the host refuses.
    pub fn grant(&self, memory: SharedMemory) -> Result<GrantedMemory> {
        let device = self.channel().device();
        let start = memory.range(0, memory.len()).ok_or(EINVAL)?;
        // SAFETY: Numbers and a pointer, which may all be zero.
        let mut gpadl: vmbus_gpadl = unsafe { core::mem::zeroed() };
        // SAFETY: The channel is open as long as `self`. The memory consists of whole pages, and stays until the GPADL is
        // gone, see our destructor.
        let result = to_result(unsafe {
            rlis_sys::vmbus_establish_gpadl(
                device.raw_channel(),
                start.as_ptr().cast(),
                u32::try_from(memory.len()).map_err(|_| EINVAL)?,
                &mut gpadl,
            )
        });
        if let Err(error) = result {
            // The bus says so where the host may have the memory all the same.
            if gpadl.decrypted {
                lost(device, core::mem::ManuallyDrop::new(memory).len(), error);
            }
            return Err(error);
        }
        // INVARIANT: The host has just taken the GPADL.
        Ok(GrantedMemory {
            memory: core::mem::ManuallyDrop::new(memory),
            gpadl,
            device: device.into(),
        })
    }
}

impl GrantedMemory {
    /// Returns the number by which the host knows the memory.
    pub fn handle(&self) -> u32 {
        self.gpadl.gpadl_handle
    }

    /// Returns the memory.
    #[inline]
    pub fn memory(&self) -> &SharedMemory {
        &self.memory
    }
}

impl Drop for GrantedMemory {
    fn drop(&mut self) {
        // SAFETY: By the type invariant. A channel lives as long as its device.
        let gone = to_result(unsafe {
            rlis_sys::vmbus_teardown_gpadl(self.device.raw_channel(), &mut self.gpadl)
        });
        match gone {
            // SAFETY: The host does not use the memory any more, and it is not used after this.
            Ok(()) => unsafe { core::mem::ManuallyDrop::drop(&mut self.memory) },
            Err(error) => lost(&self.device, self.memory.len(), error),
        }
    }
}

#[cold]
fn lost(device: &Device, len: usize, error: Error) {
    dev_err!(
        AsRef::<kernel::device::Device>::as_ref(device),
        "the host does not give back {len} bytes of memory, which are lost ({error:?})\n"
    );
}
