// SPDX-License-Identifier: GPL-2.0

//! The way to the host: a channel that is opened, agreed on, closed and opened again.

use super::{
    Controller,
    CONTROL_MS, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Full, //
        },
        Arc, //
    },
    time::{
        delay::fsleep,
        Delta, //
    }, //
};
use rlis_hv::NoIo;
use rlis_proto::storvsc::{
    Init,
    InitStep,
    Link,
    StorageProperties,
    Unsent, //
};
use rlis_scsi::{
    HostByte,
    Outcome, //
};
use rlis_vmbus::{
    Bound,
    Device,
    OpenChannel, //
};

/// How often a channel is tried to be opened again, a second apart.
const REOPEN_TRIES: u32 = 30;

impl Controller {
    fn link(&self) -> Link {
        Link::from_bits(self.link.load(Acquire))
    }

    fn set_link(&self, link: Link) {
        self.link.xchg(link.to_bits(), Full);
    }

    /// What becomes of a command that cannot be sent, since the channel is closed.
    pub(super) fn unsent(&self) -> Unsent {
        self.link().unsent(self.is_gone(), self.is_leaving())
    }

    /// Opens the channel of a device and agrees with the host on how to use it. Sleeps.
    ///
    /// # Errors
    ///
    /// As [`OpenChannel::open`] and [`Control::exchange`](crate::control::Control::exchange); `EINVAL` if the host does
    /// not come to terms. The channel is closed then.
    pub(crate) fn connect(self: &Arc<Self>, dev: &Device<Bound>) -> Result<StorageProperties> {
        let mut open = self.open.lock();
        let channel = OpenChannel::open(dev, &self.open_params(), self.clone())?;
        let (channel, properties) = self.agreed(channel)?;
        *open = Some(channel);
        self.set_link(Link::Open);
        Ok(properties)
    }

    /// Returns whether the channel is open.
    pub(crate) fn is_connected(&self) -> bool {
        self.open.lock().is_some()
    }

    /// Closes the channel. Commands come back to the mid-layer, for hibernation, or fail when the driver gives the device
    /// up. Sleeps.
    pub(crate) fn disconnect(&self) {
        let mut open = self.open.lock();
        // One that is lost stays so until it can be opened.
        if open.is_some() {
            self.set_link(Link::Suspended);
        }
        self.channels.clear();
        drop(open.take());
        // A sub-channel that was just being opened has come too late.
        self.channels.clear();
    }

    /// Notes that there is no way to the host, until [`Self::connect`] finds one: commands fail.
    pub(crate) fn lost(&self, error: Error) {
        self.set_link(Link::Lost);
        dev_err!(
            self.dev(),
            "the channel cannot be opened again, so the adapter is out of use: {error:?}\n"
        );
    }

    /// Closes the channel, completes what the host had, and opens it again. Sleeps, for a bounded time.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT` if the host does not confirm the end of the channel: the commands stay with it. As [`Self::connect`]
    /// if the channel cannot be opened. Either way the adapter is out of use.
    pub(super) fn reopen(&self, open: &mut Option<OpenChannel<Self>>) -> Result {
        // Memory may only be had by writing to the very disks that wait for this.
        let _no_io = NoIo::begin();
        let channel = open.take().ok_or(ENODEV)?;
        self.set_link(Link::Reopening);
        self.channels.clear();
        let closed = channel.close().inspect_err(|_| {
            self.set_link(Link::Lost);
            dev_err!(
                self.dev(),
                "the host does not confirm that the channel is closed, so {} commands stay with it and the adapter is out of use\n",
                self.tags.in_flight()
            );
        })?;
        // A sub-channel that was just being opened has come too late.
        self.channels.clear();
        // Nothing is with the host any more. A command that is just being sent fails to be.
        self.tags
            .claim_each(|command| command.complete(Outcome::failed(HostByte::RESET)));
        let mut tries = 1;
        loop {
            let opened = closed
                .open(&self.open_params())
                .and_then(|channel| self.agreed(channel));
            match opened {
                Ok((channel, properties)) => {
                    *open = Some(channel);
                    self.set_version(properties.version);
                    self.set_link(Link::Open);
                    return Ok(());
                }
                Err(error) if error == ENODEV || tries == REOPEN_TRIES => {
                    self.lost(error);
                    return Err(error);
                }
                Err(_) => {
                    tries += 1;
                    fsleep(Delta::from_millis(1_000));
                }
            }
        }
    }

    /// Agrees with the host on how to use a channel that was just opened, and takes it into use.
    fn agreed(&self, open: OpenChannel<Self>) -> Result<(OpenChannel<Self>, StorageProperties)> {
        // The last step asks for sub-channels, which may be offered at once.
        open.accept_sub_channels();
        let agreed = self.agree(&open).and_then(|properties| {
            // Only now: commands come as soon as there is a channel for them.
            self.channels.add(open.channel())?;
            Ok(properties)
        });
        match agreed {
            Ok(properties) => Ok((open, properties)),
            Err(error) => {
                // Before the channel is closed.
                self.channels.clear();
                Err(error)
            }
        }
    }

    fn agree(&self, open: &OpenChannel<Self>) -> Result<StorageProperties> {
        let (mut init, mut step) = Init::new(self.kind, self.settings.max_sub_channels);
        loop {
            match step {
                InitStep::Send(packet) => {
                    let answer = self.control.exchange(open.channel(), &packet, CONTROL_MS);
                    step = match answer {
                        Ok(answer) => init.answer(&answer),
                        Err(error) if error == ETIMEDOUT => init.timed_out(),
                        Err(error) => return Err(error),
                    };
                }
                InitStep::Done(mut properties) => {
                    let page_list = self.settings.page_list();
                    properties.limits = properties.limits.with_page_list(page_list);
                    break Ok(properties);
                }
                InitStep::Failed(why) => {
                    dev_err!(self.dev(), "the host does not come to terms: {why:?}\n");
                    break Err(EINVAL);
                }
            }
        }
    }
}
