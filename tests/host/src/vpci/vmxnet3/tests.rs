// SPDX-License-Identifier: GPL-2.0

//! A card and a driver with the smallest rings that there are.

use vm_memory::{Bytes, GuestAddress};

use super::*;
use crate::memory::allocate;
use crate::netvsp::offload::tests::tcp;

const MAC: EthernetAddress = EthernetAddress([0, 0x15, 0x5D, 0, 1, 0]);
/// Above what the guest of other tests uses.
const BASE: u64 = 0x20_0000;
const SHARED: u64 = BASE + 0x1000;
const QUEUES: u64 = BASE + 0x2000;
const TX_RING: u64 = BASE + 0x4000;
const TX_DONE: u64 = BASE + 0x4400;
const RX_RING: u64 = BASE + 0x5000;
const RX_RING2: u64 = BASE + 0x5400;
const RX_DONE: u64 = BASE + 0x5800;
const GROUPS: u64 = BASE + 0x6000;
const BUFFERS: u64 = BASE + 0x1_0000;
const SENT: u64 = BASE + 0x8_0000;
const SIZE: u32 = 32;
const HEAD: u32 = 1514;
const GEN: u32 = 1 << 31;

struct Driver {
    card: Card,
    memory: Memory,
    /// Next descriptors: to send, completed, received.
    next: [u32; 3],
}

/// Writes what a driver tells the card before it activates it, and returns where that is.
pub(in crate::vpci) fn lay_out(memory: &Memory) -> u64 {
    let put = |at, value: u32| memory.write_obj(value, GuestAddress(at)).unwrap();
    put(SHARED, 3_133_079_265);
    put(SHARED + 24, 5);
    put(SHARED + 40, QUEUES as u32);
    put(SHARED + 56, 1500);
    put(SHARED + 60, 0x0101_0000);
    put(SHARED + 80, 0x0101);
    put(SHARED + 120, 0x1 | 0x4);
    put(SHARED + 136, 1);
    put(QUEUES + 16, TX_RING as u32);
    put(QUEUES + 16 + 16, TX_DONE as u32);
    put(QUEUES + 16 + 40, SIZE);
    put(QUEUES + 16 + 48, SIZE);
    let rx = QUEUES + 256 + 16;
    put(rx, RX_RING as u32);
    put(rx + 8, RX_RING2 as u32);
    put(rx + 16, RX_DONE as u32);
    put(rx + 40, SIZE);
    put(rx + 44, SIZE);
    put(rx + 48, 2 * SIZE);
    SHARED
}

/// Gives the card a frame to send, and a buffer for one. Returns where the bytes of the second come.
pub(in crate::vpci) fn give_both(memory: &Memory, frame: &[u8]) -> u64 {
    let put = |at, value: u32| memory.write_obj(value, GuestAddress(at)).unwrap();
    memory.write_slice(frame, GuestAddress(SENT)).unwrap();
    put(TX_RING, SENT as u32);
    put(TX_RING + 12, (1 << 12) | (1 << 13));
    put(TX_RING + 8, frame.len() as u32 | (1 << 14));
    put(RX_RING, BUFFERS as u32);
    put(RX_RING + 8, HEAD | GEN);
    BUFFERS
}

impl Driver {
    fn new() -> Self {
        let driver = Self {
            card: Card::new(MAC),
            memory: allocate(4 << 20).unwrap(),
            next: [0; 3],
        };
        lay_out(&driver.memory);
        driver
    }

    /// A card that is active, with all buffers but one its own.
    fn active() -> Self {
        let mut driver = Self::new();
        for n in 0..SIZE - 1 {
            driver.give(RX_RING, n, u64::from(n) * 0x800, HEAD, true);
        }
        assert_eq!(driver.activate().unwrap(), 0);
        driver.write(0, IMR, 0).unwrap();
        driver
    }

    fn activate(&mut self) -> Result<u32> {
        self.write(1, DSAL, SHARED as u32)?;
        self.write(1, DSAH, 0)?;
        let result = self.write(1, CMD, ACTIVATE_DEV);
        let answer = self.register(1, CMD);
        result.map(|_| answer)
    }

    fn put(&self, at: u64, value: u32) {
        self.memory.write_obj(value, GuestAddress(at)).unwrap();
    }

    fn get(&self, at: u64) -> u32 {
        self.memory.read_obj(GuestAddress(at)).unwrap()
    }

    fn bytes(&self, at: u64, len: usize) -> Vec<u8> {
        Dma(&self.memory).bytes(at, len).unwrap()
    }

