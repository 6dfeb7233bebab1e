// SPDX-License-Identifier: GPL-2.0

//! On which CPU the host interrupts a channel, as far as a guest can know.
//!
//! A guest names the CPU when it opens the channel (OPENCHANNEL), and another one later (MODIFYCHANNEL). It waits for the
//! host's answer without a lock, so that meanwhile the driver may close the channel and open it again; and the host may
//! answer late or never. A CPU can only go offline when no channel can have its interrupts there, so what is
//! not known has to be known as such.
//!
//! Sources: `vmbus_send_modifychannel`, `target_cpu_store` and `hv_synic_cleanup` of Linux, which lack the
//! distinction.

/// Where a channel's interrupts go. Changed under the lock of channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The CPU that the guest has named last, with the host's consent.
    pub cpu: u32,
    /// How often the channel was opened.
    pub opens: u32,
    /// The host may interrupt another CPU than `cpu`.
    pub unsure: bool,
    /// The host has been asked to change over, and [`Route::end`] was not called yet.
    pub moving: bool,
    /// A request went without an answer, which may still come and be taken for that to a later one.
    pub unanswered: bool,
}

/// A request to change over, for [`Route::end`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    to: u32,
    opens: u32,
}

impl Move {
    /// Whether the channel was opened again since the request was made.
    pub fn is_outdated(&self, route: &Route) -> bool {
        self.opens != route.opens
    }
}

/// What became of a request to change over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The host has done it.
    Done,
    /// The host has not done it and will not.
    Refused,
    /// There was no answer. The host may do it yet.
    Unknown,
}

/// What follows from an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The interrupts go to the new CPU.
    Moved,
    /// They go where they went.
    Stays,
    /// They may go to either: there was no answer, or the channel was opened again meanwhile.
    Unsure,
}

impl Route {
    /// That of a channel which was never opened.
    pub const fn new(cpu: u32) -> Self {
        Self {
            cpu,
            opens: 0,
            unsure: false,
            moving: false,
            unanswered: false,
        }
    }

    /// The channel is about to be opened, on `self.cpu`.
    pub fn open(&mut self) {
        self.opens = self.opens.wrapping_add(1);
        // The host begins anew; but a request that is under way may reach it behind this.
        if !self.moving {
            self.unsure = false;
        }
    }

    /// The host is about to be asked to change over to `to`. One request at a time.
    pub fn begin(&mut self, to: u32) -> Move {
        self.moving = true;
        Move {
            to,
            opens: self.opens,
        }
    }

    /// The request of [`Self::begin`] has ended.
    ///
    /// A host handles messages in order. That it has changed over settles what earlier requests without an answer may have
    /// done; a refusal does not, since it may be of one of those.
    pub fn end(&mut self, request: Move, answer: Answer) -> Outcome {
        self.moving = false;
        match answer {
            Answer::Done if !request.is_outdated(self) => {
                self.cpu = request.to;
                self.unsure = false;
                Outcome::Moved
            }
            Answer::Refused if !self.unanswered => Outcome::Stays,
            Answer::Done | Answer::Refused | Answer::Unknown => {
                self.unsure = true;
                self.unanswered |= answer == Answer::Unknown;
                Outcome::Unsure
            }
        }
    }

    /// Whether an open channel may have interrupts on this CPU.
    pub fn may_use(&self, cpu: u32) -> bool {
        self.cpu == cpu || self.unsure || self.moving
    }

