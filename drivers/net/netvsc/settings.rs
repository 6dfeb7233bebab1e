// SPDX-License-Identifier: GPL-2.0

//! Module parameters, sizes and time limits.

use kernel::time::Msecs;
use rlis_hv::{
    module_param,
    param::Mode, //
};
use rlis_proto::nvsp::MAX_SEND_BUFFER;
use rlis_vmbus::RingSize;

module_param! {
    /// Size of each ring of a channel, in pages of 4 KiB.
    static RING_SIZE: u32 = 128, "ring_size", Mode::ReadOnly, "Ring buffer size (# of 4K pages)";
}

module_param! {
    /// Of what there are lines in the log: the lowest so many bits of `NETIF_MSG_*`; the usual ones if it is negative.
    static DEBUG: i32 = -1, "debug", Mode::ReadOnly, "Debug level (0=none,...,16=all)";
}

/// Kinds of lines in the log, `NETIF_MSG_*`: news of the host, and what is wrong with frames and messages.
pub(crate) const MSG_DRV: u32 = 0x01;
pub(crate) const MSG_RX_ERR: u32 = 0x40;
pub(crate) const MSG_TX_ERR: u32 = 0x80;

/// The usual ones, those of the C driver: beside these what happens when it starts, to the cable and to the interface.
const MSG_DEFAULT: u32 = MSG_DRV | 0x02 | 0x04 | 0x10 | 0x20 | MSG_RX_ERR | MSG_TX_ERR;

/// Returns of what there are lines in the log to begin with, as `netif_msg_init` does.
pub(crate) fn message_level() -> u32 {
    let levels = u32::try_from(DEBUG.get()).ok();
    let bit = levels.and_then(|levels| 1u32.checked_shl(levels));
    bit.map_or(MSG_DEFAULT, |bit| bit - 1)
}

/// Bytes of free ring that the host is to tell of: more than the longest packet has.
pub(crate) const WANTED_ROOM: u32 = 8192;

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

/// Bytes of a section of the receive buffer and of the send buffer, as hosts cut them for an MTU of 1500: what `ethtool -G`
/// counts in.
pub(crate) const RECEIVE_SECTION: u32 = 1728;
pub(crate) const SEND_SECTION: u32 = 6144;

/// Sections of the receive buffer: to begin with, the fewest, and the most.
pub(crate) const RX_SECTIONS: u32 = (16 << 20) / RECEIVE_SECTION;
pub(crate) const MIN_RX_SECTIONS: u32 = 10;
pub(crate) const MAX_RX_SECTIONS: u32 = (31 << 20) / RECEIVE_SECTION;

/// Sections of the send buffer: to begin with, the fewest, and the most.
pub(crate) const TX_SECTIONS: u32 = (1 << 20) / SEND_SECTION;
pub(crate) const MIN_TX_SECTIONS: u32 = 10;
pub(crate) const MAX_TX_SECTIONS: u32 = MAX_SEND_BUFFER / SEND_SECTION;

/// Channels of a card, if the host has as many and the user has not said how many: the least of this and the CPUs.
pub(crate) const DEFAULT_CHANNELS: u16 = 16;

/// Frames that the host may be sending for one queue at a time.
pub(crate) const FRAMES_IN_FLIGHT: u32 = 1024;

/// As long as no more frames are under way, there is room even in the smallest ring: the longest packet has less than 700
/// bytes.
pub(crate) const FEW_IN_FLIGHT: u32 = 256;

/// A queue is stopped when less of the ring is free than this, in per cent.
pub(crate) const RING_LOW: u32 = 10;

/// A stopped queue is woken when more of the ring is free than this, in per cent.
pub(crate) const RING_ENOUGH: u32 = 20;

/// How long to wait for the host's answer to a request, in milliseconds.
pub(crate) const ANSWER_MS: Msecs = 5_000;

/// How long to wait for frames under way when the interface goes down, in milliseconds.
pub(crate) const DRAIN_MS: i64 = 3_000;

/// How long the host may take to offer channels that it has granted, in milliseconds.
pub(crate) const OFFER_MS: u32 = 10_000;

/// How long a change of the settings waits for these channels with the RTNL held, in milliseconds. Then they are used as they come.
pub(crate) const CHANNELS_MS: Msecs = 1_000;

/// How long the cable seems pulled out when the host says that the network is another one, in milliseconds.
pub(crate) const NETWORK_CHANGE_MS: Msecs = 2_000;

/// How long to leave the interface of a virtual function alone, in which it gets its name, in milliseconds.
pub(crate) const TAKE_OVER_MS: Msecs = 100;

/// How long the host may take to switch the data path while the virtual function goes down, in milliseconds: all
/// configuration of the network waits.
pub(crate) const SWITCH_BACK_MS: Msecs = 500;

/// How long to wait before the host is asked again for a card that it has refused, in milliseconds.
pub(crate) const REPAIR_MS: u32 = 5_000;

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
