// SPDX-License-Identifier: GPL-2.0

//! GPADLs as the host holds them: assembled from the guest's messages, then a checked list of pages.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use anyhow::{bail, ensure, Context, Result};
use rlis_proto::vmbus::gpadl::GpadlAssembler;
use rlis_proto::vmbus::message::GpadlHeader;
use vm_memory::{Bytes, GuestAddress, GuestMemory};

use crate::memory::Memory;

const PAGE: usize = 4096;

/// Guest pages that read and write as one piece.
#[derive(Clone)]
pub struct GuestPages {
    memory: Arc<Memory>,
    pages: Arc<[u64]>,
}

impl GuestPages {
    /// The pages with the given numbers; all must be RAM.
    pub fn new(memory: Arc<Memory>, pfns: impl IntoIterator<Item = u64>) -> Result<Self> {
        let mut pages = Vec::new();
        for pfn in pfns {
            let address = pfn
                .checked_mul(PAGE as u64)
                .context("a page number is out of range")?;
            ensure!(
                memory.check_range(GuestAddress(address), PAGE),
                "page {address:#x} is not in the guest's memory"
            );
            pages.push(address);
        }
        Ok(Self {
            memory,
            pages: pages.into(),
        })
    }

    /// Number of bytes.
    pub fn len(&self) -> usize {
        self.pages.len() * PAGE
    }

    /// The part of `count` pages from page `first` on.
    pub fn part(&self, first: usize, count: usize) -> Result<Self> {
        let end = first.checked_add(count).context("page range overflows")?;
        let pages = self
            .pages
            .get(first..end)
            .context("page range is outside of the GPADL")?;
        Ok(Self {
            memory: self.memory.clone(),
            pages: pages.into(),
        })
    }

    /// Calls `piece` with the guest address and the span within the buffer of each page-sized piece of
    /// `offset..offset + len`.
    fn pieces(
        &self,
        offset: usize,
        len: usize,
        mut piece: impl FnMut(GuestAddress, std::ops::Range<usize>) -> Result<()>,
    ) -> Result<()> {
        ensure!(
            offset.checked_add(len).is_some_and(|end| end <= self.len()),
            "access outside of a GPADL"
        );
        let mut done = 0;
        while done < len {
            let at = offset + done;
            let page = self
                .pages
                .get(at / PAGE)
                .context("access outside of a GPADL")?;
            let count = (PAGE - at % PAGE).min(len - done);
            piece(GuestAddress(page + (at % PAGE) as u64), done..done + count)?;
            done += count;
        }
        Ok(())
    }

    /// Copies bytes out of the guest.
    pub fn read(&self, offset: usize, out: &mut [u8]) -> Result<()> {
        self.pieces(offset, out.len(), |address, span| {
            Ok(self.memory.read_slice(&mut out[span], address)?)
        })
    }

    /// Copies bytes into the guest.
    pub fn write(&self, offset: usize, bytes: &[u8]) -> Result<()> {
        self.pieces(offset, bytes.len(), |address, span| {
            Ok(self.memory.write_slice(&bytes[span], address)?)
        })
    }

    fn word(&self, offset: usize) -> Result<GuestAddress> {
        ensure!(offset % 4 == 0, "misaligned word");
        let page = self
            .pages
            .get(offset / PAGE)
            .context("access outside of a GPADL")?;
        Ok(GuestAddress(page + (offset % PAGE) as u64))
    }

    /// Reads a word that the guest writes concurrently.
    pub fn load(&self, offset: usize, order: Ordering) -> Result<u32> {
        Ok(self.memory.load(self.word(offset)?, order)?)
    }

    /// Writes a word that the guest reads concurrently.
    pub fn store(&self, offset: usize, value: u32, order: Ordering) -> Result<()> {
        Ok(self.memory.store(value, self.word(offset)?, order)?)
    }
}

/// A GPADL in the hands of a device, until this is dropped.
pub struct Loan {
    /// The memory.
    pub pages: GuestPages,
    lent: Arc<AtomicBool>,
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.lent.store(false, Ordering::SeqCst);
    }
}

/// A GPADL from its first message to its teardown.
pub struct Gpadl {
    /// The channel it belongs to.
    pub relid: u32,
    assembler: GpadlAssembler,
    store: Vec<u8>,
    /// The pages, once all messages have arrived.
    pub pages: Option<GuestPages>,
    lent: Arc<AtomicBool>,
}

impl Gpadl {
    /// Starts with a header message and the range bytes that came with it.
    pub fn new(memory: &Arc<Memory>, header: &GpadlHeader, bytes: &[u8]) -> Result<Self> {
        let assembler = GpadlAssembler::new(header)?;
        let store = vec![0; assembler.store_len()];
        let mut this = Self {
            relid: header.child_relid,
            assembler,
            store,
            pages: None,
            lent: Arc::default(),
        };
        this.push(memory, bytes)?;
        Ok(this)
    }

