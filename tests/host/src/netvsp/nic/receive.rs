// SPDX-License-Identifier: GPL-2.0

//! What the guest gets: messages in sections of its receive buffer, several in a packet or one, on the channel that its
//! table of flows names.

use rlis_proto::nvsp::{completion_status, ChannelType, RndisPacket, VSC_8021Q};
use rlis_proto::ring::packet::{TransferPageHeader, TransferPageRange};
use rlis_proto::rndis::{
    encode_packet, toeplitz, Ppis, RxChecksum, MAX_HEADER_SIZE, PKTINFO_FIRST, PKTINFO_LAST,
};
use zerocopy::IntoBytes;

use super::outgoing::{piece, Message, Outgoing};
use super::start::OPENVMM_FRAME;
use super::*;
use crate::netvsp::coalesce::{coalesce, Pieces};
use crate::netvsp::encode::poke;
use crate::netvsp::offload::{flow, untag, verified};

/// Frames that wait for sections of the receive buffer, at most.
const MAX_WAITING: usize = 2048;

impl Nic {
    /// Sends an answer or an indication.
    pub(super) fn deliver_control(&self, state: &mut State, message: Vec<u8>) {
        state.waiting.push_back(Outgoing {
            queue: 0,
            messages: vec![Message::Control(message)],
            wrong: None,
        });
        self.flush(state);
    }

    /// Sends frames to the guest, as far as it wants them, or lets them wait for free sections.
    pub(super) fn deliver_frames(&self, state: &mut State, mut frames: Vec<Vec<u8>>) {
        if !state.up {
            return;
        }
        frames = self.to_function(state, frames);
        if !state.initialised {
            return;
        }
        frames.retain(|f| state.wants(f));
        let right = |f: &Vec<u8>| {
            verified(f, &state.enabled).is_some_and(|v| v.has(RxChecksum::TCP_SUCCEEDED))
        };
        let groups: Vec<Pieces> = if state.enabled.rsc && frames.iter().all(right) {
            coalesce(frames)
        } else {
            frames.into_iter().map(|f| vec![f]).collect()
        };
        let mut packets: Vec<Outgoing> = Vec::new();
        for pieces in groups {
            if state.waiting.len() + packets.len() >= MAX_WAITING {
                state.counts.dropped += 1;
                continue;
            }
            state.counts.coalesced += u64::from(pieces.len() > 1);
            let (queue, messages) = Self::messages(state, pieces);
            match packets.last_mut() {
                Some(packet)
                    if packet.queue == queue
                        && packet.messages.len() + messages.len() <= self.spec.batch =>
                {
                    packet.messages.extend(messages);
                }
                _ => packets.push(Outgoing {
                    queue,
                    messages,
                    wrong: None,
                }),
            }
        }
        for packet in packets {
            if let Some(channel) = state.channels.get(&0).cloned() {
                state.waiting.extend(self.wrong_ones(&channel, &packet));
            }
            state.waiting.push_back(packet);
        }
        self.flush(state);
    }

    /// Makes messages of the pieces of a frame, and tells which channel they belong on.
    fn messages(state: &State, mut pieces: Pieces) -> (u16, Vec<Message>) {
        let count = pieces.len();
        let mut info = Ppis::default();
        let mut queue = 0;
        if let Some(first) = pieces.first_mut() {
            info.checksum = if count == 1 {
                verified(first, &state.enabled).map(|v| v.0)
            } else {
                // The fields in the headers are those of the first segment.
                Some(
                    RxChecksum::TCP_SUCCEEDED
                        | RxChecksum::IP_SUCCEEDED
                        | RxChecksum::TCP_VALUE_INVALID
                        | RxChecksum::IP_VALUE_INVALID,
                )
            };
            if let Some(spread) = &state.spread {
                if let Some((kind, input)) = flow(first, spread.kinds) {
                    let hash = toeplitz(&spread.key, input);
                    info.hash_value = Some(hash);
                    info.hash_info = Some(kind | rndis::HASH_TOEPLITZ);
                    let entry = spread.table.get(hash as usize % spread.table.len().max(1));
                    // A table may name channels that are not open yet.
                    let wanted = entry.and_then(|e| u16::try_from(*e).ok());
                    queue = wanted
                        .filter(|q| state.channels.contains_key(q))
                        .unwrap_or(0);
                }
            }
            if state.capability & VSC_8021Q != 0 {
                info.vlan = untag(first).map(|v| v.0);
            }
        }
        let messages = pieces.into_iter().enumerate().map(|(n, bytes)| {
            let mut info = if n == 0 { info } else { Ppis::default() };
            if count > 1 {
                let first = if n == 0 { PKTINFO_FIRST } else { 0 };
                let last = if n + 1 == count { PKTINFO_LAST } else { 0 };
                info.packet_id = Some(piece(first | last));
            }
            Message::Frame { info, bytes }
        });
        (queue, messages.collect())
    }

    /// Sends what waits, as far as there are free sections.
    fn flush(&self, state: &mut State) {
        let State {
            receive: Some(receive),
            channels,
            waiting,
            counts,
            ..
        } = state
        else {
            state.waiting.clear();
            return;
        };
        while let Some(packet) = waiting.front() {
            let total = receive.loan.pages.len() / receive.section;
            let needed = packet.messages.len();
            if needed > receive.free.len() && needed <= total {
                return;
            }
            let channel = channels.get(&packet.queue).or_else(|| channels.get(&0));
            let (Some(channel), true) = (channel, needed <= total) else {
                counts.dropped += 1;
                waiting.pop_front();
                continue;
            };
            match self.send(receive, channel, packet) {
                Ok(()) if packet.wrong.is_none() => counts.count(packet),
                Ok(()) => {}
                Err(_) => counts.dropped += 1,
            }
            waiting.pop_front();
        }
    }

