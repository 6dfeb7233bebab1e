// SPDX-License-Identifier: GPL-2.0

//! A card, whose connection to the host comes and goes.

use crate::{
    channels::Channels,
    connection::{
        Connection,
        Properties,
        Terms, //
    },
    link::{
        Chores,
        Owner, //
    },
    path::Function,
    port::Port,
    queue::Queue,
    rss::Table,
    settings::{
        CHANNELS_MS,
        DEFAULT_CHANNELS,
        ETH_MTU,
        NETWORK_CHANGE_MS,
        OFFER_MS,
        REPAIR_MS,
        RX_SECTIONS,
        TX_SECTIONS, //
    }, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    }, //
};
use rlis_hv::{
    cpu::online_count,
    work::Worker,
    RcuArc, //
};
use rlis_net::{
    MacAddress,
    Napi,
    NetDevice,
    Rtnl,
    RxMode, //
};
use rlis_proto::rndis::{
    Oid,
    FILTER_ALL_MULTICAST,
    FILTER_BROADCAST,
    FILTER_DIRECTED,
    FILTER_PROMISCUOUS, //
};
use rlis_vmbus::Lease;

/// What may change while the card is in use.
pub(crate) struct State {
    /// `None` while there is none: the system is hibernated, or the host has not come to terms.
    pub(crate) connection: Option<Connection>,
    /// What the connection is made with.
    pub(crate) terms: Terms,
    /// The address that was set; `None` for the host's.
    pub(crate) address: Option<MacAddress>,
    pub(crate) table: Table,
    /// How many channels there can be, as far as the host has said.
    pub(crate) max_channels: u16,
    /// Whether a connection that is missing is to be made.
    wanted: bool,
}

