// SPDX-License-Identifier: GPL-2.0

//! Messages of the network service protocol: the way up to traffic, the way down, and channels.

use rlis_proto::nvsp::{
    self as proto, body, message_type, EstablishBuffer, Init, InitComplete, NdisConfig,
    NdisVersion, ReceiveBufferComplete, ReceiveBufferSection, RevokeBuffer, RndisPacketComplete,
    SendBufferComplete, SendIndirectionTable, SubchannelComplete, SubchannelRequest,
    SEND_TABLE_OFFSET_UP_TO_6, VRSS_SEND_TAB_SIZE,
};
use zerocopy::{Immutable, IntoBytes};

use super::*;
use crate::faults::Fault;
use crate::vmbus::ring::{COMPLETION, DATA_INBAND, FLAG_COMPLETION_REQUESTED};

/// Bytes of a section of the send buffer, as Hyper-V has it.
pub(super) const SEND_SECTION: usize = 6144;
/// What a section of the receive buffer has beyond a frame: the RNDIS headers and per-packet information. With the
/// default frame this makes Hyper-V's 1728 bytes.
const RECEIVE_EXTRA: usize = 214;
/// The same of OpenVMM: the frame begins 256 bytes into the section, and a few at the end are never used. The MTU does
/// not count the 14 bytes of a frame's header.
pub(super) const OPENVMM_FRAME: usize = 256;
const OPENVMM_EXTRA: usize = OPENVMM_FRAME + 36 - 14;

type Answer = (MessageType, Vec<u8>);

fn answer<T: IntoBytes + Immutable>(kind: MessageType, body: &T) -> Answer {
    (kind, body.as_bytes().to_vec())
}

impl Nic {
    fn fault(channel: &Channel, name: &str, fault: Fault, default: u64) -> Option<u32> {
        let value = channel.context.faults.take(name, fault, default)?;
        Some(u32::try_from(value).unwrap_or(u32::MAX))
    }

    /// A value, or that of a fault in its place.
    pub(super) fn spoilt(&self, channel: &Channel, fault: Fault, default: u32, right: u32) -> u32 {
        Self::fault(channel, &self.spec.name, fault, default.into()).unwrap_or(right)
    }

    pub(super) fn handle(&self, channel: &Arc<Channel>, packet: &Packet) -> Result<()> {
        let told = matches!(packet.transaction, TELL_VF | TELL_PATH);
        if packet.type_ == COMPLETION && told {
            return Ok(());
        }
        let kind = message_type(&packet.payload)?;
        if packet.type_ == COMPLETION {
            return self.completed(channel, packet.transaction, &packet.payload);
        }
        let wants_completion = packet.flags & FLAG_COMPLETION_REQUESTED != 0;
        let has_completion = !matches!(
            kind,
            MessageType::NVSP_MSG1_TYPE_SEND_NDIS_VER
                | MessageType::NVSP_MSG2_TYPE_SEND_NDIS_CONFIG
                | MessageType::NVSP_MSG1_TYPE_REVOKE_RECV_BUF
                | MessageType::NVSP_MSG1_TYPE_REVOKE_SEND_BUF
        );
        ensure!(
            wants_completion == has_completion,
            "{kind:?}, completion {}requested",
            if wants_completion { "" } else { "not " }
        );
        if kind == MessageType::NVSP_MSG1_TYPE_SEND_RNDIS_PKT {
            return self.rndis_packet(channel, packet);
        }
        ensure!(
            packet.type_ == DATA_INBAND,
            "{kind:?} in a packet of type {}",
            packet.type_
        );
        ensure!(channel.sub_index == 0, "{kind:?} on a sub-channel");
        if kind == MessageType::NVSP_MSG4_TYPE_SWITCH_DATA_PATH {
            return self.switch_data_path(channel, packet);
        }
        let mut state = self.state();
        let (reply, result) = self.message(&mut state, channel, kind, &packet.payload);
        if let Some((kind, body)) = reply {
            let version = state.version.unwrap_or(ProtocolVersion::V6_1);
            let fixed: [u8; 36] = {
                let mut fixed = [0; 36];
                for (to, from) in fixed.iter_mut().zip(body) {
                    *to = from;
                }
                fixed
            };
            let mut bytes = proto::message(kind, &fixed).to_vec();
            if version < ProtocolVersion::V6_1 {
                bytes.truncate(proto::OLD_MESSAGE_SIZE);
            }
            channel.complete(packet.transaction, &bytes);
        } else if has_completion {
            channel.complete(packet.transaction, &[]);
        }
        if kind == MessageType::NVSP_MSG1_TYPE_SEND_SEND_BUF && result.is_ok() {
            self.tell_first_association(&state);
        }
        if kind == MessageType::NVSP_MSG5_TYPE_SUBCHANNEL && result.is_ok() {
            self.offer_sub_channels(&mut state, channel)?;
        }
        result
    }

