// SPDX-License-Identifier: GPL-2.0

//! The way back when commands do not come back: what a reset waits for, and what it does in the end.
//!
//! A host that answers RESET_BUS has done nothing: it goes on with all that it has (OpenVMM's storvsp says so, and
//! hosts have always done it). The memory of a command is the host's until its completion is here, or until the host
//! has ended the GPADL of the channel that the command was sent on: it does that only when it is through with
//! everything. So there is one way to get a command back that the host does not complete: closing the channel.

/// How long commands have to come back after RESET_BUS was answered, in milliseconds, even if they are overdue.
pub const SETTLE_MS: u32 = 5_000;

/// How long a reset waits for commands that are not overdue, in milliseconds. Hosts stall for two minutes now and then.
pub const PATIENCE_MS: u32 = 180_000;

/// What is still with the host of the commands that it had when the reset began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outstanding {
    /// How many.
    pub commands: usize,
    /// How many of those have been there for longer than their own time-out.
    pub overdue: usize,
}

/// What a reset does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetStep {
    /// Nothing: all are back.
    Done,
    /// Wait.
    Wait,
    /// Close the channel, complete what is left, and open it again.
    Reopen,
}

impl ResetStep {
    /// What to do `waited_ms` milliseconds after the answer to RESET_BUS, or after the wait for that has ended.
    pub const fn next(outstanding: Outstanding, waited_ms: u32) -> Self {
        if outstanding.commands == 0 {
            Self::Done
        } else if waited_ms < SETTLE_MS {
            Self::Wait
        } else if outstanding.overdue >= outstanding.commands || waited_ms >= PATIENCE_MS {
            Self::Reopen
        } else {
            Self::Wait
        }
    }
}

/// The state of an adapter's channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Open.
    Open,
    /// Closed, and about to be opened again.
    Reopening,
    /// Closed for hibernation.
    Suspended,
    /// It could not be opened again, or its end was not confirmed by the host: there is no way to the host.
    Lost,
}

/// What becomes of a command that cannot be sent, since its channel is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsent {
    /// The mid-layer tries again a little later.
    Later,
    /// The command fails: there is no connection.
    NoConnect,
}

impl Link {
    /// All states, by their numbers.
    const ALL: [Self; 4] = [Self::Open, Self::Reopening, Self::Suspended, Self::Lost];

    /// The number of a state.
    pub const fn to_bits(self) -> u32 {
        match self {
            Self::Open => 0,
            Self::Reopening => 1,
            Self::Suspended => 2,
            Self::Lost => 3,
        }
    }

    /// The state with a number; what is none counts as lost.
    pub fn from_bits(bits: u32) -> Self {
        Self::ALL
            .into_iter()
            .find(|link| link.to_bits() == bits)
            .unwrap_or(Self::Lost)
    }

    /// What becomes of a command that cannot be sent. `gone`: the host has withdrawn the device. `leaving`: the driver
    /// gives it up.
    pub const fn unsent(self, gone: bool, leaving: bool) -> Unsent {
        match self {
            _ if gone => Unsent::NoConnect,
            Self::Lost => Unsent::NoConnect,
            // It ends within a bounded time, in one of the other states.
            Self::Reopening => Unsent::Later,
            // Nobody will open it any more.
            Self::Suspended if leaving => Unsent::NoConnect,
            // A channel is withdrawn alone, or just being closed or withdrawn: the next try sees which.
            Self::Open | Self::Suspended => Unsent::Later,
        }
    }
}

/// Whether a command whose completion cannot be read may simply be sent again, since it changes nothing and tells
/// nothing that it would not tell again. (READ(6) is not among them: a tape moves.)
pub const fn is_repeatable(opcode: u8) -> bool {
    matches!(
        opcode,
        // TEST UNIT READY, INQUIRY, MODE SENSE(6), READ CAPACITY(10), READ(10), MODE SENSE(10), READ(16),
        // SERVICE ACTION IN(16), REPORT LUNS, READ(12)
        0x00 | 0x12 | 0x1A | 0x25 | 0x28 | 0x5A | 0x88 | 0x9E | 0xA0 | 0xA8
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn outstanding() -> impl Strategy<Value = Outstanding> {
        (0usize..20, 0usize..20).prop_map(|(commands, overdue)| Outstanding {
            commands,
            overdue: overdue.min(commands),
        })
    }

    proptest! {
        /// The channel is closed only for commands that are out, and that have had their time.
        #[test]
        fn the_channel_is_closed_for_what_is_late(left in outstanding(), waited in 0u32..400_000) {
            match ResetStep::next(left, waited) {
                ResetStep::Done => prop_assert_eq!(left.commands, 0),
                ResetStep::Reopen => {
                    prop_assert!(left.commands > 0);
                    prop_assert!(waited >= SETTLE_MS);
                    prop_assert!(left.overdue == left.commands || waited >= PATIENCE_MS);
                }
                ResetStep::Wait => prop_assert!(left.commands > 0),
            }
        }

        /// However the numbers go, a reset ends: it never waits beyond its patience.
        #[test]
        fn a_reset_does_not_wait_for_ever(left in outstanding(), more in 0u32..100_000) {
            prop_assert_ne!(ResetStep::next(left, PATIENCE_MS + more), ResetStep::Wait);
        }

        /// Time only ever ends the wait, it does not begin it anew.
        #[test]
        fn time_goes_one_way(left in outstanding(), waited in 0u32..400_000, more in 0u32..400_000) {
            if ResetStep::next(left, waited) == ResetStep::Reopen {
                prop_assert_eq!(ResetStep::next(left, waited + more), ResetStep::Reopen);
            }
        }
    }

    #[test]
    fn one_that_is_not_overdue_is_waited_for() {
        let left = Outstanding {
            commands: 3,
            overdue: 2,
        };
        assert_eq!(ResetStep::next(left, 120_000), ResetStep::Wait);
        let late = Outstanding { overdue: 3, ..left };
        assert_eq!(ResetStep::next(late, SETTLE_MS - 1), ResetStep::Wait);
        assert_eq!(ResetStep::next(late, SETTLE_MS), ResetStep::Reopen);
    }

    #[test]
    fn states_have_numbers() {
        for link in Link::ALL {
            assert_eq!(Link::from_bits(link.to_bits()), link);
        }
        assert_eq!(Link::from_bits(17), Link::Lost);
    }

    #[test]
    fn what_cannot_be_sent() {
        for link in Link::ALL {
            // Nothing is left to wait for a host that is gone.
            assert_eq!(link.unsent(true, false), Unsent::NoConnect);
        }
        // A channel that failed to come back swallows nothing.
        assert_eq!(Link::Lost.unsent(false, false), Unsent::NoConnect);
        assert_eq!(Link::Suspended.unsent(false, false), Unsent::Later);
        assert_eq!(Link::Suspended.unsent(false, true), Unsent::NoConnect);
        // The last commands of a driver that goes are worth waiting for.
        assert_eq!(Link::Reopening.unsent(false, true), Unsent::Later);
        assert_eq!(Link::Open.unsent(false, false), Unsent::Later);
    }

    #[test]
    fn writes_are_not_repeatable() {
        for opcode in [0x08, 0x0A, 0x2A, 0x35, 0x42, 0x5F, 0x85, 0x8A, 0x93, 0xAA] {
            assert!(!is_repeatable(opcode), "{opcode:#x}");
        }
        for opcode in [0x00, 0x12, 0x25, 0x28, 0xA0] {
            assert!(is_repeatable(opcode), "{opcode:#x}");
        }
    }
}
