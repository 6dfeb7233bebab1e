// SPDX-License-Identifier: GPL-2.0

//! Module parameters, with the names of the C driver's, and the settings derived from them.

use kernel::prelude::*;
use rlis_hv::{
    module_param,
    param::Mode, //
};
use rlis_proto::storvsc::{
    LogLevel,
    StorageKind, //
};
use rlis_vmbus::RingSize;

module_param! {
    /// How much is logged: 0 nothing, 1 errors, 2 warnings, too.
    static LOGGING_LEVEL: i32 = 1, "logging_level", Mode::Writable,
        "Logging level, 0 - None, 1 - Error (default), 2 - Warning.";
}

module_param! {
    /// Bytes of payload that each ring has room for.
    static RING_SIZE: i32 = 128 * 1024, "storvsc_ringbuffer_size", Mode::ReadOnly, "Ring buffer size (bytes)";
}

module_param! {
    /// Maximum number of hardware queues; 0 for one per channel that there may be.
    static MAX_HW_QUEUES: u32 = 0, "storvsc_max_hw_queues", Mode::Writable, "Maximum number of hardware queues";
}

module_param! {
    /// CPUs per sub-channel.
    static VCPUS_PER_SUB_CHANNEL: i32 = 4, "storvsc_vcpus_per_sub_channel", Mode::ReadOnly,
        "Ratio of VCPUs to subchannels";
}

module_param! {
    /// Below this percentage of free space in its ring, a channel is passed over for another one.
    static RING_AVAIL_PERCENT_LOWATER: i32 = 10, "ring_avail_percent_lowater", Mode::ReadOnly,
        "Select a channel if available ring size > this in percent";
}

/// The smallest ring payload, in bytes.
const LEAST_RING: u32 = 4 * 4096;

/// Bytes that a command with 128 KiB of data takes in the ring, for the queue depth: packet header, range header with 32
/// pages, VSTOR packet and trailer (`MAX_MULTIPAGE_BUFFER_PACKET` and so on).
const REQUEST_BYTES: u32 = 24 + 8 + 32 * 8 + 64 + 8;

/// So many CPUs have a hardware queue each, even if they share a channel.
const FEW_CPUS: u32 = 4;

/// How many CPUs there are, at least one.
#[derive(Clone, Copy)]
struct Cpus {
    present: u32,
    online: u32,
}

/// Returns whether messages of this level are logged.
pub(crate) fn logs(level: LogLevel) -> bool {
    let setting = LOGGING_LEVEL.get();
    match level {
        LogLevel::None => false,
        LogLevel::Error => setting >= 1,
        LogLevel::Warn => setting >= 2,
    }
}

/// Logs which parameters were clamped. Called once, when the module is loaded.
pub(crate) fn report() {
    let asked = RING_SIZE.get();
    let size = ring_size(positive(asked)).bytes();
    // Rounding up to whole pages is not worth a message.
    if u32::try_from(asked).map_or(true, |asked| asked < LEAST_RING || asked > size) {
        pr_warn!("storvsc_ringbuffer_size={asked} is out of range: rings have {size} bytes\n");
    }
}

fn positive(value: i32) -> u32 {
    u32::try_from(value).unwrap_or(0)
}

/// The ring size for a value of the parameter.
fn ring_size(asked: u32) -> RingSize {
    RingSize::for_payload(asked.max(LEAST_RING))
}

/// The settings of a device.
#[derive(Clone, Copy)]
pub(crate) struct Settings {
    /// Size of each ring.
    pub(crate) ring_size: RingSize,
    /// Percentage of a ring that must be free for a CPU to stay with its own channel.
    pub(crate) lowater: u32,
    /// The most bytes of a ring with which a CPU looks for another channel.
    pub(crate) spare: u32,
    /// Commands per hardware queue.
    pub(crate) can_queue: u32,
    /// Hardware queues.
    pub(crate) hw_queues: u32,
    /// Maximum number of sub-channels that the guest can use.
    pub(crate) max_sub_channels: u16,
}

impl Settings {
    /// The settings for a device of a kind, from the current parameters.
    pub(crate) fn of(kind: StorageKind) -> Self {
        Self::compute(
            kind,
            positive(RING_SIZE.get()),
            positive(RING_AVAIL_PERCENT_LOWATER.get()),
            positive(VCPUS_PER_SUB_CHANNEL.get()),
            Cpus {
                present: rlis_hv::cpu::present_count().max(1),
                online: rlis_hv::cpu::online_count().max(1),
            },
            MAX_HW_QUEUES.get(),
        )
    }

