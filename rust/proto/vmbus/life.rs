// SPDX-License-Identifier: GPL-2.0

//! The life of a channel: all states that it can be in, all events, and what follows from each.
//!
//! ```text
//!  offer ──> listed ──> addition ──┬─> device ──> unregistered ──┬─> off the list ──> freed
//!                                  └─> sub-channel ──────────────┘
//!  rings:               new ──────> closed ──> opening ──> opened ──> closing ──> closed
//! ```
//!
//! The host withdraws the offer when it likes, and so on several CPUs at once: the addition, the removal, a driver that
//! opens and closes, one that unregisters the device by itself, a suspend, the end of the bus. What they must do once, such
//! as giving the relid back, belongs to the one whose event [`Life::on`] accepts. All of the state is in one word, which
//! [`advance`] changes in one exchange; nobody looks at one part of it and then changes another.
//!
//! Sources: `vmbus_process_offer`, `vmbus_onoffer_rescind` and `vmbus_device_unregister` of Linux for what may
//! cross what; the table is our own.

use core::sync::atomic::{
    AtomicU32,
    Ordering, //
};

/// An enum that is one field of the word.
macro_rules! field {
    ($(#[$doc:meta])* $name:ident or $default:ident { $($(#[$variant_doc:meta])* $variant:ident,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// From the bits that the value was packed into; from others, what does least harm.
            #[inline]
            const fn from_bits(bits: u32) -> Self {
                $(if bits == Self::$variant as u32 {
                    return Self::$variant;
                })*
                Self::$default
            }
        }
    };
}

field! {
    /// What kind of channel it is.
    Kind or Primary {
        /// The channel of a device.
        Primary,
        /// One more channel of a device.
        Sub,
        /// A Hyper-V socket, which is a device of its own and does not outlive a suspend.
        Socket,
    }
}

field! {
    /// What has become of the host's offer.
    Offer or Withdrawn {
        /// It stands.
        Standing,
        /// The bus is done with it: it ends, or the last reference to the device has gone.
        Ended,
        /// The host has withdrawn it, and the removal is queued.
        Withdrawn,
    }
}

field! {
    /// Whose the relid is.
    Relid or Returned {
        /// Ours.
        Held,
        /// Nobody's: the guest suspends, and the host makes an offer with a new one afterwards.
        Forgotten,
        /// The host's again.
        Returned,
    }
}

field! {
    /// What has become of the device; that of a sub-channel is its primary channel's business.
    Device or Left {
        /// There is none.
        None,
        /// There is none until another channel of the same device has gone.
        Waiting,
        /// Made, and not registered: its reference count holds the channel.
        Made,
        /// Registered.
        Registered,
        /// Being unregistered.
        Leaving,
        /// Unregistered. Its name is free; references may be left.
        Left,
    }
}

field! {
    /// What a driver has done with the rings.
    Rings or Closing {
        /// The channel was not handed to a driver yet.
        New,
        /// Can be opened.
        Closed,
        /// Being opened; the channel is the opener's.
        Opening,
        /// In use.
        Opened,
        /// Being closed; the channel is the closer's.
        Closing,
    }
}

/// The state of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// What kind of channel it is; does not change.
    pub kind: Kind,
    /// What has become of the offer.
    pub offer: Offer,
    /// Whose the relid is.
    pub relid: Relid,
    /// What has become of the device.
    pub device: Device,
    /// What a driver has done with the rings.
    pub rings: Rings,
    /// It is on a list of channels, which has a reference to it.
    pub listed: bool,
    /// Its addition has ended, one way or the other.
    pub added: bool,
    /// It has files in sysfs, or is about to get them.
    pub files: bool,
    /// A suspend waits for its end.
    pub awaited: bool,
}

/// Something that happens to a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It was put on a list.
    Listed,
    /// Its addition begins. `blocked`: another channel of the same device has not gone yet.
    AdditionBegun {
        /// Another channel of the same device has not gone yet.
        blocked: bool,
    },
    /// That channel has gone.
    Unblocked,
    /// A device was made of it.
    DeviceMade,
    /// The device was registered.
    Registered,
    /// The addition has ended.
    AdditionEnded {
        /// The channel is of no use.
        failed: bool,
    },
    /// Files in sysfs are about to be made.
    FilesBegun,
    /// There are none, as making them failed; or they are about to be removed.
    FilesGone,
    /// A driver opens it.
    OpenBegun,
    /// That was in vain.
    OpenFailed,
    /// The host has opened it.
    Opened,
    /// A driver closes it.
    CloseBegun,
    /// It is closed, whatever became of the rings.
    Closed,
    /// The host has withdrawn the offer.
    Withdrawn,
    /// The bus ends, or the last reference to the device has gone.
    Ended,
    /// The queued removal begins.
    RemovalBegun {
        /// The driver wants to be told, and unregisters the device itself.
        told: bool,
    },
    /// Somebody is about to unregister the device.
    UnregisterBegun,
    /// The device is unregistered.
    Unregistered,
    /// It comes off its list.
    Removed,
    /// No suspend has to wait for it any more.
    Gone,
    /// The guest suspends.
    Suspended,
    /// The host has offered it anew.
    Resumed,
}

