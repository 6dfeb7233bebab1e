// SPDX-License-Identifier: GPL-2.0

//! Coming to terms with the host about a card, and leaving it.

use crate::{
    channels::{
        params,
        Channels, //
    },
    encapsulate::Offloads,
    port::Port,
    queue::Queue,
    receive::Receive,
    rss::Table,
    sections::{
        Sections,
        Share, //
    },
    session::Session,
    settings::{
        DRAIN_MS,
        ETH_HEADER,
        ETH_MTU,
        RECEIVE_SECTION,
        SEND_SECTION, //
    },
    transmit::Transmit, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
    time::{
        delay::fsleep,
        Delta, //
    }, //
};
use rlis_hv::SharedMemory;
use rlis_net::{
    EnabledNapi,
    MacAddress,
    Napi, //
};
use rlis_proto::{
    nvsp::{
        capabilities,
        granted,
        init_answer,
        max_receive_buffer,
        BufferError,
        EstablishBuffer,
        Init,
        InitAnswer,
        NdisConfig,
        NdisVersion,
        ProtocolVersion,
        ReceiveSections,
        RevokeBuffer,
        SendSections,
        SubchannelRequest,
        MAX_SEND_BUFFER, //
    },
    rndis::{
        mac_parameter,
        offload_query,
        Capabilities,
        Indication,
        OffloadParams,
        Oid,
        RssCapabilities,
        Switch,
        TxRx,
        MEDIA_CONNECTED, //
    }, //
};
use rlis_vmbus::{
    Channel,
    Lease,
    OpenChannel, //
};
use zerocopy::IntoBytes;

/// How long to wait between looks whether all frames are sent, in milliseconds.
const LOOK_MS: i64 = 10;

/// What a connection is made with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Terms {
    /// Bytes of the longest packet in a frame.
    pub(crate) mtu: u32,
    /// Channels, if the host has as many.
    pub(crate) channels: u16,
    /// Sections of the receive buffer, of [`RECEIVE_SECTION`] bytes.
    pub(crate) rx: u32,
    /// Sections of the send buffer, of [`SEND_SECTION`] bytes.
    pub(crate) tx: u32,
    /// Whether the host is to join segments, if it can.
    pub(crate) coalesce: bool,
}

/// What the host says of the card.
pub(crate) struct Properties {
    pub(crate) version: ProtocolVersion,
    pub(crate) address: MacAddress,
    /// The largest MTU that the host takes, if it says so.
    pub(crate) mtu: u32,
    /// Channels that it can have.
    pub(crate) channels: u16,
    /// Entries of the table of receive-side scaling, or 0.
    pub(crate) table: u16,
    pub(crate) offloads: Offloads,
}

/// Channels that are open, with a host that has come to terms.
///
/// Dropping it takes leave of the host and closes the channels. Sleeps; for some seconds if the host does not answer.
/// No frame may be sent any more.
pub(crate) struct Connection {
    // Dropped in this order: no more polls; then the channels are closed; then the memory comes back from the host.
    _napis: KVec<EnabledNapi<Queue>>,
    open: OpenChannel<Channels>,
    pub(crate) channels: Arc<Channels>,
    /// To how many channels the host spreads flows.
    spread: Atomic<u32>,
    /// What the host is to be told when it is left: [`RECEIVE`], [`SEND`], [`RNDIS`].
    agreed: Atomic<u32>,
}

/// The host has the receive buffer.
const RECEIVE: u32 = 1;

/// It has the send buffer.
const SEND: u32 = 2;

/// RNDIS has begun there.
const RNDIS: u32 = 4;

