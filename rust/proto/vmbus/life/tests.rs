// SPDX-License-Identifier: GPL-2.0

//! A channel whose host, driver and bus do what they like, in any order.

extern crate std;

use super::*;
use proptest::prelude::*;
use std::cell::Cell;

const KINDS: [Kind; 3] = [Kind::Primary, Kind::Sub, Kind::Socket];

fn all() -> impl Iterator<Item = Life> {
    (0..1 << 16).map(Life::from_bits)
}

#[test]
fn a_word_holds_each_state() {
    for life in all() {
        assert_eq!(Life::from_bits(life.to_bits()), life);
    }
    // One of each kind of field.
    let mut life = Life::new(Kind::Socket);
    life.offer = Offer::Withdrawn;
    life.relid = Relid::Returned;
    life.device = Device::Left;
    life.rings = Rings::Closing;
    (life.listed, life.added, life.files, life.awaited) = (true, false, true, false);
    assert_eq!(Life::from_bits(life.to_bits()), life);
}

#[test]
fn what_is_done_once_is_not_accepted_twice() {
    let once = [
        Event::Listed,
        Event::Unblocked,
        Event::DeviceMade,
        Event::Registered,
        Event::AdditionEnded { failed: true },
        Event::FilesBegun,
        Event::FilesGone,
        Event::OpenBegun,
        Event::OpenFailed,
        Event::Opened,
        Event::CloseBegun,
        Event::Closed,
        Event::Withdrawn,
        Event::Ended,
        Event::UnregisterBegun,
        Event::Unregistered,
        Event::Removed,
        Event::Gone,
        Event::Suspended,
        Event::Resumed,
    ];
    for life in all() {
        for event in once {
            if let Some((new, _)) = life.on(event) {
                assert_eq!(new.on(event), None, "{life:?} {event:?}");
            }
        }
    }
}

#[test]
fn what_is_over_stays_so() {
    let events = [
        Event::AdditionBegun { blocked: false },
        Event::AdditionBegun { blocked: true },
        Event::AdditionEnded { failed: false },
        Event::Opened,
        Event::Withdrawn,
        Event::Ended,
        Event::RemovalBegun { told: false },
        Event::RemovalBegun { told: true },
        Event::Unregistered,
        Event::Removed,
        Event::Suspended,
        Event::Resumed,
    ];
    for life in all() {
        for event in events {
            let Some((new, step)) = life.on(event) else {
                continue;
            };
            assert_eq!(new.kind, life.kind);
            assert!(!life.is_over() || new.is_over());
            assert!(life.device != Device::Left || new.device == Device::Left);
            assert!(!life.is_over() || event != Event::Opened && event != Event::Resumed);
            assert!(life.relid != Relid::Returned || new.relid == Relid::Returned);
            assert_eq!(
                step == Step::ReleaseRelid,
                life.relid == Relid::Held && new.relid == Relid::Returned
            );
        }
    }
}

/// A channel, and what the world around it remembers.
struct Model {
    word: Cell<u32>,
    /// The host counts the relid as the guest's.
    lent: bool,
    /// The host can name the channel.
    mapped: bool,
    addition_queued: bool,
    addition: Option<Addition>,
    removal_queued: bool,
    /// The driver was told that the device goes, and unregisters it.
    told: bool,
    unregistering: bool,
    unregistered: u32,
    /// References to the device besides its registration.
    users: u32,
    released: bool,
    /// Waits for the end of the channel that a suspend has begun.
    counted: bool,
    suspended: bool,
}

/// How far an addition is.
#[derive(Clone, Copy, PartialEq)]
enum Addition {
    Begun(Step),
    Made,
    Registered,
}

impl Word for Cell<u32> {
    fn load(&self) -> u32 {
        self.get()
    }

    fn replace(&self, _: u32, new: u32) -> Result<(), u32> {
        self.set(new);
        Ok(())
    }
}

impl Model {
    fn new(kind: Kind) -> Self {
        let model = Self {
            word: Cell::new(Life::new(kind).to_bits()),
            lent: true,
            mapped: true,
            addition_queued: true,
            addition: None,
            removal_queued: false,
            told: false,
            unregistering: false,
            unregistered: 0,
            users: 0,
            released: false,
            counted: kind != Kind::Primary,
            suspended: false,
        };
        assert_eq!(model.on(Event::Listed), Some(Step::Done));
        model
    }

    fn life(&self) -> Life {
        Life::from_bits(self.word.get())
    }

    fn on(&self, event: Event) -> Option<Step> {
        advance(&self.word, event, |_| ()).map(|(_, _, step)| step)
    }

