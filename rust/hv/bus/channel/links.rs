// SPDX-License-Identifier: GPL-2.0

//! How channels are linked into lists.

use super::{
    Channel,
    ChannelRef, //
};
use core::mem::offset_of;
use rlis_hv::list::Link;
use rlis_sys as bindings;

/// Primary channels, through `listentry`.
pub struct Primaries;

// SAFETY: The field of a channel, which is initialised with it.
unsafe impl Link for Primaries {
    type Item = Channel;
    type Owner = ChannelRef;
    const OFFSET: usize = offset_of!(bindings::rlis_channel, channel.listentry);
}

/// The sub-channels of a channel, through `sc_list`, which in a primary channel is the head of the list.
pub struct SubChannels;

// SAFETY: As above.
unsafe impl Link for SubChannels {
    type Item = Channel;
    type Owner = ChannelRef;
    const OFFSET: usize = offset_of!(bindings::rlis_channel, channel.sc_list);
}
