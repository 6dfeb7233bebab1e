// SPDX-License-Identifier: GPL-2.0

//! RNDIS requests: initialisation, questions about the card, and settings.

use rndis::Request;

use super::*;

/// 10 Gbit/s in units of 100 bit/s.
const LINK_SPEED: u32 = 100_000_000;
/// RNDIS_PACKET_TYPE_*: every kind that a filter can name.
const FILTERS: u32 = rndis::FILTER_DIRECTED
    | rndis::FILTER_MULTICAST
    | rndis::FILTER_BROADCAST
    | rndis::FILTER_PROMISCUOUS;
/// Bytes of struct ndis_offload, and of its older forms for NDIS 6.0 and 6.1.
const OFFLOAD_SIZES: [usize; 3] = [156, 144, 112];
/// Parameter name of the card's address in OID_GEN_RNDIS_CONFIG_PARAMETER.
const NETWORK_ADDRESS: &str = "NetworkAddress";

impl Nic {
    /// Carries out a control message. Returns the answer, if there is one.
    pub(super) fn control(
        &self,
        state: &mut State,
        type_: u32,
        body: &[u8],
    ) -> Result<Option<Vec<u8>>> {
        ensure!(
            state.initialised || type_ == rndis::INITIALIZE,
            "RNDIS message {type_} before RNDIS is initialised"
        );
        let done = |words_: &[u32]| Some(rndis::message(type_ | rndis::COMPLETION, &words(words_)));
        Ok(match type_ {
            rndis::INITIALIZE => {
                let init: rndis::Initialize = rndis::front(body, "an RNDIS initialisation")?;
                ensure!(!state.initialised, "RNDIS is initialised twice");
                ensure!(
                    ({ init.major_ver }, { init.minor_ver }) == (1, 0),
                    "RNDIS version {}.{}",
                    { init.major_ver },
                    { init.minor_ver }
                );
                state.initialised = true;
                // Status, version 1.0, connectionless, 802.3, 8 messages in a packet, their bytes, aligned to 2^3, and
                // no address families.
                let most = u32::try_from(SEND_SECTION)?;
                done(&[init.req_id, 0, 1, 0, 1, 0, 8, most, 3, 0, 0])
            }
            rndis::HALT => {
                state.initialised = false;
                state.filter = 0;
                None
            }
            rndis::QUERY => {
                let request: Request = rndis::front(body, "an RNDIS query")?;
                let given = Self::information(&request, body)?;
                let (status, info) = match self.query(state, request.oid, given)? {
                    Some(info) => (rndis::SUCCESS, info),
                    None => (rndis::NOT_SUPPORTED, Vec::new()),
                };
                Some(rndis::query_complete(request.req_id, status, &info))
            }
            rndis::SET => {
                let request: Request = rndis::front(body, "an RNDIS setting")?;
                let info = Self::information(&request, body)?;
                let result = self.set(state, request.oid, info);
                let status = match result {
                    Ok(true) => rndis::SUCCESS,
                    Ok(false) => rndis::NOT_SUPPORTED,
                    Err(_) => rndis::INVALID_DATA,
                };
                let answer = done(&[request.req_id, status]);
                if let Err(error) = result {
                    self.deliver(state, nvsp::CHANNEL_CONTROL, answer.unwrap_or_default());
                    return Err(error.context(format!("setting {:#x}", { request.oid })));
                }
                answer
            }
            rndis::RESET => done(&[rndis::SUCCESS, 0]),
            rndis::KEEPALIVE => {
                let id: u32 = rndis::front(body, "an RNDIS keepalive")?;
                done(&[id, rndis::SUCCESS])
            }
            other => bail!("RNDIS message {other} is not one that the host takes"),
        })
    }

