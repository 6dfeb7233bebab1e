// SPDX-License-Identifier: GPL-2.0

//! What a host of dynamic memory can do wrong: requests that make no sense, in the place of proper ones or before them.

use rlis_proto::balloon::{
    Balloon, Header, HotAdd, HotAddWithRegion, InfoHeader, InfoMessage, MessageType,
};
use zerocopy::IntoBytes;

use super::spec::NAME;
use crate::faults::{Fault, Faults};

/// Messages that a guest gets before a proper request.
pub fn before(faults: &Faults, trans_id: u32) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    if let Some(kind) = faults.take(NAME, Fault::MemoryMessageType, 99) {
        let mut odd = Balloon::new(1, trans_id);
        // A type has 16 bits.
        odd.hdr.type_ = kind as u16;
        messages.push(odd.as_bytes().to_vec());
    }
    if let Some(kind) = faults.take(NAME, Fault::MemoryInfo, 7) {
        let head = InfoMessage {
            hdr: Header {
                type_: MessageType::DM_INFO_MESSAGE.0,
                size: 24,
                trans_id,
            },
            reserved: 0,
            // Both say that there is more than there is.
            info_size: u32::MAX,
        };
        let info = InfoHeader {
            type_: kind as u32,
            data_size: u32::MAX,
        };
        messages.push([head.as_bytes(), info.as_bytes()].concat());
    }
    if let Some(size) = faults.take(NAME, Fault::MemoryInfoSize, 0xffff) {
        let mut info = rlis_proto::balloon::MaxPages::new(1 << 20, trans_id);
        info.message.hdr.size = size as u16;
        messages.push(info.as_bytes().to_vec());
    }
    messages
}

/// A hot-add request that makes no sense, for the proper one, and how many pages are asked for in it.
pub fn hot_add(faults: &Faults, proper: &HotAddWithRegion) -> Option<(Vec<u8>, u32)> {
    let trans_id = proper.add.hdr.trans_id;
    if let Some(word) = faults.take(NAME, Fault::MemoryAddRange, 0) {
        let request = HotAdd {
            hdr: Header {
                type_: MessageType::DM_MEM_HOT_ADD_REQUEST.0,
                size: 16,
                trans_id,
            },
            range: word,
        };
        // 24 bits.
        return Some((request.as_bytes().to_vec(), (word >> 40) as u32));
    }
    if let Some(word) = faults.take(NAME, Fault::MemoryAddRegion, 1 << 40) {
        let mut request = *proper;
        request.region = word;
        let count = (request.add.range >> 40) as u32;
        return Some((request.as_bytes().to_vec(), count));
    }
    None
}
