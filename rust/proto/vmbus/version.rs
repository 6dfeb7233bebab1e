// SPDX-License-Identifier: GPL-2.0

//! VMBus protocol versions.

use core::fmt;
use zerocopy_derive::*;

/// A protocol version as on the wire: major in the upper, minor in the lower 16 bits. Ordered.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
)]
#[repr(transparent)]
pub struct Version(pub u32);

impl Version {
    /// 4.0, Windows 10 (`VERSION_WIN10`).
    pub const V4_0: Self = Self::new(4, 0);
    /// 4.1: MODIFYCHANNEL (`VERSION_WIN10_V4_1`).
    pub const V4_1: Self = Self::new(4, 1);
    /// 5.0: message connection id and SINT are negotiated (`VERSION_WIN10_V5`).
    pub const V5_0: Self = Self::new(5, 0);
    /// 5.1 (`VERSION_WIN10_V5_1`).
    pub const V5_1: Self = Self::new(5, 1);
    /// 5.2: least version for an isolated guest (`VERSION_WIN10_V5_2`).
    pub const V5_2: Self = Self::new(5, 2);
    /// 5.3: MODIFYCHANNEL is acknowledged (`VERSION_WIN10_V5_3`).
    pub const V5_3: Self = Self::new(5, 3);
    /// 6.0: feature flags, confidential channels (`VERSION_WIN10_V6_0`).
    pub const V6_0: Self = Self::new(6, 0);

    /// The supported versions, newest first, which is the order they are proposed in.
    pub const SUPPORTED: [Self; 7] = [
        Self::V6_0,
        Self::V5_3,
        Self::V5_2,
        Self::V5_1,
        Self::V5_0,
        Self::V4_1,
        Self::V4_0,
    ];

    /// A version from its two parts (`VMBUS_MAKE_VERSION`).
    pub const fn new(major: u16, minor: u16) -> Self {
        #[allow(clippy::cast_lossless)] // `From` is not const.
        Self(((major as u32) << 16) | minor as u32)
    }

    /// The major part.
    pub const fn major(self) -> u16 {
        let [_, _, lo, hi] = self.0.to_le_bytes();
        u16::from_le_bytes([lo, hi])
    }

    /// The minor part.
    pub const fn minor(self) -> u16 {
        let [lo, hi, _, _] = self.0.to_le_bytes();
        u16::from_le_bytes([lo, hi])
    }

    /// Whether this is one of [`Self::SUPPORTED`].
    pub fn is_supported(self) -> bool {
        Self::SUPPORTED.contains(&self)
    }

    /// From 5.0 on INITIATE_CONTACT names the SINT and VTL instead of an interrupt page, and the host
    /// chooses the message connection id.
    pub fn has_message_connection_id(self) -> bool {
        self >= Self::V5_0
    }

    /// From 4.1 on the host understands MODIFYCHANNEL.
    pub fn has_modify_channel(self) -> bool {
        self >= Self::V4_1
    }

    /// From 5.3 on the host answers MODIFYCHANNEL with MODIFYCHANNEL_RESPONSE.
    pub fn has_modify_channel_response(self) -> bool {
        self >= Self::V5_3
    }

    /// From 6.0 on INITIATE_CONTACT carries feature flags.
    pub fn has_feature_flags(self) -> bool {
        self >= Self::V6_0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major(), self.minor())
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::string::ToString;

    #[test]
    fn order_and_text() {
        assert!(Version::SUPPORTED.windows(2).all(|w| w[0] > w[1]));
        assert_eq!(Version::V5_3.0, 0x0005_0003);
        assert_eq!(Version::V5_3.to_string(), "5.3");
        assert!(!Version::new(3, 0).is_supported());
        assert!(Version::V4_1.has_modify_channel() && !Version::V4_0.has_modify_channel());
        assert!(
            Version::V5_3.has_modify_channel_response()
                && !Version::V5_2.has_modify_channel_response()
        );
    }
}
