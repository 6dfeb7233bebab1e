// SPDX-License-Identifier: GPL-2.0

//! The network service: a network card with one channel, and a peer behind it that answers ARP, neighbour
//! solicitations and echo requests. What the guest may not do it records; what it does not offer (checksum and
//! segmentation offload, more channels, virtual functions) it refuses.
//!
//! [`nvsp`] has the messages of the network service protocol, [`rndis`] the messages that travel in its packets.

pub mod nic;
pub mod nvsp;
pub mod peer;
pub mod rndis;
pub mod spec;
