// SPDX-License-Identifier: GPL-2.0

//! A question to a device, whose answer comes in an interrupt, late, twice or never.

use kernel::{
    new_mutex,
    prelude::*,
    sync::Mutex, //
};
use rlis_hv::{
    AnswerSlot,
    RateLimit, //
};

/// One question at a time, to a device that answers within a second. An answer has up to 16 bytes.
#[pin_data]
pub struct Questions {
    #[pin]
    last_id: Mutex<u64>,
    #[pin]
    answer: AnswerSlot<2>,
}

impl Questions {
    /// Nothing was asked.
    pub fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            // 0 and 1 name no question.
            last_id <- new_mutex!(1),
            answer <- AnswerSlot::new(),
        })
    }

    // --8<--
    /// Asks by `send`, and copies the answer to `out`. Returns its length. Sleeps.
    ///
    /// # Errors
    ///
    /// Those of `send`, `ETIMEDOUT`, and `ENODEV` when the device is gone.
    pub fn ask(&self, send: impl FnOnce(u64) -> Result, out: &mut [u8]) -> Result<usize> {
        let mut id = self.last_id.lock();
        *id += 1;
        self.answer.expect(*id)?;
        let waited = send(*id).and_then(|()| self.answer.wait(1000));
        // An answer that comes after this is for nobody.
        self.answer.take(*id, waited, out)?.ok_or(EIO)
    }

    /// The device has answered. Any context.
    pub fn answered(&self, id: u64, bytes: &[u8]) {
        static LIMIT: RateLimit = RateLimit::new();

        if !self.answer.deliver(id, bytes) {
            LIMIT.run(|_| pr_warn!("an answer to no question: {id}\n"));
        }
    }
    // -->8--

    /// The device is gone: whoever waits for it need not any more.
    pub fn gone(&self) {
        self.answer.give_up();
    }
}
