// SPDX-License-Identifier: GPL-2.0

//! Device classes and what makes an offer acceptable (drivers/hv/channel_mgmt.c, `vmbus_devs[]`,
//! `vmbus_is_valid_offer()`, `vmbus_onoffer()`).

use super::message::OfferChannel;
use super::{Version, MAX_CHANNEL_RELIDS};
use super::{VMBUS_CHANNEL_CONFIDENTIAL_EXTERNAL_MEMORY, VMBUS_CHANNEL_CONFIDENTIAL_RING_BUFFER};
use crate::error::ProtoError;
use crate::guid::{class, Guid};

/// `enum vmbus_device_type`, in the order of the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum DeviceType {
    /// Accelerated IDE disk.
    Ide = 0,
    /// SCSI controller.
    Scsi,
    /// Synthetic Fibre Channel adapter.
    Fc,
    /// Network interface.
    Nic,
    /// NetworkDirect.
    Nd,
    /// PCI Express pass-through.
    Pcie,
    /// Video.
    Fb,
    /// Keyboard.
    Kbd,
    /// Mouse.
    Mouse,
    /// Key-value pairs.
    Kvp,
    /// Time synchronisation.
    Ts,
    /// Heartbeat.
    Hb,
    /// Shutdown.
    Shutdown,
    /// File copy.
    Fcopy,
    /// Backup.
    Backup,
    /// Dynamic memory.
    Dm,
    /// Any other.
    Unknown,
}

/// What the bus knows about a class (`struct vmbus_device`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceClass {
    /// Its type.
    pub device_type: DeviceType,
    /// Its GUID; null for the entry that stands for all others.
    pub guid: Guid,
    /// Its channels are spread over the CPUs.
    pub perf_device: bool,
    /// An isolated guest takes offers of it.
    pub allowed_in_isolated: bool,
    /// Ring size that user space drivers prefer, bytes; 0 for none.
    pub pref_ring_size: u32,
}

const fn entry(
    device_type: DeviceType,
    guid: Guid,
    perf_device: bool,
    allowed_in_isolated: bool,
) -> DeviceClass {
    DeviceClass {
        device_type,
        guid,
        perf_device,
        allowed_in_isolated,
        pref_ring_size: 0,
    }
}

/// All classes, in the order of [`DeviceType`]; the last stands for all others.
pub static DEVICE_CLASSES: [DeviceClass; 17] = [
    entry(DeviceType::Ide, class::HV_IDE_GUID, true, false),
    entry(DeviceType::Scsi, class::HV_SCSI_GUID, true, true),
    entry(DeviceType::Fc, class::HV_SYNTHFC_GUID, true, false),
    entry(DeviceType::Nic, class::HV_NIC_GUID, true, true),
    entry(DeviceType::Nd, class::HV_ND_GUID, true, false),
    entry(DeviceType::Pcie, class::HV_PCIE_GUID, false, true),
    entry(DeviceType::Fb, class::HV_SYNTHVID_GUID, false, false),
    entry(DeviceType::Kbd, class::HV_KBD_GUID, false, false),
    entry(DeviceType::Mouse, class::HV_MOUSE_GUID, false, false),
    entry(DeviceType::Kvp, class::HV_KVP_GUID, false, false),
    entry(DeviceType::Ts, class::HV_TS_GUID, false, true),
    entry(DeviceType::Hb, class::HV_HEART_BEAT_GUID, false, true),
    entry(DeviceType::Shutdown, class::HV_SHUTDOWN_GUID, false, true),
    DeviceClass {
        pref_ring_size: 0x4000,
        ..entry(DeviceType::Fcopy, class::HV_FCOPY_GUID, false, false)
    },
    entry(DeviceType::Backup, class::HV_VSS_GUID, false, false),
    entry(DeviceType::Dm, class::HV_DM_GUID, false, false),
    UNKNOWN,
];

const UNKNOWN: DeviceClass = DeviceClass {
    pref_ring_size: 0x11000,
    ..entry(DeviceType::Unknown, Guid::NULL, false, false)
};

/// The class with this GUID; the last entry of [`DEVICE_CLASSES`] if there is none.
pub fn device_class(guid: &Guid) -> &'static DeviceClass {
    static OTHER: DeviceClass = UNKNOWN;
    DEVICE_CLASSES
        .iter()
        .find(|c| c.guid == *guid && !guid.is_null())
        .unwrap_or(&OTHER)
}