    /// Where to move the channel so that `leaving` can go offline: `other`, or just to where it was thought to be.
    pub fn away_from(&self, leaving: u32, other: u32) -> u32 {
        if self.cpu == leaving {
            other
        } else {
            self.cpu
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    #[derive(Clone, Copy, Debug)]
    enum Message {
        Open(u32),
        Modify(u32),
        Close,
    }

    /// A host that handles messages in order, and a guest with one channel. CPUs are 0 to 2; 0 stays.
    struct Model {
        route: Route,
        open: bool,
        messages: VecDeque<Message>,
        /// Whom the host interrupts.
        host: Option<u32>,
        request: Option<Request>,
    }

    /// A request under way.
    struct Request {
        of: Move,
        to: u32,
        /// The CPU that leaves, if it is for that.
        leaving: Option<u32>,
        posted: bool,
        /// What the host has made of it.
        done: Option<bool>,
    }

    impl Request {
        fn new(of: Move, to: u32, leaving: Option<u32>) -> Self {
            Self {
                of,
                to,
                leaving,
                posted: false,
                done: None,
            }
        }
    }

    impl Model {
        fn handle(&mut self) {
            match self.messages.pop_front() {
                Some(Message::Open(cpu)) => self.host = Some(cpu),
                Some(Message::Close) => self.host = None,
                Some(Message::Modify(cpu)) => {
                    let done = self.host.is_some();
                    if done {
                        self.host = Some(cpu);
                    }
                    if let Some(request) = &mut self.request {
                        request.done = Some(done);
                    }
                }
                None => {}
            }
        }

        fn end(&mut self, answer: Answer) {
            let Some(request) = self.request.take() else {
                return;
            };
            self.route.end(request.of, answer);
            if let Some(cpu) = request.leaving {
                self.leave(cpu);
            }
        }

        /// The CPU goes, unless that is refused.
        fn leave(&mut self, cpu: u32) {
            if !self.open {
                if self.route.cpu == cpu {
                    self.route.cpu = 0;
                }
            } else if self.route.may_use(cpu) {
                return;
            }
            // What the host has not handled yet, it handles before the CPU is gone for long.
            while !self.messages.is_empty() {
                self.handle();
            }
            assert_ne!(self.host, Some(cpu), "{:?}", self.route);
        }

        fn step(&mut self, op: u8, cpu: u32) {
            match op {
                0 if self.open => {
                    self.messages.push_back(Message::Close);
                    self.open = false;
                }
                1 if !self.open => {
                    self.route.open();
                    self.messages.push_back(Message::Open(self.route.cpu));
                    self.open = true;
                }
                2 if self.open && self.request.is_none() => {
                    self.request = Some(Request::new(self.route.begin(cpu), cpu, None));
                }
                3 if cpu != 0 && self.request.is_none() => {
                    if self.open && self.route.may_use(cpu) {
                        let to = self.route.away_from(cpu, 0);
                        self.request = Some(Request::new(self.route.begin(to), to, Some(cpu)));
                    } else {
                        self.leave(cpu);
                    }
                }
                // The request is posted, maybe long after the state was looked at.
                4 => {
                    if let Some(request) = self.request.as_mut().filter(|r| !r.posted) {
                        request.posted = true;
                        self.messages.push_back(Message::Modify(request.to));
                    }
                }
                5 | 6 => self.handle(),
                7 | 8 => match self.request.as_ref().filter(|r| r.posted).map(|r| r.done) {
                    Some(Some(true)) => self.end(Answer::Done),
                    Some(Some(false)) => self.end(Answer::Refused),
                    Some(None) if op == 8 && cpu == 2 => self.end(Answer::Unknown),
                    _ => {}
                },
                _ => {}
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5_000))]
        #[test]
        fn no_cpu_leaves_that_the_host_interrupts(steps in proptest::collection::vec((0u8..9, 0u32..3), 1..60)) {
            let mut model = Model {
                route: Route::new(0),
                open: false,
                messages: VecDeque::new(),
                host: None,
                request: None,
            };
            for (op, cpu) in steps {
                model.step(op, cpu);
            }
        }
    }

    #[test]
    fn a_move_that_is_answered_settles_everything() {
        let mut route = Route::new(1);
        route.open();
        let first = route.begin(2);
        assert!(route.may_use(0), "the host may be at it");
        assert_eq!(route.end(first, Answer::Unknown), Outcome::Unsure);
        assert!(route.may_use(1) && route.may_use(2) && route.may_use(0));
        let second = route.begin(route.away_from(2, 0));
        assert_eq!(route.end(second, Answer::Done), Outcome::Moved);
        assert_eq!((route.cpu, route.may_use(2)), (1, false));
        // The answer to the first may have been late.
        let third = route.begin(2);
        assert_eq!(route.end(third, Answer::Refused), Outcome::Unsure);

        let mut route = Route::new(1);
        route.open();
        let request = route.begin(2);
        assert_eq!(route.end(request, Answer::Refused), Outcome::Stays);
        assert_eq!((route.cpu, route.may_use(2)), (1, false));
    }

    #[test]
    fn a_channel_that_was_opened_again_is_where_it_was_opened_or_moved_to() {
        let mut route = Route::new(1);
        route.open();
        let request = route.begin(0);
        route.open();
        assert_eq!(route.end(request, Answer::Done), Outcome::Unsure);
        assert_eq!(route.cpu, 1);
        assert!(route.may_use(0) && route.may_use(1));
        route.open();
        assert!(!route.may_use(0));
    }
}
