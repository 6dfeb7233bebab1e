// SPDX-License-Identifier: GPL-2.0

//! What was counted since the card was found; also across a change of the MTU.

use kernel::prelude::*;
use rlis_net::{
    Counter,
    LowerStats,
    QueueStatistics,
    RxQueueStats,
    Stats,
    TxQueueStats, //
};

/// Counters of all channels that a card can have.
pub(crate) struct Counters(KVec<KBox<Channel>>);

/// Counters of a channel, each with one writer at a time.
#[derive(Default)]
pub(crate) struct Channel {
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
    /// Frames that a program has dropped, sent elsewhere, or sent back; and those that it could not be shown, as dropped.
    pub(crate) xdp_drop: Counter,
    pub(crate) xdp_redirect: Counter,
    pub(crate) xdp_tx: Counter,
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
    /// Frames that others have redirected here.
    pub(crate) xdp_xmit: Counter,
}

/// A counter of a channel.
type Get = fn(&Channel) -> u64;

/// What `ethtool -S` shows: names, those of the C driver where it has the same, and counters, summed up over the channels.
const TOTALS: [(&str, Get); 12] = [
    ("tx_scattered", |c| c.tx.scattered.get()),
    ("tx_no_memory", |c| c.tx.no_memory.get()),
    ("tx_too_big", |c| c.tx.too_big.get()),
    ("tx_busy", |c| c.tx.busy.get()),
    ("tx_send_full", |c| c.tx.send_full.get()),
    ("rx_comp_busy", |c| c.rx.completions_late.get()),
    ("rx_no_memory", |c| c.rx.no_memory.get()),
    ("stop_queue", |c| c.tx.stop_queue.get()),
    ("wake_queue", |c| c.sent.wake_queue.get()),
    ("rx_malformed", |c| c.rx.malformed.get()),
    ("rx_unknown_completion", |c| c.rx.unknown.get()),
    ("rx_while_down", |c| c.rx.down.get()),
];

/// The names of what went through the virtual function; those of the C driver.
const FUNCTION: [&str; 5] = [
    "vf_rx_packets",
    "vf_rx_bytes",
    "vf_tx_packets",
    "vf_tx_bytes",
    "vf_tx_dropped",
];

impl Counters {
    /// The names of the totals.
    pub(crate) const NAMES: &'static [&'static str] = &{
        let mut names = [""; TOTALS.len() + FUNCTION.len()];
        let mut at = 0;
        while at < names.len() {
            names[at] = if at < TOTALS.len() {
                TOTALS[at].0
            } else {
                FUNCTION[at - TOTALS.len()]
            };
            at += 1;
        }
        names
    };

    /// The names of what is shown of each channel; those of the C driver.
    pub(crate) const OF_QUEUE: &'static [QueueStatistics] = &[
        QueueStatistics("tx_queue_", "_packets"),
        QueueStatistics("tx_queue_", "_bytes"),
        QueueStatistics("tx_queue_", "_xdp_xmit"),
        QueueStatistics("rx_queue_", "_packets"),
        QueueStatistics("rx_queue_", "_bytes"),
        QueueStatistics("rx_queue_", "_xdp_drop"),
        QueueStatistics("rx_queue_", "_xdp_redirect"),
        QueueStatistics("rx_queue_", "_xdp_tx"),
    ];

    /// The names of what is shown of each CPU; those of the C driver.
    pub(crate) const OF_CPU: &'static [QueueStatistics] = &[
        QueueStatistics("cpu", "_rx_packets"),
        QueueStatistics("cpu", "_rx_bytes"),
        QueueStatistics("cpu", "_tx_packets"),
        QueueStatistics("cpu", "_tx_bytes"),
        QueueStatistics("cpu", "_vf_rx_packets"),
        QueueStatistics("cpu", "_vf_rx_bytes"),
        QueueStatistics("cpu", "_vf_tx_packets"),
        QueueStatistics("cpu", "_vf_tx_bytes"),
    ];

    /// Of a card with up to `channels` channels.
    pub(crate) fn new(channels: u16) -> Result<Self> {
        let mut all = KVec::with_capacity(channels.into(), GFP_KERNEL)?;
        for _ in 0..channels.max(1) {
            all.push(KBox::new(Channel::default(), GFP_KERNEL)?, GFP_KERNEL)?;
        }
        Ok(Self(all))
    }

    /// Those of a channel, if the card can have it.
    #[inline]
    pub(crate) fn channel(&self, number: u16) -> Option<&Channel> {
        self.0.get(usize::from(number)).map(|channel| &**channel)
    }

    fn sum(&self, get: impl Fn(&Channel) -> u64) -> u64 {
        let add = |sum: u64, channel: &KBox<Channel>| sum.wrapping_add(get(channel));
        self.0.iter().fold(0, add)
    }

    /// Fills in the totals, in the order of the names.
    pub(crate) fn values(&self, into: &mut [u64], function: LowerStats) {
        let own = TOTALS.iter().map(|(_, get)| self.sum(get));
        let of_function = [
            function.rx_packets,
            function.rx_bytes,
            function.tx_packets,
            function.tx_bytes,
            function.tx_dropped,
        ];
        for (to, value) in into.iter_mut().zip(Iterator::chain(own, of_function)) {
            *to = value;
        }
    }

    /// Fills in what is shown of a channel.
    pub(crate) fn of_queue(&self, number: u16, into: &mut [u64]) {
        let Some(channel) = self.channel(number) else {
            return;
        };
        let values = [
            channel.sent.packets.get(),
            channel.sent.bytes.get(),
            channel.tx.xdp_xmit.get(),
            channel.rx.packets.get(),
            channel.rx.bytes.get(),
            channel.rx.xdp_drop.get(),
            channel.rx.xdp_redirect.get(),
            channel.rx.xdp_tx.get(),
        ];
        for (to, from) in into.iter_mut().zip(values) {
            *to = from;
        }
    }

    /// Fills in what is shown of a CPU: of the channels that `is_its` tells of, and of what went through the virtual function on it,
    /// alone and together.
    pub(crate) fn of_cpu(
        &self,
        is_its: impl Fn(u16) -> bool,
        function: LowerStats,
        into: &mut [u64],
    ) {
        let own = |get: Get| {
            let channels = (0..).zip(&self.0).filter(|(number, _)| is_its(*number));
            channels.fold(0u64, |sum, (_, channel)| sum.wrapping_add(get(channel)))
        };
        let values = [
            own(|c| c.rx.packets.get()).wrapping_add(function.rx_packets),
            own(|c| c.rx.bytes.get()).wrapping_add(function.rx_bytes),
            own(|c| c.sent.packets.get()).wrapping_add(function.tx_packets),
            own(|c| c.sent.bytes.get()).wrapping_add(function.tx_bytes),
            function.rx_packets,
            function.rx_bytes,
            function.tx_packets,
            function.tx_bytes,
        ];
        for (to, from) in into.iter_mut().zip(values) {
            *to = from;
        }
    }

    /// What a channel has received, for netlink.
    pub(crate) fn rx_of_queue(&self, number: u16) -> RxQueueStats {
        self.channel(number)
            .map_or_else(RxQueueStats::default, |c| RxQueueStats {
                packets: c.rx.packets.get(),
                bytes: c.rx.bytes.get(),
                alloc_fail: c.rx.no_memory.get(),
            })
    }

    /// What was sent on a channel, for netlink.
    pub(crate) fn tx_of_queue(&self, number: u16) -> TxQueueStats {
        self.channel(number)
            .map_or_else(TxQueueStats::default, |c| TxQueueStats {
                packets: c.sent.packets.get(),
                bytes: c.sent.bytes.get(),
                hw_drops: c.sent.errors.get(),
                stop: c.tx.stop_queue.get(),
                wake: c.sent.wake_queue.get(),
            })
    }

    /// The totals of the interface.
    pub(crate) fn totals(&self) -> Stats {
        Stats {
            rx_packets: self.sum(|c| c.rx.packets.get()),
            rx_bytes: self.sum(|c| c.rx.bytes.get()),
            rx_errors: self.sum(|c| c.rx.malformed.get()),
            rx_dropped: self.sum(|c| c.rx.no_memory.get()),
            multicast: self.sum(|c| c.rx.multicast.get()),
            tx_packets: self.sum(|c| c.sent.packets.get()),
            tx_bytes: self.sum(|c| c.sent.bytes.get()),
            tx_errors: self.sum(|c| c.sent.errors.get()),
            tx_dropped: self.sum(|c| c.tx.dropped.get()),
        }
    }
}

