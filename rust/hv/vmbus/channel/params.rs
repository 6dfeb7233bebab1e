// SPDX-License-Identifier: GPL-2.0

//! How a channel is opened.

use rlis_proto::ring::{
    MaxPacket,
    RingSize, //
};

/// How the handler is called when the host signals.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CallbackMode {
    /// In a tasklet, with further signals masked until the ring is empty. For disks.
    Batched,
    /// In a tasklet, with signals left on. For channels with a packet now and then.
    Direct,
    /// In the interrupt itself, which must only arrange for reading later. For network interfaces.
    Isr,
}

/// What becomes of the request ids that go to the host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RequestIds {
    /// They go out as the sender gives them, so they should name something that can be looked up and checked,
    /// such as a tag, never an address.
    AsGiven,
    /// The bus hands out ids of its own for up to so many requests at a time that want a completion, and
    /// [`Channel::take_request_id`](super::Channel::take_request_id) finds the sender's again.
    Requestor(u32),
}

/// How a channel is opened.
#[derive(Clone, Copy)]
pub struct OpenParams<'a> {
    /// Size of the ring to the host.
    pub send_ring: RingSize,
    /// Size of the ring from the host.
    pub recv_ring: RingSize,
    /// How the handler is called.
    pub mode: CallbackMode,
    /// The longest packet from the host; longer ones are cut off.
    pub max_packet: MaxPacket,
    /// What becomes of request ids.
    pub request_ids: RequestIds,
    /// Data for the host's side of the device, at most 120 bytes.
    pub user_data: &'a [u8],
}
