// SPDX-License-Identifier: GPL-2.0

//! The host's half of the synthetic interrupt controller (TLFS chapter 11): messages into the message page,
//! flags into the event flags page, and the interrupt that goes with them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use anyhow::{ensure, Context, Result};
use vm_memory::{Bytes, GuestAddress, GuestMemory, VolatileMemory};

use crate::memory::Memory;

/// The synthetic interrupt source that VMBus uses for messages and events (VMBUS_MESSAGE_SINT).
pub const VMBUS_SINT: u8 = 2;
/// Most bytes that one message carries (HV_MESSAGE_PAYLOAD_BYTE_COUNT).
pub const MAX_PAYLOAD: usize = 240;
/// Message type of everything VMBus (HVMSG_VMBUS).
pub const MESSAGE_TYPE_VMBUS: u32 = 1;

const MESSAGE_SIZE: u64 = 256;
const FLAGS_SIZE: u64 = 256;
/// Event flags of one source: 256 bytes of bits.
const MAX_FLAG: u32 = 2048;
/// Bit 0 of SCONTROL, SIMP and SIEFP.
const ENABLE: u64 = 1;
const PAGE_MASK: u64 = !0xFFF;
/// message_flags bit 0: another message waits, so the guest must write EOM.
const MESSAGE_PENDING: u8 = 1;
/// Most messages that wait for one virtual processor. Far above what one guest can have outstanding.
const MAX_QUEUE: usize = 4096;

/// Raises the VMBus SINT of one virtual processor.
pub trait SintLine: Send + Sync {
    /// Injects the interrupt that the guest programmed into the SINT register.
    fn raise(&self, vp: u32) -> std::io::Result<()>;
}

/// Makes the thread of a virtual processor leave the guest and take a [`Synic::turn`].
pub type Call = Box<dyn Fn(u32) + Send + Sync>;

struct Message {
    type_: u32,
    payload: Vec<u8>,
}

#[derive(Default)]
struct Vp {
    control: u64,
    message_page: u64,
    event_page: u64,
    queue: VecDeque<Message>,
}

impl Vp {
    fn slot(&self) -> Option<u64> {
        (self.control & self.message_page & ENABLE != 0)
            .then(|| (self.message_page & PAGE_MASK) + u64::from(VMBUS_SINT) * MESSAGE_SIZE)
    }

    fn flags(&self) -> Option<u64> {
        (self.control & self.event_page & ENABLE != 0)
            .then(|| (self.event_page & PAGE_MASK) + u64::from(VMBUS_SINT) * FLAGS_SIZE)
    }
}

/// All virtual processors' SynIC state.
pub struct Synic {
    memory: Arc<Memory>,
    line: Box<dyn SintLine>,
    vps: Vec<Mutex<Vp>>,
    call: OnceLock<Call>,
    /// Turns that each virtual processor has taken.
    turns: Vec<AtomicU64>,
}

