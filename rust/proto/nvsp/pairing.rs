// SPDX-License-Identifier: GPL-2.0

//! Which way the frames of a card go: what the host says of a virtual function, what becomes of its interface, and what the
//! two have agreed upon.
//!
//! A pure state machine. Events come in any order: the host may announce a function before or after the guest has found it,
//! take it away before or after its interface is gone, and move the data path by itself. Frames go through the function only
//! while it is announced, its interface is up, and the host has confirmed the path ([`Pairing::forwards`]).

use super::vf::DataPath;

/// A SWITCH_DATA_PATH that the host is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SwitchRequest {
    /// Where the frames are to go.
    pub path: DataPath,
    /// Tells its completion from that of another request; not 0.
    pub number: u32,
}

/// What is known of a card's virtual function and of its data path.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pairing {
    /// The host has come to terms, so that it can be asked.
    connected: bool,
    /// The serial number of the function that the host has announced.
    association: Option<u32>,
    /// Whether the function's interface is up; `None` without one.
    function: Option<bool>,
    /// The host has taken the path back. It is not asked again before something has changed.
    held_back: bool,
    /// What the host does, as far as is known.
    host: Option<DataPath>,
    asked: Option<SwitchRequest>,
    /// The host has moved the path since it was asked: what it did last is not known.
    overtaken: bool,
    number: u32,
}

impl Pairing {
    /// The host has come to terms: it begins with the synthetic path.
    pub fn connected(&mut self) {
        self.connected = true;
        self.host = Some(DataPath::NVSP_DATAPATH_SYNTHETIC);
        self.asked = None;
        self.held_back = false;
    }

    /// There is no connection to the host any more.
    pub fn disconnected(&mut self) {
        self.connected = false;
        self.asked = None;
    }

    /// The host says which function belongs to the card, or that none does any more.
    pub fn associated(&mut self, serial: Option<u32>) {
        self.association = serial;
        self.held_back = false;
    }

    /// The serial number of the function that the host has announced.
    pub fn association(&self) -> Option<u32> {
        self.association
    }

    /// The function has an interface, which is up or not; or it has none any more. Does nothing if that is known.
    pub fn function(&mut self, running: Option<bool>) {
        if self.function != running {
            self.function = running;
            self.held_back = false;
        }
    }

    /// Returns whether the function's interface is up while the host has not announced a function.
    pub fn waits_for_association(&self) -> bool {
        self.function == Some(true) && self.association.is_none()
    }

    /// The host has moved the path without having been asked.
    pub fn moved(&mut self, path: DataPath) {
        self.host = Some(path);
        self.overtaken = self.asked.is_some();
        if path == DataPath::NVSP_DATAPATH_SYNTHETIC {
            self.held_back = true;
        }
    }

    /// Where frames should go.
    pub fn wanted(&self) -> DataPath {
        if self.function == Some(true) && self.association.is_some() && !self.held_back {
            DataPath::NVSP_DATAPATH_VF
        } else {
            DataPath::NVSP_DATAPATH_SYNTHETIC
        }
    }

    /// Returns whether frames go through the function.
    pub fn forwards(&self) -> bool {
        let vf = DataPath::NVSP_DATAPATH_VF;
        self.connected && self.asked.is_none() && self.host == Some(vf) && self.wanted() == vf
    }

    /// Returns what the host is to be asked now. One request is under way at a time; it ends with [`Self::answered`],
    /// [`Self::not_sent`] or [`Self::timed_out`].
    pub fn next_request(&mut self) -> Option<SwitchRequest> {
        let path = self.wanted();
        if !self.connected || self.asked.is_some() || self.host == Some(path) {
            return None;
        }
        self.number = self.number.wrapping_add(1).max(1);
        self.overtaken = false;
        self.asked = Some(SwitchRequest {
            path,
            number: self.number,
        });
        self.asked
    }

    /// The number of the request that is under way.
    pub fn asked(&self) -> Option<u32> {
        self.asked.map(|request| request.number)
    }

