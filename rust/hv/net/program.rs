// SPDX-License-Identifier: GPL-2.0

//! Programs of XDP, `struct bpf_prog`, and the one that an interface has.

use core::{
    ptr::NonNull,
    sync::atomic::{
        AtomicPtr,
        Ordering, //
    }, //
};
use rlis_sys_net::bpf_prog;

/// A reference to a program.
///
/// # Invariants
///
/// The program is valid, and one of its references belongs to this.
pub struct Program(pub(crate) NonNull<bpf_prog>);

// SAFETY: References to programs are counted atomically, and may be given back in any task.
unsafe impl Send for Program {}

// SAFETY: Nothing of a program is changed through a shared reference.
unsafe impl Sync for Program {}

impl Program {
    /// Takes a reference over.
    ///
    /// # Safety
    ///
    /// `raw` must be valid, and the caller have a reference, which this has from here on.
    pub(crate) unsafe fn from_raw(raw: NonNull<bpf_prog>) -> Self {
        // INVARIANT: As required of the caller.
        Self(raw)
    }

    /// Gives the reference to the caller.
    pub(crate) fn into_raw(self) -> NonNull<bpf_prog> {
        core::mem::ManuallyDrop::new(self).0
    }
}

impl Clone for Program {
    fn clone(&self) -> Self {
        // SAFETY: By the type invariant.
        unsafe { rlis_sys_net::bpf_prog_inc(self.0.as_ptr()) };
        // INVARIANT: The reference was just taken.
        Self(self.0)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: By the type invariant. The program is freed after a grace period only.
        unsafe { rlis_sys_net::bpf_prog_put(self.0.as_ptr()) };
    }
}

/// The program of an interface: null, or what `Program::into_raw` returned. Written with the RTNL held; read in RCU read sides,
/// too, for which the program stays where it is.
pub(crate) struct ProgramSlot(AtomicPtr<bpf_prog>);

impl ProgramSlot {
    pub(crate) const fn new() -> Self {
        Self(AtomicPtr::new(core::ptr::null_mut()))
    }

    /// Valid in an RCU read side, or while the RTNL is held.
    #[inline]
    pub(crate) fn get(&self) -> *mut bpf_prog {
        // The pointer is only followed, which no CPU does before it has loaded it.
        self.0.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn is_some(&self) -> bool {
        !self.get().is_null()
    }

    /// There is none any more. The stack has taken it away before an interface is freed, unless that was never registered.
    pub(crate) fn clear(&self) {
        drop(self.replace(None));
    }

    pub(crate) fn replace(&self, program: Option<Program>) -> Option<Program> {
        let new = program.map_or(core::ptr::null_mut(), |program| program.into_raw().as_ptr());
        let old = NonNull::new(self.0.swap(new, Ordering::AcqRel))?;
        // SAFETY: By the invariant of the slot, this is what `into_raw` returned, and it is there no more.
        Some(unsafe { Program::from_raw(old) })
    }
}
