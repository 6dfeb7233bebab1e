// SPDX-License-Identifier: GPL-2.0

//! The beginning: which version is spoken, and what the guest can do.

use super::caps::Caps;
use super::incoming::{CapabilitiesAnswer, Incoming};
use super::message::{Capabilities, Version, VersionRequest};
use core::fmt;
use zerocopy::IntoBytes;

/// A message that the guest sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Proposes a version.
    Version(VersionRequest),
    /// Says what it can do.
    Capabilities(Capabilities),
}

impl Request {
    /// The message.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Version(request) => request.as_bytes(),
            Self::Capabilities(report) => report.as_bytes(),
        }
    }
}

/// What was agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// The version that is spoken.
    pub version: Version,
    /// What the host thinks of the guest's capabilities.
    pub answer: CapabilitiesAnswer,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NegotiationStep {
    /// Send this and wait for an answer.
    Send(Request),
    /// Go on waiting: what came is no answer.
    Wait,
    /// Done.
    Done(Agreed),
    /// There is no dynamic memory with this host.
    Failed(NegotiationError),
}

/// Why negotiation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NegotiationError {
    /// The host takes none of the versions.
    NoCommonVersion,
    /// The host does not take the guest's capabilities.
    CapabilitiesRefused,
    /// The host does not answer.
    TimedOut,
}

impl fmt::Display for NegotiationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoCommonVersion => "the host accepts no version of the protocol",
            Self::CapabilitiesRefused => "Capabilities not accepted by host",
            Self::TimedOut => "the host does not answer",
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// This version is proposed.
    Version(Version),
    /// The capabilities are told.
    Capabilities(Version),
    Over,
}

/// Negotiation as a state machine. It takes any sequence of messages and sends at most four.
#[derive(Debug)]
pub struct Negotiation {
    caps: Caps,
    state: State,
}

impl Negotiation {
    /// Begins with the newest version. `trans_id` is for the message that is to be sent.
    pub fn new(caps: Caps, trans_id: u32) -> (Self, NegotiationStep) {
        let [newest, ..] = Version::NEWEST_FIRST;
        let mut new = Self {
            caps,
            state: State::Over,
        };
        let step = new.propose(newest, trans_id);
        (new, step)
    }

    fn propose(&mut self, version: Version, trans_id: u32) -> NegotiationStep {
        self.state = State::Version(version);
        let request = VersionRequest::new(version, version.older().is_none(), trans_id);
        NegotiationStep::Send(Request::Version(request))
    }

    fn fail(&mut self, error: NegotiationError) -> NegotiationStep {
        self.state = State::Over;
        NegotiationStep::Failed(error)
    }

    /// Takes a message of the host. `trans_id` is for the message that may have to be sent.
    pub fn answer(&mut self, message: &Incoming<'_>, trans_id: u32) -> NegotiationStep {
        match (self.state, message) {
            (State::Version(version), Incoming::VersionResponse { accepted: true }) => {
                self.state = State::Capabilities(version);
                let report = Capabilities::new(self.caps, trans_id);
                NegotiationStep::Send(Request::Capabilities(report))
            }
            (State::Version(version), Incoming::VersionResponse { accepted: false }) => {
                match version.older() {
                    Some(older) => self.propose(older, trans_id),
                    None => self.fail(NegotiationError::NoCommonVersion),
                }
            }
            (State::Capabilities(version), Incoming::CapabilitiesResponse(answer)) => {
                if !answer.accepted {
                    return self.fail(NegotiationError::CapabilitiesRefused);
                }
                self.state = State::Over;
                let answer = *answer;
                NegotiationStep::Done(Agreed { version, answer })
            }
            _ => NegotiationStep::Wait,
        }
    }

    /// The host has not answered in time.
    pub fn timed_out(&mut self) -> NegotiationStep {
        self.fail(NegotiationError::TimedOut)
    }
}

#[cfg(test)]
mod tests {
    use super::super::outgoing::{outgoing, Outgoing};
    use super::*;
    use proptest::prelude::*;
    extern crate std;
    use std::vec::Vec;

    const CAPS: Caps = Caps {
        balloon: true,
        hot_add: true,
        hot_add_alignment: 7,
    };

    /// A host that takes versions up to `newest`.
    fn run(newest: Version, takes_caps: bool) -> (NegotiationStep, Vec<(Version, bool)>) {
        let (mut negotiation, mut step) = Negotiation::new(CAPS, 1);
        let mut proposed = Vec::new();
        for trans_id in 2.. {
            let NegotiationStep::Send(request) = step else {
                break;
            };
            let answer = match outgoing(request.as_bytes()).unwrap() {
                Outgoing::Version { version, last } => {
                    proposed.push((version, last));
                    let accepted = version <= newest;
                    Incoming::VersionResponse { accepted }
                }
                Outgoing::Capabilities(caps) => {
                    assert_eq!(caps, CAPS);
                    Incoming::CapabilitiesResponse(CapabilitiesAnswer {
                        accepted: takes_caps,
                        ..Default::default()
                    })
                }
                other => panic!("{other:?}"),
            };
            step = negotiation.answer(&answer, trans_id);
        }
        assert_eq!(
            negotiation.answer(&Incoming::VersionResponse { accepted: true }, 9),
            NegotiationStep::Wait
        );
        (step, proposed)
    }

    #[test]
    fn hosts_of_all_ages() {
        for (newest, tries) in [(Version::V3, 1), (Version::V2, 2), (Version::V1, 3)] {
            let (step, proposed) = run(newest, true);
            let NegotiationStep::Done(agreed) = step else {
                panic!("{step:?}");
            };
            assert_eq!((agreed.version, proposed.len()), (newest, tries));
            assert!(proposed
                .iter()
                .all(|(version, last)| *last == (*version == Version::V1)));
        }
        let (step, proposed) = run(Version(2), true);
        let none = NegotiationError::NoCommonVersion;
        assert_eq!(step, NegotiationStep::Failed(none));
        assert_eq!(proposed.len(), 3);
        let (step, _) = run(Version::V3, false);
        let refused = NegotiationError::CapabilitiesRefused;
        assert_eq!(step, NegotiationStep::Failed(refused));
    }

    #[test]
    fn what_is_no_answer_is_waited_through() {
        let (mut negotiation, _) = Negotiation::new(CAPS, 1);
        let early = Incoming::CapabilitiesResponse(CapabilitiesAnswer {
            accepted: true,
            ..Default::default()
        });
        for other in [early, Incoming::Balloon { pages: 5 }] {
            assert_eq!(negotiation.answer(&other, 2), NegotiationStep::Wait);
        }
        assert_eq!(
            negotiation.timed_out(),
            NegotiationStep::Failed(NegotiationError::TimedOut)
        );
        let late = Incoming::VersionResponse { accepted: true };
        assert_eq!(negotiation.answer(&late, 2), NegotiationStep::Wait);
    }

    proptest! {
        #[test]
        fn any_answers_end(answers in proptest::collection::vec((any::<bool>(), any::<bool>()), 12)) {
            let (mut negotiation, mut step) = Negotiation::new(CAPS, 0);
            let mut sent = 0;
            for (version, accepted) in answers {
                sent += u32::from(matches!(step, NegotiationStep::Send(_)));
                let message = if version {
                    Incoming::VersionResponse { accepted }
                } else {
                    Incoming::CapabilitiesResponse(CapabilitiesAnswer { accepted, ..Default::default() })
                };
                step = negotiation.answer(&message, sent);
            }
            prop_assert!(sent <= 4);
        }
    }
}
