// SPDX-License-Identifier: GPL-2.0

//! Two sides of a ring on two threads under loom, which tries the interleavings and the weak-memory
//! behaviours that the C11 model allows. A lost wake-up shows as a deadlock, a missing acquire or release as
//! wrong data.

use loom::sync::atomic::{fence, AtomicU32, AtomicU64, Ordering};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;
use rlis_proto::ring::{
    HeaderField, IncomingRing, OutgoingRing, PacketType, RingHeader, RingMem, Space, WriteError,
};

const SIZE: usize = 64;

/// A ring of 64 bytes. The data is atomic words, loaded and stored relaxed, so that only the orderings of
/// the ring code make one side see the data of the other.
struct LoomRing {
    header: [AtomicU32; 5],
    data: Vec<AtomicU64>,
}

impl LoomRing {
    fn new() -> Self {
        Self {
            header: std::array::from_fn(|_| AtomicU32::new(0)),
            data: (0..SIZE / 8).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    fn word(&self, field: HeaderField) -> &AtomicU32 {
        &self.header[match field {
            HeaderField::WriteIndex => 0,
            HeaderField::ReadIndex => 1,
            HeaderField::InterruptMask => 2,
            HeaderField::PendingSendSz => 3,
            HeaderField::FeatureBits => 4,
        }]
    }
}

impl RingHeader for LoomRing {
    fn load(&self, field: HeaderField) -> u32 {
        self.word(field).load(Ordering::Relaxed)
    }
    fn load_acquire(&self, field: HeaderField) -> u32 {
        self.word(field).load(Ordering::Acquire)
    }
    fn store(&self, field: HeaderField, value: u32) {
        self.word(field).store(value, Ordering::Relaxed);
    }
    fn store_release(&self, field: HeaderField, value: u32) {
        self.word(field).store(value, Ordering::Release);
    }
    fn full_barrier(&self) {
        fence(Ordering::SeqCst);
    }
}

impl RingMem for LoomRing {
    fn size(&self) -> u32 {
        SIZE as u32
    }
    fn read_at(&self, offset: u32, dst: &mut [u8]) {
        for (i, chunk) in dst.chunks_mut(8).enumerate() {
            let word =
                self.data[(offset as usize / 8 + i) % self.data.len()].load(Ordering::Relaxed);
            chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
        }
    }
    fn write_at(&self, offset: u32, src: &[u8]) {
        for (i, chunk) in src.chunks(8).enumerate() {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.data[(offset as usize / 8 + i) % self.data.len()]
                .store(u64::from_le_bytes(word), Ordering::Relaxed);
        }
    }
}

/// An interrupt that stays pending until it is taken.
struct Event {
    pending: Mutex<bool>,
    raised: Condvar,
}

impl Event {
    fn new() -> Self {
        Self {
            pending: Mutex::new(false),
            raised: Condvar::new(),
        }
    }
    fn raise(&self) {
        *self.pending.lock().unwrap() = true;
        self.raised.notify_one();
    }
    /// Without a time-out: what waits here forever is a lost wake-up, and loom reports the deadlock.
    fn wait(&self) {
        let mut pending = self.pending.lock().unwrap();
        while !*pending {
            pending = self.raised.wait(pending).unwrap();
        }
        *pending = false;
    }
}

struct Shared {
    ring: LoomRing,
    to_reader: Event,
    to_writer: Event,
}

const INBAND: PacketType = PacketType::VM_PKT_DATA_INBAND;

/// Sends `count` packets of `words` words with the packet's number in each; waits for room when the ring is full.
fn writer(shared: &Shared, count: u64, words: usize) {
    let mut ring = OutgoingRing::new(&shared.ring).unwrap();
    for id in 0..count {
        let word = (id + 100).to_le_bytes();
        let payload: Vec<&[u8]> = (0..words).map(|_| &word[..]).collect();
        loop {
            match ring.write_inband(INBAND, 0, id, &payload) {
                Ok(signal) => {
                    if signal.needed() {
                        shared.to_reader.raise();
                    }
                    break;
                }
                Err(WriteError::Full { need, .. }) => {
                    if ring.wait_for_space(need).unwrap() == Space::WillSignal {
                        shared.to_writer.wait();
                        ring.cancel_wait();
                    }
                }
                Err(e) => panic!("{e}"),
            }
        }
    }
}

/// Receives `count` packets; `take` gets the id and the data of each.
fn read_all(shared: &Shared, count: u64, masked: bool, mut take: impl FnMut(u64, &[u8])) {
    let mut ring = IncomingRing::new(&shared.ring).unwrap();
    let mut buf = [0; SIZE];
    let mut got = 0;
    while got < count {
        shared.to_reader.wait();
        if masked {
            ring.mask_interrupts();
        }
        loop {
            while let Some(p) = ring.read(&mut buf).unwrap() {
                take(p.header().trans_id(), p.payload());
                got += 1;
            }
            let end = ring.finish(masked).unwrap();
            if end.signal.needed() {
                shared.to_writer.raise();
            }
            if !end.more {
                break;
            }
            if masked {
                ring.mask_interrupts();
            }
        }
    }
}

/// Receives `count` packets and checks their order and content.
fn reader(shared: &Shared, count: u64, words: usize, masked: bool) {
    let mut next = 0;
    read_all(shared, count, masked, |id, payload| {
        assert_eq!(id, next);
        assert_eq!(payload.len(), words * 8);
        for word in payload.chunks(8) {
            assert_eq!(word, (next + 100).to_le_bytes());
        }
        next += 1;
    });
}

/// The reader of hv_vmbus, which takes its side up anew for each operation and keeps one index in between.
fn reader_of_the_bus(shared: &Shared, count: u64, words: usize) {
    let ring = |read| {
        let committed = shared.ring.load(HeaderField::ReadIndex);
        IncomingRing::with_indices(&shared.ring, read, committed).unwrap()
    };
    let mut buf = [0; SIZE];
    let (mut next, mut read) = (0, 0);
    while next < count {
        shared.to_reader.wait();
        ring(read).mask_interrupts();
        loop {
            while let Some(p) = ring(read).copy(&mut buf).unwrap() {
                assert_eq!(p.header().trans_id(), next);
                assert_eq!(p.payload().len(), words * 8);
                for word in p.payload().chunks(8) {
                    assert_eq!(word, (next + 100).to_le_bytes());
                }
                let len8 = p.header().descriptor().len8;
                let mut past = ring(read);
                past.advance_past(len8).unwrap();
                read = past.read_index();
                next += 1;
            }
            if ring(read).commit().needed() {
                shared.to_writer.raise();
            }
            if !ring(read).unmask_interrupts().unwrap() {
                break;
            }
            ring(read).mask_interrupts();
        }
    }
}

/// What the writers of one ring share under its lock: how many bytes the reader was not told of.
type Untold = Mutex<u32>;

/// Sends packets with these ids as hv_storvsc does: under a lock that all writers of the ring take, each taking the ring up
/// anew, with one signal behind the last of them, and before it waits for room. Packets of other writers that were not yet
/// told of are covered, too.
fn batch_writer(shared: &Shared, untold: &Untold, ids: std::ops::Range<u64>) {
    let tell = |ring: &OutgoingRing<&LoomRing>, untold: &mut u32| {
        if ring.signal_for(std::mem::take(untold)).needed() {
            shared.to_reader.raise();
        }
    };
    let last = ids.end - 1;
    for id in ids {
        loop {
            let mut untold = untold.lock().unwrap();
            let mut ring = OutgoingRing::new(&shared.ring).unwrap();
            match ring.reserve(16, 0) {
                Ok(room) => {
                    let bytes = room.ring_bytes();
                    let filled = room.fill(&[], &[]).unwrap();
                    filled.publish_quietly(INBAND, 0, id);
                    *untold += bytes;
                    if id == last {
                        tell(&ring, &mut untold);
                    }
                    break;
                }
                Err(WriteError::Full { need, .. }) => {
                    fence(Ordering::SeqCst);
                    tell(&ring, &mut untold);
                    let space = ring.wait_for_space(need).unwrap();
                    drop(untold);
                    if space == Space::WillSignal {
                        shared.to_writer.wait();
                    }
                }
                Err(e) => panic!("{e}"),
            }
        }
    }
}

/// Receives `count` packets in any order of their ids, each once.
fn reader_of_any(shared: &Shared, count: u64, masked: bool) {
    let mut seen = 0u64;
    read_all(shared, count, masked, |id, _| {
        assert_eq!(seen & (1 << id), 0);
        seen |= 1 << id;
    });
}

/// Writers on as many threads, each with a batch of so many packets. The ring holds two.
fn batches(preemptions: usize, each: &'static [u64], masked: bool) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(move || {
        let shared = Arc::new((
            Shared {
                ring: LoomRing::new(),
                to_reader: Event::new(),
                to_writer: Event::new(),
            },
            Untold::new(0),
        ));
        OutgoingRing::new(&shared.0.ring)
            .unwrap()
            .enable_pending_send_sz();
        let mut first = 0;
        let writers: Vec<_> = each
            .iter()
            .map(|count| {
                let other = shared.clone();
                let ids = first..first + count;
                first = ids.end;
                thread::spawn(move || batch_writer(&other.0, &other.1, ids))
            })
            .collect();
        reader_of_any(&shared.0, first, masked);
        for writer in writers {
            writer.join().unwrap();
        }
    });
}