impl Connection {
    /// Opens the channel of a card and agrees with the host on how to use it. Sub-channels come later. Sleeps.
    ///
    /// # Errors
    ///
    /// As [`OpenChannel::open`], `ETIMEDOUT` if the host does not answer, `EPROTO` if its answers make no sense, `EIO` or
    /// `EOPNOTSUPP` if it refuses.
    pub(crate) fn new(
        lease: &Lease,
        port: &Arc<Port>,
        napis: &[Arc<Napi<Queue>>],
        terms: &Terms,
    ) -> Result<(Self, Properties)> {
        let channels = Channels::new(Session::new(port.clone())?, napis)?;
        let mut enabled = KVec::with_capacity(napis.len(), GFP_KERNEL)?;
        // Before there can be an interrupt, so that none is lost.
        for (napi, queue) in napis.iter().zip(channels.queues()) {
            enabled.push(napi.clone().enable(queue.clone())?, GFP_KERNEL)?;
        }
        let open = lease.open(&params(), channels.clone())?;
        let this = Self {
            _napis: enabled,
            open,
            channels,
            spread: Atomic::new(1),
            agreed: Atomic::new(0),
        };
        if let Some(queue) = this.channels.queue(0) {
            queue.opened(this.channel());
        }
        let properties = this.agree(terms).inspect_err(|error| {
            port.report("the host does not come to terms", error);
        })?;
        Ok((this, properties))
    }

    fn channel(&self) -> &Arc<Channel> {
        self.open.channel()
    }

    pub(crate) fn session(&self) -> &Arc<Session> {
        &self.channels.session
    }

    fn ask(&self, message: &[u8]) -> Result<crate::control::Reply> {
        self.session().control.ask(self.channel(), message)
    }

    fn tell(&self, message: &[u8]) -> Result {
        self.session().control.tell(self.channel(), message, false)
    }

    /// Asks the host for the value of an object, and gives it to `f`.
    ///
    /// # Errors
    ///
    /// As [`Control::query`](crate::control::Control::query).
    pub(crate) fn query<R>(&self, oid: Oid, f: impl FnOnce(&[u8]) -> Result<R>) -> Result<R> {
        self.session().control.query(self.channel(), oid, f)
    }

    fn query_word(&self, oid: Oid) -> Result<u32> {
        self.session().control.query_word(self.channel(), oid)
    }

    fn set(&self, oid: Oid, value: &[u8]) -> Result {
        self.session().control.set(self.channel(), oid, value)
    }

    fn agree(&self, terms: &Terms) -> Result<Properties> {
        let session = self.session();
        let version = self.version()?;
        session.port.set_version(version);
        // A host of the first version cannot be told of another MTU.
        let mtu = if version >= ProtocolVersion::V2 {
            terms.mtu
        } else {
            ETH_MTU
        };
        let frame = mtu + ETH_HEADER;
        if version >= ProtocolVersion::V2 {
            let can = capabilities(version, false);
            self.tell(&NdisConfig::message(frame, can))?;
        }
        self.tell(&NdisVersion::of(version).message())?;
        self.receive_buffer(version, frame, terms.rx)?;
        let sections = self.send_buffer(terms.tx)?;
        let batch = self.initialize()?;
        let capabilities = self.capabilities(version);
        let offloads = Offloads::new(capabilities, batch);
        self.channels.set_offloads(offloads);
        self.switch_offloads(version, &capabilities, terms.coalesce)?;
        let (most, table) = self.scaling(version);
        let properties = self.properties(version, most, table, offloads)?;
        let planned = self.sub_channels(terms.channels.min(most))?;
        let offloads = offloads.with_channels(planned);
        for (number, queue) in (0..planned).zip(self.channels.queues()) {
            let share = match &sections {
                Some(sections) => Share::new(sections, number, planned)?,
                None => None,
            };
            let transmit = Transmit::new(share, frame, offloads)?;
            queue.set_transmit(Arc::new(transmit, GFP_KERNEL)?);
        }
        Ok(properties)
    }

    /// There is something more to be undone when the host is left. To be called before the host is asked: it may do what it
    /// is asked for, and its answer be late or lost.
    fn note(&self, what: u32) {
        self.agreed.store(self.agreed.load(Relaxed) | what, Relaxed);
    }

    /// The host has refused, so that there is nothing to be undone.
    fn take_back(&self, what: u32) {
        self.agreed
            .store(self.agreed.load(Relaxed) & !what, Relaxed);
    }

