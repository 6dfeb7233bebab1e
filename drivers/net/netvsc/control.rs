// SPDX-License-Identifier: GPL-2.0

//! Requests of the driver itself, and the host's answers: messages of NVSP, which are completed, and of RNDIS, which
//! are answered by a message in the receive buffer.

use crate::settings::ANSWER_MS;
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full,
            Relaxed,
            Release, //
        },
        rcu,
        Mutex, //
    },
    time::{
        delay::fsleep,
        Delta, //
    }, //
};
use rlis_hv::{
    AnswerSlot,
    SharedMemory, //
};
use rlis_proto::{
    nvsp::{
        ChannelType,
        RndisPacket,
        Status,
        SwitchRequest, //
    },
    rndis::{
        self,
        Answer,
        MessageType,
        Oid, //
    },
    ProtoError, //
};
use rlis_vmbus::{
    Channel,
    Contiguous,
    MpbDescriptor,
    PacketType,
    PinnedChannel, //
};

/// The two uppermost bits of a transaction id tell what it is of; those of frames are 0.
const KIND: u64 = 3 << 62;
/// Of a request of NVSP.
const NVSP: u64 = 2 << 62;
/// Of a packet with a message of RNDIS.
const RNDIS: u64 = 3 << 62;
/// Of what needs no answer.
const UNANSWERED: u64 = 1 << 62;

/// Set in an id of [`UNANSWERED`] that nobody waits for and whose completion counts: of a SWITCH_DATA_PATH, with its number.
const SWITCH: u64 = 1 << 61;

/// Bits of a transaction id of [`RNDIS`] that name the request; those above name the page that it lies in.
const REQUEST_BITS: u32 = 32;

/// Bytes of the longest message from the host that is no frame.
pub(crate) const MESSAGE: usize = 1024;

/// Bytes of the longest message to the host: a page has room for it.
const REQUEST: usize = 2048;

/// Pages for messages of RNDIS. One is used again when the host has completed the packet that named it, so with a host
/// that does not, there is an end to them.
const PAGES: usize = 4;

/// The page behind those, for the answer to KEEPALIVE, and bytes of that.
const ANSWER: usize = PAGES;
const ALIVE: usize = 16;

/// Bytes of a page.
const PAGE: usize = 4096;

/// How long to wait for room in the ring, in milliseconds, and between looks at it.
const ROOM_MS: i64 = 1_000;
const LOOK_MS: i64 = 10;

/// What a completion of the host was about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Completed {
    /// A frame.
    Frame,
    /// One of the requests here; `false` if none that is under way.
    Request(bool),
    /// A SWITCH_DATA_PATH with this number.
    Switch(u32),
}

/// An answer, in memory of its own.
pub(crate) struct Reply {
    bytes: [u8; MESSAGE],
    len: usize,
}

