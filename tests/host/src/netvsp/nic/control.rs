// SPDX-License-Identifier: GPL-2.0

//! RNDIS requests: initialisation, questions about the card, and settings.

use anyhow::bail;
use rlis_proto::rndis::{
    mac_from_parameter, offload_query_size, request, Answer, InitializeComplete, Offload,
    OffloadParams, Oid, Request, Rss, RssCapabilities, Switch as OnOff, TxRx, MEDIA_CONNECTED,
    MEDIA_DISCONNECTED, RXCSUM_ALL_TCP4, RXCSUM_ALL_TCP6, RXCSUM_IP4, RXCSUM_UDP4, RXCSUM_UDP6,
    TXCSUM_ALL_TCP4, TXCSUM_ALL_TCP6, TXCSUM_UDP4, TXCSUM_UDP6,
};
use zerocopy::{FromBytes, IntoBytes};

use super::start::SEND_SECTION;
use super::transmit::{ALIGNMENT_SHIFT, MAX_FRAMES};
use super::*;
use crate::faults::Fault;

/// Every kind that a filter can name.
const FILTERS: u32 = rndis::FILTER_DIRECTED
    | rndis::FILTER_MULTICAST
    | rndis::FILTER_ALL_MULTICAST
    | rndis::FILTER_BROADCAST
    | rndis::FILTER_PROMISCUOUS;
/// Entries of the table of flows.
const TABLE: u16 = 128;

fn number(value: &[u8], what: &str) -> Result<u32> {
    let bytes = value.first_chunk();
    let bytes = bytes.with_context(|| format!("{what} of {} bytes", value.len()))?;
    Ok(u32::from_le_bytes(*bytes))
}

impl Nic {
    /// Carries out a control message. Returns the answer, if there is one.
    pub(super) fn control(
        &self,
        state: &mut State,
        channel: &Channel,
        kind: rndis::MessageType,
        message: &[u8],
    ) -> Result<Option<Vec<u8>>> {
        let success = rndis::Status::RNDIS_STATUS_SUCCESS;
        if kind == rndis::MessageType::RNDIS_MSG_KEEPALIVE_C {
            let answer = rndis::answer(message)?;
            let Answer::Keepalive { req_id, status } = answer else {
                bail!("{answer:?} as a sign of life");
            };
            ensure!(status == success, "a sign of life with status {status:?}");
            ensure!(
                state.asked.remove(&req_id),
                "a sign of life that nobody asked for: {req_id}"
            );
            state.counts.alive += 1;
            return Ok(None);
        }
        ensure!(
            state.initialised || kind == rndis::MessageType::RNDIS_MSG_INIT,
            "{kind:?} before RNDIS is initialised"
        );
        Ok(match request(message)? {
            Request::Initialize(init) => {
                ensure!(!state.initialised, "RNDIS is initialised twice");
                let (major, minor) = ({ init.major_ver }, { init.minor_ver });
                ensure!((major, minor) == (1, 0), "RNDIS version {major}.{minor}");
                state.initialised = true;
                state.halted = false;
                let (align, most) = (ALIGNMENT_SHIFT, MAX_FRAMES);
                let complete = InitializeComplete {
                    req_id: init.req_id,
                    status: success.0,
                    major_ver: 1,
                    minor_ver: 0,
                    // Connectionless.
                    dev_flags: 1,
                    medium: 0,
                    max_pkt_per_msg: self.spoilt(channel, Fault::NetMaxFrames, 0, most),
                    max_xfer_size: u32::try_from(SEND_SECTION)?,
                    pkt_alignment_factor: self.spoilt(channel, Fault::NetAlignment, 40, align),
                    af_list_offset: 0,
                    af_list_size: 0,
                };
                Some(written(|out| rndis::initialize_complete(out, &complete)))
            }
            Request::Halt => {
                state.initialised = false;
                state.halted = true;
                state.filter = 0;
                None
            }
            Request::Query { req_id, oid, given } => {
                let (status, value) = match self.query(state, channel, oid, given)? {
                    Some(value) => (success, value),
                    None => (rndis::Status::RNDIS_STATUS_NOT_SUPPORTED, Vec::new()),
                };
                Some(written(|out| {
                    rndis::query_complete(out, req_id, status, &value)
                }))
            }
            Request::Set { req_id, oid, value } => {
                let result = self.set(state, channel, oid, value);
                let status = match result {
                    Ok(true) => success,
                    Ok(false) => rndis::Status::RNDIS_STATUS_NOT_SUPPORTED,
                    Err(_) => rndis::Status::RNDIS_STATUS_INVALID_DATA,
                };
                let answer = written(|out| rndis::set_complete(out, req_id, status));
                if let Err(error) = result {
                    self.deliver_control(state, answer);
                    return Err(error.context(format!("setting {oid:?}")));
                }
                Some(answer)
            }
            Request::Reset => Some(written(|out| rndis::reset_complete(out, success))),
            Request::Keepalive { req_id } => Some(written(|out| {
                rndis::keepalive_complete(out, req_id, success)
            })),
        })
    }

