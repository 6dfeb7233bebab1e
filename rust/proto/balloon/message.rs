// SPDX-License-Identifier: GPL-2.0

//! Wire structs, message types and versions of dynamic memory.

use super::caps::Caps;
use super::range::PageRange;
use crate::error::{put_bytes, ProtoError};
use core::mem::size_of;
use zerocopy::IntoBytes;

open_enum! {
    /// `enum dm_message_type`.
    pub struct MessageType(u16) {
        /// Not used.
        DM_ERROR = 0,
        /// Guest: proposes a version ([`VersionRequest`]).
        DM_VERSION_REQUEST = 1,
        /// Host: takes it or not ([`VersionResponse`]).
        DM_VERSION_RESPONSE = 2,
        /// Guest: what it can do ([`Capabilities`]).
        DM_CAPABILITIES_REPORT = 3,
        /// Host: whether that will do ([`CapabilitiesResponse`]).
        DM_CAPABILITIES_RESPONSE = 4,
        /// Guest: how it is off for memory ([`Status`]). Not answered.
        DM_STATUS_REPORT = 5,
        /// Host: wants pages ([`Balloon`]).
        DM_BALLOON_REQUEST = 6,
        /// Guest: gives pages, in one message or more ([`BalloonResponse`]).
        DM_BALLOON_RESPONSE = 7,
        /// Host: gives pages back, in one message or more ([`UnballoonRequest`]).
        DM_UNBALLOON_REQUEST = 8,
        /// Guest: it has them ([`UnballoonResponse`]); once, after the last of those messages.
        DM_UNBALLOON_RESPONSE = 9,
        /// Host: there is more memory ([`HotAdd`], [`HotAddWithRegion`]).
        DM_MEM_HOT_ADD_REQUEST = 10,
        /// Guest: how much of it is in use now ([`HotAddResponse`]).
        DM_MEM_HOT_ADD_RESPONSE = 11,
        /// Host, from 1.0 on: something worth knowing ([`InfoMessage`]). Not answered.
        DM_INFO_MESSAGE = 12,
        /// Host, from 2.0 on: wants pages whose memory the guest takes out of its map. Not used by Linux.
        DM_MEM_HOT_REMOVE_REQUEST = 13,
        /// Guest: gives them. Not used by Linux.
        DM_MEM_HOT_REMOVE_RESPONSE = 14,
    }
}

open_enum! {
    /// `enum dm_info_type`.
    pub struct InfoType(u32) {
        /// Most pages that the guest will ever have ([`MaxPages`]).
        INFO_TYPE_MAX_PAGE_CNT = 0,
    }
}

/// `union dm_version`: the major version in the upper half. Ordered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Version(pub u32);

impl Version {
    /// 0.3 (`DYNMEM_PROTOCOL_VERSION_1`): Windows 7.
    pub const V1: Self = Self(3);
    /// 1.0 (`DYNMEM_PROTOCOL_VERSION_2`): Windows 8.
    pub const V2: Self = Self(1 << 16);
    /// 2.0 (`DYNMEM_PROTOCOL_VERSION_3`): Windows 10.
    pub const V3: Self = Self(2 << 16);
    /// All, newest first, as a guest proposes them.
    pub const NEWEST_FIRST: [Self; 3] = [Self::V3, Self::V2, Self::V1];

    /// The newest version below this one; `None` for the oldest.
    pub fn older(self) -> Option<Self> {
        Self::NEWEST_FIRST.into_iter().find(|v| *v < self)
    }

    /// The number before the point.
    pub const fn major(self) -> u32 {
        self.0 >> 16
    }

    /// The number behind the point.
    pub const fn minor(self) -> u32 {
        self.0 & 0xffff
    }
}

/// Bytes of the longest message, its header included: hosts send no longer ones.
pub const MESSAGE_SIZE: usize = 4096;

