// SPDX-License-Identifier: GPL-2.0

//! Module parameters, sizes and time limits.

use kernel::time::Msecs;
use rlis_hv::{
    module_param,
    param::Mode, //
};
use rlis_vmbus::RingSize;

module_param! {
    /// Size of each ring of a channel, in pages of 4 KiB.
    static RING_SIZE: u32 = 128, "ring_size", Mode::ReadOnly, "Ring buffer size (# of 4K pages)";
}

/// The smallest ring, in pages.
const RING_SIZE_MIN: u32 = 64;

/// The largest ring, in pages: of two, one GPADL can describe no more.
const RING_SIZE_MAX: u32 = 4095;

/// Returns the size of each ring of a channel.
pub(crate) fn ring_size() -> RingSize {
    RingSize::for_payload(RING_SIZE.get().clamp(RING_SIZE_MIN, RING_SIZE_MAX) * 4096)
}

/// Bytes of the longest packet from the host, without its descriptor: ranges of 562 pieces of a coalesced frame, and what
/// goes with them.
pub(crate) const MAX_PACKET: u32 = 4608;

/// Bytes of the receive buffer.
pub(crate) const RECEIVE_BUFFER: u32 = 16 << 20;

/// Bytes of the receive buffer of hosts that take no more.
pub(crate) const RECEIVE_BUFFER_OLD: u32 = 15 << 20;

/// Bytes of the send buffer.
pub(crate) const SEND_BUFFER: u32 = 1 << 20;

/// Frames that the host may be sending for one queue at a time.
pub(crate) const FRAMES_IN_FLIGHT: u32 = 1024;

/// A queue is stopped when less of the ring is free than this, in per cent.
pub(crate) const RING_LOW: u32 = 10;

/// A stopped queue is woken when more of the ring is free than this, in per cent.
pub(crate) const RING_ENOUGH: u32 = 20;

/// How long to wait for the host's answer to a request, in milliseconds.
pub(crate) const ANSWER_MS: Msecs = 5_000;

/// How long to wait for frames under way when the interface goes down, in milliseconds.
pub(crate) const DRAIN_MS: i64 = 3_000;

/// How long the cable seems pulled out when the host says that the network is another one, in milliseconds.
pub(crate) const NETWORK_CHANGE_MS: Msecs = 2_000;

/// The least MTU, that of IPv4.
pub(crate) const MIN_MTU: u32 = 68;

/// The largest MTU, so that a frame has no more than 64 KiB.
pub(crate) const MAX_MTU: u32 = 65_521;

/// The usual MTU, and the largest with a host that cannot be told of another.
pub(crate) const ETH_MTU: u32 = 1_500;

/// Bytes of an Ethernet header.
pub(crate) const ETH_HEADER: u32 = 14;

/// Bytes of a VLAN tag, which the MTU does not count.
pub(crate) const VLAN_TAG: u32 = 4;
