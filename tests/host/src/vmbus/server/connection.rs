// SPDX-License-Identifier: GPL-2.0

//! The connection: version, request for offers, unload.

use std::thread;
use std::time::Duration;

use vm_memory::{GuestAddress, GuestMemory};

use super::*;

/// How often it is looked whether there is a connection.
const LOOK: Duration = Duration::from_millis(1);

impl Server {
    /// Waits until the connection has ended `times` times.
    pub fn await_end(&self, times: u32) {
        for _ in 0..times {
            for connected in [true, false] {
                while self.version().is_some() != connected {
                    thread::sleep(LOOK);
                }
            }
        }
    }

    pub(super) fn initiate_contact(
        &self,
        state: &mut State,
        connection: u32,
        m: InitiateContact,
        stopping: &mut Stopping,
    ) -> Result<()> {
        let (version, vp) = ({ m.vmbus_version_requested }, { m.target_vcpu });
        if state.slots.values().any(|s| s.open.is_some()) {
            self.violation("INITIATE_CONTACT while channels are open");
        }
        self.reset(state, stopping);
        ensure!(
            vp < self.shared.synic.count(),
            "INITIATE_CONTACT names virtual processor {vp}, which is not there"
        );
        for page in [m.monitor_page1, m.monitor_page2] {
            ensure!(
                page % 4096 == 0 && self.shared.memory.check_range(GuestAddress(page), 4096),
                "INITIATE_CONTACT names {page:#x} as a monitor page"
            );
        }
        if version >= Version::V5_0 {
            let target = TargetInfo::from_u64(m.interrupt_page);
            ensure!(
                target.msg_sint == VMBUS_MESSAGE_SINT && target.msg_vtl == 0,
                "INITIATE_CONTACT asks for SINT {} of VTL {}",
                target.msg_sint,
                target.msg_vtl
            );
        }
        if self.fault(Fault::BusNoVersionResponse) {
            return Ok(());
        }
        let refuse = self.fault(Fault::BusRefuseVersion);
        let accepted = host_accepts(version, *self.newest()) && !refuse;
        let failed = accepted && self.fault(Fault::BusConnectionState);
        let message_connection = if version >= Version::V5_0 {
            MESSAGE_CONNECTION
        } else {
            connection
        };
        let response = build!(VersionResponse, |r| {
            r.version_supported = accepted.into();
            r.connection_state = failed.into();
            r.msg_conn_id = if accepted { message_connection } else { 0 };
        });
        if accepted && !failed {
            state.connection = Some(Connection {
                version,
                vp,
                message_connection,
                monitor_page: m.monitor_page2,
                offers_requested: false,
            });
        }
        self.post(vp, &response);
        Ok(())
    }

    pub(super) fn request_offers(&self, state: &mut State) -> Result<()> {
        let connection = state
            .connection
            .as_mut()
            .context("REQUESTOFFERS without a connection")?;
        ensure!(!connection.offers_requested, "REQUESTOFFERS came twice");
        connection.offers_requested = true;
        let relids: Vec<u32> = state.slots.keys().copied().collect();
        for relid in relids {
            self.announce(state, relid);
        }
        if !self.fault(Fault::BusNoAllOffersDelivered) {
            self.send(
                state,
                &ChannelMessageHeader::new(MessageType::CHANNELMSG_ALLOFFERS_DELIVERED),
            );
        }
        Ok(())
    }

    pub(super) fn unload(&self, state: &mut State, stopping: &mut Stopping) {
        let connection = state.connection;
        // Linux unloads with open channels when it crashes or executes another kernel, so that is no misdeed.
        self.reset(state, stopping);
        if let Some(connection) = connection {
            if !self.fault(Fault::BusNoUnloadResponse) {
                self.post(
                    connection.vp,
                    &ChannelMessageHeader::new(MessageType::CHANNELMSG_UNLOAD_RESPONSE),
                );
            }
        }
    }

    /// Forgets the connection and everything that the guest made on it.
    pub(super) fn reset(&self, state: &mut State, stopping: &mut Stopping) {
        for slot in state.slots.values_mut() {
            slot.sent = false;
            slot.answer_due = false;
            if let Some((channel, thread)) = slot.open.take() {
                channel.stop();
                stopping.push((channel, thread));
            }
        }
        state.slots.retain(|_, s| {
            s.sub_index == 0 && !s.rescinded && !s.rescind_due && !s.offer.is_socket()
        });
        state.gpadls.clear();
        if let Some(connection) = state.connection.take() {
            state.unloaded = Some(connection.message_connection);
            self.shared.synic.drop_queued();
        }
    }
}
