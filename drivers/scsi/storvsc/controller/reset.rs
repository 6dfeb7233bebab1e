// SPDX-License-Identifier: GPL-2.0

//! Resetting the bus, the way back from everything that went wrong.

use super::{
    Controller,
    CONTROL_MS, //
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
    VstorPacket, //
};
use rlis_scsi::Outcome;

/// How long commands may take to come back after the host has acknowledged a reset, in milliseconds.
const DRAIN_MS: u32 = 5_000;

/// How often a reset is asked for if the answer cannot be read.
const RESET_TRIES: u32 = 5;

impl Controller {
    /// Resets the bus, and sees to it that all commands given to the host before are completed. Sleeps, for a
    /// bounded time.
    ///
    /// # Errors
    ///
    /// As [`Control::exchange`](crate::control::Control::exchange), `EIO` if the host refuses.
    pub(crate) fn reset_bus(&self) -> Result {
        // What cannot be read from here on wants another reset.
        let spoiled = self.spoiled.xchg(0, Full);
        self.try_reset_bus().inspect_err(|error| {
            if spoiled != 0 {
                self.spoiled.xchg(1, Full);
            }
            self.failures.run(|_| {
                dev_err!(self.dev(), "the bus could not be reset: {error:?}\n");
            });
        })
    }

    fn try_reset_bus(&self) -> Result {
        let packet = VstorPacket::request(Operation::VSTOR_OPERATION_RESET_BUS);
        let channel = self.channels.primary().ok_or(ENODEV)?;
        // Only these: the mid-layer may go on sending, and what is sent from here on the host still works on.
        let before = self.tags.outstanding();
        let mut tries = 1;
        let answer = loop {
            match self.control.exchange(&channel, &packet, CONTROL_MS) {
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
        // The host is done with all commands; their completions may still be on the way.
        let mut waited = 0;
        self.channels.look_again();
        while before.in_flight() != 0 && waited < DRAIN_MS {
            fsleep(Delta::from_millis(10));
            waited += 10;
        }
        // What is left now, the host has forgotten.
        let mut lost = 0;
        before.claim_each(|command| {
            lost += 1;
            command.complete(Outcome::failed(rlis_scsi::HostByte::RESET));
        });
        if lost != 0 {
            dev_warn!(
                self.dev(),
                "{lost} commands had no completion when the bus was reset\n"
            );
        }
        Ok(())
    }
}