wire_struct! {
    /// `struct dm_header`, 8 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct Header {
        /// [`MessageType`].
        pub type_: u16,
        /// Bytes of the message, with this header.
        pub size: u16,
        /// A number that the sender of a request makes up.
        pub trans_id: u32,
    }

    /// `struct dm_version_request`, 16 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct VersionRequest {
        /// Type, size, transaction.
        pub hdr: Header,
        /// [`Version`].
        pub version: u32,
        /// Bit 0: the guest will propose no other. The rest is zero.
        pub is_last_attempt: u32,
    }

    /// `struct dm_version_response`, 16 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct VersionResponse {
        /// Type, size, transaction.
        pub hdr: Header,
        /// Bit 0: the host takes the version.
        pub is_accepted: u64,
    }

    /// `struct dm_capabilities`, 32 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct Capabilities {
        /// Type, size, transaction.
        pub hdr: Header,
        /// What the guest can do, see [`Caps`].
        pub caps: u64,
        /// Zero; hosts do not look at it.
        pub min_page_cnt: u64,
        /// All ones; hosts do not look at it.
        pub max_page_number: u64,
    }

    /// `struct dm_capabilities_resp_msg`, 16 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct CapabilitiesResponse {
        /// Type, size, transaction.
        pub hdr: Header,
        /// Bit 0: that will do. QEMU knows two more: the host can take out memory (1), and it wants no reports (2).
        pub is_accepted: u64,
    }

    /// `struct dm_status`, 48 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct Status {
        /// Type, size, transaction.
        pub hdr: Header,
        /// Pages that are to be had.
        pub num_avail: u64,
        /// Pages that are promised. This is what the host goes by.
        pub num_committed: u64,
        /// Zero from Linux, as the rest: these are notions of Windows.
        pub page_file_size: u64,
        /// Zero from Linux.
        pub zero_free: u64,
        /// Zero from Linux.
        pub page_file_writes: u32,
        /// Zero from Linux.
        pub io_diff: u32,
    }

    /// `struct dm_balloon`, 16 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct Balloon {
        /// Type, size, transaction.
        pub hdr: Header,
        /// How many pages are wanted.
        pub num_pages: u32,
        /// Zero.
        pub reservedz: u32,
    }

    /// `struct dm_balloon_response` without its ranges, 16 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct BalloonResponse {
        /// Type, size, transaction.
        pub hdr: Header,
        /// Zero.
        pub reservedz: u32,
        /// Bit 0: another message of this answer follows. The rest: how many ranges there are.
        pub more_and_count: u32,
    }

    /// `struct dm_unballoon_request` without its ranges, 16 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct UnballoonRequest {
        /// Type, size, transaction.
        pub hdr: Header,
        /// Bit 0: another message of this request follows.
        pub more_pages: u32,
        /// How many ranges there are.
        pub range_count: u32,
    }

    /// `struct dm_unballoon_response`, 8 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct UnballoonResponse {
        /// Type, size, transaction.
        pub hdr: Header,
    }

    /// `struct dm_hot_add`, 16 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct HotAdd {
        /// Type, size, transaction.
        pub hdr: Header,
        /// [`PageRange`] of the memory that there is.
        pub range: u64,
    }

    /// A [`HotAdd`] with a region; 24 bytes. Linux has no struct for it.
    #[derive(Debug, PartialEq, Eq)]
    pub struct HotAddWithRegion {
        /// Type, size, transaction, and the memory that there is.
        pub add: HotAdd,
        /// [`PageRange`] of addresses that the host keeps for memory of which that is a part; zero for one that an
        /// earlier request has named.
        pub region: u64,
    }

    /// `struct dm_hot_add_response`, 16 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct HotAddResponse {
        /// Type, size, transaction.
        pub hdr: Header,
        /// Pages that were added.
        pub page_count: u32,
        /// See [`answer_hot_add`](super::answer_hot_add).
        pub result: u32,
    }

    /// `struct dm_info_msg` without its information, 16 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct InfoMessage {
        /// Type, size, transaction.
        pub hdr: Header,
        /// Not used.
        pub reserved: u32,
        /// Bytes that follow: an [`InfoHeader`], and what belongs to it.
        pub info_size: u32,
    }

    /// `struct dm_info_header`, 8 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct InfoHeader {
        /// [`InfoType`].
        pub type_: u32,
        /// Bytes that follow.
        pub data_size: u32,
    }

    /// An [`InfoMessage`] with INFO_TYPE_MAX_PAGE_CNT, 32 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct MaxPages {
        /// The message.
        pub message: InfoMessage,
        /// Its information.
        pub info: InfoHeader,
        /// Most pages that the guest will ever have.
        pub pages: u64,
    }
}

