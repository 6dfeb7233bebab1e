// SPDX-License-Identifier: GPL-2.0

//! One connection: a channel of its own, which is offered when the connection begins and withdrawn when it ends.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{ensure, Result};
use rlis_proto::vmbus::{VMBUS_CHANNEL_NAMED_PIPE_MODE, VMBUS_CHANNEL_TLNPI_PROVIDER_OFFER};
use rlis_proto::Guid;

use super::service::{Next, Service};
use super::wire;
use crate::faults::Fault;
use crate::vmbus::channel::Channel;
use crate::vmbus::ring::Packet;
use crate::vmbus::server::Server;
use crate::vmbus::{Bus, Device, Offer};

/// How long the guest may take to open the channel of a connection.
const OPEN_WAIT: Duration = Duration::from_secs(10);
/// How long a guest that sends no more may take nothing of what is sent to it. On the wire a program that has gone
/// looks like one that only sends no more.
const STALL: Duration = Duration::from_secs(10);
/// The same for a guest that has not said so: that may lie in its ring, behind what the host cannot take.
const LONG_STALL: Duration = Duration::from_secs(60);

/// Who connects to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The host connects to a program of the guest.
    pub from_host: bool,
    /// The service that is connected to: the offer's class.
    pub service: Guid,
    /// Who connects: the offer's instance.
    pub endpoint: Guid,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Both sides had said that they send no more.
    Finished,
    /// The guest did not open the channel in time.
    NotOpened,
    /// The guest closed the channel, of its own accord or because it was withdrawn.
    Closed,
    /// The guest took nothing of what was sent.
    Stalled,
    /// It took too long.
    TimedOut,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Offered,
    Open,
    Over(Ending),
}

struct State {
    phase: Phase,
    service: Box<dyn Service>,
    received: u64,
    sent: u64,
    /// The guest has said that it sends no more.
    guest_done: bool,
    /// The host has.
    host_done: bool,
    /// Since when what was sent waits for room in the ring.
    waits: Option<Instant>,
}

/// A connection.
pub struct Connection {
    name: String,
    ends: Ends,
    state: Mutex<State>,
    changed: Condvar,
}

impl Connection {
    /// A connection that is not offered yet; `service` is the host's side of it.
    pub fn new(name: String, ends: Ends, service: Box<dyn Service>) -> Arc<Self> {
        Arc::new(Self {
            name,
            ends,
            state: Mutex::new(State {
                phase: Phase::Offered,
                service,
                received: 0,
                sent: 0,
                guest_done: false,
                host_done: false,
                waits: None,
            }),
            changed: Condvar::new(),
        })
    }

