// SPDX-License-Identifier: GPL-2.0

//! Monitor pages (drivers/hv/hyperv_vmbus.h, `struct hv_monitor_page`): instead of a hypercall the guest sets
//! a bit, and the hypervisor looks at the page every so often and signals the host.

use zerocopy_derive::*;

/// Trigger groups in a monitor page.
pub const MONITOR_GROUPS: usize = 4;
/// Monitors per group.
pub const MONITORS_PER_GROUP: usize = 32;

/// `struct hv_monitor_parameter`, 8 bytes: what is signalled when a trigger fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MonitorParameter {
    /// Connection id.
    pub connectionid: u32,
    /// Flag number.
    pub flagnumber: u16,
    /// Zero.
    pub rsvdz: u16,
}

/// `union hv_monitor_trigger_group`, 8 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MonitorTriggerGroup {
    /// Bits set by the guest, cleared by the hypervisor.
    pub pending: u32,
    /// Bits set by the hypervisor.
    pub armed: u32,
}

/// `struct hv_monitor_page`, 4096 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct MonitorPage {
    /// Bits 0 to 3: group enabled.
    pub trigger_state: u32,
    /// Zero.
    pub rsvdz1: u32,
    /// The triggers.
    pub trigger_group: [MonitorTriggerGroup; MONITOR_GROUPS],
    /// Zero.
    pub rsvdz2: [u64; 3],
    /// When each trigger is looked at next.
    pub next_checktime: [[i32; MONITORS_PER_GROUP]; MONITOR_GROUPS],
    /// Latency of each trigger, 100 ns.
    pub latency: [[u16; MONITORS_PER_GROUP]; MONITOR_GROUPS],
    /// Zero.
    pub rsvdz3: [u64; 32],
    /// What each trigger signals.
    pub parameter: [[MonitorParameter; MONITORS_PER_GROUP]; MONITOR_GROUPS],
    /// Zero.
    pub rsvdz4: [u8; 1984],
}

/// Byte offset of the 32-bit `pending` word of monitor `id` in a monitor page, and the bit to set in it.
/// `None` if the page has no such monitor, which an offer from the host may still name.
pub fn monitor_trigger(id: u8) -> Option<(usize, u32)> {
    let (group, bit) = (usize::from(id) / MONITORS_PER_GROUP, id % 32);
    (group < MONITOR_GROUPS).then(|| {
        let base = core::mem::offset_of!(MonitorPage, trigger_group);
        (
            base + group * core::mem::size_of::<MonitorTriggerGroup>(),
            1 << bit,
        )
    })
}

/// Byte offset of the latency of monitor `id` in a monitor page, `None` as for [`monitor_trigger`].
pub fn monitor_latency_offset(id: u8) -> Option<usize> {
    (usize::from(id) < MONITOR_GROUPS * MONITORS_PER_GROUP)
        .then(|| core::mem::offset_of!(MonitorPage, latency) + usize::from(id) * 2)
}

/// Byte offset of the connection id of monitor `id` in a monitor page, `None` as for [`monitor_trigger`].
pub fn monitor_connection_offset(id: u8) -> Option<usize> {
    (usize::from(id) < MONITOR_GROUPS * MONITORS_PER_GROUP)
        .then(|| core::mem::offset_of!(MonitorPage, parameter) + usize::from(id) * 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        assert_eq!(monitor_trigger(0), Some((8, 1)));
        assert_eq!(monitor_trigger(127), Some((32, 1 << 31)));
        assert_eq!(monitor_trigger(128), None);
        assert_eq!(monitor_latency_offset(127), Some(0x240 + 254));
        assert_eq!(monitor_latency_offset(128), None);
        assert_eq!(monitor_connection_offset(1), Some(0x448));
        assert_eq!(monitor_connection_offset(255), None);
    }
}