    /// The answer to a question; `None` if the card does not know it.
    fn query(
        &self,
        state: &State,
        channel: &Channel,
        oid: Oid,
        given: &[u8],
    ) -> Result<Option<Vec<u8>>> {
        let word = |word: u32| word.to_le_bytes().to_vec();
        Ok(Some(match oid {
            Oid::RNDIS_OID_GEN_MAXIMUM_FRAME_SIZE => {
                word(u32::try_from(state.frame.saturating_sub(14))?)
            }
            Oid::RNDIS_OID_GEN_LINK_SPEED => word(state.speed.saturating_mul(10_000)),
            Oid::RNDIS_OID_GEN_MEDIA_CONNECT_STATUS => word(if state.up {
                MEDIA_CONNECTED
            } else {
                MEDIA_DISCONNECTED
            }),
            Oid::RNDIS_OID_GEN_CURRENT_PACKET_FILTER => word(state.filter),
            Oid::RNDIS_OID_802_3_PERMANENT_ADDRESS => self.permanent.0.to_vec(),
            Oid::RNDIS_OID_802_3_CURRENT_ADDRESS => state.mac.0.to_vec(),
            Oid::RNDIS_OID_GEN_FRIENDLY_NAME => {
                let name = self.spec.alias.as_ref().unwrap_or(&self.spec.name);
                name.encode_utf16().flat_map(u16::to_le_bytes).collect()
            }
            Oid::OID_TCP_OFFLOAD_HARDWARE_CAPABILITIES => self.offloads(state, channel, given)?,
            Oid::OID_GEN_RECEIVE_SCALE_CAPABILITIES => {
                let table = if self.spec.channels > 1 { TABLE } else { 0 };
                let capabilities = RssCapabilities::new(self.spec.channels, table);
                capabilities.as_bytes().to_vec()
            }
            _ => return Ok(None),
        }))
    }

    /// What the card can do. What is asked with says how much of it the guest knows.
    fn offloads(&self, state: &State, channel: &Channel, given: &[u8]) -> Result<Vec<u8>> {
        let version = state.version.context("no version is agreed on")?;
        let size = offload_query_size(version);
        ensure!(
            given.len() == size,
            "offload capabilities asked for with {} bytes, not {size}",
            given.len()
        );
        ensure!(
            given.first() == Some(&0xA7),
            "offload capabilities asked for with an object of type {:?}",
            given.first()
        );
        let mut bytes = [0; size_of::<Offload>()];
        for (to, from) in bytes.iter_mut().zip(given.iter().take(4)) {
            *to = *from;
        }
        let mut offload = Offload::read_from_bytes(&bytes)
            .ok()
            .context("capabilities have a size of their own")?;
        if self.spec.offload {
            let csum = &mut offload.csum;
            (csum.ip4_txenc, csum.ip4_rxenc) = (2, 2);
            (csum.ip6_txenc, csum.ip6_rxenc) = (2, 2);
            csum.ip4_txcsum = TXCSUM_ALL_TCP4 | TXCSUM_UDP4;
            csum.ip4_rxcsum = RXCSUM_ALL_TCP4 | RXCSUM_UDP4 | RXCSUM_IP4;
            csum.ip6_txcsum = TXCSUM_ALL_TCP6 | TXCSUM_UDP6;
            csum.ip6_rxcsum = RXCSUM_ALL_TCP6 | RXCSUM_UDP6;
            let most = self.spoilt(channel, Fault::NetLargeSend, 0, self.spec.lso);
            let lso = &mut offload.lsov2;
            (lso.ip4_encap, lso.ip4_maxsz, lso.ip4_minsg) = (2, most, 2);
            (lso.ip6_encap, lso.ip6_maxsz, lso.ip6_minsg) = (2, most, 2);
            lso.ip6_opts = 5;
        }
        if self.spec.rsc && version >= ProtocolVersion::V6_1 {
            (offload.rsc.ip4, offload.rsc.ip6) = (1, 1);
        }
        Ok(offload.as_bytes().get(..size).unwrap_or_default().to_vec())
    }

