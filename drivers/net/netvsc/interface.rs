// SPDX-License-Identifier: GPL-2.0

//! What the network stack asks of a card.

use crate::{
    connection::Terms,
    counters::Counters,
    nic::Nic,
    settings::{
        MAX_RX_SECTIONS,
        MAX_TX_SECTIONS,
        MIN_RX_SECTIONS,
        MIN_TX_SECTIONS, //
    },
    xdp, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::Relaxed,
        rcu,
        Arc, //
    }, //
};
use rlis_net::{
    Features,
    Frames,
    HashPorts,
    LinkSettings,
    Lower,
    MacAddress,
    NetDevice,
    QueueStatistics,
    Registers,
    Rings,
    Rtnl,
    RxQueueStats,
    Sent,
    Stats,
    TableChange,
    TxPacket,
    TxQueue,
    TxQueueStats, //
};
use rlis_proto::nvsp::VRSS_SEND_TAB_SIZE;

/// A card as the interface's driver.
pub(crate) struct Interface(pub(crate) Arc<Nic>);

impl Interface {
    /// The terms of now, changed by `f`.
    fn terms(&self, f: impl FnOnce(&mut Terms)) -> Terms {
        let mut terms = self.0.state.lock().terms;
        f(&mut terms);
        terms
    }
}

