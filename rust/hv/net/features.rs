// SPDX-License-Identifier: GPL-2.0

//! What an interface can do, `netdev_features_t`.

use rlis_sys_net as sys;

/// What an interface can do, as the `NETIF_F_*` bits of the same names.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Features {
    /// Frames may lie in several pieces (`NETIF_F_SG`).
    pub scatter_gather: bool,
    /// The pieces may lie anywhere in memory (`NETIF_F_HIGHDMA`).
    pub high_dma: bool,
    /// What the device found of checksums received is used (`NETIF_F_RXCSUM`).
    pub rx_checksum: bool,
    /// The device tells the hash of frames received, and it is used (`NETIF_F_RXHASH`).
    pub rx_hash: bool,
    /// The device fills in checksums of TCP and UDP on IPv4 (`NETIF_F_IP_CSUM`).
    pub ipv4_checksum: bool,
    /// On IPv6 (`NETIF_F_IPV6_CSUM`).
    pub ipv6_checksum: bool,
    /// The device cuts large sends of TCP on IPv4 (`NETIF_F_TSO`).
    pub tso: bool,
    /// On IPv6 (`NETIF_F_TSO6`).
    pub tso6: bool,
    /// The device joins segments received (`NETIF_F_LRO`).
    pub lro: bool,
    /// VLAN tags go to the device beside the frame (`NETIF_F_HW_VLAN_CTAG_TX`).
    pub vlan_tx: bool,
    /// VLAN tags come beside the frame (`NETIF_F_HW_VLAN_CTAG_RX`).
    pub vlan_rx: bool,
}

const fn bit(number: u32) -> u64 {
    1 << number
}

impl Features {
    /// Bits that a frame with a VLAN tag beside it can make use of, too.
    pub(crate) const VLAN_INNER: u64 = bit(sys::NETIF_F_SG_BIT)
        | bit(sys::NETIF_F_HIGHDMA_BIT)
        | bit(sys::NETIF_F_IP_CSUM_BIT)
        | bit(sys::NETIF_F_IPV6_CSUM_BIT)
        | bit(sys::NETIF_F_TSO_BIT)
        | bit(sys::NETIF_F_TSO6_BIT);

    fn each(&mut self) -> [(&mut bool, u64); 11] {
        [
            (&mut self.scatter_gather, bit(sys::NETIF_F_SG_BIT)),
            (&mut self.high_dma, bit(sys::NETIF_F_HIGHDMA_BIT)),
            (&mut self.rx_checksum, bit(sys::NETIF_F_RXCSUM_BIT)),
            (&mut self.rx_hash, bit(sys::NETIF_F_RXHASH_BIT)),
            (&mut self.ipv4_checksum, bit(sys::NETIF_F_IP_CSUM_BIT)),
            (&mut self.ipv6_checksum, bit(sys::NETIF_F_IPV6_CSUM_BIT)),
            (&mut self.tso, bit(sys::NETIF_F_TSO_BIT)),
            (&mut self.tso6, bit(sys::NETIF_F_TSO6_BIT)),
            (&mut self.lro, bit(sys::NETIF_F_LRO_BIT)),
            (&mut self.vlan_tx, bit(sys::NETIF_F_HW_VLAN_CTAG_TX_BIT)),
            (&mut self.vlan_rx, bit(sys::NETIF_F_HW_VLAN_CTAG_RX_BIT)),
        ]
    }

    pub(crate) fn bits(mut self) -> u64 {
        let mut bits = 0;
        for (on, bit) in self.each() {
            if *on {
                bits |= bit;
            }
        }
        bits
    }

    /// Those of the bits that have a name here.
    #[inline]
    pub(crate) fn from_bits(bits: u64) -> Self {
        let mut features = Self::default();
        for (on, bit) in features.each() {
            *on = bits & bit != 0;
        }
        features
    }
}

use kernel::prelude::kunit_tests;

#[kunit_tests(rlis_net_features)]
mod tests {
    use super::*;

    #[test]
    fn bits_there_and_back() {
        assert_eq!(Features::default().bits(), 0);
        let all = Features::from_bits(u64::MAX);
        assert!(all.tso6 && all.vlan_rx && all.scatter_gather);
        assert_eq!(all.bits().count_ones(), 11);
        let some = Features {
            lro: true,
            ipv6_checksum: true,
            ..Features::default()
        };
        assert_eq!(Features::from_bits(some.bits()), some);
        assert_eq!(
            some.bits(),
            bit(sys::NETIF_F_LRO_BIT) | bit(sys::NETIF_F_IPV6_CSUM_BIT)
        );
        assert_eq!(
            Features::VLAN_INNER & some.bits(),
            bit(sys::NETIF_F_IPV6_CSUM_BIT)
        );
    }
}
