// SPDX-License-Identifier: GPL-2.0

//! What lies in a ring (include/linux/hyperv.h): the header page and the packet formats.

use crate::error::{read_prefix, ProtoError};
use crate::vmbus::gpa::GpaRanges;
use zerocopy_derive::*;

open_enum! {
    /// `enum vmbus_packet_type`.
    pub struct PacketType(u16) {
        /// Never valid.
        VM_PKT_INVALID = 0x0,
        /// Legacy.
        VM_PKT_SYNCH = 0x1,
        /// Legacy.
        VM_PKT_ADD_XFER_PAGESET = 0x2,
        /// Legacy.
        VM_PKT_RM_XFER_PAGESET = 0x3,
        /// Legacy.
        VM_PKT_ESTABLISH_GPADL = 0x4,
        /// Legacy.
        VM_PKT_TEARDOWN_GPADL = 0x5,
        /// All data is in the ring.
        VM_PKT_DATA_INBAND = 0x6,
        /// Data in a buffer established before, by ranges ([`TransferPageHeader`]).
        VM_PKT_DATA_USING_XFER_PAGES = 0x7,
        /// Legacy.
        VM_PKT_DATA_USING_GPADL = 0x8,
        /// Data in guest memory, by page numbers ([`GpaDirectHeader`]).
        VM_PKT_DATA_USING_GPA_DIRECT = 0x9,
        /// Legacy.
        VM_PKT_CANCEL_REQUEST = 0xa,
        /// Completion of the request with the same transaction id.
        VM_PKT_COMP = 0xb,
        /// Legacy.
        VM_PKT_DATA_USING_ADDITIONAL_PKT = 0xc,
        /// Legacy.
        VM_PKT_ADDITIONAL_DATA = 0xd,
    }
}

/// Descriptor flag: the sender wants a completion packet.
pub const VMBUS_DATA_PACKET_FLAG_COMPLETION_REQUESTED: u16 = 1;
/// Bytes of a descriptor.
pub const DESCRIPTOR_SIZE: u32 = 16;
/// Most page buffers in one packet (`MAX_PAGE_BUFFER_COUNT`).
pub const MAX_PAGE_BUFFER_COUNT: usize = 32;

wire_struct! {
    /// `struct vmpacket_descriptor`, 16 bytes, in front of every packet.
    #[derive(Debug, PartialEq, Eq, Default)]
    pub struct Descriptor {
        /// [`PacketType`]; `type` in C, named as bindgen names it.
        pub type_: u16,
        /// Where the payload starts, in units of 8 bytes from the start of the descriptor.
        pub offset8: u16,
        /// Length of descriptor, extension and payload, in units of 8 bytes; without the trailer.
        pub len8: u16,
        /// `VMBUS_DATA_PACKET_FLAG_COMPLETION_REQUESTED`.
        pub flags: u16,
        /// Chosen by the requester, echoed in the completion.
        pub trans_id: u64,
    }
}

/// `struct hv_ring_buffer`, the header page of a ring, 4096 bytes. For offsets only: the live page is
/// accessed through [`super::RingHeader`].
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RingBufferHeader {
    /// Where the writer will write next.
    pub write_index: u32,
    /// Where the reader will read next.
    pub read_index: u32,
    /// Not 0: the writer shall not signal.
    pub interrupt_mask: u32,
    /// Not 0: the writer waits for more than this many free bytes.
    pub pending_send_sz: u32,
    /// Unused.
    pub reserved1: [u32; 12],
    /// [`super::FEATURE_PENDING_SEND_SZ`].
    pub feature_bits: u32,
    /// Up to the page border.
    pub reserved2: [u8; 4028],
}

