// SPDX-License-Identifier: GPL-2.0

//! What was counted since the card was found; also across a change of the MTU.

use kernel::prelude::*;
use rlis_net::{
    Counter,
    Stats, //
};

/// Counters, each with one writer at a time.
#[derive(Default)]
pub(crate) struct Counters {
    /// In the poll function.
    pub(crate) rx: Received,
    /// In the poll function, where frames are completed.
    pub(crate) sent: Sent,
    /// Under the lock of the transmit queue.
    pub(crate) tx: Transmitted,
}

/// Of what arrives.
#[derive(Default)]
pub(crate) struct Received {
    pub(crate) packets: Counter,
    pub(crate) bytes: Counter,
    pub(crate) multicast: Counter,
    /// Frames for which there was no memory.
    pub(crate) no_memory: Counter,
    /// Frames that came although the interface is down.
    pub(crate) down: Counter,
    /// Packets and messages of the host that made no sense.
    pub(crate) malformed: Counter,
    /// Completions of what was not under way.
    pub(crate) unknown: Counter,
    /// Completions of received packets that had to wait for room in the ring.
    pub(crate) completions_late: Counter,
}

/// Of what the host says of frames sent.
#[derive(Default)]
pub(crate) struct Sent {
    pub(crate) packets: Counter,
    pub(crate) bytes: Counter,
    /// Frames that the host did not take.
    pub(crate) errors: Counter,
    /// How often the queue was woken.
    pub(crate) wake_queue: Counter,
}

/// Of what the stack wants sent.
#[derive(Default)]
pub(crate) struct Transmitted {
    pub(crate) dropped: Counter,
    /// Frames with too many pieces, which were put together first.
    pub(crate) scattered: Counter,
    /// Frames for which there was no memory.
    pub(crate) no_memory: Counter,
    /// Frames that are longer than the MTU allows.
    pub(crate) too_big: Counter,
    /// How often there was no room in the ring.
    pub(crate) busy: Counter,
    /// Small frames for which no section of the send buffer was free.
    pub(crate) send_full: Counter,
    /// How often the queue was stopped.
    pub(crate) stop_queue: Counter,
}

impl Counters {
    /// The names of what `ethtool -S` shows; those of the C driver where it has the same.
    pub(crate) const NAMES: &'static [&'static str] = &[
        "tx_scattered",
        "tx_no_memory",
        "tx_too_big",
        "tx_busy",
        "tx_send_full",
        "rx_comp_busy",
        "rx_no_memory",
        "stop_queue",
        "wake_queue",
        "rx_malformed",
        "rx_unknown_completion",
        "rx_while_down",
    ];

    /// The counts, in the order of the names.
    pub(crate) fn values(&self) -> [u64; Self::NAMES.len()] {
        [
            self.tx.scattered.get(),
            self.tx.no_memory.get(),
            self.tx.too_big.get(),
            self.tx.busy.get(),
            self.tx.send_full.get(),
            self.rx.completions_late.get(),
            self.rx.no_memory.get(),
            self.tx.stop_queue.get(),
            self.sent.wake_queue.get(),
            self.rx.malformed.get(),
            self.rx.unknown.get(),
            self.rx.down.get(),
        ]
    }

    /// The totals of the interface.
    pub(crate) fn totals(&self) -> Stats {
        Stats {
            rx_packets: self.rx.packets.get(),
            rx_bytes: self.rx.bytes.get(),
            rx_errors: self.rx.malformed.get(),
            rx_dropped: self.rx.no_memory.get(),
            multicast: self.rx.multicast.get(),
            tx_packets: self.sent.packets.get(),
            tx_bytes: self.sent.bytes.get(),
            tx_errors: self.sent.errors.get(),
            tx_dropped: self.tx.dropped.get(),
        }
    }
}

#[kunit_tests(hv_netvsc_counters)]
mod tests {
    use super::*;

    #[test]
    fn values_stand_where_their_names_do() {
        let counters = Counters::default();
        counters.sent.wake_queue.add(3);
        counters.tx.send_full.add(4);
        let values = counters.values();
        let value = |name| {
            Counters::NAMES
                .iter()
                .position(|n| *n == name)
                .map(|at| values[at])
        };
        assert_eq!(value("wake_queue"), Some(3));
        assert_eq!(value("tx_send_full"), Some(4));
        assert_eq!(value("tx_busy"), Some(0));
    }
}
