// SPDX-License-Identifier: GPL-2.0

//! The character device of a service, as documented in `Documentation/char-devices.md`.

use super::{
    daemon_errno,
    Core,
    Protocol,
    Shared,
    Written, //
};
use crate::Utils;
use kernel::{
    prelude::*,
    sync::{
        poll::PollCondVar,
        Arc, //
    }, //
};
use rlis_hv::chardev::{
    CharDevice,
    Peeked,
    Readiness, //
};

impl<P: Protocol> CharDevice for Shared<P> {
    type Module = Utils;
    const MAX_READ: usize = P::MAX_TO_DAEMON;
    // One byte more than the longest message, so that longer ones are detected.
    const MAX_WRITE: usize = P::MAX_FROM_DAEMON + 1;

    fn open(this: &Arc<Self>) -> Result {
        let mut state = this.worker.state.lock();
        if state.gone {
            return Err(EBADF);
        }
        let outputs = state.machine.daemon_open().map_err(daemon_errno)?;
        Core::carry_out(&this.worker, &mut state, outputs);
        Ok(())
    }

    fn release(this: &Arc<Self>) {
        this.with(|state| state.machine.daemon_close());
    }

    fn wait(this: &Arc<Self>, nonblock: bool) -> Result {
        let mut state = this.worker.state.lock();
        while state.outbox_len == 0 {
            if state.gone {
                return Err(EBADF);
            }
            if nonblock {
                return Err(EAGAIN);
            }
            if this.worker.readers.wait_interruptible(&mut state) {
                return Err(EINTR);
            }
        }
        Ok(())
    }

    fn peek(this: &Arc<Self>, room: usize, out: &mut [u8]) -> Result<Option<Peeked>> {
        let state = this.worker.state.lock();
        let (len, id) = (state.outbox_len, state.outbox_id);
        if len == 0 {
            return Ok(None);
        }
        if room < len {
            return Err(EINVAL);
        }
        let message = state.outbox.get(..len).ok_or(EINVAL)?;
        out.get_mut(..len).ok_or(EINVAL)?.copy_from_slice(message);
        Ok(Some(Peeked { len, id }))
    }

    fn taken(this: &Arc<Self>, id: u64) -> bool {
        let mut state = this.worker.state.lock();
        if state.outbox_len == 0 || state.outbox_id != id {
            return false;
        }
        state.outbox_len = 0;
        let outputs = state.machine.daemon_read();
        Core::carry_out(&this.worker, &mut state, outputs);
        true
    }

    fn write(this: &Arc<Self>, data: &[u8]) -> Result {
        let mut guard = this.worker.state.lock();
        let state = &mut *guard;
        if state.gone {
            return Err(EBADF);
        }
        let registering = state.machine.expects_registration();
        let legacy = state.machine.is_legacy();
        let outputs = match P::written(data, registering, legacy).map_err(|_| EINVAL)? {
            Written::Register(code) => state.machine.daemon_register(code),
            Written::Answer(status) => {
                let inbox = state.inbox.get_mut(..data.len()).ok_or(EINVAL)?;
                inbox.copy_from_slice(data);
                state.inbox_len = data.len();
                state.inbox_status = status;
                state.machine.set_freeze_limit(P::freeze_limit());
                state
                    .machine
                    .daemon_answer(status == rlis_proto::ic::Status::HV_S_OK)
            }
        }
        .map_err(daemon_errno)?;
        Core::carry_out(&this.worker, state, outputs);
        Ok(())
    }

    fn wait_queue(&self) -> &PollCondVar {
        &self.worker.readers
    }

    fn readiness(&self) -> Readiness {
        let state = self.worker.state.lock();
        if state.outbox_len > 0 {
            Readiness::Readable
        } else if state.gone {
            Readiness::Gone
        } else {
            Readiness::Idle
        }
    }
}
