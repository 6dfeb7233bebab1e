// SPDX-License-Identifier: GPL-2.0

//! What every part of a card needs: its interface, what is counted, the state of the cable, and the log.

use crate::{
    counters::Counters,
    link::{
        Chores,
        LinkState, //
    },
    news::News,
    settings::{
        message_level,
        MSG_DRV,
        MSG_RX_ERR,
        MSG_TX_ERR, //
    }, //
};
use core::fmt::Debug;
use kernel::{
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    }, //
};
use rlis_hv::{
    work::Worker,
    RateLimit, //
};
use rlis_net::{
    HashPorts,
    NetDevice, //
};
use rlis_proto::{
    nvsp::{
        DataPath,
        ProtocolVersion,
        SendTable,
        VfAssociation,
        VRSS_SEND_TAB_SIZE, //
    },
    rndis::Indication, //
};
use rlis_vmbus::Device;

/// What does not change while the card is there, whatever becomes of its connection.
pub(crate) struct Port {
    pub(crate) counters: Counters,
    pub(crate) link: LinkState,
    /// What the host says of a virtual function.
    pub(crate) news: News,
    pub(crate) worker: Arc<Worker<Chores>>,
    pub(crate) interface: Arc<NetDevice>,
    device: ARef<Device>,
    /// `ProtocolVersion`, or 0.
    version: Atomic<u32>,
    /// Which channel the host wants a flow on, by its hash.
    table: [Atomic<u32>; VRSS_SEND_TAB_SIZE],
    complaints: RateLimit,
    /// `HashPorts`.
    pub(crate) hash_ports: Atomic<u32>,
    /// Of what there are lines in the log: bits of `NETIF_MSG_*`.
    pub(crate) messages: Atomic<u32>,
}

impl Port {
    pub(crate) fn new(
        interface: Arc<NetDevice>,
        device: &Device,
        worker: Arc<Worker<Chores>>,
        queues: u16,
    ) -> Result<Arc<Self>> {
        let port = Self {
            counters: Counters::new(queues)?,
            link: LinkState::new(),
            news: News::new(),
            worker,
            interface,
            device: device.into(),
            version: Atomic::new(0),
            table: [const { Atomic::new(0) }; VRSS_SEND_TAB_SIZE],
            complaints: RateLimit::new(),
            hash_ports: Atomic::new(HashPorts::ALL.bits()),
            messages: Atomic::new(message_level()),
        };
        Ok(Arc::new(port, GFP_KERNEL)?)
    }

    pub(crate) fn log(&self) -> &kernel::device::Device {
        self.device.as_ref()
    }

    /// Says in the log what the host did wrong, if that was not said too often lately and somebody wants to know. Any context.
    #[cold]
    pub(crate) fn complain(&self, what: &str, detail: &dyn Debug) {
        if self.messages.load(Relaxed) & (MSG_RX_ERR | MSG_TX_ERR) == 0 {
            return;
        }
        self.complaints.run(|dropped| {
            if dropped != 0 {
                dev_warn!(self.log(), "{dropped} lines like this were left out:\n");
            }
            dev_warn!(self.log(), "{what}: {detail:?}\n");
        });
    }

    /// Says in the log why something cannot be done.
    pub(crate) fn report(&self, what: &str, detail: &dyn Debug) {
        dev_err!(self.log(), "{what}: {detail:?}\n");
    }

    pub(crate) fn set_version(&self, version: ProtocolVersion) {
        self.version.store(version.0, Relaxed);
    }

    /// The version of the protocol, once it is agreed upon.
    pub(crate) fn version(&self) -> Option<ProtocolVersion> {
        Some(ProtocolVersion(self.version.load(Relaxed))).filter(|version| version.0 != 0)
    }

    /// Takes news of the cable. Any context.
    pub(crate) fn indication(&self, news: Indication) {
        if self.link.note(news) {
            self.worker.queue();
        }
    }

    /// Takes news of a virtual function.
    #[cold]
    pub(crate) fn virtual_function(&self, news: VfAssociation) {
        let serial = news.serial;
        let what = match news.allocated {
            0 => "removed",
            _ => "added",
        };
        if self.messages.load(Relaxed) & MSG_DRV != 0 {
            dev_info!(self.log(), "VF slot {serial} {what}\n");
        }
        self.news
            .associated((news.allocated != 0).then_some(serial));
        self.worker.queue();
    }

    /// The host has moved the data path without having been asked.
    #[cold]
    pub(crate) fn path_moved(&self, path: DataPath) {
        self.news.moved(path);
        // Before the worker has a look, so that nothing is lost meanwhile.
        self.interface.set_forwarding(false);
        self.worker.queue();
    }

    /// The host has completed a SWITCH_DATA_PATH.
    #[cold]
    pub(crate) fn path_switched(&self, number: u32) {
        self.news.switched(number);
        self.worker.queue();
    }

    /// Fills in which channel flows go to, by the remainder of their hash.
    pub(crate) fn read_table(&self, into: &mut [u32]) {
        for (to, from) in into.iter_mut().zip(&self.table) {
            *to = from.load(Relaxed);
        }
    }

    /// From now on flows go to these channels.
    pub(crate) fn set_table(&self, table: &SendTable) {
        for (to, from) in self.table.iter().zip(table.entries()) {
            to.store(u32::from(*from), Relaxed);
        }
    }

    /// The channel that a flow with this hash goes to. It may be one that is not open any more.
    #[inline]
    pub(crate) fn channel_for(&self, hash: u32) -> u16 {
        let at = usize::try_from(hash).unwrap_or(0) % VRSS_SEND_TAB_SIZE;
        let channel = self.table.get(at).map_or(0, |entry| entry.load(Relaxed));
        u16::try_from(channel).unwrap_or(0)
    }
}
