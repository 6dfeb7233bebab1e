// SPDX-License-Identifier: GPL-2.0

//! Pages for rings: a list, wherever they lie.

use core::{
    mem,
    ptr::{
        self,
        NonNull, //
    }, //
};
use kernel::{
    page::PAGE_SIZE,
    prelude::*, //
};
use rlis_proto::vmbus::HV_HYP_PAGE_SIZE;
use rlis_sys as bindings;

/// An array of page pointers, for which there need not be memory in one piece either.
///
/// # Invariants
///
/// `start` came from `kvzalloc` with room for `room` pointers, of which the first `len` are written.
pub(super) struct PageArray {
    start: NonNull<*mut bindings::page>,
    room: usize,
    len: usize,
}

impl PageArray {
    /// An empty array with room for `room` pointers. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new(room: usize) -> Result<Self> {
        let bytes = room
            .checked_mul(size_of::<*mut bindings::page>())
            .ok_or(ENOMEM)?;
        // SAFETY: Process context.
        let start = NonNull::new(unsafe { bindings::vmbus_kvzalloc(bytes) }).ok_or(ENOMEM)?;
        // INVARIANT: It was just allocated, and nothing is written.
        Ok(Self {
            start: start.cast(),
            room,
            len: 0,
        })
    }

    /// Appends a pointer.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if there is no room.
    pub(super) fn push(&mut self, page: *mut bindings::page) -> Result {
        if self.len >= self.room {
            return Err(ENOMEM);
        }
        // SAFETY: Within the room, by the invariants.
        unsafe { self.start.add(self.len).write(page) };
        // INVARIANT: One more is written.
        self.len += 1;
        Ok(())
    }

    /// What has been written.
    pub(super) fn as_slice(&self) -> &[*mut bindings::page] {
        // SAFETY: By the invariants.
        unsafe { core::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl Drop for PageArray {
    fn drop(&mut self) {
        // SAFETY: By the invariants it came from `kvzalloc`.
        unsafe { bindings::vmbus_kvfree(self.start.as_ptr().cast()) };
    }
}

/// Zeroed pages of the kernel. Dropping the list frees them.
///
/// # Invariants
///
/// The list owns each page of the array, which was allocated as one or split off a larger piece.
pub(crate) struct PageList(PageArray);

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
        // SAFETY: A constant.
        let mut order = unsafe { bindings::vmbus_max_page_order() };
        loop {
            let left = count - list.0.len;
            if left == 0 {
                return Ok(list);
            }
            order = order.min(left.ilog2());
            // SAFETY: Process context; the order is one that the allocator has.
            let piece = unsafe { bindings::alloc_ring_pages(node, order, false) };
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
        // SAFETY: A constant.
        if order > unsafe { bindings::vmbus_max_page_order() } {
            return Err(ENOMEM);
        }
        // SAFETY: Process context; the order is one that the allocator has.
        let piece = NonNull::new(unsafe { bindings::alloc_ring_pages(node, order, true) });
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
            // INVARIANT: The page is no longer in the list when it is freed.
            self.0.len -= 1;
            // SAFETY: It was written, by the invariants of the array, and the list owned it.
            unsafe { bindings::free_ring_page(self.0.start.add(self.0.len).read()) };
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

    /// How many pages from the first on lie one after the other.
    pub(crate) fn contiguous(&self) -> usize {
        run(self.pages())
    }

    /// The runs of pages that lie one after the other.
    pub(crate) fn runs(&self) -> impl Iterator<Item = &[*mut bindings::page]> {
        let mut rest = self.pages();
        core::iter::from_fn(move || {
            let (first, others) = rest.split_at_checked(run(rest))?;
            rest = others;
            (!first.is_empty()).then_some(first)
        })
    }

    /// Fills the pages with zeroes.
    pub(crate) fn clear(&self) {
        for &page in self.pages() {
            // SAFETY: The list owns the page, and nobody has it mapped while its user calls this.
            unsafe {
                ptr::write_bytes(
                    bindings::vmbus_page_address(page).cast::<u8>(),
                    0,
                    PAGE_SIZE,
                );
            }
        }
    }

    /// Gives up the list, and leaves its pages allocated for good: the host may still use them.
    pub(crate) fn leak(self) {
        let mut list = mem::ManuallyDrop::new(self);
        // SAFETY: The array is not used afterwards, as the list is not dropped.
        unsafe { ptr::drop_in_place(&raw mut list.0) };
    }
}

/// How many pages of a list, from the first on, lie one after the other.
fn run(pages: &[*mut bindings::page]) -> usize {
    let mut numbers = pages.iter().map(|&page| {
        // SAFETY: The pages of a list are valid.
        unsafe { bindings::vmbus_page_to_hvpfn(page) }
    });
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
