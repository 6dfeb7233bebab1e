// SPDX-License-Identifier: GPL-2.0

//! What the network stack asks of a card.

use crate::{
    connection::{
        Connection,
        Properties, //
    },
    counters::Counters,
    link::{
        LinkState,
        LinkTask, //
    },
    session::Session,
    settings::DRAIN_MS,
    transmit::Transmit, //
};
use core::fmt::Debug;
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        rcu,
        Arc,
        Mutex, //
    },
    time::{
        delay::fsleep,
        Delta, //
    }, //
};
use rlis_hv::{
    work::Worker,
    RateLimit,
    RcuArc, //
};
use rlis_net::{
    LinkSettings,
    MacAddress,
    Napi,
    NetDevice,
    Rtnl,
    RxMode,
    Sent,
    Stats,
    TxPacket,
    TxQueue, //
};
use rlis_proto::{
    nvsp::ProtocolVersion,
    rndis::{
        mac_parameter,
        Indication,
        Oid,
        FILTER_ALL_MULTICAST,
        FILTER_BROADCAST,
        FILTER_DIRECTED,
        FILTER_PROMISCUOUS, //
    }, //
};
use rlis_vmbus::Lease;

/// How long to wait between looks whether all frames are sent, in milliseconds.
const LOOK_MS: i64 = 10;

/// How long to wait before the host is asked again for a card that it has refused, in milliseconds.
const REPAIR_MS: u32 = 5_000;

/// What may change while the card is in use.
struct State {
    /// `None` while there is none: the system is hibernated, or the host has not come to terms.
    connection: Option<Connection>,
    /// What the connection is made with.
    mtu: u32,
    /// The address that was set; `None` for the host's.
    address: Option<MacAddress>,
    /// Whether a connection that is missing is to be made.
    wanted: bool,
}

/// A card.
#[pin_data]
pub(crate) struct Nic {
    pub(crate) counters: Counters,
    pub(crate) link: LinkState,
    pub(crate) worker: Arc<Worker<LinkTask>>,
    device: Arc<NetDevice>,
    napi: Arc<Napi<Session>>,
    lease: Lease,
    /// Where frames go.
    session: RcuArc<Session>,
    /// `ProtocolVersion`, or 0.
    version: Atomic<u32>,
    complaints: RateLimit,
    /// Taken with the RTNL held or not, so the RTNL is not taken with this held.
    #[pin]
    state: Mutex<State>,
}

/// The packet filter for an interface that wants these frames.
fn filter(mode: RxMode) -> u32 {
    if mode.promiscuous {
        return FILTER_PROMISCUOUS;
    }
    let groups = if mode.all_multicast || mode.multicast {
        FILTER_ALL_MULTICAST
    } else {
        0
    };
    FILTER_DIRECTED | FILTER_BROADCAST | groups
}

