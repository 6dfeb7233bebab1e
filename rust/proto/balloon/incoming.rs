// SPDX-License-Identifier: GPL-2.0

//! What the host sends.

use super::message::{
    Balloon, CapabilitiesResponse, Header, HotAdd, HotAddWithRegion, InfoHeader, InfoMessage,
    InfoType, MessageType, UnballoonRequest, VersionResponse,
};
use super::range::PageRange;
use crate::error::{read_prefix, ProtoError};
use core::mem::size_of;

/// What the host thinks of the guest's capabilities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapabilitiesAnswer {
    /// They will do.
    pub accepted: bool,
    /// The host can have memory taken out of the guest's map. Linux cannot do that.
    pub hot_remove: bool,
    /// The host does not look at reports of the guest's memory.
    pub suppress_pressure_reports: bool,
}

/// Memory that is to be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HotAddRequest {
    /// The pages that there are.
    pub range: PageRange,
    /// Where they lie, with others that may come later; `range` is a part of it.
    pub region: Option<PageRange>,
}

/// The ranges of a message that were not looked at yet. Those that make no sense are errors, in their turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ranges<'a>(&'a [u8]);

impl<'a> Ranges<'a> {
    /// `count` ranges at the beginning of `bytes`.
    pub(super) fn new(bytes: &'a [u8], count: u32, what: &'static str) -> Result<Self, ProtoError> {
        let need = (count as usize).saturating_mul(size_of::<u64>());
        let ranges = bytes.get(..need).ok_or(ProtoError::Short {
            what,
            need,
            got: bytes.len(),
        })?;
        Ok(Self(ranges))
    }
}

impl Iterator for Ranges<'_> {
    type Item = Result<PageRange, ProtoError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (word, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(PageRange::from_word(u64::from_le_bytes(*word)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let count = self.0.len() / size_of::<u64>();
        (count, Some(count))
    }
}

impl ExactSizeIterator for Ranges<'_> {}

/// A message of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// Whether it takes the version.
    VersionResponse {
        /// It does.
        accepted: bool,
    },
    /// Whether it takes the capabilities.
    CapabilitiesResponse(CapabilitiesAnswer),
    /// It wants pages. To be answered, with whatever there is.
    Balloon {
        /// How many.
        pages: u32,
    },
    /// It gives pages back. To be answered when there is no more to come.
    Unballoon {
        /// Which.
        ranges: Ranges<'a>,
        /// Another message with more of them follows.
        more: bool,
    },
    /// There is more memory. To be answered even where it makes no sense.
    HotAdd(Result<HotAddRequest, ProtoError>),
    /// Most pages that the guest will ever have.
    MaxPages(u64),
    /// Information of a kind that is not known.
    UnknownInfo(InfoType),
    /// A message that a guest need not act upon.
    Unknown(MessageType),
}

/// The header of a message, and all of the message without what follows it in the packet.
///
/// # Errors
///
/// `Short` if there is no whole header, `Invalid` if the message is shorter than that or longer than the packet.
pub(super) fn message(payload: &[u8]) -> Result<(Header, &[u8]), ProtoError> {
    let (header, _) = read_prefix::<Header>(payload, "dynamic memory message")?;
    let size = usize::from(header.size);
    let bytes = payload.get(..size).filter(|_| size >= size_of::<Header>());
    let bytes = bytes.ok_or(ProtoError::Invalid {
        what: "size of a dynamic memory message",
        value: size as u64,
    })?;
    Ok((header, bytes))
}

