// SPDX-License-Identifier: GPL-2.0

//! The send buffer, as the host has cut it, and the share that a channel has of it.

use crate::header::Header;
use kernel::{
    prelude::*,
    sync::Arc, //
};
use rlis_hv::SharedMemory;
use rlis_net::FreeList;
use rlis_proto::nvsp::SendSections;
use rlis_vmbus::GrantedMemory;

/// Where the length of a message stands in it.
const MESSAGE_LENGTH: u32 = 4;

/// Bytes that messages begin at multiples of, at most: a page.
const MAX_PADDING: usize = 4096;

/// The send buffer.
pub(crate) struct Sections {
    buffer: GrantedMemory,
    cut: SendSections,
}

impl Sections {
    pub(crate) fn new(buffer: GrantedMemory, cut: SendSections) -> Result<Arc<Self>> {
        Ok(Arc::new(Self { buffer, cut }, GFP_KERNEL)?)
    }
}

/// The sections that belong to a channel: nobody else takes them.
pub(crate) struct Share {
    sections: Arc<Sections>,
    first: u32,
    /// Those that are free, counted from the first.
    free: FreeList,
}

/// `offset` bytes behind `base`.
#[inline]
fn within(base: usize, offset: u32) -> usize {
    usize::try_from(offset).map_or(usize::MAX, |offset| base.saturating_add(offset))
}

impl Share {
    /// The share of one of `channels` channels; `None` if there are fewer sections than channels.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(
        sections: &Arc<Sections>,
        channel: u16,
        channels: u16,
    ) -> Result<Option<Self>> {
        let count = sections.cut.count() / u32::from(channels.max(1));
        if count == 0 {
            return Ok(None);
        }
        Ok(Some(Self {
            sections: sections.clone(),
            first: count * u32::from(channel),
            free: FreeList::new(count.min(1 << 16))?,
        }))
    }

    /// Bytes of a section.
    #[inline]
    pub(crate) fn size(&self) -> u32 {
        self.sections.cut.size()
    }

    /// Takes a section and returns its number, if one is free. To be called under the lock of the transmit queue.
    #[inline]
    pub(crate) fn take(&self) -> Option<u32> {
        Some(self.first + self.free.take()?)
    }

    /// Undoes the last [`Self::take`].
    pub(crate) fn untake(&self) {
        self.free.untake();
    }

    /// Gives a section back, in the poll.
    #[inline]
    pub(crate) fn give(&self, section: u32) {
        if let Some(number) = section.checked_sub(self.first) {
            self.free.give(number);
        }
    }

    /// Where a section is in the buffer.
    #[inline]
    pub(crate) fn position(&self, section: u32) -> usize {
        let start = u64::from(section) * u64::from(self.size());
        // Beyond the buffer, if it could not be said.
        usize::try_from(start).unwrap_or(usize::MAX)
    }

    /// Where in a section a message of `len` bytes goes, if one ends at `end` and each begins at a multiple of `alignment`, a power
    /// of two; `None` if there is no room for it.
    #[inline]
    pub(crate) fn behind(&self, end: u32, alignment: u32, len: u32) -> Option<u32> {
        let below = alignment.wrapping_sub(1);
        let start = end.checked_add(below)? & !below;
        (start.checked_add(len)? <= self.size()).then_some(start)
    }

    /// Writes a header, `start` bytes into the section at `base`, and has `copy` write the frame behind it.
    ///
    /// # Errors
    ///
    /// That of `copy`, and `EINVAL` if the header does not lie in the buffer.
    #[inline]
    pub(crate) fn write(
        &self,
        base: usize,
        start: u32,
        header: &Header,
        copy: impl FnOnce(&SharedMemory, usize) -> Result,
    ) -> Result {
        let memory = self.sections.buffer.memory();
        let end = header.write(memory, within(base, start))?;
        copy(memory, end)
    }

    /// Makes the message from `start` to `end` in the section at `base` end at `until`, where nothing has been written yet:
    /// what is between are zeros of its own.
    #[inline]
    pub(crate) fn stretch(&self, base: usize, start: u32, end: u32, until: u32) {
        const ZEROS: [u8; MAX_PADDING] = [0; MAX_PADDING];
        let memory = self.sections.buffer.memory();
        let padding = usize::try_from(until.saturating_sub(end)).unwrap_or(0);
        let length = until.saturating_sub(start);
        if padding == 0 {
            return;
        }
        // All of it lies in the section, as the message behind it.
        let at = within(base, start.saturating_add(MESSAGE_LENGTH));
        let behind = within(base, end);
        let _ = memory.put_words(at, [length]);
        if padding <= size_of::<[u32; 2]>() && memory.put_words(behind, [0, 0]).is_ok() {
            return;
        }
        let _ = memory.copy_from(behind, ZEROS.get(..padding).unwrap_or(&ZEROS));
    }
}
