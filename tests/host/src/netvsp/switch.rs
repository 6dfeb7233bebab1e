// SPDX-License-Identifier: GPL-2.0

//! A switch to which several cards are connected: what one sends, the others get, as far as they want it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// What can be plugged into a switch.
pub trait Port: Send + Sync {
    /// The name that tells it from others.
    fn name(&self) -> &str;

    /// Frames come from the other end of the cable.
    fn deliver(&self, frames: Vec<Vec<u8>>);
}

/// The switch.
#[derive(Default)]
pub struct Switch {
    ports: Mutex<Vec<Weak<dyn Port>>>,
}

impl Switch {
    /// Plugs a port in.
    pub fn plug(&self, port: &Arc<dyn Port>) {
        self.ports().push(Arc::downgrade(port));
    }

    fn ports(&self) -> MutexGuard<'_, Vec<Weak<dyn Port>>> {
        // Every change is a single push.
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands frames of the port `from` to all others.
    pub fn send(&self, from: &str, frames: &[Vec<u8>]) {
        let ports: Vec<_> = self.ports().iter().filter_map(Weak::upgrade).collect();
        for port in ports.iter().filter(|port| port.name() != from) {
            port.deliver(frames.to_vec());
        }
    }
}
