// SPDX-License-Identifier: GPL-2.0

//! Coming to terms with the host about a card, and leaving it.

use crate::{
    nic::Nic,
    receive::Receive,
    session::Session,
    settings::{
        ring_size,
        ETH_HEADER,
        ETH_MTU,
        MAX_PACKET,
        RECEIVE_BUFFER,
        RECEIVE_BUFFER_OLD,
        SEND_BUFFER, //
    },
    transmit::{
        Sections,
        Transmit, //
    }, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};
use rlis_hv::SharedMemory;
use rlis_net::{
    EnabledNapi,
    MacAddress,
    Napi, //
};
use rlis_proto::{
    nvsp::{
        self,
        capabilities,
        init_answer,
        max_receive_buffer,
        EstablishBuffer,
        Init,
        InitAnswer,
        NdisConfig,
        NdisVersion,
        ProtocolVersion,
        ReceiveSections,
        RevokeBuffer,
        SendSections, //
    },
    rndis::{
        Indication,
        Oid,
        MEDIA_CONNECTED, //
    }, //
};
use rlis_vmbus::{
    CallbackMode,
    Channel,
    Lease,
    MaxPacket,
    OpenChannel,
    OpenParams,
    RequestIds, //
};

/// What the host says of the card.
pub(crate) struct Properties {
    pub(crate) version: ProtocolVersion,
    pub(crate) address: MacAddress,
    /// The largest MTU that the host takes, if it says so.
    pub(crate) mtu: u32,
}

/// A channel that is open, with a host that has come to terms.
///
/// Dropping it takes leave of the host and closes the channel. Sleeps; for some seconds if the host does not answer.
pub(crate) struct Connection {
    // Dropped in this order: no more polls; then the channel is closed; then the memory comes back from the host.
    _napi: EnabledNapi<Session>,
    _open: OpenChannel<Session>,
    pub(crate) session: Arc<Session>,
}

impl Connection {
    /// Opens the channel of a card and agrees with the host on how to use it, for frames with up to `mtu` bytes. Sleeps.
    ///
    /// # Errors
    ///
    /// As [`OpenChannel::open`], `ETIMEDOUT` if the host does not answer, `EPROTO` if its answers make no sense, `EIO` or
    /// `EOPNOTSUPP` if it refuses.
    pub(crate) fn new(
        lease: &Lease,
        nic: &Arc<Nic>,
        napi: &Arc<Napi<Session>>,
        mtu: u32,
    ) -> Result<(Self, Properties)> {
        let session = Session::new(nic.clone(), napi.clone())?;
        // Before there can be an interrupt, so that none is lost.
        let enabled = napi.clone().enable(session.clone())?;
        let params = OpenParams {
            send_ring: ring_size(),
            recv_ring: ring_size(),
            mode: CallbackMode::Isr,
            max_packet: MaxPacket::with_payload(MAX_PACKET),
            request_ids: RequestIds::AsGiven,
            user_data: &[],
        };
        let open = lease.open(&params, session.clone())?;
        session.opened(open.channel());
        let this = Self {
            _napi: enabled,
            _open: open,
            session,
        };
        let properties = this.agree(mtu).inspect_err(|error| {
            nic.report("the host does not come to terms", error);
        })?;
        Ok((this, properties))
    }

    fn channel(&self) -> &Arc<Channel> {
        self._open.channel()
    }

    fn agree(&self, mtu: u32) -> Result<Properties> {
        let version = self.version()?;
        self.session.nic.set_version(version);
        // A host of the first version cannot be told of another MTU.
        let mtu = if version >= ProtocolVersion::V2 {
            mtu
        } else {
            ETH_MTU
        };
        let frame = mtu + ETH_HEADER;
        let (control, channel) = (&self.session.control, self.channel());
        if version >= ProtocolVersion::V2 {
            // Of virtual functions and coalesced frames this driver knows nothing.
            let can = capabilities(version, true) & !nvsp::VSC_RSC;
            control.tell(channel, &NdisConfig::message(frame, can), false)?;
        }
        control.tell(channel, &NdisVersion::of(version).message(), false)?;
        self.receive_buffer(version, frame)?;
        let sections = self.send_buffer()?;
        control.initialize(channel)?;
        let properties = self.properties(version)?;
        self.session.set_transmit(Transmit::new(sections, frame)?);
        Ok(properties)
    }