    /// Carries out a message. Returns what it is completed with, and whether it was right.
    fn message(
        &self,
        state: &mut State,
        channel: &Arc<Channel>,
        kind: MessageType,
        payload: &[u8],
    ) -> (Option<Answer>, Result<()>) {
        let failed = |error| (None, Err(error));
        macro_rules! body_of {
            ($what:literal) => {
                match body(payload, kind, $what) {
                    Ok(body) => body,
                    Err(error) => return failed(error.into()),
                }
            };
        }
        let plain = |result| (None, result);
        match kind {
            MessageType::NVSP_MSG_TYPE_INIT => {
                let (status, result) = self.init(state, body_of!("INIT"));
                let status = self.spoilt(channel, Fault::InitStatus, 2, status.0);
                let complete = InitComplete {
                    negotiated_protocol_ver: u32::MAX,
                    max_mdl_chain_len: 34,
                    status,
                };
                if status != Status::NVSP_STAT_SUCCESS.0 && result.is_ok() {
                    state.step = Step::Closed;
                    state.version = None;
                }
                let kind = MessageType::NVSP_MSG_TYPE_INIT_COMPLETE;
                (Some(answer(kind, &complete)), result)
            }
            MessageType::NVSP_MSG2_TYPE_SEND_NDIS_CONFIG => {
                plain(self.configure(state, body_of!("SEND_NDIS_CONFIG")))
            }
            MessageType::NVSP_MSG1_TYPE_SEND_NDIS_VER => {
                plain(Self::ndis_version(state, body_of!("SEND_NDIS_VER")))
            }
            MessageType::NVSP_MSG1_TYPE_SEND_RECV_BUF => {
                let result = self.receive_buffer(state, channel, body_of!("SEND_RECV_BUF"));
                self.receive_buffer_complete(channel, result)
            }
            MessageType::NVSP_MSG1_TYPE_SEND_SEND_BUF => {
                let result = self.send_buffer(state, channel, body_of!("SEND_SEND_BUF"));
                let size = SEND_SECTION as u32;
                let complete = SendBufferComplete {
                    status: if result.is_ok() { 1 } else { 2 },
                    section_size: self.spoilt(channel, Fault::NetSendSection, 0, size),
                };
                let kind = MessageType::NVSP_MSG1_TYPE_SEND_SEND_BUF_COMPLETE;
                (Some(answer(kind, &complete)), result.context("send buffer"))
            }
            MessageType::NVSP_MSG1_TYPE_REVOKE_RECV_BUF => {
                let revoke: RevokeBuffer = body_of!("REVOKE_RECV_BUF");
                let had = state.receive.take().map(|b| b.id);
                plain(Self::was(had, revoke, "receive"))
            }
            MessageType::NVSP_MSG1_TYPE_REVOKE_SEND_BUF => {
                let revoke: RevokeBuffer = body_of!("REVOKE_SEND_BUF");
                let had = state.send.take().map(|b| b.id);
                plain(Self::was(had, revoke, "send"))
            }
            MessageType::NVSP_MSG5_TYPE_SUBCHANNEL => {
                let result = self.grant(state, body_of!("SUBCHANNEL"));
                let granted = *result.as_ref().unwrap_or(&0);
                let complete = SubchannelComplete {
                    status: if result.is_ok() { 1 } else { 2 },
                    num_subchannels: self.spoilt(channel, Fault::NetGrantMore, 200, granted),
                };
                (Some(answer(kind, &complete)), result.map(|_| ()))
            }
            other => failed(anyhow::anyhow!("{other:?} is not one that the host takes")),
        }
    }

