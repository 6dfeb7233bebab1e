// SPDX-License-Identifier: GPL-2.0

//! The right to open a device's channel later than in probe.

use crate::{
    channel::{
        ChannelHandler,
        OpenChannel,
        OpenParams, //
    },
    device::{
        Bound,
        Device, //
    },
    once::{
        free_if_empty,
        Once, //
    }, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        aref::ARef,
        global_lock,
        Arc,
        Mutex, //
    }, //
};

/// Whether a device is still bound to the driver that took the lease.
#[pin_data]
struct State {
    #[pin]
    valid: Mutex<bool>,
}

/// A lease that somebody has.
struct Entry {
    device: usize,
    state: Arc<State>,
}

global_lock! {
    // SAFETY: `init` runs before any device can be bound, and does this once.
    unsafe(uninit) static LEASES: Mutex<KVec<Entry>> = KVec::new();
}

static INIT: Once = Once::new();

/// Makes leases possible. May be called more than once.
pub(crate) fn init() {
    INIT.call(|| {
        // SAFETY: `Once` calls this only once.
        unsafe { LEASES.init() };
    });
}

/// The right to open the channel of a device, until the device is no longer bound to this driver.
///
/// For drivers that close the channel and open it again while the device is in use, outside of the functions that get a
/// [`Device<Bound>`](Device).
pub struct Lease {
    device: ARef<Device>,
    state: Arc<State>,
}

impl Lease {
    /// Takes a lease.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(dev: &Device<Bound>) -> Result<Self> {
        init();
        let state = Arc::pin_init(
            pin_init!(State {
                valid <- new_mutex!(true),
            }),
            GFP_KERNEL,
        )?;
        let entry = Entry {
            device: dev.as_raw().addr(),
            state: state.clone(),
        };
        LEASES.lock().push(entry, GFP_KERNEL)?;
        Ok(Self {
            device: dev.into(),
            state,
        })
    }

    /// Returns the device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Opens the channel, as [`OpenChannel::open`].
    ///
    /// # Errors
    ///
    /// As there, and `ENODEV` if the device is no longer bound to this driver.
    pub fn open<H: ChannelHandler>(
        &self,
        params: &OpenParams<'_>,
        handler: Arc<H>,
    ) -> Result<OpenChannel<H>> {
        let valid = self.state.valid.lock();
        if !*valid {
            return Err(ENODEV);
        }
        // SAFETY: The device is registered as long as it is bound, which it is as long as the lock is held: whoever unbinds
        // it calls `revoke` first.
        let device = unsafe { Device::<Bound>::from_raw(self.device.as_raw()) };
        OpenChannel::open(device, params, handler)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut leases = LEASES.lock();
        leases.retain(|entry| !Arc::ptr_eq(&entry.state, &self.state));
        free_if_empty(&mut leases);
    }
}

/// Ends all leases of a device, and waits for who is just using one. The driver has given the device up.
pub(crate) fn revoke(device: *mut rlis_sys::hv_device) {
    loop {
        let found = {
            let mut leases = LEASES.lock();
            let at = leases
                .iter()
                .position(|entry| entry.device == device.addr());
            let found = at.and_then(|at| leases.remove(at).ok());
            free_if_empty(&mut leases);
            found
        };
        match found {
            Some(entry) => *entry.state.valid.lock() = false,
            None => break,
        }
    }
}
