// SPDX-License-Identifier: GPL-2.0

//! Frames, and messages on their way through the receive buffer.

use rlis_proto::ring::packet::{TransferPageHeader, TransferPageRange};
use zerocopy::IntoBytes;

use super::*;

impl Nic {
    /// Takes a frame from the guest. Returns the peer's frames that the guest wants to see.
    pub(super) fn frame_from_guest(&self, state: &mut State, body: &[u8]) -> Result<Vec<Vec<u8>>> {
        ensure!(state.initialised, "a frame before RNDIS is initialised");
        let frame = rndis::frame(body)?;
        // A VLAN tag does not count.
        ensure!(
            (14..=state.frame + 4).contains(&frame.len()),
            "a frame of {} bytes; the longest has {}",
            frame.len(),
            state.frame
        );
        state.counts.sent_frames += 1;
        state.counts.sent_bytes += frame.len() as u64;
        if !state.up {
            return Ok(Vec::new());
        }
        let Some(peer) = state.peer.as_mut() else {
            return Ok(Vec::new());
        };
        let mut back = peer.exchange(frame.to_vec());
        back.retain(|f| state.wants(f));
        Ok(back)
    }

    /// Sends a message to the guest through the receive buffer, or lets it wait for a free section there.
    pub(super) fn deliver(&self, state: &mut State, channel_type: u32, message: Vec<u8>) {
        if channel_type == nvsp::CHANNEL_DATA && state.waiting.len() >= MAX_WAITING {
            state.counts.dropped += 1;
            return;
        }
        state.waiting.push_back((channel_type, message));
        self.flush(state);
    }

    /// Sends what waits, as far as there are free sections.
    fn flush(&self, state: &mut State) {
        let (Some(channel), Some(receive)) = (state.channel.clone(), state.receive.as_mut()) else {
            state.waiting.clear();
            return;
        };
        while let (Some((channel_type, message)), Some(section)) =
            (state.waiting.front(), receive.free.front().copied())
        {
            let offset = section * receive.section;
            let fits = message.len() <= receive.section;
            let written = fits && receive.loan.pages.write(offset, message).is_ok();
            if written {
                if *channel_type == nvsp::CHANNEL_DATA {
                    state.counts.received_frames += 1;
                    state.counts.received_bytes += message.len() as u64;
                }
                receive.free.pop_front();
                let transaction = receive.next_transaction;
                receive.next_transaction += 1;
                receive.in_flight.insert(transaction, vec![section]);
                let mut header = TransferPageHeader {
                    xfer_pageset_id: receive.id,
                    sender_owns_set: 0,
                    reserved: 0,
                    range_cnt: 1,
                }
                .as_bytes()
                .to_vec();
                header.extend(
                    TransferPageRange {
                        // Both are below the 32 MiB that a GPADL can have.
                        byte_count: message.len() as u32,
                        byte_offset: offset as u32,
                    }
                    .as_bytes(),
                );
                let words = [*channel_type, nvsp::NO_SECTION, 0];
                channel.send_transfer_pages(
                    transaction,
                    header,
                    nvsp::message(nvsp::SEND_RNDIS_PACKET, &words),
                );
            } else {
                state.counts.dropped += 1;
            }
            state.waiting.pop_front();
        }
    }

    /// The guest has taken what a packet of ours pointed to.
    pub(super) fn completed(&self, transaction: u64, type_: u32, payload: &[u8]) -> Result<()> {
        ensure!(
            type_ == nvsp::SEND_RNDIS_PACKET_COMPLETE,
            "a completion of type {type_}"
        );
        let status: u32 = body(payload)?;
        let mut state = self.state();
        // A completion may cross the message that revokes the buffer.
        let Some(receive) = state.receive.as_mut() else {
            return Ok(());
        };
        let sections = receive.in_flight.remove(&transaction);
        receive.free.extend(sections.with_context(|| {
            format!("a completion of transaction {transaction}, which is none")
        })?);
        // Linux refuses frames that come before its interface is registered.
        if status != nvsp::SUCCESS {
            state.counts.refused_by_guest += 1;
        }
        self.flush(&mut state);
        Ok(())
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
            rndis::FILTER_MULTICAST
        } else if to == self.mac {
            rndis::FILTER_DIRECTED
        } else {
            0
        };
        self.filter & (kind | rndis::FILTER_PROMISCUOUS) != 0
    }
}