impl rlis_net::Driver for Interface {
    const STATISTICS: &'static [&'static str] = Counters::NAMES;
    const XDP: bool = true;
    const CPU_STATISTICS: &'static [QueueStatistics] = Counters::OF_CPU;
    const QUEUE_STATS: bool = true;
    const QUEUE_STATISTICS: &'static [QueueStatistics] = Counters::OF_QUEUE;
    // The channel that the host wants each flow on.
    const REGISTERS: Registers = Registers {
        version: 1,
        words: VRSS_SEND_TAB_SIZE as u16,
    };

    fn open(&self, dev: &NetDevice, rtnl: &Rtnl<'_>) -> Result {
        let state = self.0.state.lock();
        let connection = state.connection.as_ref().ok_or(ENETDOWN)?;
        connection.set_filter(self.0.wanted_filter())?;
        drop(state);
        dev.wake_queues(rtnl);
        Ok(())
    }

    fn stop(&self, dev: &NetDevice, rtnl: &Rtnl<'_>) {
        dev.stop_queues(rtnl);
        let state = self.0.state.lock();
        if let Some(connection) = &state.connection {
            self.0.tell_filter(connection);
            connection.drain();
        }
    }

    #[inline]
    fn transmit(&self, dev: &NetDevice, queue: &TxQueue<'_>, packet: TxPacket) -> Sent {
        let channels = self.0.active.get(queue);
        let packet = match dev.forward(packet) {
            Ok(sent) => {
                if let Some(channel) = channels.and_then(|channels| channels.queue(queue.index())) {
                    channel.flush(queue);
                }
                return sent;
            }
            Err(packet) => packet,
        };
        match channels.and_then(|channels| channels.queue(queue.index())) {
            Some(channel) => channel.transmit(queue, packet),
            None => {
                if let Some(counters) = self.0.port.counters.channel(queue.index()) {
                    counters.tx.dropped.add(1);
                }
                packet.discard()
            }
        }
    }

    fn transmit_frames(&self, _dev: &NetDevice, queue: &TxQueue<'_>, frames: &mut Frames<'_>) {
        let channels = self.0.active.get(queue);
        if let Some(channel) = channels.and_then(|channels| channels.queue(queue.index())) {
            channel.transmit_frames(queue, frames);
        }
    }

    fn allows_program(
        &self,
        dev: &NetDevice,
        _rtnl: &Rtnl<'_>,
    ) -> core::result::Result<(), &'static CStr> {
        xdp::allows_program(dev)
    }

    #[inline]
    fn select_queue(&self, hash: u32, _queues: u16) -> u16 {
        self.0.port.channel_for(hash)
    }

    fn fix_features(&self, features: Features) -> Features {
        let guard = rcu::read_lock();
        let channels = self.0.active.get(&guard);
        let Some(can) = channels.and_then(|channels| channels.offloads()) else {
            return features;
        };
        let can = can.features();
        let lro = features.lro && can.lro;
        let has_program = self.0.interface().has_program();
        if lro && has_program {
            dev_info!(self.0.port.log(), "Skip LRO - unsupported with XDP\n");
        }
        Features {
            ipv4_checksum: features.ipv4_checksum && can.ipv4_checksum,
            ipv6_checksum: features.ipv6_checksum && can.ipv6_checksum,
            tso: features.tso && can.tso,
            tso6: features.tso6 && can.tso6,
            lro: lro && !has_program,
            ..features
        }
    }

    fn set_features(&self, _dev: &NetDevice, _rtnl: &Rtnl<'_>, features: Features) -> Result {
        let mut state = self.0.state.lock();
        let coalesces = |c: &crate::connection::Connection| {
            c.channels.offloads().is_some_and(|can| can.coalesces())
        };
        if state.terms.coalesce == features.lro {
            return Ok(());
        }
        match &state.connection {
            Some(connection) if coalesces(connection) => connection.coalesce(features.lro)?,
            // It was switched off since this host cannot do it; the next one may.
            Some(_) => return Ok(()),
            None => {}
        }
        state.terms.coalesce = features.lro;
        Ok(())
    }

    fn stats(&self) -> Stats {
        self.0.port.counters.totals()
    }

    fn change_mtu(&self, dev: &NetDevice, rtnl: &Rtnl<'_>, mtu: u32) -> Result {
        if mtu > xdp::MAX_MTU && dev.has_program() {
            dev_info!(
                self.0.port.log(),
                "XDP: mtu:{mtu} too large, {} at most with a program\n",
                xdp::MAX_MTU
            );
            return Err(EOPNOTSUPP);
        }
        let terms = self.terms(|terms| terms.mtu = mtu);
        self.0.reconnect(dev, rtnl, terms)?;
        dev.set_mtu(rtnl, mtu);
        Ok(())
    }

    fn change_address(&self, dev: &NetDevice, rtnl: &Rtnl<'_>, address: MacAddress) -> Result {
        let mut state = self.0.state.lock();
        let connection = state.connection.as_ref().ok_or(ENETDOWN)?;
        connection.set_address(address)?;
        state.address = Some(address);
        dev.set_address(rtnl, address);
        Ok(())
    }

    fn rx_mode(&self) {
        self.0.worker().queue();
    }

    fn lower_refused(&self, lower: &Lower<'_>, error: &Error) {
        self.0.refused(lower, error);
    }

    fn link(&self) -> LinkSettings {
        self.0.port.link.settings()
    }

    fn set_link(&self, link: LinkSettings) -> Result {
        self.0.port.link.set(link);
        Ok(())
    }

    fn message_level(&self) -> u32 {
        self.0.port.messages.load(Relaxed)
    }

    fn set_message_level(&self, level: u32) {
        self.0.port.messages.store(level, Relaxed);
    }

    fn registers(&self, into: &mut [u32]) {
        self.0.port.read_table(into);
    }

    #[inline]
    fn hash_ports(&self) -> HashPorts {
        HashPorts::from_bits(self.0.port.hash_ports.load(Relaxed))
    }

    fn set_hash_ports(&self, ports: HashPorts) -> Result {
        self.0.port.hash_ports.store(ports.bits(), Relaxed);
        Ok(())
    }

    fn statistics(&self, into: &mut [u64]) {
        let function = self.0.interface().lower_stats();
        self.0.port.counters.values(into, function);
    }

    fn queue_statistics(&self, queue: u16, into: &mut [u64]) {
        self.0.port.counters.of_queue(queue, into);
    }

    fn cpu_statistics(&self, cpu: u32, into: &mut [u64]) {
        let function = self.0.interface().lower_stats_of_cpu(cpu);
        let guard = rcu::read_lock();
        let channels = self.0.active.get(&guard);
        // A channel is that of the CPU which the host interrupts for it now, as with the C driver.
        let is_its = |number| {
            let queue = channels.and_then(|channels| channels.queue(number));
            let channel = queue.and_then(|queue| queue.channel());
            channel.is_some_and(|channel| channel.target_cpu() == Ok(cpu))
        };
        self.0.port.counters.of_cpu(is_its, function, into);
    }

    fn rx_queue_stats(&self, queue: u16) -> RxQueueStats {
        self.0.port.counters.rx_of_queue(queue)
    }

    fn tx_queue_stats(&self, queue: u16) -> TxQueueStats {
        self.0.port.counters.tx_of_queue(queue)
    }

    fn max_channels(&self) -> u16 {
        self.0.state.lock().max_channels
    }

    fn set_channels(&self, dev: &NetDevice, rtnl: &Rtnl<'_>, channels: u16) -> Result {
        let terms = self.terms(|terms| terms.channels = channels);
        self.0.reconnect(dev, rtnl, terms)
    }

    fn rings(&self) -> Option<Rings> {
        let terms = self.0.state.lock().terms;
        Some(Rings {
            rx: terms.rx,
            tx: terms.tx,
            max_rx: MAX_RX_SECTIONS,
            max_tx: MAX_TX_SECTIONS,
        })
    }

    fn set_rings(&self, dev: &NetDevice, rtnl: &Rtnl<'_>, rx: u32, tx: u32) -> Result {
        let terms = self.terms(|terms| {
            terms.rx = rx.clamp(MIN_RX_SECTIONS, MAX_RX_SECTIONS);
            terms.tx = tx.clamp(MIN_TX_SECTIONS, MAX_TX_SECTIONS);
        });
        if terms == self.terms(|_| {}) {
            return Ok(());
        }
        self.0.reconnect(dev, rtnl, terms)
    }

    fn table_len(&self) -> u32 {
        self.0.state.lock().table.len().into()
    }

    fn table(&self, table: Option<&mut [u32]>, key: Option<&mut [u8]>) {
        let queues = self.0.interface().queues();
        self.0.state.lock().table.read(queues, table, key);
    }

    fn set_table(&self, dev: &NetDevice, _rtnl: &Rtnl<'_>, change: &TableChange<'_>) -> Result {
        let mut state = self.0.state.lock();
        let table = state.table.with(change.table, change.key)?;
        let connection = state.connection.as_ref().ok_or(ENETDOWN)?;
        if dev.queues() > 1 {
            connection.set_table(dev.queues(), &table)?;
        }
        state.table = table;
        Ok(())
    }
}
