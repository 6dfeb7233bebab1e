// SPDX-License-Identifier: GPL-2.0

//! Bus resets, which recover from everything else that goes wrong.

use super::{
    Controller,
    CONTROL_MS, //
};
use crate::{
    batch::Set,
    recovery::Recover, //
};
use kernel::{
    prelude::*,
    sync::atomic::Full,
    time::{
        delay::fsleep,
        Delta, //
    }, //
};
use rlis_proto::storvsc::{
    Operation,
    Outstanding,
    ResetStep,
    VstorPacket, //
};
use rlis_vmbus::Channel;

/// Attempts at a reset whose answer cannot be read.
const RESET_TRIES: u32 = 5;

/// Interval at which outstanding commands are counted, in milliseconds.
const STEP_MS: u32 = 20;

/// Interval at which the rings are polled meanwhile, in milliseconds: a signal may have been lost.
const LOOK_MS: u32 = 1_000;

/// When the host rescinds a device, the time from the rescind of its first sub-channel to its own, in milliseconds.
const WITHDRAWAL_MS: i64 = 200;

impl Controller {
    /// Resets the bus and waits until the host has completed all commands that were sent before. If it does not, they are
    /// recovered by closing the channel. Sleeps, for a bounded time.
    ///
    /// # Errors
    ///
    /// As [`Control::exchange`](crate::control::Control::exchange), and `EIO` if the host refuses; as
    /// [`Self::reopen`]; `ENODEV` if there is no open channel.
    pub(crate) fn reset_bus(&self) -> Result {
        // A bad packet from here on calls for another reset.
        let suspect = self.suspect.xchg(0, Full);
        self.try_reset_bus().inspect_err(|error| {
            if suspect != 0 {
                self.suspect.xchg(1, Full);
            }
            self.failures.run(|_| {
                dev_err!(self.dev(), "the bus could not be reset: {error:?}\n");
            });
        })
    }

    fn try_reset_bus(&self) -> Result {
        let mut open = self.open.lock();
        let channel = open.as_ref().ok_or(ENODEV)?.channel().clone();
        // Only these are waited for: the mid-layer may keep sending.
        let before = self.tags.outstanding();
        let answered = self.ask_for_reset(&channel);
        let mut waited = 0;
        loop {
            if waited % LOOK_MS == 0 {
                self.channels.look_again();
            }
            let (commands, overdue) = before.in_flight();
            match ResetStep::next(Outstanding { commands, overdue }, waited) {
                ResetStep::Done => return answered,
                ResetStep::Wait => {
                    fsleep(Delta::from_millis(STEP_MS.into()));
                    waited += STEP_MS;
                }
                ResetStep::Reopen => {
                    drop(before);
                    dev_warn!(
                        self.dev(),
                        "{commands} commands are not completed by the host, so the channel is closed and opened again\n"
                    );
                    return self.reopen(&mut open);
                }
            }
        }
    }

    fn ask_for_reset(&self, channel: &Channel) -> Result {
        let packet = VstorPacket::request(Operation::VSTOR_OPERATION_RESET_BUS);
        let mut tries = 1;
        let answer = loop {
            match self.control.exchange(channel, &packet, CONTROL_MS) {
                Ok(answer) if answer.op() == Operation::VSTOR_OPERATION_COMPLETE_IO => {
                    break answer
                }
                // Whatever spoiled the answer may be over.
                Ok(_) if tries < RESET_TRIES => tries += 1,
                Err(error) if error == EPROTO && tries < RESET_TRIES => tries += 1,
                Ok(_) => return Err(EPROTO),
                Err(error) => return Err(error),
            }
        };
        if answer.status != 0 {
            return Err(EIO);
        }
        Ok(())
    }
}

impl Recover for Controller {
    fn untold(&self) {
        self.channels.tell(Set::ALL);
    }

    fn late(&self) {
        // Errors have been logged.
        let _ = self.reset_bus();
    }

    fn withdrawn(&self) {
        // When a whole device is rescinded, its sub-channels go first.
        fsleep(Delta::from_millis(WITHDRAWAL_MS));
        if self.is_gone() {
            return;
        }
        match self.channels.forget_withdrawn() {
            Ok(0) => {}
            Ok(count) => {
                // Commands that were sent on them may never be completed.
                self.suspect.xchg(1, Full);
                dev_warn!(
                    self.dev(),
                    "{count} sub-channels were withdrawn by the host; the others take their commands\n"
                );
            }
            Err(error) => dev_err!(
                self.dev(),
                "a sub-channel that the host has withdrawn is still in use: {error:?}\n"
            ),
        }
    }
}