impl Nic {
    pub(crate) fn new(
        device: Arc<NetDevice>,
        napi: Arc<Napi<Session>>,
        lease: Lease,
        worker: Arc<Worker<LinkTask>>,
        mtu: u32,
    ) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                counters: Counters::default(),
                link: LinkState::new(),
                worker,
                device,
                napi,
                lease,
                session: RcuArc::new(),
                version: Atomic::new(0),
                complaints: RateLimit::new(),
                state <- new_mutex!(State {
                    connection: None,
                    mtu,
                    address: None,
                    wanted: true,
                }),
            }),
            GFP_KERNEL,
        )
    }

    pub(crate) fn device(&self) -> &Arc<NetDevice> {
        &self.device
    }

    fn log(&self) -> &kernel::device::Device {
        self.lease.device().as_ref()
    }

    /// Says in the log what the host did wrong, if that was not said too often lately. Any context.
    #[cold]
    pub(crate) fn complain(&self, what: &str, detail: &dyn Debug) {
        self.complaints.run(|dropped| {
            dev_warn!(
                self.log(),
                "{what}: {detail:?} ({dropped} lines like this were left out)\n"
            );
        });
    }

    /// Counts what made no sense, and says so.
    #[cold]
    pub(crate) fn malformed(&self, what: &str, detail: &dyn Debug) {
        self.counters.rx.malformed.add(1);
        self.complain(what, detail);
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

    /// Shows the state of the cable to the system.
    pub(crate) fn show_carrier(&self) {
        if self.link.is_connected() && self.is_connected() {
            if !self.device.has_carrier() {
                self.device.carrier_on();
                self.device.notify_peers();
            }
        } else {
            self.device.carrier_off();
        }
    }

    fn is_connected(&self) -> bool {
        self.state.lock().connection.is_some()
    }

    /// No frames go through the session any more. Waits for those that are just being sent.
    pub(crate) fn end_session(&self) {
        drop(self.session.replace(None));
    }

    /// Comes to terms with the host, for the first time or again, with all that was set before.
    ///
    /// # Errors
    ///
    /// As [`Connection::new`].
    pub(crate) fn connect(self: &Arc<Self>) -> Result<Properties> {
        self.connect_with(&mut self.state.lock())
    }

    fn connect_with(self: &Arc<Self>, state: &mut State) -> Result<Properties> {
        let (connection, properties) = Connection::new(&self.lease, self, &self.napi, state.mtu)?;
        let session = connection.session.clone();
        if let Some(address) = state.address {
            Self::tell_address(&session, address)?;
        }
        self.tell_filter(&session)?;
        drop(self.session.replace(Some(session)));
        state.connection = Some(connection);
        state.wanted = true;
        Ok(properties)
    }

    /// Asks the host for the value of an object, and gives it to `f`.
    ///
    /// # Errors
    ///
    /// As [`Control::query`](crate::control::Control::query), and `ENETDOWN` without a connection.
    pub(crate) fn query<R>(&self, oid: Oid, f: impl FnOnce(&[u8]) -> Result<R>) -> Result<R> {
        let state = self.state.lock();
        let session = &state.connection.as_ref().ok_or(ENETDOWN)?.session;
        session
            .control
            .query(session.channel().ok_or(ENODEV)?, oid, f)
    }

    /// Has the worker make the connection that is missing.
    pub(crate) fn want_connection(&self) {
        self.state.lock().wanted = true;
    }

    /// Takes leave of the host until [`Self::connect`].
    pub(crate) fn disconnect(&self) {
        let mut state = self.state.lock();
        state.wanted = false;
        self.device.carrier_off();
        drop(state.connection.take());
    }

    /// Tells the host which frames the interface wants by now.
    fn tell_filter(&self, session: &Session) -> Result {
        let wanted = if self.device.is_running() {
            filter(self.device.rx_mode())
        } else {
            0
        };
        let channel = session.channel().ok_or(ENODEV)?;
        if session.filter.load(Relaxed) == wanted {
            return Ok(());
        }
        // Whoever comes here has the lock of the state, or the session to itself.
        session.filter.store(u32::MAX, Relaxed);
        let oid = Oid::RNDIS_OID_GEN_CURRENT_PACKET_FILTER;
        session.control.set(channel, oid, &wanted.to_le_bytes())?;
        session.filter.store(wanted, Relaxed);
        Ok(())
    }

    fn tell_address(session: &Session, address: MacAddress) -> Result {
        let channel = session.channel().ok_or(ENODEV)?;
        let oid = Oid::RNDIS_OID_GEN_RNDIS_CONFIG_PARAMETER;
        session.control.set(channel, oid, &mac_parameter(address.0))
    }

    /// Brings the host's filter up to date, and makes a connection that is missing. For the worker.
    pub(crate) fn apply_filter(self: &Arc<Self>) {
        let mut state = self.state.lock();
        if let Some(connection) = &state.connection {
            if let Err(error) = self.tell_filter(&connection.session) {
                self.complain("the host does not take the packet filter", &error);
            }
        } else if state.wanted {
            let result = self.connect_with(&mut state);
            drop(state);
            match result {
                Ok(_) => {
                    dev_info!(self.log(), "the host has come to terms again\n");
                    self.device.wake_queue(0, || true);
                    self.show_carrier();
                }
                Err(_) => self.worker.set_timer(REPAIR_MS),
            }
        }
    }

    /// Makes the connection anew, with another MTU.
    fn reconnect(self: &Arc<Self>, state: &mut State, mtu: u32) -> Result {
        let before = state.mtu;
        drop(state.connection.take());
        state.mtu = mtu;
        let Err(error) = self.connect_with(state) else {
            return Ok(());
        };
        state.mtu = before;
        if self.connect_with(state).is_err() {
            self.report(
                "no connection to the host, which is tried again later",
                &error,
            );
            self.worker.set_timer(REPAIR_MS);
        }
        Err(error)
    }

    /// Waits until the host has sent all frames, or for a while.
    pub(crate) fn drain(session: &Session) {
        let mut waited = 0;
        let busy = || session.transmit().is_some_and(|tx| !tx.is_idle());
        while busy() && session.is_open() && waited < DRAIN_MS {
            fsleep(Delta::from_millis(LOOK_MS));
            waited += LOOK_MS;
        }
    }
}