    /// Carries out a setting; `Ok(false)` if the card does not know it.
    fn set(&self, state: &mut State, channel: &Channel, oid: Oid, value: &[u8]) -> Result<bool> {
        match oid {
            Oid::RNDIS_OID_GEN_CURRENT_PACKET_FILTER => {
                let filter = number(value, "a packet filter")?;
                ensure!(filter & !FILTERS == 0, "packet filter {filter:#x}");
                let faults = &channel.context.faults;
                let ignored = faults.hit(&self.spec.name, Fault::NetIgnoreFilter);
                if !ignored {
                    state.filter = filter;
                }
            }
            Oid::OID_TCP_OFFLOAD_PARAMETERS => self.switch_offloads(state, value)?,
            Oid::RNDIS_OID_GEN_RNDIS_CONFIG_PARAMETER => {
                state.mac = Self::network_address(value)?;
            }
            Oid::OID_GEN_RECEIVE_SCALE_PARAMETERS => {
                ensure!(
                    self.spec.channels > 1,
                    "flows are to be spread over one channel"
                );
                let rss = Rss::parse(value)?;
                let table: Vec<u32> = rss.table().collect();
                ensure!(
                    table.len() == usize::from(TABLE),
                    "a table of {} entries",
                    table.len()
                );
                ensure!(
                    table.iter().all(|q| *q <= state.granted),
                    "a table that names other channels than the {} that there are",
                    state.granted + 1
                );
                state.spread = rss.enabled.then_some(Spread {
                    kinds: rss.hash,
                    key: rss.key,
                    table,
                });
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Switches offloads on and off.
    fn switch_offloads(&self, state: &mut State, value: &[u8]) -> Result<()> {
        let params = OffloadParams::parse(value)?;
        let sums = [
            params.tcp_ip_v4_csum,
            params.udp_ip_v4_csum,
            params.tcp_ip_v6_csum,
            params.udp_ip_v6_csum,
        ];
        let large = [params.lso_v2_ipv4, params.lso_v2_ipv6];
        let rsc = [params.rsc_ip_v4, params.rsc_ip_v6];
        let others = [
            params.ip_v4_csum,
            params.lso_v1,
            params.ip_sec_v1,
            params.tcp_connection_ip_v4,
            params.tcp_connection_ip_v6,
            params.ip_sec_v2,
            params.ip_sec_v2_ip_v4,
        ];
        let asks = |bytes: &[u8]| bytes.iter().any(|b| *b > 1);
        ensure!(
            !asks(&others)
                && (self.spec.offload || !asks(&sums) && !asks(&large))
                && (self.spec.rsc || !asks(&rsc)),
            "offloads are switched on that were not offered: {sums:?} {large:?} {rsc:?} {others:?}"
        );
        ensure!(
            sums.iter().all(|b| TxRx(*b).name().is_some())
                && large.iter().chain(&rsc).all(|b| OnOff(*b).name().is_some()),
            "offloads that are neither on nor off: {sums:?} {large:?} {rsc:?}"
        );
        let enabled = &mut state.enabled;
        for ((tx, rx), asked) in enabled.tx.iter_mut().zip(&mut enabled.rx).zip(sums) {
            match TxRx(asked) {
                TxRx::NO_CHANGE => {}
                asked => {
                    *tx = matches!(asked, TxRx::TX | TxRx::BOTH);
                    *rx = matches!(asked, TxRx::RX | TxRx::BOTH);
                }
            }
        }
        for (on, asked) in enabled.lso.iter_mut().zip(large) {
            if OnOff(asked) != OnOff::NO_CHANGE {
                *on = OnOff(asked) == OnOff::ON;
            }
        }
        if rsc.iter().any(|b| OnOff(*b) != OnOff::NO_CHANGE) {
            enabled.rsc = rsc.iter().all(|b| OnOff(*b) == OnOff::ON);
        }
        Ok(())
    }

    /// The address in a configuration parameter.
    pub(super) fn network_address(value: &[u8]) -> Result<EthernetAddress> {
        let mac = EthernetAddress(mac_from_parameter(value)?);
        ensure!(mac.is_unicast(), "address {mac} is a group's");
        Ok(mac)
    }
}
