// SPDX-License-Identifier: GPL-2.0

//! Outgoing packets.

use core::mem::size_of_val;
use kernel::prelude::*;
use zerocopy::IntoBytes;

/// Size of `struct vmpacket_descriptor`, the header of every packet, in bytes.
pub(super) const DESCRIPTOR_LEN: u32 = 16;

/// The pages that descriptors count in, `HV_HYP_PAGE_SIZE`; those of the host, whatever size the guest's are.
pub(super) const HV_PAGE_SIZE: u64 = 4096;

/// Type of a packet, `enum vmbus_packet_type`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PacketType(pub u32);

impl PacketType {
    /// The data follow in the ring, `VM_PKT_DATA_INBAND`.
    pub const DATA_INBAND: Self = Self(rlis_sys::vmbus_packet_type_VM_PKT_DATA_INBAND);
    /// The data lie in a buffer that was shared beforehand, `VM_PKT_DATA_USING_XFER_PAGES`.
    pub const DATA_USING_XFER_PAGES: Self =
        Self(rlis_sys::vmbus_packet_type_VM_PKT_DATA_USING_XFER_PAGES);
    /// The data lie in pages that the packet names, `VM_PKT_DATA_USING_GPA_DIRECT`.
    pub const DATA_USING_GPA_DIRECT: Self =
        Self(rlis_sys::vmbus_packet_type_VM_PKT_DATA_USING_GPA_DIRECT);
    /// The answer to a packet that asked for one, `VM_PKT_COMP`.
    pub const COMPLETION: Self = Self(rlis_sys::vmbus_packet_type_VM_PKT_COMP);
}

/// Checks that `payload` bytes behind `header` bytes make a packet, whose length is counted in units of eight
/// bytes with 16 bits, and returns the length of the payload.
#[inline]
pub(super) fn checked_len(header: u32, payload: usize) -> Result<u32> {
    let payload = u32::try_from(payload).map_err(|_| EINVAL)?;
    let total = header.checked_add(payload).ok_or(EINVAL)?;
    if total.div_ceil(8) > u32::from(u16::MAX) {
        return Err(EINVAL);
    }
    Ok(payload)
}

/// Guest pages that a packet refers to, `struct hv_mpb_array`: `len` bytes, starting `offset` bytes into the
/// first page.
#[derive(Clone, Copy)]
pub struct PageRange<'a> {
    /// Length of the data, in bytes; not 0.
    pub len: u32,
    /// Where the data start in the first page; below 4096.
    pub offset: u32,
    /// Frame numbers of the pages, in units of 4096 bytes: exactly those that the data touch.
    pub pfns: &'a [u64],
}

/// The header of a packet whose data lie in guest pages, `struct vmbus_packet_mpb_array`.
///
/// It is built in memory of the caller, for example in the private part of a SCSI command. On a kernel whose bus
/// sends one range only (`vmbus_sendpacket_mpb_desc` before Linux 6.18 sets the count itself), use
/// [`MpbDescriptor::single`].
///
/// # Invariants
///
/// `words` starts with the fixed part, 24 bytes, followed by the ranges; all of it is initialised.
pub struct MpbDescriptor<'a> {
    words: &'a mut [u64],
}

/// Bytes that follow each other in physical memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Contiguous {
    /// Number of the page, of 4096 bytes, in which they begin.
    pub pfn: u64,
    /// Where in that page; below 4096.
    pub offset: u32,
    /// How many; not 0.
    pub len: u32,
}

/// An [`MpbDescriptor`] that is being put together.
pub struct MpbBuilder<'a> {
    words: &'a mut [u64],
    used: usize,
    count: u32,
}

impl<'a> MpbBuilder<'a> {
    /// There is no range yet; there will be in `buffer`.
    #[inline]
    pub fn new(buffer: &'a mut [u64]) -> Self {
        Self {
            words: buffer,
            used: MpbDescriptor::FIXED,
            count: 0,
        }
    }