    /// Maximum size of a request's page list in bytes: half a ring, so that it always fits eventually.
    pub(crate) fn page_list(&self) -> u32 {
        self.ring_size.data_bytes() / 2
    }

    fn compute(
        kind: StorageKind,
        ring: u32,
        lowater: u32,
        cpus_per_sub_channel: u32,
        cpus: Cpus,
        max_hw_queues: u32,
    ) -> Self {
        let Cpus { present, online } = cpus;
        let lowater = lowater.min(99);
        let cpus_per_sub_channel = if cpus_per_sub_channel == 0 {
            4
        } else {
            cpus_per_sub_channel
        };
        let ring_size = ring_size(ring);
        let in_ring = ring_size.data_bytes() / REQUEST_BYTES;
        // With which hosts answer to so many CPUs.
        let channels = |cpus: u32| match kind {
            StorageKind::Ide => 1,
            _ => (cpus - 1) / cpus_per_sub_channel + 1,
        };
        let hw_queues = match (kind, max_hw_queues) {
            (StorageKind::Ide, _) => 1,
            (_, limit) if (1..=present).contains(&limit) => limit,
            // CPUs that share a queue share its tags. Few CPUs have one each, which costs little.
            _ => channels(present).max(present.min(FEW_CPUS)),
        };
        // Together, the queues of many CPUs have as many commands as the rings have room for; one alone may fill a ring.
        let rings = (channels(online) / hw_queues).max(1);
        let can_queue = u64::from(in_ring) * u64::from(rings) * u64::from(100 - lowater) / 100;
        let spare = u64::from(ring_size.bytes()) * u64::from(lowater + 1) / 100;
        Self {
            ring_size,
            lowater,
            spare: u32::try_from(spare).unwrap_or(0),
            // Far below the mid-layer's limit for tags, and positive in its signed field.
            can_queue: u32::try_from(can_queue.clamp(1, 10_000)).unwrap_or(1),
            hw_queues,
            max_sub_channels: match kind {
                StorageKind::Ide => 0,
                _ => u16::try_from(online - 1).unwrap_or(u16::MAX),
            },
        }
    }
}

#[kernel::prelude::kunit_tests(hv_storvsc_settings)]
mod tests {
    use super::*;

    const RING: u32 = 128 * 1024;

    fn all(count: u32) -> Cpus {
        Cpus {
            present: count,
            online: count,
        }
    }

    #[test]
    fn queue_depths() {
        for (cpus, queues) in [
            (1, 1),
            (2, 2),
            (4, 4),
            (5, 4),
            (8, 4),
            (16, 4),
            (17, 5),
            (64, 16),
        ] {
            let settings = Settings::compute(StorageKind::Scsi, RING, 10, 4, all(cpus), 0);
            // What nine tenths of a ring hold: the C driver's figure for one channel.
            assert_eq!((settings.hw_queues, settings.can_queue), (queues, 316));
            assert_eq!(settings.ring_size.bytes(), 128 * 1024);
            assert_eq!(u32::from(settings.max_sub_channels), cpus - 1);
        }
        let ide = Settings::compute(StorageKind::Ide, RING, 10, 4, all(64), 0);
        assert_eq!(
            (ide.hw_queues, ide.can_queue, ide.max_sub_channels),
            (1, 316, 0)
        );
        // As many as are asked for; together they fill the rings.
        let one = Settings::compute(StorageKind::Scsi, RING, 10, 4, all(16), 1);
        assert_eq!((one.hw_queues, one.can_queue), (1, 1267));
        let many = Settings::compute(StorageKind::Scsi, RING, 10, 4, all(16), 16);
        assert_eq!((many.hw_queues, many.can_queue), (16, 316));
    }

    /// The C driver has a queue for each CPU, each as deep as all rings together.
    #[test]
    fn requests_of_many_cpus() {
        let settings = Settings::compute(StorageKind::Scsi, RING, 10, 4, all(64), 0);
        let theirs = 64 * (352 * 16 * 9 / 10);
        assert!(settings.hw_queues * settings.can_queue * 10 < theirs);
    }

    #[test]
    fn odd_parameters() {
        for (ring, lowater, per_channel) in [
            (0, 0, 0),
            (1, 200, 1),
            (u32::MAX, 100, u32::MAX),
            (8191, 50, 7),
        ] {
            let kind = StorageKind::Scsi;
            let settings = Settings::compute(kind, ring, lowater, per_channel, all(2), 2);
            assert!(settings.can_queue >= 1);
            assert!(settings.ring_size.bytes() >= LEAST_RING);
            assert!(settings.page_list() >= 4096);
            assert!(settings.lowater < 100);
            assert!(settings.spare <= settings.ring_size.bytes());
        }
    }
}