/// What the one whose event was accepted has to do, and nobody else does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing more than the event says.
    Done,
    /// Make a device of the channel, or hand it to the driver of its device; then end the addition.
    Add,
    /// End the addition without that: the offer is withdrawn.
    Skip,
    /// Nothing, until [`Event::Unblocked`].
    Wait,
    /// Queue the addition.
    QueueAddition,
    /// Queue the removal.
    QueueRemoval,
    /// Take the channel off its list ([`Event::Removed`]).
    Remove,
    /// Wake who closes the channel, and who then removes it.
    LeaveToCloser,
    /// Tell the driver, which unregisters the device.
    TellDriver,
    /// Unregister the device, if [`Event::UnregisterBegun`] is accepted.
    Unregister,
    /// Give the relid back to the host.
    ReleaseRelid,
}

/// The offer comes first: whether it stands is on the way of every packet.
const OFFER: u32 = 0;
const KIND: u32 = 2;
const RELID: u32 = 4;
const DEVICE: u32 = 6;
const RINGS: u32 = 9;
const LISTED: u32 = 12;
const ADDED: u32 = 13;
const FILES: u32 = 14;
const AWAITED: u32 = 15;

impl Life {
    /// That of a channel which was just offered.
    pub const fn new(kind: Kind) -> Self {
        Self {
            kind,
            offer: Offer::Standing,
            relid: Relid::Held,
            device: Device::None,
            rings: Rings::New,
            listed: false,
            added: false,
            files: false,
            awaited: false,
        }
    }

    /// As a word.
    #[inline]
    pub const fn to_bits(self) -> u32 {
        ((self.kind as u32) << KIND)
            | ((self.offer as u32) << OFFER)
            | ((self.relid as u32) << RELID)
            | ((self.device as u32) << DEVICE)
            | ((self.rings as u32) << RINGS)
            | ((self.listed as u32) << LISTED)
            | ((self.added as u32) << ADDED)
            | ((self.files as u32) << FILES)
            | ((self.awaited as u32) << AWAITED)
    }

    /// From a word of [`Self::to_bits`].
    #[inline]
    pub const fn from_bits(bits: u32) -> Self {
        Self {
            kind: Kind::from_bits((bits >> KIND) & 3),
            offer: Offer::from_bits((bits >> OFFER) & 3),
            relid: Relid::from_bits((bits >> RELID) & 3),
            device: Device::from_bits((bits >> DEVICE) & 7),
            rings: Rings::from_bits((bits >> RINGS) & 7),
            listed: (bits >> LISTED) & 1 != 0,
            added: (bits >> ADDED) & 1 != 0,
            files: (bits >> FILES) & 1 != 0,
            awaited: (bits >> AWAITED) & 1 != 0,
        }
    }

    /// Whether the host has withdrawn the offer, or the bus is done with it. It does not stand again.
    #[inline]
    pub fn is_over(self) -> bool {
        self.offer != Offer::Standing
    }

    /// Whether the device is there for a new offer of the same device to be about.
    pub fn has_place(self) -> bool {
        !self.is_over() && self.device != Device::Left
    }

    /// Whether the next channel of the same device has to wait for this one.
    pub fn blocks(self) -> bool {
        self.device != Device::Left
    }

    /// Whether a driver has the rings, or is about to.
    pub fn is_in_use(self) -> bool {
        matches!(self.rings, Rings::Opening | Rings::Opened | Rings::Closing)
    }