wire_struct! {
    /// `struct hv_page_buffer`, 16 bytes: a range within one page.
    #[derive(Debug, PartialEq, Eq)]
    pub struct PageBuffer {
        /// Bytes.
        pub len: u32,
        /// Offset in the page.
        pub offset: u32,
        /// 4 KiB page number.
        pub pfn: u64,
    }

    /// What follows the descriptor of a GPA-direct packet, 8 bytes (`struct vmdata_gpa_direct`); the ranges come
    /// behind it.
    #[derive(Debug, PartialEq, Eq)]
    pub struct GpaDirectHeader {
        /// Zero.
        pub reserved: u32,
        /// Number of ranges.
        pub range_cnt: u32,
    }

    /// What follows the descriptor of a transfer-page packet, 8 bytes
    /// (`struct vmtransfer_page_packet_header`); the ranges come behind it.
    #[derive(Debug, PartialEq, Eq)]
    pub struct TransferPageHeader {
        /// Which buffer.
        pub xfer_pageset_id: u16,
        /// Unused.
        pub sender_owns_set: u8,
        /// Unused.
        pub reserved: u8,
        /// Number of ranges.
        pub range_cnt: u32,
    }

    /// `struct vmtransfer_page_range`, 8 bytes.
    #[derive(Debug, PartialEq, Eq)]
    pub struct TransferPageRange {
        /// Bytes.
        pub byte_count: u32,
        /// Offset in the buffer.
        pub byte_offset: u32,
    }

    /// `struct vmtransfer_page_packet_header` as C has it, descriptor included, 24 bytes; for layout checks.
    #[derive(Debug)]
    pub struct TransferPagePacket {
        /// The descriptor.
        pub d: Descriptor,
        /// Which buffer.
        pub xfer_pageset_id: u16,
        /// Unused.
        pub sender_owns_set: u8,
        /// Unused.
        pub reserved: u8,
        /// Number of ranges.
        pub range_cnt: u32,
    }

    /// `struct vmbus_packet_mpb_array` without its page numbers; for layout checks and for building.
    #[derive(Debug)]
    pub struct MultiPageBufferPacket {
        /// VM_PKT_DATA_USING_GPA_DIRECT.
        pub type_: u16,
        /// As `offset8` of a descriptor.
        pub dataoffset8: u16,
        /// As `len8` of a descriptor.
        pub length8: u16,
        /// As in a descriptor.
        pub flags: u16,
        /// As in a descriptor.
        pub transactionid: u64,
        /// Zero.
        pub reserved: u32,
        /// 1.
        pub rangecount: u32,
        /// The range: byte count and offset in the first page.
        pub range: [u32; 2],
    }
}

/// The ranges of a GPA-direct packet, from its descriptor extension (the bytes between descriptor and payload).
///
/// # Errors
///
/// `Short` if there is no room for the header. The iterator reports bad ranges.
pub fn gpa_direct(extension: &[u8]) -> Result<GpaRanges<'_>, ProtoError> {
    let (h, ranges) = read_prefix::<GpaDirectHeader>(extension, "GPA direct header")?;
    Ok(GpaRanges::new(ranges, h.range_cnt))
}

/// Header and ranges of a transfer-page packet, from its descriptor extension. Each range is checked against
/// `buffer_len`, the size of the buffer it refers to.
///
/// # Errors
///
/// `Short` if the announced ranges do not fit into the extension.
#[inline]
pub fn transfer_pages(
    extension: &[u8],
    buffer_len: u32,
) -> Result<(TransferPageHeader, TransferPageRanges<'_>), ProtoError> {
    let what = "transfer page ranges";
    let (h, bytes) = read_prefix::<TransferPageHeader>(extension, "transfer page header")?;
    let need = usize::try_from(h.range_cnt)
        .ok()
        .and_then(|n| n.checked_mul(core::mem::size_of::<TransferPageRange>()))
        .unwrap_or(usize::MAX);
    let got = bytes.len();
    let bytes = bytes
        .get(..need)
        .ok_or(ProtoError::Short { what, need, got })?;
    Ok((h, TransferPageRanges { bytes, buffer_len }))
}

/// Iterates over the ranges of a transfer-page packet. A range outside of the buffer is an error, and the next
/// one follows all the same.
#[derive(Clone, Debug)]
pub struct TransferPageRanges<'a> {
    bytes: &'a [u8],
    buffer_len: u32,
}

impl Iterator for TransferPageRanges<'_> {
    type Item = Result<TransferPageRange, ProtoError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (r, rest) = read_prefix::<TransferPageRange>(self.bytes, "transfer page range").ok()?;
        self.bytes = rest;
        let (offset, count) = (r.byte_offset, r.byte_count);
        Some(match offset.checked_add(count) {
            Some(end) if end <= self.buffer_len => Ok(r),
            _ => Err(ProtoError::Invalid {
                what: "transfer page range",
                value: (u64::from(offset) << 32) | u64::from(count),
            }),
        })
    }
}