/// Reads a message of the host.
///
/// # Errors
///
/// If it is shorter than its type asks for, or than it says itself. A type that is not known is no error.
pub fn incoming(payload: &[u8]) -> Result<Incoming<'_>, ProtoError> {
    let (header, bytes) = message(payload)?;
    Ok(match MessageType(header.type_) {
        MessageType::DM_VERSION_RESPONSE => {
            let (response, _) = read_prefix::<VersionResponse>(bytes, "VERSION_RESPONSE")?;
            Incoming::VersionResponse {
                accepted: response.is_accepted & 1 != 0,
            }
        }
        MessageType::DM_CAPABILITIES_RESPONSE => {
            let what = "CAPABILITIES_RESPONSE";
            let (response, _) = read_prefix::<CapabilitiesResponse>(bytes, what)?;
            let bit = |n: u32| (response.is_accepted >> n) & 1 != 0;
            Incoming::CapabilitiesResponse(CapabilitiesAnswer {
                accepted: bit(0),
                hot_remove: bit(1),
                suppress_pressure_reports: bit(2),
            })
        }
        MessageType::DM_BALLOON_REQUEST => {
            let (request, _) = read_prefix::<Balloon>(bytes, "BALLOON_REQUEST")?;
            Incoming::Balloon {
                pages: request.num_pages,
            }
        }
        MessageType::DM_UNBALLOON_REQUEST => {
            let what = "UNBALLOON_REQUEST";
            let (request, rest) = read_prefix::<UnballoonRequest>(bytes, what)?;
            Incoming::Unballoon {
                ranges: Ranges::new(rest, request.range_count, "ranges of UNBALLOON_REQUEST")?,
                more: request.more_pages & 1 != 0,
            }
        }
        MessageType::DM_MEM_HOT_ADD_REQUEST => Incoming::HotAdd(hot_add(bytes)),
        MessageType::DM_INFO_MESSAGE => info(bytes)?,
        other => Incoming::Unknown(other),
    })
}

/// What a message asks for that [`incoming`] has refused with `error`: nothing, but a host that has sent a request waits for the
/// answer. `None` if it is no request.
pub fn refused(payload: &[u8], error: ProtoError) -> Option<Incoming<'static>> {
    let (header, _) = read_prefix::<Header>(payload, "dynamic memory message").ok()?;
    match MessageType(header.type_) {
        MessageType::DM_BALLOON_REQUEST => Some(Incoming::Balloon { pages: 0 }),
        MessageType::DM_UNBALLOON_REQUEST => Some(Incoming::Unballoon {
            ranges: Ranges(&[]),
            more: false,
        }),
        MessageType::DM_MEM_HOT_ADD_REQUEST => Some(Incoming::HotAdd(Err(error))),
        _ => None,
    }
}

/// A hot-add request. One of 16 bytes has no region; in a longer one a region of zero is one that was named before, or
/// none.
fn hot_add(bytes: &[u8]) -> Result<HotAddRequest, ProtoError> {
    let what = "HOT_ADD_REQUEST";
    let (request, region) = if bytes.len() == size_of::<HotAdd>() {
        (read_prefix::<HotAdd>(bytes, what)?.0, 0)
    } else {
        let (request, _) = read_prefix::<HotAddWithRegion>(bytes, what)?;
        (request.add, request.region)
    };
    let range = PageRange::from_word(request.range)?;
    let region = match region {
        0 => None,
        word => Some(PageRange::from_word(word)?),
    };
    if region.is_some_and(|region| !region.span().covers(range.span())) {
        return Err(ProtoError::Invalid {
            what: "range outside of its hot-add region",
            value: request.range,
        });
    }
    Ok(HotAddRequest { range, region })
}

fn info(bytes: &[u8]) -> Result<Incoming<'_>, ProtoError> {
    let what = "INFO_MESSAGE";
    let (head, rest) = read_prefix::<InfoMessage>(bytes, what)?;
    let size = head.info_size as usize;
    let info = rest.get(..size).ok_or(ProtoError::Short {
        what,
        need: size,
        got: rest.len(),
    })?;
    let (head, data) = read_prefix::<InfoHeader>(info, "dm_info_header")?;
    let data = data
        .get(..head.data_size as usize)
        .ok_or(ProtoError::Invalid {
            what: "data_size of dm_info_header",
            value: head.data_size.into(),
        })?;
    Ok(match InfoType(head.type_) {
        InfoType::INFO_TYPE_MAX_PAGE_CNT => {
            let pages = <[u8; 8]>::try_from(data).map_err(|_| ProtoError::Invalid {
                what: "size of the largest number of pages",
                value: data.len() as u64,
            })?;
            Incoming::MaxPages(u64::from_le_bytes(pages))
        }
        other => Incoming::UnknownInfo(other),
    })
}