    fn write(&mut self, bar: usize, at: u64, value: u32) -> Result<Frames> {
        let mut sent = Frames::new();
        let data = value.to_le_bytes();
        let memory = Some(&self.memory);
        self.card.write(bar, at, &data, memory, &mut sent)?;
        Ok(sent)
    }

    fn register(&mut self, bar: usize, at: u64) -> u32 {
        let mut data = [0; 4];
        self.card.read(bar, at, &mut data).unwrap();
        u32::from_le_bytes(data)
    }

    /// Gives the card a buffer.
    fn give(&self, ring: u64, n: u32, offset: u64, word: u32, generation: bool) {
        let at = ring + u64::from(n % SIZE) * 16;
        self.put(at, (BUFFERS + offset) as u32);
        self.put(at + 4, 0);
        self.put(at + 8, word | if generation { GEN } else { 0 });
    }

    /// Puts a packet into the transmit queue, cut into `pieces`; `first` and `last` are what its first descriptor has in
    /// its words beside lengths, and returns what is sent.
    fn send(&mut self, pieces: &[&[u8]], first: u32, last: u32) -> Result<Frames> {
        let mut offset = SENT;
        let count = pieces.len();
        for (n, piece) in pieces.iter().enumerate() {
            let index = self.next[0];
            self.next[0] += 1;
            let at = TX_RING + u64::from(index % SIZE) * 16;
            self.memory
                .write_slice(piece, GuestAddress(offset))
                .unwrap();
            self.put(at, offset as u32);
            self.put(at + 4, 0);
            let (mut word2, mut word3) = (piece.len() as u32, 0);
            if n == 0 {
                (word2, word3) = (word2 | first, last);
            }
            if n + 1 == count {
                word3 |= (1 << 12) | (1 << 13);
            }
            self.put(at + 12, word3);
            let generation = (index / SIZE) % 2 == 0;
            self.put(at + 8, word2 | if generation { 1 << 14 } else { 0 });
            offset += 0x1_0000;
        }
        self.write(0, TXPROD, self.next[0] % SIZE)
    }

    /// The descriptor whose packet was completed next.
    fn completed(&mut self) -> u32 {
        let index = self.next[1];
        self.next[1] += 1;
        let at = TX_DONE + u64::from(index % SIZE) * 16;
        let generation = self.get(at + 12) & GEN != 0;
        assert_eq!(generation, (index / SIZE) % 2 == 0, "no completion");
        self.get(at)
    }

    /// The next completion of the receive queue.
    fn received(&mut self) -> Option<[u32; 4]> {
        let index = self.next[2];
        let at = RX_DONE + u64::from(index % (2 * SIZE)) * 16;
        let words = [0, 4, 8, 12].map(|n| self.get(at + n));
        let there = (words[3] & GEN != 0) == ((index / (2 * SIZE)) % 2 == 0);
        there.then(|| {
            self.next[2] += 1;
            words
        })
    }

    fn come(&mut self, frames: &[Vec<u8>]) -> usize {
        self.card.receive(frames, Some(&self.memory)).unwrap()
    }
}

pub(in crate::vpci) fn frame(to: [u8; 6], len: usize) -> Vec<u8> {
    let mut frame = to.to_vec();
    frame.extend([2, 0, 0, 0, 0, 9, 0x88, 0xB5]);
    frame.extend((14..len).map(|n| n as u8));
    frame
}

#[test]
fn the_card_tells_who_it_is() {
    let mut d = Driver::new();
    assert_eq!(d.register(1, VRRS), 1);
    assert_eq!(d.register(1, UVRS), 1);
    assert_eq!(d.register(1, MACL), 0x005D_1500);
    assert_eq!(d.register(1, MACH), 0x0001);
    for (command, answer) in [
        (GET_PERM_MAC_LO, 0x005D_1500),
        (GET_PERM_MAC_HI, 1),
        (GET_CONF_INTR, 2),
        (GET_LINK, LINK_UP),
    ] {
        d.write(1, CMD, command).unwrap();
        assert_eq!(d.register(1, CMD), answer, "{command:#x}");
    }
    d.write(1, MACH, 0x0302).unwrap();
    assert_eq!(d.card.mac.0, [0, 0x15, 0x5D, 0, 2, 3]);
    assert!(d.write(1, CMD, 0xCAFE_0099).is_err());
    assert!(d.write(1, 0x44, 1).is_err());
    assert!(d.card.read(1, CMD, &mut [0; 2]).is_err());
    assert!(d
        .card
        .write(0, IMR, &[0; 8], Some(&d.memory), &mut Frames::new())
        .is_err());
}