/// What an offer is measured against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfferPolicy {
    /// The negotiated version.
    pub version: Version,
    /// The guest is isolated from its host (a confidential VM).
    pub isolated: bool,
    /// The bus is confidential: offers come from a paravisor.
    pub confidential: bool,
}

impl OfferPolicy {
    /// Checks an offer. Whoever refuses one has to answer RELID_RELEASED if its relid is valid, so that the
    /// host can use it again, and to end its bookkeeping of the offer in every case.
    ///
    /// # Errors
    ///
    /// `Invalid` for a relid of 0 or beyond the event flags, for encrypted external memory without an
    /// encrypted ring, and for encryption without a confidential bus of version 6.0; `Unexpected` for a class
    /// that an isolated guest does not take.
    pub fn check(&self, offer: &OfferChannel) -> Result<(), ProtoError> {
        let relid = offer.child_relid;
        // Flag 0 of the event flags never belongs to a channel.
        if relid == 0 || relid >= MAX_CHANNEL_RELIDS {
            return Err(ProtoError::Invalid {
                what: "relid of an offer",
                value: u64::from(relid),
            });
        }
        let terms = offer.offer;
        if self.isolated && !terms.is_hvsock() && !device_class(&terms.if_type).allowed_in_isolated
        {
            return Err(ProtoError::Unexpected {
                what: "offer of this class to an isolated guest",
            });
        }
        let flags = terms.chn_flags;
        let ring = flags & VMBUS_CHANNEL_CONFIDENTIAL_RING_BUFFER != 0;
        let memory = flags & VMBUS_CHANNEL_CONFIDENTIAL_EXTERNAL_MEMORY != 0;
        let supported = self.confidential && self.version >= Version::V6_0;
        if (memory && !ring) || (ring && !supported) {
            return Err(ProtoError::Invalid {
                what: "confidentiality flags of an offer",
                value: u64::from(flags),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromZeros;

    fn offer(relid: u32, guid: Guid, flags: u16) -> OfferChannel {
        let mut o = OfferChannel::new_zeroed();
        o.child_relid = relid;
        o.offer.if_type = guid;
        o.offer.chn_flags = flags;
        o
    }

    const OPEN: OfferPolicy = OfferPolicy {
        version: Version::V5_3,
        isolated: false,
        confidential: false,
    };

    #[test]
    fn table_is_in_the_order_of_the_types() {
        for (i, c) in DEVICE_CLASSES.iter().enumerate() {
            assert_eq!(c.device_type as usize, i);
            assert_eq!(device_class(&c.guid).device_type, c.device_type);
        }
        assert_eq!(
            device_class(&class::HV_RDV_GUID).device_type,
            DeviceType::Unknown
        );
        assert_eq!(device_class(&Guid::NULL).pref_ring_size, 0x11000);
    }

    #[test]
    fn relids() {
        for (relid, ok) in [
            (0, false),
            (1, true),
            (2047, true),
            (2048, false),
            (u32::MAX, false),
        ] {
            assert_eq!(OPEN.check(&offer(relid, class::HV_DM_GUID, 0)).is_ok(), ok);
        }
    }

    #[test]
    fn isolated_guests_are_choosy() {
        let p = OfferPolicy {
            isolated: true,
            ..OPEN
        };
        for (guid, ok) in [
            (class::HV_SCSI_GUID, true),
            (class::HV_NIC_GUID, true),
            (class::HV_TS_GUID, true),
            (class::HV_IDE_GUID, false),
            (class::HV_KVP_GUID, false),
            (class::HV_RDV_GUID, false),
            (Guid::NULL, false),
        ] {
            assert_eq!(p.check(&offer(1, guid, 0)).is_ok(), ok, "{guid}");
            assert!(OPEN.check(&offer(1, guid, 0)).is_ok());
        }
        assert!(p.check(&offer(1, Guid::NULL, 0x2000)).is_ok());
    }

    #[test]
    fn encryption_needs_the_whole_stack() {
        for version in [Version::V5_3, Version::V6_0] {
            for confidential in [false, true] {
                for flags in 0..4u16 {
                    let (ring, memory) = (flags & 1 != 0, flags & 2 != 0);
                    let p = OfferPolicy {
                        version,
                        confidential,
                        isolated: false,
                    };
                    let supported = confidential && version == Version::V6_0;
                    let ok = !(ring || memory) || (supported && ring);
                    assert_eq!(
                        p.check(&offer(1, class::HV_SCSI_GUID, flags << 1)).is_ok(),
                        ok
                    );
                }
            }
        }
    }
}