    fn was(had: Option<u16>, revoke: RevokeBuffer, which: &str) -> Result<()> {
        let id = revoke.id;
        ensure!(
            had == Some(id),
            "{which} buffer {id:#x} revoked, which is none"
        );
        Ok(())
    }

    pub(super) fn init(&self, state: &mut State, init: Init) -> (Status, Result<()>) {
        let (min, max) = (init.min_protocol_ver, init.max_protocol_ver);
        if state.step != Step::Closed {
            let late = Err(anyhow::anyhow!("INIT at step {:?}", state.step));
            return (Status::NVSP_STAT_FAIL, late);
        }
        let chosen = ProtocolVersion::NEWEST_FIRST
            .into_iter()
            .find(|v| (min..=max).contains(&v.0) && *v <= self.spec.version);
        let Some(version) = chosen else {
            return (Status::NVSP_STAT_PROTOCOL_UNSUPPORTED, Ok(()));
        };
        state.version = Some(version);
        // Version 1 has no configuration to wait for.
        state.step = if version < ProtocolVersion::V2 {
            Step::Configured
        } else {
            Step::Versioned
        };
        (Status::NVSP_STAT_SUCCESS, Ok(()))
    }

    pub(super) fn configure(&self, state: &mut State, config: NdisConfig) -> Result<()> {
        ensure!(
            state.step == Step::Versioned,
            "SEND_NDIS_CONFIG at step {:?}",
            state.step
        );
        let frame = { config.mtu };
        let mtu = frame.checked_sub(14);
        ensure!(
            mtu.is_some_and(|mtu| self.spec.mtu.contains(&mtu)),
            "SEND_NDIS_CONFIG of an MTU of {frame}"
        );
        state.frame = usize::try_from(frame)?;
        state.capability = config.capability;
        state.peer = self.new_peer(state.frame);
        state.step = Step::Configured;
        Ok(())
    }

    pub(super) fn ndis_version(state: &mut State, version: NdisVersion) -> Result<()> {
        ensure!(
            state.step == Step::Configured,
            "SEND_NDIS_VER at step {:?}",
            state.step
        );
        let version = ({ version.ndis_major_ver }, { version.ndis_minor_ver });
        ensure!(
            matches!(version, (6, 1) | (6, 30)),
            "NDIS version {}.{}",
            version.0,
            version.1
        );
        state.step = Step::Ready;
        Ok(())
    }

    fn borrow(channel: &Arc<Channel>, buffer: EstablishBuffer) -> Result<Loan> {
        let server = channel.server.upgrade().context("the bus is gone")?;
        server.lend_gpadl(channel.relid, buffer.gpadl_handle)
    }

    /// Takes the receive buffer. Returns size and number of its sections.
    fn receive_buffer(
        &self,
        state: &mut State,
        channel: &Arc<Channel>,
        buffer: EstablishBuffer,
    ) -> Result<(usize, usize)> {
        ensure!(
            state.step == Step::Ready,
            "it came at step {:?}",
            state.step
        );
        ensure!(state.receive.is_none(), "there is one already");
        let loan = Self::borrow(channel, buffer)?;
        let extra = match self.spec.mode {
            Mode::Windows => RECEIVE_EXTRA,
            Mode::OpenVmm => OPENVMM_EXTRA,
        };
        let section = (state.frame + extra).next_multiple_of(16);
        let count = loan.pages.len() / section;
        ensure!(count > 0, "{} bytes are too few", loan.pages.len());
        state.receive = Some(ReceiveBuffer {
            loan,
            id: buffer.id,
            section,
            free: (0..count).collect(),
            in_flight: BTreeMap::new(),
            next_transaction: 1,
        });
        Ok((section, count))
    }