#[cfg(test)]
mod tests {
    use super::super::message::{write_unballoon, MaxPages};
    use super::super::range::range;
    use super::*;
    use proptest::prelude::*;
    use zerocopy::IntoBytes;
    extern crate std;
    use std::vec::Vec;

    #[test]
    fn answers() {
        let yes = VersionResponse::new(true, 1);
        let accepted = Ok(Incoming::VersionResponse { accepted: true });
        assert_eq!(incoming(yes.as_bytes()), accepted);
        assert!(incoming(&yes.as_bytes()[..15]).is_err());
        let no = VersionResponse::new(false, 1);
        let refused = Ok(Incoming::VersionResponse { accepted: false });
        assert_eq!(incoming(no.as_bytes()), refused);
        let mut caps = CapabilitiesResponse::new(true, 1);
        caps.is_accepted = 5;
        assert_eq!(
            incoming(caps.as_bytes()),
            Ok(Incoming::CapabilitiesResponse(CapabilitiesAnswer {
                accepted: true,
                hot_remove: false,
                suppress_pressure_reports: true
            }))
        );
    }

    #[test]
    fn the_size_in_the_header_counts() {
        let mut balloon = Balloon::new(512, 1);
        let wanted = Ok(Incoming::Balloon { pages: 512 });
        assert_eq!(incoming(balloon.as_bytes()), wanted);
        // A packet may be longer than the message in it, but not shorter.
        let mut longer = balloon.as_bytes().to_vec();
        longer.extend([0xff; 8]);
        assert_eq!(incoming(&longer), wanted);
        for size in [0, 7, 8, 15, 17, u16::MAX] {
            balloon.hdr.size = size;
            assert!(incoming(balloon.as_bytes()).is_err(), "{size}");
        }
        for len in 0..16 {
            assert!(incoming(&Balloon::new(1, 1).as_bytes()[..len]).is_err());
        }
    }

    #[test]
    fn pages_that_come_back() {
        let mut out = [0; 64];
        let len = write_unballoon(&mut out, &[range(5, 1), range(512, 512)], true, 3).unwrap();
        let Ok(Incoming::Unballoon { ranges, more }) = incoming(&out[..len]) else {
            panic!();
        };
        assert!(more && ranges.len() == 2);
        let all: Vec<_> = ranges.collect();
        assert_eq!(all, [Ok(range(5, 1)), Ok(range(512, 512))]);
        // More ranges than there are bytes.
        for count in [3, 0x2000_0000, 0x2000_0002, u32::MAX] {
            out[12..16].copy_from_slice(&u32::to_le_bytes(count));
            assert!(incoming(&out[..len]).is_err(), "{count}");
        }
        // None at all, and one that is empty.
        out[12..16].copy_from_slice(&[0; 4]);
        let Ok(Incoming::Unballoon { mut ranges, .. }) = incoming(&out[..len]) else {
            panic!();
        };
        assert_eq!(ranges.next(), None);
        out[12] = 2;
        out[16..24].copy_from_slice(&[0xff; 8]);
        let Ok(Incoming::Unballoon { ranges, .. }) = incoming(&out[..len]) else {
            panic!();
        };
        let all: Vec<_> = ranges.collect();
        assert!(all[0].is_err() && all[1] == Ok(range(512, 512)));
    }

