// SPDX-License-Identifier: GPL-2.0

//! Lists that are linked through C structures.

use crate::view::View;
use core::{
    marker::PhantomData,
    ptr::{
        self,
        NonNull, //
    }, //
};
use kernel::{
    prelude::*,
    sync::aref::{
        ARef,
        AlwaysRefCounted, //
    },
    types::Opaque, //
};
use rlis_sys::list_head;

/// How objects are linked into the lists of one kind, and who owns them there.
///
/// # Safety
///
/// At `OFFSET` bytes in an `Item` there is a [`Links`], or a `list_head` of C that is initialised. Nobody but lists of this kind
/// changes it, unless it is itself the head of a list of this kind.
pub unsafe trait Link {
    /// What is on the list.
    type Item: Sync;
    /// What owns an item that is on no list.
    type Owner: Owner<Self::Item>;
    /// Where the links are.
    const OFFSET: usize;
}

/// What owns an item that is on no list.
///
/// # Safety
///
/// What `into_raw` returns is valid and stays where it is until `from_raw`.
pub unsafe trait Owner<T> {
    /// Gives an item to a list.
    fn into_raw(self) -> NonNull<T>;

    /// Takes an item from a list.
    ///
    /// # Safety
    ///
    /// It came from [`Self::into_raw`], and comes once.
    unsafe fn from_raw(item: NonNull<T>) -> Self;
}

// SAFETY: A reference keeps the object, which stays where it is.
unsafe impl<T: AlwaysRefCounted> Owner<T> for ARef<T> {
    fn into_raw(self) -> NonNull<T> {
        ARef::into_raw(self)
    }

    unsafe fn from_raw(item: NonNull<T>) -> Self {
        // SAFETY: The reference of `into_raw`.
        unsafe { ARef::from_raw(item) }
    }
}

// SAFETY: A box stays where it is.
unsafe impl<T> Owner<T> for KBox<T> {
    fn into_raw(self) -> NonNull<T> {
        NonNull::from(KBox::leak(self))
    }

    unsafe fn from_raw(item: NonNull<T>) -> Self {
        // SAFETY: The box of `into_raw`.
        unsafe { KBox::from_raw(item.as_ptr()) }
    }
}

/// The place in an object that links it into a list.
#[repr(transparent)]
pub struct Links(Opaque<list_head>);

// SAFETY: Only lists use it, under their lock.
unsafe impl Send for Links {}
// SAFETY: As above.
unsafe impl Sync for Links {}

impl Links {
    /// On no list.
    pub const fn new() -> Self {
        Self(Opaque::zeroed())
    }
}

impl Default for Links {
    fn default() -> Self {
        Self::new()
    }
}

/// The head of a list in a C structure.
///
/// # Invariants
///
/// It is initialised, and what is linked to it are the links of items.
#[repr(transparent)]
pub struct List<L: Link>(Opaque<list_head>, PhantomData<L>);

// SAFETY: Only [`Locked`] uses it.
unsafe impl<L: Link> Sync for List<L> {}

// SAFETY: Transparent over the head. C code at most reads the list, under its lock.
unsafe impl<L: Link> View for List<L> {
    type Raw = list_head;
}

impl<L: Link> List<L> {
    /// Makes an empty list of a head that is not initialised.
    ///
    /// # Safety
    ///
    /// Nobody else uses the list.
    pub unsafe fn init(&self) {
        let head = self.0.get();
        // SAFETY: Valid for writes, and the caller's alone.
        unsafe { (*head).next = head };
        // SAFETY: As above.
        unsafe { (*head).prev = head };
    }

    /// The list for who has its lock, with the guard of that, if it goes with the list.
    ///
    /// # Safety
    ///
    /// While `guard` is there, and for `'a`, nobody else uses this list, nor another of its kind that an item of this one may
    /// be put on.
    pub unsafe fn locked<G>(&self, guard: G) -> Locked<'_, L, G> {
        Locked(self, guard)
    }
}

/// A list whose lock is held.
///
/// # Invariants
///
/// Nobody else uses the list, nor another that its items may be put on.
pub struct Locked<'a, L: Link, G = ()>(&'a List<L>, #[allow(dead_code)] G);

impl<'a, L: Link> Locked<'a, L> {
    /// The items, in the order in which they were put there.
    pub fn items(self) -> Iter<'a, L> {
        Iter::of(self.0)
    }
}

