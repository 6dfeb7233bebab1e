// SPDX-License-Identifier: GPL-2.0

//! Hints that free memory is of no use, for hosts that take them.

use kernel::{
    new_mutex,
    new_spinlock,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex,
        SpinLock, //
    }, //
};
use rlis_mem::{
    FreeHint,
    FreePages,
    Reported,
    Reporting, //
};
use rlis_proto::balloon::{
    AfterFailure,
    Failures,
    Progress, //
};

/// Who gives the hints.
#[pin_data]
struct Hinter {
    #[pin]
    failures: SpinLock<Failures>,
    /// The host takes no more.
    refused: Atomic<bool>,
}

impl Hinter {
    fn give(&self, hint: &FreeHint<'_>) -> Result {
        let mut done = 0;
        loop {
            match hint.give(done) {
                Progress::Done => {
                    self.failures.lock().succeeded();
                    return Ok(());
                }
                Progress::From(ranges) => done = ranges,
                Progress::Failed(result) => {
                    self.failed(result);
                    return Err(EINVAL);
                }
            }
        }
    }

    fn failed(&self, result: u64) {
        let order = rlis_mem::reporting_order();
        let (next, say) = self.failures.lock().failed(result, order);
        if say {
            pr_err!("Cold memory discard hypercall failed with status {result:x}\n");
        }
        match next {
            AfterFailure::GoOn => {}
            AfterFailure::LargeOnly => {
                pr_err!(
                    "Underlying Hyper-V does not support order less than 9. Hypercall failed\n"
                );
                let order = rlis_mem::report_large_only();
                pr_err!("Defaulting to page_reporting_order {order}\n");
            }
            AfterFailure::End => self.refused.store(true, Relaxed),
        }
    }
}

impl FreePages for Hinter {
    fn free(&self, pages: Reported<'_>) -> Result {
        if self.refused.load(Relaxed) {
            return Err(EINVAL);
        }
        let mut hint = FreeHint::new();
        for range in pages.ranges() {
            if let Err(range) = hint.push(range) {
                self.give(&hint)?;
                hint = FreeHint::new();
                // It is the first.
                let _ = hint.push(range);
            }
        }
        self.give(&hint)
    }
}

/// The hints of a device, from [`Self::begin`] to [`Self::end`] or until the host takes no more.
#[pin_data]
pub(crate) struct Hints {
    #[pin]
    reporting: Mutex<Option<Reporting<Hinter>>>,
}

impl Hints {
    /// Makes none.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            reporting <- new_mutex!(None),
        })
    }

    /// Begins, if the host takes hints. Sleeps.
    pub(crate) fn begin(&self) {
        if !rlis_mem::takes_cold_discard_hints() {
            pr_debug!("Cold memory discard hint not supported by Hyper-V\n");
            return;
        }
        match Self::report() {
            Ok(reporting) => {
                *self.reporting.lock() = Some(reporting);
                let order = rlis_mem::reporting_order();
                pr_info!("Cold memory discard hint enabled with order {order}\n");
            }
            Err(EOPNOTSUPP) => pr_info!("This kernel does not report free pages\n"),
            Err(error) => {
                let error = error.to_errno();
                pr_err!("Failed to enable cold memory discard: {error}\n");
            }
        }
    }

    fn report() -> Result<Reporting<Hinter>> {
        let hinter = pin_init!(Hinter {
            failures <- new_spinlock!(Failures::default()),
            refused: Atomic::new(false),
        });
        Reporting::new(Arc::pin_init(hinter, GFP_KERNEL)?)
    }

    /// Ends, if the host takes no more: not where it was refused, since the kernel waits there. Sleeps.
    pub(crate) fn look(&self) {
        let mut reporting = self.reporting.lock();
        let hinter = reporting.as_ref().map(Reporting::told);
        if hinter.is_some_and(|hinter| hinter.refused.load(Relaxed)) {
            pr_err!(
                "Multiple failures in cold memory discard hypercall, disabling page reporting\n"
            );
            *reporting = None;
        }
    }

    /// Ends. Sleeps.
    pub(crate) fn end(&self) {
        *self.reporting.lock() = None;
    }
}
