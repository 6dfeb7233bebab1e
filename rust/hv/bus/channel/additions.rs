// SPDX-License-Identifier: GPL-2.0

//! What is done for one channel of a device at a time.

use super::Channel;
use rlis_hv::lock::MutexGuard;

/// The right to hand a sub-channel of this primary channel to the driver.
pub struct Additions<'a>(#[allow(dead_code)] MutexGuard<'a>);

impl<'a> Additions<'a> {
    /// Sleeps until the one before has been added, or handed to the driver in vain. From an addition of the same device it
    /// would wait for itself.
    pub fn of(primary: &'a Channel) -> Self {
        Self(primary.additions().lock())
    }
}

/// The right to make or remove files in sysfs of the device's channels.
///
/// The lock of channels is not held meanwhile: whoever removes a file waits for those who are using it, and a writer of
/// `cpu` takes that lock.
pub(crate) struct Files<'a>(#[allow(dead_code)] MutexGuard<'a>);

impl<'a> Files<'a> {
    /// Sleeps.
    pub(crate) fn of(channel: &'a Channel) -> Self {
        Self(channel.primary().unwrap_or(channel).files().lock())
    }
}
