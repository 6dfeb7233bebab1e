// SPDX-License-Identifier: GPL-2.0

//! The character device of a service. What it does byte for byte is in `Documentation/char-devices.md`.

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
    },
    uaccess::{
        UserSliceReader,
        UserSliceWriter, //
    }, //
};
use rlis_hv::chardev::{
    CharDevice,
    Readiness, //
};

impl<P: Protocol> CharDevice for Shared<P> {
    type Module = Utils;

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

    fn read(this: &Arc<Self>, mut buffer: UserSliceWriter, nonblock: bool) -> Result<usize> {
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
        let len = state.outbox_len;
        if buffer.len() < len {
            return Err(EINVAL);
        }
        let message = state.outbox.get(..len).ok_or(EINVAL)?;
        buffer.write_slice(message)?;
        state.outbox_len = 0;
        let outputs = state.machine.daemon_read();
        Core::carry_out(&this.worker, &mut state, outputs);
        Ok(len)
    }

    fn write(this: &Arc<Self>, mut data: UserSliceReader) -> Result<usize> {
        let total = data.len();
        let mut guard = this.worker.state.lock();
        let state = &mut *guard;
        if state.gone {
            return Err(EBADF);
        }
        // One byte more than any message has, so that a longer one is seen to be longer.
        let len = total.min(state.inbox.len());
        let inbox = state.inbox.get_mut(..len).ok_or(EINVAL)?;
        data.read_slice(inbox)?;
        let registering = state.machine.expects_registration();
        let legacy = state.machine.is_legacy();
        let outputs = match P::written(inbox, registering, legacy).map_err(|_| EINVAL)? {
            Written::Register(code) => state.machine.daemon_register(code),
            Written::Answer(status) => {
                state.inbox_len = len;
                state.inbox_status = status;
                state
                    .machine
                    .daemon_answer(status == rlis_proto::ic::Status::HV_S_OK)
            }
        }
        .map_err(daemon_errno)?;
        Core::carry_out(&this.worker, state, outputs);
        Ok(total)
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
