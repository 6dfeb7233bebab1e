// SPDX-License-Identifier: GPL-2.0

//! Version negotiation: the guest proposes versions from the newest down until the host accepts one.

use super::message::{
    ChannelMessageHeader, ConnectionState, InitiateContact, TargetInfo, VersionResponse,
};
use super::version::Version;
use super::{
    VMBUS_MESSAGE_CONNECTION_ID, VMBUS_MESSAGE_CONNECTION_ID_4,
    VMBUS_MESSAGE_CONNECTION_ID_REDIRECT, VMBUS_MESSAGE_SINT,
};

/// What a guest tells the host when it proposes a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContactParameters {
    /// Newest version to propose.
    pub max_version: Version,
    /// Oldest version to accept; an isolated guest needs 5.2.
    pub min_version: Version,
    /// Virtual processor that gets the host's messages.
    pub target_vcpu: u32,
    /// Virtual trust level of this guest.
    pub vtl: u8,
    /// Physical address of the interrupt page, for versions before 5.0.
    pub interrupt_page: u64,
    /// Physical address of the host-to-guest monitor page.
    pub monitor_page1: u64,
    /// Physical address of the guest-to-host monitor page.
    pub monitor_page2: u64,
    /// Feature flags, sent from 6.0 on.
    pub feature_flags: u32,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Post this message to this connection, wait for the response and call [`Negotiation::response`]; or
    /// [`Negotiation::unknown_connection`] if the connection does not exist.
    Propose {
        /// Connection id.
        connection_id: u32,
        /// The message.
        message: InitiateContact,
    },
    /// The host accepted.
    Connected {
        /// The version in use.
        version: Version,
        /// Connection id for all further messages.
        msg_conn_id: u32,
    },
    /// The host accepts nothing between the two limits.
    NoCommonVersion,
    /// The host knows the version but could not make the connection.
    Refused(ConnectionState),
}

/// The guest's side of the negotiation.
#[derive(Clone, Debug)]
pub struct Negotiation {
    parameters: ContactParameters,
    at: usize,
    redirect: bool,
}

impl Negotiation {
    /// Starts with the newest version allowed.
    pub fn new(parameters: ContactParameters) -> (Self, Step) {
        let mut n = Self {
            parameters,
            at: 0,
            redirect: false,
        };
        let step = n.propose_from(0);
        (n, step)
    }

    /// The version that is proposed now.
    pub fn proposed(&self) -> Option<Version> {
        Version::SUPPORTED.get(self.at).copied()
    }

    /// The host's answer to the last proposal.
    pub fn response(&mut self, response: &VersionResponse) -> Step {
        let Some(version) = self.proposed() else {
            return Step::NoCommonVersion;
        };
        if response.version_supported == 0 {
            return self.propose_from(self.at.saturating_add(1));
        }
        let state = ConnectionState(response.connection_state);
        if version.has_message_connection_id() && state != ConnectionState::SUCCESSFUL {
            return Step::Refused(state);
        }
        Step::Connected {
            version,
            msg_conn_id: if version.has_message_connection_id() {
                response.msg_conn_id
            } else {
                VMBUS_MESSAGE_CONNECTION_ID
            },
        }
    }

    /// The connection of the last proposal does not exist on this host: the next connection id, and after
    /// that the next version.
    pub fn unknown_connection(&mut self) -> Step {
        if self.redirect {
            self.redirect = false;
            if let Some(version) = self.proposed() {
                return self.proposal(version);
            }
        }
        self.propose_from(self.at.saturating_add(1))
    }

    fn propose_from(&mut self, from: usize) -> Step {
        let p = &self.parameters;
        let next = Version::SUPPORTED
            .iter()
            .enumerate()
            .skip(from)
            .find(|(_, &v)| v <= p.max_version && v >= p.min_version);
        match next {
            None => {
                self.at = Version::SUPPORTED.len();
                Step::NoCommonVersion
            }
            Some((at, &version)) => {
                self.at = at;
                // A guest in VTL2 is served by a host-side redirector, if there is one.
                self.redirect = version.has_message_connection_id() && p.vtl == 2;
                self.proposal(version)
            }
        }
    }

