// SPDX-License-Identifier: GPL-2.0

//! Dynamic memory: the host takes memory from a guest, gives it back, and adds more (drivers/hv/hv_balloon.c; hw/hyperv
//! of QEMU for what Linux does not show).
//!
//! Each message is the payload of an in-band packet: a [`Header`] that says how long it is, and a body of up to
//! [`MESSAGE_SIZE`] bytes with it. Nothing is completed; an answer is a message of its own. Guest and host agree on a
//! version and on what the guest can do ([`Negotiation`]). From then on the guest tells once a second how it is off
//! ([`Pressure`]), and the host asks for what it wants, one thing at a time ([`incoming()`]).
//!
//! All numbers of pages and all page numbers here count pages of 4 KiB, whatever those of the guest are.

mod caps;
mod cold_discard;
mod hot_add;
mod incoming;
mod message;
mod negotiate;
mod outgoing;
mod policy;
mod range;
mod span_set;

pub use caps::Caps;
pub use cold_discard::{
    hinted_pages, hinted_ranges, AfterFailure, Failures, Hint, HvStatus, Progress,
    CAPABILITY_COLD_DISCARD, HINTED_AT_ONCE, HINT_HEADER, MAX_HINTED, MEMORY_HEAT_HINT,
    QUERY_CAPABILITIES,
};
pub use hot_add::{answer_hot_add, HotAddStep, HotMemory, MemoryEvent, Runs, Shortfall};
pub use incoming::{incoming, refused, CapabilitiesAnswer, HotAddRequest, Incoming, Ranges};
pub use message::{
    write_unballoon, Balloon, BalloonResponse, Capabilities, CapabilitiesResponse, Header, HotAdd,
    HotAddResponse, HotAddWithRegion, InfoHeader, InfoMessage, InfoType, MaxPages, MessageType,
    Status, UnballoonRequest, UnballoonResponse, Version, VersionRequest, VersionResponse,
    MESSAGE_SIZE,
};
pub use negotiate::{Agreed, Negotiation, NegotiationError, NegotiationStep, Request};
pub use outgoing::{outgoing, BalloonAnswer, Outgoing, Push, MAX_RANGES};
pub use policy::{floor, to_balloon, Clipped, Grant, MemoryState, Pace, Pressure};
pub use range::{PageRange, Span, MAX_COUNT, PFN_LIMIT};
pub use span_set::SpanSet;