#[kunit_tests(hv_netvsc_counters)]
mod tests {
    use super::*;

    #[test]
    fn values_stand_where_their_names_do() -> Result {
        let counters = Counters::new(2)?;
        let channel = |number| counters.channel(number).ok_or(EINVAL);
        channel(0)?.sent.wake_queue.add(3);
        channel(1)?.sent.wake_queue.add(4);
        channel(1)?.tx.send_full.add(5);
        channel(1)?.rx.bytes.add(6);
        assert!(channel(2).is_err());
        let mut values = [0; Counters::NAMES.len()];
        let function = LowerStats {
            rx_packets: 8,
            tx_dropped: 9,
            ..LowerStats::default()
        };
        counters.values(&mut values, function);
        let value = |name| {
            let at = Counters::NAMES.iter().position(|n| *n == name);
            at.map(|at| values[at])
        };
        assert_eq!(value("wake_queue"), Some(7));
        assert_eq!(value("tx_send_full"), Some(5));
        assert_eq!(value("tx_busy"), Some(0));
        assert_eq!(value("vf_rx_packets"), Some(8));
        assert_eq!(value("vf_tx_dropped"), Some(9));
        channel(1)?.tx.xdp_xmit.add(7);
        channel(1)?.rx.xdp_redirect.add(8);
        let mut of_one = [0; Counters::OF_QUEUE.len()];
        counters.of_queue(1, &mut of_one);
        assert_eq!(of_one, [0, 0, 7, 0, 6, 0, 8, 0]);
        assert_eq!(counters.totals().rx_bytes, 6);
        let mut of_cpu = [0; Counters::OF_CPU.len()];
        counters.of_cpu(|number| number == 1, function, &mut of_cpu);
        assert_eq!(of_cpu, [8, 6, 0, 0, 8, 0, 0, 0]);
        counters.of_cpu(|_| false, LowerStats::default(), &mut of_cpu);
        assert_eq!(of_cpu, [0; Counters::OF_CPU.len()]);
        channel(1)?.sent.errors.add(2);
        let tx = counters.tx_of_queue(1);
        assert_eq!((tx.hw_drops, tx.wake, tx.stop), (2, 4, 0));
        assert_eq!(counters.rx_of_queue(1).bytes, 6);
        assert_eq!(counters.rx_of_queue(2), RxQueueStats::default());
        Ok(())
    }
}
