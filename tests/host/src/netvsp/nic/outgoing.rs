// SPDX-License-Identifier: GPL-2.0

//! What is on its way to the guest: messages, packets of them, and what is to be wrong with a packet.

use rlis_proto::ring::packet::{TransferPageHeader, TransferPageRange};
use rlis_proto::rndis::{PacketId, Ppis, PKTINFO_SUBALLOC};

use crate::netvsp::encode::poke;

/// A message on its way to the guest.
#[derive(Clone, Debug)]
pub(super) enum Message {
    /// As it is.
    Control(Vec<u8>),
    /// A frame, or a piece of one.
    Frame { info: Ppis, bytes: Vec<u8> },
}

/// What goes to the guest in one packet.
#[derive(Clone, Debug)]
pub(super) struct Outgoing {
    pub queue: u16,
    pub messages: Vec<Message>,
    /// What is wrong with it.
    pub wrong: Option<Wrong>,
}

/// What is wrong with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// The word at this place of the message.
    Word(usize, u32),
    /// The offset of its range.
    RangeOffset(u32),
    /// The length of its range.
    RangeLength(u32),
    /// The number of ranges.
    RangeCount(u32),
    /// The buffer that it names.
    Set(u16),
    /// Its transaction is 0.
    TransactionZero,
    /// Which pieces of a frame it has.
    Pieces,
}

impl Wrong {
    /// Spoils a message.
    pub(super) fn message(&self, bytes: &mut [u8]) {
        if let Self::Word(at, value) = *self {
            poke(bytes, at, value);
        }
    }

    /// Spoils a packet.
    pub(super) fn packet(
        &self,
        head: &mut TransferPageHeader,
        ranges: &mut [TransferPageRange],
        transaction: &mut u64,
    ) {
        let first = ranges.first_mut();
        match (*self, first) {
            (Self::RangeOffset(offset), Some(range)) => range.byte_offset = offset,
            (Self::RangeLength(len), Some(range)) => range.byte_count = len,
            (Self::RangeCount(count), _) => head.range_cnt = count,
            (Self::Set(set), _) => head.xfer_pageset_id = set,
            (Self::TransactionZero, _) => *transaction = 0,
            _ => {}
        }
    }
}

/// A packet id with these flags.
pub(super) fn piece(flags: u8) -> u32 {
    PacketId {
        ver: 1,
        flag: PKTINFO_SUBALLOC | flags,
        pkt_id: 0,
    }
    .word()
}