    /// Takes the request with this number, if it is the one under way.
    fn end(&mut self, number: u32) -> Option<SwitchRequest> {
        self.asked.take_if(|request| request.number == number)
    }

    /// The host has completed a request. Returns the path that it has switched to, unless the request is not under way any
    /// more, or the host has moved the path meanwhile, so that it has to be asked again.
    pub fn answered(&mut self, number: u32) -> Option<DataPath> {
        let request = self.end(number)?;
        self.host = (!self.overtaken).then_some(request.path);
        self.host
    }

    /// A request could not be sent.
    pub fn not_sent(&mut self, number: u32) {
        self.end(number);
    }

    /// The host has not completed a request in time. Whether it has switched is not known. Returns whether the request was
    /// still under way.
    pub fn timed_out(&mut self, number: u32) -> bool {
        let known = self.end(number).is_some();
        if known {
            self.host = None;
        }
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    extern crate std;
    use std::{collections::VecDeque, vec::Vec};

    const SYNTHETIC: DataPath = DataPath::NVSP_DATAPATH_SYNTHETIC;
    const VF: DataPath = DataPath::NVSP_DATAPATH_VF;

    fn path(pairing: &mut Pairing) -> Option<DataPath> {
        pairing.next_request().map(|request| request.path)
    }

    #[test]
    fn association_before_function_and_after_it() {
        for function_first in [false, true] {
            let mut pairing = Pairing::default();
            pairing.connected();
            if function_first {
                pairing.function(Some(true));
                assert!(pairing.waits_for_association());
            } else {
                pairing.associated(Some(2));
            }
            assert_eq!(path(&mut pairing), None);
            if function_first {
                pairing.associated(Some(2));
            } else {
                pairing.function(Some(false));
                assert_eq!(path(&mut pairing), None);
                pairing.function(Some(true));
            }
            let request = pairing.next_request().unwrap();
            assert_eq!(request.path, VF);
            assert_eq!(path(&mut pairing), None);
            assert!(!pairing.forwards());
            assert_eq!(pairing.answered(request.number + 1), None);
            assert_eq!(pairing.answered(request.number), Some(VF));
            assert!(pairing.forwards());
            // Down, and at once nothing goes that way any more.
            pairing.function(Some(false));
            assert!(!pairing.forwards());
            assert_eq!(path(&mut pairing), Some(SYNTHETIC));
        }
    }

    #[test]
    fn a_path_that_the_host_took_back_is_asked_for_when_something_changes() {
        let mut pairing = Pairing::default();
        pairing.connected();
        pairing.associated(Some(2));
        pairing.function(Some(true));
        let request = pairing.next_request().unwrap();
        pairing.answered(request.number);
        pairing.moved(SYNTHETIC);
        assert!(!pairing.forwards());
        assert_eq!(path(&mut pairing), None);
        pairing.function(Some(true));
        assert_eq!(path(&mut pairing), None);
        pairing.associated(Some(2));
        assert_eq!(path(&mut pairing), Some(VF));
    }

    #[test]
    fn silence_and_a_new_connection() {
        let mut pairing = Pairing::default();
        pairing.connected();
        pairing.associated(Some(2));
        pairing.function(Some(true));
        let first = pairing.next_request().unwrap();
        assert!(pairing.timed_out(first.number));
        assert!(!pairing.timed_out(first.number));
        // Too late.
        assert_eq!(pairing.answered(first.number), None);
        assert!(!pairing.forwards());
        let second = pairing.next_request().unwrap();
        assert_ne!(second.number, first.number);
        pairing.disconnected();
        assert_eq!(pairing.answered(second.number), None);
        assert_eq!(path(&mut pairing), None);
        pairing.connected();
        assert_eq!(path(&mut pairing), Some(VF));
        let unsent = pairing.asked().unwrap();
        pairing.not_sent(unsent);
        assert_eq!(path(&mut pairing), Some(VF));
    }

    /// What can happen.
    #[derive(Clone, Debug)]
    enum Step {
        Connect,
        Disconnect,
        Associate(Option<u32>),
        Function(Option<bool>),
        HostMoves,
        /// The host reads a request, and answers it.
        HostReads,
        /// The guest reads a message of the host.
        GuestReads,
        TimeOut,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            1 => Just(Step::Connect),
            1 => Just(Step::Disconnect),
            3 => prop_oneof![Just(None), (1u32..4).prop_map(Some)].prop_map(Step::Associate),
            4 => prop_oneof![Just(None), any::<bool>().prop_map(Some)].prop_map(Step::Function),
            1 => Just(Step::HostMoves),
            6 => Just(Step::HostReads),
            6 => Just(Step::GuestReads),
            1 => Just(Step::TimeOut),
        ];
        prop::collection::vec(step, 0..200)
    }

