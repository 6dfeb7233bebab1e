// SPDX-License-Identifier: GPL-2.0

//! The one [`HotPlug`] of a module, and what the kernel calls when memory comes online: that has no argument for it.

use crate::hot_plug::{
    bring_online,
    HotPlug, //
};
use kernel::{
    error::to_result,
    ffi::{
        c_int,
        c_uint,
        c_ulong,
        c_void, //
    },
    prelude::*,
    sync::Arc, //
};
use rlis_hv::{
    table::Table,
    RcuArc, //
};
use rlis_proto::balloon::{
    MemoryEvent,
    Span, //
};

/// What a notifier returns: `NOTIFY_OK`.
const NOTIFY_OK: c_int = 1;

/// What the module has attached.
static CURRENT: RcuArc<HotPlug> = RcuArc::new();

/// The module's use of memory that is added, from when it is made to when it is dropped.
pub struct Attached {
    plug: Arc<HotPlug>,
    hooks: Option<Hooks>,
}

impl Attached {
    /// Begins. A module does so once, when it is loaded. Sleeps.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` if this kernel takes no more memory; `EINVAL` if somebody else decides which pages come online; `EBUSY` if it
    /// has begun; `ENOMEM`.
    pub fn new() -> Result<Self> {
        let plug = Arc::pin_init(HotPlug::new()?, GFP_KERNEL)?;
        if CURRENT.keep().is_some() {
            return Err(EBUSY);
        }
        drop(CURRENT.replace(Some(plug.clone())));
        let mut attached = Self { plug, hooks: None };
        attached.hooks = Some(Hooks::set()?);
        Ok(attached)
    }

    /// Returns what was added.
    pub fn plug(&self) -> &HotPlug {
        &self.plug
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        // The kernel asks for the other as long as it calls these.
        drop(self.hooks.take());
        drop(CURRENT.replace(None));
    }
}

/// Returns what the module has attached.
pub fn current() -> Option<Arc<HotPlug>> {
    CURRENT.keep()
}

/// The kernel brings pages online.
///
/// # Safety
///
/// Only for the kernel to call, with the first of `1 << order` pages that it brings online.
unsafe extern "C" fn online_page(page: *mut rlis_sys::page, order: c_uint) {
    // SAFETY: As required of the caller.
    let start = unsafe { rlis_sys::mem_page_number(page) };
    let pages = Span::new(start, start.saturating_add(1 << order));
    match current() {
        // SAFETY: As required of the caller.
        Some(plug) => unsafe { plug.online(pages) },
        // SAFETY: As required of the caller.
        None => unsafe { bring_online(pages) },
    }
}

/// A memory block changes.
///
/// # Safety
///
/// Only for the chain of memory notifiers to call.
unsafe extern "C" fn notify(
    _block: *mut rlis_sys::notifier_block,
    action: c_ulong,
    data: *mut c_void,
) -> c_int {
    let event = match rlis_sys::mem_event(action) {
        0 => MemoryEvent::Changing,
        1 => MemoryEvent::Online,
        2 => MemoryEvent::Offline,
        _ => return NOTIFY_OK,
    };
    let Some(plug) = current() else {
        return NOTIFY_OK;
    };
    let (mut start, mut end) = (0, 0);
    // SAFETY: The chain passes what such notifiers are passed, for these events.
    unsafe { rlis_sys::mem_event_pages(data, &raw mut start, &raw mut end) };
    plug.note(event, Span::new(start, end));
    NOTIFY_OK
}

static NOTIFIER: Table<rlis_sys::notifier_block> = Table::new({
    let mut notifier: rlis_sys::notifier_block = pin_init::zeroed();
    notifier.notifier_call = Some(notify);
    notifier
});

/// What the kernel calls when memory comes online or goes offline, as long as this exists.
struct Hooks(());

impl Hooks {
    /// Sets them. Sleeps.
    ///
    /// # Errors
    ///
    /// `EINVAL` if somebody else decides which pages come online; `EEXIST` if this exists already.
    fn set() -> Result<Self> {
        // SAFETY: Both are functions for that, and the notifier is static. The chain refuses one that is on it.
        to_result(unsafe { rlis_sys::mem_hooks_set(Some(online_page), NOTIFIER.get()) })?;
        Ok(Self(()))
    }
}

impl Drop for Hooks {
    fn drop(&mut self) {
        // SAFETY: They are set.
        unsafe { rlis_sys::mem_hooks_restore(Some(online_page), NOTIFIER.get()) };
    }
}
