// SPDX-License-Identifier: GPL-2.0

//! The host's side of VMBus: the connection and its messages, GPADLs, channels and their rings.

pub mod channel;
pub mod direct;
pub mod gpadl;
#[cfg(test)]
pub mod guest;
pub mod ring;
pub mod server;
pub mod tl_connect;

use std::sync::Arc;

use anyhow::Result;
use rlis_proto::vmbus::version::Version;
use rlis_proto::Guid;

use channel::Channel;
use gpadl::Loan;
use ring::Packet;

/// A device behind one or more channels.
pub trait Device: Send + Sync {
    /// The guest opened `channel`. Called before the first packet.
    fn opened(&self, channel: &Arc<Channel>);

    /// The guest sent `packet` on `channel`. Called on the channel's own thread, one packet at a time. An error is what
    /// the guest did against the protocol; it is recorded under the device's name.
    fn packet(&self, channel: &Arc<Channel>, packet: Packet) -> Result<()>;

    /// Whether the device takes packets of `channel` now; they stay in the ring if not. Called on the channel's own
    /// thread, again whenever [`Device::has_room`] was.
    fn accepts(&self, _channel: &Arc<Channel>) -> bool {
        true
    }

    /// All that was sent on `channel` is in the ring. Called on the channel's own thread, also if nothing has changed. An
    /// error counts as one of [`Device::packet`].
    fn has_room(&self, _channel: &Arc<Channel>) -> Result<()> {
        Ok(())
    }

    /// Whether the device reads what the guest left in the ring of a channel that it closed.
    fn reads_to_the_end(&self) -> bool {
        false
    }

    /// The guest closed `channel`, or the connection ended. The device must not touch the guest's memory for
    /// this channel any more when this returns, or when [`Device::lingers`] says so.
    fn closed(&self, channel: &Arc<Channel>);

    /// Whether requests that came on the channel `relid` still run, although it was closed. The guest is not told that
    /// the GPADL of its rings has ended before they have.
    fn lingers(&self, _relid: u32) -> bool {
        false
    }
}

/// What a device may want of the bus that its channels belong to.
pub trait Bus: Send + Sync {
    /// Offers `count` sub-channels of the device `name`, as the guest has asked it to. Returns how many were offered.
    fn offer_sub_channels(&self, name: &str, count: u16) -> Result<u16>;

    /// Withdraws the device `name` with all its sub-channels.
    fn rescind(&self, name: &str) -> Result<()>;

    /// Whether the channel `relid` is withdrawn, or the connection has ended.
    fn is_withdrawn(&self, relid: u32) -> bool;

    /// Lends the GPADL `handle` of the channel `relid` to the channel's device.
    fn lend_gpadl(&self, relid: u32, handle: u32) -> Result<Loan>;
}

/// Who answers when the guest wants to connect to a service of the host.
pub trait Connector: Send + Sync {
    /// The guest asks for a connection of `endpoint`, its own end, to `service`. False refuses it at once. Called with
    /// the bus's lock held: what calls the bus, as the offer does, has to be done by another thread.
    fn connect_request(&self, endpoint: Guid, service: Guid) -> bool;
}

/// What the host offers: a device instance with the values that go into its OFFERCHANNEL message.
#[derive(Clone)]
pub struct Offer {
    /// Name in commands, faults and messages, such as `scsi0`.
    pub name: String,
    /// Device class.
    pub class: Guid,
    /// Device instance.
    pub instance: Guid,
    /// `VMBUS_CHANNEL_*` flags.
    pub flags: u16,
    /// Free-form data of the class.
    pub user_data: [u8; rlis_proto::vmbus::MAX_USER_DEFINED_BYTES],
    /// Whether the guest signals its channels by monitors rather than by hypercalls.
    pub monitored: bool,
    /// Who answers.
    pub device: Arc<dyn Device>,
}

impl Offer {
    /// An ordinary device: no flags, no data of its class, no monitor.
    pub fn new(
        name: impl Into<String>,
        class: Guid,
        instance: Guid,
        device: Arc<dyn Device>,
    ) -> Self {
        Self {
            name: name.into(),
            class,
            instance,
            flags: 0,
            user_data: [0; rlis_proto::vmbus::MAX_USER_DEFINED_BYTES],
            monitored: false,
            device,
        }
    }

    /// Whether this is a connection of a socket, which ends with its channel or with the bus, and is not a device.
    pub fn is_socket(&self) -> bool {
        self.flags & rlis_proto::vmbus::VMBUS_CHANNEL_TLNPI_PROVIDER_OFFER != 0
    }
}

/// Reads `major.minor` and accepts the versions that VMBus has.
pub fn parse_version(text: &str) -> Result<Version, String> {
    let known = || {
        Version::SUPPORTED
            .iter()
            .map(|v| format!("{}.{}", v.major(), v.minor()))
            .collect::<Vec<_>>()
            .join(", ")
    };
    text.split_once('.')
        .and_then(|(major, minor)| Some(Version::new(major.parse().ok()?, minor.parse().ok()?)))
        .filter(|v| v.is_supported())
        .ok_or_else(|| format!("'{text}' is no VMBus version; there are {}", known()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        assert_eq!(parse_version("5.3"), Ok(Version::V5_3));
        for bad in ["7.0", "5", "5.x", "3.0", ""] {
            assert!(parse_version(bad).unwrap_err().contains("6.0"), "{bad}");
        }
    }
}
