// SPDX-License-Identifier: GPL-2.0

//! An open channel: its rings, its thread, and what devices send with.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use vmm_sys_util::eventfd::EventFd;

use super::gpadl::GuestPages;
use super::ring::{self, Distortion, Incoming, Outgoing, Packet, Pushed};
use super::{Bus, Device};
use crate::faults::{Fault, Faults};
use crate::hyperv::synic::Synic;
use crate::memory::Memory;
use crate::violations::Violations;

/// What all channels share.
#[derive(Clone)]
pub struct Shared {
    /// The guest's RAM.
    pub memory: Arc<Memory>,
    /// For interrupts.
    pub synic: Arc<Synic>,
    /// Where misdeeds of the guest go.
    pub violations: Arc<Violations>,
    /// Misdeeds of the host.
    pub faults: Arc<Faults>,
}

struct Out {
    ring: Outgoing,
    /// Packets that found the ring full, oldest first.
    queue: VecDeque<Packet>,
    closed: bool,
}

/// Counters of one channel, for `rlis-host ctl stats`.
#[derive(Debug, Default)]
pub struct Stats {
    /// Packets that the guest sent.
    pub received: AtomicU64,
    /// Packets that the host sent.
    pub sent: AtomicU64,
    /// Times the guest signalled.
    pub signals_in: AtomicU64,
    /// Times the guest triggered the channel's monitor.
    pub triggers: AtomicU64,
    /// Times the host signalled.
    pub signals_out: AtomicU64,
    /// Times the guest signalled although the ring was empty.
    pub empty_signals: AtomicU64,
    /// Times the host interrupted again for a packet that the guest had left in the ring.
    pub nudges: AtomicU64,
}

/// A channel between OPENCHANNEL and CLOSECHANNEL.
pub struct Channel {
    /// Name of the device.
    pub name: String,
    /// The channel's id.
    pub relid: u32,
    /// 0 for the primary channel.
    pub sub_index: u16,
    /// What all channels share.
    pub context: Shared,
    /// The bus.
    pub server: Weak<dyn Bus>,
    /// Counters.
    pub stats: Stats,
    target_vp: AtomicU32,
    device: Arc<dyn Device>,
    kick: EventFd,
    /// The device knows that the channel is open.
    announced: AtomicBool,
    stopped: AtomicBool,
    /// The guest closed it, without having been asked to.
    left: AtomicBool,
    out: Mutex<Out>,
}

impl Channel {
    /// Opens a channel over `pages`, where the host's ring starts at page `downstream`. After [`Channel::start`]
    /// its thread hands packets to `device`.
    #[allow(clippy::too_many_arguments)]
    pub fn open(
        name: String,
        relid: u32,
        sub_index: u16,
        target_vp: u32,
        pages: &GuestPages,
        downstream: usize,
        device: Arc<dyn Device>,
        context: Shared,
        server: Weak<dyn Bus>,
    ) -> Result<(Arc<Self>, JoinHandle<()>)> {
        let total = pages.len() / 4096;
        let incoming = Incoming::new(pages.part(0, downstream)?)?;
        let rest = total
            .checked_sub(downstream)
            .context("the downstream offset is outside of the GPADL")?;
        let outgoing = Outgoing::new(pages.part(downstream, rest)?)?;
        let channel = Arc::new(Self {
            name,
            relid,
            sub_index,
            context,
            server,
            stats: Stats::default(),
            target_vp: AtomicU32::new(target_vp),
            device,
            kick: EventFd::new(0)?,
            announced: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            left: AtomicBool::new(false),
            out: Mutex::new(Out {
                ring: outgoing,
                queue: VecDeque::new(),
                closed: false,
            }),
        });
        let worker = channel.clone();
        let thread = thread::Builder::new()
            .name(format!("{}.{}", channel.name, channel.sub_index))
            .spawn(move || worker.work(incoming))?;
        Ok((channel, thread))
    }

    /// Lets the channel's thread begin, after the guest was told that the channel is open.
    pub fn start(&self) {
        self.kick();
    }

    /// Tells the device that the channel is open, once. What it has to say first goes into the ring.
    pub fn announce(self: &Arc<Self>) {
        if !self.announced.swap(true, Ordering::SeqCst) {
            self.device.opened(self);
        }
    }

