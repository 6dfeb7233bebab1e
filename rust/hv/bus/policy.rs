// SPDX-License-Identifier: GPL-2.0

//! What the module decides and this crate carries out.

use kernel::{
    prelude::*,
    sync::SetOnce, //
};
use rlis_proto::vmbus::{
    message::OfferChannel,
    Version, //
};

/// A CPU that could serve a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its number.
    pub cpu: u32,
    /// Performance-critical channels that it serves.
    pub users: u32,
    /// How many the CPUs of its NUMA node serve.
    pub node_users: u32,
    /// How many of them belong to the same device as the channel that is to be placed.
    pub own: u32,
}

/// Decisions about offers and channels.
pub trait Policy: Sync {
    /// Whether an offer may become a channel on a connection of this version; if not, why.
    ///
    /// `isolated` says that the guest does not trust its host.
    ///
    /// # Errors
    ///
    /// The reason, for the log.
    fn accept(
        &self,
        offer: &OfferChannel,
        version: Version,
        isolated: bool,
    ) -> Result<(), &'static str>;

    /// The CPU for a performance-critical channel, or `None` if there is no candidate.
    fn place(&self, candidates: &mut dyn Iterator<Item = Candidate>) -> Option<u32>;
}

static POLICY: SetOnce<&'static dyn Policy> = SetOnce::new();

/// Sets the policy; before [`crate::connection::Connection::establish`].
pub fn set(policy: &'static dyn Policy) {
    POLICY.populate(policy);
}

/// The policy, once it is set.
pub(crate) fn get() -> Option<&'static dyn Policy> {
    POLICY.as_ref().copied()
}
