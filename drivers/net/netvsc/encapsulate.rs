// SPDX-License-Identifier: GPL-2.0

//! What goes to the host beside a frame: the tag of its VLAN, and what is to be done with it.

use kernel::prelude::*;
use rlis_net::{
    Features,
    Protocol,
    Transport,
    TxInfo,
    TxPacket, //
};
use rlis_proto::rndis::{
    Capabilities,
    LargeSend,
    Ppis,
    TxChecksum,
    Vlan, //
};

/// The longest large send, of which the stack counts 64 KiB.
const MAX_LARGE_SEND: u32 = 65_536;

/// What the host does with frames, and how it takes them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Offloads {
    capabilities: Capabilities,
    /// Frames in one packet, and the multiple of which each begins at.
    batch: (u32, u32),
    /// There are several channels, so that the host wants to know the hash of a flow.
    several: bool,
}

impl Offloads {
    pub(crate) fn new(capabilities: Capabilities, batch: (u32, u32)) -> Self {
        Self {
            capabilities,
            batch,
            several: false,
        }
    }

    /// The same for a card with so many channels.
    pub(crate) fn with_channels(self, channels: u16) -> Self {
        Self {
            several: channels > 1,
            ..self
        }
    }

    /// Bytes of the longest large send, of whichever kind.
    #[inline]
    pub(crate) fn large_send(&self) -> u32 {
        let of = |most: Option<u32>| most.unwrap_or(MAX_LARGE_SEND);
        of(self.capabilities.lso4)
            .min(of(self.capabilities.lso6))
            .min(MAX_LARGE_SEND)
    }

    #[inline]
    pub(crate) fn batch(&self) -> (u32, u32) {
        self.batch
    }

    /// Whether the host joins segments, if it is asked to.
    pub(crate) fn coalesces(&self) -> bool {
        self.capabilities.rsc
    }

    /// What users may switch.
    pub(crate) fn features(&self) -> Features {
        let can = &self.capabilities;
        Features {
            rx_checksum: true,
            rx_hash: true,
            ipv4_checksum: can.tcp4,
            ipv6_checksum: can.tcp6,
            tso: can.lso4.is_some(),
            tso6: can.lso6.is_some(),
            lro: can.rsc,
            ..Features::default()
        }
    }

    /// Returns whether the host fills in the checksum of such a frame.
    fn fills_in(&self, transport: Transport) -> bool {
        let can = &self.capabilities;
        match (transport.protocol, transport.ipv6) {
            (Protocol::Tcp, false) => can.tcp4,
            (Protocol::Udp, false) => can.udp4,
            (Protocol::Tcp, true) => can.tcp6,
            (Protocol::Udp, true) => can.udp6,
        }
    }

    /// What to ask for, if the host fills in the checksum of such a frame.
    fn checksum(&self, transport: Transport) -> Option<TxChecksum> {
        let of = match transport.protocol {
            Protocol::Tcp => TxChecksum::TCP,
            Protocol::Udp => TxChecksum::UDP,
        };
        let ip = if transport.ipv6 {
            TxChecksum::IPV6
        } else {
            TxChecksum::IPV4
        };
        TxChecksum::new(of | ip, transport.offset).filter(|_| self.fills_in(transport))
    }
}

/// Says what belongs to a frame, and changes its headers where the host wants that.
///
/// # Errors
///
/// `ENOMEM`, and `EINVAL` for a large send that the host does not take: the stack sends none.
#[inline]
pub(crate) fn encapsulate(
    packet: &mut TxPacket,
    info: &TxInfo,
    offloads: &Offloads,
) -> Result<Ppis> {
    let mut ppis = Ppis {
        vlan: info.vlan.map(|tci| Vlan::from_tci(tci).0),
        hash_value: Some(info.hash).filter(|hash| *hash != 0 && offloads.several),
        ..Ppis::default()
    };
    if let Some(segment) = info.segment {
        let transport = info.transport.ok_or(EINVAL)?;
        let can = &offloads.capabilities;
        let most = if transport.ipv6 { can.lso6 } else { can.lso4 };
        if transport.protocol != Protocol::Tcp || most.is_none_or(|most| packet.len() > most) {
            return Err(EINVAL);
        }
        let large = LargeSend::new(segment.get().into(), transport.offset, transport.ipv6);
        packet.prepare_large_send()?;
        ppis.large_send = Some(large.ok_or(EINVAL)?.0);
    } else if info.wants_checksum {
        match info
            .transport
            .and_then(|transport| offloads.checksum(transport))
        {
            Some(checksum) => ppis.checksum = Some(checksum.0),
            None => packet.fill_in_checksum()?,
        }
    }
    Ok(ppis)
}

#[kunit_tests(hv_netvsc_encapsulate)]
mod tests {
    use super::*;

    fn transport(protocol: Protocol, ipv6: bool, offset: u32) -> Transport {
        Transport {
            protocol,
            ipv6,
            offset,
        }
    }

    #[test]
    fn what_the_host_can() {
        let none = Offloads::new(Capabilities::default(), (1, 1));
        assert!(!none.features().tso && !none.features().lro && none.features().rx_checksum);
        assert!(none.features().rx_hash);
        assert!(none.checksum(transport(Protocol::Tcp, false, 34)).is_none());
        let some = Offloads::new(
            Capabilities {
                tcp4: true,
                udp6: true,
                lso4: Some(62_000),
                ..Capabilities::default()
            },
            (8, 8),
        );
        assert!(some.features().ipv4_checksum && !some.features().ipv6_checksum);
        assert!(some.features().tso && !some.features().tso6);
        assert_eq!(some.large_send(), 62_000);
        let checksum = |protocol, ipv6, offset| some.checksum(transport(protocol, ipv6, offset));
        let tcp = checksum(Protocol::Tcp, false, 34);
        assert!(tcp.is_some_and(|c| c.has(TxChecksum::TCP | TxChecksum::IPV4) && c.offset() == 34));
        assert!(checksum(Protocol::Udp, false, 34).is_none());
        assert!(checksum(Protocol::Udp, true, 54).is_some_and(|c| c.has(TxChecksum::IPV6)));
        assert!(checksum(Protocol::Tcp, false, 1024).is_none());
    }
}
