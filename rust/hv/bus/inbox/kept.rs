// SPDX-License-Identifier: GPL-2.0

//! What becomes of offers while the guest suspends.
//!
//! After a resume the host offers everything anew, so that what comes just before the end of the connection need not be
//! handled, which could take long. But a suspend may be called off, and then the host does not say a second time what it
//! has offered meanwhile.

use core::sync::atomic::{
    AtomicU8,
    Ordering, //
};
use kernel::prelude::*;
use rlis_proto::vmbus::message::OfferChannel;

/// What becomes of an offer.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Offers {
    /// It becomes a channel.
    Taken,
    /// It is kept until it is clear whether the guest suspends.
    Kept,
    /// It is dropped, with those that were kept: the connection has ended.
    Dropped,
}

/// Offers that are kept at most; more are given back to the host.
const MOST: usize = 256;

static MODE: AtomicU8 = AtomicU8::new(Offers::Taken as u8);

kernel::sync::global_lock! {
    // SAFETY: `setup` initialises it before the first message.
    unsafe(uninit) static KEPT: Mutex<KVec<OfferChannel>> = KVec::new();
}

/// Called once, before the first message can arrive.
pub(super) fn setup() {
    // SAFETY: Called once, when the module is loaded.
    unsafe { KEPT.init() };
    set(Offers::Taken);
}

/// Sets what becomes of offers.
pub(super) fn set(mode: Offers) {
    MODE.store(mode as u8, Ordering::SeqCst);
}

/// What becomes of offers.
pub fn mode() -> Offers {
    match MODE.load(Ordering::SeqCst) {
        m if m == Offers::Kept as u8 => Offers::Kept,
        m if m == Offers::Dropped as u8 => Offers::Dropped,
        _ => Offers::Taken,
    }
}

/// Keeps an offer. Sleeps.
///
/// # Errors
///
/// The reason why it cannot be kept, for the log.
pub fn keep(offer: &OfferChannel) -> Result<(), &'static str> {
    let mut kept = KEPT.lock();
    if kept.len() >= MOST {
        return Err("too many offers during a suspend");
    }
    // While devices are suspended, the kernel itself sees to it that nothing is written back for this.
    kept.push(*offer, GFP_KERNEL).map_err(|_| "out of memory")
}

/// Takes the oldest offer that was kept if it is to become a channel now; drops them all if they are void.
pub fn next_kept() -> Option<OfferChannel> {
    match mode() {
        Offers::Taken => {
            let mut kept = KEPT.lock();
            if kept.is_empty() {
                return None;
            }
            kept.remove(0).ok()
        }
        Offers::Kept => None,
        Offers::Dropped => {
            *KEPT.lock() = KVec::new();
            None
        }
    }
}

/// Forgets an offer that was kept and has been withdrawn; false if there is none with this relid.
pub fn drop_kept(relid: u32) -> bool {
    let mut kept = KEPT.lock();
    let at = kept.iter().position(|o| { o.child_relid } == relid);
    at.is_some_and(|at| kept.remove(at).is_ok())
}