    fn proposal(&self, version: Version) -> Step {
        let p = &self.parameters;
        let new_style = version.has_message_connection_id();
        let target = TargetInfo {
            msg_sint: VMBUS_MESSAGE_SINT,
            msg_vtl: p.vtl,
            feature_flags: if version.has_feature_flags() {
                p.feature_flags
            } else {
                0
            },
        };
        Step::Propose {
            connection_id: match (new_style, self.redirect) {
                (false, _) => VMBUS_MESSAGE_CONNECTION_ID,
                (true, false) => VMBUS_MESSAGE_CONNECTION_ID_4,
                (true, true) => VMBUS_MESSAGE_CONNECTION_ID_REDIRECT,
            },
            message: InitiateContact {
                header: ChannelMessageHeader::of::<InitiateContact>(),
                vmbus_version_requested: version,
                target_vcpu: p.target_vcpu,
                interrupt_page: if new_style {
                    target.to_u64()
                } else {
                    p.interrupt_page
                },
                monitor_page1: p.monitor_page1,
                monitor_page2: p.monitor_page2,
            },
        }
    }
}

/// The host's side: whether to accept `requested` when the newest version offered is `max`.
pub fn host_accepts(requested: Version, max: Version) -> bool {
    requested <= max && requested.is_supported()
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: ContactParameters = ContactParameters {
        max_version: Version::V6_0,
        min_version: Version::V4_0,
        target_vcpu: 3,
        vtl: 0,
        interrupt_page: 0x1000,
        monitor_page1: 0x2000,
        monitor_page2: 0x3000,
        feature_flags: 0x10,
    };

    fn answer(supported: u8, state: u8) -> VersionResponse {
        VersionResponse {
            header: ChannelMessageHeader::of::<VersionResponse>(),
            version_supported: supported,
            connection_state: state,
            padding: 0,
            msg_conn_id: 0x77,
        }
    }

    #[test]
    fn every_pair_of_limits_meets_at_the_best_version() {
        for guest_max in Version::SUPPORTED {
            for host_max in Version::SUPPORTED {
                let (mut n, mut step) = Negotiation::new(ContactParameters {
                    max_version: guest_max,
                    ..P
                });
                loop {
                    match step {
                        Step::Propose {
                            connection_id,
                            message,
                        } => {
                            let v = message.vmbus_version_requested;
                            assert_eq!(connection_id, if v >= Version::V5_0 { 4 } else { 1 });
                            if v >= Version::V5_0 {
                                let t = TargetInfo::from_u64(message.interrupt_page);
                                assert_eq!((t.msg_sint, t.msg_vtl), (2, 0));
                                assert_eq!(
                                    t.feature_flags,
                                    if v >= Version::V6_0 { 0x10 } else { 0 }
                                );
                            } else {
                                assert_eq!({ message.interrupt_page }, 0x1000);
                            }
                            step = n.response(&answer(u8::from(host_accepts(v, host_max)), 0));
                        }
                        Step::Connected {
                            version,
                            msg_conn_id,
                        } => {
                            assert_eq!(version, guest_max.min(host_max));
                            assert_eq!(
                                msg_conn_id,
                                if version >= Version::V5_0 { 0x77 } else { 1 }
                            );
                            break;
                        }
                        s => panic!("{s:?}"),
                    }
                }
            }
        }
    }

    #[test]
    fn nothing_in_common_ends() {
        let (mut n, mut step) = Negotiation::new(ContactParameters {
            min_version: Version::V5_2,
            ..P
        });
        let mut proposals = 0;
        while let Step::Propose { .. } = step {
            proposals += 1;
            step = n.response(&answer(0, 0));
        }
        assert_eq!((step, proposals), (Step::NoCommonVersion, 3));
        assert_eq!(n.response(&answer(1, 0)), Step::NoCommonVersion);
    }

    #[test]
    fn vtl2_tries_the_redirector_first() {
        let (mut n, step) = Negotiation::new(ContactParameters {
            vtl: 2,
            max_version: Version::V5_0,
            ..P
        });
        let id = |s: &Step| match s {
            Step::Propose {
                connection_id,
                message,
            } => (*connection_id, message.vmbus_version_requested),
            s => panic!("{s:?}"),
        };
        assert_eq!(
            id(&step),
            (VMBUS_MESSAGE_CONNECTION_ID_REDIRECT, Version::V5_0)
        );
        let step = n.unknown_connection();
        assert_eq!(id(&step), (VMBUS_MESSAGE_CONNECTION_ID_4, Version::V5_0));
        let step = n.unknown_connection();
        assert_eq!(id(&step), (VMBUS_MESSAGE_CONNECTION_ID, Version::V4_1));
    }

    #[test]
    fn a_failed_connection_is_no_success() {
        let (mut n, _) = Negotiation::new(P);
        assert_eq!(
            n.response(&answer(1, 1)),
            Step::Refused(ConnectionState::FAILED_LOW_RESOURCES)
        );
    }
}