    /// The table: what an event makes of the state, and what the one has to do to whom it happens. `None` if it cannot
    /// happen in this state, or has happened before.
    pub fn on(self, event: Event) -> Option<(Self, Step)> {
        let mut new = self;
        let step = match (event, self.offer, self.device, self.rings) {
            (Event::Listed, ..) if !self.listed => {
                new.listed = true;
                new.awaited = self.kind != Kind::Primary;
                Step::Done
            }

            // The addition. It happens once, but for one that waits for another channel's end.
            (Event::AdditionBegun { blocked }, offer, Device::None | Device::Waiting, _)
                if self.listed && !self.added =>
            {
                new.device = Device::None;
                if blocked && self.kind != Kind::Sub {
                    new.device = Device::Waiting;
                    Step::Wait
                } else if offer == Offer::Standing {
                    new.rings = Rings::Closed;
                    Step::Add
                } else {
                    Step::Skip
                }
            }
            (Event::Unblocked, _, Device::Waiting, _) if self.listed => {
                new.device = Device::None;
                Step::QueueAddition
            }
            (Event::DeviceMade, _, Device::None, _) if self.kind != Kind::Sub => {
                new.device = Device::Made;
                Step::Done
            }
            (Event::Registered, _, Device::Made, _) => {
                new.device = Device::Registered;
                Step::Done
            }
            (Event::AdditionEnded { failed }, ..) if !self.added => {
                new.added = true;
                // A device has references, the last of which removes the channel.
                match self.device {
                    Device::None if failed => Step::Remove,
                    _ => Step::Done,
                }
            }
            (Event::FilesBegun, ..) if self.listed && !self.files => {
                new.files = true;
                Step::Done
            }
            (Event::FilesGone, ..) if self.files => {
                new.files = false;
                Step::Done
            }

            // The rings. Who opens or closes them has the channel until that has ended.
            (Event::OpenBegun, _, _, Rings::Closed) => {
                new.rings = Rings::Opening;
                Step::Done
            }
            (Event::Opened, Offer::Standing, _, Rings::Opening) => {
                new.rings = Rings::Opened;
                Step::Done
            }
            (Event::CloseBegun, _, _, Rings::Opened) => {
                new.rings = Rings::Closing;
                Step::Done
            }
            (Event::OpenFailed, _, _, Rings::Opening) | (Event::Closed, _, _, Rings::Closing) => {
                new.rings = Rings::Closed;
                Step::Done
            }

            // The end.
            (Event::Withdrawn, Offer::Standing | Offer::Ended, ..) => {
                new.offer = Offer::Withdrawn;
                Step::QueueRemoval
            }
            (Event::Ended, Offer::Standing, ..) => {
                new.offer = Offer::Ended;
                Step::Done
            }
            (Event::RemovalBegun { told }, Offer::Withdrawn, device, _) => {
                match (self.kind, device) {
                    // The driver closes it with its primary channel. Who does finds that the offer is withdrawn.
                    (Kind::Sub, _) if self.is_in_use() => Step::LeaveToCloser,
                    (Kind::Sub, _) | (_, Device::None | Device::Waiting) => Step::Remove,
                    _ if told => Step::TellDriver,
                    _ => Step::Unregister,
                }
            }
            (Event::UnregisterBegun, _, Device::Registered, _) => {
                new.device = Device::Leaving;
                Step::Done
            }
            (Event::Unregistered, _, Device::Leaving, _) => {
                new.device = Device::Left;
                // The name and the relid are free at once: a reference may stay for long.
                match self.relid {
                    Relid::Held if self.listed => {
                        new.relid = Relid::Returned;
                        Step::ReleaseRelid
                    }
                    _ => Step::Done,
                }
            }
            (Event::Removed, ..) if self.listed => {
                new.listed = false;
                match self.relid {
                    Relid::Held => {
                        new.relid = Relid::Returned;
                        Step::ReleaseRelid
                    }
                    Relid::Forgotten | Relid::Returned => Step::Done,
                }
            }
            (Event::Gone, ..) if self.awaited => {
                new.awaited = false;
                Step::Done
            }

            // A suspend. Sub-channels are gone by then.
            (Event::Suspended, ..) if self.listed && self.relid == Relid::Held => {
                new.relid = Relid::Forgotten;
                Step::Done
            }
            (Event::Resumed, ..)
                if self.listed && self.has_place() && self.relid == Relid::Forgotten =>
            {
                new.relid = Relid::Held;
                Step::Done
            }

            _ => return None,
        };
        Some((new, step))
    }
}

/// A word that several CPUs change; in the bus an atomic integer, in tests the model checker's.
pub trait Word {
    /// Its value; what was written before it was stored is seen.
    fn load(&self) -> u32;

    /// Replaces `old`, as a full barrier.
    ///
    /// # Errors
    ///
    /// The value, if it is not `old`.
    fn replace(&self, old: u32, new: u32) -> Result<(), u32>;
}

impl Word for AtomicU32 {
    #[inline]
    fn load(&self) -> u32 {
        self.load(Ordering::Acquire)
    }

    #[inline]
    fn replace(&self, old: u32, new: u32) -> Result<(), u32> {
        self.compare_exchange(old, new, Ordering::SeqCst, Ordering::Acquire)
            .map(|_| ())
    }
}

/// Has an event happen to the channel whose state is in `word`. `None` if it does not happen; see [`Life::on`].
///
/// `before` is called with each state that the channel may get, before it gets it.
pub fn advance(
    word: &impl Word,
    event: Event,
    before: impl Fn(Life),
) -> Option<(Life, Life, Step)> {
    let mut bits = word.load();
    loop {
        let old = Life::from_bits(bits);
        let (new, step) = old.on(event)?;
        before(new);
        match word.replace(bits, new.to_bits()) {
            Ok(()) => return Some((old, new, step)),
            Err(now) => bits = now,
        }
    }
}

#[cfg(test)]
mod tests;
