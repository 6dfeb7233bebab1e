// SPDX-License-Identifier: GPL-2.0

//! What all channels of a card share from opening them to closing them.

use crate::{
    control::Control,
    port::Port,
    receive::Receive,
    sections::Sections, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        SetOnce, //
    }, //
};
use rlis_proto::nvsp::{
    self,
    Incoming,
    ProtocolVersion,
    SendTable, //
};
use rlis_vmbus::GrantedMemory;

/// The time from opening the channels to closing them. A card that was given another MTU has another one.
#[pin_data]
pub(crate) struct Session {
    #[pin]
    pub(crate) control: Control,
    pub(crate) port: Arc<Port>,
    /// From the time that the host knows the receive buffer.
    receive: SetOnce<Receive>,
    /// A buffer that the host has and that is not used.
    kept: SetOnce<GrantedMemory>,
    /// The send buffer: the host has it from before there are queues that use it.
    sections: SetOnce<Arc<Sections>>,
    /// The packet filter that the host has.
    pub(crate) filter: Atomic<u32>,
    /// How many channels there are to be, the first one included.
    channels: Atomic<u32>,
}

impl Session {
    pub(crate) fn new(port: Arc<Port>) -> Result<Arc<Self>> {
        // Until the host says something else.
        port.set_table(&SendTable::in_turn(1));
        Arc::pin_init(
            try_pin_init!(Self {
                control <- Control::new(),
                port,
                receive: SetOnce::new(),
                kept: SetOnce::new(),
            sections: SetOnce::new(),
                // None has these bits.
                filter: Atomic::new(u32::MAX),
                channels: Atomic::new(1),
            }),
            GFP_KERNEL,
        )
    }

    /// Keeps a buffer that the host has, and that is not used, until the channel is closed. There is at most one.
    pub(crate) fn keep(&self, buffer: GrantedMemory) {
        self.kept.populate(buffer);
    }

    /// The host has taken the send buffer.
    pub(crate) fn set_sections(&self, sections: Arc<Sections>) {
        self.sections.populate(sections);
    }

    /// The host has taken the receive buffer.
    pub(crate) fn set_receive(&self, receive: Receive) {
        self.receive.populate(receive);
    }

    #[inline]
    pub(crate) fn receive(&self) -> Option<&Receive> {
        self.receive.as_ref()
    }

    /// There will be so many channels, the first one included.
    pub(crate) fn set_channels(&self, channels: u16) {
        self.channels.store(channels.into(), Relaxed);
        self.port.set_table(&SendTable::in_turn(channels.into()));
    }

    /// How many channels there are to be.
    pub(crate) fn channels(&self) -> u16 {
        u16::try_from(self.channels.load(Relaxed)).unwrap_or(1)
    }

    /// Takes what the host says unasked.
    ///
    /// # Errors
    ///
    /// If it makes no sense.
    #[cold]
    pub(crate) fn incoming(
        &self,
        payload: &[u8],
    ) -> core::result::Result<(), rlis_proto::ProtoError> {
        let version = self.port.version().unwrap_or(ProtocolVersion::V1);
        match nvsp::incoming(payload, version, self.channels().into())? {
            Incoming::SendTable(table) => self.port.set_table(&table),
            Incoming::VfAssociation(news) => self.port.virtual_function(news),
            Incoming::SwitchDataPath(path) => self.port.path_moved(path),
            Incoming::Ignored(_) => {}
        }
        Ok(())
    }
}
