// SPDX-License-Identifier: GPL-2.0

//! The host's side of the protocol: answers the guest's first messages, asks for one thing at a time, and sees that the
//! guest's answers are right.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use rlis_proto::balloon::{
    outgoing, write_unballoon, Balloon, CapabilitiesResponse, Caps, Header, HotAdd,
    HotAddWithRegion, MaxPages, Outgoing, PageRange, Pressure, Ranges, Version, VersionResponse,
    MESSAGE_SIZE,
};
use rlis_proto::guid::class::HV_DM_GUID;
use rlis_proto::Guid;
use zerocopy::{FromBytes, IntoBytes};

use super::discard::Hints;
use super::ledger::Ledger;
use super::region::Region;
use super::spec::{Named, NAME, PAGE};
use super::wrong;
use crate::faults::Fault;
use crate::hyperv::extended::ColdDiscard;
use crate::hyperv::hypercall::INVALID_PARAMETER;
use crate::ic::instance;
use crate::memory::Memory;
use crate::vmbus::channel::Channel;
use crate::vmbus::ring::{Packet, DATA_INBAND, FLAG_COMPLETION_REQUESTED};
use crate::vmbus::{Device, Offer};

/// The instance that every Hyper-V host has.
const INSTANCE: Guid = instance("1eccfd72-4b41-45ef-b73a-4a6e44c12924");
/// Payloads of packets are padded to a multiple of this many bytes.
const PADDED_TO: usize = 8;

/// How far the guest has come with the protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Step {
    /// The channel is closed or just open.
    #[default]
    Asking,
    /// The guest has proposed its last version, and it was refused.
    Refused,
    /// The version is agreed on.
    Version(Version),
    /// The guest's capabilities are known, too.
    Ready(Version),
}

/// A request that the guest has not answered, or not to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pending {
    asked: Asked,
    /// Nobody waits for it any more.
    forgotten: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Balloon {
        wanted: u32,
        given: u32,
        messages: u32,
    },
    Unballoon {
        pages: usize,
        messages: usize,
    },
    HotAdd {
        wanted: u32,
        /// The guest may add them: they are there.
        there: bool,
    },
}

struct State {
    channel: Option<Arc<Channel>>,
    step: Step,
    caps: Caps,
    pressure: Option<Pressure>,
    reports: u64,
    trans_id: u32,
    ledger: Ledger,
    region: Option<Region>,
    hints: Option<Hints>,
    /// Pages that the guest says it has added.
    added: u64,
    pending: VecDeque<Pending>,
    /// What became of the request that a command waits for.
    answer: Option<Result<String, String>>,
}

/// The device.
pub struct MemoryDevice {
    newest: Version,
    /// Pages of the guest's memory at the start.
    pages: u64,
    state: Mutex<State>,
    changed: Condvar,
    /// Held by the command that is carried out.
    turn: Mutex<()>,
}

impl State {
    /// The channel of a guest that has come to the end of the beginning.
    fn ready(&self) -> Result<(Arc<Channel>, Version)> {
        match (&self.channel, self.step) {
            (Some(channel), Step::Ready(version)) => Ok((channel.clone(), version)),
            _ => bail!("the guest has no driver for {NAME}"),
        }
    }

    fn next_trans_id(&mut self) -> u32 {
        self.trans_id = self.trans_id.wrapping_add(1);
        self.trans_id
    }

    /// Takes note of a request that is sent now, and of what is wrong with it: the guest gets that first.
    fn ask(&mut self, channel: &Channel, asked: Asked) {
        self.pending.retain(|pending| !pending.forgotten);
        self.pending.push_back(Pending {
            asked,
            forgotten: false,
        });
        self.answer = None;
        for message in wrong::before(&channel.context.faults, self.trans_id) {
            channel.send(0, &message);
        }
    }

    /// The request that the guest is answering.
    fn pending(&mut self) -> Option<&mut Pending> {
        self.pending.front_mut()
    }

    /// The guest has answered its request to the end.
    fn answered(&mut self, answer: String) {
        if let Some(Pending {
            forgotten: false, ..
        }) = self.pending.pop_front()
        {
            self.answer = Some(Ok(answer));
        }
    }

