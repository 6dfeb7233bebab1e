// SPDX-License-Identifier: GPL-2.0

//! A character device that can be polled: what is written to it can be read once.

use kernel::{
    new_mutex,
    new_poll_condvar,
    prelude::*,
    sync::{
        poll::PollCondVar,
        Arc,
        Mutex, //
    }, //
};
use rlis_hv::chardev::{
    CharDevice,
    Peeked,
    Readiness,
    Registration, //
};

// --8<--
/// The last message, and how many there have been.
#[pin_data]
pub struct Mailbox {
    #[pin]
    message: Mutex<(u64, Option<KVec<u8>>)>,
    #[pin]
    changed: PollCondVar,
}

impl CharDevice for Mailbox {
    type Module = crate::Samples;
    const MAX_READ: usize = 64;
    const MAX_WRITE: usize = 64;

    // The reader's memory is not touched in here: the layer copies from `out` when the lock has been given back.
    fn peek(this: &Arc<Self>, room: usize, out: &mut [u8]) -> Result<Option<Peeked>> {
        let message = this.message.lock();
        let (id, Some(text)) = &*message else {
            return Ok(None);
        };
        let len = text.len();
        if len > room {
            return Err(EINVAL);
        }
        out.get_mut(..len).ok_or(EINVAL)?.copy_from_slice(text);
        Ok(Some(Peeked { len, id: *id }))
    }

    fn taken(this: &Arc<Self>, id: u64) -> bool {
        let mut message = this.message.lock();
        message.0 == id && message.1.take().is_some()
    }

    fn write(this: &Arc<Self>, data: &[u8]) -> Result {
        let mut text = KVec::with_capacity(data.len(), GFP_KERNEL)?;
        text.extend_from_slice(data, GFP_KERNEL)?;
        let mut message = this.message.lock();
        *message = (message.0 + 1, Some(text));
        this.changed.notify_all();
        Ok(())
    }
    // -->8--

    fn open(_this: &Arc<Self>) -> Result {
        Ok(())
    }

    fn release(_this: &Arc<Self>) {}

    fn wait(this: &Arc<Self>, nonblock: bool) -> Result {
        let mut message = this.message.lock();
        while message.1.is_none() {
            if nonblock {
                return Err(EAGAIN);
            }
            if this.changed.wait_interruptible(&mut message) {
                return Err(ERESTARTSYS);
            }
        }
        Ok(())
    }

    fn wait_queue(&self) -> &PollCondVar {
        &self.changed
    }

    fn readiness(&self) -> Readiness {
        match self.message.lock().1 {
            Some(_) => Readiness::Readable,
            None => Readiness::Idle,
        }
    }
}

/// Makes `/dev/rlis_sample`, until the registration is dropped.
pub fn add() -> impl PinInit<Registration<Mailbox>, Error> {
    pin_init::pin_init_scope(|| {
        let mailbox = pin_init!(Mailbox {
            message <- new_mutex!((0, None)),
            changed <- new_poll_condvar!(),
        });
        let mailbox = Arc::pin_init(mailbox, GFP_KERNEL)?;
        Ok(Registration::new(c"rlis_sample", mailbox))
    })
}
