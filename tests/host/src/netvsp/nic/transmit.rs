// SPDX-License-Identifier: GPL-2.0

//! What the guest sends: RNDIS messages in sections and pages, frames in them.

use rlis_proto::nvsp::{body, ChannelType, RndisPacket, NETVSC_INVALID_INDEX};
use rlis_proto::rndis::{header, packet, PacketHeader};
use zerocopy::FromBytes;

use super::start::SEND_SECTION;
use super::*;
use crate::netvsp::offload;
use crate::vmbus::direct::DataBuffer;

/// Most frames in one packet, and the multiple of which each begins at: what the host says at the start.
pub(super) const MAX_FRAMES: u32 = 8;
pub(super) const ALIGNMENT_SHIFT: u32 = 3;

/// A packet's RNDIS messages.
struct Gathered {
    channel: ChannelType,
    bytes: Vec<u8>,
    /// Bytes that lie in one piece at the front.
    first: usize,
}

/// A message and where it began.
type Found<'a> = (usize, rndis::MessageType, &'a [u8]);

/// Cuts bytes into messages, each with its header. The bytes must be used up exactly.
fn messages(bytes: &[u8]) -> Result<Vec<Found<'_>>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let rest = bytes.get(at..).unwrap_or_default();
        let head = header(rest, u32::try_from(rest.len())?)?;
        let message = rest.get(..head.len as usize).unwrap_or_default();
        found.push((at, head.kind, message));
        at += message.len();
    }
    ensure!(!found.is_empty(), "a packet without an RNDIS message");
    Ok(found)
}

impl Nic {
    /// Takes a packet with RNDIS messages, completes it, and acts upon it.
    pub(super) fn rndis_packet(&self, channel: &Arc<Channel>, packet: &Packet) -> Result<()> {
        let mut state = self.state();
        let mut frames = Vec::new();
        let mut answers = Vec::new();
        let dropped = |state: &State| state.counts.late + state.counts.too_long;
        let before = dropped(&state);
        let result = self.take(&mut state, channel, packet, &mut frames, &mut answers);
        let status = match &result {
            Ok(()) if dropped(&state) != before => Status::NVSP_STAT_FAIL,
            Ok(()) => Status::NVSP_STAT_SUCCESS,
            Err(_) => Status::NVSP_STAT_INVALID_RNDIS_PKT,
        };
        if channel.sub_index != 0 {
            state.counts.on_sub_channels += 1;
        }
        // The guest may use its memory again before the answers to what was in it arrive.
        self.complete_rndis(channel, packet.transaction, status);
        for message in answers {
            self.answer(&mut state, channel, message);
        }
        let up = state.up;
        drop(state);
        if up && !frames.is_empty() {
            self.to_network(frames);
        }
        result
    }

    /// Reads a packet. Even if it is wrong, what was right in it counts.
    fn take(
        &self,
        state: &mut State,
        channel: &Channel,
        packet: &Packet,
        frames: &mut Vec<Vec<u8>>,
        answers: &mut Vec<Vec<u8>>,
    ) -> Result<()> {
        ensure!(
            state.receive.is_some(),
            "an RNDIS packet without a receive buffer"
        );
        let gathered = self.gather(state, channel, packet)?;
        let found = messages(&gathered.bytes)?;
        let count = found.len();
        for (at, kind, message) in found {
            let is_frame = kind == rndis::MessageType::RNDIS_MSG_PACKET;
            let wanted = if is_frame {
                ChannelType::RMC_DATA
            } else {
                ChannelType::RMC_CONTROL
            };
            ensure!(
                gathered.channel == wanted,
                "{kind:?} on RNDIS channel {:?}",
                gathered.channel
            );
            if is_frame {
                ensure!(count <= MAX_FRAMES as usize, "{count} frames in a packet");
                ensure!(
                    at % (1 << ALIGNMENT_SHIFT) == 0,
                    "a frame {at} bytes into a packet"
                );
                let room = gathered.first.saturating_sub(at);
                frames.extend(self.frame(state, message, room)?);
            } else {
                ensure!(channel.sub_index == 0, "{kind:?} on a sub-channel");
                answers.extend(self.control(state, channel, kind, message)?);
            }
        }
        Ok(())
    }