    /// A message as it lies in a section of `section` bytes, and how long its range says that it is.
    fn encode(&self, message: &Message, section: usize) -> Result<(Vec<u8>, usize)> {
        let Message::Frame { info, bytes } = message else {
            let Message::Control(bytes) = message else {
                unreachable!("there are two kinds of messages")
            };
            return Ok((bytes.clone(), bytes.len()));
        };
        let mut out = vec![0; MAX_HEADER_SIZE as usize];
        let front = encode_packet(&mut out, info, u32::try_from(bytes.len())?, 0)?;
        out.truncate(front as usize);
        if self.spec.mode == Mode::OpenVmm {
            // Message and range are as long as the section.
            poke(&mut out, 4, u32::try_from(section)?);
            poke(&mut out, 8, OPENVMM_FRAME as u32 - 8);
            out.resize(OPENVMM_FRAME, 0);
            out.extend(bytes);
            return Ok((out, section));
        }
        out.extend(bytes);
        let len = out.len();
        Ok((out, len))
    }

    fn send(
        &self,
        receive: &mut ReceiveBuffer,
        channel: &Channel,
        packet: &Outgoing,
    ) -> Result<()> {
        let mut ranges = Vec::new();
        let mut sections = Vec::new();
        for (n, message) in packet.messages.iter().enumerate() {
            let (mut bytes, len) = self.encode(message, receive.section)?;
            ensure!(
                bytes.len() <= receive.section,
                "a message of {} bytes in a section of {}",
                bytes.len(),
                receive.section
            );
            if let (0, Some(wrong)) = (n, &packet.wrong) {
                wrong.message(&mut bytes);
            }
            let section = *receive.free.get(n).context("no free section")?;
            let offset = section * receive.section;
            receive.loan.pages.write(offset, &bytes)?;
            sections.push(section);
            ranges.push(TransferPageRange {
                // Both are below the 32 MiB that a GPADL can have.
                byte_count: len as u32,
                byte_offset: offset as u32,
            });
        }
        receive.free.drain(..sections.len());
        let mut transaction = receive.next_transaction;
        receive.next_transaction += 1;
        let mut head = TransferPageHeader {
            xfer_pageset_id: receive.id,
            sender_owns_set: 0,
            reserved: 0,
            range_cnt: ranges.len() as u32,
        };
        if let Some(wrong) = &packet.wrong {
            wrong.packet(&mut head, &mut ranges, &mut transaction);
        }
        receive
            .in_flight
            .insert(transaction, (sections, channel.sub_index));
        let mut header = head.as_bytes().to_vec();
        for range in &ranges {
            header.extend(range.as_bytes());
        }
        let kind = match packet.messages.first() {
            Some(Message::Control(_)) => ChannelType::RMC_CONTROL,
            _ => ChannelType::RMC_DATA,
        };
        let message = RndisPacket::in_pages(kind).to_vec();
        channel.send_transfer_pages(transaction, header, message);
        Ok(())
    }

    /// The guest has taken what a packet of ours pointed to.
    pub(super) fn completed(
        &self,
        channel: &Channel,
        transaction: u64,
        payload: &[u8],
    ) -> Result<()> {
        let status = completion_status(payload)?;
        let mut state = self.state();
        // A completion may cross the message that revokes the buffer.
        let Some(receive) = state.receive.as_mut() else {
            return Ok(());
        };
        let (sections, queue) = receive
            .in_flight
            .remove(&transaction)
            .with_context(|| format!("a completion of transaction {transaction}, which is none"))?;
        receive.free.extend(sections);
        // Linux refuses frames that come before its interface is registered.
        if status != Status::NVSP_STAT_SUCCESS {
            state.counts.refused_by_guest += 1;
        }
        self.flush(&mut state);
        ensure!(
            queue == channel.sub_index,
            "a completion on channel {} of a packet on channel {queue}",
            channel.sub_index
        );
        Ok(())
    }
}

impl Counts {
    fn count(&mut self, packet: &Outgoing) {
        self.batches += u64::from(packet.messages.len() > 1);
        for message in &packet.messages {
            let Message::Frame { info, bytes } = message else {
                continue;
            };
            // A coalesced frame is one.
            let flags = info.piece().map_or(PKTINFO_FIRST, |p| p.flag);
            self.received_frames += u64::from(flags & PKTINFO_FIRST != 0);
            self.received_bytes += bytes.len() as u64;
        }
    }
}

impl State {
    /// Whether the guest's filter lets a frame through.
    pub(super) fn wants(&self, frame: &[u8]) -> bool {
        let Some(to) = frame.get(..6).map(EthernetAddress::from_bytes) else {
            return false;
        };
        let kind = if to.is_broadcast() {
            rndis::FILTER_BROADCAST
        } else if to.is_multicast() {
            rndis::FILTER_MULTICAST | rndis::FILTER_ALL_MULTICAST
        } else if to == self.mac {
            rndis::FILTER_DIRECTED
        } else {
            0
        };
        self.filter & (kind | rndis::FILTER_PROMISCUOUS) != 0
    }
}
