// SPDX-License-Identifier: GPL-2.0

//! What the card does wrong on purpose: packets that precede the proper ones, and answers in their place.

use rlis_proto::rndis::Ppis;

use super::outgoing::{piece, Message, Outgoing, Wrong};
use super::*;
use crate::faults::Fault;
use crate::netvsp::encode::poke;

/// Places in a packet message: type, length, offset and length of the frame, of the information, and size and offset of
/// its first piece.
const KIND: usize = 0;
const LENGTH: usize = 4;
const DATA_OFFSET: usize = 8;
const DATA_LENGTH: usize = 12;
const INFO_OFFSET: usize = 28;
const INFO_LENGTH: usize = 32;
const INFO_SIZE: usize = 44;
const INFO_VALUE: usize = 52;

/// Faults of messages: place and value.
const WORDS: [(Fault, usize, u64); 8] = [
    (Fault::NetMessageType, KIND, 0x7f),
    (Fault::NetMessageLength, LENGTH, 0xffff_ffff),
    (Fault::NetDataOffset, DATA_OFFSET, 0xffff_ffff),
    (Fault::NetDataLength, DATA_LENGTH, 5),
    (Fault::NetInfoOffset, INFO_OFFSET, 8),
    (Fault::NetInfoLength, INFO_LENGTH, 0xffff_ffff),
    (Fault::NetInfoSize, INFO_SIZE, 0),
    (Fault::NetInfoValue, INFO_VALUE, 0xffff),
];

impl Nic {
    /// Wrong packets that are to go in front of `right`, one for each fault that is armed.
    pub(super) fn wrong_ones(&self, channel: &Channel, right: &Outgoing) -> Vec<Outgoing> {
        let faults = &channel.context.faults;
        let name = &self.spec.name;
        let take = |fault, default| {
            let value = faults.take(name, fault, default)?;
            Some(u32::try_from(value).unwrap_or(u32::MAX))
        };
        let Some(Message::Frame { info, bytes }) = right.messages.first() else {
            return Vec::new();
        };
        // There is some information that can be wrong.
        let info = Ppis {
            hash_value: info.hash_value.or(Some(1)),
            packet_id: None,
            ..*info
        };
        let mut found: Vec<Wrong> = WORDS
            .iter()
            .filter_map(|(fault, at, default)| Some(Wrong::Word(*at, take(*fault, *default)?)))
            .collect();
        type Other = (Fault, u64, fn(u32) -> Wrong);
        let others: [Other; 5] = [
            (Fault::NetRangeOffset, 0xffff_f000, Wrong::RangeOffset),
            (Fault::NetRangeLength, 0x10_0000, Wrong::RangeLength),
            (Fault::NetRangeCount, 0xffff, Wrong::RangeCount),
            (Fault::NetRangeSet, 7, |set| Wrong::Set(set as u16)),
            (Fault::NetTransactionZero, 0, |_| Wrong::TransactionZero),
        ];
        for (fault, default, wrong) in others {
            found.extend(take(fault, default).map(wrong));
        }
        let frame = |info| Message::Frame {
            info,
            bytes: bytes.clone(),
        };
        let packet = |messages, wrong| Outgoing {
            queue: right.queue,
            messages,
            wrong: Some(wrong),
        };
        let mut all: Vec<Outgoing> = found
            .into_iter()
            .map(|wrong| packet(vec![frame(info)], wrong))
            .collect();
        let part = |flags| {
            frame(Ppis {
                packet_id: Some(piece(flags)),
                ..info
            })
        };
        let mut pieces = |fault, default, make: &dyn Fn(usize) -> Vec<Message>| {
            if let Some(value) = take(fault, default) {
                all.push(packet(make(value as usize), Wrong::Pieces));
            }
        };
        let (first, last) = (rndis::PKTINFO_FIRST, rndis::PKTINFO_LAST);
        pieces(Fault::NetPieceNoFirst, 0, &|_| vec![part(last)]);
        pieces(Fault::NetPieceNoLast, 0, &|_| vec![part(first), part(0)]);
        pieces(Fault::NetPieceCount, 563, &|count| {
            let mut parts = vec![part(first)];
            parts.resize(count.clamp(1, 1000), part(0));
            parts
        });
        all
    }

    /// Sends an answer to an RNDIS request, or what a fault makes of it.
    pub(super) fn answer(&self, state: &mut State, channel: &Arc<Channel>, mut bytes: Vec<u8>) {
        let faults = &channel.context.faults;
        let name = &self.spec.name;
        let take = |fault, default| {
            let value = faults.take(name, fault, default)?;
            Some(u32::try_from(value).unwrap_or(u32::MAX))
        };
        if faults.hit(name, Fault::NetNoAnswer) {
            return;
        }
        if let Some(id) = take(Fault::NetAnswerId, 0x7fff_0001) {
            let mut other = bytes.clone();
            poke(&mut other, 8, id);
            self.deliver_control(state, other);
        }
        for (fault, at, default) in [
            (Fault::NetAnswerType, 0, 0x8000_0008),
            (Fault::NetAnswerStatus, 12, 0xc000_0001),
            (Fault::NetAnswerLength, 16, 0x1000),
            (Fault::NetAnswerOffset, 20, 0xffff_fff0),
        ] {
            if let Some(value) = take(fault, default) {
                poke(&mut bytes, at, value);
            }
        }
        if let Some(len) = take(Fault::NetAnswerSize, 12) {
            poke(&mut bytes, 4, len);
            bytes.resize(len as usize % 1500, 0);
        }
        if let Some(ms) = take(Fault::NetSlowAnswer, 1000) {
            let this = self.this.clone();
            thread::spawn(move || {
                thread::sleep(Duration::from_millis(ms.into()));
                if let Some(nic) = this.upgrade() {
                    nic.deliver_control(&mut nic.state(), bytes);
                }
            });
            return;
        }
        if faults.hit(name, Fault::NetAnswerTwice) {
            self.deliver_control(state, bytes.clone());
        }
        self.deliver_control(state, bytes);
    }
}