#[test]
fn what_makes_no_sense_is_not_activated() {
    for (at, wrong) in [
        (SHARED, 0),
        (SHARED + 56, 59),
        (SHARED + 56, 9001),
        (SHARED + 60, 0x0201_0000),
        (SHARED + 60, 0x0109_0000),
        (SHARED + 60, 0x0100_0000),
        (SHARED + 80, 0x0100),
        (QUEUES + 16, TX_RING as u32 + 16),
        (QUEUES + 16 + 40, 33),
        (QUEUES + 16 + 40, 0),
        (QUEUES + 256 + 16 + 48, 1 << 20),
        (SHARED + 44, 1),
    ] {
        let mut d = Driver::new();
        d.put(at, wrong);
        assert!(d.activate().is_err(), "{at:#x}");
        assert_eq!(d.register(1, CMD), 1, "{at:#x}");
        assert_eq!(d.come(&[frame(MAC.0, 60)]), 1);
    }
    let mut d = Driver::active();
    assert!(d.activate().is_err(), "twice");
    d.write(1, CMD, QUIESCE_DEV).unwrap();
    assert_eq!(d.activate().unwrap(), 0);
    let command = ACTIVATE_DEV.to_le_bytes();
    d.write(1, CMD, RESET_DEV).unwrap();
    let slave = d.card.write(1, CMD, &command, None, &mut Frames::new());
    assert!(slave.is_err(), "the function is no bus master");
}

#[test]
fn frames_are_sent_in_pieces_and_completed() {
    let mut d = Driver::active();
    let whole = frame([0xFF; 6], 100);
    let mut last = 0;
    // Twice around the ring and more.
    for round in 0..30 {
        let pieces: [&[u8]; 3] = [&whole[..14], &whole[14..15], &whole[15..]];
        assert_eq!(d.send(&pieces, 0, 0).unwrap(), [whole.clone()], "{round}");
        last = d.completed();
        assert!(d.card.take_interrupt(), "{round}");
        d.write(0, IMR, 0).unwrap();
    }
    assert_eq!(last, 89 % SIZE);
    assert!(d.write(0, TXPROD, 0).unwrap().is_empty());
    let mut tagged = whole.clone();
    tagged.splice(12..12, [0x81, 0, 0x20, 7]);
    let sent = d.send(&[&whole], 0, (1 << 15) | (0x2007 << 16)).unwrap();
    assert_eq!(sent, [tagged]);
    d.write(1, CMD, GET_STATS).unwrap();
    assert_eq!(d.get(QUEUES + 88 + 8 * BCAST as u64), 31);
    assert_eq!(d.get(QUEUES + 88 + 8 * BCAST as u64 + 8), 31 * 100 + 4);
    assert!(d.write(0, TXPROD + 8, 0).is_err(), "there is one queue");
}

#[test]
fn checksums_are_computed_and_large_sends_cut() {
    let mut d = Driver::active();
    for v6 in [false, true] {
        let right = tcp(v6, 1, &[7; 100]);
        let at = if v6 { 54 } else { 34 };
        // As Linux leaves it: the sum of the pseudo-header.
        let mut asked = right.clone();
        asked[at + 16..at + 18].fill(0);
        checksum_of_pseudo_header(&mut asked, at, v6, 20 + 100);
        let value = (at as u32 + 16) << 18;
        let sent = d.send(&[&asked], value, at as u32 | (2 << 10)).unwrap();
        assert_eq!(sent, [right]);

        let mut large = tcp(v6, 1, &[9; 3000]);
        checksum_of_pseudo_header(&mut large, at, v6, 0);
        let asked = (at as u32 + 20) | (3 << 10);
        let sent = d.send(&[&large[..at + 20], &large[at + 20..]], 1000 << 18, asked);
        let expected = [1, 1001, 2001].map(|seq| tcp(v6, seq, &[9; 1000]));
        let sent = sent.unwrap();
        assert_eq!(sent.len(), 3);
        for (got, want) in sent.iter().zip(&expected) {
            assert_eq!(got.len(), want.len());
            assert_eq!(got[at..at + 8], want[at..at + 8], "ports and number");
        }
    }
    assert_eq!(d.card.counts.sent, 8);
    let mut short = tcp(false, 1, &[1; 10]);
    short.truncate(40);
    let asked = (0xFFFu32 << 18, 34 | (2 << 10));
    assert!(d.send(&[&short], asked.0, asked.1).is_err());
}

