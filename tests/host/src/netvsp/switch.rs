// SPDX-License-Identifier: GPL-2.0

//! A switch to which several cards are connected: what one sends, the others get, as far as they want it.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::nic::Nic;

/// The switch.
#[derive(Default)]
pub struct Switch {
    ports: Mutex<Vec<Weak<Nic>>>,
}

impl Switch {
    /// Plugs a card in.
    pub fn plug(&self, nic: &Arc<Nic>) {
        self.ports().push(Arc::downgrade(nic));
    }

    fn ports(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Nic>>> {
        // Every change is a single push.
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands frames of the card `from` to all others.
    pub fn send(&self, from: &str, frames: &[Vec<u8>]) {
        let ports: Vec<_> = self.ports().iter().filter_map(Weak::upgrade).collect();
        for nic in ports.iter().filter(|nic| nic.name() != from) {
            nic.take_from_network(frames.to_vec());
        }
    }
}
