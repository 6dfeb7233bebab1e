// SPDX-License-Identifier: GPL-2.0

//! Which fields of a frame's headers choose its queue, as `ethtool -N` sets them.
//!
//! C header: [`include/uapi/linux/ethtool.h`](srctree/include/uapi/linux/ethtool.h)

use kernel::prelude::*;
use rlis_sys_net as sys;

/// For which flows the ports belong to the hash by which a queue to send on is chosen, beside the addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HashPorts(u32);

/// Bits of [`HashPorts`], as `rlis_helper_net_flow_hash_of` takes them.
const TCP4: u32 = 1;
const UDP4: u32 = 2;
const TCP6: u32 = 4;
const UDP6: u32 = 8;

/// Source and destination address, as `RXH_*` bits; and both ports.
const ADDRESSES: u32 = sys::RXH_IP_SRC | sys::RXH_IP_DST;
const PORTS: u32 = sys::RXH_L4_B_0_1 | sys::RXH_L4_B_2_3;

impl HashPorts {
    /// For all: TCP and UDP over IPv4 and IPv6.
    pub const ALL: Self = Self(TCP4 | UDP4 | TCP6 | UDP6);

    /// The bits, for a variable that others read meanwhile.
    pub fn bits(self) -> u32 {
        self.0
    }

    /// What [`Self::bits`] returned; bits without a meaning are dropped.
    pub fn from_bits(bits: u32) -> Self {
        Self(bits & Self::ALL.0)
    }

    /// The bit of a flow type of ethtool that has ports which can be left out.
    fn flow(kind: u32) -> Option<u32> {
        match kind {
            sys::TCP_V4_FLOW => Some(TCP4),
            sys::UDP_V4_FLOW => Some(UDP4),
            sys::TCP_V6_FLOW => Some(TCP6),
            sys::UDP_V6_FLOW => Some(UDP6),
            _ => None,
        }
    }

    /// Returns the fields, as `RXH_*` bits, that are hashed of a flow type of ethtool; 0 for one that is not known.
    pub(crate) fn fields(self, kind: u32) -> u32 {
        match (Self::flow(kind), kind) {
            (Some(flow), _) if self.0 & flow != 0 => ADDRESSES | PORTS,
            (Some(_), _) | (None, sys::IPV4_FLOW | sys::IPV6_FLOW) => ADDRESSES,
            (None, _) => 0,
        }
    }

    /// The same with these fields hashed of a flow type.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` for other flow types than TCP and UDP, and for fields that are neither the addresses nor addresses and
    /// ports.
    pub(crate) fn with(self, kind: u32, fields: u64) -> Result<Self> {
        let flow = Self::flow(kind).ok_or(EOPNOTSUPP)?;
        if fields == u64::from(ADDRESSES | PORTS) {
            Ok(Self(self.0 | flow))
        } else if fields == u64::from(ADDRESSES) {
            Ok(Self(self.0 & !flow))
        } else {
            Err(EOPNOTSUPP)
        }
    }
}

#[kunit_tests(rlis_net_hash)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_left_out_of_one_kind_of_flow() -> Result {
        let all = HashPorts::ALL;
        assert_eq!(all.fields(sys::UDP_V4_FLOW), ADDRESSES | PORTS);
        let some = all.with(sys::UDP_V4_FLOW, ADDRESSES.into())?;
        assert_eq!(some.fields(sys::UDP_V4_FLOW), ADDRESSES);
        for kind in [sys::TCP_V4_FLOW, sys::TCP_V6_FLOW, sys::UDP_V6_FLOW] {
            assert_eq!(some.fields(kind), ADDRESSES | PORTS);
            assert_eq!(some.with(kind, ADDRESSES.into())?.fields(kind), ADDRESSES);
        }
        assert_eq!(some.fields(sys::IPV4_FLOW), ADDRESSES);
        assert_eq!(some.fields(sys::SCTP_V4_FLOW), 0);
        assert_eq!(
            some.with(sys::UDP_V4_FLOW, (ADDRESSES | PORTS).into())?,
            all
        );
        Ok(())
    }

    #[test]
    fn what_cannot_be_hashed_is_refused() {
        let all = HashPorts::ALL;
        for kind in [
            sys::IPV4_FLOW,
            sys::SCTP_V4_FLOW,
            sys::AH_V6_FLOW,
            0,
            u32::MAX,
        ] {
            assert!(all.with(kind, ADDRESSES.into()).is_err());
        }
        for fields in [0, u64::from(PORTS), u64::from(sys::RXH_IP_SRC), u64::MAX] {
            assert!(all.with(sys::TCP_V4_FLOW, fields).is_err());
        }
        assert_eq!(HashPorts::from_bits(u32::MAX), all);
    }
}