/// A card as the interface's driver: reconnecting needs a reference that can be shared.
pub(crate) struct Interface(pub(crate) Arc<Nic>);

impl rlis_net::Driver for Interface {
    const STATISTICS: &'static [&'static str] = Counters::NAMES;

    fn open(&self, dev: &NetDevice, rtnl: &Rtnl<'_>) -> Result {
        let state = self.0.state.lock();
        let connection = state.connection.as_ref().ok_or(ENETDOWN)?;
        self.0.tell_filter(&connection.session)?;
        drop(state);
        dev.wake_queues(rtnl);
        Ok(())
    }

    fn stop(&self, dev: &NetDevice, rtnl: &Rtnl<'_>) {
        dev.stop_queues(rtnl);
        let state = self.0.state.lock();
        if let Some(connection) = &state.connection {
            if let Err(error) = self.0.tell_filter(&connection.session) {
                self.0
                    .complain("the host does not take the packet filter", &error);
            }
            Nic::drain(&connection.session);
        }
    }

    #[inline]
    fn transmit(&self, _dev: &NetDevice, queue: &TxQueue<'_>, packet: TxPacket) -> Sent {
        let guard = rcu::read_lock();
        match self.0.session.get(&guard) {
            Some(session) => Transmit::transmit(session, queue, packet, &guard),
            None => {
                self.0.counters.tx.dropped.add(1);
                packet.discard()
            }
        }
    }

    fn stats(&self) -> Stats {
        self.0.counters.totals()
    }

    fn change_mtu(&self, dev: &NetDevice, rtnl: &Rtnl<'_>, mtu: u32) -> Result {
        let mut state = self.0.state.lock();
        if state.connection.is_none() {
            return Err(ENETDOWN);
        }
        dev.carrier_off();
        dev.stop_queues(rtnl);
        let result = self.0.reconnect(&mut state, mtu);
        drop(state);
        if result.is_ok() {
            dev.set_mtu(rtnl, mtu);
        }
        if dev.is_running() {
            dev.wake_queues(rtnl);
        }
        // Which cannot be done with the RTNL held.
        self.0.worker.queue();
        result
    }

    fn change_address(&self, dev: &NetDevice, rtnl: &Rtnl<'_>, address: MacAddress) -> Result {
        let mut state = self.0.state.lock();
        let connection = state.connection.as_ref().ok_or(ENETDOWN)?;
        Nic::tell_address(&connection.session, address)?;
        state.address = Some(address);
        dev.set_address(rtnl, address);
        Ok(())
    }

    fn rx_mode(&self) {
        self.0.worker.queue();
    }

    fn link(&self) -> LinkSettings {
        LinkSettings {
            speed: self.0.link.speed(),
        }
    }

    fn statistics(&self, into: &mut [u64]) {
        for (to, from) in into.iter_mut().zip(self.0.counters.values()) {
            *to = from;
        }
    }
}

#[kunit_tests(hv_netvsc_nic)]
mod tests {
    use super::*;

    #[test]
    fn filters() {
        let mut mode = RxMode::default();
        assert_eq!(filter(mode), FILTER_DIRECTED | FILTER_BROADCAST);
        mode.multicast = true;
        assert_eq!(
            filter(mode),
            FILTER_DIRECTED | FILTER_BROADCAST | FILTER_ALL_MULTICAST
        );
        mode.promiscuous = true;
        assert_eq!(filter(mode), FILTER_PROMISCUOUS);
    }
}