fn checksum_of_pseudo_header(frame: &mut [u8], at: usize, v6: bool, len: u16) {
    let addresses = if v6 { 22..54 } else { 26..34 };
    let words = frame[addresses].chunks(2);
    let mut sum: u32 = words
        .map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])))
        .sum();
    sum += 6 + u32::from(len);
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    frame[at + 16..at + 18].copy_from_slice(&(sum as u16).to_be_bytes());
}

#[test]
fn a_packet_that_is_wrong_stops_its_queue() {
    let mut d = Driver::active();
    // A first descriptor without the rest.
    d.put(TX_RING, SENT as u32);
    d.put(TX_RING + 8, 60 | (1 << 14));
    assert!(d.write(0, TXPROD, 1).is_err());
    d.write(1, CMD, GET_QUEUE_STATUS).unwrap();
    assert_eq!(d.get(QUEUES + 80), 1);
    assert!(d.write(0, TXPROD, 1).unwrap().is_empty());
    let mut d = Driver::active();
    let long = vec![0; 1519];
    let sent = d.send(&[&long], 0, 0).unwrap();
    assert!(sent.is_empty(), "longer than the MTU");
    assert_eq!(d.card.counts.too_long, 1);
    let mut d = Driver::active();
    let some = [0; 60];
    assert!(d.send(&[&some], 0, 1 << 10).is_err(), "an unknown mode");
    d.put(TX_RING + 16, u32::MAX);
    d.put(TX_RING + 24, 60 | (1 << 14));
    assert!(d.write(0, TXPROD, 2).is_err(), "no memory there");
}

#[test]
fn frames_come_in_buffers() {
    let mut d = Driver::active();
    let one = frame(MAC.0, 60);
    assert_eq!(d.come(&[one.clone()]), 0);
    assert!(d.card.take_interrupt());
    assert!(!d.card.take_interrupt());
    let words = d.received().unwrap();
    assert_eq!(words[0], (1 << 14) | (1 << 15) | (1 << 30), "of buffer 0");
    assert_eq!((words[2], words[3] & !GEN), (60, (3 << 24) | (1 << 23)));
    assert_eq!(d.bytes(BUFFERS, 60), one);
    // Masked until the guest has had a look.
    assert_eq!(d.come(&[one.clone()]), 0);
    assert!(!d.card.take_interrupt());
    d.write(0, IMR, 0).unwrap();
    assert!(d.card.take_interrupt());
    // The last buffer is the driver's.
    assert_eq!(d.come(&vec![one.clone(); 31]), 2);
    d.write(1, CMD, GET_STATS).unwrap();
    let stats = QUEUES + 256 + 88;
    assert_eq!(d.get(stats + 8 * UCAST as u64), 31);
    assert_eq!(d.get(stats + 8 * RX_NO_BUFFER as u64), 2);
    while d.received().is_some() {}
    assert_eq!(d.next[2], 31);
    // Around the ring.
    d.give(RX_RING, 31, 0x4000, HEAD, true);
    d.give(RX_RING, 32, 0x5000, HEAD, false);
    assert_eq!(d.come(&vec![one.clone(); 2]), 0);
    assert_eq!(d.received().unwrap()[0] & 0xFFF, 31);
    assert_eq!(d.received().unwrap()[0] & 0xFFF, 0);
    assert!(d.card.describe().contains(" received=33 frames_lost=2 "));
}

#[test]
fn a_long_frame_takes_several_buffers() {
    let mut d = Driver::new();
    d.put(SHARED + 56, 9000);
    let body = 1 << 14;
    // Heads and bodies by turns in the first ring, bodies in the second.
    for n in 0..6 {
        let word = if n % 2 == 0 { 1000 } else { body | 512 };
        d.give(RX_RING, n, u64::from(n) * 0x1000, word, true);
        d.give(
            RX_RING2,
            n,
            0x1_0000 + u64::from(n) * 0x1000,
            body | 4096,
            true,
        );
    }
    assert_eq!(d.activate().unwrap(), 0);
    let long = frame(MAC.0, 6000);
    assert_eq!(d.come(&[frame(MAC.0, 80), long.clone()]), 0);
    assert_eq!(d.received().unwrap()[0] & 0xFFF, 0);
    let mut all = Vec::new();
    let mut places = Vec::new();
    loop {
        let words = d.received().unwrap();
        let (ring, index) = ((words[0] >> 16) & 0x3FF, words[0] & 0xFFF);
        let at = BUFFERS + u64::from(ring) * 0x1_0000 + u64::from(index) * 0x1000;
        all.extend(d.bytes(at, (words[2] & 0x3FFF) as usize));
        places.push((ring, index, words[0] & (1 << 15) != 0));
        if words[0] & (1 << 14) != 0 {
            break;
        }
    }
    assert_eq!(all, long);
    let expected = [(0, 2, true), (0, 3, false), (1, 0, false), (1, 1, false)];
    assert_eq!(places, expected);
    // One more head, and too few bodies for so long a frame: nothing of it is told.
    let most = vec![frame(MAC.0, 9014); 2];
    assert_eq!(d.come(&most), 1);
}

