// SPDX-License-Identifier: GPL-2.0

//! Devices that come with every VM and that nobody in a Linux guest drives: they wait, and have nothing to say.

use std::sync::Arc;

use anyhow::{bail, Result};
use rlis_proto::guid::class::{HV_AVMA1_GUID, HV_AVMA2_GUID, HV_IMC_GUID, HV_RDV_GUID};
use rlis_proto::Guid;

use crate::ic::instance;
use crate::vmbus::channel::Channel;
use crate::vmbus::ring::Packet;
use crate::vmbus::{Device, Offer};

/// A class that no system knows.
const UNKNOWN: Guid = instance("0badcafe-0001-4e17-9e5d-726c69730001");

/// A device without a use.
pub struct Bystander;

impl Bystander {
    /// The offers of all of them: what Hyper-V has for activation, remote desktop and the first configuration of Windows
    /// guests, and the device of an unknown class.
    pub fn offers() -> Vec<Offer> {
        let all = [
            ("avma1", HV_AVMA1_GUID),
            ("avma2", HV_AVMA2_GUID),
            ("rdv", HV_RDV_GUID),
            ("imc", HV_IMC_GUID),
            ("unknown", UNKNOWN),
        ];
        (0..).zip(all).map(Self::offer).collect()
    }

    fn offer((number, (name, class)): (u8, (&str, Guid))) -> Offer {
        let mut instance = *b"rlis-bystander\0\0";
        instance[15] = number;
        Offer::new(name, class, Guid::from_bytes(instance), Arc::new(Self))
    }
}

impl Device for Bystander {
    fn opened(&self, _channel: &Arc<Channel>) {}

    fn packet(&self, _channel: &Arc<Channel>, packet: Packet) -> Result<()> {
        bail!(
            "a packet of {} bytes to a device that nobody drives",
            packet.payload.len()
        )
    }

    fn closed(&self, _channel: &Arc<Channel>) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vmbus::guest::Guest;

    #[test]
    fn each_is_offered_as_a_device_of_its_own() {
        let mut guest = Guest::new();
        for offer in Bystander::offers() {
            guest.server.offer(offer).unwrap();
        }
        assert_eq!(guest.connect().len(), 5);
        let list = guest.server.list();
        let instances: Vec<_> = list.iter().map(|l| l.split(' ').nth(3)).collect();
        assert!(list[3].starts_with("imc "), "{list:?}");
        assert!((1..5).all(|i| !instances[..i].contains(&instances[i])));
        assert_eq!(guest.violations(), [""; 0]);
    }
}
