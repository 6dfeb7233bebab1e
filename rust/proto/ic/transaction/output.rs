// SPDX-License-Identifier: GPL-2.0

//! What the machine has the driver do.

use super::super::Status;

/// A message for the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToDaemon {
    /// The answer to its registration with this code.
    Handshake(u32),
    /// The host's request, converted.
    Request,
    /// An operation without the host: only the operation code counts.
    Internal(u32),
}

/// Something for the driver to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Put a message into the daemon's queue in place of an unread one, and wake the daemon.
    Queue(ToDaemon),
    /// Remove an unread message from the daemon's queue.
    Unqueue,
    /// Answer the host's request with a status and no data.
    Reply(Status),
    /// Answer the host's request with what the daemon has just written.
    ReplyFromDaemon,
    /// Start the timer, ending an earlier one: call [`super::Transaction::timeout`] with the id after this many seconds.
    ArmTimer {
        /// Which.
        id: u32,
        /// Seconds.
        seconds: u32,
    },
    /// Stop the timer.
    CancelTimer,
    /// Start the second timer, which runs beside the first, anew: call [`super::Transaction::freeze_expired`] after this many
    /// seconds.
    ArmWatchdog {
        /// Seconds.
        seconds: u32,
    },
    /// Stop the second timer.
    CancelWatchdog,
    /// Look at the ring: packets may wait there.
    Poll,
}

/// Up to eight outputs, in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outputs {
    items: [Option<Output>; 8],
    len: usize,
}

impl Outputs {
    pub(super) fn push(&mut self, output: Output) {
        if let Some(slot) = self.items.get_mut(self.len) {
            *slot = Some(output);
            self.len += 1;
        }
    }
}

impl IntoIterator for Outputs {
    type Item = Output;
    type IntoIter = core::iter::Flatten<core::array::IntoIter<Option<Output>, 8>>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.into_iter().flatten()
    }
}