    /// Takes pages that the guest gives.
    fn take(&mut self, ranges: Ranges<'_>, more: bool) -> Result<()> {
        let Some(Asked::Balloon {
            wanted,
            given,
            messages,
        }) = self.pending().map(|pending| &mut pending.asked)
        else {
            bail!("pages that nobody has asked for");
        };
        *messages += 1;
        let (told, limit) = (*messages, *wanted);
        let mut result = Ok(());
        // What is wrong with one range, or one page, says nothing of the others.
        let mut spans = Vec::new();
        for range in ranges {
            match range {
                Ok(range) => spans.push(range.span()),
                Err(error) => result = Err(error.into()),
            }
        }
        let count: u64 = spans.iter().map(|span| span.len()).sum();
        let all = u64::from(*given) + count;
        *given = u32::try_from(all).unwrap_or(u32::MAX);
        for page in spans.iter().flat_map(|span| span.start..span.end) {
            let taken = self.has(page).and_then(|()| self.ledger.take(page));
            if result.is_ok() {
                result = taken;
            }
        }
        if !more {
            self.answered(format!("pages={all} messages={told}"));
        }
        result?;
        ensure!(
            all <= limit.into(),
            "{all} pages are given where {limit} were asked for"
        );
        ensure!(
            count > 0 || !more,
            "a message without pages that has another one follow"
        );
        Ok(())
    }

    /// Whether the guest has this page: a part of the region may not be plugged in.
    fn has(&self, page: u64) -> Result<()> {
        let region = self.region.as_ref();
        let absent = region.is_some_and(|r| r.span().contains(page) && !r.has(page));
        ensure!(!absent, "page {page:#x} is given, which is not there");
        Ok(())
    }

    fn hot_added(&mut self, pages: u32, result: u32) -> Result<()> {
        let Some(Asked::HotAdd { wanted, there }) = self.pending().map(|pending| pending.asked)
        else {
            bail!("a HOT_ADD_RESPONSE that nobody has asked for");
        };
        self.added += u64::from(pages);
        self.answered(format!("pages={pages} result={result}"));
        ensure!(
            pages <= wanted,
            "{pages} pages are added where there were {wanted}"
        );
        ensure!(
            there || pages == 0,
            "{pages} pages are added that are not there"
        );
        ensure!(result <= 1, "a HOT_ADD_RESPONSE with the result {result}");
        ensure!(
            pages == 0 || result == 1,
            "{pages} pages are added, and the result is a failure"
        );
        Ok(())
    }

    fn unballooned(&mut self) -> Result<()> {
        let Some(Asked::Unballoon { pages, messages }) =
            self.pending().map(|pending| pending.asked)
        else {
            bail!("an UNBALLOON_RESPONSE that nobody has asked for");
        };
        self.answered(format!("pages={pages} messages={messages}"));
        Ok(())
    }
}

impl MemoryDevice {
    /// A device for a guest with `size` bytes of memory, which nobody has opened.
    pub fn new(
        newest: Version,
        size: u64,
        memory: Arc<Memory>,
        region: Option<Region>,
        hints: Option<Hints>,
    ) -> Arc<Self> {
        Arc::new(Self {
            newest,
            pages: size / PAGE,
            state: Mutex::new(State {
                channel: None,
                step: Step::Asking,
                caps: Caps::default(),
                pressure: None,
                reports: 0,
                trans_id: 0,
                ledger: Ledger::new(memory),
                region,
                hints,
                added: 0,
                pending: VecDeque::new(),
                answer: None,
            }),
            changed: Condvar::new(),
            turn: Mutex::new(()),
        })
    }