    #[test]
    fn memory_that_is_added() {
        let memory = range(0x10_0000, 0x8000);
        let alone = HotAdd::new(memory, 1);
        assert_eq!(
            incoming(alone.as_bytes()),
            Ok(Incoming::HotAdd(Ok(HotAddRequest {
                range: memory,
                region: None
            })))
        );
        for region in [
            None,
            Some(memory),
            Some(range(0x10_0000, 0x1_0000)),
            Some(range(0xf_8000, 0x1_0000)),
        ] {
            let with_region = HotAddWithRegion::new(memory, region, 1);
            let got = incoming(with_region.as_bytes());
            let request = HotAddRequest {
                range: memory,
                region,
            };
            assert_eq!(got, Ok(Incoming::HotAdd(Ok(request))));
        }
        for region in [range(0x10_0001, 0x8000), range(0x10_0000, 0x7fff)] {
            let outside = HotAddWithRegion::new(memory, Some(region), 1);
            let got = incoming(outside.as_bytes());
            assert!(matches!(got, Ok(Incoming::HotAdd(Err(_)))), "{got:?}");
        }
        let mut bad = HotAddWithRegion::new(memory, Some(memory), 1);
        for (memory, region) in [(0, 0), (u64::MAX, 0), (memory.to_word(), u64::MAX)] {
            bad.add.range = memory;
            bad.region = region;
            let got = incoming(bad.as_bytes());
            assert!(matches!(got, Ok(Incoming::HotAdd(Err(_)))), "{got:?}");
        }
        bad.add.hdr.size = 20;
        let got = incoming(bad.as_bytes());
        assert!(matches!(got, Ok(Incoming::HotAdd(Err(_)))), "{got:?}");
    }

    #[test]
    fn information() {
        let mut max = MaxPages::new(1 << 20, 1);
        assert_eq!(incoming(max.as_bytes()), Ok(Incoming::MaxPages(1 << 20)));
        max.info.type_ = 7;
        let unknown = Ok(Incoming::UnknownInfo(InfoType(7)));
        assert_eq!(incoming(max.as_bytes()), unknown);
        max.info.type_ = 0;
        for data in [0, 4, 7, 9, u32::MAX] {
            max.info.data_size = data;
            assert!(incoming(max.as_bytes()).is_err(), "{data}");
        }
        max.info.data_size = 8;
        for size in [0, 8, 15, 17, u32::MAX] {
            max.message.info_size = size;
            assert!(incoming(max.as_bytes()).is_err(), "{size}");
        }
    }

    #[test]
    fn a_request_that_is_cut_short_is_one_for_nothing() {
        let request = Balloon::new(256, 1);
        let hot_add = HotAdd::new(PageRange::new(1, 1).unwrap(), 1);
        let info = InfoHeader {
            type_: MessageType::DM_INFO_MESSAGE.0.into(),
            data_size: 0,
        };
        for (message, asks) in [
            (request.as_bytes(), true),
            (hot_add.as_bytes(), true),
            (info.as_bytes(), false),
        ] {
            let cut = message.get(..8).unwrap();
            let error = incoming(cut).unwrap_err();
            let refused = refused(cut, error);
            assert_eq!(refused.is_some(), asks);
            assert!(refused.is_none_or(|refused| matches!(
                refused,
                Incoming::Balloon { pages: 0 } | Incoming::HotAdd(Err(_))
            )));
            assert_eq!(super::refused(cut.get(..7).unwrap(), error), None);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken(
            bytes in proptest::collection::vec(any::<u8>(), 0..80), kind in 0u16..16, size in 0u16..90, count in 0u8..12,
        ) {
            let mut bytes = bytes;
            let head = [&kind.to_le_bytes()[..], &size.to_le_bytes()].concat();
            bytes.iter_mut().zip(head).for_each(|(to, from)| *to = from);
            if let Some(field) = bytes.get_mut(12..16) {
                field.copy_from_slice(&[count, 0, 0, 0]);
            }
            if let Ok(message) = incoming(&bytes) {
                prop_assert!(usize::from(size) <= bytes.len());
                if let Incoming::Unballoon { ranges, .. } = message {
                    prop_assert!(16 + 8 * ranges.len() <= usize::from(size));
                    prop_assert_eq!(ranges.count(), usize::from(count));
                }
            }
        }
    }
}
