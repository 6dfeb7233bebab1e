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
use kernel::{
    prelude::*,
    sync::{
        new_mutex,
        Arc,
        Mutex, //
    }, //
};
use rlis_hv::RcuArc;
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

/// What becomes of offers, and those that are kept.
#[pin_data]
struct Kept {
    mode: AtomicU8,
    #[pin]
    offers: Mutex<KVec<OfferChannel>>,
}

/// The place while there is a connection.
static KEPT: RcuArc<Kept> = RcuArc::new();

/// The place for offers. Dropping it drops them.
pub(super) struct Place(());

impl Place {
    /// Makes an empty one; offers are taken.
    pub(super) fn new() -> Result<Self> {
        let kept = Arc::pin_init(
            pin_init!(Kept {
                mode: AtomicU8::new(Offers::Taken as u8),
                offers <- new_mutex!(KVec::new()),
            }),
            GFP_KERNEL,
        )?;
        drop(KEPT.replace(Some(kept)));
        Ok(Self(()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(KEPT.replace(None));
    }
}

/// Sets what becomes of offers.
pub(super) fn set(mode: Offers) {
    if let Some(kept) = KEPT.keep() {
        kept.mode.store(mode as u8, Ordering::SeqCst);
    }
}

/// What becomes of offers.
pub fn mode() -> Offers {
    match KEPT.keep().map(|kept| kept.mode.load(Ordering::SeqCst)) {
        None => Offers::Dropped,
        Some(m) if m == Offers::Kept as u8 => Offers::Kept,
        Some(m) if m == Offers::Dropped as u8 => Offers::Dropped,
        Some(_) => Offers::Taken,
    }
}

/// Keeps an offer. Sleeps.
///
/// # Errors
///
/// The reason why it cannot be kept, for the log.
pub fn keep(offer: &OfferChannel) -> Result<(), &'static str> {
    let kept = KEPT.keep().ok_or("there is no connection")?;
    let mut offers = kept.offers.lock();
    if offers.len() >= MOST {
        return Err("too many offers during a suspend");
    }
    // While devices are suspended, the kernel itself sees to it that nothing is written back for this.
    offers.push(*offer, GFP_KERNEL).map_err(|_| "out of memory")
}

/// Takes the oldest offer that was kept if it is to become a channel now; drops them all if they are void. Sleeps.
pub fn next_kept() -> Option<OfferChannel> {
    let kept = KEPT.keep()?;
    let mut offers = kept.offers.lock();
    match mode() {
        Offers::Taken if offers.is_empty() => None,
        Offers::Taken => offers.remove(0).ok(),
        Offers::Kept => None,
        Offers::Dropped => {
            *offers = KVec::new();
            None
        }
    }
}

/// Forgets an offer that was kept and has been withdrawn; false if there is none with this relid. Sleeps.
pub fn drop_kept(relid: u32) -> bool {
    let Some(kept) = KEPT.keep() else {
        return false;
    };
    let mut offers = kept.offers.lock();
    let at = offers.iter().position(|o| { o.child_relid } == relid);
    at.is_some_and(|at| offers.remove(at).is_ok())
}
