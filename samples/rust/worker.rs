// SPDX-License-Identifier: GPL-2.0

//! Work and a timer that belong to an object, and end with it.

use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Full, //
    },
    workqueue, //
};
use rlis_hv::work::{
    Task,
    Worker, //
};

/// How long something may be silent, in milliseconds.
const PATIENCE_MS: u32 = 1000;

// --8<--
/// Notices when something was silent for too long.
pub struct Watchdog {
    heard: Atomic<u32>,
}

impl Watchdog {
    /// There is a sign of life. Any context.
    pub fn hear(&self) {
        self.heard.xchg(1, Full);
    }
}

impl Task for Watchdog {
    // In process context, never twice at a time.
    fn run(this: &Worker<Self>) {
        this.set_timer(PATIENCE_MS);
    }

    fn expired(this: &Worker<Self>) {
        if this.heard.xchg(0, Full) == 0 {
            pr_info!("nothing heard for {PATIENCE_MS} ms\n");
        }
        this.set_timer(PATIENCE_MS);
    }
}
// -->8--

/// Starts it. Dropping the worker waits until neither function runs, and they do not start again.
///
/// # Errors
///
/// `ENOMEM`.
pub fn start() -> Result<Pin<KBox<Worker<Watchdog>>>> {
    let watchdog = Watchdog {
        heard: Atomic::new(0),
    };
    let worker = KBox::pin_init(
        Worker::<Watchdog>::new(workqueue::system_long(), Ok::<_, Error>(watchdog)),
        GFP_KERNEL,
    )?;
    worker.queue();
    Ok(worker)
}