impl Header {
    /// The header of a message that is a `T` and has nothing behind it. Structs here are far shorter than 64 KiB.
    fn of<T>(kind: MessageType, trans_id: u32) -> Self {
        Self {
            type_: kind.0,
            size: size_of::<T>() as u16,
            trans_id,
        }
    }
}

impl VersionRequest {
    /// Proposes a version.
    pub fn new(version: Version, last: bool, trans_id: u32) -> Self {
        Self {
            hdr: Header::of::<Self>(MessageType::DM_VERSION_REQUEST, trans_id),
            version: version.0,
            is_last_attempt: last.into(),
        }
    }
}

impl VersionResponse {
    /// Takes a version or not.
    pub fn new(accepted: bool, trans_id: u32) -> Self {
        Self {
            hdr: Header::of::<Self>(MessageType::DM_VERSION_RESPONSE, trans_id),
            is_accepted: accepted.into(),
        }
    }
}

impl Capabilities {
    /// What the guest can do.
    pub fn new(caps: Caps, trans_id: u32) -> Self {
        Self {
            hdr: Header::of::<Self>(MessageType::DM_CAPABILITIES_REPORT, trans_id),
            caps: caps.to_bits(),
            min_page_cnt: 0,
            max_page_number: u64::MAX,
        }
    }
}

impl CapabilitiesResponse {
    /// Whether that will do.
    pub fn new(accepted: bool, trans_id: u32) -> Self {
        Self {
            hdr: Header::of::<Self>(MessageType::DM_CAPABILITIES_RESPONSE, trans_id),
            is_accepted: accepted.into(),
        }
    }
}

impl Status {
    /// How the guest is off.
    pub fn new(pressure: super::Pressure, trans_id: u32) -> Self {
        Self {
            hdr: Header::of::<Self>(MessageType::DM_STATUS_REPORT, trans_id),
            num_avail: pressure.available,
            num_committed: pressure.committed,
            page_file_size: 0,
            zero_free: 0,
            page_file_writes: 0,
            io_diff: 0,
        }
    }
}

impl Balloon {
    /// Wants `pages` pages.
    pub fn new(pages: u32, trans_id: u32) -> Self {
        Self {
            hdr: Header::of::<Self>(MessageType::DM_BALLOON_REQUEST, trans_id),
            num_pages: pages,
            reservedz: 0,
        }
    }
}

impl UnballoonResponse {
    /// It has them.
    pub fn new(trans_id: u32) -> Self {
        Self {
            hdr: Header::of::<Self>(MessageType::DM_UNBALLOON_RESPONSE, trans_id),
        }
    }
}

impl HotAdd {
    /// There is more memory; where, the guest has to find out itself.
    pub fn new(range: PageRange, trans_id: u32) -> Self {
        Self {
            hdr: Header::of::<Self>(MessageType::DM_MEM_HOT_ADD_REQUEST, trans_id),
            range: range.to_word(),
        }
    }
}

impl HotAddWithRegion {
    /// There is more memory in a region, or in one that was named before.
    pub fn new(range: PageRange, region: Option<PageRange>, trans_id: u32) -> Self {
        let mut add = HotAdd::new(range, trans_id);
        add.hdr = Header::of::<Self>(MessageType::DM_MEM_HOT_ADD_REQUEST, trans_id);
        Self {
            add,
            region: region.map_or(0, PageRange::to_word),
        }
    }
}

