// SPDX-License-Identifier: GPL-2.0

//! The tracepoints about channels; see [`crate::trace`].

use super::Fields;
use rlis_hv::tracepoints;

tracepoints! {
    chan_sched(channel: &Fields);
    setevent(channel: &Fields);
    on_event(channel: &Fields);
}

impl Fields {
    /// Its callback is about to be scheduled, or called, in the interrupt handler.
    #[inline(always)]
    pub(crate) fn trace_scheduled(&self) {
        chan_sched(self);
    }

    /// Its tasklet begins.
    #[inline(always)]
    pub(crate) fn trace_event(&self) {
        on_event(self);
    }

    /// The host is about to be signalled.
    #[inline(always)]
    pub(crate) fn trace_signal(&self) {
        setevent(self);
    }
}