#[derive(Clone, Copy)]
enum Reader {
    Plain,
    Masked,
    Bus,
}

fn model(preemptions: usize, count: u64, words: usize, kind: Reader) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(move || {
        let shared = Arc::new(Shared {
            ring: LoomRing::new(),
            to_reader: Event::new(),
            to_writer: Event::new(),
        });
        OutgoingRing::new(&shared.ring)
            .unwrap()
            .enable_pending_send_sz();
        let other = shared.clone();
        let thread = thread::spawn(move || writer(&other, count, words));
        match kind {
            Reader::Plain => reader(&shared, count, words, false),
            Reader::Masked => reader(&shared, count, words, true),
            Reader::Bus => reader_of_the_bus(&shared, count, words),
        }
        thread.join().unwrap();
    });
}

/// Two of three packets fit: the empty-to-non-empty rule, with interrupts left on while reading.
#[test]
fn no_wake_up_of_the_reader_is_lost() {
    model(3, 3, 0, Reader::Plain);
}

/// The same with interrupts masked while reading.
#[test]
fn no_wake_up_of_the_reader_is_lost_with_mask() {
    model(3, 3, 0, Reader::Masked);
}

/// One packet fits at a time: the writer has to wait for room.
#[test]
fn no_wake_up_of_the_writer_is_lost() {
    model(3, 3, 2, Reader::Plain);
}

/// Both at once.
#[test]
fn no_wake_up_is_lost_either_way_with_mask() {
    model(3, 3, 2, Reader::Masked);
}

/// The way in which hv_vmbus uses both sides, with packets of which two fit and of which one does.
#[test]
fn no_wake_up_is_lost_on_the_bus() {
    model(3, 3, 0, Reader::Bus);
    model(3, 3, 2, Reader::Bus);
}

/// One signal for several packets, more of them than fit into the ring.
#[test]
fn no_wake_up_is_lost_in_a_batch() {
    batches(3, &[2], false);
    batches(3, &[3], false);
    batches(3, &[3], true);
}

/// The same of two writers with one ring: who signals for both must not leave out what the other is still to be told of.
#[test]
fn no_wake_up_is_lost_in_batches_of_two_writers() {
    batches(3, &[2, 1], false);
    batches(3, &[2, 1], true);
}