    fn receive_buffer_complete(
        &self,
        channel: &Channel,
        result: Result<(usize, usize)>,
    ) -> (Option<Answer>, Result<()>) {
        let kind = MessageType::NVSP_MSG1_TYPE_SEND_RECV_BUF_COMPLETE;
        let (size, count) = match &result {
            Ok((size, count)) => (*size as u32, *count as u32),
            Err(_) => (0, 0),
        };
        let complete = ReceiveBufferComplete {
            status: if result.is_ok() { 1 } else { 2 },
            num_sections: self.spoilt(channel, Fault::NetReceiveParts, 2, 1),
        };
        let section = ReceiveBufferSection {
            offset: self.spoilt(channel, Fault::NetReceiveOffset, 4096, 0),
            sub_alloc_size: self.spoilt(channel, Fault::NetReceiveSection, 0, size),
            num_sub_allocs: self.spoilt(channel, Fault::NetReceiveCount, u32::MAX, count),
            end_offset: size.saturating_mul(count),
        };
        let body = [complete.as_bytes(), section.as_bytes()].concat();
        let result = result.map(|_| ()).context("receive buffer");
        (Some((kind, body)), result)
    }

    fn send_buffer(
        &self,
        state: &mut State,
        channel: &Arc<Channel>,
        buffer: EstablishBuffer,
    ) -> Result<()> {
        ensure!(
            state.step == Step::Ready,
            "it came at step {:?}",
            state.step
        );
        ensure!(state.send.is_none(), "there is one already");
        let loan = Self::borrow(channel, buffer)?;
        ensure!(
            loan.pages.len() >= SEND_SECTION,
            "{} bytes are too few",
            loan.pages.len()
        );
        state.send = Some(SendBuffer {
            loan,
            id: buffer.id,
        });
        Ok(())
    }

    // ---- channels

    fn grant(&self, state: &mut State, request: SubchannelRequest) -> Result<u32> {
        let (op, count) = ({ request.op }, { request.num_subchannels });
        ensure!(
            state.version >= Some(ProtocolVersion::V5),
            "a request for sub-channels in an old version"
        );
        ensure!(op == 1, "operation {op} on sub-channels");
        ensure!(
            self.spec.channels > 1,
            "a request for sub-channels of a card that reported a single queue"
        );
        ensure!(
            (1..self.spec.channels).contains(&count) && state.granted == 0,
            "a request for {count} sub-channels of {}",
            self.spec.channels - 1
        );
        state.granted = count;
        Ok(count)
    }

    fn offer_sub_channels(&self, state: &mut State, channel: &Arc<Channel>) -> Result<()> {
        if channel
            .context
            .faults
            .hit(&self.spec.name, Fault::NetGrantOnly)
        {
            return Ok(());
        }
        let server = channel.server.upgrade().context("the bus is gone")?;
        server.offer_sub_channels(&self.spec.name, u16::try_from(state.granted)?)?;
        Ok(())
    }

    /// When all sub-channels are open, tells the guest which of them to send on.
    pub(super) fn tell_send_table(&self, state: &State) {
        let open = state.channels.len() as u32;
        let (Some(channel), Some(version)) = (state.channels.get(&0), state.version) else {
            return;
        };
        if open != state.granted + 1 {
            return;
        }
        // Where it is, whatever the message says of it.
        let at = SEND_TABLE_OFFSET_UP_TO_6;
        let right = if version <= ProtocolVersion::V6 {
            12
        } else {
            at as u32
        };
        let head = SendIndirectionTable {
            count: self.spoilt(channel, Fault::NetTableCount, 17, VRSS_SEND_TAB_SIZE as u32),
            offset: self.spoilt(channel, Fault::NetTableOffset, u32::MAX, right),
        };
        let kind = MessageType::NVSP_MSG5_TYPE_SEND_INDIRECTION_TABLE;
        let mut bytes = proto::message(kind, &head).to_vec();
        bytes.resize(at, 0);
        for n in 0..VRSS_SEND_TAB_SIZE as u32 {
            let entry = self.spoilt(channel, Fault::NetTableEntry, 63, n % open);
            bytes.extend(entry.to_le_bytes());
        }
        channel.send(0, &bytes);
    }

    /// Completes a packet with RNDIS messages.
    pub(super) fn complete_rndis(&self, channel: &Arc<Channel>, transaction: u64, right: Status) {
        let status = self.spoilt(channel, Fault::NetCompletionStatus, 2, right.0);
        let kind = MessageType::NVSP_MSG1_TYPE_SEND_RNDIS_PKT_COMPLETE;
        let complete = RndisPacketComplete { status };
        let bytes = nvsp(kind, &complete, ProtocolVersion::V6_1);
        channel.complete(transaction, &bytes);
    }
}