    /// The same if this is how it answered to a buffer.
    fn note_refusal<T>(&self, what: u32, answer: &core::result::Result<T, BufferError>) {
        if matches!(answer, Err(BufferError::Refused(_))) {
            self.take_back(what);
        }
    }

    /// Begins RNDIS, and returns what the host says of several frames in a packet.
    fn initialize(&self) -> Result<(u32, u32)> {
        self.note(RNDIS);
        let batch = self.session().control.initialize(self.channel())?;
        if batch.is_none() {
            self.take_back(RNDIS);
        }
        batch.ok_or(EIO)
    }

    /// Finds the newest version that both know.
    fn version(&self) -> Result<ProtocolVersion> {
        for version in ProtocolVersion::NEWEST_FIRST {
            let reply = self.ask(&Init::propose(version))?;
            match init_answer(reply.bytes()) {
                Ok(InitAnswer::Accepted) => return Ok(version),
                Ok(InitAnswer::Refused(_)) => {}
                Err(_) => return Err(EPROTO),
            }
        }
        Err(EOPNOTSUPP)
    }

    /// Gives the host the memory that frames arrive in.
    fn receive_buffer(&self, version: ProtocolVersion, frame: u32, sections: u32) -> Result {
        let size = sections.saturating_mul(RECEIVE_SECTION);
        let size = whole_pages(size.min(max_receive_buffer(version)));
        let buffer = self
            .open
            .grant(SharedMemory::new(usize::try_from(size)?)?)?;
        let message = EstablishBuffer::receive(buffer.handle());
        self.note(RECEIVE);
        let sections = self.ask(&message).and_then(|reply| {
            let sections = ReceiveSections::parse(reply.bytes(), size, frame);
            self.note_refusal(RECEIVE, &sections);
            sections.map_err(|error| {
                self.session().port.report("receive buffer", &error);
                EPROTO
            })
        });
        match sections {
            Ok(sections) => {
                self.session()
                    .set_receive(Receive::new(buffer, sections, frame));
                Ok(())
            }
            Err(error) => {
                self.session().keep(buffer);
                Err(error)
            }
        }
    }

    /// Gives the host the memory that small frames are copied to.
    fn send_buffer(&self, sections: u32) -> Result<Option<Arc<Sections>>> {
        let size = sections.saturating_mul(SEND_SECTION);
        let size = whole_pages(size.min(MAX_SEND_BUFFER));
        let buffer = self
            .open
            .grant(SharedMemory::new(usize::try_from(size)?)?)?;
        let message = EstablishBuffer::send(buffer.handle());
        self.note(SEND);
        let cut = self.ask(&message).and_then(|reply| {
            let sections = SendSections::parse(reply.bytes(), size);
            self.note_refusal(SEND, &sections);
            sections.map_err(|error| {
                self.session().port.report("send buffer", &error);
                EPROTO
            })
        });
        match cut {
            Ok(Some(cut)) => {
                let sections = Sections::new(buffer, cut)?;
                self.session().set_sections(sections.clone());
                Ok(Some(sections))
            }
            Ok(None) => {
                self.session().keep(buffer);
                Ok(None)
            }
            Err(error) => {
                self.session().keep(buffer);
                Err(error)
            }
        }
    }

    /// What the host can do with frames. A card works without.
    fn capabilities(&self, version: ProtocolVersion) -> Capabilities {
        let (query, size) = offload_query(version);
        let given = query.as_bytes().get(..size).unwrap_or_default();
        let oid = Oid::OID_TCP_OFFLOAD_HARDWARE_CAPABILITIES;
        let answer = self
            .session()
            .control
            .query_with(self.channel(), oid, given, |value| {
                Capabilities::parse(value).map_err(|error| {
                    self.session().port.complain("offload capabilities", &error);
                    EPROTO
                })
            });
        answer.unwrap_or_default()
    }