    fn release_relid(&mut self) {
        assert!(self.lent, "a relid that is not ours is given back");
        (self.lent, self.mapped) = (false, false);
    }

    fn remove(&mut self) {
        match self.on(Event::Removed) {
            Some(Step::ReleaseRelid) => self.release_relid(),
            Some(_) => {}
            None => return,
        }
        if self.on(Event::FilesGone).is_some() {
            assert!(!self.life().files);
        }
        self.gone();
    }

    fn gone(&mut self) {
        if self.on(Event::Gone).is_some() {
            assert!(self.counted, "counted down twice");
            self.counted = false;
        }
    }

    fn begin_unregister(&mut self) {
        if self.on(Event::UnregisterBegun).is_some() {
            self.unregistering = true;
            self.unregistered += 1;
            assert_eq!(self.unregistered, 1);
        }
    }

    /// The driver has let go of the device: it has closed the channel.
    fn end_unregister(&mut self) {
        if !self.unregistering {
            return;
        }
        self.close();
        self.unregistering = false;
        if self.on(Event::Unregistered) == Some(Step::ReleaseRelid) {
            self.release_relid();
        }
    }

    /// The last reference to the device.
    fn release_device(&mut self) {
        let gone = matches!(self.life().device, Device::Left) && !self.unregistering;
        if gone && self.users == 0 && !self.released {
            self.released = true;
            self.on(Event::Ended);
            self.remove();
        }
    }

    fn begin_addition(&mut self, blocked: bool) {
        if !core::mem::take(&mut self.addition_queued) {
            return;
        }
        match self.on(Event::AdditionBegun { blocked }) {
            None | Some(Step::Wait) => {}
            Some(step) => self.addition = Some(Addition::Begun(step)),
        }
    }

    fn go_on_adding(&mut self, fails: bool) {
        let sub = self.life().kind == Kind::Sub;
        self.addition = match self.addition {
            Some(Addition::Begun(Step::Add)) if sub && !fails => {
                if self.on(Event::FilesBegun).is_some() {
                    assert!(self.life().listed);
                }
                self.end_addition(false)
            }
            Some(Addition::Begun(Step::Add)) if !sub && !fails => {
                assert_eq!(self.on(Event::DeviceMade), Some(Step::Done));
                Some(Addition::Made)
            }
            Some(Addition::Begun(_)) => self.end_addition(true),
            Some(Addition::Made) if fails => {
                // The reference is given up, and the device released.
                self.on(Event::Ended);
                self.released = true;
                self.remove();
                self.end_addition(true)
            }
            Some(Addition::Made) => {
                assert_eq!(self.on(Event::Registered), Some(Step::Done));
                Some(Addition::Registered)
            }
            Some(Addition::Registered) => {
                self.on(Event::FilesBegun);
                if fails {
                    self.begin_unregister();
                    self.end_unregister();
                }
                self.end_addition(fails)
            }
            None => None,
        }
    }

    fn end_addition(&mut self, failed: bool) -> Option<Addition> {
        if self.on(Event::AdditionEnded { failed }) == Some(Step::Remove) {
            self.remove();
        }
        None
    }

    fn withdraw(&mut self) {
        if self.on(Event::Withdrawn) == Some(Step::QueueRemoval) {
            self.removal_queued = true;
        }
    }

    /// The removal, which waits for the end of the addition.
    fn remove_withdrawn(&mut self, told: bool) {
        if self.addition.is_some() || self.addition_queued || !self.removal_queued {
            return;
        }
        self.removal_queued = false;
        match self.on(Event::RemovalBegun { told }) {
            Some(Step::Remove) => self.remove(),
            Some(Step::TellDriver) => {
                self.told = true;
                self.gone();
            }
            Some(Step::Unregister) => self.begin_unregister(),
            Some(Step::LeaveToCloser) => assert!(self.life().is_in_use()),
            other => panic!("{other:?}"),
        }
    }

    fn open(&mut self) {
        // Only a driver that has the device, or was handed the sub-channel.
        let handed = self.life().kind == Kind::Sub || self.life().device == Device::Registered;
        if handed && self.on(Event::OpenBegun).is_some() {
            assert!(self.life().is_in_use());
        }
    }

    fn end_open(&mut self, fails: bool) {
        if self.life().rings != Rings::Opening {
            return;
        }
        if fails || self.on(Event::Opened).is_none() {
            assert_eq!(self.on(Event::OpenFailed), Some(Step::Done));
            self.after_close();
        }
    }

