// SPDX-License-Identifier: GPL-2.0

//! Sockets, as far as the bus has to do with them.

use rlis_proto::Guid;

use super::super::tl_connect::TlConnectResult;
use super::*;

impl Server {
    /// Hands requests to connect to `connector`. Without one they are refused. The first call counts.
    pub fn connect_by(&self, connector: Arc<dyn Connector>) {
        // A second host behind the same bus is not possible.
        let _ = self.connector.set(connector);
    }

    /// Offers a socket unless the guest still has one between the same ends, which it could not tell apart. Returns
    /// whether it was offered.
    pub fn offer_once(&self, offer: Offer) -> Result<bool> {
        let mut state = self.state();
        let mut slots = state.slots.values();
        if slots.any(|s| s.offer.class == offer.class && s.offer.instance == offer.instance) {
            return Ok(false);
        }
        let relid = state.add(offer, 0, None)?;
        self.announce(&mut state, relid);
        Ok(true)
    }

    /// Tells the guest that its wish to connect is not fulfilled.
    pub fn refuse(&self, endpoint: Guid, service: Guid) {
        self.send_refusal(&self.state(), endpoint, service);
    }

    /// As Hyper-V does, only to guests of version 5.0 or newer; others wait until they have waited long enough.
    fn send_refusal(&self, state: &State, endpoint: Guid, service: Guid) {
        if state.connection.is_some_and(|c| c.version >= Version::V5_0) {
            self.send(state, &TlConnectResult::refused(endpoint, service));
        }
    }

    pub(super) fn connect_request(&self, state: &State, endpoint: Guid, service: Guid) {
        let connector = self.connector.get();
        if !connector.is_some_and(|c| c.connect_request(endpoint, service)) {
            self.send_refusal(state, endpoint, service);
        }
    }
}
