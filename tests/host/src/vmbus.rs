// SPDX-License-Identifier: GPL-2.0

//! The host's side of VMBus: the connection and its messages, GPADLs, channels and their rings.

pub mod channel;
pub mod direct;
pub mod gpadl;
#[cfg(test)]
pub mod guest;
pub mod ring;
pub mod server;

use std::sync::Arc;

use rlis_proto::Guid;

use channel::Channel;
use ring::Packet;

/// A device behind one or more channels.
pub trait Device: Send + Sync {
    /// The guest opened `channel`. Called before the first packet.
    fn opened(&self, channel: &Arc<Channel>);

    /// The guest sent `packet` on `channel`. Called on the channel's own thread, one packet at a time.
    fn packet(&self, channel: &Arc<Channel>, packet: Packet);

    /// The guest closed `channel`, or the connection ended. The device must not touch the guest's memory for
    /// this channel any more when this returns.
    fn closed(&self, channel: &Arc<Channel>);
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