    /// The offer for the bus.
    pub fn offer(self: &Arc<Self>) -> Offer {
        Offer {
            name: self.name.clone(),
            class: self.ends.service,
            instance: self.ends.endpoint,
            flags: VMBUS_CHANNEL_NAMED_PIPE_MODE | VMBUS_CHANNEL_TLNPI_PROVIDER_OFFER,
            user_data: wire::user_data(self.ends.from_host),
            monitored: false,
            device: self.clone(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic would leave a counter behind; a test tool goes on.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What its service has to tell.
    pub fn report(&self) -> Vec<String> {
        self.state().service.report()
    }

    /// The connection as a line.
    pub fn describe(&self) -> String {
        let state = self.state();
        let from = if self.ends.from_host { "host" } else { "guest" };
        let phase = match state.phase {
            Phase::Offered => "offered",
            Phase::Open => "open",
            Phase::Over(_) => "over",
        };
        format!(
            "{} from={from} service={} {phase} received={} sent={} guest_done={} host_done={}",
            self.name,
            self.ends.service,
            state.received,
            state.sent,
            state.guest_done,
            state.host_done
        )
    }

    /// Waits for the end of the connection, which was offered; withdraws it if the guest does not open it, takes nothing
    /// any more, or `limit` has passed.
    pub fn supervise(&self, server: &Server, limit: Option<Duration>) -> Ending {
        let begun = Instant::now();
        let mut state = self.state();
        let ending = loop {
            let patience = if state.guest_done { STALL } else { LONG_STALL };
            let stalled = state
                .waits
                .map(|since| patience.saturating_sub(since.elapsed()));
            let (left, ending) = match state.phase {
                Phase::Over(ending) => return ending,
                Phase::Offered => (
                    Some(OPEN_WAIT.saturating_sub(begun.elapsed())),
                    Ending::NotOpened,
                ),
                Phase::Open => (stalled, Ending::Stalled),
            };
            let rest = limit.map(|l| l.saturating_sub(begun.elapsed()));
            let (wait, ending) = match (left, rest) {
                (Some(left), Some(rest)) if rest < left => (Some(rest), Ending::TimedOut),
                (None, Some(rest)) => (Some(rest), Ending::TimedOut),
                (left, _) => (left, ending),
            };
            state = match wait {
                Some(wait) if wait.is_zero() => break ending,
                Some(wait) => {
                    self.changed
                        .wait_timeout(state, wait)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
                None => self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
            };
        };
        self.end(&mut state, ending);
        drop(state);
        self.withdraw(server);
        ending
    }

    /// The first ending counts.
    fn end(&self, state: &mut State, ending: Ending) {
        if !matches!(state.phase, Phase::Over(_)) {
            state.phase = Phase::Over(ending);
            self.changed.notify_all();
        }
    }

    fn withdraw(&self, bus: &dyn Bus) {
        // It may have been withdrawn by a command, or be gone with the connection to the bus.
        let _ = bus.rescind(&self.name);
    }

    /// Sends what the service has to say, as far as the ring has room.
    fn pump(&self, state: &mut State, channel: &Channel) -> Result<()> {
        if matches!(state.phase, Phase::Over(_)) {
            return Ok(());
        }
        let max = wire::MTU.min(channel.largest_payload().saturating_sub(wire::HEADER));
        ensure!(max > 0, "its ring is too small for any data");
        while !state.host_done && channel.has_room() {
            let data = match state.service.next(max) {
                Next::Data(data) => data,
                Next::Nothing => break,
                Next::End => {
                    state.host_done = true;
                    Vec::new()
                }
            };
            channel.send(0, &wire::payload(&data)?);
            state.sent += u64::try_from(data.len())?;
        }
        if !channel.has_room() {
            if state.waits.is_none() {
                state.waits = Some(Instant::now());
                self.changed.notify_all();
            }
        } else if state.guest_done && state.host_done {
            self.end(state, Ending::Finished);
        }
        Ok(())
    }

    fn received(&self, state: &mut State, packet: &Packet) -> Result<()> {
        let data = wire::data(packet)?;
        ensure!(
            !state.guest_done,
            "a packet with {} bytes of data, after the guest said that it sends no more",
            data.len()
        );
        if matches!(state.phase, Phase::Over(_)) {
            // It crossed the rescind.
            return Ok(());
        }
        state.received += u64::try_from(data.len())?;
        if data.is_empty() {
            state.guest_done = true;
            state.service.end();
            // There is less patience with it now.
            self.changed.notify_all();
        } else {
            state.service.data(data);
        }
        Ok(())
    }

    /// Does `act` on the channel's thread, and what follows from it: more to send, or the end.
    fn step(&self, channel: &Channel, act: impl FnOnce(&mut State) -> Result<()>) -> Result<()> {
        let mut state = self.state();
        let before = state.phase;
        let result = act(&mut state).and_then(|()| self.pump(&mut state, channel));
        let finished = before != state.phase && state.phase == Phase::Over(Ending::Finished);
        drop(state);
        let faults = &channel.context.faults;
        if finished && !faults.hit(&self.name, Fault::BusNoRescind) {
            if let Some(bus) = channel.server.upgrade() {
                self.withdraw(&*bus);
            }
        }
        result
    }
}

impl Device for Connection {
    fn opened(&self, channel: &Arc<Channel>) {
        channel.record(self.step(channel, |state| {
            if state.phase == Phase::Offered {
                state.phase = Phase::Open;
                self.changed.notify_all();
            }
            Ok(())
        }));
    }

    fn accepts(&self, _channel: &Arc<Channel>) -> bool {
        // What cannot be taken is left in the guest's ring, so that the guest has to wait.
        !self.state().service.is_full()
    }

    fn packet(&self, channel: &Arc<Channel>, packet: Packet) -> Result<()> {
        self.step(channel, |state| self.received(state, &packet))
    }

    fn has_room(&self, channel: &Arc<Channel>) -> Result<()> {
        self.step(channel, |state| {
            state.waits = None;
            Ok(())
        })
    }

    fn closed(&self, _channel: &Arc<Channel>) {
        self.end(&mut self.state(), Ending::Closed);
    }
}