    /// The guest signalled the channel.
    pub fn signalled(&self) {
        self.stats.signals_in.fetch_add(1, Ordering::Relaxed);
        self.kick();
    }

    /// The guest triggered the channel's monitor.
    pub fn triggered(&self) {
        self.stats.triggers.fetch_add(1, Ordering::Relaxed);
        self.kick();
    }

    fn kick(&self) {
        // Only a counter overflow could fail, and then the thread is awake anyway.
        let _ = self.kick.write(1);
    }

    /// Moves the channel's interrupts to another virtual processor.
    pub fn set_target(&self, vp: u32) {
        self.target_vp.store(vp, Ordering::SeqCst);
    }

    /// Ends the channel: nothing is written to its rings when this returns, and its thread ends soon.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        let mut out = self.out();
        out.closed = true;
        out.queue.clear();
        drop(out);
        self.kick();
    }

    /// Ends a channel that the guest closes, although it was not withdrawn.
    pub fn leave(&self) {
        self.left.store(true, Ordering::SeqCst);
        self.stop();
    }

    /// Whether the guest closed it, and the host had not withdrawn it.
    pub fn was_left(&self) -> bool {
        self.left.load(Ordering::SeqCst)
    }

    /// Whether the channel was closed.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    fn out(&self) -> MutexGuard<'_, Out> {
        // A panic elsewhere would leave at worst a half-written packet behind an unpublished index.
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn violation(&self, what: &str) {
        self.context
            .violations
            .record(format!("{} (relid {}): {what}", self.name, self.relid));
    }

    fn work(self: Arc<Self>, mut incoming: Incoming) {
        // The guest gets the answer to its request to open before anything comes through the ring.
        if self.kick.read().is_err() || self.is_stopped() {
            return;
        }
        self.announce();
        let mut broken = false;
        // Packets were left in the ring because the device took no more.
        let mut left = false;
        while !self.is_stopped() {
            if !broken {
                match self.drain(&mut incoming, left) {
                    Ok(some) => left = some,
                    Err(error) => {
                        // A broken ring cannot be read on; the channel stays silent until it is closed.
                        self.violation(&format!("{error:#}"));
                        broken = true;
                    }
                }
                if let Err(error) = self.flush() {
                    self.violation(&format!("{error:#}"));
                    broken = true;
                }
                if !broken && self.has_room() {
                    self.record(self.device.has_room(&self));
                    if left && self.device.accepts(&self) {
                        continue;
                    }
                }
            }
            if let Err(error) = self.kick.read() {
                eprintln!("rlis-host: {}: {error}", self.name);
                break;
            }
        }
        if !broken && self.was_left() && self.device.reads_to_the_end() {
            // The GPADL of the ring stays until this thread has ended.
            loop {
                match incoming.pop() {
                    Ok(Some((packet, _))) => self.record(self.device.packet(&self, packet)),
                    Ok(None) => break,
                    Err(error) => break self.violation(&format!("{error:#}")),
                }
            }
        }
        self.device.closed(&self);
    }

    /// Hands all packets in the ring to the device. Returns whether it left some there, or may have, because the device
    /// takes no more; the guest has been asked not to signal then. `again` tells that it left some the last time.
    fn drain(self: &Arc<Self>, incoming: &mut Incoming, again: bool) -> Result<bool> {
        if !again && incoming.is_empty()? {
            self.stats.empty_signals.fetch_add(1, Ordering::Relaxed);
        }
        loop {
            incoming.mask(true)?;
            while !self.is_stopped() {
                if !self.device.accepts(self) {
                    return Ok(true);
                }
                let Some((packet, wake)) = incoming.pop()? else {
                    break;
                };
                self.stats.received.fetch_add(1, Ordering::Relaxed);
                if wake {
                    self.interrupt()?;
                }
                self.record(self.device.packet(self, packet));
            }
            if self.is_stopped() {
                return Ok(false);
            }
            incoming.mask(false)?;
            let faults = &self.context.faults;
            if let Some(ms) = faults.take(&self.name, Fault::RingReadIndexOutside, 500) {
                incoming.show_wrong_read_index(Duration::from_millis(ms))?;
            }
            // A packet may have come in while the guest was asked not to signal.
            if incoming.is_empty()? {
                return Ok(false);
            }
        }
    }

    /// Records what a device found wrong with the guest.
    pub fn record(&self, result: Result<()>) {
        if let Err(error) = result {
            self.context
                .violations
                .record(format!("{}: {error:#}", self.name));
        }
    }

    /// Whether all that was sent is in the ring, so that a device that has much to send may go on.
    pub fn has_room(&self) -> bool {
        let out = self.out();
        !out.closed && out.queue.is_empty()
    }

    /// The most bytes of payload that a packet without further headers can have in the host's ring.
    pub fn largest_payload(&self) -> usize {
        self.out().ring.largest_payload()
    }

    fn interrupt(&self) -> Result<()> {
        self.stats.signals_out.fetch_add(1, Ordering::Relaxed);
        self.context
            .synic
            .signal_event(self.target_vp.load(Ordering::SeqCst), self.relid)
    }

    /// Interrupts the guest, whether there is something for it or not.
    pub fn signal(&self) {
        if let Err(error) = self.interrupt() {
            self.violation(&format!("{error:#}"));
        }
    }

    /// Interrupts the guest again if it has not taken all packets. A guest has to bear that at any time.
    pub fn nudge(&self) {
        let waits = self.out().ring.is_empty().map(|empty| !empty);
        let result = waits.and_then(|waits| {
            if waits {
                self.stats.nudges.fetch_add(1, Ordering::Relaxed);
                self.interrupt()?;
            }
            Ok(())
        });
        if let Err(error) = result {
            self.violation(&format!("{error:#}"));
        }
    }

    /// Writes what waits for room.
    fn flush(&self) -> Result<()> {
        let mut out = self.out();
        let mut signal = false;
        while let Some(next) = out.queue.pop_front() {
            if out.closed {
                return Ok(());
            }
            match out.ring.push(&next, Distortion::None)? {
                Pushed::Full => {
                    out.queue.push_front(next);
                    break;
                }
                Pushed::Signal => signal = true,
                Pushed::Quiet => {}
            }
            self.stats.sent.fetch_add(1, Ordering::Relaxed);
        }
        drop(out);
        if signal {
            self.interrupt()?;
        }
        Ok(())
    }

    fn distortion(&self) -> Distortion {
        let faults = &self.context.faults;
        [
            (Fault::RingLengthTooLong, Distortion::LengthTooLong),
            (Fault::RingLengthTooShort, Distortion::LengthTooShort),
            (Fault::RingOffsetBeyondEnd, Distortion::OffsetBeyondEnd),
            (Fault::RingOffsetTooSmall, Distortion::OffsetTooSmall),
            (Fault::RingWriteIndexOutside, Distortion::WriteIndexOutside),
        ]
        .into_iter()
        .find(|(fault, _)| faults.hit(&self.name, *fault))
        .map_or(Distortion::None, |(_, distortion)| distortion)
    }

    fn push(&self, packet: Packet, distortion: Distortion) {
        let result = (|| {
            let mut out = self.out();
            if out.closed {
                return Ok(());
            }
            // Order matters: nothing overtakes what already waits.
            let pushed = if out.queue.is_empty() {
                out.ring.push(&packet, distortion)?
            } else {
                Pushed::Full
            };
            if pushed == Pushed::Full {
                out.queue.push_back(packet);
                return Ok(());
            }
            drop(out);
            self.stats.sent.fetch_add(1, Ordering::Relaxed);
            let lost = self.context.faults.hit(&self.name, Fault::NoSignal);
            if pushed == Pushed::Signal && !lost {
                self.interrupt()?;
            }
            anyhow::Ok(())
        })();
        if let Err(error) = result {
            self.violation(&format!("{error:#}"));
        }
    }

    /// Puts `count` packets that cannot be into the ring, and `packet` behind them, and signals that as one. Where there is
    /// no room for all there are fewer; `packet` waits if it has to.
    fn push_behind_bad(&self, count: u64, packet: Packet) {
        let result = (|| {
            let mut out = self.out();
            if out.closed {
                return Ok(());
            }
            if !out.queue.is_empty() {
                out.queue.push_back(packet);
                return Ok(());
            }
            let bad = Packet {
                type_: ring::DATA_INBAND,
                flags: 0,
                transaction: 0,
                header: Vec::new(),
                payload: vec![0; 8],
            };
            let mut signal = false;
            for _ in 0..count {
                match out.ring.push(&bad, Distortion::OffsetTooSmall)? {
                    Pushed::Full => break,
                    pushed => signal |= pushed == Pushed::Signal,
                }
                self.stats.sent.fetch_add(1, Ordering::Relaxed);
            }
            match out.ring.push(&packet, Distortion::None)? {
                Pushed::Full => out.queue.push_back(packet),
                pushed => {
                    signal |= pushed == Pushed::Signal;
                    self.stats.sent.fetch_add(1, Ordering::Relaxed);
                }
            }
            drop(out);
            if signal {
                self.interrupt()?;
            }
            anyhow::Ok(())
        })();
        if let Err(error) = result {
            self.violation(&format!("{error:#}"));
        }
    }

    /// Sends a packet with all faults that concern any packet.
    fn send_with_faults(&self, mut packet: Packet) {
        let faults = &self.context.faults;
        if let Some(count) = faults.take(&self.name, Fault::RingBadBurst, 40) {
            return self.push_behind_bad(count, packet);
        }
        if faults.hit(&self.name, Fault::UnknownPacketType) {
            let odd = Packet {
                type_: 0x7F,
                flags: 0,
                header: Vec::new(),
                ..packet.clone()
            };
            self.push(odd, Distortion::None);
        }
        if let Some(len) = faults.take(&self.name, Fault::ShortPacket, 8) {
            packet
                .payload
                .truncate(usize::try_from(len).unwrap_or(usize::MAX));
        }
        self.push(packet, self.distortion());
    }

    /// Sends an in-band data packet, to which no completion is expected.
    pub fn send(&self, transaction: u64, payload: &[u8]) {
        self.send_in_band(transaction, 0, payload);
    }

    /// Sends an in-band data packet with these flags.
    pub fn send_in_band(&self, transaction: u64, flags: u16, payload: &[u8]) {
        self.send_with_faults(Packet {
            type_: ring::DATA_INBAND,
            flags,
            transaction,
            header: Vec::new(),
            payload: payload.to_vec(),
        });
    }

    /// Sends a packet whose data lies in a buffer that the guest provided. `header` says where; the guest completes
    /// the packet when it has taken the data.
    pub fn send_transfer_pages(&self, transaction: u64, header: Vec<u8>, payload: Vec<u8>) {
        self.send_with_faults(Packet {
            type_: ring::DATA_USING_XFER_PAGES,
            flags: ring::FLAG_COMPLETION_REQUESTED,
            transaction,
            header,
            payload,
        });
    }

    /// Completes a packet with nothing to say, if the guest wants to hear that it has arrived.
    pub fn acknowledge(self: &Arc<Self>, packet: &Packet) {
        if packet.flags & ring::FLAG_COMPLETION_REQUESTED != 0 {
            self.complete(packet.transaction, &[]);
        }
    }

    /// Whether a device's `current` channel is this one: the device may have been offered and opened anew meanwhile.
    pub fn is_current(self: &Arc<Self>, current: Option<&Arc<Self>>) -> bool {
        current.is_some_and(|current| Arc::ptr_eq(current, self))
    }

    /// Completes the guest's request `transaction`.
    pub fn complete(self: &Arc<Self>, transaction: u64, payload: &[u8]) {
        let completion = |transaction, payload: &[u8]| Packet {
            type_: ring::COMPLETION,
            flags: 0,
            transaction,
            header: Vec::new(),
            payload: payload.to_vec(),
        };
        let faults = &self.context.faults;
        if faults.hit(&self.name, Fault::NoReply) {
            return;
        }
        if let Some(ms) = faults.take(&self.name, Fault::SlowReply, 1000) {
            let (channel, late) = (self.clone(), completion(transaction, payload));
            thread::spawn(move || {
                thread::sleep(Duration::from_millis(ms));
                channel.send_with_faults(late);
            });
            return;
        }
        if let Some(other) = faults.take(&self.name, Fault::UnknownTransaction, 0x7FFF_0001) {
            self.push(completion(other, payload), Distortion::None);
        }
        if faults.hit(&self.name, Fault::ZeroLengthCompletion) {
            self.push(completion(transaction, &[]), Distortion::None);
            return;
        }
        self.send_with_faults(completion(transaction, payload));
        if faults.hit(&self.name, Fault::DuplicateCompletion) {
            self.push(completion(transaction, payload), Distortion::None);
        }
    }
}