impl Reply {
    /// The bytes of the message.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// One request at a time, and the answer to it.
///
/// Each request has a number of its own, so that an answer that comes after the time-out is not taken for the answer to
/// the next one.
#[pin_data]
pub(crate) struct Control {
    /// The number of the last request. Whoever holds the lock may make the next one.
    #[pin]
    turn: Mutex<u32>,
    /// By the transaction id, for RNDIS by the id without a page.
    #[pin]
    answer: AnswerSlot<{ MESSAGE / 8 }>,
    /// The type that an answer of RNDIS has to have.
    expected: Atomic<u32>,
    pages: SharedMemory,
    numbers: KVec<u64>,
    /// For each page the request in it that the host may still read, or 0.
    with_host: [Atomic<u32>; PAGES + 1],
}

/// Errors of what the host said.
fn bad(error: ProtoError) -> Error {
    match error {
        ProtoError::NoRoom { .. } => ENOSPC,
        _ => EPROTO,
    }
}

impl Control {
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            turn <- new_mutex!(0),
            answer <- AnswerSlot::new(),
            expected: Atomic::new(0),
            pages: SharedMemory::new((PAGES + 1) * PAGE)?,
            numbers: pages.page_numbers()?,
            with_host: [const { Atomic::new(0) }; PAGES + 1],
        })
    }

    /// Sends a message of NVSP that the host does not answer.
    ///
    /// # Errors
    ///
    /// As [`Channel::send`].
    pub(crate) fn tell(&self, channel: &Channel, message: &[u8], completion: bool) -> Result {
        let turn = self.turn.lock();
        self.send(|| channel.send(PacketType::DATA_INBAND, message, UNANSWERED, completion))?;
        drop(turn);
        Ok(())
    }

    /// Sends a message of NVSP and returns the host's answer. Sleeps, for a few seconds at most.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT`, `ENODEV` if the host has withdrawn the device, and as [`Channel::send`].
    pub(crate) fn ask(&self, channel: &Channel, message: &[u8]) -> Result<Reply> {
        let mut turn = self.turn.lock();
        let id = NVSP | u64::from(Self::next(&mut turn));
        self.answer.expect(id)?;
        let sent = self.send(|| channel.send(PacketType::DATA_INBAND, message, id, true));
        self.wait(id, sent)
    }

    /// Has the host switch the data path. Its completion is [`Completed::Switch`]. Does not wait.
    ///
    /// # Errors
    ///
    /// As [`Channel::send`]; `EAGAIN` if there is no room in the ring.
    pub(crate) fn switch(&self, channel: &Channel, request: SwitchRequest) -> Result {
        let id = UNANSWERED | SWITCH | u64::from(request.number);
        channel.send(PacketType::DATA_INBAND, &request.path.message(), id, true)
    }

    /// Asks for the value of an object of RNDIS, and gives it to `f`.
    ///
    /// # Errors
    ///
    /// As [`Self::ask`], that of `f`, `EIO` if the host refuses, `EPROTO` if its answer makes no sense, and `EBUSY` if it
    /// has not read former requests.
    pub(crate) fn query<R>(
        &self,
        channel: &Channel,
        oid: Oid,
        f: impl FnOnce(&[u8]) -> Result<R>,
    ) -> Result<R> {
        self.query_with(channel, oid, &[], f)
    }

    /// The same, with `given` to say how.
    ///
    /// # Errors
    ///
    /// As [`Self::query`].
    pub(crate) fn query_with<R>(
        &self,
        channel: &Channel,
        oid: Oid,
        given: &[u8],
        f: impl FnOnce(&[u8]) -> Result<R>,
    ) -> Result<R> {
        let build = |out: &mut [u8], id| rndis::query(out, id, oid, given);
        let reply = self.exchange(channel, MessageType::RNDIS_MSG_QUERY, build)?;
        match rndis::answer(reply.bytes()).map_err(bad)? {
            Answer::Query { status, value, .. } if status.0 == 0 => f(value),
            Answer::Query { .. } => Err(EIO),
            _ => Err(EPROTO),
        }
    }

    /// Asks for a value of one word.
    ///
    /// # Errors
    ///
    /// As [`Self::query`].
    pub(crate) fn query_word(&self, channel: &Channel, oid: Oid) -> Result<u32> {
        self.query(channel, oid, |value| {
            let word = value.first_chunk().ok_or(EPROTO)?;
            Ok(u32::from_le_bytes(*word))
        })
    }

    /// Sets an object of RNDIS.
    ///
    /// # Errors
    ///
    /// As [`Self::query`].
    pub(crate) fn set(&self, channel: &Channel, oid: Oid, value: &[u8]) -> Result {
        let build = |out: &mut [u8], id| rndis::set(out, id, oid, value);
        let reply = self.exchange(channel, MessageType::RNDIS_MSG_SET, build)?;
        match rndis::answer(reply.bytes()).map_err(bad)? {
            Answer::Set { status, .. } if status.0 == 0 => Ok(()),
            Answer::Set { .. } => Err(EIO),
            _ => Err(EPROTO),
        }
    }

    /// Begins RNDIS. Returns what the host says of packets with several frames, how many there may be, and the multiple of
    /// which each begins at; or `None` if it refuses. After an error it may have begun for the host all the same.
    ///
    /// # Errors
    ///
    /// As [`Self::query`].
    pub(crate) fn initialize(&self, channel: &Channel) -> Result<Option<(u32, u32)>> {
        let reply = self.exchange(channel, MessageType::RNDIS_MSG_INIT, rndis::initialize)?;
        match rndis::answer(reply.bytes()).map_err(bad)? {
            Answer::Initialize(complete) if { complete.status } == 0 => Ok(Some(complete.batch())),
            Answer::Initialize(_) => Ok(None),
            _ => Err(EPROTO),
        }
    }

    /// Ends RNDIS. The host does not answer.
    ///
    /// # Errors
    ///
    /// As [`Self::query`].
    pub(crate) fn halt(&self, channel: &Channel) -> Result {
        let mut turn = self.turn.lock();
        let request = Self::next(&mut turn);
        self.send_rndis(channel, request, rndis::halt)
    }

    fn exchange(
        &self,
        channel: &Channel,
        kind: MessageType,
        build: impl FnOnce(&mut [u8], u32) -> core::result::Result<usize, ProtoError>,
    ) -> Result<Reply> {
        let mut turn = self.turn.lock();
        let request = Self::next(&mut turn);
        self.expected.store(kind.answer().0, Relaxed);
        let id = RNDIS | u64::from(request);
        self.answer.expect(id)?;
        let sent = self.send_rndis(channel, request, build);
        self.wait(id, sent)
    }

    /// The number of the next request, not 0.
    fn next(turn: &mut u32) -> u32 {
        *turn = turn.wrapping_add(1).max(1);
        *turn
    }

    /// Calls `send`, again and again for a while if there is no room in the ring.
    fn send(&self, mut send: impl FnMut() -> Result) -> Result {
        let mut waited = 0;
        loop {
            match send() {
                Err(error) if error == EAGAIN && waited < ROOM_MS => {
                    fsleep(Delta::from_millis(LOOK_MS));
                    waited += LOOK_MS;
                }
                result => break result,
            }
        }
    }

    /// Writes a message of RNDIS to a page and sends it.
    fn send_rndis(
        &self,
        channel: &Channel,
        request: u32,
        build: impl FnOnce(&mut [u8], u32) -> core::result::Result<usize, ProtoError>,
    ) -> Result {
        let mut message = KVec::from_elem(0, REQUEST, GFP_KERNEL)?;
        let len = build(&mut message, request).map_err(bad)?;
        let message = message.get(..len).ok_or(ENOSPC)?;
        let free = |state: &Atomic<u32>| state.load(Acquire) == 0;
        let index = self.with_host.iter().take(PAGES).position(free);
        let index = index.ok_or(EBUSY)?;
        let state = self.with_host.get(index).ok_or(EBUSY)?;
        self.pages.copy_from(index * PAGE, message)?;
        state.store(request, Release);
        let sent = self.send(|| {
            let guard = rcu::read_lock();
            let channel = channel.pin(&guard).ok_or(ENODEV)?;
            self.send_page(&channel, index, len, request)
        });
        if sent.is_err() {
            // The host never saw it.
            state.store(0, Release);
        }
        sent
    }

    /// Sends a message of RNDIS that lies in a page.
    fn send_page(
        &self,
        channel: &PinnedChannel<'_>,
        index: usize,
        len: usize,
        request: u32,
    ) -> Result {
        let range = Contiguous {
            pfn: *self.numbers.get(index).ok_or(EINVAL)?,
            offset: 0,
            len: u32::try_from(len)?,
        };
        let mut words = [0; MpbDescriptor::words(1)];
        let mut pages = MpbDescriptor::from_contiguous(&mut words, core::iter::once(range))?;
        let id = RNDIS | u64::try_from(index)? << REQUEST_BITS | u64::from(request);
        channel.send_mpb(
            &mut pages,
            &RndisPacket::in_pages(ChannelType::RMC_CONTROL),
            id,
        )
    }

    /// Answers a host that wants to know whether somebody is there. Does not wait; any context.
    ///
    /// # Errors
    ///
    /// `EBUSY` while the host has not read the last such answer, and as [`Channel::send`].
    #[cold]
    pub(crate) fn keepalive(&self, channel: &PinnedChannel<'_>, request: u32) -> Result {
        // Not 0, which says that the host has not got the page.
        let number = request.max(1);
        let state = self.with_host.get(ANSWER).ok_or(EBUSY)?;
        state.cmpxchg(0, number, Full).map_err(|_| EBUSY)?;
        let sent = self.send_alive(channel, request, number);
        if sent.is_err() {
            // The host never saw it.
            state.store(0, Release);
        }
        sent
    }

    fn send_alive(&self, channel: &PinnedChannel<'_>, request: u32, number: u32) -> Result {
        let mut message = [0; ALIVE];
        let status = rndis::Status::RNDIS_STATUS_SUCCESS;
        let len = rndis::keepalive_complete(&mut message, request, status).map_err(bad)?;
        let message = message.get(..len).ok_or(ENOSPC)?;
        self.pages.copy_from(ANSWER * PAGE, message)?;
        self.send_page(channel, ANSWER, len, number)
    }

    /// Waits for the answer to what was sent with this id.
    fn wait(&self, id: u64, sent: Result) -> Result<Reply> {
        let waited = sent.and_then(|()| self.answer.wait(ANSWER_MS));
        let mut bytes = [0; MESSAGE];
        let taken = self.answer.take(id, waited, &mut bytes)?;
        let len = taken.ok_or(EIO)?;
        Ok(Reply { bytes, len })
    }

    /// Takes a completion of the host, if it is not that of a frame. Any context.
    #[inline]
    pub(crate) fn completed(&self, id: u64, payload: &[u8]) -> Completed {
        match id & KIND {
            0 => Completed::Frame,
            NVSP => Completed::Request(self.answer.deliver(id, payload)),
            RNDIS => Completed::Request(self.page_back(id, payload)),
            _ if id & SWITCH != 0 => {
                // The lower half.
                #[allow(clippy::cast_possible_truncation)]
                let number = id as u32;
                Completed::Switch(number)
            }
            // Some hosts answer what needs no answer.
            _ => Completed::Request(id == UNANSWERED),
        }
    }

    /// The host has read a message of RNDIS. Returns whether it had one.
    fn page_back(&self, id: u64, payload: &[u8]) -> bool {
        // The lower half.
        #[allow(clippy::cast_possible_truncation)]
        let request = id as u32;
        let index = usize::try_from((id & !KIND) >> REQUEST_BITS).unwrap_or(usize::MAX);
        let page = self.with_host.get(index);
        let known = request != 0 && page.is_some_and(|page| page.cmpxchg(request, 0, Full).is_ok());
        // Where it does not like the message, no answer will come.
        let status = rlis_proto::nvsp::completion_status(payload);
        if known && index != ANSWER && status != Ok(Status::NVSP_STAT_SUCCESS) {
            self.answer.spoil(RNDIS | u64::from(request));
        }
        known
    }

    /// Takes a private copy of a message of RNDIS that is neither a frame nor an indication. Returns whether it was waited
    /// for. Any context.
    pub(crate) fn message(&self, bytes: &[u8]) -> bool {
        let Ok(answer) = rndis::answer(bytes) else {
            return false;
        };
        let Some(request) = answer.req_id() else {
            return false;
        };
        // An answer of another type than the request is none.
        answer.request().answer().0 == self.expected.load(Relaxed)
            && request != 0
            && self.answer.deliver(RNDIS | u64::from(request), bytes)
    }

    /// Ends the wait that is under way, and all that come: no answer will. Any context.
    pub(crate) fn give_up(&self) {
        self.answer.give_up();
    }
}