impl HotAddResponse {
    /// `pages` were added; for `success` see [`answer_hot_add`](super::answer_hot_add), which makes both.
    pub fn new(pages: u32, success: bool, trans_id: u32) -> Self {
        Self {
            hdr: Header::of::<Self>(MessageType::DM_MEM_HOT_ADD_RESPONSE, trans_id),
            page_count: pages,
            result: success.into(),
        }
    }
}

impl MaxPages {
    /// The guest will never have more than `pages` pages.
    pub fn new(pages: u64, trans_id: u32) -> Self {
        Self {
            message: InfoMessage {
                hdr: Header::of::<Self>(MessageType::DM_INFO_MESSAGE, trans_id),
                reserved: 0,
                info_size: 16,
            },
            info: InfoHeader {
                type_: InfoType::INFO_TYPE_MAX_PAGE_CNT.0,
                data_size: 8,
            },
            pages,
        }
    }
}

/// The host's side: writes an UNBALLOON_REQUEST and returns its length.
///
/// # Errors
///
/// `NoRoom` if `out` is too small, `Invalid` if the message would be longer than [`MESSAGE_SIZE`].
pub fn write_unballoon(
    out: &mut [u8],
    ranges: &[PageRange],
    more: bool,
    trans_id: u32,
) -> Result<usize, ProtoError> {
    let what = "UNBALLOON_REQUEST";
    let size = size_of::<UnballoonRequest>().saturating_add(ranges.len().saturating_mul(8));
    if size > MESSAGE_SIZE {
        return Err(ProtoError::Invalid {
            what: "ranges of an UNBALLOON_REQUEST",
            value: ranges.len() as u64,
        });
    }
    let mut hdr = Header::of::<UnballoonRequest>(MessageType::DM_UNBALLOON_REQUEST, trans_id);
    hdr.size = size as u16;
    let request = UnballoonRequest {
        hdr,
        more_pages: more.into(),
        range_count: ranges.len() as u32,
    };
    let mut at = put_bytes(out, request.as_bytes(), what)?;
    for range in ranges {
        let rest = out.get_mut(at..).unwrap_or_default();
        at = at.saturating_add(put_bytes(rest, range.to_word().as_bytes(), what)?);
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_step_down() {
        assert_eq!(Version::V3.older(), Some(Version::V2));
        assert_eq!(Version::V2.older(), Some(Version::V1));
        assert_eq!(Version::V1.older(), None);
        assert_eq!((Version::V1.major(), Version::V1.minor()), (0, 3));
        assert_eq!((Version::V3.major(), Version::V3.minor()), (2, 0));
    }

    #[test]
    fn messages_say_how_long_they_are() {
        let range = PageRange::new(0x10_0000, 0x8000).unwrap();
        let with_region = HotAddWithRegion::new(range, Some(range), 3);
        assert_eq!(
            with_region.as_bytes(),
            [
                10, 0, 24, 0, 3, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0x80, 0, 0, 0, 0x10, 0, 0, 0, 0x80,
                0
            ]
        );
        assert_eq!(
            VersionRequest::new(Version::V3, true, 7).as_bytes(),
            [1, 0, 16, 0, 7, 0, 0, 0, 0, 0, 2, 0, 1, 0, 0, 0]
        );
        let header = Header::of::<MaxPages>(MessageType::DM_ERROR, 0);
        assert_eq!({ header.size }, 32);
        let mut out = [0; 32];
        assert_eq!(write_unballoon(&mut out, &[range; 2], true, 5), Ok(32));
        assert_eq!(out[..16], [8, 0, 32, 0, 5, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0]);
        assert!(write_unballoon(&mut out[..31], &[range; 2], true, 5).is_err());
        assert!(write_unballoon(&mut out[..15], &[], true, 5).is_err());
        assert!(write_unballoon(&mut [0; 5000], &[range; 511], true, 5).is_err());
        assert_eq!(
            write_unballoon(&mut [0; 4096], &[range; 510], true, 5),
            Ok(4096)
        );
    }
}