    fn close(&mut self) {
        self.end_open(true);
        if self.on(Event::CloseBegun).is_some() {
            assert_eq!(self.on(Event::Closed), Some(Step::Done));
        }
        self.after_close();
    }

    /// Whoever closes a sub-channel looks whether it is withdrawn.
    fn after_close(&mut self) {
        if self.life().kind == Kind::Sub && self.life().is_over() {
            self.remove();
        }
    }

    fn suspend(&mut self) {
        // With all queues empty, and all drivers suspended.
        let busy = self.addition.is_some()
            || self.addition_queued
            || self.removal_queued
            || self.unregistering
            || self.life().is_in_use()
            || self.counted;
        if busy || self.suspended {
            return;
        }
        self.suspended = true;
        if self.on(Event::Suspended).is_some() {
            assert!(self.lent);
        }
        // The host forgets all.
        (self.lent, self.mapped) = (false, false);
    }

    fn resume(&mut self, offered: bool) {
        if !core::mem::take(&mut self.suspended) {
            return;
        }
        if offered && self.on(Event::Resumed).is_some() {
            assert!(!self.lent);
            (self.lent, self.mapped) = (true, true);
        }
    }

    fn step(&mut self, op: u8, yes: bool) {
        match op {
            0 => self.begin_addition(yes),
            1 | 2 => self.go_on_adding(yes && op == 2),
            3 if self.mapped => self.withdraw(),
            4 => self.remove_withdrawn(yes),
            5 => self.open(),
            6 => self.end_open(yes),
            7 => self.close(),
            8 if self.told || yes && self.life().kind == Kind::Socket => self.begin_unregister(),
            9 => self.end_unregister(),
            10 => self.users = u32::from(yes),
            11 => self.release_device(),
            12 if yes => self.suspend(),
            13 => self.resume(yes),
            14 if self.on(Event::Unblocked).is_some() => self.addition_queued = true,
            _ => {}
        }
        let life = self.life();
        assert!(!life.added || self.addition.is_none());
        assert!(life.awaited == self.counted);
        assert!(!self.mapped || self.lent);
    }

    /// The end of the bus: all queues run empty, all drivers go, and the rest is removed.
    fn end(&mut self) {
        if self.on(Event::Unblocked).is_some() {
            self.addition_queued = true;
        }
        self.begin_addition(false);
        while self.addition.is_some() {
            self.go_on_adding(false);
        }
        self.remove_withdrawn(false);
        self.end_unregister();
        self.users = 0;
        self.close();
        self.on(Event::Ended);
        self.begin_unregister();
        self.end_unregister();
        self.release_device();
        self.remove();
        let life = self.life();
        assert!(
            !life.listed && !life.files && !life.awaited && !life.is_in_use(),
            "{life:?}"
        );
        assert!(!self.lent, "a relid is lost: {life:?}");
        assert!(
            matches!(
                life.device,
                Device::None | Device::Waiting | Device::Made | Device::Left
            ),
            "{life:?}"
        );
        assert!(self.unregistered <= 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]
    #[test]
    fn every_life_ends_once(kind in 0usize..3, steps in proptest::collection::vec((0u8..15, any::<bool>()), 0..50)) {
        let mut model = Model::new(KINDS[kind]);
        for (op, yes) in steps {
            model.step(op, yes);
        }
        model.end();
    }
}

#[test]
fn a_withdrawn_channel_cannot_be_opened() {
    let mut model = Model::new(Kind::Primary);
    model.begin_addition(false);
    model.go_on_adding(false);
    model.go_on_adding(false);
    model.open();
    model.withdraw();
    assert_eq!(model.on(Event::Opened), None);
    model.end_open(false);
    assert_eq!(model.life().rings, Rings::Closed);
}

#[test]
fn a_sub_channel_in_use_is_left_to_who_closes_it() {
    let mut model = Model::new(Kind::Sub);
    model.begin_addition(false);
    model.go_on_adding(false);
    model.open();
    model.end_open(false);
    model.withdraw();
    model.remove_withdrawn(false);
    assert!(model.life().listed && model.lent);
    model.close();
    assert!(!model.life().listed && !model.lent);
}

#[test]
fn a_device_that_is_there_comes_after_it_has_gone() {
    let mut model = Model::new(Kind::Primary);
    model.begin_addition(true);
    assert_eq!(model.life().device, Device::Waiting);
    assert_eq!(model.on(Event::Unblocked), Some(Step::QueueAddition));
    model.addition_queued = true;
    model.begin_addition(false);
    assert!(model.addition == Some(Addition::Begun(Step::Add)));
}
