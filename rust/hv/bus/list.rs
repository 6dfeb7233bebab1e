// SPDX-License-Identifier: GPL-2.0

//! Lists that are linked through C structures.

use rlis_sys as bindings;

/// Links `new` before `head`.
///
/// # Safety
///
/// `head` is an initialised list head, `new` is valid and not linked, and the caller holds the list's lock.
pub(crate) unsafe fn list_add_tail(new: *mut bindings::list_head, head: *mut bindings::list_head) {
    // SAFETY: The caller promises valid pointers and exclusive access.
    unsafe {
        let last = (*head).prev;
        (*new).next = head;
        (*new).prev = last;
        (*last).next = new;
        (*head).prev = new;
    }
}

/// Unlinks `entry` and leaves it as an empty list of its own.
///
/// # Safety
///
/// `entry` is linked or an empty list of its own, and the caller holds the list's lock.
pub(crate) unsafe fn list_del(entry: *mut bindings::list_head) {
    // SAFETY: The caller promises valid pointers and exclusive access.
    unsafe {
        let (next, prev) = ((*entry).next, (*entry).prev);
        (*next).prev = prev;
        (*prev).next = next;
        (*entry).next = entry;
        (*entry).prev = entry;
    }
}