impl Synic {
    /// SynICs of `count` virtual processors, all disabled.
    pub fn new(memory: Arc<Memory>, line: Box<dyn SintLine>, count: u32) -> Self {
        Self {
            memory,
            line,
            vps: (0..count).map(|_| Mutex::new(Vp::default())).collect(),
            call: OnceLock::new(),
            turns: (0..count).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// From now on messages are delivered in turns of the virtual processors, for which `call` calls them. Needed where
    /// KVM puts messages of timers into the same slots: it does that on the way into the guest, on the same thread, and
    /// one of two that find a slot empty at the same time would overwrite the other's message.
    pub fn deliver_in_turns(&self, call: Call) {
        // A second call changes nothing: the first one will do.
        let _ = self.call.set(call);
    }

    /// Takes a turn: on the thread of `vp`, while the guest does not run there.
    pub fn turn(&self, vp: u32) -> Result<()> {
        if self.call.get().is_none() {
            return Ok(());
        }
        let result = self
            .vp(vp)
            .and_then(|mut state| self.deliver(vp, &mut state));
        if let Some(turns) = usize::try_from(vp).ok().and_then(|i| self.turns.get(i)) {
            turns.fetch_add(1, Ordering::SeqCst);
        }
        result
    }

    /// How many turns `vp` has taken.
    pub fn turns(&self, vp: u32) -> u64 {
        let turns = usize::try_from(vp).ok().and_then(|i| self.turns.get(i));
        turns.map_or(0, |t| t.load(Ordering::SeqCst))
    }

    fn deliver_or_call(&self, vp: u32, mut state: MutexGuard<'_, Vp>) -> Result<()> {
        match self.call.get() {
            None => self.deliver(vp, &mut state),
            Some(call) => {
                drop(state);
                call(vp);
                Ok(())
            }
        }
    }

    /// Number of virtual processors.
    pub fn count(&self) -> u32 {
        self.vps.len().try_into().unwrap_or(u32::MAX)
    }

    fn vp(&self, vp: u32) -> Result<MutexGuard<'_, Vp>> {
        let state = usize::try_from(vp).ok().and_then(|i| self.vps.get(i));
        // Every write to a `Vp` is a single assignment or queue operation, so a poisoned lock is sound to take.
        Ok(state
            .with_context(|| format!("there is no virtual processor {vp}"))?
            .lock()
            .unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes over the registers that the guest wrote on `vp` (SCONTROL, SIEFP, SIMP).
    pub fn set_registers(
        &self,
        vp: u32,
        control: u64,
        event_page: u64,
        message_page: u64,
    ) -> Result<()> {
        let mut state = self.vp(vp)?;
        // TLFS 11.9: the pages are zero when they are newly enabled.
        if message_page & ENABLE != 0 && state.message_page != message_page {
            self.clear(message_page).context("SIMP")?;
        }
        if event_page & ENABLE != 0 && state.event_page != event_page {
            self.clear(event_page).context("SIEFP")?;
        }
        (state.control, state.event_page, state.message_page) = (control, event_page, message_page);
        self.deliver(vp, &mut state)
    }

    fn clear(&self, register: u64) -> Result<()> {
        self.memory
            .write_slice(&[0; 4096], GuestAddress(register & PAGE_MASK))
            .with_context(|| {
                format!(
                    "page {:#x} is not in the guest's memory",
                    register & PAGE_MASK
                )
            })
    }

    /// Sends a message to `vp`; it waits in a queue while the guest's slot is in use.
    pub fn post_message(&self, vp: u32, payload: &[u8]) -> Result<()> {
        ensure!(
            payload.len() <= MAX_PAYLOAD,
            "a message of {} bytes is too long",
            payload.len()
        );
        let mut state = self.vp(vp)?;
        ensure!(
            state.queue.len() < MAX_QUEUE,
            "the guest does not take its messages"
        );
        state.queue.push_back(Message {
            type_: MESSAGE_TYPE_VMBUS,
            payload: payload.to_vec(),
        });
        self.deliver_or_call(vp, state)
    }

    /// The guest acknowledged the SINT (EOM or EOI): deliver what waits.
    pub fn acknowledged(&self, vp: u32) -> Result<()> {
        let state = self.vp(vp)?;
        self.deliver_or_call(vp, state)
    }

    /// Messages that wait for `vp`, for statistics.
    pub fn queued(&self, vp: u32) -> usize {
        self.vp(vp).map(|s| s.queue.len()).unwrap_or(0)
    }

    /// Drops the messages that wait for every virtual processor, when the guest starts a new connection.
    pub fn drop_queued(&self) {
        for vp in 0..self.count() {
            if let Ok(mut state) = self.vp(vp) {
                state.queue.clear();
            }
        }
    }

    fn deliver(&self, vp: u32, state: &mut Vp) -> Result<()> {
        let Some(slot) = state.slot() else {
            return Ok(());
        };
        if state.queue.is_empty() {
            return Ok(());
        }
        let lost = || format!("message slot {slot:#x} is not in the guest's memory");
        let in_use: u32 = self
            .memory
            .load(GuestAddress(slot), Ordering::Acquire)
            .with_context(lost)?;
        if in_use != 0 {
            self.memory
                .write_obj(MESSAGE_PENDING, GuestAddress(slot + 5))
                .with_context(lost)?;
            // The guest may have emptied the slot before it could see the flag, and then writes no EOM.
            let again: u32 = self
                .memory
                .load(GuestAddress(slot), Ordering::SeqCst)
                .with_context(lost)?;
            if again != 0 {
                return Ok(());
            }
        }
        let Some(message) = state.queue.pop_front() else {
            return Ok(());
        };
        let mut body = [0u8; MESSAGE_SIZE as usize - 4];
        // struct hv_message_header: type u32, payload_size u8, flags u8, reserved u16, sender/port u64.
        body[0] = u8::try_from(message.payload.len())?;
        body[1] = if state.queue.is_empty() {
            0
        } else {
            MESSAGE_PENDING
        };
        body[12..12 + message.payload.len()].copy_from_slice(&message.payload);
        self.memory
            .write_slice(&body, GuestAddress(slot + 4))
            .with_context(lost)?;
        // The type is written last: it is what tells the guest that the slot is full.
        self.memory
            .store(message.type_, GuestAddress(slot), Ordering::Release)
            .with_context(lost)?;
        self.line.raise(vp).context("cannot raise the SINT")
    }

    /// Sets event flag `flag` (a channel's relid) of `vp` and interrupts it if the flag was clear.
    pub fn signal_event(&self, vp: u32, flag: u32) -> Result<()> {
        ensure!(flag < MAX_FLAG, "event flag {flag} does not exist");
        let state = self.vp(vp)?;
        let Some(page) = state.flags() else {
            return Ok(());
        };
        let word = GuestAddress(page + u64::from(flag / 32) * 4);
        let bit = 1u32 << (flag % 32);
        let slice = self
            .memory
            .get_slice(word, 4)
            .context("the event flags page is not in the guest's memory")?;
        let flags = slice
            .get_atomic_ref::<AtomicU32>(0)
            .context("the event flags page is misaligned")?;
        if flags.fetch_or(bit, Ordering::SeqCst) & bit == 0 {
            self.line.raise(vp).context("cannot raise the SINT")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    struct Count(Arc<AtomicUsize>);

    impl SintLine for Count {
        fn raise(&self, _vp: u32) -> std::io::Result<()> {
            self.0.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }
    }

    const SIMP: u64 = 0x1000 | ENABLE;
    const SIEFP: u64 = 0x2000 | ENABLE;
    const SLOT: GuestAddress = GuestAddress(0x1000 + 2 * 256);

    fn synic() -> (Synic, Arc<Memory>, Arc<AtomicUsize>) {
        let memory = Arc::new(crate::memory::allocate(1 << 20).unwrap());
        let raised = Arc::new(AtomicUsize::new(0));
        (
            Synic::new(memory.clone(), Box::new(Count(raised.clone())), 1),
            memory,
            raised,
        )
    }

    #[test]
    fn messages_queue_behind_a_full_slot() {
        let (synic, memory, raised) = synic();
        synic.post_message(0, &[1]).unwrap();
        assert_eq!(
            raised.load(Ordering::SeqCst),
            0,
            "nothing is delivered to a disabled SynIC"
        );
        synic.set_registers(0, ENABLE, SIEFP, SIMP).unwrap();
        assert_eq!(raised.load(Ordering::SeqCst), 1);
        synic.post_message(0, &[2, 3]).unwrap();
        assert_eq!(synic.queued(0), 1);
        let head: [u8; 6] = memory.read_obj(SLOT).unwrap();
        assert_eq!(
            head,
            [1, 0, 0, 0, 1, MESSAGE_PENDING],
            "the guest is told that another message waits"
        );
        // The guest empties the slot and writes EOM.
        memory.write_obj(0u32, SLOT).unwrap();
        synic.acknowledged(0).unwrap();
        assert_eq!(synic.queued(0), 0);
        let head: [u8; 6] = memory.read_obj(SLOT).unwrap();
        assert_eq!(head, [1, 0, 0, 0, 2, 0]);
        let payload: [u8; 3] = memory.read_obj(GuestAddress(SLOT.0 + 16)).unwrap();
        assert_eq!(payload, [2, 3, 0]);
    }

    #[test]
    fn in_turns_a_message_waits_for_the_turn() {
        let (synic, memory, _) = synic();
        synic.set_registers(0, ENABLE, SIEFP, SIMP).unwrap();
        let (call, calls) = std::sync::mpsc::channel();
        synic.deliver_in_turns(Box::new(move |vp| call.send(vp).unwrap()));
        synic.post_message(0, &[1]).unwrap();
        assert_eq!(calls.try_recv(), Ok(0));
        assert_eq!(memory.read_obj::<u32>(SLOT).unwrap(), 0);
        // A timer's message is in the slot when the turn comes.
        let timer = 0x8000_0010_u32;
        memory.write_obj(timer, SLOT).unwrap();
        synic.turn(0).unwrap();
        assert_eq!((synic.turns(0), synic.queued(0)), (1, 1));
        assert_eq!(memory.read_obj::<u32>(SLOT).unwrap(), timer);
        memory.write_obj(0u32, SLOT).unwrap();
        synic.acknowledged(0).unwrap();
        assert_eq!(calls.try_recv(), Ok(0));
        synic.turn(0).unwrap();
        assert_eq!((synic.turns(0), synic.queued(0)), (2, 0));
        assert_eq!(memory.read_obj::<u32>(SLOT).unwrap(), MESSAGE_TYPE_VMBUS);
    }

    #[test]
    fn an_event_interrupts_once_until_the_guest_clears_it() {
        let (synic, memory, raised) = synic();
        synic.set_registers(0, ENABLE, SIEFP, SIMP).unwrap();
        synic.signal_event(0, 37).unwrap();
        synic.signal_event(0, 37).unwrap();
        assert_eq!(raised.load(Ordering::SeqCst), 1);
        let word = GuestAddress(0x2000 + 2 * 256 + 4);
        assert_eq!(memory.read_obj::<u32>(word).unwrap(), 1 << 5);
        memory.write_obj(0u32, word).unwrap();
        synic.signal_event(0, 37).unwrap();
        assert_eq!(raised.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn wrong_arguments_are_errors() {
        let (synic, _, _) = synic();
        assert!(synic.post_message(1, &[]).is_err());
        assert!(synic.post_message(0, &[0; 241]).is_err());
        assert!(synic.signal_event(0, 2048).is_err());
        assert!(synic
            .set_registers(0, ENABLE, SIEFP, 0xFFFF_F000 | ENABLE)
            .is_err());
    }
}