    /// Finds the newest version that both know.
    fn version(&self) -> Result<ProtocolVersion> {
        for version in ProtocolVersion::NEWEST_FIRST {
            let reply = self
                .session
                .control
                .ask(self.channel(), &Init::propose(version))?;
            match init_answer(reply.bytes()) {
                Ok(InitAnswer::Accepted) => return Ok(version),
                Ok(InitAnswer::Refused(_)) => {}
                Err(_) => return Err(EPROTO),
            }
        }
        Err(EOPNOTSUPP)
    }

    /// Gives the host the memory that frames arrive in.
    fn receive_buffer(&self, version: ProtocolVersion, frame: u32) -> Result {
        let size = if version <= ProtocolVersion::V2 {
            RECEIVE_BUFFER_OLD
        } else {
            RECEIVE_BUFFER
        };
        let size = size.min(max_receive_buffer(version));
        let buffer = self
            ._open
            .grant(SharedMemory::new(usize::try_from(size)?)?)?;
        let message = EstablishBuffer::receive(buffer.handle());
        let sections = self
            .session
            .control
            .ask(self.channel(), &message)
            .and_then(|reply| {
                ReceiveSections::parse(reply.bytes(), size, frame).map_err(|error| {
                    self.session.nic.report("receive buffer", &error);
                    EPROTO
                })
            });
        match sections {
            Ok(sections) => {
                self.session
                    .set_receive(Receive::new(buffer, sections, frame));
                Ok(())
            }
            Err(error) => {
                self.session.keep(buffer);
                Err(error)
            }
        }
    }

    /// Gives the host the memory that small frames are copied to.
    fn send_buffer(&self) -> Result<Option<Sections>> {
        let buffer = self
            ._open
            .grant(SharedMemory::new(usize::try_from(SEND_BUFFER)?)?)?;
        let message = EstablishBuffer::send(buffer.handle());
        let cut = self
            .session
            .control
            .ask(self.channel(), &message)
            .and_then(|reply| {
                SendSections::parse(reply.bytes(), SEND_BUFFER).map_err(|error| {
                    self.session.nic.report("send buffer", &error);
                    EPROTO
                })
            });
        match cut {
            Ok(Some(cut)) => Sections::new(buffer, cut).map(Some),
            Ok(None) => {
                self.session.keep(buffer);
                Ok(None)
            }
            Err(error) => {
                self.session.keep(buffer);
                Err(error)
            }
        }
    }

    fn properties(&self, version: ProtocolVersion) -> Result<Properties> {
        let (control, channel, nic) = (&self.session.control, self.channel(), &self.session.nic);
        let mtu = control
            .query_word(channel, Oid::RNDIS_OID_GEN_MAXIMUM_FRAME_SIZE)
            .unwrap_or(u32::MAX);
        let address = control.query(channel, Oid::RNDIS_OID_802_3_PERMANENT_ADDRESS, |value| {
            Ok(MacAddress(*value.first_chunk().ok_or(EPROTO)?))
        })?;
        if !address.is_valid() {
            return Err(EPROTO);
        }
        // What follows is good to know, but a card works without.
        let media = control.query_word(channel, Oid::RNDIS_OID_GEN_MEDIA_CONNECT_STATUS);
        nic.link.note(if media == Ok(MEDIA_CONNECTED) {
            Indication::Connect
        } else {
            Indication::Disconnect
        });
        if version >= ProtocolVersion::V5 {
            if let Ok(speed) = control.query_word(channel, Oid::RNDIS_OID_GEN_LINK_SPEED) {
                nic.link.note(Indication::LinkSpeed(speed));
            }
        }
        Ok(Properties {
            version,
            address,
            mtu,
        })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // No frames from here on, though a poll may wake the queue. Those under way come back before the host is left.
        self.session.nic.end_session();
        Nic::drain(&self.session);
        let (control, channel) = (&self.session.control, self.channel());
        // A host that has withdrawn the card, or does not listen, is left without.
        let _ = control
            .halt(channel)
            .and_then(|()| control.tell(channel, &RevokeBuffer::receive(), false))
            .and_then(|()| control.tell(channel, &RevokeBuffer::send(), false));
    }
}