    /// Describes another range.
    ///
    /// # Errors
    ///
    /// `EINVAL` for one that is empty or does not begin in its page, `ENOSPC` if the buffer is too short.
    #[inline]
    pub fn push(&mut self, range: Contiguous) -> Result {
        let Contiguous { pfn, offset, len } = range;
        if len == 0 || u64::from(offset) >= HV_PAGE_SIZE {
            return Err(EINVAL);
        }
        self.count += 1;
        let rest = self.words.get_mut(self.used..).unwrap_or_default();
        let described = u64::from(offset) << 32 | u64::from(len);
        let bytes = u64::from(offset) + u64::from(len);
        if bytes <= HV_PAGE_SIZE {
            // Within a page, as most are.
            *rest.first_chunk_mut().ok_or(ENOSPC)? = [described, pfn];
            self.used += 2;
            return Ok(());
        }
        let pages = usize::try_from(bytes.div_ceil(HV_PAGE_SIZE)).map_err(|_| EINVAL)?;
        let (head, rest) = rest.split_first_mut().ok_or(ENOSPC)?;
        let pfns = rest.get_mut(..pages).ok_or(ENOSPC)?;
        *head = described;
        for (word, page) in pfns.iter_mut().zip(pfn..) {
            *word = page;
        }
        self.used += 1 + pages;
        Ok(())
    }

    /// Has `f` describe further ranges in what is left of the buffer, for who has them in the form of the packet anyway:
    /// `struct hv_mpb_array`, a word with length and offset and then the numbers of the pages. It returns how many words it has
    /// used, and how many ranges are in them, or `None`. What it writes there is what the host gets.
    ///
    /// # Errors
    ///
    /// `E2BIG` if it returns `None`, `EINVAL` if it has used more words than there are.
    #[inline]
    pub fn extend(&mut self, f: impl FnOnce(&mut [u64]) -> Option<(usize, u32)>) -> Result {
        let rest = self.words.get_mut(self.used..).unwrap_or_default();
        let room = rest.len();
        let (words, ranges) = f(rest).ok_or(E2BIG)?;
        if words > room {
            return Err(EINVAL);
        }
        self.used += words;
        self.count = self.count.saturating_add(ranges);
        Ok(())
    }

    /// All ranges are there.
    ///
    /// # Errors
    ///
    /// `EINVAL` if there are none, or too many for a packet.
    #[inline]
    pub fn finish(self) -> Result<MpbDescriptor<'a>> {
        let words = self.words.get_mut(..self.used).ok_or(ENOSPC)?;
        if self.count == 0 || words.len() > usize::from(u16::MAX) {
            return Err(EINVAL);
        }
        let [kind, id, fixed, ..] = &mut *words else {
            return Err(EINVAL);
        };
        *kind = 0;
        *id = 0;
        *fixed = u64::from(self.count) << 32;
        // INVARIANT: The fixed part and the ranges have just been written.
        Ok(MpbDescriptor { words })
    }
}

impl<'a> MpbDescriptor<'a> {
    /// Words of the fixed part.
    const FIXED: usize = 3;

    /// Returns how many words a descriptor of one range with `pfns` pages takes.
    pub const fn words(pfns: usize) -> usize {
        Self::FIXED + 1 + pfns
    }

    /// Describes one range. `buffer` holds at least [`Self::words`] of its number of pages.
    ///
    /// # Errors
    ///
    /// `EINVAL` for a range whose length and offset do not match its pages, or that is too long for a packet,
    /// `ENOSPC` if `buffer` is too short.
    pub fn single(buffer: &'a mut [u64], range: PageRange<'_>) -> Result<Self> {
        Self::new(buffer, &[range])
    }

    /// Describes one range of `len` bytes that starts `offset` bytes into the first page, with the page frame numbers
    /// written to `buffer` as they come.
    ///
    /// # Errors
    ///
    /// As [`Self::single`].
    #[inline]
    pub fn from_pages(
        buffer: &'a mut [u64],
        len: u32,
        offset: u32,
        pages: impl Iterator<Item = u64>,
    ) -> Result<Self> {
        let end = u64::from(offset) + u64::from(len);
        if len == 0 || u64::from(offset) >= HV_PAGE_SIZE {
            return Err(EINVAL);
        }
        let count = usize::try_from(end.div_ceil(HV_PAGE_SIZE)).map_err(|_| EINVAL)?;
        let words = Self::words(count);
        if words > usize::from(u16::MAX) {
            return Err(EINVAL);
        }
        let words = buffer.get_mut(..words).ok_or(ENOSPC)?;
        let [kind, id, fixed, range, pfns @ ..] = &mut *words else {
            return Err(EINVAL);
        };
        *kind = 0;
        *id = 0;
        // One range, behind 32 reserved bits.
        *fixed = 1 << 32;
        *range = u64::from(offset) << 32 | u64::from(len);
        let mut room = pfns.iter_mut();
        for page in pages {
            *room.next().ok_or(EINVAL)? = page;
        }
        if room.next().is_some() {
            return Err(EINVAL);
        }
        // INVARIANT: The fixed part and the range have just been written.
        Ok(Self { words })
    }