    /// Has the host do what it can.
    fn switch_offloads(
        &self,
        version: ProtocolVersion,
        can: &Capabilities,
        coalesce: bool,
    ) -> Result {
        let mut params = OffloadParams::unchanged();
        let sum = |can: bool| if can { TxRx::BOTH.0 } else { TxRx::NO_CHANGE.0 };
        let large = |can: bool| {
            if can {
                Switch::ON.0
            } else {
                Switch::NO_CHANGE.0
            }
        };
        // The stack looks at the header of IP in any case.
        params.ip_v4_csum = TxRx::DISABLED.0;
        params.tcp_ip_v4_csum = sum(can.tcp4);
        params.udp_ip_v4_csum = sum(can.udp4);
        params.tcp_ip_v6_csum = sum(can.tcp6);
        params.udp_ip_v6_csum = sum(can.udp6);
        params.lso_v2_ipv4 = large(can.lso4.is_some());
        params.lso_v2_ipv6 = large(can.lso6.is_some());
        if can.rsc {
            let rsc = if coalesce { Switch::ON } else { Switch::OFF };
            (params.rsc_ip_v4, params.rsc_ip_v6) = (rsc.0, rsc.0);
        }
        self.set_offloads(version, params)
    }

    fn set_offloads(&self, version: ProtocolVersion, mut params: OffloadParams) -> Result {
        let size = params.for_version(version);
        let value = params.as_bytes().get(..size).unwrap_or_default();
        self.set(Oid::OID_TCP_OFFLOAD_PARAMETERS, value)
    }

    /// Tells the host whether to join segments, which it can.
    ///
    /// # Errors
    ///
    /// As [`Control::set`](crate::control::Control::set).
    pub(crate) fn coalesce(&self, on: bool) -> Result {
        let version = self.session().port.version().ok_or(ENODEV)?;
        let mut params = OffloadParams::unchanged();
        let rsc = if on { Switch::ON } else { Switch::OFF };
        (params.rsc_ip_v4, params.rsc_ip_v6) = (rsc.0, rsc.0);
        self.set_offloads(version, params)
    }

    /// How many channels the card can have, and entries of the table of flows.
    fn scaling(&self, version: ProtocolVersion) -> (u16, u16) {
        if version < ProtocolVersion::V5 {
            return (1, 0);
        }
        let given = RssCapabilities::query();
        let oid = Oid::OID_GEN_RECEIVE_SCALE_CAPABILITIES;
        let answer =
            self.session()
                .control
                .query_with(self.channel(), oid, given.as_bytes(), |value| {
                    RssCapabilities::parse(value).map_err(|error| {
                        self.session().port.complain("receive-side scaling", &error);
                        EPROTO
                    })
                });
        let Ok((queues, table)) = answer else {
            return (1, 0);
        };
        let queues = u16::try_from(queues).unwrap_or(u16::MAX);
        let places = u16::try_from(self.channels.queues().len()).unwrap_or(1);
        let table = u16::try_from(table).unwrap_or(0);
        (queues.min(places), table)
    }

    fn properties(
        &self,
        version: ProtocolVersion,
        channels: u16,
        table: u16,
        offloads: Offloads,
    ) -> Result<Properties> {
        let port = &self.session().port;
        let mtu = self
            .query_word(Oid::RNDIS_OID_GEN_MAXIMUM_FRAME_SIZE)
            .unwrap_or(u32::MAX);
        let address = self.query(Oid::RNDIS_OID_802_3_PERMANENT_ADDRESS, |value| {
            Ok(MacAddress(*value.first_chunk().ok_or(EPROTO)?))
        })?;
        if !address.is_valid() {
            return Err(EPROTO);
        }
        // What follows is good to know, but a card works without.
        let media = self.query_word(Oid::RNDIS_OID_GEN_MEDIA_CONNECT_STATUS);
        port.link.note(if media == Ok(MEDIA_CONNECTED) {
            Indication::Connect
        } else {
            Indication::Disconnect
        });
        if version >= ProtocolVersion::V5 {
            if let Ok(speed) = self.query_word(Oid::RNDIS_OID_GEN_LINK_SPEED) {
                port.link.note(Indication::LinkSpeed(speed));
            }
        }
        Ok(Properties {
            version,
            address,
            mtu,
            channels,
            table,
            offloads,
        })
    }

