// SPDX-License-Identifier: GPL-2.0

//! The virtual function that belongs to a card.

/// Frames on their way.
pub type Frames = Vec<Vec<u8>>;

/// A virtual function: a second card with the same address, at the same network.
pub trait Function: Send + Sync {
    /// Its name.
    fn name(&self) -> &str;

    /// Takes frames from the network. Returns how many were lost, for nobody drives the function, or it has no room.
    fn receive(&self, frames: &[Vec<u8>]) -> usize;
}