    /// Describes ranges that are each contiguous in physical memory.
    ///
    /// # Errors
    ///
    /// As [`Self::single`].
    pub fn from_contiguous(
        buffer: &'a mut [u64],
        ranges: impl Iterator<Item = Contiguous>,
    ) -> Result<Self> {
        let mut builder = MpbBuilder::new(buffer);
        for range in ranges {
            builder.push(range)?;
        }
        builder.finish()
    }

    /// Describes any number of ranges, such as the single pages of `struct hv_page_buffer`.
    ///
    /// # Errors
    ///
    /// As [`Self::single`].
    pub fn new(buffer: &'a mut [u64], ranges: &[PageRange<'_>]) -> Result<Self> {
        let count = u32::try_from(ranges.len()).map_err(|_| EINVAL)?;
        let (fixed, mut rest) = buffer.split_at_mut_checked(Self::FIXED).ok_or(ENOSPC)?;
        let mut used = Self::FIXED;
        for range in ranges {
            let end = u64::from(range.offset) + u64::from(range.len);
            if range.len == 0
                || u64::from(range.offset) >= HV_PAGE_SIZE
                || u64::try_from(range.pfns.len()) != Ok(end.div_ceil(HV_PAGE_SIZE))
            {
                return Err(EINVAL);
            }
            let (head, tail) = rest.split_first_mut().ok_or(ENOSPC)?;
            // The struct has `len` first; VMBus is little-endian, and so are the guests it exists for.
            *head = u64::from(range.offset) << 32 | u64::from(range.len);
            let (pfns, tail) = tail.split_at_mut_checked(range.pfns.len()).ok_or(ENOSPC)?;
            pfns.copy_from_slice(range.pfns);
            rest = tail;
            used += 1 + range.pfns.len();
        }
        // Type, length and transaction id are filled in when the packet is sent. What is left of the fixed part
        // is `reserved` and `rangecount`.
        fixed.fill(0);
        if let Some(last) = fixed.last_mut() {
            *last = u64::from(count) << 32;
        }
        let words = buffer.get_mut(..used).ok_or(ENOSPC)?;
        // The length is counted in units of eight bytes with 16 bits.
        if words.len() > usize::from(u16::MAX) {
            return Err(EINVAL);
        }
        // INVARIANT: The fixed part and the ranges have just been written.
        Ok(Self { words })
    }

    /// Returns the size in bytes.
    #[inline]
    pub(super) fn size(&self) -> u32 {
        // `new` has checked that this is below 2^19.
        u32::try_from(size_of_val(&*self.words)).unwrap_or(u32::MAX)
    }

    /// Returns what lies between the common descriptor of a packet and its payload.
    #[inline]
    pub(super) fn extension(&self) -> &[u8] {
        let [_, _, extension @ ..] = &*self.words else {
            return &[];
        };
        extension.as_bytes()
    }

    /// Returns the C struct.
    #[inline]
    pub(super) fn as_raw(&mut self) -> *mut rlis_sys::vmbus_packet_mpb_array {
        self.words.as_mut_ptr().cast()
    }
}

#[kunit_tests(rlis_vmbus_packet)]
mod tests {
    use super::*;
    use core::mem::{
        offset_of,
        size_of, //
    };
    use rlis_sys::{
        hv_mpb_array,
        vmbus_packet_mpb_array, //
    };

    #[test]
    fn descriptor_matches_c_layout() {
        assert_eq!(offset_of!(vmbus_packet_mpb_array, rangecount), 20);
        assert_eq!(offset_of!(vmbus_packet_mpb_array, range), 24);
        assert_eq!(offset_of!(hv_mpb_array, len), 0);
        assert_eq!(offset_of!(hv_mpb_array, offset), 4);
        assert_eq!(offset_of!(hv_mpb_array, pfn_array), 8);
        assert_eq!(
            DESCRIPTOR_LEN as usize,
            size_of::<rlis_sys::vmpacket_descriptor>()
        );
    }

    #[test]
    fn one_range() {
        let mut buffer = [u64::MAX; 8];
        let range = PageRange {
            len: 4096,
            offset: 0x123,
            pfns: &[0x10, 0x20],
        };
        let descriptor = MpbDescriptor::single(&mut buffer, range);
        assert!(descriptor.is_ok());
        if let Ok(descriptor) = descriptor {
            assert_eq!(descriptor.size(), 48);
        }
        assert_eq!(buffer[2], 1 << 32);
        assert_eq!(buffer[3], 0x123 << 32 | 4096);
        assert_eq!(buffer[4], 0x10);
        assert_eq!(buffer[5], 0x20);
        assert_eq!(buffer[6], u64::MAX);
    }

