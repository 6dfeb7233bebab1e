// SPDX-License-Identifier: GPL-2.0

//! What is done for one channel of a device at a time.

use super::Channel;
use rlis_sys as bindings;

/// The right to hand a sub-channel of this primary channel to the driver.
pub struct Additions<'a>(&'a Channel);

impl<'a> Additions<'a> {
    /// Sleeps until the one before has been added, or handed to the driver in vain. From an addition of the same device it
    /// would wait for itself.
    pub fn of(primary: &'a Channel) -> Self {
        // SAFETY: Initialised with the channel; drop unlocks it.
        unsafe { bindings::channel_lock_additions(primary.raw()) };
        Self(primary)
    }
}

impl Drop for Additions<'_> {
    fn drop(&mut self) {
        // SAFETY: Locked by `of`.
        unsafe { bindings::channel_unlock_additions(self.0.raw()) };
    }
}

/// The right to make or remove files in sysfs of the device's channels.
///
/// The lock of channels is not held meanwhile: whoever removes a file waits for those who are using it, and a writer of
/// `cpu` takes that lock.
pub(crate) struct Files<'a>(&'a Channel);

impl<'a> Files<'a> {
    /// Sleeps.
    pub(crate) fn of(channel: &'a Channel) -> Self {
        let primary = channel.primary().unwrap_or(channel);
        // SAFETY: As above.
        unsafe { bindings::channel_lock_files(primary.raw()) };
        Self(primary)
    }
}

impl Drop for Files<'_> {
    fn drop(&mut self) {
        // SAFETY: As above.
        unsafe { bindings::channel_unlock_files(self.0.raw()) };
    }
}
