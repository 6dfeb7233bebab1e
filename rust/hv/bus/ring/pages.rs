// SPDX-License-Identifier: GPL-2.0

//! Pages for rings: a list, wherever they lie.

use core::ptr::{
    self,
    NonNull, //
};
use kernel::{
    ffi::{
        c_int,
        c_void, //
    },
    page::PAGE_SIZE,
    prelude::*, //
};
use rlis_hv::KvSlice;
use rlis_proto::vmbus::HV_HYP_PAGE_SIZE;
use rlis_sys as bindings;

/// An array of page pointers, for which there need not be memory in one piece either.
///
/// # Invariants
///
/// The first `len` are pages that were valid when they were put there.
pub(super) struct PageArray {
    all: KvSlice<*mut bindings::page>,
    len: usize,
}

impl PageArray {
    /// An empty array with room for `room` pointers. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new(room: usize) -> Result<Self> {
        Ok(Self {
            all: KvSlice::zeroed(room)?,
            len: 0,
        })
    }

    /// Appends a page.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if there is no room.
    pub(super) fn push(&mut self, page: *mut bindings::page) -> Result {
        *self.all.get_mut(self.len).ok_or(ENOMEM)? = page;
        self.len += 1;
        Ok(())
    }

    /// Takes the last page out.
    fn pop(&mut self) -> Option<*mut bindings::page> {
        self.len = self.len.checked_sub(1)?;
        self.all.get(self.len).copied()
    }

    /// The pages.
    pub(super) fn as_slice(&self) -> &[*mut bindings::page] {
        self.all.get(..self.len).unwrap_or_default()
    }
}

/// Zeroed pages of the kernel. Dropping the list frees them.
///
/// # Invariants
///
/// The list owns each page of the array, which was allocated as one or split off a larger piece.
pub(crate) struct PageList(PageArray);

// SAFETY: Pages may be used and freed on any thread.
unsafe impl Send for PageList {}

impl PageList {
    /// Allocates `count` pages, on a NUMA node if it has them. Sleeps.
    ///
    /// As large pieces as are to be had without effort are taken first, so that few of the kernel's large pieces are
    /// broken up for rings; if there are none, single pages.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn alloc(node: i32, count: usize) -> Result<Self> {
        let mut list = Self(PageArray::new(count)?);
        let mut order = bindings::MAX_PAGE_ORDER;
        loop {
            let left = count - list.0.len;
            if left == 0 {
                return Ok(list);
            }
            order = order.min(left.ilog2());
            let piece = bindings::alloc_ring_pages(node, order, false);
            match (NonNull::new(piece), order) {
                // INVARIANT: The helper has split the piece.
                (Some(piece), _) => list.take_over(piece, 1 << order)?,
                (None, 0) => return Err(ENOMEM),
                // A larger piece is not tried again.
                (None, _) => order -= 1,
            }
        }
    }

    /// Allocates `count` pages that lie one after the other, on a NUMA node if it has them. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, if there is no such piece, or none of that size at all.
    pub(crate) fn alloc_contiguous(node: i32, count: usize) -> Result<Self> {
        let order = count.checked_next_power_of_two().ok_or(ENOMEM)?.ilog2();
        let mut list = Self(PageArray::new(1 << order)?);
        if order > bindings::MAX_PAGE_ORDER {
            return Err(ENOMEM);
        }
        let piece = NonNull::new(bindings::alloc_ring_pages(node, order, true));
        list.take_over(piece.ok_or(ENOMEM)?, 1 << order)?;
        list.truncate(count);
        Ok(list)
    }

    /// Appends the `count` pages of a piece that was split. There is room for them.
    fn take_over(&mut self, piece: NonNull<bindings::page>, count: usize) -> Result {
        for i in 0..count {
            // INVARIANT: The caller gives the pages up.
            self.0.push(piece.as_ptr().wrapping_add(i))?;
        }
        Ok(())
    }

    /// Frees all but the first `count` pages.
    fn truncate(&mut self, count: usize) {
        while self.0.len > count {
            let Some(page) = self.0.pop() else { return };
            // SAFETY: The list owned it, and does no longer.
            unsafe { bindings::__free_pages(page, 0) };
        }
    }

    /// The pages.
    pub(crate) fn pages(&self) -> &[*mut bindings::page] {
        self.0.as_slice()
    }

    /// Their size in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.0.len * PAGE_SIZE
    }

    /// The number of a page that the host counts: more than one where the guest's pages are larger than the host's.
    pub(crate) fn pfn(&self, page: usize) -> Option<u64> {
        let ratio = PAGE_SIZE / HV_HYP_PAGE_SIZE;
        let of_guest = self.pages().get(page / ratio)?;
        Some((hvpfn(*of_guest) + page % ratio) as u64)
    }

    /// Calls `f` with address and bytes of each piece of the memory that is contiguous in the kernel's address space, until
    /// one call returns something else than 0, and returns that.
    pub(crate) fn each_piece(&self, mut f: impl FnMut(*mut c_void, usize) -> c_int) -> c_int {
        let mut pieces = self
            .runs()
            .filter_map(|run| Some((address(*run.first()?), run.len() * PAGE_SIZE)));
        pieces
            .find_map(|(address, bytes)| Some(f(address, bytes)).filter(|&error| error != 0))
            .unwrap_or(0)
    }

    /// How many pages from the first on lie one after the other.
    pub(crate) fn contiguous(&self) -> usize {
        run(self.pages())
    }

    /// The runs of pages that lie one after the other.
    fn runs(&self) -> impl Iterator<Item = &[*mut bindings::page]> {
        let mut rest = self.pages();
        core::iter::from_fn(move || {
            let (first, others) = rest.split_at_checked(run(rest))?;
            rest = others;
            (!first.is_empty()).then_some(first)
        })
    }

    /// Fills the pages with zeroes.
    pub(crate) fn clear(&self) {
        self.each_piece(|address, bytes| {
            // SAFETY: The list owns the pages, and nobody has them mapped while their user calls this.
            unsafe { ptr::write_bytes(address.cast::<u8>(), 0, bytes) };
            0
        });
    }

    /// Gives up the list, and leaves its pages allocated for good: the host may still use them.
    pub(crate) fn leak(mut self) {
        // Of a list without pages only the array is freed.
        self.0.len = 0;
    }
}

/// Where a page of a list is in the kernel's address space.
fn address(page: *mut bindings::page) -> *mut c_void {
    // SAFETY: The pages of a list are valid, and not in high memory.
    unsafe { bindings::page_address(page) }
}

/// The number of a page, or of the first in it, that the host counts.
fn hvpfn(page: *mut bindings::page) -> usize {
    bindings::virt_to_phys(address(page)) as usize / HV_HYP_PAGE_SIZE
}

/// How many pages of a list, from the first on, lie one after the other.
fn run(pages: &[*mut bindings::page]) -> usize {
    let mut numbers = pages.iter().map(|&page| hvpfn(page));
    let Some(first) = numbers.next() else {
        return 0;
    };
    let step = PAGE_SIZE / HV_HYP_PAGE_SIZE;
    1 + (1..)
        .zip(numbers)
        .take_while(|&(i, number)| number == first + i * step)
        .count()
}

impl Drop for PageList {
    fn drop(&mut self) {
        self.truncate(0);
    }
}