#[test]
fn checksums_and_tags_of_what_comes() {
    let mut d = Driver::active();
    for v6 in [false, true] {
        let mut right = tcp(v6, 5, b"data");
        right[..6].copy_from_slice(&MAC.0);
        let mut wrong = right.clone();
        *wrong.last_mut().unwrap() ^= 1;
        let mut tagged = right.clone();
        tagged.splice(12..12, [0x81, 0, 0, 0]);
        assert_eq!(d.come(&[right.clone(), wrong, tagged]), 0);
        let ip = if v6 { 1 << 20 } else { (1 << 21) | (1 << 19) };
        let words = d.received().unwrap();
        assert_eq!(words[0] & (1 << 30), 0);
        let known = words[3] & 0x7F_0000;
        assert_eq!(known, ip | (1 << 18) | (1 << 16), "{known:#x}");
        let words = d.received().unwrap();
        assert_eq!(((words[0] >> 30) & 1, words[3] & 0x7F_0000), (1, 0));
        let words = d.received().unwrap();
        assert_eq!(words[2], right.len() as u32 | (1 << 15), "the tag is out");
        assert_eq!(words[0] & (1 << 30), 0);
    }
    d.put(SHARED + 24, 0);
    d.write(1, CMD, UPDATE_FEATURE).unwrap();
    let mut right = tcp(false, 5, b"data");
    right[..6].copy_from_slice(&MAC.0);
    assert_eq!(d.come(&[right]), 0);
    assert_eq!((d.received().unwrap()[0] >> 30) & 1, 1, "nothing is told");
}

#[test]
fn filters_hold() {
    let mut d = Driver::active();
    let group = [1, 0, 0x5E, 0, 0, 1];
    let other = [0, 0x15, 0x5D, 9, 9, 9];
    let mut vlan = frame(MAC.0, 60);
    vlan.splice(12..12, [0x81, 0, 0, 7]);
    let all = [
        frame(group, 60),
        frame(other, 60),
        vlan,
        frame([0xFF; 6], 60),
    ];
    let came = |d: &mut Driver| {
        let before = d.card.counts.received;
        assert_eq!(d.come(&all), 0);
        d.card.counts.received - before
    };
    assert_eq!(came(&mut d), 1);
    d.put(SHARED + 136, 0x81);
    d.write(1, CMD, UPDATE_VLAN_FILTERS).unwrap();
    assert_eq!(came(&mut d), 2);
    d.memory.write_slice(&group, GuestAddress(GROUPS)).unwrap();
    d.put(SHARED + 120, 7);
    d.put(SHARED + 124, 6);
    d.put(SHARED + 128, GROUPS as u32);
    d.write(1, CMD, UPDATE_MAC_FILTERS).unwrap();
    assert_eq!(came(&mut d), 3);
    d.put(SHARED + 120, 0x10);
    d.write(1, CMD, UPDATE_RX_MODE).unwrap();
    assert_eq!(came(&mut d), 4);
    d.put(SHARED + 120, 0);
    d.write(1, CMD, UPDATE_RX_MODE).unwrap();
    assert_eq!(came(&mut d), 0);
}

#[test]
fn the_cable_is_pulled() {
    let mut d = Driver::active();
    let memory = d.memory.clone();
    d.card.set_link(false, &memory).unwrap();
    assert_eq!(d.get(SHARED + ECR), EVENT_LINK);
    assert!(d.card.take_interrupt());
    d.write(1, ECR_REGISTER, EVENT_LINK).unwrap();
    assert_eq!(d.get(SHARED + ECR), 0);
    d.write(1, CMD, GET_LINK).unwrap();
    assert_eq!(d.register(1, CMD), 0);
    let some = frame(MAC.0, 60);
    assert_eq!(d.come(&[some.clone()]), 1);
    assert!(d.send(&[&some], 0, 0).unwrap().is_empty());
    d.completed();
    d.card.reset();
    assert!(!d.card.up, "a reset plugs nothing in");
    d.card.set_idle_link(true);
    assert!(d.card.up);
}