    enum FromHost {
        Answer(u32),
        Moved,
        Association(Option<u32>),
    }

    /// A host and what is on its way, in the order in which a channel carries it.
    #[derive(Default)]
    struct World {
        guest: Pairing,
        connected: bool,
        path: Option<DataPath>,
        requests: VecDeque<SwitchRequest>,
        messages: VecDeque<FromHost>,
    }

    impl World {
        fn ask(&mut self) {
            if let Some(request) = self.guest.next_request() {
                assert!(self.connected);
                self.requests.push_back(request);
            }
        }

        fn host_reads(&mut self) {
            if let Some(request) = self.requests.pop_front() {
                self.path = Some(request.path);
                self.messages.push_back(FromHost::Answer(request.number));
            }
        }

        fn guest_reads(&mut self) {
            match self.messages.pop_front() {
                Some(FromHost::Answer(number)) => {
                    self.guest.answered(number);
                }
                Some(FromHost::Moved) => self.guest.moved(SYNTHETIC),
                Some(FromHost::Association(serial)) => self.guest.associated(serial),
                None => {}
            }
            self.ask();
        }

        fn step(&mut self, step: Step) {
            match step {
                Step::Connect if !self.connected => {
                    self.connected = true;
                    self.path = Some(SYNTHETIC);
                    self.guest.connected();
                }
                Step::Disconnect if self.connected => {
                    self.connected = false;
                    self.path = None;
                    self.requests.clear();
                    self.messages.clear();
                    self.guest.disconnected();
                }
                Step::Associate(serial) if self.connected => {
                    self.messages.push_back(FromHost::Association(serial));
                }
                Step::Function(running) => self.guest.function(running),
                Step::HostMoves if self.connected => {
                    self.path = Some(SYNTHETIC);
                    self.messages.push_back(FromHost::Moved);
                }
                Step::HostReads => self.host_reads(),
                Step::GuestReads => self.guest_reads(),
                Step::TimeOut => {
                    if let Some(number) = self.guest.asked() {
                        self.guest.timed_out(number);
                    }
                }
                _ => {}
            }
            self.ask();
        }

        fn check(&self) {
            let news = |m: &FromHost| matches!(m, FromHost::Moved);
            if self.guest.forwards() {
                // Either it is so, or the host's word is on its way.
                assert!(self.path == Some(VF) || self.messages.iter().any(news));
                assert!(self.connected);
            }
        }
    }

    proptest! {
        #[test]
        fn frames_never_go_where_the_host_does_not_expect_them(steps in steps()) {
            let mut world = World::default();
            for step in steps {
                world.step(step);
                world.check();
            }
            // When all has been read, the two agree.
            while world.connected && !(world.requests.is_empty() && world.messages.is_empty()) {
                world.host_reads();
                world.guest_reads();
                world.check();
            }
            if world.connected {
                prop_assert_eq!(world.path, Some(world.guest.wanted()));
                prop_assert_eq!(world.guest.forwards(), world.guest.wanted() == VF);
            }
        }
    }
}
