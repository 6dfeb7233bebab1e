// SPDX-License-Identifier: GPL-2.0

//! Shutdown: the host asks the guest to power off, restart or hibernate.

use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;
use rlis_proto::guid::class::HV_SHUTDOWN_GUID;
use rlis_proto::ic::MessageType;

use super::{Component, Kind, Reply, Version};

/// The shutdown component.
pub const KIND: Kind = Kind {
    name: "shutdown",
    class: HV_SHUTDOWN_GUID,
    instance: super::instance("b6650ff7-33bc-4840-8048-e0676786f393"),
    on_the_ring: false,
    type_: MessageType::ICMSGTYPE_SHUTDOWN,
    versions: &[
        Version::new(1, 0),
        Version::new(3, 0),
        Version::new(3, 1),
        Version::new(3, 2),
    ],
};

/// What the guest is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Action {
    /// Power off.
    Poweroff,
    /// Restart.
    Reboot,
    /// Hibernate.
    Hibernate,
}

/// struct shutdown_msg_data: reason, time-out, flags, and 2048 bytes of text.
fn body(flags: u32) -> Vec<u8> {
    let mut body = Vec::new();
    // SHTDN_REASON_FLAG_PLANNED, as Hyper-V sends it.
    body.extend(0x8000_0000u32.to_le_bytes());
    body.extend(300u32.to_le_bytes());
    body.extend(flags.to_le_bytes());
    body.resize(12 + 2048, 0);
    body
}

/// Asks the guest. `force` sets bit 0 of the flags: do not ask the user. Returns the guest's reply, whose
/// status is 0 if it has begun.
pub fn request(component: &Component, action: Action, force: bool) -> Result<Reply> {
    let flags = match action {
        Action::Poweroff => 0,
        Action::Reboot => 2,
        Action::Hibernate => 4,
    };
    request_flags(component, flags | u32::from(force))
}

/// Asks the guest with any flags, also such as mean nothing.
pub fn request_flags(component: &Component, flags: u32) -> Result<Reply> {
    component.request(&body(flags), Duration::from_secs(30))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_has_the_size_of_the_c_struct() {
        assert_eq!(body(1).len(), 2060);
        assert_eq!(body(5)[8], 5);
    }
}