    /// Lends the memory to a device; only one at a time can have it.
    pub fn lend(&self) -> Result<Loan> {
        let pages = self.pages.clone().context("the GPADL is not complete")?;
        ensure!(
            !self.lent.swap(true, Ordering::SeqCst),
            "the GPADL is in use already"
        );
        Ok(Loan {
            pages,
            lent: self.lent.clone(),
        })
    }

    /// Whether a device has the memory.
    pub fn is_lent(&self) -> bool {
        self.lent.load(Ordering::SeqCst)
    }

    /// Adds the bytes of a body message. When the last has arrived, `pages` is set.
    pub fn push(&mut self, memory: &Arc<Memory>, bytes: &[u8]) -> Result<()> {
        ensure!(
            self.pages.is_none(),
            "a GPADL_BODY arrived after the GPADL was complete"
        );
        if !self.assembler.push(bytes, &mut self.store)? {
            return Ok(());
        }
        let ranges: Vec<_> = self
            .assembler
            .ranges(&self.store)
            .collect::<Result<_, _>>()?;
        let [range] = ranges.as_slice() else {
            bail!("a GPADL of {} ranges; the host supports one", ranges.len());
        };
        // Rings and buffers are whole pages; an offset would shift every structure in them.
        ensure!(
            range.byte_offset == 0,
            "a GPADL starts {} bytes into its first page",
            range.byte_offset
        );
        ensure!(
            range.byte_count % 4096 == 0,
            "a GPADL of {} bytes is not whole pages",
            range.byte_count
        );
        self.pages = Some(GuestPages::new(memory.clone(), range.pfns())?);
        self.store = Vec::new();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rlis_proto::vmbus::gpadl::GpadlSplitter;
    use rlis_proto::vmbus::parse::{parse, Message};
    use rlis_proto::vmbus::MAX_SIZE_CHANNEL_MESSAGE;

    fn memory() -> Arc<Memory> {
        Arc::new(crate::memory::allocate(4 << 20).unwrap())
    }

    fn assemble(memory: &Arc<Memory>, pages: u32, pfn: impl Fn(u64) -> u64) -> Result<Gpadl> {
        let mut split = GpadlSplitter::new(3, 0x77, 0, pages * 4096, (0..).map(pfn)).unwrap();
        let mut buf = [0; MAX_SIZE_CHANNEL_MESSAGE];
        let mut gpadl = None;
        while let Some(len) = split.next_message(&mut buf).unwrap() {
            match parse(&buf[..len]).unwrap() {
                Message::GpadlHeader(header, bytes) => {
                    gpadl = Some(Gpadl::new(memory, &header, bytes)?)
                }
                Message::GpadlBody(_, bytes) => gpadl.as_mut().unwrap().push(memory, bytes)?,
                other => panic!("{other:?}"),
            }
        }
        Ok(gpadl.unwrap())
    }

    #[test]
    fn pages_are_joined_in_order() {
        let memory = memory();
        // 70 pages need three messages; the order of the page numbers is reversed.
        let gpadl = assemble(&memory, 70, |i| 100 - i).unwrap();
        let pages = gpadl.pages.unwrap();
        assert_eq!(pages.len(), 70 * 4096);
        pages.write(4090, b"0123456789ab").unwrap();
        let mut tail = [0; 6];
        memory
            .read_slice(&mut tail, GuestAddress(99 * 4096))
            .unwrap();
        assert_eq!(&tail, b"6789ab");
        let mut all = [0; 12];
        pages.read(4090, &mut all).unwrap();
        assert_eq!(&all, b"0123456789ab");
        assert!(pages.read(70 * 4096 - 3, &mut [0; 4]).is_err());
    }

    #[test]
    fn a_gpadl_is_lent_once() {
        let gpadl = assemble(&memory(), 2, |i| i + 1).unwrap();
        let loan = gpadl.lend().unwrap();
        assert!(gpadl.is_lent() && gpadl.lend().is_err());
        drop(loan);
        assert!(!gpadl.is_lent() && gpadl.lend().is_ok());
    }

    #[test]
    fn pages_outside_of_ram_are_refused() {
        let memory = memory();
        assert!(assemble(&memory, 2, |i| 1023 + i).is_err());
        assert!(assemble(&memory, 1, |_| u64::MAX).is_err());
    }

    #[test]
    fn parts_are_checked() {
        let pages = assemble(&memory(), 4, |i| i + 1).unwrap().pages.unwrap();
        assert_eq!(pages.part(1, 3).unwrap().len(), 3 * 4096);
        assert!(pages.part(1, 4).is_err());
        assert!(pages.part(usize::MAX, 2).is_err());
    }
}
