// SPDX-License-Identifier: GPL-2.0

//! Resetting the bus, the way back from everything that went wrong.

use super::{
    Controller,
    CONTROL_MS, //
};
use crate::recovery::Recover;
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

/// How often a reset is asked for if the answer cannot be read.
const RESET_TRIES: u32 = 5;

/// How often it is looked whether commands have come back, in milliseconds.
const STEP_MS: u32 = 20;

/// How often the rings are looked at without a signal of the host meanwhile, in milliseconds.
const LOOK_MS: u32 = 1_000;

/// How long the host may take to withdraw a device after its first sub-channel, in milliseconds.
const WITHDRAWAL_MS: i64 = 200;

impl Controller {
    /// Resets the bus, and waits until all commands given to the host before are completed. Those that the host does not
    /// complete are got back by closing the channel. Sleeps, for a bounded time.
    ///
    /// # Errors
    ///
    /// As [`Control::exchange`](crate::control::Control::exchange), and `EIO` if the host refuses; as
    /// [`Self::reopen`]; `ENODEV` if there is no open channel.
    pub(crate) fn reset_bus(&self) -> Result {
        // What cannot be read from here on wants another reset.
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
        // Only these: the mid-layer may go on sending, and what is sent from here on is in time.
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
                // What makes an answer useless may have passed.
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
    fn late(&self) {
        // What went wrong has been told.
        let _ = self.reset_bus();
    }

    fn withdrawn(&self) {
        // The sub-channels of a device that is withdrawn go first.
        fsleep(Delta::from_millis(WITHDRAWAL_MS));
        if self.is_gone() {
            return;
        }
        match self.channels.forget_withdrawn() {
            Ok(0) => {}
            Ok(count) => {
                // What was sent on them may have no completion.
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