    /// The information that comes with a request.
    fn information<'a>(request: &Request, body: &'a [u8]) -> Result<&'a [u8]> {
        let (offset, len) = ({ request.info_buf_offset }, { request.info_buflen });
        let fixed = u32::try_from(size_of::<Request>())?;
        ensure!(
            len == 0 || offset >= fixed,
            "the information of a request overlaps it"
        );
        rndis::part(
            body,
            if len == 0 { fixed } else { offset },
            len,
            "information",
        )
    }

    /// The answer to a question; `None` if the card does not know it.
    fn query(&self, state: &State, oid: u32, given: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(Some(match oid {
            rndis::OID_MAXIMUM_FRAME_SIZE => {
                let mtu = state.frame.saturating_sub(14);
                words(&[u32::try_from(mtu)?])
            }
            rndis::OID_LINK_SPEED => words(&[LINK_SPEED]),
            rndis::OID_MEDIA_CONNECT_STATUS => words(&[u32::from(!state.up)]),
            rndis::OID_PACKET_FILTER => words(&[state.filter]),
            rndis::OID_PERMANENT_ADDRESS => self.permanent.0.to_vec(),
            rndis::OID_CURRENT_ADDRESS => state.mac.0.to_vec(),
            rndis::OID_FRIENDLY_NAME => self
                .spec
                .name
                .encode_utf16()
                .flat_map(u16::to_le_bytes)
                .collect(),
            rndis::OID_OFFLOAD_CAPABILITIES => {
                // struct ndis_offload says in its header how much of it the guest knows. All zeros: no offload.
                let size = OFFLOAD_SIZES.into_iter().find(|s| *s == given.len());
                let size = size.with_context(|| {
                    format!("offload capabilities asked for with {} bytes", given.len())
                })?;
                let mut info = given.get(..4).unwrap_or_default().to_vec();
                ensure!(
                    info.first() == Some(&0xA7),
                    "offload capabilities asked for with an object of type {:?}",
                    info.first()
                );
                info.resize(size, 0);
                info
            }
            rndis::OID_RECEIVE_SCALE_CAPABILITIES => {
                // struct ndis_recv_scale_cap: type, revision, size; no capabilities; one message, one queue, no table.
                let mut info = vec![0x88, 2, 18, 0];
                info.extend(words(&[0, 1, 1]));
                info.extend([0; 2]);
                info
            }
            _ => return Ok(None),
        }))
    }

    /// Carries out a setting; `Ok(false)` if the card does not know it.
    fn set(&self, state: &mut State, oid: u32, info: &[u8]) -> Result<bool> {
        match oid {
            rndis::OID_PACKET_FILTER => {
                let filter: u32 = rndis::front(info, "a packet filter")?;
                ensure!(filter & !FILTERS == 0, "packet filter {filter:#x}");
                state.filter = filter;
            }
            rndis::OID_OFFLOAD_PARAMETERS => {
                // struct ndis_offload_params: one byte a feature, 0 leaves it as it is and 1 switches it off.
                let features = info.get(4..15).context("too short")?;
                ensure!(
                    features.iter().all(|f| *f <= 1),
                    "offloads are switched on that were not offered: {features:?}"
                );
            }
            rndis::OID_CONFIG_PARAMETER => state.mac = Self::network_address(info)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The address in a configuration parameter (struct rndis_config_parameter_info): name and value are strings of
    /// UTF-16 characters, the value 12 hexadecimal digits.
    pub(super) fn network_address(info: &[u8]) -> Result<EthernetAddress> {
        let header: [u32; 5] = rndis::front(info, "a configuration parameter")?;
        let [name_at, name_len, type_, value_at, value_len] = header;
        let text = |at, len| -> Result<String> {
            let bytes = rndis::part(info, at, len, "a string")?;
            let units = bytes
                .chunks_exact(2)
                .filter_map(|c| c.try_into().ok().map(u16::from_le_bytes));
            Ok(char::decode_utf16(units)
                .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
                .collect())
        };
        let name = text(name_at, name_len)?;
        ensure!(
            name == NETWORK_ADDRESS && type_ == 2,
            "configuration parameter '{name}' of type {type_}"
        );
        let value = text(value_at, value_len)?;
        let mut mac = [0; 6];
        ensure!(value.len() == 12 && value.is_ascii(), "address '{value}'");
        for (byte, at) in mac.iter_mut().zip((0..12).step_by(2)) {
            let digits = value.get(at..at + 2).unwrap_or_default();
            *byte = u8::from_str_radix(digits, 16).with_context(|| format!("address '{value}'"))?;
        }
        let mac = EthernetAddress(mac);
        ensure!(mac.is_unicast(), "address '{value}' is a group's");
        Ok(mac)
    }
}
