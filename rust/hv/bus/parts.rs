// SPDX-License-Identifier: GPL-2.0

//! The parts of a channel that are objects of their own: its rings, their GPADL and their memory, its requestor.

use crate::{
    channel::Fields,
    gpadl::State,
    requestor::Requestor,
    ring::{
        PageList,
        RingInfo, //
    }, //
};
use rlis_hv::{
    c_fields,
    outbound::Outbound,
    view::BoxSlot, //
};

c_fields! {
    // SAFETY: As for the other fields of a channel.
    unsafe impl Fields via whole {
        /// The ring from the guest to the host.
        pub(crate) fn outbound -> RingInfo = channel.outbound;
        /// What writing to it takes.
        pub(crate) fn writing -> Outbound = channel;
        /// The ring from the host to the guest.
        pub(crate) fn inbound -> RingInfo = channel.inbound;
        /// The GPADL of both rings.
        pub(crate) fn ring_gpadl -> State = channel.ringbuffer_gpadlhandle;
        /// The memory of both rings.
        pub(crate) fn ring_memory -> BoxSlot<PageList> = ring_memory;
        /// The same of a closed channel, for when its driver opens it again.
        pub(crate) fn ring_kept -> BoxSlot<PageList> = ring_kept;
        /// What stands for requests on the way to the host.
        pub(crate) fn requestor -> Requestor = channel.requestor;
    }
}