    /// Asks for further channels, so that there are `wanted`. Returns how many there will be. A card works with one.
    fn sub_channels(&self, wanted: u16) -> Result<u16> {
        if wanted <= 1 {
            return Ok(1);
        }
        self.open.accept_sub_channels();
        let asked = u32::from(wanted - 1);
        // The offers may come before the answer.
        self.session().set_channels(wanted);
        let reply = self.ask(&SubchannelRequest::allocate(asked))?;
        let count = granted(reply.bytes(), asked).unwrap_or_else(|error| {
            self.session().port.complain("sub-channels", &error);
            0
        });
        let planned = u16::try_from(count + 1)?;
        self.session().set_channels(planned);
        Ok(planned)
    }

    /// Has the host spread flows over the first `channels` channels, if it does not yet. Returns whether that is new.
    ///
    /// # Errors
    ///
    /// As [`Control::set`](crate::control::Control::set).
    pub(crate) fn spread(&self, channels: u16, table: &Table) -> Result<bool> {
        if self.spread.load(Relaxed) == u32::from(channels) {
            return Ok(false);
        }
        self.set_table(channels, table)?;
        self.spread.store(channels.into(), Relaxed);
        Ok(true)
    }

    /// Tells the host which channel each flow goes to.
    ///
    /// # Errors
    ///
    /// As [`Control::set`](crate::control::Control::set).
    pub(crate) fn set_table(&self, channels: u16, table: &Table) -> Result {
        // Hosts take a new table only when it was off.
        for on in [false, true] {
            let value = table.encode(channels, on)?;
            self.set(Oid::OID_GEN_RECEIVE_SCALE_PARAMETERS, &value)?;
        }
        Ok(())
    }

    /// Tells the host which address the card has.
    ///
    /// # Errors
    ///
    /// As [`Control::set`](crate::control::Control::set).
    pub(crate) fn set_address(&self, address: MacAddress) -> Result {
        let oid = Oid::RNDIS_OID_GEN_RNDIS_CONFIG_PARAMETER;
        self.set(oid, &mac_parameter(address.0))
    }

    /// Tells the host which frames the interface wants, if it does not know.
    ///
    /// # Errors
    ///
    /// As [`Control::set`](crate::control::Control::set).
    pub(crate) fn set_filter(&self, wanted: u32) -> Result {
        let filter = &self.session().filter;
        if filter.load(Relaxed) == wanted {
            return Ok(());
        }
        // Whoever comes here has the card to himself.
        filter.store(u32::MAX, Relaxed);
        let oid = Oid::RNDIS_OID_GEN_CURRENT_PACKET_FILTER;
        self.set(oid, &wanted.to_le_bytes())?;
        filter.store(wanted, Relaxed);
        Ok(())
    }

    /// Waits until the host has sent all frames, or for a while.
    pub(crate) fn drain(&self) {
        let mut waited = 0;
        while self.channels.is_busy() && self.channels.is_open() && waited < DRAIN_MS {
            fsleep(Delta::from_millis(LOOK_MS));
            waited += LOOK_MS;
        }
    }
}

/// Rounds a number of bytes up to whole pages.
fn whole_pages(bytes: u32) -> u32 {
    bytes.next_multiple_of(4096)
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.drain();
        // A host that has withdrawn the card, or does not listen, is left without.
        let agreed = |what| self.agreed.load(Relaxed) & what != 0;
        if agreed(RNDIS) {
            let _ = self.session().control.halt(self.channel());
        }
        if agreed(RECEIVE) {
            let _ = self.tell(&RevokeBuffer::receive());
        }
        if agreed(SEND) {
            let _ = self.tell(&RevokeBuffer::send());
        }
    }
}
