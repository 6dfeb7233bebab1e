// SPDX-License-Identifier: GPL-2.0

//! Opening the channel, negotiating with the host, closing the channel and reopening it.

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

/// Attempts to reopen a channel, one second apart.
const REOPEN_TRIES: u32 = 30;

impl Controller {
    fn link(&self) -> Link {
        Link::from_bits(self.link.load(Acquire))
    }

    /// Returns whether there is no way to the host.
    pub(super) fn is_lost(&self) -> bool {
        self.link() == Link::Lost
    }

    fn set_link(&self, link: Link) {
        self.link.xchg(link.to_bits(), Full);
    }

    /// What to do with a command that cannot be sent because the channel is closed.
    pub(super) fn unsent(&self) -> Unsent {
        self.link().unsent(self.is_gone(), self.is_leaving())
    }

    /// Opens the channel and negotiates its use with the host. Sleeps.
    ///
    /// # Errors
    ///
    /// As [`OpenChannel::open`] and [`Control::exchange`](crate::control::Control::exchange); `EINVAL` if the
    /// negotiation fails. The channel is closed then.
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

    /// Closes the channel. From then on commands are requeued during hibernation, and fail while the device is being
    /// removed. Sleeps.
    pub(crate) fn disconnect(&self) {
        let mut open = self.open.lock();
        // `Link::Lost` stays until the channel can be opened again.
        if open.is_some() {
            self.set_link(Link::Suspended);
        }
        self.channels.clear();
        drop(open.take());
        // A sub-channel may have been added meanwhile.
        self.channels.clear();
    }

    /// Notes that the channel cannot be opened: commands fail until [`Self::connect`] succeeds.
    pub(crate) fn lost(&self, error: Error) {
        self.set_link(Link::Lost);
        dev_err!(
            self.dev(),
            "the channel cannot be opened again, so the adapter is out of use: {error:?}\n"
        );
    }

    /// Closes the channel, completes the commands that the host had, and reopens the channel. Sleeps, for a bounded time.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT` if the host does not confirm the close: it keeps the commands. As [`Self::connect`] if the channel
    /// cannot be reopened. Either way the adapter is unusable from then on.
    pub(super) fn reopen(&self, open: &mut Option<OpenChannel<Self>>) -> Result {
        // Reclaim must not write to the disks that wait for this.
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
        // A sub-channel may have been added meanwhile.
        self.channels.clear();
        // The host has nothing any more, and a command that is being sent right now fails.
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

    /// Negotiates on a channel that was just opened, and starts to use it.
    fn agreed(&self, open: OpenChannel<Self>) -> Result<(OpenChannel<Self>, StorageProperties)> {
        // The last step of the negotiation requests sub-channels, which may be offered at once.
        open.accept_sub_channels();
        let agreed = self.agree(&open).and_then(|properties| {
            // Last, because commands are sent from here on.
            self.channels.add(open.channel())?;
            Ok(properties)
        });
        match agreed {
            Ok(properties) => Ok((open, properties)),
            Err(error) => {
                // Nobody may use the channel when it is closed.
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
                    dev_err!(self.dev(), "negotiation with the host failed: {why:?}\n");
                    break Err(EINVAL);
                }
            }
        }
    }
}