    /// The offer for the bus.
    pub fn offer(self: &Arc<Self>) -> Offer {
        Offer::new(NAME, HV_DM_GUID, INSTANCE, self.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic would leave a request unanswered; its command has a time limit.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the guest's driver has told its capabilities.
    pub fn wait_ready(&self, timeout: Duration) -> Result<()> {
        let wait = |state: &mut State| state.ready().is_err();
        let state = self
            .changed
            .wait_timeout_while(self.state(), timeout, wait)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
        state.ready().map(drop)
    }

    /// Waits for the answer to the request that was sent last. One that does not come in time is taken when it comes.
    fn wait_answer(&self, state: MutexGuard<'_, State>, limit: Duration) -> Result<String> {
        let wait = |state: &mut State| state.answer.is_none();
        let mut state = self
            .changed
            .wait_timeout_while(state, limit, wait)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
        let answer = state.answer.take();
        if answer.is_none() {
            state.pending.iter_mut().for_each(|p| p.forgotten = true);
        }
        let answer = answer.with_context(|| format!("no answer within {} s", limit.as_secs()))?;
        answer.map_err(anyhow::Error::msg)
    }

    /// Takes `pages` pages from the guest. Returns what it gave.
    pub fn balloon(&self, pages: u32, limit: Duration) -> Result<String> {
        let _turn = self.turn();
        let mut state = self.state();
        let (channel, _) = state.ready()?;
        let faults = &channel.context.faults;
        let count = faults.take(NAME, Fault::MemoryBalloonCount, u32::MAX.into());
        // A number of pages has 32 bits.
        let wanted = count.map_or(pages, |count| count as u32);
        let asked = Asked::Balloon {
            wanted,
            given: 0,
            messages: 0,
        };
        let request = Balloon::new(wanted, state.next_trans_id());
        state.ask(&channel, asked);
        channel.send(0, request.as_bytes());
        if faults.hit(NAME, Fault::MemoryTwice) {
            // Whether the guest answers this one is up to it.
            state.pending.push_back(Pending {
                asked,
                forgotten: true,
            });
            let again = Balloon::new(wanted, state.next_trans_id());
            channel.send(0, again.as_bytes());
        }
        self.wait_answer(state, limit)
    }

    /// Gives pages back to the guest, all or `pages`, with up to `ranges` ranges in a message.
    pub fn unballoon(&self, pages: Option<u32>, ranges: usize, limit: Duration) -> Result<String> {
        let _turn = self.turn();
        let mut state = self.state();
        let (channel, _) = state.ready()?;
        let count = pages.map_or(usize::MAX, |pages| pages as usize);
        ensure!(
            state.ledger.count() > 0,
            "the host has no page of the guest"
        );
        let (given, touched) = state.ledger.give_back(count);
        channel.record(touched);
        let messages: Vec<&[PageRange]> = given.chunks(ranges.max(1)).collect();
        let pages = given.iter().map(|range| range.count() as usize).sum();
        let trans_id = state.next_trans_id();
        let asked = Asked::Unballoon {
            pages,
            messages: messages.len(),
        };
        state.ask(&channel, asked);
        for (number, ranges) in (1..).zip(&messages) {
            let mut out = [0; MESSAGE_SIZE];
            let more = number < messages.len();
            let len = write_unballoon(&mut out, ranges, more, trans_id)?;
            channel.send(0, &out[..len]);
        }
        self.wait_answer(state, limit)
    }

    /// Adds `pages` pages of the region. Returns what the guest said.
    pub fn hot_add(
        &self,
        pages: u32,
        at: Option<u64>,
        named: Named,
        limit: Duration,
    ) -> Result<String> {
        let _turn = self.turn();
        let mut state = self.state();
        let (channel, _) = state.ready()?;
        ensure!(state.caps.hot_add, "the guest cannot add memory");
        let trans_id = state.next_trans_id();
        let region = state.region.as_mut();
        let region = region.context("the host was started without --hot-add")?;
        let place = region.place(at, pages)?;
        let too_large = "that is more than a message can say";
        let range = PageRange::new(place.start, pages).context(too_large)?;
        let whole = u32::try_from(region.span().len()).context(too_large)?;
        let whole = PageRange::new(region.span().start, whole).context(too_large)?;
        let proper = match named {
            Named::Whole => HotAddWithRegion::new(range, Some(whole), trans_id),
            Named::Again | Named::None => HotAddWithRegion::new(range, None, trans_id),
        };
        if let Some((message, wanted)) = wrong::hot_add(&channel.context.faults, &proper) {
            let asked = Asked::HotAdd {
                wanted,
                there: false,
            };
            state.ask(&channel, asked);
            channel.send(0, &message);
        } else {
            region.plug_in(place)?;
            let asked = Asked::HotAdd {
                wanted: pages,
                there: true,
            };
            state.ask(&channel, asked);
            match named {
                Named::None => channel.send(0, HotAdd::new(range, trans_id).as_bytes()),
                Named::Whole | Named::Again => channel.send(0, proper.as_bytes()),
            }
        }
        self.wait_answer(state, limit)
    }

    /// Sends any message.
    pub fn send_raw(&self, message: &[u8]) -> Result<()> {
        let state = self.state();
        let (channel, _) = state.ready()?;
        channel.send(0, message);
        Ok(())
    }

    /// The device as a line.
    pub fn describe(&self) -> String {
        let state = self.state();
        let version = match state.step {
            Step::Version(v) | Step::Ready(v) => format!("{}.{}", v.major(), v.minor()),
            Step::Asking | Step::Refused => "none".into(),
        };
        let caps = state.caps;
        let pressure = state.pressure.unwrap_or_default();
        format!(
            "{NAME} version={version} ready={} balloon={} hot-add={} alignment={}M reports={} available={} committed={} \
             ballooned={} plugged={} added={} hinted={} unanswered={}",
            u8::from(state.ready().is_ok()),
            u8::from(caps.balloon),
            u8::from(caps.hot_add),
            1u32 << caps.hot_add_alignment,
            state.reports,
            pressure.available,
            pressure.committed,
            state.ledger.count(),
            state.region.as_ref().map_or(0, Region::plugged),
            state.added,
            state.hints.as_ref().map_or(0, Hints::pages),
            state.pending.len()
        )
    }

    fn receive(&self, channel: &Arc<Channel>, packet: &Packet) -> Result<()> {
        ensure!(packet.type_ == DATA_INBAND, "packet type {}", packet.type_);
        ensure!(
            packet.flags & FLAG_COMPLETION_REQUESTED == 0,
            "a completion is asked for, of which there is none here"
        );
        let payload = &packet.payload;
        let message = outgoing(payload)?;
        let size = Header::read_from_prefix(payload).map_or(0, |(h, _)| usize::from(h.size));
        ensure!(
            payload.len() - size < PADDED_TO && size <= MESSAGE_SIZE,
            "a message of {size} bytes in a packet of {}",
            payload.len()
        );
        let mut state = self.state();
        let result = self.message(&mut state, channel, message);
        self.changed.notify_all();
        result
    }

    fn message(
        &self,
        state: &mut State,
        channel: &Arc<Channel>,
        message: Outgoing<'_>,
    ) -> Result<()> {
        let faults = &channel.context.faults;
        let trans_id = state.next_trans_id();
        match (state.step, message) {
            (Step::Asking, Outgoing::Version { version, last }) => {
                let known = Version::NEWEST_FIRST.contains(&version);
                ensure!(known, "a version {:#x}, which there is not", version.0);
                let accepted = version <= self.newest && !faults.hit(NAME, Fault::InitStatus);
                eprintln!(
                    "rlis-host: {NAME}: version {}.{} {}",
                    version.major(),
                    version.minor(),
                    if accepted { "accepted" } else { "refused" }
                );
                if faults.hit(NAME, Fault::NoReply) {
                    return Ok(());
                }
                if accepted {
                    state.step = Step::Version(version);
                } else if last {
                    state.step = Step::Refused;
                }
                let response = VersionResponse::new(accepted, trans_id);
                channel.send(0, response.as_bytes());
            }
            (Step::Version(version), Outgoing::Capabilities(caps)) => {
                if faults.hit(NAME, Fault::NoReply) {
                    return Ok(());
                }
                let accepted = !faults.hit(NAME, Fault::MemoryRefuseCapabilities);
                let response = CapabilitiesResponse::new(accepted, trans_id);
                channel.send(0, response.as_bytes());
                if !accepted {
                    state.step = Step::Refused;
                    return Ok(());
                }
                state.caps = caps;
                state.step = Step::Ready(version);
                if version >= Version::V2 {
                    let more = state.region.as_ref().map_or(0, |r| r.span().len());
                    let most = MaxPages::new(self.pages + more, state.next_trans_id());
                    channel.send(0, most.as_bytes());
                }
            }
            (Step::Ready(_), Outgoing::Status(pressure)) => {
                state.pressure = Some(pressure);
                state.reports += 1;
            }
            (Step::Ready(_), Outgoing::Balloon { ranges, more }) => {
                ensure!(state.caps.balloon, "pages of a guest that gives none");
                state.take(ranges, more)?;
            }
            (Step::Ready(_), Outgoing::Unballoon) => state.unballooned()?,
            (Step::Ready(_), Outgoing::HotAdd { pages, result }) => {
                state.hot_added(pages, result)?;
            }
            (step, message) => bail!("{message:?} at step {step:?}"),
        }
        Ok(())
    }
}

impl ColdDiscard for MemoryDevice {
    fn hint(&self, ranges: &[u64]) -> (usize, u16) {
        let state = &mut *self.state();
        match &mut state.hints {
            Some(hints) => hints.take(ranges, &state.ledger, state.region.as_ref()),
            None => (0, INVALID_PARAMETER),
        }
    }

    fn wrong(&self, what: String) {
        if let Some(hints) = &self.state().hints {
            hints.wrong(&what);
        }
    }
}

impl Device for MemoryDevice {
    fn opened(&self, channel: &Arc<Channel>) {
        let mut state = self.state();
        state.channel = Some(channel.clone());
        state.step = Step::Asking;
    }

    fn packet(&self, channel: &Arc<Channel>, packet: Packet) -> Result<()> {
        self.receive(channel, &packet)
    }

    fn closed(&self, channel: &Arc<Channel>) {
        let mut state = self.state();
        // The device may have been offered and opened anew by now.
        let this = |c: &Arc<Channel>| Arc::ptr_eq(c, channel);
        if !state.channel.as_ref().is_some_and(this) {
            return;
        }
        state.channel = None;
        state.step = Step::Asking;
        state.pressure = None;
        // As on Hyper-V, all memory is the guest's again.
        let pages = state.ledger.forget();
        if pages > 0 {
            eprintln!("rlis-host: {NAME}: {pages} pages come back with the end of the channel");
        }
        if !state.pending.is_empty() {
            state.pending.clear();
            state.answer = Some(Err("the channel was closed".into()));
        }
        self.changed.notify_all();
    }
}