impl<L: Link, G> Locked<'_, L, G> {
    fn links(item: NonNull<L::Item>) -> *mut list_head {
        item.as_ptr()
            .cast::<list_head>()
            .wrapping_byte_add(L::OFFSET)
    }

    /// The items, in the order in which they were put there.
    pub fn iter(&self) -> Iter<'_, L> {
        Iter::of(self.0)
    }

    /// Puts an item at the end.
    ///
    /// # Errors
    ///
    /// Returns the item if it is on a list already.
    pub fn push(&mut self, owner: L::Owner) -> Result<(), L::Owner> {
        let item = owner.into_raw();
        let (new, head) = (Self::links(item), self.0 .0.get());
        // SAFETY: The links of a valid item, which are zeroed or initialised, and the list, which is the caller's.
        unsafe {
            if !(*new).next.is_null() && (*new).next != new {
                return Err(L::Owner::from_raw(item));
            }
            let last = (*head).prev;
            (*new).next = head;
            (*new).prev = last;
            (*last).next = new;
            (*head).prev = new;
        }
        Ok(())
    }

    /// Takes an item off the list; `None` if it is not on it.
    pub fn remove(&mut self, item: &L::Item) -> Option<L::Owner> {
        let item = self.iter().find(|i| ptr::eq(*i, item)).map(NonNull::from)?;
        let entry = Self::links(item);
        // SAFETY: The item was found on the list, which is the caller's.
        unsafe {
            let (next, prev) = ((*entry).next, (*entry).prev);
            (*next).prev = prev;
            (*prev).next = next;
            (*entry).next = entry;
            (*entry).prev = entry;
            Some(L::Owner::from_raw(item))
        }
    }

    /// Takes the first item off the list for which `wanted` says so.
    pub fn remove_first(&mut self, wanted: impl Fn(&L::Item) -> bool) -> Option<L::Owner> {
        let item = self.iter().find(|i| wanted(i)).map(NonNull::from)?;
        // SAFETY: It is on the list.
        self.remove(unsafe { item.as_ref() })
    }

    /// Takes the first item off the list.
    pub fn pop(&mut self) -> Option<L::Owner> {
        self.remove_first(|_| true)
    }
}

/// The items of a list, which does not change meanwhile.
pub struct Iter<'a, L: Link> {
    head: *mut list_head,
    at: *mut list_head,
    _list: PhantomData<&'a L>,
}

impl<'a, L: Link> Iter<'a, L> {
    fn of(list: &'a List<L>) -> Self {
        let head = list.0.get();
        // SAFETY: The head is initialised, and the caller's.
        let at = unsafe { (*head).next };
        Self {
            head,
            at,
            _list: PhantomData,
        }
    }
}

impl<'a, L: Link> Iterator for Iter<'a, L>
where
    L::Item: 'a,
{
    type Item = &'a L::Item;

    fn next(&mut self) -> Option<&'a L::Item> {
        if self.at == self.head {
            return None;
        }
        // SAFETY: What is linked are the links of items, which are valid while they are on the list.
        unsafe {
            let item = self.at.byte_sub(L::OFFSET).cast::<L::Item>();
            self.at = (*self.at).next;
            Some(&*item)
        }
    }
}

#[kunit_tests(rlis_hv_list)]
mod tests {
    use super::*;
    use crate::view::view;
    use core::mem::offset_of;

    struct Item {
        number: u32,
        links: Links,
    }

    struct Items;

    // SAFETY: The offset is that of the links.
    unsafe impl Link for Items {
        type Item = Item;
        type Owner = KBox<Item>;
        const OFFSET: usize = offset_of!(Item, links);
    }

    #[test]
    fn in_order_and_each_once() -> Result {
        let head = KBox::new(Opaque::<list_head>::zeroed(), GFP_KERNEL)?;
        // SAFETY: The head stays in its box, and is this function's alone.
        let list = unsafe {
            let list = view::<List<Items>>(head.get());
            list.init();
            list
        };
        // SAFETY: As above.
        let mut list = unsafe { list.locked(()) };
        assert!(list.pop().is_none());
        for number in 0..4 {
            let links = Links::new();
            assert!(list
                .push(KBox::new(Item { number, links }, GFP_KERNEL)?)
                .is_ok());
        }
        assert!(list.iter().map(|i| i.number).eq(0..4));
        // The pointer is that of an item that stays on the list until it is removed.
        let second = list.iter().nth(1).map(ptr::from_ref).ok_or(EINVAL)?;
        // SAFETY: As above.
        let removed = list.remove(unsafe { &*second }).ok_or(EINVAL)?;
        assert_eq!(removed.number, 1);
        assert!(list.iter().map(|i| i.number).eq([0, 2, 3]));
        assert!(list.remove(&removed).is_none());
        assert!(list.push(removed).is_ok());
        assert_eq!(list.pop().map(|i| i.number), Some(0));
        assert!(list.iter().map(|i| i.number).eq([2, 3, 1]));
        while list.pop().is_some() {}
        assert!(list.iter().next().is_none());
        Ok(())
    }
}