    /// The bytes of an RNDIS packet, from the send buffer, from the guest's memory, or from both in this order.
    fn gather(&self, state: &mut State, channel: &Channel, packet: &Packet) -> Result<Gathered> {
        let kind = MessageType::NVSP_MSG1_TYPE_SEND_RNDIS_PKT;
        let rndis: RndisPacket = body(&packet.payload, kind, "SEND_RNDIS_PKT")?;
        let (index, size) = (
            { rndis.send_buf_section_index },
            usize::try_from(rndis.send_buf_section_size)?,
        );
        let mut bytes = Vec::new();
        if index == NETVSC_INVALID_INDEX {
            ensure!(size == 0, "{size} bytes of no section");
        } else {
            let send = state
                .send
                .as_ref()
                .context("a section without a send buffer")?;
            let count = send.loan.pages.len() / SEND_SECTION;
            let index = usize::try_from(index)?;
            ensure!(index < count, "section {index} of {count}");
            ensure!(
                (1..=SEND_SECTION).contains(&size),
                "{size} bytes in a section"
            );
            bytes.resize(size, 0);
            send.loan.pages.read(index * SEND_SECTION, &mut bytes)?;
            state.counts.by_section += 1;
        }
        let buffer = DataBuffer::of(packet)?;
        let first = if bytes.is_empty() {
            buffer.first_range()
        } else {
            bytes.len()
        };
        if buffer.len() > 0 {
            bytes.extend(buffer.read(&channel.context.memory, buffer.len())?);
            state.counts.by_pages += 1;
        }
        Ok(Gathered {
            channel: ChannelType(rndis.channel_type),
            bytes,
            first,
        })
    }

    /// Takes a frame from the guest; `room` bytes of its message lie in one piece. Returns the frames that it becomes.
    pub(super) fn frame(
        &self,
        state: &mut State,
        message: &[u8],
        room: usize,
    ) -> Result<Vec<Vec<u8>>> {
        if state.halted {
            state.counts.late += 1;
            return Ok(Vec::new());
        }
        ensure!(state.initialised, "a frame before RNDIS is initialised");
        let head = header(message, u32::try_from(message.len())?)?;
        let found = packet(message, &head)?;
        let (fixed, _) = PacketHeader::read_from_prefix(message.get(8..).unwrap_or_default())
            .ok()
            .context("a packet message without its header")?;
        ensure!(
            [
                fixed.oob_data_offset,
                fixed.oob_data_len,
                fixed.num_oob_data_elements
            ] == [0; 3],
            "a packet message with out-of-band data"
        );
        ensure!(
            [fixed.vc_handle, fixed.reserved] == [0; 2],
            "a packet message with its reserved fields set"
        );
        // OpenVMM refuses what Hyper-V takes: headers in more than one range.
        let information = match fixed.per_pkt_info_offset {
            0 => 0,
            offset => offset.saturating_add(fixed.per_pkt_info_len),
        };
        let headers = information.max(36).saturating_add(8);
        ensure!(
            room >= headers as usize,
            "headers of {headers} bytes in several ranges, {room} in the first"
        );
        let info = found.info;
        ensure!(
            info.packet_id.is_none() && info.hash_info.is_none(),
            "per-packet information that only a host sends"
        );
        let bytes = message
            .get(found.offset as usize..)
            .and_then(|rest| rest.get(..found.len as usize))
            .unwrap_or_default();
        // A VLAN tag does not count.
        if bytes.len() > state.frame + 4 && info.large_send.is_none() {
            state.counts.too_long += 1;
            return Ok(Vec::new());
        }
        let all = offload::finish(bytes.to_vec(), &info, &state.enabled, self.spec.lso)?;
        let longest = all.iter().map(Vec::len).max().unwrap_or(0);
        if longest > state.frame + 4 {
            state.counts.too_long += 1;
            return Ok(Vec::new());
        }
        let counts = &mut state.counts;
        counts.sent_frames += 1;
        counts.sent_bytes += bytes.len() as u64;
        counts.checksums += u64::from(info.checksum.is_some());
        counts.large_sends += u64::from(info.large_send.is_some());
        counts.tags += u64::from(info.vlan.is_some());
        state.vf.synthetic_sent(state.path);
        Ok(all)
    }
}

#[cfg(test)]
mod message_tests {
    use super::*;

    #[test]
    fn messages_are_cut_exactly() {
        let mut bytes = [8u32, 12, 7].map(u32::to_le_bytes).concat();
        bytes.extend([3u32, 12, 0].map(u32::to_le_bytes).concat());
        let found = messages(&bytes).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!((found[1].0, found[1].1 .0, found[1].2.len()), (12, 3, 12));
        assert!(messages(&[]).is_err());
        for cut in 1..bytes.len() {
            assert_eq!(messages(&bytes[..cut]).is_ok(), cut == 12, "{cut}");
        }
        bytes[4] = 7;
        assert!(messages(&bytes).is_err(), "shorter than its header");
    }
}