    #[test]
    fn from_pages() {
        let mut one = [u64::MAX; 8];
        let mut other = [u64::MAX; 8];
        let range = PageRange {
            len: 4096,
            offset: 0x123,
            pfns: &[0x10, 0x20],
        };
        assert!(MpbDescriptor::single(&mut one, range).is_ok());
        assert!(
            MpbDescriptor::from_pages(&mut other, 4096, 0x123, [0x10, 0x20].into_iter()).is_ok()
        );
        assert_eq!(one, other);
        for (len, offset, pages) in [
            (4096, 1, &[1][..]),
            (4095, 1, &[1, 2]),
            (1, 4096, &[1, 2]),
            (0, 0, &[]),
            (40960, 0, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        ] {
            let pages = pages.iter().copied();
            assert!(MpbDescriptor::from_pages(&mut other, len, offset, pages).is_err());
        }
    }

    #[test]
    fn from_contiguous() {
        let mut one = [u64::MAX; 12];
        let mut other = [u64::MAX; 12];
        let ranges = [
            PageRange {
                len: 100,
                offset: 0x123,
                pfns: &[0x10],
            },
            PageRange {
                len: 9000,
                offset: 4095,
                pfns: &[0x20, 0x21, 0x22, 0x23],
            },
        ];
        assert!(MpbDescriptor::new(&mut one, &ranges).is_ok());
        let range = |(pfn, offset, len)| Contiguous { pfn, offset, len };
        let contiguous = [(0x10, 0x123, 100), (0x20, 4095, 9000)].map(range);
        let described = MpbDescriptor::from_contiguous(&mut other, contiguous.into_iter());
        assert!(described.is_ok_and(|described| described.size() == 10 * 8));
        assert_eq!(one, other);
        for bad in [(1, 4096, 1), (1, 0, 0), (1, 0, 60_000), (1, 0, u32::MAX)].map(range) {
            assert!(MpbDescriptor::from_contiguous(&mut other, [bad].into_iter()).is_err());
        }
        assert!(MpbDescriptor::from_contiguous(&mut other, [].into_iter()).is_err());
    }

    #[test]
    fn described_elsewhere() -> Result {
        let mut one = [u64::MAX; 10];
        let mut other = [u64::MAX; 10];
        let ranges = [(0x10, 0x123, 100), (0x20, 4095, 4097)];
        let ranges = ranges.map(|(pfn, offset, len)| Contiguous { pfn, offset, len });
        MpbDescriptor::from_contiguous(&mut one, ranges.into_iter())?;
        let [first, _] = ranges;
        let mut builder = MpbBuilder::new(&mut other);
        builder.push(first)?;
        builder.extend(|rest| {
            assert_eq!(rest.len(), 5);
            rest[..3].copy_from_slice(&[4095 << 32 | 4097, 0x20, 0x21]);
            Some((3, 1))
        })?;
        assert_eq!(builder.extend(|_| None).err(), Some(E2BIG));
        assert_eq!(builder.extend(|_| Some((3, 1))).err(), Some(EINVAL));
        assert_eq!(builder.finish()?.size(), 8 * 8);
        assert_eq!(one, other);
        Ok(())
    }

    #[test]
    fn bad_ranges() {
        let mut buffer = [0; 5];
        // Too few pages, too many, an offset beyond the page, nothing at all, and a buffer too short.
        for (len, offset, pfns) in [
            (4096, 1, &[1][..]),
            (4095, 1, &[1, 2][..]),
            (1, 4096, &[1, 2][..]),
            (0, 0, &[][..]),
            (8192, 0, &[1, 2][..]),
        ] {
            let range = PageRange { len, offset, pfns };
            assert!(MpbDescriptor::single(&mut buffer, range).is_err());
        }
    }

    #[test]
    fn lengths() {
        assert_eq!(checked_len(16, 5).ok(), Some(5));
        assert_eq!(checked_len(16, 65535 * 8 - 16).ok(), Some(65535 * 8 - 16));
        assert!(checked_len(16, 65535 * 8 - 15).is_err());
        assert!(checked_len(16, usize::MAX).is_err());
    }
}