/// A card.
#[pin_data]
pub(crate) struct Nic {
    pub(crate) port: Arc<Port>,
    napis: KVec<Arc<Napi<Queue>>>,
    lease: Lease,
    /// Where frames go.
    pub(crate) active: RcuArc<Channels>,
    /// Taken with the RTNL held or not, so the RTNL is not taken with this held.
    #[pin]
    pub(crate) state: Mutex<State>,
    #[pin]
    pub(crate) function: Function,
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
        port: Arc<Port>,
        napis: KVec<Arc<Napi<Queue>>>,
        lease: Lease,
    ) -> Result<Arc<Self>> {
        let places = u16::try_from(napis.len()).unwrap_or(1);
        let terms = Terms {
            mtu: ETH_MTU,
            channels: DEFAULT_CHANNELS.min(places),
            rx: RX_SECTIONS,
            tx: TX_SECTIONS,
            coalesce: true,
        };
        Arc::pin_init(
            pin_init!(Self {
                port,
                napis,
                lease,
                active: RcuArc::new(),
                state <- new_mutex!(State {
                    connection: None,
                    terms,
                    address: None,
                    table: Table::new(),
                    max_channels: 1,
                    wanted: true,
                }),
                function <- Function::new(),
            }),
            GFP_KERNEL,
        )
    }

    /// How many channels a card can have on this machine.
    pub(crate) fn places() -> u16 {
        let most = u32::from(u16::MAX).min(rlis_proto::nvsp::VRSS_CHANNEL_MAX);
        u16::try_from(online_count().clamp(1, most)).unwrap_or(1)
    }

    pub(crate) fn interface(&self) -> &Arc<NetDevice> {
        &self.port.interface
    }

    pub(crate) fn worker(&self) -> &Arc<Worker<Chores>> {
        &self.port.worker
    }

    /// Shows the state of the cable to the system.
    fn show_carrier(&self) {
        let interface = self.interface();
        if self.port.link.is_connected() && self.is_connected() {
            if !interface.has_carrier() {
                interface.carrier_on();
                interface.notify_peers();
            }
        } else {
            interface.carrier_off();
        }
    }

    fn is_connected(&self) -> bool {
        self.state.lock().connection.is_some()
    }

    /// Takes leave of the host. Waits for frames that are just being sent, and no more are.
    fn leave(&self, state: &mut State) {
        self.function_disconnected();
        drop(self.active.replace(None));
        drop(state.connection.take());
        for queue in 0..self.interface().max_queues() {
            // What was under way is not: it was freed with the connection.
            self.interface().forget_sent(queue);
        }
    }

    /// Comes to terms with the host, for the first time or again, with all that was set before. One channel is open then.
    ///
    /// # Errors
    ///
    /// As [`Connection::new`].
    pub(crate) fn connect(&self) -> Result<Properties> {
        self.connect_with(&mut self.state.lock())
    }

    fn connect_with(&self, state: &mut State) -> Result<Properties> {
        let (connection, properties) =
            Connection::new(&self.lease, &self.port, &self.napis, &state.terms)?;
        if let Some(address) = state.address {
            connection.set_address(address)?;
        }
        connection.set_filter(self.wanted_filter())?;
        state.table.set_len(properties.table);
        state.max_channels = properties.channels;
        let large_send = properties.offloads.large_send();
        self.interface().set_large_send(large_send);
        drop(self.active.replace(Some(connection.channels.clone())));
        self.function_connected();
        if !connection.channels.is_complete() {
            // Those that have not come by then are done without.
            self.worker().set_timer(OFFER_MS);
        }
        state.connection = Some(connection);
        state.wanted = true;
        // Looks after the channels that have come.
        self.worker().queue();
        Ok(properties)
    }

    /// Asks the host for the value of an object, and gives it to `f`.
    ///
    /// # Errors
    ///
    /// As [`Connection::query`], and `ENETDOWN` without a connection.
    pub(crate) fn query<R>(&self, oid: Oid, f: impl FnOnce(&[u8]) -> Result<R>) -> Result<R> {
        let state = self.state.lock();
        state.connection.as_ref().ok_or(ENETDOWN)?.query(oid, f)
    }

    /// Has the worker make the connection that is missing.
    pub(crate) fn want_connection(&self) {
        self.state.lock().wanted = true;
    }

    /// Takes leave of the host until [`Self::connect`].
    pub(crate) fn disconnect(&self) {
        let mut state = self.state.lock();
        state.wanted = false;
        self.interface().carrier_off();
        self.leave(&mut state);
    }

    /// Which frames the interface wants by now.
    pub(crate) fn wanted_filter(&self) -> u32 {
        if self.interface().is_running() {
            filter(self.interface().rx_mode())
        } else {
            0
        }
    }

    /// Makes the connection anew, with other terms. If that fails, with those of before.
    ///
    /// # Errors
    ///
    /// As [`Connection::new`], and `ENETDOWN` if there is no connection.
    pub(crate) fn reconnect(&self, dev: &NetDevice, rtnl: &Rtnl<'_>, terms: Terms) -> Result {
        let mut state = self.state.lock();
        if state.connection.is_none() {
            return Err(ENETDOWN);
        }
        if !dev.has_table_of_user(rtnl) {
            state.table.reset();
        }
        dev.carrier_off();
        dev.stop_queues(rtnl);
        // The others have no channel until the host has offered them again.
        let one = dev.set_queues(rtnl, 1);
        let before = state.terms;
        let result = one.and_then(|()| {
            self.leave(&mut state);
            state.terms = terms;
            self.connect_with(&mut state).map(|_| ())
        });
        if let Err(error) = &result {
            state.terms = before;
            // Of a host that is silent nobody else should have to wait longer, with the RTNL held.
            let is_silent = *error == ETIMEDOUT;
            if state.connection.is_none() && (is_silent || self.connect_with(&mut state).is_err()) {
                self.port.report(
                    "no connection to the host, which is tried again later",
                    error,
                );
                self.worker().set_timer(REPAIR_MS);
            }
        }
        let fresh = state
            .connection
            .as_ref()
            .map(|fresh| fresh.channels.clone());
        drop(state);
        // Who has asked for channels finds them when the call returns, if the host offers them at once.
        if let Some(channels) = fresh {
            channels.wait_for_all(CHANNELS_MS);
            self.spread();
            self.use_queues(rtnl, &channels);
        }
        if dev.is_running() {
            dev.wake_queues(rtnl);
        }
        // Which cannot be done with the RTNL held.
        self.worker().queue();
        result
    }

    /// Tells the host which frames are wanted, unless it has withdrawn the card. Returns whether nothing is left to be told.
    pub(crate) fn tell_filter(&self, connection: &Connection) -> bool {
        if !connection.channels.is_open() {
            return true;
        }
        let result = connection.set_filter(self.wanted_filter());
        if let Err(error) = &result {
            self.port
                .complain("the host does not take the packet filter", error);
        }
        result.is_ok()
    }

    /// Tells the host what it does not know, and makes a connection that is missing.
    fn repair(&self) {
        let mut state = self.state.lock();
        if let Some(connection) = &state.connection {
            if !self.tell_filter(connection) {
                self.worker().set_timer(REPAIR_MS);
            }
            return;
        }
        if !state.wanted {
            return;
        }
        drop(state);
        let interface = self.interface();
        Rtnl::with(|rtnl| interface.set_queues(rtnl, 1).is_ok());
        state = self.state.lock();
        if state.connection.is_some() || !state.wanted {
            return;
        }
        let result = self.connect_with(&mut state);
        drop(state);
        match result {
            Ok(_) => {
                dev_info!(self.port.log(), "the host has come to terms again\n");
                Rtnl::with(|rtnl| {
                    if interface.is_running() {
                        interface.wake_queues(rtnl);
                    }
                });
            }
            Err(_) => self.worker().set_timer(REPAIR_MS),
        }
    }

    /// Has the host spread flows over the channels that are open, and returns these. `None` without a connection.
    fn spread(&self) -> Option<Arc<Channels>> {
        let state = self.state.lock();
        let connection = state.connection.as_ref()?;
        let count = connection.channels.usable();
        if count > 1 && state.table.len() != 0 {
            if let Err(error) = connection.spread(count, &state.table) {
                self.port.complain("the host does not spread flows", &error);
            }
        }
        Some(connection.channels.clone())
    }

    /// Has the system use `channels`, if they are still those of the card.
    fn use_queues(&self, rtnl: &Rtnl<'_>, channels: &Arc<Channels>) {
        let state = self.state.lock();
        let same = |connection: &Connection| Arc::ptr_eq(&connection.channels, channels);
        if !state.connection.as_ref().is_some_and(same) {
            return;
        }
        let (interface, count) = (self.interface(), channels.usable());
        if interface.queues() != count {
            if let Err(error) = interface.set_queues(rtnl, count) {
                self.port.report("channels cannot be used", &error);
            }
        }
    }

    /// Has host and system use the channels that are open.
    fn use_channels(&self) {
        if let Some(channels) = self.spread() {
            if self.interface().queues() != channels.usable() {
                Rtnl::with(|rtnl| self.use_queues(rtnl, &channels));
            }
        }
    }
}

impl Owner for Nic {
    fn work(self: Arc<Self>) {
        self.settle_path();
        self.follow_namespace();
        if self.port.link.take_moved() && self.port.link.is_connected() {
            // Whoever fetches addresses does so when the cable is plugged in.
            self.interface().carrier_off();
            self.worker().set_timer(NETWORK_CHANGE_MS);
        } else {
            self.show_carrier();
        }
        self.repair();
        self.use_channels();
        let interface = self.interface();
        // The host may do other things than before.
        Rtnl::with(|rtnl| {
            self.set_large_send(rtnl);
            interface.update_features(rtnl);
        });
    }

    fn time(self: Arc<Self>) {
        self.take_over();
        self.path_time();
        self.repair();
        self.show_carrier();
        self.use_channels();
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
